"""Live transcription: samples in as they are played, notes out as they are decided.

Only a network that looks a fixed few frames ahead can do it. What comes out is what the engine
makes of the same recording with the same model: the same front-end, convolutions whose edges are
carried over, the same decoder. Beyond the frames of the block that is fed, memory is that of one
analysis window and a handful of frames, however long it runs.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from amtcli.decoders.note_states import NoteOn, NoteStatesConfig, NoteStatesDecoder
from amtcli.errors import UsageError
from amtcli.front_ends.log_mel import LogMel, LogMelConfig
from amtcli.model_folder import Model
from amtcli.networks.autoregressive import (
    Autoregressive,
    AutoregressiveConfig,
    StateFrames,
    is_digital_silence,
)
from amtcli.networks.conv_stack import ConvStackStream
from amtcli.notes import Note


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


def latency_s(model: Model) -> float | None:
    """Return the algorithmic latency of a model that can transcribe live, None for others."""
    parts = _live_parts(model)
    if parts is None:
        return None
    front_end, network, decoder = parts
    return algorithmic_latency_s(front_end.config, network.config, decoder.config)


def check_live(model: Model) -> tuple[LogMel, Autoregressive, NoteStatesDecoder]:
    """Return front-end, network and a new decoder of a model that can transcribe live.

    Raises UsageError for one that cannot. The model's weights do not matter.
    """
    parts = _live_parts(model)
    if parts is None:
        raise UsageError(
            f"{model.model_id} cannot transcribe live, because it hears whole windows at "
            "once; choose a model with an autoregressive network"
        )
    return parts


def _live_parts(model: Model) -> tuple[LogMel, Autoregressive, NoteStatesDecoder] | None:
    front_end, network = model.front_end, model.network
    if not (isinstance(network, Autoregressive) and isinstance(front_end, LogMel)):
        return None
    decoder = model.new_decoder(model.config.window.spec(fast=False))
    return (front_end, network, decoder) if isinstance(decoder, NoteStatesDecoder) else None


class LiveTranscriber:
    """One live recording: feed it samples as they come, take the notes.

    ``sample_rate_hz`` is the rate that it wants samples at, ``hop_samples`` how many of them make
    a frame, ``latency_s`` its algorithmic latency. Raises UsageError for a model that cannot
    transcribe live.
    """

    def __init__(self, model: Model) -> None:
        front_end, network, decoder = check_live(model)
        self._front_end, self._network, self._decoder = front_end, network, decoder
        self.sample_rate_hz = front_end.sample_rate_hz
        self.latency_s = algorithmic_latency_s(front_end.config, network.config, decoder.config)
        self.hop_samples = front_end.config.hop_samples
        self._half_window = front_end.config.window_samples // 2
        # Frames of the buffer whose window reaches beyond it; the next frame comes after them.
        self._n_partial = -(-self._half_window // self.hop_samples)
        # The first frames with sound in their windows lie before the recording's own.
        self._next_frame = -self._n_partial
        self._samples = torch.zeros(2 * self._n_partial * self.hop_samples)
        self._n_samples = 0
        self._ahead = network.lookahead_frames
        self._n_silent = 2 * self._ahead  # frames of silence up to now: there was nothing before
        with torch.inference_mode():
            network.prepare("float32")
            silence = front_end([torch.zeros(1, front_end.config.window_samples)])[0, 0]
            self._stream = ConvStackStream(network.acoustic, silence)

    def feed(self, samples: NDArray[np.float32]) -> list[NoteOn | Note]:
        """Take the next samples, (n,) or (channels, n), any number of them.

        Returns what has been decided since: a NoteOn for each note that begins, and the whole
        Note once it has ended.
        """
        mono = samples.mean(axis=0) if samples.ndim == 2 else samples
        block = torch.from_numpy(np.asarray(mono, np.float32))
        self._n_samples += len(block)
        self._samples = torch.cat([self._samples, block])
        n_whole = (len(self._samples) - self._half_window) // self.hop_samples + 1 - self._n_partial
        if n_whole <= 0:
            return []
        with torch.inference_mode():
            features = self._front_end([self._samples[None]])[0]
            features = features[self._n_partial : self._n_partial + n_whole]
            self._samples = self._samples[n_whole * self.hop_samples :].clone()
            frames = self._heard(features)
        return self._decoder.push(frames)

    def close(self) -> list[NoteOn | Note]:
        """End the recording: decide what its last samples are heard in, end what is open.

        What would begin in the silence behind it is left out.
        """
        end_s = self._n_samples / self.sample_rate_hz
        n_silent = 2 * self._half_window + (2 * self._ahead + 1) * self.hop_samples
        events = self.feed(np.zeros(n_silent, np.float32))
        events += [note for note in self._decoder.close() if isinstance(note, Note)]
        return [event for event in events if event.onset_s < end_s]

    def _heard(self, features: Tensor) -> StateFrames:
        """Run the convolutions over the next frames (n, n_mels).

        What comes out is late by the frames that they look ahead; the recording's own frames,
        from the first on, are returned.
        """
        n_before = max(self._ahead - self._next_frame, 0)
        silent = np.array([self._is_silent(is_digital_silence(frame)) for frame in features])
        self._next_frame += len(features)
        drive = self._network.language.drive(self._stream.push(features)[n_before:])
        return StateFrames(self._network.language, drive, silent[n_before:])

    def _is_silent(self, next_is_silent: Tensor) -> bool:
        """Count one more frame; say whether the frame that it completes can hear anything."""
        self._n_silent = self._n_silent + 1 if next_is_silent else 0
        return self._n_silent > 2 * self._ahead
