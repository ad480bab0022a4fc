"""Learning-rate schedules against their definitions in extended precision, and against PyTorch's schedulers."""

from dataclasses import FrozenInstanceError, asdict

import mpmath
import numpy as np
import pytest

import zeroloss as zl
from problems import relative, same_bits, torch_loss, torch_parameters
from torch_oracle import torch
from zeroloss import config
from zeroloss.dynamics import learning_rate
from zeroloss.dynamics.learning_rate import SCHEDULES, Constant, Cosine, LinearWarmUp, Step

EPSILON = 2.0**-52

#: A schedule, PyTorch's scheduler, and the definition at step t for mpmath.
CASES = [
    (Constant(0.3), lambda o: torch.optim.lr_scheduler.ConstantLR(o, factor=1.0), lambda t: mpmath.mpf(0.3)),
    (
        LinearWarmUp(0.3, 70, 0.2),
        lambda o: torch.optim.lr_scheduler.LinearLR(o, start_factor=0.2, total_iters=70),
        lambda t: mpmath.mpf(0.3) * (mpmath.mpf(0.2) + (1 - mpmath.mpf(0.2)) * min(t, 70) / 70),
    ),
    (
        LinearWarmUp(7.0, 33),
        None,  # LinearLR cannot start at 0.
        lambda t: mpmath.mpf(7) * min(t, 33) / 33,
    ),
    (
        Step(2.5, 13, 0.7),
        lambda o: torch.optim.lr_scheduler.StepLR(o, 13, 0.7),
        lambda t: 2.5 * mpmath.mpf(0.7) ** (t // 13),
    ),
    (
        Cosine(1.5, 100, 0.25),
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 100, 0.25),
        lambda t: 0.25 + 1.25 * (1 + mpmath.cos(mpmath.pi * min(t, 100) / 100)) / 2,
    ),
    (
        Cosine(0.1, 97),
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 97),
        lambda t: mpmath.mpf(0.1) * (1 + mpmath.cos(mpmath.pi * min(t, 97) / 97)) / 2,
    ),
]
IDS = [repr(case[0]) for case in CASES]


@pytest.mark.parametrize(("schedule", "_", "definition"), CASES, ids=IDS)
def test_rates_agree_with_their_definition_to_a_few_units(schedule, _, definition):
    rates = schedule.rates(0, 150)
    with mpmath.workdps(40):
        expected = [definition(t) for t in range(150)]
        errors = [
            float(abs(rate - exact) / exact) if exact else abs(rate)
            for rate, exact in zip(rates, expected, strict=True)
        ]
    assert max(errors) <= 1e-15


@pytest.mark.parametrize(
    ("schedule", "scheduler"), [case[:2] for case in CASES if case[1]], ids=lambda one: type(one).__name__
)
def test_rates_agree_with_pytorch_s_schedulers(schedule, scheduler):
    """The closed forms of both round alike. If PyTorch steps, the error of each step is added."""
    steps = getattr(schedule, "steps", 120) + 1  # CosineAnnealingLR rises after these steps.
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=schedule.lr)
    theirs = scheduler(optimizer)
    stepped, closed = [], []
    closed_form = getattr(theirs, "_get_closed_form_lr", lambda: [schedule.lr])
    for _step in range(steps):
        stepped.append(theirs.get_last_lr()[0])
        closed += closed_form()
        optimizer.step()
        theirs.step()
    rates = schedule.rates(0, steps)
    assert np.abs(rates - closed).max() <= 1e-15 * schedule.lr
    assert (np.abs(rates - stepped) <= 4 * EPSILON * np.arange(1, steps + 1) * schedule.lr).all()
    assert stepped[0] == rates[0]


@pytest.mark.parametrize("schedule", [case[0] for case in CASES], ids=IDS)
def test_any_window_has_the_same_bits(schedule):
    whole = schedule.rates(0, 230)
    assert whole.dtype == np.float64
    for first, count in [(0, 1), (3, 50), (69, 2), (99, 3), (229, 1), (17, 0)]:
        assert schedule.rates(first, count).tobytes() == whole[first : first + count].tobytes()
    assert [schedule.at(t) for t in range(230)] == whole.tolist()


def test_rates_have_their_values_at_the_ends():
    assert LinearWarmUp(2.0, 10).rates(9, 3).tolist() == [1.8, 2.0, 2.0]
    assert Cosine(2.0, 10).rates(10, 3).tolist() == [0.0, 0.0, 0.0]
    assert Cosine(2.0, 10, 0.5).at(10**15) == 0.5
    assert Cosine(2.0, 10, 0.5).at(0) == 2.0
    assert Cosine(2.0, 1).rates(0, 2).tolist() == [2.0, 0.0]
    assert Step(1.0, 1, 0.5).at(1074) == 2.0**-1074
    assert Step(1.0, 1, 0.0).rates(0, 3).tolist() == [1.0, 0.0, 0.0]
    assert Step(1.0, 1, 1.0).at(2**53 - 1) == 1.0


@pytest.mark.parametrize("factor", [0.999, 0.7, 1 / 3, 1 - 2.0**-52])
def test_powers_agree_after_many_changes(factor):
    t = [1, 2, 3, 63, 64, 999, 20_000, 10**6, 2**45]
    with mpmath.workdps(40):
        expected = [mpmath.mpf(factor) ** n for n in t]
        for n, exact in zip(t, expected, strict=True):
            if exact > 1e-290:
                assert abs(Step(1.0, 1, factor).at(n) - exact) <= 1e-15 * exact


def test_schedules_are_written_as_data():
    for schedule, *_ in CASES:
        kind = next(name for name, made in SCHEDULES.items() if made is type(schedule))
        assert kind == schedule.schedule
        assert learning_rate.from_settings("lr", asdict(schedule)) == schedule
    with pytest.raises(FrozenInstanceError):
        Constant(1.0).lr = 2.0
    assert Constant(np.float32(0.5)) == Constant(0.5)
    assert {made.__name__ for made in SCHEDULES.values()} == {"Constant", "LinearWarmUp", "Step", "Cosine"}


BAD = [
    (lambda: Constant(0), ValueError, "lr: expected a number above 0, got 0"),
    (lambda: Constant("fast"), TypeError, "lr: expected a number, got 'fast'"),
    (lambda: LinearWarmUp(1.0, 0), ValueError, "steps: expected an integer of at least 1, got 0"),
    (lambda: Cosine(1.0, 10**30), ValueError, r"steps: expected an integer of at most 2\^53"),
    (lambda: LinearWarmUp(1.0, 5, 1.5), ValueError, r"start: expected a number in \[0, 1\], got 1\.5"),
    (lambda: Step(1.0, 2.5), TypeError, r"every: expected an integer, got 2\.5"),
    (lambda: Step(1.0, 2, -1), ValueError, r"factor: expected a number in \[0, 1\], got -1"),
    (lambda: Cosine(1.0, 5, 2.0), ValueError, r"lowest: expected a number of at most lr = 1\.0, got 2\.0"),
    (lambda: Cosine(1.0, 5, -2.0), ValueError, "lowest: expected a number of at least 0"),
    (lambda: Constant(1.0).at(-1), ValueError, "first: expected an integer of at least 0, got -1"),
    (lambda: Constant(1.0).rates(0, 0.5), TypeError, "count: expected an integer"),
    (lambda: Constant(1.0).rates(2**53, 1), ValueError, r"first, count: expected steps up to 2\^53"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD, ids=[message for _, _, message in BAD])
def test_invalid_arguments_are_rejected(call, error, message):
    with pytest.raises(error, match=message):
        call()


def schedulers():
    return torch.optim.lr_scheduler


#: A schedule and PyTorch's scheduler for a learning rate.
SCHEDULED = {
    "warm-up": (
        lambda lr: LinearWarmUp(lr, 60, 0.1),
        lambda o, _: schedulers().LinearLR(o, start_factor=0.1, total_iters=60),
    ),
    "step": (lambda lr: Step(lr, 40, 0.5), lambda o, _: schedulers().StepLR(o, 40, 0.5)),
    "cosine": (lambda lr: Cosine(lr, 200, lr / 8), lambda o, lr: schedulers().CosineAnnealingLR(o, 200, lr / 8)),
    "warm-up, cosine": (
        lambda lr: LinearWarmUp(lr, 50, 0.2, then=Cosine(lr, 150)),
        lambda o, _: schedulers().SequentialLR(
            o,
            [schedulers().LinearLR(o, start_factor=0.2, total_iters=50), schedulers().CosineAnnealingLR(o, 150)],
            milestones=[50],
        ),
    ),
}


@pytest.mark.filterwarnings("ignore:The epoch parameter:UserWarning")  # SequentialLR passes it to its parts.
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("schedule", SCHEDULED)
def test_descents_with_a_schedule_agree_with_pytorch(schedule, optimizer):
    """With a smooth activation the errors of 200 steps do not grow beyond 1e-9."""
    data = zl.datasets.modular_addition(7, train_fraction=0.7, seed=0)
    net = zl.networks.normal(data, hidden=32, std=0.4, seed=1, activation="tanh")
    E, W = torch_parameters(net)
    made, scheduler = SCHEDULED[schedule]
    if optimizer == "sgd":
        ours = zl.GradientDescent(lr=made(0.5), weight_decay=1e-2, momentum=0.9)
        theirs = torch.optim.SGD([E, W], lr=0.5, momentum=0.9, weight_decay=1e-2)
    else:
        ours, theirs = zl.AdamW(lr=made(0.01), weight_decay=1e-2), torch.optim.AdamW([E, W], lr=0.01, weight_decay=1e-2)
    stepping = scheduler(theirs, theirs.param_groups[0]["lr"])
    for _ in range(200):
        theirs.zero_grad()
        torch_loss(E, W, data, "tanh").backward()
        theirs.step()
        stepping.step()
    run = zl.simulate(ours, data, net, steps=200, record_every=200, progress=False)
    for layer, expected in ((run.network.E, E), (run.network.W, W)):
        assert relative(layer, expected.detach().numpy()) <= 1e-9


def same_layers(a, b):
    return same_bits(a.E, b.E) and same_bits(a.W, b.W)


def test_time_is_the_sum_of_the_rates_for_any_records_and_extensions(tmp_path):
    data = zl.datasets.modular_addition(7, train_fraction=0.7, seed=0)
    net = zl.networks.uniform_fan_in(data, hidden=16, seed=1)
    schedule = LinearWarmUp(0.7, 90, then=Step(0.7, 100, 0.5))
    descent = zl.GradientDescent(lr=schedule, weight_decay=1e-3, momentum=0.5)
    whole = zl.simulate(descent, data, net, steps=1000, record_every=7, progress=False)
    time = np.add.accumulate(np.concatenate([[0.0], schedule.rates(0, 1000)]))[whole.history.step.values]
    np.testing.assert_array_equal(whole.history.time, time)
    np.testing.assert_allclose(whole.history.slow_time, 1e-3 * time / 0.5, rtol=1e-15)
    parts = zl.simulate(descent, data, net, steps=123, record_every=7, progress=False)
    parts.save(tmp_path / "run")
    parts = zl.load(tmp_path / "run")
    parts.extend(steps=877, progress=False)
    assert parts.history.time.values.tobytes() == whole.history.time.values.tobytes()
    assert same_layers(parts.network, whole.network)


def test_a_constant_schedule_has_the_bits_of_a_number():
    data = zl.datasets.modular_addition(7, train_fraction=0.7, seed=0)
    net = zl.networks.uniform_fan_in(data, hidden=16, seed=1, dtype="float32")
    runs = [
        zl.simulate(zl.GradientDescent(lr=lr, weight_decay=1e-3), data, net, steps=300, progress=False)
        for lr in (0.3, Constant(0.3), {"schedule": "constant", "lr": 0.3})
    ]
    assert same_layers(runs[0].network, runs[1].network)
    assert same_layers(runs[0].network, runs[2].network)


def test_a_configuration_can_have_a_schedule(tmp_path):
    lr = {"schedule": "linear_warm_up", "lr": 0.5, "steps": 10, "then": {"schedule": "cosine", "lr": 0.5, "steps": 90}}
    configuration = config.from_settings({"dynamics": {"lr": lr}, "run": {"steps": 100}})
    assert configuration.dynamics.lr == LinearWarmUp(0.5, 10, then=Cosine(0.5, 90))
    (tmp_path / "again.toml").write_text(configuration.text())
    again = config.from_file(tmp_path / "again.toml")
    assert again.dynamics == configuration.dynamics
    assert again.fingerprint() == configuration.fingerprint()


BAD_IN_DYNAMICS = [
    ({"schedule": "cosin", "lr": 1.0}, ValueError, "lr: expected a schedule, one of constant, .*, got 'cosin'"),
    ({"lr": 1.0}, ValueError, "lr: expected a schedule, one of constant, .*, got None"),
    ({"schedule": "step", "lr": 1.0}, ValueError, "lr: the schedule step needs every"),
    (
        {"schedule": "step", "lr": 1.0, "every": 3, "last": 1},
        ValueError,
        "lr: the schedule step has the arguments lr, every, factor, got last",
    ),
    ({"schedule": "cosine", "lr": -1.0, "steps": 3}, ValueError, "lr: lr: expected a number above 0, got -1"),
    ("fast", TypeError, "lr: expected a number, got 'fast'"),
]


@pytest.mark.parametrize(("lr", "error", "message"), BAD_IN_DYNAMICS, ids=[message for *_, message in BAD_IN_DYNAMICS])
def test_invalid_schedules_of_dynamics_are_rejected(lr, error, message):
    with pytest.raises(error, match=message):
        zl.GradientDescent(lr=lr)


def test_a_duration_needs_a_constant_rate():
    data = zl.datasets.modular_addition(5, train_fraction=0.7, seed=0)
    net = zl.networks.uniform_fan_in(data, hidden=4, seed=1)
    with pytest.raises(ValueError, match="duration: cannot be used with a learning-rate schedule; use steps"):
        zl.simulate(zl.GradientDescent(lr=Cosine(1.0, 10)), data, net, duration=2.0, progress=False)
    with pytest.raises(ValueError, match=r"then: expected a schedule of the same lr, 1\.0, got 2\.0"):
        LinearWarmUp(1.0, 5, then=Constant(2.0))
