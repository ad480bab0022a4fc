"""Figures that notebooks show. This module imports Matplotlib and is imported with the first picture."""

from __future__ import annotations

import io

from matplotlib.figure import Figure


class NotebookFigure(Figure):
    """A figure that notebooks show. They know other figures of Matplotlib only once pyplot is imported."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()
