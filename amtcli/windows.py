"""Where the windows of a recording start and end, and cutting a stream into them.

A window is the stretch of audio that a network sees at once. Windows follow one another by
``hop_samples`` and may overlap. The recording is thought to lie between ``padding_samples``
zeros on either side, so window ``k`` starts at sample ``k * hop - padding``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """Length, hop and padding of windows, in samples at the front-end's rate."""

    length_samples: int
    hop_samples: int
    padding_samples: int

    def __post_init__(self) -> None:
        if not 0 < self.hop_samples <= self.length_samples:
            raise ValueError(
                f"hop_samples is {self.hop_samples}: it must lie between 1 and "
                f"length_samples ({self.length_samples}), or audio would be left out"
            )
        if not 0 <= self.padding_samples < self.length_samples:
            raise ValueError(
                f"padding_samples is {self.padding_samples}: it must lie between 0 and "
                f"length_samples - 1 ({self.length_samples - 1})"
            )

    def n_windows(self, n_samples: int) -> int:
        """Count the windows that cover ``n_samples`` and the padding on both sides."""
        return -(-(n_samples + 2 * self.padding_samples) // self.hop_samples)

    def start_samples(self, index: int) -> int:
        """First sample of window ``index``, counted from the recording's start (may be < 0)."""
        return index * self.hop_samples - self.padding_samples


def owned_frames(spec: WindowSpec, frame_samples: int) -> slice:
    """Frames of a window that no other window answers for: its middle, one hop long.

    For networks that answer per frame. With ``frame_samples`` between frames and frame 0 at the
    window's first sample, the owned frames of successive windows, put end to end, are the frames
    of the recording: frame n at sample ``n * frame_samples``. Raises ValueError where hop,
    margins or padding are not such that this holds exactly.
    """
    margin = (spec.length_samples - spec.hop_samples) // 2
    if spec.padding_samples != margin or margin * 2 != spec.length_samples - spec.hop_samples:
        raise ValueError(f"padding_samples must be half of the overlap, not {spec.padding_samples}")
    if margin % frame_samples or spec.hop_samples % frame_samples:
        raise ValueError(f"hop and padding must be whole frames of {frame_samples} samples")
    return slice(margin // frame_samples, (margin + spec.hop_samples) // frame_samples)


@dataclass(frozen=True, slots=True)
class FastWindow:
    """The wider hop of ``--fast``, and the padding that goes with it."""

    hop_samples: int
    padding_samples: int


@dataclass(frozen=True, slots=True)
class WindowConfig:
    """The ``[window]`` table of a model: what it was trained on, and how far hops may widen."""

    length_samples: int
    hop_samples: int
    padding_samples: int
    fast: FastWindow

    def __post_init__(self) -> None:
        for fast in (False, True):
            self.spec(fast=fast)

    def spec(self, *, fast: bool) -> WindowSpec:
        """Return the windows to cut."""
        hop = self.fast if fast else self
        return WindowSpec(self.length_samples, hop.hop_samples, hop.padding_samples)


def cut_windows(
    blocks: Iterator[NDArray[np.float32]], spec: WindowSpec
) -> Iterator[NDArray[np.float32]]:
    """Cut a stream of blocks (channels, any number of samples) into windows.

    Yields arrays (channels, ``length_samples``), as many as ``spec.n_windows`` says for the
    samples that came; the last ones are filled up with zeros. Holds no more than one window
    and one block at a time.
    """
    buffer = np.zeros((0, 0), np.float32)  # what the next window begins with
    n_samples = 0
    n_done = 0
    for block in blocks:
        if n_samples == 0:
            buffer = np.zeros((block.shape[0], spec.padding_samples), np.float32)
        n_samples += block.shape[1]
        buffer = np.concatenate([buffer, block], axis=1)
        while buffer.shape[1] >= spec.length_samples:
            yield buffer[:, : spec.length_samples].copy()
            buffer = buffer[:, spec.hop_samples :]
            n_done += 1
    if n_samples == 0:
        return
    for _ in range(n_done, spec.n_windows(n_samples)):
        window = np.zeros((buffer.shape[0], spec.length_samples), np.float32)
        window[:, : buffer.shape[1]] = buffer[:, : spec.length_samples]
        yield window
        buffer = buffer[:, spec.hop_samples :]
