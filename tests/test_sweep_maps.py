"""Heat maps of sweeps: medians of delays and of last values, and hatches."""

import numpy as np
import pytest
import xarray as xr

import zeroloss as zl
from zeroloss.results import Ending


def make_cube(event_step, last_step, ending):
    """Return the parts of a cube that a heat map reads, over lr, hidden and two seeds, with curves of two records."""
    dims = ("lr", "hidden", "data_seed")
    last = np.asarray(last_step, float)
    loss = np.stack([np.zeros(last.shape), last / 10], axis=-1)
    return xr.Dataset(
        {
            "event_step": ((*dims, "event"), np.asarray(event_step, float)[..., None]),
            "last_step": (dims, last),
            "ending": (dims, np.asarray(ending, object)),
            "test_loss": ((*dims, "step"), loss, {"long_name": "test loss"}),
        },
        {"event": ["test_accuracy >= 1"], "step": [0, 100], "lr": [0.1, 1.0, 5.0], "hidden": [8, 16]},
    )


OK, GONE, NONE = "reached the end", str(Ending.DIVERGED), "not ended"
CUBE = make_cube(
    event_step=[[[10, 20], [30, np.nan]], [[np.nan, np.nan], [40, 40]], [[np.nan, np.nan], [np.nan, np.nan]]],
    last_step=[[[100, 100], [100, 100]], [[100, 100], [100, 100]], [[100, 100], [np.nan, np.nan]]],
    ending=[[[OK, OK], [OK, OK]], [[OK, OK], [OK, GONE]], [[GONE, GONE], [NONE, NONE]]],
)


def test_a_heat_map_of_delays_hatches_censored_cells():
    """The median of 30 and of a run that ended at 100 is 30: half of the runs have the event."""
    axes, bar = zl.plots.plot_sweep(CUBE, "test_accuracy >= 1").axes
    shown = axes.images[0].get_array()
    np.testing.assert_array_equal(shown.filled(np.nan), [[10, np.nan, np.nan], [30, 40, np.nan]])
    hatched = {(patch.get_x() + 0.5, patch.get_y() + 0.5) for patch in axes.patches if patch.get_hatch()}
    assert hatched == {(1, 0), (2, 0)}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("lr", "hidden")
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0.1", "1", "5"]
    assert bar.get_ylabel() == "steps to test accuracy ≥ 1"


def test_a_heat_map_of_last_values_leaves_out_runs_that_diverged():
    cube = CUBE.copy(deep=True)
    cube.test_loss.loc[{"lr": 1.0, "hidden": 16, "data_seed": 1, "step": 100}] = 1e300
    cube.test_loss.loc[{"lr": 0.1, "hidden": 8, "data_seed": 1, "step": 100}] = 30
    axes, bar = zl.plots.plot_sweep(cube, "test_loss", x="hidden", y="lr").axes
    shown = axes.images[0].get_array().filled(np.nan)
    np.testing.assert_array_equal(shown, [[20, 10], [10, 10], [np.nan, np.nan]])
    assert [(patch.get_x() + 0.5, patch.get_y() + 0.5) for patch in axes.patches if patch.get_hatch()] == [(0, 2)]
    assert bar.get_ylabel() == "last test loss"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing",), "value: expected one of test_accuracy >= 1, test_loss, got 'nothing'"),
        (("test_loss", "depth"), "x: expected one of lr, hidden, data_seed, got 'depth'"),
        (("test_loss", "lr", "lr"), "y: expected another key than x, got 'lr'"),
    ],
)
def test_wrong_keys_of_a_heat_map_are_rejected(arguments, message):
    with pytest.raises(ValueError, match=message):
        zl.plots.plot_sweep(CUBE, *arguments)


def test_delays_are_counted_from_events_only():
    with pytest.raises(ValueError, match="since: expected one of test_accuracy >= 1, got 'begin'"):
        zl.plots.plot_sweep(CUBE, "test_accuracy >= 1", since="begin")
    with pytest.raises(ValueError, match="since: expected only with an event, got 'test_accuracy >= 1'"):
        zl.plots.plot_sweep(CUBE, "test_loss", since="test_accuracy >= 1")


def test_a_sweep_over_one_key_has_one_row():
    axes, _ = zl.plots.plot_sweep(CUBE.isel(hidden=0, drop=True), "test_accuracy >= 1").axes
    assert axes.images[0].get_array().shape == (1, 3)
    assert axes.get_yticks().tolist() == []
