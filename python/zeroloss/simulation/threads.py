"""Simulations side by side on threads, since the kernels let go of Python's lock: with one bar, ended as a whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

from tqdm import tqdm

from .interruption import Asked, Interruption

Job = TypeVar("Job")
Result = TypeVar("Result")


def on_threads(
    work: Callable[[Job, Callable[[int], None], Interruption], Result],
    jobs: Iterable[Job],
    at_once: int,
    bar: tqdm[None],
    stop: threading.Event,
) -> list[Result]:
    """Return what a piece of work gives for each job, in order.

    Parameters
    ----------
    work : function of (job, tell, interruption)
        It calls ``tell`` with the number of steps as they are taken, and ends early where the interruption is
        requested: once ``stop`` is set, or by Ctrl-C.
    jobs : iterable
        They are begun in this order.
    at_once : int
        How many of them at a time.
    bar : tqdm
        Moved by all; closed at the end.
    stop : Event
        Set, here or by a piece of work, where nobody wants the others any more.

    Raises
    ------
    BaseException
        What a piece of work raises, or a second Ctrl-C, once the others have ended.
    """
    lock = threading.Lock()

    def tell(taken: int) -> None:
        with lock:
            bar.update(taken)

    pool = ThreadPoolExecutor(at_once, thread_name_prefix="zeroloss")
    with Interruption() as interruption, bar:
        asked = Asked(lambda: signal.SIGINT if stop.is_set() or interruption.requested else None)
        try:
            under_way = [pool.submit(work, job, tell, asked) for job in jobs]
            wait(under_way, return_when=FIRST_EXCEPTION)
            found = [one.result() for one in under_way if one.done()]
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
        pool.shutdown()
    return found
