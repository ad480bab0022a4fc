"""Time a product with the Hessian next to an evaluation of loss and gradient, and the sharpness next to curvlinops."""

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import eigsh

import zeroloss as zl

ROUNDS = 15
MOST_EVALUATIONS = 3  # for a product
ACCURACY = 1e-4  # of the sharpness, in our Lanczos iteration, and in SciPy's with the products of curvlinops
RECORDS = 10  # our records in a round
LEAST_RATIO = 10

PROBLEMS = {
    11: ({"test_count": 7}, 128, 100),  # the split, the hidden units, and the products in a round
    37: ({"train_fraction": 0.7}, 512, 3),
}


def make_problem(p: int, activation: str) -> tuple[Any, Any, int]:
    """Return modular addition, a network, and the products in a round."""
    split, hidden, products = PROBLEMS[p]
    data = zl.datasets.modular_addition(p, seed=0, **split)
    return data, zl.networks.uniform_fan_in(data, hidden, seed=100, activation=activation), products


def curvlinops_operator(net: zl.networks.Network, data: zl.datasets.Dataset) -> Any:
    """Return the Hessian of the training loss as an operator of SciPy, with the products of curvlinops."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit.script, which it uses
        from curvlinops import HessianLinearOperator  # noqa: PLC0415

        module = zl.networks.to_torch(net)
        samples = [(torch.tensor(data.X_train), torch.tensor(data.Y_train))]
        return HessianLinearOperator(module, torch.nn.MSELoss(), list(module.parameters()), samples).to_scipy()


@pytest.mark.benchmark(timer=time.process_time)  # processor time of one pinned thread, without other work on the core
@pytest.mark.parametrize("activation", ["relu", "softplus(5)"])
@pytest.mark.parametrize("p", PROBLEMS)
def test_product(benchmark: Any, p: int, activation: str) -> None:
    data, net, products = make_problem(p, activation)
    hessian = zl.curvature.operator(net, data, threads=1)
    v = np.concatenate([net.E.ravel(), net.W.ravel()])
    times: list[float] = []

    def evaluate() -> None:
        """Evaluate loss and gradient before each round of products, so both have the same disturbances."""
        begin = time.process_time()
        for _ in range(products):
            zl.loss_and_gradient(net, data)
        times.append(time.process_time() - begin)

    def multiply() -> None:
        for _ in range(products):
            hessian.matvec(v)

    benchmark.pedantic(multiply, setup=evaluate, rounds=ROUNDS, warmup_rounds=1)
    if benchmark.enabled:
        evaluations = benchmark.stats.stats.median / sorted(times[1:])[ROUNDS // 2]
        benchmark.extra_info |= {"products": products, "evaluations_per_product": evaluations}
        assert evaluations <= MOST_EVALUATIONS


@pytest.mark.benchmark(timer=time.process_time)
@pytest.mark.parametrize("activation", ["relu", "softplus(5)"])
def test_record_of_the_sharpness(benchmark: Any, ratio: Callable[..., None], activation: str) -> None:
    data, net, _ = make_problem(11, activation)
    measure = zl.curvature.SharpnessMeasure(data, accuracy=ACCURACY)
    hessian = curvlinops_operator(net, data)
    times: list[float] = []

    def measure_with_curvlinops() -> float:
        """Find the largest eigenvalue before each of our rounds, so both have the same disturbances."""
        begin = time.process_time()
        (value,) = eigsh(hessian, k=1, which="LA", tol=ACCURACY, return_eigenvectors=False)
        times.append(time.process_time() - begin)
        return float(value)

    assert measure(net) == pytest.approx(measure_with_curvlinops(), rel=2 * ACCURACY)

    def ours() -> None:
        for _ in range(RECORDS):
            measure(net)

    benchmark.pedantic(ours, setup=lambda: measure_with_curvlinops() and None, rounds=ROUNDS, warmup_rounds=1)
    if benchmark.enabled:
        seconds, theirs = benchmark.stats.stats.median / RECORDS, sorted(times[2:])[ROUNDS // 2]
        benchmark.extra_info |= {"records": RECORDS, "curvlinops_seconds_per_record": theirs}
        ratio(f"sharpness p 11, h 128, {activation}, curvlinops", seconds, theirs)
        assert theirs >= LEAST_RATIO * seconds
