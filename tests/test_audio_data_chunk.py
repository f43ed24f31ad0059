import io
import struct

import pytest

from amtcli.audio.data_chunk import DataChunk, find_data_chunk


def chunk(name, content, order="<"):
    return struct.pack(order + "4sI", name, len(content)) + content + b"\0" * (len(content) % 2)


FORMAT = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16))


def wav(data_size, n_data_bytes, before=b""):
    body = FORMAT + before + struct.pack("<4sI", b"data", data_size) + bytes(n_data_bytes)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def find(content):
    return find_data_chunk(io.BytesIO(content), len(content))


def test_data_is_found_behind_other_chunks_of_odd_length():
    found = find(wav(100, 100, before=chunk(b"LIST", b"odd")))
    assert found == DataChunk(start=12 + 24 + 12 + 8, stated_bytes=100)


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
    assert (found.stated_bytes, bool(found.new_head)) == (stated, is_understated)


def test_wide_sizes_of_rf64_and_the_head_made_of_them():
    head = find(wav(0, 60)).new_head
    assert head[:4] == b"RF64"
    assert head[-8 - len(FORMAT) : -8] == FORMAT
    assert find(head + bytes(60)) == DataChunk(start=len(head), stated_bytes=60)


def test_aiff_is_big_endian():
    body = chunk(b"COMM", bytes(18), ">") + chunk(b"SSND", bytes(300), ">")
    found = find(b"FORM" + struct.pack(">I", 4 + len(body)) + b"AIFF" + body)
    assert (found.start, found.stated_bytes) == (12 + 26 + 8, 300)


def caf(data_size, n_data_bytes, before=b""):
    description = struct.pack(">4sq", b"desc", 32) + bytes(32)
    data = struct.pack(">4sqI", b"data", data_size, 7) + bytes(n_data_bytes)
    return b"caff\0\1\0\0" + description + before + data


CHANNELS = struct.pack(">4sq", b"chan", 13) + bytes(13)  # odd: chunks of caf are not padded


@pytest.mark.parametrize(
    ("data_size", "n_data_bytes", "stated"),
    [
        (104, 100, 100),
        (104, 160, 100),  # something else follows
        (104, 60, 100),  # cut off
        (-1, 60, None),  # still being recorded
    ],
)
def test_caf_gets_a_new_head_where_it_would_be_refused(data_size, n_data_bytes, stated):
    content = caf(data_size, n_data_bytes, CHANNELS)
    start = len(content) - n_data_bytes
    is_refused = n_data_bytes == 60
    new_head = caf(64, 0, CHANNELS) if is_refused else b""
    assert find(content) == DataChunk(start=start, stated_bytes=stated, new_head=new_head)


def w64_chunk(name, size, content):
    end = b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
    return name + end + struct.pack("<Q", size) + content


@pytest.mark.parametrize(
    ("data_size", "stated"),
    [(24 + 100, 100), (24, None), (0, None), (2**64 - 1, None), (2**63 - 1, None)],
)
def test_w64_aligns_chunks_and_counts_their_headers(data_size, stated):
    head = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0" + bytes(8)
    form = w64_chunk(b"wave", 0, b"")[:16]
    before = w64_chunk(b"fmt ", 24 + 18, bytes(24)) + w64_chunk(b"levl", 24 + 8, bytes(8))
    content = head + form + before + w64_chunk(b"data", data_size, bytes(60))
    assert find(content) == DataChunk(start=len(content) - 60, stated_bytes=stated)
    endless = head + form + w64_chunk(b"levl", 2**64 - 1, bytes(60))
    assert find(endless) is None


@pytest.mark.parametrize(("magic", "order"), [(b".snd", ">"), (b"dns.", "<")])
@pytest.mark.parametrize(("size", "stated"), [(100, 100), (0xFFFFFFFF, None), (0, None)])
def test_au_states_place_and_size_at_its_beginning(magic, order, size, stated):
    content = magic + struct.pack(order + "5I", 32, size, 3, 8000, 1) + bytes(8 + 60)
    assert find(content) == DataChunk(start=32, stated_bytes=stated)


@pytest.mark.parametrize(
    "content",
    [b"", b"RIFF", b"caff", b".snd" + bytes(7), b"fLaC" + bytes(40), wav(0, 0)[:30]],
)
def test_other_files_have_no_data_chunk(content):
    assert find(content) is None
