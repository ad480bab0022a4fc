"""The picture of ``zeroloss report``: the units, the axis of steps, and the labels."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

import zeroloss as zl
from zeroloss import runs
from zeroloss.runs import picture

EXAMPLES = Path(__file__).parent.parent / "examples"


def simulate(data, steps=40, activation="relu", **options):
    net = zl.networks.uniform_fan_in(data, hidden=24, seed=1, activation=activation)
    options = {"record_every": 10, "snapshot_every": 20, **options}
    return zl.simulate(zl.GradientDescent(lr=1.0, weight_decay=1e-3), data, net, steps=steps, progress=False, **options)


def draw(run):
    """Return the figure after its layout, and all visible texts with their extents in pixels."""
    figure = picture.draw(run, "name")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    texts = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    return figure, {text.get_text(): text.get_window_extent(canvas.get_renderer()) for text in texts}


def test_labels_of_events_stay_in_the_figure():
    """Events are early and late, several are at one step, and one is very long."""
    run = simulate(zl.datasets.modular_addition(5, test_count=3), steps=2000)
    long = "test_accuracy >= 0.123456789 for 3 records, after something that takes many words to say"
    run.events = {"train_loss <= 1": 0, "a >= 1": 1, "b >= 1": 2000, "c >= 1": 2000, long: 1999, "d >= 1": 60}
    figure, texts = draw(run)
    labels = [text for text in texts if ": step" in text]
    assert len(labels) == len(run.events)
    for text in labels:
        assert figure.bbox.x0 <= texts[text].x0 < texts[text].x1 <= figure.bbox.x1, text
        assert figure.bbox.y0 <= texts[text].y0 < texts[text].y1 <= figure.bbox.y1, text
        others = [extent for other, extent in texts.items() if other != text and other in labels]
        assert not any(texts[text].overlaps(other) for other in others), text


def test_dollars_in_names_are_not_mathematics(tmp_path):
    run = simulate(zl.datasets.modular_addition(5, test_count=3), steps=20)
    run.events = {"$\\frac{": 5}
    run.save(tmp_path / "a$x_{$b")
    assert runs.report(tmp_path / "a$x_{$b")[-1].endswith("report.png")
    _, texts = draw(run)
    assert "$\\frac{: step 5" in texts
    heading = picture.draw(run, "a$b " * 40 + "\udcff").get_suptitle()
    assert heading.replace("\n", " ") == "a$b " * 40 + "\\udcff: reached the end: 20 steps"
    assert max(map(len, heading.split("\n"))) <= 90


def test_step_0_is_on_the_logarithmic_axis():
    """The axis is linear up to the first record after step 0, with a label that says so and no crowded ticks."""
    figure, texts = draw(simulate(zl.datasets.modular_addition(5, test_count=3), steps=2000, record_every=30))
    axes = figure.axes[1]
    assert axes.get_xscale() == "symlog"
    assert "step (logarithmic from 30 on)" in texts
    assert axes.get_xticks().tolist() == [0, 100, 1000]
    assert axes.lines[0].get_xdata()[0] == 0


def test_runs_without_further_steps_are_drawn():
    for steps in (0, 1):
        figure, _ = draw(simulate(zl.datasets.modular_addition(5, test_count=3), steps=steps))
        assert len(figure.axes) > 3
        loss = figure.axes[1]
        assert all((line.get_marker() == "o") == (steps == 0) for line in loss.get_lines()[:2])
        assert loss.get_xticks().tolist() == ([0] if steps == 0 else [0, 1])


def test_frequencies_have_whole_numbers():
    """With two frequencies, an axis of numbers would have ticks at halves."""
    figure, _ = draw(simulate(zl.datasets.modular_addition(5, test_count=3)))
    axes = next(axes for axes in figure.axes if axes.get_ylabel() == "frequency")
    assert {1, 2} <= set(axes.get_yticks())
    assert all(tick == round(tick) for tick in axes.get_yticks())


def titles(run):
    return [axes.get_title(loc="left") for axes in picture.draw(run, "name").axes if axes.get_title(loc="left")]


@pytest.mark.parametrize(
    ("data", "operands"),
    [
        (zl.datasets.modular_addition(5, test_count=3), [""]),
        (zl.datasets.modular_division(5, test_count=3), ["operand 1", "operand 2"]),
        (zl.datasets.sparse_parity(6, 2, train_count=8, test_count=2), []),
        (zl.datasets.permutation_composition(3, test_count=3), []),
    ],
    ids=lambda value: value.settings["task"] if hasattr(value, "settings") else "",
)
def test_shares_of_units_are_given_by_operand(data, operands, tmp_path):
    """They are in the report and in the picture, except for data without a cyclic group."""
    run = simulate(data)
    run.save(tmp_path / "a")
    found = picture.strongest_shares(run)
    assert list(found) == operands
    for place, (first, last) in enumerate(found.values()):
        operand = place if len(operands) > 1 else None
        start = run.snapshots.E[0].values
        assert first == zl.fourier.summary(start, data, operand).strongest_share
        assert last == zl.fourier.summary(run.network.E, data, operand).strongest_share
    lines = [line for line in runs.report(tmp_path / "a") if line.startswith("strongest share")]
    assert len(lines) == len(operands)
    shown = " ".join(titles(run))
    assert ("share of a unit's power" in shown) == ("share of each frequency" in shown) == bool(operands)
    assert "share of a unit's power" not in " ".join(titles(simulate(data, snapshot_every=None)))


def test_units_of_the_example_of_circles_specialise(tmp_path):
    """The example is examples/predicted_gradient.toml. The picture shows the mean share."""
    settings = zl.config.from_file(EXAMPLES / "predicted_gradient.toml", run={"record_every": 1000})
    run = zl.runs.run(settings, tmp_path / "a", progress=False)
    ((first, last),) = picture.strongest_shares(run).values()
    assert first == pytest.approx(0.28, abs=0.02)
    assert last == pytest.approx(0.78, abs=0.03)
    (line,) = [one for axes in picture.draw(run, "a").axes for one in axes.lines if "mean" in str(one.get_label())]
    assert line.get_ydata()[[0, -1]] == pytest.approx([first, last])
    assert (np.diff(line.get_ydata()) > 0).mean() > 0.9
