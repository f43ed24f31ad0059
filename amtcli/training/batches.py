"""Windows of training, made ahead of the network by worker processes or one thread.

What a batch holds is a function of the recipe, the recordings and the step alone: neither the
number of workers nor an interruption changes it.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import queue
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from amtcli.datasets.labels import Labels
from amtcli.datasets.pack import PackedRecording
from amtcli.errors import AmtError
from amtcli.training.augmentation import (
    AugmentationConfig,
    apply_to_audio,
    apply_to_labels,
    draw_alteration,
)
from amtcli.training.cached import CachedFeatures
from amtcli.training.objectives.objective import Objective, Targets, WindowLabels
from amtcli.training.recipe import SamplingConfig
from amtcli.training.sampling import WindowSampler, cut_labels, window_generator

_N_AHEAD = 2  # batches that wait for the network, per worker

Item = TypeVar("Item")


@dataclass(frozen=True)
class Batch:
    """Windows of one step: samples (batch, n) or cached features, targets (batch, ...)."""

    inputs: NDArray[np.float32]
    targets: Targets
    names: tuple[str, ...]


@dataclass(frozen=True)
class Share:
    """The part of each step's batch that one process computes, in ``n_parts`` equal parts.

    Part p of process r takes the windows of the indices (p * n_processes + r) * n_windows
    onwards, so that the processes together take the same windows however many they are.
    """

    n_windows: int
    n_parts: int
    process: int
    n_processes: int

    def indices(self, part: int) -> range:
        """Return the indices in the batch of all processes."""
        first = (part * self.n_processes + self.process) * self.n_windows
        return range(first, first + self.n_windows)


class WindowMaker:
    """Makes windows by their step and index. Picklable: workers have their own."""

    def __init__(
        self,
        recordings: Sequence[PackedRecording],
        objective: Objective,
        sampling: SamplingConfig,
        augmentation: AugmentationConfig | None,
        seed: int,
        cached: CachedFeatures | None = None,
    ) -> None:
        self._recordings = tuple(recordings)
        self._objective = objective
        self._augmentation = augmentation
        self._n_samples = sampling.length_samples
        self._seed = seed
        self._cached = cached
        self._sampler = WindowSampler([r.n_samples for r in self._recordings], sampling)

    def make(self, step: int, index: int) -> tuple[NDArray[np.float32], Targets, str]:
        """Make window ``index`` of the batch of ``step``: input, targets, recording.

        The input are samples (n,), or features where they are cached.
        """
        generator = window_generator(self._seed, step, index)
        stretch = self._sampler.draw(generator)
        recording = self._recordings[stretch.recording]
        rate_hz = recording.sample_rate_hz
        duration_s = self._n_samples / rate_hz
        start_s = stretch.start_samples / rate_hz
        all_labels = _read_labels(recording)
        if self._augmentation is None:
            inputs = self._read(recording, stretch.start_samples)
            labels = cut_labels(all_labels, start_s, duration_s)
        else:
            alteration = draw_alteration(self._augmentation, generator, self._n_samples, rate_hz)
            n_source = alteration.source_samples(self._n_samples)
            source = recording.read_audio(stretch.start_samples, n_source)
            inputs = apply_to_audio(alteration, source, rate_hz)
            labels = cut_labels(all_labels, start_s, n_source / rate_hz)
            labels = apply_to_labels(alteration, labels)
        return inputs, self._objective.targets(WindowLabels(labels, duration_s)), recording.name

    def _read(self, recording: PackedRecording, start_samples: int) -> NDArray[np.float32]:
        if self._cached is not None:
            return self._cached.read(recording, start_samples)
        return recording.read_audio(start_samples, self._n_samples)

    def batch(self, step: int, indices: Iterable[int]) -> Batch:
        """Make several windows and stack them."""
        windows = [self.make(step, index) for index in indices]
        inputs, targets, names = zip(*windows, strict=True)
        stacked = {name: np.stack([window[name] for window in targets]) for name in targets[0]}
        return Batch(np.stack(inputs), stacked, names)


@functools.lru_cache(maxsize=256)
def _read_labels(recording: PackedRecording) -> Labels:
    return recording.read_labels()


class _Portions(Dataset[Batch | AmtError]):
    """Batches by (step, part), as a torch data set."""

    def __init__(self, maker: WindowMaker, share: Share) -> None:
        self._maker = maker
        self._share = share

    def __getitem__(self, key: tuple[int, int]) -> Batch | AmtError:
        step, part = key
        try:
            return self._maker.batch(step, self._share.indices(part))
        except AmtError as error:
            return error  # raised as it is in the process that trains, without the worker's trace


class _Keys:
    """The (step, part) of all batches from one step to another, as a torch sampler."""

    def __init__(self, steps: range, n_parts: int) -> None:
        self._steps = steps
        self._n_parts = n_parts

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((step, part) for step in self._steps for part in range(self._n_parts))


def batches(
    maker: WindowMaker, share: Share, steps: range, n_workers: int
) -> Generator[Batch, None, None]:
    """Yield the batches of ``steps`` in order, ``share.n_parts`` for each step.

    They are made ahead by ``n_workers`` processes, or by a thread of this one where there are
    none. Closing the generator ends both. Raises what a recording that cannot be read raises.
    """
    loader = DataLoader(
        _Portions(maker, share),
        batch_size=None,
        sampler=_Keys(steps, share.n_parts),  # type: ignore[arg-type] # any iterable will do
        num_workers=n_workers,
        collate_fn=_as_it_is,
        prefetch_factor=_N_AHEAD if n_workers else None,
        multiprocessing_context=_context() if n_workers else None,
        worker_init_fn=_begin_worker,
        generator=torch.Generator(),  # or it would draw from the one that dropout draws from
    )
    ahead = ahead_of(iter(loader), _N_AHEAD)
    try:
        for batch in ahead:
            if isinstance(batch, AmtError):
                raise batch
            yield batch
    finally:
        ahead.close()


def ahead_of(items: Iterator[Item], n_ahead: int) -> Generator[Item, None, None]:
    """Yield ``items``, which a thread takes up to ``n_ahead`` in advance."""
    waiting: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(n_ahead)
    stopped = threading.Event()

    def put(entry: tuple[Item | None, BaseException | None]) -> None:
        while not stopped.is_set():
            try:
                waiting.put(entry, timeout=0.1)
                return
            except queue.Full:
                continue

    def take() -> None:
        try:
            for item in items:
                put((item, None))
                if stopped.is_set():
                    return
            put((None, StopIteration()))
        except BaseException as error:  # handed to the thread that waits, not hidden
            put((None, error))

    thread = threading.Thread(target=take, name="batches", daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc] # an item comes with every entry without an error
    finally:
        stopped.set()
        thread.join()


def _as_it_is(batch: Any) -> Any:
    """Keep NumPy arrays: they come through a pipe, where tensors would need room in /dev/shm."""
    return batch


def _context() -> Any:
    """Start workers from a process that has neither threads nor CUDA, which forks badly."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _begin_worker(_: int) -> None:
    if hasattr(os, "nice"):
        os.nice(5)  # the network goes first where processes share too few cores
