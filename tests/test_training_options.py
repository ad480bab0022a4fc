"""Temperature, frozen layers and learning rates of layers, against PyTorch's optimizers and exact identities."""

import dataclasses

import numpy as np
import pytest
import scipy.integrate

import zeroloss as zl
from problems import (
    figure5,
    flat,
    random_data,
    random_network,
    relative,
    same_bits,
    torch_activation,
    torch_parameters,
)
from torch_oracle import torch
from zeroloss import config

DATA = random_data(40, 6, 4, n_test=5)
LABELS = np.random.default_rng(5).integers(4, size=40)
CLASSES = zl.datasets.from_arrays(DATA.X_train, LABELS, classes=4)
NET = random_network(DATA, 17, "softplus(5)", std=0.5)


def torch_step_groups(net, dynamics, batches):
    """Take a step for each batch (X, Y) with PyTorch's optimizer, with a group of parameters for each trained layer."""
    E, W = torch_parameters(net)
    decays = {layer: dynamics.weight_decay * (dynamics.decay_layers in ("both", layer)) for layer in "EW"}
    rates = {"E": dynamics.lr, "W": dynamics.lr_W or dynamics.lr}
    groups = [
        {"params": [A], "lr": rates[layer], "weight_decay": decays[layer]}
        for layer, A in (("E", E), ("W", W))
        if dynamics.train_layers in ("both", layer)
    ]
    if isinstance(dynamics, zl.AdamW):
        optimizer = torch.optim.AdamW(groups, betas=dynamics.betas, eps=dynamics.eps)
    else:
        optimizer = torch.optim.SGD(groups, momentum=dynamics.momentum)
    for batch in batches:
        X, Y = (torch.tensor(A) for A in batch)
        optimizer.zero_grad()
        outputs = torch_activation(net.activation)(X @ E) @ W
        if dynamics.loss == "mse":
            loss = torch.nn.functional.mse_loss(outputs, Y)
        else:
            loss = -(Y * torch.log_softmax(outputs / dynamics.temperature, 1)).sum() / len(Y)
        loss.backward()
        optimizer.step()
    return E.detach().numpy(), W.detach().numpy()


SGD, ADAMW = zl.GradientDescent(lr=0.1, weight_decay=1e-3), zl.AdamW(lr=1e-3, weight_decay=1e-2)
OPTIONS = [
    {"loss": "cross_entropy", "temperature": 0.5},
    {"loss": "cross_entropy", "temperature": 3.0},
    {"train_layers": "E"},
    {"train_layers": "W"},
    {"train_layers": "W", "decay_layers": "W", "loss": "cross_entropy", "temperature": 2.0},
    {"lr_W": 0.02},
    {"lr_W": 0.02, "decay_layers": "E"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(
    "dynamics", [SGD, dataclasses.replace(SGD, momentum=0.9), ADAMW], ids=["plain", "momentum", "adamw"]
)
def test_200_steps_agree_with_pytorch(dynamics, options):
    data = CLASSES if options.get("loss") else DATA
    dynamics = dataclasses.replace(dynamics, **options)
    run = zl.simulate(dynamics, data, NET, steps=200, record_every=100)
    expected = torch_step_groups(NET, dynamics, [(data.X_train, data.Y_train)] * 200)
    assert relative(flat(run.network.E, run.network.W), flat(*expected)) < 1e-9
    assert run.history.train_loss[-1] < run.history.train_loss[0]


@pytest.mark.parametrize("data", [DATA, figure5()[0]], ids=["dense", "pairs"])
@pytest.mark.parametrize("options", [{}, {"momentum": 0.9}, {"compensated": True}], ids=str)
@pytest.mark.parametrize("layer", ["E", "W"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_frozen_layer_keeps_its_bits(data, options, layer, dtype):
    net = random_network(data, 21, dtype=dtype)
    descent = zl.GradientDescent(lr=0.01, weight_decay=1e-2, train_layers=layer, **options)
    end = zl.simulate(descent, data, net, steps=10).network
    frozen, trained = ("W", "E") if layer == "E" else ("E", "W")
    assert same_bits(getattr(end, frozen), getattr(net, frozen))
    assert not np.array_equal(getattr(end, trained), getattr(net, trained))


def test_a_temperature_is_a_factor_of_the_second_layer():
    """The loss of F/T at W is the loss of F at W/T, and the gradients for W differ by the factor T."""
    scaled = zl.networks.from_arrays(NET.E, NET.W / 4, NET.activation)
    loss, gE, gW = zl.loss_and_gradient(NET, CLASSES, "cross_entropy", temperature=4.0)
    loss_1, gE_1, gW_1 = zl.loss_and_gradient(scaled, CLASSES, "cross_entropy")
    assert loss == pytest.approx(loss_1, rel=1e-14)
    np.testing.assert_allclose(gE, gE_1, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(4 * gW, gW_1, rtol=1e-12, atol=1e-15)
    descent = zl.GradientDescent(lr=0.1, loss="cross_entropy", temperature=4.0)
    history = zl.simulate(descent, CLASSES, NET, steps=0).history
    assert float(history.train_loss[0]) == pytest.approx(loss, rel=1e-14)
    assert float(history.residual[0]) == pytest.approx(
        np.linalg.norm(NET.outputs(CLASSES.X_train) - CLASSES.Y_train), rel=1e-14
    )


def test_options_at_their_defaults_change_no_bit():
    data, net = figure5("float32")
    explicit = {"train_layers": "both", "lr_W": 1.0, "temperature": 1.0, "batch_size": 59, "label_noise_std": 0.0}
    plain = zl.simulate(zl.GradientDescent(lr=1.0, weight_decay=1e-3), data, net, steps=50, record_every=10)
    other = zl.simulate(zl.GradientDescent(lr=1.0, weight_decay=1e-3, **explicit), data, net, steps=50, record_every=10)
    assert same_bits(plain.network.E, other.network.E)
    assert same_bits(plain.history, other.history)


def test_a_schedule_scales_both_rates():
    schedule = zl.learning_rate.Step(0.1, 10, 0.5)
    both = zl.simulate(zl.GradientDescent(lr=0.1, lr_W=0.3), DATA, NET, steps=10).network
    halved = zl.simulate(zl.GradientDescent(lr=0.05, lr_W=0.15), DATA, both, steps=10).network
    run = zl.simulate(zl.GradientDescent(lr=schedule, lr_W=0.3), DATA, NET, steps=20)
    np.testing.assert_allclose(run.network.W, halved.W, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 2.0}, "temperature: needs loss 'cross_entropy', got 'mse'"),
        ({"temperature": 0.0}, "temperature: expected a number above 0, got 0.0"),
        ({"train_layers": "first"}, "train_layers: expected one of both, E, W, got 'first'"),
        ({"train_layers": "E", "decay_layers": "W"}, "decay_layers: expected 'E', the layer that is trained, got 'W'"),
        (
            {"train_layers": "E", "norm_constraint": "fixed"},
            "norm_layers: expected 'E', the layer that is trained, got 'both'",
        ),
        ({"train_layers": "E", "lr_W": 1.0}, "lr_W: needs train_layers=\"both\", got 'E'; the rate is lr"),
        ({"lr_W": -1.0}, "lr_W: expected a number above 0, got -1.0"),
        ({"batch_size": 0}, "batch_size: expected an integer of at least 1, got 0"),
        ({"batch_seed": 2**64}, r"batch_seed: expected an integer below 2\^64"),
        ({"noise_seed": -1}, "noise_seed: expected an integer of at least 0, got -1"),
        ({"label_noise_std": -0.1}, "label_noise_std: expected a number of at least 0, got -0.1"),
    ],
)
@pytest.mark.parametrize("kind", [zl.GradientDescent, zl.AdamW])
def test_bad_options_raise_one_clear_message(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(lr=0.1, **options)


def test_a_batch_above_the_number_of_samples_is_rejected():
    with pytest.raises(ValueError, match="batch_size: expected at most 40, the number of training samples, got 41"):
        zl.simulate(zl.GradientDescent(lr=0.1, batch_size=41), DATA, NET, steps=1)


def test_new_keys_do_not_change_the_fingerprints_of_earlier_configurations():
    """The fingerprints were computed before the keys existed."""
    expected = {"gradient_descent": "98791e0d310b7bba", "adamw": "fd701c7405591c67"}
    for kind, fingerprint in expected.items():
        settings = {"dynamics": {"kind": kind}, "run": {"steps": 10}}
        assert config.from_settings(settings).fingerprint() == fingerprint
        for key, value in (("batch_size", 5), ("batch_seed", 1), ("label_noise_std", 0.1), ("train_layers", "E")):
            other = config.from_settings({**settings, "dynamics": {"kind": kind, key: value}})
            assert other.fingerprint() != fingerprint


@pytest.mark.parametrize("options", [{"train_layers": "E"}, {"train_layers": "W"}, {"temperature": 2.0}], ids=str)
def test_the_gradient_flow_has_the_same_options(options):
    """Autograd's gradient, integrated by SciPy to 1e-10, is the oracle. The error of the flow is about rtol."""
    flow = zl.GradientFlow(weight_decay=1e-3, loss="cross_entropy", rtol=1e-8, **options)
    run = zl.simulate(flow, CLASSES, NET, duration=3.0)
    X, Y = torch.tensor(CLASSES.X_train), torch.tensor(CLASSES.Y_train)
    layers, moves = (NET.E, NET.W), [options.get("train_layers", layer) == layer for layer in "EW"]

    def slope(_, y):
        parts = zip(np.split(y, [NET.E.size]), layers, strict=True)
        E, W = (torch.tensor(part.reshape(A.shape), requires_grad=True) for part, A in parts)
        outputs = torch_activation(NET.activation)(X @ E) @ W / options.get("temperature", 1.0)
        torch.nn.functional.cross_entropy(outputs, Y).backward()
        return flat(*(-(A.grad + 1e-3 * A).detach().numpy() * m for A, m in zip((E, W), moves, strict=True)))

    end = scipy.integrate.solve_ivp(slope, (0, 3), flat(*layers), method="DOP853", rtol=1e-10, atol=1e-12).y[:, -1]
    assert relative(flat(run.network.E, run.network.W), end) < 1e-6
    for moved, start, after in zip(moves, layers, (run.network.E, run.network.W), strict=True):
        assert moved or same_bits(start, after)


def test_implicit_steps_of_the_gradient_flow_need_both_layers():
    with pytest.raises(ValueError, match=r"method: 'proximal' needs train_layers 'both', got 'E'"):
        zl.GradientFlow(weight_decay=1e-3, method="proximal", train_layers="E")
    relu = random_network(DATA, 17)
    frozen, both = (zl.GradientFlow(weight_decay=1e-9, train_layers=layers) for layers in ("W", "both"))
    assert (frozen.choose_method(DATA, relu), both.choose_method(DATA, relu)) == ("chebyshev", "proximal")
