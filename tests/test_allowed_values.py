"""``--print-defaults`` states the allowed values of every key, and exactly these are accepted."""

import re
import typing
from dataclasses import dataclass, field

import numpy as np
import pytest

import zeroloss as zl
from zeroloss import _sections, config
from zeroloss._checks import ArgumentError, Range
from zeroloss._hints import _parts as parts_of
from zeroloss._hints import describe_hint, get_defaults, get_hints
from zeroloss.dynamics import registry

DATA = zl.datasets.modular_addition(3, test_count=1)
#: Arguments without a default, and others for a small problem.
SMALL = {
    **{name: {"p": 3, "train_count": 1} for name in zl.datasets.TASKS if name.startswith("modular")},
    "permutation_composition": {"symbols": 2, "train_count": 1},
    "sparse_parity": {"bits": 6, "relevant": 1, "train_count": 1},
    "linear_teacher": {"d_in": 2, "train_count": 1},
    "relu_teacher": {"d_in": 2, "hidden": 2, "train_count": 1},
    "digits": {"train_count": 1},
    "uniform_fan_in": {"data": DATA, "hidden": 2, "seed": 0},
    "normal": {"data": DATA, "hidden": 2, "std": 1.0, "seed": 0},
    "gradient_descent": {"lr": 0.1, "norm_constraint": "fixed"},
    "adamw": {"norm_constraint": "fixed"},
    "predicted_gradient": {"step_size": 0.1},
    "norm_flow": {"step_size": 0.1},
    "noise_flow": {"step_size": 0.1},
    "gradient_flow": {},
}
#: Keys that replace another one, which is then set to None.
INSTEAD = {
    "train_fraction": {"train_count": None},
    "test_count": {"train_count": None},
    "rtol": {"step_size": None},
    "atol": {"step_size": None, "rtol": 0.1},
}
#: Keys of a split. Their errors state the number of samples.
SPLIT = {"train_fraction", "train_count", "test_count"}


def all_keys():
    """Yield every key of the sections with a selector: its section, choice, name and type."""
    for name, section in _sections.BUILT.items():
        for choice, function in section.choices.items():
            hints = get_hints(function)
            yield from ((name, choice, key, hints[key]) for key in get_defaults(function))


def block_of(text, name, choice):
    """Return the lines of a choice without comment marks."""
    lines = text.split(f'{_sections.BUILT[name].selector} = "{choice}"')[1].split("\n\n")[0]
    return [line.removeprefix("# ") for line in lines.splitlines()[1:]]


@pytest.mark.parametrize(("name", "choice", "key", "hint"), list(all_keys()))
def test_every_key_is_printed_with_its_allowed_values(name, choice, key, hint):
    lines = [line for line in block_of(config.defaults_text(), name, choice) if line.startswith(f"{key} = ")]
    assert len(lines) == 1
    allowed = describe_hint(hint)
    assert re.search(rf"  # {re.escape(allowed)}(; .+)?$", lines[0])
    assert allowed != "a value"
    assert not any(part in (int, float) for part in parts_of(hint)), "a number without a range"


def test_every_key_of_a_run_is_printed_with_its_allowed_values():
    lines = config.defaults_text().split("\n[run]\n")[1].splitlines()
    assert len(lines) == len(config.RunSettings.model_fields)
    for line, (key, about) in zip(lines, config.RunSettings.model_fields.items(), strict=True):
        allowed = describe_hint(about.annotation, about.metadata)
        assert re.search(rf"^(# )?{key} = .*  # {re.escape(allowed)}; .+$", line)
        assert allowed not in {"a value", "a number", "an integer", "a string"}
    assert any(line.startswith('record_every = 100  # an integer of at least 1 or "log";') for line in lines)


def ranges():
    """Yield every range of a key: section, choice, key, and the annotated type of the number."""
    for name, choice, key, hint in all_keys():
        for part in parts_of(hint):
            found = typing.get_args(part)[0] if typing.get_origin(part) is tuple else part
            if typing.get_origin(found) is typing.Annotated and isinstance(found.__metadata__[0], Range):
                yield pytest.param(name, choice, key, part, found, id=f"{choice}-{key}")


def probes(allowed):
    """Return numbers at the bounds of a range and next to them."""
    bounds = [bound for bound in (allowed.ge, allowed.gt, allowed.le, allowed.lt) if bound is not None]
    return {bound + away for bound in bounds for away in (-1, 0, 1)}


@pytest.mark.parametrize(("name", "choice", "key", "part", "number"), list(ranges()))
def test_a_value_is_accepted_if_and_only_if_it_is_in_the_range(name, choice, key, part, number, tmp_path):
    if choice == "digits":
        pytest.importorskip("sklearn")
    if choice == "arrays":
        np.savez(tmp_path / "labels.npz", X_train=np.eye(2), Y_train=[0, 0])
    function, kind, allowed = _sections.BUILT[name].choices[choice], number.__origin__, number.__metadata__[0]
    split = "train_fraction" in get_defaults(function)
    for probe in probes(allowed):
        value = (kind(probe),) * len(typing.get_args(part)) if typing.get_origin(part) is tuple else kind(probe)
        instead = INSTEAD.get(key, {}) if split or key not in SPLIT else {}
        keys = get_defaults(function)
        small = SMALL.get(choice, {"file": tmp_path / "labels.npz"})
        arguments = {**small, **{name: instead[name] for name in instead.keys() & keys.keys()}, key: value}
        if probe in allowed:
            function(**arguments)
            continue
        with pytest.raises(ArgumentError) as caught:
            function(**arguments)
        assert caught.value.names == (key,)
        if not (split and key in SPLIT):
            assert re.match(rf"{key}(\[0\])?: expected {re.escape(describe_hint(number))}, got ", str(caught.value))


def test_the_text_of_a_range_agrees_with_its_membership():
    texts = {
        Range(ge=0): "of at least 0",
        Range(gt=0): "above 0",
        Range(le=1): "of at most 1",
        Range(lt=1): "below 1",
        Range(ge=0, le=1): "in [0, 1]",
        Range(gt=0, le=1): "in (0, 1]",
        Range(ge=0, lt=1): "in [0, 1)",
        Range(gt=0, lt=1): "in (0, 1)",
        Range(): "",
    }
    for allowed, text in texts.items():
        assert str(allowed) == text
        inside = {probe for probe in (-1, 0, 0.5, 1, 2) if probe in allowed}
        assert inside == {
            probe
            for probe in (-1, 0, 0.5, 1, 2)
            if (allowed.ge is None or probe >= 0)
            and (allowed.gt is None or probe > 0)
            and (allowed.le is None or probe <= 1)
            and (allowed.lt is None or probe < 1)
        }


def define_plain_classes():
    class Local:
        """A type that no module defines."""

    @dataclass(frozen=True)
    class Drift:
        rate: float
        copy: int = 3
        weights: list[float] = field(default_factory=list)
        mask: np.ndarray | None = None

        def __post_init__(self):
            if self.rate <= 0:
                raise ValueError("rate: must be positive")

    @dataclass(frozen=True)
    class Unknown:
        what: "Local" = 1

    return Drift, Unknown


def test_a_user_s_class_without_docstring_and_checks_is_configurable(monkeypatch):
    """Classes registered later are listed; an error without an argument's name is reported for the whole section."""
    drift, unknown = define_plain_classes()
    assert "drift" not in config.defaults_text()
    monkeypatch.setitem(registry._registered, "drift", drift)
    monkeypatch.setitem(registry._registered, "unknown", unknown)

    def problems_of(**keys):
        with pytest.raises(config.ConfigurationError) as caught:
            config.from_settings({"dynamics": {"kind": "drift", **keys}})
        return caught.value.problems

    text = config.defaults_text()
    assert re.search(r"^kind = .*  # one of gradient_descent, .*, drift, unknown$", text, re.MULTILINE)
    assert block_of(text, "dynamics", "drift") == [
        "rate = …  # a number",
        "copy = 3  # an integer",
        "weights = []  # a list of numbers",
        "mask = …  # a value",
    ]
    assert block_of(text, "dynamics", "unknown") == ["what = 1  # a value"]
    built = config.from_settings({"dynamics": {"kind": "drift", "rate": 2, "copy": 4}})
    assert built.dynamics == drift(2.0, 4)
    assert built.fingerprint() != config.from_settings({"dynamics": {"kind": "drift", "rate": 2}}).fingerprint()
    assert config.from_settings({"dynamics": {"kind": "unknown"}}).dynamics == unknown()
    assert problems_of(rate=-1.0) == ["dynamics: rate: must be positive"]
    assert problems_of() == ["dynamics.rate: missing; expected a number"]
    assert problems_of(rate="x", copy=1.5, rat=3) == [
        "dynamics.rate: expected a number, got 'x'",
        "dynamics.copy: expected an integer, got 1.5",
        "dynamics.rat: unknown key; did you mean rate?",
    ]
