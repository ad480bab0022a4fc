"""Cubes of sweeps with random delays, for tests of pages."""

import json

import numpy as np
import xarray as xr

from zeroloss.results import Ending
from zeroloss.sweeps.cube import NOT_ENDED

KEYS = {"lr": [0.1, 1.0, 5.0], "hidden": [8, 16], "data_seed": [0, 1, 2, 3, 4]}


def make_random_cube(seed=0, keys=KEYS, event="test_accuracy >= 0.9"):
    """Return a cube in which some cells diverged or have not ended, and in which steps and ends have ties."""
    generator = np.random.default_rng(seed)
    dims, shape = list(keys), tuple(len(values) for values in keys.values())
    choices = ["reached the end", str(Ending.DIVERGED), NOT_ENDED, str(Ending.BROKEN_OFF)]
    ending = generator.choice(choices, shape, p=[0.65, 0.2, 0.1, 0.05]).astype(object)
    ending[0, 0], ending[-1, -1] = Ending.DIVERGED, NOT_ENDED
    has_records = np.isin(ending, choices[:2])
    last = np.where(has_records, generator.choice([200.0, 300.0, 400.0, 1000.0], shape), np.nan)
    first = np.where(has_records, generator.choice([0.0, 100.0, np.nan], shape, p=[0.4, 0.4, 0.2]), np.nan)
    second = first + generator.choice([100.0, 200.0, 300.0, 400.0], shape)
    second[(generator.random(shape) < 0.2) | (second > last)] = np.nan
    steps = np.arange(0, 1001, 100)
    curve = generator.random((*shape, len(steps)))
    curve[~(steps <= last[..., None])] = np.nan
    events = (*dims, "event")
    names = np.array([f"cell{place}" for place in range(ending.size)], object).reshape(shape)
    return xr.Dataset(
        {
            "event_step": (events, np.stack([first, second], axis=-1)),
            "last_step": (dims, last),
            "ending": (dims, ending),
            "outcome": (dims, ending),
            "cell": (dims, names),
            "test_loss": ((*dims, "step"), curve, {"long_name": "test loss"}),
            "test_accuracy": ((*dims, "step"), 1 - curve, {"long_name": "test accuracy"}),
        },
        {"event": np.array(["train_accuracy >= 1", event], object), "step": steps, **keys},
        {"settings": json.dumps({"data": {"p": 5}, "network": {}})},
    )
