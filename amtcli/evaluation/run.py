"""Scoring many pieces, in several processes where wanted."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from amtcli.datasets.workers import MOST_PROCESSES
from amtcli.errors import AmtError
from amtcli.evaluation.conventions import Conventions
from amtcli.evaluation.matching import match_notes, onset_rule
from amtcli.evaluation.mistakes import Mistake, find_mistakes
from amtcli.evaluation.piece import Notes, PieceScores, compared_notes, score_piece
from amtcli.evaluation.references import NoteFile, described, read_note_file
from amtcli.notes import Performance

SCORED, MISSING, FAILED = "scored", "missing", "failed"


@dataclass(frozen=True)
class Task:
    """One piece to score.

    ``estimate`` is a file, a performance that was just transcribed, or ``None`` where there is
    none; ``problem`` says why, if something failed.
    """

    name: str
    reference: Path
    estimate: Path | Performance | None
    estimate_name: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Wanted:
    """What to make of each piece beside its scores."""

    mistakes: bool = False
    plot_folder: Path | None = None


@dataclass(frozen=True)
class PieceResult:
    """What became of one piece.

    ``status`` is ``scored``, ``missing`` (no estimate: scored as an empty one) or ``failed``:
    with ``piece`` the estimate could not be had and counts as empty, without it the reference
    could not be read, so that there is nothing to average. ``odd_notes`` counts notes without
    length and outside the piano on both sides.
    """

    name: str
    reference: str
    estimate: str | None
    status: str
    piece: PieceScores | None
    odd_notes: dict[str, int]
    notices: tuple[str, ...] = ()
    problem: str | None = None
    mistakes: tuple[Mistake, ...] = ()


def score_all(
    tasks: Sequence[Task], conventions: Conventions, wanted: Wanted, n_jobs: int
) -> Iterator[PieceResult]:
    """Give out results as they are done, in no certain order.

    Raises
    ------
    AmtError
        A worker process was killed, most likely for want of memory.
    """
    score = partial(score_task, conventions=conventions, wanted=wanted)
    n_jobs = min(n_jobs, len(tasks), MOST_PROCESSES)
    if n_jobs <= 1:
        yield from map(score, tasks)
        return
    # A fork of a process in which torch has started threads may hang: begin afresh everywhere.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_jobs, context, _leave_interrupts_to_the_parent) as pool:
        futures = [pool.submit(score, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise AmtError("a process was killed while scoring: try fewer --jobs") from error
        finally:
            pool.shutdown(cancel_futures=True)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def score_task(task: Task, conventions: Conventions, wanted: Wanted) -> PieceResult:
    """Read and score one piece; a file that cannot be read is a failure of this piece only."""
    estimate_name = task.estimate_name
    if estimate_name is None and isinstance(task.estimate, Path):
        estimate_name = str(task.estimate)
    result = partial(PieceResult, task.name, str(task.reference), estimate_name)
    try:
        reference = read_note_file(task.reference, conventions.pedal_threshold)
    except AmtError as error:
        return result(FAILED, None, {}, problem=str(error))
    status, problem = (FAILED if task.problem else SCORED), task.problem
    estimate = NoteFile(Performance(), 0, 0, ())
    if task.estimate is None:
        status = status if task.problem else MISSING
    else:
        try:
            estimate = _read_estimate(task.estimate, conventions)
        except AmtError as error:
            status, problem = FAILED, str(error)
    try:
        piece = score_piece(reference.performance, estimate.performance, conventions)
    except AmtError as error:
        status, problem = FAILED, str(error)
        try:
            piece = score_piece(reference.performance, Performance(), conventions)
        except AmtError:  # it is the reference's own
            return result(FAILED, None, {}, problem=problem)
    mistakes: tuple[Mistake, ...] = ()
    try:
        mistakes = _extras(task.name, reference, estimate, piece, conventions, wanted)
    except AmtError as error:  # a plot that cannot be written takes no score away
        status, problem = FAILED, str(error)
    odd_notes, notices = _odd_notes(reference, estimate)
    return result(status, piece, odd_notes, notices, problem, mistakes)


def _read_estimate(estimate: Path | Performance, conventions: Conventions) -> NoteFile:
    if isinstance(estimate, Performance):
        return described(estimate)
    return read_note_file(estimate, conventions.pedal_threshold)


def _odd_notes(reference: NoteFile, estimate: NoteFile) -> tuple[dict[str, int], tuple[str, ...]]:
    counts = {
        "n_ref_zero_length": reference.n_zero_length,
        "n_ref_out_of_range": reference.n_out_of_range,
        "n_est_zero_length": estimate.n_zero_length,
        "n_est_out_of_range": estimate.n_out_of_range,
    }
    notices = tuple(f"reference: {notice}" for notice in reference.notices)
    return counts, notices + tuple(f"estimate: {notice}" for notice in estimate.notices)


def _extras(
    name: str,
    reference: NoteFile,
    estimate: NoteFile,
    piece: PieceScores,
    conventions: Conventions,
    wanted: Wanted,
) -> tuple[Mistake, ...]:
    """Draw the plots and list the mistakes, where wanted."""
    if not wanted.mistakes and wanted.plot_folder is None:
        return ()
    notes: Notes = compared_notes(reference.performance, estimate.performance, conventions)
    tolerance_s = conventions.onset_tolerances_s[0]
    matching = match_notes(*notes, onset_rule(conventions, tolerance_s))
    if wanted.plot_folder is not None:
        from amtcli.evaluation.plots import plot_piece

        plot_piece(name, notes, matching, piece, wanted.plot_folder)
    return tuple(find_mistakes(*notes, matching, tolerance_s)) if wanted.mistakes else ()
