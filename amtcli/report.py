"""The report of a run: one JSON object per recording and line, written as each is settled."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from amtcli.outputs import holds_something_else

if TYPE_CHECKING:
    from amtcli.engine import Transcription


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What computed: model name and version, device and precision."""

    model: str
    device: str
    precision: str


@dataclass(frozen=True, slots=True)
class Record:
    """What became of one recording; None where there is nothing to say.

    ``status`` is ``ok``, ``skipped`` or ``failed``; ``outputs`` are paths, ``-`` for standard
    output; times are seconds: ``read_s``, ``compute_s`` and ``decode_s`` overlap, ``elapsed_s``
    is from opening the recording to the last note. ``times_real_time`` is ``audio_s`` over
    ``elapsed_s``.
    """

    input: str
    outputs: tuple[str, ...]
    status: str
    error: str | None = None
    warnings: tuple[str, ...] = ()
    notes: int | None = None
    pedals: int | None = None
    audio_s: float | None = None
    read_s: float | None = None
    compute_s: float | None = None
    decode_s: float | None = None
    elapsed_s: float | None = None
    times_real_time: float | None = None
    model: str | None = None
    device: str | None = None
    precision: str | None = None


def with_figures(record: Record, transcription: Transcription, run: RunInfo) -> Record:
    """Add to ``record`` what the engine counted and measured."""
    timings = transcription.timings
    performance = transcription.performance
    elapsed_s = timings.elapsed_s
    return replace(
        record,
        warnings=tuple(transcription.warnings),
        notes=None if performance is None else len(performance.notes),
        pedals=None if performance is None else len(performance.pedals),
        audio_s=timings.audio_s,
        read_s=timings.read_s,
        compute_s=timings.compute_s,
        decode_s=timings.decode_s,
        elapsed_s=elapsed_s,
        times_real_time=timings.audio_s / elapsed_s if elapsed_s > 0 else None,
        **asdict(run),
    )


def record_line(record: Record) -> str:
    r"""Render a record as one line of JSON in ASCII, its newline included.

    Other characters are escaped, so the line is safe on any console; a byte of a file name
    that is no UTF-8 appears as ``\udc80`` to ``\udcff``, as Python names it.
    """
    fields = {
        key: round(value, 4) if isinstance(value, float) else value
        for key, value in asdict(record).items()
    }
    return json.dumps(fields, allow_nan=False) + "\n"


def read_records(path: Path) -> dict[str, str]:
    """Read the report of an earlier run: by input, the lines of what was transcribed.

    Raises UsageError where the file is something else: it would be lost. A last line that was
    cut off by a crash is passed over.
    """
    try:
        lines = path.read_text(encoding="ascii").splitlines()
        records = [(line, _parsed(line)) for line in lines[:-1]]
        with suppress(ValueError):
            records += [(line, _parsed(line)) for line in lines[-1:]]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise holds_something_else("--report", path) from error
    if lines and not records:
        raise holds_something_else("--report", path)
    return {record["input"]: line for line, record in records if record["status"] == "ok"}


def _parsed(line: str) -> dict[str, Any]:
    """Parse a line. Raises ValueError where it is no record."""
    record = json.loads(line)
    if not isinstance(record, dict) or not {"input", "status"} <= record.keys():
        raise ValueError("no record")
    return record


def write_line(stream: TextIO, line: str) -> None:
    """Append a record's line and push it out, so that a killed run leaves whole lines."""
    stream.write(line)
    stream.flush()
