"""Write the table of `make bench` to the screen, as Markdown and as JSON, and draw the picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from implementations import OURS, SIMULATE
from measure import GOAL, Row

_BASELINES = ("JAX", "PyTorch", "PyTorch by hand", "PyTorch compiled", "NumPy")
_TITLES = (
    "step",
    "bits",
    "time",
    "range",
    "GFLOP/s",
    "% peak",
    "% bound",
    "met",
    *(f"× {name}" for name in _BASELINES),
)
_WIDTHS = (34, 4, 9, 17, 8, 6, 7, 3, 7, 9, 17, 18, 8)


def _align(cells: Sequence[str]) -> str:
    return "  ".join(
        f"{cell:<{width}}" if at == 0 else f"{cell:>{width}}"
        for at, (cell, width) in enumerate(zip(cells, _WIDTHS, strict=True))
    )


HEADER = _align(_TITLES)


def _time(seconds: float) -> str:
    unit, scale = ("µs", 1e6) if seconds < 1e-3 else ("ms", 1e3) if seconds < 1 else ("s", 1)
    return f"{seconds * scale:.3g} {unit}"


def _cells(row: Row) -> list[str]:
    times = row.seconds[OURS]
    cells = [row.case.name, str(row.case.bits), _time(float(np.median(times)))]
    cells += [f"{_time(min(times))}–{_time(max(times))}", f"{row.rate() / 1e9:.1f}"]
    cells.append(f"{100 * np.median(row.shares()):.1f}")
    bounds = row.shares_of_bound()
    cells.append(f"{100 * np.median(bounds):.1f}" if bounds else "")
    cells.append({None: "", True: "yes", False: "no"}[row.meets_goal()])
    for name in _BASELINES:
        ratios = row.ratios(name)
        cells.append("n/a" if ratios is None else f"{np.median(ratios):.2f}")
    return cells


def line(row: Row) -> str:
    """Return a row of the table for the screen."""
    return _align(_cells(row))


def headline(machine: dict[str, Any]) -> str:
    """Return one line with the machine and the versions."""
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items() if number)
    program = f"level {machine['level']}, GCC {machine['compiler']}, Python {machine['python']}"
    line = f"{machine['processor']}, {program}, {versions}, {machine['date']}"
    load = machine["load"]
    return line if load < 0.5 else f"{line}; other work (load {load}): do not trust the rows of all cores"


def notes(rows: Sequence[Row]) -> str:
    """Return the notes below the table: the peak, the cost of the loop, other work on the core, reasons for n/a."""
    lines = []
    for bits in (32, 64):
        if peaks := [peak for row in rows if row.case.bits == bits for peak in row.peaks]:
            low, middle, high = (f"{value / 1e9:.0f}" for value in (min(peaks), np.median(peaks), max(peaks)))
            lines.append(f"Multiply-add peak of the core, float{bits}: {middle} GFLOP/s (rounds: {low}–{high}).")
    for row in rows:
        if ratios := row.ratios(SIMULATE):
            percent = 100 * (np.median(ratios) - 1)
            lines.append(
                f"{row.case.title}: simulate with a record every 1 000 steps takes {percent:+.1f} % "
                f"over the bare kernel (rounds: {100 * (min(ratios) - 1):+.1f} to {100 * (max(ratios) - 1):+.1f})."
            )
    counted = [row for row in rows if row.meets_goal() is not None]
    if counted:
        met = sum(bool(row.meets_goal()) for row in counted)
        lines.append(
            f"{met} of {len(counted)} rows reach {GOAL:.0%} of the rate that counting operations allows "
            "(operation_counts.py)."
        )
    busy = sum(sum(row.clocks[OURS]) for row in rows) / sum(sum(row.seconds[OURS]) for row in rows) - 1
    lines.append(f"Other work on the core while ours was timed: {100 * busy:.0f} % of our processor time.")
    worst = max((error / row.bound, name, row) for row in rows for name, error in row.errors.items())
    lines.append(
        f"Answers agree: the largest difference from ours, relative to its bound {worst[2].bound:.0e}, is "
        f"{worst[0]:.2g} ({worst[1]}, {worst[2].case.title})."
    )
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for name, reason in row.failures.items():
            reasons.setdefault((name, reason), []).append(f"{row.case.title}")
    lines += [f"n/a, {name}: {reason} ({'; '.join(rows)})." for (name, reason), rows in reasons.items()]
    return "\n".join(lines)


def memory(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Return the peak memory of our process for each predicted-gradient row, as cells."""
    return [
        (
            row.case.name,
            str(row.case.bits),
            f"{row.memory:.0f}",
            f"{row.memory - row.memory_before:.0f}",
            f"{_k(row):.1f}",
        )
        for row in rows
        if row.case.dynamics == "predicted"
    ]


def _k(row: Row) -> float:
    """Return the size of K in MB."""
    return row.case.n**2 * row.case.bits / 8 / 2**20


def write(
    stem: Path,
    machine: dict[str, Any],
    one_core: Sequence[Row],
    all_cores: Sequence[Row],
    picture_rows: Sequence[Row],
) -> None:
    """Write the table as .md and .json, and the picture if its rows were measured."""
    stem.parent.mkdir(exist_ok=True)
    parts = {"one_core": one_core, "all_cores": all_cores, "picture": picture_rows}
    numbers = {"machine": machine, **{name: [_numbers(row) for row in rows] for name, rows in parts.items()}}
    stem.with_suffix(".json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    text = [f"# Benchmarks: {machine['processor']}", "", headline(machine), "", "## One core against one core", ""]
    text += [*_markdown(_TITLES, map(_cells, one_core))]
    text += ["", *(f"- {sentence}" for sentence in notes(one_core).splitlines())]
    if all_cores:
        heading = f"## All {all_cores[0].cores} cores against all"
        text += ["", heading, "", *_markdown(_TITLES, map(_cells, all_cores))]
    if rows := memory(one_core):
        titles = ("step", "bits", "peak of our process, MB", "of it above the libraries", "one K, MB")
        text += ["", "## Memory", "", *_markdown(titles, rows)]
    if picture_rows:
        picture(stem.with_suffix(".png"), machine, picture_rows)
        text += ["", "## Time against n and h", "", f"![time per step against n and h]({stem.name}.png)"]
    stem.with_suffix(".md").write_text("\n".join(text) + "\n", encoding="utf-8")


def _numbers(row: Row) -> dict[str, Any]:
    numbers = asdict(row)
    numbers.update(name=row.case.name, flops=row.case.flops, share=float(np.median(row.shares())))
    numbers["share_of_bound"] = float(np.median(row.shares_of_bound())) if row.least_seconds else None
    numbers["median_ratios"] = {name: float(np.median(row.ratios(name) or [])) for name in row.seconds if name != OURS}
    return numbers


def _markdown(titles: Sequence[str], rows: Any) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in (titles, ["---"] + ["---:"] * (len(titles) - 1), *rows)]


def picture(path: Path, machine: dict[str, Any], points: Sequence[Row]) -> None:
    """Draw our time of a step and JAX's against n and against h, on logarithmic axes."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(9, 4.3), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    colours = {"descent": "C0", "predicted": "C1"}
    labels = {"descent": "descent", "predicted": "predicted gradient"}
    for panel, letter, fixed in ((panels[0], "n", "h"), (panels[1], "h", "n")):
        held = {"n": 492, "h": 512}[fixed]
        for dynamics, colour in colours.items():
            rows = [row for row in points if row.case.dynamics == dynamics and getattr(row.case, fixed) == held]
            rows.sort(key=lambda row: getattr(row.case, letter))
            for name, style in ((OURS, "o-"), ("JAX", "s--")):
                series = [(getattr(row.case, letter), row.step(name)) for row in rows if name in row.seconds]
                label = f"{labels[dynamics]}, {name}"
                panel.plot(
                    *zip(*series, strict=True), style, color=colour, alpha=1 if name == OURS else 0.5, label=label
                )
        panel.set(xscale="log", yscale="log", xlabel=letter, title=f"p = 37, {fixed} = {held}, float64")
        values = sorted({getattr(row.case, letter) for row in points if getattr(row.case, fixed) == held})
        panel.set_xticks(values, map(str, values))
        panel.set_xticks([], minor=True)
        panel.grid(which="both", alpha=0.2)
    panels[0].set_ylabel("seconds per step, one core")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.suptitle(f"{machine['processor']}, level {machine['level']}", fontsize="medium")
    figure.savefig(path, dpi=150)
