"""Alignment of updates with the norm-minimising direction, for one update and along a simulation."""

import importlib
import pickle

import numpy as np
import pytest

import zeroloss as zl
from problems import figure5, flat, random_data, random_network, relative, same_bits, torch_jacobian

geometry = zl.geometry
DESCENT = zl.GradientDescent(lr=1.0, weight_decay=1e-4)
NUMBERS = ("cosine", "decay_cosine", "tangent_share", "distance", "smallest_singular_value", "reason")


def cosine(a, b):
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


@pytest.fixture(scope="module")
def memorised_networks():
    """Networks of figure 5 at steps 1000 and 1010."""
    data, net = figure5()
    run = zl.simulate(DESCENT, data, net, steps=1000, record_every=1000)
    earlier = run.network
    return data, earlier, run.extend(steps=10).network


@pytest.mark.parametrize("solver", ["dense", "matrix_free"])
@pytest.mark.parametrize("projection", ["chord", "gauss_newton", "momentum"])
def test_every_number_agrees_with_its_definition(memorised_networks, projection, solver):
    """The oracle uses the pseudo-inverse of autograd's J at the point that `project` returns."""
    data, earlier, net = memorised_networks
    found = geometry.alignment(net, earlier, data, projection=projection, solver=solver)
    point = geometry.project(net, data, method=projection, solver=solver)
    J = torch_jacobian(point.network, data)
    theta, update = flat(net.E, net.W), flat(net.E - earlier.E, net.W - earlier.W)
    pseudo_inverse = np.linalg.pinv(J)
    g = -theta + pseudo_inverse @ (J @ theta)
    tangent = update - pseudo_inverse @ (J @ update)
    assert float(found) == found.cosine == pytest.approx(cosine(update, g), rel=1e-8)
    assert found.decay_cosine == pytest.approx(cosine(update, -theta), rel=1e-12)
    assert found.tangent_share == pytest.approx(np.linalg.norm(tangent) / np.linalg.norm(update), rel=1e-8)
    assert found.distance == pytest.approx(point.distance, rel=1e-6)
    smallest = np.linalg.svd(J, compute_uv=False)[-1]
    assert smallest * (1 - 1e-8) <= found.smallest_singular_value <= 1.01 * smallest
    assert found.reason == 0
    assert found.explanation == "nothing is NaN"


def test_alignment_takes_at_most_three_factorisations(memorised_networks):
    data, earlier, net = memorised_networks
    assert geometry.alignment(net, earlier, data).factorisations <= 3
    assert geometry.alignment(net, earlier, data, "gauss_newton").factorisations > 3


def test_cosines_of_figure_5_are_in_the_measured_ranges():
    """An independent implementation measured them over five seeds; half a range is added on both sides for other
    splits.
    """
    expected = {
        300: ((-0.25, -0.05), *[(-0.3, -0.1)] * 2),
        1000: ((0.13, 0.41), *[(0.11, 0.35)] * 2),
        2500: ((0.7, 0.86), *[(0.7, 0.85)] * 2),
    }
    data, net = figure5()
    run = zl.simulate(DESCENT, data, net, steps=0, record_every=10_000)
    for step, ranges in expected.items():
        earlier = run.extend(steps=step - 10 - run.step).network
        run.extend(steps=10)
        for projection, (low, high) in zip(("momentum", "gauss_newton", "chord"), ranges, strict=True):
            assert low <= float(geometry.alignment(run.network, earlier, data, projection)) <= high


def test_a_smooth_activation_is_aligned():
    """With softplus(5z)/5 the cosine passes 0.95 by step 3 000."""
    data = zl.datasets.modular_addition(11, test_count=7, seed=0)
    net = zl.networks.uniform_fan_in(data, hidden=128, seed=1, activation="softplus(5)")
    run = zl.simulate(DESCENT, data, net, steps=2990, record_every=10_000)
    earlier = run.network
    assert float(geometry.alignment(run.extend(steps=10).network, earlier, data)) > 0.95


def test_cosines_of_zero_vectors_are_nan_with_a_reason(memorised_networks):
    data, _, net = memorised_networks
    still = geometry.alignment(net, net, data)
    assert np.isnan([still.cosine, still.decay_cosine, still.tangent_share]).all()
    assert still.explanation == "there was no update: the two networks are equal"
    assert still.smallest_singular_value > 0
    square = random_data(3, 4, 2)  # J is square (d = n·d_out = 6), so no vector is tangent.
    start = zl.networks.from_arrays(np.full((4, 1), 0.5), [[1.0, 2.0]], "tanh")
    one = zl.datasets.from_arrays(square.X_train, np.zeros((3, 2)))
    assert start.E.size + start.W.size == one.Y_train.size
    other = zl.networks.from_arrays(start.E + 0.1, start.W, "tanh")
    with pytest.raises(np.linalg.LinAlgError):  # The outputs of one unit are parallel, so J is singular.
        geometry.alignment(start, other, one)


def test_a_direction_within_rounding_errors_is_zero():
    """With one parameter per layer, J = (0, 1) at W = 0, so θ = (1, 0) is tangent; at θ = (1, 1), J = (1, 1) = θ."""
    data = zl.datasets.from_arrays([[1.0]], [[0.0]])
    tangent = geometry.norm_direction(zl.networks.from_arrays([[1.0]], [[0.0]], "identity"), data)
    assert tangent.tangent_fraction == 1
    data = zl.datasets.from_arrays([[1.0]], [[1.0]])
    normal, earlier = (zl.networks.from_arrays([[a]], [[a]], "identity") for a in (1.0, 1.1))
    found = geometry.alignment(normal, earlier, data)
    assert np.isnan(found.cosine)
    assert found.explanation == "the direction is zero: θ is normal to the set, to rounding"


def simulate_with_measure(steps, record_every, projection="chord", lag=10, start=0, dynamics=DESCENT):
    data, net = figure5()
    if start:
        net = zl.simulate(dynamics, data, net, steps=start, record_every=start).network
    measure = geometry.AlignmentMeasure(data, projection, lag=lag)
    return zl.simulate(dynamics, data, net, steps=steps, record_every=record_every, measures={"a": measure})


@pytest.mark.parametrize("record_every", [1, 7, 25, "log"])
def test_a_record_compares_with_the_network_lag_steps_before(record_every):
    run = simulate_with_measure(60, record_every, start=300)
    data = run.data
    start = zl.simulate(DESCENT, *figure5(), steps=300).network
    snapshots = zl.simulate(DESCENT, data, start, steps=60, snapshot_every=1).snapshots
    assert {f"a_{name}" for name in NUMBERS} <= set(run.history.data_vars)
    for step in run.history.step.values[:: 1 if record_every != 1 else 20].tolist():
        net, earlier = (
            zl.networks.from_arrays(snapshots.E.sel(step=at), snapshots.W.sel(step=at))
            for at in (step, max(0, step - 10))
        )
        found = geometry.alignment(net, earlier, data)
        for name in NUMBERS:
            assert same_bits(np.float64(run.history[f"a_{name}"].sel(step=step)), np.float64(getattr(found, name)))
    assert run.history.a_cosine.attrs["units"] == "1"
    assert "reason" not in run.history.a_cosine.attrs["description"]
    assert "1 there was no update" in run.history.a_reason.attrs["description"]
    assert run.history.a_reason.values[0] == 1
    assert np.isnan(run.history.a_cosine.values[0])


def test_measuring_does_not_change_the_run():
    run = simulate_with_measure(40, 3, start=300)
    plain = zl.simulate(DESCENT, *figure5(), steps=340)
    assert same_bits(run.network.E, plain.network.E)
    assert same_bits(run.network.W, plain.network.W)


@pytest.mark.parametrize("record_every", [1, 7])
def test_extension_has_the_bits_of_one_long_run(record_every, tmp_path):
    whole = simulate_with_measure(50, record_every, "momentum")
    parts = simulate_with_measure(20, record_every, "momentum")
    parts.extend(steps=3).save(tmp_path / "run")
    loaded = zl.load(tmp_path / "run").extend(steps=27, measures=whole.measures)
    assert same_bits(loaded.history, whole.history)
    assert np.isfinite(loaded.history.a_decay_cosine.values[1:]).all()  # The earlier network was saved with the run.
    assert loaded.history.a_cosine.attrs == whole.history.a_cosine.attrs


def test_the_predicted_gradient_is_measured_with_its_own_second_layer():
    """W is φ(E) only at records, so it must also be computed for the earlier network of a comparison."""
    dynamics = zl.PredictedGradient(step_size=1e-3)
    data = zl.datasets.modular_addition(5, train_fraction=0.7, seed=0)
    net = zl.networks.normal(data, hidden=32, std=0.5, seed=1)
    seen = {}

    def compare(network, earlier):
        seen[len(seen)] = np.abs(earlier.W - zl.predicted_gradient(earlier, data)[1]).max()
        return 0.0

    compare.lag = 3
    zl.simulate(dynamics, data, net, steps=20, record_every=8, measures={"compare": compare})
    assert len(seen) == 4
    assert max(seen.values()) < 1e-12


def test_a_measure_may_return_several_named_values():
    data, net = figure5()
    run = zl.simulate(DESCENT, data, net, steps=2, measures={"m": lambda net: {"a": 1.0, "b": net.W[0]}})
    assert run.history.m_a.values.tolist() == [1, 1]
    assert run.history.m_b.shape == (2, 11)
    twice = {"m": lambda net: {"a": 1.0}, "m_a": lambda net: 2.0}
    with pytest.raises(ValueError, match="measures: two recorded values have the name m_a"):
        zl.simulate(DESCENT, data, net, steps=2, measures=twice)


def test_a_singular_jacobian_ends_the_simulation_with_an_outcome():
    """A unit dies during the run: the records up to that step are saved."""
    data, net = figure5()
    X = data.X_train.copy()
    X[1] = X[0]
    twin = zl.datasets.from_arrays(X, data.Y_train, data.X_test, data.Y_test)
    run = zl.simulate(DESCENT, twin, net, steps=30, measures={"a": geometry.AlignmentMeasure(twin)})
    assert "singular: at step 0 a measure failed: J is singular: 1 training inputs are duplicates" in str(run.outcome)
    assert run.step == 0

    def fail_after_the_start(network):
        if network.E[0, 0] != net.E[0, 0]:
            raise np.linalg.LinAlgError("no inverse")
        return {"number": 1.0, "count": 1}

    run = zl.simulate(DESCENT, data, net, steps=30, record_every=10, measures={"f": fail_after_the_start})
    assert str(run.outcome) == "singular: at step 10 a measure failed: no inverse"
    assert run.history.step.values.tolist() == [0, 10]
    assert np.isnan(run.history.f_number.values[1])
    assert run.history.f_count.values.tolist() == [1, -1]
    assert run.history.train_loss.values[1] < run.history.train_loss.values[0]


def test_a_projection_that_does_not_converge_is_nan_with_a_reason(memorised_networks, monkeypatch):
    data, earlier, net = memorised_networks
    monkeypatch.setattr(importlib.import_module("zeroloss.geometry.alignment"), "_MOST_ITERATIONS", 1)
    found = geometry.AlignmentMeasure(data)(net, earlier)
    assert np.isnan([found[name] for name in NUMBERS[:-1]]).all()
    assert found["reason"] == 3
    with pytest.raises(geometry.ProjectionError, match="too many iterations"):
        geometry.alignment(net, earlier, data)
    assert geometry.AlignmentMeasure(data)(net, None)["reason"] == 4


def test_a_measure_can_be_sent_to_another_process(memorised_networks):
    data, earlier, net = memorised_networks
    measure = geometry.AlignmentMeasure(data, "momentum", lag=3, lr=0.5)
    copy = pickle.loads(pickle.dumps(measure))
    assert copy.lag == 3
    assert copy(net, earlier) == measure(net, earlier)


def test_invalid_arguments_are_rejected(memorised_networks):
    data, earlier, net = memorised_networks
    with pytest.raises(ValueError, match="projection: expected one of gauss_newton, chord, momentum, got 'svd'"):
        geometry.alignment(net, earlier, data, projection="svd")
    with pytest.raises(TypeError, match="astype"):
        geometry.alignment(net, earlier.astype("float32"), data)
    with pytest.raises(ValueError, match="earlier: expected 128 hidden units, the number of network, got 5"):
        geometry.alignment(net, random_network(data, 5), data)
    with pytest.raises(ValueError, match="lag: expected an integer of at least 1, got 0"):
        geometry.AlignmentMeasure(data, lag=0)
    with pytest.raises(ValueError, match="method: expected one of"):
        geometry.AlignmentMeasure(data, solver="fast")
    assert relative(net.E, earlier.E) < 0.1


@pytest.mark.parametrize("projection", ["chord", "gauss_newton", "momentum"])
def test_cosines_are_nan_if_the_set_is_further_than_the_origin(projection):
    """At step 10 of figure 5's setting the origin is nearer; at step 300 the distance is half of the norm."""
    data, net = figure5()
    measure = geometry.AlignmentMeasure(data, projection)
    options = {"steps": 300, "record_every": 10, "measures": {"a": measure}, "progress": False}
    history = zl.simulate(DESCENT, data, net, **options).history
    norm = np.hypot(history.norm_E, history.norm_W)
    far = history.a_reason.values == 5
    assert far[1:5].all()
    assert not far[10:].any()
    for name in ("cosine", "tangent_share"):
        assert (np.isnan(history[f"a_{name}"].values[1:]) == far[1:]).all()
    for name in ("decay_cosine", "distance", "smallest_singular_value"):
        assert np.isfinite(history[f"a_{name}"].values[1:]).all()
    if projection != "momentum":  # Momentum leaves a residual, which counts as additional distance.
        assert (far[1:] == (history.a_distance > norm).values[1:]).all()
    assert 0.3 < float(history.a_distance[-1] / norm[-1]) < 0.6


def test_the_cosine_of_digits_memorised_far_from_the_set_is_nan():
    """200 digits with tanh are all right at step 2 010, and the set is 1.6 times as far as the origin.

    With this seed, J is far from singular at the projection. With others, last bits decide whether it is singular.
    """
    pytest.importorskip("sklearn")
    data = zl.datasets.digits(train_count=200, seed=0)
    net = zl.networks.uniform_fan_in(data, hidden=64, seed=2, activation="tanh")
    earlier = zl.simulate(zl.GradientDescent(0.5, 1e-4), data, net, steps=2000, record_every=2000, progress=False)
    now = zl.simulate(zl.GradientDescent(0.5, 1e-4), data, earlier.network, steps=10, progress=False)
    assert now.history.train_accuracy[-1] == 1
    found = geometry.alignment(now.network, earlier.network, data)
    assert found.distance > 1.5 * np.linalg.norm(flat(now.network.E, now.network.W))
    assert found.smallest_singular_value > 0.01
    assert np.isnan(float(found))
    assert found.explanation == "the network is further from the zero-loss set than from the origin"


def test_each_projection_reaches_its_own_point(memorised_networks):
    """ "gauss_newton" factorises at every step in `project` and in `alignment`; "chord" reaches another point."""
    data, earlier, net = memorised_networks
    points = {method: geometry.project(net, data, method) for method in ("gauss_newton", "chord")}
    assert points["gauss_newton"].factorisations == len(points["gauss_newton"].residuals) - 1
    assert points["chord"].factorisations < len(points["chord"].residuals) - 1
    for method, point in points.items():
        assert geometry.alignment(net, earlier, data, method).distance == pytest.approx(point.distance, rel=1e-9)
    assert abs(points["chord"].distance - points["gauss_newton"].distance) > 1e-4
    cosines = [float(geometry.alignment(net, earlier, data, method)) for method in points]
    assert 1e-4 < abs(cosines[0] - cosines[1]) < 0.04
