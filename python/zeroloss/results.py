"""What a simulation leaves: its history, snapshots, final network and outcome, and how they are kept on disk."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from .datasets import Dataset, read_only
from .networks import Network, from_arrays

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Ending", "Outcome", "Run"]

#: A user's own functions of the network (and, with a ``lag``, of an earlier one), by the name they are recorded under.
Measures = Mapping[str, Callable[..., Any]]

FORMAT = 1  # of a saved run
_FILES = frozenset({"history.nc", "snapshots.nc", "arrays.npz", "run.json"})

#: Units and meaning of what every history may hold.
DESCRIPTIONS = {
    "step": ("1", "number of steps taken"),
    "time": ("step size", "time of the dynamics: step size times steps"),
    "slow_time": ("1", "slow time s = weight_decay · lr · steps / (1 − momentum)"),
    "train_loss": ("1", "loss on the training samples, without weight decay"),
    "test_loss": ("1", "loss on the test samples, without weight decay"),
    "train_accuracy": ("1", "share of training samples whose largest output is the target's"),
    "test_accuracy": ("1", "share of test samples whose largest output is the target's"),
    "norm_E": ("1", "Frobenius norm of the first layer"),
    "norm_W": ("1", "Frobenius norm of the second layer"),
    "residual": ("1", "Frobenius norm of H W − Y on the training samples"),
    "cost": ("1", "R(E)/λ = ‖E‖² + tr(YᵀB), Eq. 19 for every ridge"),
    "largest_residual": ("1", "max|F − Y| over the training samples"),
    "step_size": ("1", "size of the last accepted step"),
    "evaluations": ("1", "evaluations of the flow's slope, or solves of an implicit step, so far"),
    "pinned_pairs": ("1", "pairs of a sample and a unit whose pre-activation is held on the activation's kink"),
    "rejected_steps": ("1", "adaptive steps rejected so far"),
    "condition": ("1", "estimate (from below) of the condition number of the factored Gram matrix"),
}


class Ending(StrEnum):
    """How a simulation ended."""

    REACHED_THE_END = "reached the end"
    STOPPED_BY_THE_USER = "stopped by the user"
    DIVERGED = "diverged"
    SINGULAR = "singular"
    STIFF = "stiff"
    NOT_CONVERGED = "not converged"


@dataclass(frozen=True)
class Outcome:
    """How a simulation ended, with a sentence that says where and what to do."""

    ending: Ending
    sentence: str

    def __str__(self) -> str:
        return f"{self.ending}: {self.sentence}"


@dataclass(eq=False)
class Run:
    """The result of ``simulate``.

    Attributes
    ----------
    history : xarray.Dataset over "step"
        The records; a record at step t describes the parameters θ_t. Units and meaning are in the attributes.
    network : Network
        The parameters at the last step.
    snapshots : xarray.Dataset over "step" or None
        E (step, d_in, h) and W (step, h, d_out), where ``snapshot_every`` was given.
    outcome : Outcome
        How the simulation ended.
    settings : mapping
        All that determines the run: dynamics, data, network, records, and the build that computed it.
    data : Dataset
        The samples.
    state : mapping of arrays
        The complete state of the dynamics at the last step, from which ``extend`` goes on.
    earlier : mapping of step to Network
        The networks that measures with a lag compare with after ``extend``.
    """

    history: xr.Dataset
    network: Network
    snapshots: xr.Dataset | None
    outcome: Outcome
    settings: dict[str, Any]
    data: Dataset
    state: dict[str, NDArray[Any]]
    extender: Callable[..., None] = field(repr=False)
    measures: Measures = field(default_factory=dict)
    earlier: Mapping[int, Network] = field(default_factory=dict, repr=False)

    @property
    def step(self) -> int:
        """Number of steps taken: that of the last record."""
        return int(self.history.step.values[-1]) if self.history.sizes["step"] else 0

    def extend(
        self,
        steps: int | None = None,
        *,
        duration: float | None = None,
        measures: Measures | None = None,
        progress: bool | None = None,
    ) -> Run:
        """Go on for ``steps`` more steps or ``duration`` more time, in place; the bits are those of one long run.

        Parameters
        ----------
        steps : int
            Number of further steps, at least 0.
        duration : float
            In place of steps, as for ``simulate``.
        measures : mapping, optional
            The functions that were recorded, where the run was loaded from disk (functions are not saved).
        progress : bool, optional
            As for ``simulate``.

        Returns
        -------
        Run
            The run itself.

        Raises
        ------
        ValueError
            After a run that diverged or met a singular matrix, or without the measures that the history holds.
        """
        self.extender(self, steps, duration, measures=measures, progress=progress)
        return self

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write the run into a new directory, or in place of a run saved there; `zeroloss.load` reads it back.

        The directory holds ``history.nc`` and ``snapshots.nc`` (NetCDF), ``arrays.npz`` (data, parameters and state)
        and ``run.json`` (settings and outcome).

        Raises
        ------
        FileExistsError
            Where the directory holds something that is not a saved run.
        """
        target = Path(directory).resolve()
        if target.exists() and not (target.is_dir() and _FILES.issuperset(path.name for path in target.iterdir())):
            raise FileExistsError(f"directory: expected a new directory or a saved run and nothing else, got {target}")
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as beside:
            new, old = Path(beside) / "new", Path(beside) / "old"
            new.mkdir()
            self._write(new)
            if target.exists():
                target.rename(old)
            new.rename(target)

    def _write(self, directory: Path) -> None:
        self.history.to_netcdf(directory / "history.nc", engine="h5netcdf")
        if self.snapshots is not None:
            self.snapshots.to_netcdf(directory / "snapshots.nc", engine="h5netcdf")
        arrays = {f"state_{name}": array for name, array in self.state.items()}
        for part, rows in (("train", self.data.rows_train), ("test", self.data.rows_test)):
            if isinstance(rows, csr_array):
                arrays |= {f"X_{part}_{name}": getattr(rows, name) for name in ("data", "indices", "indptr")}
            else:
                arrays[f"X_{part}"] = rows
        arrays |= {"Y_train": self.data.Y_train, "Y_test": self.data.Y_test, "E": self.network.E, "W": self.network.W}
        for step, network in self.earlier.items():
            arrays |= {f"earlier_E_{step}": network.E, f"earlier_W_{step}": network.W}
        np.savez(directory / "arrays.npz", allow_pickle=False, **arrays)
        about = {
            "format": FORMAT,
            "settings": self.settings,
            "ending": self.outcome.ending,
            "sentence": self.outcome.sentence,
            "activation": self.network.activation,
            "network_settings": dict(self.network.settings),
            "data_settings": dict(self.data.settings),
            "d_in": self.data.d_in,
        }
        (directory / "run.json").write_text(json.dumps(about, indent=1))


def read(directory: str | os.PathLike[str], extender: Callable[..., None]) -> Run:
    """Read a run that ``Run.save`` wrote; ``extender`` is how it can go on."""
    import xarray as xr  # noqa: PLC0415 — half of the package's import time, needed only with results

    source = Path(directory)
    if not (source / "run.json").is_file():
        raise FileNotFoundError(f"directory: expected a saved run, found no run.json in {source}")
    about = json.loads((source / "run.json").read_text())
    if about.get("format") != FORMAT:
        raise ValueError(f"{source}: expected a run of format {FORMAT}, got {about.get('format')}")
    with np.load(source / "arrays.npz", allow_pickle=False) as stored:
        arrays = dict(stored)
    rows = [_rows(arrays, part, len(arrays[f"Y_{part}"]), about["d_in"]) for part in ("train", "test")]
    data = read_only(Dataset(rows[0], arrays["Y_train"], rows[1], arrays["Y_test"], about["data_settings"]))
    network = from_arrays(arrays["E"], arrays["W"], about["activation"])
    snapshots = source / "snapshots.nc"
    return Run(
        history=xr.load_dataset(source / "history.nc", engine="h5netcdf"),
        network=Network(network.E, network.W, network.activation, about["network_settings"]),
        snapshots=xr.load_dataset(snapshots, engine="h5netcdf") if snapshots.exists() else None,
        outcome=Outcome(Ending(about["ending"]), about["sentence"]),
        settings=about["settings"],
        data=data,
        state={name.removeprefix("state_"): array for name, array in arrays.items() if name.startswith("state_")},
        extender=extender,
        earlier={
            int(name.removeprefix("earlier_E_")): from_arrays(
                E, arrays[name.replace("_E_", "_W_")], about["activation"]
            )
            for name, E in arrays.items()
            if name.startswith("earlier_E_")
        },
    )


def history_dataset(
    steps: Sequence[int],
    times: Sequence[Mapping[str, float]],
    records: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
    descriptions: Mapping[str, tuple[str, str]],
) -> xr.Dataset:
    """Return the records as a Dataset over "step", with the time coordinates of each.

    ``descriptions`` are units and meaning of measured variables.
    """
    import xarray as xr  # noqa: PLC0415

    step = np.asarray(steps, dtype=np.int64)
    names = records[0].keys() if records else ()
    variables = {}
    for name in names:
        values = np.asarray([record[name] for record in records])
        dims = ("step", *(f"{name}_{axis}" for axis in range(values.ndim - 1)))
        variables[name] = (dims, values, _attributes(name, descriptions))
    coordinates: dict[str, Any] = {"step": ("step", step, _attributes("step"))}
    for name in times[0] if times else ():
        coordinates[name] = ("step", np.array([time[name] for time in times]), _attributes(name))
    return xr.Dataset(variables, coordinates, attrs={"settings": json.dumps(settings)})


def snapshot_dataset(steps: Sequence[int], networks: Sequence[Network]) -> xr.Dataset:
    """Return E and W of the networks over "step"."""
    import xarray as xr  # noqa: PLC0415

    E, W = np.stack([network.E for network in networks]), np.stack([network.W for network in networks])
    return xr.Dataset(
        {
            "E": (("step", "d_in", "hidden"), E, {"long_name": "first layer"}),
            "W": (("step", "hidden", "d_out"), W, {"long_name": "second layer"}),
        },
        {"step": ("step", np.asarray(steps, dtype=np.int64), _attributes("step"))},
    )


def _attributes(name: str, descriptions: Mapping[str, tuple[str, str]] = MappingProxyType({})) -> dict[str, str]:
    units, description = {**descriptions, **DESCRIPTIONS}.get(name, ("", "measured by a function of the user's"))
    return {"units": units, "long_name": description}


def _rows(arrays: Mapping[str, NDArray[Any]], part: str, n: int, d_in: int) -> csr_array | NDArray[np.float64]:
    if f"X_{part}" in arrays:
        return arrays[f"X_{part}"]
    data, indices, indptr = (arrays[f"X_{part}_{name}"] for name in ("data", "indices", "indptr"))
    return csr_array((data, indices, indptr), (n, d_in))
