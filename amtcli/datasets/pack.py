"""A pack: a folder of recordings ready for training, and reading it.

``PACK/recordings/<name>.h5`` are the recordings (see `recording_file`), and
``PACK/manifest.json`` lists them: name, split, group, instrument, length, hash and sources. It is
written last, so a folder without one is no pack, and what it does not list is no part of it.
``PACK/features/<key>/`` holds what one front-end makes of them, where that was asked for.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from amtcli.datasets import recording_file
from amtcli.datasets.labels import Labels
from amtcli.datasets.recording_file import Written, write_recording
from amtcli.errors import AmtError, DataError
from amtcli.files import write_atomically

__all__ = [
    "MANIFEST_FILE",
    "SPLITS",
    "Manifest",
    "ManifestEntry",
    "Pack",
    "PackedRecording",
    "Source",
    "Split",
    "Written",
    "features_folder",
    "open_pack",
    "read_manifest",
    "recording_path",
    "write_manifest",
    "write_recording",
]

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
MANIFEST_FILE = "manifest.json"

_FORMAT = 1
_RECORDINGS = "recordings"
_FEATURES = "features"


@dataclass(frozen=True)
class Source:
    """A file that a recording was made of; ``path`` is relative to the data set's folder."""

    path: str
    n_bytes: int
    sha256: str


@dataclass(frozen=True)
class ManifestEntry:
    """What the manifest says of a recording.

    ``group`` is what must not be divided among splits or folds, such as the composition;
    ``instrument`` names the piano, "" where it is not known. ``lag_s`` is by how much the sound
    comes later than its labels, as far as that could be measured.
    """

    name: str
    split: Split
    group: str
    instrument: str
    n_samples: int
    duration_s: float
    sha256: str
    sources: tuple[Source, ...] = ()
    lag_s: float | None = None
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """The whole of ``manifest.json``; ``rejected`` has the reason for each name left out."""

    dataset: str
    sample_rate_hz: int
    recordings: tuple[ManifestEntry, ...]
    rejected: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PackedRecording:
    """A recording in a pack; it holds no open file and may be sent to other processes."""

    name: str
    split: Split
    group: str
    instrument: str
    n_samples: int
    sample_rate_hz: int
    file: Path
    sha256: str = ""

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.sample_rate_hz

    def read_audio(self, start_samples: int, n_samples: int) -> NDArray[np.float32]:
        """Read samples (n_samples,) in [-1, 1); those outside the recording are zeros.

        ``start_samples`` may be negative. Raises DataError when the file is missing or damaged.
        """
        return recording_file.read_audio(self.file, start_samples, n_samples)

    def read_labels(self) -> Labels:
        """Read all that is known. Raises DataError when the file is missing or damaged."""
        return recording_file.read_contents(self.file).labels

    def features_file(self, key: str) -> Path:
        """Return where features of these very samples are kept (see `features.features_key`)."""
        folder = self.file.parents[len(Path(self.name).parts)]
        return features_folder(folder, key) / f"{self.name}-{self.sha256[:12]}.npy"


@dataclass(frozen=True)
class Pack:
    """A folder of packed recordings, in order of their names."""

    folder: Path
    sample_rate_hz: int
    recordings: tuple[PackedRecording, ...]

    def split(self, name: Split) -> tuple[PackedRecording, ...]:
        """Return the recordings of one split; there may be none."""
        return tuple(recording for recording in self.recordings if recording.split == name)


def open_pack(folder: Path) -> Pack:
    """Open a pack. Raises DataError when there is none, or when its manifest is damaged."""
    manifest = read_manifest(folder)
    recordings = tuple(
        PackedRecording(
            entry.name,
            entry.split,
            entry.group,
            entry.instrument,
            entry.n_samples,
            manifest.sample_rate_hz,
            recording_path(folder, entry.name),
            entry.sha256,
        )
        for entry in manifest.recordings
    )
    return Pack(folder, manifest.sample_rate_hz, recordings)


def recording_path(folder: Path, name: str) -> Path:
    """Return where a pack keeps the recording ``name``, which may hold slashes."""
    return folder / _RECORDINGS / f"{name}.h5"


def check_files(recordings: Iterable[PackedRecording]) -> None:
    """Raise DataError that names the first recording whose file is gone."""
    gone = [recording.file for recording in recordings if not recording.file.is_file()]
    if gone:
        more = f" (and {len(gone) - 1} more)" if len(gone) > 1 else ""
        raise DataError(f"{gone[0]}{more} is missing, which its pack lists; run `amt pack` again")


def unlisted_files(folder: Path, manifest: Manifest) -> list[Path]:
    """Find the recordings that lie in a pack's folder without being part of it, in order."""
    listed = {recording_path(folder, entry.name) for entry in manifest.recordings}
    return sorted(path for path in (folder / _RECORDINGS).rglob("*.h5") if path not in listed)


def features_folder(folder: Path, key: str) -> Path:
    """Return where a pack keeps the features of one front-end."""
    return folder / _FEATURES / key


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, whole or not at all, its recordings in order of their names.

    Raises DataError when two recordings share a name, AmtError when it cannot be written.
    """
    entries = sorted(manifest.recordings, key=lambda entry: entry.name)
    for one, next_one in pairwise(entries):
        if one.name == next_one.name:
            raise DataError(f"two recordings of the pack are called {one.name}; rename one")
    document = {"format": _FORMAT, **dataclasses.asdict(manifest)}
    document["recordings"] = [dataclasses.asdict(entry) for entry in entries]
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    write_atomically(folder / MANIFEST_FILE, text.encode("utf-8", "surrogateescape"))


def withdraw_manifest(folder: Path) -> None:
    """Make a pack none until its manifest is written again: its recordings may change now.

    Raises AmtError when that is not possible.
    """
    try:
        (folder / MANIFEST_FILE).unlink(missing_ok=True)
    except OSError as error:
        raise AmtError(f"{folder / MANIFEST_FILE} cannot be written: {error.strerror}") from error


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest. Raises DataError when there is none, or when it is damaged."""
    path = folder / MANIFEST_FILE
    try:
        document = json.loads(path.read_text("utf-8", "surrogateescape"))
    except FileNotFoundError:
        raise DataError(
            f"{folder} is no pack: it has no {MANIFEST_FILE}; make it, or go on making it, "
            "with `amt pack`"
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}; run `amt pack` again") from error
    try:
        if document.pop("format") != _FORMAT:
            raise DataError(f"{path} is of a format unknown here; pack the data again")
        entries = tuple(_entry(row) for row in document.pop("recordings"))
        return Manifest(recordings=entries, **document)
    except (AttributeError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}); run `amt pack` again") from error


def _entry(row: dict[str, Any]) -> ManifestEntry:
    sources = tuple(Source(**source) for source in row.pop("sources"))
    notices = tuple(row.pop("notices"))
    entry = ManifestEntry(sources=sources, notices=notices, **row)
    if entry.split not in SPLITS:
        raise KeyError(f"split {entry.split} of {entry.name}")
    return entry
