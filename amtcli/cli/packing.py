"""What the commands of ``amt pack`` share: estimate, pack, cache features, sum up."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amtcli.cli.streams import say
from amtcli.cli.work_bar import WorkBar, in_words
from amtcli.errors import ModelError, UsageError
from amtcli.files import is_folder

if TYPE_CHECKING:
    from amtcli.datasets.pack import Manifest
    from amtcli.datasets.packing import Estimate, Packed
    from amtcli.datasets.source import DataSet


@dataclass(frozen=True)
class PackChoice:
    """The options that all data sets share, as they were given."""

    out: Path
    sample_rate_hz: int
    n_jobs: int | None
    features: tuple[str, ...]
    longest_lag_s: float
    keep_suspect: bool
    quiet: bool


def n_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_source(source: Path, out: Path) -> None:
    """Raise UsageError unless ``source`` is a folder, and the pack's another one."""
    if not is_folder(source):
        raise UsageError(f"{source} is no folder; name the data set's folder")
    if out.resolve() == source.resolve():
        raise UsageError(f"-o {out} is the folder of the source: name another for the pack")


def carry_out(data_set: DataSet, choice: PackChoice) -> int:
    """Pack a data set, say what became of it, and return the exit code."""
    from amtcli.datasets.packing import PackOptions, check_folder, check_space, estimate, pack

    front_ends = {name: front_end_table(name) for name in choice.features}
    options = PackOptions(
        choice.sample_rate_hz,
        choice.n_jobs or n_cores(),
        choice.longest_lag_s,
        choice.keep_suspect,
    )
    check_folder(data_set, choice.out, options)
    _say(choice, *data_set.notices)
    before = listed(choice.out)
    needed = estimate(data_set, choice.out, options)
    n_free = check_space(choice.out, needed.n_bytes)
    _say(choice, _announcement(data_set, needed, n_free))
    total_s = sum(needed.durations_s.values())
    bar = WorkBar("packing", len(data_set.recordings), total_s, quiet=choice.quiet)
    with bar:

        def count(packed: Packed) -> None:
            if packed.problem is not None:
                bar.say(f"amt: {packed.name} is left out: {packed.problem}", "red")
            bar.advance(needed.durations_s.get(packed.name, 0.0))

        manifest = pack(data_set, choice.out, options, count)
    _say(choice, _summary(manifest, choice.out), *no_longer_part(choice.out, manifest))
    _say(choice, *moves(before, manifest))
    for name, front_end in front_ends.items():
        if manifest.recordings:
            cache(name, front_end, choice.out, options.n_jobs, quiet=choice.quiet)
    return 1 if manifest.rejected else 0


def verify(folder: Path, n_jobs: int | None, quiet: bool) -> int:
    """Check a pack, name what is wrong with it, and return the exit code."""
    from amtcli.datasets.pack import read_manifest
    from amtcli.datasets.verify import Verified, verify_pack

    entries = read_manifest(folder).recordings
    total_s = sum(entry.duration_s for entry in entries)
    bar = WorkBar("verifying", len(entries), total_s, quiet=quiet)
    with bar:

        def count(verified: Verified) -> None:
            if verified.problem is not None:
                bar.say(f"amt: {verified.name}: {verified.problem}", "red")
            bar.advance(verified.duration_s)

        found = verify_pack(folder, n_jobs or n_cores(), count)
    n_bad = sum(verified.problem is not None for verified in found)
    if not quiet:
        say(f"amt: {len(found) - n_bad} of {len(found)} recordings in {folder} are as they were")
    return 1 if n_bad else 0


def cache(
    name: str, front_end: Mapping[str, Any], folder: Path, n_jobs: int, *, quiet: bool
) -> None:
    """Compute ahead what the front-end of a recipe or model makes of a pack's audio."""
    from amtcli.datasets.features import (
        cache_features,
        features_bytes,
        features_key,
        without_features,
    )
    from amtcli.datasets.pack import open_pack
    from amtcli.datasets.packing import check_space

    pack = open_pack(folder)
    try:
        check_space(folder, features_bytes(pack, front_end))
        missing = without_features(pack, features_key(front_end))
        total_s = sum(recording.duration_s for recording in missing)
        bar = WorkBar(f"features of {name}", len(missing), total_s, quiet=quiet)
        with bar:
            key = cache_features(pack, front_end, n_jobs, lambda done: bar.advance(done.duration_s))
    except UsageError as error:
        raise UsageError(f"--features {name}: {error}") from error
    if not quiet:
        say(f"amt: features of {name} are in {folder / 'features' / key}")


def front_end_table(name: str) -> Mapping[str, Any]:
    """Return the table [front_end] of a recipe or of a model, by name or path."""
    from amtcli.catalog import locate
    from amtcli.model_config import read_config
    from amtcli.tables import read_toml
    from amtcli.training.recipe import find_recipe

    try:
        recipe = find_recipe(name)
    except UsageError:
        recipe = None
    try:
        table = read_config(locate(name)).front_end if recipe is None else None
        if recipe is not None:
            table = read_toml(recipe).get("front_end")
    except ModelError as error:
        raise UsageError(f"--features {name} is neither a recipe nor a model: {error}") from error
    if not isinstance(table, dict):
        raise UsageError(f"--features {name}: {recipe} has no table [front_end]")
    return table


def _announcement(data_set: DataSet, needed: Estimate, n_free_bytes: int) -> str:
    n_recordings = len(data_set.recordings)
    n_there = n_recordings - len(needed.durations_s)
    if all(recording.audio is None for recording in data_set.recordings):
        return f"{n_recordings} performances" + (f"; {n_there} are there" if n_there else "")
    there = f"{n_there} are there, " if n_there else ""
    return (
        f"{n_recordings} recordings; {there}{in_words(sum(needed.durations_s.values()))} of audio "
        f"to pack: {needed.n_bytes / 1e9:.2f} GB of {n_free_bytes / 1e9:.0f} GB that are free"
    )


def _summary(manifest: Manifest, folder: Path) -> str:
    parts = []
    for split in ("train", "validation", "test"):
        held = [entry for entry in manifest.recordings if entry.split == split]
        if held:
            hours = sum(entry.duration_s for entry in held) / 3600
            parts.append(f"{split} {len(held)} ({hours:.1f} h)")
    left = f"; {len(manifest.rejected)} left out" if manifest.rejected else ""
    return f"{len(manifest.recordings)} recordings in {folder}: {', '.join(parts) or 'none'}{left}"


def listed(folder: Path) -> Manifest | None:
    """Read what a folder holds as a pack before it is packed again; None where it is none."""
    from amtcli.datasets.pack import MANIFEST_FILE, read_manifest

    return read_manifest(folder) if (folder / MANIFEST_FILE).exists() else None


def moves(before: Manifest | None, after: Manifest) -> list[str]:
    """Say how many recordings are of another split than before, if there are any."""
    from amtcli.datasets.packing import moved

    found = {} if before is None else moved(before, after)
    counts = [
        f"{n} recording{'s' if n > 1 else ''} moved from {old} to {new}"
        for (old, new), n in sorted(found.items())
    ]
    return [f"{', '.join(counts)}: other options than before"] if counts else []


def no_longer_part(folder: Path, manifest: Manifest) -> list[str]:
    """Say which files in a pack's folder its manifest does not list, if there are any."""
    from amtcli.datasets.pack import unlisted_files

    unlisted = unlisted_files(folder, manifest)
    if not unlisted:
        return []
    if len(unlisted) == 1:
        return [f"{unlisted[0]} is no longer part of the pack; delete it, or give its source again"]
    return [
        f"{unlisted[0]} and {len(unlisted) - 1} more are no longer part of the pack; delete them, "
        "or give their sources again"
    ]


def _say(choice: PackChoice, *texts: str) -> None:
    if not choice.quiet:
        for text in texts:
            say(f"amt: {text}")
