"""Thousands of unusual calls return an answer or raise a clear error; none crashes.

Shapes, strides, types and values vary, in calls of the public functions and of the kernels, which check only shapes and
ranges.
"""

import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from hypothesis.extra import numpy as some_numpy

import zeroloss as zl
from zeroloss._kernels import kernels

CASES = settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
CLEAR = (ValueError, TypeError, np.linalg.LinAlgError, zl.geometry.ProjectionError)

DTYPES = some.sampled_from(["f8", "f4", "f2", "i8", "i4", "u1", "?", "c16", "O", "S3", ">f8"])
EXTREMES = some.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-320, 1e-45, 1e300, -1e300, 1e38, np.nan, np.inf, -np.inf])
NUMBERS = some.one_of(EXTREMES, some.floats(-3, 3), some.integers(-3, 10), some.none(), some.just("3"), some.booleans())
SIZES = some.integers(0, 4)
GOOD_SIZES = some.integers(1, 5)
ACTIVATIONS = some.sampled_from(["identity", "relu", "leaky_relu(0.1)", "square", "tanh", "gelu", "softplus(5)"])


def with_layout(array, how):
    """Return the same entries with another layout in memory."""
    if how == "fortran":
        return np.asfortranarray(array)
    if how == "every other" and array.ndim == 2:
        wide = np.zeros((array.shape[0], 2 * array.shape[1]), array.dtype)
        wide[:, ::2] = array
        return wide[:, ::2]
    if how == "backwards" and array.ndim > 0:
        return array[::-1].copy()[::-1]
    if how == "read-only":
        array.flags.writeable = False
    return array


@some.composite
def matrices(draw, rows=SIZES, columns=SIZES, dtypes=DTYPES):
    """A matrix in most cases, and sometimes another object."""
    if draw(some.integers(0, 19)) == 0:
        return draw(
            some.one_of(some.none(), some.text(max_size=3), some.lists(some.floats(-1, 1), max_size=3), NUMBERS)
        )
    shape = (draw(rows), draw(columns)) if draw(some.integers(0, 9)) else tuple(draw(some.lists(SIZES, max_size=3)))
    dtype = np.dtype(draw(dtypes))
    if dtype.kind == "f":
        elements = some.one_of(EXTREMES, some.floats(-2, 2))
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            values = [draw(elements) for _ in range(int(np.prod(shape, dtype=int)))]
            array = np.array(values, np.float64).reshape(shape).astype(dtype)
    else:
        array = draw(some_numpy.arrays(dtype, shape)) if dtype.kind not in "OS" else np.zeros(shape, dtype)
    return with_layout(array, draw(some.sampled_from(["as it is", "fortran", "every other", "backwards", "read-only"])))


def draw_finite(draw, shape, dtype="f8"):
    values = draw(some.lists(some.floats(-2, 2), min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
    return np.array(values, dtype).reshape(shape)


@some.composite
def problems(draw):
    """A valid dataset and network of small odd sizes."""
    n, d_in, h, d_out = (draw(GOOD_SIZES) for _ in range(4))
    rows = draw(some.sampled_from(["sparse", "dense"]))
    data = zl.datasets.from_arrays(draw_finite(draw, (n, d_in)), draw_finite(draw, (n, d_out)), rows=rows)
    dtype = draw(some.sampled_from(["f8", "f4"]))
    net = zl.networks.from_arrays(
        draw_finite(draw, (d_in, h), dtype), draw_finite(draw, (h, d_out), dtype), draw(ACTIVATIONS)
    )
    return data, net


def checked_call(function, *arguments, **options):
    """Call a function; an error must be of an expected type and have a message."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return function(*arguments, **options)
    except CLEAR as error:
        if len(str(error)) <= 8:
            raise
        return None


@CASES
@given(matrices(), matrices(), matrices(), matrices(), some.sampled_from(["auto", "sparse", "dense", "odd", 3]))
def test_datasets_from_any_arrays_are_finite_or_rejected(X, Y, X_test, Y_test, rows):
    data = checked_call(zl.datasets.from_arrays, X, Y, X_test, Y_test, rows=rows)
    if data is not None:
        assert np.isfinite(data.X_train).all()
        assert len(data.X_train) == len(data.Y_train) >= 1


@CASES
@given(matrices(), matrices(), some.one_of(ACTIVATIONS, some.text(max_size=12)))
def test_networks_from_any_arrays_have_their_values_or_are_rejected(E, W, activation):
    net = checked_call(zl.networks.from_arrays, E, W, activation)
    if net is not None:
        assert net.E.shape[1] == net.W.shape[0] >= 1
        np.testing.assert_array_equal(net.E, np.asarray(E).astype(net.dtype))


@CASES
@given(problems(), some.sampled_from(["mse", "cross_entropy", "x"]), some.sampled_from(["mean", "sum", None]))
def test_losses_of_any_problem_agree_with_numpy(problem, loss, reduction):
    data, net = problem
    found = checked_call(zl.loss_and_gradient, net, data, loss=loss, reduction=reduction)
    if found is not None and loss == "mse":
        X, Y = data.X_train, data.Y_train
        if net.activation == "relu":
            F = np.maximum(X @ net.E.astype(float), 0) @ net.W.astype(float)
            scale = Y.size if reduction == "mean" else 1
            expected = ((F - Y) ** 2).sum() / scale
            assert found[0] == pytest.approx(expected, rel=1e-4, abs=1e-4)


@CASES
@given(problems(), NUMBERS)
def test_predicted_gradients_of_any_problem_have_the_shape_of_E(problem, ridge):
    data, net = problem
    found = checked_call(zl.predicted_gradient, net, data, ridge=ridge)
    if found is not None:
        assert found[0].shape == net.E.shape


@CASES
@given(problems(), NUMBERS, NUMBERS, NUMBERS, some.integers(0, 5), some.one_of(some.none(), some.integers(1, 9)))
def test_simulations_of_any_problem_have_finite_records(problem, lr, weight_decay, momentum, steps, threads):
    data, net = problem

    def run():
        dynamics = zl.GradientDescent(lr=lr, weight_decay=weight_decay, momentum=momentum, compensated=steps % 2 == 0)
        return zl.simulate(dynamics, data, net, steps=steps, record_every=1, threads=threads, progress=False)

    found = checked_call(run)
    if found is not None:
        assert np.isfinite(found.history.train_loss.values).all()
        assert len(str(found.outcome)) > 8


@CASES
@given(problems(), NUMBERS, NUMBERS, some.integers(0, 4))
def test_predicted_gradient_simulations_of_any_problem_end_with_an_outcome(problem, step_size, ridge, steps):
    data, net = problem

    def run():
        dynamics = zl.PredictedGradient(step_size=step_size, ridge=ridge)
        return zl.simulate(dynamics, data, net, steps=steps, record_every=1, progress=False)

    found = checked_call(run)
    assert found is None or len(str(found.outcome)) > 8


@CASES
@given(problems(), some.sampled_from(["gram", "norm_direction", "singular_values", "project"]))
def test_geometry_of_any_problem_is_not_negative(problem, name):
    data, net = problem
    found = checked_call(getattr(zl.geometry, name), net.astype("float64"), data)
    if found is not None:
        numbers = {
            "gram": lambda K: K.diagonal(),
            "norm_direction": lambda direction: direction.norm,
            "singular_values": lambda values: values,
            "project": lambda projection: projection.distance,
        }[name](found)
        assert (np.asarray(numbers) >= 0).all()


@CASES
@given(problems(), some.sampled_from(["mse", "cross_entropy", "x"]), some.sampled_from(["hessian", "gauss_newton", 0]))
def test_curvature_of_any_problem_agrees_with_its_spectrum(problem, loss, part):
    data, net = problem
    values = checked_call(zl.curvature.spectrum, net, data, loss=loss, part=part)
    if values is not None:
        size = max(np.abs(values).max(), 1e-30)
        assert abs(zl.curvature.sharpness(net, data, loss, part=part) - values[0]) <= 1e-8 * size
        assert abs(zl.curvature.trace(net, data, loss, part=part) - values.sum()) <= 1e-10 * size * len(values)
    smallest = checked_call(zl.curvature.smallest, net, data, 0.1, loss=loss)
    assert smallest is None or smallest.residual <= 1e-3 * max(1, abs(smallest.value))


INTEGERS = some.integers(-2, 5)


@some.composite
def raw_samples(draw):
    if draw(some.booleans()):
        return kernels.Samples64(draw(matrices(dtypes=some.just("f8"))), draw(matrices(dtypes=some.just("f8"))))
    indices = [np.array(draw(some.lists(some.integers(-3, 6), max_size=5)), np.int64) for _ in range(2)]
    values = np.ones(draw(some.integers(0, 5)))
    return kernels.Samples64(*indices, values, draw(INTEGERS), draw(matrices(dtypes=some.just("f8"))))


@CASES
@given(some.data())
def test_kernels_answer_or_raise_for_any_arguments(data):

    def call():
        draw = data.draw
        n, d_in, h, d_out = (draw(SIZES) for _ in range(4))
        fitting = draw(some.integers(0, 3)) > 0  # Most cases pass the checks of shapes.
        if fitting:
            samples = kernels.Samples64(draw_finite(draw, (n, d_in)), draw_finite(draw, (n, d_out)))
            theta = draw_finite(draw, (d_in, h)), draw_finite(draw, (h, d_out))
        else:
            samples = draw(raw_samples())
            theta = draw(matrices(dtypes=some.just("f8"))), draw(matrices(dtypes=some.just("f8")))
        hidden, threads = (h if fitting else draw(INTEGERS)), draw(INTEGERS)
        none = kernels.Samples64(np.zeros((0, d_in)), np.zeros((0, d_out)))
        kinds = some.sampled_from(["relu", "tanh", "gelu", "odd"])
        activation = kernels.Activation(draw(kinds), draw(some.floats(-1, 1)))
        loss = kernels.Loss(draw(some.sampled_from(["mse", "cross_entropy"])), "mean")
        kind = draw(some.integers(0, 4))
        if kind == 0:
            optimizer = kernels.Optimizer("sgd", 0.1, 0.0, 0.0, draw(some.sampled_from([0.0, 0.5])))
            test = draw(some.sampled_from([samples, none]))
            layers = draw(some.booleans()), draw(some.booleans())
            control = kernels.NormControl(draw(some.sampled_from(["hold", "cap", "rescale"])), *layers, 1.0, 2)
            control = draw(some.sampled_from([None, control]))
            descent = kernels.Descent64(samples, test, activation, loss, optimizer, hidden, threads, control)
            velocity, reference = draw(some.sampled_from([(None, None), theta])), np.zeros(draw(some.integers(0, 2)))
            reference = draw(some.sampled_from([None, reference]))
            layers = dict(zip(("velocity_E", "velocity_W"), velocity, strict=True))
            state = descent.bind(*theta, steps=np.array(draw(INTEGERS)), reference_norm=reference, **layers)
            numbers = some.none() | some.lists(INTEGERS, max_size=3)
            rates, record_at = (draw(numbers) for _ in range(2))
            chunk = kernels.DescentChunk(
                draw(INTEGERS),
                rates=None if rates is None else np.array(rates, float),
                losses=draw(some.booleans()),
                record_at=None if record_at is None else np.array(record_at, np.int64),
            )
            checked_call = descent.advance(state, chunk)
            return checked_call.finite, checked_call.losses, checked_call.records
        if kind == 1:
            predicted = kernels.PredictedGradient64(samples, activation, draw(EXTREMES), hidden, threads)
            return predicted.evaluate(theta[0]), predicted.advance(theta[0], draw(EXTREMES), draw(INTEGERS))
        if kind == 2:
            return kernels.describe(samples, draw(some.sampled_from([samples, none])), *theta, activation, loss)
        if kind == 3:
            return kernels.loss_and_gradient(samples, *theta, activation, loss)
        solver = draw(some.sampled_from(["dense", "matrix_free"]))
        zero_loss = kernels.ZeroLossSet(samples, activation, solver, 1e-8, 20)
        return zero_loss.residual(*theta), zero_loss.gram(*theta), zero_loss.direction(*theta)

    checked_call(call)
