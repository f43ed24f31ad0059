"""The demo recording: the stored files are what the script makes, and the music is right."""

from __future__ import annotations

import io
import struct
from collections import defaultdict
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pretty_midi
import pytest
import soundfile
from make_demo import (
    DATA,
    FERMATA_S,
    Clock,
    PlayedNote,
    ScoreNote,
    bar_start,
    describe_soundfont,
    line_at,
    midi_bytes,
    pedalling,
    perform,
    pitch_number,
    render_command,
    score,
)

BASS_LINE = """
C2 B1 C2 E2 F2 F#2 G2 G1  C2 B1 C2 E2 F2 G2 A2 G2  A2 B2 C3 D3 E3 F#2 G2 G2
C2 C2 C2 C2 C2 C2 C2 C2 C2
"""
MELODY = """
G A  G A  G A  B C  E D  E D  E D  B A  G A  G A  G A  B C  C# D  D# E  G F  D# E
E F  F# G  G# A  A# B  D C  B A  A G  E D  G A  E D  G A  E D
"""


def notes_by_bar() -> dict[int, list[ScoreNote]]:
    bars: dict[int, list[ScoreNote]] = defaultdict(list)
    for note in score():
        bars[int(note.onset_beats // 2) + 1].append(note)
    return bars


def stored_midi() -> pretty_midi.PrettyMIDI:
    return pretty_midi.PrettyMIDI(str(DATA / "demo.mid"))


def played_in_bar(bar: int) -> list[PlayedNote]:
    clock = Clock()
    start_s, end_s = clock.seconds(bar_start(bar)), clock.seconds(bar_start(bar + 1))
    return [n for n in perform() if start_s - 0.05 < n.onset_s < end_s - 0.05]


def test_stored_midi_is_what_the_script_makes() -> None:
    assert midi_bytes() == (DATA / "demo.mid").read_bytes()


@pytest.mark.parametrize(
    ("name", "number"), [("C4", 60), ("A4", 69), ("F#2", 42), ("Bb3", 58), ("B1", 35), ("D6", 86)]
)
def test_pitch_number(name: str, number: int) -> None:
    assert pitch_number(name) == number


def test_first_bar_note_by_note() -> None:
    sixth = Fraction(1, 3)
    expected = [
        (0, "C2", 1),
        (1, "G2", 1),
        (1, "G3", 4),
        (2, "E3", 1),
        (2, "C4", 1),
        (3, "E4", 1),
        (3, "G4", 2),
        (4, "C4", 1),
        (5, "A3", 1),
        (5, "A4", 1),
    ]
    assert [(n.onset_beats, n.pitch, n.length_beats) for n in notes_by_bar()[1]] == [
        (at * sixth, pitch_number(name), length * sixth) for at, name, length in expected
    ]


def test_quintuplet_bar_begins_on_the_beat() -> None:
    top = [n for n in notes_by_bar()[18] if n.pitch in (66, 67, 71, 74, 78, 79)]
    assert [(n.onset_beats - bar_start(18), n.pitch) for n in top] == [
        (0, 66),
        (Fraction(2, 5), 71),
        (Fraction(4, 5), 74),
        (Fraction(4, 5), 78),
        (Fraction(6, 5), 71),
        (Fraction(8, 5), 67),
        (Fraction(8, 5), 79),
    ]


def test_length_and_number_of_notes() -> None:
    notes = score()
    assert len(notes) == 32 * 10 + 7
    assert max(n.onset_beats + n.length_beats for n in notes) == 34 * 2
    assert sorted({len(bar) for bar in notes_by_bar().values()}) == [1, 6, 10]


def test_bass_line() -> None:
    bars = notes_by_bar()
    lowest = [min(bars[bar], key=lambda n: n.onset_beats).pitch for bar in range(1, 34)]
    assert lowest == [pitch_number(name) for name in BASS_LINE.split()]


def test_melody_is_doubled_at_the_octave() -> None:
    bars = notes_by_bar()
    names = MELODY.split()
    for bar in range(1, 29):
        pitches = {n.pitch for n in bars[bar]}
        tops = sorted({n.onset_beats for n in bars[bar]})
        resolution = [n.pitch for n in bars[bar] if n.onset_beats == tops[-1]]
        highest = max(n.pitch for n in bars[bar] if n.onset_beats < tops[-2])
        wanted = [pitch_number(f"{name}0") % 12 for name in names[2 * bar - 2 : 2 * bar]]
        assert [highest % 12, resolution[0] % 12] == wanted, f"bar {bar}"
        assert highest - 12 in pitches, f"bar {bar}"
        assert resolution[1] - resolution[0] == 12, f"bar {bar}"


def test_harmony_of_dominant_and_close() -> None:
    bars = notes_by_bar()
    for bar in (7, 24):  # G7 under the appoggiatura E
        assert {n.pitch % 12 for n in bars[bar]} == {7, 11, 2, 5, 4}
    assert {n.pitch % 12 for n in bars[33] + bars[34]} == {0, 4, 7}


def test_tempo_presses_on_in_the_stretto_and_ends_slowly() -> None:
    clock = Clock()
    lengths_s = [
        clock.seconds(bar_start(b + 1)) - clock.seconds(bar_start(b)) for b in range(1, 35)
    ]
    assert lengths_s.index(min(lengths_s)) + 1 in (19, 20)
    assert lengths_s[33] > lengths_s[32] > lengths_s[31] > 1.4 * lengths_s[12]
    assert sum(lengths_s) + FERMATA_S == pytest.approx(40, abs=1)


def test_clock_refuses_a_beat_between_its_steps() -> None:
    with pytest.raises(ValueError, match="beat 1/7 is not on the grid"):
        Clock().seconds(Fraction(1, 7))


def test_line_at() -> None:
    knots = ((1.0, 10.0), (3.0, 20.0), (4.0, 0.0))
    assert [line_at(knots, x) for x in (0, 1, 2, 3, 3.25, 4, 9)] == [10, 10, 15, 20, 15, 0, 0]


def test_performance_covers_the_dynamic_range() -> None:
    played = perform()
    clock = Clock()
    loudest = max(played, key=lambda n: n.velocity)
    assert clock.seconds(bar_start(20)) < loudest.onset_s < clock.seconds(bar_start(22))
    assert loudest.velocity >= 115
    assert min(n.velocity for n in played) <= 25
    assert max(n.velocity for n in played) <= 127
    assert {min(n.pitch for n in played), max(n.pitch for n in played)} == {31, 86}


def test_pedal_changes_after_each_new_bass_is_struck() -> None:
    presses = pedalling()
    assert len(presses) == 33
    for bar, (down_s, up_s) in enumerate(presses, start=1):
        bass = min(played_in_bar(bar), key=lambda n: n.pitch)
        assert bass.onset_s < down_s < bass.offset_s
        assert down_s < up_s
    assert all(up_s < down_s for (_, up_s), (down_s, _) in pairwise(presses))


def test_stored_midi_reads_back() -> None:
    midi = stored_midi()
    (piano,) = midi.instruments
    assert len(piano.notes) == 327
    for made, read in zip(perform(), sorted(piano.notes, key=lambda n: n.start), strict=True):
        assert read.start == pytest.approx(made.onset_s, abs=0.001)
    by_pitch: dict[int, list[pretty_midi.Note]] = defaultdict(list)
    for note in sorted(piano.notes, key=lambda n: n.start):
        assert note.end - note.start > 0.05
        by_pitch[note.pitch].append(note)
    for notes in by_pitch.values():
        assert all(earlier.end < later.start for earlier, later in pairwise(notes))
    assert [c.value for c in piano.control_changes if c.number == 64] == [127, 0] * 33


def test_stored_audio_is_aligned_with_the_midi() -> None:
    path = DATA / "demo.flac"
    audio, rate_hz = soundfile.read(path, dtype="float32")
    assert (rate_hz, audio.shape[1], soundfile.info(path).subtype) == (44100, 2, "PCM_16")
    assert path.stat().st_size < 2_500_000
    envelope = np.abs(audio).max(axis=1)
    assert 0.3 < envelope.max() < 1.0
    midi = stored_midi()
    assert 1.0 < len(audio) / rate_hz - midi.get_end_time() < 3.0
    first_s = min(note.start for note in midi.instruments[0].notes)
    sound_s = np.argmax(envelope > 0.02 * envelope[:rate_hz].max()) / rate_hz
    assert 0 <= sound_s - first_s < 0.01


def test_late_note_has_not_drifted() -> None:
    """The last melody note stands alone: its attack is where the MIDI says."""
    audio, rate_hz = soundfile.read(DATA / "demo.flac", dtype="float32")
    onset_s = max(note.start for note in stored_midi().instruments[0].notes)
    start = int((onset_s - 0.04) * rate_hz)
    attack = np.abs(np.diff(audio[start : start + int(0.08 * rate_hz)].mean(axis=1), n=2))
    before = attack[: int(0.03 * rate_hz)].max()
    assert attack.max() > 4 * before
    assert 0 <= np.argmax(attack > 2 * before) / rate_hz - 0.04 < 0.01


def test_describe_soundfont_reads_its_own_name(tmp_path: Path) -> None:
    info = io.BytesIO()
    for key, text in ((b"ifil", b"\2\0\1\0"), (b"INAM", b"Toy\0"), (b"ICRD", b"1999\0\0")):
        info.write(key + struct.pack("<I", len(text)) + text)
    chunk = b"INFO" + info.getvalue()
    body = b"sfbkLIST" + struct.pack("<I", len(chunk)) + chunk
    path = tmp_path / "toy.sf2"
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    assert describe_soundfont(path).startswith("toy.sf2 (Toy of 1999), sha256 ")
    path.write_bytes(b"RIFF of something else entirely")
    with pytest.raises(ValueError, match=r"toy\.sf2 is not a SoundFont"):
        describe_soundfont(path)


def test_render_command_names_its_files() -> None:
    command = render_command(Path("a.sf2"), Path("b.mid"), Path("c.flac"))
    assert command[0] == "fluidsynth"
    assert command[-2:] == ["a.sf2", "b.mid"]
    assert command[command.index("-F") + 1] == "c.flac"
