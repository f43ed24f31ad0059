"""Whether a pack is what its manifest says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from amtcli.datasets.pack import ManifestEntry, read_manifest, recording_path
from amtcli.datasets.recording_file import check_contents
from amtcli.datasets.workers import map_unordered
from amtcli.errors import DataError


@dataclass(frozen=True)
class Verified:
    """A recording of the manifest, and what is wrong with its file."""

    name: str
    duration_s: float
    problem: str | None


def verify_pack(
    folder: Path, n_jobs: int = 1, on_verified: Callable[[Verified], None] | None = None
) -> list[Verified]:
    """Read every file of a pack and compare it with its hash and with the manifest.

    Returns all recordings in order of their names. Raises DataError when there is no pack.
    """
    manifest = read_manifest(folder)
    work = partial(_verify, folder=folder, sample_rate_hz=manifest.sample_rate_hz)
    found = []
    for verified in map_unordered(work, manifest.recordings, n_jobs):
        found.append(verified)
        if on_verified is not None:
            on_verified(verified)
    return sorted(found, key=lambda verified: verified.name)


def _verify(entry: ManifestEntry, folder: Path, sample_rate_hz: int) -> Verified:
    file = recording_path(folder, entry.name)
    problem = None
    try:
        contents = check_contents(file)
        of_file = (contents.sha256, contents.n_samples, contents.sample_rate_hz)
        if of_file != (entry.sha256, entry.n_samples, sample_rate_hz):
            problem = f"{file} is not the file that the manifest lists; pack it again"
    except DataError as error:
        problem = str(error)
    return Verified(entry.name, entry.duration_s, problem)
