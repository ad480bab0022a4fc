"""Planning a sweep: each section is checked once, with the names and problems of checking every cell."""

import itertools

import numpy as np
import pytest

import zeroloss as zl
from zeroloss import config
from zeroloss._fingerprint import fingerprint_of
from zeroloss.config import ConfigurationError
from zeroloss.sweeps import grid

SMALL = {
    "data": {"p": 5, "test_count": 3},
    "network": {"hidden": 4, "seed": 1},
    "dynamics": {"lr": 0.1},
    "run": {"steps": 2},
}


@pytest.fixture
def checks(monkeypatch):
    """Count how often a section is checked."""
    calls = []

    def check_and_count(name, *arguments):
        calls.append(name)
        return config.check_section(name, *arguments)

    monkeypatch.setattr(grid, "check_section", check_and_count)
    return calls


def test_a_section_is_checked_once_and_seeds_not_at_all(checks):
    sweep = {"network.seed": list(range(500)), "dynamics.lr": [0.1, 0.2, 0.3], "data.seed": [0, 1, 2, 3]}
    cells = grid.cells({**SMALL, "sweep": sweep}, progress=False)
    assert len(cells) == len({cell.name for cell in cells}) == 6000
    assert len(checks) < 20


SWEEPS = [
    {"network.seed": [0, 5], "data.seed": [2, 2**70]},
    {"data.p, data.test_count": [[5, 3], [7, 2]], "network.hidden": [4, 5], "network.seed": [1, 2]},
    {"dynamics.kind": ["gradient_descent", "adamw"], "run.steps": [3, 4]},
    {"run.record_every": [1, "log"], "run.event_every": [1, 2], "dynamics.weight_decay": [0, 0.5]},
    {"data.seed": np.arange(3), "dynamics.lr": np.array([0.1, 0.25])},
]


@pytest.mark.parametrize("sweep", SWEEPS, ids=[" and ".join(sweep) for sweep in SWEEPS])
def test_cells_agree_with_checking_each_one_alone(sweep):
    settings = zl._plain.to_plain({**SMALL, "sweep": sweep})
    cells = grid.cells(settings, progress=False)
    rows = [[dict(zip(axis.keys, row, strict=True)) for row in axis.values] for axis in grid.axes(settings)]
    for cell, labels in zip(cells, itertools.product(*rows), strict=True):
        sections = {name: dict(keys) for name, keys in SMALL.items()}
        for key, value in {k: v for label in labels for k, v in label.items()}.items():
            section, name = key.split(".")
            sections[section][name] = value
        alone = config.from_settings(sections)
        assert cell.settings == alone.settings
        assert cell.name == fingerprint_of(alone.settings, with_length=True)
        np.testing.assert_array_equal(cell.configuration().network.E, alone.network.E)


def test_problems_of_every_section_are_reported_with_their_cells():
    sweep = {"network.hidden": [4, 0, 1.5], "dynamics.lr": [0.1, -1], "data.seed": [0, -1], "run.steps": [2, "x"]}
    with pytest.raises(ConfigurationError) as caught:
        grid.cells({**SMALL, "sweep": sweep}, progress=False)
    text = "\n".join(caught.value.problems)
    for line in (
        "network.hidden: expected an integer of at least 1, got 0 (with network.hidden = 0, ",
        "got 1.5 (with",
    ):
        assert line in text
    for line in ("dynamics.lr: expected a number above 0, got -1", "data.seed: expected", "run.steps: expected"):
        assert line in text


def test_products_beyond_a_million_are_rejected_at_once():
    sweep = {
        f"dynamics.{key}": [i / 1000 for i in range(1000)] for key in ("lr", "momentum", "weight_decay", "norm_ratio")
    }
    with pytest.raises(ConfigurationError, match="expected at most 1000000 combinations, got 1000000000000"):
        grid.cells({**SMALL, "sweep": sweep})


def test_a_value_that_occurs_twice_among_very_many_is_found():
    with pytest.raises(ConfigurationError, match=r"sweep.network.seed: the value \[199999\] appears twice"):
        grid.cells({**SMALL, "sweep": {"network.seed": [*range(200_000), 199_999]}})


def test_planning_shows_progress(monkeypatch):
    shown = []
    bar = grid.progress_bar
    monkeypatch.setattr(
        grid, "progress_bar", lambda *a, **options: shown.append(options["total"]) or bar(*a, **options)
    )
    assert len(grid.cells({**SMALL, "sweep": {"network.seed": [1, 2, 3]}}, progress=False)) == 3
    assert shown == [3]
