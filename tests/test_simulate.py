"""Simulations: records, snapshots, measures, extension, saving, interruption."""

import os
import signal
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

import zeroloss as zl
from problems import figure5, is_labelled, random_data, random_network, same_bits
from zeroloss.simulation.context import CellContext

DYNAMICS = {
    "descent": zl.GradientDescent(lr=0.1, weight_decay=1e-3),
    "momentum": zl.GradientDescent(lr=0.1, weight_decay=1e-3, momentum=0.9),
    "predicted": zl.PredictedGradient(step_size=1e-3, ridge=0.01),
}


@pytest.fixture(params=DYNAMICS)
def dynamics(request):
    return DYNAMICS[request.param]


def simulate(dynamics, steps, dtype="float64", **options):
    data, net = figure5(dtype)
    return zl.simulate(dynamics, data, net, steps=steps, progress=False, **options)


def test_records_are_at_zero_the_multiples_and_the_last_step(dynamics):
    assert simulate(dynamics, 10, record_every=4).history.step.values.tolist() == [0, 4, 8, 10]
    assert simulate(dynamics, 0).history.step.values.tolist() == [0]
    assert simulate(dynamics, 8, record_every=4).history.step.values.tolist() == [0, 4, 8]


def test_logarithmic_records_are_20_a_decade():
    steps = simulate(DYNAMICS["descent"], 1000, record_every="log").history.step.values
    assert steps[0] == 0
    assert {1, 10, 100, 1000} <= set(steps)
    assert (np.diff(steps) > 0).all()
    assert ((steps >= 100) & (steps < 1000)).sum() == 20


def test_a_record_describes_its_step(dynamics):
    run = simulate(dynamics, 6, record_every=1, snapshot_every=2)
    assert run.snapshots.step.values.tolist() == [0, 2, 4, 6]
    assert same_bits(run.snapshots.E.values[-1], run.network.E)
    for at in (0, 2, 4, 6):
        net = zl.networks.from_arrays(run.snapshots.E.sel(step=at), run.snapshots.W.sel(step=at))
        loss, _, _ = zl.loss_and_gradient(net, run.data)
        assert run.history.train_loss.sel(step=at).item() == pytest.approx(loss, rel=1e-13)


def test_recording_does_not_change_the_bits(dynamics):
    often, seldom = simulate(dynamics, 60, record_every=1), simulate(dynamics, 60, record_every=60)
    assert same_bits(often.network.E, seldom.network.E)
    assert same_bits(often.network.W, seldom.network.W)
    assert same_bits(often.history.isel(step=[0, -1]), seldom.history)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_extension_has_the_bits_of_one_long_run(dynamics, dtype, tmp_path):
    options = {"record_every": 7, "snapshot_every": 10, "measures": {"corner": lambda net: net.E[:2, :2]}}
    whole = simulate(dynamics, 50, dtype, **options)
    parts = simulate(dynamics, 20, dtype, **options)
    assert parts.extend(steps=13) is parts
    parts.save(tmp_path / "run")
    loaded = zl.load(tmp_path / "run").extend(steps=17, measures=options["measures"])
    for name in ("history", "snapshots"):
        assert same_bits(getattr(loaded, name), getattr(whole, name))
        assert getattr(loaded, name).attrs == getattr(whole, name).attrs
    assert same_bits(loaded.network.E, whole.network.E)
    assert same_bits(loaded.network.W, whole.network.W)


def test_a_loaded_run_needs_its_measures(tmp_path):
    simulate(DYNAMICS["descent"], 2, measures={"one": lambda net: 1.0}).save(tmp_path / "run")
    with pytest.raises(ValueError, match="measures: the history has one, so the measures must be given again"):
        zl.load(tmp_path / "run").extend(steps=1)


def test_saving_is_lossless(dynamics, tmp_path):
    run = simulate(dynamics, 20, record_every=5, snapshot_every=10)
    run.save(tmp_path / "run")
    loaded = zl.load(tmp_path / "run")
    assert same_bits(loaded.history, run.history)
    assert same_bits(loaded.snapshots, run.snapshots)
    assert loaded.history.attrs == run.history.attrs
    assert is_labelled(loaded.history)
    assert is_labelled(loaded.snapshots)
    for name in ("train_loss", "step", "time"):
        assert loaded.history[name].attrs == run.history[name].attrs
    for name in ("X_train", "Y_train", "X_test", "Y_test"):
        assert same_bits(getattr(loaded.data, name), getattr(run.data, name))
    assert loaded.outcome == run.outcome
    assert loaded.settings == run.settings
    assert loaded.settings["network"]["seed"] == 1
    assert loaded.settings["data"]["seed"] == 0
    assert loaded.settings["build"].items() <= zl.build_info().items()
    assert isinstance(xr.open_dataset(tmp_path / "run" / "history.nc"), xr.Dataset)


def test_saving_replaces_a_run_and_nothing_else(tmp_path):
    run = simulate(DYNAMICS["descent"], 2)
    run.save(tmp_path / "run")
    run.extend(steps=3).save(tmp_path / "run")
    assert zl.load(tmp_path / "run").step == 5
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match="expected a new directory or a saved run"):
        run.save(tmp_path / "other")
    with pytest.raises(FileNotFoundError, match="expected a run, found no checkpoints"):
        zl.load(tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "run"]


def test_measures_are_numbers_or_arrays():
    run = simulate(
        DYNAMICS["predicted"], 4, record_every=2, measures={"total": lambda m: m.E.sum(), "W": lambda m: m.W}
    )
    assert run.history.total.dims == ("step",)
    assert run.history.W.shape == (3, 128, 11)
    assert same_bits(run.history.W.values[-1], run.network.W)


def test_inputs_are_not_changed(dynamics):
    data, net = figure5()
    copies = [A.copy() for A in (net.E, net.W, data.X_train, data.Y_train)]
    zl.simulate(dynamics, data, net, steps=5)
    assert all(same_bits(a, b) for a, b in zip(copies, (net.E, net.W, data.X_train, data.Y_train), strict=True))


def test_the_settings_alone_determine_the_history(dynamics):
    assert same_bits(simulate(dynamics, 30, record_every=3).history, simulate(dynamics, 30, record_every=3).history)


def test_accuracy_is_nan_without_one_hot_targets_and_test_values_without_a_test_set():
    data = random_data(8, 3, 2)
    history = zl.simulate(DYNAMICS["descent"], data, random_network(data, 5), steps=1).history
    assert np.isnan(history.train_accuracy).all()
    assert np.isfinite(history.test_loss).all()
    alone = zl.datasets.from_arrays(np.eye(3), np.eye(3))
    history = zl.simulate(DYNAMICS["descent"], alone, random_network(alone, 5), steps=1).history
    assert np.isfinite(history.train_accuracy).all()
    assert np.isnan(history.test_loss).all()
    assert np.isnan(history.test_accuracy).all()


def test_progress_goes_to_standard_error_if_requested(capsys):
    simulate(DYNAMICS["descent"], 5)
    assert capsys.readouterr().err == ""
    data, net = figure5()
    zl.simulate(DYNAMICS["descent"], data, net, steps=5, progress=True)
    assert "5/5" in capsys.readouterr().err.replace(".00", "")


def test_progress_of_a_run_to_a_time_is_its_share_of_the_time(capsys):
    data, net = figure5()
    flow = zl.PredictedGradient(rtol=1e-2)
    zl.simulate(flow, data, net, duration=0.5, record_every=1, progress=True)
    assert "0.50/0.50" in capsys.readouterr().err
    counts = []
    with CellContext(lambda: None, counts.append, steps=1000).activate():
        zl.simulate(flow, data, net, duration=0.5, record_every=1)
    assert sum(counts) == 1000
    assert len(counts) > 3


def run_and_interrupt(signals):
    """Run a long simulation in a process, interrupt it, and return its output."""
    script = textwrap.dedent("""
        import zeroloss as zl
        data = zl.datasets.modular_addition(11, test_count=7)
        net = zl.networks.uniform_fan_in(data, hidden=128, seed=1)
        print("started", flush=True)
        try:
            run = zl.simulate(zl.GradientDescent(lr=1.0), data, net, steps=10**9, record_every=10**9,
                              measures={"ready": lambda net: print("running", flush=True) or 0.0})
            print(run.outcome, run.step == run.history.step.values[-1] > 0)
        except KeyboardInterrupt:
            print("raised")
    """)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        try:
            while process.stdout.readline().strip() != "running":
                pass
            for _ in range(signals):
                os.kill(process.pid, signal.SIGINT)
            out, _ = process.communicate(timeout=30)
        finally:
            process.kill()
    return out


def test_ctrl_c_ends_a_run_with_partial_results():
    assert "stopped by the user: after" in run_and_interrupt(1)


def test_no_signal_handler_is_set_outside_the_main_thread():
    runs = []
    thread = threading.Thread(target=lambda: runs.append(simulate(DYNAMICS["descent"], 5)))
    before = signal.getsignal(signal.SIGINT)
    thread.start()
    thread.join()
    assert runs[0].step == 5
    assert signal.getsignal(signal.SIGINT) is before


def test_crossing_step_is_the_first_sustained_step():
    series = xr.DataArray([0.0, 0.6, 0.4, 0.7, np.nan, 0.8, 0.9], {"step": [0, 10, 20, 30, 40, 50, 60]}, "step")
    assert zl.metrics.crossing_step(series, 0.5) == 10
    assert zl.metrics.crossing_step(series, 0.5, sustained=2) == 50
    assert zl.metrics.crossing_step(series, 0.5, sustained=3) is None
    assert zl.metrics.crossing_step(series, 0.95) is None
    with pytest.raises(ValueError, match="series: expected a DataArray"):
        zl.metrics.crossing_step(np.zeros(3), 0.5)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_batched_records_have_the_bits_of_single_ones(activation, loss, dtype):
    """The kernel makes many records in a chunk, or a chunk ends at each one. Both agree with NumPy."""
    data, net = figure5(dtype)
    net = zl.networks.from_arrays(net.E, net.W, activation)
    descent = zl.GradientDescent(lr=0.5, weight_decay=1e-2, loss=loss)
    many = zl.simulate(descent, data, net, steps=210, record_every=3, loss_extremes=True)
    # With measures, chunks end at every record.
    measures = {"E": lambda network: network.E, "W": lambda network: network.W}
    each = zl.simulate(descent, data, net, steps=210, record_every=3, loss_extremes=True, measures=measures)
    assert same_bits(many.history, each.history.drop_vars(measures))
    roundoff = 2.0**-53 if dtype == "float64" else 2.0**-24
    samples = [(data.X_train, data.Y_train, "train"), (data.X_test, data.Y_test, "test")]
    for step in (0, 3, 150, 210):
        record = each.history.sel(step=step)
        E, W = record.E.values.astype(float), record.W.values.astype(float)
        for X, Y, name in samples:
            H = np.maximum(X @ E, 0) if activation == "relu" else np.tanh(X @ E)
            F = H @ W
            shifted = F - F.max(axis=1, keepdims=True)
            entropy = (Y * (np.log(np.exp(shifted).sum(axis=1, keepdims=True)) - shifted)).sum() / len(Y)
            expected = ((F - Y) ** 2).mean() if loss == "mse" else entropy
            assert float(record[f"{name}_loss"]) == pytest.approx(expected, rel=3000 * roundoff)
            assert float(record[f"{name}_accuracy"]) == (F.argmax(axis=1) == Y.argmax(axis=1)).mean()
        assert float(record.norm_E) == pytest.approx(np.linalg.norm(E), rel=100 * roundoff)
        assert float(record.norm_W) == pytest.approx(np.linalg.norm(W), rel=100 * roundoff)
        residual = np.linalg.norm(train_outputs(data, E, W, activation) - data.Y_train)
        assert float(record.residual) == pytest.approx(residual, rel=3000 * roundoff)


def train_outputs(data, E, W, activation):
    Z = data.X_train @ E
    return (np.maximum(Z, 0) if activation == "relu" else np.tanh(Z)) @ W


def test_labels_of_axes_are_short():
    """Xarray writes long_name on axes, so that the sentence is in the description."""
    data, net = figure5()
    measures = {"a": zl.geometry.AlignmentMeasure(data), "own_number": lambda net: 1.0}
    run = zl.simulate(
        zl.GradientDescent(lr=0.1), data, net, steps=20, record_every=10, measures=measures, progress=False
    )
    assert is_labelled(run.history)
    names = {str(name): values.attrs["long_name"] for name, values in run.history.variables.items()}
    assert names["train_loss"] == "train loss"
    assert names["norm_E"] == "‖E‖"
    assert names["slow_time"] == "slow time s"
    assert names["a_cosine"] == "a cosine"
    assert names["own_number"] == "own number"
    (line,) = run.history.train_loss.plot(ax=Figure().subplots())
    assert line.axes.get_ylabel() == "train loss [1]"
    assert run.history.train_loss.attrs["description"] == "loss on the training samples, without weight decay"
