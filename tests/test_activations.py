"""Values and slopes of the activations against autograd in float64 and 40 digits of mpmath, at every level and
precision.
"""

from functools import cache

import mpmath
import numpy as np
import pytest

from problems import ACTIVATIONS, LEVELS, UNIT_ROUNDOFF, kernels_of, same_bits, torch_activation
from torch_oracle import torch
from zeroloss.networks import _parse_activation

#: Bounds on the errors of value and slope of the smooth activations, in units in the last place, as stated in
#: csrc/core/math/exp_log_tanh.hpp. The tail of gelu has one more rounding. Its slope has a zero, near which no digit
#: is left.
LAST_PLACES = {"tanh": (3.2, 4.6), "softplus": (2.3, 4.0), "gelu": (9.0, None)}

POINTS = np.concatenate([-np.logspace(2, -8, 401), [-0.0, 0.0], np.logspace(-8, 2, 401)])


def value_and_slope(level, dtype, activation, z):
    """Return σ and σ' of a column of numbers, computed with X = z and E = 1."""
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
def test_value_and_slope_agree_with_autograd(activation, level, dtype):
    """The error is a few units in the last place of max(1, |z|), as is the error of autograd."""
    points = POINTS.astype(dtype).astype(np.float64)
    z = torch.tensor(points, requires_grad=True)
    value = torch_activation(activation)(z)
    value.sum().backward()
    H, S = value_and_slope(level, dtype, activation, points)
    scale = np.maximum(1.0, np.maximum(np.abs(points), np.abs(value.detach().numpy())))
    smooth = points != 0 if "relu" in activation else np.full(points.shape, True)
    assert (np.abs(H - value.detach().numpy()) / scale).max() < 12 * UNIT_ROUNDOFF[dtype]
    assert (np.abs(S - z.grad.numpy()) / scale)[smooth].max() < 12 * UNIT_ROUNDOFF[dtype]


@cache
def truth(activation, dtype):
    """Return points down to the underflow of the activation or its slope, and both there, rounded from 40 digits."""
    ends = {"tanh": 3.7e2, "softplus": 7.4e2, "gelu": 37.5} if dtype == "float64" else {"gelu": 13}
    sizes = np.concatenate([np.logspace(-8, np.log10(ends.get(activation, 87)), 300), np.linspace(0.01, 12, 300)])
    points = np.concatenate([-sizes, sizes]).astype(dtype)
    functions = {
        "tanh": (mpmath.tanh, lambda z: 1 / mpmath.cosh(z) ** 2),
        "softplus": (lambda z: mpmath.log1p(mpmath.exp(z)), lambda z: 1 / (1 + mpmath.exp(-z))),
        "gelu": (lambda z: z * mpmath.ncdf(z), lambda z: mpmath.ncdf(z) + z * mpmath.npdf(z)),
    }
    with mpmath.workdps(40):
        both = [[function(mpmath.mpf(float(z))) for z in points] for function in functions[activation]]
        rounded = [np.array([float(y) for y in values]).astype(dtype) for values in both]
        rests = [
            np.array([float(y - mpmath.mpf(float(r))) for y, r in zip(values, near, strict=True)])
            for values, near in zip(both, rounded, strict=True)
        ]
    return points, rounded, rests


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("activation", LAST_PLACES)
def test_last_places_are_right(activation, level, dtype):
    """All digits are right near 0, in the tails, and down to denormal results."""
    points, rounded, rests = truth(activation, dtype)
    for found, near, rest, bound in zip(
        value_and_slope(level, dtype, activation, points), rounded, rests, LAST_PLACES[activation], strict=True
    ):
        if bound is not None:
            error = found.astype(np.float64) - near - rest
            assert (np.abs(error) / np.spacing(np.abs(near))).max() < bound


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("activation", LAST_PLACES)
def test_activations_have_their_limits(activation, level, dtype):
    """At infinity, and at numbers so large that value and slope equal their limits."""
    far = [np.inf, np.finfo(dtype).max, 1e4]
    H, S = value_and_slope(level, dtype, activation, [*far, *np.negative(far)])
    limits = np.asarray(far, dtype).tolist()
    assert H.tolist() == ([1, 1, 1, -1, -1, -1] if activation == "tanh" else [*limits, 0, 0, 0])
    assert S.tolist() == ([0] * 6 if activation == "tanh" else [1, 1, 1, 0, 0, 0])


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_bits_do_not_depend_on_the_position(dtype, activation, level):
    """The position is the lane, the register, and whether a number is in the padded remainder."""
    H, S = value_and_slope(level, dtype, activation, POINTS)
    for start in (1, 2, 4, 7, 8, 16, 24):
        shifted_H, shifted_S = value_and_slope(level, dtype, activation, POINTS[start:])
        assert same_bits(shifted_H, H[start:])
        assert same_bits(shifted_S, S[start:])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_nan_stays_nan(activation, dtype):
    H, _ = value_and_slope(LEVELS[-1], dtype, activation, [0.5, np.nan, 0.5])
    assert np.isnan(H).tolist() == [False, True, False]
