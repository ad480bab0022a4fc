"""Exactly the fits whose likelihood has no maximum are rejected: by cases, and by a general optimiser."""

import math

import numpy as np
import pytest
import scipy.optimize
import scipy.special

from zeroloss.survival import UndeterminedError, fit_law
from zeroloss.survival.maximum import explain_no_maximum

INF = math.inf
DECAY = {"powers": {"decay": [1e-3, 5e-4, 2.5e-4]}}

#: For each noise, the logarithms of the density, up to a constant, and of the survival function.
NOISE = {
    "log_normal": (lambda u: -(u**2) / 2, lambda u: scipy.special.log_ndtr(-u)),
    "weibull": (lambda u: u - np.exp(u), lambda u: -np.exp(u)),
    "log_logistic": (lambda u: u - 2 * np.logaddexp(0, u), lambda u: -np.logaddexp(0, u)),
}


@pytest.mark.parametrize("distribution", NOISE)
@pytest.mark.parametrize(
    ("earliest", "latest", "covariates", "message"),
    [
        (
            [950, 1950, 3950],
            [1050, 2050, 4050],
            DECAY,
            "a law fits every run within its interval, .* record more often",
        ),
        (
            [1000, 2000, 4000],
            [1000, 2000, 4000],
            DECAY,
            "a law fits every known delay exactly, .* scale goes to 0; add",
        ),
        ([1000, 1950, 3950], [1000, 2050, INF], DECAY, "a law fits every known delay exactly"),
        ([1000, 2100, 4000], [INF, INF, INF], DECAY, "every run is censored, so the likelihood has no maximum"),
        ([1000, 2100], [1000, 2100], {"powers": {"decay": [1e-3, 5e-4]}}, "a law fits every known delay exactly"),
        ([1000], [1000], {"powers": {"decay": [1e-3]}}, "2 coefficients need at least as many runs, got 1"),
        ([1000, 900, 990], [1000, 900, 990], {"powers": {"decay": [1e-3] * 3}}, "decay has the same value in every"),
        ([7, 7, 7], [7, 7, 7], {}, "a law fits every known delay exactly"),
        (
            [1000, 1100, 5000, 4000],
            [1000, 1100, INF, INF],
            {"powers": {"decay": [1e-3, 1e-3, 1e-4, 3e-4]}},
            "decay separates the censored runs from the others, .* it grows with the coefficient; simulate for more",
        ),
        (
            [9, 8, 7, 9],
            [9, 8, 7, 9],
            {"rates": {"a": [0, 1, 2, 3], "b": [1, 3, 5, 7]}},
            "a and b are linearly dependent",
        ),
        (
            [0, 0, 9, 9],
            [5, 6, INF, INF],
            {"rates": {"a": [0, 0, 1, -1]}},
            "no delay has both a lower bound above 0 and an",
        ),
        ([0, 9, 5, 6], [5, INF, 6, 7], {"rates": {"a": [1, 0, 0, 0]}}, "a separates the censored runs from the others"),
    ],
)
def test_a_likelihood_without_a_maximum_is_rejected(earliest, latest, covariates, message, distribution):
    with pytest.raises(UndeterminedError, match=f"^fit_law: {message}"):
        fit_law(earliest, latest, **covariates, distribution=distribution)


def test_a_likelihood_with_a_maximum_is_fitted():
    """These cases are close to the ones above: one exception, censored runs on both sides, contradicting intervals."""
    fit_law([1000, 2000, 4100], [1000, 2000, 4100], **DECAY)
    fit_law([1000, 1100, 5000, 5000], [1000, 1100, INF, INF], rates={"a": [0, 0, 1, -1]})
    found = fit_law([950, 1950, 3950, 1900], [1050, 2050, 4050, INF], powers={"decay": [1e-3, 5e-4, 2.5e-4, 1e-3]})
    assert found.censored == 1


def log_likelihood(parameters, low, high, design, noise):
    """Return the log likelihood in (γ, τ) = (coefficients, 1) / scale, where it is concave; bounds are logarithms."""
    density, survival = noise
    *slopes, tau = parameters
    below, above = (np.clip(tau * bound - design @ slopes, -700, 700) for bound in (low, high))
    exact = low == high
    known = density(below) + np.log(tau)
    tails = [
        np.where(np.isinf(bound), limit, survival(u)) for bound, u, limit in ((low, below, 0), (high, above, -np.inf))
    ]
    with np.errstate(divide="ignore"):
        between = tails[0] + np.log1p(-np.exp(tails[1] - tails[0]))
    return np.where(exact, known, between).sum()


def has_maximum(low, high, values, noise):
    """Return whether the likelihood is curved at its greatest value. Without a maximum it is flat there."""
    design = np.column_stack([values, np.ones(len(values))])

    def minus_log_likelihood(parameters):
        return min(-log_likelihood(parameters, low, high, design, noise), 1e6) if parameters[-1] > 0 else 1e6

    ends = [*[(-99, 99)] * design.shape[1], (1e-3, 99)]
    found = scipy.optimize.minimize(
        minus_log_likelihood, [0, low[np.isfinite(low)].mean(), 1], method="L-BFGS-B", bounds=ends
    )
    found = scipy.optimize.minimize(
        minus_log_likelihood, found.x, method="Nelder-Mead", bounds=ends, options={"maxiter": 2000}
    )
    size = 1e-2
    unit = size * np.eye(len(found.x))
    hessian = [
        [
            sum(s * t * minus_log_likelihood(found.x + s * a + t * b) for s in (1, -1) for t in (1, -1)) / (4 * size**2)
            for a in unit
        ]
        for b in unit
    ]
    return np.abs(found.x).max() < 90 and np.linalg.eigvalsh(hessian)[0] > 1e-3


@pytest.mark.parametrize("distribution", NOISE)
def test_verdicts_agree_with_a_general_optimiser(distribution):
    """Separation and perfect fits are common in small problems with few different values."""
    random = np.random.default_rng(2)
    verdicts = []
    for _ in range(24):
        runs = random.integers(3, 7)
        low = random.integers(0, 4, runs).astype(float)
        high = low + random.choice([0, 1, 2, INF], runs, p=[0.3, 0.2, 0.2, 0.3])
        low[(random.random(runs) < 0.1) & np.isfinite(high)] = -INF
        values = random.integers(0, 3, (runs, 1)).astype(float)
        why = explain_no_maximum(low, high, ["a"], values)
        if why is not None and "same value" in why:
            continue
        assert (why is None) == has_maximum(low, high, values, NOISE[distribution]), (low, high, values.ravel(), why)
        verdicts.append(why is None)
    assert 5 < sum(verdicts) < len(verdicts) - 5
