"""Recordings with a MIDI file or a label table of the same name: any folder, and Saarland's data.

The Saarland Music Data (Müller et al. 2011; version 2) are such pairs of a Disklavier, audio and
MIDI in one folder or in two. Their names are ``<composer>_<work>_<number>_<player or date>-SMD``.
A file of beats beside the notes is read with them; see `beat_files`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

from amtcli.datasets.note_files import NOTE_SUFFIXES, note_label_files, read_note_labels
from amtcli.datasets.pack import SPLITS, Split
from amtcli.datasets.source import DataSet, SourceRecording, audio_below, files_below
from amtcli.datasets.splits import hold_out
from amtcli.errors import NoInputError

# What folders of a split are called.
_SPLITS: dict[str, Split] = {
    **{split: split for split in SPLITS},
    **dict.fromkeys(("val", "valid", "dev"), "validation"),
}
_SMD_COMPOSITION = re.compile(r"(?P<composition>.+?)_\d{3}_.*-SMD")


def find_pairs(folder: Path, split: Split, validation_share: float) -> DataSet:
    """Find audio and labels with one name, also in different folders where it is unambiguous.

    Recordings below a folder called train, validation (val, dev) or test belong to that split,
    others to ``split``; if those train, ``validation_share`` of their pieces are held out. Files
    of one name are of one piece; but where there are fewer names than folders, as in
    ``sonata/take.wav``, a folder is a piece.

    Raises NoInputError when nothing makes a pair.
    """
    return _with_validation(_pairs("pairs", folder, split), validation_share)


def find_smd(folder: Path, split: Split, validation_share: float) -> DataSet:
    """Find the pairs of Saarland Music Data; a group is a composition.

    Raises NoInputError when nothing makes a pair.
    """
    return _with_validation(_pairs("smd", folder, split), validation_share)


def _with_validation(data_set: DataSet, share: float) -> DataSet:
    """Hold out a share of what no folder says the split of."""
    held_out = hold_out(data_set.recordings, share)
    recordings = tuple(
        recording if _named_split(recording.name) else held
        for recording, held in zip(data_set.recordings, held_out, strict=True)
    )
    notices = data_set.notices
    if share and {recording.split for recording in recordings} == {"train"}:
        n_groups = len({recording.group for recording in recordings})
        notices += (f"nothing is held out: no place of {n_groups} pieces lies below the share",)
    return replace(data_set, recordings=recordings, notices=notices)


def _named_split(name: str) -> Split | None:
    """Return the split that a folder on the way to a recording is called by."""
    folders = name.split("/")[:-1]
    return next((_SPLITS[each] for each in map(str.casefold, folders) if each in _SPLITS), None)


def _pairs(kind: str, folder: Path, split: Split) -> DataSet:
    audio = _by_name(folder, audio_below(folder))
    notes = _by_name(folder, files_below(folder, NOTE_SUFFIXES))
    partners = {name: notes[name] for name in audio if name in notes}
    left = _by_stem(name for name in notes if name not in partners)
    for stem, names in _by_stem(name for name in audio if name not in partners).items():
        if len(names) == 1 and len(left.get(stem, ())) == 1:
            partners[names[0]] = notes[left[stem][0]]
    if not partners:
        raise NoInputError(f"{folder} holds no recording with a .mid, .midi or .tsv of its name")
    pieces = _pieces(partners)
    recordings = tuple(
        _recording(kind, name, pieces[name], audio[name], partners[name], split)
        for name in sorted(partners)
    )
    alone = sorted(set(audio) - set(partners))
    notices: tuple[str, ...] = ()
    if alone:
        notices = (f"{len(alone)} recordings without labels are left out, such as {alone[0]}",)
    return DataSet(kind, folder, recordings, notices)


def _pieces(names: Iterable[str]) -> dict[str, str]:
    """Tell what each recording is a recording of: its name, or its folder's."""
    stems = _by_stem(names)
    folders = {name.rpartition("/")[0] for of_stem in stems.values() for name in of_stem}
    if len(folders) > len(stems):
        return {name: name.rpartition("/")[0] for each in stems.values() for name in each}
    return {name: stem for stem, each in stems.items() for name in each}


def _recording(
    kind: str, name: str, piece: str, audio: list[Path], notes: list[Path], split: Split
) -> SourceRecording:
    several = [paths for paths in (audio, notes) if len(paths) > 1]
    stem = name.rsplit("/", 1)[-1]
    smd = _SMD_COMPOSITION.fullmatch(stem) if kind == "smd" else None
    return SourceRecording(
        name=name,
        split=_named_split(name) or split,
        group=smd["composition"] if smd else piece,
        instrument="",
        audio=audio[0],
        label_files=note_label_files(notes[0]),
        read_labels=partial(read_note_labels, notes[0]),
        problem=f"there are {several[0][0].name} and {several[0][1].name}" if several else None,
    )


def _by_name(folder: Path, paths: Iterable[Path]) -> dict[str, list[Path]]:
    names: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        names[path.relative_to(folder).with_suffix("").as_posix()].append(path)
    return names


def _by_stem(names: Iterable[str]) -> dict[str, list[str]]:
    stems: dict[str, list[str]] = defaultdict(list)
    for name in names:
        stems[name.rsplit("/", 1)[-1]].append(name)
    return stems
