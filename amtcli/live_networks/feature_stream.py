"""A front-end fed any number of samples at a time; it gives each frame once its window is full."""

from __future__ import annotations

import torch
from torch import Tensor

from amtcli.front_ends.front_end import FrontEnd


class FeatureStream:
    """The frames of a recording before which there is silence.

    A frame lies at a multiple of ``hop_samples`` and hears from ``behind_samples`` before it to
    ``ahead_samples`` after it, at least one hop, and nothing else. The first one to be given,
    ``first_frame``, lies before the recording, in whose samples its window may end.
    """

    def __init__(
        self, front_end: FrontEnd, hop_samples: int, behind_samples: int, ahead_samples: int
    ) -> None:
        self._front_end, self._hop, self._ahead = front_end, hop_samples, ahead_samples
        # Frames of the buffer whose window reaches beyond it; the next frame comes after them.
        self._n_partial = -(-behind_samples // hop_samples)
        self.first_frame = -ahead_samples // hop_samples
        self._samples = torch.zeros((self._n_partial - self.first_frame) * hop_samples)

    def push(self, samples: Tensor) -> Tensor | None:
        """Take the next samples (n,), return the next frames, (1 or more, ...), if there are."""
        self._samples = torch.cat([self._samples, samples])
        n_whole = (len(self._samples) - self._ahead) // self._hop + 1 - self._n_partial
        if n_whole <= 0:
            return None
        features: Tensor = self._front_end([self._samples[None]])[0]
        self._samples = self._samples[n_whole * self._hop :].clone()
        return features[self._n_partial : self._n_partial + n_whole]
