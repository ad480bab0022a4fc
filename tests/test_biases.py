"""Biases of hidden units and outputs, against PyTorch's ``Linear``."""

import itertools

import numpy as np
import pytest

import zeroloss as zl
from problems import ACTIVATIONS, LEVELS, UNIT_ROUNDOFF, kernels_of, random_data, torch_activation
from torch_oracle import torch
from zeroloss._kernels import kernels

BIASES = ("hidden", "output", "both")


def one_hots(n=40, d_in=9, d_out=5, k=1, n_test=5):
    """Return a dataset whose inputs are sums of k unit vectors, with the classes as targets."""
    random = np.random.default_rng(k)
    rows = list(itertools.combinations(range(d_in), k))
    X = np.zeros((n + n_test, d_in))
    for row, place in zip(X, np.resize(random.permutation(len(rows)), len(X)), strict=True):
        row[list(rows[place])] = 1
    Y = np.eye(d_out)[random.integers(d_out, size=n + n_test)]
    return zl.datasets.from_arrays(X[:n], Y[:n], X[n:], Y[n:], rows="sparse")


DATA = {
    "pairs": lambda: zl.datasets.modular_addition(11, test_count=7, seed=0),
    "many pairs": lambda: zl.datasets.modular_addition(23, test_count=9, seed=0),  # several chunks and tiles
    "one-hot": lambda: one_hots(k=1),
    "3-hot": lambda: one_hots(k=3),
    "sparse": lambda: random_data(33, 7, 4, "sparse"),
    "dense": lambda: random_data(33, 7, 4, "dense"),
}


def network(data, bias, hidden=37, activation="relu", dtype="float64"):
    net = zl.networks.uniform_fan_in(data, hidden=hidden, seed=1, activation=activation, dtype=dtype, bias="both")
    biases = {"bias_hidden": net.bias_hidden, "bias_output": net.bias_output}
    if bias != "both":
        del biases["bias_output" if bias == "hidden" else "bias_hidden"]
    return zl.networks.from_arrays(net.E, net.W, activation, **biases)


def torch_outputs(parameters, X, activation):
    hidden = torch_activation(activation)(X @ parameters["E"] + parameters.get("bias_hidden", 0))
    return hidden @ parameters["W"] + parameters.get("bias_output", 0)


def leaves(net):
    return {name: torch.tensor(array.astype(float), requires_grad=True) for name, array in net.parameters.items()}


def torch_loss(outputs, Y, loss, reduction):
    function = torch.nn.functional.mse_loss if loss == "mse" else torch.nn.functional.cross_entropy
    return function(outputs, Y, reduction=reduction)


@pytest.mark.parametrize("rows", DATA)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_loss_gradient_and_outputs_agree_with_autograd(rows, activation):
    data = DATA[rows]()
    X, Y = torch.tensor(data.X_train), torch.tensor(data.Y_train)
    for bias in BIASES:
        net = network(data, bias, activation=activation)
        parameters = leaves(net)
        outputs = torch_outputs(parameters, X, activation)
        np.testing.assert_allclose(net(data.X_train), outputs.detach(), atol=1e-13)
        for loss, reduction in itertools.product(("mse", "cross_entropy"), ("mean", "sum")):
            value, gE, gW = zl.loss_and_gradient(net, data, loss, reduction)
            expected = torch_loss(outputs, Y, loss, reduction)
            assert value == pytest.approx(expected.item(), rel=1e-13)
            gradients = torch.autograd.grad(expected, list(parameters.values()), retain_graph=True)
            got = net.with_layers(gE, gW).parameters
            for name, gradient in zip(parameters, gradients, strict=True):
                np.testing.assert_allclose(got[name], gradient, atol=1e-13 * max(1, abs(value)), err_msg=name)


DYNAMICS = {
    "plain": (zl.GradientDescent, "SGD", {"lr": 0.1, "weight_decay": 1e-2}),
    "momentum": (zl.GradientDescent, "SGD", {"lr": 0.1, "weight_decay": 1e-2, "momentum": 0.9}),
    "adamw": (zl.AdamW, "AdamW", {"lr": 1e-3, "weight_decay": 0.1}),
}


@pytest.mark.parametrize("kind", DYNAMICS)
@pytest.mark.parametrize("rows", DATA)
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_steps_agree_with_linear_layers(kind, rows, loss):
    """These are 200 steps with both biases and their decay, and 50 steps of the other forms."""
    make, optimizer_name, settings = DYNAMICS[kind]
    data = DATA[rows]()
    if loss == "cross_entropy" and rows in {"sparse", "dense"}:  # their targets are not probabilities
        data = zl.datasets.from_arrays(data.X_train, np.eye(4)[data.Y_train.argmax(1)], rows=rows)
    X, Y = torch.tensor(data.X_train), torch.tensor(data.Y_train)
    for bias, decay_biases in itertools.product(BIASES, (True, False)):
        net, steps = network(data, bias), 200 if bias == "both" and decay_biases else 50
        run = zl.simulate(make(**settings, loss=loss, decay_biases=decay_biases), data, net, steps=steps)
        module = zl.networks.to_torch(net)
        groups = [
            {"params": [module[0].weight, module[2].weight]},
            {"params": [layer.bias for layer in (module[0], module[2]) if layer.bias is not None]},
        ]
        if not decay_biases:
            groups[1]["weight_decay"] = 0.0
        optimizer = getattr(torch.optim, optimizer_name)(groups, **settings)
        for _ in range(steps):
            optimizer.zero_grad()
            torch_loss(module(X), Y, loss, "mean").backward()
            optimizer.step()
        expected = zl.networks.from_torch(module)
        assert expected.bias == run.network.bias == bias
        for name, array in expected.parameters.items():
            np.testing.assert_allclose(run.network.parameters[name], array, rtol=0, atol=1e-9, err_msg=name)
        last = run.history.isel(step=-1)
        assert float(last.norm_E) == pytest.approx(np.linalg.norm(expected.E), rel=1e-9)
        assert float(last.norm_W) == pytest.approx(np.linalg.norm(expected.W), rel=1e-9)
        biases = [array for name, array in expected.parameters.items() if name.startswith("bias")]
        assert float(last.norm_bias) == pytest.approx(np.linalg.norm(np.concatenate(biases)), rel=1e-9)
        assert float(last.train_loss) == pytest.approx(torch_loss(module(X), Y, loss, "mean").item(), rel=1e-9)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", DATA)
def test_the_error_of_a_step_is_bounded_by_rounding(level, dtype, rows):
    """Each sum of m terms has an error of at most about m u times the sum of the absolute values of the terms."""
    kernels, data, h = kernels_of(level), DATA[rows](), 37
    net = network(data, "both", h, dtype=dtype)
    X = np.hstack([data.X_train, np.ones((len(data.X_train), 1))]).astype(dtype)
    Y, unit = data.Y_train.astype(dtype), UNIT_ROUNDOFF[dtype]
    (n, d_in), d_out = X.shape, Y.shape[1]
    bits = dtype[-2:]
    samples = getattr(kernels, f"Samples{bits}")
    sparse = zl.datasets.from_arrays(X, Y, rows="sparse").rows_train
    forms = {
        "sparse": (sparse.indptr.astype(np.int64), sparse.indices.astype(np.int64), sparse.data.astype(dtype), d_in)
    }
    train = samples(X, Y, True) if rows == "dense" else samples(*forms["sparse"], Y, True)
    test = samples(X[:0], Y[:0], True)
    E, W = (layer.copy() for layer in net.layers)
    descent = getattr(kernels, f"Descent{bits}")(
        train,
        test,
        kernels.Activation("relu", 0.0),
        kernels.Loss("mse", "sum"),
        kernels.Optimizer("sgd", 1.0, 0.0, 0.0, 0.0),
        h,
        1,
        None,
        None,
        True,
    )
    descent.advance(descent.bind(E, W, steps=np.zeros((), np.int64)), kernels.DescentChunk(1))
    exact = [layer.astype(float) for layer in net.layers]
    X, Y = X.astype(float), Y.astype(float)

    def gradient(X, E, W, Y):
        """Return the gradients, and with absolute values of all arguments the sums of absolute values of the terms."""
        Z = X @ E
        H = np.hstack([np.maximum(Z, 0), np.ones((n, 1))])
        G = 2 * (H @ W - Y)
        return X.T @ ((G @ W[:h].T) * (exact_Z > 0)), H.T @ G

    exact_Z = X @ exact[0]
    gradients = gradient(X, *exact, Y)
    bounds = gradient(np.abs(X), *map(np.abs, exact), -np.abs(Y))
    terms = 2 * (d_in + h + d_out + n) + 10
    for got, before, change, bound in zip((E, W), exact, gradients, bounds, strict=True):
        assert (np.abs(got - (before - change)) <= unit * (terms * bound + np.abs(before))).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", DATA)
def test_bits_do_not_depend_on_threads_or_chunks(dtype, rows):
    data = DATA[rows]()
    for bias, (make, _, settings), activation in itertools.product(BIASES, DYNAMICS.values(), ("relu", "tanh")):
        net = network(data, bias, 70, activation, dtype)
        whole = zl.simulate(make(**settings), data, net, steps=30, record_every=10, threads=1)
        parts = zl.simulate(make(**settings), data, net, steps=7, record_every=10, threads=2)
        for steps in (13, 10):
            parts = parts.extend(steps=steps)
        assert parts.network.parameters.keys() == whole.network.parameters.keys() == net.parameters.keys()
        for name, array in whole.network.parameters.items():
            assert array.tobytes() == parts.network.parameters[name].tobytes()
        assert whole.history.norm_bias.values.tobytes() == parts.history.norm_bias.values.tobytes()


@pytest.mark.parametrize("rows", ["pairs", "3-hot", "dense"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_a_column_of_ones_is_a_hidden_bias(rows, activation):
    data = DATA[rows]()
    X, X_test = (np.hstack([A, np.ones((len(A), 1))]) for A in (data.X_train, data.X_test))
    column = zl.datasets.from_arrays(
        X, data.Y_train, X_test, data.Y_test, rows="dense" if rows == "dense" else "sparse"
    )
    net = network(data, "hidden", activation=activation)
    dynamics = zl.GradientDescent(lr=0.1, weight_decay=1e-2)
    run = zl.simulate(dynamics, data, net, steps=50)
    other = zl.simulate(dynamics, column, zl.networks.from_arrays(*net.layers, activation), steps=50)
    np.testing.assert_allclose(run.network.layers[0], other.network.E, atol=1e-13)
    np.testing.assert_allclose(run.network.W, other.network.W, atol=1e-13)
    last, of_column = (float(part.history.norm_E[-1]) for part in (run, other))
    assert np.hypot(last, float(run.history.norm_bias[-1])) == pytest.approx(of_column, rel=1e-12)
    assert "norm_bias" not in other.history


@pytest.mark.parametrize("layers", ["E", "W", "both"])
def test_a_constrained_norm_includes_the_biases_of_its_layers(layers):
    data = DATA["pairs"]()
    net = network(data, "both")
    descent = zl.GradientDescent(lr=0.1, weight_decay=1e-2, norm_constraint="fixed", norm_layers=layers)
    run = zl.simulate(descent, data, net, steps=20)
    plain = zl.GradientDescent(lr=0.1, weight_decay=1e-2)
    theta = list(net.layers)
    places = {"E": [0], "W": [1], "both": [0, 1]}[layers]
    target = np.sqrt(sum((theta[place] ** 2).sum() for place in places))
    for _ in range(20):
        theta = list(zl.simulate(plain, data, net.with_layers(*theta), steps=1).network.layers)
        norm = np.sqrt(sum((theta[place] ** 2).sum() for place in places))
        for place in places:
            theta[place] = theta[place] * (target / norm)
    for got, expected in zip(run.network.layers, theta, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-13)


@pytest.mark.parametrize("bias", BIASES)
def test_runs_with_biases_are_saved_and_resumed(bias, tmp_path):
    data = DATA["pairs"]()
    net = network(data, bias, dtype="float32")
    descent = zl.GradientDescent(lr=0.1, momentum=0.9)
    run = zl.simulate(descent, data, net, steps=20, record_every=10, snapshot_every=5)
    assert run.snapshots.sizes["step"] == 5
    run.save(tmp_path / "run")
    loaded = zl.load(tmp_path / "run")
    for name, array in run.network.parameters.items():
        assert array.tobytes() == loaded.network.parameters[name].tobytes()
        assert run.snapshots[name].values.tobytes() == loaded.snapshots[name].values.tobytes()
        assert run.snapshots[name].values[-1].tobytes() == array.tobytes()
    whole = zl.simulate(descent, data, net, steps=40, record_every=10, snapshot_every=5)
    loaded = loaded.extend(steps=20)
    assert whole.network.E.tobytes() == loaded.network.E.tobytes()
    assert whole.history.norm_bias.values.tobytes() == loaded.history.norm_bias.values.tobytes()


def test_measures_that_compare_networks_see_biases():
    data, seen = DATA["pairs"](), []

    def measure(network, earlier):
        seen.append(earlier is None or set(earlier.parameters) == set(network.parameters))
        return 0.0

    measure.lag = 3
    zl.simulate(
        zl.GradientDescent(lr=0.1), data, network(data, "both"), steps=20, record_every=5, measures={"m": measure}
    )
    assert len(seen) == 5
    assert all(seen)


def test_configurations_have_biases_and_older_ones_keep_their_fingerprint():
    assert zl.config.from_settings({"network": {"bias": "both"}}).network.bias == "both"
    with pytest.raises(ValueError, match=r"network\.bias: expected one of none, hidden, both, got 'all'"):
        zl.config.from_settings({"network": {"bias": "all"}})
    plain = zl.config.from_settings({})
    assert plain.fingerprint() == "98791e0d310b7bba"  # of version 0.1.0
    given = zl.config.from_settings({"network": {"bias": "none"}, "dynamics": {"decay_biases": True}})
    assert given.fingerprint() == plain.fingerprint()
    for changed in ({"network": {"bias": "hidden"}}, {"dynamics": {"decay_biases": False}}):
        assert zl.config.from_settings(changed).fingerprint() != plain.fingerprint()


def test_initial_biases_follow_pytorch():
    data = zl.datasets.modular_addition(59, test_count=7, seed=0)
    plain = zl.networks.uniform_fan_in(data, hidden=4000, seed=3)
    both = zl.networks.uniform_fan_in(data, hidden=4000, seed=3, bias="both")
    assert plain.E.tobytes() == both.E.tobytes()
    assert plain.W.tobytes() == both.W.tobytes()
    assert plain.bias == "none"
    for values, fan_in in ((both.bias_hidden, 59), (both.bias_output, 4000)):
        assert np.abs(values).max() <= fan_in**-0.5
    assert np.abs(both.bias_hidden).max() > 0.99 * 59**-0.5  # of 4000 draws, with probability 1 − 0.99⁴⁰⁰⁰
    assert zl.networks.uniform_fan_in(data, hidden=5, seed=3, bias="hidden").bias_output is None
    normal = zl.networks.normal(data, hidden=5, std=0.1, seed=3, bias="both")
    assert not normal.bias_hidden.any()
    assert not normal.bias_output.any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("names", [None, {"E": "E", "W": "W"}, {"E": "a.weight", "W": "b", "bias_output": "c"}])
def test_checkpoints_keep_biases(dtype, names, tmp_path):
    data = DATA["pairs"]()
    for bias in BIASES:
        net = network(data, bias, activation="tanh", dtype=dtype)
        zl.networks.to_checkpoint(net, tmp_path / "net.safetensors", names)
        loaded = zl.networks.from_checkpoint(tmp_path / "net.safetensors", names)
        assert loaded.bias == bias
        assert all(array.tobytes() == loaded.parameters[name].tobytes() for name, array in net.parameters.items())
        again = net.astype("float64")
        assert all(array.tobytes() == again.parameters[name].tobytes() for name, array in again.parameters.items())
    with pytest.raises(ValueError, match="names: expected a further name for bias_output"):
        zl.networks.to_checkpoint(network(data, "both"), tmp_path / "other", {"E": "E", "W": "b"})


def test_biases_of_wrong_shape_are_rejected():
    E, W = np.ones((3, 4)), np.ones((4, 2))
    with pytest.raises(
        ValueError, match=r"bias_hidden: expected shape \(4,\), one number for each column of E, got \(3,\)"
    ):
        zl.networks.from_arrays(E, W, bias_hidden=np.ones(3))
    with pytest.raises(ValueError, match=r"bias_output: expected shape \(2,\), .* got \(1, 2\)"):
        zl.networks.from_arrays(E, W, bias_output=np.ones((1, 2)))
    with pytest.raises(ValueError, match="bias_hidden: expected finite numbers"):
        zl.networks.from_arrays(E, W, bias_hidden=[0, 0, np.nan, 0])
    net = zl.networks.from_arrays(E, W, bias_hidden=np.ones(4))
    with pytest.raises(ValueError, match=r"W: expected shape \(4, 2\), got \(5, 2\)"):
        net.with_layers(np.ones((4, 4)), np.ones((5, 2)))
    with pytest.raises(ValueError, match="bias: expected one of none, hidden, both, got 'output'"):
        zl.networks.uniform_fan_in(DATA["pairs"](), hidden=3, seed=0, bias="output")


@pytest.mark.parametrize("bias", ["output", "both"])
def test_the_normalised_margin_needs_a_homogeneous_network(bias):
    data = DATA["pairs"]()
    with pytest.raises(ValueError, match="net: expected a network without biases of the outputs"):
        zl.metrics.normalised_margin(network(data, bias), data.X_train, data.Y_train)


def test_fourier_summaries_and_outcomes_do_not_see_biases():
    data = DATA["pairs"]()
    net = network(data, "both")
    plain = zl.networks.from_arrays(net.E, net.W)
    run = zl.simulate(zl.GradientDescent(lr=0.1), data, net, steps=1)
    assert zl.fourier.summary(run.network.E, data).strongest_share > 0
    assert "biases" not in repr(plain)
    assert "bias='both'" in repr(net)


@pytest.mark.parametrize("rows", ["pairs", "3-hot", "dense"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_minibatches_agree_with_linear_layers(rows, activation):
    data, size, steps = DATA[rows](), 7, 25
    n, per_epoch = data.train_count, -(-data.train_count // size)
    net = network(data, "both", activation=activation)
    descent = zl.GradientDescent(lr=0.1, momentum=0.9, batch_size=size, batch_seed=3)
    run = zl.simulate(descent, data, net, steps=steps)
    parameters = leaves(net)
    optimizer = torch.optim.SGD(list(parameters.values()), lr=0.1, momentum=0.9)
    for step in range(steps):
        order = kernels.epoch_order(3, step // per_epoch, n)
        chosen = order[step % per_epoch * size :][:size]
        outputs = torch_outputs(parameters, torch.tensor(data.X_train[chosen]), activation)
        optimizer.zero_grad()
        torch_loss(outputs, torch.tensor(data.Y_train[chosen]), "mse", "mean").backward()
        optimizer.step()
    for name, expected in parameters.items():
        np.testing.assert_allclose(run.network.parameters[name], expected.detach(), atol=1e-11, err_msg=name)


@pytest.mark.parametrize("kind", DYNAMICS)
def test_a_layer_that_is_not_trained_keeps_its_biases(kind):
    make, _, settings = DYNAMICS[kind]
    data = DATA["pairs"]()
    net = network(data, "both")
    kept = {"E": ("W", "bias_output"), "W": ("E", "bias_hidden")}
    for layers, names in kept.items():
        run = zl.simulate(make(**settings, train_layers=layers), data, net, steps=10)
        for name, array in net.parameters.items():
            assert (run.network.parameters[name].tobytes() == array.tobytes()) == (name in names)
