"""Figure 7: figure 5 with accuracies in place of losses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import memorisation
from .memorisation import FULL, QUICK, Settings
from .output import Result

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FULL", "QUICK", "draw", "run"]


def run(settings: Settings) -> Result:
    """Simulate and analyse the figure at given settings."""
    return memorisation.result(settings, 7, draw)


def draw(numbers: xr.Dataset) -> Figure:
    """Draw the accuracies and the cosines."""
    return memorisation.picture(numbers, "accuracies", _accuracies)


def _accuracies(axes: Axes, numbers: xr.Dataset) -> None:
    memorisation.curves(axes, numbers.train_accuracy, "green", "train accuracy")
    memorisation.curves(axes, numbers.test_accuracy, "vermilion", "test accuracy")
    axes.set(ylabel="accuracy", ylim=(-0.02, 1.03))
    memorisation.legend(axes, numbers, (0.38, 0.45))
