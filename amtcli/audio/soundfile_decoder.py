"""Recordings that libsndfile decodes: wav, aiff, flac, ogg, opus, mp3 and more.

libsndfile stops at damage in flac and mp3, passes over it in ogg, and stops after the first of
joined mp3 or ogg streams; here, reading goes on behind each, in time where flac and ogg tell it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from amtcli.audio import flac_frames, mpeg_headers, ogg_pages
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
        self._link = ogg_pages.read_link(file, 0)
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
        self._runs: Iterator[ogg_pages.Run] = iter(())
        self._origin = 0  # of the runs, in samples

    def close(self) -> None:
        """Let go of libsndfile's handle; the file stays open."""
        self._handle.close()

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield blocks ``(samples, channels)`` to the end of the last joined stream."""
        while True:
            for block in self._stream_blocks():
                self._n_read += len(block)
                yield block
            if not self._open_next_stream():
                break
        self.warnings += self._loss_warning()

    def _stream_blocks(self) -> Iterator[NDArray[np.float32]]:
        n_stated = self._handle.n_stated
        position = 0
        n_missing: int | None = 0
        if self._link is not None and self._link.head and len(self._link.runs) > 1:
            n_stated, n_missing = self._begin_runs(self._link)
        while n_missing is not None and (n_stated is None or position < n_stated):
            yield from silence(n_missing, self.n_channels, self._n_block)
            position += n_missing
            self._n_lost += n_missing
            n_left = self._n_block if n_stated is None else n_stated - position
            block, has_failed = self._handle.read(min(self._n_block, n_left))
            position += len(block)
            if len(block):
                yield block
            n_missing = 0
            if has_failed or not len(block):
                n_missing = self._go_on(position, n_stated, has_failed)
        self._n_lost += 0 if n_stated is None else n_stated - position

    def _go_on(self, position: int, n_stated: int | None, has_failed: bool) -> int | None:
        """Return how many samples are missing before what can be read next; None at the end.

        Only flac frames and ogg pages know their place; elsewhere what is missing is simply left
        out.
        """
        self._is_damaged |= has_failed
        byte = self._handle.tell_byte()
        if has_failed and self._flac_head:
            return self._restart_flac(byte, position, n_stated)
        if self._mpeg_header:
            return 0 if self._restart_mpeg(byte) else None
        has_moved, self._failed_at = byte != self._failed_at, byte
        if has_failed and has_moved:
            return 0
        return None if self._link is None else self._next_run(self._link, position)

    def _begin_runs(self, link: ogg_pages.Link) -> tuple[int, int | None]:
        """Go over to the whole runs of pages of a damaged ogg stream.

        Returns how many samples the stream holds and how many are missing before the first.
        """
        self._is_damaged = True
        self._runs = iter(link.runs[1:])
        self._origin = link.to_samples(link.origin, self.rate_hz)
        n_missing: int | None = 0
        first = link.runs[0]
        handle = self._try_open(first.start, end=first.end) if first.granule else None
        if handle is not None and self._take(handle):
            end = link.to_samples(first.granule, self.rate_hz)
            self._origin = end - (handle.n_stated or 0)  # recorded streams may begin late
        else:
            n_missing = self._next_run(link, 0)
        last = max(run.granule for run in link.runs)
        return link.to_samples(last, self.rate_hz) - self._origin, n_missing

    def _next_run(self, link: ogg_pages.Link, position: int) -> int | None:
        for run in self._runs:
            handle = self._try_open(run.start, link.head, run.end) if run.granule else None
            if handle is not None and self._take(handle):
                end = link.to_samples(run.granule, self.rate_hz) - self._origin
                return max(0, end - (handle.n_stated or 0) - position)
        return None

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
            start = mpeg_headers.next_mpeg_frame(self._file, byte, self._mpeg_header)
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
        if self._link is not None:
            start = self._link.next_start
        elif self._mpeg_header and self._handle.n_bytes - byte >= _MIN_MPEG_BYTES:
            start = byte
        if start is None:
            return False
        link = ogg_pages.read_link(self._file, start)
        handle = self._try_open(start)
        if handle is None:
            return False
        if not self._take(handle):
            self.warnings.append(
                f"after {self._n_read / self.rate_hz:.1f} s the sample rate or the number of"
                " channels changes; what follows was not read"
            )
            return False
        self._link = link
        return True

    def _try_open(self, start: int, head: bytes = b"", end: int | None = None) -> Handle | None:
        try:
            return Handle(self._file, start, head, end)
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
        if not warning and self._link is not None and self._link.is_cut:
            return ["the file is cut off; how much is missing cannot be told"]
        return warning
