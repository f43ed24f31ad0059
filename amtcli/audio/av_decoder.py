"""Recordings that FFmpeg decodes, through PyAV: m4a, aac, wma, mp4, webm and many more.

Imported only where libsndfile does not know a format: PyAV is an optional extra.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, BinaryIO

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from amtcli.audio.decoder import loss_warning, silence
from amtcli.errors import AudioError

# Time stamps differ from the sample count by rounding (to 1 ms in webm and wma; 2.2 ms were seen
# in ac3). One frame of aac, the shortest that gets lost, is 21 ms.
_MIN_GAP_S = 0.02
# Where the length is unknown, a longer gap is a jump of the clock, as in live streams.
_MAX_GAP_S = 60.0
# Stated lengths count the silence that encoders put in front and behind (45 ms in wma).
_TOLERANCE_S = 0.1
_MAX_READ_ERRORS = 100  # in a row
# Formats that state their length; elsewhere FFmpeg estimates it from the bit rate.
_STATING_FORMATS = ("mov", "matroska", "asf")


class AvDecoder:
    """The first audio track of a recording opened with FFmpeg; see ``decoder.Decoder``.

    Bad packets are left out. Where the time stamp of the next frame tells how much is missing,
    as much silence is given out in its place. Raises AudioError.
    """

    def __init__(self, file: BinaryIO, block_s: float, label: str) -> None:
        file.seek(0)
        try:
            # Playlists open other files and addresses: no protocol is allowed.
            self._container = av.open(
                file,
                mode="r",
                metadata_errors="replace",
                container_options={"protocol_whitelist": "none"},
            )
        except (FFmpegError, OSError) as error:
            raise AudioError(
                f"{label}: is not audio in a known format, or is damaged or cut off at a vital"
                f" place ({error.strerror or error}); convert it to wav or flac, or copy it again"
            ) from None
        self._is_damaged = False
        self._n_lost = 0
        self.warnings: list[str] = []
        try:
            self._open_track(label)
        except AudioError:
            self.close()
            raise
        self._n_block = max(1, int(block_s * self.rate_hz))

    def _open_track(self, label: str) -> None:
        tracks = self._container.streams.audio
        if not tracks:
            raise AudioError(f"{label}: has no audio track; give a file with sound")
        self._track = tracks[0]
        if self._track.codec_context is None:
            raise AudioError(
                f"{label}: has protected audio or an unknown codec; convert it to wav or flac"
            )
        frames = self._decoded()
        first = next(frames, None)
        if first is None:
            raise AudioError(f"{label}: none of its audio can be decoded; copy it again")
        # Not the header's word, which for some aac files gives half the rate.
        self.rate_hz: int = first.sample_rate
        self._layout = first.layout
        self.n_channels = len(first.layout.channels)
        self.expected_samples = self._stated_samples()
        self._frames = chain([first], frames)

    def close(self) -> None:
        """Let go of FFmpeg's handles; the file stays open."""
        self._container.close()

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield blocks ``(samples, channels)`` to the end of the track."""
        parts: list[NDArray[np.float32]] = []
        n_samples = n_read = 0
        for part in self._parts():
            parts.append(part)
            n_samples += len(part)
            n_read += len(part)
            if n_samples >= self._n_block:
                yield np.concatenate(parts)
                parts, n_samples = [], 0
        if parts:
            yield np.concatenate(parts)
        self._n_lost += self._missing_at_end(n_read)
        self.warnings += loss_warning(self._n_lost / self.rate_hz, self._is_damaged)

    def _stated_samples(self) -> int | None:
        if self._track.duration and self._track.time_base:
            return round(self._track.duration * self._track.time_base * self.rate_hz)
        duration_us = self._container.duration
        return round(duration_us / av.time_base * self.rate_hz) if duration_us else None

    def _states_length(self) -> bool:
        return self._container.format.name.startswith(_STATING_FORMATS)

    def _missing_at_end(self, n_read: int) -> int:
        if self.expected_samples is None or not self._states_length():
            return 0
        n_missing = self.expected_samples - n_read
        return n_missing if n_missing > _TOLERANCE_S * self.rate_hz else 0

    def _packets(self) -> Iterator[Any]:
        n_failed = 0
        while n_failed < _MAX_READ_ERRORS:
            try:
                for packet in self._container.demux(self._track):
                    n_failed = 0
                    yield packet
                return
            except (FFmpegError, OSError):
                self._is_damaged = True
            except IndexError:  # PyAV's answer to a track that begins on the way
                pass
            n_failed += 1

    def _decoded(self) -> Iterator[av.AudioFrame]:
        for packet in self._packets():
            try:
                frames: list[av.AudioFrame] = packet.decode()
            except FFmpegError:
                self._is_damaged = True
            else:
                yield from frames

    def _parts(self) -> Iterator[NDArray[np.float32]]:
        """Yield what each frame holds, with silence before it where frames are missing."""
        n_given = 0
        start_s: float | None = None
        for frame, samples in self._converted():
            if frame is not None and frame.pts is not None and frame.time_base is not None:
                time_s = float(frame.pts * frame.time_base)
                start_s = time_s if start_s is None else start_s
                n_gap = self._gap_samples(time_s - start_s, n_given)
                yield from silence(n_gap, self.n_channels, self._n_block)
                self._n_lost += n_gap
                n_given += n_gap
            n_given += len(samples)
            yield samples

    def _gap_samples(self, time_s: float, n_given: int) -> int:
        n_gap = round(time_s * self.rate_hz) - n_given
        if n_gap < _MIN_GAP_S * self.rate_hz:
            return 0
        if self.expected_samples is not None and self._states_length():
            return n_gap if n_given + n_gap <= self.expected_samples else 0
        return n_gap if n_gap <= _MAX_GAP_S * self.rate_hz else 0

    def _converted(self) -> Iterator[tuple[av.AudioFrame | None, NDArray[np.float32]]]:
        """Yield frames beside their samples, all in the first frame's rate and channels."""
        resampler: av.AudioResampler | None = None
        kind = None
        for frame in self._frames:
            frame_kind = (frame.format.name, frame.layout.name, frame.sample_rate)
            try:
                if resampler is None or frame_kind != kind:  # one takes one kind of frame only
                    yield from _rest(resampler)
                    resampler = av.AudioResampler("fltp", self._layout, self.rate_hz)
                    kind = frame_kind
                converted = resampler.resample(frame)
            except FFmpegError:  # damage may show as channels that nothing can be made of
                self._is_damaged = True
                resampler = None
            else:
                yield from ((frame, _samples(part)) for part in converted)
        yield from _rest(resampler)


def _rest(resampler: av.AudioResampler | None) -> Iterator[tuple[None, NDArray[np.float32]]]:
    """Yield what a resampler still holds."""
    if resampler is not None:
        for part in resampler.resample(None):
            yield None, _samples(part)


def _samples(frame: av.AudioFrame) -> NDArray[np.float32]:
    return np.ascontiguousarray(frame.to_ndarray().T, dtype=np.float32)
