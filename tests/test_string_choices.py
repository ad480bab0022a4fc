"""Choices between strings: mypy checks their types, which agree with the checks at run time and with the lists for
users.
"""

import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import zeroloss as zl
from command import run_command
from zeroloss import _choices, _sections, config
from zeroloss._hints import get_hints, list_choices
from zeroloss.datasets import dataset, operands
from zeroloss.dynamics import descent, noise_flow, norm_flow
from zeroloss.geometry import projection, solver
from zeroloss.plots import history

ROOT = Path(__file__).parent.parent

SAME = [
    (_choices.Dtype, zl._checks.DTYPES),
    (_choices.Rows, dataset._ROWS),
    (_choices.Pairs, operands.PAIRS),
    (_choices.Inputs, operands._INPUTS),
    (_choices.Loss, descent.LOSSES),
    (_choices.Reduction, descent.REDUCTIONS),
    (_choices.Layers, descent.LAYERS),
    (_choices.NormConstraint, descent.NORM_CONSTRAINTS),
    (_choices.FlowMethod, norm_flow.METHODS),
    (_choices.ExplicitMethod, noise_flow.METHODS),
    (_choices.Solver, solver.METHODS),
    (_choices.ProjectionMethod, projection.PROJECTIONS),
    (_choices.Direction, zl.metrics._DIRECTIONS),
    (_choices.Abscissa, history.AGAINST),
    (_choices.TimeScale, history.SCALES),
    (_choices.Distribution, tuple(zl.survival.DISTRIBUTIONS)),
]


#: Packages whose types mypy need not read.
LARGE = (
    *("bokeh", "click", "dask", "distributed", "filelock", "h5netcdf", "h5py", "matplotlib", "numpy", "pandas"),
    *("psutil", "safetensors", "scipy", "tqdm", "xarray"),
)


@pytest.mark.parametrize(("hint", "options"), SAME, ids=[", ".join(options) for _, options in SAME])
def test_types_agree_with_the_checks(hint, options):
    assert typing.get_args(hint) == options


@pytest.mark.slow
def test_mypy_rejects_unknown_choices(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "a.py").write_text(
        "import zeroloss as zl\n"
        'zl.GradientDescent(lr=1.0, loss="mse", norm_constraint="fixed")\n'
        'zl.GradientDescent(lr=1.0, loss="mseee")\n'
        'zl.AdamW(decay_layers="F")\n'
        'zl.NormFlow(rtol=1e-3, method="explicit")\n'
        'data = zl.datasets.modular_addition(7, test_count=3, pairs="all")\n'
        "net = zl.networks.uniform_fan_in(data, hidden=4, seed=1)\n"
        'zl.simulate(zl.AdamW(), data, net, steps=1, record_every="log", snapshot_every=3)\n'
        'zl.simulate(zl.AdamW(), data, net, steps=1, record_every="often")\n'
        'zl.simulate_many([(zl.AdamW(), data, net)], steps=1, snapshot_every="often")\n'
        'zl.config.RunSettings(record_every="log")\n'
        'zl.config.RunSettings(record_every="often")\n'
        'zl.config.RunSettings(measures=["alignments"])\n'
        "from typing import Literal\n"
        "from zeroloss.dynamics.descent import DescentSettings\n"
        'def reduction(settings: DescentSettings) -> Literal["mean", "sum"]:\n'
        "    return settings.reduction\n"
    )
    place = Path(zl.__file__).parent.parent
    # Mypy finds an installed package by itself.
    path = {} if place.name == "site-packages" else {"MYPYPATH": str(place)}
    # Types of large packages, which `make lint` reads, take most of the time, and no choice is of their types.
    (tmp_path / "mypy.ini").write_text(
        f"[mypy]\nfollow_imports = silent\n[mypy-{','.join(f'{name}.*' for name in LARGE)}]\nfollow_imports = skip\n"
        "follow_imports_for_stubs = True\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", tmp_path / "cache", tmp_path / "a.py"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={"PATH": "", **path},
    )
    rejected = {int(line) for line in re.findall(r"a\.py:(\d+): error", done.stdout)}
    assert sorted(rejected) == [3, 4, 5, 6, 9, 10, 12, 13], done.stdout


def test_the_defaults_list_every_choice():
    text = config.defaults_text()
    for section in _sections.BUILT.values():
        for function in section.choices.values():
            for key, hint in get_hints(function).items():
                if options := list_choices(hint):
                    assert re.search(rf"^(# )?{key} = .*# one of {', '.join(options)}", text, re.MULTILINE), key
    assert re.search(r"^activation = \"relu\"  # one of identity, relu, leaky_relu, ", text, re.MULTILINE)
    assert re.search(r"^# norm_constraint = …  # one of fixed, at_most, once;", text, re.MULTILINE)
    assert re.search(r"^loss = \"mse\"  # one of mse, cross_entropy;", text, re.MULTILINE)


def test_help_lists_the_choices():
    for command in ("run", "sweep"):
        done = run_command(command, "--help")
        assert done.returncode == 0
        text = " ".join(done.stdout.split())
        assert "zeroloss run --print-defaults" in text
        for key, values in _sections.allowed_values().items():
            assert f"{key} {', '.join(values)}" in text
