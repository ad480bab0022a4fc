"""Arrays as text for a page: compressed bytes in base64, which `js/decode.js` reads."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: The largest integer of a weight that is rounded relative to the largest weight of its unit.
LEVELS = 2047


def encode(values: ArrayLike, dtype: str = "float32") -> dict[str, Any]:
    """Return an array as text. Numbers beyond the range of ``dtype`` become infinite.

    Parameters
    ----------
    values : array_like
        The numbers.
    dtype : {"float32", "float64", "uint16", "uint8"}
        The type in the page.

    Returns
    -------
    dict
        The type, the shape and the data.
    """
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(values, dtype)
    return {"dtype": dtype, "shape": list(array.shape), "data": _compress(array.astype(array.dtype.newbyteorder("<")))}


def encode_weights(weights: NDArray[Any]) -> dict[str, Any]:
    """Return weights as integers from −2047 to 2047 times a scale for each snapshot and unit.

    The error is at most 1/4094 of the largest absolute weight of the unit in the snapshot.

    Parameters
    ----------
    weights : ndarray, (snapshots, units, entries)
        The weights.

    Returns
    -------
    dict
        The integers, with all low bytes before all high bytes, which compresses better, and the scales.
    """
    finite = np.isfinite(weights).all(axis=2, keepdims=True)
    values = np.where(finite, weights, 0).astype(np.float64)
    largest = np.abs(values).max(axis=2, keepdims=True, initial=0)
    integers = np.rint(values * (LEVELS / np.where(largest > 0, largest, 1))).astype("<i2")
    planes = np.ascontiguousarray(integers).view(np.uint8).reshape(-1, 2).T
    scales = np.where(finite, largest / LEVELS, np.nan)[..., 0]
    return {"shape": list(weights.shape), "data": _compress(planes), "scales": encode(scales)}


def _compress(array: NDArray[Any]) -> str:
    return base64.b64encode(zlib.compress(array.tobytes(), 6)).decode("ascii")
