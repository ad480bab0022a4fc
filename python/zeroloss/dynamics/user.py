"""An adapter of users' steppers for the engine. It checks their results, and reports their errors as theirs."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .._checks import ArgumentTypeError, format_value, is_storable_name, to_one_line
from .._kernels import kernels
from ..datasets import Dataset
from ..networks import Network
from ..results import RESERVED_NAMES, Ending, Outcome
from .stepper import Chunk, ChunkStepper, Cost, Dynamics, Evaluator, Record, State, copy_state

_METHODS = ("advance", "record", "network", "save", "restore")
#: The name of the number of steps in a saved state, next to the arrays of the user.
_STEPS = "zeroloss_steps"
#: The kinds of NumPy dtypes that can be saved: numbers.
_KINDS = "biufc"

Answer = TypeVar("Answer")


class DynamicsError(RuntimeError):
    """An error in the code of a user's dynamics, or a result of it that breaks the contract."""


class UserStepper(ChunkStepper):
    """A user's stepper, with the standard record, the number of steps in its state, and checks of its results."""

    def __init__(self, dynamics: Dynamics, data: Dataset, network: Network, threads: int) -> None:
        self._name = type(dynamics).__name__
        self._start = network
        self._evaluator = Evaluator(data, network, kernels.Loss("mse", "mean"))
        self._step_size = fixed_step(dynamics) or 1.0
        self._steps = 0
        self._layout: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] | None = None
        self._recorded: tuple[str, ...] | None = None
        takes = inspect.signature(dynamics.start).parameters
        options = {"threads": threads} if "threads" in takes else {}
        self._inner = dynamics.start(data, network, **options)
        if missing := [name for name in _METHODS if not callable(getattr(self._inner, name, None))]:
            what = f"{type(self._inner).__name__}, which has no method {missing[0]}"
            raise ArgumentTypeError("dynamics", f"{self._name}.start must return a stepper, got {what}")
        self._check()

    def advance(self, steps: int, losses: bool = False, record_at: Sequence[int] = ()) -> Chunk:
        """Take steps; see `ChunkStepper.advance`. Losses and records within the chunk are not available."""
        try:
            answer = self._call("advance", lambda: self._inner.advance(steps), (ArithmeticError, np.linalg.LinAlgError))
            self._steps += steps
            network = self.network()
        except (ArithmeticError, np.linalg.LinAlgError, DynamicsError) as error:
            return Chunk(finite=False, error=error)
        finite = answer is not False and all(np.isfinite(array).all() for array in network.parameters.values())
        return Chunk(finite, network=network)

    def record(self) -> Record | None:
        """Return the standard record, with the values of the user's record."""
        network = self.network()
        record = self._call("record", self._inner.record)
        if not isinstance(record, Mapping):
            raise self._contract_error("record", f"expected a mapping of names to numbers, got {format_value(record)}")
        values = {**self._evaluator(*network.layers), "time": self._step_size * self._steps}
        if self._recorded is None:
            self._check_names(record)
            self._recorded = tuple(record)
        if record.keys() != set(self._recorded):
            names = ", ".join(self._recorded) or "no names"
            raise self._contract_error(
                "record", f"expected the same names as at the start ({names}), got {', '.join(map(str, record))}"
            )
        for name in self._recorded:
            try:
                values[name] = float(record[name])
            except (TypeError, ValueError, OverflowError):
                raise self._contract_error(
                    "record", f"expected a number for {name}, got {format_value(record[name])}"
                ) from None
        return values

    def _check_names(self, record: Mapping[str, float]) -> None:
        for name in record:
            if not is_storable_name(name) or not name.isidentifier():
                raise self._contract_error("record", f"expected identifiers as names, got {format_value(name)}")
            if name in RESERVED_NAMES:
                raise self._contract_error("record", f"expected other names than {', '.join(RESERVED_NAMES)}")

    def network(self) -> Network:
        """Return a copy of the parameters."""
        network = self._call("network", self._inner.network)
        if not isinstance(network, Network):
            raise self._contract_error("network", f"expected a Network, got {format_value(network)}")
        expected, got = (_describe(net) for net in (self._start, network))
        if got != expected:
            raise self._contract_error("network", f"expected {expected}, got {got}")
        return network

    def save(self) -> State:
        """Return a copy of the complete state."""
        saved = self._call("save", self._inner.save)
        if not isinstance(saved, Mapping):
            raise self._contract_error("save", f"expected a mapping of names to arrays, got {format_value(saved)}")
        state: State = {}
        for name, value in saved.items():
            if not is_storable_name(name) or name == _STEPS:
                raise self._contract_error(
                    "save", f"expected names of 1 to 200 printable characters, got {format_value(name)}"
                )
            array: NDArray[Any] = np.asarray(value)
            if array.dtype.kind not in _KINDS:
                raise self._contract_error(
                    "save", f"expected an array of numbers for {name}, got {format_value(value)}"
                )
            state[name] = array.copy()
        layout = {name: (array.shape, array.dtype) for name, array in state.items()}
        if self._layout not in (None, layout):
            assert self._layout is not None
            raise self._contract_error("save", _difference(self._layout, layout))
        return {**state, _STEPS: np.array(self._steps)}

    def restore(self, state: State) -> None:
        """Return to a state that `save` returned."""
        self._call("restore", lambda: self._inner.restore(copy_state({k: a for k, a in state.items() if k != _STEPS})))
        self._steps = int(state[_STEPS])

    def failure(self, step: int, error: Exception | None) -> Outcome:
        """Return the outcome of a step that failed."""
        if isinstance(error, DynamicsError):
            return Outcome(Ending.BROKEN_OFF, f"at step {step} {error}")
        if isinstance(error, np.linalg.LinAlgError):
            return Outcome(Ending.SINGULAR, f"at step {step} {self._name}.advance: {error}")
        why = f"{self._name}.advance: {error}" if error else "the loss or a weight is not finite"
        return Outcome(Ending.DIVERGED, f"{why} at step {step}" if error is None else f"at step {step} {why}")

    def _check(self) -> None:
        """Raise TypeError unless the stepper satisfies the contract at the start."""
        try:
            self.record()
            saved = self.save()
            self._layout = {name: (a.shape, a.dtype) for name, a in saved.items() if name != _STEPS}
            self.restore(saved)
            again = self.save()
        except DynamicsError as error:
            raise ArgumentTypeError("dynamics", f"{error}") from error
        if different := [name for name in saved if saved[name].tobytes() != again[name].tobytes()]:
            raise ArgumentTypeError(
                "dynamics", f"{self._name}.restore does not restore {different[0]}: save returns other numbers after it"
            )

    def _call(self, method: str, call: Callable[[], Answer], allowed: tuple[type[Exception], ...] = ()) -> Answer:
        try:
            return call()
        except allowed:
            raise
        except (Exception, SystemExit) as error:
            raise self._contract_error(method, f"{type(error).__name__}: {error}{_format_place(error)}") from error

    def _contract_error(self, method: str, what: str) -> DynamicsError:
        return DynamicsError(to_one_line(f"{self._name}.{method}: {what}"))


def fixed_step(dynamics: Dynamics) -> float | None:
    """Return the time that one step covers; None if it varies. It is 1 for a dynamics without `fixed_step`."""
    method = getattr(dynamics, "fixed_step", None)
    return method() if callable(method) else 1.0


def cost(dynamics: Dynamics, data: Dataset, network: Network) -> Cost:
    """Return the cost of a step. It is zero for a dynamics without `cost`."""
    method = getattr(dynamics, "cost", None)
    return method(data, network) if callable(method) else Cost(0.0, 0)


def _describe(network: Network) -> str:
    """Return the shape, the precision and the biases of a network as text."""
    text = f"{network.shape} in {network.dtype}"
    return text if network.bias == "none" else f"{text} with biases ({network.bias})"


def _difference(
    before: Mapping[str, tuple[tuple[int, ...], Any]], now: Mapping[str, tuple[tuple[int, ...], Any]]
) -> str:
    """Return a message that names an array in which two layouts of a state differ."""
    if before.keys() != now.keys():
        return f"expected the same arrays as at the start ({', '.join(before)}), got {', '.join(now)}"
    name = next(name for name in before if before[name] != now[name])
    (shape, dtype), (new_shape, new_dtype) = before[name], now[name]
    return f"expected {name} with shape {shape} and dtype {dtype}, as at the start, got {new_shape} and {new_dtype}"


def _format_place(error: BaseException) -> str:
    """Return the file and the line at which an error was raised in the user's code, in parentheses."""
    frames = traceback.extract_tb(error.__traceback__)
    user_frames = [frame for frame in frames if Path(frame.filename) != Path(__file__)]
    return f" ({Path(user_frames[-1].filename).name}, line {user_frames[-1].lineno})" if user_frames else ""
