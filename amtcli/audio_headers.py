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


def find_data_chunk(file: BinaryIO, n_file_bytes: int) -> DataChunk | None:
    """Find the samples of a wav (RIFF, RF64) or aiff file; None in other files."""
    head = _read(file, 0, 12)
    if (head[:4], head[8:]) not in _CHUNKED_FORMS:
        return None
    order, data_id = _CHUNKED_FORMS[head[:4], head[8:]]
    wide_size: int | None = None
    format_chunk = b""
    at = 12
    for _ in range(_MAX_CHUNKS):
        header = _read(file, at, 8)
        if len(header) < 8:
            break
        chunk_id, size = struct.unpack(order + "4sI", header)
        if chunk_id == b"ds64":  # the 64 bit sizes of RF64 (EBU Tech 3306): form, data, ...
            (wide_size,) = struct.unpack("<8xQ", _read(file, at + 8, 16).ljust(16, b"\0"))
        elif chunk_id == b"fmt ":
            format_chunk = _read(file, at, 8 + size + size % 2)
        elif chunk_id == data_id:
            start = at + 8
            size = size if wide_size is None else wide_size
            n_beyond = n_file_bytes - start - size
            (form_bytes,) = struct.unpack(order + "I", head[4:8])
            is_unfinished = size == 0 and form_bytes + 8 != n_file_bytes
            is_wrong = is_unfinished or _is_placeholder(size) or n_beyond >= 1 << 32
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


def is_mpeg_without_length(file: BinaryIO, start: int) -> bool:
    """Tell whether an MPEG audio stream begins at ``start`` that states no number of frames.

    A Xing or Info frame states it (flag 1); all that comes before it are ID3v2 tags.
    """
    tag = _read(file, start, 10)
    while tag.startswith(b"ID3") and len(tag) == 10:
        size = 0
        for byte in tag[6:10]:
            size = size << 7 | byte & 0x7F
        start += 10 + size
        tag = _read(file, start, 10)
    frame = _read(file, start, 64)
    if len(frame) < 4 or frame[0] != 0xFF or frame[1] & 0xE0 != 0xE0:
        return False
    for magic in (b"Xing", b"Info"):
        at = frame.find(magic)
        if 0 <= at <= len(frame) - 8:
            return not frame[at + 7] & 1
    return True


def next_ogg_stream(file: BinaryIO, position: int, first: int) -> int | None:
    """Find where a further ogg stream begins, not before ``first``.

    ``position`` is how far a decoder has read, which is at most some pages too far.
    """
    begin = max(first, position - 2 * _MAX_OGG_PAGE_BYTES)
    pages = _read(file, begin, position - begin + _MAX_OGG_PAGE_BYTES)
    at = pages.find(b"OggS\x00" + bytes([_OGG_FIRST_PAGE]))
    return None if at < 0 else begin + at


def is_cut_ogg(file: BinaryIO, n_file_bytes: int) -> bool:
    """Tell whether an ogg file lacks its last page."""
    tail = _read(file, max(0, n_file_bytes - 2 * _MAX_OGG_PAGE_BYTES), 2 * _MAX_OGG_PAGE_BYTES)
    at = tail.rfind(b"OggS\x00", 0, len(tail) - 1)
    return at >= 0 and not tail[at + 5] & _OGG_LAST_PAGE


def _read(file: BinaryIO, at: int, n_bytes: int) -> bytes:
    file.seek(at)
    return file.read(n_bytes)
