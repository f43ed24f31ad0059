"""MAESTRO (Hawthorne et al. 2019), versions 1 to 3, with its own splits.

``maestro-v<version>.csv`` or ``.json`` lists the performances. The JSON file is an array of
objects in versions 1 and 2, and an object of columns, each by row number, in version 3. Audio may
have been converted: where the file of the list is missing, one of another format with the same
stem is taken.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from amtcli.audio import AUDIO_SUFFIXES
from amtcli.datasets.note_files import note_label_files, read_note_labels
from amtcli.datasets.pack import SPLITS
from amtcli.datasets.source import DataSet, SourceRecording
from amtcli.errors import DataError, NoInputError, UsageError

_COLUMNS = (
    "canonical_composer",
    "canonical_title",
    "split",
    "midi_filename",
    "audio_filename",
    "duration",
)


def find_maestro(folder: Path) -> DataSet:
    """Find the recordings that the list in ``folder`` names.

    Raises
    ------
    NoInputError
        There is no list.
    UsageError
        There are lists of several versions.
    DataError
        The list is damaged.
    """
    path = _list_file(folder)
    recordings = tuple(_recording(row, folder, path) for row in _rows(path))
    if not recordings:
        raise DataError(f"{path} lists no performances; download it again")
    return DataSet("maestro", folder, recordings)


def _list_file(folder: Path) -> Path:
    found = sorted((*folder.glob("maestro*.csv"), *folder.glob("maestro*.json")))
    if not found:
        raise NoInputError(f"{folder} holds no maestro-v*.csv or .json; is it MAESTRO's folder?")
    versions = sorted({path.stem for path in found})
    if len(versions) > 1:
        raise UsageError(f"{folder} holds {' and '.join(versions)}; keep one of them there")
    return found[0]  # the csv file, where there are both


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix == ".csv":
                yield from csv.DictReader(file)
                return
            document = json.load(file)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}; download it again") from error
    if isinstance(document, list):
        yield from document
        return
    try:
        for number in document["audio_filename"]:
            yield {column: document[column][number] for column in _COLUMNS}
    except (KeyError, TypeError) as error:
        raise DataError(f"{path} is no list of MAESTRO: there is no {error}") from error


def _recording(row: Mapping[str, Any], folder: Path, list_file: Path) -> SourceRecording:
    try:
        composer, title, split, midi, audio, duration = (row[column] for column in _COLUMNS)
        duration_s = float(duration)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{list_file} is no list of MAESTRO: {error} in {row}") from error
    if split not in SPLITS:
        raise DataError(f"{list_file}: {audio} is in no known split, but in {split!r}")
    midi_path, audio_path = folder / midi, _any_format(folder / audio)
    missing = [path for path in (midi_path, audio_path) if not path.is_file()]
    return SourceRecording(
        name=Path(audio).with_suffix("").as_posix(),
        split=split,
        group=f"{composer}: {title}",
        instrument="",
        audio=audio_path,
        label_files=note_label_files(midi_path),
        read_labels=partial(read_note_labels, midi_path),
        duration_s=duration_s,
        problem=f"{missing[0].relative_to(folder)} is missing" if missing else None,
    )


def _any_format(audio: Path) -> Path:
    if audio.is_file():
        return audio
    others = (audio.with_suffix(suffix) for suffix in sorted(AUDIO_SUFFIXES))
    return next((other for other in others if other.is_file()), audio)
