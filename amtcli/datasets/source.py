"""What every data set is turned into before it is packed: recordings with their files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from amtcli.audio import AUDIO_SUFFIXES
from amtcli.datasets.labels import Labels
from amtcli.datasets.pack import Split
from amtcli.files import all_files_below


@dataclass(frozen=True)
class SourceRecording:
    """A recording of a data set, where it lies.

    ``audio`` is None where there are only notes. ``read_labels`` reads ``label_files``, and can
    be sent to another process. ``duration_s`` is what the data set says of its length, None where
    it says nothing. ``group`` and ``instrument`` are those of `ManifestEntry`. A recording whose
    file is missing has ``problem``, the reason why it cannot be packed.
    """

    name: str
    split: Split
    group: str
    instrument: str
    audio: Path | None
    label_files: tuple[Path, ...]
    read_labels: Callable[[], Labels]
    duration_s: float | None = None
    problem: str | None = None


@dataclass(frozen=True)
class DataSet:
    """All recordings that a data set gives, and what is worth saying about what it does not."""

    kind: str
    folder: Path
    recordings: tuple[SourceRecording, ...]
    notices: tuple[str, ...] = ()


def files_below(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """List the files below ``folder`` with one of ``suffixes``, in order; hidden ones left out.

    Raises AmtError where a folder cannot be looked into.
    """
    wanted = frozenset(suffixes)
    return sorted(
        path
        for path in all_files_below(folder)
        if path.suffix.lower() in wanted
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def audio_below(folder: Path) -> list[Path]:
    """List the recordings below ``folder``, in order."""
    return files_below(folder, AUDIO_SUFFIXES)
