"""What the headers of mp3 files state, where libsndfile does not tell.

All functions read from a seekable binary file and leave its position anywhere.
"""

from __future__ import annotations

from typing import BinaryIO

from amtcli.files import read_at

_SEARCH_BYTES = 1 << 20
# What libmpg123 bears between the stated and the true length without writing to stderr.
_MPEG_LENGTH_TOLERANCE = 0.01


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
    return bool(_xing_flags(file, frame_at)[0] & 1)


def corrected_mpeg_head(file: BinaryIO, start: int, frame_at: int, end: int) -> bytes:
    """Return an mp3's head from ``start`` to its count of bytes (flag 2), with the true count.

    Empty where there is no such count, or it is right: of another, as in a file that is cut off,
    libmpg123 writes to stderr, though only seeking needs it.
    """
    flags, at = _xing_flags(file, frame_at)
    at += 4 if flags & 1 else 0
    n_true = end - frame_at  # tags in front do not count, those behind do
    n_stated = int.from_bytes(read_at(file, at, 4), "big")
    if not flags & 2 or abs(n_stated - n_true) <= _MPEG_LENGTH_TOLERANCE * n_true:
        return b""
    return read_at(file, start, at - start) + min(n_true, 0xFFFF_FFFF).to_bytes(4, "big")


def _xing_flags(file: BinaryIO, frame_at: int) -> tuple[int, int]:
    """Return the flags of a Xing or Info frame, 0 in other frames, and where they end."""
    frame = read_at(file, frame_at, 64)
    at = max(frame.find(b"Xing"), frame.find(b"Info"))
    if not 0 <= at <= len(frame) - 8:
        return 0, frame_at
    return frame[at + 7], frame_at + at + 8


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
