"""How results show themselves: progress bars and short texts, on terminals and in notebooks."""

import sys
import types
from pathlib import Path

import pytest
from tqdm import tqdm

import zeroloss as zl
from zeroloss import _progress

ROOT = Path(__file__).parents[1]


@pytest.fixture
def notebook(monkeypatch):
    """A Jupyter kernel, as IPython shows it."""
    shell = types.SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))


@pytest.fixture
def widgets(monkeypatch):
    """The widgets that are made, in the place of those of ipywidgets."""
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
def test_a_notebook_has_a_widget_once_a_second_has_passed(widgets, capsys):
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
def test_a_widget_that_is_asked_for_is_there_at_once_or_never(widgets):
    data = zl.datasets.modular_addition(5, train_fraction=0.7, seed=0)
    net = zl.networks.normal(data, hidden=8, std=1.0, seed=0)
    zl.simulate(zl.GradientDescent(lr=0.1), data, net, steps=5, progress=False)
    assert widgets == []
    zl.simulate(zl.GradientDescent(lr=0.1), data, net, steps=5, progress=True)
    assert [widget.state[0] for widget in widgets] == [5]


@pytest.mark.usefixtures("notebook")
def test_a_notebook_without_ipywidgets_has_a_bar_of_text_and_no_warning(monkeypatch, capsys):
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


def test_every_bar_is_made_in_one_place():
    """A bar of tqdm's own is not shown in a notebook."""
    assert [path for path in (ROOT / "python").rglob("*.py") if "tqdm(" in path.read_text(encoding="utf-8")] == []
