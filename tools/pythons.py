"""Test the package on every Python that pyproject.toml names, or on some: ``pythons.py [3.12 …]``.

Interpreters are searched on the PATH and among the versions of pyenv. Each has an environment in build/, which is used
again, with the kernels of this machine and all requirements of the tests except PyTorch: its wheels are large, and some
versions of Python have none. Tests that compare with PyTorch are skipped; ``make test`` runs them.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def list_versions() -> list[str]:
    """Return the versions of Python that pyproject.toml names, such as 3.11."""
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["classifiers"]
    return re.findall(r"^Programming Language :: Python :: (3\.\d+)$", "\n".join(classifiers), re.M)


def find_interpreter(version: str) -> str | None:
    """Return the path of a Python of this version that can make environments; None if there is none."""
    pyenv = Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}")
    check = f"import sys, venv, ensurepip; assert sys.version.startswith('{version}.'); print(sys.executable)"
    for candidate in (shutil.which(f"python{version}"), *sorted(map(str, pyenv), reverse=True)):
        if candidate is not None:
            found = subprocess.run([candidate, "-c", check], capture_output=True, text=True, check=False)
            if found.returncode == 0:
                return found.stdout.strip()
    return None


def tests_pass(python: str, version: str) -> bool:
    """Install the package and the requirements of its tests with a Python, and run the tests."""
    place = ROOT / "build" / f"python-{version}"
    if not (place / "bin" / "python").exists():
        subprocess.run([python, "-m", "venv", place], check=True)
    environment = {**os.environ, "PATH": f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("PYTHONPATH", None)

    def run(*arguments: str) -> int:
        command = [place / "bin" / "python", "-m", *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode

    listed = [sys.executable, ROOT / "tools" / "requirements.py", "build", "test"]
    needed = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()
    install = ("pip", "install", "--quiet", "--disable-pip-version-check")
    kernels = f"--config-settings=build-dir=build/python-{version}/kernels"
    native = "--config-settings=cmake.define.ZEROLOSS_LEVELS=native"
    return not (
        run(*install, *(word for word in needed if not word.startswith("torch")))
        or run(*install, "--no-build-isolation", kernels, native, ".")
        or run("pytest", "-n", "2")
    )


def main(wanted: list[str]) -> int:
    """Run the tests on each version and print the results; return 1 if one fails, or if no interpreter is found."""
    lines = {}
    for version in wanted or list_versions():
        python = find_interpreter(version)
        print(f"Python {version}: {python or 'not found on the PATH or in ~/.pyenv/versions'}", flush=True)
        if python:
            lines[version] = "passed" if tests_pass(python, version) else "failed"
    print(*(f"Python {version}: the tests {line}" for version, line in lines.items()), sep="\n")
    return int("failed" in lines.values() or not lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
