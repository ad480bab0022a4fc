"""The empty figures of the page of a sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .figures import add_hover, add_tap, make_wide, source

if TYPE_CHECKING:
    from bokeh.plotting import figure

#: The columns of lines, of which each has its colour and dash.
_LINES = ("xs", "ys", "colour", "dash", "label")


def make_all() -> list[figure]:
    """Make the figures of the page of a sweep."""
    return [make_points(), make_parallel(), make_groups()]


def make_points() -> figure:
    """Make the chart of values over one key, with a line through the medians."""
    chart = make_wide("points", 300)
    names = ("x", "y", "label", "text")
    medians = source("medians", ("x", "y"))
    chart.line("x", "y", source=medians, line_width=2, name="green")
    chart.scatter("x", "y", source=medians, size=11, marker="diamond", name="green")
    values = chart.scatter("x", "y", source=source("values", names), size=8, name="blue", fill_alpha=0.5)
    censored = chart.scatter("x", "y", source=source("censored", names), size=9, marker="triangle", name="vermilion")
    add_hover(chart, [values, censored], [("", "@label"), ("", "@text")], {})
    return chart


def make_parallel() -> figure:
    """Make the parallel coordinates: a line for each cell, and an axis with labels for each key and for the value."""
    chart = make_wide("parallel", 380)
    lines = chart.multi_line(
        "xs",
        "ys",
        source=source("cells", _LINES),
        line_color="colour",
        line_dash="dash",
        line_width=1.5,
        line_alpha=0.75,
        name="cells",
    )
    add_tap(chart, lines)
    chart.multi_line("xs", "ys", source=source("bars", ("xs", "ys")), line_width=1.5, name="text")
    labels = chart.text(
        "x",
        "y",
        text="label",
        source=source("bar labels", ("x", "y", "label")),
        text_baseline="middle",
        text_font_size="11px",
        x_offset=4,
        name="label",
    )
    labels.glyph.update(background_fill_alpha=0.85, padding=1)
    add_hover(chart, [lines], [("", "@label")], {})
    chart.yaxis.visible = False
    chart.grid.visible = False
    return chart


def make_groups() -> figure:
    """Make the curves, faint for each cell, with the mean of each group."""
    chart = make_wide("groups", 360)
    for name, width, alpha in (("curves", 1.0, 0.35), ("means", 2.5, 1.0)):
        lines = chart.multi_line(
            "xs",
            "ys",
            source=source(name, _LINES),
            line_color="colour",
            line_dash="dash",
            line_width=width,
            line_alpha=alpha,
            name="cells",
        )
        if name == "curves":
            add_tap(chart, lines)
    add_hover(chart, [lines], [("", "@label")], {})
    chart.xaxis.axis_label = "step"
    return chart
