"""Datasets: tasks with their samples, split into training and test parts, and users' own samples.

In modular addition (Sec. 7.1 of arXiv 2511.01938), X_i = e_a + e_b and Y_i = e_c with c = (a + b) mod p.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from .algebra import (
    modular_addition,
    modular_division,
    modular_multiplication,
    modular_polynomial,
    modular_subtraction,
    permutation_composition,
)
from .dataset import Dataset, from_arrays, from_file
from .dataset import append_constant as append_constant
from .dataset import is_one_hot as is_one_hot
from .dataset import kernel_inputs as kernel_inputs
from .dataset import kernel_samples as kernel_samples
from .dataset import make_read_only as make_read_only
from .dataset import with_constant as with_constant
from .digits import digits
from .label_noise import with_label_noise
from .operands import find_operands as find_operands
from .parity import sparse_parity
from .teachers import linear_teacher, relu_teacher, teacher_layers

__all__ = [
    "TASKS",
    "Dataset",
    "digits",
    "from_arrays",
    "from_file",
    "linear_teacher",
    "modular_addition",
    "modular_division",
    "modular_multiplication",
    "modular_polynomial",
    "modular_subtraction",
    "permutation_composition",
    "relu_teacher",
    "sparse_parity",
    "teacher_layers",
    "with_label_noise",
]

#: The tasks by name. Each can be called with keyword arguments alone. The ``settings`` of the dataset that it returns,
#: except "task", are the arguments that make the same dataset again.
TASKS: Mapping[str, Callable[..., Dataset]] = MappingProxyType(
    {
        make.__name__: make
        for make in (
            modular_addition,
            modular_subtraction,
            modular_multiplication,
            modular_division,
            modular_polynomial,
            permutation_composition,
            sparse_parity,
            linear_teacher,
            relu_teacher,
            digits,
        )
    }
)
