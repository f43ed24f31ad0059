"""Where results go: beside the recordings, into a folder, to one file, or to standard output.

A name that ends in a separator or belongs to a folder is a folder, and so is any name for
several recordings; for one recording a name is a file, and its suffix says the format.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from pathlib import Path

from amtcli.audio import AUDIO_SUFFIXES
from amtcli.errors import UsageError
from amtcli.files import is_folder, is_special
from amtcli.formats import FORMATS
from amtcli.inputs import STANDARD_STREAM, Found, Inputs
from amtcli.midi import MIDI_SUFFIXES

FORMAT_OF_SUFFIX = {**{f".{name}": name for name in FORMATS}, ".midi": "mid"}
_STDOUT_WORDS = frozenset({STANDARD_STREAM, "/dev/stdout"})


class Existing(str, Enum):
    """What happens to a recording whose outputs exist."""

    REFUSE = "refuse"
    SKIP = "skip"
    OVERWRITE = "overwrite"


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


def parse_formats(words: Iterable[str]) -> tuple[str, ...] | None:
    """Split comma lists of formats; None when nothing was asked for."""
    names = [name.strip().lower() for word in words for name in word.split(",") if name.strip()]
    for name in names:
        if name not in FORMATS:
            close = get_close_matches(name, FORMATS, n=1)
            guess = f" (did you mean {close[0]}?)" if close else ""
            raise UsageError(f"unknown format {name!r}{guess}; formats: {', '.join(FORMATS)}")
    return tuple(dict.fromkeys(names)) or None


def stdout_as_dash(name: str | None) -> str | None:
    """Return ``-`` for any name of standard output, and other names as they are."""
    return STANDARD_STREAM if name in _STDOUT_WORDS else name


def unwritable(folder: Path) -> str | None:
    """Say why nothing can be written into ``folder``, which need not exist; None: it can."""
    there = folder
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if not there.is_dir():
        return f"{folder} ({there} is not a folder)"
    return None if os.access(there, os.W_OK | os.X_OK) else str(folder)


def holds_something_else(option: str, path: Path) -> UsageError:
    """Say of a file that no earlier run wrote that it would be lost."""
    return UsageError(f"{option} {path} holds something else: name another file")


def has_content(path: Path) -> bool:
    """Whether ``path`` is a file with something in it, which a finished output always is."""
    return path.is_file() and path.stat().st_size > 0 and not is_special(path)


@dataclass(frozen=True, slots=True)
class Target:
    """Where outputs go: beside the recordings, into a folder, to one file, or to stdout."""

    formats: tuple[str, ...]
    folder: Path | None = None
    file: Path | None = None
    stdout: bool = False
    mirror: bool = False

    def outputs_of(self, found: Found) -> tuple[Output, ...]:
        """Return the outputs of one recording, one per format."""
        if self.stdout:
            return (Output(self.formats[0], None),)
        if self.file is not None:
            return tuple(Output(name, self._named(self.file, name)) for name in self.formats)
        if self.folder is not None:
            folder = self.folder / found.tree if self.mirror else self.folder
        else:
            folder = found.path.parent if found.path is not None else Path()
        stem = found.path.stem if found.path is not None else _file_stem(found.name)
        return tuple(Output(name, folder / (stem + _suffix(found, name))) for name in self.formats)

    def _named(self, file: Path, name: str) -> Path:
        suffix = file.suffix.lower()
        if FORMAT_OF_SUFFIX.get(suffix) == name or len(self.formats) == 1:
            return file
        stem = file.stem if suffix in FORMAT_OF_SUFFIX else file.name
        return file.with_name(f"{stem}.{name}")


def _suffix(found: Found, format_name: str) -> str:
    """Keep a score's own: RIFF (.rmi) under another name would not be read."""
    own = found.path.suffix if found.path is not None else ""
    return own if format_name == "mid" and own.lower() in MIDI_SUFFIXES else f".{format_name}"


def choose_target(inputs: Inputs, n_recordings: int, options: OutputOptions) -> Target:
    """Decide where the results of ``n_recordings`` go.

    Raises `UsageError` when the place cannot take them: a file for several recordings, standard
    output for several formats or, where a person is watching, for MIDI.
    """
    formats = options.formats or ("mid",)
    out = stdout_as_dash(options.out)
    from_stdin = any(found.path is None for found in inputs.found)
    if out is None and from_stdin:
        out = _default_of_stdin(n_recordings, options)
    if out is None:
        return Target(formats)
    if out == STANDARD_STREAM:
        _check_stdout(n_recordings, formats, options)
        return Target(formats, stdout=True)
    path = Path(out)
    suffix = path.suffix.lower()
    if is_folder(path) or out.endswith(tuple(filter(None, (os.sep, os.altsep)))):
        return Target(formats, folder=path, mirror=options.mirror)
    plural = inputs.plural and suffix not in FORMAT_OF_SUFFIX
    if n_recordings > 1 or (plural and not os.path.lexists(path)):
        if os.path.lexists(path) or suffix in FORMAT_OF_SUFFIX:
            raise UsageError(
                f"{out}: this is one file, and there are {n_recordings} recordings; "
                f"name a folder with -o (a new one ends in {os.sep})"
            )
        return Target(formats, folder=path, mirror=options.mirror)
    return Target(_formats_of_file(path, options), file=path)


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


def _file_stem(name: str) -> str:
    path = Path(name)
    return path.stem if path.suffix.lower() in AUDIO_SUFFIXES else path.name or "stdin"
