"""Descent with a norm that is fixed, bounded or set once, against NumPy."""

import math

import numpy as np
import pytest

import zeroloss as zl
from problems import LEVELS, UNIT_ROUNDOFF, figure5, kernels_of, random_data, random_network, relative, same_bits

LAYERS = {"both": ("E", "W"), "E": ("E",), "W": ("W",)}
CONSTRAINTS = ("fixed", "at_most", "once")
RATIO = {"fixed": 0.8, "at_most": 1.01, "once": 0.7}


def norm_of(theta, layers):
    return math.sqrt(sum((np.float64(theta[name]) ** 2).sum() for name in LAYERS[layers]))


def gradients(theta, data, activation):
    """Return the gradients of the mean squared error, from its definition."""
    X, Y, E, W = data.X_train, data.Y_train, theta["E"], theta["W"]
    Z = X @ E
    H, slope = (np.maximum(Z, 0), Z > 0) if activation == "relu" else (np.tanh(Z), 1 - np.tanh(Z) ** 2)
    G = 2 * (H @ W - Y) / Y.size
    return {"E": X.T @ (G @ W.T * slope), "W": H.T @ G}


def run_numpy(dynamics, data, net, steps):
    """Return E and W after steps. Each step and each scaling follow their definitions."""
    theta = {"E": net.E.copy(), "W": net.W.copy()}
    first = {name: np.zeros_like(A) for name, A in theta.items()}
    second = {name: np.zeros_like(A) for name, A in theta.items()}
    reference = math.nan
    for t in range(steps):
        if t == dynamics.norm_from_step:
            reference = norm_of(theta, dynamics.norm_layers)
        for name, gradient in gradients(theta, data, net.activation).items():
            A, lr, decay = theta[name], dynamics.lr, dynamics.weight_decay
            if isinstance(dynamics, zl.AdamW):
                b1, b2 = dynamics.betas
                first[name] = b1 * first[name] + (1 - b1) * gradient
                second[name] = b2 * second[name] + (1 - b2) * gradient**2
                m, v = first[name] / (1 - b1 ** (t + 1)), second[name] / (1 - b2 ** (t + 1))
                theta[name] = A - lr * decay * A - lr * m / (np.sqrt(v) + dynamics.eps)
            else:
                first[name] = dynamics.momentum * first[name] + gradient + decay * A
                theta[name] = A - lr * first[name]
        norm, target = norm_of(theta, dynamics.norm_layers), dynamics.norm_ratio * reference
        is_active = t == dynamics.norm_from_step if dynamics.norm_constraint == "once" else t >= dynamics.norm_from_step
        if is_active and (dynamics.norm_constraint != "at_most" or norm > target):
            for name in LAYERS[dynamics.norm_layers]:
                theta[name] = theta[name] * (target / norm)
    return theta


def descents():
    """Yield every constraint for every choice of layers, on every path of the kernel and for each optimizer."""
    for control in CONSTRAINTS:
        for layers in LAYERS:
            settings = {
                "norm_constraint": control,
                "norm_layers": layers,
                "norm_ratio": RATIO[control],
                "norm_from_step": 30,
                "weight_decay": 1e-3,
            }
            yield "pairs", "relu", zl.GradientDescent(lr=0.5, **settings)
            yield "dense", "tanh", zl.GradientDescent(lr=0.05, momentum=0.9, **settings)
            yield "dense", "tanh", zl.AdamW(lr=1e-3, **settings)
    yield "pairs", "relu", zl.GradientDescent(lr=0.5, norm_constraint="fixed")
    yield "sparse", "tanh", zl.GradientDescent(lr=0.05, compensated=True, norm_constraint="fixed", norm_ratio=1.3)
    yield "dense", "tanh", zl.GradientDescent(lr=0.05, momentum=0.5, compensated=True, norm_constraint="at_most")


def problem(rows, activation):
    if rows == "pairs":
        data = zl.datasets.modular_addition(7, test_count=4, seed=0)
        return data, random_network(data, 40, activation, std=0.4)
    data = random_data(15, 6, 4, rows)
    return data, random_network(data, 20, activation)


@pytest.mark.parametrize(("rows", "activation", "dynamics"), list(descents()), ids=str)
def test_200_steps_agree_with_numpy(rows, activation, dynamics):
    data, net = problem(rows, activation)
    run = zl.simulate(dynamics, data, net, steps=200)
    expected = run_numpy(dynamics, data, net, 200)
    assert relative(run.network.E, expected["E"]) < 1e-12
    assert relative(run.network.W, expected["W"]) < 1e-12


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_level_scales_to_the_target(level, dtype):
    """After one step of the kernel of each level the norm is at its target, to the rounding of θ."""
    kernels, data = kernels_of(level), random_data(13, 5, 7)
    net = random_network(data, 37, "relu", dtype)
    bits = dtype.removeprefix("float")
    samples = getattr(kernels, f"Samples{bits}")(*(A.astype(dtype) for A in (data.X_train, data.Y_train)))
    for layers in LAYERS:
        descent = getattr(kernels, f"Descent{bits}")(
            samples,
            samples,
            kernels.Activation("relu", 0.0),
            kernels.Loss("mse", "mean"),
            kernels.Optimizer("sgd", 0.1, 0.0, 0.0, 0.0),
            37,
            1,
            kernels.NormControl("hold", layers != "W", layers != "E", 0.6, 4),
        )
        theta, reference = {"E": net.E.copy(), "W": net.W.copy()}, np.full((), np.nan)
        state = descent.bind(**theta, steps=np.array(3), reference_norm=reference)
        assert descent.advance(state, kernels.DescentChunk(1)).finite
        assert np.isnan(reference)
        before = norm_of(theta, layers)
        assert descent.advance(state, kernels.DescentChunk(1)).finite
        assert reference == pytest.approx(before, rel=1e-13)
        assert norm_of(theta, layers) == pytest.approx(0.6 * before, rel=2 * UNIT_ROUNDOFF[dtype])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("compensated", [False, True])
@pytest.mark.parametrize("layers", LAYERS)
def test_a_fixed_norm_stays_at_its_target(layers, compensated, dtype):
    """The bound is 2 units: one for the rounding of θ, and one below which a change of θ rounds to zero.

    The errors of the norm's two sums in float64, one by the constraint and one by the record, are added. Each is half a
    unit for each of the N/16 terms that one lane of a register adds, and for the 5 sums of lanes and of layers.
    """
    data, net = figure5(dtype)
    sums = ((net.E.size + net.W.size) / 16 + 5) * UNIT_ROUNDOFF["float64"]
    descent = zl.GradientDescent(
        1.0,
        1e-4,
        compensated=compensated,
        norm_constraint="fixed",
        norm_layers=layers,
        norm_ratio=0.9,
        norm_from_step=50,
    )
    history = zl.simulate(descent, data, net, steps=2000, record_every=10).history
    plain = zl.simulate(zl.GradientDescent(1.0, 1e-4, compensated=compensated), data, net, steps=50, record_every=10)
    norms = {"E": history.norm_E, "W": history.norm_W, "both": np.hypot(history.norm_E, history.norm_W)}[layers]
    target = 0.9 * float(norms.sel(step=50))
    fixed = norms.sel(step=slice(60, None)).values
    assert np.abs(fixed / target - 1).max() < 2 * UNIT_ROUNDOFF[dtype] + sums
    assert same_bits(history.sel(step=slice(0, 50)), plain.history)
    assert history.train_loss[-1] < history.train_loss[0]


def test_a_bound_is_never_exceeded_and_changes_nothing_below():
    data, net = figure5()
    plain = zl.simulate(zl.GradientDescent(1.0, 1e-4), data, net, steps=300, record_every=1)
    norms = np.hypot(plain.history.norm_E, plain.history.norm_W).values
    assert norms.max() > 1.05 * norms[0]
    wide = zl.GradientDescent(1.0, 1e-4, norm_constraint="at_most", norm_ratio=1.001 * norms.max() / norms[0])
    same = zl.simulate(wide, data, net, steps=300, record_every=1)
    assert same_bits(same.history, plain.history)
    capped = zl.simulate(
        zl.GradientDescent(1.0, 1e-4, norm_constraint="at_most", norm_ratio=1.05), data, net, steps=300, record_every=1
    )
    found = np.hypot(capped.history.norm_E, capped.history.norm_W).values
    assert found.max() == pytest.approx(1.05 * norms[0], rel=4 * UNIT_ROUNDOFF["float64"])
    assert found[0] == norms[0]


def test_a_norm_set_once_is_one_scaling_between_two_descents():
    data, net = figure5()
    descent = zl.GradientDescent(1.0, 1e-4, norm_constraint="once", norm_ratio=1.5, norm_from_step=40)
    run = zl.simulate(descent, data, net, steps=100, record_every=1)
    plain = zl.GradientDescent(1.0, 1e-4)
    first = zl.simulate(plain, data, net, steps=41, record_every=1)
    norm = np.hypot(first.history.norm_E, first.history.norm_W)
    factor = 1.5 * float(norm[40] / norm[41])
    between = zl.networks.from_arrays(factor * first.network.E, factor * first.network.W)
    second = zl.simulate(plain, data, between, steps=59).network
    assert same_bits(run.history.sel(step=slice(0, 40)), first.history.sel(step=slice(0, 40)))
    assert relative(run.network.E, second.E) < 1e-11
    assert relative(run.network.W, second.W) < 1e-11


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("control", CONSTRAINTS)
def test_extending_and_threads_change_no_bit(tmp_path, control, dtype):
    """The parts end before and after the reference is taken, and go through a file; chunks and threads vary."""
    data, net = figure5(dtype)
    descent = zl.GradientDescent(
        1.0, 1e-4, momentum=0.5, compensated=True, norm_constraint=control, norm_ratio=0.9, norm_from_step=25
    )
    whole = zl.simulate(descent, data, net, steps=90, record_every=10)
    for threads, parts in ((1, (20, 70)), (2, (25, 65)), (2, (10, 16, 64))):
        run = zl.simulate(descent, data, net, steps=parts[0], record_every=10, threads=threads)
        for more in parts[1:]:
            run.save(tmp_path / "run")
            run = zl.load(tmp_path / "run").extend(steps=more)
        assert same_bits(whole.network.E, run.network.E)
        assert same_bits(whole.history.isel(step=-1), run.history.isel(step=-1))
        assert same_bits(whole.state["reference_norm"], run.state["reference_norm"])


def test_compensation_includes_the_rounding_of_the_scaling():
    """Steps that float32 rounds to zero add up while the norm is fixed, as they do in float64."""
    data, net = figure5("float32")
    settings = {"lr": 1e-5, "weight_decay": 0.0, "norm_constraint": "fixed", "norm_ratio": 1.0}
    plain, compensated_end = (
        zl.simulate(zl.GradientDescent(**settings, compensated=compensated), data, net, steps=3000).network
        for compensated in (False, True)
    )
    fine = zl.simulate(zl.GradientDescent(**settings), data, net.astype("float64"), steps=3000).network
    moved = np.linalg.norm(fine.E - net.E)
    assert np.linalg.norm(compensated_end.E - fine.E) < 0.01 * moved
    assert np.linalg.norm(plain.E - fine.E) > 5 * np.linalg.norm(compensated_end.E - fine.E)


def test_a_norm_of_zero_stays():
    data, net = figure5()
    empty = zl.networks.from_arrays(np.zeros_like(net.E), np.zeros_like(net.W))
    with pytest.warns(RuntimeWarning, match="no hidden unit is active"):
        run = zl.simulate(zl.GradientDescent(1.0, norm_constraint="fixed", norm_ratio=2.0), data, empty, steps=5)
    assert not run.network.E.any()
    assert run.outcome.ending.name == "REACHED_THE_END"


def test_divergence_under_a_constraint_is_an_outcome():
    data, net = figure5()
    run = zl.simulate(zl.GradientDescent(1e200, norm_constraint="at_most", norm_ratio=1e150), data, net, steps=50)
    assert run.outcome.ending.name == "DIVERGED"
    assert np.isfinite(run.network.E).all()


@pytest.mark.parametrize("kind", [zl.GradientDescent, zl.AdamW])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"norm_constraint": "clamp"}, "norm_constraint: expected one of fixed, at_most, once, got 'clamp'"),
        ({"norm_constraint": "fixed", "norm_layers": "first"}, "norm_layers: expected one of both, E, W, got 'first'"),
        ({"norm_constraint": "fixed", "norm_ratio": 0.0}, "norm_ratio: expected a number above 0, got 0.0"),
        (
            {"norm_constraint": "fixed", "norm_from_step": -1},
            "norm_from_step: expected an integer of at least 0, got -1",
        ),
        (
            {"norm_constraint": "fixed", "norm_from_step": 2**60},
            r"norm_from_step: expected an integer of at most 2\^53",
        ),
        ({"norm_ratio": 0.5}, r"norm_ratio: needs norm_constraint \(fixed, at_most, once\)"),
        ({"norm_from_step": 5}, "norm_from_step: needs norm_constraint"),
    ],
)
def test_invalid_settings_are_rejected(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind(lr=1.0, **settings)


def test_a_configuration_has_the_constraint(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('[dynamics]\nnorm_constraint = "fixed"\nnorm_layers = "W"\nnorm_ratio = 0.5\nnorm_from_step = 3\n')
    configured = zl.config.from_file(path)
    expected = zl.GradientDescent(1.0, 1e-4, norm_constraint="fixed", norm_layers="W", norm_ratio=0.5, norm_from_step=3)
    assert configured.dynamics == expected
    path.write_text(configured.text())
    assert zl.config.from_file(path).dynamics == expected


@pytest.mark.parametrize("compensated", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("ratio", [1e-12, 1e-6, 1e-3, 0.3, 0.5, 0.7, 30.0])
def test_a_norm_set_once_has_its_target_to_rounding_for_every_ratio(ratio, dtype, compensated):
    """Each entry has a few roundings, and so has the norm."""
    data = zl.datasets.modular_addition(7, train_fraction=0.8, seed=0)
    net = zl.networks.uniform_fan_in(data, 37, 1, dtype=dtype)
    descent = zl.GradientDescent(
        0.1, norm_constraint="once", norm_ratio=ratio, norm_from_step=5, compensated=compensated
    )
    history = zl.simulate(descent, data, net, steps=6, record_every=1, progress=False).history
    norm = np.hypot(history.norm_E, history.norm_W).values
    assert abs(norm[6] / (ratio * norm[5]) - 1) <= 4 * UNIT_ROUNDOFF[dtype]
