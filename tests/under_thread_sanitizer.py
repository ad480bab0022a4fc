"""A program for kernels built with ThreadSanitizer: all that share their work, from several threads at once.

It does without pytest and PyTorch, whose own threads would be looked at too.
"""

import functools
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import zeroloss as zl

SETTINGS = (
    (zl.GradientDescent(lr=0.1, weight_decay=1e-3, momentum=0.9), "relu", "float64"),
    (zl.GradientDescent(lr=0.1, weight_decay=1e-3, compensated=True), "tanh", "float32"),
    (zl.AdamW(loss="cross_entropy"), "relu", "float32"),
    (zl.PredictedGradient(step_size=1e-3), "relu", "float64"),
    (zl.PredictedGradient(step_size=1e-3, ridge=0.1), "gelu", "float32"),
    (zl.NormFlow(step_size=1e-3), "relu", "float64"),
    (zl.NormFlow(rtol=3e-2, method="proximal"), "relu", "float64"),
    (zl.NoiseFlow(step_size=1e-4), "tanh", "float64"),
    (zl.GradientFlow(weight_decay=1e-3), "softplus(5)", "float64"),
    (zl.GradientFlow(weight_decay=1e-3, rtol=1e-2, method="proximal"), "relu", "float64"),
)


def final_E(setting, threads):
    dynamics, activation, dtype = setting
    if isinstance(dynamics, zl.NormFlow | zl.NoiseFlow):
        data, net = on_the_set(activation)
        return zl.simulate(dynamics, data, net, steps=3, threads=threads, progress=False).network.E
    data = zl.datasets.modular_addition(13, train_fraction=0.7, seed=0)
    net = zl.networks.normal(data, hidden=96, std=0.3, seed=1, activation=activation, dtype=dtype)
    steps = 3 if isinstance(dynamics, zl.GradientFlow) else 20
    return zl.simulate(dynamics, data, net, steps=steps, record_every=5, threads=threads, progress=False).network.E


@functools.cache
def on_the_set(activation):
    data = zl.datasets.modular_addition(13, train_fraction=0.9, seed=0)
    net = zl.networks.normal(data, hidden=160, std=0.3, seed=1, activation=activation)
    return data, zl.geometry.project(net, data).network


def hessian_product(threads):
    data, net = on_the_set("relu")
    return zl.curvature.operator(net, data, threads=threads) @ np.concatenate([net.E.ravel(), net.W.ravel()])


def main():
    expected = [final_E(setting, 1) for setting in SETTINGS]
    product = hessian_product(1)
    with ThreadPoolExecutor(3) as pool:  # callers that find the crew busy work alone
        for threads in (2, 3, 8):
            found = pool.map(lambda setting, threads=threads: final_E(setting, threads), SETTINGS * 3)
            for place, E in enumerate(found):
                assert np.array_equal(E, expected[place % len(SETTINGS)]), SETTINGS[place % len(SETTINGS)]
            for other in pool.map(hessian_product, [threads] * 3):
                assert np.array_equal(other, product)
    print("no race seen, the same bits from 1, 2, 3 and 8 threads")


if __name__ == "__main__":
    main()
