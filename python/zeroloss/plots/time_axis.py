"""The axis of steps or times: logarithmic from the first record after 0 on, and linear before it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def set_time_axis(axes: Axes, values: NDArray[np.float64], name: str, scale: str = "log") -> str:
    """Set the scale of the axis of steps or times, and return its label.

    Parameters
    ----------
    axes : Axes
        The axes, or one of several that share the axis.
    values : ndarray
        The steps or times of all records.
    name : str
        The name of the axis.
    scale : {"log", "linear"}
        The scale. "log" is linear up to the first value above 0, and over less than a decade.

    Returns
    -------
    str
        The label of the axis.
    """
    from matplotlib.ticker import FixedLocator  # noqa: PLC0415 — slow to import, and needed only for a picture

    positive = values[values > 0]
    if not positive.size:
        axes.set_xticks([0])
        return name
    first, last = float(positive.min()), float(positive.max())
    decades = [10.0**power for power in range(math.ceil(math.log10(first)), math.floor(math.log10(last)) + 1)]
    if scale == "linear" or not decades:
        axes.set_xlim(-0.02 * last, 1.02 * last)
        return name
    axes.set_xscale("symlog", linthresh=first, linscale=0.25)
    axes.set_xlim(-0.05 * first, last * 1.05)
    axes.xaxis.set_major_locator(FixedLocator([0, *decades]))
    minor = [tick * digit for tick in [decades[0] / 10, *decades] for digit in range(2, 10)]
    axes.xaxis.set_minor_locator(FixedLocator([first, *(tick for tick in minor if tick > first)]))
    return name if first == 1 else f"{name} (logarithmic from {first:.3g} on)"
