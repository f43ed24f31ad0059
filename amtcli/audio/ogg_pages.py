"""Pages of an ogg file, checked and placed in time without a decoder (RFC 3533, 7845).

libsndfile leaves out what is damaged, without a word, so that all that follows moves earlier.
Pages are numbered and state their place: where some are missing, those behind can be read as a
file of their own, in time.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from amtcli.files import read_at

_MARKER = b"OggS\0"
# Type, granule position, stream, sequence number, checksum, number of lacing values.
_HEADER = struct.Struct("<5xBqIIIB")
_CHECKSUM_AT = 22
_FIRST, _LAST = 2, 4  # bits of the type
_MAX_PAGE_BYTES = _HEADER.size + 255 + 255 * 255
_READ_BYTES = 1 << 20
# First bytes of a codec's first header -> number of header packets.
_N_HEADERS = {b"\x01vorbis": 3, b"OpusHead": 2}
_CODEC_AT = _HEADER.size + 1  # the first header is alone on its page
_OPUS_HZ = 48000  # the clock of its granule positions, whatever the sample rate
_PRESKIP_AT = _CODEC_AT + 10
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True)
class Run:
    """Pages from byte ``start`` to ``end``, of which none is missing.

    ``granule`` is the place in time at which the audio on them ends, 0 if there is none.
    """

    start: int
    end: int
    granule: int


@dataclass(frozen=True)
class Link:
    """One stream of an ogg file, which others may follow.

    ``runs`` are the stretches that are whole: a single one where nothing is damaged. ``head`` is
    what a decoder must be shown before one that does not begin the stream, empty where that is
    unknown. Time begins at ``origin``, on a clock of ``clock_hz``, None for that of the samples.
    ``is_cut`` tells that the last page is missing; ``next_start`` is where the next stream
    begins, if one does.
    """

    runs: tuple[Run, ...]
    head: bytes
    origin: int
    clock_hz: int | None
    is_cut: bool
    next_start: int | None

    def to_samples(self, granule: int, rate_hz: int) -> int:
        """Convert a place in time to samples."""
        return granule if self.clock_hz is None else granule * rate_hz // self.clock_hz


@dataclass(frozen=True)
class _Page:
    start: int
    end: int
    kind: int
    granule: int
    stream: int
    number: int
    n_packets: int  # those that end on it


def read_link(file: BinaryIO, start: int) -> Link | None:
    """Read the pages of the stream that begins at a byte; None where none does."""
    if read_at(file, start, len(_MARKER)) != _MARKER:
        return None
    pages = _pages(file, start)
    last = next(pages, None)
    if last is None or last.start != start:
        return None
    runs: list[Run] = []
    run = Run(start, last.end, 0)
    next_start, is_begun = None, False
    for page in pages:
        if page.kind & _FIRST and is_begun:
            next_start = page.start
            break
        is_begun |= not page.kind & _FIRST  # several streams may begin beside each other
        if page.stream != last.stream:
            continue
        if page.number > last.number + 1:
            runs.append(run)
            run = Run(page.start, page.end, 0)
        # -1 where no packet ends.
        run = Run(run.start, page.end, page.granule if page.granule >= 0 else run.granule)
        last = page
    head = _read_head(file, start)
    is_opus = head[_CODEC_AT:].startswith(b"OpusHead")
    return Link(
        runs=(*runs, run),
        head=_without_preskip(head) if is_opus else head,
        origin=int.from_bytes(head[_PRESKIP_AT : _PRESKIP_AT + 2], "little") if is_opus else 0,
        clock_hz=_OPUS_HZ if is_opus else None,
        is_cut=not last.kind & _LAST,
        next_start=next_start,
    )


def _read_head(file: BinaryIO, start: int) -> bytes:
    """Return the pages of the headers; empty for unknown codecs."""
    magic = read_at(file, start + _CODEC_AT, 8)
    n_left = next((n for name, n in _N_HEADERS.items() if magic.startswith(name)), 0)
    for page in _pages(file, start) if n_left else ():
        n_left -= page.n_packets
        if n_left <= 0:
            return read_at(file, start, page.end - start)
    return b""


def _without_preskip(head: bytes) -> bytes:
    """Let no samples be skipped at the beginning of an opus stream."""
    n_page = _CODEC_AT + head[_CODEC_AT - 1]
    page = bytearray(head[:n_page])
    page[_PRESKIP_AT : _PRESKIP_AT + 2] = bytes(2)
    page[_CHECKSUM_AT : _CHECKSUM_AT + 4] = _checksum(page).to_bytes(4, "little")
    return bytes(page) + head[n_page:]


def _pages(file: BinaryIO, byte: int) -> Iterator[_Page]:
    """Give out all pages from a byte on whose checksum is right."""
    while True:
        data = read_at(file, byte, _READ_BYTES)
        is_end = len(data) < _READ_BYTES
        at = data.find(_MARKER)
        while at >= 0 and (is_end or at <= len(data) - _MAX_PAGE_BYTES):
            page = _page(data, at, byte)
            if page is not None:
                yield page
            at = data.find(_MARKER, at + 1 if page is None else page.end - byte)
        if is_end:
            return
        byte += at if at >= 0 else len(data) - len(_MARKER) + 1


def _page(data: bytes, at: int, byte: int) -> _Page | None:
    """Return the page at a place in some data that begin at ``byte``; None where it is damaged."""
    if len(data) - at < _HEADER.size:
        return None
    kind, granule, stream, number, checksum, n_lacing = _HEADER.unpack_from(data, at)
    lacing = data[at + _HEADER.size : at + _HEADER.size + n_lacing]
    end = at + _HEADER.size + n_lacing + sum(lacing)
    if end > len(data) or _checksum(data[at:end]) != checksum:
        return None
    n_packets = sum(value < 255 for value in lacing)
    return _Page(byte + at, byte + end, kind, granule, stream, number, n_packets)


def _checksum(page: bytes | bytearray) -> int:
    """Return the checksum of a page: zlib's with all bits in reverse and no inversion."""
    blank = page[:_CHECKSUM_AT] + bytes(4) + page[_CHECKSUM_AT + 4 :]
    crc = zlib.crc32(blank.translate(_REVERSED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int(f"{crc:032b}"[::-1], 2)
