"""Batches of windows: a function of the recipe, the recordings and the step alone."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amtcli.datasets.labels import Labels
from amtcli.datasets.pack import PackedRecording
from amtcli.errors import DataError
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
        try:
            targets = self._objective.targets(WindowLabels(labels, duration_s))
        except DataError as error:
            raise DataError(f"{recording.file}: {error}") from error
        return inputs, targets, recording.name

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
