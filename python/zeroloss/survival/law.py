"""Laws of delays: how long runs take as a product of powers and exponentials, where some had not got there in time.

A run whose budget ended first is a right-censored observation: its delay is known to be longer. To leave such runs out,
or to take the budget for their delay, flattens every law, for the slowest runs are the ones censored. The accelerated
failure time model, here as lifelines fits it, uses what is known of each run: log delay = intercept + Σ b_j log x_j +
Σ c_k z_k + scale · noise.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _checks
from .._checks import ArgumentValueError
from .._choices import Distribution
from .maximum import without_maximum

__all__ = ["DISTRIBUTIONS", "DelayLaw", "Estimate", "UndeterminedError", "check_installed", "fit_law"]

#: The distributions of the noise: the fitter of lifelines, its two parameters, and the noise's median.
DISTRIBUTIONS: Mapping[str, tuple[str, str, str, float]] = {
    "log_normal": ("LogNormalAFTFitter", "mu_", "sigma_", 0.0),
    "weibull": ("WeibullAFTFitter", "lambda_", "rho_", math.log(math.log(2))),
    "log_logistic": ("LogLogisticAFTFitter", "alpha_", "beta_", 0.0),
}

_INTERCEPT = "Intercept"
_LEAST = 1e-9  # a delay's lower bound of 0 is this share of its upper one: lifelines takes logarithms
_NOTHING: Mapping[str, ArrayLike] = MappingProxyType({})


class UndeterminedError(ValueError):
    """The likelihood of a law has no maximum for these runs."""


@dataclass(frozen=True)
class Estimate:
    """A coefficient by maximum likelihood, and the ends of its confidence interval (Wald's)."""

    value: float
    low: float
    high: float

    def covers(self, value: float) -> bool:
        """Whether the interval holds a value."""
        return self.low <= value <= self.high


@dataclass(frozen=True)
class DelayLaw:
    """delay = exp(intercept) · Π x_j^powers[j] · exp(Σ rates[k] z_k) · noise^scale.

    Attributes
    ----------
    distribution : str
        Of the noise: one of `DISTRIBUTIONS`.
    powers, rates : mapping of name to Estimate
        The exponents of powers, and the rates of exponentials.
    intercept : Estimate
        The logarithm of the factor before them.
    scale : float
        The spread of log delay about the law: the standard deviation of a normal distribution, or 1 / shape.
    confidence : float
        Of the intervals.
    runs, censored : int
        How many runs the fit used, and how many of these had not generalised when they ended.
    log_likelihood, aic : float
        The greatest log-likelihood, and Akaike's criterion: of two laws for the same runs, the lesser one is better.
    """

    distribution: str
    powers: Mapping[str, Estimate]
    rates: Mapping[str, Estimate]
    intercept: Estimate
    scale: float
    confidence: float
    runs: int
    censored: int
    log_likelihood: float
    aic: float
    _names: tuple[str, ...] = field(repr=False)
    _covariance: NDArray[np.float64] = field(repr=False, compare=False)

    def median(self, **covariates: ArrayLike) -> NDArray[np.float64]:
        """Return the law's median delay where the covariates have given values, by the names of the fit."""
        log_delay = self._design(covariates) @ [own.value for own in self._coefficients().values()]
        return np.exp(log_delay + self.scale * DISTRIBUTIONS[self.distribution][3])

    def band(self, **covariates: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the ends of the interval of the median, at the law's confidence and at a given scale."""
        rows, middle = self._design(covariates), self.median(**covariates)
        error = np.sqrt(np.einsum("...i,ij,...j->...", rows, self._covariance, rows))
        return middle * np.exp(-_quantile(self.confidence) * error), middle * np.exp(_quantile(self.confidence) * error)

    def _coefficients(self) -> dict[str, Estimate]:
        own = {**self.powers, **self.rates, _INTERCEPT: self.intercept}
        return {name: own[name] for name in self._names}

    def _design(self, covariates: Mapping[str, ArrayLike]) -> NDArray[np.float64]:
        if set(covariates) != {*self.powers, *self.rates}:
            expected = ", ".join([*self.powers, *self.rates])
            raise ArgumentValueError("covariates", f"expected {expected}, got {', '.join(covariates) or 'none'}")
        columns = {name: np.asarray(values, np.float64) for name, values in covariates.items()}
        logs = {name: np.log(columns[name]) for name in self.powers}
        given = {**columns, **logs, _INTERCEPT: np.ones(())}
        return np.stack(np.broadcast_arrays(*(given[name] for name in self._names)), axis=-1)


def fit_law(
    earliest: ArrayLike,
    latest: ArrayLike,
    *,
    powers: Mapping[str, ArrayLike] = _NOTHING,
    rates: Mapping[str, ArrayLike] = _NOTHING,
    distribution: Distribution = "log_normal",
    confidence: float = 0.95,
) -> DelayLaw:
    """Fit a law to delays of which only bounds may be known, by maximum likelihood.

    Parameters
    ----------
    earliest, latest : array_like, (runs,)
        The bounds of each run's delay (`zeroloss.metrics.Delay.bounds`): the same twice where it is known, with
        records between them where it is known to an interval, and ``latest`` inf where the run is censored.
    powers : mapping of name to array_like, (runs,)
        Covariates above 0 that the delay is a power of: ``{"lr_weight_decay": lr * weight_decay}`` for
        delay ∝ (lr · weight_decay)^b.
    rates : mapping of name to array_like, (runs,)
        Covariates that the delay is an exponential of: ``{"fraction": fraction}`` for delay ∝ exp(c · fraction).
    distribution : {"log_normal", "weibull", "log_logistic"}
        Of the noise.
    confidence : float
        Of the intervals, in (0, 1).

    Returns
    -------
    DelayLaw
        Estimates with intervals; its ``aic`` chooses between distributions, and between a power and an exponential.

    Raises
    ------
    ImportError
        Without lifelines, which the extra ``survival`` brings.
    ValueError
        For bounds or covariates that do not fit together, and delays that are not above 0; an UndeterminedError, which
        says why, if the likelihood has no maximum: all runs are censored, a covariate has one value or separates the
        censored runs from the others, or a law fits all runs, within their intervals or, if known, exactly.
    ArithmeticError
        If lifelines does not find the maximum.
    """
    _checks.choice("distribution", distribution, DISTRIBUTIONS)
    confidence = _checks.below_one("confidence", _checks.positive("confidence", confidence))
    low, high = _bounds(earliest, latest)
    columns = _columns(powers, rates, len(low))
    unit = np.exp(np.log(low).mean()) if len(low) else 1.0
    log_low = np.where(np.asarray(earliest, np.float64) > 0, np.log(low / unit), -np.inf)
    covariates = np.array([*columns.values()]).reshape(len(columns), len(low)).T
    if why := without_maximum(log_low, np.log(high / unit), list(columns), covariates):
        raise UndeterminedError(f"fit_law: {why}")
    name, location, spread, _ = DISTRIBUTIONS[distribution]
    check_installed()
    import lifelines  # noqa: PLC0415 — an extra, and slow to import
    import pandas as pd  # noqa: PLC0415

    # lifelines' optimiser may stop short where the intercept is far from 0 or correlates with the coefficients
    means = {one: values.mean() for one, values in columns.items()}
    centred = {one: values - means[one] for one, values in columns.items()}
    fitter = getattr(lifelines, name)(alpha=1 - confidence)
    with warnings.catch_warnings():
        warnings.simplefilter("error", lifelines.exceptions.ApproximationWarning)
        warnings.simplefilter("error", lifelines.exceptions.StatisticalWarning)
        try:
            fitter.fit_interval_censoring(
                pd.DataFrame({"earliest": low / unit, "latest": high / unit, **centred}), "earliest", "latest"
            )
        except (lifelines.exceptions.ConvergenceError, Warning):
            raise ArithmeticError("fit_law: no maximum of the likelihood was found; try fewer covariates") from None
    if not np.isfinite(fitter.variance_matrix_.to_numpy()).all():
        raise ArithmeticError("fit_law: the likelihood is flat at its maximum, to rounding; try fewer covariates")
    names = (*columns, _INTERCEPT)
    values = fitter.params_[location].loc[list(names)].to_numpy()
    covariance = fitter.variance_matrix_.loc[location, location].loc[list(names), list(names)].to_numpy()
    back = np.eye(len(names))  # from centred covariates and that unit of time
    back[-1, :-1] = [-mean for mean in means.values()]
    values, covariance = back @ values, back @ covariance @ back.T
    values[-1] += np.log(unit)
    half = _quantile(confidence) * np.sqrt(np.diag(covariance))
    ends = zip(values, values - half, values + half, strict=True)
    found = {one: Estimate(*map(float, estimate)) for one, estimate in zip(names, ends, strict=True)}
    scale = float(np.exp(fitter.params_[spread].iloc[0]))
    log_likelihood = float(fitter.log_likelihood_) - int((low == high).sum()) * float(np.log(unit))
    return DelayLaw(
        distribution=distribution,
        powers={one: found[one] for one in powers},
        rates={one: found[one] for one in rates},
        intercept=found[_INTERCEPT],
        scale=scale if distribution == "log_normal" else 1 / scale,
        confidence=confidence,
        runs=len(low),
        censored=int(np.isinf(high).sum()),
        log_likelihood=log_likelihood,
        aic=2 * (len(names) + 1 - log_likelihood),
        _names=names,
        _covariance=covariance,
    )


def check_installed() -> None:
    """Raise ImportError where lifelines is missing, as before long work whose end needs it."""
    try:
        import lifelines  # noqa: F401, PLC0415
    except ImportError:
        raise _checks.missing_library("laws of delays", "lifelines", "survival") from None


def _quantile(confidence: float) -> float:
    from scipy.special import ndtri  # noqa: PLC0415

    return float(ndtri((1 + confidence) / 2))


def _bounds(earliest: ArrayLike, latest: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    low, high = np.asarray(earliest, np.float64), np.asarray(latest, np.float64)
    if low.ndim != 1 or low.shape != high.shape:
        raise ArgumentValueError(
            ("earliest", "latest"), f"expected two vectors of one length, got shapes {low.shape}, {high.shape}"
        )
    if not (np.isfinite(low).all() and (low <= high).all() and (high > 0).all()):
        raise ArgumentValueError(
            ("earliest", "latest"), "expected finite earliest ≤ latest, latest above 0, got others among them"
        )
    least = _LEAST * np.where(np.isfinite(high), high, 1.0)
    return np.maximum(low, least), high


def _columns(
    powers: Mapping[str, ArrayLike], rates: Mapping[str, ArrayLike], runs: int
) -> dict[str, NDArray[np.float64]]:
    """Return the columns of the linear model for log delay, checked."""
    if twice := {*powers} & {*rates}:
        raise ArgumentValueError(
            ("powers", "rates"), f"expected different names, got {', '.join(sorted(twice))} in both"
        )
    columns = {}
    for name, given in {**powers, **rates}.items():
        values = np.asarray(given, np.float64)
        if name in {_INTERCEPT, "earliest", "latest"}:
            raise ArgumentValueError(("powers", "rates"), f"expected names of covariates, got {name}, which is taken")
        if values.shape != (runs,) or not np.isfinite(values).all():
            raise ArgumentValueError(name, f"expected {runs} finite numbers, got shape {values.shape}")
        if name in powers and not (values > 0).all():
            raise ArgumentValueError(
                name, f"expected numbers above 0, got {values.min():g}; an exponential takes others"
            )
        columns[name] = np.log(values) if name in powers else values
    return columns
