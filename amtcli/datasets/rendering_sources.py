"""MIDI files and label tables: their names, groups and splits, and which are left out.

Performances that MAESTRO holds, too, take MAESTRO's split, so that nothing which is rendered for
training is tested on elsewhere. They are known by their file's name, or, within (n)ASAP, by its
``metadata.csv``.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path, PurePosixPath

from amtcli.datasets.note_files import NOTE_SUFFIXES, note_label_files, read_note_labels
from amtcli.datasets.pack import SPLITS, Split
from amtcli.datasets.source import DataSet, SourceRecording, files_below
from amtcli.errors import DataError, NoInputError, UsageError
from amtcli.note_tables import has_note_columns, is_table

_SCORE = "midi_score.mid"
_ASAP_TABLE = "metadata.csv"
# (n)ASAP's folders of one piece, played with and without its repeats.
_VARIANT = re.compile(r"_(no_|extra_)?((\d|first)_)?(repeat|trio)$")
_YEAR = re.compile(r"(19|20)\d\d")  # MAESTRO's folders

KIND = "rendered"
"""What a pack of rendered recordings says it was made of."""


def find_midi(
    paths: Sequence[Path],
    excluded: Collection[str] = (),
    maestro_splits: Mapping[str, Split] | None = None,
) -> DataSet:
    """Find the MIDI files that ``paths`` (files and folders) name; they have no audio.

    In a folder, label tables (``.tsv``) are taken, too, where there is no MIDI file of that name.
    (n)ASAP's scores (``midi_score.mid``) and alignments, tables of other columns, are left out.

    A file's name is its path below the folder that was given, or below the folder that all files
    given have in common; its group is the folder of that path, so one folder is one composition.
    A file in no folder, or in one of MAESTRO's, which are years, is a group of its own. All are
    for training, but for what ``maestro_splits`` says.

    Parameters
    ----------
    excluded
        Groups or names to leave out; ``*`` stands for anything.
    maestro_splits
        From `read_maestro_splits`. A group takes the split of those of its recordings that
        MAESTRO holds, the test set before validation before training.

    Raises
    ------
    NoInputError
        There are no MIDI files.
    UsageError
        Two files have one name, or nothing that should be left out is there at all.
    """
    named = _named_files(paths)
    groups = {name: _group(name) for name in named}
    left_out, notices = _left_out(groups, excluded)
    kept = [name for name in sorted(named) if name not in left_out]
    if not kept:
        there = ", ".join(map(str, paths))
        raise NoInputError(f"no MIDI files or tables of notes in {there}")
    splits = _splits({name: named[name] for name in kept}, groups, maestro_splits or {})
    recordings = tuple(
        _recording(name, groups[name], splits[groups[name]], named[name]) for name in kept
    )
    return DataSet(KIND, _folder_of(paths), recordings, notices)


def read_maestro_splits(path: Path) -> dict[str, Split]:
    """Read MAESTRO's table (csv): its MIDI files' names without suffix, and their splits.

    Raises DataError when it is no such table.
    """
    try:
        rows = _read_table(path)
        splits = {PurePosixPath(row["midi_filename"]).stem: row["split"] for row in rows}
    except (OSError, KeyError, TypeError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not MAESTRO's table (maestro-v3.0.0.csv): {error}") from error
    known: dict[str, Split] = {
        name: split for name, value in splits.items() for split in SPLITS if split == value
    }
    if not known or len(known) < len(splits):
        raise DataError(f"{path} is not MAESTRO's table: it has rows without a split")
    return known


def _recording(name: str, group: str, split: Split, path: Path) -> SourceRecording:
    return SourceRecording(
        name=name,
        split=split,
        group=group,
        instrument="",
        audio=None,
        label_files=note_label_files(path),
        read_labels=partial(read_note_labels, path),
    )


def _named_files(paths: Sequence[Path]) -> dict[str, Path]:
    single = [path for path in paths if not path.is_dir()]
    common = _folder_of(single)
    found = [(path.absolute(), common) for path in single]
    for folder in (path.absolute() for path in paths if path.is_dir()):
        files = files_below(folder, NOTE_SUFFIXES)
        files = [path for path in files if not is_table(path) or has_note_columns(path)]
        found += [(path, folder) for path in files if path.name != _SCORE]
    named: dict[str, Path] = {}
    for path, folder in sorted(found, key=lambda file: is_table(file[0])):
        name = path.relative_to(folder).with_suffix("").as_posix()
        beside = named.get(name)
        if beside is not None and is_table(path) and beside.parent == path.parent:
            continue
        if named.setdefault(name, path) != path:
            raise UsageError(f"{named[name]} and {path} would both be called {name}; rename one")
    return named


def _folder_of(paths: Sequence[Path]) -> Path:
    """Return the folder that all of ``paths`` have in common."""
    absolute = (path.absolute() for path in paths)
    folders = [path if path.is_dir() else path.parent for path in absolute]
    return Path(os.path.commonpath(folders or [Path()]))


def _group(name: str) -> str:
    folder = PurePosixPath(name).parent
    if folder == PurePosixPath() or _YEAR.fullmatch(folder.name):
        return name
    return _VARIANT.sub("", folder.as_posix())


def _left_out(
    groups: Mapping[str, str], excluded: Collection[str]
) -> tuple[set[str], tuple[str, ...]]:
    left_out: set[str] = set()
    unmatched = []
    for pattern in excluded:
        matched = {
            name
            for name, group in groups.items()
            if fnmatchcase(group, pattern) or fnmatchcase(name, pattern)
        }
        left_out |= matched
        if not matched:
            unmatched.append(pattern)
    if not excluded:
        return left_out, ()
    if len(unmatched) == len(excluded):
        raise UsageError(
            f"nothing to exclude is among the MIDI files: neither {unmatched[0]} nor another; "
            f"a composition here is called, for example, {min(groups.values(), default='')}"
        )
    notices = [f"{len(left_out)} files of excluded compositions are left out"]
    if unmatched:
        notices.append(f"not among the MIDI files: {', '.join(unmatched)}")
    return left_out, tuple(notices)


def _splits(
    named: Mapping[str, Path], groups: Mapping[str, str], maestro_splits: Mapping[str, Split]
) -> dict[str, Split]:
    maestro_names: dict[Path, dict[Path, str]] = {}
    splits: dict[str, Split] = {}
    for name, path in named.items():
        folder = next((f for f in path.parents if (f / _ASAP_TABLE).is_file()), None)
        if folder is not None and folder not in maestro_names:
            maestro_names[folder] = _maestro_names(folder)
        names = {} if folder is None else maestro_names[folder]
        split = maestro_splits.get(names.get(path, path.stem), "train")
        # SPLITS are in order: what is tested on anywhere is trained on nowhere.
        splits[groups[name]] = max(split, splits.get(groups[name], "train"), key=SPLITS.index)
    return splits


def _maestro_names(folder: Path) -> dict[Path, str]:
    """(n)ASAP's performances in ``folder``, and what they are called in MAESTRO, if they are."""
    try:
        return {
            folder / row["midi_performance"]: PurePosixPath(row["maestro_midi_performance"]).stem
            for row in _read_table(folder / _ASAP_TABLE)
        }
    except (OSError, KeyError, TypeError, UnicodeDecodeError, csv.Error):
        return {}  # a table of something else


def _read_table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))
