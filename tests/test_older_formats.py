"""Directories of the previous format, which the package wrote then, and which are test data now."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import zeroloss as zl
from zeroloss import config, runs
from zeroloss.dynamics.beyond_rank import BeyondRankStepper
from zeroloss.results import Ending

BEFORE = Path(__file__).parent / "data" / "format-2"


@pytest.fixture
def earlier(tmp_path):
    shutil.copytree(BEFORE, tmp_path / "earlier")
    return tmp_path / "earlier"


def assert_close(one, other):
    """Compare to rounding, because the files may come from another instruction-set level."""
    assert set(one.variables) == set(other.variables)
    for name in one.variables:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.filterwarnings("ignore:the run was started by another build")
def test_an_interrupted_run_is_resumed(earlier, tmp_path):
    """It has its last check for events, the loss extremes, and the networks that a measure compares."""
    before = zl.load(earlier / "interrupted")
    assert before.outcome.ending is Ending.STOPPED_BY_THE_USER
    assert before.events == {"train_loss <= 0.1": 15, "norm_E >= 1e9": None}
    resumed = runs.resume(earlier / "interrupted", progress=False, allow_different_bits=True)
    whole = runs.run(config.from_file(BEFORE / "interrupted" / "config.toml"), tmp_path / "whole", progress=False)
    assert_close(resumed.history, whole.history)
    assert_close(resumed.snapshots, whole.snapshots)
    assert resumed.events == whole.events
    assert np.isfinite(whole.history.alignment_cosine.values[1:]).all()


def test_a_saved_run_is_extended(earlier):
    saved = zl.load(earlier / "saved")
    whole = zl.simulate(
        zl.PredictedGradient(step_size=0.01),
        saved.data,
        zl.networks.normal(saved.data, hidden=12, std=0.5, seed=1),
        steps=40,
        record_every=10,
        snapshot_every=10,
        progress=False,
    )
    saved.extend(15, progress=False)
    assert_close(saved.history, whole.history)
    assert_close(saved.snapshots, whole.snapshots)
    saved.save(earlier / "saved")
    assert_close(zl.load(earlier / "saved").history, whole.history)


@pytest.mark.parametrize("end", ["new piece", "joined pieces"])
def test_a_flow_of_a_version_without_a_column_is_resumed(tmp_path, monkeypatch, end):
    """Earlier versions did not record ``softening``. Their rows have NaN, and new ones have values."""
    data = zl.datasets.modular_addition(5, test_count=2, seed=0)
    net = zl.networks.uniform_fan_in(data, hidden=24, seed=100, activation="softplus(5)")
    zl.networks.to_checkpoint(zl.geometry.project(net, data).network, tmp_path / "start.npz")
    (tmp_path / "flow.toml").write_text("""
        data = {task = "modular_addition", p = 5, test_count = 2, seed = 0}
        network = {init = "file", file = "start.npz", activation = "softplus(5)"}
        dynamics = {kind = "norm_flow", step_size = 0.01}
        run = {steps = 10, record_every = 2}
    """)
    file, now = tmp_path / "flow.toml", BeyondRankStepper.step_record
    with monkeypatch.context() as earlier:
        earlier.setattr(BeyondRankStepper, "step_record", lambda self: _without(now(self), "softening"))
        assert "softening" not in runs.run(config.from_file(file), tmp_path / "run", progress=False).history
    steps = 2 if end == "new piece" else 20
    history = runs.resume(tmp_path / "run", extend=steps, progress=False).history
    longer = config.from_file(file, run={"steps": 10 + steps})
    whole = runs.run(longer, tmp_path / "whole", progress=False).history
    assert_close(history.drop_vars("softening"), whole.drop_vars("softening"))
    assert np.isnan(history.softening[:6]).all()
    assert (history.softening[6:] == 0).all()


def _without(record, name):
    return {other: value for other, value in record.items() if other != name}
