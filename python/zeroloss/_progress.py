"""Progress bars on standard error."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress_bar(
    wanted: bool | None, *, iterable: Iterable[Any] | None = None, unit: str = "step", **options: Any
) -> tqdm[Any]:
    """Return a bar: shown or not as is ``wanted``, by default on a terminal, once a second has passed."""
    shown: dict[str, Any] = {"disable": None, "delay": 1.0} if wanted is None else {"disable": not wanted, "delay": 0.0}
    return tqdm(iterable, unit=unit, unit_scale=unit == "step", dynamic_ncols=True, **shown, **options)
