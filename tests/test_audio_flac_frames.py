import io

import numpy as np
import pytest
import soundfile as sf

from amtcli.audio import flac_frames


def remainder(data, polynomial, n_bits):
    """Divide bit by bit, as the standard says it."""
    rest = 0
    for bit in range(8 * len(data)):
        rest = rest << 1 | data[bit // 8] >> (7 - bit % 8) & 1
        rest ^= polynomial if rest >> n_bits else 0
    return rest


def whole(header):
    """A frame of a header, some bytes, and the checksum that gives the remainder 0."""
    frame = header + bytes(range(50, 60))
    return frame + remainder(frame + bytes(2), 0x18005, 16).to_bytes(2, "big")


# The frame header of the example in RFC 9639, D.1: one sample, frame 0.
EXAMPLE_HEADER = bytes.fromhex("fff869180000bf")
EXAMPLE = whole(EXAMPLE_HEADER)
HEAD = b"fLaC\x80\0\0\x22" + b"\x10\0\x10\0" + bytes(30)


def find(content, byte=0, first_sample=0, head=HEAD):
    return flac_frames.next_frame(io.BytesIO(content), byte, head, first_sample)


def flac(n_samples):
    buffer = io.BytesIO()
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, n_samples)
    sf.write(buffer, samples, 44100, format="FLAC")
    return buffer.getvalue()


def test_all_frames_of_a_file_are_found_in_place():
    content = flac(300 * 4096 + 5)  # frame numbers of one and of two bytes
    head = flac_frames.read_head(io.BytesIO(content))
    samples, byte = [], 0
    while (found := find(content, byte, head=head)) is not None:
        samples.append(found[1])
        byte = found[0] + 1
    assert samples == [4096 * number for number in range(301)]
    assert find(content, 0, 20_000, head)[1] == 20_480


def test_other_files_have_no_head():
    assert flac_frames.read_head(io.BytesIO(b"RIFF" + bytes(100))) == b""
    assert flac_frames.read_head(io.BytesIO(b"fLaC" + bytes(10))) == b""


def test_a_frame_across_the_end_of_what_is_read_at_once_is_found():
    for before in range((1 << 20) - 18, (1 << 20) + 2):
        assert find(bytes(before) + EXAMPLE + bytes(20)) == (before, 0)


def with_checksum(header):
    """A header whose last byte is such that the whole has the remainder 0."""
    return header + bytes([remainder(header + bytes(1), 0x107, 8)])


@pytest.mark.parametrize(
    ("header", "sample"),
    [
        ("fff8 69 18 00 00", 0),
        ("fff8 69 18 7f 00", 127 * 4096),
        ("fff8 c9 18 c280", 128 * 4096),
        ("fff8 c9 18 e28fa0", 0x23E0 * 4096),
        ("fff9 c9 18 e28fa0", 0x23E0),  # blocks of various lengths: samples are counted
        ("fff9 7d 18 fe8190808080 80 0000 0000", 0x50000000),
    ],
)
def test_numbers_are_decoded(header, sample):
    content = with_checksum(bytes.fromhex(header))
    assert find(whole(content) + bytes(10)) == (0, sample)


@pytest.mark.parametrize(
    "header",
    [
        "fff8 09 18 00",  # reserved block size
        "fff8 cf 18 00",  # no sample rate
        "fff8 c9 b8 00",  # reserved channels
        "fff8 c9 19 00",  # reserved bit
        "fff8 c9 18 80",  # no first byte of a number
        "fff8 c9 18 ff",
        "fff8 c9 18 c200",  # no further byte of a number
        "fffa c9 18 00",  # no sync code
    ],
)
def test_what_is_no_header_is_passed_over(header):
    content = with_checksum(bytes.fromhex(header)) + bytes(10)
    assert find(content + EXAMPLE + bytes(20)) == (len(content), 0)


def test_a_wrong_checksum_is_passed_over():
    assert find(whole(EXAMPLE_HEADER[:-1] + b"\x00") + bytes(20)) is None


def test_a_frame_that_was_damaged_is_passed_over():
    content = flac(20 * 4096)
    head = flac_frames.read_head(io.BytesIO(content))
    start, _ = find(content, 0, 5 * 4096, head)
    broken = bytearray(content)
    broken[start + 3000] ^= 0x10
    assert find(bytes(broken), 0, 4 * 4096, head) == find(content, 0, 4 * 4096, head)
    assert find(bytes(broken), 0, 5 * 4096, head) == find(content, 0, 6 * 4096, head)
