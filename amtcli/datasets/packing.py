"""A data set to a pack: in parallel, each file whole or not at all, what is done is not redone.

A recording is settled when its file was made of the same sources at the same rate; then only the
manifest is written anew. Because a file depends on nothing but its sources, a run that was killed
and started again leaves the pack that an undisturbed one would have left.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from amtcli.audio import open_audio
from amtcli.datasets.pack import (
    Manifest,
    ManifestEntry,
    Source,
    recording_path,
    write_manifest,
)
from amtcli.datasets.recording_file import read_contents, write_recording
from amtcli.datasets.source import DataSet, SourceRecording
from amtcli.errors import AmtError, DataError


@dataclass(frozen=True)
class PackOptions:
    """How to pack: at what rate, in how many processes."""

    sample_rate_hz: int = 16_000
    n_jobs: int = 1


@dataclass(frozen=True)
class Packed:
    """What became of one recording: its entry in the manifest, or the reason for having none."""

    name: str
    entry: ManifestEntry | None
    problem: str | None
    duration_s: float
    was_there: bool


def pack(
    data_set: DataSet,
    folder: Path,
    options: PackOptions,
    on_packed: Callable[[Packed], None] | None = None,
) -> Manifest:
    """Pack a data set into ``folder``. ``on_packed`` hears of each recording as it is done."""
    results = []
    for packed in _pack_all(data_set, folder, options):
        results.append(packed)
        if on_packed is not None:
            on_packed(packed)
    manifest = Manifest(
        data_set.kind,
        options.sample_rate_hz,
        tuple(packed.entry for packed in results if packed.entry is not None),
        {packed.name: packed.problem for packed in results if packed.problem is not None},
    )
    write_manifest(folder, manifest)
    return manifest


def _pack_all(data_set: DataSet, folder: Path, options: PackOptions) -> Iterator[Packed]:
    for recording in data_set.recordings:
        yield pack_recording(recording, data_set.folder, folder, options)


def pack_recording(
    recording: SourceRecording, source_folder: Path, folder: Path, options: PackOptions
) -> Packed:
    """Pack one recording unless that is done already; what is wrong with it is in the result."""
    file = recording_path(folder, recording.name)
    try:
        if recording.problem is not None:
            raise DataError(recording.problem)
        kept = _read_kept(file, recording, source_folder, options)
        entry = kept or _make(file, recording, source_folder, options)
    except AmtError as error:
        return Packed(recording.name, None, str(error), 0.0, was_there=False)
    return Packed(recording.name, entry, None, entry.duration_s, was_there=kept is not None)


def _make(
    file: Path, recording: SourceRecording, source_folder: Path, options: PackOptions
) -> ManifestEntry:
    labels = recording.read_labels()
    sources = tuple(_source(path, source_folder) for path in _files(recording))
    with open_audio(recording.audio, options.sample_rate_hz, mono=True) as stream:
        written = write_recording(
            file,
            stream,
            options.sample_rate_hz,
            labels,
            {"sources": json.dumps([asdict(source) for source in sources])},
        )
    return _entry(recording, written.n_samples, written.sha256, sources, options)


def _read_kept(
    file: Path, recording: SourceRecording, source_folder: Path, options: PackOptions
) -> ManifestEntry | None:
    """Return the entry of a file that was made of the same sources, None when there is none."""
    try:
        contents = read_contents(file)
        made_s = file.stat().st_mtime
    except (DataError, OSError):
        return None
    sources = tuple(Source(**row) for row in json.loads(str(contents.attributes["sources"])))
    if contents.sample_rate_hz != options.sample_rate_hz:
        return None
    for path, known in zip(_files(recording), sources, strict=False):
        status = path.stat()
        is_older = status.st_mtime < made_s and status.st_size == known.n_bytes
        if not is_older and _source(path, source_folder) != known:
            return None
    return _entry(recording, contents.n_samples, contents.sha256, sources, options)


def _entry(
    recording: SourceRecording,
    n_samples: int,
    sha256: str,
    sources: tuple[Source, ...],
    options: PackOptions,
) -> ManifestEntry:
    return ManifestEntry(
        recording.name,
        recording.split,
        recording.group,
        recording.instrument,
        n_samples,
        n_samples / options.sample_rate_hz,
        sha256,
        sources,
    )


def _files(recording: SourceRecording) -> tuple[Path, ...]:
    return (recording.audio, *recording.label_files)


def _source(path: Path, folder: Path) -> Source:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return Source(path.relative_to(folder).as_posix(), path.stat().st_size, digest.hexdigest())
