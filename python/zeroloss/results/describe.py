"""The text of runs and ensembles in ``repr`` and in notebooks: a title and rows."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from .._display import Rows, format_keywords

if TYPE_CHECKING:
    import xarray as xr

    from ..datasets import Dataset
    from .ensemble import Ensemble
    from .run import Run


def describe_run(run: Run) -> tuple[str, Rows]:
    """Return the title and at most nine rows that describe a run."""
    rows: dict[str, object] = {
        "dynamics": _dynamics(run),
        "data": _samples(run.data),
        "network": f"{run.network.shape}; {format_keywords(run.settings['network'])}",
        "records": _records(run.history),
    }
    if run.history.sizes["step"]:
        rows["last record"] = _last_record(run.history)
    if run.snapshots is not None:
        rows["snapshots"] = f"{run.snapshots.sizes['step']} of E and W"
    if run.events:
        texts = (f"{event} {'not yet' if step is None else f'at step {step}'}" for event, step in run.events.items())
        rows["events"] = ", ".join(texts)
    return f"Run, {run.outcome}", rows


def describe_ensemble(ensemble: Ensemble) -> tuple[str, Rows]:
    """Return the title and the rows that describe an ensemble."""
    endings = Counter(str(run.outcome.ending) for run in ensemble.runs)
    rows: dict[str, object] = {"endings": ", ".join(f"{count} {ending}" for ending, count in endings.items())}
    for name, describe in (("dynamics", _dynamics), ("data", lambda run: _samples(run.data))):
        texts = list(dict.fromkeys(map(describe, ensemble.runs)))
        rows[name] = texts[0] if len(texts) == 1 else f"{len(texts)} different ones"
    steps = [run.step for run in ensemble.runs]
    rows["steps"] = str(max(steps)) if len(set(steps)) == 1 else f"{min(steps)} to {max(steps)}"
    rows["curves"] = ", ".join(dict.fromkeys(str(name) for run in ensemble.runs for name in run.history.data_vars))
    return f"Ensemble of {len(ensemble)} runs", rows


def _dynamics(run: Run) -> str:
    settings = dict(run.settings["dynamics"])
    return f"{settings.pop('kind')}({format_keywords(settings)})"


def _samples(data: Dataset) -> str:
    counts = f"{data.train_count} training and {data.test_count} test samples"
    return f"{data.settings.get('task', 'samples')}: {counts}, {data.d_in} inputs, {data.d_out} outputs"


def _records(history: xr.Dataset) -> str:
    count = history.sizes["step"]
    ends = f", steps {history.step.values[0]} to {history.step.values[-1]}" if count else ""
    return f"{count}{ends}: {', '.join(map(str, history.data_vars))}"


def _last_record(history: xr.Dataset) -> str:
    scalars = {
        name: float(curve.values[-1])
        for name, curve in history.items()
        if curve.dims == ("step",) and curve.dtype.kind in "biuf"
    }
    return ", ".join(f"{name} {value:.4g}" for name, value in scalars.items())
