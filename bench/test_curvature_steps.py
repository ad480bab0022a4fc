"""Time a product with the Hessian, next to an evaluation of loss and gradient, and a record of the sharpness."""

import time
from typing import Any

import numpy as np
import pytest

import zeroloss as zl

ROUNDS = 15
MOST_EVALUATIONS = 3  # for a product
MOST_SECONDS = 3e-3  # for a record at p = 11

PROBLEMS = {
    11: ({"test_count": 7}, 128, 100),  # the split, the hidden units, and the products in a round
    37: ({"train_fraction": 0.7}, 512, 3),
}


def make_problem(p: int, activation: str) -> tuple[Any, Any, int]:
    """Return modular addition, a network, and the products in a round."""
    split, hidden, products = PROBLEMS[p]
    data = zl.datasets.modular_addition(p, seed=0, **split)
    return data, zl.networks.uniform_fan_in(data, hidden, seed=100, activation=activation), products


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
def test_record_of_the_sharpness(benchmark: Any, activation: str) -> None:
    data, net, _ = make_problem(11, activation)
    benchmark.pedantic(zl.curvature.SharpnessMeasure(data), args=(net,), rounds=ROUNDS, warmup_rounds=1)
    if benchmark.enabled:
        assert benchmark.stats.stats.median <= MOST_SECONDS
