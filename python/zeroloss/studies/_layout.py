"""The layout of a study's picture: its parts, named by the letters of a mosaic, and their headings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = ["Layout", "Places"]


@dataclass(frozen=True)
class Layout:
    """The parts of a picture.

    Attributes
    ----------
    mosaic : str
        Rows of letters, separated by spaces. In ``"ac bc"`` the part c is as high as the parts a and b together.
    width, height : float
        The size of the picture in inches.
    spaces : mapping
        Options of Matplotlib's ``GridSpec``: ``wspace``, ``hspace``, ``width_ratios``, ``height_ratios``.
    """

    mosaic: str
    width: float
    height: float
    spaces: Mapping[str, Any] = field(default_factory=lambda: {"wspace": 0.04})

    def places(self) -> Places:
        """Return an empty figure with the parts.

        Returns
        -------
        Places
            The parts by their letters.
        """
        return Places(self)


class Places:
    """The parts of an empty picture by their letters.

    Parameters
    ----------
    layout : Layout
        The layout of the picture.

    Attributes
    ----------
    figure : matplotlib.figure.Figure
        The picture.
    """

    def __init__(self, layout: Layout) -> None:
        self.figure: Figure = plots.make_figure(layout.width, layout.height)
        rows = layout.mosaic.split()
        grid = self.figure.add_gridspec(len(rows), len(rows[0]), left=0, right=1, bottom=0, top=1, **layout.spaces)
        self._parts: dict[str, SubFigure] = {}
        for letter in sorted(set("".join(rows))):
            cells = [(y, x) for y, row in enumerate(rows) for x, other in enumerate(row) if other == letter]
            (top, left), (bottom, right) = min(cells), max(cells)
            self._parts[letter] = self.figure.add_subfigure(grid[top : bottom + 1, left : right + 1])

    def part(self, letter: str, title: str) -> SubFigure:
        """Write the letter and a title above a part, and return the part.

        Parameters
        ----------
        letter : str
            A letter of the mosaic.
        title : str
            The title of the part.

        Returns
        -------
        matplotlib.figure.SubFigure
            The part, without axes.
        """
        plots.add_title(self._parts[letter], letter, title)
        return self._parts[letter]

    def __call__(self, letter: str, title: str) -> Axes:
        """Write the letter and a title above a part, and return axes that fill it."""
        axes: Axes = self.part(letter, title).subplots()
        return axes
