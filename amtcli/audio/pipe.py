"""Audio that is still being made, from a pipe: raw samples or wav, given out as they come.

``audio`` reads recordings, which it may seek in; here nothing is ever waited for but the next
few samples, and nothing is kept.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

import numpy as np
import soxr
from numpy.typing import NDArray

from amtcli.audio.decoder import SOURCE_RATES_HZ
from amtcli.errors import AudioError

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
# Lengths from here on are those of programs that cannot know them (ffmpeg, arecord, sox).
_UNKNOWN_BYTES = 0x7FFF_0000
_SKIP_BYTES = 1 << 16


class LiveSource(Protocol):
    """Where live audio comes from."""

    rate_hz: int

    def read(self, n_samples: int) -> NDArray[np.float32]:
        """Wait for some samples, ``n_samples`` or fewer: (samples, channels), none at the end."""


@dataclass(frozen=True)
class SampleFormat:
    """How a sample is stored, little-endian; full scale is 1.0 for floats."""

    is_float: bool
    n_bytes: int

    def decode(self, data: bytes) -> NDArray[np.float32]:
        """Turn whole samples into floats with full scale 1.0."""
        if self.is_float:
            return np.frombuffer(data, f"<f{self.n_bytes}").astype(np.float32)
        if self.n_bytes == 1:  # the only unsigned one
            return np.asarray((np.frombuffer(data, np.uint8) - 128.0) / 128, np.float32)
        # As the upper bytes of 32 bits, so that 24 bits need no type of their own.
        wide = np.zeros((len(data) // self.n_bytes, 4), np.uint8)
        wide[:, 4 - self.n_bytes :] = np.frombuffer(data, np.uint8).reshape(-1, self.n_bytes)
        return (wide.view("<i4")[:, 0] / 2.0**31).astype(np.float32)


RAW_FORMATS = {"int16": SampleFormat(False, 2), "float32": SampleFormat(True, 4)}
_WAV_FORMATS = {
    **{(_PCM, 8 * n): SampleFormat(False, n) for n in (1, 2, 3, 4)},
    **{(_FLOAT, 8 * n): SampleFormat(True, n) for n in (4, 8)},
}


class PipeSource:
    """Samples from a binary stream, from where it stands to its end or for ``n_bytes``."""

    def __init__(
        self,
        file: BinaryIO,
        rate_hz: int,
        sample_format: SampleFormat,
        n_channels: int = 1,
        n_bytes: int | None = None,
    ) -> None:
        self.rate_hz = rate_hz
        self._file = file
        self._format = sample_format
        self._n_channels = n_channels
        self._n_left = n_bytes
        self._rest = b""  # the beginning of a sample whose end has not come yet

    def read(self, n_samples: int) -> NDArray[np.float32]:
        """Wait for some samples; see ``LiveSource``. What is not finite becomes 0."""
        frame_bytes = self._format.n_bytes * self._n_channels
        data = self._rest
        while len(data) < frame_bytes:
            wanted = n_samples * frame_bytes - len(data)
            more = _read_some(self._file, wanted if self._n_left is None else self._n_left, wanted)
            if not more:
                return np.zeros((0, self._n_channels), np.float32)
            self._n_left = None if self._n_left is None else self._n_left - len(more)
            data += more
        n_whole = len(data) // frame_bytes * frame_bytes
        self._rest = data[n_whole:]
        samples = self._format.decode(data[:n_whole]).reshape(-1, self._n_channels)
        return np.where(np.isfinite(samples), samples, np.float32(0))

    @property
    def missing_s(self) -> float:
        """Seconds that were announced and have not come."""
        frame_bytes = self._format.n_bytes * self._n_channels
        return (self._n_left or 0) / frame_bytes / self.rate_hz


def open_wav(file: BinaryIO, label: str) -> PipeSource:
    """Read the header of a wav stream, up to its samples.

    Raises AudioError when it is none, or when its samples are of no kind that is known.
    """
    head = _read_all(file, 12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        raise AudioError(
            f"{label}: is no wav stream; for samples without a header, give their rate (--raw-rate)"
        )
    description: tuple[int, ...] | None = None
    while True:
        header = _read_all(file, 8)
        if len(header) < 8:
            raise AudioError(f"{label}: ends within its wav header")
        (chunk, n_bytes) = struct.unpack("<4sI", header)
        if chunk == b"data":
            break
        content = _read_chunk(file, n_bytes + n_bytes % 2)
        if chunk == b"fmt " and len(content) >= 16:
            description = struct.unpack("<HHIIHH", content[:16])
            if description[0] == _EXTENSIBLE and len(content) >= 26:
                description = (*struct.unpack("<H", content[24:26]), *description[1:])
    if description is None:
        raise AudioError(f"{label}: its wav header does not describe its samples")
    kind, n_channels, rate_hz, _, _, n_bits = description
    if (kind, n_bits) not in _WAV_FORMATS or not n_channels:
        raise AudioError(
            f"{label}: wav samples of kind {kind} with {n_bits} bits cannot be read live; send "
            "16 bit PCM"
        )
    low, high = SOURCE_RATES_HZ
    if not low <= rate_hz <= high:
        raise AudioError(f"{label}: its wav header says {rate_hz} Hz; {low} to {high} can be read")
    length = n_bytes if 0 < n_bytes < _UNKNOWN_BYTES else None
    return PipeSource(file, rate_hz, _WAV_FORMATS[kind, n_bits], n_channels, length)


def live_blocks(
    source: LiveSource, rate_hz: int, hop_samples: int
) -> Iterator[NDArray[np.float32]]:
    """Give out mono blocks (samples,) at ``rate_hz``, about ``hop_samples`` long, as they come.

    Channels are averaged and rates converted as for recordings, sample for sample. A conversion
    looks ahead by about 10 ms and gives its samples out in bursts: it adds up to 40 ms.
    """
    n_samples = max(1, round(hop_samples * source.rate_hz / rate_hz))
    resampler = None
    if source.rate_hz != rate_hz:
        resampler = soxr.ResampleStream(source.rate_hz, rate_hz, 1, dtype="float32", quality="HQ")
    while True:
        samples = source.read(n_samples)
        mono = samples.mean(axis=1, dtype=np.float32)
        if resampler is not None:
            mono = resampler.resample_chunk(mono, last=not len(samples))
        if len(mono):
            yield mono
        if not len(samples):
            return


def _read_some(file: BinaryIO, n_left: int, n_wanted: int) -> bytes:
    """Wait for bytes and return what there is of them, at most what is left and wanted."""
    read = getattr(file, "read1", file.read)
    data: bytes = read(min(n_left, n_wanted))
    return data


def _read_all(file: BinaryIO, n_bytes: int) -> bytes:
    """Wait for so many bytes; fewer only at the end."""
    data = b""
    while len(data) < n_bytes and (more := _read_some(file, n_bytes - len(data), n_bytes)):
        data += more
    return data


def _read_chunk(file: BinaryIO, n_bytes: int) -> bytes:
    """Read a chunk of a wav header to its end and return how it begins."""
    begin = _read_all(file, min(n_bytes, _SKIP_BYTES))
    n_left = n_bytes - len(begin)
    while n_left and (skipped := _read_some(file, n_left, _SKIP_BYTES)):
        n_left -= len(skipped)
    return begin
