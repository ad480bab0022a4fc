"""Figure 5: losses of descent on modular addition, and the alignment of its updates along the zero-loss set."""

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
    return memorisation.result(settings, 5, draw)


def draw(numbers: xr.Dataset) -> Figure:
    """Draw the losses and the cosines."""
    return memorisation.picture(numbers, "losses", _losses)


def _losses(axes: Axes, numbers: xr.Dataset) -> None:
    memorisation.curves(axes, numbers.train_loss, "green", "train loss")
    memorisation.curves(axes, numbers.test_loss, "vermilion", "test loss")
    axes.set(ylabel="mean squared error", ylim=(0, None))
    memorisation.legend(axes, numbers, (0.4, 0.3))
