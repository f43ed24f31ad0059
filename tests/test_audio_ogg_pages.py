import io
import struct

import pytest

from amtcli.audio.ogg_pages import Run, read_link

VORBIS, OPUS = b"\x01vorbis".ljust(30, b"\0"), b"OpusHead\x01\x02" + struct.pack("<HI", 312, 44100)
FIRST, LAST = 2, 4


def checksum(page):
    """As RFC 3533 says it, bit by bit."""
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 1 << 31 else 0)) & 0xFFFF_FFFF
    return crc


def page(number, granule, *packets, kind=0, stream=7):
    lacing = b"".join(bytes([255]) * (len(p) // 255) + bytes([len(p) % 255]) for p in packets)
    head = struct.pack("<5sBqII", b"OggS\0", kind, granule, stream, number)
    rest = bytes([len(lacing)]) + lacing + b"".join(packets)
    return head + struct.pack("<I", checksum(head + bytes(4) + rest)) + rest


def opus(*middle, stream=7):
    return [
        page(0, 0, OPUS, kind=FIRST, stream=stream),
        page(1, 0, b"OpusTags", stream=stream),
        *middle,
    ]


AUDIO = [page(2, 1000, b"a" * 300), page(3, 2000, b"b"), page(4, 3000, b"c", kind=LAST)]


def link_of(*pages):
    return read_link(io.BytesIO(b"".join(pages)), 0)


def n_bytes(*pages):
    return len(b"".join(pages))


def test_a_whole_stream_is_one_run():
    link = link_of(*opus(*AUDIO))
    assert link.runs == (Run(0, n_bytes(*opus(*AUDIO)), 3000),)
    assert (link.is_cut, link.next_start) == (False, None)


@pytest.mark.parametrize("damage", [b"", AUDIO[1][:-1] + b"x", AUDIO[1][:20]])
def test_a_page_that_is_missing_or_damaged_divides_runs(damage):
    begin, end = opus(AUDIO[0]), AUDIO[2]
    after = n_bytes(*begin, damage)
    assert link_of(*begin, damage, end).runs == (
        Run(0, n_bytes(*begin), 1000),
        Run(after, after + len(end), 3000),
    )


def test_what_lies_between_numbered_pages_is_no_damage():
    assert len(link_of(*opus(AUDIO[0], b"OggS\0 junk", *AUDIO[1:])).runs) == 1


def test_numbers_that_do_not_rise_tell_nothing():
    """Such are a fault of what wrote the file."""
    pages = [page(0, 1000, b"a"), page(0, 2000, b"b"), page(0, 3000, b"c")]
    assert len(link_of(*opus(*pages)).runs) == 1


def test_a_page_on_which_no_packet_ends_has_no_place():
    pages = opus(AUDIO[0], page(3, -1, b"b"))
    assert link_of(*pages).runs == (Run(0, n_bytes(*pages), 1000),)


def test_other_streams_lie_beside_or_behind():
    beside = [page(0, 0, b"video", kind=FIRST, stream=8), page(9, 9, b"video", stream=8)]
    first = [opus()[0], beside[0], opus()[1], AUDIO[0], beside[1], *AUDIO[1:]]
    link = link_of(*first, *opus(stream=9))
    assert link.runs == (Run(0, n_bytes(*first), 3000),)
    assert link.next_start == n_bytes(*first)


def test_a_stream_without_its_last_page_is_cut():
    assert link_of(*opus(*AUDIO[:2], AUDIO[2][:-1])).is_cut
    assert link_of(*opus(*AUDIO[:2])).is_cut
    assert not link_of(*opus(*AUDIO), b"a tag").is_cut


def test_pages_are_found_behind_much_of_anything():
    """The second one spans the end of what is read at once."""
    begin = opus(AUDIO[0])
    junk = b"OggS\0".ljust((1 << 20) - n_bytes(*begin) - 10, b"\0")
    whole = n_bytes(*begin, junk, *AUDIO[1:])
    assert n_bytes(*begin, junk) < 1 << 20 < whole
    assert link_of(*begin, junk, *AUDIO[1:]).runs == (Run(0, whole, 3000),)


def test_opus_counts_at_48_khz_from_its_preskip_on():
    link = link_of(*opus(*AUDIO))
    assert link.to_samples(link.origin, 48000) == 312
    assert link.to_samples(3000, 16000) == 1000
    unskipped = OPUS[:10] + bytes(2) + OPUS[12:]
    assert link.head == page(0, 0, unskipped, kind=FIRST) + opus()[1]


def test_vorbis_counts_samples_and_has_three_headers():
    pages = [page(0, 0, VORBIS, kind=FIRST), page(1, -1, b"\x03" * 510), page(2, 0, b"", b"\x05")]
    link = link_of(*pages, page(3, 1000, b"a"))
    assert (link.origin, link.to_samples(1000, 44100)) == (0, 1000)
    assert link.head == b"".join(pages)


def test_of_unknown_codecs_no_headers_are_known():
    assert link_of(page(0, 0, b"\x7fFLAC", kind=FIRST), page(1, 0, b"a")).head == b""


@pytest.mark.parametrize("content", [b"", b"RIFF" + OPUS, b"junk" + AUDIO[0], AUDIO[0][:-1]])
def test_elsewhere_no_stream_begins(content):
    assert link_of(content) is None
