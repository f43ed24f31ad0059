"""One recording of a pack as one HDF5 file: samples, and what is known of them as tables.

``audio`` holds mono int16 samples, contiguous and not compressed, so that any stretch of them is
one read from the disk. ``notes``, ``pedals`` and ``beats`` are tables with one column per field
of `NoteLabels`, `PedalLabels` and `BeatLabels`; a table that is missing is not known. Attributes
say the sample rate, and a SHA-256 of samples and tables tells damage from what was written.

No file stays open between two calls, so recordings can be read in threads and forked processes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from amtcli.datasets.labels import BeatLabels, Labels, NoteLabels, PedalLabels
from amtcli.errors import DataError, UsageError
from amtcli.files import write_atomically

FORMAT = 1
FULL_SCALE = 32768.0

_AUDIO = "audio"
_SAMPLE = np.dtype("<i2")
_RESERVED = ("format", "sample_rate_hz", "sha256")

_Table = TypeVar("_Table", NoteLabels, PedalLabels, BeatLabels)
_NOTES = {
    "onset_s": "<f8",
    "offset_s": "<f8",
    "sounding_end_s": "<f8",
    "pitch": "<i2",
    "velocity": "<i2",
}
_PEDALS = {"onset_s": "<f8", "offset_s": "<f8", "controller": "<i2", "value": "<i2"}
_BEATS = {"time_s": "<f8", "is_downbeat": "|b1", "dynamics": "|i1"}
_TABLES: dict[str, tuple[type[Any], np.dtype[Any]]] = {
    "notes": (NoteLabels, np.dtype(list(_NOTES.items()))),
    "pedals": (PedalLabels, np.dtype(list(_PEDALS.items()))),
    "beats": (BeatLabels, np.dtype(list(_BEATS.items()))),
}


@dataclass(frozen=True)
class Written:
    """What was written: the number of samples, and the hash of samples and tables."""

    n_samples: int
    sha256: str


@dataclass(frozen=True)
class Contents:
    """Everything in a recording's file but its samples."""

    n_samples: int
    sample_rate_hz: int
    sha256: str
    labels: Labels
    attributes: Mapping[str, str | int | float]


def import_h5py() -> Any:
    """Return the module h5py. Raises UsageError that says how to get it."""
    try:
        import h5py
    except ImportError:
        raise UsageError("packs need h5py; pip install 'amtcli[train]'") from None
    return h5py


def write_recording(
    file: Path,
    blocks: Iterable[NDArray[Any]],
    sample_rate_hz: int,
    labels: Labels,
    attributes: Mapping[str, str | int | float] | None = None,
) -> Written:
    """Write a recording, whole or not at all, in place of what may have the name ``file``.

    ``blocks`` are samples one after another, each (n,) or (1, n): floats with full scale 1.0, as
    `to_int16` takes them, or int16. ``attributes`` are further facts that are kept in the file.
    Equal arguments give equal bytes.

    Raises
    ------
    DataError
        There are no samples.
    AmtError
        The file cannot be written.
    """
    h5py = import_h5py()
    audio, _ = to_int16(blocks)
    if not len(audio):
        raise DataError(f"{file.stem} has no samples; check its source")
    tables = _tables_of(labels)
    digest = _digest(audio, tables)
    memory = io.BytesIO()
    with h5py.File(memory, "w") as h5:
        own = (FORMAT, sample_rate_hz, digest)
        h5.attrs.update({**(attributes or {}), **dict(zip(_RESERVED, own, strict=True))})
        h5.create_dataset(_AUDIO, data=audio)
        for name, table in tables.items():
            h5.create_dataset(name, data=table)
    write_atomically(file, memory.getvalue())
    return Written(len(audio), digest)


def to_int16(blocks: Iterable[NDArray[Any]]) -> tuple[NDArray[np.int16], int]:
    """Join blocks, each (n,) or (1, n), to int16 samples; return how many were beyond full scale.

    Floats with full scale 1.0 are rounded; those that come of 16 bit samples become them again.
    Int16 blocks are taken as they are.
    """
    parts, n_clipped = [np.empty(0, _SAMPLE)], 0
    for block in blocks:
        samples = np.reshape(block, -1)
        if samples.dtype != np.int16:
            scaled = np.rint(samples * np.float32(FULL_SCALE))
            # 1.0 itself, which int16 lacks by one step, is not worth telling anybody.
            n_clipped += int(np.count_nonzero(np.abs(scaled) > FULL_SCALE))
            samples = np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1)
        parts.append(samples.astype(_SAMPLE))
    return np.concatenate(parts), n_clipped


def read_contents(file: Path) -> Contents:
    """Read all but the samples. Raises DataError when the file is missing or damaged."""
    with _opened(file) as h5:
        attributes = {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in h5.attrs.items()
        }
        if attributes.get("format") != FORMAT:
            raise DataError(f"{file} is of a format unknown here; pack it again")
        tables = {name: h5[name][:] if name in h5 else None for name in _TABLES}
        labels = Labels(**{name: _from_table(name, table) for name, table in tables.items()})
        _, sample_rate_hz, sha256 = (attributes.pop(name) for name in _RESERVED)
        return Contents(len(h5[_AUDIO]), sample_rate_hz, sha256, labels, attributes)


def read_audio(file: Path, start_samples: int, n_samples: int) -> NDArray[np.float32]:
    """Read samples (n_samples,) in [-1, 1) from ``start_samples`` on, zeros outside the recording.

    Raises DataError when the file is missing or damaged.
    """
    try:
        status = file.stat()
        offset_bytes, n_held = _audio_place(file, status.st_mtime_ns, status.st_size)
        first, last = max(start_samples, 0), min(start_samples + n_samples, n_held)
        wanted = max(last - first, 0)
        stored = np.fromfile(
            file, _SAMPLE, wanted, offset=offset_bytes + first * _SAMPLE.itemsize if wanted else 0
        )
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from error
    if len(stored) != wanted:
        raise DataError(f"{file} is cut off; run `amt pack verify`")
    samples = np.zeros(n_samples, np.float32)
    samples[first - start_samples : first - start_samples + wanted] = stored / np.float32(
        FULL_SCALE
    )
    return samples


def check_contents(file: Path) -> Contents:
    """Read a whole file and compare it with its own hash. Raises DataError on a difference."""
    contents = read_contents(file)
    with _opened(file) as h5:
        digest = _digest(h5[_AUDIO][:], _tables_of(contents.labels))
    if digest != contents.sha256:
        raise DataError(f"{file} is damaged: its contents do not match their hash; pack it again")
    return contents


def _tables_of(labels: Labels) -> dict[str, NDArray[Any]]:
    tables = {}
    for name, (_, dtype) in _TABLES.items():
        known = getattr(labels, name)
        if known is not None:
            tables[name] = np.zeros(len(known), dtype)
            for column in dtype.names or ():
                tables[name][column] = getattr(known, column)
    return tables


def _from_table(name: str, table: NDArray[Any] | None) -> Any:
    label_class, _ = _TABLES[name]
    if table is None:
        return None
    fields = [field.name for field in dataclasses.fields(label_class)]
    return label_class(**{field: np.ascontiguousarray(table[field]) for field in fields})


def _digest(audio: NDArray[np.int16], tables: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(audio).data)
    for name, table in tables.items():
        digest.update(f"{name} {len(table)}".encode())
        digest.update(table.tobytes())
    return digest.hexdigest()


@contextmanager
def _opened(file: Path) -> Generator[Any, None, None]:
    """Open a file to read from it; what is wrong with it is a DataError, also while it is read."""
    h5py = import_h5py()
    try:
        # Nobody writes into a file that is there: a lock would only fail on network folders.
        with h5py.File(file, "r", locking=False) as h5:
            yield h5
    except FileNotFoundError:
        raise DataError(f"{file} is missing; run `amt pack` again") from None
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error}") from error
    except (KeyError, RuntimeError, TypeError, ValueError) as error:  # h5py's words for damage
        raise DataError(f"{file} is damaged ({error}); pack it again") from error


@lru_cache(maxsize=1 << 16)
def _audio_place(file: Path, modified_ns: int, size_bytes: int) -> tuple[int, int]:
    """Where the samples lie in the file, and how many; the other arguments tell files apart."""
    with _opened(file) as h5:
        audio = h5.get(_AUDIO)
        offset_bytes = audio.id.get_offset() if audio is not None else None
        if offset_bytes is None or audio.dtype != _SAMPLE:
            raise DataError(f"{file} holds no samples that can be read; pack it again")
        return int(offset_bytes), len(audio)
