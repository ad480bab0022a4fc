"""Progress bars and short texts of results, on terminals and in notebooks."""

import dataclasses
import re
import sys
import types
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from tqdm import tqdm

import zeroloss as zl
from zeroloss import _progress
from zeroloss.results import RunDirectory
from zeroloss.studies.paper import figure4
from zeroloss.survival import law as survival_law

ROOT = Path(__file__).parents[1]


@pytest.fixture
def notebook(monkeypatch):
    """Stand for a Jupyter kernel, as IPython shows it."""
    shell = types.SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))


@pytest.fixture
def widgets(monkeypatch):
    """Replace the widgets of ipywidgets; return the list of widgets that are made."""
    made = []

    class Widget(tqdm):
        def __init__(self, *args, **options):
            super().__init__(*args, gui=True, **options)
            made.append(self)

        def display(self, *args):
            self.state = (self.n, self.desc, str(self.postfix))

    monkeypatch.setattr(_progress, "_widget", lambda: Widget)
    return made


@pytest.mark.usefixtures("notebook")
def test_a_notebook_shows_a_widget_after_a_second(widgets, capsys):
    for _ in range(3):
        with _progress.progress_bar(None, total=10) as bar:
            bar.update(10)
    assert widgets == []
    with _progress.progress_bar(None, total=10, desc="seed 0") as bar:
        bar.start_t -= 2
        bar.last_print_t -= 2
        bar.update(4)
        bar.set_postfix_str("loss 1", refresh=False)
        bar.update(5)
    (widget,) = widgets
    assert widget.state == (9, "seed 0", "loss 1")
    assert widget.start_t == bar.start_t
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("notebook")
def test_progress_true_shows_a_widget_at_once(widgets):
    data = zl.datasets.modular_addition(5, train_fraction=0.7, seed=0)
    net = zl.networks.normal(data, hidden=8, std=1.0, seed=0)
    zl.simulate(zl.GradientDescent(lr=0.1), data, net, steps=5, progress=False)
    assert widgets == []
    zl.simulate(zl.GradientDescent(lr=0.1), data, net, steps=5, progress=True)
    assert [widget.state[0] for widget in widgets] == [5]


@pytest.mark.usefixtures("notebook")
def test_a_notebook_without_ipywidgets_has_a_text_bar(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    for name in ("tqdm.auto", "tqdm.autonotebook", "tqdm.notebook"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert not _progress.progress_bar(None, total=10).disable
    with _progress.progress_bar(True, total=10) as bar:
        bar.update(10)
    assert "10.0/10.0" in capsys.readouterr().err


def test_there_is_no_bar_without_a_terminal_or_a_notebook(capsys):
    assert _progress.progress_bar(None, total=10).disable
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("wanted", [None, True])
def test_there_is_no_bar_without_standard_error(wanted, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with _progress.progress_bar(wanted, total=10) as bar:
        bar.update(10)
    assert bar.disable


def test_every_bar_is_made_in_one_place():
    """Bars that tqdm makes directly are not shown in a notebook."""
    assert [path for path in (ROOT / "python").rglob("*.py") if "tqdm(" in path.read_text(encoding="utf-8")] == []


HOSTILE = "<script>alert('1')</script>\x1b[2J\u202e\n" + "x" * 10_000


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Return one result of every kind, by name."""
    folder = tmp_path_factory.mktemp("results")
    data = zl.datasets.modular_addition(11, test_count=7, seed=4)
    net = zl.networks.uniform_fan_in(data, hidden=128, seed=104, activation="softplus(5)")
    descent = zl.GradientDescent(lr=1.0, weight_decay=1e-4)
    run = zl.simulate(descent, data, net, steps=300, snapshot_every=100, events=["train_accuracy >= 0.9"])
    run.save(folder / "run")
    point = zl.geometry.project(run.network, data)
    settings = {"run": {"steps": 5}, "sweep": {"network.seed": list(range(4))}}
    return {
        "dataset": data,
        "network": net,
        "run": run,
        "loaded run": zl.load(folder / "run"),
        "run of no step": zl.simulate(descent, data, net, steps=0),
        "ensemble": zl.simulate_many([(descent, data, net), (zl.AdamW(lr=1e-3), data, net)], steps=5),
        "projection": point,
        "norm direction": zl.geometry.norm_direction(point.network, data),
        "alignment": zl.geometry.alignment(run.network, net, data),
        "sharpness measure": zl.curvature.SharpnessMeasure(data),
        "eigenpairs": zl.curvature.eigenpairs(net, data),
        "smallest curvature": zl.curvature.smallest(net, data, 1e-3),
        "alignment measure": zl.geometry.AlignmentMeasure(data),
        "Fourier summary": zl.fourier.summary(net.E),
        "configuration": zl.config.from_settings({"run": {"steps": 5}}),
        "checkpoint": RunDirectory(folder / "run").newest()[0],
        "sweep": zl.sweeps.sweep(settings, folder / "sweep", processes=False, workers=1, progress=False),
        "sweep's store": zl.sweeps.Store.open(folder / "sweep"),
        "gradient": zl.GradientDescent(lr=zl.learning_rate.Cosine(1.0, 10)),
        "outcome": run.outcome,
        "stationary point": zl.stationary_point(net, data, 1e-2),
        "experiment": figure4.STUDY.run(figure4.STUDY.quick),
    }


def test_a_repr_is_short_and_has_no_arrays(results):
    for name, result in results.items():
        text = repr(result)
        assert text.count("\n") < 10, name
        assert max(map(len, text.splitlines())) <= (2_000 if name == "configuration" else 400), name
        assert "array(" not in text, name
        assert "xarray" not in text, name
        assert " object at 0x" not in text, name


def test_the_repr_of_a_run_shows_outcome_and_last_record(results):
    first, *rows = repr(results["run"]).splitlines()
    assert first == "Run, reached the end: 300 steps"
    shown = dict(re.split(r"  +", row.strip(), maxsplit=1) for row in rows)
    assert shown["dynamics"].startswith("gradient_descent(lr=1.0, weight_decay=0.0001, ")
    assert shown["data"] == "modular_addition: 59 training and 7 test samples, 11 inputs, 11 outputs"
    assert shown["network"].startswith("11 → 128 → 11; init='uniform_fan_in', hidden=128, seed=104")
    assert shown["records"].startswith("4, steps 0 to 300: train_loss, ")
    assert shown["last record"].startswith(f"train_loss {float(results['run'].history.train_loss[-1]):.4g}, ")
    assert shown["snapshots"] == "4 of E and W"
    assert shown["events"] == f"train_accuracy >= 0.9 at step {results['run'].events['train_accuracy >= 0.9']}"
    assert repr(results["loaded run"]) == repr(results["run"])
    assert "1 reached" not in repr(results["ensemble"])
    assert "dynamics  2 different ones" in repr(results["ensemble"])


@pytest.mark.parametrize(
    "name",
    ["dataset", "network", "run", "run of no step", "ensemble", "Fourier summary", "stationary point", "sweep"],
)
def test_notebooks_get_a_table(results, name):
    html = results[name]._repr_html_()
    table = ElementTree.fromstring(html)  # Parsing fails if a tag is not closed.
    assert table.tag == "table"
    assert {element.tag for element in table.iter()} == {"table", "caption", "tr", "th", "td"}
    assert {key for element in table.iter() for key in element.attrib} <= {"style"}
    assert len(html) < 3_000


def test_a_law_of_delays_shows_its_coefficients():
    """The names of covariates come from the user."""
    law = zl.survival.DelayLaw(
        distribution="weibull",
        powers={HOSTILE: zl.survival.Estimate(-1.25, -1.5, -1.0)},
        rates={},
        intercept=zl.survival.Estimate(3.0, 2.0, 4.0),
        scale=0.5,
        confidence=0.95,
        runs=9,
        censored=2,
        log_likelihood=-10.0,
        aic=26.0,
        _names=(HOSTILE, survival_law._INTERCEPT),
        _covariance=np.eye(2),
    )
    table = ElementTree.fromstring(law._repr_html_())
    cells = ["".join(cell.itertext()) for cell in table.iter("td")]
    assert cells[:2] == ["-1.25, 95 % interval -1.5 to -1", "3, 95 % interval 2 to 4"]
    assert cells[3] == "9, 2 of them censored"
    assert "<script" not in law._repr_html_()


def test_hostile_names_are_escaped_and_shortened():
    data = zl.datasets.modular_addition(5, train_fraction=0.7, seed=0)
    net = zl.networks.normal(data, hidden=8, std=1.0, seed=0)
    many = {f"{HOSTILE}{n}": HOSTILE for n in range(100)}
    hostile_net = dataclasses.replace(net, settings=many)
    hostile_data = dataclasses.replace(data, settings={"task": HOSTILE, **many})
    run = zl.simulate(zl.GradientDescent(lr=0.1), hostile_data, hostile_net, steps=5)
    run.history = run.history.rename(train_loss=HOSTILE)
    run.events = dict.fromkeys(many, 1)
    summary = zl.simulate_many([(zl.GradientDescent(lr=0.1), hostile_data, hostile_net)] * 2, steps=5)
    for result in (hostile_data, hostile_net, run, summary):
        html, text = result._repr_html_(), repr(result)
        assert "<script" not in html
        assert max(len(html), len(text)) < 20_000
        assert text.replace("\n", "").isprintable()
        assert html.isprintable()
        assert len(text.splitlines()) <= 10
        ElementTree.fromstring(html)
