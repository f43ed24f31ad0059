"""The inference engine without sound: the notes of a performance in, its beats out.

Windows are cut from time itself, a recording that holds nothing; a network that hears notes is
told which of them are struck in each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from amtcli.decoders.score_velocities import score_notes
from amtcli.engine import Engine, EngineOptions
from amtcli.model_folder import Model
from amtcli.networks.metre import Metre
from amtcli.networks.strikes import Strikes, strikes_of
from amtcli.notes import Beat, Performance
from amtcli.reading import Recording, Window
from amtcli.refinement.reading import check_note_beats_model


class BeatsOfNotesEngine(Engine):
    """A model of beats in notes made ready on a device, for one performance at a time.

    Raises ModelError for a model of another kind, UsageError as Engine does.
    """

    def __init__(
        self,
        model: Model,
        options: EngineOptions,
        on_notice: Callable[[str], None] | None = None,
    ) -> None:
        check_note_beats_model(model.config)
        super().__init__(model, options, on_notice)
        network = self._network
        assert isinstance(network, Metre)  # what such a front-end is for
        self._metre = network
        hop_samples: int = model.config.decoder["hop_samples"]
        self._frame_s = hop_samples / self._rate_hz
        self._n_frames = self.window.length_samples // hop_samples + 1
        self._notes = score_notes(Performance())

    def hear_beats(self, performance: Performance) -> tuple[Beat, ...]:
        """Find the beats of a performance, all on what is struck in it."""
        self._notes = score_notes(performance)
        last_s = max((note.onset_s for note in performance.notes), default=0.0)
        # As long that the last frame on which something is struck lies within it.
        time = np.ones(round((last_s + self._frame_s) * self._rate_hz) + 1, np.float32)
        (result,) = self.transcribe([Recording("notes", time, self._rate_hz)])
        assert result.performance is not None  # nothing was read that could fail
        return result.performance.beats

    def _input(self, window: Window) -> Strikes:
        """Gather what is struck in a window."""
        start_s = self.window.start_samples(window.index) / self._rate_hz
        duration_s = self.window.length_samples / self._rate_hz
        return strikes_of(self._notes.struck_within(start_s, duration_s))

    def _activations(self, inputs: list[Any]) -> list[object]:
        with torch.inference_mode():
            return list(self._metre.activations_of(inputs, self._n_frames, self._frame_s))
