"""The page of a run in a browser: it shows the run's numbers, follows the cursor, and executes nothing of a run."""

import dataclasses

import numpy as np
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

import zeroloss as zl
from browser import PHONE, WIDE

pytestmark = [pytest.mark.browser, pytest.mark.slow]

HOSTILE = '<img src=x onerror="window.broken=1"></script><script>window.broken=1</script>\'"&$$x$$ @{y} $name'

#: JavaScript that returns the texts of the boxes next to the pointer, which are in shadow trees.
TOOLTIPS = """
const inside = (root) => Array.from(root.querySelectorAll("*")).flatMap((one) => [
  ...(one.classList.contains("bk-tooltip-content") || one.className === "bk-Tooltip" ? [one.textContent] : []),
  ...(one.shadowRoot ? inside(one.shadowRoot) : [])]);
return inside(document).join();
"""
#: JavaScript that adds another script to the page.
OTHER_SCRIPT = """
const other = document.createElement("script");
other.textContent = "window.broken = 1";
document.body.append(other);
return window.broken;
"""


def simulate(data, hidden=24, steps=400, **options):
    net = zl.networks.uniform_fan_in(data, hidden=hidden, seed=1)
    options = {"record_every": 10, "snapshot_every": 100, "events": ["train_accuracy >= 1"], **options}
    return zl.simulate(zl.GradientDescent(lr=1.0, weight_decay=1e-3), data, net, steps=steps, progress=False, **options)


@pytest.fixture(scope="module")
def addition():
    data = zl.datasets.modular_addition(7, train_fraction=0.7, seed=0)
    measures = {
        "alignment": zl.geometry.AlignmentMeasure(data),
        "sharpness": zl.curvature.SharpnessMeasure(data),
    }
    return simulate(data, measures=measures)


@pytest.fixture(scope="module")
def page(addition, tmp_path_factory):
    return addition.view(tmp_path_factory.mktemp("page") / "run.html", open_page=False)


def open_run(browser, run, path, **options):
    browser.open(run.view(path / "run.html", open_page=False), **options)
    assert not browser.find("failure").is_displayed()


def values_of(browser, chart):
    """Return the values at the cursor that the table of a chart shows."""
    rows = browser.driver.find_elements("css selector", f"table[aria-label^='{chart}:'] tbody tr")
    return {row.find_element("tag name", "th").text: row.find_elements("tag name", "td")[2].text for row in rows}


def number(text):
    return float(text.replace("−", "-").replace("undefined", "nan"))


def test_the_page_needs_no_network_and_reports_no_errors(browser, page):
    browser.open(page)
    assert browser.run("return performance.getEntriesByType('resource').length") == 0
    assert browser.errors() == []
    with pytest.raises(Exception, match="fetch"):
        browser.run("return fetch('https://example.org/')")


def test_the_values_at_the_cursor_are_the_records(browser, page, addition):
    browser.open(page)
    history = addition.history
    for place in (0, 1, 17, 40):
        browser.choose("cursor", place)
        record = history.isel(step=place)
        assert browser.text("step") == str(int(record.step))
        shown = values_of(browser, "Loss") | {f"a {k}": v for k, v in values_of(browser, "Accuracy").items()}
        shown |= values_of(browser, "Norms of the layers") | values_of(browser, "sharpness")
        expected = {"train": "train_loss", "test": "test_loss", "a train": "train_accuracy", "a test": "test_accuracy"}
        expected |= {"‖E‖": "norm_E", "‖W‖": "norm_W", "sharpness": "sharpness"}
        for label, name in expected.items():
            assert number(shown[label]) == pytest.approx(float(record[name]), rel=1e-5), label
        assert number(shown["2/lr"]) == 2


def test_the_map_of_power_has_the_shares_of_the_package(browser, page, addition):
    browser.open(page)
    for place, snapshot in enumerate(addition.snapshots.step.values):
        browser.choose("cursor", int(snapshot) // 10)
        shares = zl.fourier.unit_shares(addition.snapshots.E[place].values, addition.data)
        order = np.lexsort((-shares.max(axis=0), shares.argmax(axis=0)))
        image = np.reshape(browser.data("power")["image"][0], shares.shape)
        # Amplitudes are rounded to 1/4094 of the largest weight, so a share is off by less than 6 h/4094.
        assert np.abs(np.sort(image, axis=1) - np.sort(shares, axis=1)).max() < 0.01
        assert np.abs(image - shares[:, order]).max(axis=0).mean() < 0.02


def test_the_circle_is_the_projection_on_the_features(browser, page, addition):
    browser.open(page)
    E = addition.snapshots.E[-1].values
    F = zl.fourier.features(E, addition.data)
    for k in (1, 2, 3):
        browser.choose("frequency", k - 1)
        circle = browser.data("circle")
        for axis, part in (("x", F[k - 1].real), ("y", F[k - 1].imag)):
            expected = E @ part / np.linalg.norm(part)
            np.testing.assert_allclose(circle[axis], expected, atol=2e-3 * np.abs(expected).max())
        assert circle["label"] == [str(number) for number in range(7)]


def test_the_phases_and_the_cosine_are_those_of_the_features(browser, page, addition):
    browser.open(page)
    E, W = addition.snapshots.E[-1].values, addition.snapshots.W[-1].values
    F, G = zl.fourier.features(E, addition.data), zl.fourier.features(W.T)
    best = np.abs(F).argmax(axis=0)
    found = 0
    for name in ("phases", "other phases"):
        data = browser.data(name)
        units, ks = np.array(data["unit"], int), np.array(data["frequency"], int) - 1
        for x, y, unit, k in zip(data["x"], data["y"], units, ks, strict=True):
            assert k == best[unit]
            assert abs(np.exp(1j * (x + np.angle(F[k, unit]))) - 1) < 0.02
            assert abs(np.abs(G[k, unit]) * (np.exp(1j * (y + np.angle(G[k, unit]))) - 1)) < 0.001
            found += 1
    assert found > 10
    browser.choose("unit-number", 5)
    column, cosine = browser.data("column E"), browser.data("cosine E")
    np.testing.assert_allclose(column["y"], E[:, 5], atol=np.abs(E[:, 5]).max() / 4000)
    x, k = np.array(cosine["x"]), best[5]
    expected = E[:, 5].mean() + 2 * (F[k, 5] * np.exp(2j * np.pi * (k + 1) * x / 7)).real
    np.testing.assert_allclose(cosine["y"], expected, atol=1e-3)
    assert "Unit 5, 6 of 24" in browser.text("unit-summary")


def test_the_table_counts_the_recorded_accuracy(browser, page, addition):
    browser.open(page)
    data = addition.data
    kinds = ("rightTrain", "wrongTrain", "rightTest", "wrongTest")
    for step in (0, 100, 400):
        browser.choose("cursor", step // 10)
        browser.data("table")
        count = {kind: int(browser.text(f"count-{kind}")) for kind in kinds}
        record = addition.history.sel(step=step)
        assert count["rightTrain"] == round(float(record.train_accuracy) * data.train_count)
        assert count["rightTest"] == round(float(record.test_accuracy) * data.test_count)
        assert sum(count.values()) == data.train_count + data.test_count
    cells = browser.data("table")
    assert np.isfinite(np.array(cells["kind"][0], float)).sum() == 49
    F = addition.network.outputs(np.eye(7)[[2]] + np.eye(7)[[6]])[0]
    place = 6 * 7 + 2  # row b, column a
    assert (cells["a"][0][place], cells["b"][0][place], cells["target"][0][place]) == (2, 6, 1)
    assert cells["predicted"][0][place] == F.argmax()
    assert cells["margin"][0][place] == pytest.approx(F[1] - np.delete(F, 1).max(), rel=1e-4)


def test_axes_switch_between_step_and_slow_time_and_between_scales(browser, page, addition):
    browser.open(page)
    history = addition.history
    browser.choose("xscale", "linear")
    browser.choose("yscale", "linear")
    for name in ("step", "slow_time"):
        browser.choose("time", name)
        curve = browser.data("loss 0")
        np.testing.assert_allclose(curve["x"], history[name].values, rtol=1e-12)
        np.testing.assert_allclose(curve["y"], history.train_loss.values, rtol=1e-6)
    browser.choose("time", "step")
    browser.choose("xscale", "log")
    browser.choose("yscale", "log")
    curve = browser.data("loss 0")
    np.testing.assert_allclose(curve["x"][1:], np.log10(history.step.values[1:]), rtol=1e-12)
    assert curve["x"][0] < curve["x"][1]
    np.testing.assert_allclose(curve["y"], np.log10(history.train_loss.values), atol=1e-6)


def test_the_keyboard_moves_the_cursor_and_events_are_buttons(browser, page, addition):
    browser.open(page)
    cursor = browser.find("cursor")
    cursor.send_keys(Keys.HOME)
    cursor.send_keys(Keys.ARROW_RIGHT)
    assert browser.text("step") == "10"
    assert cursor.get_attribute("aria-valuetext") == "step 10"
    step = addition.events["train_accuracy >= 1"]
    button = browser.find("events").find_element("tag name", "button")
    assert button.text == f"train_accuracy >= 1: step {step}"
    button.send_keys(Keys.ENTER)
    assert browser.text("step") == str(step // 10 * 10)
    cursor.send_keys(Keys.HOME)
    browser.find("next").send_keys(Keys.ENTER)
    assert browser.text("step") == "100"
    browser.find("play").send_keys(Keys.ENTER)
    browser.wait(lambda: browser.text("step") == "400" and browser.text("play") == "Play")


def test_figures_out_of_sight_are_drawn_when_the_reader_rests(browser, page):
    """A step of the slider draws the figures in sight only. Texts and other figures follow once the slider rests."""
    browser.open(page)
    code = """const figures = Bokeh.documents[0].roots().flatMap((figure) => figure.renderers);
    const named = (source) => figures.find(({ data_source }) => data_source.name === source).data_source;
    const sources = ["loss cursor", "circle"].map(named);
    const before = sources.map((one) => one.data);
    const cursor = document.getElementById("cursor");
    cursor.value = 0;
    cursor.dispatchEvent(new Event("input"));
    window.changed = () => sources.map((one, i) => one.data !== before[i]);
    return window.changed();"""
    assert browser.run(code) == [True, False]
    browser.wait(lambda: browser.run("return window.changed()") == [True, True])
    assert browser.run("return window.scrollY") == 0


def test_every_control_has_a_name(browser, page):
    browser.open(page)
    code = """return Array.from(document.querySelectorAll("input, select, button")).filter((one) =>
      !one.labels?.length && !one.getAttribute("aria-label") && !one.textContent.trim()).map((one) => one.outerHTML)"""
    assert browser.run(code) == []


def test_the_pointer_shows_values_and_moves_the_cursor(browser, page):
    browser.open(page)
    browser.choose("xscale", "linear")
    figure = browser.find("figure-accuracy")
    browser.run("arguments[0].scrollIntoView({block: 'center'})", figure)
    pointer = ActionChains(browser.driver, duration=0)  # By default each movement takes a quarter of a second.
    pointer.move_to_element_with_offset(figure, 0, 0).click().perform()
    assert 100 < int(browser.text("step")) < 300
    texts = []
    for height in range(-90, 90, 3):
        pointer.move_to_element_with_offset(figure, 0, height).perform()
        texts.append(browser.run(TOOLTIPS))
    assert any("train" in text and "step" in text for text in texts)


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_fits_and_has_the_theme_of_the_reader(browser, page, size, dark):
    browser.open(page, size=size, dark=dark)
    assert browser.run("return document.documentElement.scrollWidth") <= size[0]
    colour = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert colour == ("rgb(18, 22, 27)" if dark else "rgb(255, 255, 255)")
    browser.find("theme").send_keys(Keys.ENTER)
    assert browser.run("return getComputedStyle(document.body).backgroundColor") != colour
    code = "const { bbox } = Bokeh.index.roots.find((view) => view.model.name === 'circle').frame"
    circle = browser.run(f"{code}; return [bbox.width, bbox.height]")
    assert circle[0] == circle[1] > 200


def test_hostile_names_and_values_are_shown_as_text(browser, tmp_path):
    data = zl.datasets.modular_addition(5, test_count=3)
    run = simulate(data, steps=20, measures={"hostile": lambda net: {"<b>": float("nan"), "inf": float("inf")}})
    history = run.history.rename({"hostile_inf": HOSTILE})
    history[HOSTILE].attrs["description"] = HOSTILE
    settings = {**run.settings, "data": {**run.settings["data"], HOSTILE: HOSTILE}}
    run = dataclasses.replace(run, history=history, settings=settings, events={HOSTILE: 3, "b": None})
    open_run(browser, run, tmp_path)
    assert browser.run("return window.broken") is None
    assert HOSTILE[:40] in browser.text("sections")
    assert browser.find("events").find_elements("tag name", "button")[0].text.startswith("<img src=x")
    assert browser.errors() == []
    assert browser.run(OTHER_SCRIPT) is None  # The policy of the page forbids it.


def test_tasks_without_a_group_have_no_frequencies(browser, tmp_path):
    data = zl.datasets.modular_polynomial(5, train_fraction=0.7, seed=0)
    open_run(browser, simulate(data, steps=100), tmp_path)
    assert "no cyclic group" in browser.text("no-group")
    assert not browser.find("frequencies").is_displayed()
    assert browser.find("unit").is_displayed()
    assert int(browser.text("count-rightTrain")) > 0
    assert browser.errors() == []


def test_concatenated_operands_and_products_are_shown(browser, tmp_path):
    for task in (zl.datasets.modular_subtraction, zl.datasets.modular_division):
        run = simulate(task(5, train_fraction=0.7, seed=0), steps=100)
        open_run(browser, run, tmp_path)
        for operand in (0, 1):
            browser.choose("operand", operand)
            shares = zl.fourier.unit_shares(run.snapshots.E[-1].values, run.data, operand)
            image = np.reshape(browser.data("power")["image"][0], shares.shape)
            assert np.abs(np.sort(image, axis=1) - np.sort(shares, axis=1)).max() < 0.01
        assert browser.errors() == []


def test_runs_without_snapshots_records_or_steps_are_shown(browser, tmp_path):
    data = zl.datasets.from_arrays(np.eye(4), np.eye(4))
    open_run(browser, simulate(data, steps=5, snapshot_every=None), tmp_path)
    assert "no snapshots" in browser.text("no-units")
    assert browser.errors() == []
    run = simulate(data, steps=0)
    open_run(browser, run, tmp_path)
    assert browser.text("step") == "0"
    empty = dataclasses.replace(run, history=run.history.isel(step=slice(0, 0)), snapshots=None)
    open_run(browser, empty, tmp_path)
    assert "no records" in browser.text("records")
    assert browser.errors() == []


def test_100_000_records_of_512_units_are_thinned_and_the_page_says_so(browser, tmp_path):
    data = zl.datasets.modular_addition(11, train_fraction=0.7, seed=0)
    run = simulate(data, hidden=512, steps=20, snapshot_every=1)
    steps = np.arange(100_001)
    times = {str(name): ("step", steps.astype(run.history[name].dtype)) for name in run.history.coords}
    history = run.history.isel(step=np.zeros(len(steps), int)).assign_coords(times)
    history["train_loss"][71_234] = 1e6
    history["test_loss"][1_000:2_000] = np.nan
    path = dataclasses.replace(run, history=history).view(tmp_path / "run.html", open_page=False)
    assert path.stat().st_size < 6e6
    browser.open(path)
    drawn = len(browser.data("loss 0")["step"])
    assert f"{drawn} of 100001 records are drawn" in browser.text("records")
    assert drawn < 4000
    assert 71_234 in browser.data("loss 0")["step"]
    assert browser.data("power")["dw"] == [512]
    browser.choose("cursor", 0)
    assert browser.text("step") == "0"
    assert browser.errors() == []


def test_a_run_that_diverged_at_the_start_is_shown(browser, tmp_path):
    data = zl.datasets.modular_addition(5, test_count=3)
    net = zl.networks.uniform_fan_in(data, hidden=8, seed=1)
    run = zl.simulate(zl.GradientDescent(lr=1e200), data, net, steps=5, snapshot_every=1, progress=False)
    assert run.outcome.ending == "diverged"
    open_run(browser, run, tmp_path)
    assert "diverged" in browser.text("outcome")
    assert browser.errors() == []
