"""Figure 5: losses of descent on modular addition, and the alignment of its updates along the zero-loss set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import memorisation
from .memorisation import Settings
from .output import Result

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw", "reproduce", "run"]


def reproduce(*, seeds: int | None = None, quick: bool = False, projection: str = "gauss_newton") -> Result:
    """Simulate and analyse figure 5.

    Parameters
    ----------
    seeds : int, optional
        Number of seeds; the paper's five by default, three in the quick form.
    quick : bool
        The same, measured every 50 steps in place of every one.
    projection : {"gauss_newton", "momentum"}
        The projection on the zero-loss set; the paper's is ``"momentum"``.
    """
    return run(memorisation.chosen(seeds, quick, projection))


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
