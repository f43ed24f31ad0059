"""Why a piece scores next to nothing: the wrong partner, or the wrong key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from amtcli.errors import AmtError
from amtcli.evaluation.conventions import Conventions
from amtcli.evaluation.matching import match_notes, onset_rule
from amtcli.evaluation.note_arrays import NoteArrays
from amtcli.evaluation.piece import compared_notes
from amtcli.evaluation.references import read_note_file
from amtcli.evaluation.run import SCORED, PieceResult, Task
from amtcli.evaluation.scores import count_matches

SUSPICIOUS_F1 = 0.3
FITTING_F1 = 0.6
# Each piece looked into is read again several times; a fault of all of them shows in a few.
N_LOOKED_INTO = 8
TRANSPOSITIONS = (-12, -1, 1, 12)


def diagnose(
    results: Sequence[PieceResult], tasks: Sequence[Task], conventions: Conventions
) -> dict[str, str]:
    """Explain bad pieces where another reading of them fits, by the name of the piece.

    An estimate whose onset F1 is below 0.3 is tried against the references before and after
    its own, as they are listed, and transposed by a semitone and an octave; it is named where
    that reaches 0.6. Pieces that are bad in another way are not mentioned, and no more than the
    first eight bad ones are looked into.
    """
    bad = {result.name for result in results if _is_suspicious(result)}
    suspects = [index for index, task in enumerate(tasks) if task.name in bad]
    reasons = {
        tasks[index].name: _explain(index, tasks, conventions) for index in suspects[:N_LOOKED_INTO]
    }
    return {name: reason for name, reason in reasons.items() if reason}


def _is_suspicious(result: PieceResult) -> bool:
    if result.piece is None or result.status != SCORED or not result.piece.scores["n_est_notes"]:
        return False
    return result.piece.counts[("onset", "")].measures()["f1"] < SUSPICIOUS_F1


def _explain(index: int, tasks: Sequence[Task], conventions: Conventions) -> str | None:
    own = _notes(tasks[index], tasks[index], conventions)
    if own is None:
        return None
    for semitones in TRANSPOSITIONS:
        f1 = _onset_f1(own[0], own[1].transposed(semitones), conventions)
        if f1 >= FITTING_F1:
            return f"fits its reference when moved by {semitones:+d} semitones (onset F1 {f1:.3f})"
    for other in (index - 1, index + 1):
        if 0 <= other < len(tasks):
            notes = _notes(tasks[other], tasks[index], conventions)
            f1 = _onset_f1(*notes, conventions) if notes else 0.0
            if f1 >= FITTING_F1:
                return (
                    f"its estimate fits the reference of {tasks[other].name} "
                    f"(onset F1 {f1:.3f}): are the files paired by one off?"
                )
    return None


def _notes(
    reference: Task, estimate: Task, conventions: Conventions
) -> tuple[NoteArrays, NoteArrays] | None:
    threshold = conventions.pedal_threshold
    played = estimate.estimate
    try:
        performance = read_note_file(reference.reference, threshold).performance
        if isinstance(played, Path):
            played = read_note_file(played, threshold).performance
    except AmtError:
        # Reported already, as the failure of that piece.
        return None
    if played is None:
        return None
    return compared_notes(performance, played, replace(conventions, grid_s=None))


def _onset_f1(reference: NoteArrays, estimate: NoteArrays, conventions: Conventions) -> float:
    rule = onset_rule(conventions, conventions.onset_tolerances_s[0])
    matching = match_notes(reference, estimate, rule)
    return count_matches(matching, reference, estimate).measures()["f1"]
