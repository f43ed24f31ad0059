"""MAPS (Emiya, Badeau and David 2010): six software pianos and a Disklavier.

The protocol of Hawthorne et al., "Onsets and Frames" (ISMIR 2018): what was recorded on the
Disklavier (``ENSTDk...``) is the test set, the rest is for training, without the compositions
that occur in the test set where a list of them is given. Two layouts are read: the original
folders (``<piano>/MUS/MAPS_MUS-<composition>_<piano>.wav`` with ``.mid`` and ``.txt``), and flat
ones with ``<composition>_<piano>`` as audio and ``.tsv``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from amtcli.datasets.labels import Labels
from amtcli.datasets.note_files import note_label_files, read_note_labels
from amtcli.datasets.pack import Split
from amtcli.datasets.source import DataSet, SourceRecording, audio_below
from amtcli.errors import DataError, NoInputError, UsageError

PARTS = ("MUS", "ISOL", "RAND", "UCHO")
"""Pieces of music, isolated notes, random chords, usual chords."""

_TEST_PIANOS = "ENSTDk"
_ORIGINAL = re.compile(r"MAPS_(?P<part>[A-Z]+)-?(?P<composition>.*)_(?P<piano>[^_]+)")
_PLAIN = re.compile(r"(?P<composition>.+)_(?P<piano>[^_]+)")
# Wide enough for any rounding between the two files, and far too narrow for another piece's.
_SAME_ONSET_S = 0.05
_MOST_STRAY_NOTES = 0.1


@dataclass(frozen=True)
class MapsOptions:
    """Which parts of MAPS, which compositions never to train on, which piano to validate on."""

    parts: tuple[str, ...] = ("MUS",)
    excluded_compositions: frozenset[str] = frozenset()
    validation_instrument: str | None = None


def find_maps(folder: Path, options: MapsOptions) -> DataSet:
    """Find the recordings of MAPS.

    Raises NoInputError when there are none, UsageError when no recording for training has the
    piano that is to validate, or there is no such part.
    """
    unknown = sorted(set(options.parts) - set(PARTS))
    if unknown:
        raise UsageError(f"MAPS has no part {unknown[0]}; choose from {', '.join(PARTS)}")
    found = [_recording(path, options) for path in audio_below(folder)]
    recordings = [recording for recording in found if recording is not None]
    if not recordings:
        raise NoInputError(
            f"{folder} holds no recordings of MAPS ({', '.join(options.parts)}); their names end "
            "in _<piano>"
        )
    kept = [
        recording
        for recording in recordings
        if recording.split == "test" or recording.group not in options.excluded_compositions
    ]
    wanted = options.validation_instrument
    pianos = sorted({recording.instrument for recording in kept if recording.split != "test"})
    if wanted is not None and wanted not in pianos:
        raise UsageError(f"no recording to train on is of {wanted}; there are {', '.join(pianos)}")
    n_excluded = len(recordings) - len(kept)
    notices: tuple[str, ...] = ()
    if options.excluded_compositions:
        notices = (f"{n_excluded} recordings of excluded compositions are left out",)
    return DataSet("maps", folder, tuple(kept), notices)


def read_compositions(path: Path) -> frozenset[str]:
    """Read one composition per line. Raises UsageError when there are none."""
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    names = frozenset(line.strip() for line in lines if line.strip())
    if not names:
        raise UsageError(f"{path} names no compositions; put one on each line")
    return names


def _recording(audio: Path, options: MapsOptions) -> SourceRecording | None:
    name = audio.stem
    parts = _ORIGINAL.fullmatch(name) or _PLAIN.fullmatch(name)
    if parts is None or parts.groupdict().get("part", "MUS") not in options.parts:
        return None
    piano = parts["piano"]
    split: Split = "train"
    if piano.startswith(_TEST_PIANOS):
        split = "test"
    elif piano == options.validation_instrument:
        split = "validation"
    labels = [audio.with_suffix(suffix) for suffix in (".tsv", ".mid", ".txt")]
    present = tuple(path for path in labels if path.is_file())
    usable = [path for path in present if path.suffix != ".txt"]
    beats = note_label_files(usable[0])[1:] if usable else ()
    return SourceRecording(
        name=name,
        split=split,
        group=parts["composition"],
        instrument=piano,
        audio=audio,
        label_files=present + beats,
        read_labels=partial(_read_labels, usable[0], present) if usable else Labels,
        problem=None if usable else f"there is no {name}.mid or {name}.tsv beside it",
    )


def _read_labels(notes: Path, present: Sequence[Path]) -> Labels:
    labels = read_note_labels(notes)
    for path in present:
        if path.suffix == ".txt":
            _check_against_text(labels, path)
    return labels


def _check_against_text(labels: Labels, path: Path) -> None:
    """Raise DataError unless the notes of MAPS' own table are those of the MIDI file."""
    if labels.notes is None:
        return
    try:
        table = np.loadtxt(path, skiprows=1, ndmin=2, usecols=(0, 1, 2))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a table of MAPS: {error}") from error
    notes = labels.notes
    n_stray = abs(len(table) - len(notes))
    for pitch in np.unique(table[:, 2]):
        wanted_s = table[table[:, 2] == pitch, 0]
        held_s = np.append(notes.onset_s[notes.pitch == pitch], np.inf)
        distances_s = np.abs(wanted_s[:, None] - held_s[None, :]).min(axis=1)
        n_stray += int(np.count_nonzero(distances_s > _SAME_ONSET_S))
    if n_stray > max(1, _MOST_STRAY_NOTES * len(table)):
        raise DataError(f"{path.name} and the MIDI file beside it disagree on {n_stray} notes")
