"""Remake the demo recording: Chopin's Prelude in C major, op. 28 no. 1, as MIDI and as audio.

Run ``python tests/make_demo.py FluidR3_GM.sf2`` (needs the program ``fluidsynth``): it writes
``demo.mid`` and ``demo.flac`` to ``tests/data``. The score is typed in below, a few rules play
it as a pianist would (tempo and dynamics per bar, leading melody, pedal changed with the
harmony), and all of it is deterministic, so that ``demo.mid`` is the exact truth of
``demo.flac``: time zero is the first sample of both.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import random
import shutil
import struct
import subprocess
import sys
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import mido

DATA = Path(__file__).parent / "data"
TICKS_PER_QUARTER = 480
TICKS_PER_S = 2 * TICKS_PER_QUARTER  # at the 120 BPM that a MIDI file has by default

# The score. A beat is an eighth note, a bar of 2/8 has two, and the prelude has 34 bars.
BEATS_PER_BAR = 2
N_BARS = 34
# Bars 1-28 repeat one figure: the left hand's rising triplet; the melody's appoggiatura and
# its resolution, first in the thumb, then doubled an octave higher; and between them the two
# keys of the inner voice. A "5" marks the bars whose right hand is a quintuplet on the beat,
# where the others have triplets after a rest.
FIGURES = """
     C2  G2  E3 | G3  A3 | C4 E4
     B1  G2  F3 | G3  A3 | D4 F4
     C2  G2  E3 | G3  A3 | C4 E4
     E2  C3  G3 | B3  C4 | E4 G4
     F2  C3  A3 | E4  D4 | A4 C5
     F#2 D3  C4 | E4  D4 | A4 C5
     G2  F3  B3 | E4  D4 | G4 B4
     G1  G2  F3 | B3  A3 | D4 F4
     C2  G2  E3 | G3  A3 | C4 E4
     B1  G2  F3 | G3  A3 | D4 F4
     C2  G2  E3 | G3  A3 | C4 E4
     E2  C3  G3 | B3  C4 | E4 G4
     F2  C3  A3 | C#4 D4 | F4 A4
     G2  C3  Bb3| D#4 E4 | G4 C5
     A2  F3  C4 | G4  F4 | A4 C5
     G2  C3  C4 | D#4 E4 | G4 C5
     A2  F3  C4 | E4  F4 | A4 C5
  5  B2  G3  D4 | F#4 G4 | B4 D5
  5  C3  G3  E4 | G#4 A4 | C5 E5
  5  D3  G3  F4 | A#4 B4 | D5 G5
     E3  C4  G4 | D5  C5 | E5 G5
     F#2 D#3 C4 | B4  A4 | C5 D#5
  5  G2  E3  C4 | A4  G4 | C5 E5
     G2  F3  B3 | E4  D4 | G4 B4
  5  C2  G2  E3 | G3  A3 | C4 E4
  5  C2  G2  F3 | E4  D4 | G4 B4
     C2  G2  E3 | G3  A3 | C4 E4
     C2  G2  F3 | E4  D4 | G4 B4
"""
LAST_CHORD = "C2 G2 C3 E3 G3 C4 E4"  # broken upwards through bar 33, the E on bar 34

# The player. Each list holds (bar, value), bar 1 starting at 1.0, with straight lines between.
BEATS_PER_MINUTE = (
    *((1.0, 100), (2.0, 113), (5.0, 121), (7.0, 117), (8.0, 107), (8.9, 88)),
    *((9.0, 102), (11.0, 115), (13.0, 120), (17.0, 134), (20.0, 152), (20.9, 146)),
    *((21.0, 118), (22.0, 128), (24.0, 110), (24.9, 90), (25.0, 100), (27.0, 112)),
    *((29.0, 108), (31.0, 99), (32.0, 88), (33.0, 68), (34.0, 44), (35.0, 44)),
)
VELOCITY = (
    *((1.0, 52), (3.0, 57), (5.0, 68), (7.0, 78), (8.0, 62), (9.0, 50)),
    *((11.0, 56), (13.0, 68), (15.0, 80), (16.0, 78), (17.0, 88), (20.0, 104)),
    *((21.0, 110), (22.0, 100), (24.0, 70), (25.0, 50), (26.0, 56), (27.0, 46)),
    *((28.0, 50), (29.0, 44), (30.5, 48), (32.0, 37), (33.0, 30), (35.0, 25)),
)
# Within each bar the figure gathers speed towards the melody's entry and relaxes after it.
TEMPO_IN_BAR = ((0.0, 0.94), (0.5, 1.05), (1.0, 0.97))
MELODY_FADE = 0.88  # the resolution is played softer than its appoggiatura
UNEVEN_S, UNEVEN_VELOCITY = 0.004, 2.5  # largest deviation of a trained hand, either way
FIRST_NOTE_S = 0.5
FERMATA_S = 1.4
KEY_RETURN_S = 0.03  # a key comes up this long before it is struck again
# A pedal change: up just after the new bass is struck, down again while it is still held.
PEDAL_UP_S, PEDAL_DOWN_S = 0.015, 0.085
DRY_BARS = frozenset((1, 2, 3, 8, 9, 10, 11, 25, 27))  # the last triplet note without pedal


@dataclass(frozen=True)
class Voice:
    """How one voice is played: its weight in the balance, its lead and its legato."""

    loudness: float
    late_s: float
    held: float  # key-down time over written length


BASS = Voice(loudness=0.95, late_s=-0.006, held=1.15)
LEFT = Voice(loudness=0.78, late_s=0.0, held=1.05)
THUMB = Voice(loudness=0.92, late_s=0.0, held=0.97)
INNER = Voice(loudness=0.70, late_s=0.004, held=0.90)
TOP = Voice(loudness=1.13, late_s=-0.012, held=1.02)


@dataclass(frozen=True)
class ScoreNote:
    """One written note; times in beats from the start of bar 1."""

    onset_beats: Fraction
    length_beats: Fraction
    pitch: int
    voice: Voice
    accent: float = 1.0


@dataclass(frozen=True)
class PlayedNote:
    """One key pressed and released, in seconds from the start of the recording."""

    onset_s: float
    offset_s: float
    pitch: int
    velocity: int


def pitch_number(name: str) -> int:
    """Give the MIDI number of a pitch such as ``C4`` (60), ``F#4`` or ``Bb3``."""
    step = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}[name[0]]
    alteration = name.count("#") - name[1:].count("b")
    return 12 * (int(name[-1]) + 1) + step + alteration


def score() -> list[ScoreNote]:
    """Write the whole prelude out, in order of onset."""
    notes: list[ScoreNote] = []
    for bar, row in enumerate(FIGURES.strip().splitlines(), start=1):
        notes += figure(bar, row)
    for bar in range(29, 33):
        notes += farewell(bar)
    notes += last_chord()
    return sorted(notes, key=lambda note: (note.onset_beats, note.pitch))


def bar_start(bar: int) -> Fraction:
    return Fraction(BEATS_PER_BAR * (bar - 1))


def triplet(bar: int, names: str) -> Iterator[ScoreNote]:
    """Write the left hand's three notes at the start of a bar."""
    third = Fraction(1, 3)
    for i, name in enumerate(names.split()):
        voice = LEFT if i else BASS
        yield ScoreNote(bar_start(bar) + i * third, third, pitch_number(name), voice)


def figure(bar: int, row: str) -> Iterator[ScoreNote]:
    """Write one bar of ``FIGURES``."""
    left, melody, inner = row.split("|")
    quintuplet = left.strip().startswith("5")
    yield from triplet(bar, left.strip().removeprefix("5"))
    unit = Fraction(2, 5) if quintuplet else Fraction(1, 3)
    start = bar_start(bar) + (0 if quintuplet else unit)
    first, resolution = (pitch_number(name) for name in melody.split())
    low, high = (pitch_number(name) for name in inner.split())
    for at, length, pitch, voice in (
        (0, 4, first, THUMB),
        (1, 1, low, INNER),
        (2, 2, first + 12, TOP),
        (2, 1, high, INNER),
        (3, 1, low, INNER),
    ):
        yield ScoreNote(start + at * unit, length * unit, pitch, voice)
    for pitch, voice in ((resolution, THUMB), (resolution + 12, TOP)):
        yield ScoreNote(start + 4 * unit, unit, pitch, voice, accent=MELODY_FADE)


def farewell(bar: int) -> Iterator[ScoreNote]:
    """Write one of bars 29-32: an accented C in the melody, tied into the next bar."""
    yield from triplet(bar, "C2 G2 G3")
    third = Fraction(1, 3)
    start = bar_start(bar)
    top_thirds = 6 if bar < 32 else 3
    for at, length, name, voice in (
        (1, 3, "C4", THUMB),
        (2, 1, "F4", INNER),
        (3, 1, "A4", INNER),
        (3, top_thirds, "C5", TOP),
        (4, 1, "F4", INNER),
        (5, 1, "E4", INNER),
        (5, 1, "G4", THUMB),
    ):
        yield ScoreNote(start + at * third, length * third, pitch_number(name), voice)


def last_chord() -> Iterator[ScoreNote]:
    end = bar_start(N_BARS + 1)
    for i, name in enumerate(LAST_CHORD.split()):
        onset = bar_start(33) + Fraction(i, 3)
        voice = TOP if i == 6 else LEFT
        yield ScoreNote(onset, end - onset, pitch_number(name), voice)


def line_at(knots: Sequence[tuple[float, float]], x: float) -> float:
    """Read a piecewise linear curve at ``x``; constant outside its ends."""
    i = bisect_right(knots, (x, float("inf")))
    if i in (0, len(knots)):
        return float(knots[min(i, len(knots) - 1)][1])
    (x0, y0), (x1, y1) = knots[i - 1], knots[i]
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)


class Clock:
    """From beats to seconds: the tempo curve, integrated in steps that all note values share."""

    STEPS_PER_BEAT = 15

    def __init__(self) -> None:
        self._seconds = [FIRST_NOTE_S]
        for step in range(BEATS_PER_BAR * N_BARS * self.STEPS_PER_BEAT):
            bar = (step + 0.5) / (BEATS_PER_BAR * self.STEPS_PER_BEAT)
            tempo = line_at(BEATS_PER_MINUTE, 1 + bar) * line_at(TEMPO_IN_BAR, bar % 1)
            self._seconds.append(self._seconds[-1] + 60 / tempo / self.STEPS_PER_BEAT)

    def seconds(self, beats: Fraction) -> float:
        step = beats * self.STEPS_PER_BEAT
        if step.denominator != 1:
            raise ValueError(f"beat {beats} is not on the grid of {self.STEPS_PER_BEAT} steps")
        return self._seconds[int(step)]


def perform() -> list[PlayedNote]:
    """Play the score; the order is that of the onsets."""
    clock = Clock()
    hand = random.Random(28)  # only its random() is used, which is the same in every Python
    played = []
    for note in score():
        written_s = clock.seconds(note.onset_beats)
        end_beats = note.onset_beats + note.length_beats
        onset_s = written_s + note.voice.late_s + UNEVEN_S * (2 * hand.random() - 1)
        offset_s = onset_s + note.voice.held * (clock.seconds(end_beats) - written_s)
        if end_beats == bar_start(N_BARS + 1):
            offset_s = clock.seconds(end_beats) + FERMATA_S
        level = line_at(VELOCITY, 1 + float(note.onset_beats / BEATS_PER_BAR))
        velocity = level * note.voice.loudness * note.accent
        velocity += UNEVEN_VELOCITY * (2 * hand.random() - 1)
        played.append(PlayedNote(onset_s, offset_s, note.pitch, int(velocity + 0.5)))
    return release_before_repeat(sorted(played, key=lambda note: (note.onset_s, note.pitch)))


def release_before_repeat(notes: Sequence[PlayedNote]) -> list[PlayedNote]:
    """Let each key come up in time for its next stroke."""
    next_onset_s: dict[int, float] = {}
    released = []
    for note in reversed(notes):
        latest_s = next_onset_s.get(note.pitch, float("inf")) - KEY_RETURN_S
        released.append(replace(note, offset_s=min(note.offset_s, latest_s)))
        next_onset_s[note.pitch] = note.onset_s
    return released[::-1]


def pedalling() -> list[tuple[float, float]]:
    """Give the sustain pedal's (down, up) times in seconds: one press per bar and harmony.

    The soft bars follow the score's sign and release early, the others change on the new bass;
    the broken chord of bars 33 and 34 has one press.
    """
    clock = Clock()
    presses = []
    for bar in range(1, 34):
        down_s = clock.seconds(bar_start(bar)) + PEDAL_DOWN_S
        dry_beats = Fraction(1, 3) if bar in DRY_BARS else Fraction(0)
        up_s = clock.seconds(bar_start(bar + 1) - dry_beats) + PEDAL_UP_S
        if bar == 33:
            up_s = clock.seconds(bar_start(N_BARS + 1)) + FERMATA_S + PEDAL_UP_S
        presses.append((down_s, up_s))
    return presses


def midi_bytes() -> bytes:
    """Write the performance as one MIDI track, pedal as controller 64."""
    pedal_up, note_off, pedal_down, note_on = range(4)  # the order within one tick
    events: list[tuple[float, int, mido.Message]] = []
    for note in perform():
        on = mido.Message("note_on", note=note.pitch, velocity=note.velocity)
        off = mido.Message("note_off", note=note.pitch, velocity=64)
        events += [(note.onset_s, note_on, on), (note.offset_s, note_off, off)]
    for down_s, up_s in pedalling():
        for time_s, order, value in ((down_s, pedal_down, 127), (up_s, pedal_up, 0)):
            message = mido.Message("control_change", control=64, value=value)
            events.append((time_s, order, message))
    timed = [(int(time_s * TICKS_PER_S + 0.5), order, message) for time_s, order, message in events]
    track = mido.MidiTrack()
    track.append(mido.MetaMessage("track_name", name="Chopin: Prelude in C major, op. 28 no. 1"))
    track.append(mido.MetaMessage("set_tempo", tempo=500_000))
    track.append(mido.Message("program_change", program=0))
    now = 0
    for tick, _, message in sorted(timed, key=lambda event: event[:2]):
        track.append(message.copy(time=tick - now))
        now = tick
    track.append(mido.MetaMessage("end_of_track"))
    buffer = io.BytesIO()
    mido.MidiFile(type=0, ticks_per_beat=TICKS_PER_QUARTER, tracks=[track]).save(file=buffer)
    return buffer.getvalue()


def render_command(soundfont: Path, midi: Path, audio: Path) -> list[str]:
    """Give fluidsynth's command line: 44.1 kHz, stereo, 16 bit, a small room, no chorus."""
    options = {
        "synth.reverb.room-size": 0.35,
        "synth.reverb.damp": 0.3,
        "synth.reverb.width": 0.8,
        "synth.reverb.level": 0.35,
        "synth.chorus.active": 0,
    }
    settings = [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
    target = ["-r", "44100", "-g", "1.0", "-T", "flac", "-O", "s16", "-F", str(audio)]
    return ["fluidsynth", "-niq", *settings, *target, str(soundfont), str(midi)]


def describe_soundfont(path: Path) -> str:
    """Name a SoundFont by its own INFO chunk (SoundFont 2.04, section 5) and its SHA-256."""
    data = path.read_bytes()
    if data[8:16] != b"sfbkLIST" or data[20:24] != b"INFO":
        raise ValueError(f"{path} is not a SoundFont")
    fields: dict[bytes, bytes] = {}
    at, end = 24, 20 + struct.unpack_from("<I", data, 16)[0]
    while at < end:
        size = struct.unpack_from("<I", data, at + 4)[0]
        fields[data[at : at + 4]] = data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
    words = [fields.get(key, b"").rstrip(b"\0").decode("latin-1") for key in (b"INAM", b"ICRD")]
    return f"{path.name} ({' of '.join(words)}), sha256 {hashlib.sha256(data).hexdigest()}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Remake tests/data/demo.mid and demo.flac.")
    parser.add_argument("soundfont", type=Path, help="a General MIDI SoundFont: FluidR3_GM.sf2")
    soundfont = parser.parse_args().soundfont
    if shutil.which("fluidsynth") is None:
        sys.exit("fluidsynth is not installed: install it (Debian: apt install fluidsynth)")
    try:
        description = describe_soundfont(soundfont)
    except (OSError, ValueError) as error:
        sys.exit(f"cannot read the SoundFont: {error}")
    midi, audio = DATA / "demo.mid", DATA / "demo.flac"
    midi.write_bytes(midi_bytes())
    subprocess.run(render_command(soundfont, midi, audio), check=True)
    version = subprocess.run(["fluidsynth", "--version"], capture_output=True, text=True)
    print(f"{version.stdout.splitlines()[0]}\n{description}\nwrote {midi} and {audio}")


if __name__ == "__main__":
    main()
