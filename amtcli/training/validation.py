"""Scores of a model while it learns, by the engine and by the code of ``amt evaluate``.

What training measures is what users get: the same windows, precision and decoder as in
``amt transcribe``, the same matching of notes as in ``amt evaluate``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from amtcli.datasets.labels import BeatLabels, Labels
from amtcli.datasets.pack import PackedRecording
from amtcli.decoders import Decoder
from amtcli.engine import Engine, EngineOptions
from amtcli.errors import TrainingError
from amtcli.evaluation.aggregation import aggregate
from amtcli.evaluation.beats import BEAT_FAMILIES
from amtcli.evaluation.conventions import Conventions
from amtcli.evaluation.piece import PieceScores, score_piece
from amtcli.evaluation.results import parse_threshold, score_names
from amtcli.front_ends.front_end import FrontEnd
from amtcli.model_folder import Model
from amtcli.networks.network import Network
from amtcli.notes import DYNAMICS, Beat, Note, PedalSpan, Performance
from amtcli.reading import Recording
from amtcli.training.card import NEG_LOSS
from amtcli.training.checks import check_sample_rate
from amtcli.training.companions import Validation, Validator
from amtcli.training.components import build_components
from amtcli.training.export import model_config
from amtcli.training.objectives.objective import Objective, Targets, WindowLabels
from amtcli.training.recipe import Recipe
from amtcli.training.sampling import cut_labels
from amtcli.training.state import data_identity
from amtcli.training.thresholds import DecoderCache, check_grid, choose_settings

_CONVENTIONS = Conventions()
_REPORTED = ("onset_precision", "onset_recall", "velocity_mae")


@dataclass(frozen=True)
class Excerpt:
    """The beginning of a packed recording, ``n_samples`` long."""

    recording: PackedRecording
    n_samples: int

    @property
    def key(self) -> str:
        """What errors call it; packs that are measured on together may share names."""
        return str(self.recording.file)

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.recording.sample_rate_hz

    def read_audio(self) -> NDArray[np.float32]:
        """Read the samples (n_samples,)."""
        return self.recording.read_audio(0, self.n_samples)

    def read_reference(self) -> Performance:
        """Read what is played; see `performance_of_labels`."""
        return performance_of_labels(self.recording.read_labels(), self.duration_s)


def make_validator(recipe: Recipe, recordings: Sequence[PackedRecording]) -> Validator:
    """Make what measures models of a recipe on recordings, as its ``[validation]`` says.

    Raises UsageError for a metric that there is not, or of which less is better, TrainingError
    where there is no recording or, for losses, one of another rate, ModelError for a threshold
    that the decoder does not have.
    """
    config = recipe.validation
    if not recordings:
        raise TrainingError(
            "there is no recording of the split validation to measure on: pack some, or set "
            "another split's aside"
        )
    excerpts = choose_excerpts(recordings, config.n_recordings, config.excerpt_s)
    if config.metric == NEG_LOSS:
        check_sample_rate(recipe, recordings)
        return LossValidator(recipe, build_components(recipe).objective, excerpts)
    parse_threshold(f"{config.metric}=0", score_names(_CONVENTIONS))
    check_grid(recipe.decoder, config.thresholds, recipe.path)
    return ScoreValidator(recipe, excerpts)


def measure_identity(recipe: Recipe, recordings: Sequence[PackedRecording]) -> str:
    """Return what tells measures apart: scores on other recordings, or others, are no better."""
    config = recipe.validation
    how = f"{config.metric}-{config.n_recordings}-{config.excerpt_s:g}"
    return f"{data_identity(recordings)}-{how}"


def choose_excerpts(
    recordings: Sequence[PackedRecording], n_recordings: int, excerpt_s: float
) -> tuple[Excerpt, ...]:
    """Take ``n_recordings`` spread evenly over all (0: all), of each the first ``excerpt_s`` s.

    Which ones depends on their order alone, so it is the same each time; 0 s is all of them.
    """
    n_taken = min(n_recordings, len(recordings)) or len(recordings)
    places = [(2 * k + 1) * len(recordings) // (2 * n_taken) for k in range(n_taken)]
    return tuple(_excerpt(recordings[place], excerpt_s) for place in places)


def _excerpt(recording: PackedRecording, excerpt_s: float) -> Excerpt:
    wanted = round(excerpt_s * recording.sample_rate_hz) or recording.n_samples
    return Excerpt(recording, min(wanted, recording.n_samples))


def performance_of_labels(labels: Labels, duration_s: float) -> Performance:
    """Turn labels into the performance of the first ``duration_s`` seconds.

    What begins later is left out, what lasts longer ends there, as its sound does.
    """
    notes: list[Note] = []
    if labels.notes is not None:
        columns = (labels.notes.onset_s, labels.notes.offset_s)
        rows = zip(*columns, labels.notes.pitch, labels.notes.velocity, strict=True)
        notes = [Note(*_cut(a, b, duration_s), int(p), int(v)) for a, b, p, v in rows]
    pedals: list[PedalSpan] = []
    if labels.pedals is not None:
        columns = (labels.pedals.onset_s, labels.pedals.offset_s)
        rows = zip(*columns, labels.pedals.controller, labels.pedals.value, strict=True)
        pedals = [PedalSpan(*_cut(a, b, duration_s), int(c), int(v)) for a, b, c, v in rows]
    return Performance(
        tuple(note for note in notes if note.onset_s < duration_s),
        tuple(span for span in pedals if span.onset_s < duration_s),
        tuple(beat for beat in _beats(labels.beats) if beat.onset_s < duration_s),
    )


def _beats(labels: BeatLabels | None) -> Iterator[Beat]:
    if labels is None:
        return
    columns = (labels.time_s, labels.is_downbeat, labels.dynamics, labels.changes())
    for time_s, is_downbeat, dynamics, is_change in zip(*columns, strict=True):
        marking = DYNAMICS[dynamics] if dynamics >= 0 else None
        yield Beat(float(time_s), bool(is_downbeat), marking, bool(is_change))


def _cut(onset_s: float, offset_s: float, end_s: float) -> tuple[float, float]:
    return float(onset_s), min(float(offset_s), end_s)


class ScoreValidator:
    """Transcribes excerpts and scores them; where a recipe lists thresholds, chooses among them.

    The network computes once; the decoder is then tried with each setting on what it gave, which
    is held in main memory for all excerpts together.
    """

    def __init__(self, recipe: Recipe, excerpts: Sequence[Excerpt]) -> None:
        self._recipe = recipe
        self._excerpts = tuple(excerpts)

    def __call__(self, network: Network, front_end: FrontEnd) -> Validation:
        """Measure. Raises TrainingError when a recording cannot be read or has no such score."""
        recipe = self._recipe
        model = Model(model_config(recipe), recipe.path.parent, front_end, network)
        engine = Engine(model, EngineOptions(device=str(_device(network))))
        metric, grid = recipe.validation.metric, recipe.validation.thresholds
        references = [excerpt.read_reference() for excerpt in self._excerpts]
        if not grid:
            pieces = _score(self._transcribe(engine), references)
            return Validation(_named_means(pieces, metric), dict(recipe.decoder))
        caches = self._computed(engine)

        def scored(decoder: Mapping[str, Any]) -> float:
            return _mean(_score(_decoded(caches, decoder), references), metric)

        choice = choose_settings(recipe.decoder, grid, scored)
        pieces = _score(_decoded(caches, choice.decoder), references)
        return Validation(_named_means(pieces, metric), choice.decoder)

    def _computed(self, engine: Engine) -> list[DecoderCache]:
        """Compute the excerpts' activations without decoding them."""
        caches = {e.key: DecoderCache(engine.window, e.duration_s) for e in self._excerpts}
        self._transcribe(engine, lambda recording: caches[recording.key])
        return list(caches.values())

    def _transcribe(
        self, engine: Engine, decoder_for: Callable[[Recording], Decoder] | None = None
    ) -> list[Performance]:
        """Transcribe the excerpts, all in one call so that they share batches, in their order."""
        done: dict[str, Performance] = {}
        for result in engine.transcribe(self._recordings(), decoder_for=decoder_for):
            if result.performance is None:
                raise TrainingError(f"validation: {result.error}")
            done[result.recording.key] = result.performance
        return [done[excerpt.key] for excerpt in self._excerpts]

    def _recordings(self) -> Iterator[Recording]:
        """Give out recordings one by one: only those that are being read are in memory."""
        for excerpt in self._excerpts:
            yield Recording(excerpt.key, excerpt.read_audio(), excerpt.recording.sample_rate_hz)


def _decoded(caches: Iterable[DecoderCache], decoder: Mapping[str, Any]) -> Iterator[Performance]:
    return (cache.decode(decoder) for cache in caches)


def _score(
    performances: Iterable[Performance], references: Iterable[Performance]
) -> list[PieceScores]:
    pairs = zip(references, performances, strict=True)
    return [score_piece(reference, estimate, _CONVENTIONS) for reference, estimate in pairs]


def _mean(pieces: Sequence[PieceScores], metric: str) -> float:
    """Average one score over the pieces that have it. Raises TrainingError where none has."""
    known = [value for piece in pieces if (value := piece.scores.get(metric)) is not None]
    if not known:
        raise TrainingError(
            f"metric {metric!r} of [validation] has no meaning for these recordings: "
            "their labels do not hold what it compares"
        )
    return math.fsum(known) / len(known)


def _named_means(pieces: Sequence[PieceScores], metric: str) -> dict[str, float]:
    """Average what is worth a curve: every F1, a few more, and the metric.

    Where beats are what counts, there are their scores alone: such models find no notes.
    """
    mean_of = {name: entry.mean for name, entry in aggregate(pieces).items()}
    wanted = [name for name in mean_of if name.endswith("_f1") or name in _REPORTED]
    if metric.startswith(BEAT_FAMILIES):
        wanted = [name for name in wanted if name.startswith(BEAT_FAMILIES)]
    means = {name: mean for name in wanted if (mean := mean_of[name]) is not None}
    return {**means, metric: _mean(pieces, metric)}


class LossValidator:
    """Takes the mean of an objective's loss over excerpts, for networks that cannot be decoded.

    Excerpts are cut into windows of training's length one after the other, as they were recorded.
    """

    def __init__(self, recipe: Recipe, objective: Objective, excerpts: Sequence[Excerpt]) -> None:
        self._recipe = recipe
        self._objective = objective
        self._excerpts = tuple(excerpts)

    def __call__(self, network: Network, front_end: FrontEnd) -> Validation:
        """Measure. Raises TrainingError when the loss is no number."""
        device = _device(network)
        # As in training: for whole recordings, some front-ends leave silent frames out as NaN.
        front_end = front_end.to(device).train()
        totals: list[tuple[int, float]] = []
        training = self._recipe.training
        for windows in _portions(self._windows(), training.batch_size // training.accumulation):
            targets = {
                name: torch.from_numpy(np.stack([target[name] for _, target in windows]))
                for name in windows[0][1]
            }
            with torch.inference_mode():
                samples = torch.from_numpy(np.stack([audio for audio, _ in windows])).to(device)
                features = front_end([window[None] for window in samples])
                loss = self._objective.loss(network, features, _on(device, targets))
            totals.append((len(windows), float(loss.total)))
        mean = math.fsum(n * total for n, total in totals) / sum(n for n, _ in totals)
        if not math.isfinite(mean):
            raise TrainingError(f"the loss on the validation recordings is {mean}")
        return Validation({NEG_LOSS: -mean}, dict(self._recipe.decoder))

    def _windows(self) -> Iterator[tuple[NDArray[np.float32], Targets]]:
        n_samples = self._recipe.sampling.length_samples
        for excerpt in self._excerpts:
            recording, rate_hz = excerpt.recording, excerpt.recording.sample_rate_hz
            labels = recording.read_labels()
            for start in range(0, excerpt.n_samples, n_samples):
                duration_s = n_samples / rate_hz
                own = WindowLabels(cut_labels(labels, start / rate_hz, duration_s), duration_s)
                yield recording.read_audio(start, n_samples), self._objective.targets(own)


def _portions(
    windows: Iterable[tuple[NDArray[np.float32], Targets]], n_windows: int
) -> Iterator[list[tuple[NDArray[np.float32], Targets]]]:
    portion: list[tuple[NDArray[np.float32], Targets]] = []
    for window in windows:
        portion.append(window)
        if len(portion) == n_windows:
            yield portion
            portion = []
    if portion:
        yield portion


def _on(device: torch.device, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def _device(network: nn.Module) -> torch.device:
    """Return the device that a network lies on; one without weights lies on the CPU."""
    return next((weight.device for weight in network.parameters()), torch.device("cpu"))
