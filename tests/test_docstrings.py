"""The check of docstrings finds missing and malformed parts."""

from dataclasses import dataclass

import pytest

import zeroloss as zl

pytest.importorskip("numpydoc")
import check_docstrings


def without_sections(a: int) -> int:
    """The number that follows."""
    return a + 1


def with_all_sections(a: int) -> int:
    """Add one to a number.

    Parameters
    ----------
    a : int
        The number.

    Returns
    -------
    int
        The next number.

    Raises
    ------
    ValueError, TypeError
        If it is not a number.
    """
    return a + 1


def misnamed_error() -> None:
    """Do nothing.

    Raises
    ------
    of no kind
        never
    """


@dataclass(frozen=True)
class Result:
    """A result.

    Attributes
    ----------
    first : int
        The first number.
    """

    first: int
    second: int


@pytest.mark.parametrize(
    ("value", "codes"),
    [
        (without_sections, {"PR01", "RT01", "SS05"}),
        (with_all_sections, set()),
        (misnamed_error, {"RS01", "RS02"}),
        (Result, {"PR01"}),
    ],
)
def test_errors_have_their_codes(value, codes):
    assert {code for code, _ in check_docstrings.find_errors("name", value)} == codes


def test_public_names_include_methods_and_properties():
    names = dict(check_docstrings.find_public_objects("zeroloss"))
    assert names["zeroloss.simulation.api.simulate"] is zl.simulate
    assert {"zeroloss.networks.network.Network.outputs", "zeroloss.networks.network.Network.shape"} <= names.keys()
    assert not any(name.rpartition(".")[2].startswith("_") for name in names)
