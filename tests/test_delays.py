"""Delays by several definitions, and laws fitted to them if some runs are censored."""

import sys

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import xarray as xr

import zeroloss as zl
from zeroloss.metrics import Crossing, Level
from zeroloss.survival import fit_law

STEPS = [0, 10, 20, 40, 80, 160]


def curve(*values):
    return xr.DataArray(np.array(values, float), {"step": STEPS[: len(values)]}, "step")


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        ((0, 0.4, 0.6, 0.7, 0.2, 0.9), {}, Crossing(11, 20)),
        ((0.5, 0, 0, 0, 0, 0), {}, Crossing(0, 0)),
        ((0, 0, 0, 0, 0, 0.4), {}, Crossing(161, None)),
        ((0, 0.4, 0.6, 0.2, 0.6, 0.9), {"sustained": 2}, Crossing(41, 80)),
        ((0, 0.4, 0.6, 0.2, 0.6, 0.9), {"sustained": 3}, Crossing(41, None)),  # The curve ends too early.
        ((0, 0.9, 0.9, 0.9, 0.9, 0.2), {"sustained": 5}, Crossing(161, None)),
        ((0.9, 0.9), {"sustained": 3}, Crossing(0, None)),
        ((0.9, np.nan, 0.6, 0.5, 0.1, 0), {"direction": "below"}, Crossing(21, 40)),
        ((0.1, np.nan, 0.6, 0.5, 0.1, 0.6), {"direction": "below", "sustained": 2}, Crossing(21, 40)),
        ((), {}, Crossing(0, None)),
    ],
)
def test_crossings_have_the_bounds_of_their_records(values, options, expected):
    assert zl.metrics.crossing(curve(*values), 0.5, **options) == expected
    assert zl.metrics.crossing_step(curve(*values), 0.5, **options) == expected.step


def test_delays_agree_with_their_definitions():
    history = xr.Dataset(
        {
            "train_accuracy": curve(0, 1, 0, 1, 1, 1),
            "test_accuracy": curve(0, 0, 0.6, 0, 0.7, 0.9),
            "train_loss": curve(1, 0.5, 0.1, 0, 0, 0),
            "test_loss": curve(1, 2, 2, 2, 1, 0.8),
        }
    )
    found = zl.metrics.delays(
        history,
        {
            "first": (Level("train_accuracy", 1), Level("test_accuracy", 0.5)),
            "sustained": (Level("train_accuracy", 1, sustained=2), Level("test_accuracy", 0.5, sustained=2)),
            "longer": (Level("train_accuracy", 1, sustained=3), Level("test_accuracy", 0.5, sustained=3)),
            "loss": (Level("train_loss", 0.2, direction="below"), Level("test_loss", 0.8, direction="below")),
            "never": (Level("train_accuracy", 1, sustained=9), Level("test_accuracy", 0.5)),
            "before": (Level("train_loss", 0.05, direction="below"), Level("test_accuracy", 0.5)),
        },
    )
    assert {name: (own.memorised, own.censored, own.steps) for name, own in found.items()} == {
        "first": (True, False, 10),
        "sustained": (True, False, 40),
        "longer": (True, True, None),
        "loss": (True, False, 140),
        "never": (False, False, None),
        "before": (True, False, -20),
    }
    assert found["first"].bounds == (1, 19)
    assert found["sustained"].bounds == (1, 59)
    assert found["longer"].bounds == (1, np.inf)
    assert np.isnan(found["never"].bounds).all()
    with pytest.raises(ValueError, match=r"curve: expected one of train_accuracy, .*, got 'accuracy'"):
        zl.metrics.delays(history, {"first": (Level("accuracy", 1), Level("test_accuracy", 0.5))})
    with pytest.raises(ValueError, match="direction: expected one of above, below, got 'under'"):
        Level("test_loss", 0.1, direction="under")


def test_bounds_contain_the_delay_for_any_spacing_of_records():
    """The curves cross once and have random records. The true delay is within the bounds, or beyond a censored one."""
    random = np.random.default_rng(0)
    definitions = {"": (Level("train_accuracy", 1.0), Level("test_accuracy", 0.5, sustained=2))}
    censored = 0
    for _ in range(200):
        memorised, generalised = random.integers(1, 500), random.integers(1, 2000)
        steps = np.unique(np.append(random.integers(1, 1500, 30), 0))
        curves = {"train_accuracy": steps >= memorised, "test_accuracy": steps >= generalised}
        history = xr.Dataset({name: ("step", values * 1.0) for name, values in curves.items()}, {"step": steps})
        delay = zl.metrics.delays(history, definitions)[""]
        assert delay.bounds[0] <= generalised - memorised <= delay.bounds[1]
        censored += delay.censored
    assert 20 < censored < 180


def draw_runs_of_a_law(seed, runs=60, noise=0.7, share=0.4):
    """Draw log delay = 2 − log x + normal noise, with one budget for all, so that the given share is censored."""
    random = np.random.default_rng(seed)
    x = np.exp(random.uniform(np.log(3e-4), np.log(1e-2), runs))
    delay = np.exp(2 - np.log(x) + noise * random.standard_normal(runs))
    budget = np.quantile(delay, 1 - share)
    return x, np.minimum(delay, budget), np.where(delay < budget, delay, np.inf)


def fit_least_squares(x, delay):
    """Return the exponent by least squares on log–log axes, and the ends of Student's 95 % interval."""
    fit = scipy.stats.linregress(np.log(x), np.log(delay))
    half = scipy.stats.t.ppf(0.975, len(x) - 2) * fit.stderr
    return fit.slope, fit.slope - half, fit.slope + half


def test_the_true_exponent_is_recovered_and_naive_fits_fail():
    x, low, high = draw_runs_of_a_law(0, runs=100)
    law = fit_law(low, high, powers={"x": x})
    assert (law.runs, law.censored) == (100, 40)
    assert law.powers["x"].covers(-1.0)
    assert law.powers["x"].value == pytest.approx(-1, abs=0.2)
    assert law.powers["x"].high < -0.75
    assert law.scale == pytest.approx(0.7, abs=0.15)
    ended = np.isfinite(high)
    for values in (fit_least_squares(x[ended], low[ended]), fit_least_squares(x, low)):
        assert values[1] > -1  # All of the interval is on one side of the true exponent.


def test_intervals_have_their_coverage():
    """Of 20 sets at 95 %, fewer than 15 covered would have a probability of 0.0003 by the binomial law."""
    least = int(scipy.stats.binom.ppf(1e-3, 20, 0.95))
    assert (least, scipy.stats.binom.cdf(least - 1, 20, 0.95)) == (15, pytest.approx(3.3e-4, abs=1e-5))
    covered = dropped = taken = 0
    for seed in range(20):
        x, low, high = draw_runs_of_a_law(100 + seed)
        covered += fit_law(low, high, powers={"x": x}).powers["x"].covers(-1.0)
        ended = np.isfinite(high)
        dropped += fit_least_squares(x[ended], low[ended])[1] <= -1.0
        taken += fit_least_squares(x, low)[1] <= -1.0
    assert covered >= least
    assert dropped < least
    assert taken == 0


#: The distribution of the standardised log delay for each name.
NOISE = {
    "log_normal": scipy.stats.norm,
    "weibull": scipy.stats.gumbel_l,
    "log_logistic": scipy.stats.logistic,
}


def fit_by_hand(low, high, columns, noise):
    """Maximise the censored likelihood with a general optimiser; return values, errors and log-likelihood."""
    design = np.stack([*columns, np.ones(len(low))], axis=1)
    exact, open_ended = low == high, np.isinf(high)

    def minus_log_likelihood(parameters):
        scale = np.exp(parameters[-1])
        z_low, z_high = ((np.log(t) - design @ parameters[:-1]) / scale for t in (low, high))
        terms = np.where(exact, noise.logpdf(z_low) - np.log(scale) - np.log(low), 0.0)
        terms += np.where(open_ended, noise.logsf(z_low), 0.0)
        between = np.where(exact | open_ended, 1.0, noise.cdf(z_high) - noise.cdf(z_low))
        return -np.sum(terms + np.log(np.maximum(between, 1e-300)))

    middle = np.log(np.where(open_ended, low, np.sqrt(low * np.where(open_ended, low, high))))
    start = np.append(np.linalg.lstsq(design, middle, rcond=None)[0], 0.0)
    found = scipy.optimize.minimize(minus_log_likelihood, start, method="BFGS")
    found = scipy.optimize.minimize(
        minus_log_likelihood, found.x, method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12, "maxiter": 5000}
    )
    size, d = 1e-4, len(found.x)
    unit = size * np.eye(d)
    hessian = [
        [
            sum(s * t * minus_log_likelihood(found.x + s * a + t * b) for s in (1, -1) for t in (1, -1)) / (4 * size**2)
            for a in unit
        ]
        for b in unit
    ]
    return found.x, np.sqrt(np.diag(np.linalg.inv(hessian))), -found.fun


@pytest.mark.parametrize("distribution", NOISE)
def test_fits_agree_with_a_likelihood_written_by_hand(distribution):
    """Known delays, intervals and censored ones occur together, with both kinds of covariates."""
    random = np.random.default_rng(3)
    x, z = np.exp(random.uniform(-12, -6, 80)), random.uniform(0.3, 0.9, 80)
    noise = NOISE[distribution]
    delay = np.exp(9 - 0.8 * np.log(x) - 4 * z + 0.5 * noise.rvs(size=80, random_state=random))
    low, high = delay.copy(), delay.copy()
    low[:30], high[:30] = 0.9 * delay[:30], 1.1 * delay[:30]
    budget = np.quantile(delay, 0.7)
    low, high = np.minimum(low, budget), np.where(high < budget, high, np.inf)
    values, errors, log_likelihood = fit_by_hand(low, high, [np.log(x), z], noise)
    law = fit_law(low, high, powers={"x": x}, rates={"z": z}, distribution=distribution, confidence=0.9)
    found = (law.powers["x"], law.rates["z"], law.intercept)
    quantile = scipy.stats.norm.ppf(0.95)
    for estimate, value, error in zip(found, values, errors, strict=False):
        assert estimate.value == pytest.approx(value, abs=5e-3 * error)
        assert estimate.low == pytest.approx(value - quantile * error, abs=1e-2 * error)
        assert estimate.high == pytest.approx(value + quantile * error, abs=1e-2 * error)
    assert law.scale == pytest.approx(np.exp(values[-1]), rel=1e-3)
    assert law.log_likelihood == pytest.approx(log_likelihood, abs=1e-4)
    assert law.aic == pytest.approx(8 - 2 * log_likelihood, abs=1e-3)  # There are four parameters.
    centre = np.log([1e-4, np.e, np.e]) * [1, 0.5, 1]
    expected = centre @ values[:-1] + np.exp(values[-1]) * noise.median()
    assert law.median(x=1e-4, z=0.5) == pytest.approx(np.exp(expected), rel=1e-3)
    below, above = law.band(x=[1e-4, 1e-5], z=0.5)
    assert (below < law.median(x=[1e-4, 1e-5], z=0.5)).all()
    assert (above > law.median(x=[1e-4, 1e-5], z=0.5)).all()


def test_a_fit_of_narrow_intervals_far_from_1_agrees():
    """The covariates are far from 0. Lifelines alone stops at a point that is not a maximum."""
    random = np.random.default_rng(0)
    x, z = np.repeat([1e-5, 3e-5], 15), np.tile([0.8, 0.9, 0.95], 10)
    delay = np.exp(14 - 0.8 * np.log(x) - 12 * z + 0.4 * random.standard_normal(30))
    low, high = np.minimum(0.94 * delay, 12 / x), np.where(1.06 * delay < 12 / x, 1.06 * delay, np.inf)
    values, errors, log_likelihood = fit_by_hand(low, high, [np.log(x) + 11, z - 0.9], scipy.stats.norm)
    law = fit_law(low, high, powers={"x": x}, rates={"z": z})
    assert law.powers["x"].value == pytest.approx(values[0], abs=5e-3 * errors[0])
    assert law.rates["z"].value == pytest.approx(values[1], abs=5e-3 * errors[1])
    assert law.log_likelihood == pytest.approx(log_likelihood, abs=1e-4)


def test_the_better_law_has_the_smaller_criterion():
    """Delays fall exponentially with the training fraction, and a third is censored. The other law is a power of it."""
    random = np.random.default_rng(5)
    fraction = random.uniform(0.1, 0.95, 150)
    delay = np.exp(12 - 6 * fraction + 0.3 * random.standard_normal(150))
    budget = np.quantile(delay, 2 / 3)
    low, high = np.minimum(delay, budget), np.where(delay < budget, delay, np.inf)
    exponential = fit_law(low, high, rates={"fraction": fraction})
    power = fit_law(low, high, powers={"fraction": fraction})
    assert exponential.rates["fraction"].covers(-6.0)
    assert exponential.aic < power.aic - 10


def test_a_lower_bound_below_0_counts_as_a_small_one():
    x, low, high = draw_runs_of_a_law(7)
    low[:3], high[:3] = -5.0, 2 * low[:3]
    one = fit_law(low, high, powers={"x": x}).powers["x"]
    low[:3] = 1e-3
    assert fit_law(low, high, powers={"x": x}).powers["x"].value == pytest.approx(one.value, rel=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"earliest": [1.0, 2.0]}, "earliest, latest: expected two vectors of one length, got shapes"),
        ({"latest": np.full(60, 1e-9)}, "earliest, latest: expected finite earliest ≤ latest"),
        ({"latest": np.full(60, np.inf)}, "fit_law: every run is censored"),
        ({"powers": {"x": np.ones(60)}}, "fit_law: x has the same value in every run"),
        ({"powers": {"x": np.zeros(60)}}, "x: expected numbers above 0, got 0; a rate may have any numbers"),
        ({"powers": {"x": np.ones(3)}}, r"x: expected 60 finite numbers, got shape \(3,\)"),
        ({"rates": {"x": np.ones(60)}}, "powers, rates: expected different names, got x in both"),
        ({"rates": {"latest": np.ones(60)}}, "powers, rates: expected names of covariates, got latest"),
        ({"distribution": "normal"}, "distribution: expected one of log_normal, weibull, log_logistic, got 'normal'"),
        ({"confidence": 1.0}, r"confidence: expected a number in \[0, 1\), got 1.0"),
    ],
)
def test_invalid_arguments_of_a_fit_are_rejected(change, message):
    x, low, high = draw_runs_of_a_law(1)
    with pytest.raises(ValueError, match=message):
        fit_law(**{"earliest": low, "latest": high, "powers": {"x": x}, **change})


def test_unknown_covariates_of_a_law_are_rejected():
    x, low, high = draw_runs_of_a_law(1)
    with pytest.raises(ValueError, match="covariates: expected x, got z"):
        fit_law(low, high, powers={"x": x}).median(z=1.0)


def test_without_lifelines_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "lifelines", None)
    x, low, high = draw_runs_of_a_law(1)
    with pytest.raises(ImportError, match=r'laws of delays: .*pip install lifelines, or .*"\.\[survival\]"'):
        fit_law(low, high, powers={"x": x})
