"""PyTorch as an oracle: imported by the first test that uses it; without PyTorch, that test is skipped."""

import functools
import warnings
from typing import Any

import pytest


@functools.cache
def _load() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = pytest.importorskip("torch")
    module.set_num_threads(1)  # oracles share the machine with the kernels
    return module


class _Torch:
    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") and name != "__version__":  # pytest asks every object of a module for such names
            raise AttributeError(name)
        return getattr(_load(), name)


torch = _Torch()
