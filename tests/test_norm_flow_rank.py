"""The norm flow where J loses rank: softened steps, the same end for all methods, extension, threads, kinks."""

import functools

import numpy as np
import pytest

import zeroloss as zl
from problems import flat, random_data, random_network, same_bits
from zeroloss.geometry.solver import dense_jacobian, make_zero_loss_set

#: Flows of every kind.
FLOWS = {
    "adaptive": zl.NormFlow(rtol=1e-2),
    "euler": zl.NormFlow(step_size=0.5),
    "bogacki_shampine": zl.NormFlow(step_size=0.5, method="bogacki_shampine"),
    "proximal": zl.NormFlow(rtol=1e-2, method="proximal"),
    "fixed proximal": zl.NormFlow(step_size=0.2, method="proximal"),
}


@functools.cache
def memorise(activation, seed=0):
    """Return p = 11 data and a network on the zero-loss set, after 1000 steps of descent without decay."""
    data = zl.datasets.modular_addition(11, test_count=7, seed=seed)
    net = zl.networks.uniform_fan_in(data, hidden=128, seed=100 + seed, activation=activation)
    net = zl.simulate(zl.GradientDescent(lr=1.0, weight_decay=0.0), data, net, steps=1000).network
    return data, zl.geometry.project(net, data).network


@functools.cache
def square_network():
    """Return p = 5 data and a network of squares on the set, whose flow ends where J has lost one rank."""
    data = zl.datasets.modular_addition(5, test_count=2, seed=0)
    net = zl.networks.normal(data, hidden=24, std=0.5, seed=100, activation="square")
    return data, zl.geometry.project(net, data).network


def duplicates(activation):
    """Return data with a repeated input, and a network on the set. J is singular everywhere."""
    samples = random_data(5, 4, 2)
    X = np.concatenate([samples.X_train, samples.X_train[:1]])
    net = random_network(samples, 12, activation)
    return zl.datasets.from_arrays(X, net(X)), net


def squared_norm(history):
    return history.norm_E.values**2 + history.norm_W.values**2


def rank(net, data):
    values = np.linalg.svd(dense_jacobian(net, data), compute_uv=False)
    return int((values > 1e-6 * values[0]).sum())


def check_history(history, tolerance=1e-10):
    """The flow stays on the set, its norm does not increase, and it is softened from some step on."""
    assert history.largest_residual.max() <= tolerance
    norms = squared_norm(history)
    assert (np.diff(norms) <= 1e-14 * norms[:-1]).all()
    softening = history.softening.values
    assert softening[-1] > 0
    assert (np.diff(softening > 0) >= 0).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("activation", "end", "ranks"), [("softplus(5)", 98.7377, (505, 515)), ("gelu", 100.0896, (632, 642))]
)
def test_the_flow_reaches_slow_time_60(activation, end, ranks):
    """‖θ‖² and the rank at the end were measured elsewhere. J has 649 rows."""
    data, net = memorise(activation)
    run = zl.simulate(zl.NormFlow(rtol=1e-3), data, net, duration=60.0, record_every=1)
    check_history(run.history)
    assert squared_norm(run.history)[-1] == pytest.approx(end, abs=1e-3)
    assert ranks[0] <= rank(run.network, data) <= ranks[1]
    assert run.history.evaluations[-1] < 1200


@pytest.mark.parametrize("name", FLOWS)
def test_every_flow_continues_where_the_rank_is_lost(name):
    """The limits ‖θ‖² = 13.648274961 agree, whichever step loses the rank: 64 of 65 are left."""
    flow = FLOWS[name]
    data, net = square_network()
    assert rank(net, data) == 65
    run = zl.simulate(flow, data, net, duration=60.0, record_every=1)
    check_history(run.history)
    assert run.history.time[-1] == pytest.approx(60.0, abs=1e-9)
    assert squared_norm(run.history)[-1] == pytest.approx(13.648274961, abs=1e-8)
    assert rank(run.network, data) == 64


@pytest.mark.parametrize("name", FLOWS)
def test_extension_has_the_bits_of_one_long_run(name, tmp_path):
    """The parts end before and after the loss of rank, between two steps."""
    flow = FLOWS[name]
    data, net = square_network() if "proximal" in name else memorise("gelu")
    parts = (15.2, 20.0, 3.2) if "proximal" in name else (14.5, 2.0, 1.0)
    end = parts[0] + parts[1] + parts[2]  # Python 3.12 rounds `sum` once, but each extension rounds the time.
    whole = zl.simulate(flow, data, net, duration=end, record_every=1)
    check_history(whole.history)
    run = zl.simulate(flow, data, net, duration=parts[0], record_every=1)
    assert (run.history.softening == 0).all()
    for number, duration in enumerate(parts[1:]):
        assert (run.history.softening[-1] > 0) == (number > 0)
        run.save(tmp_path / str(number))
        run = zl.load(tmp_path / str(number)).extend(duration=duration)
    assert same_bits(run.history, whole.history)
    assert same_bits(run.network.E, whole.network.E)
    assert same_bits(run.network.W, whole.network.W)


@pytest.mark.parametrize("name", ["adaptive", "proximal"])
def test_bits_do_not_depend_on_threads(name):
    data, net = square_network() if name == "proximal" else memorise("gelu")
    duration = 40.0 if name == "proximal" else 16.5
    one, two = (
        zl.simulate(FLOWS[name], data, net, duration=duration, record_every=1, threads=threads) for threads in (1, 2)
    )
    assert one.history.softening[-1] > 0
    assert same_bits(one.history, two.history)
    assert same_bits(one.network.E, two.network.E)


@pytest.fixture(scope="module")
def without_rank():
    """Return p = 11 data and a network on the set at which J has lost rank."""
    data, net = memorise("gelu")
    return data, zl.simulate(zl.NormFlow(rtol=1e-3), data, net, duration=17.0).network


def test_fixed_and_adaptive_steps_agree(without_rank):
    """They start where J has lost rank already. The error of the step size is about a hundredth of the path."""
    data, net = without_rank
    runs = [zl.simulate(zl.NormFlow(**step), data, net, duration=2.0) for step in ({"rtol": 1e-4}, {"step_size": 0.05})]
    one, two = (flat(run.network.E, run.network.W) for run in runs)
    moved = np.linalg.norm(one - flat(net.E, net.W))
    assert moved > 0.02
    assert np.linalg.norm(one - two) < 0.02 * moved
    for run in runs:
        check_history(run.history)


def test_a_fixed_step_that_is_divided_ends_at_its_time(without_rank):
    """Gauss–Newton does not converge for a step of 4. Its parts are not recorded."""
    data, net = without_rank
    long = zl.simulate(zl.NormFlow(step_size=4.0), data, net, steps=1, record_every=1)
    assert long.history.time.values.tolist() == [0.0, 4.0]
    short = zl.simulate(zl.NormFlow(step_size=0.1), data, net, steps=40)
    ends = [flat(run.network.E, run.network.W) for run in (long, short)]
    assert np.linalg.norm(ends[0] - ends[1]) < 0.05 * np.linalg.norm(ends[1] - flat(net.E, net.W))


@pytest.mark.parametrize("activation", ["softplus(5)", "tanh"])
def test_the_kernel_solves_the_equations_of_a_step(activation):
    """At its solution θ = c + JᵀΛ and F − Y = −δΛ, with J from its definition. J has fewer columns than rows."""
    data = random_data(9, 3, 4)
    net = random_network(data, 4, activation)
    data = zl.datasets.from_arrays(data.X_train, net(data.X_train))
    zero_loss = make_zero_loss_set(net, data, "dense")
    c_E, c_W, softening = 0.97 * net.E, 0.97 * net.W, 0.5
    E, W, multiplier = net.E.copy(), net.W.copy(), np.zeros(data.Y_train.shape)
    ending, residual, contraction, iterations = zero_loss.solve_softened(
        c_E, c_W, E, W, multiplier, softening, 1e9, 1e-13, 200
    )
    assert ending == "converged"
    assert 0 < contraction < 1
    assert iterations < 200
    point = zl.networks.from_arrays(E, W, activation)
    J, R = dense_jacobian(point, data), point(data.X_train) - data.Y_train
    assert J.shape[0] > J.shape[1]
    assert np.abs(R).max() == residual
    assert np.abs(R + softening * multiplier).max() < 1e-11
    assert np.abs(flat(E, W) - flat(c_E, c_W) - J.T @ multiplier.ravel()).max() < 1e-11


@pytest.mark.parametrize("name", ["adaptive", "proximal"])
def test_a_state_of_an_earlier_version_continues(name):
    """It has no entries for softened steps. The bits stay the same until J loses rank."""
    flow = FLOWS[name]
    data, net = square_network()
    one, two = flow.start(data, net), flow.start(data, net)
    one.advance(10)
    state = one.save()
    for entry in (
        "earlier_size",
        "softening",
        *(() if name == "proximal" else ("earlier_E", "earlier_W", "multiplier")),
    ):
        del state[entry]
    two.restore(state)
    for stepper in (one, two):
        assert stepper.advance(10).finite
    assert all(same_bits(one.state[entry], two.state[entry]) for entry in one.state)
    while two.state["softening"] == 0:
        assert two.advance(1).finite
    assert two.advance(1).finite
    assert two.record()["largest_residual"] <= 1e-10


@pytest.mark.parametrize("method", [None, "proximal"])
def test_a_flow_along_kinks_ends_where_the_rank_is_lost(method):
    """The message has the cause. There is no softened step."""
    data, net = duplicates("relu")
    run = zl.simulate(zl.NormFlow(step_size=0.1, method=method), data, net, steps=10)
    assert run.outcome.ending == "singular"
    assert "at step 1 J is singular: 1 training inputs are duplicates of others" in run.outcome.message
    assert "softening" not in run.history


@pytest.mark.parametrize("flow", [zl.NormFlow(step_size=0.25), zl.NormFlow(rtol=1e-3)])
@pytest.mark.parametrize("activation", ["tanh", "softplus(1)"])
def test_a_smooth_flow_continues_from_a_singular_start_to_rest(activation, flow):
    """At rest, the changes of θ are rounding. They do not add up to an increase of the norm."""
    data, net = duplicates(activation)
    run = zl.simulate(flow, data, net, duration=100.0, record_every=1)
    check_history(run.history)
    assert run.history.time[-1] == pytest.approx(100.0)


@pytest.mark.parametrize(("flow", "seed"), [(zl.NormFlow(step_size=1.0), 2), (zl.NormFlow(rtol=3e-2), 3)])
def test_steps_that_are_too_long_do_not_raise_the_norm(flow, seed):
    """Steps on the set alone raise ‖θ‖² by 0.3 to 12, although J Jᵀ still has a factor."""
    data, net = memorise("softplus(5)", seed)
    run = zl.simulate(flow, data, net, duration=40.0, record_every=1)
    check_history(run.history)
    assert run.history.time[-1] == pytest.approx(40.0)


def test_a_tolerance_below_rounding_is_an_outcome():
    data, net = duplicates("tanh")
    run = zl.simulate(zl.NormFlow(rtol=1e-3, retraction_tolerance=1e-17), data, net, duration=2.0)
    assert run.outcome.ending == "singular"
    assert run.outcome.message.startswith("at step 1 J has lost rank, and ")
    assert run.outcome.message.endswith("raise retraction_tolerance")
