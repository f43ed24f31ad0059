"""One function on many things in several processes, which never outlive the one that asked."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from amtcli.errors import AmtError

MOST_PROCESSES = 61  # Windows waits for no more at once

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def map_unordered(
    function: Callable[[_Item], _Result], items: Sequence[_Item], n_jobs: int
) -> Iterator[_Result]:
    """Give out ``function(item)`` as the results come; with one job, in order and in this process.

    ``function`` and ``items`` must be picklable. What the function raises is raised here.

    Raises
    ------
    AmtError
        A process was killed from outside.
    """
    if n_jobs == 1 or len(items) < 2:
        yield from map(function, items)
        return
    others = multiprocessing.active_children()
    pool = ProcessPoolExecutor(
        min(n_jobs, len(items), MOST_PROCESSES),
        # Forking a process that has threads, as libraries start them, may block for ever.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_follow_parent,
    )
    try:
        for done in as_completed([pool.submit(function, item) for item in items]):
            yield done.result()
    except BrokenProcessPool:
        raise AmtError(
            "a worker process was killed (out of memory?); the same command goes on, perhaps "
            "with fewer --jobs"
        ) from None
    except BaseException:  # an error, an interruption, or nobody wants the rest
        for worker in multiprocessing.active_children():
            if worker not in others:
                worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        # Interrupted programs end at once, and the pool's semaphores would be reported as lost.
        del pool


def _follow_parent() -> None:
    """End with the parent, however that ends, and leave interruptions to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
