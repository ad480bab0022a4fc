"""The page of a sweep as a file: its data, its links, its size, and the command."""

import base64
import json
import re
import shutil
import zlib

import numpy as np
import pytest

import zeroloss as zl
from command import run_command
from sweep_cubes import KEYS, make_random_cube
from zeroloss.view.sweep import choose_steps, sweep_data, sweep_page

CONFIGURATION = {
    "data": {"p": 5, "test_count": 3},
    "network": {"hidden": 8},
    "dynamics": {"lr": 0.5},
    "run": {"steps": 100, "record_every": 10, "events": ["train_accuracy >= 1"]},
    "sweep": {"dynamics.lr": [0.5, 1e200], "data.seed, network.seed": [[0, 10], [1, 11]]},
}


def decode(packed):
    values = np.frombuffer(zlib.decompress(base64.b64decode(packed["data"])), packed["dtype"])
    return values.reshape(packed["shape"])


def data_of_page(path):
    text = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.DOTALL)[1]
    return json.loads(text)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sweep") / "out"
    zl.sweeps.sweep(CONFIGURATION, directory, progress=False)
    return directory


@pytest.fixture
def directory(original, tmp_path):
    shutil.copytree(original, tmp_path / "out")
    return tmp_path / "out"


def test_the_data_are_those_of_the_cube(tmp_path):
    cube = make_random_cube()
    data = sweep_data(cube, tmp_path, "")
    assert [dim["name"] for dim in data["dims"]] == list(KEYS)
    assert [len(dim["labels"]) for dim in data["dims"]] == [3, 2, 5]
    assert data["dims"][0] == {"name": "lr", "labels": ["0.1", "1", "5"], "values": [0.1, 1.0, 5.0]}
    assert [data["dims"][place]["name"] for place in data["axes"]] == zl.plots.choose_keys(cube)
    endings = [str(ending).replace("not ended", "not begun") for ending in cube.ending.values.ravel()]
    assert data["cells"]["endings"] == endings  # No cell has a directory.
    np.testing.assert_array_equal(decode(data["cells"]["last_step"]), cube.last_step.values.ravel())
    for place, event in enumerate(data["events"]):
        np.testing.assert_array_equal(decode(event["steps"]), cube.event_step.values[..., place].ravel())
    last = cube.test_loss.values[..., 0] * np.nan
    for place in np.argwhere(np.isfinite(cube.last_step.values)):
        last[tuple(place)] = cube.test_loss.sel(step=cube.last_step.values[tuple(place)]).values[tuple(place)]
    found = next(decode(one["values"]) for one in data["last"] if one["text"] == "test loss")
    np.testing.assert_array_equal(found, last.ravel())
    curve = next(decode(one["values"]) for one in data["curves"] if one["text"] == "test loss")
    np.testing.assert_array_equal(curve, cube.test_loss.values.reshape(30, -1).astype("float32"))
    counts = {text: data["cells"]["endings"].count(text) for text in set(data["cells"]["endings"])}
    assert all(f"{count} {text}" in data["about"]["outcome"] for text, count in counts.items())


def test_curves_have_the_last_record_up_to_each_step(tmp_path):
    """Cells record at different steps, so most steps of the cube lack most cells."""
    cube = make_random_cube().isel(hidden=0, data_seed=slice(0, 1), drop=True).sel(lr=[0.1, 1.0])
    steps = np.arange(2000)
    cube = cube.drop_vars(["test_loss", "test_accuracy", "step"]).assign_coords(step=steps)
    curve = np.full((2, 1, len(steps)), np.nan)
    curve[0, 0, ::100] = steps[::100]
    curve[1, 0, 7:1508:500] = steps[7:1508:500]
    cube["test_loss"] = (("lr", "data_seed", "step"), curve)
    cube["last_step"] = (("lr", "data_seed"), [[1900.0], [1507.0]])
    data = sweep_data(cube, tmp_path, "")
    at, values = decode(data["steps"]), decode(data["curves"][0]["values"])
    assert len(at) <= 202
    np.testing.assert_array_equal(values[0], np.where(at <= 1900, at // 100 * 100, np.nan))
    np.testing.assert_array_equal(values[1], np.where((at >= 7) & (at <= 1507), (at - 7) // 500 * 500 + 7, np.nan))


def test_the_steps_of_curves_are_spaced_evenly_and_logarithmically():
    steps = np.arange(0, 1_000_001, 10)
    places = choose_steps(steps, 10)
    assert (np.diff(places) > 0).all()
    assert {places[0], places[-1]} == {0, len(steps) - 1}
    assert len(places) <= 202
    assert np.diff(steps[places]).max() <= 1_000_000 / 99 + 10
    assert ((steps[places] > 0) & (steps[places] < 1000)).sum() > 20
    assert choose_steps(steps[:100], 10).tolist() == list(range(100))
    assert len(choose_steps(steps, 10**6)) <= 6


def test_a_page_of_10_000_cells_has_at_most_6_megabytes(tmp_path):
    cube = make_random_cube(keys={"lr": np.arange(1.0, 101.0), "hidden": np.arange(100)})
    assert len(sweep_page(cube, tmp_path, "").encode()) < 6e6
    with pytest.raises(ValueError, match="expected at most 10000 cells, got 10100"):
        sweep_page(make_random_cube(keys={"lr": np.arange(1.0, 102.0), "hidden": np.arange(100)}), tmp_path, "")


def test_the_command_writes_the_page_of_a_sweep_and_replaces_only_its_own(directory, tmp_path):
    done = run_command("view", directory, "--no-open")
    assert (done.returncode, done.stdout) == (0, f"page: {directory / 'view.html'}\n")
    assert run_command("view", directory, "--no-open").stdout == done.stdout
    data = data_of_page(directory / "view.html")
    assert data["about"]["outcome"] == "4 cells: 2 reached the end, 2 diverged"
    assert data["dims"][1]["name"] == "data_seed, network_seed"
    assert data["dims"][1]["labels"] == ["0, 10", "1, 11"]
    (directory / "view.html").write_text("mine")
    assert run_command("view", directory, "--no-open").stdout == f"page: {directory / 'view-2.html'}\n"
    assert (directory / "view.html").read_text() == "mine"


def test_pages_of_cells_are_linked_once_they_exist(directory, tmp_path):
    zl.view.view([directory], open_page=False)
    pages = data_of_page(directory / "view.html")["cells"]["pages"]
    assert {page["link"] for page in pages} == {""}
    words = pages[1]["command"].split()
    assert words[:2] == ["zeroloss", "view"]
    assert run_command(*words[1:], "--no-open").returncode == 0
    zl.view.view([directory], open_page=False)
    links = [page["link"] for page in data_of_page(directory / "view.html")["cells"]["pages"]]
    assert [bool(link) for link in links] == [False, True, False, False]
    assert (directory / links[1]).is_file()
    zl.view.view([directory], tmp_path / "other.html", open_page=False)
    links = [page["link"] for page in data_of_page(tmp_path / "other.html")["cells"]["pages"]]
    assert links[1].startswith(directory.as_uri())


def test_a_sweep_in_progress_has_its_ended_cells(directory):
    names = json.loads((directory / "cells.json").read_bytes())["names"]
    for name in names[1:]:
        shutil.rmtree(directory / "cells" / name)
    zl.view.view([directory], open_page=False)
    data = data_of_page(directory / "view.html")
    assert data["cells"]["endings"] == ["reached the end", *["not begun"] * 3]
    assert data["cells"]["pages"][1] == {"command": "", "link": ""}
    shutil.rmtree(directory / "cells" / names[0])
    (directory / "cells" / names[0]).mkdir()
    assert run_command("view", directory, "--no-open").returncode == 0
    data = data_of_page(directory / "view.html")
    assert data["about"]["outcome"] == "4 cells: 3 not begun, 1 not ended"
    assert [len(dim["labels"]) for dim in data["dims"]] == [2, 2]
    assert (data["events"], data["last"], data["curves"]) == ([], [], [])


@pytest.mark.parametrize(
    ("words", "part"),
    [(("SWEEP", "SWEEP"), "expected one sweep, or runs only"), (("SWEEP", "--follow"), "expected runs to follow")],
)
def test_a_sweep_is_shown_alone_and_not_followed(original, words, part):
    done = run_command("view", *(original if word == "SWEEP" else word for word in words), "--no-open")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert part in done.stderr
