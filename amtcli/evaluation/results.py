"""A result as a document: what was scored, how, with what, and every figure.

``{settings, versions, aggregate, per_file, unmatched}``. In ``aggregate`` each score has its
mean, std, low, high, n and pooled value; in ``per_file`` each piece has its scores beside its
name. A score that has no meaning for a piece is ``null``.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import math
import platform
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from amtcli import __version__
from amtcli.errors import AmtError, UsageError
from amtcli.evaluation.aggregation import aggregate
from amtcli.evaluation.beats import LEFT_OUT_S
from amtcli.evaluation.conventions import Conventions
from amtcli.evaluation.measures import HIGHER_IS_BETTER
from amtcli.evaluation.pairing import Pairing
from amtcli.evaluation.piece import PEDALS, score_piece
from amtcli.evaluation.run import PieceResult
from amtcli.notes import DYNAMICS, Beat, Note, PedalSpan, Performance

Document = dict[str, Any]

LIBRARIES = ("mir_eval", "numpy", "scipy")
SECTIONS = ("settings", "versions", "aggregate", "per_file")
FIRST_COLUMNS = ("name", "reference", "estimate", "status", "problem")
# The frame or tolerance that ends a score's name, as in onset_f1_100ms_centred.
_ENDING = re.compile(r"(_[0-9.]+ms)?(_centred)?$")


def make_document(
    results: Iterable[PieceResult],
    conventions: Conventions,
    settings: dict[str, Any],
    pairing: Pairing,
) -> Document:
    """Average what was scored and put everything in one document, pieces in order of name.

    ``settings`` are those beside the conventions: the data set's name, the model, what a
    missing estimate counts. ``pairing`` tells which files had no partner.
    """
    ordered = sorted(results, key=lambda result: result.name)
    counted = [result.piece for result in ordered if result.piece]
    if not counted:
        raise AmtError("no piece could be scored: see what is said of each")
    aggregates = {name: asdict(value) for name, value in aggregate(counted).items()}
    return {
        "settings": {**settings, **asdict(conventions), "n_pieces": len(counted)},
        "versions": _versions(),
        "aggregate": aggregates,
        "per_file": [_per_file(result, list(aggregates)) for result in ordered],
        "unmatched": {
            "references": [str(pair.reference) for pair in pairing.missing],
            "estimates": [str(path) for path in pairing.unused_estimates],
        },
    }


def _versions() -> dict[str, str]:
    own = {"amt": __version__, "python": platform.python_version()}
    return own | {name: version(name) for name in LIBRARIES}


def _per_file(result: PieceResult, score_names: Iterable[str]) -> Document:
    scores = result.piece.scores if result.piece else {}
    return {
        **{column: getattr(result, column) for column in FIRST_COLUMNS},
        "notices": list(result.notices),
        **result.odd_notes,
        **{name: scores.get(name) for name in score_names},
    }


def to_json(document: Document) -> str:
    """Write the document; NaN cannot occur, and is refused rather than written."""
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read_document(path: Path) -> Document:
    """Read what ``to_json`` wrote.

    Raises
    ------
    AmtError
        The file cannot be read or is not such a result.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise AmtError(f"{path} cannot be read as a result: {error}") from error
    if not isinstance(document, dict) or any(name not in document for name in SECTIONS):
        raise AmtError(f"{path} is not a result of amt evaluate --json")
    if not all(isinstance(row, dict) and "name" in row for row in document["per_file"]):
        raise AmtError(f"{path} has pieces without a name: it is no result of amt evaluate --json")
    return document


def to_table(document: Document, delimiter: str) -> str:
    """One row per piece, a column per field; empty where a score has no meaning."""
    text = io.StringIO()
    columns = [name for name in _columns(document) if name != "notices"]
    writer = csv.DictWriter(
        text, columns, extrasaction="ignore", delimiter=delimiter, lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(document["per_file"])
    return text.getvalue()


def _columns(document: Document) -> list[str]:
    return list(dict.fromkeys(name for row in document["per_file"] for name in row))


def is_higher_better(name: str) -> bool:
    """Whether more of the score ``name`` is better; of errors and deviations less is."""
    return _ENDING.sub("", name).endswith((*HIGHER_IS_BETTER, "_r"))


def score_names(conventions: Conventions) -> list[str]:
    """List every score that there can be under these conventions."""
    spans = tuple(PedalSpan(0.0, 1.0, controller) for controller in PEDALS.values())
    beat = Beat(LEFT_OUT_S, is_downbeat=True, dynamics=DYNAMICS[0], is_change=True)
    performance = Performance((Note(0.0, 1.0, 60, 64),), spans, (beat,))
    return list(score_piece(performance, performance, conventions).scores)


def parse_threshold(threshold: str, known: Sequence[str]) -> tuple[str, float]:
    """Split ``onset_f1=0.95``.

    Raises
    ------
    UsageError
        It is not of that form, gives no finite number, or names no score of which more is better.
    """
    name, _, minimum = threshold.partition("=")
    try:
        value = float(minimum)
    except ValueError:
        raise UsageError(f"{threshold!r} is not of the form onset_f1=0.95") from None
    if not math.isfinite(value):
        raise UsageError(f"{threshold!r}: {minimum} is no minimum; give one such as onset_f1=0.95")
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"; near it: {', '.join(near)}" if near else ", such as onset_f1"
        raise UsageError(f"there is no score {name!r}{hint}")
    if not is_higher_better(name):
        raise UsageError(f"of {name!r} less is better: give a score such as onset_f1")
    return name, value


def unmet_thresholds(document: Document, thresholds: Sequence[tuple[str, float]]) -> list[str]:
    """Say which scores stay below their minimum in the mean over pieces."""
    unmet = []
    for name, minimum in thresholds:
        mean = document["aggregate"].get(name, {"mean": None})["mean"]
        if mean is None or mean < minimum:
            reached = "unknown" if mean is None else f"{mean:.4f}"
            unmet.append(f"{name} is {reached}, below {minimum:g}")
    return unmet
