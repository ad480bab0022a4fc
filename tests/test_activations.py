"""The elementwise stage against SciPy in float64, at every level and precision."""

import numpy as np
import pytest
import torch

from problems import ACTIVATIONS, LEVELS, UNIT_ROUNDOFF, kernels_of, same_bits, torch_activation
from zeroloss.networks import _parse_activation

POINTS = np.concatenate([-np.logspace(2, -8, 401), [-0.0, 0.0], np.logspace(-8, 2, 401)])


def hidden(level, dtype, activation, z):
    """σ and σ' of a column of numbers, through X = z and E = 1."""
    kernels = kernels_of(level)
    samples = (kernels.Samples64 if dtype == "float64" else kernels.Samples32)(
        np.asarray(z, dtype)[:, None], np.ones((len(z), 1), dtype)
    )
    kind, parameter = _parse_activation(activation)
    H, S = kernels.hidden(samples, np.ones((1, 1), dtype), kernels.Activation(kind, parameter or 0.0))
    return H[:, 0], S[:, 0]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_value_and_slope(activation, level, dtype):
    """Within a few units in the last place of max(1, |z|), where autograd's own error lies."""
    points = POINTS.astype(dtype).astype(np.float64)
    z = torch.tensor(points, requires_grad=True)
    value = torch_activation(activation)(z)
    value.sum().backward()
    H, S = hidden(level, dtype, activation, points)
    scale = np.maximum(1.0, np.maximum(np.abs(points), np.abs(value.detach().numpy())))
    smooth = points != 0 if "relu" in activation else np.full(points.shape, True)
    assert (np.abs(H - value.detach().numpy()) / scale).max() < 12 * UNIT_ROUNDOFF[dtype]
    assert (np.abs(S - z.grad.numpy()) / scale)[smooth].max() < 12 * UNIT_ROUNDOFF[dtype]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_bits_do_not_depend_on_the_place(activation, level):
    H, S = hidden(level, "float64", activation, POINTS)
    for start in (1, 2, 7):
        shifted_H, shifted_S = hidden(level, "float64", activation, POINTS[start:])
        assert same_bits(shifted_H, H[start:])
        assert same_bits(shifted_S, S[start:])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_nan_is_not_hidden(activation, dtype):
    H, _ = hidden(LEVELS[-1], dtype, activation, [0.5, np.nan, 0.5])
    assert np.isnan(H).tolist() == [False, True, False]
