"""Laws of delays: the delay as a product of powers and exponentials, fitted to runs of which some are censored.

A run that ended before it generalised is a right-censored observation: its delay is known to be longer. If such runs
were left out, or their last step was taken for the delay, every law would be too flat, because the slowest runs are
the censored ones. The accelerated failure time model, fitted by lifelines, uses the bounds of each run:
log delay = intercept + Σ b_j log x_j + Σ c_k z_k + scale · noise.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _checks, _display
from .._checks import ArgumentValueError
from .._choices import Distribution
from .maximum import explain_no_maximum

__all__ = ["DISTRIBUTIONS", "DelayLaw", "Estimate", "UndeterminedError", "check_installed", "fit_law"]

#: The distributions of the noise: the fitter of lifelines, its two parameters, and the median of the noise.
DISTRIBUTIONS: Mapping[str, tuple[str, str, str, float]] = {
    "log_normal": ("LogNormalAFTFitter", "mu_", "sigma_", 0.0),
    "weibull": ("WeibullAFTFitter", "lambda_", "rho_", math.log(math.log(2))),
    "log_logistic": ("LogLogisticAFTFitter", "alpha_", "beta_", 0.0),
}

_INTERCEPT = "Intercept"
_LEAST = 1e-9  # a lower bound of 0 becomes this share of the upper bound, because lifelines takes logarithms
_NOTHING: Mapping[str, ArrayLike] = MappingProxyType({})


class UndeterminedError(ValueError):
    """The likelihood of a law has no maximum for these runs."""


@dataclass(frozen=True)
class Estimate:
    """A coefficient by maximum likelihood, with Wald's confidence interval.

    Attributes
    ----------
    value : float
        The estimate.
    low : float
        The lower end of the interval.
    high : float
        The upper end of the interval.
    """

    value: float
    low: float
    high: float

    def covers(self, value: float) -> bool:
        """Return whether the interval contains a value.

        Parameters
        ----------
        value : float
            The value.

        Returns
        -------
        bool
            Whether low ≤ value ≤ high.
        """
        return self.low <= value <= self.high


@dataclass(frozen=True)
class DelayLaw:
    """The law delay = exp(intercept) · Π x_j^powers[j] · exp(Σ rates[k] z_k) · noise^scale.

    Attributes
    ----------
    distribution : str
        The distribution of the noise, one of `DISTRIBUTIONS`.
    powers : mapping of name to Estimate
        The exponents of the powers.
    rates : mapping of name to Estimate
        The rates of the exponentials.
    intercept : Estimate
        The logarithm of the constant factor.
    scale : float
        The spread of log delay about the law: the standard deviation of a normal distribution, or 1 / shape.
    confidence : float
        The confidence level of the intervals, in (0, 1).
    runs : int
        The number of runs in the fit.
    censored : int
        The number of these runs that ended before they generalised.
    log_likelihood : float
        The maximum of the log-likelihood.
    aic : float
        Akaike's criterion. Of two laws for the same runs, the one with the smaller value is better.
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
        """Compute the median delay at given values of the covariates.

        Parameters
        ----------
        **covariates : array_like
            A value, or an array of values, for each covariate of the fit, by its name. The arrays are broadcast.

        Returns
        -------
        ndarray
            The medians, in the units of the fitted delays.

        Raises
        ------
        ValueError
            If the names are not the covariates of the fit.
        """
        log_delay = self._design(covariates) @ [estimate.value for estimate in self._coefficients().values()]
        return np.exp(log_delay + self.scale * DISTRIBUTIONS[self.distribution][3])

    def band(self, **covariates: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Compute the confidence interval of the median at given values of the covariates, for a fixed scale.

        Parameters
        ----------
        **covariates : array_like
            A value, or an array of values, for each covariate of the fit, by its name. The arrays are broadcast.

        Returns
        -------
        low : ndarray
            The lower ends, at the confidence of the law.
        high : ndarray
            The upper ends.

        Raises
        ------
        ValueError
            If the names are not the covariates of the fit.
        """
        rows, middle = self._design(covariates), self.median(**covariates)
        error = np.sqrt(np.einsum("...i,ij,...j->...", rows, self._covariance, rows))
        return middle * np.exp(-_quantile(self.confidence) * error), middle * np.exp(_quantile(self.confidence) * error)

    def _repr_html_(self) -> str:
        share = f"{100 * self.confidence:g} % interval"
        rows: dict[str, object] = {
            name: f"{estimate.value:.4g}, {share} {estimate.low:.4g} to {estimate.high:.4g}"
            for name, estimate in self._coefficients().items()
        }
        rows |= {"scale": self.scale, "runs": f"{self.runs}, {self.censored} of them censored", "AIC": self.aic}
        return _display.format_html(f"Law of delays, {self.distribution}", rows)

    def _coefficients(self) -> dict[str, Estimate]:
        """Return the estimates by name, in the order of the covariance."""
        estimates = {**self.powers, **self.rates, _INTERCEPT: self.intercept}
        return {name: estimates[name] for name in self._names}

    def _design(self, covariates: Mapping[str, ArrayLike]) -> NDArray[np.float64]:
        """Return the rows of the linear model for log delay."""
        if set(covariates) != {*self.powers, *self.rates}:
            expected = ", ".join([*self.powers, *self.rates])
            raise ArgumentValueError("covariates", f"expected {expected}, got {', '.join(covariates) or 'none'}")
        columns = {name: np.asarray(values, np.float64) for name, values in covariates.items()}
        logs = {name: np.log(columns[name]) for name in self.powers}
        terms = {**columns, **logs, _INTERCEPT: np.ones(())}
        return np.stack(np.broadcast_arrays(*(terms[name] for name in self._names)), axis=-1)


def fit_law(
    earliest: ArrayLike,
    latest: ArrayLike,
    *,
    powers: Mapping[str, ArrayLike] = _NOTHING,
    rates: Mapping[str, ArrayLike] = _NOTHING,
    distribution: Distribution = "log_normal",
    confidence: float = 0.95,
) -> DelayLaw:
    """Fit a law to delays by maximum likelihood, if only bounds of the delays may be known.

    Parameters
    ----------
    earliest : array_like, (runs,)
        The lower bound of each delay (`zeroloss.metrics.Delay.bounds`). Equal to ``latest`` if the delay is known.
    latest : array_like, (runs,)
        The upper bound of each delay. Infinite if the run is censored.
    powers : mapping of name to array_like, (runs,)
        The covariates above 0 of which the delay is a power: ``{"lr_weight_decay": lr * weight_decay}`` for
        delay ∝ (lr · weight_decay)^b. None by default.
    rates : mapping of name to array_like, (runs,)
        The covariates of which the delay is an exponential: ``{"fraction": fraction}`` for delay ∝ exp(c · fraction).
        None by default.
    distribution : {"log_normal", "weibull", "log_logistic"}
        The distribution of the noise.
    confidence : float
        The confidence level of the intervals, in (0, 1). By default 0.95.

    Returns
    -------
    DelayLaw
        Estimates with intervals. Its ``aic`` can decide between distributions, and between a power and an exponential.

    Raises
    ------
    ImportError
        If lifelines is not installed. The extra ``survival`` installs it.
    ValueError
        If bounds or covariates do not fit together, or a delay is not above 0. It is an UndeterminedError, with the
        cause, if the likelihood has no maximum: all runs are censored, a covariate has one value or separates the
        censored runs from the others, or a law fits all runs within their intervals or, if the delays are known,
        exactly.
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
    if why := explain_no_maximum(log_low, np.log(high / unit), list(columns), covariates):
        raise UndeterminedError(f"fit_law: {why}")
    name, location, spread, _ = DISTRIBUTIONS[distribution]
    check_installed()
    import lifelines  # noqa: PLC0415 — an extra, and slow to import
    import pandas as pd  # noqa: PLC0415

    # lifelines' optimiser may stop early if the intercept is far from 0 or correlates with the coefficients.
    means = {covariate: values.mean() for covariate, values in columns.items()}
    centred = {covariate: values - means[covariate] for covariate, values in columns.items()}
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
    back = np.eye(len(names))  # undoes the centring, and the unit of time
    back[-1, :-1] = [-mean for mean in means.values()]
    values, covariance = back @ values, back @ covariance @ back.T
    values[-1] += np.log(unit)
    half = _quantile(confidence) * np.sqrt(np.diag(covariance))
    ends = zip(values, values - half, values + half, strict=True)
    estimates = {name: Estimate(*map(float, numbers)) for name, numbers in zip(names, ends, strict=True)}
    scale = float(np.exp(fitter.params_[spread].iloc[0]))
    log_likelihood = float(fitter.log_likelihood_) - int((low == high).sum()) * float(np.log(unit))
    return DelayLaw(
        distribution=distribution,
        powers={name: estimates[name] for name in powers},
        rates={name: estimates[name] for name in rates},
        intercept=estimates[_INTERCEPT],
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
    """Raise ImportError if lifelines is not installed, for example before a long run whose analysis needs it.

    Raises
    ------
    ImportError
        If lifelines is not installed. The extra ``survival`` installs it.
    """
    try:
        import lifelines  # noqa: F401, PLC0415
    except ImportError:
        raise _checks.missing_library("laws of delays", "lifelines", "survival") from None


def _quantile(confidence: float) -> float:
    """Return the quantile of the normal distribution for a two-sided interval."""
    from scipy.special import ndtri  # noqa: PLC0415

    return float(ndtri((1 + confidence) / 2))


def _bounds(earliest: ArrayLike, latest: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Check the bounds. A lower bound of at most 0 is replaced by a small number."""
    low, high = np.asarray(earliest, np.float64), np.asarray(latest, np.float64)
    if low.ndim != 1 or low.shape != high.shape:
        raise ArgumentValueError(
            ("earliest", "latest"), f"expected two vectors of one length, got shapes {low.shape}, {high.shape}"
        )
    if not (np.isfinite(low).all() and (low <= high).all() and (high > 0).all()):
        raise ArgumentValueError(
            ("earliest", "latest"), "expected finite earliest ≤ latest with latest above 0, got other bounds among them"
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
    for name, column in {**powers, **rates}.items():
        values = np.asarray(column, np.float64)
        if name in {_INTERCEPT, "earliest", "latest"}:
            raise ArgumentValueError(
                ("powers", "rates"), f"expected names of covariates, got {name}, which has another meaning"
            )
        if values.shape != (runs,) or not np.isfinite(values).all():
            raise ArgumentValueError(name, f"expected {runs} finite numbers, got shape {values.shape}")
        if name in powers and not (values > 0).all():
            raise ArgumentValueError(
                name, f"expected numbers above 0, got {values.min():g}; a rate may have any numbers"
            )
        columns[name] = np.log(values) if name in powers else values
    return columns
