"""The steps of ``amt evaluate``: find pairs, transcribe, score, tell, write."""

from __future__ import annotations

import importlib.util
import io
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amtcli.cli.engines import (
    EngineChoice,
    Producer,
    open_engine,
    open_note_beats,
    open_reader,
)
from amtcli.cli.progress import Screen
from amtcli.cli.result_files import check_files, check_folder
from amtcli.cli.streams import check_stdout, is_terminal, write_stdout
from amtcli.errors import AmtError, NoInputError, UsageError
from amtcli.files import exists, is_folder

if TYPE_CHECKING:
    from rich.console import RenderableType

    from amtcli.engine import Engine
    from amtcli.evaluation.conventions import Conventions
    from amtcli.evaluation.pairing import Pair, Pairing
    from amtcli.evaluation.results import Document
    from amtcli.evaluation.run import PieceResult, Task
    from amtcli.refinement.engine import VelocityEngine
    from amtcli.refinement.refining_engine import RefiningEngine

# A table in a pipe or a log has no terminal whose width it could take.
_PIPE_WIDTH = 120
# Below this many pieces, starting processes takes longer than scoring.
_FEW_PIECES = 8
# A notice that more pieces share is given once for all of them.
_N_NAMED = 3
_N_NOTICES = 10


@dataclass(frozen=True)
class Outputs:
    """Where the result goes; ``json`` may be ``-``, ``plain`` is a table on standard output."""

    json: str | None = None
    csv: Path | None = None
    plain: bool = False
    errors: Path | None = None
    plot: Path | None = None

    @property
    def files(self) -> dict[str, Path]:
        """What is written, by the name of its option."""
        json = None if self.json in (None, "-") else Path(self.json)
        named = {"--json": json, "--csv": self.csv, "--errors": self.errors}
        return {option: path for option, path in named.items() if path is not None}


def check_outputs(outputs: Outputs) -> None:
    """Refuse, before any work, what could not be written after it."""
    if outputs.json == "-" and outputs.plain:
        raise UsageError("--json - and --plain both want standard output: give --json a file")
    if outputs.json == "-" or outputs.plain:
        check_stdout()
    if outputs.plot is not None and importlib.util.find_spec("matplotlib") is None:
        raise UsageError("--plot needs matplotlib: pip install 'amtcli[plot]'")
    check_files(outputs.files)
    if outputs.plot is not None:
        check_folder("--plot", outputs.plot)


def find_pairs(
    reference: Path, estimate: Path | None, choice: EngineChoice
) -> tuple[Pairing, EngineChoice | None]:
    """Pair references with estimates; the choice comes back if the estimates are audio.

    Without ``choice.model`` audio is transcribed only where an estimate is, or an estimates'
    folder holds, nothing else.
    """
    from amtcli.datasets.note_files import NOTE_SUFFIXES
    from amtcli.evaluation.pairing import find_files, pair_paths

    if estimate is None:
        if not choice.model:
            raise UsageError("name an ESTIMATE, or a --model to transcribe the audio beside it")
        estimate = reference if is_folder(reference) else _audio_beside(reference)
    if exists(reference) and is_folder(estimate) and not is_folder(reference):
        raise UsageError(f"{reference} and {estimate}: give two files or two folders")
    if is_folder(estimate):
        is_audio = bool(choice.model) or not find_files(estimate, NOTE_SUFFIXES)
    else:
        suffix = estimate.suffix.lower()
        is_audio = suffix not in NOTE_SUFFIXES and suffix in _audio_suffixes()
    if is_audio:
        return pair_paths(reference, estimate, NOTE_SUFFIXES, _audio_suffixes()), choice
    if choice.model:
        raise UsageError(f"{estimate} is no audio: leave out --model to score it as it is")
    return pair_paths(reference, estimate, NOTE_SUFFIXES, NOTE_SUFFIXES), None


def _audio_suffixes() -> frozenset[str]:
    # Scoring files of notes should neither wait for the audio libraries nor need them.
    from amtcli.audio import AUDIO_SUFFIXES

    return AUDIO_SUFFIXES


def _audio_beside(reference: Path) -> Path:
    if not exists(reference):
        raise NoInputError(f"{reference} does not exist")
    found = [
        path
        for path in sorted(reference.parent.iterdir())
        if path.stem == reference.stem and path.suffix.lower() in _audio_suffixes()
    ]
    if not found:
        raise NoInputError(f"there is no audio beside {reference}: name it as ESTIMATE")
    if len(found) > 1:
        raise UsageError(f"{found[0]} and {found[1]}: name the one to transcribe as ESTIMATE")
    return found[0]


def refuse_missing(pairing: Pairing) -> None:
    """Raise `AmtError` that names the references without an estimate, if there are any."""
    names = [pair.name for pair in pairing.missing]
    if names:
        raise AmtError(f"{len(names)} without an estimate (--missing error): {_listed(names)}")


def refuse_overwriting(outputs: Outputs, given: Iterable[Path]) -> None:
    """Raise `UsageError` where a result would replace anything but an earlier one of its kind."""
    from amtcli.evaluation.earlier import is_document, is_list_of_mistakes, is_table
    from amtcli.outputs import has_content, holds_something_else

    is_earlier = {"--json": is_document, "--csv": is_table, "--errors": is_list_of_mistakes}
    named = {os.path.realpath(path) for path in given}
    for option, path in outputs.files.items():
        if os.path.realpath(path) in named:
            raise UsageError(f"{option} {path}: this is to be read and would be overwritten")
        if has_content(path) and not is_earlier[option](path):
            raise holds_something_else(option, path)


def make_tasks(
    pairs: Sequence[Pair], choice: EngineChoice | None, conventions: Conventions, screen: Screen
) -> tuple[list[Task], dict[str, Any]]:
    """Turn pairs into tasks, listening first if there is a choice; and say with what."""
    from amtcli.evaluation.run import Task

    if choice is None:
        return [Task(pair.name, pair.reference, pair.estimate) for pair in pairs], {}
    if conventions.score_informed:
        reader, producer = open_reader(choice, screen)
        return _read_velocities(pairs, reader, conventions, screen), _settings(
            reader, producer, choice
        )
    engine, producer = open_engine(choice, screen)
    return _transcribe(pairs, engine, screen), _settings(engine, producer, choice)


def add_beats_to_files(
    pairs: Sequence[Pair], choice: EngineChoice, screen: Screen
) -> tuple[list[Task], dict[str, Any]]:
    """Turn pairs of files of notes into tasks, beats being found in the estimates' notes."""
    from amtcli.evaluation.references import read_note_file
    from amtcli.evaluation.run import Task

    engine, producer = open_note_beats(choice, screen)
    tasks = []
    for pair in pairs:
        if pair.estimate is None:
            tasks.append(Task(pair.name, pair.reference, None))
            continue
        estimate, problem = None, None
        try:
            performance = read_note_file(pair.estimate).performance
            estimate = replace(performance, beats=engine.hear_beats(performance))
        except AmtError as error:
            problem = str(error)
        tasks.append(Task(pair.name, pair.reference, estimate, str(pair.estimate), problem))
    return tasks, _settings(engine, producer, choice)


def _settings(
    engine: Engine | RefiningEngine, producer: Producer, choice: EngineChoice
) -> dict[str, Any]:
    return {
        "model": f"{producer.name} {producer.version}",
        "device": engine.device,
        "precision": engine.precision,
        "fast": choice.fast,
    }


def _transcribe(pairs: Sequence[Pair], engine: Any, screen: Screen) -> list[Task]:
    """Transcribe all recordings in one call, so that they share batches."""
    from amtcli.evaluation.run import Task
    from amtcli.reading import Recording

    recordings = [Recording(pair.name, pair.estimate) for pair in pairs if pair.estimate]
    screen.start_clock()
    done = {}
    for transcription in engine.transcribe(recordings, screen.advance):
        done[transcription.recording.key] = transcription
        screen.settle(transcription.recording.key)
        for warning in transcription.warnings:
            screen.say(f"amt: {transcription.recording.key}: {warning}", style="yellow")
    tasks = []
    for pair in pairs:
        result = done.get(pair.name)
        if result is None:
            tasks.append(Task(pair.name, pair.reference, None))
        else:
            problem = _problem(result.error, pair.name, pair.estimate)
            tasks.append(
                Task(pair.name, pair.reference, result.performance, str(pair.estimate), problem)
            )
    return tasks


def _read_velocities(
    pairs: Sequence[Pair], reader: VelocityEngine, conventions: Conventions, screen: Screen
) -> list[Task]:
    """Have the velocities of the references read off their recordings.

    The reader is not told them, and a note that it says nothing of gets the same as all others
    were given.
    """
    from amtcli.evaluation.references import read_note_file
    from amtcli.evaluation.run import Task
    from amtcli.reading import Recording
    from amtcli.refinement.reading import ScoredRecording, rewritten, without_velocities

    tasks = {pair.name: Task(pair.name, pair.reference, None) for pair in pairs}
    scored = []
    for pair in pairs:
        if pair.estimate is None:
            continue
        try:
            reference = read_note_file(pair.reference, conventions.pedal_threshold)
        except AmtError:
            continue  # which is told when it is to be scored
        score = without_velocities(reference.performance)
        scored.append(ScoredRecording(Recording(pair.name, pair.estimate), score))
    screen.start_clock()
    for reading in reader.read_velocities(scored, screen.advance):
        key = reading.scored.recording.key
        screen.settle(key)
        for warning in reading.warnings:
            screen.say(f"amt: {key}: {warning}", style="yellow")
        tasks[key] = replace(
            tasks[key],
            estimate=None if reading.velocities is None else rewritten(reading),
            estimate_name=str(reading.scored.recording.source),
            problem=_problem(reading.error, key, reading.scored.recording.source),
        )
    return list(tasks.values())


def _problem(error: AmtError | None, name: str, audio: object) -> str | None:
    """Say it of the file that was listened to; the engine knows the piece's name only."""
    return None if error is None else str(error).replace(f"{name}: ", f"{audio}: ", 1)


def score(
    tasks: Sequence[Task],
    conventions: Conventions,
    outputs: Outputs,
    n_jobs: int | None,
    screen: Screen,
) -> list[PieceResult]:
    """Score all tasks; one process per core unless there are few pieces or ``n_jobs`` is given."""
    from amtcli.evaluation.run import Wanted, score_all

    if n_jobs is None:
        n_jobs = 1 if len(tasks) < _FEW_PIECES else os.cpu_count() or 1
    wanted = Wanted(outputs.errors is not None, outputs.plot)
    results = []
    screen.status(f"scoring {len(tasks)}")
    for n_done, result in enumerate(score_all(tasks, conventions, wanted, n_jobs), start=1):
        screen.status(f"scoring {n_done} of {len(tasks)}")
        results.append(result)
    return sorted(results, key=lambda result: result.name)


def say_notices(
    results: Sequence[PieceResult],
    tasks: Sequence[Task],
    pairing: Pairing,
    conventions: Conventions,
    screen: Screen,
) -> None:
    """Tell what failed, what is missing, what was odd, and what looks like a mistake."""
    from amtcli.evaluation.diagnosis import diagnose

    for result in results:
        if result.problem:
            screen.error(f"amt: {result.name}: {result.problem}")
    if pairing.missing:
        names = [pair.name for pair in pairing.missing]
        screen.say(f"amt: {len(names)} without an estimate: {', '.join(names)}", style="yellow")
    if pairing.unused_estimates:
        unused = [str(path) for path in pairing.unused_estimates]
        screen.say(f"amt: {len(unused)} without a reference: {', '.join(unused)}", style="yellow")
    pieces_of = defaultdict(list)
    for result in results:
        for notice in result.notices:
            pieces_of[notice].append(result.name)
    for notice, names in list(pieces_of.items())[:_N_NOTICES]:
        screen.say(f"amt: {_listed(names)}: {notice}", style="yellow")
    if len(pieces_of) > _N_NOTICES:
        n_more = len(pieces_of) - _N_NOTICES
        screen.say(f"amt: {n_more} more such notices: see per_file of --json", style="yellow")
    for name, reason in diagnose(results, tasks, conventions).items():
        screen.error(f"amt: {name}: {reason}")


def _listed(names: Sequence[str]) -> str:
    if len(names) <= _N_NAMED:
        return ", ".join(names)
    return f"{', '.join(names[:_N_NAMED])} and {len(names) - _N_NAMED} more"


def write_result(
    document: Document,
    results: Sequence[PieceResult],
    conventions: Conventions,
    outputs: Outputs,
) -> None:
    """Print the table unless standard output is taken, and write the files that were asked for."""
    from amtcli.evaluation.mistakes import mistakes_csv
    from amtcli.evaluation.report import render_report
    from amtcli.evaluation.results import to_json, to_table
    from amtcli.files import encoded, write_atomically

    # What people wait for first: a disk that is full takes none of it away.
    if outputs.plain:
        write_stdout(encoded(to_table(document, "\t")))
    elif outputs.json != "-":
        _print(render_report(document, conventions))
    if outputs.csv is not None:
        write_atomically(outputs.csv, encoded(to_table(document, ",")))
    if outputs.errors is not None:
        mistakes = mistakes_csv((result.name, result.mistakes) for result in results)
        write_atomically(outputs.errors, encoded(mistakes))
    _write_json(to_json(document), outputs.json)


def compare_files(path_a: Path, path_b: Path, outputs: Outputs) -> None:
    """Compare two results; with ``--json`` the comparison is also written."""
    from amtcli.evaluation.compare import compare_results
    from amtcli.evaluation.report import render_comparison
    from amtcli.evaluation.results import read_document, to_json

    comparison = compare_results(read_document(path_a), read_document(path_b))
    _write_json(to_json(comparison.as_document()), outputs.json)
    if outputs.json != "-":
        _print(render_comparison(comparison, str(path_a), str(path_b)))


def _write_json(text: str, target: str | None) -> None:
    from amtcli.files import encoded, write_atomically

    if target == "-":
        write_stdout(encoded(text))
    elif target is not None:
        write_atomically(Path(target), encoded(text))


def _print(table: RenderableType) -> None:
    from rich.console import Console

    from amtcli.files import encoded

    if sys.stdout is None:  # closed: the files are what is wanted
        return
    person, text = is_terminal(sys.stdout), io.StringIO()
    width = None if person else _PIPE_WIDTH
    Console(file=text, force_terminal=person, width=width, highlight=False).print(table)
    write_stdout(encoded(text.getvalue()))
