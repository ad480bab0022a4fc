"""The plan of a simulation, and a simulation: a stepper with its observers, which can begin or continue a run."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import _checks
from .._checks import ArgumentValueError
from .._choices import Every
from .._progress import progress_bar
from .._resources import check_memory, checked_threads
from ..datasets import Dataset
from ..dynamics.descent import DescentSettings
from ..dynamics.registry import is_built_in, settings_of
from ..dynamics.stepper import ChunkStepper, Dynamics, State
from ..dynamics.user import UserStepper, cost, fixed_step
from ..networks import Network
from ..provenance import describe_build
from ..results import DESCRIPTIONS, Ending, Measures
from ..results.schedule import Schedule
from . import engine
from .conditions import Condition, check_names, parse_events, parse_stop_rules
from .context import current_cell
from .engine import Completion, End
from .events import Events
from .history import History
from .interruption import Interruption
from .measures import checked_measures
from .observer import Observer, View
from .progress import OnRecord, Progress, ShowProgress
from .snapshots import Snapshots
from .stopping import GRADIENT_NORM, StoppingRules

#: The greatest number of steps. Float64 represents all integers up to it.
MOST_STEPS = 2**53


@dataclass(frozen=True)
class Plan:
    """The checked arguments of `simulate`, and ``stop_minutes``, the wall-clock limit of a run in a directory.

    ``conditions`` and ``rules`` are parsed from the texts in ``events`` and ``stop``.
    """

    steps: int | None = None
    duration: float | None = None
    record_every: Every = 100
    snapshot_every: Every | None = None
    measures: Measures | None = None
    loss_extremes: bool = False
    events: Sequence[str] | None = None
    event_every: int | None = None
    stop: Sequence[str] | None = None
    stop_minutes: float | None = None
    conditions: Sequence[Condition] = field(init=False)
    rules: Sequence[Condition] = field(init=False)

    def __post_init__(self) -> None:
        snapshots = self.snapshot_every
        _checks.set_fields(
            self,
            record_every=Schedule("record_every", self.record_every).every,
            snapshot_every=None if snapshots is None else Schedule("snapshot_every", snapshots).every,
            measures=checked_measures(self.measures),
            event_every=None if self.event_every is None else _checks.integer("event_every", self.event_every, 1),
            conditions=parse_events(self.events or ()),
            rules=parse_stop_rules(self.stop or ()),
        )
        if self.conditions and self.event_every is None and self.record_every == "log":
            raise ArgumentValueError("event_every", 'needs a value with record_every = "log": an integer of at least 1')

    def settings(self, dynamics: Dynamics, data: Dataset, network: Network) -> dict[str, Any]:
        """Return the settings that determine the records of a run. Events and rules are not among them."""
        return {
            "dynamics": settings_of(dynamics),
            "data": dict(data.settings),
            "network": {**network.settings, "activation": network.activation, "dtype": network.dtype.name},
            "record_every": self.record_every,
            "snapshot_every": self.snapshot_every,
            "loss_extremes": self.loss_extremes,
            "build": describe_build(),
        }


@dataclass(frozen=True)
class EarlierPart:
    """The end of an earlier part of a run: its step, its record, and the states of the stepper and of the observers."""

    step: int
    state: State
    observers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)


class Simulation:
    """A stepper with the observers that every run has.

    Parameters
    ----------
    stepper : ChunkStepper
        The stepper, at the first step. It is restored to the end of ``earlier``.
    settings : mapping
        The settings that determine the run, from `Plan.settings`. They include the schedules of records and snapshots.
    end : End
        The end of the run.
    plan : Plan
        Measures, events and rules.
    earlier : EarlierPart, optional
        The end of an earlier part of the run.

    Raises
    ------
    ValueError
        If an event or a rule of a new run names a value that is not recorded.
    """

    def __init__(
        self, stepper: ChunkStepper, settings: dict[str, Any], end: End, plan: Plan, earlier: EarlierPart | None = None
    ) -> None:
        self._stepper, self._end = stepper, end
        self.settings, self.plan = settings, plan
        self.earlier_step = None if earlier is None else earlier.step
        before = None if earlier is None else earlier.record
        self.history = History(
            settings, plan.measures or {}, end.step, stepper.makes_records, self.earlier_step, before
        )
        every = settings["snapshot_every"]
        self.snapshots = None if every is None else Snapshots(every, self.earlier_step)
        self.stopping = StoppingRules(plan.rules, self.history.schedule, plan.stop_minutes)
        event_every = plan.event_every or settings["record_every"]
        makes_inner_records = self.history.makes_inner_records and event_every == settings["record_every"]
        self.events = Events(plan.conditions, event_every, makes_inner_records)
        #: The observers with a state, by the names under which checkpoints store it.
        self._observers = {"history": self.history, "stopping": self.stopping, "events": self.events}
        if earlier is not None:
            stepper.restore(earlier.state)
            for name, observer in self._observers.items():
                observer.load_state_dict(earlier.observers.get(name, {}))
        self._begin = View(stepper, self.earlier_step or 0, self.earlier_step or 0)
        if earlier is None and (plan.conditions or plan.rules):
            self._check_names()

    def find_unrecorded(self, names: Iterable[str]) -> list[str]:
        """Return the names of measured variables of an earlier part that this part does not record."""
        names = [name for name in names if name not in DESCRIPTIONS and not self.history.measures.has_variable(name)]
        return [name for name in names if name not in (self._begin.record or {})] if names else []

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """Return the states of the observers by name."""
        return {name: observer.state_dict() for name, observer in self._observers.items()}

    def run(
        self, interruption: Interruption, progress: ShowProgress, *others: Observer, on_record: OnRecord | None = None
    ) -> Completion:
        """Take the steps to the end, or until an interruption.

        The functions of the caller are called last. If one of them raises an error, the other observers have seen the
        chunk.

        Parameters
        ----------
        interruption : Interruption
            The context that can stop the run.
        progress : bool or function, optional
            See `ShowProgress`.
        *others : Observer
            Further observers.
        on_record : function, optional
            See `OnRecord`.

        Returns
        -------
        Completion
            The outcome and the last views.
        """
        begin, end, cell = self._begin, self._end, current_cell()
        bar_options: dict[str, Any] = {"initial": begin.step, "total": end.step}
        parts_of_time: Callable[[float], float] | None = None
        if (time := end.time) is not None:  # The number of steps is unknown.
            bar_options = {"total": time, "unit": "time", "unit_scale": True}
            if not callable(progress):
                parts_of_time = float
        if cell is not None and progress is None:  # The cells of a grid share one bar.
            progress, steps = cell.on_steps, cell.steps
            if time:
                parts_of_time = lambda now: int(steps * now / time)  # noqa: E731
        bar = progress_bar(False if callable(progress) else progress, **bar_options)
        count = progress if callable(progress) else bar.update
        reporter = Progress(bar, count, on_record, self.earlier_step, parts_of_time)
        observers = [self.stopping, self.events, *others, reporter]
        if self.snapshots:
            observers.insert(0, self.snapshots)

        def stop_requested() -> bool:
            return interruption.stop_signal is not None or (cell is not None and cell.stop_signal() is not None)

        with interruption, bar:
            completion = engine.run_loop(self._stepper, self.history, observers, begin, end, stop_requested)
        if cell is not None and completion.outcome.ending is Ending.STOPPED_BY_THE_USER:
            cell.was_stopped = True
        return completion

    def _check_names(self) -> None:
        record = self._begin.record
        if record is None:  # The run ends before its first step.
            return
        check_names("events", self.plan.conditions, record)
        recorded = {*record, GRADIENT_NORM}
        if self.history.needs_losses and self._stepper.knows_losses:
            recorded |= {"train_loss_min", "train_loss_max"}
        rules = [rule for rule in self.plan.rules if not self.history.measures.has_variable(rule.name)]
        check_names("stop", rules, recorded)
        if any(rule.name == GRADIENT_NORM for rule in self.plan.rules):
            self._stepper.gradient_norm()


def start_stepper(dynamics: Dynamics, data: Dataset, network: Network, threads: int | None) -> ChunkStepper:
    """Return the stepper of a dynamics. Raise ValueError if it cannot fit in memory."""
    needed = cost(dynamics, data, network)
    check_memory(type(dynamics).__name__, needed.memory)
    cell = current_cell()
    if threads is None and cell is not None:
        threads = min(cell.threads, checked_threads(None, needed.flops, needed.flops_for_threads))
    threads = checked_threads(threads, needed.flops, needed.flops_for_threads)
    if not is_built_in(dynamics):
        return UserStepper(dynamics, data, network, threads)
    stepper = dynamics.start(data, network, threads)
    assert isinstance(stepper, ChunkStepper)
    return stepper


def check_steps_or_duration(steps: int | None, duration: float | None) -> None:
    """Raise ValueError unless exactly one of the two is given."""
    if (steps is None) == (duration is None):
        got = "neither" if steps is None else f"both, {steps} and {duration}"
        raise ArgumentValueError(("steps", "duration"), f"give either the number of steps or a duration, got {got}")


def checked_end(dynamics: Dynamics, steps: int | None, duration: float | None, step: int = 0, time: float = 0.0) -> End:
    """Return the end that is ``steps`` or ``duration`` (exactly one of them) after a step and its time."""
    check_steps_or_duration(steps, duration)
    if duration is None:
        count = _checks.integer("steps", steps, 0)
        if count > MOST_STEPS:
            raise ArgumentValueError("steps", f"expected an integer of at most 2^53, got {count}")
        return End(step + count)
    duration = _checks.not_negative("duration", duration)
    size = fixed_step(dynamics)
    if isinstance(dynamics, DescentSettings) and dynamics._schedule:
        raise ArgumentValueError("duration", "cannot be used with a learning-rate schedule; use steps")
    if size is None and not is_built_in(dynamics):
        raise ArgumentValueError("duration", f"cannot be used with {type(dynamics).__name__}; use steps")
    if size is None:
        return End(sys.maxsize, time + duration)
    if duration / size > MOST_STEPS:
        raise ArgumentValueError("duration", f"expected at most 2^53 steps, got {duration:g} in steps of {size:g}")
    return End(step + math.ceil(duration / size * (1 - 1e-12)))
