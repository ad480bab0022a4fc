"""Settings of studies: every value is computed, or rejected in one line; runs that fail are counted."""

import pytest

from command import run_command
from zeroloss.studies._drawing import choose_colour
from zeroloss.studies.beyond import edge_of_stability, end_states, vanishing_decay
from zeroloss.studies.theorems import theorem48
from zeroloss.sweeps.engine import NumericalFailureError


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_have_to_be_finite(value):
    with pytest.raises(ValueError, match="slow_time: expected finite numbers"):
        end_states.STUDY.settings(changes={"slow_time": value})
    with pytest.raises(ValueError, match="weight_decays: expected finite numbers"):
        end_states.STUDY.settings(changes={"weight_decays": [1e-3, value]})


def test_lists_have_values():
    with pytest.raises(ValueError, match="activations: expected at least one value, got none"):
        vanishing_decay.STUDY.settings(changes={"activations": []})


@pytest.mark.parametrize("module", [edge_of_stability, end_states, vanishing_decay, theorem48])
def test_activations_are_different(module):
    settings = module.STUDY.settings(quick=True, changes={"activations": ["relu", "relu"]})
    with pytest.raises(ValueError, match="activations: expected at least 1 value, each once, got relu, relu"):
        module.STUDY.check(settings)


@pytest.mark.parametrize(("module", "name"), [(edge_of_stability, "record_every"), (vanishing_decay, "times")])
def test_divisors_are_positive(module, name):
    settings = module.STUDY.settings(quick=True, changes={name: 0})
    with pytest.raises(ValueError, match=f"{name}: expected an integer of at least 1, got 0"):
        module.STUDY.check(settings)


def test_too_many_cells_are_rejected_before_they_are_listed():
    settings = edge_of_stability.STUDY.settings(seeds=10**9)
    with pytest.raises(ValueError, match="expected at most 100000 cells, got 16000000000"):
        edge_of_stability.STUDY.run(settings)


def test_a_setting_that_cannot_be_computed_is_one_line(tmp_path):
    done = run_command("reproduce", "1", "--quick", "--set", "steps=-1", "--out", tmp_path)
    assert done.returncode == 2
    assert "figure 1: cannot be computed or drawn with this steps (IndexError: " in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("figure", "status", "message"),
    [
        ("1", 1, "figure 1: a weight is not finite at step 2; lower lr (now 1e+300)"),
        ("2", 2, "figure 2: lr: a step covers the slow time 1e+299, longer than 2"),
        ("3", 2, "figure 3: lr: a step covers the slow time 1e+299, longer than 2"),
    ],
)
def test_toys_with_a_large_lr_fail_in_one_line(figure, status, message, tmp_path):
    done = run_command("reproduce", figure, "--quick", "--set", "lr=1e300", "--out", tmp_path)
    assert (done.returncode, done.stderr) == (status, f"zeroloss: {message}\n")
    assert list(tmp_path.iterdir()) == []


def test_every_activation_has_a_colour():
    names = ("identity", "relu", "leaky_relu(0.1)", "square", "tanh", "gelu", "softplus(5)")
    assert len({choose_colour(name) for name in names}) == len(names)


def test_failed_runs_are_counted_and_have_no_mean():
    """At lr 8 the square activation diverges, at lr 4 for two of three seeds."""
    changes = {"p": 5, "hidden": 12, "activations": ["square"], "learning_rates": [1.0, 4.0, 8.0]}
    changes |= {"weight_decays": [1e-4], "steps": 60, "record_every": 10, "first": 10, "last": 50}
    study = edge_of_stability.STUDY
    result = study.run(study.settings(seeds=3, quick=True, changes=changes), progress=False)
    assert [entry.get("failed", 0) for entry in result.summary.values()] == [0, 2, 3]
    assert result.numbers.failed.sum("seed").values.ravel().tolist() == [0, 2, 3]
    lasting = result.numbers.ratio.sel(lr=4.0, step=slice(10, 50)).where(result.numbers.failed.sel(lr=4.0) == 0)
    assert result.summary["square, lr 4, weight decay 0.0001"]["mean"] == pytest.approx(float(lasting.mean()))
    assert result.table.splitlines()[2].endswith("2 of 3 runs failed")
    assert result.table.splitlines()[3].split("0.0001")[1].split() == ["3", "of", "3", "runs", "failed"]
    assert result.line.endswith("(2 of 3 failed), failed")


def test_a_flow_that_ends_early_is_not_an_end_state():
    """Descent with lr 1 diverges at this weight decay."""
    with pytest.raises(NumericalFailureError, match="diverged"):
        end_states.descend(5, 8, "relu", 0, 1e300, 1e301)


def test_one_weight_decay_is_a_range_of_one_number():
    settings = end_states.STUDY.settings(seeds=1, changes={"weight_decays": [1e-3]})
    point = {"minima": 1, "loss_over_decay_squared": 7.2, "active_units": 8, "rank": 9, "test_loss": 0.1}
    summary = {"relu": {"points": {"0.001": point}, "norm_flow": {"test_loss": 0.2}}}
    assert "L/wd² 7, at 0.001 8 units active" in end_states._format_line(settings, summary)
