import io
import struct

import pytest

from amtcli.audio import mpeg_headers


class BadSector(io.BytesIO):
    """A file that cannot be read beyond byte 100."""

    def read(self, n_bytes=-1):
        if self.tell() + n_bytes > 100:
            raise OSError(5, "Input/output error")
        return super().read(n_bytes)


def test_a_bad_sector_reads_like_the_end():
    file = BadSector(bytes(range(200)))
    assert mpeg_headers.read_at(file, 90, 10) == bytes(range(90, 100))
    assert mpeg_headers.read_at(file, 95, 10) == b""


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
    assert mpeg_headers.find_mpeg_frame(io.BytesIO(content), 0) == expected


@pytest.mark.parametrize(
    ("magic", "flags", "expected"),
    [(b"Xing", 15, True), (b"Info", 1, True), (b"Info", 14, False), (b"VBRI", 15, False)],
)
def test_only_a_frame_count_states_the_length(magic, flags, expected):
    frame = FRAME[:36] + magic + bytes([0, 0, 0, flags]) + FRAME[44:]
    assert mpeg_headers.states_mpeg_length(io.BytesIO(frame), 0) is expected


@pytest.mark.parametrize(
    ("flags", "n_before", "stated", "is_corrected"),
    [
        (3, 4, 300, True),
        (2, 0, 300, True),
        (3, 4, 1033, False),  # less than a hundredth off
        (1, 4, 300, False),
        (0, 0, 300, False),
    ],
)
def test_the_count_of_bytes_is_corrected(flags, n_before, stated, is_corrected):
    before = id3(100) + FRAME[:36] + b"Xing" + bytes([0, 0, 0, flags]) + bytes(n_before)
    rest = bytes(110 + 1024 - len(before) - 4)
    content = before + struct.pack(">I", stated) + rest
    expected = before + struct.pack(">I", 1024) if is_corrected else b""
    assert mpeg_headers.corrected_mpeg_head(io.BytesIO(content), 0, 110, len(content)) == expected


def test_the_next_frame_is_of_the_same_kind():
    other_rate = b"\xff\xfb\x94\x64" + bytes(100)
    other_mode = b"\xff\xfb\x90\xc4" + bytes(100)
    junk = bytes((1 << 20) - 2 - 2 * 104)  # the frame spans the end of what is read at once
    content = other_rate + other_mode + junk + FRAME
    expected = len(content) - len(FRAME)
    assert mpeg_headers.next_mpeg_frame(io.BytesIO(content), 0, b"\xff\xfb\xb0\x44") == expected
    assert mpeg_headers.next_mpeg_frame(io.BytesIO(content), expected + 1, FRAME) is None
