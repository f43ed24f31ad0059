"""Recordings that libsndfile decodes: wav, aiff, flac, ogg, opus, mp3 and more.

libsndfile stops at damage in flac and mp3, and after the first of joined mp3 or ogg streams;
here, reading goes on behind either.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from amtcli.audio import flac_frames, headers
from amtcli.audio.decoder import loss_warning, silence
from amtcli.audio.handle import Handle

# An mp3's own frame count may be off by a frame or two, depending on what wrote it.
_MPEG_TOLERANCE_SAMPLES = 2 * 1152
# Less than this behind an mp3 (about a second) is the padding of its encoder, or tags.
_MIN_MPEG_BYTES = 1 << 14
# How far the flac decoder may have read beyond the frame that it failed at.
_FLAC_BUFFER_BYTES = 1 << 17


class SoundfileDecoder:
    """One recording opened with libsndfile; see ``decoder.Decoder``.

    ``file`` must be seekable and unbuffered. Raises ``soundfile.LibsndfileError`` where
    libsndfile does not know the format.
    """

    def __init__(self, file: BinaryIO, block_s: float) -> None:
        self._file = file
        self._flac_head = flac_frames.read_head(file)
        self._handle = Handle(file)
        self.rate_hz = self._handle.rate_hz
        self.n_channels = self._handle.n_channels
        self.expected_samples = self._handle.n_stated
        self.warnings: list[str] = []
        self._mpeg_header = self._handle.mpeg_header
        self._n_block = max(1, int(block_s * self.rate_hz))
        self._n_read = 0
        self._n_lost = 0
        self._is_damaged = False
        self._failed_at = -1

    def close(self) -> None:
        """Let go of libsndfile's handle; the file stays open."""
        self._handle.close()

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield blocks ``(samples, channels)`` to the end of the last joined stream."""
        while True:
            for block in self._stream_blocks(self._handle.n_stated):
                self._n_read += len(block)
                yield block
            if not self._open_next_stream():
                break
        self.warnings += self._loss_warning()

    def _stream_blocks(self, n_stated: int | None) -> Iterator[NDArray[np.float32]]:
        position = 0
        while n_stated is None or position < n_stated:
            n_left = self._n_block if n_stated is None else n_stated - position
            block, has_failed = self._handle.read(min(self._n_block, n_left))
            position += len(block)
            if len(block):
                yield block
            if has_failed or not len(block):
                n_missing = self._go_on(position, n_stated, has_failed)
                if n_missing is None:
                    break
                position += n_missing
                self._n_lost += n_missing
                yield from silence(n_missing, self.n_channels, self._n_block)
        self._n_lost += 0 if n_stated is None else n_stated - position

    def _go_on(self, position: int, n_stated: int | None, has_failed: bool) -> int | None:
        """Return how many samples are missing before what can be read next; None at the end.

        Only flac frames know their place; elsewhere what is missing is simply left out.
        """
        self._is_damaged |= has_failed
        byte = self._handle.tell_byte()
        if has_failed and self._flac_head:
            return self._restart_flac(byte, position, n_stated)
        if self._mpeg_header:
            return 0 if self._restart_mpeg(byte) else None
        has_moved, self._failed_at = byte != self._failed_at, byte
        return 0 if has_failed and has_moved else None

    def _restart_flac(self, byte: int, position: int, n_stated: int | None) -> int | None:
        byte = max(self._handle.start, byte - _FLAC_BUFFER_BYTES) + 1
        found = flac_frames.next_frame(self._file, byte, self._flac_head, position)
        if found is None or (n_stated is not None and found[1] >= n_stated):
            return None
        start, sample = found
        handle = self._try_open(start, self._flac_head)
        return sample - position if handle is not None and self._take(handle) else None

    def _restart_mpeg(self, byte: int) -> bool:
        byte = max(byte, self._handle.start + 1)
        while self._handle.n_bytes - byte >= _MIN_MPEG_BYTES:
            start = headers.next_mpeg_frame(self._file, byte, self._mpeg_header)
            if start is None:
                break
            handle = self._try_open(start)
            if handle is not None and self._take(handle):
                self._is_damaged = True
                return True
            byte = start + 1
        return False

    def _open_next_stream(self) -> bool:
        byte = self._handle.tell_byte()
        start: int | None = None
        if self._handle.format == "OGG":
            start = headers.next_ogg_stream(self._file, byte, self._handle.start + 1)
        elif self._mpeg_header and self._handle.n_bytes - byte >= _MIN_MPEG_BYTES:
            start = byte
        handle = None if start is None else self._try_open(start)
        if handle is None:
            return False
        if not self._take(handle):
            self.warnings.append(
                f"after {self._n_read / self.rate_hz:.1f} s the sample rate or the number of"
                " channels changes; what follows was not read"
            )
            return False
        return True

    def _try_open(self, start: int, head: bytes = b"") -> Handle | None:
        try:
            return Handle(self._file, start, head)
        except sf.LibsndfileError:
            return None

    def _take(self, handle: Handle) -> bool:
        """Read on from another handle if its audio is of the same kind."""
        if (handle.rate_hz, handle.n_channels) != (self.rate_hz, self.n_channels):
            handle.close()
            return False
        self._handle.close()
        self._handle = handle
        return True

    def _loss_warning(self) -> list[str]:
        is_tolerable = self._n_lost <= _MPEG_TOLERANCE_SAMPLES and not self._is_damaged
        n_lost = 0 if self._mpeg_header and is_tolerable else self._n_lost
        warning = loss_warning(n_lost / self.rate_hz, self._is_damaged)
        if not warning and headers.is_cut_ogg(self._file, self._handle.n_bytes):
            return ["the file is cut off; how much is missing cannot be told"]
        return warning
