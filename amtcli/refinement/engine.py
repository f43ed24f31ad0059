"""The inference engine with a velocity model: recordings and their scores in, velocities out.

A network that hears velocities is told, beside the samples of a window, which notes of the score
sound in it; everything else is the engine's.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from amtcli.decoders import Decoder
from amtcli.decoders.score_velocities import ScoreNotes, ScoreVelocityDecoder, score_notes
from amtcli.engine import Engine, EngineOptions, Progress, Transcription
from amtcli.model_folder import Model
from amtcli.networks.velocity.score import ScoreRolls, score_rolls
from amtcli.networks.velocity.velocity_network import VelocityNetwork
from amtcli.reading import Recording, Window
from amtcli.refinement.reading import ScoredRecording, VelocityReading, check_velocity_model


@dataclass
class _Reading:
    """A recording whose velocities are being read."""

    scored: ScoredRecording
    notes: ScoreNotes
    decoder: ScoreVelocityDecoder


class VelocityEngine(Engine):
    """A velocity model made ready on a device, for one run at a time.

    Raises ModelError for a model of another kind, UsageError as Engine does.
    """

    def __init__(
        self,
        model: Model,
        options: EngineOptions,
        on_notice: Callable[[str], None] | None = None,
    ) -> None:
        check_velocity_model(model.config)
        super().__init__(model, options, on_notice)
        network = self._network
        assert isinstance(network, VelocityNetwork)  # what such a decoder is fed by
        self._velocities = network.activations
        hop_samples: int = model.config.decoder["hop_samples"]
        self._frame_s = hop_samples / self._rate_hz
        self._n_frames = self.window.length_samples // hop_samples + 1
        self._running: dict[int, _Reading] = {}  # by the identity of the recording

    def read_velocities(
        self,
        scored: Iterable[ScoredRecording],
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Generator[VelocityReading]:
        """Read the velocities of scores, each asked for only when there is room for it.

        Yields one result per recording, in the order in which they finish. A recording that
        cannot be read gives a result with its error; the others go on.
        """
        results = self.transcribe(self._begin(scored), on_progress, self._decoder_of)
        with closing(results):
            yield from map(self._end, results)

    def _begin(self, scored: Iterable[ScoredRecording]) -> Iterator[Recording]:
        """Hand on recordings as they are asked for, and keep their scores at hand."""
        for one in scored:
            notes = score_notes(one.score)
            decoder = self._model.new_velocity_decoder(self.window, notes)
            self._running[id(one.recording)] = _Reading(one, notes, decoder)
            yield one.recording

    def _decoder_of(self, recording: Recording) -> Decoder:
        return self._running[id(recording)].decoder

    def _end(self, result: Transcription) -> VelocityReading:
        reading = self._running.pop(id(result.recording))
        read = reading.decoder.velocities if result.error is None else None
        return VelocityReading(
            reading.scored, read, result.error, result.warnings, result.timings.audio_s
        )

    def _input(self, window: Window) -> tuple[Any, dict[str, Any]]:
        """Add to a window's samples the rolls of the notes that sound in it."""
        notes = self._running[id(window.state.recording)].notes
        start_s = self.window.start_samples(window.index) / self._rate_hz
        heard = notes.within(start_s, self.window.length_samples / self._rate_hz)
        return super()._input(window), score_rolls(heard, self._n_frames, self._frame_s)

    def _activations(self, inputs: list[Any]) -> list[object]:
        samples, rolls = zip(*inputs, strict=True)
        score = ScoreRolls(
            *(
                torch.from_numpy(np.stack([roll[name] for roll in rolls])).to(self._torch_device)
                for name in ScoreRolls._fields
            )
        )
        with torch.inference_mode():
            return list(self._velocities(self._features(list(samples)), score))
