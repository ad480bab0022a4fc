"""Ensembles: many runs with their histories in one dataset."""

from __future__ import annotations

import json
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _display
from .._checks import ArgumentValueError
from .describe import describe_ensemble
from .history import labels
from .run import Run

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True, eq=False)
class Ensemble:
    """The result of ``simulate_many``: a sequence of runs, and one dataset of all their histories.

    Further attributes come from ``history``: ``ensemble.train_loss`` is ``ensemble.history.train_loss``.

    Attributes
    ----------
    runs : tuple of Run
        The runs in the order of the members.
    """

    runs: tuple[Run, ...]
    _joined: list[Any] = field(default_factory=lambda: [[], None], init=False)

    @property
    def history(self) -> xr.Dataset:
        """The histories as an xarray.Dataset over "run" and "step", with the coordinates ``ending`` and ``outcome``.

        See `side_by_side`.
        """
        histories = [run.history for run in self.runs]
        if not all(map(operator.is_, histories, self._joined[0])) or not self._joined[0]:
            self._joined[:] = [histories, self._side_by_side(histories)]  # computed again if a run was extended
        joined: xr.Dataset = self._joined[1]
        return joined

    def _side_by_side(self, histories: list[xr.Dataset]) -> xr.Dataset:
        history = side_by_side(histories, "run")
        endings = [str(run.outcome.ending) for run in self.runs]
        outcomes = [str(run.outcome) for run in self.runs]
        history = history.assign_coords(
            run=("run", np.arange(len(self.runs)), labels("run", "1", "place in the ensemble")),
            ending=("run", np.array(endings, dtype=object), labels("ending", "", "how the run ended")),
            outcome=("run", np.array(outcomes, dtype=object), labels("outcome", "", "how and where the run ended")),
        )
        history.attrs["settings"] = json.dumps([run.settings for run in self.runs])
        return history

    def __repr__(self) -> str:
        return _display.format_lines(*describe_ensemble(self))

    def _repr_html_(self) -> str:
        return _display.format_html(*describe_ensemble(self))

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
    """Join histories along a new dimension.

    Parameters
    ----------
    histories : sequence of xarray.Dataset
        Histories over "step".
    dim : str
        The name of the new dimension.

    Returns
    -------
    xarray.Dataset
        The joined histories. Steps and variables that a history does not have are NaN.

    Raises
    ------
    ValueError
        If a variable has different shapes in the histories.
    """
    import xarray as xr  # noqa: PLC0415

    times = {str(name) for history in histories for name in history.coords} - {"step"}
    try:
        joined = xr.concat(
            [history.reset_coords() for history in histories],
            dim,
            data_vars="all",
            coords="minimal",
            compat="override",
            join="outer",
            combine_attrs="drop_conflicts",
        )
    except ValueError as error:
        raise ArgumentValueError("measures", f"expected arrays of the same shapes in all runs, got: {error}") from None
    return joined.set_coords(sorted(times))
