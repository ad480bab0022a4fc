"""The functions of `zeroloss.plots` and ``Run.plot``: the data of lines, points and cells, and the texts."""

import dataclasses
import pickle
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import zeroloss as zl
from zeroloss.plots import history

DATA = zl.datasets.modular_addition(7, test_count=5, seed=2)
EVENTS = ["train_accuracy >= 0.5", "test_accuracy >= 2"]


def simulate(data=DATA, weight_decay=1e-3, steps=90, **options):
    net = zl.networks.uniform_fan_in(data, hidden=12, seed=1)
    options = {"record_every": 10, "events": EVENTS, "progress": False, **options}
    return zl.simulate(zl.GradientDescent(lr=1.0, weight_decay=weight_decay), data, net, steps=steps, **options)


@pytest.fixture(scope="module")
def runs():
    return [simulate(weight_decay=weight_decay) for weight_decay in (1e-3, 2e-3, 4e-3)]


def panels(figure):
    """Return the axes of a figure by their titles."""
    return {axes.get_title(loc="left"): axes for axes in figure.axes if axes.get_title(loc="left")}


def texts(figure):
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


def test_a_run_is_drawn_from_its_records(runs):
    shown = panels(runs[0].plot())
    assert list(shown) == ["loss", "accuracy", "norms"]
    expected = {"loss": ["train_loss", "test_loss"], "accuracy": ["train_accuracy", "test_accuracy"]}
    expected["norms"] = ["norm_E", "norm_W"]
    for title, names in expected.items():
        for line, name in zip(shown[title].lines, names, strict=False):
            np.testing.assert_array_equal(line.get_xdata(), runs[0].history.step)
            np.testing.assert_array_equal(line.get_ydata(), runs[0].history[name])
    assert [text.get_text() for text in shown["norms"].get_legend().get_texts()] == ["‖E‖", "‖W‖"]
    assert shown["loss"].get_yscale() == "log"


def test_the_norm_of_the_biases_is_drawn_where_a_network_has_them(runs):
    net = zl.networks.uniform_fan_in(DATA, hidden=12, seed=1, bias="both")
    biased = zl.simulate(zl.GradientDescent(lr=1.0), DATA, net, steps=30, record_every=10, progress=False)
    (line,) = panels(biased.plot())["norms"].lines[2:3]
    np.testing.assert_array_equal(line.get_ydata(), biased.history.norm_bias)
    legend = panels(zl.plots.plot_history([runs[0].history, biased.history]))["norms"].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["‖E‖", "‖W‖", "biases"]


def test_an_event_is_marked_at_its_time(runs):
    """Slow time is weight_decay · lr · step here, also between two records."""
    step = runs[0].events[EVENTS[0]]
    assert step % 10 > 0
    for against, place in (("step", step), ("slow_time", 1e-3 * step), ("time", step)):
        figure = runs[0].plot(against=against)
        for axes in panels(figure).values():
            assert axes.lines[-1].get_xdata() == pytest.approx([place, place])
        assert f"train accuracy ≥ 0.5: step {step}" in texts(figure)
        assert not any("≥ 2" in text for text in texts(figure))


def test_several_runs_are_over_each_other(runs):
    figure = runs[0].plot(*runs[1:], against="slow_time", scale="linear")
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["weight_decay=0.001", "weight_decay=0.002", "weight_decay=0.004"]
    shown = panels(figure)
    assert shown["norms"].get_xlabel() == "slow time s"
    for place, run in enumerate(runs):
        train, test = shown["loss"].lines[2 * place : 2 * place + 2]
        np.testing.assert_array_equal(train.get_xdata(), run.history.slow_time)
        np.testing.assert_array_equal(test.get_ydata(), run.history.test_loss)
        assert train.get_color() == test.get_color() == legend.legend_handles[place].get_color()
        assert train.get_linestyle() != test.get_linestyle()
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    expected = [float(run.settings["dynamics"]["weight_decay"]) * run.events[EVENTS[0]] for run in runs]
    assert [line.get_xdata()[0] for line in dots] == pytest.approx(expected)
    assert len({to_rgb(line.get_color()) for line in dots}) == 3


def test_an_event_that_some_runs_lack_is_counted(runs):
    late = dataclasses.replace(runs[1], events={EVENTS[0]: None})
    assert "train accuracy ≥ 0.5 in 2 of 3 runs" in texts(runs[0].plot(late, runs[2]))


def test_runs_have_names_that_distinguish_them(runs):
    histories = [run.history for run in runs]
    assert history.name_runs(histories[:1] * 2) == ["run 0", "run 1"]
    other = simulate(zl.datasets.modular_addition(7, test_count=5, seed=3))
    assert history.name_runs([runs[0].history, other.history]) == ["data seed=2", "data seed=3"]
    assert history.name_runs([runs[0].history, histories[0].assign_attrs(settings="{}")]) == ["run 0", "run 1"]
    assert "weight_decay=0.001, data seed=2" in history.name_runs([*histories, other.history])


def test_more_runs_than_colours_have_shades(runs):
    figure = runs[0].plot(*[runs[1]] * 8)
    assert len({to_rgb(handle.get_color()) for handle in figure.legends[0].legend_handles}) == 9


def test_measures_have_panels_of_their_own():
    run = simulate(measures={"largest_weight": lambda net: float(abs(net.E).max())})
    shown = panels(run.plot(also=["largest_weight"]))
    assert list(shown) == ["loss", "accuracy", "norms", "largest weight"]
    np.testing.assert_array_equal(shown["largest weight"].lines[0].get_ydata(), run.history.largest_weight)


def test_the_alignment_has_a_panel():
    net = zl.networks.normal(DATA, hidden=60, std=0.4, seed=1)
    measures = {"alignment": zl.geometry.AlignmentMeasure(DATA)}
    descent = zl.GradientDescent(lr=0.1, weight_decay=1e-3)
    run = zl.simulate(descent, DATA, net, steps=20, record_every=10, measures=measures, progress=False)
    (line, _) = panels(run.plot())["cosine of updates"].lines
    np.testing.assert_array_equal(line.get_ydata(), run.history.alignment_cosine)


def test_a_run_that_failed_before_its_first_record_is_drawn():
    run = simulate(measures={"alignment": zl.geometry.AlignmentMeasure(DATA)})  # J is singular at step 0.
    assert not run.history.data_vars
    figure = run.plot()
    assert list(panels(figure)) == ["loss", "accuracy", "norms"]
    assert "no records" in texts(figure)


def test_accuracies_that_are_not_defined_have_no_panel():
    data = zl.datasets.from_arrays(np.eye(3), np.full((3, 2), 0.5))
    assert list(panels(simulate(data, events=[]).plot())) == ["loss", "norms"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"against": "epoch"}, "against: expected one of step, time, slow_time, got 'epoch'"),
        ({"scale": "cubic"}, "scale: expected one of log, linear, got 'cubic'"),
        ({"names": ["a"]}, "names: expected one for each of 2 runs, got 1"),
        ({"also": ["nothing"]}, "also: expected names among train_loss, .*, got 'nothing'"),
        ({"also": "norm_E"}, r"also: expected a list of names, got 'norm_E'"),
    ],
)
def test_wrong_options_are_rejected(runs, options, message):
    with pytest.raises(ValueError, match=message):
        runs[0].plot(runs[1], **options)


def test_a_history_without_slow_time_says_so():
    net = zl.networks.normal(DATA, hidden=40, std=0.4, seed=1)
    run = zl.simulate(zl.PredictedGradient(step_size=1e-3), DATA, net, steps=2, progress=False)
    with pytest.raises(ValueError, match="against: expected one of step, time, which the history has, got slow_time"):
        run.plot(against="slow_time")
    with pytest.raises(TypeError, match="others: expected a Run, got Dataset"):
        run.plot(run.history)


def test_a_figure_needs_no_display_and_is_written_in_three_forms(runs, tmp_path):
    figure = runs[0].plot()
    assert isinstance(figure, Figure)
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert panels(pickle.loads(pickle.dumps(figure))).keys() == panels(figure).keys()
    for form, start in (("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")):
        figure.savefig(tmp_path / f"a.{form}")
        assert (tmp_path / f"a.{form}").read_bytes().startswith(start)
    ElementTree.parse(tmp_path / "a.svg")


def test_pyplot_is_not_imported_and_the_style_of_the_user_stays():
    code = """
import sys, zeroloss as zl, matplotlib
before = matplotlib.rcParams.copy()
data = zl.datasets.modular_addition(5, test_count=3)
run = zl.simulate(zl.GradientDescent(lr=1.0), data, zl.networks.uniform_fan_in(data, 8, seed=1), steps=9)
run.plot()
zl.plots.plot_circles(run.network.E, data)
zl.plots.plot_phases(run.network, data)
zl.plots.plot_predictions(run.network, data)
print("matplotlib.pyplot" in sys.modules, matplotlib.rcParams.copy() == before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_hostile_names_and_values_are_drawn_as_they_are(runs, tmp_path):
    """Names contain dollar signs, tags and control characters; values are infinite, NaN, or absent."""
    hostile = "$\\frac{<script>alert(1)</script>\x1b[2J\n\udcc3"  # The last one is a byte that is no UTF-8.
    run = dataclasses.replace(runs[0], events={hostile: 15, "x" * 5000: 40})
    broken = runs[1].history.copy(deep=True)
    broken.train_loss[3:] = np.inf
    broken.test_loss[:] = np.nan
    broken.norm_E[5:] = 1e300
    empty = dataclasses.replace(runs[2], history=runs[2].history.isel(step=slice(0)))
    other = dataclasses.replace(runs[1], history=broken)
    for figure in (run.plot(), run.plot(other, empty, names=[hostile, "a", "b"]), empty.plot(), other.plot()):
        FigureCanvasAgg(figure).draw()
        figure.savefig(tmp_path / "a.svg")
        assert b"<script" not in (tmp_path / "a.svg").read_bytes()
        assert max(map(len, texts(figure))) < 100
    assert any(text.startswith("$\\frac{<script>") for text in texts(run.plot()))


def test_long_runs_are_drawn(runs):
    """A noisy curve of 10⁵ points is drawn, although Agg limits the cells of one path."""
    noise = np.random.default_rng(0).random(100_000)
    columns = {name: ("step", noise) for name in ("train_loss", "test_loss", "norm_E", "norm_W")}
    figure = zl.plots.plot_history(xr.Dataset(columns, {"step": np.arange(100_000)}))
    FigureCanvasAgg(figure).draw()
    assert len(panels(figure)["loss"].lines[0].get_xdata()) == 100_000


def test_circles_show_the_elements_of_the_group():
    """Products have the group of the numbers 1 … p − 1 in the order of the powers of 3."""
    for data, names in ((DATA, range(7)), (zl.datasets.modular_multiplication(7, test_count=5), [1, 3, 2, 6, 4, 5])):
        E = zl.networks.uniform_fan_in(data, hidden=12, seed=1).E
        figure = zl.plots.plot_circles(E, data, [1, 3])
        assert [axes.get_title() for axes in figure.axes] == ["k = 1", "k = 3"]
        for axes, k in zip(figure.axes, (1, 3), strict=True):
            points = zl.fourier.circle(E, k, data)
            np.testing.assert_array_equal(np.transpose(axes.lines[1].get_data()), points)
            assert [text.get_text() for text in axes.texts] == [str(name) for name in names]
            np.testing.assert_array_equal([text.xy for text in axes.texts], points)


def test_the_strongest_frequencies_are_shown_by_default():
    angle = 2 * np.pi * np.outer(np.arange(13), np.arange(1, 7)) / 13
    E = np.hstack([np.cos(angle), np.sin(angle)]) * np.tile([1, 5, 0.5, 4, 3, 2], 2)
    assert [axes.get_title() for axes in zl.plots.plot_circles(E).axes] == ["k = 2", "k = 4", "k = 5", "k = 6"]


def test_circles_are_drawn_into_given_axes():
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert zl.plots.plot_circles(np.eye(7), frequencies=[1, 2], axes=[left, right]) is figure
    assert (left.get_title(), right.get_title()) == ("k = 1", "k = 2")
    part = figure.subfigures(1, 2)[0]
    assert zl.plots.plot_circles(np.eye(7), frequencies=3, axes=part.subplots()) is figure
    with pytest.raises(ValueError, match="axes: expected 3, got 2"):
        zl.plots.plot_circles(np.eye(7), frequencies=[1, 2, 3], axes=[left, right])


def test_phases_show_the_strong_units():
    net = zl.networks.uniform_fan_in(DATA, hidden=12, seed=1)
    E = net.E * np.array([1.0] * 10 + [1e-3] * 2)
    net = zl.networks.from_arrays(E, net.W)
    phases = zl.fourier.unit_phases(net, DATA)
    axes, bar = zl.plots.plot_phases(net, DATA).axes
    (points,) = axes.collections
    expected = np.column_stack([phases.combined, phases.output])[:10]
    np.testing.assert_allclose(points.get_offsets(), expected)
    np.testing.assert_array_equal(points.get_array(), phases.frequency[:10])
    assert axes.get_xlabel() == "sum of the operands' input phases"
    assert bar.get_ylabel() == "strongest frequency"
    difference = zl.datasets.modular_subtraction(5, test_count=3)
    other = zl.networks.uniform_fan_in(difference, hidden=4, seed=1)
    assert zl.plots.plot_phases(other, difference).axes[0].get_xlabel() == "difference of the operands' input phases"


def test_data_without_a_group_have_no_circles_or_phases():
    data = zl.datasets.permutation_composition(3, test_count=3)
    net = zl.networks.uniform_fan_in(data, hidden=4, seed=1)
    with pytest.raises(ValueError, match=r"data: expected a task with a cyclic group .*, got permutation_composition"):
        zl.plots.plot_circles(net.E, data)
    with pytest.raises(ValueError, match="data: expected a task with a cyclic group"):
        zl.plots.plot_phases(net, data)
