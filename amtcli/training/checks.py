"""What is refused before a training begins, when all that it needs is at hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import torch

from amtcli.datasets.labels import BeatLabels, Labels, labels_of_performance
from amtcli.datasets.pack import PackedRecording
from amtcli.datasets.performances import CLOCK_HZ
from amtcli.errors import ModelError, TrainingError
from amtcli.notes import Performance
from amtcli.training.components import Components
from amtcli.training.hearing import Hearing
from amtcli.training.objectives.objective import WindowLabels
from amtcli.training.recipe import Recipe


@torch.no_grad()
def check_window(recipe: Recipe, parts: Components) -> None:
    """Take a second of silence, or a window if that is shorter, through all that a step runs.

    Raises ModelError where front-end, network and objective do not go together. Leaves the
    modules in evaluation mode, and all else in them as it was.
    """
    hearing = Hearing(parts.front_end, parts.network).eval()
    # As in training: for whole recordings, some front-ends leave silent frames out as NaN.
    parts.front_end.train()
    for name, weight in hearing.named_parameters():
        if not weight.numel():
            raise ModelError(f"{recipe.path}: [network] has nothing in {name}: a size in it is 0")
    rate_hz = parts.front_end.sample_rate_hz
    hop_samples = recipe.front_end.get("hop_samples", 1)
    n_samples = min(recipe.sampling.length_samples, rate_hz // hop_samples * hop_samples)
    silence = WindowLabels(_nothing_played(), n_samples / rate_hz)
    samples = torch.zeros(1, n_samples)
    try:
        targets = parts.objective.targets(silence)
        batch = {name: torch.from_numpy(array[None]) for name, array in targets.items()}
        features = samples if hearing.front_end is not None else parts.front_end([samples])
        parts.objective.loss(hearing, features, batch)  # type: ignore[arg-type]
    except (ValueError, LookupError, ArithmeticError, RuntimeError) as error:
        problem = str(error).partition("\n")[0]
        raise ModelError(
            f"{recipe.path}: [front_end], [network] and [objective] do not go together: {problem}"
        ) from error


def _nothing_played() -> Labels:
    beats = BeatLabels(np.empty(0), np.empty(0, np.bool_), np.empty(0, np.int8))
    return dataclasses.replace(labels_of_performance(Performance()), beats=beats)


def check_sample_rate(recipe: Recipe, recordings: Iterable[PackedRecording]) -> None:
    """Raise TrainingError that names a recording of another rate than the front-end hears."""
    rate_hz = recipe.front_end.get("sample_rate_hz")
    for recording in recordings:
        if recording.sample_rate_hz != rate_hz:
            raise TrainingError(
                f"{recording.name} was packed at {recording.sample_rate_hz} Hz, the recipe's "
                f"front-end hears {rate_hz}: {_hint(recipe, recording)}"
            )


def _hint(recipe: Recipe, recording: PackedRecording) -> str:
    if recipe.front_end.get("kind") == "clock":
        return "it learns from notes, which amt pack performances packs"
    if recording.sample_rate_hz == CLOCK_HZ:
        return "it learns from sound, and there is none in a pack of performances"
    return f"pack again with --sample-rate {recipe.front_end.get('sample_rate_hz')}"


def check_recordings(recipe: Recipe, recordings: Sequence[PackedRecording]) -> None:
    """Raise TrainingError where there is nothing to learn from by this recipe.

    Windows longer than every recording would be filled with zeros.
    """
    if not recordings:
        raise TrainingError("there is no recording of the split train to learn from")
    check_sample_rate(recipe, recordings)
    longest = max(recordings, key=lambda recording: recording.duration_s)
    wanted = recipe.sampling.length_samples
    if wanted > longest.n_samples:
        raise TrainingError(
            f"sampling.length_samples is {wanted}, and the longest recording to learn from, "
            f"{longest.name}, has {longest.n_samples}: choose shorter windows, or longer recordings"
        )
