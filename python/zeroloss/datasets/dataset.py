"""The samples of a task: inputs X and targets Y, each with a training and a test part."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array, issparse
from scipy.sparse import hstack as sparse_hstack

from .. import _checks, _display
from .._checks import ArgumentTypeError, ArgumentValueError, format_value
from .._choices import AtLeastOne, Rows
from .._kernels import kernels
from .._reading import RefusedError, read_npz, reading
from .._resources import check_memory

_ROWS = ("auto", "sparse", "dense")
_SPARSE_BELOW = 0.25  # the share of nonzero entries up to which rows="auto" takes sparse rows


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test samples.

    The functions of this module make datasets. Their arrays are read-only.

    Attributes
    ----------
    rows_train : csr_array or ndarray, (n, d_in)
        The training inputs in the form that the kernels take: sparse or dense rows.
    Y_train : ndarray, (n, d_out)
        The training targets, float64.
    rows_test : csr_array or ndarray, (n_test, d_in)
        The test inputs. There are no rows if there is no test set.
    Y_test : ndarray, (n_test, d_out)
        The test targets, float64.
    settings : mapping
        The origin of the samples: the task, its numbers and its seed.
    """

    rows_train: csr_array | NDArray[np.float64]
    Y_train: NDArray[np.float64]
    rows_test: csr_array | NDArray[np.float64]
    Y_test: NDArray[np.float64]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def train_count(self) -> int:
        """The number of training samples."""
        return len(self.Y_train)

    @property
    def test_count(self) -> int:
        """The number of test samples."""
        return len(self.Y_test)

    @property
    def classes(self) -> int | None:
        """The number of classes, or None, without accuracies, unless every target row is one-hot."""
        return self.d_out if is_one_hot(self.Y_train) and is_one_hot(self.Y_test) else None

    @property
    def chance_level(self) -> float | None:
        """The expected accuracy of a uniform guess, 1/classes, or None without classes."""
        return None if self.classes is None else 1 / self.classes

    @property
    def X_train(self) -> NDArray[np.float64]:
        """The training inputs as a dense array, (n, d_in)."""
        return _to_dense(self.rows_train)

    @property
    def X_test(self) -> NDArray[np.float64]:
        """The test inputs as a dense array, (n_test, d_in)."""
        return _to_dense(self.rows_test)

    @property
    def d_in(self) -> int:
        """The length of an input."""
        return int(self.rows_train.shape[1])

    @property
    def d_out(self) -> int:
        """The length of a target."""
        return int(self.Y_train.shape[1])

    def __repr__(self) -> str:
        rows = "sparse" if isinstance(self.rows_train, csr_array) else "dense"
        made = _display.format_keywords(self.settings)
        classes = "" if self.classes is None else f", {self.classes} classes with chance level {self.chance_level:.3g}"
        return (
            f"Dataset({self.train_count} training and {self.test_count} test samples, "
            f"{self.d_in} inputs in {rows} rows, {self.d_out} outputs{classes}; {made})"
        )

    def _repr_html_(self) -> str:
        rows = {
            "training samples": self.train_count,
            "test samples": self.test_count,
            "inputs": f"{self.d_in}, in {'sparse' if isinstance(self.rows_train, csr_array) else 'dense'} rows",
            "outputs": self.d_out,
            "classes": "none: targets are not one-hot" if self.classes is None else self.classes,
            "made from": _display.format_keywords(self.settings),
        }
        return _display.format_html("Dataset", rows)


def from_arrays(
    X_train: ArrayLike,
    Y_train: ArrayLike,
    X_test: ArrayLike | None = None,
    Y_test: ArrayLike | None = None,
    rows: Rows = "auto",
    classes: AtLeastOne | None = None,
) -> Dataset:
    """Make a dataset from arrays, which are copied.

    Parameters
    ----------
    X_train : array_like, (n, d_in)
        Training inputs, one sample a row.
    Y_train : array_like, (n, d_out), or of integers (n,) with ``classes``
        Training targets. Accuracies are defined if all rows are one-hot. Integer labels become one-hot rows.
    X_test : array_like, (n_test, d_in), optional
        Test inputs.
    Y_test : array_like, (n_test, d_out) or (n_test,), optional
        Test targets in the same form. Needed if ``X_test`` is given, and only then.
    rows : {"auto", "sparse", "dense"}
        How the kernels store the inputs. "auto", the default, takes sparse rows if at most a quarter of the training
        entries are nonzero.
    classes : int, optional
        The number of classes d_out, at least 1, if the targets are integer labels from 0 to classes − 1.

    Returns
    -------
    Dataset
        The samples in float64.

    Raises
    ------
    ValueError, TypeError
        If shapes do not fit together, there is no training sample, an entry is complex, an object, NaN or infinite, or
        a label is not an integer from 0 to classes − 1.

    Examples
    --------
    >>> import numpy as np
    >>> import zeroloss as zl
    >>> labels = np.array([0, 2, 1, 1])
    >>> data = zl.datasets.from_arrays(np.eye(4), labels, classes=3)
    >>> data.Y_train.shape
    (4, 3)
    """
    return _from_arrays(X_train, Y_train, X_test, Y_test, rows, classes)


def _from_arrays(
    X_train: ArrayLike,
    Y_train: ArrayLike,
    X_test: ArrayLike | None,
    Y_test: ArrayLike | None,
    rows: str,
    classes: int | None,
    copy: bool = True,
) -> Dataset:
    """Make a dataset from arrays, which are copied on request only."""
    _checks.choice("rows", rows, _ROWS)
    if classes is not None:
        classes = _checks.integer("classes", classes, 1)
    X = _checks.matrix("X_train", X_train, "float64", copy)
    Y = _targets("Y_train", Y_train, classes, copy)
    if (X_test is None) != (Y_test is None):
        present, missing = ("X_test", "Y_test") if Y_test is None else ("Y_test", "X_test")
        raise ArgumentValueError(missing, f"expected together with {present}, got None")
    if X_test is None or Y_test is None:
        X_t, Y_t = np.empty((0, X.shape[1])), np.empty((0, Y.shape[1]))
    else:
        X_t, Y_t = _checks.matrix("X_test", X_test, "float64", copy), _targets("Y_test", Y_test, classes, copy)
    for name, value in (("X_train", X), ("Y_train", Y)):
        if 0 in value.shape:
            raise ArgumentValueError(name, f"expected at least one row and one column, got shape {value.shape}")
    if len(X) != len(Y):
        raise ArgumentValueError("Y_train", f"expected {len(X)} rows, the number of rows of X_train, got {len(Y)}")
    if X_t.shape[1] != X.shape[1]:
        raise ArgumentValueError(
            "X_test", f"expected {X.shape[1]} columns, the number of columns of X_train, got {X_t.shape[1]}"
        )
    if Y_t.shape != (len(X_t), Y.shape[1]):
        raise ArgumentValueError("Y_test", f"expected shape {(len(X_t), Y.shape[1])}, got {Y_t.shape}")
    sparse = rows == "sparse" or (rows == "auto" and np.count_nonzero(X) <= _SPARSE_BELOW * X.size)
    take = csr_array if sparse else np.asarray
    settings = {"task": "arrays", "rows": "sparse" if sparse else "dense"}
    return make_read_only(Dataset(take(X), Y, take(X_t), Y_t, settings))


def from_file(file: str | os.PathLike[str], rows: Rows = "auto", classes: AtLeastOne | None = None) -> Dataset:
    """Read a dataset from a NumPy file.

    Parameters
    ----------
    file : path
        An npz file with the arrays X_train and Y_train, and possibly X_test and Y_test; see `from_arrays`. A compressed
        file may expand to 64 MiB plus 100 times its size. Write a file that needs more with ``numpy.savez``.
    rows : {"auto", "sparse", "dense"}
        How the kernels store the inputs, see `from_arrays`.
    classes : int, optional
        The number of classes if the targets in the file are integer labels, see `from_arrays`.

    Returns
    -------
    Dataset
        The samples in float64.

    Raises
    ------
    OSError, ValueError, TypeError
        If the file cannot be read, has other arrays, or has arrays that `from_arrays` rejects.
    """
    _checks.choice("rows", rows, _ROWS)
    if classes is not None:
        classes = _checks.integer("classes", classes, 1)
    with reading(file, "an npz file of samples") as stream:
        arrays = read_npz(stream)
        if not {"X_train", "Y_train"} <= arrays.keys() <= {"X_train", "Y_train", "X_test", "Y_test"}:
            got = format_value(sorted(arrays)) if arrays else "no arrays"
            raise RefusedError(f"expected arrays X_train, Y_train and possibly X_test, Y_test, got {got}")
        try:
            return _from_arrays(
                arrays.pop("X_train"),  # popped, because an array without other references can be freed
                arrays.pop("Y_train"),
                arrays.pop("X_test", None),
                arrays.pop("Y_test", None),
                rows,
                classes,
                copy=False,
            )
        except (ValueError, TypeError) as error:
            raise RefusedError(str(error)) from None


def _targets(name: str, value: ArrayLike, classes: int | None, copy: bool) -> NDArray[np.float64]:
    """Check a matrix of targets, or make one of integer labels."""
    if classes is not None:
        return _one_hot(name, value, classes)
    if np.ndim(value) == 1:
        raise ArgumentValueError(
            name,
            f"expected a matrix of targets, one row a sample, got shape {np.shape(value)}; give the number of classes "
            "for integer labels, classes=10, and convert numbers to a column with y[:, None]",
        )
    return _checks.matrix(name, value, "float64", copy)


def _one_hot(name: str, value: ArrayLike, classes: int) -> NDArray[np.float64]:
    """Return the one-hot rows of integer labels, or raise an error if there are others."""
    labels = np.asarray(value)
    if labels.ndim != 1:
        raise ArgumentValueError(
            name, f"expected integer labels of shape (n,) with classes={classes}, got shape {labels.shape}"
        )
    if labels.dtype.kind not in "iu" and labels.size > 0:
        raise ArgumentTypeError(name, f"expected integer labels with classes={classes}, got dtype {labels.dtype}")
    outside = np.flatnonzero((labels < 0) | (labels >= classes))
    if outside.size:
        got = f"{labels[outside[0]]} in row {outside[0]}"
        raise ArgumentValueError(name, f"expected labels from 0 to {classes - 1}, got {got}")
    check_memory(f"the targets of {classes} classes", 8 * labels.size * classes)
    Y = np.zeros((labels.size, classes))
    Y[np.arange(labels.size), labels.astype(np.intp)] = 1
    return Y


def kernel_samples(data: Dataset, part: str, dtype: np.dtype[Any], constant: bool = False) -> Any:
    """Convert the ``"train"`` or ``"test"`` samples to the form of the kernels, in a given precision.

    ``constant`` appends an input that is 1 in every sample; its weights are the biases of the hidden units.
    """
    rows, Y = (data.rows_train, data.Y_train) if part == "train" else (data.rows_test, data.Y_test)
    entries = rows.data if isinstance(rows, csr_array) else rows
    if max(np.abs(array).max(initial=0.0) for array in (entries, Y)) > np.finfo(dtype).max:
        raise ArgumentValueError("data", f"expected entries within the range of {dtype}, got larger ones; scale them")
    return _to_kernel_form(rows, Y, dtype, constant)


def kernel_inputs(name: str, X: Any, d_in: int, dtype: np.dtype[Any], constant: bool = False) -> Any:
    """Convert inputs (n, d_in) without targets, dense or sparse, to the form of the kernels, in a given precision.

    ``constant`` appends an input that is 1, as in `kernel_samples`.

    Raises
    ------
    ValueError, TypeError
        If the shape is another one, or entries are complex or not finite in ``dtype``.
    """
    if _is_vector(X):
        problem = f"expected a matrix with {d_in} columns, one input a row, got shape {np.shape(X)}"
        raise ArgumentValueError(name, f"{problem}; give one input as a matrix of shape (1, {d_in}), {name}[None]")
    rows: csr_array | NDArray[Any]
    sparse = issparse(X)  # a separate variable, because a condition would narrow the type of X
    if sparse:
        matrix: Any = csr_array(X)
        entries = _checks.matrix(name, matrix.data[None], dtype.name)[0]
        rows = csr_array((entries, matrix.indices, matrix.indptr), matrix.shape)
    else:
        rows = _checks.matrix(name, X, dtype.name)
    if rows.shape[1] != d_in:
        raise ArgumentValueError(name, f"expected {d_in} columns, one for each row of E, got shape {rows.shape}")
    return _to_kernel_form(rows, np.empty((rows.shape[0], 0)), dtype, constant)


def _is_vector(X: Any) -> bool:
    """Return whether X has one dimension."""
    try:
        return np.ndim(X) == 1
    except ValueError:  # lists of unequal lengths
        return False


def append_constant(rows: csr_array | NDArray[Any]) -> Any:
    """Append a column of ones to inputs, dense or sparse."""
    ones = np.ones((rows.shape[0], 1), rows.dtype)
    return csr_array(sparse_hstack([rows, csr_array(ones)])) if isinstance(rows, csr_array) else np.hstack([rows, ones])


def with_constant(data: Dataset) -> Dataset:
    """Return the data with a further input that is 1 in every sample."""
    train, test = append_constant(data.rows_train), append_constant(data.rows_test)
    return make_read_only(replace(data, rows_train=train, rows_test=test))


def _to_kernel_form(
    rows: csr_array | NDArray[Any], Y: NDArray[np.float64], dtype: np.dtype[Any], constant: bool
) -> Any:
    """Copy samples into the class of the kernels for a precision."""
    rows = append_constant(rows) if constant else rows
    samples = kernels.Samples32 if dtype == np.float32 else kernels.Samples64
    targets = np.ascontiguousarray(Y, dtype)
    if isinstance(rows, csr_array):
        starts, columns = rows.indptr.astype(np.int64), rows.indices.astype(np.int64)
        return samples(starts, columns, rows.data.astype(dtype), rows.shape[1], targets, constant)
    return samples(np.ascontiguousarray(rows, dtype), targets, constant)


def is_one_hot(Y: NDArray[np.float64]) -> bool:
    """Return whether every row is a unit vector. Accuracies are defined in this case only."""
    return bool(np.all((Y == 0) | (Y == 1)) and np.all(Y.sum(axis=1) == 1))


def make_read_only(data: Dataset) -> Dataset:
    """Make the arrays of a dataset read-only, and return it."""
    for array in (data.rows_train, data.Y_train, data.rows_test, data.Y_test):
        for part in (array.data, array.indices, array.indptr) if isinstance(array, csr_array) else (array,):
            part.flags.writeable = False
    return data


def _to_dense(rows: csr_array | NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert sparse rows to a dense array."""
    return rows.toarray() if isinstance(rows, csr_array) else rows
