"""The report of ``amt refine-velocity``: CSV with a row per note, or JSON with an object per score.

An entry is a row or an object, with the name of its score in ``score``. A run that leaves out what
is there already keeps the entries of that.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from amtcli.alignment import Alignment
from amtcli.errors import UsageError
from amtcli.files import encoded, write_atomically
from amtcli.refinement.refining import Refined, RefinedNote

_COLUMNS = list(RefinedNote.__dataclass_fields__)
Entry = Mapping[str, Any]


def report_entries(path: Path, refined: Refined) -> list[Entry]:
    """Return what a report has to say of a refined score, in the form that its name asks for."""
    if _is_table(path):
        return [asdict(note) for note in refined.notes]
    return [_document(refined)]


def kept_entries(path: Path, names: Collection[str]) -> list[Entry]:
    """Return the entries of the scores ``names`` from the report of a former run, if there is one.

    Raises UsageError when the file is something else: it would be lost.
    """
    if not path.exists() or not path.stat().st_size:
        return []
    written = {encoded(name).decode() for name in names} | set(names)  # JSON keeps what is no text
    try:
        text = path.read_text(encoding="utf-8")
        entries = _read_table(text) if _is_table(path) else json.loads(text)
        return [entry for entry in entries if entry["score"] in written]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UsageError(f"--report {path} holds something else: name another file") from error


def write_report(path: Path, entries: Sequence[Entry]) -> None:
    """Write a report, whole or not at all."""
    text = _table(entries) if _is_table(path) else json.dumps(entries, indent=1) + "\n"
    write_atomically(path, encoded(text))


def _is_table(path: Path) -> bool:
    return path.suffix.lower() == ".csv"


def _table(rows: Iterable[Entry]) -> str:
    table = io.StringIO()
    writer = csv.DictWriter(table, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return table.getvalue()


def _read_table(text: str) -> list[Entry]:
    rows = csv.DictReader(io.StringIO(text))
    if rows.fieldnames != _COLUMNS:
        raise ValueError("other columns")
    return list(rows)


def _document(refined: Refined) -> Entry:
    placement = refined.placement
    shift = asdict(placement) if isinstance(placement, Alignment) else None
    notes = [asdict(note) for note in refined.notes]
    for note in notes:
        del note["score"]
    return {"score": refined.name, "warped": shift is None, "alignment": shift, "notes": notes}
