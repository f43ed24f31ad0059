"""Which estimate belongs to which reference.

By relative path without its suffix, then, for what is left, by the bare file name where that
is unique on both sides. Nothing is paired by order: a file that is missing on one side must
never move all later files on by one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from amtcli.errors import NoInputError, UsageError
from amtcli.files import all_files_below, exists


@dataclass(frozen=True)
class Pair:
    """A reference and its estimate (``None``: there is none), under the name of the reference."""

    name: str
    reference: Path
    estimate: Path | None


@dataclass(frozen=True)
class Pairing:
    """All pairs in order of their names, and the estimates that belong to no reference."""

    pairs: tuple[Pair, ...]
    unused_estimates: tuple[Path, ...] = ()

    @property
    def missing(self) -> tuple[Pair, ...]:
        """References without an estimate."""
        return tuple(pair for pair in self.pairs if pair.estimate is None)

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files that were found."""
        pairs = ((pair.reference, pair.estimate) for pair in self.pairs)
        found = tuple(path for pair in pairs for path in pair if path is not None)
        return (*found, *self.unused_estimates)


def find_files(folder: Path, suffixes: Iterable[str]) -> dict[str, Path]:
    """List a folder and all below it by relative path without suffix, hidden files left out.

    Raises
    ------
    AmtError
        A folder cannot be looked into.
    UsageError
        Two files differ in their suffix only, so that a name would mean both.
    """
    wanted = frozenset(suffixes)
    found: dict[str, Path] = {}
    for path in sorted(all_files_below(folder)):
        relative = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in relative.parts)
        if hidden or path.suffix.lower() not in wanted:
            continue
        name = relative.with_suffix("").as_posix()
        if name in found:
            raise UsageError(
                f"{found[name]} and {path} have one name: keep one of them in this folder"
            )
        found[name] = path
    return found


def pair_paths(
    reference: Path,
    estimate: Path,
    reference_suffixes: Iterable[str],
    estimate_suffixes: Iterable[str],
) -> Pairing:
    """Pair two files with each other, or the files of two folders.

    Raises
    ------
    NoInputError
        A path does not exist, there is no reference, or no reference has an estimate.
    UsageError
        One is a file and the other a folder.
    """
    for path in (reference, estimate):
        if not exists(path):
            raise NoInputError(f"{path} does not exist")
    if reference.is_file() and estimate.is_file():
        return Pairing((Pair(reference.stem, reference, estimate),))
    if reference.is_file() or estimate.is_file():
        raise UsageError(f"{reference} and {estimate}: give two files or two folders")
    references = find_files(reference, reference_suffixes)
    if not references:
        raise NoInputError(f"{reference} holds no references ({', '.join(reference_suffixes)})")
    pairing = pair_names(references, find_files(estimate, estimate_suffixes))
    if len(pairing.missing) == len(pairing.pairs):
        raise NoInputError(
            f"no file in {estimate} has the name of one in {reference}, "
            f"such as {pairing.pairs[0].reference.name}"
        )
    return pairing


def pair_names(references: Mapping[str, Path], estimates: Mapping[str, Path]) -> Pairing:
    """Pair files listed by their relative path without suffix."""
    partner = {name: name for name in references if name in estimates}
    left = _by_stem(name for name in estimates if name not in partner)
    for stem, names in _by_stem(name for name in references if name not in partner).items():
        if len(names) == 1 and len(left.get(stem, ())) == 1:
            partner[names[0]] = left[stem][0]
    used = set(partner.values())
    return Pairing(
        tuple(
            Pair(name, path, estimates[partner[name]] if name in partner else None)
            for name, path in sorted(references.items())
        ),
        tuple(path for name, path in sorted(estimates.items()) if name not in used),
    )


def _by_stem(names: Iterable[str]) -> dict[str, list[str]]:
    stems: dict[str, list[str]] = defaultdict(list)
    for name in names:
        stems[name.rsplit("/", 1)[-1]].append(name)
    return stems
