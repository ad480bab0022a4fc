"""The page of a sweep in a browser: its medians agree with the library, and nothing of a sweep is executed."""

import itertools
import shutil

import numpy as np
import pytest
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.keys import Keys

import zeroloss as zl
from browser import PHONE, WIDE
from sweep_cubes import KEYS, make_random_cube
from test_view_sweep import CONFIGURATION
from zeroloss.plots.sweep_map import find_delays, find_last
from zeroloss.view.sweep import sweep_page

pytestmark = [pytest.mark.browser, pytest.mark.slow]

HOSTILE = '<img src=x onerror="window.broken=1"></script><script>window.broken=1</script>\'"&$$x$$ @{y} $name'

#: JavaScript that returns the class and the label of each square, rows from below.
_SQUARES = """
return Array.from(document.querySelectorAll(".map tbody tr"), (row) =>
  Array.from(row.querySelectorAll("button"), (one) => [one.className, one.firstChild.textContent])).reverse();
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    directory = tmp_path_factory.mktemp("page")
    (directory / "a.html").write_text(sweep_page(make_random_cube(), directory, ""), encoding="utf-8")
    return directory / "a.html"


def read_squares(browser):
    """Return the values of the squares: infinite if they are hatched, NaN if they are missing."""
    values = {"hatched": np.inf, "missing": np.nan}
    return [[values[name] if name else float(text) for name, text in row] for row in browser.run(_SQUARES)]


def test_squares_have_the_medians_of_the_library(browser, page):
    cube = make_random_cube()
    first, second = cube.event.values.tolist()
    quantities = [(0, -1), (1, -1), (1, 0), (2, None)]
    browser.open(page)
    kinds = set()
    for (x, y), (quantity, since) in itertools.product(itertools.permutations(range(3), 2), quantities):
        browser.choose("quantity", quantity)
        if since is not None:
            browser.choose("since", since)
        browser.choose("y", -1)
        browser.choose("x", x)
        browser.choose("y", y)
        keys = [list(KEYS)[x], list(KEYS)[y]]
        if quantity == 2:
            expected, _ = find_last(cube, "test_loss", keys)
        else:
            expected, _ = find_delays(cube, (first, second)[quantity], keys, first if since == 0 else None)
        np.testing.assert_allclose(read_squares(browser), expected.values, rtol=1e-4)
        kinds |= {"finite" if np.isfinite(value) else str(value) for value in expected.values.ravel()}
    assert kinds == {"finite", "inf", "nan"}
    assert browser.errors() == []


def test_the_values_of_other_keys_can_be_chosen(browser, page):
    cube = make_random_cube()
    browser.open(page)
    browser.choose("quantity", 1)
    browser.choose("since", -1)
    for seed in KEYS["data_seed"]:
        browser.choose("filter-value-2", seed)
        one = cube.sel(data_seed=[seed])
        expected, _ = find_delays(one, cube.event.values[1], ["lr", "hidden"], None)
        np.testing.assert_array_equal(read_squares(browser), expected.values)
    browser.choose("by", 0)
    browser.choose("curve", 0)
    browser.choose("xscale", "linear")
    browser.choose("yscale", "linear")
    means = browser.data("means")
    curves = cube.test_loss.sel(data_seed=4)
    for place, label in enumerate(means["label"]):
        rows = curves.sel(lr=float(label.split(" = ")[1])).values
        rows = rows[np.isfinite(rows).any(axis=1)]
        counts = np.isfinite(rows).sum(axis=0)
        expected = np.where(counts == counts.max(), np.nan_to_num(rows).sum(axis=0) / counts.max(), np.nan)
        np.testing.assert_allclose(np.array(means["ys"][place], float), expected, rtol=1e-6)


def test_one_key_has_points_with_censored_runs_at_their_ends(browser, page):
    cube = make_random_cube()
    browser.open(page)
    assert not browser.find("one-key").is_displayed()
    browser.choose("y", -1)
    browser.choose("x", 1)
    browser.choose("quantity", 1)
    browser.choose("since", -1)
    assert browser.find("one-key").is_displayed()
    steps = cube.event_step.values[..., 1]
    assert sorted(browser.data("values")["y"]) == sorted(steps[np.isfinite(steps)])
    censored = np.isnan(steps) & (cube.ending.values == "reached the end")
    assert sorted(browser.data("censored")["y"]) == sorted(cube.last_step.values[censored])
    expected, _ = find_delays(cube, cube.event.values[1], ["hidden"], None)
    np.testing.assert_array_equal(read_squares(browser)[0], expected.values)


def test_a_square_opens_the_page_of_its_run(browser, tmp_path):
    directory = tmp_path / "sweep"
    zl.sweeps.sweep(CONFIGURATION, directory, progress=False)
    cube = zl.sweeps.open_sweep(directory)
    zl.view.view([directory / "cells" / cube.cell.values[0, 1]], open_page=False)
    browser.open(zl.view.view([directory], open_page=False).absolute())
    lines = browser.data("cells")
    assert len(lines["label"]) == 4
    assert sum("diverged" in label for label in lines["label"]) == 2
    browser.choose("x", 0)
    browser.choose("y", -1)
    button = browser.driver.find_element("css selector", ".map button[aria-label^='lr = 0.5:']")
    button.send_keys(Keys.ENTER)
    table = browser.find("run-list")
    assert button.get_attribute("aria-pressed") == "true"
    assert f"zeroloss view {directory / 'cells' / cube.cell.values[0, 0]}" in table.text
    table.find_element("link text", "open its page").click()
    browser.wait(lambda: browser.run("return document.documentElement.dataset.ready") == "yes")
    assert browser.text("title") == cube.cell.values[0, 1]
    assert browser.text("step") == "100"


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_fits_and_every_control_has_a_name(browser, page, size, dark):
    browser.open(page, size=size, dark=dark)
    browser.run("document.querySelector('.map button').click()")
    assert browser.run("return document.documentElement.scrollWidth") <= size[0]
    colour = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert colour == ("rgb(18, 22, 27)" if dark else "rgb(255, 255, 255)")
    code = """return Array.from(document.querySelectorAll("input, select, button")).filter((one) =>
      !one.labels?.length && !one.getAttribute("aria-label") && !one.textContent.trim()).map((one) => one.outerHTML)"""
    assert browser.run(code) == []
    browser.find("theme").send_keys(Keys.ENTER)
    assert browser.run("return getComputedStyle(document.body).backgroundColor") != colour
    assert browser.errors() == []


def test_a_click_on_a_line_opens_the_page_of_its_run(browser, tmp_path):
    directory = tmp_path / "sweep"
    zl.sweeps.sweep(CONFIGURATION, directory, progress=False)
    cube = zl.sweeps.open_sweep(directory)
    zl.view.view([directory / "cells" / cube.cell.values[0, 1]], open_page=False)
    page = zl.view.view([directory], open_page=False).absolute()
    code = """const view = Bokeh.index.roots.find(({ model }) => model.name === arguments[0]);
    const renderer = view.model.renderers.find(({ data_source }) => data_source.name === arguments[1]);
    const { label, xs, ys } = renderer.data_source.data;
    const line = Array.from(label).findIndex((text) => text.includes(arguments[2]) && text.includes("lr = 0.5"));
    const at = Math.floor(xs[line].length / 2);
    const place = (values) => 0.25 * values[line][at] + 0.75 * values[line][at - 1]; // where no lines cross
    const [x, y] = [view.frame.x_scale.compute(place(xs)), view.frame.y_scale.compute(place(ys))];
    const element = document.getElementById(`figure-${arguments[0]}`);
    element.scrollIntoView({ block: "center" });
    const box = view.canvas_view.el.getBoundingClientRect();
    return [box.left + x, box.top + y];"""
    for figure, source in (("parallel", "cells"), ("groups", "curves")):
        for label in ("seed = 0, 10", "seed = 1, 11"):
            browser.open(page)
            browser.choose("curve", 0)  # the training loss, which differs between seeds
            x, y = browser.run(code, figure, source, label)
            actions = ActionBuilder(browser.driver)
            actions.pointer_action.move_to_location(round(x), round(y)).click()
            actions.perform()
            if label == "seed = 1, 11":
                browser.wait(lambda: browser.text("title") == cube.cell.values[0, 1])
            else:
                browser.wait(lambda: browser.find("run-list").is_displayed())
                assert str(directory / "cells" / cube.cell.values[0, 0]) in browser.text("run-list")


def test_hostile_names_are_shown_as_text(browser, tmp_path):
    keys = {HOSTILE: np.array([HOSTILE, "b"], object), "data_seed": [0, 1]}
    cube = make_random_cube(keys=keys, event=HOSTILE)
    cube["outcome"] = cube.outcome.where(cube.outcome == "", HOSTILE)
    cube["cell"] = cube.cell.where(cube.cell == "", HOSTILE.replace("/", ""))
    cube.test_loss.attrs["long_name"] = HOSTILE
    cube.attrs["settings"] = cube.attrs["settings"].replace("data", "<script>")
    (tmp_path / "a.html").write_text(sweep_page(cube, tmp_path, ""), encoding="utf-8")
    browser.open(tmp_path / "a.html")
    browser.run("for (const one of document.querySelectorAll('.map button')) one.click()")
    for place in range(len(browser.find("quantity").find_elements("tag name", "option"))):
        browser.choose("quantity", place)
    assert HOSTILE[:40] in browser.text("map")
    assert browser.run("return window.broken") is None
    assert browser.errors() == []


def test_a_sweep_without_an_ended_cell_shows_which_cells_have_begun(browser, tmp_path):
    zl.sweeps.sweep(CONFIGURATION, tmp_path / "out", progress=False)
    cells = sorted((tmp_path / "out" / "cells").iterdir())
    for cell in cells:
        shutil.rmtree(cell)
    cells[0].mkdir()
    browser.open(zl.view.view([tmp_path / "out"], open_page=False))
    assert "4 cells" in browser.text("outcome")
    assert "No cell has ended yet" in browser.text("open-note")
    assert sorted(text for row in browser.run(_SQUARES) for _, text in row) == ["not begun"] * 3 + ["not ended"]
    browser.choose("y", -1)
    assert sorted(text for row in browser.run(_SQUARES) for _, text in row) == ["not begun", "not ended"]
    for button in browser.driver.find_elements("css selector", ".map button"):
        button.send_keys(Keys.ENTER)
        assert browser.find("run-list").is_displayed()
    assert browser.find("no-curves").is_displayed()
    assert browser.errors() == []


def test_a_sweep_without_records_is_shown(browser, tmp_path):
    cube = make_random_cube().drop_vars(["test_loss", "test_accuracy"]).isel(event=slice(0, 0), step=slice(0, 0))
    cube["ending"] = cube.ending.where(cube.ending == "", "broken off")
    (tmp_path / "a.html").write_text(sweep_page(cube, tmp_path, ""), encoding="utf-8")
    browser.open(tmp_path / "a.html")
    assert {text for row in browser.run(_SQUARES) for _, text in row} == {"broken off"}
    assert browser.find("no-curves").is_displayed()
    assert browser.errors() == []
