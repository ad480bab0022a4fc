"""Directions on the zero-loss set against dense algebra, paths along them against closed forms, and their study."""

import functools
from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg

import zeroloss as zl
from problems import ACTIVATIONS, UNIT_ROUNDOFF, flat, random_data, random_network, relative, same_bits, torch_jacobian
from zeroloss.geometry.directions import TangentSpace
from zeroloss.studies import Cells
from zeroloss.studies.beyond import _direction_paths, direction
from zeroloss.studies.beyond._direction_paths import CONTROLS, OPTIMAL, RULES, Path, PathEnding, Random

EPS = 2 * UNIT_ROUNDOFF["float64"]
HOMOGENEOUS = ("identity", "relu", "leaky_relu(0.1)")
SMALL = replace(
    direction.STUDY.quick,
    p=5,
    hidden=32,
    test_count=3,
    duration=1.0,
    marks=9,
    rtol=1e-3,
    span=5,
    kept_time=0.2,
    seeds=2,
)


def problem(activation="softplus(5)", rows="dense"):
    """Return data, a network off the set, J by autograd, and θ."""
    data = random_data(7, 9, 3, rows)
    net = random_network(data, 14, activation)
    return data, net, torch_jacobian(net, data), flat(net.E, net.W)


def random_vectors(count, size, seed=3):
    return np.random.default_rng(seed).standard_normal((count, size))


def project_on_null_space(A, v):
    """Return the projection of v on the null space of A, from its singular vectors."""
    basis = scipy.linalg.null_space(A)
    return basis @ (basis.T @ v)


def dense_steepest(J, theta, D):
    """Return the steepest direction in the norm Σ v²/D: −√D times the part of √D θ in the null space of J √D."""
    moves = D > 0
    root = np.sqrt(D[moves])
    v = np.zeros_like(theta)
    v[moves] = -root * project_on_null_space(J[:, moves] * root, root * theta[moves])
    return v


def mobilities(net, theta):
    first = np.arange(theta.size) < net.E.size
    return {
        "all": np.ones_like(theta),
        "E": 1.0 * first,
        "W": 1.0 * ~first,
        "E more": 0.1 + 0.9 * first,
        "entries": np.abs(theta),
    }


@pytest.mark.parametrize("rows", ["sparse", "dense"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", ["all", "E", "W", "E more", "entries"])
def test_the_steepest_direction_agrees_with_dense_algebra(name, activation, rows):
    data, net, J, theta = problem(activation, rows)
    D = mobilities(net, theta)[name]
    condition = np.linalg.cond(J * np.sqrt(D))
    assert condition < 100
    v = TangentSpace(net, data).steepest_direction(D)
    bound = 100 * EPS * condition**2  # The normal equations have a dozen roundings of entries of v.
    assert relative(v, dense_steepest(J, theta, D)) < bound
    assert np.linalg.norm(J @ v) < bound * np.linalg.norm(theta)
    assert (v[D == 0] == 0).all()
    moves = D > 0
    assert theta @ v == pytest.approx(-np.sum(v[moves] ** 2 / D[moves]), rel=1e-10)
    assert theta @ v < 0


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_constrained_steepest_directions_agree_with_dense_algebra(activation):
    """The oracles project −θ on null spaces of J with more rows, and on a span within the null space of J."""
    data, net, J, theta = problem(activation)
    space, vectors = TangentSpace(net, data), random_vectors(5, theta.size)
    tangent = project_on_null_space(J, vectors.T)
    share = np.linalg.lstsq(tangent, -theta, rcond=None)[0]
    assert relative(space.project_on_span(vectors), tangent @ share) < 1e-10
    for gradients in (space.layer_balance(), vectors, vectors[:1]):
        v = space.conserve(gradients)
        assert relative(v, -project_on_null_space(np.concatenate([J, gradients]), theta)) < 1e-10
        assert theta @ v == pytest.approx(-(v @ v), rel=1e-10)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("degrees", [5, 30, 80])
def test_a_tilted_direction_has_its_angle_and_the_optimal_rate(degrees, activation):
    data, net, J, theta = problem(activation)
    space, vector = TangentSpace(net, data), random_vectors(1, theta.size)[0]
    g, v = -project_on_null_space(J, theta), space.tilt(degrees, vector)
    assert np.linalg.norm(J @ v) < 1e-10 * np.linalg.norm(v)
    assert v @ g / np.linalg.norm(v) / np.linalg.norm(g) == pytest.approx(np.cos(np.radians(degrees)), rel=1e-10)
    assert theta @ v == pytest.approx(theta @ g, rel=1e-10)
    assert v @ vector > g @ vector
    plane = np.stack([g, project_on_null_space(J, vector)])
    assert np.linalg.norm(project_on_null_space(plane, v)) < 1e-10 * np.linalg.norm(v)


@pytest.mark.parametrize("keeps_layers", [False, True])
def test_a_level_direction_conserves_the_norm(keeps_layers):
    data, net, J, theta = problem()
    space, vector = TangentSpace(net, data), random_vectors(1, theta.size)[0]
    v = space.level_direction(vector, space.layer_balance() if keeps_layers else None)
    rows = np.concatenate([J, theta[None], *([space.layer_balance()] if keeps_layers else [])])
    assert np.abs(rows @ v).max() < 1e-10 * np.linalg.norm(v)
    expected = project_on_null_space(rows, vector)
    assert relative(v / np.linalg.norm(v), expected / np.linalg.norm(expected)) < 1e-10
    assert np.linalg.norm(v) == pytest.approx(np.linalg.norm(project_on_null_space(J, theta)), rel=1e-10)


@pytest.mark.parametrize("activation", HOMOGENEOUS)
def test_balances_of_homogeneous_activations_are_tangent(activation):
    """J c_u = 0 for c_u = (E_u, −W_u), because a unit can be scaled.

    They are orthogonal, so that each is projected out alone.
    """
    data, net, J, theta = problem(activation)
    space = TangentSpace(net, data)
    balances = space.unit_balances()
    assert np.abs(J @ balances.T).max() < 1e-12
    assert same_bits(space.layer_balance()[0], balances.sum(axis=0))
    g = -project_on_null_space(J, theta)
    expected = g - sum((c @ g) / (c @ c) * c for c in balances)
    assert relative(space.conserve(balances), expected) < 1e-10


def test_directions_without_a_solution_raise():
    data, net, _, theta = problem()
    space, vectors = TangentSpace(net, data), random_vectors(3, theta.size)
    with pytest.raises(np.linalg.LinAlgError, match="the tangent parts of the 4 vectors are linearly dependent"):
        space.project_on_span(np.concatenate([vectors, vectors[:1]]))
    with pytest.raises(np.linalg.LinAlgError, match="no tangent part across the steepest direction"):
        space.tilt(30, theta)
    twice = zl.datasets.from_arrays(data.X_train[[0, 0, 1]], data.Y_train[:3])
    with pytest.raises(np.linalg.LinAlgError, match="J is singular: 1 training inputs are duplicates of others"):
        TangentSpace(net, twice).steepest_direction()
    many = random_data(20, 9, 3)  # There are more samples than units, so that the second layer alone cannot move.
    space = TangentSpace(random_network(many, 14, "tanh"), many)
    with pytest.raises(np.linalg.LinAlgError, match="J D Jᵀ is singular: the parameters with a mobility cannot hold"):
        space.steepest_direction(space.layer_mobility("W"))
    assert np.linalg.norm(space.steepest_direction(space.layer_mobility("E"))) > 0.1


def test_invalid_mobilities_layers_and_angles_are_rejected():
    data, net, _, theta = problem()
    space = TangentSpace(net, data)
    one = np.ones_like(theta)
    for bad, got in (
        (np.zeros_like(theta), "0 to 0"),
        (np.where(np.arange(theta.size) == 3, -1, one), "-1 to 1"),
        (np.where(np.arange(theta.size) == 3, np.inf, one), "1 to inf"),
        (np.where(np.arange(theta.size) == 3, np.nan, one), "nan to nan"),
    ):
        for call in (space.steepest_direction, functools.partial(space.project, theta)):
            with pytest.raises(ValueError, match=f"mobility: expected finite numbers .*, not all 0, got {got}"):
                call(bad)
    with pytest.raises(ValueError, match=rf"mobility: expected shape \({theta.size},\), got \({theta.size - 1},\)"):
        space.steepest_direction(one[1:])
    with pytest.raises(ValueError, match="name: expected one of E, W, got 'first'"):
        space.layer_mobility("first")
    for degrees in (-1, 90, 120):
        with pytest.raises(ValueError, match=rf"degrees: expected an angle in \[0, 90\), got {degrees}"):
            space.tilt(degrees, theta)


@functools.cache
def memorised_problem():
    """Return data, a small network that descent brought onto the set, and its random vectors."""
    data = zl.datasets.modular_addition(5, test_count=3, seed=0)
    net = zl.networks.uniform_fan_in(data, hidden=32, seed=1, activation="softplus(5)")
    run = zl.simulate(zl.GradientDescent(lr=1.0), data, net, steps=2000, record_every=2000)
    start = zl.geometry.project(run.network, data).network
    return data, start, Random(0, start.E.size + start.W.size, 5, 0.1)


def follow_path(name, rtol=1e-5, most_time=20.0, **ends):
    data, start, random = memorised_problem()
    return _direction_paths.follow(name, random, data, start, zl.NormFlow(rtol=rtol), most_time=most_time, **ends)


def test_the_optimal_rule_agrees_with_the_norm_flow():
    data, start, _ = memorised_problem()
    flow = zl.NormFlow(rtol=1e-4)
    path = follow_path(OPTIMAL, rtol=1e-4, most_time=1.0)
    run = zl.simulate(flow, data, start, steps=len(path.times) - 1, record_every=1)
    np.testing.assert_allclose(path.times, run.history.time.values, rtol=1e-8)
    assert relative(path.theta[-1], flat(run.network.E, run.network.W)) < 1e-8


def test_the_second_layer_alone_relaxes_to_its_least_norm():
    """W(t) = H⁺Y + e^(−t) (W(0) − H⁺Y) with E fixed. The global error is a few times rtol = 10⁻⁵."""
    data, start, _ = memorised_problem()
    path = follow_path("second layer alone", least_rate=1e-8)
    assert path.ending is PathEnding.EXHAUSTED
    H = np.logaddexp(0, 5 * data.X_train @ start.E) / 5
    least = np.linalg.pinv(H) @ data.Y_train
    assert np.linalg.norm(start.W - least) > 0.1
    for t in (0.0, 0.3, 1.0, 4.0):
        expected = least + np.exp(-t) * (start.W - least)
        assert relative(path.at(t), flat(start.E, expected)) < 1e-4
    assert path.norms_squared[-1] == pytest.approx(np.sum(start.E**2) + np.sum(least**2), rel=1e-6)


def test_a_single_random_direction_is_soon_exhausted():
    """At the end of its path θ is orthogonal to the tangent part of the vector, and the norm has hardly fallen."""
    data, start, random = memorised_problem()
    path = follow_path("a random direction", least_rate=1e-9)
    assert path.ending is PathEnding.EXHAUSTED
    E, W = np.split(path.theta[-1], [start.E.size])
    end = zl.networks.from_arrays(E.reshape(start.E.shape), W.reshape(start.W.shape), start.activation)
    tangent = project_on_null_space(torch_jacobian(end, data), random.fixed)
    cosine = path.theta[-1] @ tangent / np.linalg.norm(path.theta[-1]) / np.linalg.norm(tangent)
    assert abs(cosine) < 1e-3
    assert path.norms_squared[-1] > 0.9 * path.norms_squared[0]


@pytest.mark.parametrize("name", RULES)
def test_the_norm_falls_on_the_set_along_every_rule(name):
    data, start, _ = memorised_problem()
    norm = np.sum(start.E**2) + np.sum(start.W**2)
    path = follow_path(name, rtol=1e-3, norm_squared=0.97 * norm, least_rate=1e-4)
    assert path.ending in {PathEnding.FOLLOWED, PathEnding.EXHAUSTED}
    assert (np.diff(path.norms_squared) < 0).all()
    assert path.norms_squared[0] == pytest.approx(norm, rel=1e-12)
    for theta in path.theta:
        E, W = np.split(theta, [start.E.size])
        H = np.logaddexp(0, 5 * data.X_train @ E.reshape(start.E.shape)) / 5
        assert np.abs(H @ W.reshape(start.W.shape) - data.Y_train).max() < 1.1e-10


@pytest.mark.parametrize("name", CONTROLS)
def test_the_norm_stays_along_a_control(name):
    """The error of the steps falls with their tolerance."""
    drift = []
    for rtol in (1e-2, 1e-4):
        norms = follow_path(name, rtol, most_time=0.2).norms_squared
        drift.append(np.abs(norms / norms[0] - 1).max())
    assert drift[1] < min(1e-3, drift[0])


def test_paths_between_steps_are_of_fourth_order():
    """On θ = e^(−t) θ₀ the norms and times are known."""
    start = np.array([3.0, 4.0])
    errors = []
    for count in (6, 11):
        times = np.linspace(0, 2, count)
        theta = np.exp(-times)[:, None] * start
        path = Path(times, theta, -theta, -theta, PathEnding.LATE)
        expected = np.linspace(0.01, 1.99, 60)
        found = path.times_of_norms([30.0, *(25 * np.exp(-2 * expected)), 0.4])
        assert found[0] == 0
        assert np.isnan(found[-1])
        errors.append(np.abs(found[1:-1] - expected).max())
    assert errors[1] < 1e-5
    assert errors[0] / errors[1] > 10


def test_steps_end_at_corners_if_a_vector_is_redrawn():
    """The cubic of each straight step is straight, up to the corner between them."""
    theta = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    right, up = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    path = Path(np.arange(3.0), theta, np.array([right, right, up]), np.array([right, up, up]), PathEnding.LATE)
    np.testing.assert_allclose([path.at(0.25), path.at(1.0), path.at(1.75)], [[0.25, 0], [1, 0], [1, 0.75]], atol=1e-15)
    random = Random(1, 4, 2, 0.1)
    assert same_bits(random.redraw(0.01), random.redraw(0.09))
    assert np.abs(random.redraw(0.09) - random.redraw(0.11)).max() > 0.1


def test_a_direction_that_ceases_to_exist_ends_its_path(monkeypatch):
    def fail_later(space, time, random):
        if time > 0:
            raise np.linalg.LinAlgError
        return space.steepest_direction()

    monkeypatch.setitem(_direction_paths.RULES, OPTIMAL, fail_later)
    path = follow_path(OPTIMAL, rtol=1e-2)
    assert path.ending is PathEnding.FAILED
    assert len(path.times) == 1


def test_generalisation_is_the_last_rise_above_the_level():
    nan, times = np.nan, np.array([0.0, 1.0, 2.0, 3.0])
    curves = [
        [0, 1, 1, 1],
        [1, 0, 0.5, 1],
        [1, 1, 1, 1],
        [0, 0, 0, 0],
        [1, 1, 1, 0],
        [0, 1, nan, nan],
        [0, 0, nan, nan],
    ]
    found = direction.find_generalisation(np.array(curves, dtype=float), times, 0.5)
    np.testing.assert_array_equal(found, [1, 2, 0, nan, nan, 1, nan])


@functools.cache
def small_result():
    return direction.STUDY.run(SMALL)


def test_rules_are_compared_at_the_same_norm():
    """At every slow time of a path the norms agree, to the change by a retraction between the ends of steps."""
    numbers = small_result().numbers
    norm = numbers.norm_E_squared + numbers.norm_W_squared
    apart = np.abs(norm / norm.sel(rule=OPTIMAL) - 1)
    assert float(apart.max()) < 1e-3
    followed = numbers.ending.values == PathEnding.FOLLOWED
    assert followed[:, 0].all()
    assert np.isfinite(norm.values[followed]).all()
    stopped = numbers.sel(rule="second layer alone")
    assert (stopped.ending == PathEnding.EXHAUSTED).all()
    beyond = numbers.slow_time > stopped.last_slow_time
    assert (np.isnan(stopped.test_loss) == beyond).all()


@pytest.mark.parametrize("rules", [("30° off",), ()])
def test_a_subset_of_the_rules_has_a_picture(rules, tmp_path):
    """Panels without any of these rules show only the optimal one."""
    settings = replace(SMALL, rules=rules, duration=0.5, marks=5, kept_time=0.1, seeds=1)
    result = direction.STUDY.run(settings, workers=1)  # in this process
    assert result.numbers.rule.values.tolist() == [OPTIMAL, *rules]
    result.save(tmp_path, "out")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rules": ("31° off",)}, r"rules: expected one of optimal, 30° off, .*metric of entries, got '31° off'"),
        ({"rules": ("norm kept",)}, r"rules: expected one of optimal, 30° off, .*metric of entries, got 'norm kept'"),
        ({"rules": ("30° off", "30° off")}, "rules: expected values, each once, got 30° off, 30° off"),
        ({"duration": 0.0}, "duration: expected a number above 0, got 0.0"),
        ({"most_time": 0.0}, "most_time: expected a number above 0, got 0.0"),
        ({"redraw_every": 0.0}, "redraw_every: expected a number above 0, got 0.0"),
        ({"kept_time": -1.0}, "kept_time: expected a number above 0, got -1.0"),
        ({"span": 0}, "span: expected an integer of at least 1, got 0"),
        ({"marks": 1}, "marks: expected an integer of at least 2, got 1"),
    ],
)
def test_invalid_settings_are_rejected_before_the_work(changes, message, monkeypatch):
    monkeypatch.setattr(direction, "follow", None)
    with pytest.raises(ValueError, match=message):
        direction.STUDY.run(replace(SMALL, **changes))


def test_an_interrupted_study_is_continued(tmp_path, monkeypatch):
    follow, calls = _direction_paths.follow, []

    def follow_and_interrupt(name, *arguments, **options):
        calls.append(name)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return follow(name, *arguments, **options)

    monkeypatch.setattr(direction, "follow", follow_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        direction.STUDY.run(SMALL, cells=Cells(tmp_path), workers=1)
    cells = Cells(tmp_path)
    again = direction.STUDY.run(SMALL, cells=cells, workers=1)
    assert cells.found == 8
    assert len(calls) == 1 + small_result().numbers.ending.size + SMALL.seeds * len(CONTROLS)
    assert same_bits(again.numbers, small_result().numbers)
    assert again.table == small_result().table
    more = Cells(tmp_path)
    assert direction.STUDY.run(replace(SMALL, seeds=1), cells=more).numbers.sizes["seed"] == 1
    assert more.found == len(SMALL.rules) + len(CONTROLS)
