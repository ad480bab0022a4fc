"""Errors about arguments: the names they store, their text, pickling; no plain error names an argument."""

import ast
import copy
import pickle
import re
from pathlib import Path

import pytest

import zeroloss as zl
from test_arguments import BAD
from zeroloss._checks import ArgumentError, ArgumentTypeError, ArgumentValueError, error_of_part

PACKAGE = Path(zl.__file__).parent


def error_of(call):
    try:
        call()
    except (ValueError, TypeError) as error:
        return error
    pytest.fail("expected an error")


@pytest.mark.parametrize("call", [call for call, _, _ in BAD], ids=[message for _, _, message in BAD])
def test_every_error_stores_the_arguments_that_its_text_names(call):
    error = error_of(call)
    assert isinstance(error, ArgumentError)
    assert str(error).startswith(f"{', '.join(error.names)}: ")
    assert all(name.isidentifier() for name in error.names)


@pytest.mark.parametrize(("kind", "base"), [(ArgumentValueError, ValueError), (ArgumentTypeError, TypeError)])
@pytest.mark.parametrize("names", ["lr", ("steps", "duration"), "betas[1]"])
@pytest.mark.parametrize("again", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
def test_an_error_can_be_pickled_and_copied(kind, base, names, again):
    error = kind(names, "expected one, got 2")
    error.add_note("a note")
    other = again(error)
    assert type(other) is kind
    assert isinstance(other, base)
    assert str(other) == str(error)
    assert other.names == error.names
    assert other.__notes__ == ["a note"]


def test_an_index_is_part_of_the_text_and_not_of_the_name():
    error = error_of(lambda: zl.AdamW(betas=(0.9, 1.0)))
    assert str(error) == "betas[1]: expected a number in [0, 1), got 1.0"
    assert error.names == ("betas",)


def test_an_error_of_a_part_names_the_whole_argument():
    error = error_of(lambda: zl.GradientDescent(lr={"schedule": "cosine", "lr": 1.0, "steps": 0}))
    assert str(error) == "lr: steps: expected an integer of at least 1, got 0"
    assert error.names == ("lr",)
    assert isinstance(error_of_part("lr", TypeError("steps: expected an integer, got 'x'")), ArgumentTypeError)


def plain_errors(tree):
    """Yield the lines that raise a plain ValueError or TypeError whose text begins with an argument's name."""
    for node in ast.walk(tree):
        match node:
            case ast.Raise(exc=ast.Call(func=ast.Name(id="ValueError" | "TypeError"), args=[text, *_])):
                start = ast.unparse(text).lstrip("f").strip("'\"")
                if re.match(r"(\w+(\[\S+\])?(, \w+)*|\{(\w*name\w*|\w+\[0\])\}): ", start):
                    yield node.lineno


@pytest.mark.parametrize(
    "package", ["datasets", "networks", "dynamics", "geometry", "sweeps", "survival", "results", "simulation", "runs"]
)
def test_no_plain_error_names_an_argument(package):
    for path in (PACKAGE / package).rglob("*.py"):
        assert list(plain_errors(ast.parse(path.read_text(encoding="utf-8")))) == [], path


@pytest.mark.parametrize(
    "line",
    [
        "raise ValueError('lr: expected a number above 0, got 0')",
        "raise TypeError(f'network: expected float64, got {network.dtype}')",
        "raise ValueError(f'{name}: expected {wish}')",
        "raise ValueError(f'betas[{place}]: expected {wish}') from None",
        "raise ValueError('steps, duration: give either ' f'{got}')",
    ],
)
def test_plain_errors_that_name_an_argument_are_found(line):
    assert list(plain_errors(ast.parse(line))) == [1]
    assert list(plain_errors(ast.parse("raise ValueError(f'{where}: {error}')"))) == []
