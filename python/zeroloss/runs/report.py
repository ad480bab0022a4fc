"""A run at a glance: a summary in words, and one picture of it."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import fourier, plots
from ..dynamics.simulation import extend_run
from ..results import Run, RunDirectory, read
from ..results.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["report"]

_NAMES = {"train": plots.COLOURS["blue"], "test": plots.COLOURS["vermilion"]}


def report(directory: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> list[str]:
    """Draw a run, ended or under way, and say in lines what became of it.

    Parameters
    ----------
    directory : path
        Of a run, or of what ``Run.save`` wrote.
    out : path, optional
        Of the picture; by default ``report.png`` in the directory, with a number if another program's picture is there.

    Returns
    -------
    list of str
        The summary, the last line of which names the picture.

    Raises
    ------
    FileNotFoundError, DamagedError
        Where there is no run, or nothing whole of it.
    FileExistsError
        If ``out`` is a file that this package did not write.
    """
    run = read(directory, extend_run)
    picture = _picture(Path(directory), out)
    with plots.style():
        figure = _drawn(run, Path(directory).resolve().name)
        write_atomically(picture, lambda file: plots.save(figure, file))
    return [*_summary(run, RunDirectory(directory)), f"picture: {picture}"]


def _picture(directory: Path, out: str | os.PathLike[str] | None) -> Path:
    """Return a path for the picture at which no other file is."""
    if out is not None:
        if os.path.lexists(out) and not plots.is_ours(Path(out)):
            raise FileExistsError(f"out: {out} is a file that zeroloss did not write; choose another name")
        return Path(out)
    names = itertools.chain(["report.png"], (f"report-{number}.png" for number in itertools.count(2)))
    paths = (directory / name for name in names)
    return next(path for path in paths if not os.path.lexists(path) or (path.is_file() and plots.is_ours(path)))


def _summary(run: Run, directory: RunDirectory) -> list[str]:
    dynamics = ", ".join(f"{key} {value}" for key, value in run.settings["dynamics"].items() if value is not None)
    lines = [f"{run.outcome}", f"{dynamics}", f"{run.data}", f"{run.network}"]
    if run.history.sizes["step"]:
        last = run.history.isel(step=-1)
        for name in ("train_loss", "test_loss", "train_accuracy", "test_accuracy", "norm_E", "norm_W"):
            lines.append(f"{name:<15} {float(run.history[name][0]):<12.5g} → {float(last[name]):.5g}")
    lines += [f"{text:<24} first at step {step}" for text, step in sorted(run.events.items(), key=lambda item: item[1])]
    if directory.log_file.exists():
        lines.append(f"log: {directory.log_file}")
    return lines


def _drawn(run: Run, name: str) -> Figure:
    history, pictures = run.history, _fourier_power(run)
    alignment = [key for key in ("alignment_cosine", "alignment_decay_cosine") if key in history]
    rows = 3 + bool(alignment) + (pictures is not None)
    figure = plots.new_figure(7.2, 0.7 + 2.0 * rows)
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    step = np.maximum(history.step.values, 0.7)  # step 0 has a place on the logarithmic axis
    panels = iter(zip(axes, "abcde", strict=False))

    place, letter = next(panels)
    _title(place, letter, "loss")
    if "train_loss_min" in history:
        band = (history.train_loss_min, history.train_loss_max)
        place.fill_between(step, *band, color=_NAMES["train"], alpha=0.25, linewidth=0)
    for kind, colour in _NAMES.items():
        place.plot(step, history[f"{kind}_loss"], color=colour, label=kind)
    if (history.train_loss > 0).any():
        place.set_yscale("log")
    place.legend()

    place, letter = next(panels)
    _title(place, letter, "accuracy")
    for kind, colour in _NAMES.items():
        place.plot(step, history[f"{kind}_accuracy"], color=colour, label=kind)
    place.set_ylim(-0.03, 1.05)

    place, letter = next(panels)
    _title(place, letter, "norms")
    place.plot(step, history.norm_E, color=plots.COLOURS["green"], label="‖E‖")
    place.plot(step, history.norm_W, color=plots.COLOURS["orange"], label="‖W‖")
    place.legend()

    if alignment:
        place, letter = next(panels)
        _title(place, letter, "cosine of updates")
        names = {"alignment_cosine": "with the norm-minimising direction", "alignment_decay_cosine": "with −θ"}
        for key, colour in zip(alignment, ("purple", "grey"), strict=False):
            place.plot(step, history[key], color=plots.COLOURS[colour], label=names[key])
        place.legend()
    if pictures is not None:
        place, letter = next(panels)
        _draw_power(place, letter, *pictures)
    for place in axes:
        place.set_xscale("log")
        _mark_events(place, run)
    axes[-1].set_xlabel("step")
    figure.suptitle(f"{name}: {run.outcome}", fontsize="medium", wrap=True)
    return figure


def _fourier_power(run: Run) -> tuple[NDArray[Any], NDArray[np.float64]] | None:
    """Return the snapshots' steps, and how the power of E is spread over the frequencies at each; None without both."""
    modular = str(run.settings["data"].get("task", "")).startswith("modular")
    if run.snapshots is None or not modular or run.snapshots.sizes["step"] < 2:
        return None
    power = np.array([(np.abs(fourier.features(E)) ** 2).sum(axis=1) for E in run.snapshots.E.values])
    return run.snapshots.step.values, power / np.maximum(power.sum(axis=1, keepdims=True), np.finfo(float).tiny)


def _draw_power(axes: Axes, letter: str, steps: NDArray[Any], power: NDArray[np.float64]) -> None:
    _title(axes, letter, "share of each Fourier frequency in ‖E‖²")
    edges = np.append(np.maximum(steps, 0.7), steps[-1] * 1.02)
    image = axes.pcolormesh(edges, np.arange(power.shape[1] + 1) + 0.5, power.T, cmap="cividis", vmin=0)
    axes.set_ylabel("frequency")
    axes.figure.colorbar(image, ax=axes, pad=0.01)


def _title(axes: Axes, letter: str, title: str) -> None:
    axes.set_title(rf"$\bf{{{letter}}}$   {title}", loc="left", fontsize=10)


def _mark_events(axes: Axes, run: Run) -> None:
    """Draw a line at each step with events, named in the uppermost panel alone."""
    uppermost = axes.get_subplotspec().is_first_row()  # type: ignore[union-attr]
    texts: dict[int, list[str]] = {}
    for text, step in run.events.items():
        texts.setdefault(step, []).append(text.replace("_", " ").replace(">=", "≥").replace("<=", "≤"))
    for step, here in texts.items():
        place = max(step, 0.7)
        axes.axvline(place, color=plots.COLOURS["grey"], linewidth=0.7, linestyle=":", zorder=1)
        if uppermost:
            axes.annotate(
                ", ".join(here),
                (place, 0.03),
                xycoords=("data", "axes fraction"),
                xytext=(-2, 0),
                textcoords="offset points",
                rotation=90,
                va="bottom",
                ha="right",
                fontsize="x-small",
                color=plots.COLOURS["grey"],
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8},
            )
