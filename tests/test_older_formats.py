"""Directories of the previous format, which the package wrote then, and which are test data now."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import zeroloss as zl
from zeroloss import config, runs
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
