"""Files of results beside the notes: refused before any work where they could not be written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from amtcli.errors import UsageError
from amtcli.files import is_special
from amtcli.outputs import stdout_as_dash, unwritable


def check_files(paths: Mapping[str, Path]) -> None:
    """Raise UsageError for a file that cannot be written, or that two options name.

    Paths go by the name of their option.
    """
    options: dict[str, str] = {}
    for option, path in paths.items():
        if stdout_as_dash(str(path)) == "-":
            raise UsageError(
                f"{option} takes no standard output: name a file (./- for one called -)"
            )
        if path.is_dir():
            raise UsageError(f"{option} {path} is a folder: name a file to write")
        if is_special(path):
            continue
        if problem := unwritable(path.parent):
            raise UsageError(f"{option} {path} cannot be written: {problem}; choose another place")
        other = options.setdefault(os.path.realpath(path), option)
        if other != option:
            raise UsageError(f"{other} and {option} name one file, {path}: give each its own")


def check_folder(option: str, folder: Path) -> None:
    """Raise UsageError for a folder, which need not exist, that cannot be written into."""
    if problem := unwritable(folder):
        raise UsageError(f"{option}: cannot write into {problem}; choose another folder")
