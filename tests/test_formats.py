import io
import json
from dataclasses import replace

import numpy as np
import pytest

from amtcli import __version__
from amtcli.errors import UsageError
from amtcli.formats import FORMATS, FormatOptions, formatted
from amtcli.midi import performance_to_midi_bytes
from amtcli.midi_reading import read_performance
from amtcli.notes import Beat, Note, PedalSpan, Performance

PERFORMANCE = Performance(
    (
        Note(1.0, 1.5, 64, 70),
        Note(0.1234564, 0.5, 60, 80, confidence=0.9871239),
    ),
    (PedalSpan(2.5, 3.0, 67, value=64), PedalSpan(0.25, 1.25, 64)),
)
OPTIONS = FormatOptions(
    model_name="toy", model_version="1.2", recording="Prélude.flac", duration_s=3.25
)


def test_json_line_by_line():
    assert formatted(PERFORMANCE, "json", OPTIONS).decode() == (
        '{"format":1,"amt_version":"' + __version__ + '",'
        '"model":{"name":"toy","version":"1.2"},"recording":"Prélude.flac","duration_s":3.25,'
        '"notes":['
        '{"onset_s":0.123456,"offset_s":0.5,"sounding_end_s":1.25,"pitch":60,"velocity":80,'
        '"confidence":0.987124},'
        '{"onset_s":1.0,"offset_s":1.5,"sounding_end_s":1.5,"pitch":64,"velocity":70}],'
        '"pedals":['
        '{"onset_s":0.25,"offset_s":1.25,"controller":64,"value":127},'
        '{"onset_s":2.5,"offset_s":3.0,"controller":67,"value":64}],"beats":[]}\n'
    )


def test_jsonl_in_order_of_onset():
    assert formatted(PERFORMANCE, "jsonl", OPTIONS).decode().splitlines(keepends=True) == [
        '{"type":"note","onset_s":0.123456,"offset_s":0.5,"sounding_end_s":1.25,"pitch":60,'
        '"velocity":80,"confidence":0.987124}\n',
        '{"type":"pedal","onset_s":0.25,"offset_s":1.25,"controller":64,"value":127}\n',
        '{"type":"note","onset_s":1.0,"offset_s":1.5,"sounding_end_s":1.5,"pitch":64,'
        '"velocity":70}\n',
        '{"type":"pedal","onset_s":2.5,"offset_s":3.0,"controller":67,"value":64}\n',
    ]


BEATS = (
    Beat(0.5, dynamics="mf", confidence=np.float32(0.75)),
    Beat(0.25, np.bool_(True), dynamics="p", is_change=True),
    Beat(1.0000004),
)


def test_beats_in_json():
    document = json.loads(formatted(replace(PERFORMANCE, beats=BEATS), "json", OPTIONS))
    assert document["beats"] == [
        {"onset_s": 0.25, "is_downbeat": True, "dynamics": "p", "is_change": True},
        {"onset_s": 0.5, "is_downbeat": False, "dynamics": "mf", "is_change": False,
         "confidence": 0.75},
        {"onset_s": 1.0, "is_downbeat": False, "dynamics": None, "is_change": False},
    ]  # fmt: skip
    document["beats"] = []
    assert document == json.loads(formatted(PERFORMANCE, "json", OPTIONS))


def test_beats_in_jsonl_stand_before_what_is_played_on_them():
    performance = replace(
        PERFORMANCE, beats=BEATS, pedals=(*PERFORMANCE.pedals, PedalSpan(1.0, 1.5, 67))
    )
    lines = formatted(performance, "jsonl", OPTIONS).decode().splitlines()
    assert [(record["onset_s"], record["type"]) for record in map(json.loads, lines)] == [
        (0.123456, "note"), (0.25, "beat"), (0.25, "pedal"), (0.5, "beat"),
        (1.0, "beat"), (1.0, "pedal"), (1.0, "note"), (2.5, "pedal"),
    ]  # fmt: skip
    assert lines[1] == (
        '{"type":"beat","onset_s":0.25,"is_downbeat":true,"dynamics":"p","is_change":true}'
    )


@pytest.mark.parametrize("pedal", ["extend", "none"])
def test_the_pedal_mode_leaves_beats_alone(pedal):
    performance = replace(PERFORMANCE, beats=BEATS)
    document = json.loads(formatted(performance, "json", FormatOptions(pedal=pedal)))
    assert [beat["onset_s"] for beat in document["beats"]] == [0.25, 0.5, 1.0]


def test_beats_have_no_place_in_csv():
    performance = replace(PERFORMANCE, beats=BEATS)
    assert formatted(performance, "csv", OPTIONS) == formatted(PERFORMANCE, "csv", OPTIONS)


def test_csv():
    assert formatted(PERFORMANCE, "csv", OPTIONS) == (
        b"onset_s,offset_s,sounding_end_s,pitch,velocity,confidence\n"
        b"0.123456,0.5,1.25,60,80,0.987124\n"
        b"1.0,1.5,1.5,64,70,\n"
    )


@pytest.mark.parametrize(
    ("pedal", "sounding_end_s", "n_pedals"),
    [("cc64", 1.25, 2), ("extend", 1.25, 0), ("none", 0.5, 0)],
)
def test_pedal_modes_of_the_text_formats(pedal, sounding_end_s, n_pedals):
    options = FormatOptions(pedal=pedal)
    document = json.loads(formatted(PERFORMANCE, "json", options))
    records = [json.loads(line) for line in formatted(PERFORMANCE, "jsonl", options).splitlines()]
    row = formatted(PERFORMANCE, "csv", options).decode().splitlines()[1]
    assert len(document["pedals"]) == n_pedals
    assert [record["type"] for record in records].count("pedal") == n_pedals
    for first in (document["notes"][0], records[0]):
        assert (first["offset_s"], first["sounding_end_s"]) == (0.5, sounding_end_s)
    assert row.split(",")[1:3] == ["0.5", str(sounding_end_s)]


def test_midi_takes_its_options_from_the_same_place():
    options = FormatOptions(97.3, "extend", "toy", "1.2")
    assert formatted(PERFORMANCE, "mid", options) == performance_to_midi_bytes(
        PERFORMANCE, tempo_bpm=97.3, pedal="extend", model_id="toy 1.2"
    )
    assert formatted(PERFORMANCE, "mid", FormatOptions()) == performance_to_midi_bytes(PERFORMANCE)


def test_json_tells_what_midi_plays():
    document = json.loads(formatted(PERFORMANCE, "json", OPTIONS))
    played = read_performance(
        io.BytesIO(formatted(PERFORMANCE, "mid", FormatOptions(pedal="extend")))
    )
    for written, heard in zip(document["notes"], played.notes, strict=True):
        assert written["onset_s"] == pytest.approx(heard.onset_s, abs=1 / 1920)
        assert written["sounding_end_s"] == pytest.approx(heard.offset_s, abs=1 / 1920)


def test_an_empty_performance_in_every_format():
    documents = {name: formatted(Performance(), name, FormatOptions()) for name in FORMATS}
    assert list(documents) == ["mid", "json", "csv", "jsonl"]
    assert documents["jsonl"] == b""
    assert documents["csv"] == b"onset_s,offset_s,sounding_end_s,pitch,velocity,confidence\n"
    assert json.loads(documents["json"]) == {
        "format": 1, "amt_version": __version__, "model": None, "recording": None,
        "duration_s": None, "notes": [], "pedals": [], "beats": [],
    }  # fmt: skip
    assert read_performance(io.BytesIO(documents["mid"])) == Performance()


def test_numpy_numbers_and_tiny_negative_times():
    performance = Performance(
        (Note(np.float32(-1e-8), np.float64(0.5), np.int64(60), np.int64(64), np.float32(0.5)),)
    )
    assert (
        formatted(performance, "csv", FormatOptions()).splitlines()[1] == b"0.0,0.5,0.5,60,64,0.5"
    )
    assert json.loads(formatted(performance, "json", FormatOptions()))["notes"][0]["pitch"] == 60


def test_a_recording_whose_name_is_not_utf_8_keeps_it():
    name = b"caf\xe9.wav".decode("utf-8", "surrogateescape")
    data = formatted(Performance(), "json", FormatOptions(recording=name))
    assert b'"recording":"caf\\udce9.wav"' in data
    assert json.loads(data.decode("utf-8"))["recording"] == name


def test_what_cannot_be_formatted_is_refused_beforehand():
    with pytest.raises(UsageError, match="unknown format 'xml': choose from mid, json, csv, jsonl"):
        formatted(Performance(), "xml", FormatOptions())
    with pytest.raises(UsageError, match="tempo of 2 BPM"):
        FormatOptions(tempo_bpm=2)
    with pytest.raises(UsageError, match="unknown pedal mode 'full'"):
        FormatOptions(pedal="full")
