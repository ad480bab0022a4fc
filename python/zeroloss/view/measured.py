"""The charts of measured variables: alignment, distance, singular values, curvature, units and pairs, and others."""

from __future__ import annotations

from typing import Any

from ..results import Run
from .curves import MAIN

_COLOURS = ("blue", "vermilion", "green", "orange", "purple", "sky")
_DASHES = ("solid", "dashed", "dotted", "dotdash")
_TITLES = {
    "cosine": "alignment with the norm-minimising direction; shaded: undefined",
    "distance": "distance to the zero-loss set",
    "singular": "singular values",
    "sharpness": "sharpness",
    "trace": "trace of the Hessian",
    "counts": "active units and pinned pairs",
    "other": "other variables",
}
#: Curves in the chart of other variables.
_MOST_OTHERS = 12


def measured_charts(run: Run) -> list[dict[str, Any]]:
    """Return the charts of the variables of a run that the first panel does not show.

    Parameters
    ----------
    run : Run
        The run.

    Returns
    -------
    list of dict
        For each chart "name", "title", "curves" (the name of each variable with a colour and a dash), "undefined" (the
        variable where whose NaN the chart is shaded, or None) and "level" (a labelled constant, or None).
    """
    shown = {name for lines in MAIN.values() for name in lines} | {"train_loss_min", "train_loss_max"}
    kinds: dict[str, list[str]] = {kind: [] for kind in _TITLES}
    for name, values in run.history.data_vars.items():
        if (
            name not in shown
            and not str(name).endswith("_reason")  # a code
            and values.dims == ("step",)
            and values.dtype.kind in "fiub"
        ):
            kinds[_kind(str(name))].append(str(name))
    return [
        {
            "name": f"measured {kind}",
            "title": _TITLES[kind],
            "curves": [
                [name, _COLOURS[place % len(_COLOURS)], _DASHES[place % len(_DASHES)]]
                for place, name in enumerate(names[:_MOST_OTHERS])
            ],
            "undefined": next((name for name in names if name.endswith("_cosine") and "decay" not in name), None),
            "level": _edge_of_stability(run) if kind == "sharpness" else None,
        }
        for kind, names in kinds.items()
        if names
    ]


def _kind(name: str) -> str:
    if name.endswith(("_cosine", "_tangent_share")):
        return "cosine"
    if name.endswith("_distance"):
        return "distance"
    if "singular_value" in name:
        return "singular"
    if "sharpness" in name:
        return "sharpness"
    if name.endswith("hessian_trace"):
        return "trace"
    return "counts" if name.endswith(("active_units", "pinned_pairs")) else "other"


def _edge_of_stability(run: Run) -> list[Any] | None:
    """Return the sharpness above which descent with the learning rate of the run is unstable, 2/lr.

    None for other rules: a schedule, momentum, minibatches, one layer, or a learning rate of its own for W.
    """
    dynamics = run.settings["dynamics"]
    lr = dynamics.get("lr")
    if dynamics.get("kind") != "gradient_descent" or not isinstance(lr, int | float) or not lr > 0:
        return None
    if dynamics.get("momentum") or dynamics.get("batch_size") or dynamics.get("lr_W") not in {None, lr}:
        return None
    if dynamics.get("train_layers", "both") != "both":
        return None
    return ["2/lr", 2 / lr]
