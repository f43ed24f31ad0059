"""The autoregressive network live: convolutions whose edges are carried over, states as they come.

Beyond the frames of the samples that are fed, memory is that of one analysis window and a handful
of frames, however long it runs.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from amtcli.decoders.note_states import NoteStatesConfig, NoteStatesDecoder
from amtcli.front_ends.log_mel import LogMel, LogMelConfig
from amtcli.live_networks.feature_stream import FeatureStream
from amtcli.live_networks.live_network import LiveEvent, LiveNetwork
from amtcli.model_folder import Model
from amtcli.networks.autoregressive import (
    Autoregressive,
    AutoregressiveConfig,
    StateFrames,
    is_digital_silence,
)
from amtcli.networks.conv_stack import ConvStackStream


def algorithmic_latency_s(
    front_end: LogMelConfig, network: AutoregressiveConfig, decoder: NoteStatesConfig
) -> float:
    """How long after its onset a note is decided at the earliest, were computing instant.

    Half an analysis window, and one hop for each convolution that looks ahead, less what the
    labels were shifted by: window / 2 + (wide kernels - shift) * hop.
    """
    n_ahead = sum(kernel // 2 for kernel in network.time_kernels) - decoder.label_shift_frames
    samples = front_end.window_samples / 2 + n_ahead * front_end.hop_samples
    return samples / front_end.sample_rate_hz


class LiveAutoregressive(LiveNetwork):
    """`Autoregressive` on log-mel features, decided by ``note_states``."""

    @staticmethod
    def latency_s(model: Model) -> float | None:
        """Return the latency of the formula."""
        parts = _parts(model)
        if parts is None:
            return None
        front_end, network, decoder = parts
        return algorithmic_latency_s(front_end.config, network.config, decoder.config)

    def __init__(self, model: Model) -> None:
        parts = _parts(model)
        assert parts is not None
        front_end, self._network, self._decoder = parts
        config = front_end.config
        self.hop_samples = config.hop_samples
        half_window = config.window_samples // 2
        self._features = FeatureStream(front_end, config.hop_samples, half_window, half_window)
        self._next_frame = self._features.first_frame
        self._ahead = self._network.lookahead_frames
        self._n_silent = 2 * self._ahead  # frames of silence up to now: there was nothing before
        self._n_behind = 2 * half_window + (2 * self._ahead + 1) * config.hop_samples
        self._network.prepare("float32")
        silence = front_end([torch.zeros(1, config.window_samples)])[0, 0]
        self._stream = ConvStackStream(self._network.acoustic, silence)

    def push(self, samples: Tensor) -> list[LiveEvent]:
        """Take the next samples."""
        features = self._features.push(samples)
        return [] if features is None else [*self._decoder.push(self._heard(features))]

    def close(self, n_samples: int) -> list[LiveEvent]:
        """Hear so much silence that nothing of the recording is in reach any more."""
        return [*self.push(torch.zeros(self._n_behind)), *self._decoder.close()]

    def _heard(self, features: Tensor) -> StateFrames:
        """Run the convolutions over the next frames (n, n_mels).

        What comes out is late by the frames that they look ahead; the frames from the decoder's
        first on are returned.
        """
        n_before = max(self._decoder.first_frame + self._ahead - self._next_frame, 0)
        silent = np.array([self._is_silent(is_digital_silence(frame)) for frame in features])
        self._next_frame += len(features)
        drive = self._network.language.drive(self._stream.push(features)[n_before:])
        return StateFrames(self._network.language, drive, silent[n_before:])

    def _is_silent(self, next_is_silent: Tensor) -> bool:
        """Count one more frame; say whether the frame that it completes can hear anything."""
        self._n_silent = self._n_silent + 1 if next_is_silent else 0
        return self._n_silent > 2 * self._ahead


def _parts(model: Model) -> tuple[LogMel, Autoregressive, NoteStatesDecoder] | None:
    front_end, network = model.front_end, model.network
    if not (isinstance(front_end, LogMel) and isinstance(network, Autoregressive)):
        return None
    decoder = model.new_decoder(model.config.window.spec(fast=False))
    return (front_end, network, decoder) if isinstance(decoder, NoteStatesDecoder) else None
