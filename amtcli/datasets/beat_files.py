"""Beats from a file beside the notes: (n)ASAP's annotations, and the common ``.beats``.

(n)ASAP (Foscarin et al., ISMIR 2020; Peter et al., TISMIR 2023) has ``<stem>_annotations.txt``:
a time in seconds, the same once more, and ``db`` (downbeat), ``b`` or ``bR``, separated by tabs.
After commas may follow the time signature and the key that begin there, which are left aside.
``bR`` is a beat whose place is not certain, within a cadenza or a long note. It is taken as any
beat: the metre goes on through such places, and to say that there is no beat would be further
from the truth than a beat in a doubtful place. Of 390 000 beats 1200 are such.

``<stem>.beats`` has a time in seconds and the number of the beat in its bar, 1 being the downbeat.

Neither says of dynamics.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from amtcli.errors import DataError
from amtcli.files import exists
from amtcli.notes import Beat

_ANNOTATIONS = "_annotations.txt"
_KINDS = ("b", "bR", "db")
_MOST_FACTS = 2  # time signature and key


def beat_files_beside(notes: Path) -> tuple[Path, ...]:
    """Return the files of beats that lie beside a file of notes: none, one, or one too many."""
    names = (f"{notes.stem}{_ANNOTATIONS}", f"{notes.stem}.beats")
    return tuple(path for name in names if exists(path := notes.with_name(name)))


def read_beats_beside(notes: Path) -> tuple[Beat, ...]:
    """Read the beats of a file of notes; none where no file beside it has them.

    Raises DataError where there are two such files, or one that `read_beats` refuses.
    """
    files = beat_files_beside(notes)
    if len(files) > 1:
        raise DataError(f"{files[0]} and {files[1].name} are both beats of it; keep one of them")
    return read_beats(files[0]) if files else ()


def read_beats(path: Path) -> tuple[Beat, ...]:
    """Read a file of beats, which come one after the other in time.

    Raises DataError that names the line which is not what it should be, or where there is none.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as beats: {error}") from error
    read = _annotated_beat if path.name.endswith(_ANNOTATIONS) else _numbered_beat
    rows = [
        (f"{path}, line {number}", line)
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    if not rows:
        raise DataError(f"{path} holds no beats")
    return _in_order((where, read(where, line)) for where, line in rows)


def _in_order(beats: Iterable[tuple[str, Beat]]) -> tuple[Beat, ...]:
    found: list[Beat] = []
    for where, beat in beats:
        if not 0 <= beat.onset_s < math.inf:
            raise DataError(f"{where}: there can be no beat at {beat.onset_s:g} s")
        if found and beat.onset_s <= found[-1].onset_s:
            raise DataError(
                f"{where}: the beat at {beat.onset_s} s does not come after the last, at "
                f"{found[-1].onset_s} s"
            )
        found.append(beat)
    return tuple(found)


def _annotated_beat(where: str, line: str) -> Beat:
    try:
        onset_s, again_s, label = line.rstrip().split("\t")
        kind, *facts = label.split(",")
        beat = Beat(float(onset_s), kind == "db")
        is_sound = float(again_s) == beat.onset_s and kind in _KINDS and len(facts) <= _MOST_FACTS
    except ValueError:
        is_sound = False
    if not is_sound:
        raise DataError(
            f"{where}: expected a time, the same time and b, db or bR, separated by tabs, not "
            f"{line.strip()!r}"
        )
    return beat


def _numbered_beat(where: str, line: str) -> Beat:
    try:
        onset_s, place = (float(cell) for cell in line.split())
    except ValueError:
        raise DataError(
            f"{where}: expected a time and the number of the beat in its bar, not {line.strip()!r}"
        ) from None
    if not (place.is_integer() and place >= 1):
        raise DataError(f"{where}: {place:g} is no number of a beat in a bar; the first is 1")
    return Beat(onset_s, place == 1)
