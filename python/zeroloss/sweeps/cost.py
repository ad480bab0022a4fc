"""The expected time of a sweep, from a short trial of each size of problem before the sweep starts."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from .._progress import progress_bar
from ..config import Configuration, ConfigurationError
from ..dynamics.stepper import ChunkStepper
from ..dynamics.user import cost
from ..geometry import AlignmentMeasure
from ..results import Ending
from ..simulation.engine import End
from ..simulation.interruption import Interruption
from ..simulation.simulation import EarlierPart, Plan, Simulation, checked_end, start_stepper
from .grid import Cell

#: The least time of a trial.
_TRIAL_SECONDS = 0.02
#: The time to begin and end a run in a directory.
_DIRECTORY_SECONDS = 0.1


class CostModel:
    """Expected seconds and bytes of cells, from the time of a step with its records at each size of problem.

    Two cells have the same size if their problems and records have the same shapes, and their dynamics differ only in
    numbers. Adaptive steps are tried at the start of a flow. Their later number is unknown, so the time is ``rough``.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._bytes: dict[str, int] = {}
        self.rough = False

    def seconds(self, cells: Sequence[Cell], progress: bool | None = None) -> list[float]:
        """Return the seconds that each cell takes on one thread.

        Raises
        ------
        ConfigurationError
            If a dynamics cannot start on the problem of a cell, for example because it does not fit in memory.
        """
        seconds = []
        for cell in progress_bar(progress, iterable=cells, desc="sizes", unit="cell", leave=False):
            size = _size_key(cell.settings)
            if size not in self._seconds:
                try:
                    configuration = cell.configuration()
                    self._seconds[size] = self._measure_unit(configuration)
                    self._bytes[size] = cost(configuration.dynamics, configuration.data, configuration.network).memory
                except (ValueError, TypeError) as error:
                    raise ConfigurationError([f"{error} (with {cell})"]) from error
            seconds.append(_DIRECTORY_SECONDS + self._seconds[size] * _units(cell))
        return seconds

    def memory(self, cells: Sequence[Cell]) -> list[int]:
        """Return the bytes that each cell needs. Its size must have been tried."""
        return [self._bytes[_size_key(cell.settings)] for cell in cells]

    def _measure_unit(self, configuration: Configuration) -> float:
        """Return the seconds per step, or per unit of time for adaptive steps."""
        data, dynamics, run = configuration.data, configuration.dynamics, configuration.run
        stepper = start_stepper(dynamics, data, configuration.network, run.threads or 1)
        plan = Plan(
            record_every=run.record_every,
            measures={name: AlignmentMeasure(data) for name in run.measures},
            loss_extremes=run.loss_extremes,
        )
        settings = plan.settings(dynamics, data, configuration.network)
        adaptive = checked_end(dynamics, run.steps, run.duration).time is not None
        self.rough |= adaptive
        steps, taken = 1, 0
        while True:
            began = time.perf_counter()
            simulation = Simulation(stepper, settings, End(taken + steps), plan, EarlierPart(taken, stepper.save()))
            outcome = simulation.run(Interruption(), False).outcome
            if outcome.ending is Ending.STOPPED_BY_THE_USER:
                raise KeyboardInterrupt
            seconds, taken = time.perf_counter() - began, taken + steps
            if seconds >= _TRIAL_SECONDS or outcome.ending is not Ending.REACHED_THE_END:
                return seconds / (_time(stepper) if adaptive else steps)
            steps *= 4


def _time(stepper: ChunkStepper) -> float:
    return float((stepper.record() or {}).get("time", 0.0)) or 1.0


def _units(cell: Cell) -> float:
    run = cell.settings["run"]
    if run["steps"] is not None:
        return float(run["steps"])
    return float(run["duration"]) / _time_of_a_step(cell)


def _time_of_a_step(cell: Cell) -> float:
    dynamics = cell.settings["dynamics"]
    return float(dynamics.get("step_size") or dynamics.get("lr", 1.0))


def _size_key(settings: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a text that is the same for all cells of a size."""
    common = {
        "data": {key: value for key, value in settings["data"].items() if key != "seed"},
        "network": {key: value for key, value in settings["network"].items() if key not in {"seed", "std", "std_W"}},
        "dynamics": {key: type(v) if isinstance(v, float) else v for key, v in settings["dynamics"].items()},
        "run": {key: settings["run"][key] for key in ("record_every", "measures", "loss_extremes", "threads")},
    }
    return repr(common)
