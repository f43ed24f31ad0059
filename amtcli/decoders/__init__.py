"""Decoders: activations to notes, pedal spans and beats. A new one is added to ``DECODERS``.

A decoder is made for one recording and fed its windows; those that hear live, too, have ``push``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from amtcli.decoders.beats import BeatsConfig, BeatsDecoder
from amtcli.decoders.frames import FramesConfig, FramesDecoder
from amtcli.decoders.note_states import NoteStatesConfig, NoteStatesDecoder
from amtcli.decoders.onset_peaks import OnsetPeaksConfig, OnsetPeaksDecoder
from amtcli.decoders.peaks import PeaksConfig, PeaksDecoder
from amtcli.decoders.regression import RegressionConfig, RegressionDecoder
from amtcli.decoders.score_velocities import ScoreVelocitiesConfig, ScoreVelocityDecoder
from amtcli.decoders.semi_crf import SemiCrfConfig, SemiCrfDecoder
from amtcli.notes import Event


class Decoder(Protocol):
    """Turns the activations of one recording's windows, in order, into what was played."""

    def feed(self, activations: Any, /) -> Sequence[Event]:
        """Take the next window's activations (None: a silent one), return what is final."""
        ...

    def close(self) -> Sequence[Event]:
        """End the recording, return the rest."""
        ...


DECODERS: dict[str, tuple[type[Any], type[Any]]] = {
    "beats": (BeatsConfig, BeatsDecoder),
    "frames": (FramesConfig, FramesDecoder),
    "note_states": (NoteStatesConfig, NoteStatesDecoder),
    "onset_peaks": (OnsetPeaksConfig, OnsetPeaksDecoder),
    "peaks": (PeaksConfig, PeaksDecoder),
    "regression": (RegressionConfig, RegressionDecoder),
    "score_velocities": (ScoreVelocitiesConfig, ScoreVelocityDecoder),
    "semi_crf": (SemiCrfConfig, SemiCrfDecoder),
}
