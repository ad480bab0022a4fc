"""Tests of the code base: layers, the kernels' stub, exported symbols, levels, versions, and sizes of files."""

import ast
import importlib.metadata
import inspect
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import zeroloss as zl
import zeroloss._kernels as chooser
from problems import LEVELS, figure5, kernels_of, relative

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "python" / "zeroloss"

#: A layer imports only from the layers before it.
LAYERS = (
    {"_checks", "_progress", "_toml"},
    {"_choices", "_deprecated", "_plain"},
    {"_display", "_fingerprint", "_hints", "_kernels", "_resources", "_run_settings"},
    {"_reading", "provenance"},
    {"datasets"},
    {"networks"},
    {"_fourier_features", "_network_measures"},
    {"metrics", "survival", "fourier", "geometry"},
    {"curvature"},
    {"plots"},
    {"results"},
    {"dynamics"},
    {"simulation"},
    {"end_states"},
    {"_sections"},
    {"config"},
    {"runs"},
    {"sweeps"},
    {"view"},
    {"studies"},
    {"cli"},
    {"__init__", "__main__"},
)


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def imported_parts(path):
    """Return the parts of the package that a module imports: "networks" for ``from ..networks import Network``."""
    here = path.relative_to(PACKAGE).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = here[: len(here) + 1 - node.level]
            target = (*base, *(node.module or "").split(".")) if node.module else base
            yield from [target[0]] if target else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            assert not any(str(name).split(".")[0] == "zeroloss" for name in names), (
                f"{path}: an absolute import of ourselves"
            )


def layer_of(part):
    return next(at for at, layer in enumerate(LAYERS) if part in layer)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_follow_the_layers(path):
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for imported in imported_parts(path):
        assert imported == part or layer_of(imported) < layer_of(part), f"{part} imports {imported}"


def stub_names():
    tree = ast.parse((PACKAGE / "_kernels" / "_base.pyi").read_text())
    names = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            names[node.name] = {f.name for f in node.body if isinstance(f, ast.FunctionDef)}
        elif isinstance(node, ast.FunctionDef):
            names[node.name] = None
        elif isinstance(node, ast.AnnAssign):
            names[node.target.id] = None
    return names


@pytest.mark.parametrize("level", LEVELS)
def test_the_stub_has_the_names_of_the_module(level):
    module = kernels_of(level)
    names = {name for name in vars(module) if not name.startswith("_")}
    stub = stub_names()
    assert names == set(stub)
    for name, methods in stub.items():
        if methods is not None:
            own = {m for m in vars(getattr(module, name)) if not m.startswith("_") and m != "pybind11_detail"}
            assert own == methods - {"__init__"}


def test_only_the_module_s_entry_is_exported():
    modules = [chooser._cpu_level, *map(kernels_of, LEVELS)]
    for path in [Path(module.__file__) for module in modules]:
        listed = subprocess.run(["nm", "-D", "--defined-only", path], capture_output=True, text=True, check=True).stdout
        assert re.findall(r" [A-Z] (\w+)", listed) == [f"PyInit_{path.name.split('.')[0]}"]


def run_in_interpreter(code, **environment):
    """Run code in a fresh interpreter; return its output, or the last line of its error."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def test_the_widest_level_is_chosen_and_can_be_forced():
    assert run_in_interpreter("import zeroloss as zl; print(zl.build_info()['level'])", ZEROLOSS_ISA="") == LEVELS[-1]
    for level in LEVELS:
        code = "import zeroloss as zl; print(zl.build_info()['level'])"
        assert run_in_interpreter(code, ZEROLOSS_ISA=level) == level
    expected = f"ImportError: ZEROLOSS_ISA: expected one of {', '.join(LEVELS)} on this machine, got 'v9'"
    assert run_in_interpreter("import zeroloss", ZEROLOSS_ISA="v9") == expected


def test_an_impossible_level_is_rejected():
    with pytest.raises(ImportError, match="expected one of base, v3 on this machine, got 'v4'"):
        chooser._choose_level(["base", "v3"], "v4")


def test_levels_agree_to_rounding_and_each_reproduces_its_bits():
    code = """
import numpy as np, zeroloss as zl
data = zl.datasets.modular_addition(11, test_count=7, seed=0)
net = zl.networks.uniform_fan_in(data, hidden=128, seed=1)
stepper = zl.GradientDescent(lr=1.0, weight_decay=1e-4, momentum=0.5).start(data, net)
stepper.advance(1000)
E = stepper.network().E
dE = zl.predicted_gradient(net, data, ridge=1.0)[0]
print(E.tobytes().hex() + dE.tobytes().hex())
"""
    found = {level: [run_in_interpreter(code, ZEROLOSS_ISA=level) for _ in range(2)] for level in LEVELS}
    for first, second in found.values():
        assert first == second
    E = {level: np.frombuffer(bytes.fromhex(found[level][0])) for level in LEVELS}
    for level in LEVELS:
        assert relative(E[level], E[LEVELS[-1]]) < 1e-12


def test_the_version_comes_from_the_metadata():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert importlib.metadata.version("zeroloss") == zl.__version__ == project["version"]


def test_eigen_has_the_pinned_version():
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    pinned = next(r for r in requires if r.startswith("cmeel-eigen")).split("==")[1]
    assert zl.build_info()["eigen"] == pinned
    assert any(file.match("licenses/NOTICE") for file in importlib.metadata.files("zeroloss"))


def loaded_modules(libraries, code=""):
    """Return, as text, which of some libraries a fresh interpreter has loaded after some code."""
    return run_in_interpreter(f"import sys, zeroloss as zl\n{code}\nprint(sorted({libraries} & sys.modules.keys()))")


def test_libraries_are_loaded_when_they_are_needed():
    late = {"click", "filelock", "h5netcdf", "h5py", "lifelines", "matplotlib", "pydantic", "torch", "jax", "xarray"}
    soon = {"importlib.metadata", "numpy.testing", "pandas", "psutil", "safetensors", "scipy", "threadpoolctl", "tqdm"}
    assert loaded_modules(late | soon) == "[]"
    task = "data = zl.datasets.modular_addition(5, test_count=3); net = zl.networks.uniform_fan_in(data, 8, seed=1)"
    assert loaded_modules(late, f"{task}; zl.GradientDescent(lr=1.0)") == "[]"
    assert loaded_modules(late, f"{task}; zl.simulate(zl.AdamW(), data, net, steps=1)") == "['xarray']"
    assert loaded_modules({"scipy.linalg", "scipy.optimize", "scipy.special", "xarray"}, "import zeroloss.cli") == "[]"


def test_public_names_exist_and_are_listed():
    code = (
        "print(set(zl.__all__) <= set(dir(zl)), all(hasattr(zl, name) for name in zl.__all__), hasattr(zl, 'nothing'))"
    )
    assert run_in_interpreter(f"import zeroloss as zl; {code}") == "True True False"
    assert (
        run_in_interpreter("from zeroloss import *; print(simulate.__name__, config.__name__)")
        == "simulate zeroloss.config"
    )


def test_public_functions_are_documented():
    for owner in (
        zl,
        zl.datasets,
        zl.networks,
        zl.metrics,
        zl.survival,
        zl.fourier,
        zl.geometry,
        zl.curvature,
        zl.end_states,
        zl.learning_rate,
        zl.plots,
    ):
        for name in owner.__all__:
            thing = getattr(owner, name)
            if callable(thing):
                assert inspect.getdoc(thing), f"{owner.__name__}.{name}"


def test_files_are_short():
    for path in [*PACKAGE.rglob("*.py"), *(ROOT / "csrc").rglob("*.?pp"), *(ROOT / "tests").glob("*.py")]:
        assert path.read_text().count("\n") <= 400, path
    assert (ROOT / "CMakeLists.txt").read_text().count("\n") <= 60


#: Functions and methods that return an iterator, which is true even if it yields nothing.
ITERATORS = {"map", "filter", "zip", "iter", "reversed", "enumerate", "glob", "rglob", "iterdir", "finditer"}


def always_true(expression):
    """Return whether an expression is always true: an iterator, a non-empty display, a constant, or a method."""
    match expression:
        case ast.Tuple(elts=entries) | ast.List(elts=entries) | ast.Set(elts=entries) | ast.Dict(keys=entries):
            decided = bool(entries)
        case ast.Constant(value=value):
            decided = bool(value)
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            decided = name in ITERATORS
        case ast.Attribute(attr=name):
            decided = name in {"all", "any", "exists", "is_dir", "is_file"}  # The parentheses are missing.
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            decided = always_true(operand)  # It is always false.
        case ast.BoolOp(values=values):
            decided = any(map(always_true, values))
        case _:
            decided = isinstance(expression, ast.GeneratorExp | ast.Lambda | ast.JoinedStr)
    return decided


def conditions(tree):
    """Return the expressions that assertions and branches test."""
    return [node.test for node in ast.walk(tree) if isinstance(node, ast.Assert | ast.If | ast.IfExp)]


def test_tests_can_fail():
    """No condition of an assertion or branch is constant, and a pytest.raises block contains only the call."""
    for path in (ROOT / "tests").glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        decided = [ast.unparse(condition) for condition in conditions(tree) if always_true(condition)]
        assert decided == [], path
        for block in (node for node in ast.walk(tree) if isinstance(node, ast.With)):
            if any(ast.unparse(item.context_expr).startswith("pytest.raises(") for item in block.items):
                assert len(block.body) == 1, f"{path}:{block.lineno}"
                assert not isinstance(block.body[0], ast.For | ast.While), f"{path}:{block.lineno}"


@pytest.mark.parametrize(
    "line",
    [
        "assert (x for x in y)",
        "assert (x == 1, y)",
        "assert 'text'",
        "assert f'{x}'",
        "assert folder.glob('*')",
        "if not folder.glob('*'): fail()",
        "assert x and zip(a, b)",
        "assert (x == y).all",
        "assert path.exists",
    ],
)
def test_assertions_that_cannot_fail_are_found(line):
    assert any(map(always_true, conditions(ast.parse(line))))


def test_build_info_is_json():
    assert json.loads(json.dumps(zl.build_info())) == zl.build_info()
    data, net = figure5()
    run = zl.simulate(zl.GradientDescent(lr=0.1), data, net, steps=0)
    assert run.settings["build"]["level"] == zl.build_info()["level"]
