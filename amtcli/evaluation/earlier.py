"""Results of earlier runs: a file that is one may be replaced by the next."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

from amtcli.evaluation.compare import Comparison
from amtcli.evaluation.mistakes import COLUMNS
from amtcli.evaluation.results import FIRST_COLUMNS, SECTIONS

_DOCUMENTS = (frozenset(SECTIONS), frozenset(field.name for field in fields(Comparison)))


def is_document(path: Path) -> bool:
    """Whether ``path`` holds a result or a comparison of results."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and any(keys <= document.keys() for keys in _DOCUMENTS)


def is_table(path: Path) -> bool:
    """Whether ``path`` holds a table of pieces."""
    return _begins(path, ",".join(FIRST_COLUMNS))


def is_list_of_mistakes(path: Path) -> bool:
    """Whether ``path`` holds a table of mistakes."""
    return _begins(path, ",".join(COLUMNS))


def _begins(path: Path, text: str) -> bool:
    with suppress(OSError), path.open("rb") as file:
        return file.read(len(text)) == text.encode()
    return False
