"""Progress bars on standard error, or in a notebook."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress_bar(
    wanted: bool | None, *, iterable: Iterable[Any] | None = None, unit: str = "step", **options: Any
) -> tqdm[Any]:
    """Return a progress bar.

    Parameters
    ----------
    wanted : bool, optional
        Whether the bar is shown. By default it is shown after one second, if standard error is a terminal or the code
        runs in a notebook. A process whose standard error is closed shows none.
    iterable, unit, **options
        As for ``tqdm.tqdm``.
    """
    notebook = in_notebook()
    if sys.stderr is None:  # It is closed. Tqdm would raise an error when it first shows the bar.
        wanted = False
    if wanted is None:
        shown: dict[str, Any] = {"disable": False if notebook else None, "delay": 1.0}  # None: shown only on a terminal
    else:
        shown = {"disable": not wanted, "delay": 0.0}
    bar: type[tqdm[Any]] = _NotebookBar if notebook and _widget() else tqdm
    options = {"unit_scale": unit == "step", **options}
    return bar(iterable, unit=unit, dynamic_ncols=True, **shown, **options)


class _NotebookBar(tqdm):  # type: ignore[type-arg]  # generic only in the stubs
    """A widget of ``tqdm.auto`` that is created when it is first shown.

    A widget takes 10 ms and stays in the notebook. A short simulation creates none.
    """

    def __init__(self, iterable: Iterable[Any] | None, **options: Any) -> None:
        self._shown: tqdm[Any] | None = None
        self._options = {name: options[name] for name in ("unit", "unit_scale", "dynamic_ncols")}
        super().__init__(iterable, gui=True, **options)  # with gui, tqdm writes nothing and calls ``display``
        if not self.disable and not self.delay:
            self.display()

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        if self._shown is None:
            self._shown = (_widget() or tqdm)(
                total=self.total, initial=self.initial, desc=self.desc, leave=self.leave, **self._options
            )
            self._shown.start_t = self.start_t  # The speed is measured from the start of the bar.
        self._shown.n, self._shown.desc, self._shown.postfix = self.n, self.desc, self.postfix
        self._shown.refresh()

    def close(self) -> None:
        super().close()
        if self._shown is not None:
            self.display()
            self._shown.close()


def in_notebook() -> bool:
    """Return whether the code runs in a Jupyter kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in shell.config


def _widget() -> type[tqdm[Any]] | None:
    """Return the widget of ``tqdm.auto``; None, without a warning, if ipywidgets is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tqdm import auto, notebook  # noqa: PLC0415 — they load ipywidgets
    return auto.tqdm if issubclass(auto.tqdm, notebook.tqdm) else None
