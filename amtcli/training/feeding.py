"""Batches made ahead of the network, by worker processes or by one thread.

Each worker has a pipe of its own whose other end nobody else holds: when it dies, even in the
middle of a batch, the loop learns of it, and when the loop dies, so do its workers. Arrays come
through the pipes because shared memory is scarce in containers.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Generator, Iterator
from itertools import islice
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import torch

from amtcli.errors import AmtError, TrainingError
from amtcli.training.batches import Batch, Share, WindowMaker

_N_AHEAD = 2  # batches that wait in this process; each worker holds one more

Item = TypeVar("Item")


def feed(
    maker: WindowMaker, share: Share, steps: range, n_workers: int
) -> Generator[Batch, None, None]:
    """Yield the batches of ``steps`` in order, ``share.n_parts`` for each step.

    They are made ahead by ``n_workers`` processes, or by a thread of this one where there are
    none; closing the generator ends both. Raises what a recording that cannot be read raises, and
    TrainingError when a worker was killed.
    """
    n_batches = len(steps) * share.n_parts
    made = _made(maker, share, steps)
    workers = [_Worker(maker, share, steps, place, n_workers) for place in range(n_workers)]
    if workers:
        made = (workers[i % n_workers].receive() for i in range(n_batches))
    ahead = ahead_of(made, _N_AHEAD)
    try:
        yield from ahead
    finally:
        for worker in workers:
            worker.end()
        ahead.close()


def auto_workers(device: torch.device) -> int:
    """Choose how many processes make windows: a CPU that computes has no core to spare."""
    if device.type == "cpu":
        return 0
    n_sharing = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(8, (os.cpu_count() or 1) // n_sharing - 1))


def ahead_of(items: Iterator[Item], n_ahead: int) -> Generator[Item, None, None]:
    """Yield ``items``, which a thread takes up to ``n_ahead`` in advance."""
    waiting: queue.Queue[tuple[list[Item], BaseException | None]] = queue.Queue(n_ahead)
    stopped = threading.Event()

    def put(found: list[Item], error: BaseException | None = None) -> None:
        while not stopped.is_set():
            try:
                waiting.put((found, error), timeout=0.1)
                return
            except queue.Full:
                continue

    def take() -> None:
        try:
            for item in items:
                put([item])
                if stopped.is_set():
                    return
            put([])
        except BaseException as error:  # raised in the thread that waits
            put([], error)

    thread = threading.Thread(target=take, name="batches", daemon=True)
    thread.start()
    try:
        while True:
            found, error = waiting.get()
            if error is not None:
                raise error
            if not found:
                return
            yield found[0]
    finally:
        stopped.set()
        thread.join()


def _made(maker: WindowMaker, share: Share, steps: range) -> Iterator[Batch]:
    for step in steps:
        for part in range(share.n_parts):
            yield maker.batch(step, share.indices(part))


class _Worker:
    """A process that makes every ``n_workers``-th batch, from number ``place`` on."""

    def __init__(
        self, maker: WindowMaker, share: Share, steps: range, place: int, n_workers: int
    ) -> None:
        context = _context()
        self._connection, theirs = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_work,
            args=(theirs, maker, share, steps, place, n_workers),
            name=f"batches {place}",
            daemon=True,
        )
        self._process.start()
        theirs.close()

    def receive(self) -> Batch:
        """Wait for the next batch."""
        try:
            batch = self._connection.recv()
        except (EOFError, OSError) as error:
            self._process.join()
            raise TrainingError(
                f"a worker process ended with code {self._process.exitcode} (out of memory?): "
                "--resume auto goes on, perhaps with fewer --workers"
            ) from error
        if isinstance(batch, AmtError):
            raise batch
        assert isinstance(batch, Batch)
        return batch

    def end(self) -> None:
        """End at once: a worker has nothing to put in order."""
        self._process.kill()
        self._process.join()


def _work(
    connection: Connection,
    maker: WindowMaker,
    share: Share,
    steps: range,
    place: int,
    n_workers: int,
) -> None:
    """Make batches as long as somebody takes them."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # sent to all; the loop ends its workers itself
    if hasattr(os, "nice"):
        os.nice(5)  # the network goes first where processes share too few cores
    torch.set_num_threads(1)
    keys = ((step, part) for step in steps for part in range(share.n_parts))
    try:
        for step, part in islice(keys, place, None, n_workers):
            try:
                batch: Batch | AmtError = maker.batch(step, share.indices(part))
            except AmtError as error:
                batch = error
            connection.send(batch)
    except BrokenPipeError:
        pass  # the loop is gone, or wants no more


def _context() -> Any:
    """Start workers from a process that has neither threads nor CUDA, which fork badly."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context
