"""The empty figures of a page. Its scripts fill them with data, so no text of a run is part of a figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bokeh.models import ColumnDataSource
    from bokeh.plotting import figure

#: Tools of every figure.
_TOOLS = "pan,wheel_zoom,box_zoom,reset,save"
#: The side of a square frame in pixels, which fits on a phone.
SIDE = 290


def make_chart(name: str, x_range: Any, count: int) -> figure:
    """Make a chart over the steps, with a line at the cursor and at each event.

    Parameters
    ----------
    name : str
        The name of the figure. The sources of its curves are named "NAME 0", "NAME 1", …. The sources "NAME cursor" and
        "NAME events" have the places "x" of the cursor and of the events.
    x_range : Range1d
        The range of steps, which all charts share.
    count : int
        The number of curves.

    Returns
    -------
    figure
        The figure. Its x axis is the lower one, and its ticks are fixed: the script computes them.
    """
    from bokeh.models import Range1d  # noqa: PLC0415 — an extra, slow to import
    from bokeh.plotting import figure  # noqa: PLC0415

    chart = figure(
        name=name,
        height=210,
        sizing_mode="stretch_width",
        x_range=x_range,
        y_range=Range1d(start=0, end=1),
        tools=_TOOLS,
        toolbar_location="above",
        active_scroll=None,
    )
    for axis in (*chart.xaxis, *chart.yaxis):
        axis.ticker = _fixed_ticker()
    chart.vspan(x="x", source=source(f"{name} events", ("x",)), line_dash="dotted", line_width=1.5, name="event")
    chart.vspan(x="x", source=source(f"{name} cursor", ("x",)), line_width=1.5, name="cursor", level="overlay")
    band = source(f"{name} band", ("left", "right"))
    chart.quad(
        left="left", right="right", bottom=-1e9, top=1e9, source=band, line_alpha=0, fill_alpha=0.18, name="band"
    )
    lines = []
    for place in range(count):
        data = source(f"{name} {place}", ("x", "y", "step", "value", "label"))
        lines.append(chart.line("x", "y", source=data, line_width=2, name=f"curve {place}"))
        chart.scatter("x", "y", source=data, size=3, name=f"curve {place}")
    add_hover(
        chart,
        lines,
        [("", "@label"), ("step", "@step{%d}"), ("value", "@value{%.6g}")],
        {"@step": "printf", "@value": "printf"},
    )
    return chart


def make_heat_map() -> figure:
    """Make the map of Fourier power, units × frequencies. Its source "power" has one image."""
    from bokeh.models import LinearColorMapper  # noqa: PLC0415

    chart = _figure("power", height=260, sizing_mode="stretch_width")
    data = source("power", ("image", "x", "y", "dw", "dh"))
    image = chart.image("image", x="x", y="y", dw="dw", dh="dh", source=data, name="image")
    image.glyph.update(color_mapper=LinearColorMapper(palette="Cividis256", low=0, high=1))
    mark = source("marked unit", ("x",))
    chart.vspan(x="x", source=mark, line_width=1.5, name="cursor", level="overlay")
    add_hover(
        chart, [image], [("place, frequency", "$x{0}, $y{0}"), ("share of the unit's power", "@image{0.000}")], {}
    )
    chart.xaxis.axis_label, chart.yaxis.axis_label = "units, by strongest frequency", "frequency"
    return chart


def make_circle() -> figure:
    """Make the plane of one frequency. Its source "circle" has a labelled point for each number."""
    chart = make_square("circle")
    data = source("circle", ("x", "y", "label"))
    chart.line("x", "y", source=source("circle order", ("x", "y")), line_width=1, line_alpha=0.5, name="grey")
    points = chart.scatter("x", "y", source=data, size=17, name="disc")
    chart.text(
        "x",
        "y",
        text="label",
        source=data,
        text_align="center",
        text_baseline="middle",
        text_font_size="10px",
        name="label",
    )
    add_hover(
        chart, [points], [("number", "@label"), ("Re, Im", "@x{%.4g}, @y{%.4g}")], {"@x": "printf", "@y": "printf"}
    )
    chart.xaxis.axis_label, chart.yaxis.axis_label = "along Re F", "along Im F"
    return chart


def make_phases() -> figure:
    """Make the chart of output phases against input phases of the units."""
    chart = make_square("phases")
    names = ("x", "y", "unit", "frequency", "share")
    chart.line("x", "y", source=source("double", ("x", "y")), line_width=1, name="grey")
    others = chart.scatter(
        "x", "y", source=source("other phases", names), size=4, fill_alpha=0.5, line_alpha=0, name="grey"
    )
    own = chart.scatter("x", "y", source=source("phases", names), size=7, marker="diamond", name="orange")
    rows = [
        ("unit", "@unit"),
        ("frequency", "@frequency"),
        ("phases", "@x{%.3f}, @y{%.3f}"),
        ("share of its power", "@share{0.000}"),
    ]
    add_hover(chart, [own, others], rows, {"@x": "printf", "@y": "printf"})
    chart.xaxis.axis_label, chart.yaxis.axis_label = "phase of the input, rad", "phase of the output, rad"
    for axis in chart.axis:
        axis.ticker = _fixed_ticker(turns := [-math.pi, -math.pi / 2, 0, math.pi / 2, math.pi])
        axis.major_label_overrides = dict(zip(turns, ("−π", "−π/2", "0", "π/2", "π"), strict=True))
    return chart


def make_columns(layer: str) -> figure:
    """Make the chart of one unit's weights in a layer, with the fitted cosine."""
    chart = _figure(f"column {layer}", height=230, sizing_mode="stretch_width")
    names = ("x", "y", "label")
    chart.line("x", "y", source=source(f"cosine {layer}", ("x", "y")), line_width=2, name="orange")
    points = chart.scatter("x", "y", source=source(f"column {layer}", names), size=7, name="blue")
    add_hover(chart, [points], [("number", "@label"), ("weight", "@y{%.5g}")], {"@y": "printf"})
    chart.yaxis.axis_label = layer
    return chart


def make_table() -> figure:
    """Make the table of predictions. Its source "table" has one image: 0 to 3 for the kinds of cells, or NaN."""
    from bokeh.models import LinearColorMapper  # noqa: PLC0415

    chart = make_square("table", side=310)
    names = ("x", "y", "dw", "dh", "kind", "a", "b", "part", "target", "predicted", "margin")
    cells = chart.image("kind", x="x", y="y", dw="dw", dh="dh", source=source("table", names), name="cells")
    grey = ["#808080"] * 4  # The script takes the colours of the theme.
    cells.glyph.update(color_mapper=LinearColorMapper(palette=grey, low=0, high=3, nan_color="rgba(0, 0, 0, 0)"))
    chart.scatter("x", "y", source=source("test cells", ("x", "y")), size=3, name="dots")
    rows = [
        ("a, b", "@a, @b"),
        ("sample", "@part"),
        ("target", "@target"),
        ("predicted", "@predicted"),
        ("margin", "@margin{%.5g}"),
    ]
    add_hover(chart, [cells], rows, {"@margin": "printf"})
    chart.xaxis.axis_label, chart.yaxis.axis_label = "a", "b"
    return chart


def make_square(name: str, side: int = SIDE) -> figure:
    """Make a figure with a square frame of a fixed size in pixels, in which circles are circles."""
    return _figure(name, frame_width=side, frame_height=side)


def make_wide(name: str, height: int) -> figure:
    """Make a figure with the width of the page, whose ticks the script computes."""
    chart = _figure(name, height=height, sizing_mode="stretch_width")
    for axis in (*chart.xaxis, *chart.yaxis):
        axis.ticker = _fixed_ticker()
    return chart


def source(name: str, columns: tuple[str, ...]) -> ColumnDataSource:
    """Return an empty source of data with a name."""
    from bokeh.models import ColumnDataSource  # noqa: PLC0415

    return ColumnDataSource({column: [] for column in columns}, name=name)


def add_hover(chart: figure, renderers: list[Any], rows: list[tuple[str, str]], formatters: dict[str, Any]) -> None:
    """Add a box with values next to the pointer."""
    from bokeh.models import HoverTool  # noqa: PLC0415

    chart.toolbar.logo = None
    chart.add_tools(HoverTool(renderers=renderers, tooltips=rows, formatters=formatters))


def add_tap(chart: figure, renderer: Any) -> None:
    """Let a click select an entry, without another look. The script reacts to it."""
    from bokeh.models import TapTool  # noqa: PLC0415

    renderer.nonselection_glyph = renderer.selection_glyph = None
    chart.add_tools(TapTool(renderers=[renderer]))


def _figure(name: str, **size: Any) -> figure:
    from bokeh.models import BasicTicker, Range1d  # noqa: PLC0415
    from bokeh.plotting import figure  # noqa: PLC0415

    chart = figure(
        name=name,
        x_range=Range1d(start=0, end=1),
        y_range=Range1d(start=0, end=1),
        tools=_TOOLS,
        toolbar_location="above",
        active_scroll=None,
        **size,
    )
    for axis in chart.axis:  # Labels take much of the time of drawing a figure.
        axis.ticker = BasicTicker(desired_num_ticks=4, num_minor_ticks=0)
    return chart


def _fixed_ticker(ticks: Sequence[float] = ()) -> Any:
    from bokeh.models import FixedTicker  # noqa: PLC0415

    return FixedTicker(ticks=[*ticks])
