"""The inference engine: recordings in, performances out, as they finish.

Reader threads decode and resample recordings into windows; windows of different recordings
share a batch on the device; the activations of each window go, in order, to the decoder of its
recording, which runs in a thread beside the computation. Memory grows neither with the length of
a recording nor with their number, and what a recording gives does not depend on its neighbours.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import torch

from amtcli.decoders import Decoder
from amtcli.devices import (
    AUTO_BATCH_SIZE,
    PRECISIONS,
    describe,
    is_fast_at_bf16,
    is_out_of_memory,
    resolve_device,
    resolve_precision,
    run_halving,
)
from amtcli.errors import AmtError, UsageError
from amtcli.model_folder import Model
from amtcli.notes import Beat, Event, Note, PedalSpan, Performance
from amtcli.reading import ReadOptions, ReadState, Recording, Window, WindowReader

# About a minute of audio; giving memory back takes a few hundredths of a second each time.
_WINDOWS_PER_TRIM = 4


@dataclass(frozen=True)
class EngineOptions:
    """How to compute.

    ``batch_size`` is in windows; None lets the device decide. ``fast`` takes the model's wider
    hop, and bf16 where the device is fast at it, at some cost in accuracy.
    """

    device: str = "auto"
    precision: str = "auto"
    batch_size: int | None = None
    fast: bool = False


@dataclass(frozen=True)
class Timings:
    """Seconds of audio read, and seconds that reading, computing and decoding took.

    The three overlap in time; ``elapsed_s`` is from opening the recording to its result.
    """

    audio_s: float
    read_s: float
    compute_s: float
    decode_s: float
    elapsed_s: float


@dataclass(frozen=True)
class Transcription:
    """What became of one recording: a performance, or the error that prevented it."""

    recording: Recording
    performance: Performance | None
    error: AmtError | None
    warnings: tuple[str, ...]
    timings: Timings


@dataclass(frozen=True)
class Progress:
    """How far a recording has been computed, in seconds of audio; the total may be unknown."""

    recording: Recording
    done_s: float
    total_s: float | None


@dataclass
class _Job:
    """A recording on its way through the engine."""

    state: ReadState
    decoder: Decoder
    found: list[Event] = field(default_factory=list)
    n_windows: int = 0
    compute_s: float = 0.0
    decode_s: float = 0.0


class _Jobs:
    """The recordings that are on their way, by what is known of each while it is read."""

    def __init__(self, decoder_for: Callable[[Recording], Decoder]) -> None:
        self._decoder_for = decoder_for
        self._running: dict[int, _Job] = {}

    def of(self, state: ReadState) -> _Job:
        """Return the job of a recording, begun if it is new."""
        if id(state) not in self._running:
            self._running[id(state)] = _Job(state, self._decoder_for(state.recording))
        return self._running[id(state)]

    def running(self, state: ReadState) -> _Job | None:
        """Return the job of a recording, None when it has ended."""
        return self._running.get(id(state))

    def end(self, state: ReadState) -> None:
        """Forget a recording that has ended."""
        del self._running[id(state)]


class Engine:
    """A model made ready on a device.

    Raises UsageError for a device or precision that cannot be had. ``on_notice`` is told in
    one line what the user may want to know, such as a batch that had to be halved.
    """

    def __init__(
        self,
        model: Model,
        options: EngineOptions = EngineOptions(),
        on_notice: Callable[[str], None] | None = None,
    ) -> None:
        self._model = model
        self._notify = on_notice or (lambda _: None)
        self._torch_device = resolve_device(options.device)
        self.precision = self._choose_precision(options)
        self.device = str(self._torch_device)
        self.description = f"{describe(self._torch_device)}, {self.precision}"
        self.window = model.config.window.spec(fast=options.fast)
        self._batch_size = options.batch_size or AUTO_BATCH_SIZE.get(self._torch_device.type, 1)
        self._rate_hz: int = model.config.front_end["sample_rate_hz"]
        self._front_end = model.front_end.to(self._torch_device).eval()
        self._network = model.network.to(self._torch_device).eval()
        with torch.inference_mode():
            self._network.prepare(self.precision)
        if self.precision == "bf16" and not is_fast_at_bf16(self._torch_device):
            self._notify(f"{self.device} has no fast bf16: --precision float32 may be faster")

    def _choose_precision(self, options: EngineOptions) -> str:
        offered, measured = self._model.network.precisions, self._model.config.precision
        if options.precision in PRECISIONS and options.precision not in ("auto", *offered):
            raise UsageError(
                f"--precision {options.precision}: {self._model.config.model_id} "
                f"can be computed in {', '.join(offered)}"
            )
        may = {"int8": measured.auto_int8, "bf16": measured.auto_bf16 or options.fast}
        allowed = [name for name in offered if may.get(name)]
        return resolve_precision(options.precision, self._torch_device, allowed)

    def transcribe(
        self,
        recordings: Iterable[Recording],
        on_progress: Callable[[Progress], None] | None = None,
        decoder_for: Callable[[Recording], Decoder] | None = None,
    ) -> Generator[Transcription]:
        """Transcribe recordings, each asked for only when there is room for it.

        ``decoder_for`` makes the decoder of a recording, in place of the model's own.

        Yields one result per recording, in the order in which they finish. A recording that
        cannot be read gives a result with its error; the others go on. Closing the generator
        ends its threads.
        """
        jobs = _Jobs(decoder_for or (lambda _: self._model.new_decoder(self.window)))
        pending: deque[Future[list[Transcription]]] = deque()
        n_until_trim = _WINDOWS_PER_TRIM
        with (
            WindowReader(recordings, self._read_options()) as reader,
            ThreadPoolExecutor(1, "decoder") as decoding,
        ):
            for batch in self._batches(reader):
                if batch:
                    items = self._compute(batch, jobs)
                    if on_progress:
                        self._report(batch, jobs, on_progress)
                    pending.append(decoding.submit(self._decode, items))
                    # What ends while the next window is long in coming is given out meanwhile.
                    pending[-1].add_done_callback(lambda _: reader.wake())
                while pending and (pending[0].done() or len(pending) > 4):
                    yield from pending.popleft().result()
                n_until_trim -= len(batch)
                if n_until_trim <= 0:
                    _give_back_free_memory()
                    n_until_trim = _WINDOWS_PER_TRIM
            while pending:
                yield from pending.popleft().result()

    def _read_options(self) -> ReadOptions:
        on_cpu = self._torch_device.type == "cpu"
        # A CPU that computes has no core to spare; a GPU must be fed by several.
        n_threads = 1 if on_cpu else min(8, os.cpu_count() or 1)
        mono = bool(self._front_end.mono)
        n_ahead = max(2, 2 * self._batch_size)
        return ReadOptions(self._rate_hz, mono, self.window, n_threads, n_ahead)

    def _batches(self, reader: Iterable[Window | None]) -> Iterator[list[Window]]:
        """Gather windows until enough of them have sound; silence and ends travel along.

        Of a long silence so many travel that memory does not grow. Who was woken gets an empty
        batch.
        """
        batch: list[Window] = []
        n_sounding = 0
        for window in reader:
            if window is None:
                yield []
                continue
            batch.append(window)
            n_sounding += _has_sound(window)
            is_full = n_sounding >= self._batch_size or len(batch) >= 4 * self._batch_size
            if is_full or (not n_sounding and window.samples is None):
                yield batch
                batch, n_sounding = [], 0
        if batch:
            yield batch

    def _compute(self, batch: list[Window], jobs: _Jobs) -> list[tuple[_Job, Window, Any]]:
        """Compute what has sound; returns job, window and activations (None: silence), in order."""
        sounding = [self._input(window) for window in batch if _has_sound(window)]
        start = time.perf_counter()
        results: list[Any] = []
        if sounding:
            results, n_at_once = self._run(sounding)
            if n_at_once < len(sounding):
                self._batch_size = n_at_once
                self._notify(f"memory ran out on {self.device}: batches of {n_at_once} from now on")
        share_s = (time.perf_counter() - start) / max(len(sounding), 1)
        activations = iter(results)
        items = []
        for window in batch:
            job = jobs.of(window.state)
            is_heard = _has_sound(window)
            job.n_windows += window.samples is not None
            job.compute_s += share_s if is_heard else 0.0
            items.append((job, window, next(activations) if is_heard else None))
            if window.samples is None:
                jobs.end(window.state)
        return items

    def _input(self, window: Window) -> Any:
        """Say what the network is told of one window that has sound."""
        assert window.samples is not None
        return torch.from_numpy(window.samples)

    def _run(self, inputs: list[Any]) -> tuple[list[object], int]:
        try:
            return run_halving(self._activations, inputs)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise AmtError(
                f"{self.device} has not enough memory for one window; "
                "close other programs that use it, or choose --device cpu"
            ) from error

    def _activations(self, inputs: list[Any]) -> list[object]:
        """Compute as many activations as there are inputs."""
        with torch.inference_mode():
            activations: list[object] = self._network.activations(self._features(inputs))
            return activations

    def _features(self, windows: list[torch.Tensor]) -> torch.Tensor:
        on_device = [w.to(self._torch_device, non_blocking=True) for w in windows]
        features: torch.Tensor = self._front_end(on_device)
        return features

    def _decode(self, items: list[tuple[_Job, Window, Any]]) -> list[Transcription]:
        finished = []
        for job, window, activations in items:
            start = time.perf_counter()
            if window.samples is not None:
                job.found += job.decoder.feed(activations)
            elif job.state.error is None:
                job.found += job.decoder.close()
            job.decode_s += time.perf_counter() - start
            if window.samples is None:
                finished.append(_to_transcription(job))
        return finished

    def _report(
        self, batch: list[Window], jobs: _Jobs, on_progress: Callable[[Progress], None]
    ) -> None:
        for state in {id(w.state): w.state for w in batch}.values():
            job = jobs.running(state)
            if job is None:  # it has ended
                on_progress(Progress(state.recording, state.duration_s, state.duration_s))
                continue
            next_start_s = self.window.start_samples(job.n_windows) / self._rate_hz
            total_s = state.expected_s
            done_s = max(next_start_s, 0.0)
            on_progress(
                Progress(state.recording, min(done_s, total_s) if total_s else done_s, total_s)
            )


def _give_back_free_memory() -> None:
    """Let the C library return what it holds but nobody uses, where it knows how (glibc).

    Tensors whose size differs from window to window leave holes between what lives longer, and
    the heap would go on growing for as long as a recording lasts.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _has_sound(window: Window) -> bool:
    """Digital silence needs no network: no interval of it scores above silence."""
    return window.samples is not None and bool(window.samples.any())


def performance_of(found: Iterable[Event]) -> Performance:
    """Put what a decoder found, in any order, into the order of a performance."""
    found = list(found)
    notes = sorted((n for n in found if isinstance(n, Note)), key=lambda n: (n.onset_s, n.pitch))
    pedals = sorted(
        (p for p in found if isinstance(p, PedalSpan)), key=lambda p: (p.onset_s, p.controller)
    )
    beats = sorted((b for b in found if isinstance(b, Beat)), key=lambda b: b.onset_s)
    return Performance(tuple(notes), tuple(pedals), tuple(beats))


def _to_transcription(job: _Job) -> Transcription:
    state = job.state
    # What a network hears in the silence that fills its last window is no part of the recording.
    found = (event for event in job.found if event.onset_s < state.duration_s)
    performance = performance_of(found) if state.error is None else None
    elapsed_s = time.perf_counter() - state.started
    timings = Timings(state.duration_s, state.read_s, job.compute_s, job.decode_s, elapsed_s)
    return Transcription(state.recording, performance, state.error, state.warnings, timings)
