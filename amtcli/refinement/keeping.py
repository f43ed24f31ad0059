"""Recordings that can be read only once, kept in a file until they have been heard twice."""

from __future__ import annotations

import io
import os
import secrets
import shutil
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from amtcli.files import exists
from amtcli.reading import Recording

_BLOCK_BYTES = 1 << 20


def kept(recording: Recording, folder: Path) -> Recording:
    """Copy what can be read only once into a file of the folder."""
    source = recording.source
    if isinstance(source, np.ndarray):
        return recording
    with ExitStack() as stack:
        if isinstance(source, Path):
            if os.path.isfile(source) or not exists(source):  # noqa: PTH113 - as `exists` has it
                return recording
            try:
                source = stack.enter_context(source.open("rb"))
            except OSError:
                return recording  # which is told when it is to be read
        copy = folder / secrets.token_hex(8)
        try:
            with copy.open("wb") as file:
                shutil.copyfileobj(source, file, _BLOCK_BYTES)
        except OSError as error:
            return replace(recording, source=io.BufferedReader(_Unreadable(error)))
    return replace(recording, source=copy)


class _Unreadable(io.RawIOBase):
    """A stream that could not be kept: whoever reads it is told why, and that recording fails."""

    def __init__(self, error: OSError) -> None:
        self._error = error

    def readable(self) -> bool:
        """Say yes, to be asked."""
        return True

    def readinto(self, _: object) -> int:
        """Raise what went wrong."""
        raise self._error
