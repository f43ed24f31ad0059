import io
import os
import struct
import tarfile
from pathlib import Path

import mido
import numpy as np
import pytest

from amtcli import __version__
from amtcli.errors import MidiError, UsageError
from amtcli.midi import performance_to_midi_bytes
from amtcli.midi_reading import read_performance
from amtcli.notes import Beat, Note, PedalSpan, Performance

ASAP = Path(
    os.environ.get("AMT_DATA", Path(__file__).parents[2] / "shared" / "data"), "asap.tar.xz"
)


def read(data):
    return read_performance(io.BytesIO(data))


def piano_events(data):
    """(tick, type, number, value) of the second track, by mido's own reading."""
    tick, events = 0, []
    for message in mido.MidiFile(file=io.BytesIO(data)).tracks[1]:
        tick += message.time
        if message.type == "control_change":
            events.append((tick, "pedal", message.control, message.value))
        elif message.type in ("note_on", "note_off"):
            events.append((tick, message.type, message.note, message.velocity))
    return events


def note_ticks(*notes, **options):
    """(pitch, first tick, last tick, velocity) of each note in the file, in order of onset."""
    down, found = {}, []
    for tick, kind, number, value in piano_events(
        performance_to_midi_bytes(Performance(notes), **options)
    ):
        if kind == "note_on":
            assert number not in down
            down[number] = (tick, value)
        else:
            onset, velocity = down.pop(number)
            found.append((number, onset, tick, velocity))
    assert not down
    return sorted(found, key=lambda note: note[1])


def test_the_bytes_of_a_small_file():
    performance = Performance((Note(0.5, 1.0, 60, 80),), (PedalSpan(0.25, 1.5, 64, value=100),))
    text = f"amt {__version__}, model toy 1.0".encode()
    conductor = (
        b"\x00\xff\x01" + bytes([len(text)]) + text
        + b"\x00\xff\x51\x03\x07\xa1\x20"  # 500,000 us per quarter
        + b"\x00\xff\x58\x04\x04\x02\x18\x08"  # 4/4
        + b"\x00\xff\x2f\x00"
    )  # fmt: skip
    piano = (
        b"\x00\xff\x03\x05Piano"
        b"\x00\xc0\x00"
        b"\x81\x70\xb0\x40\x64"  # tick 240: pedal down
        b"\x81\x70\x90\x3c\x50"  # tick 480: note on
        b"\x83\x60\x80\x3c\x40"  # tick 960: note off
        b"\x83\x60\xb0\x40\x00"  # tick 1440: pedal up
        b"\x00\xff\x2f\x00"
    )
    assert performance_to_midi_bytes(performance, model_id="toy 1.0") == (
        b"MThd\x00\x00\x00\x06\x00\x01\x00\x02\x01\xe0"
        + b"MTrk" + struct.pack(">L", len(conductor)) + conductor
        + b"MTrk" + struct.pack(">L", len(piano)) + piano
    )  # fmt: skip


def test_ticks_are_rounded_from_seconds_one_by_one():
    # 960 ticks per second: 0.1005 s is tick 96.48, 0.1015 s is tick 97.44
    assert note_ticks(Note(0.1005, 0.1015, 60, 1)) == [(60, 96, 97, 1)]
    # 97.3 BPM is 616,650 us per quarter of 960 ticks: 1 s is tick 1556.8, 3.7 s tick 5760.2,
    # 28,000 s tick 43,590,367.3
    notes = (Note(1.0, 3.7, 60, 64), Note(3.7, 28_000.0, 61, 64))
    assert note_ticks(*notes, tempo_bpm=97.3) == [(60, 1557, 5760, 64), (61, 5760, 43_590_367, 64)]


@pytest.mark.parametrize(
    ("tempo_bpm", "ticks_per_quarter"),
    [(4, 14_400), (60, 960), (97.3, 960), (119.9, 960), (120, 480), (240, 480), (1000, 480)],
)
def test_no_note_moves_with_the_tempo(tempo_bpm, ticks_per_quarter):
    rng = np.random.default_rng(0)
    onsets_s = np.cumsum(rng.uniform(0.02, 0.4, 400)) + 10_000
    notes = tuple(Note(t, t + 0.3, 21 + i % 88, 1 + i % 127) for i, t in enumerate(onsets_s))
    data = performance_to_midi_bytes(Performance(notes), tempo_bpm=tempo_bpm)
    assert mido.MidiFile(file=io.BytesIO(data)).ticks_per_beat == ticks_per_quarter
    half_tick_s = 1 / 1920
    for note, written in zip(notes, read(data).notes, strict=True):
        assert (written.pitch, written.velocity) == (note.pitch, note.velocity)
        assert written.onset_s == pytest.approx(note.onset_s, abs=half_tick_s + 1e-9)
        assert written.offset_s == pytest.approx(note.offset_s, abs=half_tick_s + 1e-9)


def test_another_reader_finds_the_same_seconds():
    pretty_midi = pytest.importorskip("pretty_midi")
    notes = tuple(Note(0.37 * i, 0.37 * i + 0.2, 40 + i % 40, 50) for i in range(300))
    performance = Performance(notes, (PedalSpan(1.0, 2.5, 64),))
    data = performance_to_midi_bytes(performance, tempo_bpm=83.7)
    (piano,) = pretty_midi.PrettyMIDI(io.BytesIO(data)).instruments
    ours = read(data)
    assert (piano.program, piano.name) == (0, "Piano")
    assert [(n.pitch, n.velocity) for n in piano.notes] == [(n.pitch, 50) for n in notes]
    np.testing.assert_allclose(
        [(n.start, n.end) for n in piano.notes],
        [(n.onset_s, n.offset_s) for n in ours.notes],
        atol=1e-8,
    )
    assert [(c.number, c.value) for c in piano.control_changes] == [(64, 127), (64, 0)]


def test_eight_hours_are_written_and_read_back():
    notes = tuple(Note(28.8 * i, 28.8 * i + 1.0, 60, 70) for i in range(1001))
    back = read(performance_to_midi_bytes(Performance(notes))).notes
    assert [n.onset_s for n in back] == pytest.approx([n.onset_s for n in notes], abs=1e-6)
    (alone,) = read(
        performance_to_midi_bytes(Performance((Note(28_800.0, 28_801.0, 60, 70),)), tempo_bpm=1000)
    ).notes
    assert alone.onset_s == pytest.approx(28_800.0, abs=1e-6)


def test_float32_times_keep_their_value():
    onset_s = np.float32(4321.1234)  # 4321.12353515625: tick 4148278.6
    ((_, onset, _, _),) = note_ticks(Note(onset_s, onset_s + 1, np.int64(60), np.int64(64)))
    assert onset == 4_148_279


def test_a_note_ends_where_its_key_is_struck_again():
    assert note_ticks(Note(0.0, 2.0, 60, 10), Note(1.0, 3.0, 60, 20), Note(1.5, 3.0, 61, 30)) == [
        (60, 0, 960, 10),
        (60, 960, 2880, 20),
        (61, 1440, 2880, 30),
    ]
    # release and new strike in one tick: the release comes first
    events = piano_events(
        performance_to_midi_bytes(Performance((Note(0.0, 1.0, 60, 10), Note(1.0, 2.0, 60, 20))))
    )
    assert events[1:3] == [(960, "note_off", 60, 64), (960, "note_on", 60, 20)]


def test_no_note_is_empty_and_none_reaches_the_next():
    tick_s = 1 / 960
    notes = [Note(tick_s * k, tick_s * k, 60, k) for k in (1, 2, 3)]
    assert note_ticks(*notes) == [(60, 1, 2, 1), (60, 2, 3, 2), (60, 3, 4, 3)]
    assert note_ticks(Note(1.0, 0.9, 60, 5)) == [(60, 960, 961, 5)]


def test_two_notes_of_one_pitch_in_one_tick_are_one_strike():
    assert note_ticks(Note(1.0, 1.5, 60, 40), Note(1.0002, 1.25, 60, 90)) == [(60, 960, 1440, 90)]


def test_what_lies_outside_the_midi_range():
    assert note_ticks(Note(-0.25, 0.5, 0, 0), Note(1.0, 2.0, 127, 200)) == [
        (0, 0, 480, 1),
        (127, 960, 1920, 127),
    ]
    for pitch in (-1, 128):
        with pytest.raises(MidiError, match=f"note at 1.500 s has pitch {pitch}"):
            performance_to_midi_bytes(Performance((Note(1.5, 2.0, pitch, 64),)))
    for bad in (Performance((Note(0.0, float("nan"), 60, 64),)),
                Performance(pedals=(PedalSpan(float("-inf"), 1.0, 64),)),
                Performance(beats=(Beat(1.0), Beat(float("inf"))))):  # fmt: skip
        with pytest.raises(MidiError, match="not a finite number"):
            performance_to_midi_bytes(bad)


@pytest.mark.parametrize("tempo_bpm", [0, 3.9, 1001, -120, float("nan"), float("inf")])
def test_an_impossible_tempo_is_refused(tempo_bpm):
    with pytest.raises(UsageError, match="choose one from 4 to 1000"):
        performance_to_midi_bytes(Performance(), tempo_bpm=tempo_bpm)


def test_pedal_modes():
    performance = Performance(
        (Note(0.0, 1.0, 60, 64), Note(5.0, 6.0, 60, 64)),
        (PedalSpan(0.5, 3.0, 64), PedalSpan(0.5, 2.0, 67, value=90)),
    )
    notes = [(0, "note_on", 60, 64), (960, "note_off", 60, 64),
             (4800, "note_on", 60, 64), (5760, "note_off", 60, 64)]  # fmt: skip
    pedals = [(480, "pedal", 64, 127), (480, "pedal", 67, 90),
              (1920, "pedal", 67, 0), (2880, "pedal", 64, 0)]  # fmt: skip
    written = {
        mode: piano_events(performance_to_midi_bytes(performance, pedal=mode))
        for mode in ("cc64", "extend", "none")
    }
    assert written["cc64"] == sorted(notes + pedals, key=lambda event: event[0])
    assert written["none"] == notes
    assert written["extend"] == [notes[0], (2880, "note_off", 60, 64), *notes[2:]]
    with pytest.raises(UsageError, match="'cc67': choose from cc64, extend, none"):
        performance_to_midi_bytes(performance, pedal="cc67")


def test_pedal_changes_within_one_tick_keep_their_meaning():
    performance = Performance(
        (Note(0.5, 1.0, 60, 64),), (PedalSpan(1.0, 2.0, 64), PedalSpan(0.0, 1.0, 64))
    )
    assert piano_events(performance_to_midi_bytes(performance))[2:5] == [
        (960, "pedal", 64, 0),
        (960, "pedal", 64, 127),  # before the release, which it therefore still holds
        (960, "note_off", 60, 64),
    ]


def test_overlapping_pedal_spans_stay_down_until_the_last_end():
    performance = Performance(pedals=(PedalSpan(0.0, 4.0, 64), PedalSpan(1.0, 2.0, 64, value=80)))
    spans = read(performance_to_midi_bytes(performance)).pedals
    assert spans == (PedalSpan(0.0, 1.0, 64, 127), PedalSpan(1.0, 4.0, 64, 80))


def test_the_order_of_the_performance_does_not_matter():
    notes = (Note(0.0, 1.0, 60, 64), Note(0.0, 2.0, 64, 65), Note(1.0, 2.0, 60, 66))
    pedals = (PedalSpan(0.0, 1.0, 64), PedalSpan(1.5, 2.0, 64))
    assert performance_to_midi_bytes(Performance(notes, pedals)) == performance_to_midi_bytes(
        Performance(notes[::-1], pedals[::-1])
    )


def test_the_text_event_names_the_model_in_any_script():
    track = mido.MidiFile(
        file=io.BytesIO(performance_to_midi_bytes(Performance(), model_id="ピアノ 2")),
        charset="utf-8",
    ).tracks[0]
    assert [m.text for m in track if m.type == "text"] == [f"amt {__version__}, model ピアノ 2"]


def markers(beats):
    """(tick, text) of the first track's markers."""
    tick, found = 0, []
    data = performance_to_midi_bytes(Performance(beats=beats))
    for message in mido.MidiFile(file=io.BytesIO(data)).tracks[0]:
        tick += message.time
        if message.type == "marker":
            found.append((tick, message.text))
    return found


def test_dynamics_become_markers_where_they_begin():
    dynamics = (None, "p", "p", "mf", None, "mf", "p", None)
    beats = tuple(Beat(0.5 * i, dynamics=name) for i, name in enumerate(dynamics))
    assert markers(beats) == [(480, "p"), (1440, "mf"), (2880, "p")]
    assert markers(beats[::-1]) == markers(beats)
    # each beat says what holds, whether or not it is known to begin there
    assert markers((Beat(0.0, dynamics="f", is_change=False), Beat(0.5, is_change=True))) == [
        (0, "f")
    ]
    assert markers((Beat(1.0, dynamics="pp"),)) == [(960, "pp")]


def test_the_first_track_of_a_small_file_with_beats():
    beats = (Beat(0.5), Beat(1.0, True, "ff"), Beat(1.5), Beat(2.0), Beat(3.0, True, "ff"))
    text = f"amt {__version__}".encode()
    conductor = (
        b"\x00\xff\x01" + bytes([len(text)]) + text
        + b"\x00\xff\x51\x03\x07\xa1\x20"  # 500,000 us per quarter
        + b"\x00\xff\x58\x04\x02\x02\x18\x08"  # 2/4: a quarter before the pickup, and it
        + b"\x8f\x00\xff\x58\x04\x03\x02\x18\x08"  # tick 1920: 3/4
        + b"\x00\xff\x06\x02ff"
        + b"\x8f\x00\xff\x51\x03\x0f\x42\x40"  # tick 3840: 1,000,000 us per quarter
        + b"\x00\xff\x2f\x00"
    )  # fmt: skip
    data = performance_to_midi_bytes(Performance(beats=beats))
    head = b"MThd\x00\x00\x00\x06\x00\x01\x00\x02\x03\xc0"  # 960 ticks per quarter
    assert data.startswith(head + b"MTrk" + struct.pack(">L", len(conductor)) + conductor + b"MTrk")


def test_hours_of_silence_behind_fast_beats_and_a_very_slow_one():
    # 16,320 ticks in 0.2 s: the distance between the notes is more than a file states at once
    performance = Performance(
        (Note(16.7, 16.9, 60, 64), Note(20_000.0, 20_001.0, 60, 64)),
        beats=(Beat(0.0), Beat(16.7), Beat(16.9)),
    )
    notes = read(performance_to_midi_bytes(performance)).notes
    assert [(n.onset_s, n.offset_s) for n in notes] == [
        pytest.approx((16.7, 16.9), abs=1e-5), pytest.approx((20_000.0, 20_001.0), abs=1e-5)
    ]  # fmt: skip


@pytest.mark.parametrize("pedal", ["cc64", "extend", "none"])
def test_beats_set_the_tempo_in_every_pedal_mode(pedal):
    performance = Performance((Note(1.0, 2.0, 60, 64),), beats=(Beat(0.0), Beat(1.0)))
    events = piano_events(performance_to_midi_bytes(performance, pedal=pedal))
    assert [tick for tick, *_ in events] == [960, 1920]  # at 60 BPM, 960 ticks per quarter


def test_reading_from_a_path_and_writing_again_gives_the_same_bytes(tmp_path):
    performance = Performance(
        (Note(0.5, 1.0, 60, 80), Note(0.5, 1.25, 64, 70)),
        (PedalSpan(0.25, 1.5, 64, value=100), PedalSpan(0.25, 1.0, 67, value=64)),
    )
    path = tmp_path / "絆 & 'quoted'.mid"
    path.write_bytes(performance_to_midi_bytes(performance))
    assert read_performance(path) == performance
    assert performance_to_midi_bytes(read_performance(str(path))) == path.read_bytes()


@pytest.mark.skipif(not ASAP.exists(), reason="needs asap.tar.xz: set AMT_DATA to its folder")
def test_real_performances_survive_writing_and_reading():
    pretty_midi = pytest.importorskip("pretty_midi")
    n_files = 0
    with tarfile.open(ASAP, "r|xz") as archive:  # a stream: only the first members are unpacked
        for member in archive:
            if not member.name.endswith(".mid"):
                continue
            data = archive.extractfile(member).read()
            check_real_performance(data, pretty_midi)
            n_files += 1
            if n_files == 4:
                break
    assert n_files == 4


def check_real_performance(data, pretty_midi):
    performance = read(data)
    assert len(performance.notes) > 500
    reference = [n for i in pretty_midi.PrettyMIDI(io.BytesIO(data)).instruments for n in i.notes]
    reference.sort(key=lambda n: (n.start, n.pitch))
    assert [(n.pitch, n.velocity) for n in performance.notes] == [
        (n.pitch, n.velocity) for n in reference
    ]
    np.testing.assert_allclose(
        [(n.onset_s, n.offset_s) for n in performance.notes],
        [(n.start, n.end) for n in reference],
        atol=1e-6,
    )
    back = read(performance_to_midi_bytes(performance, tempo_bpm=97.3))
    for old, new in (
        (by_pitch(performance), by_pitch(back)),
        (performance.pedals, back.pedals),
    ):
        times_s = np.array([(o.onset_s, o.offset_s, n.onset_s, n.offset_s)
                            for o, n in zip(old, new, strict=True)])  # fmt: skip
        assert np.abs(times_s[:, :2] - times_s[:, 2:]).max() <= 1 / 1920
    assert [(n.pitch, n.velocity) for n in by_pitch(back)] == [
        (n.pitch, n.velocity) for n in by_pitch(performance)
    ]
    assert [(p.controller, p.value) for p in back.pedals] == [
        (p.controller, p.value) for p in performance.pedals
    ]


def by_pitch(performance):
    return sorted(performance.notes, key=lambda note: (note.pitch, note.onset_s))
