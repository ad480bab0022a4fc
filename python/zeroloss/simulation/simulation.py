"""A stepper together with the observers that every run has, ready to begin or to go on."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import _checks
from .._checks import ArgumentValueError
from .._choices import Every
from .._machine import check_memory, checked_threads
from .._progress import progress_bar
from ..build import build_of_results
from ..datasets import Dataset
from ..dynamics.descent import DescentSettings
from ..dynamics.registry import is_ours, settings_of
from ..dynamics.stepper import ChunkStepper, Dynamics, State
from ..dynamics.user import UserStepper, cost, fixed_step
from ..networks import Network
from ..results import Measures
from ..results.schedule import Schedule
from . import engine
from .conditions import Condition, check_names
from .engine import End, Ended
from .events import Events
from .history import History
from .interruption import Interruption
from .observer import Observer, View
from .progress import Progress, ShowProgress
from .snapshots import Snapshots
from .stopping import GRADIENT_NORM, StoppingRules

#: Up to this number float64 counts steps.
MOST_STEPS = 2**53


@dataclass(frozen=True)
class Watch:
    """What is looked for while a run goes on: events, every so many steps, and rules that end it."""

    events: Sequence[Condition] = ()
    event_every: Every | None = None
    stop: Sequence[Condition] = ()
    stop_minutes: float | None = None


@dataclass
class Simulation:
    """A run in the making.

    Parameters
    ----------
    stepper : ChunkStepper
        At the first step, until `load` puts it to another one.
    settings : mapping
        All that determines the run, from `run_settings`.
    end : End
        Where it ends.
    measures : mapping of name to function
        Called with every record.
    watch : Watch
        Events and stopping rules.
    done : int, optional
        The step of an earlier part of the run from which it goes on.
    before : mapping
        The last record of that part.
    """

    stepper: ChunkStepper
    settings: dict[str, Any]
    end: End
    measures: Measures
    watch: Watch = field(default_factory=Watch)
    done: int | None = None
    before: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        makes, record_every = self.stepper.makes_records, self.settings["record_every"]
        self.history = History(self.settings, self.measures, self.end.step, makes, self.done, self.before)
        every, watch = self.settings["snapshot_every"], self.watch
        self.snapshots = None if every is None else Snapshots(every, self.done)
        self.stopping = StoppingRules(watch.stop, self.history.schedule, watch.stop_minutes)
        event_every = watch.event_every or record_every
        self.events = Events(watch.events, event_every, self.history.within_chunks and event_every == record_every)
        #: The first state.
        self.begin = View(self.stepper, self.done or 0, self.done or 0)
        #: Those with a state, by the names under which it is stored.
        self.observers: dict[str, Observer] = {
            "history": self.history,
            "stopping": self.stopping,
            "events": self.events,
        }

    def load(self, state: State, observers: Mapping[str, Mapping[str, Any]]) -> None:
        """Put the stepper and the observers to what an earlier part of the run left."""
        self.stepper.restore(state)
        for name, observer in self.observers.items():
            observer.load_state_dict(observers.get(name, {}))
        self.begin = View(self.stepper, self.begin.step, self.begin.step)

    def unknown(self, names: Iterable[str]) -> list[str]:
        """Return those variables of an earlier part that this one would not record: measured ones."""
        names = [name for name in names if not self.history.knows(name)]
        return [name for name in names if name not in (self.begin.record or {})] if names else []

    def check_names(self) -> None:
        """Raise ValueError if an event or a rule is on a value that is not recorded."""
        watch = self.watch
        if not (watch.events or watch.stop):
            return
        record = self.begin.record
        if record is None:  # The run ends before its first step.
            return
        check_names("events", watch.events, record)
        recorded = {*record, GRADIENT_NORM}
        if self.history.wants_losses and self.stepper.knows_losses:
            recorded |= {"train_loss_min", "train_loss_max"}
        measured = [rule for rule in watch.stop if self.history.measures.makes(rule.name)]
        check_names("stop", [rule for rule in watch.stop if rule not in measured], recorded)
        if any(rule.name == GRADIENT_NORM for rule in watch.stop):
            self.stepper.gradient_norm()

    def run(self, interruption: Interruption, progress: ShowProgress, *others: Observer) -> Ended:
        """Take the steps, from the one after ``done`` on, until the end or an interruption."""
        begin = self.done or 0
        total = self.end.step if self.end.time is None else None
        tell = progress if callable(progress) else None
        bar = progress_bar(False if callable(progress) else progress, initial=begin, total=total)
        observers = [self.snapshots, self.stopping, self.events, Progress(bar, tell), *others]
        watching = [observer for observer in observers if observer is not None]
        with interruption, bar:
            return engine.run(
                self.stepper, self.history, watching, self.begin, self.end, lambda: interruption.requested is not None
            )


def start(dynamics: Dynamics, data: Dataset, network: Network, threads: int | None) -> ChunkStepper:
    """Return the stepper, once it is known to fit the machine."""
    needed = cost(dynamics, data, network)
    check_memory(type(dynamics).__name__, needed.memory)
    threads = checked_threads(threads, needed.flops, needed.flops_for_threads)
    if not is_ours(dynamics):
        return UserStepper(dynamics, data, network, threads)
    stepper = dynamics.start(data, network, threads)
    assert isinstance(stepper, ChunkStepper)
    return stepper


def run_settings(
    dynamics: Dynamics,
    data: Dataset,
    network: Network,
    record_every: Every,
    snapshot_every: Every | None,
    loss_extremes: bool,
) -> dict[str, Any]:
    """Return what a run's settings hold: all that determines it."""
    return {
        "dynamics": settings_of(dynamics),
        "data": dict(data.settings),
        "network": {**network.settings, "activation": network.activation, "dtype": network.dtype.name},
        "record_every": Schedule("record_every", record_every).every,
        "snapshot_every": None if snapshot_every is None else Schedule("snapshot_every", snapshot_every).every,
        "loss_extremes": loss_extremes,
        "build": build_of_results(),
    }


def check_one_is_given(steps: int | None, duration: float | None) -> None:
    """Raise ValueError unless exactly one of the two is given."""
    if (steps is None) == (duration is None):
        got = "neither" if steps is None else f"both, {steps} and {duration}"
        raise ArgumentValueError(("steps", "duration"), f"give either the number of steps or a duration, got {got}")


def checked_end(dynamics: Dynamics, steps: int | None, duration: float | None) -> End:
    """Return the end that is ``steps`` or ``duration`` away, exactly one of which is to be given."""
    check_one_is_given(steps, duration)
    if duration is None:
        count = _checks.integer("steps", steps, 0)
        if count > MOST_STEPS:
            raise ArgumentValueError("steps", f"expected an integer of at most 2^53, got {count}")
        return End(count)
    duration = _checks.not_negative("duration", duration)
    if isinstance(dynamics, DescentSettings) and dynamics.schedule:
        raise ArgumentValueError(
            "duration", f"expected steps in its place with a learning-rate schedule, got {duration:g}"
        )
    size = fixed_step(dynamics)
    if size is None:
        if not is_ours(dynamics):
            raise ArgumentValueError(
                "duration", f"expected steps in its place with {type(dynamics).__name__}, got {duration:g}"
            )
        return End(sys.maxsize, duration)
    if duration / size > MOST_STEPS:
        raise ArgumentValueError("duration", f"expected at most 2^53 steps, got {duration:g} in steps of {size:g}")
    return End(math.ceil(duration / size * (1 - 1e-12)))


def further_end(dynamics: Dynamics, step: int, time: float | None, steps: int | None, duration: float | None) -> End:
    """Return the end of an extension from ``step`` on, or from ``time`` on for adaptive steps."""
    more = checked_end(dynamics, steps, duration)
    if more.time is None:
        return End(step + more.step)
    assert time is not None
    return End(sys.maxsize, time + more.time)
