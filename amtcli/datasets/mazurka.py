"""MazurkaBL (Kosta, Bandtlow and Chew 2018): beats and dynamic markings of Chopin's mazurkas.

The data set has no audio; a recording is found by its number in the discography
(``pid9058-01.wav``, with or without ``pid``) in any folder. Where the files are known to err:
mazurka 41-1 has a column ``pid9070b-01`` that is recording ``9070b-09``; 6-4 and 63-2 have
markings that are no dynamics and are left out. The first beat of a bar, number 0 in the files,
is the downbeat.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from amtcli.datasets.labels import BeatLabels, Labels
from amtcli.datasets.pack import Split
from amtcli.datasets.source import DataSet, SourceRecording, audio_below
from amtcli.datasets.splits import N_FOLDS, assign_folds
from amtcli.errors import DataError, NoInputError
from amtcli.notes import DYNAMICS

EXCLUDED = frozenset({"M06-4", "M63-2"})

_RENAMED = {("M41-1", "pid9070b-01"): "pid9070b-09"}
_BEFORE_ANY_MARKING = DYNAMICS.index("mf")
_BEAT_FILE = re.compile(r"(?P<mazurka>M\d+-\d+)beat_time")


def find_mazurka(folder: Path, audio_folder: Path, fold: int) -> DataSet:
    """Find the recordings of MazurkaBL whose audio lies below ``audio_folder``.

    Mazurkas are divided among five folds by the files in ``folder`` alone, whatever audio there
    is: ``fold`` (0-4) tests, the next one validates, the others train.

    Raises NoInputError when there are no such files, or no audio for them; DataError when one
    is damaged.
    """
    tables = {
        match["mazurka"]: path
        for path in sorted(folder.glob("beat_time/M*beat_time.csv"))
        if (match := _BEAT_FILE.fullmatch(path.stem)) and match["mazurka"] not in EXCLUDED
    }
    if not tables:
        raise NoInputError(f"{folder} holds no beat_time/M*beat_time.csv; is it MazurkaBL?")
    columns = {mazurka: _recording_columns(mazurka, path) for mazurka, path in tables.items()}
    folds = assign_folds({mazurka: len(names) for mazurka, names in columns.items()})
    audio = _audio_by_number(audio_folder)
    recordings = [
        _recording(mazurka, number, found, (path, column), _split(folds[mazurka], fold))
        for mazurka, path in tables.items()
        for column, number in columns[mazurka].items()
        if (found := [file for file in audio.get(number, ()) if _may_be(file, mazurka)])
    ]
    if not recordings:
        raise NoInputError(f"{audio_folder} holds no audio called pid<number> as in {folder}")
    n_silent = sum(map(len, columns.values())) - len(recordings)
    notices = (f"{n_silent} recordings without audio are left out",) if n_silent else ()
    return DataSet("mazurka", folder, tuple(recordings), notices)


def _recording(
    mazurka: str, number: str, audio: list[Path], beats: tuple[Path, str], split: Split
) -> SourceRecording:
    """Describe a recording; ``beats`` is the table with its column."""
    beat_file, column = beats
    marking_file = beat_file.parent.parent / "markings_dyn" / f"{mazurka}markings.csv"
    return SourceRecording(
        name=f"{mazurka}/{number}",
        split=split,
        group=mazurka,
        instrument="",
        audio=audio[0],
        label_files=(beat_file, marking_file),
        read_labels=partial(_read_labels, beat_file, marking_file, column),
        problem=f"there are {audio[0]} and {audio[1]}" if len(audio) > 1 else None,
    )


def _split(own_fold: int, test_fold: int) -> Split:
    if own_fold == test_fold:
        return "test"
    return "validation" if own_fold == (test_fold + 1) % N_FOLDS else "train"


def _audio_by_number(folder: Path) -> dict[str, list[Path]]:
    audio = defaultdict(list)
    for path in audio_below(folder):
        audio[path.stem.lower().removeprefix("pid")].append(path)
    return audio


def _may_be(audio: Path, mazurka: str) -> bool:
    """Whether the folder of a recording, such as mazurka06-1, does not name another mazurka."""
    named = re.fullmatch(r"mazurka(\d+-\d+)", audio.parent.name)
    return named is None or f"M{named[1]}" == mazurka


def _recording_columns(mazurka: str, path: Path) -> dict[str, str]:
    """Return the columns that are recordings, and the number of each in the discography."""
    header = _read_csv(path)[0]
    names = {
        column: _RENAMED.get((mazurka, column), column)
        for column in header
        if column.startswith("pid")
    }
    return {column: name.lower().removeprefix("pid") for column, name in names.items()}


def _read_labels(beat_file: Path, marking_file: Path, column: str) -> Labels:
    header, *rows = _read_csv(beat_file)
    try:
        place, number = header.index(column), header.index("beat_number")
        times_s = np.array([_number(row[place]) for row in rows])
        beats = np.array([int(float(row[number])) for row in rows])
    except (ValueError, IndexError) as error:
        raise DataError(f"{beat_file} is no table of beats: {error}") from error
    dynamics = _read_dynamics(marking_file, len(rows))
    known = np.isfinite(times_s)
    if np.any(np.diff(times_s[known]) <= 0):
        beat = int(np.argmax(np.diff(times_s[known]) <= 0)) + 2
        raise DataError(f"{beat_file.name}, {column}: beat {beat} does not come after the last")
    return Labels(beats=BeatLabels(times_s[known], beats[known] == 0, dynamics[known]))


def _read_dynamics(path: Path, n_beats: int) -> NDArray[np.int8]:
    """Return the marking that holds at each beat; before the first one it is mf."""
    rows = _read_csv(path)
    dynamics = np.full(n_beats, _BEFORE_ANY_MARKING, np.int8)
    try:
        marked = sorted(
            (int(float(beat)), DYNAMICS.index(name.strip()))
            for beat, name in zip(rows[1], rows[2], strict=True)
            if beat.strip()
        )
    except (ValueError, IndexError) as error:
        raise DataError(f"{path} is no table of markings: {error}") from error
    for beat, marking in marked:
        dynamics[max(beat - 1, 0) :] = marking
    return dynamics


def _number(cell: str) -> float:
    return float(cell) if cell.strip() else float("nan")


def _read_csv(path: Path) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if not rows:
        raise DataError(f"{path} is empty")
    return rows
