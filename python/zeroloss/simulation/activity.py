"""Warnings about networks without an active hidden unit. Their outputs are zero, and no gradient changes that."""

from __future__ import annotations

import dataclasses
import warnings

from scipy.sparse import csr_array

from .._checks import ZerolossWarning
from ..datasets import Dataset
from ..geometry.solver import dead_units
from ..networks import Network
from ..results import Outcome

_MESSAGE = "no hidden unit is active on the training samples: all outputs are zero, and no gradient changes that"


def warn_if_inactive(network: Network, data: Dataset) -> None:
    """Warn if no hidden unit of the starting network is active."""
    if _is_inactive(network, data):
        warnings.warn(f"network: {_MESSAGE}", ZerolossWarning, stacklevel=4)


def mention_inactivity(outcome: Outcome, network: Network, data: Dataset) -> Outcome:
    """Return the outcome of a run. Its message mentions it if no hidden unit of the last network is active."""
    if not _is_inactive(network, data):
        return outcome
    return dataclasses.replace(outcome, message=f"{outcome.message}; {_MESSAGE}")


def _is_inactive(network: Network, data: Dataset) -> bool:
    rows = data.rows_train
    if network.bias_output is not None:  # Their gradients change the outputs.
        return False
    b = 0 if network.bias_hidden is None else network.bias_hidden
    if isinstance(rows, csr_array):
        count = rows.indptr[1]
        first = rows.data[:count] @ network.E[rows.indices[:count]] + b
    else:
        first = rows[0] @ network.E + b
    if (first > 0).any():  # The first sample decides for most networks. The others need not be evaluated.
        return False
    return bool(dead_units(network, data).all())
