"""Fourier features against their definition, and their summary against embeddings with exact answers."""

import cmath
import math

import numpy as np
import pytest

import zeroloss as zl


def defined_features(E):
    """F_k = (1/p) Σ_j exp(−2πi jk/p) E_j, term by term."""
    p, h = E.shape
    F = np.zeros((p // 2, h), complex)
    for k in range(1, p // 2 + 1):
        for j in range(p):
            F[k - 1] += cmath.exp(-2j * math.pi * j * k / p) * E[j] / p
    return F


def waves(p, phases):
    """Return cos(2π jk/p + φ): one unit for every frequency below p/2 and every phase, so that F_k = e^{iφ}/2 on its
    units.
    """
    j, k = np.arange(p)[:, None], np.repeat(np.arange(1, (p + 1) // 2), len(phases))
    return np.cos(2 * np.pi * j * k / p + np.tile(phases, (p - 1) // 2))


@pytest.mark.parametrize("p", [2, 3, 4, 11, 12, 37])
def test_features_agree_with_their_definition(p):
    E = np.random.default_rng(p).standard_normal((p, 7))
    F = zl.fourier.features(E)
    assert F.shape == (p // 2, 7)
    np.testing.assert_allclose(F, defined_features(E), rtol=0, atol=1e-14)


def test_features_accept_any_real_array():
    E = np.arange(15).reshape(5, 3)
    np.testing.assert_allclose(zl.fourier.features(E.astype(">f4")), zl.fourier.features(E), rtol=0, atol=1e-14)
    np.testing.assert_array_equal(zl.fourier.features(np.asfortranarray(E)), zl.fourier.features(E))


def test_circles_on_their_axes_are_orthogonal():
    """With one cosine and one sine unit per frequency, Re F_k and Im F_k are half a unit vector each."""
    found = zl.fourier.summary(waves(11, [0.0, -np.pi / 2]))
    np.testing.assert_array_equal(found.frequency, np.repeat(np.arange(1, 6), 2))
    np.testing.assert_allclose(found.norms, 0.5, rtol=1e-14)
    np.testing.assert_allclose(found.cosines, np.eye(10), atol=1e-14)
    np.testing.assert_allclose(found.absolute_cosines, np.eye(10), atol=1e-14)
    expected = {"spread": 0, "largest_cosine": 0, "within": 0, "across": 0, "strongest_share": 1, "frequencies_used": 5}
    assert found.numbers() == pytest.approx(expected, abs=1e-14)


def test_circles_at_all_phases_have_exact_cosines():
    """With eight phases per frequency Re and Im are orthogonal; the absolute cosines are the mean of |sin 2φ| = 1/2."""
    found = zl.fourier.summary(3 * waves(13, np.arange(8) * np.pi / 4))
    np.testing.assert_allclose(found.norms, 3, rtol=1e-14)
    expected = {
        "spread": 0,
        "largest_cosine": 0,
        "within": 0.5,
        "across": 0,
        "strongest_share": 1,
        "frequencies_used": 6,
    }
    assert found.numbers() == pytest.approx(expected, abs=1e-13)


def test_unequal_norms_and_power_have_exact_shares():
    """Two units: 3 cos at k = 1; and the sum of cos at k = 1 and 2 cos at k = 2. There is no sine."""
    j = 2 * np.pi * np.arange(5) / 5
    found = zl.fourier.summary(np.stack([3 * np.cos(j), np.cos(j) + 2 * np.cos(2 * j)], axis=1))
    np.testing.assert_allclose(found.norms, [10**0.5 / 2, 0, 1, 0], atol=1e-15)
    assert found.cosines[0, 2] == pytest.approx(10**-0.5, abs=1e-14)
    assert found.strongest_share == pytest.approx((9 + 4) / (9 + 5), abs=1e-14)
    assert found.frequencies_used == 2


def test_even_moduli_have_one_more_real_vector():
    found = zl.fourier.summary(np.random.default_rng(0).standard_normal((6, 4)))
    np.testing.assert_array_equal(found.frequency, [1, 1, 2, 2, 3])
    assert np.isfinite(found.cosines).all()


def test_zero_units_change_nothing():
    E = np.random.default_rng(1).standard_normal((7, 5))
    padded = zl.fourier.summary(np.hstack([E, np.zeros((7, 3))]))
    assert padded.numbers() == pytest.approx(zl.fourier.summary(E).numbers(), rel=1e-14)


def test_an_embedding_without_features_has_nan_cosines():
    found = zl.fourier.summary(np.zeros((5, 3)))
    assert np.isnan(found.cosines).all()
    assert math.isnan(found.spread)
    assert math.isnan(found.strongest_share)
    assert found.frequencies_used == 0


@pytest.mark.parametrize("E", [np.ones(5), np.ones((1, 3)), np.ones((5, 0)), np.full((5, 2), np.nan)])
def test_invalid_embeddings_are_rejected(E):
    with pytest.raises(ValueError, match=r"E: expected .* got "):
        zl.fourier.features(E)


def characters(p, frequencies):
    """Return real characters of 1 … p − 1 under multiplication, (p, units); row 0 is 100.

    The discrete logarithm is to the base of the greatest primitive root. Any base has the same characters.
    """
    root = max(g for g in range(1, p) if len({pow(g, k, p) for k in range(p - 1)}) == p - 1)
    logarithm = {pow(root, k, p): k for k in range(p - 1)}
    E = np.full((p, len(frequencies)), 100.0)
    for a in range(1, p):
        E[a] = [math.cos(2 * math.pi * logarithm[a] * k / (p - 1) + 0.3) for k in frequencies]
    return E


def test_sums_have_the_additive_group():
    data = zl.datasets.modular_addition(7, test_count=3)
    E = np.random.default_rng(0).standard_normal((7, 4))
    np.testing.assert_array_equal(zl.fourier.features(E, data), zl.fourier.features(E))
    assert zl.fourier.summary(E, data).numbers() == zl.fourier.summary(E).numbers()
    np.testing.assert_array_equal(zl.fourier.features(E, data, operand=0), zl.fourier.features(E))


@pytest.mark.parametrize(
    ("data", "operands"),
    [
        (zl.datasets.modular_addition(5, summands=3, inputs="concatenated", test_count=3), 3),
        (zl.datasets.modular_subtraction(5, test_count=3), 2),
    ],
)
def test_each_concatenated_operand_has_its_own_features(data, operands):
    E = np.random.default_rng(0).standard_normal((data.d_in, 4))
    for operand in range(operands):
        own = E[5 * operand : 5 * operand + 5]
        np.testing.assert_array_equal(zl.fourier.features(E, data, operand), zl.fourier.features(own))
    with pytest.raises(
        ValueError, match=f"operand: expected 0 to {operands - 1}, because the operands are concatenated"
    ):
        zl.fourier.summary(E, data)
    with pytest.raises(ValueError, match=f"operand: expected below {operands}, the number of blocks of rows, got 3"):
        zl.fourier.summary(E, data, operand=3)


@pytest.mark.parametrize("p", [3, 7, 11, 13])
def test_products_and_quotients_have_the_multiplicative_group(p):
    """Units that are characters have all their power in one frequency of this group, and not of the additive group."""
    frequencies = np.repeat(np.arange(1, p // 2 + 1), 2)
    product = zl.datasets.modular_multiplication(p, test_count=1)
    quotient = zl.datasets.modular_division(p, test_count=1)
    E = characters(p, frequencies)
    assert zl.fourier.summary(E, product).strongest_share == pytest.approx(1, abs=1e-12)
    assert zl.fourier.summary(E, product).frequencies_used == p // 2
    both = np.concatenate([E, np.roll(E, 2, axis=1)])
    for operand in (0, 1):
        found = zl.fourier.summary(both, quotient, operand)
        assert found.strongest_share == pytest.approx(1, abs=1e-12)
        assert len(zl.fourier.features(both, quotient, operand)) == (p - 1) // 2
    if p > 3:
        assert zl.fourier.summary(characters(p, [1, 2])).strongest_share < 0.9


def test_shares_of_units_are_exact():
    j = 2 * np.pi * np.arange(5) / 5
    E = np.stack([3 * np.cos(j), np.cos(j) + 2 * np.cos(2 * j), 0 * j], axis=1)
    np.testing.assert_allclose(zl.fourier.unit_shares(E), [[1, 0.2, np.nan], [0, 0.8, np.nan]], atol=1e-14)


@pytest.mark.parametrize(
    "data",
    [
        zl.datasets.from_arrays(np.eye(5), np.eye(5)),
        zl.datasets.permutation_composition(3, test_count=3),
        zl.datasets.sparse_parity(6, 2, train_count=8, test_count=2),
        zl.datasets.modular_multiplication(6, test_count=3),
        zl.datasets.modular_multiplication(2, test_count=1),
        zl.datasets.modular_polynomial(5, test_count=3),
    ],
    ids=lambda data: data.settings["task"],
)
def test_data_without_a_cyclic_group_are_rejected(data):
    E = np.ones((data.d_in, 3))
    for function in (zl.fourier.features, zl.fourier.summary, zl.fourier.unit_shares):
        with pytest.raises(ValueError, match=r"data: expected a task with a cyclic group .*, got "):
            function(E, data)


def test_embeddings_that_do_not_fit_the_data_are_rejected():
    data = zl.datasets.modular_addition(7, test_count=3)
    with pytest.raises(ValueError, match=r"E: expected 7 rows, the number of inputs of the data, got shape \(6, 2\)"):
        zl.fourier.features(np.ones((6, 2)), data)
    with pytest.raises(TypeError, match="data: expected"):
        zl.fourier.features(np.ones((6, 2)), "modular_addition")
    with pytest.raises(ValueError, match="operand: expected together with data, got 1"):
        zl.fourier.features(np.ones((6, 2)), operand=1)


def test_the_group_is_saved_with_a_run(tmp_path):
    """This holds with noisy labels too."""
    data = zl.datasets.modular_division(5, test_count=3, label_noise=0.2)
    zl.simulate(zl.GradientDescent(lr=0.1), data, zl.networks.uniform_fan_in(data, 8, seed=0), steps=0).save(
        tmp_path / "a"
    )
    run = zl.load(tmp_path / "a")
    for rows, saved in zip(zl.fourier.group_rows(data), zl.fourier.group_rows(run.data), strict=True):
        np.testing.assert_array_equal(rows, saved)
    assert zl.fourier.group_rows(data)[1].tolist() == [6, 7, 9, 8]  # 2 is a primitive root of 5.


@pytest.mark.parametrize("p", [3, 4, 11, 12])
def test_coordinates_are_those_of_the_projection_onto_the_plane(p):
    """The points have the scalar products of the rows, projected by a pseudo-inverse."""
    E = np.random.default_rng(p).standard_normal((p, 7))
    for k, F in enumerate(defined_features(E), start=1):
        spanning = np.column_stack([F.real, F.imag])[:, : 1 if 2 * k == p else 2]
        projected = E @ spanning @ np.linalg.pinv(spanning)
        points = zl.fourier.circle(E, k)
        np.testing.assert_allclose(points @ points.T, projected @ projected.T, rtol=0, atol=1e-12)
        np.testing.assert_allclose(points[:, 0], E @ F.real / np.linalg.norm(F.real), rtol=0, atol=1e-12)
        assert 2 * k == p or points[:, 1] @ (E @ F.imag) < 0


def test_equal_and_orthogonal_vectors_give_a_circle():
    """With phases over a whole turn, element j is at the angle 2πjk/p. The radius is 2 ‖Re F_k‖ = √(8/2)."""
    E = waves(11, np.arange(8) * np.pi / 4)
    for k in range(1, 6):
        angle = 2 * np.pi * k * np.arange(11) / 11
        expected = 2 * np.column_stack([np.cos(angle), np.sin(angle)])
        np.testing.assert_allclose(zl.fourier.circle(E, k), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("frequency", "message"), [(0, "an integer of at least 1"), (6, "at most 5")])
def test_frequencies_that_do_not_exist_are_rejected(frequency, message):
    with pytest.raises(ValueError, match=f"frequency: expected {message}, got {frequency}"):
        zl.fourier.circle(np.ones((11, 2)), frequency)


#: Tasks modulo 7 with the function that combines the places of two operands in the group.
COMBINED = [
    (zl.datasets.modular_addition(7, test_count=3), lambda a, b: a + b),
    (zl.datasets.modular_addition(7, test_count=3, pairs="ordered", inputs="concatenated"), lambda a, b: a + b),
    (zl.datasets.modular_subtraction(7, test_count=3), lambda a, b: a - b),
    (zl.datasets.modular_multiplication(7, test_count=3), lambda a, b: a + b),
    (zl.datasets.modular_division(7, test_count=3), lambda a, b: a - b),
]


@pytest.mark.parametrize(("data", "combine"), COMBINED)
def test_phases_of_units_are_those_of_their_cosines(data, combine):
    """The oracle of the combined phase sums the product of a unit's cosines over all pairs of operands."""
    blocks = zl.fourier.group_rows(data)
    n, h = len(blocks[0]), 6
    random = np.random.default_rng(0)
    k = random.integers(1, (n - 1) // 2, size=h, endpoint=True)
    inputs, output = random.uniform(-np.pi, np.pi, (len(blocks), h)), random.uniform(-np.pi, np.pi, h)
    E, W = np.full((data.d_in, h), 9.0), np.full((h, data.d_out), 9.0)
    at = 2 * np.pi * np.arange(n)[:, None] * k / n
    for rows, phases in zip(blocks, inputs, strict=True):
        E[rows] = 3 * np.cos(at + phases)
    W[:, blocks[0]] = (2 * np.cos(at + output)).T
    found = zl.fourier.unit_phases(zl.networks.from_arrays(E, W), data)
    np.testing.assert_array_equal(found.frequency, k)
    np.testing.assert_allclose(found.share, 1, rtol=1e-12)
    np.testing.assert_allclose(found.inputs, inputs, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.output, output, rtol=0, atol=1e-12)
    first, second = inputs[0], inputs[-1]
    for u in range(h):
        total = sum(
            cmath.exp(-2j * math.pi * k[u] * combine(a, b) / n)
            * math.cos(2 * math.pi * k[u] * a / n + first[u])
            * math.cos(2 * math.pi * k[u] * b / n + second[u])
            for a in range(n)
            for b in range(n)
        )
        assert abs(cmath.exp(1j * found.combined[u]) - total / abs(total)) < 1e-12


def test_units_without_power_have_no_share():
    data = zl.datasets.modular_addition(5, test_count=3)
    found = zl.fourier.unit_phases(zl.networks.from_arrays(np.zeros((5, 2)), np.zeros((2, 5))), data)
    assert np.isnan(found.share).all()
    assert (found.power == 0).all()


def test_networks_that_do_not_fit_have_no_phases():
    data = zl.datasets.modular_addition(5, test_count=3)
    with pytest.raises(ValueError, match="net: expected 5 outputs, as the data have, got 4"):
        zl.fourier.unit_phases(zl.networks.from_arrays(np.zeros((5, 2)), np.zeros((2, 4))), data)
    with pytest.raises(TypeError, match="net: expected a Network"):
        zl.fourier.unit_phases(np.zeros((5, 2)), data)
