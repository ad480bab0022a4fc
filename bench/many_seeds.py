"""Measure 64 seeds of figure 5: `simulate_many` against JAX and PyTorch, which step all seeds at once by `vmap`.

    python bench/many_seeds.py [rounds] [steps]

Gradient descent at p = 11, h = 128 and n = 59, a split and a network for each seed, float32 and float64, on one core.
Times are processor times, and ratios are medians over interleaved rounds. The embeddings of all seeds are compared
before anything is timed.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
import torch

import jax_reference
import torch_reference
import zeroloss as zl
from step_cases import LR, WEIGHT_DECAY

SEEDS, P, HIDDEN = 64, 11, 128
FEW = 20  # steps before answers are compared
LEAST_RATIO = 2.0
SETTINGS: dict[str, Any] = {"lr": LR, "weight_decay": WEIGHT_DECAY}
Run = Callable[[int], Any]


def make_members(dtype: str) -> list[tuple[Any, zl.datasets.Dataset, zl.networks.Network]]:
    """Return the dynamics, the data and the network of each seed."""
    data = [zl.datasets.modular_addition(P, test_count=7, seed=seed) for seed in range(SEEDS)]
    networks = [zl.networks.uniform_fan_in(one, HIDDEN, 100 + seed, dtype=dtype) for seed, one in enumerate(data)]
    return [(zl.GradientDescent(**SETTINGS), one, net) for one, net in zip(data, networks, strict=True)]


def ours(members: Any) -> Run:
    """Return a function that simulates the members for some steps, and returns the embeddings."""

    def run(steps: int) -> Any:
        runs = zl.simulate_many(members, steps=steps, record_every=steps, at_once=1, progress=False)
        return np.stack([one.network.E for one in runs])

    return run


def stack_members(members: Any, dtype: str) -> list[Any]:
    """Return X, Y, E and W of all members."""
    parts = [(data.X_train, data.Y_train, net.E, net.W) for _, data, net in members]
    return [np.stack(arrays).astype(dtype) for arrays in zip(*parts, strict=True)]


def jax_vmap(members: Any, dtype: str) -> Run:
    """Return the same in JAX: `jit` of `vmap` of `lax.scan`, with dense inputs or pairs, whichever is faster."""
    X, *arrays = map(jax.numpy.asarray, stack_members(members, dtype))
    pairs = [jax.numpy.stack(columns) for columns in zip(*map(jax_reference.pairs, X), strict=True)]

    def form(inputs: Any, steps: int) -> Any:
        descent = jax.vmap(partial(jax_reference.descent, steps=steps, **SETTINGS))
        return jax.jit(descent).lower(inputs, *arrays).compile()

    def seconds_of(inputs: Any) -> float:
        compiled = form(inputs, FEW)
        jax.block_until_ready(compiled(inputs, *arrays))  # type: ignore[no-untyped-call]
        return seconds(lambda: jax.block_until_ready(compiled(inputs, *arrays)))  # type: ignore[no-untyped-call]

    inputs = min((X, tuple(pairs)), key=seconds_of)
    compiled: dict[int, Any] = {}

    def run(steps: int) -> Any:
        if steps not in compiled:
            compiled[steps] = form(inputs, steps)
        return np.asarray(jax.block_until_ready(compiled[steps](inputs, *arrays))[0])  # type: ignore[no-untyped-call]

    return run


def torch_vmap(members: Any, dtype: str) -> Run:
    """Return the same in PyTorch: `torch.func.vmap` of the gradient by `torch.func.grad`, eager."""
    X, Y, *start = map(torch.tensor, stack_members(members, dtype))

    def loss(E: Any, W: Any, X: Any, Y: Any) -> Any:
        return torch.nn.functional.mse_loss(torch_reference.activation("relu")(X @ E) @ W, Y)

    gradients = torch.func.vmap(torch.func.grad(loss, argnums=(0, 1)))

    def run(steps: int) -> Any:
        E, W = start
        for _ in range(steps):
            gE, gW = gradients(E, W, X, Y)
            E, W = E - LR * (gE + WEIGHT_DECAY * E), W - LR * (gW + WEIGHT_DECAY * W)
        return E.numpy()

    return run


def seconds(work: Callable[[], object]) -> float:
    """Return the processor time of a call of `work`."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Print one line for each precision."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # before JAX counts the processors
    torch.set_num_threads(1)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 5000
    print(f"{SEEDS} seeds, descent p {P}, h {HIDDEN}, {steps} steps, one core, {rounds} rounds")
    for dtype in ("float32", "float64"):
        members = make_members(dtype)
        runs = {"zeroloss": ours(members), "JAX": jax_vmap(members, dtype), "PyTorch": torch_vmap(members, dtype)}
        start, unit = stack_members(members, "float64")[2], np.finfo(dtype).eps
        answers = {name: run(FEW).astype(np.float64) for name, run in runs.items()}
        for name, answer in answers.items():
            error = np.linalg.norm(answer - answers["zeroloss"]) / np.linalg.norm(answer - start)
            assert error <= 1e3 * unit, f"{name}, {dtype}: E differs by {error:.1e}"
        for run in runs.values():
            run(steps)  # compiles
        times = [{name: seconds(partial(run, steps)) for name, run in runs.items()} for _ in range(rounds)]
        ratios = {name: statistics.median(one[name] / one["zeroloss"] for one in times) for name in runs}
        step = statistics.median(one["zeroloss"] for one in times) / (steps * SEEDS)
        others = ", ".join(f"× {name} {ratios[name]:.2f}" for name in ("JAX", "PyTorch"))
        print(f"{dtype}: {step * 1e6:.2f} µs a step and seed, {others}")
        assert min(ratios["JAX"], ratios["PyTorch"]) >= LEAST_RATIO


if __name__ == "__main__":
    main()
