"""Networks from PyTorch modules, and PyTorch modules from networks."""

import numpy as np
import pytest

import zeroloss as zl
from problems import ACTIVATIONS
from test_biases import BIASES, DATA, network
from torch_oracle import torch


@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name != "square"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_modules_of_pytorch_are_copied_both_ways(activation, dtype):
    assert torch.__version__  # Without PyTorch, the test is skipped here.
    data = DATA["pairs"]()
    for bias in ("none", *BIASES):
        net = network(data, "both", activation=activation, dtype=dtype)
        keep = {"none": (), "hidden": ("bias_hidden",), "output": ("bias_output",), "both": net.parameters}[bias]
        net = zl.networks.from_arrays(net.E, net.W, activation, **{k: net.parameters[k] for k in keep if k[0] == "b"})
        module = zl.networks.to_torch(net)
        assert module[0].weight.dtype == getattr(torch, dtype)
        copy = zl.networks.from_torch(module)
        assert (copy.activation, copy.bias) == (activation, bias)
        assert all(array.tobytes() == copy.parameters[name].tobytes() for name, array in net.parameters.items())


def make_module(forward=None, **layers):
    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for name, layer in layers.items():
                setattr(self, name, layer)

    if forward is not None:
        Module.forward = forward
    return Module()


def test_modules_with_functions_in_forward_need_the_name_of_the_activation():
    linear = torch.nn.Linear
    module = make_module(lambda self, x: self.b(torch.tanh(self.a(x))), a=linear(5, 7), b=linear(7, 3))
    with pytest.raises(ValueError, match="activation: expected a name, because forward"):
        zl.networks.from_torch(module)
    with pytest.raises(ValueError, match="module: expected the outputs of two layers with relu, got others"):
        zl.networks.from_torch(module, "relu")
    net = zl.networks.from_torch(module, "tanh")
    X = torch.randn(4, 5)
    np.testing.assert_allclose(net(X.numpy()), module(X).detach(), atol=1e-6)


WRONG_MODULES = {
    "three layers": lambda nn: nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)),
    "one layer": lambda nn: nn.Sequential(nn.Linear(3, 4), nn.ReLU()),
    "a normalisation": lambda nn: nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.ReLU(), nn.Linear(4, 2)),
    "a dropout": lambda nn: nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Dropout(), nn.Linear(4, 2)),
    "an embedding": lambda nn: nn.Sequential(nn.Embedding(3, 4), nn.ReLU(), nn.Linear(4, 2)),
    "an unknown activation": lambda nn: nn.Sequential(nn.Linear(3, 4), nn.SiLU(), nn.Linear(4, 2)),
    "the approximate GELU": lambda nn: nn.Sequential(nn.Linear(3, 4), nn.GELU("tanh"), nn.Linear(4, 2)),
    "an activation at the end": lambda nn: nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2), nn.ReLU()),
    "layers that do not fit": lambda nn: nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(5, 2)),
    "a free parameter": lambda nn: make_module(
        a=nn.Linear(3, 4), b=nn.Linear(4, 2), c=nn.ParameterList([torch.ones(2)])
    ),
}


@pytest.mark.parametrize("case", WRONG_MODULES)
def test_other_modules_are_rejected(case):
    with pytest.raises(ValueError, match=r"^module: expected "):
        zl.networks.from_torch(WRONG_MODULES[case](torch.nn))


def test_objects_that_are_no_modules_are_rejected():
    assert torch.__version__
    with pytest.raises(TypeError, match=r"module: expected a torch\.nn\.Module, got 3"):
        zl.networks.from_torch(3)
    data = DATA["pairs"]()
    with pytest.raises(ValueError, match=r"net: expected an activation that is a module of torch\.nn, got square"):
        zl.networks.to_torch(network(data, "both", activation="square"))
