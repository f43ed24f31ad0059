"""What the headers of mp3 files state, where libsndfile does not tell.

All functions read from a seekable binary file and leave its position anywhere.
"""

from __future__ import annotations

from typing import BinaryIO

_SEARCH_BYTES = 1 << 20


def read_at(file: BinaryIO, at: int, n_bytes: int) -> bytes:
    """Read up to ``n_bytes`` at a place; a bad sector reads like the end of the file."""
    try:
        file.seek(at)
        return file.read(n_bytes)
    except OSError:
        return b""


def find_mpeg_frame(file: BinaryIO, start: int) -> int | None:
    """Find the first frame of MPEG audio behind the ID3v2 tags at ``start``; None elsewhere."""
    tag = read_at(file, start, 10)
    while tag.startswith(b"ID3") and len(tag) == 10:
        size = 0
        for byte in tag[6:]:
            size = size << 7 | byte & 0x7F
        start += 10 + size
        tag = read_at(file, start, 10)
    # Layer 0 is none: such are frames of aac and flac.
    is_frame = len(tag) > 4 and tag[0] == 0xFF and tag[1] & 0xE0 == 0xE0 and tag[1] & 0x06 != 0
    return start if is_frame else None


def states_mpeg_length(file: BinaryIO, frame_at: int) -> bool:
    """Tell whether the first frame is a Xing or Info frame with a count of frames (flag 1)."""
    frame = read_at(file, frame_at, 64)
    at = max(frame.find(b"Xing"), frame.find(b"Info"))
    return 0 <= at <= len(frame) - 8 and bool(frame[at + 7] & 1)


def next_mpeg_frame(file: BinaryIO, position: int, like: bytes) -> int | None:
    """Find a frame from ``position`` on whose header is ``like`` that of another frame.

    Alike are version, layer, sample rate and channel mode; a false one is met every 2**20 bytes.
    """
    while True:
        data = read_at(file, position, _SEARCH_BYTES)
        at = data.find(like[:2], 0, -2)
        while at >= 0:
            if data[at + 2] & 0x0C == like[2] & 0x0C and data[at + 3] & 0xC0 == like[3] & 0xC0:
                return position + at
            at = data.find(like[:2], at + 1, -2)
        if len(data) < _SEARCH_BYTES:
            return None
        position += len(data) - 3
