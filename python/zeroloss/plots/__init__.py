"""The common parts of the pictures: style, curves over runs, matrices, planes, and the mark of a quick run."""

from .curves import add_colour_bar, add_time_axis, draw_matrix, draw_runs, shade_span
from .pictures import (
    COLOURS,
    FORMS,
    add_legend,
    add_title,
    format_numbers,
    is_ours,
    make_figure,
    mark_quick,
    save,
    style,
    write_label,
)
from .plane import (
    ZERO_LOSS,
    add_time_legend,
    draw_angle,
    draw_arrow,
    draw_trajectory,
    make_grid,
    mark_times,
    shade_landscape,
)

__all__ = [
    "COLOURS",
    "FORMS",
    "ZERO_LOSS",
    "add_colour_bar",
    "add_legend",
    "add_time_axis",
    "add_time_legend",
    "add_title",
    "draw_angle",
    "draw_arrow",
    "draw_matrix",
    "draw_runs",
    "draw_trajectory",
    "format_numbers",
    "is_ours",
    "make_figure",
    "make_grid",
    "mark_quick",
    "mark_times",
    "save",
    "shade_landscape",
    "shade_span",
    "style",
    "write_label",
]
