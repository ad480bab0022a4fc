"""The state of a descent is bound to the kernel once; each call gets this state and a request for steps."""

import gc

import numpy as np
import pytest

import zeroloss as zl
from problems import figure5, same_bits
from zeroloss._kernels import kernels
from zeroloss.datasets import kernel_samples
from zeroloss.networks import kernel_activation

HIDDEN = 12
RESCALE = {"norm_constraint": "once", "norm_from_step": 3, "norm_ratio": 0.5}
DESCENTS = {
    "plain": zl.GradientDescent(lr=0.1),
    "momentum": zl.GradientDescent(lr=0.1, momentum=0.9),
    "compensated": zl.GradientDescent(lr=0.1, momentum=0.5, compensated=True),
    "norm control": zl.GradientDescent(lr=0.1, **RESCALE),
    "schedule": zl.GradientDescent(lr={"schedule": "linear_warm_up", "lr": 0.1, "steps": 9}),
    "adamw": zl.AdamW(lr=0.01),
}


@pytest.fixture(scope="module")
def problem():
    data = zl.datasets.modular_addition(5, test_count=5, seed=0)
    return data, zl.networks.normal(data, HIDDEN, 0.5, 1)


def make_descent(problem, momentum=0.0, rule="sgd", control=None):
    data, net = problem
    train, test = (kernel_samples(data, part, net.dtype) for part in ("train", "test"))
    loss, optimizer = kernels.Loss("mse", "mean"), kernels.Optimizer(rule, 0.1, 0.0, 0.0, momentum, 0.9, 1e-8)
    return kernels.Descent64(train, test, kernel_activation(net), loss, optimizer, HIDDEN, 1, control)


def copy_arrays(problem, **others):
    _, net = problem
    return {"E": net.E.copy(), "W": net.W.copy(), "steps": np.zeros((), np.int64), **others}


def test_arrays_are_checked_on_binding(problem):
    _, net = problem
    read_only = net.E.copy()
    read_only.flags.writeable = False
    plain, momentum = make_descent(problem), make_descent(problem, 0.9)
    controlled = make_descent(problem, control=kernels.NormControl("hold", True, True, 1.0, 0))
    velocity = {"velocity_E": np.zeros_like(net.E), "velocity_W": np.zeros_like(net.W)}
    for kernel, bad, message in (
        (plain, {"E": net.E[:, 1:].copy()}, r"E: expected shape \(5, 12\), got \(5, 11\)"),
        (plain, {"W": net.W.ravel()}, r"W: expected shape \(12, 5\), got \(60\)"),
        (plain, {"E": read_only}, "not writeable"),
        (plain, {"steps": np.zeros(2, np.int64)}, r"steps: expected one number, got shape \(2\)"),
        (plain, velocity, "velocity_E: expected None, got an array"),
        (momentum, {}, "velocity_E: expected an array, got None"),
        (momentum, {"velocity_E": velocity["velocity_E"]}, "velocity_W: expected an array, got None"),
        (momentum, {**velocity, "velocity_W": np.zeros((5, 5))}, r"velocity_W: expected shape \(12, 5\), got \(5, 5\)"),
        (controlled, {}, "reference_norm: expected an array, got None"),
        (controlled, {"reference_norm": np.zeros(2)}, r"reference_norm: expected one number, got shape \(2\)"),
        (plain, {"reference_norm": np.zeros(())}, "reference_norm: expected None, got an array"),
    ):
        with pytest.raises(ValueError, match=message):
            kernel.bind(**copy_arrays(problem, **bad))
    for bad in ({"E": net.E.astype("float32")}, {"E": np.asfortranarray(net.E)}, {"W": None}, {"steps": np.zeros(())}):
        with pytest.raises(TypeError, match="incompatible function arguments"):
            plain.bind(**copy_arrays(problem, **bad))


def test_a_state_is_rejected_by_descents_of_another_kind(problem):
    plain, momentum = make_descent(problem), make_descent(problem, 0.9)
    state = plain.bind(**copy_arrays(problem))
    assert make_descent(problem).advance(state, kernels.DescentChunk(1)).finite
    for call in (lambda: momentum.advance(state, kernels.DescentChunk(1)), lambda: momentum.record(state)):
        with pytest.raises(ValueError, match="state: expected arrays that this descent has bound"):
            call()


def test_requests_are_checked_on_construction(problem):
    for bad, message in (
        ({"steps": -1}, "steps: expected at least 0, got -1"),
        ({"rates": np.ones(2)}, r"rates: expected shape \(3\), got \(2\)"),
        ({"rates": np.ones((3, 1))}, r"rates: expected a vector, got shape \(3, 1\)"),
        ({"record_at": np.array([1, 1])}, "record_at: expected increasing steps from 0 to 2"),
        ({"record_at": np.array([-1])}, "record_at: expected increasing steps from 0 to 2"),
        ({"record_at": np.array([2, 3])}, "record_at: expected increasing steps from 0 to 2"),
    ):
        with pytest.raises(ValueError, match=message):
            kernels.DescentChunk(**{"steps": 3, **bad})
    with pytest.raises(TypeError, match="incompatible constructor arguments"):
        kernels.DescentChunk(3, rates=np.ones(3, "float32"))
    state = make_descent(problem).bind(**copy_arrays(problem, steps=np.array(-1)))
    with pytest.raises(ValueError, match="steps: expected at least 0, got -1"):
        make_descent(problem).advance(state, kernels.DescentChunk(1))


def test_an_answer_has_the_requested_parts(problem):
    kernel, own = make_descent(problem), copy_arrays(problem)
    state = kernel.bind(**own)
    answer = kernel.advance(state, kernels.DescentChunk(3))
    assert answer.finite
    assert answer.losses is answer.records is None
    assert own["steps"] == 3
    described = kernel.record(state)
    answer = kernel.advance(state, kernels.DescentChunk(4, losses=True, record_at=np.array([0, 3])))
    assert answer.records.dtype == kernels.record_dtype
    assert same_bits(answer.records[:1], described)
    assert same_bits(answer.records["train_loss"], answer.losses[[0, 3]])
    assert answer.losses.shape == (4,)
    assert own["steps"] == 7


def test_bound_arrays_live_as_long_as_the_state(problem):
    kernel, own = make_descent(problem), copy_arrays(problem)
    expected, bound = copy_arrays(problem), kernel.bind(**own)
    steps = kernels.DescentChunk(5)
    kernel.advance(kernel.bind(**expected), steps)
    E = own.pop("E")[:]
    own.clear()
    gc.collect()
    kernel.advance(bound, steps)
    assert same_bits(E, expected["E"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", DESCENTS)
def test_a_restored_state_continues_to_the_same_bits(name, dtype):
    """It is restored into the arrays of the stepper, which the kernel uses."""
    data, net = figure5(dtype)
    stepper = DESCENTS[name].start(data, net)
    stepper.advance(4)
    saved, own = stepper.save(), dict(stepper.state)
    stepper.advance(10)
    expected, record = stepper.save(), stepper.record()
    stepper.restore(saved)
    assert own["E"] is stepper.state["E"]
    stepper.advance(3)
    stepper.advance(7)
    assert stepper.record() == record
    assert all(same_bits(expected[key], array) for key, array in stepper.state.items())
    with pytest.raises(ValueError, match="state: expected E"):
        stepper.restore({**saved, "E": saved["E"][:1]})
