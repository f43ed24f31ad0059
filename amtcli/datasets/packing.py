"""A data set to a pack: in parallel, each file whole or not at all, what is done is not redone.

A recording is settled when its file was made of the same sources at the same rate; then only the
manifest is written anew. Because a file depends on nothing but its sources, a run that was killed
and started again leaves the pack that an undisturbed one would have left.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from amtcli.audio import open_audio
from amtcli.datasets.fit import find_misfit, judge_lag, measure_lag
from amtcli.datasets.labels import Labels
from amtcli.datasets.pack import (
    MANIFEST_FILE,
    Manifest,
    ManifestEntry,
    Source,
    read_manifest,
    recording_path,
    withdraw_manifest,
    write_manifest,
)
from amtcli.datasets.performances import silence
from amtcli.datasets.recording_file import (
    import_h5py,
    read_contents,
    to_int16,
    write_recording,
)
from amtcli.datasets.source import DataSet, SourceRecording
from amtcli.datasets.workers import map_unordered
from amtcli.errors import AmtError, AudioError, DataError, UsageError
from amtcli.files import sha256_of

_BYTES_PER_SAMPLE = 2
_OVERHEAD = 1.05  # tables, and what file systems add


@dataclass(frozen=True)
class PackOptions:
    """How to pack.

    ``longest_lag_s`` is how far sound and labels may be apart; with ``keep_suspect`` what does
    not seem to fit is packed all the same.
    """

    sample_rate_hz: int = 16_000
    n_jobs: int = 1
    longest_lag_s: float = 0.1
    keep_suspect: bool = False


@dataclass(frozen=True)
class Packed:
    """What became of a recording: its entry in the manifest, or the reason for having none."""

    name: str
    entry: ManifestEntry | None
    problem: str | None


@dataclass(frozen=True)
class _Facts:
    """What is found out about a recording when its file is made, and kept in that file."""

    sources: tuple[Source, ...]
    lag_s: float | None
    suspicion: str | None
    notices: tuple[str, ...]

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> _Facts:
        row = json.loads(text)
        sources = tuple(Source(**source) for source in row.pop("sources"))
        return cls(sources=sources, notices=tuple(row.pop("notices")), **row)


def pack(
    data_set: DataSet,
    folder: Path,
    options: PackOptions,
    on_packed: Callable[[Packed], None] | None = None,
) -> Manifest:
    """Pack a data set into ``folder``, or go on doing so.

    What cannot be packed is listed in the manifest with the reason. ``on_packed`` hears of each
    recording as it is done.

    Raises
    ------
    UsageError
        The folder is a pack of something else, or h5py is not installed.
    DataError
        Two recordings have one name.
    AmtError
        The folder cannot be written.
    """
    import_h5py()
    check_folder(data_set, folder, options)
    withdraw_manifest(folder)
    work = partial(pack_recording, source_folder=data_set.folder, folder=folder, options=options)
    results = []
    for packed in map_unordered(work, data_set.recordings, options.n_jobs):
        results.append(packed)
        if on_packed is not None:
            on_packed(packed)
    results.sort(key=lambda packed: packed.name)
    entries = tuple(packed.entry for packed in results if packed.entry is not None)
    rejected = {packed.name: packed.problem for packed in results if packed.problem is not None}
    manifest = Manifest(data_set.kind, options.sample_rate_hz, entries, rejected)
    write_manifest(folder, manifest)
    return manifest


def check_folder(data_set: DataSet, folder: Path, options: PackOptions) -> None:
    """Raise UsageError when ``folder`` is another pack, DataError when names are not unique."""
    names = [recording.name for recording in data_set.recordings]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{data_set.folder} holds two recordings called {twice}; rename one")
    if not (folder / MANIFEST_FILE).exists():
        return
    there = read_manifest(folder)
    if (there.dataset, there.sample_rate_hz) != (data_set.kind, options.sample_rate_hz):
        raise UsageError(
            f"{folder} is a pack of {there.dataset} at {there.sample_rate_hz} Hz; choose another "
            "folder"
        )


def moved(before: Manifest, after: Manifest) -> Mapping[tuple[str, str], int]:
    """Count the recordings whose split is another than before, by the old one and the new."""
    splits = {entry.name: entry.split for entry in before.recordings}
    pairs = ((splits.get(entry.name, entry.split), entry.split) for entry in after.recordings)
    return Counter(pair for pair in pairs if pair[0] != pair[1])


@dataclass(frozen=True)
class Estimate:
    """What is still to be packed: seconds of each recording, as far as known, and bytes of all."""

    durations_s: Mapping[str, float]
    n_bytes: int


def estimate(data_set: DataSet, folder: Path, options: PackOptions) -> Estimate:
    """Look at the headers of all recordings that ``folder`` does not hold yet."""
    missing = [
        recording
        for recording in data_set.recordings
        if recording.problem is None and not recording_path(folder, recording.name).exists()
    ]
    durations_s = {recording.name: _expected_s(recording) for recording in missing}
    n_samples = sum(durations_s.values()) * options.sample_rate_hz
    return Estimate(durations_s, round(n_samples * _BYTES_PER_SAMPLE * _OVERHEAD))


def check_space(folder: Path, n_bytes: int) -> int:
    """Return how many bytes are free. Raises UsageError when they are fewer than ``n_bytes``."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    n_free = shutil.disk_usage(there).free
    if n_free < n_bytes:
        raise UsageError(
            f"{folder} needs {n_bytes / 1e9:.1f} GB, and {n_free / 1e9:.1f} GB are free there; "
            "choose another disk, or a lower --sample-rate"
        )
    return n_free


def _expected_s(recording: SourceRecording) -> float:
    if recording.duration_s is not None:
        return recording.duration_s
    if recording.audio is None:
        return 0.0  # nothing but all of its notes would tell
    try:
        with open_audio(recording.audio, 16_000, mono=True) as stream:
            return stream.expected_duration_s or 0.0
    except AudioError:
        return 0.0  # the reason is told when it is packed


def pack_recording(
    recording: SourceRecording, source_folder: Path, folder: Path, options: PackOptions
) -> Packed:
    """Pack one recording unless that is done already; what is wrong with it is in the result.

    Raises AmtError when the pack cannot be written.
    """
    file = recording_path(folder, recording.name)
    try:
        entry = _keep(file, recording, source_folder, options)
        if entry is None:
            audio, labels, facts = _read(recording, source_folder, options)
    except (AmtError, OSError) as error:
        return Packed(recording.name, None, _on_one_line(error))
    if entry is None:
        rate_hz, kept = options.sample_rate_hz, {"facts": facts.to_json()}
        written = write_recording(file, [audio], rate_hz, labels, kept)
        entry = _entry(recording, written.n_samples, written.sha256, facts, options)
    return Packed(recording.name, entry, None)


def _read(
    recording: SourceRecording, source_folder: Path, options: PackOptions
) -> tuple[NDArray[np.int16], Labels, _Facts]:
    """Read a recording and its labels and hold them, where there is sound, against each other."""
    if recording.problem is not None:
        raise DataError(recording.problem)
    labels = recording.read_labels()
    if recording.audio is None:
        facts = _Facts(_sources(recording, source_folder), None, None, ())
        return silence(labels, options.sample_rate_hz), labels, facts
    with open_audio(recording.audio, options.sample_rate_hz, mono=True) as stream:
        audio, n_clipped = to_int16(stream)
    notices = stream.warnings
    if n_clipped:
        notices += (f"{n_clipped} samples beyond full scale were cut to it",)
    lag = None
    suspicion = find_misfit(len(audio), options.sample_rate_hz, labels, recording.duration_s)
    if suspicion is None and labels.notes is not None:
        lag = measure_lag(audio, options.sample_rate_hz, labels.notes, options.longest_lag_s)
        suspicion = judge_lag(lag, options.longest_lag_s)
    if suspicion is not None and not options.keep_suspect:
        raise DataError(suspicion)
    sources = _sources(recording, source_folder)
    return audio, labels, _Facts(sources, lag.lag_s if lag else None, suspicion, notices)


def _keep(
    file: Path, recording: SourceRecording, source_folder: Path, options: PackOptions
) -> ManifestEntry | None:
    """Return the entry of a file that was made of the same sources, None when there is none."""
    if recording.problem is not None or not file.exists():
        return None
    try:
        contents = read_contents(file)
        facts = _Facts.from_json(str(contents.attributes["facts"]))
    except (DataError, KeyError):
        return None  # of another program, or damaged: it is made anew
    if contents.sample_rate_hz != options.sample_rate_hz:
        return None
    paths, made_ns = _files(recording), file.stat().st_mtime_ns
    if len(paths) != len(facts.sources):
        return None
    for path, known in zip(paths, facts.sources, strict=True):
        if _is_untouched(path, recording, known, made_ns):
            continue
        if _source(path, source_folder) != known:
            return None
    too_late = facts.lag_s is not None and abs(facts.lag_s) > options.longest_lag_s
    if (facts.suspicion or too_late) and not options.keep_suspect:
        return None  # judged anew, by the options of today
    return _entry(recording, contents.n_samples, contents.sha256, facts, options)


def _is_untouched(path: Path, recording: SourceRecording, known: Source, made_ns: int) -> bool:
    """Whether a file can be taken for what it was without reading it.

    Copying keeps the time of the last change, but not that of the entry in the folder, where the
    system has one (`st_ctime_ns`). Labels are small: they are always read.
    """
    status = path.stat()
    changed_ns = max(status.st_mtime_ns, status.st_ctime_ns)
    is_old = changed_ns < made_ns and status.st_size == known.n_bytes
    return is_old and path not in recording.label_files


def _entry(
    recording: SourceRecording, n_samples: int, sha256: str, facts: _Facts, options: PackOptions
) -> ManifestEntry:
    suspicions = (facts.suspicion,) if facts.suspicion else ()
    return ManifestEntry(
        recording.name,
        recording.split,
        recording.group,
        recording.instrument,
        n_samples,
        n_samples / options.sample_rate_hz,
        sha256,
        facts.sources,
        facts.lag_s,
        suspicions + facts.notices,
    )


def _files(recording: SourceRecording) -> tuple[Path, ...]:
    audio = () if recording.audio is None else (recording.audio,)
    return (*audio, *recording.label_files)


def _sources(recording: SourceRecording, folder: Path) -> tuple[Source, ...]:
    return tuple(_source(path, folder) for path in _files(recording))


def _source(path: Path, folder: Path) -> Source:
    shown = path.relative_to(folder) if path.is_relative_to(folder) else path
    return Source(shown.as_posix(), path.stat().st_size, sha256_of(path))


def _on_one_line(error: Exception) -> str:
    return " ".join(str(error).split())
