"""What a call will do, settled before any audio is read.

`make_plan` turns inputs and options into a frozen `Plan`: which recordings, which outputs, what
is skipped. Two recordings for one output, outputs that exist, folders that cannot be written
and outputs that are inputs are found here, all of them at once, and refused with the remedy.
The file system is looked at, never changed.
"""

from __future__ import annotations

import os
import stat
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from enum import Enum
from pathlib import Path

from amtcli.audio import AUDIO_SUFFIXES
from amtcli.errors import NoInputError, UsageError
from amtcli.formats import FORMATS
from amtcli.inputs import STANDARD_STREAM, Found, Inputs

FORMAT_OF_SUFFIX = {**{f".{name}": name for name in FORMATS}, ".midi": "mid"}
_STDOUT_WORDS = frozenset({STANDARD_STREAM, "/dev/stdout"})
_MAX_LISTED = 10


class Existing(str, Enum):
    """What happens to a recording whose outputs exist."""

    REFUSE = "refuse"
    SKIP = "skip"
    OVERWRITE = "overwrite"


class Action(str, Enum):
    """What happens to a recording; the values are what a dry run prints."""

    TRANSCRIBE = "transcribe"
    SKIP = "skip"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """Where results go. ``formats`` None means: what the suffix of ``out`` says, else MIDI."""

    out: str | None = None
    formats: tuple[str, ...] | None = None
    mirror: bool = False
    existing: Existing = Existing.REFUSE
    report: str | None = None
    stdout_is_terminal: bool = False


@dataclass(frozen=True, slots=True)
class Output:
    """One result to be written; ``path`` is None for standard output."""

    format: str
    path: Path | None


@dataclass(frozen=True, slots=True)
class PlannedRecording:
    """One recording and the outputs still to be written for it (all of them when skipped).

    ``key`` is unique in the plan and shown to users; ``source`` is None for standard input.
    """

    key: str
    source: Path | None
    outputs: tuple[Output, ...]
    action: Action = Action.TRANSCRIBE
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """All recordings of a call, in the order in which they are taken up."""

    recordings: tuple[PlannedRecording, ...]

    def with_action(self, action: Action) -> tuple[PlannedRecording, ...]:
        """Return the recordings that ``action`` happens to."""
        return tuple(planned for planned in self.recordings if planned.action is action)

    @property
    def writes_stdout(self) -> bool:
        """Whether a result goes to standard output."""
        return any(output.path is None for p in self.recordings for output in p.outputs)


def parse_formats(words: Iterable[str]) -> tuple[str, ...] | None:
    """Split comma lists of formats; None when nothing was asked for."""
    names = [name.strip().lower() for word in words for name in word.split(",") if name.strip()]
    for name in names:
        if name not in FORMATS:
            close = get_close_matches(name, FORMATS, n=1)
            guess = f" (did you mean {close[0]}?)" if close else ""
            raise UsageError(f"unknown format {name!r}{guess}; formats: {', '.join(FORMATS)}")
    return tuple(dict.fromkeys(names)) or None


def is_special(path: Path) -> bool:
    """Whether ``path`` is a device, pipe or socket: written into, never replaced."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def has_content(path: Path) -> bool:
    """Whether ``path`` is a file with something in it, which a finished output always is."""
    return path.is_file() and path.stat().st_size > 0


def make_plan(inputs: Inputs, options: OutputOptions) -> Plan:
    """Settle what happens to every recording.

    Raises `NoInputError` when the inputs stand for nothing, `UsageError` for everything that
    would stop or spoil the work later: all offending files are named, ten at most.
    """
    usable = [found for found in inputs.found if found.problem is None]
    if not usable:
        raise NoInputError(_no_input_text(inputs.found))
    target = _choose_target(inputs, len(usable), options)
    planned, taken_keys, seen = [], set(), {}
    for found in inputs.found:
        outputs = () if found.problem else target.outputs_of(found)
        paths = (found.path, *(output.path for output in outputs))
        identity = tuple(path and _identity(path) for path in paths)
        if identity in seen:
            continue
        seen[identity] = found
        key = found.name
        while key in taken_keys:
            key += " (standard input)" if found.path is None else " (again)"
        taken_keys.add(key)
        action = Action.FAIL if found.problem else Action.TRANSCRIBE
        planned.append(PlannedRecording(key, found.path, outputs, action, found.problem))
    plan = Plan(tuple(planned))
    _refuse_collisions(plan, options, seen.values())
    plan = Plan(tuple(_look_at_existing(p, options.existing) for p in plan.recordings))
    _refuse_existing(plan, options.existing)
    _refuse_unwritable(plan)
    return plan


@dataclass(frozen=True, slots=True)
class _Target:
    """Where outputs go: beside the recordings, into a folder, to one file, or to stdout."""

    formats: tuple[str, ...]
    folder: Path | None = None
    file: Path | None = None
    stdout: bool = False
    mirror: bool = False

    def outputs_of(self, found: Found) -> tuple[Output, ...]:
        if self.stdout:
            return (Output(self.formats[0], None),)
        if self.file is not None:
            return tuple(Output(name, self._named(self.file, name)) for name in self.formats)
        if self.folder is not None:
            folder = self.folder / found.tree if self.mirror else self.folder
        else:
            folder = found.path.parent if found.path is not None else Path()
        stem = found.path.stem if found.path is not None else _file_stem(found.name)
        return tuple(Output(name, folder / f"{stem}.{name}") for name in self.formats)

    def _named(self, file: Path, name: str) -> Path:
        suffix = file.suffix.lower()
        if FORMAT_OF_SUFFIX.get(suffix) == name or len(self.formats) == 1:
            return file
        stem = file.stem if suffix in FORMAT_OF_SUFFIX else file.name
        return file.with_name(f"{stem}.{name}")


def _choose_target(inputs: Inputs, n_recordings: int, options: OutputOptions) -> _Target:
    formats = options.formats or ("mid",)
    out = options.out
    from_stdin = any(found.path is None for found in inputs.found)
    if out is None and from_stdin:
        out = _default_of_stdin(n_recordings, options)
    if out is None:
        return _Target(formats)
    if out in _STDOUT_WORDS:
        _check_stdout(n_recordings, formats, options)
        return _Target(formats, stdout=True)
    path = Path(out)
    suffix = path.suffix.lower()
    if path.is_dir() or out.endswith(tuple(filter(None, (os.sep, os.altsep)))):
        return _Target(formats, folder=path, mirror=options.mirror)
    plural = inputs.plural and suffix not in FORMAT_OF_SUFFIX
    if n_recordings > 1 or (plural and not path.exists()):
        if path.exists() or suffix in FORMAT_OF_SUFFIX:
            raise UsageError(
                f"{out}: this is one file, and there are {n_recordings} recordings; "
                f"name a folder with -o (a new one ends in {os.sep})"
            )
        return _Target(formats, folder=path, mirror=options.mirror)
    return _Target(_formats_of_file(path, options), file=path)


def _default_of_stdin(n_recordings: int, options: OutputOptions) -> str:
    """Choose where a recording from standard input goes when nobody said: on, as in a pipe."""
    if n_recordings > 1:
        raise UsageError("standard input among several recordings: name a folder for all with -o")
    if options.stdout_is_terminal:
        raise UsageError("where should the result go? -o FILE writes a file, -o - into a pipe")
    return STANDARD_STREAM


def _check_stdout(n_recordings: int, formats: tuple[str, ...], options: OutputOptions) -> None:
    if n_recordings > 1:
        raise UsageError(f"-o - takes one recording, not {n_recordings}; name a folder with -o")
    if len(formats) > 1:
        raise UsageError(f"-o - takes one format, not {', '.join(formats)}")
    if options.report == STANDARD_STREAM:
        raise UsageError("the result and the report cannot share standard output; name a file")
    if formats == ("mid",) and options.stdout_is_terminal:
        raise UsageError(
            "MIDI bytes are not for a terminal: name a file with -o, send them into a pipe, "
            "or ask for text with --format csv"
        )


def _formats_of_file(path: Path, options: OutputOptions) -> tuple[str, ...]:
    suffix = path.suffix.lower()
    if suffix in AUDIO_SUFFIXES:
        raise UsageError(f"{path}: an output cannot be named like a recording; try .mid")
    named = FORMAT_OF_SUFFIX.get(suffix)
    formats = options.formats or (named or "mid",)
    if len(formats) == 1 and named not in (None, formats[0]):
        raise UsageError(f"{path}: the name says {named}, --format says {formats[0]}")
    if len(formats) > 1 and is_special(path):
        raise UsageError(f"{path} takes one format, not {', '.join(formats)}")
    return formats


def _refuse_collisions(plan: Plan, options: OutputOptions, found: Iterable[Found]) -> None:
    owners: dict[str, list[str]] = {}
    shown: dict[str, str] = {}
    for planned in plan.recordings:
        for output in planned.outputs:
            if output.path is not None:
                identity = _identity(output.path)
                owners.setdefault(identity, []).append(planned.key)
                shown[identity] = str(output.path)
    report = options.report
    if report is not None and report != STANDARD_STREAM:
        owners.setdefault(_identity(Path(report)), []).append("the report")
    for planned in plan.recordings:
        source = _identity(planned.source) if planned.source is not None else None
        if source in owners:
            raise UsageError(f"{planned.key}: this recording would be overwritten by an output")
    shared = [
        f"{shown[identity]}: from {' and '.join(keys)}"
        for identity, keys in owners.items()
        if len(keys) > 1
    ]
    if shared:
        remedy = "give each a call and an output of its own (-o)"
        if options.out and not options.mirror and len({f.tree for f in found}) > 1:
            remedy = f"-r keeps their folders below {options.out}"
        raise UsageError(_listing(f"several recordings for one output; {remedy}", shared))


def _look_at_existing(planned: PlannedRecording, existing: Existing) -> PlannedRecording:
    """Skip a recording only when every asked output is there; else keep what is missing."""
    paths = [output.path for output in planned.outputs if output.path is not None]
    for path in paths:
        try:
            path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            problem = f"{path.name[:40]}...: the output cannot be named so: {error.strerror}"
            return replace(planned, action=Action.FAIL, problem=problem, outputs=())
    if existing is not Existing.SKIP or not paths or planned.action is Action.FAIL:
        return planned
    missing = tuple(o for o in planned.outputs if o.path is not None and not has_content(o.path))
    if missing:
        return replace(planned, outputs=missing)
    return replace(planned, action=Action.SKIP)


def _refuse_existing(plan: Plan, existing: Existing) -> None:
    paths = [
        output.path
        for planned in plan.with_action(Action.TRANSCRIBE)
        for output in planned.outputs
        if output.path is not None and os.path.lexists(output.path)
    ]
    folders = [str(path) for path in paths if path.is_dir()]
    if folders:
        raise UsageError(_listing("there are folders where outputs would be written", folders))
    files = [str(path) for path in paths if not is_special(path)]
    if files and existing is Existing.REFUSE:
        count = "1 output exists" if len(files) == 1 else f"{len(files)} outputs exist"
        what = f"{count}; --skip-existing does only the rest, --overwrite replaces"
        raise UsageError(_listing(what, files))


def _refuse_unwritable(plan: Plan) -> None:
    folders = dict.fromkeys(
        output.path.parent
        for planned in plan.with_action(Action.TRANSCRIBE)
        for output in planned.outputs
        if output.path is not None and not is_special(output.path)
    )
    bad = []
    for folder in folders:
        there = folder
        while not os.path.lexists(there) and there != there.parent:
            there = there.parent
        if not there.is_dir():
            bad.append(f"{folder} ({there} is not a folder)")
        elif not os.access(there, os.W_OK | os.X_OK):
            bad.append(str(folder))
    if bad:
        raise UsageError(_listing("output folders that cannot be written; choose with -o", bad))


def _identity(path: Path) -> str:
    """Name the file that ``path`` means, however it is spelled; it need not exist."""
    name = os.path.normcase(os.path.realpath(path))
    if sys.platform == "darwin":  # its file system takes A and a, and both spellings of é, as one
        name = unicodedata.normalize("NFC", name).casefold()
    return name


def _file_stem(name: str) -> str:
    path = Path(name)
    return path.stem if path.suffix.lower() in AUDIO_SUFFIXES else path.name or "stdin"


def _listing(what: str, names: Sequence[str]) -> str:
    shown = [f"  {name}" for name in names[:_MAX_LISTED]]
    if len(names) > _MAX_LISTED:
        shown.append(f"  ... and {len(names) - _MAX_LISTED} more")
    return "\n".join([f"{what}:", *shown])


def _no_input_text(found: Sequence[Found]) -> str:
    if not found:
        return "no input: the list is empty"
    if len(found) == 1:
        return f"{found[0].name}: {found[0].problem}"
    return _listing("none of the inputs is there", [f"{f.name}: {f.problem}" for f in found])
