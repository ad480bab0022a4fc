"""The sharpness along simulations: values, extensions, files, and the reference run of the paper's setting."""

import pickle

import pytest

import zeroloss as zl
from problems import figure5, random_data, random_network, same_bits

curvature = zl.curvature


@pytest.fixture(scope="module")
def run_with_measure():
    data, net = figure5()
    measures = {"sharpness": curvature.SharpnessMeasure(data)}
    return zl.simulate(zl.GradientDescent(lr=1.0), data, net, steps=60, record_every=20, measures=measures)


def test_a_measure_records_the_sharpness_along_a_run(run_with_measure, tmp_path):
    data, net = figure5()
    descent = zl.GradientDescent(lr=1.0)
    networks = [net, *(zl.simulate(descent, data, net, steps=steps).network for steps in (20, 40, 60))]
    expected = [curvature.sharpness(network, data) for network in networks]
    assert run_with_measure.history.sharpness.values == pytest.approx(expected, rel=1e-6)
    assert "largest eigenvalue" in run_with_measure.history.sharpness.attrs["description"]
    plain = zl.simulate(descent, data, net, steps=60)
    assert same_bits(run_with_measure.network.E, plain.network.E)
    half = zl.simulate(descent, data, net, steps=30, record_every=20, measures=run_with_measure.measures)
    half.save(tmp_path / "run")
    loaded = zl.load(tmp_path / "run").extend(steps=30, measures=run_with_measure.measures)
    assert same_bits(loaded.history, run_with_measure.history)
    assert loaded.history.sharpness.attrs == run_with_measure.history.sharpness.attrs


def test_a_measure_can_be_sent_to_another_process_and_serves_networks_of_any_size():
    data = random_data(7, 9, 3)
    net = random_network(data, 14, "tanh")
    measure = curvature.SharpnessMeasure(data, "cross_entropy", "sum", 0.1, part="gauss_newton", accuracy=1e-8)
    copy = pickle.loads(pickle.dumps(measure))
    assert repr(copy) == repr(measure)
    for network in (net, random_network(data, 5, "tanh"), random_network(data, 5, "relu", "float32")):
        value = curvature.sharpness(network, data, "cross_entropy", "sum", 0.1, part="gauss_newton")
        assert copy(network) == measure(network) == pytest.approx(value, rel=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("relu", {0: 0.393, 398: 0.533, 1585: 0.638, 6310: 0.504, 40_000: 0.360}),
        ("softplus(5)", {0: 0.845, 398: 0.926, 1585: 1.340, 6310: 1.202, 40_000: 0.969}),
    ],
)
def test_the_sharpness_of_the_setting_of_the_paper(activation, expected):
    """Values of an independent NumPy prototype, to the three digits that it printed."""
    data = zl.datasets.modular_addition(11, test_count=7, seed=0)
    net = zl.networks.uniform_fan_in(data, hidden=128, seed=100, activation=activation)
    measures = {"sharpness": curvature.SharpnessMeasure(data)}
    descent = zl.GradientDescent(lr=1.0, weight_decay=1e-4)
    run = zl.simulate(descent, data, net, steps=40_000, record_every="log", measures=measures)
    values = run.history.sharpness.sel(step=list(expected)).values
    assert values == pytest.approx(list(expected.values()), abs=5.1e-4)


def record_at_the_edge(seed, **schedule):
    """Return the sharpness · lr/2 along descent with lr 4 and weight decay 2.5e-5."""
    data = zl.datasets.modular_addition(11, test_count=7, seed=seed)
    net = zl.networks.uniform_fan_in(data, hidden=128, seed=100 + seed)
    measures = {"sharpness": curvature.SharpnessMeasure(data)}
    return 2 * zl.simulate(zl.GradientDescent(4.0, 2.5e-5), data, net, measures=measures, **schedule).history.sharpness


@pytest.mark.parametrize("seed", range(5))
def test_relu_with_a_large_learning_rate_stays_at_the_edge_of_stability(seed):
    """The median over records is within 1 % of 2/lr. Single records oscillate, and the decay lowers the last ones."""
    ratio = record_at_the_edge(seed, steps=1600, record_every=20).sel(step=slice(400, 1600))
    assert ratio.median() == pytest.approx(1, abs=0.01)
    assert ratio.sel(step=slice(400, 800)).mean() == pytest.approx(1, abs=0.005)
    assert 0.97 < ratio.min() < 1 < ratio.max() < 1.03


def test_single_records_at_the_edge_of_stability():
    """0.4999 and 0.5005 are values of an independent NumPy prototype, for 2/lr = 0.5."""
    ratio = record_at_the_edge(0, steps=1259, record_every="log").sel(step=slice(398, 1259))
    assert ratio.sel(step=[398, 794]).values / 2 == pytest.approx([0.4999, 0.5005], abs=2e-4)
    assert ratio.values == pytest.approx(1, abs=0.01)
