"""What the words of a command line stand for: files, folders, globs, lists, standard input.

A word that names an existing file or folder is taken as it stands, whatever its characters, so
``@``, ``*`` and ``[`` in real names need no quoting of ours. Only then is ``@name`` a list of
paths and a word with ``*``, ``?`` or ``[`` a glob, which the shell may have left to us. Nothing
is opened here but lists; a word that stands for nothing comes back with its problem.
"""

from __future__ import annotations

import codecs
import glob
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from amtcli.audio import AUDIO_SUFFIXES
from amtcli.errors import NoInputError, UsageError
from amtcli.files import is_folder

STANDARD_STREAM = "-"
_STDIN_WORDS = frozenset({STANDARD_STREAM, "/dev/stdin"})
_MISSING = "no such file or folder"
_HERE = PurePath()


@dataclass(frozen=True, slots=True)
class Found:
    """One recording that an input stands for, or the problem that it has.

    ``path`` is None for standard input. ``tree`` is the folder to be kept below the output
    folder when trees are mirrored: for a file found in a folder its way down from there, for
    anything else the folders of a relative path as it was written.
    """

    name: str
    path: Path | None
    tree: PurePath = _HERE
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that the inputs stand for, in order; ``plural`` when a folder or list was named."""

    found: tuple[Found, ...]
    plural: bool


def find_inputs(
    words: Iterable[str],
    *,
    recursive: bool = False,
    stdin_name: str = "stdin",
    read_stdin: Callable[[], bytes] | None = None,
) -> Inputs:
    """Resolve ``words``; ``read_stdin`` returns all of standard input for the list ``@-``.

    Raises `UsageError` when standard input is asked for twice and `NoInputError` when a list
    cannot be read.
    """
    words = list(words)
    if sum(word in _STDIN_WORDS or word == "@-" for word in words) > 1:
        raise UsageError("standard input can be only one of the inputs: name - or @- once")
    found: list[Found] = []
    plural = False
    for word in words:
        if word in _STDIN_WORDS:
            found.append(Found(stdin_name, None))
        elif word.startswith("@") and not os.path.lexists(word):
            plural = True
            for entry in parse_list(_read_list(word[1:], read_stdin)):
                found.extend(_find_path(entry, recursive))
        else:
            plural = plural or is_folder(Path(word))
            found.extend(_find_word(word, recursive))
    return Inputs(tuple(found), plural)


def parse_list(data: bytes) -> list[str]:
    """Split a list of paths: one per line, or NUL-separated as ``find -print0`` writes it.

    Names in no known encoding survive (surrogateescape); byte order marks, which Windows
    editors and shells write, choose the encoding.
    """
    encoding = sys.getfilesystemencoding()
    marks = {
        codecs.BOM_UTF8: "utf-8",
        codecs.BOM_UTF16_LE: "utf-16-le",
        codecs.BOM_UTF16_BE: "utf-16-be",
    }
    for mark, marked in marks.items():
        if data.startswith(mark):
            data, encoding = data[len(mark) :], marked
    text = data.decode(encoding, "replace" if encoding.startswith("utf-16") else "surrogateescape")
    if "\0" in text:
        return [entry for entry in text.split("\0") if entry]
    return [line for line in (line.rstrip("\r") for line in text.split("\n")) if line.strip()]


def _read_list(name: str, read_stdin: Callable[[], bytes] | None) -> bytes:
    if name == STANDARD_STREAM:
        return read_stdin() if read_stdin is not None else b""
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise NoInputError(f"@{name}: the list cannot be read: {error.strerror}") from error


def _find_word(word: str, recursive: bool) -> Iterator[Found]:
    if not os.path.lexists(word) and glob.has_magic(word):
        return _find_glob(word, recursive)
    return _find_path(word, recursive)


def _find_path(word: str, recursive: bool) -> Iterator[Found]:
    path = Path(word)
    try:
        path.stat()
    except FileNotFoundError:
        problem = "a link that leads nowhere" if os.path.lexists(word) else _MISSING
        yield Found(word, path, problem=problem)
    except OSError as error:
        yield Found(word, path, problem=error.strerror or str(error))
    else:
        if path.is_dir():
            yield from _search_folder(path, recursive)
        else:
            yield Found(str(path), path, _written_tree(path))


def _find_glob(pattern: str, recursive: bool) -> Iterator[Found]:
    # Path.glob takes no patterns that begin at a root.
    names = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207
    matches = [Path(name) for name in names]
    files = [path for path in matches if _is_audio_name(path.name) and path.is_file()]
    for path in files:
        yield Found(str(path), path, _written_tree(path))
    folders = [path for path in matches if path.is_dir()] if not files else []
    for path in folders:
        yield from _search_folder(path, recursive)
    if not files and not folders:
        yield Found(pattern, Path(pattern), problem="nothing matches this pattern")


def _search_folder(folder: Path, recursive: bool) -> Iterator[Found]:
    """Audio files in ``folder``, by suffix; hidden files and folders are passed over."""
    unreadable: list[OSError] = []
    n_files = 0
    for top, subfolders, names in os.walk(folder, onerror=unreadable.append):
        here = Path(top)
        subfolders[:] = sorted(n for n in subfolders if not n.startswith(".")) if recursive else []
        for name in sorted(names):
            if _is_audio_name(name):
                n_files += 1
                yield Found(str(here / name), here / name, here.relative_to(folder))
    for error in unreadable:
        where = Path(os.fsdecode(error.filename))
        yield Found(str(where), where, problem=error.strerror or str(error))
    if n_files == 0 and not unreadable:
        hint = "" if recursive else "; -r searches the folders in it too"
        yield Found(str(folder), folder, problem=f"no audio in this folder{hint}")


def _is_audio_name(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in AUDIO_SUFFIXES  # noqa: PTH122


def _written_tree(path: Path) -> PurePath:
    keep = not path.anchor and ".." not in path.parts
    return PurePath(path.parent) if keep else _HERE
