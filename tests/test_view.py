"""The page of a run as a file: sizes, rounding, escaping, names of files, and the command."""

import base64
import json
import os
import re
import sys
import zlib

import numpy as np
import pytest

import zeroloss as zl
from command import run_command
from zeroloss.view import view as zl_view
from zeroloss.view.about import about_run
from zeroloss.view.curves import keep_extremes
from zeroloss.view.encode import encode, encode_weights
from zeroloss.view.measured import measured_charts
from zeroloss.view.page import run_page, to_json
from zeroloss.view.predictions import pairs_of


def simulate(steps=40, **options):
    data = zl.datasets.modular_addition(5, test_count=3)
    net = zl.networks.uniform_fan_in(data, hidden=8, seed=1)
    return zl.simulate(zl.GradientDescent(lr=0.1), data, net, steps=steps, progress=False, **options)


@pytest.fixture
def directory(tmp_path):
    simulate(record_every=10, snapshot_every=20).save(tmp_path / "run")
    return tmp_path / "run"


def inflate(text):
    return zlib.decompress(base64.b64decode(text))


def decode_weights(packed):
    planes = np.frombuffer(inflate(packed["data"]), np.uint8).reshape(2, -1)
    integers = np.ascontiguousarray(planes.T).view("<i2").reshape(packed["shape"])
    scales = np.frombuffer(inflate(packed["scales"]["data"]), "<f4").reshape(packed["shape"][:2])
    return integers * scales[..., None]


def data_of_page(page):
    text = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1]
    return json.loads(text)


def test_weights_are_rounded_relative_to_the_largest_of_the_unit():
    weights = np.random.default_rng(0).standard_normal((3, 20, 37)) * np.logspace(-8, 8, 20)[:, None]
    weights[0, 0] = 0
    weights[1, 2, 3] = np.inf
    found = decode_weights(encode_weights(weights))
    assert np.isnan(found[1, 2]).all()
    weights[1, 2] = found[1, 2] = 0
    largest = np.abs(weights).max(axis=2, keepdims=True)
    # Half a unit of 2047, and the rounding of a scale to float32.
    assert (np.abs(found - weights) <= largest * (0.5 / 2047 + 2**-23)).all()


@pytest.mark.parametrize(
    ("options", "level"),
    [
        ({}, ["2/lr", 20.0]),
        ({"lr_W": 0.1, "label_noise_std": 0.1}, ["2/lr", 20.0]),
        ({"lr_W": 0.2}, None),
        ({"train_layers": "W"}, None),
        ({"batch_size": 2}, None),
        ({"momentum": 0.5}, None),
    ],
    ids=str,
)
def test_the_edge_of_stability_is_that_of_plain_descent(options, level):
    data = zl.datasets.modular_addition(5, test_count=3)
    net = zl.networks.uniform_fan_in(data, hidden=8, seed=1)
    measures = {"sharpness": lambda network: 1.0}
    run = zl.simulate(zl.GradientDescent(lr=0.1, **options), data, net, steps=1, measures=measures)
    (chart,) = [chart for chart in measured_charts(run) if chart["name"] == "measured sharpness"]
    assert chart["level"] == level


def test_arrays_are_encoded_with_their_type_and_shape():
    packed = encode([[1, np.nan], [1e300, -2]], "float32")
    values = np.frombuffer(inflate(packed["data"]), packed["dtype"]).reshape(packed["shape"])
    np.testing.assert_array_equal(values, np.array([[1, np.nan], [np.inf, -2]], np.float32))


def test_a_page_with_50_snapshots_of_512_units_has_at_most_6_megabytes():
    """Independent random weights do not compress, so weights of a trained network take less."""
    data = zl.datasets.modular_addition(37, train_fraction=0.7, seed=0)
    net = zl.networks.normal(data, hidden=512, std=37**-0.5, seed=1)
    run = zl.simulate(zl.GradientDescent(lr=1e-3), data, net, steps=1, snapshot_every=1, progress=False)
    generator = np.random.default_rng(0)
    snapshots = run.snapshots.isel(step=np.zeros(50, int)).assign_coords(step=np.arange(50))
    for name in ("E", "W"):
        snapshots[name] = snapshots[name] * 0 + generator.standard_normal(snapshots[name].shape)
    run.snapshots = snapshots
    page = run_page([("run", run, None)])
    assert data_of_page(page)["units"]["E"]["shape"] == [50, 512, 37]
    assert len(page.encode()) < 6e6


def test_extremes_are_kept_of_many_records():
    steps = np.arange(100_001) * 3
    curve = np.sin(steps / 1e4)
    curve[[5, 71_234]] = 50, -60
    curve[40_000] = np.nan
    kept = keep_extremes(steps, [curve])
    assert len(kept) < 4000
    assert {0, 5, 71_234, 100_000} <= set(kept.tolist())
    assert (np.diff(kept) > 0).all()
    assert keep_extremes(steps[:100], [curve[:100]]).tolist() == list(range(100))


def test_100_000_records_make_a_small_page():
    run = simulate(steps=100_000, record_every=1)
    assert len(run_page([("run", run, None)]).encode()) < 2e6


def test_the_text_of_a_run_cannot_end_a_block():
    hostile = "</script><!-- & \u2028 \"'"
    text = to_json({hostile: [hostile]})
    assert json.loads(text) == {hostile: [hostile]}
    assert not {"<", ">", "&", "\u2028"} & set(text)


def test_scripts_and_policy_agree(directory):
    page = run_page([("a", zl.load(directory), directory)])
    assert page.count("<script>") == 2
    assert len(re.findall(r"'sha256-[\w+/=]{44}'", page)) == 2
    assert "connect-src 'none'" in page
    assert "unsafe-eval" not in page[:2000]
    assert re.findall(r'(?:src|href)="(?!data:)', re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)) == []


def test_the_trace_of_the_hessian_has_a_chart_of_its_own():
    data = zl.datasets.modular_addition(5, test_count=2)
    net = zl.networks.uniform_fan_in(data, hidden=24, seed=1, activation="softplus(5)")
    start = zl.geometry.project(net, data).network
    run = zl.simulate(zl.NoiseFlow(step_size=1e-3), data, start, steps=2, progress=False)
    (chart,) = [chart for chart in measured_charts(run) if chart["name"] == "measured trace"]
    assert [curve[0] for curve in chart["curves"]] == ["hessian_trace"]


def test_pairs_are_found_in_the_inputs():
    def decode(data):
        return set(map(tuple, pairs_of(data).tolist()))

    addition = zl.datasets.modular_addition(5, test_count=3)
    assert decode(addition) == {(a, b) for a in range(5) for b in range(a, 5)}
    subtraction = zl.datasets.modular_subtraction(4, train_fraction=0.5)
    assert decode(subtraction) == {(a, b) for a in range(4) for b in range(4)}
    assert len(decode(zl.datasets.permutation_composition(3, train_fraction=0.5))) == 36
    samples = zl.datasets.from_arrays(addition.X_train, addition.Y_train, rows="dense")
    np.testing.assert_array_equal(pairs_of(samples), pairs_of(addition)[: addition.train_count])
    assert pairs_of(zl.datasets.modular_addition(5, summands=3, train_fraction=0.5)) is None
    assert pairs_of(zl.datasets.from_arrays(np.eye(4), np.eye(4))) is None
    assert pairs_of(zl.datasets.modular_addition(151, train_fraction=0.5)) is None


def test_the_command_writes_a_page_and_replaces_only_its_own(directory, tmp_path):
    done = run_command("view", directory, "--no-open")
    assert (done.returncode, done.stdout) == (0, f"page: {directory / 'view.html'}\n")
    assert run_command("view", directory, "--no-open").stdout == done.stdout
    (directory / "view.html").write_text("mine")
    assert run_command("view", directory, "--no-open").stdout == f"page: {directory / 'view-2.html'}\n"
    assert (directory / "view.html").read_text() == "mine"
    mine, new = tmp_path / "mine.html", tmp_path / "new.html"
    mine.write_text("mine")
    done = run_command("view", directory, "--no-open", "--out", mine)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "not a page that zeroloss wrote" in done.stderr
    assert mine.read_text() == "mine"
    assert run_command("view", directory, directory, "--no-open", "--out", new).returncode == 0
    assert len(data_of_page(new.read_text())["runs"]) == 2


def test_an_edited_page_is_not_replaced(directory, tmp_path):
    page = zl_view([directory], open_page=False)
    edited = page.read_text(encoding="utf-8").replace("<main>", "<main><p>my notes</p>")
    page.write_text(edited, encoding="utf-8")
    assert zl_view([directory], open_page=False) == directory / "view-2.html"
    with pytest.raises(FileExistsError, match="was edited"):
        zl_view([directory], page, open_page=False)
    assert page.read_text(encoding="utf-8") == edited
    assert zl_view([directory], open_page=False) == directory / "view-2.html"


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("nothing",), "found no directory"),
        (("RUN", "--out", "a.png"), "ends in .html"),
        (("EMPTY",), "expected a run"),
        (("RUN", "--out", "nowhere/a.html"), "there is no directory"),
    ],
)
def test_bad_input_is_one_line(directory, tmp_path, words, part):
    (tmp_path / "empty").mkdir()
    places = {"RUN": directory, "EMPTY": tmp_path / "empty", "nowhere/a.html": tmp_path / "nowhere" / "a.html"}
    done = run_command("view", *(places.get(word, word) for word in words), "--no-open")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert part in done.stderr


def test_a_run_in_memory_has_a_page(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    run = simulate()
    path = run.view(tmp_path / "a.html")
    assert opened == [path.as_uri()]
    (tmp_path / "b.html").write_text("mine")
    with pytest.raises(FileExistsError):
        run.view(tmp_path / "b.html", open_page=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run.view(open_page=False).name == "view.html"


def test_the_command_that_repeats_a_run_repeats_it(directory, tmp_path):
    run = zl.load(directory)
    repeat = data_of_page(run_page([("a", run, directory)]))["about"]["repeat"]
    (tmp_path / "config.toml").write_text(repeat["text"])
    words = (
        repeat["command"].replace("config.toml", str(tmp_path / "config.toml")).replace("NEW", str(tmp_path / "new"))
    )
    assert words.split()[:2] == ["zeroloss", "run"]
    assert run_command(*words.split()[1:]).returncode == 0
    assert zl.load(tmp_path / "new").history.equals(run.history)
    again = data_of_page(run_page([("b", zl.load(tmp_path / "new"), tmp_path / "new")]))["about"]["repeat"]
    assert str(tmp_path / "new" / "config.toml") in again["command"]


def test_the_command_leaves_out_what_python_measured_and_says_so(tmp_path):
    data = zl.datasets.modular_addition(5, test_count=3)
    net = zl.networks.uniform_fan_in(data, hidden=16, seed=1)
    measures = {"alignment": zl.geometry.AlignmentMeasure(data), "mine": lambda network: 1.0}
    options = {"measures": measures, "events": ["train_loss < 1"], "record_every": 1, "progress": False}
    run = zl.simulate(zl.GradientFlow(), data, net, duration=0.5, **options)
    repeat = about_run(run, None)["repeat"]
    assert repeat["sentence"].endswith("measured: mine.")
    (tmp_path / "config.toml").write_text(repeat["text"])
    again = zl.runs.run(zl.config.from_file(tmp_path / "config.toml"), tmp_path / "run", progress=False)
    assert again.history.time[-1] == 0.5
    assert list(again.events) == ["train_loss < 1"]
    for name in again.history.data_vars:
        np.testing.assert_array_equal(again.history[name], run.history[name], err_msg=name)
    assert set(run.history.data_vars) == {*again.history.data_vars, "mine"}


def test_the_command_of_an_extended_or_diverged_run_says_what_it_repeats(tmp_path):
    sections = {"data": {"p": 5, "test_count": 3}, "network": {"hidden": 8}, "run": {"steps": 20, "record_every": 10}}
    run = zl.runs.run(zl.config.from_settings(sections), tmp_path / "run", progress=False)
    assert "repeats the run" in about_run(run, tmp_path / "run")["repeat"]["sentence"]
    run.extend(10, progress=False)
    assert "repeats its first 20 steps" in about_run(run, tmp_path / "run")["repeat"]["sentence"]
    data = zl.datasets.modular_addition(5, test_count=3)
    net = zl.networks.uniform_fan_in(data, hidden=8, seed=1)
    diverged = zl.simulate(zl.GradientDescent(lr=1e200), data, net, steps=100, progress=False)
    assert "up to the last one of this run" in about_run(diverged, None)["repeat"]["sentence"]


@pytest.mark.skipif(sys.platform == "darwin", reason="names of files are UTF-8")
def test_a_directory_may_have_any_name(directory):
    renamed = directory.rename(os.fsdecode(os.fsencode(directory.parent) + b"/r\xff"))
    page = zl_view([renamed], open_page=False)
    assert "<title>r?: reached the end" in page.read_text(encoding="utf-8")


def test_a_missing_directory_of_the_page_is_named(directory):
    with pytest.raises(FileNotFoundError, match=r"out: there is no directory none$"):
        zl_view([directory], "none/page.html", open_page=False)
