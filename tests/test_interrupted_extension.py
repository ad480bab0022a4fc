"""An interruption or an error at any moment of an extension leaves the run unchanged or extended, and it can be
continued.
"""

import copy
import inspect
import itertools
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

import zeroloss as zl
from problems import figure5, same_bits

PACKAGE = str(Path(zl.__file__).parent)
OPTIONS = {"record_every": 4, "snapshot_every": 5, "loss_extremes": True, "progress": False}
DYNAMICS = {
    "momentum": zl.GradientDescent(lr=0.1, weight_decay=1e-3, momentum=0.9),
    "predicted": zl.PredictedGradient(step_size=1e-3, ridge=0.01),
    "predicted flow": zl.PredictedGradient(rtol=1e-3, ridge=0.01),
}


class Corner:
    """A measure that can be made to fail."""

    lag = 3
    failure: type[BaseException] | None = None

    def __call__(self, network, earlier):
        if self.failure is not None and earlier is not None:
            raise self.failure
        return network.E[0, 0] if earlier is None else network.E[0, 0] - earlier.E[0, 0]


def simulate(dynamics, steps, measure=None):
    data, net = figure5()
    return zl.simulate(dynamics, data, net, steps=steps, measures={"corner": measure or Corner()}, **OPTIONS)


def assert_same(one, other):
    assert same_bits(one.history, other.history)
    assert same_bits(one.snapshots, other.snapshots)
    assert all(same_bits(one.state[name], other.state[name]) for name in one.state)
    assert same_bits(one.network.E, other.network.E)
    assert same_bits(one.network.W, other.network.W)
    assert one.outcome == other.outcome
    assert one.own_steps == other.own_steps
    assert one.observers["history"]["extremes"] == other.observers["history"]["extremes"]


def is_interrupted(call, moment):
    """Call a function and raise KeyboardInterrupt at a moment: a line of an extension or a call below it.

    Return False if it ended before.
    """
    passed_lines = 0

    def trace(frame, event, argument):
        nonlocal passed_lines
        if not frame.f_code.co_filename.startswith(PACKAGE) or frame.f_code.co_flags & inspect.CO_GENERATOR:
            return None  # An exception in a generator that is being closed is lost.
        passed_lines += 1
        if passed_lines == moment:
            sys.settrace(None)
            raise KeyboardInterrupt
        return trace if Path(frame.f_code.co_filename).name in ("run.py", "simulation.py") else None

    handler = signal.getsignal(signal.SIGINT)
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
        signal.signal(signal.SIGINT, handler)
    return False


@pytest.mark.parametrize("dynamics", DYNAMICS)
def test_ctrl_c_at_any_line_leaves_the_run_unchanged_or_extended(dynamics):
    first, whole = simulate(DYNAMICS[dynamics], 6), simulate(DYNAMICS[dynamics], 13)
    middle, untouched = simulate(DYNAMICS[dynamics], 10), copy.deepcopy(first)
    for moment in itertools.count(1):
        run = copy.copy(first)
        stopped = is_interrupted(lambda run=run: run.extend(4, progress=False), moment)
        assert_same(run, untouched if run.outcome == first.outcome else middle)
        if not stopped:
            break
        if moment % 5 == 0:
            assert_same(run.extend(13 - run.step, progress=False), whole)
    assert moment > 100
    assert run.step == 10
    assert_same(first, untouched)


@pytest.mark.parametrize("failure", [KeyboardInterrupt, ValueError, MemoryError])
@pytest.mark.parametrize("dynamics", DYNAMICS)
def test_a_measure_that_raises_leaves_the_run_unchanged(dynamics, failure):
    measure = Corner()
    run, whole = simulate(DYNAMICS[dynamics], 6, measure), simulate(DYNAMICS[dynamics], 13)
    untouched = copy.deepcopy(run)
    measure.failure = failure
    with pytest.raises(failure):
        run.extend(7, progress=False)
    assert_same(run, untouched)
    measure.failure = None
    assert_same(run.extend(7, progress=False), whole)


def test_a_failed_extension_of_a_member_leaves_the_joint_history():
    data, net = figure5()
    measure = Corner()
    options = {"steps": 6, "measures": {"corner": measure}, **OPTIONS}
    ensemble = zl.simulate_many([(DYNAMICS["momentum"], data, net)] * 2, **options)
    before = ensemble.history
    measure.failure = KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        ensemble[1].extend(7, progress=False)
    assert same_bits(ensemble.history, before)
    measure.failure = None
    ensemble[1].extend(7, progress=False)
    assert ensemble.history.step.values[-1] == 13
    assert np.isnan(ensemble.history.train_loss.values[0, -1])
