"""Figures 1 to 4: closed forms and exact laws as oracles, and the files."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import xarray as xr

from problems import is_labelled
from zeroloss import plots
from zeroloss.studies.paper import figure1, figure2, figure3, figure4
from zeroloss.studies.paper._toys import Unit

MODULES = {"1": figure1, "2": figure2, "3": figure3, "4": figure4}


@pytest.fixture(scope="module", params=MODULES)
def quick(request, tmp_path_factory):
    """The number, the result and the directory of each figure in its quick form."""
    study = MODULES[request.param].STUDY
    result = study.run(study.quick)
    directory = tmp_path_factory.mktemp("figure")
    result.save(directory)
    return request.param, result, directory


def closed_form(w0, x, y, lr, decay, steps, c_g=2, c_w=1):
    """Return the weights (steps + 1, d) of descent on (x·w − y)²: its recurrence, solved along x and across it."""
    w0, x, t = np.asarray(w0), np.asarray(x), np.arange(steps + 1)[:, None]
    along = x * (x @ w0) / (x @ x)
    stiffness = c_g * (x @ x) + c_w * decay
    rest = c_g * y * x / stiffness
    return rest + (1 - lr * stiffness) ** t * (along - rest) + (1 - lr * c_w * decay) ** t * (w0 - along)


def test_figure_1_is_the_closed_form():
    settings = figure1.STUDY.full
    assert (settings.start, settings.lr, settings.weight_decays) == ((-1, 1), 0.1, (0.01, 0.1, 0.2))
    numbers = figure1.STUDY.run(settings).numbers
    for decay in settings.weight_decays:
        expected = closed_form(settings.start, settings.x, settings.y, settings.lr, decay, settings.steps)
        found = numbers.sel(weight_decay=decay)
        np.testing.assert_allclose(found.weights, expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(found.train_loss, (expected.sum(axis=1) - 2) ** 2, rtol=0, atol=1e-12)
        exact = ((expected - 1) ** 2).sum(axis=1)
        np.testing.assert_allclose(found.expected_test_loss, exact, rtol=0, atol=1e-12)


def test_figure_1_test_loss_is_that_of_its_samples_and_tends_to_its_expectation():
    settings = replace(figure1.STUDY.quick, steps=100, seeds=400)
    numbers = figure1.STUDY.run(settings).numbers
    x = np.random.default_rng(3).standard_normal((100, 2))
    outputs = numbers.weights.values @ x.T
    np.testing.assert_allclose(numbers.test_loss[3], ((outputs - x.sum(axis=1)) ** 2).mean(axis=-1), atol=1e-12)
    np.testing.assert_allclose(numbers.test_loss.mean("seed"), numbers.expected_test_loss, rtol=0.05)


def test_figure_1_generalises_at_a_speed_proportional_to_the_decay():
    steps = figure1.STUDY.run(figure1.STUDY.full).summary["generalised_steps"]
    rates = np.array(figure1.STUDY.full.weight_decays) * steps
    assert np.ptp(rates) < 0.15 * rates.mean()


def test_figure_2_is_the_closed_form_and_straight():
    settings = figure2.STUDY.full
    result = figure2.STUDY.run(settings)
    for start, found in zip(settings.starts, result.numbers.weights.values, strict=True):
        expected = closed_form(start, settings.x, settings.y, settings.lr, settings.weight_decay, len(found) - 1)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert result.summary["largest_deviation_from_straight"] < 1e-12


@pytest.mark.parametrize("figure", [figure2, figure3])
def test_the_flow_stays_on_the_set_and_descends_the_norm(figure):
    flow = figure.STUDY.run(figure.STUDY.quick).numbers.flow.values
    if figure is figure2:
        residuals = [flow.sum(axis=-1) - 3]
    else:
        residuals = [flow[0].prod(axis=-1) - 1, flow[1].prod(axis=-1), flow[2].sum(axis=-1) - 2]
    assert max(abs(residual).max() for residual in residuals) < 1e-12
    assert (np.diff(np.linalg.norm(flow, axis=-1), axis=-1) < 1e-15).all()


def test_the_product_flow_solves_its_equation():
    """dw/ds = −(I − n nᵀ) w with the normal n ∝ (w₂, w₁), by central differences. D₀ is w₁² − w₂² at the start."""
    starts, h = [(2.5, 0.4), (-0.3, -3.0), (2.0, -0.7)], 1e-4
    s = np.array([[t - h, t, t + h] for t in (0.0, 0.4, 1.5)]).ravel()
    flow = figure3.product_flow(starts, 1.0, s).reshape(3, 3, 3, 2)
    w, speed = flow[:, :, 1], (flow[:, :, 2] - flow[:, :, 0]) / (2 * h)
    normal = w[..., ::-1] / np.linalg.norm(w, axis=-1, keepdims=True)
    tangent = w - normal * (normal * w).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(speed, -tangent, atol=1e-7)
    np.testing.assert_allclose(w[:, 0, 0] ** 2 - w[:, 0, 1] ** 2, [a**2 - b**2 for a, b in starts], rtol=1e-12)


def test_figure_3_keeps_the_exact_law_in_every_step():
    settings = figure3.STUDY.quick
    decay = 1 - settings.lr * settings.weight_decay
    numbers = figure3.STUDY.run(settings).numbers
    for model, target in (("curved", settings.target), ("singular", 0.0)):
        w1, w2 = np.moveaxis(numbers.weights.sel(model=model).values, -1, 0)
        D, gradient = w1**2 - w2**2, 2 * (w1 * w2 - target)
        expected = ((decay**2 - (settings.lr * gradient) ** 2) * D)[:, :-1]
        np.testing.assert_allclose(D[:, 1:], expected, rtol=0, atol=1e-14 * (w1**2 + w2**2).max())


def test_figure_3_distance_to_the_flow_is_proportional_to_the_decay():
    settings = replace(figure3.STUDY.full, weight_decays=(0.02, 0.01, 0.005, 0.0025), duration=0.1)
    found = figure3.STUDY.run(settings).numbers.distance.values
    np.testing.assert_allclose(found[:-1] / found[1:], 2, rtol=0.01)


def test_figure_3_singular_point_is_only_approached():
    norms = np.linalg.norm(figure3.STUDY.run(figure3.STUDY.quick).numbers.weights.sel(model="singular"), axis=-1)
    assert (np.diff(norms) < 0).all()
    assert (norms[:, -1] > 0).all()


def test_figure_3_leaky_unit_is_the_closed_form_on_either_side_of_the_kink():
    settings = figure3.STUDY.full
    unit = Unit(settings.x, settings.y, settings.negative_slope)
    for start in settings.starts_leaky:
        path = unit.descend([start], settings.lr, settings.weight_decay, 1500)[0]
        below = int((path.sum(axis=1) <= 0).sum())
        assert (path[:below].sum(axis=1) <= 0).all()
        slow = np.multiply(settings.negative_slope, settings.x)
        sides = [closed_form(start, slow, settings.y, settings.lr, settings.weight_decay, below)]
        sides.append(
            closed_form(sides[0][-1], settings.x, settings.y, settings.lr, settings.weight_decay, 1500 - below)
        )
        np.testing.assert_allclose(path, np.concatenate([sides[0][:-1], sides[1]]), rtol=0, atol=1e-12)


def test_gradient_of_the_unit_agrees_with_differences_of_its_loss():
    unit = Unit((1.0, -2.0, 0.5), 1.5, 0.1)
    w = np.random.default_rng(0).standard_normal((40, 3))
    differences = [(unit.loss(w + 1e-5 * e) - unit.loss(w - 1e-5 * e)) / 2e-5 for e in np.eye(3)]
    np.testing.assert_allclose(unit.gradient(w), np.stack(differences, axis=-1), atol=1e-8)


def test_figure_4_is_the_closed_form_with_slope_1():
    s = np.geomspace(1e-3, 0.6, 100)
    for foot in (0.2, 0.5, 1.3):
        q = np.sqrt(1 + 4 * foot**2)
        expected = 4 * foot * s / (q**2 * np.sqrt(1 + 4 * foot**2 * (1 - 2 * s / q) ** 2))
        np.testing.assert_allclose(figure4.measure_cosine(foot, s), expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(figure4.closed_form(foot, s), expected, rtol=1e-12)
    summary = figure4.STUDY.run(figure4.STUDY.full).summary
    assert summary["slope"] == pytest.approx(1, abs=1e-4)
    assert summary["constant"] == pytest.approx(summary["constant_closed_form"], rel=1e-5)
    assert np.all(np.diff(summary["angles_degrees"]) > 0)


def test_figure_4_gradient_agrees_with_differences_of_its_loss():
    points = np.random.default_rng(0).standard_normal((40, 2))
    differences = [(figure4.loss(points + 1e-5 * e) - figure4.loss(points - 1e-5 * e)) / 2e-5 for e in np.eye(2)]
    np.testing.assert_allclose(figure4.gradient(points), np.stack(differences, axis=-1), atol=1e-7)


def test_files_hold_numbers_settings_and_picture(quick, tmp_path):
    number, result, directory = quick
    name = f"figure{number}"
    assert sorted(path.name for path in directory.iterdir()) == [f"{name}.{e}" for e in ("json", "nc", "png")]
    about = json.loads((directory / f"{name}.json").read_text(encoding="utf-8"))
    assert about["settings"] == json.loads(json.dumps(asdict(MODULES[number].STUDY.quick)))
    assert len(about["seeds"]) == (1 if number == "1" else 0)
    with xr.open_dataset(directory / f"{name}.nc", engine="h5netcdf") as stored:
        xr.testing.assert_identical(stored.load(), result.numbers)
        assert is_labelled(stored)
        with plots.style():
            plots.save(result.study.draw(stored), tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == (directory / f"{name}.png").read_bytes()


def test_only_quick_pictures_are_marked(quick):
    number, result, _ = quick
    full = result.numbers.assign_attrs(settings=json.dumps(asdict(replace(MODULES[number].STUDY.quick, quick=False))))
    marked, unmarked = (
        [text.get_text() for text in result.study.draw(numbers).texts] for numbers in (result.numbers, full)
    )
    assert [text.startswith("QUICK RUN") for text in marked] == [True]
    assert unmarked == []


def test_seeds_draw_test_samples():
    several = figure1.STUDY.run(figure1.STUDY.settings(seeds=3, quick=True))
    assert (several.numbers.sizes["seed"], len(several.seeds)) == (3, 3)
    assert several.numbers.test_loss.std("seed").max() > 0.01


def test_pictures_have_headings_and_scales():
    """λ and the loss in the headings, and numbers along the axes of figure 2's space."""

    def texts(module):
        figure = module.STUDY.run(module.STUDY.quick).draw()
        return figure, [text.get_text() for part in figure.subfigs for text in part.texts]

    assert all(r"$\lambda$ = 0.1" in text for text in texts(figure3)[1][:3])
    assert all("$L = (y - x^2)^2$" in text for text in texts(figure4)[1][:3])
    space = texts(figure2)[0].subfigs[0].axes[0]
    assert sorted(text.get_text() for text in space.texts if text.get_text().isdigit()) == ["0", *"111222333"]
