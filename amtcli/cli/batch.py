"""Carrying out a plan: recordings into the engine, results to their outputs, one at a time."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from amtcli.claims import Claims
from amtcli.cli.engines import Producer
from amtcli.cli.progress import CHATTY, VERBOSE, Screen
from amtcli.cli.streams import write_stdout
from amtcli.errors import AmtError
from amtcli.files import is_special, write_atomically
from amtcli.formats import FormatOptions, formatted
from amtcli.outputs import Existing, Output, has_content
from amtcli.plan import Action, Plan, PlannedRecording
from amtcli.report import Record, RunInfo, record_line, with_figures, write_line

if TYPE_CHECKING:
    from amtcli.engine import Engine, Transcription
    from amtcli.notes import Performance
    from amtcli.reading import Recording
    from amtcli.refinement.refining_engine import RefiningEngine

_APPEARED = "its output has been written by someone else in the meantime; nothing was replaced"


@dataclass
class Tally:
    """What a run came to."""

    n_ok: int = 0
    n_skipped: int = 0
    n_failed: int = 0
    n_notes: int = 0
    n_pedals: int = 0
    n_beats: int = 0
    audio_s: float = 0.0
    report_failed: bool = False

    @property
    def exit_code(self) -> int:
        """0 when every recording is done or skipped, else 1."""
        return 1 if self.n_failed or self.report_failed else 0


class Batch:
    """One run over a plan: every recording is settled exactly once, as done, skipped or failed."""

    def __init__(
        self,
        plan: Plan,
        existing: Existing,
        screen: Screen,
        report: TextIO | None = None,
        recorded: Mapping[str, str] | None = None,
    ) -> None:
        self._recorded = recorded or {}
        self.tally = Tally()
        self._plan = plan
        self._existing = existing
        self._screen = screen
        self._report = report
        self._claims = Claims()
        self._by_key = {planned.key: planned for planned in plan.recordings}
        self._claimed_elsewhere: list[PlannedRecording] = []
        # Filled where the engine asks for recordings, perhaps in its own thread; settled in ours.
        self._appeared: deque[PlannedRecording] = deque()

    def settle_planned(self) -> None:
        """Settle what needs no work: recordings that the plan skips or that are not there."""
        for planned in self._plan.with_action(Action.FAIL):
            self._fail(planned, planned.problem or "")
        for planned in self._plan.with_action(Action.SKIP):
            self._skip(planned)

    def transcribe(
        self, engine: Engine | RefiningEngine, producer: Producer, format_options: FormatOptions
    ) -> None:
        """Settle the rest. Recordings that another process works on come last, one at a time.

        Only then may one wait for a claim: nobody waits who still holds one, so two processes
        cannot wait for each other.
        """
        name, version = producer.name, producer.version
        self._engine = engine
        self._run = RunInfo(f"{name} {version}", engine.device, engine.precision)
        self._format_options = replace(format_options, model_name=name, model_version=version)
        try:
            self._pass(self._take_up(self._plan.with_action(Action.TRANSCRIBE)))
            for planned in self._claimed_elsewhere:
                self._screen.say(f"{planned.key}: waiting for another amt", level=VERBOSE)
                self._claims.take(_paths(planned), wait=True)
                self._pass(self._begin(planned))
        finally:
            self._claims.release_all()

    def _pass(self, recordings: Iterable[Recording]) -> None:
        results = self._engine.transcribe(recordings, self._screen.advance)
        with closing(results):  # at once on Ctrl-C, so that its threads end before we do
            for transcription in results:
                self._settle_appeared()
                self._settle(transcription)
        self._settle_appeared()

    def _take_up(self, todo: Iterable[PlannedRecording]) -> Iterator[Recording]:
        for planned in todo:
            if self._existing is Existing.OVERWRITE or self._claims.take(_paths(planned)):
                yield from self._begin(planned)
            else:
                self._claimed_elsewhere.append(planned)

    def _begin(self, planned: PlannedRecording) -> Iterator[Recording]:
        from amtcli.reading import Recording

        if self._has_appeared(planned):
            self._claims.release(_paths(planned))
            self._appeared.append(planned)
            return
        source = planned.source if planned.source is not None else sys.stdin.buffer
        yield Recording(planned.key, source)

    def _has_appeared(self, planned: PlannedRecording) -> bool:
        paths = _paths(planned)
        if not paths or self._existing is Existing.OVERWRITE:
            return False
        if self._existing is Existing.SKIP:
            return all(has_content(path) for path in paths)
        return any(os.path.lexists(path) for path in paths)

    def _settle_appeared(self) -> None:
        while self._appeared:
            planned = self._appeared.popleft()
            if self._existing is Existing.SKIP:
                self._skip(planned)
            else:
                self._fail(planned, _APPEARED)

    def _settle(self, transcription: Transcription) -> None:
        planned = self._by_key[transcription.recording.key]
        performance = transcription.performance
        for warning in transcription.warnings:
            self._screen.say(f"amt: {planned.key}: warning: {warning}", style="yellow")
        try:
            if self._has_appeared(planned):
                self._appeared.append(planned)
                self._settle_appeared()
            elif performance is None:
                self._fail(planned, str(transcription.error), transcription)
            else:
                options = replace(
                    self._format_options,
                    recording=planned.key,
                    duration_s=transcription.timings.audio_s,
                )
                for output in planned.outputs:
                    self._write(output, performance, options)
                self._succeed(planned, transcription, performance)
        except AmtError as error:
            self._fail(planned, str(error), transcription)
        finally:
            self._claims.release(_paths(planned))

    def _write(self, output: Output, performance: Performance, options: FormatOptions) -> None:
        path = output.path
        if path is not None and self._existing is Existing.SKIP and has_content(path):
            return
        data = formatted(performance, output.format, options)
        if path is None:
            write_stdout(data)
        else:
            write_atomically(path, data)

    def _succeed(
        self, planned: PlannedRecording, transcription: Transcription, performance: Performance
    ) -> None:
        timings = transcription.timings
        self.tally.n_ok += 1
        self.tally.n_notes += len(performance.notes)
        self.tally.n_pedals += len(performance.pedals)
        self.tally.n_beats += len(performance.beats)
        self.tally.audio_s += timings.audio_s
        content = _content(*map(len, (performance.notes, performance.pedals, performance.beats)))
        speed = timings.audio_s / max(timings.elapsed_s, 1e-3)
        if len(self._plan.recordings) > 1:  # of a single one the summary says the same
            self._screen.say(
                f"{planned.key} -> {', '.join(_names(planned))}: {content}, "
                f"{timings.audio_s:.1f} s of audio, {speed:.1f}x real time",
                level=VERBOSE,
            )
        self._screen.say(
            f"  reading {timings.read_s:.1f} s, computing {timings.compute_s:.1f} s, decoding "
            f"{timings.decode_s:.1f} s, {timings.elapsed_s:.1f} s in all (they overlap)",
            level=CHATTY,
        )
        self._record(planned, "ok", transcription=transcription)

    def _skip(self, planned: PlannedRecording) -> None:
        self.tally.n_skipped += 1
        names = ", ".join(_names(planned))
        self._screen.say(f"{planned.key}: skipped, there is {names}", level=VERBOSE)
        self._record(planned, "skipped")

    def _fail(
        self, planned: PlannedRecording, error: str, transcription: Transcription | None = None
    ) -> None:
        self.tally.n_failed += 1
        # Errors of the layers below often begin with the name already.
        text = error if error.startswith(planned.key) else f"{planned.key}: {error}"
        self._screen.error(f"amt: {text}")
        self._record(planned, "failed", error=error, transcription=transcription)

    def _record(
        self,
        planned: PlannedRecording,
        status: str,
        *,
        error: str | None = None,
        transcription: Transcription | None = None,
    ) -> None:
        self._screen.settle(planned.key)
        if self._report is None:
            return
        outputs = () if status == "failed" else tuple(_names(planned))
        record = Record(planned.key, outputs, status, error)
        if transcription is not None:
            record = with_figures(record, transcription, self._run)
        line = record_line(record)
        if status == "skipped" and planned.key in self._recorded:
            line = self._recorded[planned.key] + "\n"
        try:
            write_line(self._report, line)
        except BrokenPipeError:
            raise
        except OSError as error_of_report:  # hours of work go on without it, and end in failure
            self._report = None
            self.tally.report_failed = True
            self._screen.error(f"amt: the report cannot be written: {error_of_report.strerror}")


def summarise(tally: Tally, plan: Plan, elapsed_s: float, engine_text: str) -> str:
    """Say in one line what a run came to: ``engine_text`` names device and precision."""
    audio_s = tally.audio_s
    work = (
        f"{_content(tally.n_notes, tally.n_pedals, tally.n_beats)}, {audio_s:.1f} s of audio in "
        f"{elapsed_s:.1f} s ({audio_s / max(elapsed_s, 1e-3):.1f}x real time, {engine_text})"
    )
    counts = {"transcribed": tally.n_ok, "skipped": tally.n_skipped, "failed": tally.n_failed}
    outcome = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    if len(plan.recordings) == 1:
        (planned,) = plan.recordings
        names = ", ".join(_names(planned))
        return f"{planned.key} -> {names}: {work}" if tally.n_ok else f"{planned.key}: {outcome}"
    text = f"{len(plan.recordings)} recordings: {outcome}"
    return f"{text}; {work}" if tally.n_ok else text


def _content(n_notes: int, n_pedals: int, n_beats: int) -> str:
    counts = [(n_notes, "note"), (n_pedals, "pedal span")]
    counts += [(n_beats, "beat")] if n_beats else []
    return ", ".join(f"{n} {word}{'' if n == 1 else 's'}" for n, word in counts)


def _paths(planned: PlannedRecording) -> list[Path]:
    return [o.path for o in planned.outputs if o.path is not None and not is_special(o.path)]


def _names(planned: PlannedRecording) -> list[str]:
    return ["-" if output.path is None else str(output.path) for output in planned.outputs]
