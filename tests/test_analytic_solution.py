"""The analytic weights for modular addition of A. Gromov, "Grokking modular arithmetic" (arXiv 2301.02679).

A quadratic network of h units on (e_a, e_b): unit k has a frequency f_k, w_k = 2π f_k/p, and three phases,

    E_k = (cos(w_k a + φ₁), cos(w_k b + φ₂)),   W_kq = cos(w_k q + φ₃),   φ₁ + φ₂ = φ₃.

The square of every unit contains cos(w_k(a + b) + φ₃). The sum over units of its product with W_kq contains
½ cos(w_k(a + b − q)), which adds up to h/2 only at q = a + b. All other terms have phases that differ between units.
With every frequency 1 … (p − 1)/2 in M units:

- φ₁ = φ₂ = πj/M, j = 0 … M − 1: from M = 3 on the other terms vanish, except h/4 each at q = 2a and q = 2b, which is
  less than h/2. Accuracy is exactly 1, for sums of one-hots too, with 48 M units for p = 97: 144, 192, ….
- (φ₁, φ₂) = (1, 4) 2πj/6: all other terms vanish, with 288 units.
- Random phases, as in the paper, leave small other terms. Of 100 draws at 192 units, 97 to 99 are right on every pair,
  for both ways to draw frequencies; at 256, 288 and 384 units all 100 are.
"""

import numpy as np
import pytest

import zeroloss as zl

P = 97
FREQUENCIES = np.arange(1, P // 2 + 1)


def analytic_network(frequencies, phases_a, phases_b, inputs):
    """Return the network. For sums of one-hots both phases are the same, because both summands share an embedding."""
    angles = 2 * np.pi * np.outer(np.arange(P), frequencies) / P
    A, B = np.cos(angles + phases_a), np.cos(angles + phases_b)
    W = np.cos(angles + phases_a + phases_b).T
    return zl.networks.from_arrays(A if inputs == "sum" else np.vstack([A, B]), W, activation="square")


def accuracy(net, inputs):
    """Return the accuracies on all p² ordered pairs, or on all unordered pairs if the inputs are sums."""
    pairs = "unordered" if inputs == "sum" else "ordered"
    data = zl.datasets.modular_addition(P, train_fraction=0.5, pairs=pairs, inputs=inputs)
    assert data.train_count + data.test_count == (P * (P + 1) // 2 if inputs == "sum" else P**2)
    history = zl.simulate(zl.GradientDescent(lr=1.0), data, net, steps=0).history
    return float(history.train_accuracy[0]), float(history.test_accuracy[0])


EQUAL = [("sum", M, 1 / 2, 1 / 2) for M in (3, 4, 5, 8)] + [("concatenated", M, 1 / 2, 1 / 2) for M in (3, 4, 5, 8)]


@pytest.mark.parametrize(("inputs", "M", "first", "second"), [*EQUAL, ("concatenated", 6, 1, 4)])
def test_phases_in_equal_steps_are_right_on_every_pair(inputs, M, first, second):
    phases = 2 * np.pi * np.tile(np.arange(M), len(FREQUENCIES)) / M
    net = analytic_network(np.repeat(FREQUENCIES, M), first * phases, second * phases, inputs)
    assert net.hidden == M * len(FREQUENCIES)
    assert accuracy(net, inputs) == (1.0, 1.0)
    a, b, q = np.ogrid[:P, :P, :P]
    spike = np.where(np.arange(P) == 0, P - 1, -1) / 2  # Σ cos(2π f n/p) over half of the frequencies f, for every n.
    spurious = (spike[(2 * a - q) % P] + spike[(2 * b - q) % P]) / 4 if first == second else 0.0
    expected = M * (spike[(a + b - q) % P] / 2 + spurious)
    A, B = np.split(net.E, 2) if inputs == "concatenated" else (net.E, net.E)
    outputs = (A[:, None] + B[None]) ** 2 @ net.W
    assert np.abs(outputs - expected).max() < 1e-11


@pytest.mark.parametrize("hidden", [192, 384])
@pytest.mark.parametrize("inputs", ["sum", "concatenated"])
@pytest.mark.parametrize("frequencies", ["in turn", "random"])
def test_a_draw_of_phases_is_right_on_every_pair(frequencies, inputs, hidden):
    random = np.random.default_rng(0)
    drawn = random.integers(1, P, hidden) if frequencies == "random" else np.resize(np.arange(1, P), hidden)
    phases_a, phases_b = random.uniform(-np.pi, np.pi, (2, hidden))
    net = analytic_network(drawn, phases_a, phases_a if inputs == "sum" else phases_b, inputs)
    assert accuracy(net, inputs) == (1.0, 1.0)


def test_phases_without_the_condition_are_no_better_than_chance():
    random = np.random.default_rng(0)
    phases_a, phases_b, phases_c = random.uniform(-np.pi, np.pi, (3, 192))
    net = analytic_network(np.resize(np.arange(1, P), 192), phases_a, phases_b, "concatenated")
    W = np.cos(2 * np.pi * np.outer(np.resize(np.arange(1, P), 192), np.arange(P)) / P + phases_c[:, None])
    assert max(accuracy(zl.networks.from_arrays(net.E, W, "square"), "concatenated")) < 0.1
