"""Check an installed wheel: every level, a short descent, the predicted gradient, files, and the command.

It needs no test packages: ``python tests/smoke.py``. It ends with exit status 1 and a traceback at the first failure.
"""

import os
import platform
import subprocess
import sys
import tempfile
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import numpy as np

import zeroloss as zl

X86_64 = platform.machine() in {"x86_64", "AMD64"}
LEVELS = ["base", "v3", "v4"] if X86_64 else ["base"]


def check_files() -> None:
    """Check that the wheel has every level of this processor family, the parts of pages, and its version."""
    package = Path(zl.__file__).parent
    for level in LEVELS:
        assert any((package / "_kernels" / f"_{level}{suffix}").exists() for suffix in EXTENSION_SUFFIXES), level
    assert (package / "py.typed").exists()
    assert {path.suffix for path in (package / "view" / "js").iterdir()} == {".css", ".html", ".js"}
    assert zl.build_info()["zeroloss"] == zl.__version__


def check_level() -> None:
    """Check the numbers of the level that this process uses."""
    data = zl.datasets.modular_addition(7, train_fraction=0.7, seed=0)
    net = zl.networks.uniform_fan_in(data, hidden=32, seed=1)
    loss, gradient_E, gradient_W = zl.loss_and_gradient(net, data)
    assert np.isfinite([loss, gradient_E.sum(), gradient_W.sum()]).all()

    run = zl.simulate(zl.GradientDescent(lr=0.5, weight_decay=1e-4), data, net, steps=100, record_every=10)
    train_loss = run.history.train_loss.to_numpy()
    assert train_loss[-1] < train_loss[0]

    dE, W = zl.predicted_gradient(net, data, ridge=1e-3)[:2]
    assert dE.shape == net.E.shape
    assert W.shape == net.W.shape
    assert np.isfinite(dE).all()

    with tempfile.TemporaryDirectory() as directory:
        run.save(Path(directory) / "run")
        loaded = zl.load(Path(directory) / "run")
        assert (loaded.network.E == run.network.E).all()
        assert loaded.extend(steps=10).history.step.to_numpy()[-1] == 110
        zl.networks.to_checkpoint(run.network, Path(directory) / "net.safetensors")
        assert (zl.networks.from_checkpoint(Path(directory) / "net.safetensors").W == run.network.W).all()


def check_command() -> None:
    """Check that the installed command answers."""
    command = Path(sys.executable).with_name("zeroloss")
    shown = subprocess.run([command, "info"], capture_output=True, text=True, check=True).stdout
    assert zl.__version__ in shown


if __name__ == "__main__":
    if sys.argv[1:] == ["--level"]:
        check_level()
    else:
        check_files()
        check_command()
        possible = zl.build_info()["possible_levels"]
        for level in possible:
            subprocess.run([sys.executable, __file__, "--level"], env={**os.environ, "ZEROLOSS_ISA": level}, check=True)
        print(f"zeroloss {zl.__version__}: levels {', '.join(possible)} of {', '.join(LEVELS)} checked")
