"""MIDI files of every kind to performances, byte by byte."""

import io
import struct

import numpy as np
import pytest

from amtcli.errors import MidiError
from amtcli.midi import performance_to_midi_bytes
from amtcli.midi_reading import read_performance
from amtcli.notes import Note, PedalSpan, Performance


def read(data):
    return read_performance(io.BytesIO(data))


ON, OFF, CC = 0x90, 0x80, 0xB0
TEMPO_60 = (0xFF, 0x51, 3, 0x0F, 0x42, 0x40)
BEAT = 480


def track(*events):
    """A track of (delta in ticks below 16,384, byte, byte, ...) tuples."""
    body = b"".join(bytes([delta >> 7 | 0x80, delta & 0x7F, *rest]) for delta, *rest in events)
    body += b"\x00\xff\x2f\x00"
    return b"MTrk" + struct.pack(">L", len(body)) + body


def smf(*tracks, kind=1, division=BEAT):
    return (
        b"MThd" + struct.pack(">LHHH", 6, kind, len(tracks), division & 0xFFFF) + b"".join(tracks)
    )


def test_running_status_and_note_on_of_velocity_0():
    data = smf(track((0, ON, 60, 80), (BEAT, 60, 0), (0, 62, 81), (BEAT, 62, 0)))
    assert read(data).notes == (Note(0.0, 0.5, 60, 80), Note(0.5, 1.0, 62, 81))


def test_tempo_changes_in_any_track():
    # 120 BPM for one quarter, then 60
    first, second = (0, ON, 60, 80), (0, ON, 62, 81)
    tempo, first_end, second_end = (BEAT, *TEMPO_60), (BEAT, OFF, 60, 0), (BEAT, OFF, 62, 0)
    notes = (Note(0.0, 0.5, 60, 80), Note(0.5, 1.5, 62, 81))
    together = track(first, tempo, (0, OFF, 60, 0), second, second_end)
    assert read(smf(together, kind=0)).notes == notes
    apart = (track(), track(first, first_end, second, second_end), track(tempo))
    assert read(smf(*apart)).notes == notes


@pytest.mark.parametrize(
    ("frames_per_s", "ticks_per_frame", "end_s"),
    [(25, 40, 0.48), (30, 80, 0.2), (29, 80, 0.2002)],  # 29 stands for 30 / 1.001
)
def test_smpte_time_ignores_the_tempo(frames_per_s, ticks_per_frame, end_s):
    events = track((0, *TEMPO_60), (0, ON, 60, 80), (BEAT, OFF, 60, 0))
    (note,) = read(smf(events, division=(-frames_per_s << 8) + ticks_per_frame)).notes
    assert (note.onset_s, note.offset_s) == (0.0, pytest.approx(end_s, abs=1e-12))


def test_a_note_without_end_lasts_to_the_end_of_the_file():
    data = smf(track((0, ON, 60, 80), (BEAT, ON, 62, 64), (BEAT, OFF, 62, 0), (0, OFF, 64, 0)))
    assert read(data).notes == (Note(0.0, 1.0, 60, 80), Note(0.5, 1.0, 62, 64))


def test_a_key_struck_while_down_ends_its_earlier_note():
    strikes = ((0, ON, 60, 80), (BEAT, ON, 60, 81))
    notes = (Note(0.0, 0.5, 60, 80), Note(0.5, 1.0, 60, 81))
    assert read(smf(track(*strikes, (BEAT, OFF, 60, 0), (BEAT, OFF, 60, 0)))).notes == notes
    # the new strike written before the release of the same tick, as some recorders do
    assert read(smf(track(*strikes, (0, OFF, 60, 0), (BEAT, OFF, 60, 0)))).notes == notes


def test_notes_released_or_struck_twice_in_their_own_tick():
    data = smf(track((BEAT, ON, 60, 80), (0, OFF, 60, 0)))
    assert read(data).notes == (Note(0.5, 0.5, 60, 80),)
    data = smf(track((BEAT, ON, 60, 32), (0, ON, 60, 48), (0, ON, 60, 40), (BEAT, OFF, 60, 0)))
    assert read(data).notes == (Note(0.5, 1.0, 60, 48),)


def test_all_tracks_and_channels_but_the_drums():
    data = smf(
        track((0, ON, 48, 80), (BEAT, OFF, 48, 0)),
        track(
            (0, ON + 1, 60, 80), (0, ON + 9, 35, 127), (BEAT, OFF + 9, 35, 0), (0, OFF + 1, 60, 0)
        ),
        track((0, ON, 48, 64), (960, OFF, 48, 0)),  # one key in two tracks: each has its own end
    )
    assert read(data).notes == (
        Note(0.0, 0.5, 48, 80),
        Note(0.0, 1.0, 48, 64),
        Note(0.0, 0.5, 60, 80),
    )


def test_pedals_are_down_from_64_and_carry_their_largest_value():
    changes = [
        (64, 63),
        (64, 64),
        (64, 100),
        (64, 70),
        (64, 63),
        (67, 127),
        (64, 20),
        (67, 0),
        (64, 90),
    ]
    data = smf(track(*((BEAT, CC, *change) for change in changes), (BEAT, CC, 7, 64)))
    assert read(data).pedals == (
        PedalSpan(1.0, 2.5, 64, 100),
        PedalSpan(3.0, 4.0, 67, 127),
        PedalSpan(4.5, 5.0, 64, 90),  # never released: to the end of the file
    )


def test_a_pedal_sent_in_two_channels_is_one_pedal():
    data = smf(
        track((BEAT, CC, 64, 80), (0, CC + 1, 64, 96), (BEAT, CC, 64, 0), (BEAT, CC + 1, 64, 0)),
        track((3 * BEAT, CC + 9, 64, 127)),  # of the drums
    )
    assert read(data).pedals == (PedalSpan(0.5, 1.5, 64, 96),)


def test_riff_around_the_file():
    data = smf(track((0, ON, 60, 80), (BEAT, OFF, 60, 0)))
    assert len(read(data).notes) == 1
    riff = b"RIFF" + struct.pack("<L", len(data) + 12) + b"RMIDdata" + struct.pack("<L", len(data))
    assert read(riff + data) == read(data)


def test_keys_meters_and_texts_that_no_standard_knows_change_nothing():
    odd = [(0, 0xFF, 0x59, 2, 9, 5), (0, 0xFF, 0x58, 4, 0, 99, 0, 0), (0, 0xFF, 0x51, 1, 9)]
    notes = [(0, ON, 60, 80), (BEAT, OFF, 60, 0)]
    assert read(smf(track(*odd, *notes))) == read(smf(track(*notes)))


def test_every_truncation_is_an_error_of_one_line():
    data = performance_to_midi_bytes(Performance((Note(0.5, 1.0, 60, 80),)))
    for length in range(len(data)):
        with pytest.raises(MidiError) as caught:
            read(data[:length])
        assert "\n" not in str(caught.value)
    with pytest.raises(MidiError, match="the MIDI data is empty"):
        read(b"")
    with pytest.raises(MidiError, match="the MIDI data is cut off"):
        read(data[:-1])


def test_random_damage_never_ends_in_another_error():
    rng = np.random.default_rng(0)
    sound = smf(
        track((0, *TEMPO_60), (0, 0xFF, 0x58, 4, 4, 2, 18, 8), (0, 0xFF, 0x59, 2, 0, 0)),
        track((0, 0xF0, 3, 1, 2, 0xF7), (0, ON, 60, 80), (9, CC, 64, 90), (9, OFF, 60, 0)),
    )
    refused = 0
    for _ in range(3000):
        data = bytearray(sound)
        for position in rng.integers(8, len(data), size=rng.integers(1, 4)):
            data[position] = rng.integers(256)
        try:
            read(bytes(data))
        except MidiError:
            refused += 1
    assert 0 < refused < 3000


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"dear diary, today I played", "is not a MIDI file"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "is not a MIDI file"),
        (smf(track((0, 60, 80))), "is damaged: data without status"),
        (smf(track((0, ON, 60, 200))), "is damaged: a data byte is 200"),
        (smf(track(), kind=2), "holds independent patterns"),
        (smf(track(), division=0), "is damaged: it states a time unit of no length"),
    ],
)
def test_what_is_no_sound_midi_file(tmp_path, data, message):
    path = tmp_path / "song.mid"
    path.write_bytes(data)
    with pytest.raises(MidiError, match=rf"song\.mid {message}"):
        read_performance(path)


def test_a_file_that_cannot_be_opened(tmp_path):
    with pytest.raises(MidiError, match=r"no\.mid cannot be read: No such file"):
        read_performance(tmp_path / "no.mid")
    with pytest.raises(MidiError, match="cannot be read: Is a directory"):
        read_performance(tmp_path)
