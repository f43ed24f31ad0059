"""Windows of features that ``amt pack --features`` computed once, in place of audio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from amtcli.datasets.features import features_key, read_features
from amtcli.datasets.pack import PackedRecording
from amtcli.errors import UsageError
from amtcli.front_ends.front_end import FrontEnd
from amtcli.training.recipe import Recipe


@dataclass(frozen=True)
class CachedFeatures:
    """Which features to read, and how many frames of ``hop_samples`` a window has."""

    key: str
    hop_samples: int
    n_frames: int

    def read(self, recording: PackedRecording, start_samples: int) -> NDArray[np.float32]:
        """Read one window in the front-end's layout; at its ends it hears what lies beyond."""
        start_frame = start_samples // self.hop_samples
        return read_features(recording, self.key, start_frame, self.n_frames)


def find_cached(
    recipe: Recipe, front_end: FrontEnd, recordings: Sequence[PackedRecording]
) -> CachedFeatures:
    """Find the features of a recipe's front-end. Raises UsageError where they cannot be used."""
    key, hop_samples = features_key(recipe.front_end), int(recipe.front_end["hop_samples"])
    if recipe.augmentation:
        raise UsageError("--cached-features: the recipe's [augmentation] needs the audio itself")
    for name in ("grid_samples", "overhang_samples"):
        if getattr(recipe.sampling, name) % hop_samples:
            raise UsageError(
                f"--cached-features: sampling.{name} must be whole frames of {hop_samples} samples"
            )
    for recording in recordings:
        if not recording.features_file(key).is_file():
            raise UsageError(
                f"--cached-features: the pack of {recording.name} has none of this front-end: "
                f"run `amt pack` again with --features {recipe.path}"
            )
    return CachedFeatures(key, hop_samples, _n_frames(front_end, recipe, hop_samples))


@torch.no_grad()
def _n_frames(front_end: FrontEnd, recipe: Recipe, hop_samples: int) -> int:
    """Count the frames that a front-end makes of a window: the axis that grows with its length."""
    n_samples = recipe.sampling.length_samples
    sizes = [front_end([torch.zeros(1, n_samples + n)]).shape[1:] for n in (0, hop_samples)]
    return next(int(one) for one, longer in zip(*sizes, strict=True) if one != longer)
