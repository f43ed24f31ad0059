"""Any recording as a stream of blocks of float32 samples at a wanted rate.

Conventions: full scale is 1.0 whatever the width of the stored samples; blocks are
``(channels, samples)``; nothing here holds more than some seconds of a recording, so memory does
not grow with its length. Decoding is libsndfile's (``soundfile_decoder``), then FFmpeg's where
libsndfile does not know the format (``av_decoder``, with the extra ``av``); resampling is
libsoxr's.
"""

from __future__ import annotations

import io
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import soundfile as sf
import soxr
from numpy.typing import NDArray

from amtcli.audio.array_decoder import ArrayDecoder
from amtcli.audio.decoder import SOURCE_RATES_HZ, Decoder
from amtcli.audio.level import Level
from amtcli.audio.soundfile_decoder import SoundfileDecoder
from amtcli.errors import AudioError

# fmt: off
_SOUNDFILE_SUFFIXES = frozenset({
    ".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp2", ".mp3", ".oga", ".ogg", ".opus",
    ".rf64", ".snd", ".w64", ".wav", ".wave",
})
_AV_SUFFIXES = frozenset({
    ".3gp", ".aac", ".ac3", ".amr", ".ape", ".avi", ".dsf", ".m4a", ".m4b", ".m4v", ".mka",
    ".mkv", ".mov", ".mp4", ".tta", ".webm", ".wma", ".wv",
})
# fmt: on
AUDIO_SUFFIXES = _SOUNDFILE_SUFFIXES | _AV_SUFFIXES
"""Suffixes of recordings, lower-case with the dot; what a search through a folder accepts."""

_BLOCK_S = 2.0
_CONVERT = "convert it to wav or flac first (for example with ffmpeg)"
_INSTALL_AV = "pip install 'amtcli[av]'"
# First bytes of formats that libsndfile does not decode: (offset, bytes, name).
_AV_SIGNATURES = (
    (4, b"ftyp", "mp4/m4a"),
    (0, b"\x1a\x45\xdf\xa3", "webm/matroska"),
    (0, b"\x30\x26\xb2\x75", "wma"),
    (0, b"\xff\xf1", "aac"),
    (0, b"\xff\xf9", "aac"),
    (0, b"OggS", "this kind of ogg"),
)


class AudioStream:
    """A recording, read block by block: a context manager that can be iterated once.

    ``source_rate_hz`` is the recording's own rate, ``rate_hz`` that of the blocks; ``n_channels``
    counts the channels of the blocks (1 with ``mono``); ``expected_duration_s`` is the header's
    word, fit for a progress bar, None where it has none. ``duration_s`` and ``warnings`` are
    complete when the iteration has ended; stretches that a damaged file has lost but whose
    length is known are given out as silence, so that what follows keeps its place in time, and
    count in ``duration_s``.
    """

    def __init__(
        self,
        decoder: Decoder,
        blocks: Iterator[NDArray[np.float32]],
        rate_hz: int,
        mono: bool,
        resources: ExitStack,
    ) -> None:
        self.source_rate_hz = decoder.rate_hz
        self.n_channels = 1 if mono else decoder.n_channels
        self.rate_hz = rate_hz
        expected = decoder.expected_samples
        self.expected_duration_s = None if expected is None else expected / decoder.rate_hz
        self._decoder = decoder
        self._source_blocks = blocks
        self._resources = resources
        self._n_samples = 0
        self._n_not_finite = 0
        self._level = Level()
        self._iterated = False

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        if self._iterated:
            raise RuntimeError("an AudioStream can be iterated once; open the recording again")
        self._iterated = True
        return self._blocks()

    def __enter__(self) -> AudioStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all that was opened for this stream; blocks still to come are lost."""
        self._resources.close()

    @property
    def duration_s(self) -> float:
        """Seconds of source audio given out so far."""
        return self._n_samples / self.source_rate_hz

    @property
    def warnings(self) -> tuple[str, ...]:
        """What went wrong without ending the reading, one sentence each."""
        warnings = list(self._decoder.warnings)
        if self._n_not_finite:
            warnings.append(f"{self._n_not_finite} samples were NaN or infinite and were set to 0")
        return (*warnings, *self._level.warnings())

    def _blocks(self) -> Iterator[NDArray[np.float32]]:
        try:
            cleaned = self._cleaned(self.n_channels < self._decoder.n_channels)
            for block in _resampled(cleaned, self.n_channels, self.source_rate_hz, self.rate_hz):
                yield np.ascontiguousarray(block.T)
        finally:
            self.close()

    def _cleaned(self, mono: bool) -> Iterator[NDArray[np.float32]]:
        for block in self._source_blocks:
            self._n_samples += len(block)
            finite = np.isfinite(block)
            if not finite.all():
                self._n_not_finite += int(finite.size - np.count_nonzero(finite))
                block = np.where(finite, block, np.float32(0))
            given = block.mean(axis=1, keepdims=True, dtype=np.float32) if mono else block
            self._level.add(block, given)
            yield given


def open_audio(
    source: Path | BinaryIO | NDArray[Any],
    rate_hz: int,
    *,
    mono: bool = False,
    source_rate_hz: int | None = None,
    name: str | None = None,
) -> AudioStream:
    """Open a recording to be read at ``rate_hz``.

    Parameters
    ----------
    source : Path, binary file or array
        A file in any format that libsndfile or, with the extra ``av``, FFmpeg decodes; a binary
        stream, which may be a pipe and is read to its end from where it stands (it is held in a
        temporary file on disk, and stays open); or an array ``(samples,)`` or
        ``(channels, samples)``, of floats with full scale 1.0 or of 8 to 32 bit integers.
    rate_hz : int
        The rate of the blocks. Equal to the source's rate, samples come through bit for bit.
    mono : bool
        Average the channels.
    source_rate_hz : int, optional
        The rate of an array; needed there and without meaning elsewhere.
    name : str, optional
        What errors call the recording, where it is not a path.

    Raises
    ------
    AudioError
        The source holds no audio that can be read.
    """
    label = _printable(name or _own_name(source))
    with ExitStack() as resources:
        decoder: Decoder
        if isinstance(source, np.ndarray):
            decoder = ArrayDecoder(source, source_rate_hz, _BLOCK_S, label)
        else:
            decoder = _file_decoder(_open_file(source, label, resources), label)
        resources.callback(decoder.close)
        low, high = SOURCE_RATES_HZ
        if not low <= decoder.rate_hz <= high:
            raise AudioError(
                f"{label}: has a sample rate of {decoder.rate_hz} Hz, and {low} to {high} Hz can"
                " be read; check how it was made"
            )
        # Decoding begins here, so that what holds no audio fails when it is opened.
        blocks = decoder.blocks()
        first = next(blocks, None)
        if first is None:
            reason = "".join(f" ({warning})" for warning in decoder.warnings)
            raise AudioError(f"{label}: holds no audio samples{reason}; check how it was made")
        return AudioStream(decoder, chain([first], blocks), rate_hz, mono, resources.pop_all())


def _own_name(source: Path | BinaryIO | NDArray[Any]) -> str:
    if isinstance(source, np.ndarray):
        return "the array"
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    own = getattr(source, "name", None)
    return own if isinstance(own, str) else "the stream"


def _printable(label: str) -> str:
    """Return the label on one line, without what a terminal or UTF-8 cannot carry."""
    return "".join(char if char.isprintable() else "?" for char in label)


def _open_file(source: Path | BinaryIO, label: str, resources: ExitStack) -> BinaryIO:
    """Return a seekable file of its own; only regular files are read where they lie."""
    try:
        if not isinstance(source, (str, os.PathLike)):
            file = _spooled(source, resources)
        elif Path(source).is_dir():
            raise AudioError(f"{label}: is a folder; give the recordings in it")
        else:
            file = resources.enter_context(Path(source).open("rb", buffering=0))  # noqa: SIM115
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                file = _spooled(file, resources)
        if file.seek(0, os.SEEK_END) == 0:
            raise AudioError(f"{label}: is empty (0 bytes); record or copy it again")
    except FileNotFoundError:
        raise AudioError(f"{label}: no such file; check the path") from None
    except PermissionError:
        raise AudioError(f"{label}: may not be read; check its access rights") from None
    except OSError as error:
        reason = error.strerror or error
        raise AudioError(f"{label}: cannot be read ({reason}); check the disk") from None
    return file


def _spooled(source: BinaryIO, resources: ExitStack) -> BinaryIO:
    """Copy a stream to a temporary file: decoders seek, and a pipe cannot."""
    spool: Any = resources.enter_context(tempfile.TemporaryFile(buffering=0))  # noqa: SIM115
    writer = io.BufferedWriter(spool)  # a raw file may write less than it is given
    shutil.copyfileobj(source, writer, 1 << 20)
    writer.detach()
    return spool  # type: ignore[no-any-return]


def _file_decoder(file: BinaryIO, label: str) -> Decoder:
    try:
        return SoundfileDecoder(file, _BLOCK_S)
    except sf.LibsndfileError:
        pass
    try:
        from amtcli.audio.av_decoder import AvDecoder
    except ImportError:
        kind = _av_format(file, label)
        if kind is None:
            raise AudioError(
                f"{label}: is not audio in a known format; {_CONVERT},"
                f" or read more formats with: {_INSTALL_AV}"
            ) from None
        raise AudioError(f"{label}: to read {kind}, {_INSTALL_AV}; or {_CONVERT}") from None
    return AvDecoder(file, _BLOCK_S, label)


def _av_format(file: BinaryIO, label: str) -> str | None:
    file.seek(0)
    head = file.read(16)
    for offset, signature, kind in _AV_SIGNATURES:
        if head[offset:].startswith(signature):
            return kind
    suffix = Path(label).suffix.lower()
    return suffix[1:] if suffix in _AV_SUFFIXES else None


def _resampled(
    blocks: Iterator[NDArray[np.float32]], n_channels: int, from_hz: int, to_hz: int
) -> Iterator[NDArray[np.float32]]:
    """Resample blocks ``(samples, channels)`` as one signal."""
    if from_hz == to_hz:
        yield from blocks
        return
    resampler = soxr.ResampleStream(from_hz, to_hz, n_channels, dtype="float32", quality="HQ")
    end = np.empty((0, n_channels), np.float32)
    for block, last in chain(((block, False) for block in blocks), [(end, True)]):
        resampled = resampler.resample_chunk(block, last=last)
        if len(resampled):
            yield resampled
