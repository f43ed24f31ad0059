"""What the headers of wav, aiff, mp3 and ogg files state, where libsndfile does not tell.

All functions read from a seekable binary file and leave its position anywhere.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

# Around these (2 GiB, 4 GiB) lie the data sizes of programs that cannot know them: 0x7FFFF000,
# 0x80000000, 0xFFFFFFFF. No 64 bit size is as large as the last.
_PLACEHOLDER_BYTES = (1 << 31, 1 << 32)
_PLACEHOLDER_MARGIN_BYTES = 1 << 16
_MAX_SIZE_BYTES = 1 << 60
_MAX_CHUNKS = 1000
# Magic and form -> byte order and name of the chunk of samples.
_CHUNKED_FORMS = {
    (b"RIFF", b"WAVE"): ("<", b"data"),
    (b"RF64", b"WAVE"): ("<", b"data"),
    (b"FORM", b"AIFF"): (">", b"SSND"),
    (b"FORM", b"AIFC"): (">", b"SSND"),
}
_SEARCH_BYTES = 1 << 20
_MAX_OGG_PAGE_BYTES = 1 << 16
_OGG_FIRST_PAGE, _OGG_LAST_PAGE = 2, 4  # bits of a page's header type (RFC 3533, section 6)


@dataclass(frozen=True)
class DataChunk:
    """The chunk of a wav or aiff file that holds the samples, from byte ``start`` on.

    ``stated_bytes`` is the length that the header states, None where it is a placeholder.
    ``is_understated`` marks a length that the recorder never came to fill in, or that overflowed
    its 32 bits, and that would hide samples. ``format_chunk`` is the whole fmt chunk of a wav.
    """

    start: int
    stated_bytes: int | None
    is_understated: bool
    format_chunk: bytes


def read_at(file: BinaryIO, at: int, n_bytes: int) -> bytes:
    """Read up to ``n_bytes`` at a place; a bad sector reads like the end of the file."""
    try:
        file.seek(at)
        return file.read(n_bytes)
    except OSError:
        return b""


def find_data_chunk(file: BinaryIO, n_file_bytes: int) -> DataChunk | None:
    """Find the samples of a wav (RIFF, RF64) or aiff file; None in other files."""
    head = read_at(file, 0, 12)
    if (head[:4], head[8:]) not in _CHUNKED_FORMS:
        return None
    order, data_id = _CHUNKED_FORMS[head[:4], head[8:]]
    wide_size: int | None = None
    format_chunk = b""
    at = 12
    for _ in range(_MAX_CHUNKS):
        header = read_at(file, at, 8)
        if len(header) < 8:
            break
        chunk_id, size = struct.unpack(order + "4sI", header)
        if chunk_id == b"ds64":  # the 64 bit sizes of RF64 (EBU Tech 3306): form, data, ...
            (wide_size,) = struct.unpack("<8xQ", read_at(file, at + 8, 16).ljust(16, b"\0"))
        elif chunk_id == b"fmt ":
            format_chunk = read_at(file, at, 8 + size + size % 2)
        elif chunk_id == data_id:
            start = at + 8
            size = size if wide_size is None else wide_size
            n_beyond = n_file_bytes - start - size
            is_wrong = _is_placeholder(size) or n_beyond >= 1 << 32
            return DataChunk(
                start=start,
                stated_bytes=None if _is_placeholder(size) else size,
                is_understated=bool(format_chunk) and n_beyond > 0 and is_wrong,
                format_chunk=format_chunk,
            )
        at += 8 + size + size % 2
    return None


def completed_head(chunk: DataChunk, n_file_bytes: int) -> bytes:
    """Return what should stand before the samples: an RF64 header with their true length."""
    n_data = n_file_bytes - chunk.start
    n_form = 4 + 36 + len(chunk.format_chunk) + 8 + n_data
    return b"".join(
        (
            struct.pack("<4sI4s", b"RF64", 0xFFFF_FFFF, b"WAVE"),
            struct.pack("<4sIQQQI", b"ds64", 28, n_form, n_data, 0, 0),
            chunk.format_chunk,
            struct.pack("<4sI", b"data", 0xFFFF_FFFF),
        )
    )


def _is_placeholder(size: int) -> bool:
    return not 0 < size < _MAX_SIZE_BYTES or any(
        abs(size - placeholder) <= _PLACEHOLDER_MARGIN_BYTES for placeholder in _PLACEHOLDER_BYTES
    )


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


def next_ogg_stream(file: BinaryIO, position: int, first: int) -> int | None:
    """Find where a further ogg stream begins, not before ``first``.

    ``position`` is how far a decoder has read, which is at most some pages too far.
    """
    begin = max(first, position - 2 * _MAX_OGG_PAGE_BYTES)
    pages = read_at(file, begin, position - begin + _MAX_OGG_PAGE_BYTES)
    at = pages.find(b"OggS\x00" + bytes([_OGG_FIRST_PAGE]))
    return None if at < 0 else begin + at


def is_cut_ogg(file: BinaryIO, n_file_bytes: int) -> bool:
    """Tell whether a file is an ogg file and lacks its last page."""
    if read_at(file, 0, 4) != b"OggS":
        return False
    tail = read_at(file, max(0, n_file_bytes - 2 * _MAX_OGG_PAGE_BYTES), 2 * _MAX_OGG_PAGE_BYTES)
    at = tail.rfind(b"OggS\x00", 0, len(tail) - 1)
    return at >= 0 and not tail[at + 5] & _OGG_LAST_PAGE
