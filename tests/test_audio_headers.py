import io
import struct

import pytest

from amtcli.audio import headers


class BadSector(io.BytesIO):
    """A file that cannot be read beyond byte 100."""

    def read(self, n_bytes=-1):
        if self.tell() + n_bytes > 100:
            raise OSError(5, "Input/output error")
        return super().read(n_bytes)


def test_a_bad_sector_reads_like_the_end():
    file = BadSector(bytes(range(200)))
    assert headers.read_at(file, 90, 10) == bytes(range(90, 100))
    assert headers.read_at(file, 95, 10) == b""


def chunk(name, content, order="<"):
    return struct.pack(order + "4sI", name, len(content)) + content + b"\0" * (len(content) % 2)


FORMAT = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16))


def wav(data_size, n_data_bytes, before=b""):
    body = FORMAT + before + struct.pack("<4sI", b"data", data_size) + bytes(n_data_bytes)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def find(content):
    return headers.find_data_chunk(io.BytesIO(content), len(content))


def test_data_is_found_behind_other_chunks_of_odd_length():
    found = find(wav(100, 100, before=chunk(b"LIST", b"odd")))
    assert found == headers.DataChunk(
        start=12 + 24 + 12 + 8, stated_bytes=100, is_understated=False, format_chunk=FORMAT
    )


@pytest.mark.parametrize(
    ("data_size", "n_data_bytes", "stated", "is_understated"),
    [
        (100, 60, 100, False),  # cut off
        (100, 160, 100, False),  # something else follows
        (0, 60, None, True),  # never completed
        (0, 0, None, False),
        (0xFFFFFFFF, 60, None, False),  # written to a pipe
        (0x7FFFF000, 60, None, False),
    ],
)
def test_stated_lengths(data_size, n_data_bytes, stated, is_understated):
    found = find(wav(data_size, n_data_bytes))
    assert (found.stated_bytes, found.is_understated) == (stated, is_understated)


def test_wide_sizes_of_rf64_and_the_head_made_of_them():
    first = find(wav(0, 60))
    content = headers.completed_head(first, first.start + 60) + bytes(60)
    found = find(content)
    assert content[:4] == b"RF64"
    assert (found.start, found.stated_bytes) == (len(content) - 60, 60)
    assert found.format_chunk == FORMAT


def test_aiff_is_big_endian():
    body = chunk(b"COMM", bytes(18), ">") + chunk(b"SSND", bytes(300), ">")
    found = find(b"FORM" + struct.pack(">I", 4 + len(body)) + b"AIFF" + body)
    assert (found.start, found.stated_bytes) == (12 + 26 + 8, 300)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"fLaC" + bytes(40), wav(0, 0)[:30]])
def test_other_files_have_no_data_chunk(content):
    assert find(content) is None


def id3(n_bytes):
    sizes = bytes([n_bytes >> 21 & 127, n_bytes >> 14 & 127, n_bytes >> 7 & 127, n_bytes & 127])
    return b"ID3\x03\0\0" + sizes + bytes(n_bytes)


FRAME = b"\xff\xfb\x90\x64" + bytes(413)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (FRAME, 0),
        (id3(300) + FRAME, 310),
        (id3(300) + id3(20_000) + FRAME, 310 + 20_010),
        (id3(300) + b"fLaC", None),
        (b"RIFF" + bytes(100), None),
        (b"\xff", None),
        (id3(300)[:9], None),
        (b"\xff\xf1" + bytes(100), None),  # aac
        (b"\xff\xf8" + bytes(100), None),  # flac
    ],
)
def test_the_first_mpeg_frame_is_behind_the_tags(content, expected):
    assert headers.find_mpeg_frame(io.BytesIO(content), 0) == expected


@pytest.mark.parametrize(
    ("magic", "flags", "expected"),
    [(b"Xing", 15, True), (b"Info", 1, True), (b"Info", 14, False), (b"VBRI", 15, False)],
)
def test_only_a_frame_count_states_the_length(magic, flags, expected):
    frame = FRAME[:36] + magic + bytes([0, 0, 0, flags]) + FRAME[44:]
    assert headers.states_mpeg_length(io.BytesIO(frame), 0) is expected


def test_the_next_frame_is_of_the_same_kind():
    other_rate = b"\xff\xfb\x94\x64" + bytes(100)
    other_mode = b"\xff\xfb\x90\xc4" + bytes(100)
    junk = bytes((1 << 20) - 2 - 2 * 104)  # the frame spans the end of what is read at once
    content = other_rate + other_mode + junk + FRAME
    expected = len(content) - len(FRAME)
    assert headers.next_mpeg_frame(io.BytesIO(content), 0, b"\xff\xfb\xb0\x44") == expected
    assert headers.next_mpeg_frame(io.BytesIO(content), expected + 1, FRAME) is None


def page(header_type, n_bytes=200):
    return b"OggS\0" + bytes([header_type]) + bytes(n_bytes)


def test_ogg_pages_tell_beginning_and_end():
    first = page(2) + page(0) * 500 + page(4)
    joined = first + page(2) + page(0) * 500
    find_next = headers.next_ogg_stream
    assert find_next(io.BytesIO(joined), len(first) + 4000, 1) == len(first)
    assert find_next(io.BytesIO(first), len(first), 1) is None
    assert not headers.is_cut_ogg(io.BytesIO(first), len(first))
    assert headers.is_cut_ogg(io.BytesIO(joined), len(joined))
    assert not headers.is_cut_ogg(io.BytesIO(FRAME), len(FRAME))
