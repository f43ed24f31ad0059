"""The steps of ``amt refine-velocity``: find pairs, plan, read velocities, write, tell."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from amtcli.cli.progress import VERBOSE, Screen
from amtcli.cli.result_files import check_files, check_folder
from amtcli.cli.streams import is_terminal, print_rows, write_stdout
from amtcli.errors import AmtError, MidiError, NoInputError, UsageError
from amtcli.midi import MIDI_SUFFIXES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from amtcli.inputs import Found
    from amtcli.outputs import Existing
    from amtcli.plan import Plan, PlannedRecording
    from amtcli.refinement.engine import VelocityEngine
    from amtcli.refinement.mapping import Curve, VelocityMapping
    from amtcli.refinement.reading import ScoredRecording, VelocityReading
    from amtcli.refinement.refining import Prepared, Refined
    from amtcli.refinement.report import Entry

# What this command writes where no other place is named, and does not take for a score.
REFINED_SUFFIX = ".refined"


@dataclass(frozen=True)
class Destination:
    """Where results go. ``report`` is a .csv or .json file, ``plot`` a folder."""

    out: str | None
    existing: Existing
    report: Path | None = None
    plot: Path | None = None


@dataclass(frozen=True)
class Job:
    """A plan for scores, their recordings by the path of the score, and the folder of all."""

    plan: Plan
    audio_of: dict[Path, Path]
    root: Path


def check_destination(destination: Destination) -> None:
    """Refuse, before any work, what could not be written after it. Raises UsageError."""
    from amtcli.files import is_special
    from amtcli.refinement.report import kept_entries

    report, plot = destination.report, destination.plot
    if report is not None and report.suffix.lower() not in (".csv", ".json"):
        raise UsageError(f"--report {report}: its name must end in .csv or .json")
    if report is not None:
        check_files({"--report": report})
        if not is_special(report):
            kept_entries(report, ())  # which refuses what is no report
    if plot is not None and importlib.util.find_spec("matplotlib") is None:
        raise UsageError("--plot needs matplotlib: pip install 'amtcli[plot]'")
    if plot is not None:
        check_folder("--plot", plot)


def make_job(score: Path, audio: Path, destination: Destination) -> Job:
    """Pair scores with recordings and settle where each result goes, before anything is read.

    Raises NoInputError where nothing is there or nothing belongs together, and UsageError for
    what would stop or spoil the work later.
    """
    from amtcli.files import exists
    from amtcli.inputs import Inputs
    from amtcli.outputs import OutputOptions
    from amtcli.plan import make_plan

    for path in (score, audio):
        if not exists(path):
            raise NoInputError(f"{path} does not exist")
    if score.suffix.lower() not in MIDI_SUFFIXES and audio.suffix.lower() in MIDI_SUFFIXES:
        raise UsageError(f"{score} is no score: SCORE comes first, AUDIO second")
    if score.is_dir() != audio.is_dir():
        raise UsageError(f"{score} and {audio}: give two files or two folders")
    out = _out(score, destination.out)
    pairs = _pair_folders(score, audio, out) if score.is_dir() else {score: audio}
    found = tuple(_found(path, partner, score) for path, partner in pairs.items())
    options = OutputOptions(
        out=out,
        formats=("mid",),
        mirror=True,
        existing=destination.existing,
        report=None if destination.report is None else str(destination.report),
        stdout_is_terminal=is_terminal(sys.stdout),
    )
    plan = make_plan(Inputs(found, score.is_dir()), options)
    audio_of = {path: partner for path, partner in pairs.items() if partner is not None}
    return Job(plan, audio_of, score if score.is_dir() else score.parent)


def _pair_folders(scores: Path, recordings: Path, out: str) -> dict[Path, Path | None]:
    """Pair the scores of a folder with recordings; results of a former run are no scores."""
    from amtcli.audio import AUDIO_SUFFIXES
    from amtcli.evaluation.pairing import find_files, pair_names

    results = os.path.realpath(out)
    found = {
        name: path
        for name, path in find_files(scores, MIDI_SUFFIXES).items()
        if not name.endswith(REFINED_SUFFIX)
        and not Path(os.path.realpath(path)).is_relative_to(results)
    }
    if not found:
        raise NoInputError(f"{scores} holds no scores ({', '.join(sorted(MIDI_SUFFIXES))})")
    pairing = pair_names(found, find_files(recordings, AUDIO_SUFFIXES))
    if len(pairing.missing) == len(pairing.pairs):
        first = pairing.pairs[0].reference.name
        raise NoInputError(f"no recording in {recordings} has the name of a score, such as {first}")
    return {pair.reference: pair.estimate for pair in pairing.pairs}


def _found(score: Path, recording: Path | None, named: Path) -> Found:
    from amtcli.inputs import Found

    problem = None if recording is not None else "there is no recording of this name"
    tree = score.parent.relative_to(named) if named.is_dir() else PurePath()
    return Found(str(score), score, tree, problem)


def _out(score: Path, out: str | None) -> str:
    from amtcli.outputs import stdout_as_dash

    if score.is_dir():
        if out is None:
            raise UsageError("name a folder for the results with -o")
        if stdout_as_dash(out) == "-":
            raise UsageError(f"-o {out} takes the result of one score: name a folder")
        if os.path.realpath(out) == os.path.realpath(score):
            raise UsageError(f"-o {out}: the scores would be overwritten; name another folder")
        return os.path.join(out, "")  # noqa: PTH118 - the separator says that it is a folder
    if out is None:
        return str(score.with_name(f"{score.stem}{REFINED_SUFFIX}{score.suffix}"))
    if os.path.realpath(out) == os.path.realpath(score):
        raise UsageError(f"-o {out}: the score would be overwritten; name another file")
    suffix = Path(out).suffix.lower()
    if suffix and suffix not in MIDI_SUFFIXES and not Path(out).is_dir():
        raise UsageError(f"-o {out}: the result is MIDI; let its name end in .mid")
    return out


def print_job(job: Job) -> None:
    """Print what would be done: score, recording and result."""
    from amtcli.plan import Action

    rows = []
    for planned in job.plan.recordings:
        audio = None if planned.source is None else job.audio_of.get(planned.source)
        verb = "refine" if planned.action is Action.TRANSCRIBE else planned.action.value
        result = _name(planned) if planned.outputs else planned.problem or ""
        rows.append((verb, planned.key, str(audio or ""), result))
    print_rows(rows, "{:6}  {} by {} -> {}")


def read_match(text: str | None) -> Curve | NDArray[np.float64] | None:
    """Read what --match names: the velocities of a MIDI file, or a curve."""
    if text is None:
        return None
    import numpy as np

    from amtcli.midi_reading import read_file, read_score
    from amtcli.refinement.mapping import parse_curve

    if not os.path.lexists(text):
        return parse_curve(text)
    try:
        notes = read_score(read_file(Path(text)), text).notes
    except MidiError as error:
        raise UsageError(f"--match: {error}") from error
    if not notes:
        raise UsageError(f"--match {text}: there are no notes in it to be like")
    return np.array([note.velocity for note in notes], np.float64)


class Refining:
    """One run over a plan: every score is settled exactly once, as refined, skipped or failed."""

    def __init__(
        self,
        job: Job,
        destination: Destination,
        mapping: VelocityMapping,
        screen: Screen,
        *,
        warped: bool,
    ) -> None:
        self.n_refined = 0
        self.n_skipped = 0
        self.n_failed = 0
        self.is_plot_missing = False
        self._job = job
        self._destination = destination
        self._mapping = mapping
        self._screen = screen
        self._warped = warped
        self._n_notes = 0
        self._entries: list[Entry] = []  # of the report; first those of a former run
        self._prepared: dict[str, Prepared] = {}
        # Filled where the reader asks for recordings, perhaps in its own thread; settled in ours.
        self._unprepared: deque[tuple[PlannedRecording, str]] = deque()

    def settle_planned(self) -> None:
        """Settle what needs no work. Raises UsageError where the report cannot go on."""
        from amtcli.plan import Action

        skipped = self._job.plan.with_action(Action.SKIP)
        if self._destination.report is not None and skipped:
            from amtcli.refinement.report import kept_entries

            names = {planned.key for planned in skipped}
            self._entries = kept_entries(self._destination.report, names)
        for planned in self._job.plan.with_action(Action.FAIL):
            self._fail(planned, planned.problem or "")
        for planned in skipped:
            self.n_skipped += 1
            self._screen.say(f"{planned.key}: skipped, there is {_name(planned)}", level=VERBOSE)

    def read(self, reader: VelocityEngine) -> None:
        """Settle the rest."""
        from amtcli.plan import Action

        by_key = {planned.key: planned for planned in self._job.plan.recordings}
        todo = self._job.plan.with_action(Action.TRANSCRIBE)
        with tempfile.TemporaryDirectory() as folder:
            scored = self._scored(todo, Path(folder))
            readings = reader.read_velocities(scored, self._screen.advance)
            with closing(readings):  # at once on Ctrl-C, so that its threads end before we do
                for reading in readings:
                    self._settle_unprepared()
                    self._settle(by_key[reading.scored.recording.key], reading)
        self._settle_unprepared()

    def _scored(
        self, todo: tuple[PlannedRecording, ...], folder: Path
    ) -> Iterator[ScoredRecording]:
        from amtcli.reading import Recording
        from amtcli.refinement.keeping import kept
        from amtcli.refinement.reading import ScoredRecording
        from amtcli.refinement.refining import prepare

        for planned in todo:
            assert planned.source is not None
            # It is heard twice: to find the notes, and to read their velocities.
            recording = kept(Recording(planned.key, self._job.audio_of[planned.source]), folder)
            try:
                prepared = prepare(
                    planned.source, recording.source, planned.key, warped=self._warped
                )
            except AmtError as error:
                self._unprepared.append((planned, str(error)))
                continue
            self._prepared[planned.key] = prepared
            yield ScoredRecording(recording, prepared.heard)

    def _settle_unprepared(self) -> None:
        while self._unprepared:
            self._fail(*self._unprepared.popleft())

    def _settle(self, planned: PlannedRecording, reading: VelocityReading) -> None:
        from amtcli.refinement.refining import refine

        prepared = self._prepared.pop(planned.key)
        for warning in reading.warnings:
            self._screen.say(f"amt: {planned.key}: warning: {warning}", style="yellow")
        if reading.velocities is None:
            self._fail(planned, str(reading.error))
            return
        refined = refine(prepared, reading.velocities, self._mapping)
        n_unread = sum(note.velocity_read is None for note in refined.notes)
        if n_unread == len(refined.notes):
            self._fail(planned, "the recording is silent where the score has notes")
            return
        try:
            self._write(planned, refined)
        except AmtError as error:
            self._fail(planned, str(error))
            return
        self._warn_of_unread(planned, n_unread, prepared.score.n_drums)
        self._succeed(planned, refined)
        self._plot(planned, refined)

    def _warn_of_unread(self, planned: PlannedRecording, n_unread: int, n_drums: int) -> None:
        for n_notes, where in ((n_unread, "of which nothing is heard"), (n_drums, "on channel 10")):
            if n_notes:
                self._screen.say(
                    f"amt: {planned.key}: warning: {n_notes} notes {where} keep their velocities",
                    style="yellow",
                )

    def _write(self, planned: PlannedRecording, refined: Refined) -> None:
        from amtcli.files import write_atomically

        (output,) = planned.outputs
        if output.path is None:
            write_stdout(refined.data)
        elif os.path.lexists(output.path) and not self._may_replace(output.path):
            raise AmtError(f"{output.path} has been written by someone else in the meantime")
        else:
            write_atomically(output.path, refined.data)

    def _plot(self, planned: PlannedRecording, refined: Refined) -> None:
        """Draw what was changed; where that cannot be, the result stands all the same."""
        if self._destination.plot is None or planned.source is None:
            return
        from amtcli.refinement.plot import plot_refined

        name = planned.source.relative_to(self._job.root).with_suffix("")
        try:
            plot_refined(refined, self._destination.plot / name)
        except AmtError as error:
            self.is_plot_missing = True
            self._screen.error(f"amt: {planned.key}: no plot: {error}")

    def _may_replace(self, path: Path) -> bool:
        from amtcli.files import is_special
        from amtcli.outputs import Existing, has_content

        if self._destination.existing is Existing.SKIP:
            return not has_content(path)
        return self._destination.existing is Existing.OVERWRITE or is_special(path)

    def _succeed(self, planned: PlannedRecording, refined: Refined) -> None:
        from amtcli.refinement.refining import describe
        from amtcli.refinement.report import report_entries

        self.n_refined += 1
        self._n_notes += len(refined.notes)
        if self._destination.report is not None:
            self._entries += report_entries(self._destination.report, refined)
        self._screen.settle(planned.key)
        level = VERBOSE if len(self._job.plan.recordings) > 1 else 0
        self._screen.say(
            f"{planned.key} -> {_name(planned)}: {len(refined.notes)} notes, velocities changed "
            f"by {refined.mean_change:.1f} on the mean; {describe(refined.placement)}",
            level=level,
        )

    def _fail(self, planned: PlannedRecording, error: str) -> None:
        self.n_failed += 1
        self._screen.settle(planned.key)
        text = error if error.startswith(planned.key) else f"{planned.key}: {error}"
        self._screen.error(f"amt: {text}")

    def write_report(self) -> None:
        """Write what was refined, be it nothing, where a report was asked for."""
        path = self._destination.report
        if path is not None:
            from amtcli.refinement.report import write_report

            write_report(path, self._entries)

    def summary(self) -> str:
        """Say in one line what the run came to."""
        counts = {"refined": self.n_refined, "skipped": self.n_skipped, "failed": self.n_failed}
        outcome = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        return f"{len(self._job.plan.recordings)} scores: {outcome}; {self._n_notes} notes"


def _name(planned: PlannedRecording) -> str:
    (output,) = planned.outputs
    return "-" if output.path is None else str(output.path)
