"""Data sets of a few seconds in the shapes of the real ones, for tests of packing and training."""

import csv
import json
from pathlib import Path

import numpy as np
import soundfile as sf

from amtcli.midi import performance_to_midi_bytes
from amtcli.notes import Note, PedalSpan, Performance

RATE_HZ = 16_000
TITLES = ("Étude, Op. 1", "Prelude No. 2", 'Sonata "Third"', "Waltz")
MAPS_PIECES = ("alb_esp2", "bk_xmas1", "chpn-p7")
MAZURKA_BEATS = 12


def melody(seed=0, n_notes=6, step_s=0.25):
    """Notes ``step_s`` apart on random keys from 0.1 s on, and one press of the pedal."""
    rng = np.random.default_rng(seed)
    notes = tuple(
        Note(
            0.1 + step_s * k, 0.1 + step_s * (k + 0.8), int(rng.integers(40, 90)), 30 + 5 * (k % 18)
        )
        for k in range(n_notes)
    )
    return Performance(notes, (PedalSpan(0.2, 0.5, 64, 100),))


def irregular(seed, n_notes=60):
    """A performance whose rhythm repeats nowhere."""
    rng = np.random.default_rng(seed)
    onsets_s = 0.5 + np.cumsum(rng.uniform(0.08, 0.5, n_notes))
    return Performance(
        tuple(
            Note(float(onset), float(onset) + 0.2, int(rng.integers(40, 90)), 70)
            for onset in onsets_s
        )
    )


def sound(performance, rate_hz=RATE_HZ, tail_s=0.3):
    """Decaying sines where the notes are, float64 within full scale."""
    end_s = max(note.offset_s for note in performance.notes) + tail_s
    time_s = np.arange(round(end_s * rate_hz)) / rate_hz
    samples = np.zeros(len(time_s))
    for note in performance.notes:
        first = round(note.onset_s * rate_hz)
        since_s = time_s[first : first + rate_hz] - note.onset_s  # the rest is below -50 dB
        frequency_hz = 440 * 2 ** ((note.pitch - 69) / 12)
        tone = np.sin(2 * np.pi * frequency_hz * since_s) * np.exp(-6 * since_s)
        samples[first : first + rate_hz] += 0.1 * note.velocity / 127 * tone
    return samples


def write_audio(path, samples, rate_hz=RATE_HZ):
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, samples, rate_hz)
    return path


def write_midi(path, performance):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(performance_to_midi_bytes(performance))
    return path


def write_tsv(path, performance):
    rows = [
        f"{note.onset_s:.6f}\t{note.offset_s:.6f}\t{note.pitch:.6f}\t{note.velocity:.6f}"
        for note in performance.notes
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["# onset,offset,note,velocity", *rows]) + "\n")
    return path


def make_maestro(folder, version="3.0.0", style="csv", n_notes=6):
    """Four performances: two to train on, one to validate, one to test; returns their rows.

    ``style`` is "csv", "rows" or "columns", the last two being shapes of the JSON file.
    """
    rows = []
    for number, split in enumerate(("train", "train", "validation", "test")):
        performance = melody(number, n_notes)
        stem = f"{2004 + 2 * (number % 2)}/MIDI-{number}_wav--1"
        samples = sound(performance)
        write_audio(folder / f"{stem}.wav", np.stack([samples, samples], axis=1))
        write_midi(folder / f"{stem}.midi", performance)
        rows.append(
            {
                "canonical_composer": "Frédéric Chopin",
                "canonical_title": TITLES[number],
                "split": split,
                "year": 2004 + 2 * (number % 2),
                "midi_filename": f"{stem}.midi",
                "audio_filename": f"{stem}.wav",
                "duration": len(samples) / RATE_HZ,
            }
        )
    path = folder / f"maestro-v{version}.{'csv' if style == 'csv' else 'json'}"
    with path.open("w", encoding="utf-8", newline="") as file:
        if style == "csv":
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        elif style == "rows":
            json.dump(rows, file)
        else:
            columns = {key: {str(i): row[key] for i, row in enumerate(rows)} for key in rows[0]}
            json.dump(columns, file)
    return rows


def make_maps(folder, pianos=("AkPnBcht", "SptkBGCl", "ENSTDkAm"), part="MUS", n_notes=6):
    """MAPS as its authors give it: every piece on every piano."""
    for piano in pianos:
        for seed, piece in enumerate(MAPS_PIECES):
            stem = folder / piano / part / f"MAPS_{part}-{piece}_{piano}"
            performance = melody(seed, n_notes)
            write_audio(stem.with_suffix(".wav"), sound(performance))
            write_midi(stem.with_suffix(".mid"), performance)
            rows = [f"{note.onset_s}\t{note.offset_s}\t{note.pitch}" for note in performance.notes]
            table = "\n".join(["OnsetTime\tOffsetTime\tMidiPitch", *rows])
            stem.with_suffix(".txt").write_text(table + "\n")
    return folder


def make_flat_maps(folder, n_notes=6):
    """MAPS as it is widely passed on: folders train and test, flac and tsv."""
    for split, pianos in (("train", ("AkPnBcht", "SptkBGCl")), ("test", ("ENSTDkAm",))):
        for piano in pianos:
            for seed, piece in enumerate(MAPS_PIECES):
                performance = melody(seed, n_notes)
                stem = f"{piece}_{piano}"
                write_audio(folder / split / f"{stem}.flac", sound(performance))
                write_tsv(folder / split / f"{stem}.tsv", performance)
    return folder


def make_smd(folder, n_notes=6):
    """Saarland Music Data, version 2: audio and MIDI in folders of their own."""
    for number, piece in enumerate(("Bach_BWV849-01", "Bach_BWV849-02", "Chopin_Op010-03")):
        name = f"{piece}_00{number + 1}_20090916-SMD"
        performance = melody(number, n_notes)
        write_audio(folder / "wav_44100_stereo" / f"{name}.wav", sound(performance, 44_100), 44_100)
        write_midi(folder / "midi" / f"{name}.mid", performance)
    return folder


def make_pairs(folder, n=3, n_notes=6):
    """Audio and labels by stem, MIDI and tables by turns."""
    for number in range(n):
        performance = melody(number, n_notes)
        write_audio(folder / f"take{number}.wav", sound(performance))
        write = write_tsv if number % 2 else write_midi
        write(folder / f"take{number}{'.tsv' if number % 2 else '.mid'}", performance)
    return folder


def make_mazurka(folder):
    """MazurkaBL: seven mazurkas with 2 to 4 recordings, and the two that are left out.

    Each has twelve beats, half a second apart, in bars of three. Dynamics: p from beat 4 on, ff
    from beat 9 on. The second recording of each lacks its first beat.
    """
    sizes = {f"M{opus:02d}-{number}": 2 + (opus + number) % 3 for opus, number in _MAZURKAS}
    for mazurka, size in sizes.items():
        numbers = [f"pid9{mazurka[1:3]}{mazurka[-1]}-0{take}" for take in range(1, size + 1)]
        if mazurka == "M41-1":
            numbers[-1] = "pid9070b-01"  # the column that is recording 9070b-09
        _write_beats(folder / "beat_time" / f"{mazurka}beat_time.csv", numbers)
        _write_csv(
            folder / "markings_dyn" / f"{mazurka}markings.csv",
            [["p", "con forza"], ["4", "9"], ["p", "ff"]],
        )
        for number in numbers:
            named = "pid9070b-09" if number == "pid9070b-01" else number
            place = Path("mazurka_audio", f"mazurka{mazurka[1:]}", f"{named}.wav")
            write_audio(folder / place, sound(melody(1, n_notes=25), 8000), 8000)
    return sizes


_MAZURKAS = ((6, 1), (6, 4), (7, 2), (17, 1), (24, 2), (30, 3), (33, 4), (41, 1), (63, 2))


def _write_beats(path, columns):
    header = ["", "measure_number", "beat_number", *columns]
    rows = [
        [
            beat,
            beat // 3 + 1,
            beat % 3,
            *("" if take == 1 and beat == 0 else 0.3 + 0.5 * beat for take in range(len(columns))),
        ]
        for beat in range(MAZURKA_BEATS)
    ]
    _write_csv(path, [header, *rows])


def _write_csv(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
