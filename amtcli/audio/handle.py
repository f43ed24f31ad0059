"""One opening of a file with libsndfile, as libsndfile must see it to lose nothing.

Where libsndfile alone would cut a file short without a word, or not read it well, it is shown
another file:

- an mp3 without a frame count, which it ends at an estimate from the bit rate of the first
  frame, has its length hidden;
- an mp3 whose count of bytes is wrong gets the right one, as libmpg123 else writes to stderr;
- a wav whose header was never completed, or is too narrow for its length, gets a new header;
- so does a caf that is cut off or does not know its length, which libsndfile would refuse.
"""

from __future__ import annotations

import os
from typing import BinaryIO

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from amtcli.audio import mpeg_headers
from amtcli.audio.data_chunk import DataChunk, find_data_chunk
from amtcli.files import read_at

# A count beyond this is libsndfile's word for "unknown", or follows from a hidden length.
_MAX_SAMPLES = 1 << 38
_HIDDEN_BYTES = 1 << 40
_ID3V1_BYTES = 128


class Handle:
    """A recording opened from byte ``start`` to ``end``, with ``head`` before it.

    Raises ``soundfile.LibsndfileError``.

    ``n_stated`` is the number of samples (per channel) that its header states, None where it
    cannot know; ``n_bytes`` the end, by default that of the file; ``mpeg_header`` the first
    frame's four bytes in mp3 and mp2, else empty. libsndfile moves the position of ``file``,
    which nobody else may between reads; ``file`` must be unbuffered, as its descriptor is read
    directly.
    """

    def __init__(
        self, file: BinaryIO, start: int = 0, head: bytes = b"", end: int | None = None
    ) -> None:
        self.start = start
        self.n_bytes = file.seek(0, os.SEEK_END) if end is None else end
        self.mpeg_header = b""
        chunk = find_data_chunk(file, self.n_bytes) if start == 0 else None
        frame_at = mpeg_headers.find_mpeg_frame(file, start)
        if frame_at is not None:
            self.mpeg_header = read_at(file, frame_at, 4)
            head = mpeg_headers.corrected_mpeg_head(file, start, frame_at, self.n_bytes)
            start += len(head)
        self._source: int | _Patched
        if frame_at is not None and not mpeg_headers.states_mpeg_length(file, frame_at):
            self._source = _Patched(file, start, self.n_bytes, head=head, n_hidden=_HIDDEN_BYTES)
        elif chunk is not None and chunk.new_head:
            self._source = _Patched(file, chunk.start, self.n_bytes, head=chunk.new_head)
        elif start or end is not None or os.name != "posix":
            # Elsewhere than on POSIX a descriptor means nothing to a library.
            self._source = _Patched(file, start, self.n_bytes, head=head)
        else:
            # Read by C code: no Python call, and no wait for the interpreter, every few kB.
            file.seek(0)
            self._source = file.fileno()
        self._sound = _SequentialFile(self._source, closefd=False)
        self.format: str = self._sound.format
        self.rate_hz: int = self._sound.samplerate
        self.n_channels: int = self._sound.channels
        self.n_stated = self._stated_samples(chunk)

    def close(self) -> None:
        """Let go of libsndfile's handle; the file stays open."""
        self._sound.close()

    def read(self, n_samples: int) -> tuple[NDArray[np.float32], bool]:
        """Read a block ``(samples, channels)``, shorter at the end.

        Returns it and whether reading failed; the block then holds what was decoded before.
        """
        block = np.full((n_samples, self.n_channels), np.nan, np.float32)
        try:
            return self._sound.read(out=block), False
        except sf.LibsndfileError:
            unread = np.flatnonzero(np.isnan(block[:, 0]))
            return block[: unread[0]] if len(unread) else block, True

    def tell_byte(self) -> int:
        """Return how far the file has been read."""
        if isinstance(self._source, int):
            return os.lseek(self._source, 0, os.SEEK_CUR)
        return self._source.tell_byte()

    def _stated_samples(self, chunk: DataChunk | None) -> int | None:
        frames: int = self._sound.frames
        is_mpeg_in_wav = self.format != "MP3" and self._sound.subtype.startswith("MPEG")
        if frames > _MAX_SAMPLES or is_mpeg_in_wav:
            return None
        has_table = self._sound.subtype.startswith("ALAC")  # of packets, all of them counted
        if chunk is None or chunk.stated_bytes is None or has_table:
            return frames
        # libsndfile counts what is there; the header also knows of what was cut off.
        n_present_bytes = self.n_bytes - chunk.start
        if chunk.stated_bytes <= n_present_bytes:
            return frames
        return frames * chunk.stated_bytes // max(1, n_present_bytes)


class _SequentialFile(sf.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """A sound file that is read from front to back.

    ``soundfile`` seeks to its own position after each block. In mp3 that starts the decoder
    afresh, which changes samples and writes to stderr; in damaged files it fails.
    """

    def seekable(self) -> bool:
        return False


class _Patched:
    """A file made of ``head`` and the bytes ``start`` to ``end`` of another.

    With ``n_hidden`` bytes it claims to be longer than it is. Of these only the last 128 can be
    read, where mp3 decoders look for a tag before they begin; reading on from the real bytes
    meets their end.
    """

    def __init__(
        self, file: BinaryIO, start: int, end: int, *, head: bytes = b"", n_hidden: int = 0
    ) -> None:
        self._file = file
        self._head = head
        self._offset = start - len(head)
        self._n_bytes = end - self._offset
        self._n_claimed = self._n_bytes + n_hidden
        self._position = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origins = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._n_claimed}
        self._position = origins[whence] + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def tell_byte(self) -> int:
        return self._offset + self._position

    def read(self, n_bytes: int) -> bytes:
        if self._n_bytes < self._n_claimed - _ID3V1_BYTES <= self._position:
            data = bytes(n_bytes)
        else:
            data = self._head[self._position : self._position + n_bytes]
            at = self._position + len(data)
            n_left = min(n_bytes - len(data), self._n_bytes - at)
            if n_left > 0:
                # An exception could not leave this callback of C code.
                data += read_at(self._file, self._offset + at, n_left)
        self._position += len(data)
        return data
