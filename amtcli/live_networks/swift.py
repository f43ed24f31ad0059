"""Swift live: layers whose edges are carried over, peaks as soon as the frame after them is there.

Beyond the frames of the samples that are fed, memory is that of the longest analysis window and
of the frames that the layers reach back to, however long it runs.
"""

from __future__ import annotations

from dataclasses import fields

import torch
from torch import Tensor

from amtcli.decoders.peaks import CONTEXT_FRAMES, PeaksDecoder
from amtcli.decoders.regression import RegressionActivations
from amtcli.front_ends.log_frequency import LogFrequency, LogFrequencyConfig
from amtcli.live_networks.feature_stream import FeatureStream
from amtcli.live_networks.live_network import LiveEvent, LiveNetwork
from amtcli.model_folder import Model
from amtcli.networks.swift import Swift
from amtcli.networks.swift_stream import SwiftStream
from amtcli.windows import WindowSpec


def algorithmic_latency_s(front_end: LogFrequencyConfig, lookahead_frames: int) -> float:
    """How long after its frame a note is decided, were computing instant.

    What the analysis windows reach ahead, the frames that the network looks ahead, and the one
    that shows the decoder a peak: window + (lookahead + 1) * hop.
    """
    n_frames = lookahead_frames + CONTEXT_FRAMES
    samples = _ahead_samples(front_end) + n_frames * front_end.hop_samples
    return samples / front_end.sample_rate_hz


class LiveSwift(LiveNetwork):
    """`Swift` on log-frequency spectra, decided by ``peaks``; the sustain pedal, too.

    The engine takes windows without any sound for silence unheard; here the network hears them.
    Velocities are counted from the level so far, those of the engine from the recording's.
    """

    @staticmethod
    def latency_s(model: Model) -> float | None:
        """Return the latency of the formula."""
        parts = _parts(model)
        if parts is None:
            return None
        front_end, network, _ = parts
        return algorithmic_latency_s(front_end.config, network.lookahead_frames)

    def __init__(self, model: Model) -> None:
        parts = _parts(model)
        assert parts is not None
        front_end, network, self._decoder = parts
        config = front_end.config
        self.hop_samples = config.hop_samples
        self._rate_hz = config.sample_rate_hz
        self._window = model.config.window.spec(fast=False)
        behind = max(length - config.ahead_samples(length) for length in config.window_samples)
        ahead = _ahead_samples(config)
        self._features = FeatureStream(front_end, config.hop_samples, behind, ahead)
        network.prepare("float32")
        self._stream = SwiftStream(network)
        # The frame that the next answer is about; the recording's own begin with 0.
        self._next_frame = self._features.first_frame - network.lookahead_frames

    def push(self, samples: Tensor) -> list[LiveEvent]:
        """Take the next samples."""
        return self._listen(samples, None)

    def close(self, n_samples: int) -> list[LiveEvent]:
        """Hear silence for as long as the engine does: through the last window with a sample."""
        window, events = self._window, list[LiveEvent]()
        n_windows = -(-(n_samples + window.padding_samples) // window.hop_samples)
        n_frames = n_windows * window.hop_samples // self.hop_samples if n_samples else 0
        second = torch.zeros(self._rate_hz)  # at a time, as caches and memory like it
        while self._next_frame < n_frames:
            events += self._listen(second, n_frames)
        return events + self._decoder.close()

    def _listen(self, samples: Tensor, n_frames: int | None) -> list[LiveEvent]:
        """Decide what can be decided now, up to the frame ``n_frames``."""
        features = self._features.push(samples)
        if features is None:
            return []
        answers = self._stream.push(features)
        own = range(max(-self._next_frame, 0), len(features))
        if n_frames is not None:
            own = own[: max(n_frames - max(self._next_frame, 0), 0)]
        self._next_frame += len(features)
        return [event for i in own for event in self._decoder.push(_one_frame(answers, i))]


def _parts(model: Model) -> tuple[LogFrequency, Swift, PeaksDecoder] | None:
    front_end, network = model.front_end, model.network
    if not (isinstance(front_end, LogFrequency) and isinstance(network, Swift)):
        return None
    hop = front_end.config.hop_samples
    decoder = model.new_decoder(WindowSpec(hop, hop, 0))  # a frame is as good as a window
    return (front_end, network, decoder) if isinstance(decoder, PeaksDecoder) else None


def _ahead_samples(config: LogFrequencyConfig) -> int:
    """How many samples after its own must be there before a frame is computed."""
    ahead = max(config.ahead_samples(length) for length in config.window_samples)
    return max(ahead, config.hop_samples)


def _one_frame(answers: RegressionActivations, index: int) -> RegressionActivations:
    rows = slice(index, index + 1)
    return RegressionActivations(*(getattr(answers, field.name)[rows] for field in fields(answers)))
