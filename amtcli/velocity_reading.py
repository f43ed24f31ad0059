"""Reading the velocities of a score's notes off recordings: what a reader is asked, and answers.

A reader is an engine with a velocity model. Which models are velocity models, their decoder
says; ``READERS`` makes a reader of each kind.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from amtcli.errors import AmtError, ModelError
from amtcli.notes import Performance
from amtcli.reading import Recording

if TYPE_CHECKING:
    from amtcli.engine import EngineOptions, Progress
    from amtcli.model_folder import Model, ModelConfig


@dataclass(frozen=True)
class ScoredRecording:
    """A recording and the notes and pedals of its score, at the times when they are heard.

    The notes are in the order of the score's own list, which is almost that of their onsets; the
    velocities that they carry are the score's.
    """

    recording: Recording
    score: Performance


@dataclass(frozen=True)
class VelocityReading:
    """What became of one recording: a velocity per note in the score's order, or an error.

    ``velocities`` (n,) are on MIDI's scale, neither rounded nor limited; NaN is for a note that
    the recording says nothing of, such as one in digital silence.
    """

    recording: Recording
    velocities: NDArray[np.float64] | None
    error: AmtError | None
    warnings: tuple[str, ...]
    audio_s: float


class VelocityReader(Protocol):
    """A velocity model made ready on a device; ``description`` says on which."""

    description: str

    def read_velocities(
        self,
        scored: Iterable[ScoredRecording],
        on_progress: Callable[[Progress], None] | None = None,
        /,
    ) -> Generator[VelocityReading]:
        """Answer each recording as it is done; they are asked for when there is room for them."""
        ...


MakeReader = Callable[["Model", "EngineOptions", Callable[[str], None]], VelocityReader]

READERS: dict[str, MakeReader] = {}
"""Kinds of decoders of velocity models, and what makes a reader of model, options and notices."""


def reader_maker(config: ModelConfig) -> MakeReader:
    """Return what makes a reader of a model. Raises ModelError where it is no velocity model."""
    kind = config.decoder.get("kind")
    if kind not in READERS:
        raise ModelError(
            f"{config.model_id} does not read velocities of a given score (its decoder is "
            f"{kind!r}): name a velocity model with --model"
        )
    return READERS[kind]
