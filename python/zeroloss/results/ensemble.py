"""Many runs side by side: their histories as one dataset, labelled."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .run import Run

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True, eq=False)
class Ensemble:
    """The result of ``simulate_many``: its members in order, as a sequence of runs, and one dataset of them all.

    What an ensemble has not itself it asks its history for: ``ensemble.train_loss`` is
    ``ensemble.history.train_loss``.

    Attributes
    ----------
    runs : tuple of Run
        Each as ``simulate`` returns it.
    """

    runs: tuple[Run, ...]

    @functools.cached_property
    def history(self) -> xr.Dataset:
        """The histories over "run" and "step", with each run's ``ending`` and ``outcome``; see `side_by_side`."""
        history = side_by_side([run.history for run in self.runs], "run")
        endings = [str(run.outcome.ending) for run in self.runs]
        outcomes = [str(run.outcome) for run in self.runs]
        history = history.assign_coords(
            run=("run", np.arange(len(self.runs)), {"units": "1", "long_name": "place in the ensemble"}),
            ending=("run", np.array(endings, dtype=object), {"long_name": "how the run ended"}),
            outcome=("run", np.array(outcomes, dtype=object), {"long_name": "how and where the run ended"}),
        )
        history.attrs["settings"] = json.dumps([run.settings for run in self.runs])
        return history

    def __len__(self) -> int:
        return len(self.runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs)

    def __getitem__(self, place: int) -> Run:
        return self.runs[place]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.history, name)


def side_by_side(histories: Sequence[xr.Dataset], dim: str) -> xr.Dataset:
    """Join histories along a new dimension: NaN at steps and in variables that a history does not have."""
    import xarray as xr  # noqa: PLC0415

    times = {str(name) for history in histories for name in history.coords} - {"step"}
    joined = xr.concat(
        [history.reset_coords() for history in histories],
        dim,
        data_vars="all",
        coords="minimal",
        compat="override",
        join="outer",
        combine_attrs="drop_conflicts",
    )
    return joined.set_coords(sorted(times))
