"""Measure steps with options of training, inputs and activations against the plain step of the same size.

    python bench/option_steps.py [--rounds 15] [--p 11,37] [name ...]

The plain step is full-batch gradient descent with ReLU and the squared error on pairs of one-hots. Each row is timed in
turn with it, on one core, in processor time; the number is the median over the rounds of the ratio of the two times.
Rows whose names contain one of the arguments are measured, all of them without an argument. A number above the bound of
its row has a star. Before it is timed, each row is compared with PyTorch's autograd and optimizer in float64.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import torch

import torch_reference
import zeroloss as zl
from step_cases import DESCENT, training_count
from zeroloss._kernels import kernels
from zeroloss.simulation.simulation import start_stepper

FEW = 3  # steps before answers are compared
STRETCH = 0.015  # seconds of steps in a round

SGD = zl.GradientDescent(lr=0.1, weight_decay=1e-4)
ADAMW = zl.AdamW(lr=1e-4, weight_decay=1e-2, loss="cross_entropy")


def pairs(p: int, n: int) -> zl.datasets.Dataset:
    """Return sums of two one-hots."""
    return zl.datasets.modular_addition(p, train_count=n, seed=0)


def triples(p: int, n: int) -> zl.datasets.Dataset:
    """Return sums of three one-hots."""
    return zl.datasets.modular_addition(p, summands=3, train_count=n, seed=0)


def concatenated_pairs(p: int, n: int) -> zl.datasets.Dataset:
    """Return two one-hots next to each other."""
    return zl.datasets.modular_addition(p, inputs="concatenated", pairs="ordered", train_count=n, seed=0)


def dense(p: int, n: int) -> zl.datasets.Dataset:
    """Return normal numbers with the targets of the pairs."""
    X = np.random.default_rng(0).normal(size=(n, p))
    return zl.datasets.from_arrays(X, pairs(p, n).Y_train, rows="dense")


@dataclass(frozen=True)
class Row:
    """A row of the table: a step, and its bounds at p = 11 and p = 37.

    The ratio of times is multiplied by ``per`` and, for minibatches, divided by the share of the samples.
    """

    name: str
    bounds: Mapping[int, float]
    dynamics: Any = SGD
    data: Callable[[int, int], zl.datasets.Dataset] = pairs
    activation: str = "relu"
    bias: str = "none"
    sampling: Mapping[str, float] = field(default_factory=dict)  # label noise, and the share of the samples in a batch
    per: float = 1.0


def both(bound: float) -> Mapping[int, float]:
    """Return the same bound for each p."""
    return {11: bound, 37: bound}


SMOOTH = {11: 2.0, 37: 1.4}
NOISE, HALF = {"label_noise_std": 0.1}, {"share": 0.5}
#: A dense step has the products X E and Xᵀ gZ too: 10 n p h operations instead of 6. At least 0.9 of the plain step's
#: share of the peak is a ratio of times of at most 1/0.9 per operation.
ROWS = [
    Row("hidden biases", both(1.2), bias="hidden"),
    Row("biases of both layers", both(1.2), bias="both"),
    Row("three summands", both(1.3), data=triples),
    Row("concatenated one-hots", both(1.05), data=concatenated_pairs),
    Row("three summands, biases of both layers", both(1.3 * 1.2), data=triples, bias="both"),
    Row("concatenated one-hots, biases of both layers", both(1.05 * 1.2), data=concatenated_pairs, bias="both"),
    Row("dense inputs, per operation", both(1 / 0.9), data=dense, per=6 / 10),
    Row("AdamW with cross-entropy", {11: 1.8, 37: 1.2}, ADAMW),
    Row("leaky ReLU", both(1.3), activation="leaky_relu"),
    Row("square", both(1.3), replace(SGD, lr=0.01), activation="square"),
    Row("tanh", SMOOTH, activation="tanh"),
    Row("softplus", SMOOTH, activation="softplus"),
    Row("label noise", both(1.3), sampling=NOISE),
    Row("half batches, per sample", both(1.3), sampling=HALF),
    Row("label noise and half batches, per sample", both(1.3), sampling=NOISE | HALF),
]
PLAIN = Row("plain", {})


@dataclass(frozen=True)
class Problem:
    """A row at one size and precision."""

    row: Row
    data: zl.datasets.Dataset
    net: zl.networks.Network
    dynamics: Any

    @classmethod
    def of(cls, row: Row, p: int, h: int, n: int, dtype: str) -> Problem:
        """Return the row with h hidden units and n samples."""
        data = row.data(p, n)
        net = zl.networks.uniform_fan_in(data, h, seed=1, activation=row.activation, dtype=dtype, bias=row.bias)
        options = dict(row.sampling)
        if "share" in options:
            options["batch_size"] = round(options.pop("share") * n)
        return cls(row, data, net, replace(row.dynamics, **options))

    @property
    def samples(self) -> int:
        """The samples of a step."""
        return self.dynamics.batch_size or self.data.train_count

    def start(self) -> Any:
        """Return a stepper with one thread."""
        return start_stepper(self.dynamics, self.data, self.net, threads=1)

    def batch(self, step: int) -> tuple[Any, Any]:
        """Return the inputs and targets of a step."""
        X, Y = self.data.X_train, self.data.Y_train
        if self.samples < len(Y):
            epoch, place = divmod(step, -(-len(Y) // self.samples))
            order = kernels.epoch_order(self.dynamics.batch_seed, epoch, len(Y))
            rows = np.sort(order[place * self.samples : (place + 1) * self.samples])
            X, Y = X[rows], Y[rows]
        noise = kernels.label_noise(self.dynamics.noise_seed, step, Y.size).reshape(Y.shape)
        return torch.tensor(X), torch.tensor(Y + self.dynamics.label_noise_std * noise.astype(float))

    def reference(self, steps: int) -> list[Any]:
        """Return E and W, with biases as rows, after steps of PyTorch in float64."""
        E, W = (torch.tensor(A, dtype=torch.float64, requires_grad=True) for A in self.net.layers)
        d, settings = self.dynamics, {"lr": self.dynamics.lr, "weight_decay": self.dynamics.weight_decay}
        optimizer: Any = torch.optim.SGD([E, W], **settings)
        if isinstance(d, zl.AdamW):
            optimizer = torch.optim.AdamW([E, W], betas=d.betas, eps=d.eps, **settings)
        sigma = torch_reference.activation(self.row.activation)
        for step in range(steps):
            X, Y = self.batch(step)
            optimizer.zero_grad()
            H = sigma(torch.nn.functional.pad(X, (0, len(E) - X.shape[1]), value=1.0) @ E)
            F = torch.nn.functional.pad(H, (0, len(W) - H.shape[1]), value=1.0) @ W
            measure = torch.nn.functional.mse_loss if d.loss == "mse" else torch.nn.functional.cross_entropy
            loss: Any = measure(F, Y)
            loss.backward()
            optimizer.step()
        return [A.detach().numpy() for A in (E, W)]

    def check(self) -> None:
        """Assert that the parameters after a few steps agree with PyTorch's.

        The bound is 10³ rounding units of their movement, and their own rounding at each step. AdamW divides gradients
        by their size, so the relative errors of small ones count as much as others; its bound is 10⁴ units.
        """
        stepper = self.start()
        assert stepper.advance(FEW).finite
        unit, units = np.finfo(self.net.dtype).eps, 1e4 if isinstance(self.dynamics, zl.AdamW) else 1e3
        for layer, begin, expected in zip("EW", self.net.layers, self.reference(FEW), strict=True):
            error = np.linalg.norm(stepper.state[layer] - expected) / unit
            bound = units * np.linalg.norm(expected - begin) + FEW * np.linalg.norm(expected)
            assert error <= bound, f"{self.row.name}, {self.net.dtype}: {layer} differs by {error / bound:.1f} bounds"


class Clock:
    """Times steps of a problem, which continue from round to round."""

    def __init__(self, problem: Problem) -> None:
        self._stepper = problem.start()
        self._steps = 1
        while (seconds := self.seconds() * self._steps) < STRETCH / 4:
            self._steps *= 2
        self._steps = max(1, round(self._steps * STRETCH / seconds))
        self.seconds()

    def seconds(self) -> float:
        """Return the processor time of a step."""
        begin = time.process_time()
        finite = self._stepper.advance(self._steps).finite
        seconds = time.process_time() - begin
        assert finite
        return seconds / self._steps


def ratio(problem: Problem, plain: Problem, rounds: int) -> float:
    """Return the number of the table."""
    problem.check()
    clocks = Clock(problem), Clock(plain)
    ratios = [np.divide(*(clock.seconds() for clock in clocks)) for _ in range(rounds)]
    return float(np.median(ratios)) * problem.row.per * plain.samples / problem.samples


def measure_large(rounds: int) -> float:
    """Return the time of a step with a bias column over one without, for p = 97 and concatenated inputs."""
    p, h, n = 97, 1024, 3763
    without = concatenated_pairs(p, n)
    column = np.ones((n, 1))
    with_column = zl.datasets.from_arrays(np.hstack([without.X_train, column]), without.Y_train, rows="sparse")
    row = Row("bias column", {}, replace(SGD, loss="cross_entropy"), lambda *_: with_column)
    problems = [
        Problem.of(row, p, h, n, "float32"),
        Problem.of(replace(row, data=lambda *_: without), p, h, n, "float32"),
    ]
    return ratio(*problems, rounds)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Measure steps with options against the plain step.")
    parser.add_argument("names", nargs="*", help="parts of the names of rows")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--p", default="11,37", help="moduli, for example 11,37")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)

    def is_wanted(name: str) -> bool:
        return not arguments.names or any(part in name for part in arguments.names)

    moduli = [int(p) for p in arguments.p.split(",")]
    columns = [(p, DESCENT[p], training_count(p), f"float{bits}") for p in moduli for bits in (32, 64)]
    plain = cache(lambda *column: Problem.of(PLAIN, *column))
    print(
        f"{'step, times the plain step':46}" + "".join(f"  p {p} {dtype}" for p, _, _, dtype in columns) + "  at most"
    )
    for row in ROWS:
        if not is_wanted(row.name):
            continue
        print(f"{row.name:46}", end="", flush=True)
        for column in columns:
            number = ratio(Problem.of(row, *column), plain(*column), arguments.rounds)
            print(f"{number:12.2f}{'*' if number > row.bounds[column[0]] else ' '}", end="", flush=True)
        print("  " + " / ".join(f"{row.bounds[p]:.3g}" for p in moduli))
    if is_wanted("bias column at p 97"):
        number = measure_large(min(5, arguments.rounds))
        print(f"bias column at p 97, cross-entropy, float32: {number:.2f}{'*' if number > 1.1 else ''}, at most 1.1")


if __name__ == "__main__":
    main()
