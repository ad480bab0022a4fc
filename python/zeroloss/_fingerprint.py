"""Fingerprints of configurations: hashes of the settings that determine the records of a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from . import _deprecated

Settings = Mapping[str, Any]

#: Keys of [run] that have no effect on records.
EXECUTION_KEYS = frozenset({"threads", "checkpoint_every", "checkpoint_minutes", "keep_checkpoints"})


_OF_LAYERS: Settings = {"train_layers": "both", "temperature": 1.0}
_OF_DESCENT: Settings = {
    **_OF_LAYERS,
    "batch_seed": 0,
    "label_noise_std": 0.0,
    "noise_seed": 0,
    "decay_biases": True,
}

#: Keys that older versions do not have, with the values that do what those versions do, by section or kind of dynamics.
#: A key with this value has no effect.
_LATER_DEFAULTS: Mapping[str, Settings] = {
    "network": {"bias": "none"},
    "gradient_descent": _OF_DESCENT,
    "adamw": _OF_DESCENT,
    "gradient_flow": _OF_LAYERS,
    "norm_flow": {"train_layers": "both"},
}


def fingerprint_of(settings: Settings, *, with_length: bool = False) -> str:
    """Return the fingerprint of complete settings.

    The length of the run is included only with ``with_length``, because a resumed run may have another one. A key
    without a value has no effect.
    """
    return combine_fingerprint(section_text(name, settings[name], with_length=with_length) for name in sorted(settings))


def section_text(name: str, keys: Settings, *, with_length: bool = False) -> str:
    """Return the text of a section that enters a fingerprint."""
    if name == "run":
        keys = {key: value for key, value in keys.items() if not _is_ignored(key, with_length)}
    later = _LATER_DEFAULTS.get(str(keys.get("kind", name)), {})
    keys = {key: value for key, value in keys.items() if value is not None and value != later.get(key)}
    keys = _deprecated.first_names(name, keys)
    return f"{json.dumps(name)}: {json.dumps(keys, sort_keys=True)}"


def _is_ignored(key: str, with_length: bool) -> bool:
    """Return whether a key of [run] has no effect on a fingerprint."""
    is_length = key in {"steps", "duration"} or key.startswith("stop")
    return key in EXECUTION_KEYS or (is_length and not with_length)


def combine_fingerprint(texts: Iterable[str]) -> str:
    """Return the fingerprint of the texts of all sections, in the order of their names."""
    return hashlib.sha256(f"{{{', '.join(texts)}}}".encode()).hexdigest()[:16]
