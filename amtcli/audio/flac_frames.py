"""Frames of a flac file, found and placed in time without a decoder (RFC 9639).

libsndfile gives up a flac file at the first damage. Each frame states its place, so reading can
go on at the next good one, in time.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

from amtcli.files import read_at

_MARKER = b"fLaC"
_STREAMINFO_BYTES = 34
_HEAD_BYTES = len(_MARKER) + 4 + _STREAMINFO_BYTES
_MAX_FRAME_HEADER_BYTES = 16
# Bytes that follow in the frame header for these codes of block size and sample rate.
_SIZE_BYTES = {6: 1, 7: 2}
_RATE_BYTES = {12: 1, 13: 2, 14: 2}
_SEARCH_BYTES = 1 << 20
_MAX_ENDS = 4


def read_head(file: BinaryIO) -> bytes:
    """Return the marker and STREAMINFO (section 8.2) of a flac file as a head of frames.

    It is marked as the last metadata block, so that frames may follow. Empty for other files.
    """
    head = read_at(file, 0, _HEAD_BYTES)
    if not head.startswith(_MARKER) or len(head) < _HEAD_BYTES:
        return b""
    return _MARKER + b"\x80" + head[5:]


def next_frame(file: BinaryIO, byte: int, head: bytes, first_sample: int) -> tuple[int, int] | None:
    """Find the first whole frame from ``byte`` on that begins at ``first_sample`` or later.

    Returns its byte and its sample. A frame whose checksum is wrong is passed over: a decoder
    drops it without a word, and would put the next one in its place.
    """
    n_block = int.from_bytes(head[10:12], "big")
    for start, sample in _frame_headers(file, byte, n_block):
        if sample >= first_sample and _is_whole(file, start, sample, n_block):
            return start, sample
    return None


def _frame_headers(file: BinaryIO, byte: int, n_block: int) -> Iterator[tuple[int, int]]:
    """Give out byte and sample of whatever looks like a frame's beginning, from ``byte`` on."""
    while True:
        data = read_at(file, byte, _SEARCH_BYTES)
        at = data.find(b"\xff")
        while at >= 0:
            sample = _first_sample(data[at : at + _MAX_FRAME_HEADER_BYTES], n_block)
            if sample is not None:
                yield byte + at, sample
            at = data.find(b"\xff", at + 1)
        if len(data) < _SEARCH_BYTES:
            return
        byte += len(data) - _MAX_FRAME_HEADER_BYTES


def _is_whole(file: BinaryIO, start: int, sample: int, n_block: int) -> bool:
    """Whether the frame at ``start`` ends in its checksum before one of the next few begins.

    Chance makes a header of one place in some millions, so that more than one end is tried.
    """
    frame = read_at(file, start, _SEARCH_BYTES)
    later = (at for at, other in _frame_headers(file, start + 1, n_block) if other > sample)
    crc, n_done = 0, 0
    for end in islice((at - start for at in later), _MAX_ENDS):
        crc, n_done = _crc16(frame[n_done:end], crc), end
        if crc == 0:
            return True
    return len(frame) < _SEARCH_BYTES and _crc16(frame[n_done:], crc) == 0  # the last one


def _first_sample(header: bytes, n_block: int) -> int | None:
    """Return where a frame begins in time, None where this is no frame header (section 9.1)."""
    if len(header) < 6 or header[1] & 0xFE != 0xF8:
        return None
    size_code, rate_code = header[2] >> 4, header[2] & 0x0F
    if size_code == 0 or rate_code == 15 or header[3] >> 4 > 10 or header[3] & 1:
        return None
    coded = _coded_number(header[4:])
    if coded is None:
        return None
    number, n_bytes = coded
    n_header = 4 + n_bytes + _SIZE_BYTES.get(size_code, 0) + _RATE_BYTES.get(rate_code, 0)
    if n_header >= len(header) or _crc8(header[:n_header]) != header[n_header]:
        return None
    has_variable_blocks = header[1] & 1  # then samples are counted, otherwise frames
    return number if has_variable_blocks else number * n_block


def _coded_number(data: bytes) -> tuple[int, int] | None:
    """Decode a number written like a UTF-8 character of up to 7 bytes; None where it is none."""
    n_bytes = 8 - (data[0] ^ 0xFF).bit_length()  # the leading ones, 0 for a single byte
    if n_bytes == 0:
        return data[0], 1
    if n_bytes in (1, 8) or any(byte & 0xC0 != 0x80 for byte in data[1:n_bytes]):
        return None
    number = data[0] & (0x7F >> n_bytes)
    for byte in data[1:n_bytes]:
        number = number << 6 | byte & 0x3F
    return number, n_bytes


def _crc16(data: bytes, crc: int = 0) -> int:
    """Go on with the checksum with polynomial x^16 + x^15 + x^2 + 1; 0 behind a whole frame."""
    for byte in data:
        crc = (crc << 8 & 0xFFFF) ^ _CRC16_TABLE[crc >> 8 ^ byte]
    return crc


def _crc16_of_byte(byte: int) -> int:
    crc = byte << 8
    for _ in range(8):
        crc = (crc << 1 ^ 0x8005) & 0xFFFF if crc & 0x8000 else crc << 1
    return crc


_CRC16_TABLE = tuple(map(_crc16_of_byte, range(256)))


def _crc8(data: bytes) -> int:
    """Return the checksum with polynomial x^8 + x^2 + x + 1."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07) & 0xFF if crc & 0x80 else crc << 1
    return crc
