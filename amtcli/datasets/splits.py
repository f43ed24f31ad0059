"""Splits for data that has none of its own, the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace

from amtcli.datasets.source import SourceRecording

N_FOLDS = 5


def hold_out(
    recordings: Iterable[SourceRecording], validation_share: float
) -> tuple[SourceRecording, ...]:
    """Move about that share of the groups that train to validation, whole groups at a time.

    Which ones follows from the names of the groups alone, so that a recording that is added
    moves no other.
    """
    return tuple(
        replace(recording, split="validation")
        if recording.split == "train" and _place(recording.group) < validation_share
        else recording
        for recording in recordings
    )


def _place(group: str) -> float:
    """Return a number from 0 to below 1 that looks drawn at random."""
    digest = hashlib.sha256(group.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:6], "big") / (1 << 48)


def assign_folds(sizes: Mapping[str, int]) -> dict[str, int]:
    """Divide groups among five folds of nearly equal sizes; return the fold of each, 0 to 4.

    The greatest group first, by name among equals, each into the smallest fold so far, the first
    among equals.
    """
    totals = [0] * N_FOLDS
    folds = {}
    for group in sorted(sizes, key=lambda name: (-sizes[name], name)):
        folds[group] = totals.index(min(totals))
        totals[folds[group]] += sizes[group]
    return folds
