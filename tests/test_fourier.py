"""Fourier features against their definition, and their summary against embeddings whose answers are exact."""

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
    """cos(2π jk/p + φ): a unit for every frequency below p/2 and every phase, so that F_k = e^{iφ}/2 on its units."""
    j, k = np.arange(p)[:, None], np.repeat(np.arange(1, (p + 1) // 2), len(phases))
    return np.cos(2 * np.pi * j * k / p + np.tile(phases, (p - 1) // 2))


@pytest.mark.parametrize("p", [2, 3, 4, 11, 12, 37])
def test_features_are_the_defined_sums(p):
    E = np.random.default_rng(p).standard_normal((p, 7))
    F = zl.fourier.features(E)
    assert F.shape == (p // 2, 7)
    np.testing.assert_allclose(F, defined_features(E), rtol=0, atol=1e-14)


def test_features_take_any_real_array():
    E = np.arange(15).reshape(5, 3)
    np.testing.assert_allclose(zl.fourier.features(E.astype(">f4")), zl.fourier.features(E), rtol=0, atol=1e-14)
    np.testing.assert_array_equal(zl.fourier.features(np.asfortranarray(E)), zl.fourier.features(E))


def test_circles_on_their_axes():
    """A unit cos and a unit sin for every frequency: Re F_k and Im F_k are half a unit vector each."""
    found = zl.fourier.summary(waves(11, [0.0, -np.pi / 2]))
    np.testing.assert_array_equal(found.frequency, np.repeat(np.arange(1, 6), 2))
    np.testing.assert_allclose(found.norms, 0.5, rtol=1e-14)
    np.testing.assert_allclose(found.cosines, np.eye(10), atol=1e-14)
    np.testing.assert_allclose(found.absolute_cosines, np.eye(10), atol=1e-14)
    expected = {"spread": 0, "largest_cosine": 0, "within": 0, "across": 0, "strongest_share": 1, "frequencies_used": 5}
    assert found.numbers() == pytest.approx(expected, abs=1e-14)


def test_circles_at_all_phases():
    """Eight phases a frequency: Re and Im are orthogonal, their absolute values at the mean of |sin 2φ| = 1/2."""
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


def test_unequal_norms_and_power():
    """Two units: cos at k = 1 of size 3, and cos at k = 1 and k = 2 of sizes 1 and 2; sin nowhere."""
    j = 2 * np.pi * np.arange(5) / 5
    found = zl.fourier.summary(np.stack([3 * np.cos(j), np.cos(j) + 2 * np.cos(2 * j)], axis=1))
    np.testing.assert_allclose(found.norms, [10**0.5 / 2, 0, 1, 0], atol=1e-15)
    assert found.cosines[0, 2] == pytest.approx(10**-0.5, abs=1e-14)
    assert found.strongest_share == pytest.approx((9 + 4) / (9 + 5), abs=1e-14)
    assert found.frequencies_used == 2


def test_even_moduli_have_one_real_vector_more():
    found = zl.fourier.summary(np.random.default_rng(0).standard_normal((6, 4)))
    np.testing.assert_array_equal(found.frequency, [1, 1, 2, 2, 3])
    assert np.isfinite(found.cosines).all()


def test_units_that_are_zero_change_nothing():
    E = np.random.default_rng(1).standard_normal((7, 5))
    padded = zl.fourier.summary(np.hstack([E, np.zeros((7, 3))]))
    assert padded.numbers() == pytest.approx(zl.fourier.summary(E).numbers(), rel=1e-14)


def test_an_embedding_without_features_has_no_cosines():
    found = zl.fourier.summary(np.zeros((5, 3)))
    assert np.isnan(found.cosines).all()
    assert math.isnan(found.spread)
    assert math.isnan(found.strongest_share)
    assert found.frequencies_used == 0


@pytest.mark.parametrize("E", [np.ones(5), np.ones((1, 3)), np.ones((5, 0)), np.full((5, 2), np.nan)])
def test_bad_embeddings_are_told(E):
    with pytest.raises(ValueError, match=r"E: expected .* got "):
        zl.fourier.features(E)
