"""The implementations that the table compares.

``implementation(problem)(steps)`` does everything that a user would do once, such as compiling. It returns a function
without arguments, the timed part: it takes the steps from the problem's start and returns E and W when they have been
computed. Libraries are imported inside the functions, so a process loads only the library of its own implementation.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

from step_cases import LR, STEP_SIZE, WEIGHT_DECAY, Problem

Answer = tuple[Any, ...]
Start = Callable[[int], Callable[[], Answer]]
Implementation = Callable[[Problem], Start]

_DESCENT: Mapping[str, Any] = {"lr": LR, "weight_decay": WEIGHT_DECAY}


def kernel(problem: Problem) -> Start:
    """Run our kernel alone: one call for all steps, with as many threads as a run would use."""
    from zeroloss.simulation.simulation import start_stepper  # noqa: PLC0415

    def start(steps: int) -> Callable[[], Answer]:
        stepper = start_stepper(problem.dynamics, problem.data, problem.net, threads=None)

        def run() -> Answer:
            stepper.advance(steps)
            return stepper.state["E"], stepper.state.get(
                "W", problem.net.W
            )  # the state of the predicted gradient has no W

        return run

    return start


def simulate(problem: Problem) -> Start:
    """Run our package as a user runs it, with a record every 1 000 steps."""
    import zeroloss as zl  # noqa: PLC0415

    def start(steps: int) -> Callable[[], Answer]:
        def run() -> Answer:
            run = zl.simulate(
                problem.dynamics, problem.data, problem.net, steps=steps, record_every=1000, progress=False
            )
            return run.network.E, run.network.W

        return run

    return start


def jax_scan(problem: Problem) -> Start:
    """Run JAX: ``jit`` and ``lax.scan``, with X dense or as index pairs, whichever is faster in a trial."""
    import jax  # noqa: PLC0415

    import jax_reference as reference  # noqa: PLC0415

    X, Y, E, W = map(jax.device_put, problem.arrays)
    trial = 20 if problem.case.flops < 1e9 else 1

    def form(inputs: Any) -> Start:
        @cache
        def compile_steps(steps: int) -> Callable[[], Answer]:
            if problem.case.dynamics == "descent":
                settings = {"steps": steps, "activation_name": problem.case.activation, **_DESCENT}
                descent = reference.descent.lower(inputs, Y, E, W, **settings).compile()
                return lambda: jax.block_until_ready(descent(inputs, Y, E, W))  # type: ignore[no-untyped-call]
            predicted = reference.predicted_descent.lower(inputs, Y, E, steps=steps, step_size=STEP_SIZE).compile()
            return lambda: (predicted(inputs, Y, E).block_until_ready(), W)

        return compile_steps

    def seconds(candidate: Start) -> float:
        run, times = candidate(trial), []
        for _ in range(3):
            begin = time.process_time() if len(_cores()) == 1 else time.perf_counter()
            run()
            times.append((time.process_time() if len(_cores()) == 1 else time.perf_counter()) - begin)
        return min(times)

    return min(form(X), form(reference.pairs(X)), key=seconds)


def torch_autograd(problem: Problem) -> Start:
    """Run eager PyTorch: autograd and ``torch.optim.SGD``; the predicted gradient by Cholesky."""
    return _torch(problem, "descent", "predicted_gradient")


def torch_by_hand(problem: Problem) -> Start:
    """Run eager PyTorch with gradients by hand; the predicted gradient by the printed formula, with an inverse."""
    if problem.case.dynamics == "predicted" and problem.case.n > 1500:
        raise NotImplementedError("an inverse and n × n products of this size take too long")
    return _torch(problem, "descent_by_hand", "predicted_gradient_with_inverse")


def _torch(problem: Problem, descent: str, gradient: str) -> Start:
    import torch  # noqa: PLC0415

    import torch_reference as reference  # noqa: PLC0415

    torch.set_num_threads(len(_cores()))
    X, Y, E, W = map(torch.tensor, problem.arrays)
    if problem.case.dynamics == "descent":
        settings: dict[str, Any] = {"activation_name": problem.case.activation, **_DESCENT}
        return lambda steps: partial(getattr(reference, descent), X, Y, E, W, steps=steps, **settings)
    settings = {"step_size": STEP_SIZE, "gradient": getattr(reference, gradient)}
    return lambda steps: lambda: (reference.predicted_descent(X, Y, E, steps=steps, **settings), W)


def torch_compiled(problem: Problem) -> Start:
    """Run compiled PyTorch: a whole step by hand, without autograd, through ``torch.compile``."""
    import torch  # noqa: PLC0415

    import torch_reference as reference  # noqa: PLC0415

    torch.set_num_threads(len(_cores()))
    torch._dynamo.reset()
    X, Y, E0, W0 = map(torch.tensor, problem.arrays)
    if problem.case.dynamics == "descent":
        step = reference.descent_step(X, Y, activation_name=problem.case.activation, **_DESCENT)
    else:

        def step(E: Any, W: Any) -> Any:
            return E + STEP_SIZE * reference.predicted_gradient(X, Y, E)[0], W

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        step = torch.compile(step, dynamic=False)
        step(E0, W0)

    def run(steps: int) -> Answer:
        E, W = E0, W0
        with torch.no_grad():
            for _ in range(steps):
                E, W = step(E, W)
        return E, W

    return lambda steps: partial(run, steps)


def numpy_scipy(problem: Problem) -> Start:
    """Run NumPy and SciPy: gradients by hand, ``cho_factor``."""
    import numpy_reference as reference  # noqa: PLC0415

    X, Y, E, W = problem.arrays
    if problem.case.dynamics == "descent":
        settings: dict[str, Any] = {"activation_name": problem.case.activation, **_DESCENT}
        return lambda steps: partial(reference.descent, X, Y, E, W, steps=steps, **settings)
    return lambda steps: lambda: (reference.predicted_descent(X, Y, E, steps=steps, step_size=STEP_SIZE), W)


def _cores() -> set[int]:
    return os.sched_getaffinity(0)


OURS, SIMULATE = "zeroloss", "simulate"
#: Implementations by their names in the table. `simulate` is only measured where the cost of its loop can be seen.
IMPLEMENTATIONS: Mapping[str, Implementation] = {
    OURS: kernel,
    SIMULATE: simulate,
    "JAX": jax_scan,
    "PyTorch": torch_autograd,
    "PyTorch by hand": torch_by_hand,
    "PyTorch compiled": torch_compiled,
    "NumPy": numpy_scipy,
}
