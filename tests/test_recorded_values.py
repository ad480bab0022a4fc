"""Values that measures and users' dynamics record: all that is recorded can be saved, and the rest is rejected."""

import itertools
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest

import zeroloss as zl
from zeroloss import sweeps
from zeroloss.dynamics import registry
from zeroloss.runs.report import report

DATA = zl.datasets.modular_addition(3, test_count=2, seed=0)
NET = zl.networks.uniform_fan_in(DATA, hidden=4, seed=1)
LONG = "a" * 300


def measure(values):
    """Return a measure that returns one of some values after the other, and the last one from then on."""
    later = itertools.chain(values, itertools.repeat(values[-1]))
    return {"m": lambda net: next(later)}


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ([{"a/b": 1.0}], ValueError, "expected names of at most 200 printable characters without /, got 'm_a/b'"),
        ([{"a\0b": 1.0}], ValueError, "without /, got"),
        ([{"\ud800": 1.0}], ValueError, "without /, got"),
        ([{LONG: 1.0}], ValueError, "without /, got"),
        ([None], TypeError, "expected numbers, arrays of numbers or texts, got m = None at step 0"),
        ([10**400], TypeError, "got m = an integer of about 400 digits at step 0"),
        ([Fraction(1, 3)], TypeError, "got m = Fraction"),
        ([np.datetime64("2020-01-01")], TypeError, "got m = "),
        ([np.zeros(2, [("a", "f8")])], TypeError, "got m = "),
        ([[[1], [1, 2]]], TypeError, r"got m = \[\[1\], \[1, 2\]\]"),
        ([{"x": 1.0}, {"y": 1.0}], ValueError, "same values at every record, got no value m_x at step 1"),
        ([{"x": 1.0}, {"x": 1.0, "y": 1.0}], ValueError, "got a new value m_y at step 1"),
        ([1.0, {"x": 1.0}], ValueError, "got no value m at step 1"),
    ],
)
def test_measured_values_that_cannot_be_saved_are_rejected(values, error, words):
    with pytest.raises(error, match=f"measures: .*{words}"):
        zl.simulate(zl.GradientDescent(lr=0.1), DATA, NET, steps=3, record_every=1, measures=measure(values))


def test_an_extension_records_the_same_measured_values():
    run = zl.simulate(zl.GradientDescent(lr=0.1), DATA, NET, steps=3, record_every=1, measures=measure([{"x": 1.0}]))
    with pytest.raises(ValueError, match="got no value m_x at step 4"):
        run.extend(2, measures=measure([{"y": 1.0}]))
    assert run.extend(2).step == 5


def test_a_measure_does_not_replace_a_value_of_the_dynamics():
    with pytest.raises(ValueError, match="measures: two recorded values have the name own"):
        zl.simulate(Recording("own"), DATA, NET, steps=1, measures={"own": lambda net: 1.0})


def test_texts_are_measured_and_not_shown_as_numbers():
    run = zl.simulate(zl.GradientDescent(lr=0.1), DATA, NET, steps=1, measures={"m": lambda net: "abc"})
    assert "train_loss" in repr(run)
    assert "train_loss" in run._repr_html_()


@dataclass(frozen=True)
class Recording:
    """Does not move, and records 1 under names that depend on the step: ``before`` up to step 1, then ``after``."""

    before: str
    after: str = ""
    value: float = 1.0
    saved: str = "E"

    def start(self, data, network):
        return Recorder(self, network)


class Recorder:
    def __init__(self, settings, net):
        self.settings, self.net, self.step = settings, net, 0

    def advance(self, steps):
        self.step += steps

    def record(self):
        names = self.settings.before if self.step < 2 else self.settings.after or self.settings.before
        return dict.fromkeys(names.split(","), 10**400 if self.settings.value < 0 else self.settings.value)

    def network(self):
        return self.net

    def save(self):
        return {self.settings.saved: np.array(self.step)}

    def restore(self, state):
        self.step = int(state[self.settings.saved])


@pytest.mark.parametrize(
    ("dynamics", "words"),
    [
        (Recording("step"), "record: expected other names than step, event, event_step, ending, outcome, cell"),
        (Recording("event"), "record: expected other names than"),
        (Recording(LONG), "record: expected identifiers as names"),
        (Recording("a", value=-1.0), "record: expected a number for a, got an integer of about 400 digits"),
        (Recording("a", saved="a\0b"), "save: expected names of 1 to 200 printable characters"),
        (Recording("a", saved="\ud800"), "save: expected names of 1 to 200 printable characters"),
        (Recording("a", saved=LONG), "save: expected names of 1 to 200 printable characters"),
    ],
)
def test_names_and_numbers_that_cannot_be_saved_are_rejected(dynamics, words):
    with pytest.raises(TypeError, match=f"dynamics: Recording.{words}"):
        zl.simulate(dynamics, DATA, NET, steps=3)


@pytest.mark.parametrize("after", ["b", "a,b", "c"])
def test_a_record_has_the_same_names_at_every_step(after):
    run = zl.simulate(Recording("a,c", after), DATA, NET, steps=5, record_every=1)
    assert f"expected the same names as at the start (a, c), got {after.replace(',', ', ')}" in str(run.outcome)
    assert run.history.step.values.tolist() == [0, 1]


def test_half_of_the_extremes_is_drawn_as_no_band(tmp_path):
    zl.simulate(Recording("train_loss_min"), DATA, NET, steps=3).save(tmp_path / "a")
    assert report(tmp_path / "a")[-1].startswith("picture")


def test_a_swept_key_with_the_name_of_a_recorded_value_has_its_section(tmp_path, monkeypatch):
    monkeypatch.setitem(registry._registered, "recording", Recording)
    settings = {"data": {"p": 3, "test_count": 2}, "network": {"hidden": 4}, "run": {"steps": 2, "record_every": 1}}
    settings["dynamics"] = {"kind": "recording", "before": "value"}
    settings["sweep"] = {"dynamics.value": [1.0, 2.0], "network.seed": [1, 2]}
    cube = sweeps.sweep(settings, tmp_path / "out", workers=1, progress=False).cube()
    assert cube.value.dims == ("dynamics_value", "network_seed", "step")
    assert cube.value.sel(dynamics_value=2.0, network_seed=1).values.tolist() == [2.0, 2.0, 2.0]
