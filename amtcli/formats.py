"""A performance in each of the forms in which ``amt`` gives it out.

``mid``
    A MIDI file, see `midi.performance_to_midi_bytes`.
``json``
    One object: ``format`` (the number of this layout), ``amt_version``, ``model`` (``name`` and
    ``version``, or null), ``recording``, ``duration_s``, ``notes``, ``pedals`` and ``beats``.
``jsonl``
    One object per line with ``"type": "note"``, ``"pedal"`` or ``"beat"``, in order of onset; at
    one onset a beat stands before a pedal, and that before a note.
``csv``
    One line per note under a header; pedals and beats have no place in it.

All times are seconds, rounded to a microsecond. A note has ``onset_s``; ``offset_s``, its key-up;
``sounding_end_s``, until which the sustain pedal holds it; ``pitch`` (MIDI number); ``velocity``
(1-127); and ``confidence`` (0-1) from networks that have one. A pedal span has ``onset_s``,
``offset_s``, ``controller`` (64 sustain, 67 soft) and ``value`` (1-127). A beat has ``onset_s``;
``is_downbeat``; ``dynamics``, the marking under which it is played (pp, p, mf, f, ff), or null;
``is_change``, whether this marking begins with it; and ``confidence`` as a note.

The pedal mode has the same meaning in all of them: ``cc64`` gives pedal spans, ``extend`` leaves
them out but lets notes last as long as they sound, ``none`` takes every note as if there had been
no pedal. In the text formats ``offset_s`` is the key-up in any mode; the mode shows itself in
``sounding_end_s``, which under ``none`` is the key-up too, and in the pedal spans.

Text is UTF-8, lines end in a line feed, and equal performances give equal bytes.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from amtcli import __version__
from amtcli.errors import UsageError
from amtcli.midi import PedalMode, check_midi_options, performance_to_midi_bytes
from amtcli.notes import Note, PedalSpan, Performance, sounding_ends_s

JSON_FORMAT = 1
CSV_COLUMNS = ("onset_s", "offset_s", "sounding_end_s", "pitch", "velocity", "confidence")


@dataclass(frozen=True, slots=True)
class FormatOptions:
    """How a performance is written, and what the file says beside its notes.

    ``tempo_bpm`` and ``pedal`` as in `midi.performance_to_midi_bytes`; UsageError where it could
    not follow them. ``recording`` is the recording's name for readers, ``duration_s`` its length.
    """

    tempo_bpm: float = 120.0
    pedal: PedalMode = "cc64"
    model_name: str | None = None
    model_version: str | None = None
    recording: str | None = None
    duration_s: float | None = None

    def __post_init__(self) -> None:
        check_midi_options(self.tempo_bpm, self.pedal)


def formatted(performance: Performance, format_name: str, options: FormatOptions) -> bytes:
    """Return the performance in one of `FORMATS`.

    Raises
    ------
    UsageError
        There is no such format.
    MidiError
        The performance cannot be written as MIDI.
    """
    if format_name not in FORMATS:
        raise UsageError(f"unknown format {format_name!r}: choose from {', '.join(FORMATS)}")
    return FORMATS[format_name](performance, options)


def _midi(performance: Performance, options: FormatOptions) -> bytes:
    model_id = " ".join(part for part in (options.model_name, options.model_version) if part)
    return performance_to_midi_bytes(
        performance,
        tempo_bpm=options.tempo_bpm,
        pedal=options.pedal,
        model_id=model_id or None,
    )


def _json(performance: Performance, options: FormatOptions) -> bytes:
    model = {"name": options.model_name, "version": options.model_version}
    document = {
        "format": JSON_FORMAT,
        "amt_version": __version__,
        "model": model if options.model_name else None,
        "recording": options.recording,
        "duration_s": None if options.duration_s is None else _rounded(options.duration_s),
        "notes": list(_note_records(performance, options)),
        "pedals": list(_pedal_records(performance, options)),
        "beats": list(_beat_records(performance)),
    }
    return _json_line(document)


def _jsonl(performance: Performance, options: FormatOptions) -> bytes:
    records = [{"type": "beat", **record} for record in _beat_records(performance)]
    records += [{"type": "pedal", **record} for record in _pedal_records(performance, options)]
    records += [{"type": "note", **record} for record in _note_records(performance, options)]
    records.sort(key=lambda record: record["onset_s"])  # stable: the pedal before the notes on it
    return b"".join(_json_line(record) for record in records)


def _csv(performance: Performance, options: FormatOptions) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, CSV_COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(_note_records(performance, options))
    return text.getvalue().encode()


def _note_records(performance: Performance, options: FormatOptions) -> Iterator[dict[str, Any]]:
    heard = replace(performance, pedals=()) if options.pedal == "none" else performance
    ends_s = sounding_ends_s(heard)
    pairs = zip(performance.notes, ends_s, strict=True)
    for note, end_s in sorted(pairs, key=lambda pair: (pair[0].onset_s, pair[0].pitch)):
        yield _note_record(note, end_s)


def _note_record(note: Note, sounding_end_s: float) -> dict[str, Any]:
    record = {
        "onset_s": _rounded(note.onset_s),
        "offset_s": _rounded(note.offset_s),
        "sounding_end_s": _rounded(sounding_end_s),
        "pitch": int(note.pitch),
        "velocity": int(note.velocity),
    }
    if note.confidence is not None:
        record["confidence"] = _rounded(note.confidence)
    return record


def _pedal_records(performance: Performance, options: FormatOptions) -> Iterator[dict[str, Any]]:
    if options.pedal != "cc64":
        return

    def place(span: PedalSpan) -> tuple[float, int]:
        return span.onset_s, span.controller

    for span in sorted(performance.pedals, key=place):
        yield {
            "onset_s": _rounded(span.onset_s),
            "offset_s": _rounded(span.offset_s),
            "controller": int(span.controller),
            "value": int(span.value),
        }


def _beat_records(performance: Performance) -> Iterator[dict[str, Any]]:
    for beat in sorted(performance.beats, key=lambda beat: beat.onset_s):
        record = {
            "onset_s": _rounded(beat.onset_s),
            "is_downbeat": bool(beat.is_downbeat),
            "dynamics": beat.dynamics,
            "is_change": bool(beat.is_change),
        }
        if beat.confidence is not None:
            record["confidence"] = _rounded(beat.confidence)
        yield record


def _rounded(number: float) -> float:
    return round(float(number), 6) + 0.0  # adding zero turns -0.0 into 0.0


def _json_line(document: dict[str, Any]) -> bytes:
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # A byte that is no UTF-8 in a recording's name stays as the JSON escape of its surrogate.
    return (text + "\n").encode("utf-8", "backslashreplace")


FORMATS: dict[str, Callable[[Performance, FormatOptions], bytes]] = {
    "mid": _midi,
    "json": _json,
    "csv": _csv,
    "jsonl": _jsonl,
}
