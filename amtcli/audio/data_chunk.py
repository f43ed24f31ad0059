"""Where the samples of a wav, aiff, caf, w64 or au file lie, and how many its header states.

libsndfile counts what is there; only the header knows of what was cut off.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from amtcli.files import read_at

# Around these (2 GiB, 4 GiB) lie the data sizes of programs that cannot know them: 0x7FFFF000,
# 0x80000000, 0xFFFFFFFF. No 64 bit size is as large as the last.
_PLACEHOLDER_BYTES = (1 << 31, 1 << 32)
_PLACEHOLDER_MARGIN_BYTES = 1 << 16
_MAX_SIZE_BYTES = 1 << 60
_MAX_CHUNKS = 1000
# Names of w64 are GUIDs, which but for these two end alike.
_W64_RIFF = b"riff" + bytes.fromhex("2e91cf11a5d628db04c10000")
_W64_END = bytes.fromhex("f3acd3118cd100c04f8edb8a")


@dataclass(frozen=True)
class _Form:
    """How a kind of file is divided into chunks, of which the first begins at ``first``.

    ``header`` is the name and the size of a chunk; the size counts ``n_counted`` bytes of the
    header. Chunks begin at multiples of ``alignment``. The samples are in the chunk ``data_name``,
    behind ``n_before`` other bytes.
    """

    first: int
    header: struct.Struct
    data_name: bytes
    alignment: int = 2
    n_counted: int = 0
    n_before: int = 0


_WAV = _Form(12, struct.Struct("<4sI"), b"data")
_AIFF = _Form(12, struct.Struct(">4sI"), b"SSND")
_CAF = _Form(8, struct.Struct(">4sq"), b"data", alignment=1, n_before=4)  # an edit count
_W64 = _Form(40, struct.Struct("<16sQ"), b"data" + _W64_END, alignment=8, n_counted=24)
# Magic and form at byte 8.
_FORMS = {
    (b"RIFF", b"WAVE"): _WAV,
    (b"RF64", b"WAVE"): _WAV,
    (b"FORM", b"AIFF"): _AIFF,
    (b"FORM", b"AIFC"): _AIFF,
}
_AU_HEADERS = {b".snd": struct.Struct(">4xII"), b"dns.": struct.Struct("<4xII")}


@dataclass(frozen=True)
class DataChunk:
    """The part of a file that holds the samples, from byte ``start`` on.

    ``stated_bytes`` is the length that the header states, None where it is a placeholder.
    ``new_head`` is what libsndfile must be shown before the samples in place of what is there:
    that of a wav whose length the recorder never came to fill in, or overflowed its 32 bits, and
    would hide samples; and that of a caf that is cut off or does not know its length, which
    libsndfile refuses. Elsewhere it is empty.
    """

    start: int
    stated_bytes: int | None
    new_head: bytes = b""


def find_data_chunk(file: BinaryIO, n_file_bytes: int) -> DataChunk | None:
    """Find the samples of a wav (RIFF, RF64), aiff, caf, w64 or au file; None in other files."""
    head = read_at(file, 0, 40)
    form = _form(head)
    if form is None:
        return _au_data(head)
    wide_size: int | None = None
    format_chunk = b""
    for name, at, size in _chunks(file, form, n_file_bytes):
        start = at + form.header.size
        if name == b"ds64":  # the 64 bit sizes of RF64 (EBU Tech 3306): form, data, ...
            (wide_size,) = struct.unpack("<8xQ", read_at(file, start, 16).ljust(16, b"\0"))
        elif name == b"fmt ":
            format_chunk = read_at(file, at, form.header.size + size + size % 2)
        elif name == form.data_name:
            start += form.n_before
            size = (size if wide_size is None else wide_size) - form.n_before
            new_head = b""
            if form is _CAF and (_is_placeholder(size) or start + size > n_file_bytes):
                new_head = _caf_head(read_at(file, 0, start), n_file_bytes)
            elif format_chunk and _is_understated(size, n_file_bytes - start):
                new_head = _wav_head(format_chunk, n_file_bytes - start)
            return DataChunk(start, None if _is_placeholder(size) else size, new_head)
    return None


def _form(head: bytes) -> _Form | None:
    if head.startswith(b"caff"):
        return _CAF
    if head.startswith(_W64_RIFF) and head.endswith(b"wave" + _W64_END):
        return _W64
    return _FORMS.get((head[:4], head[8:12]))


def _au_data(head: bytes) -> DataChunk | None:
    if head[:4] not in _AU_HEADERS or len(head) < 12:
        return None
    start, size = _AU_HEADERS[head[:4]].unpack(head[:12])
    return DataChunk(start, None if _is_placeholder(size) else size)


def _chunks(file: BinaryIO, form: _Form, n_file_bytes: int) -> Iterator[tuple[bytes, int, int]]:
    """Give out name, place and size of content of each chunk."""
    at = form.first
    for _ in range(_MAX_CHUNKS):
        header = read_at(file, at, form.header.size)
        if len(header) < form.header.size:
            return
        name, size = form.header.unpack(header)
        size -= form.n_counted
        yield name, at, size
        at += form.header.size + max(0, size)
        at += -at % form.alignment
        if at > n_file_bytes:
            return


def _is_placeholder(size: int) -> bool:
    return not 0 < size < _MAX_SIZE_BYTES or any(
        abs(size - placeholder) <= _PLACEHOLDER_MARGIN_BYTES for placeholder in _PLACEHOLDER_BYTES
    )


def _is_understated(size: int, n_present: int) -> bool:
    n_beyond = n_present - size
    return n_beyond > 0 and (_is_placeholder(size) or n_beyond >= 1 << 32)


def _wav_head(format_chunk: bytes, n_data: int) -> bytes:
    """Return an RF64 header with the true length."""
    n_form = 4 + 36 + len(format_chunk) + 8 + n_data
    return b"".join(
        (
            struct.pack("<4sI4s", b"RF64", 0xFFFF_FFFF, b"WAVE"),
            struct.pack("<4sIQQQI", b"ds64", 28, n_form, n_data, 0, 0),
            format_chunk,
            struct.pack("<4sI", b"data", 0xFFFF_FFFF),
        )
    )


def _caf_head(head: bytes, n_file_bytes: int) -> bytes:
    """Return the head with the true length: its last 12 bytes are a size and the edit count."""
    n_data = n_file_bytes - len(head) + _CAF.n_before
    return head[:-12] + struct.pack(">q", n_data) + head[-4:]
