"""The samples of a run in a file, and their fingerprint."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ..datasets import Dataset, make_read_only
from .files import DamagedError, read_npz, reading, write_atomically


def fingerprint(data: Dataset) -> str:
    """Return the SHA-256 of the samples, their order and their split.

    Parameters
    ----------
    data : Dataset
        The samples.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, array in sorted(_arrays(data).items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def write_samples(data: Dataset, path: Path) -> None:
    """Write the samples to a file in NumPy's npz format, atomically.

    Parameters
    ----------
    data : Dataset
        The samples.
    path : Path
        The file.
    """
    content = io.BytesIO()
    about = np.array(json.dumps({"d_in": data.d_in, "settings": dict(data.settings)}))
    np.savez(content, allow_pickle=False, about=about, **_arrays(data))
    write_atomically(path, content.getvalue())


def read_samples(path: Path) -> Dataset:
    """Read the samples from a file that `write_samples` wrote.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    Dataset
        The samples. Their arrays are read-only.

    Raises
    ------
    DamagedError
        If the file is damaged.
    UnreadableError
        If the file cannot be read at the moment.
    """
    with reading(path):
        content = path.read_bytes()
    try:
        arrays = read_npz(content)
        about = json.loads(str(arrays["about"]))
        rows = [_rows(arrays, part, len(arrays[f"Y_{part}"]), about["d_in"]) for part in ("train", "test")]
        return make_read_only(Dataset(rows[0], arrays["Y_train"], rows[1], arrays["Y_test"], about["settings"]))
    except Exception as error:  # Zipfile, zlib and json raise many types of errors.
        raise DamagedError(f"{path}: damaged: {error}") from None


def _arrays(data: Dataset) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {"Y_train": data.Y_train, "Y_test": data.Y_test}
    for part, rows in (("train", data.rows_train), ("test", data.rows_test)):
        if isinstance(rows, csr_array):
            arrays |= {f"X_{part}_{name}": getattr(rows, name) for name in ("data", "indices", "indptr")}
        else:
            arrays[f"X_{part}"] = rows
    return arrays


def _rows(arrays: dict[str, NDArray[Any]], part: str, n: int, d_in: int) -> csr_array | NDArray[np.float64]:
    if f"X_{part}" in arrays:
        return arrays[f"X_{part}"]
    data, indices, indptr = (arrays[f"X_{part}_{name}"] for name in ("data", "indices", "indptr"))
    return csr_array((data, indices, indptr), (n, d_in))
