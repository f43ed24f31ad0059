"""What a call will do, settled before any audio is read.

`make_plan` turns inputs and options into a frozen `Plan`: which recordings, which outputs, what
is skipped. Two recordings for one output, outputs that exist, folders that cannot be written
and outputs that are inputs are found here, all of them at once, and refused with the remedy.
The file system is looked at, never changed.
"""

from __future__ import annotations

import errno
import os
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from amtcli.errors import NoInputError, UsageError
from amtcli.files import is_special
from amtcli.inputs import STANDARD_STREAM, Found, Inputs
from amtcli.outputs import (
    Existing,
    Output,
    OutputOptions,
    choose_target,
    has_content,
    unwritable,
)

_MAX_LISTED = 10


class Action(str, Enum):
    """What happens to a recording; the values are what a dry run prints."""

    TRANSCRIBE = "transcribe"
    SKIP = "skip"
    FAIL = "fail"


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


def make_plan(inputs: Inputs, options: OutputOptions) -> Plan:
    """Settle what happens to every recording.

    Raises `NoInputError` when the inputs stand for nothing, `UsageError` for everything that
    would stop or spoil the work later: all offending files are named, ten at most.
    """
    if all(found.problem for found in inputs.found):
        raise NoInputError(_no_input_text(inputs.found))
    # Those that cannot be read count, too: mended, they shall not need another place.
    sources = {_identity(found.path) if found.path else None for found in inputs.found}
    target = choose_target(inputs, len(sources), options)
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
        if reason := _why_no_name(path):
            problem = f"{path.name[:40]}...: the output cannot be named so: {reason}"
            return replace(planned, action=Action.FAIL, problem=problem, outputs=())
    if existing is not Existing.SKIP or not paths or planned.action is Action.FAIL:
        return planned
    missing = tuple(o for o in planned.outputs if o.path is not None and not has_content(o.path))
    if missing:
        return replace(planned, outputs=missing)
    return replace(planned, action=Action.SKIP)


def _why_no_name(path: Path) -> str | None:
    """Say why no file can be called so; None where one can, also in a folder that is not there."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        return error.strerror
    if not hasattr(os, "pathconf"):
        return None
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    longest = os.pathconf(folder, "PC_NAME_MAX")
    return os.strerror(errno.ENAMETOOLONG) if len(os.fsencode(path.name)) > longest else None


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
    bad = [problem for folder in folders if (problem := unwritable(folder))]
    if bad:
        raise UsageError(_listing("output folders that cannot be written; choose with -o", bad))


def _identity(path: Path) -> str:
    """Name the file that ``path`` means, however it is spelled; it need not exist."""
    name = os.path.normcase(os.path.realpath(path))
    if sys.platform == "darwin":  # its file system takes A and a, and both spellings of é, as one
        name = unicodedata.normalize("NFC", name).casefold()
    return name


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
