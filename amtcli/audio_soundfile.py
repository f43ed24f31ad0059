"""Recordings that libsndfile decodes: wav, aiff, flac, ogg, opus, mp3 and more.

Where libsndfile alone would lose audio without a word, this module steps in:

- an mp3 without a frame count is cut at an estimate from the bit rate of its first frame, so its
  length is hidden from the decoder;
- a wav whose header was never completed (data size 0) reads as empty, so its size is filled in;
- a damaged flac ends at the damage, so reading goes on behind it, with silence in between;
- of joined mp3 or ogg streams only the first is read, so the next is opened after it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from amtcli import audio_headers
from amtcli.audio_decoder import loss_warning, silence

# A count beyond this is libsndfile's word for "unknown", or follows from a hidden length.
_MAX_SAMPLES = 1 << 38
_HIDDEN_BYTES = 1 << 40
# An mp3's own frame count may be off by a frame or two, depending on what wrote it.
_MPEG_TOLERANCE_SAMPLES = 2 * 1152
# Less than this after an mp3 (about a second) is tags or the frames of its padding.
_MIN_LINK_BYTES = 1 << 14
_ID3V1_BYTES = 128
# How exactly the end of a damaged stretch is found.
_DAMAGE_STEP_SAMPLES = 256


class SoundfileDecoder:
    """One recording opened with libsndfile; see ``audio_decoder.Decoder``.

    ``file`` must be seekable and unbuffered, as its descriptor is read directly. Raises
    ``soundfile.LibsndfileError`` where libsndfile does not know the format.
    """

    def __init__(self, file: BinaryIO, block_s: float) -> None:
        self._file = file
        self._n_bytes = file.seek(0, os.SEEK_END)
        self._chunk = audio_headers.find_data_chunk(file, self._n_bytes)
        self._start = 0
        self._sound = self._opened()
        self.rate_hz: int = self._sound.samplerate
        self.n_channels: int = self._sound.channels
        self.expected_samples = self._stated_samples()
        self.warnings: list[str] = []
        self._n_block = max(1, int(block_s * self.rate_hz))
        self._n_read = 0
        self._n_lost = 0
        self._is_damaged = False
        self._failed_at = -1

    def close(self) -> None:
        """Let go of libsndfile's handle; the file stays open."""
        self._sound.close()

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield blocks ``(samples, channels)`` to the end of the last joined stream."""
        while True:
            for block in self._stream_blocks():
                self._n_read += len(block)
                yield block
            if not self._open_next_stream():
                break
        self.warnings += self._loss_warning()

    def _opened(self) -> _SequentialFile:
        """Open the stream at ``_start`` anew, as a failed handle cannot be used again.

        libsndfile then moves the position of ``_file``, which nobody else may until it is done.
        """
        source: int | _Patched
        if audio_headers.is_mpeg_without_length(self._file, self._start):
            source = _Patched(self._file, self._start, n_hidden=_HIDDEN_BYTES)
        elif self._chunk is not None and self._chunk.is_understated:
            head = audio_headers.completed_head(self._chunk, self._n_bytes)
            source = _Patched(self._file, self._chunk.start, head=head)
        elif self._start or os.name != "posix":  # elsewhere descriptors are each library's own
            source = _Patched(self._file, self._start)
        else:
            # Read by C code: no Python call, and no wait for the interpreter, every few kB.
            self._file.seek(0)
            source = self._file.fileno()
        self._source = source
        return _SequentialFile(source, closefd=False)

    def _stated_samples(self) -> int | None:
        """Return the length of the current stream where its header can know it."""
        frames: int = self._sound.frames
        is_mpeg_in_wav = self._sound.format != "MP3" and self._sound.subtype.startswith("MPEG")
        if frames > _MAX_SAMPLES or is_mpeg_in_wav:
            return None
        if self._chunk is None or self._chunk.stated_bytes is None:
            return frames
        # libsndfile counts what is there; the header also knows of what was cut off.
        n_present_bytes = self._n_bytes - self._chunk.start
        if self._chunk.stated_bytes <= n_present_bytes:
            return frames
        return frames * self._chunk.stated_bytes // max(1, n_present_bytes)

    def _stream_blocks(self) -> Iterator[NDArray[np.float32]]:
        n_stated = self._stated_samples()
        position = 0
        while n_stated is None or position < n_stated:
            n_left = self._n_block if n_stated is None else n_stated - position
            block, has_failed = self._read(min(self._n_block, n_left))
            position += len(block)
            if len(block):
                yield block
            if has_failed:
                self._is_damaged = True
                n_skipped = self._skip_damage(position, n_stated)
                if n_skipped is None:
                    break
                self._n_lost += n_skipped
                position += n_skipped
                yield from silence(n_skipped, self.n_channels, self._n_block)
            elif not len(block):
                break
        self._n_lost += 0 if n_stated is None else n_stated - position

    def _read(self, n_samples: int) -> tuple[NDArray[np.float32], bool]:
        """Read a block; where that fails, return what was decoded before it did."""
        block = np.full((n_samples, self.n_channels), np.nan, np.float32)
        try:
            return self._sound.read(out=block), False
        except sf.LibsndfileError:
            unread = np.flatnonzero(np.isnan(block[:, 0]))
            return block[: unread[0]] if len(unread) else block, True

    def _skip_damage(self, position: int, n_stated: int | None) -> int | None:
        """Return how many samples to leave out to go on; None where there is no going on.

        Only flac frames know where they belong: steps grow until one is found, then the stretch
        is narrowed down by halves. Other decoders go on by themselves as long as they move.
        """
        if self._sound.format != "FLAC":
            last_failed_at, self._failed_at = self._failed_at, self._tell()
            return 0 if self._failed_at != last_failed_at else None
        last = _MAX_SAMPLES if n_stated is None else n_stated - 1
        low, step = position, _DAMAGE_STEP_SAMPLES
        while not self._can_seek(high := min(position + step, last)):
            if high == last:
                return None
            low, step = high, 2 * step
        while high - low > _DAMAGE_STEP_SAMPLES:
            middle = (low + high) // 2
            if self._can_seek(middle):
                high = middle
            else:
                low = middle
        self._can_seek(high)
        return high - position

    def _can_seek(self, position: int) -> bool:
        self._sound.close()
        self._sound = self._opened()
        try:
            self._sound.seek(position)
        except sf.LibsndfileError:
            return False
        return True

    def _tell(self) -> int:
        """Return how far the file has been read."""
        if isinstance(self._source, int):
            return os.lseek(self._source, 0, os.SEEK_CUR)
        return self._start + self._source.tell()

    def _open_next_stream(self) -> bool:
        start: int | None = self._tell()
        if self._sound.format == "OGG":
            start = audio_headers.next_ogg_stream(self._file, self._tell(), self._start + 1)
        elif self._sound.format != "MP3" or self._n_bytes - self._tell() < _MIN_LINK_BYTES:
            return False
        if start is None:
            return False
        self._sound.close()
        self._start = start
        try:
            self._sound = self._opened()
        except sf.LibsndfileError:
            return False
        if (self._sound.samplerate, self._sound.channels) == (self.rate_hz, self.n_channels):
            return True
        self.warnings.append(
            f"after {self._n_read / self.rate_hz:.1f} s the sample rate or the number of channels"
            " changes; what follows was not read"
        )
        return False

    def _loss_warning(self) -> list[str]:
        is_mp3 = self._sound.format == "MP3"
        n_tolerated = _MPEG_TOLERANCE_SAMPLES if is_mp3 and not self._is_damaged else 0
        n_lost = self._n_lost if self._n_lost > n_tolerated else 0
        warning = loss_warning(n_lost / self.rate_hz, self._is_damaged)
        is_ogg = self._sound.format == "OGG"
        if not warning and is_ogg and audio_headers.is_cut_ogg(self._file, self._n_bytes):
            return ["the file is cut off; how much is missing cannot be told"]
        return warning


class _SequentialFile(sf.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """A sound file that is read from front to back.

    ``soundfile`` seeks to its own position after each block. In mp3 that starts the decoder
    afresh, which changes samples and writes to stderr; in damaged files it fails.
    """

    def seekable(self) -> bool:
        return False


class _Patched:
    """A file as libsndfile shall see it: ``head``, then what is in ``file`` from ``start`` on.

    With ``n_hidden`` bytes it claims to be longer than it is. Of these only the last 128 can be
    read, where mp3 decoders look for a tag before they begin; reading on from the real bytes
    meets their end.
    """

    def __init__(
        self, file: BinaryIO, start: int = 0, *, head: bytes = b"", n_hidden: int = 0
    ) -> None:
        self._file = file
        self._head = head
        self._offset = start - len(head)
        self._n_bytes = file.seek(0, os.SEEK_END) - self._offset
        self._n_claimed = self._n_bytes + n_hidden
        self._position = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origins = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._n_claimed}
        self._position = origins[whence] + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, n_bytes: int) -> bytes:
        if self._n_bytes < self._n_claimed - _ID3V1_BYTES <= self._position:
            data = bytes(n_bytes)
        else:
            data = self._head[self._position : self._position + n_bytes]
            if len(data) < n_bytes:
                self._file.seek(self._offset + self._position + len(data))
                data += self._file.read(n_bytes - len(data))
        self._position += len(data)
        return data
