"""What Transkun learns: the intervals of all keys and pedals, and what each of them is like.

Yan and Duan, "Scoring Time Intervals Using Non-Hierarchical Transformer for Automatic Piano
Transcription" (ISMIR 2024), section 3, as their program trains it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import ContinuousBernoulli

from amtcli.datasets.labels import Labels
from amtcli.decoders.semi_crf import SYMBOLS
from amtcli.errors import DataError
from amtcli.networks.network import Network
from amtcli.notes import LOWEST_PITCH
from amtcli.training.objectives.losses import added_up
from amtcli.training.objectives.objective import Loss, Objective, Targets, WindowLabels
from amtcli.training.objectives.semi_crf import interval_scores, log_partition
from amtcli.training.rolls import FrameGrid, note_frames

MOST_PER_S = 100  # intervals; pianists do not play half as many notes
SHIFT_SCALE = 0.99  # brings shifts of up to half a frame within 0-1 of a distribution
_N_PEDALS = sum(symbol < 0 for symbol in SYMBOLS)
_FIRST_KEY = SYMBOLS.index(LOWEST_PITCH)


@dataclass(frozen=True)
class TranskunObjectiveConfig:
    """The clock of the frames, and whether the sustain pedal holds notes."""

    sample_rate_hz: int
    hop_samples: int
    pedal_extends_notes: bool


@dataclass
class _Interval:
    """Frames begin to end, the rest of both times, and whether they lie in the window."""

    symbol: int
    begin: int
    end: int
    velocity: int
    shifts: list[float]
    present: list[bool]


class TranskunObjective(Objective):
    """The likelihood of the true paths of intervals, of their velocities and exact times.

    The network is given the true intervals and answers with ``ends`` and ``begins`` (batch,
    symbols, frames, width) and ``singles`` (batch, symbols, frames), of which scores are made,
    and for each interval logits ``velocity`` (batch, n, 128) and ``refinement`` (batch, n, 4):
    both shifts, then the presence of both ends.
    """

    def __init__(self, config: TranskunObjectiveConfig) -> None:
        self._config = config

    def targets(self, window: WindowLabels) -> Targets:
        """List the intervals, as many rows as a window can hold; unused ones have symbol -1.

        ``intervals`` (n, 3) are symbol, begin and end frame, ``velocity`` (n,) is MIDI's,
        ``shifts`` (n, 2) are frames, ``present`` (n, 2) says which ends lie in the window;
        ``known`` (90,) which symbols the data set knows of. Raises DataError for more intervals
        than a pianist could play.
        """
        n_rows = math.ceil(MOST_PER_S * window.duration_s)
        found = list(self._intervals(window))
        if len(found) > n_rows:
            raise DataError(
                f"{len(found)} notes and pedals in {window.duration_s:g} s are more than can be "
                f"played: leave the recording out, or let windows hold less of it"
            )
        unused = [_Interval(-1, 0, 0, 0, [0.0, 0.0], [False, False])] * (n_rows - len(found))
        rows = found + unused
        known = np.ones(len(SYMBOLS), np.bool_)
        known[:_N_PEDALS] = window.labels.pedals is not None
        return {
            "intervals": np.array([(row.symbol, row.begin, row.end) for row in rows], np.int64),
            "velocity": np.array([row.velocity for row in rows], np.int64),
            "shifts": np.array([row.shifts for row in rows], np.float32),
            "present": np.array([row.present for row in rows], np.float32),
            "known": known,
        }

    def loss(self, network: Network, features: Tensor, targets: Mapping[str, Tensor]) -> Loss:
        """Add up the negative log-likelihoods of each window; the mean over windows."""
        intervals = targets["intervals"]
        output = network(features, intervals)
        used = (intervals[..., 0] >= 0).flatten()
        n_windows = len(intervals)

        def per_window(log_likelihood: Tensor) -> Tensor:
            # What padding rows say may be anything, even infinite.
            return -log_likelihood[used].sum() / n_windows

        velocity = F.log_softmax(output.velocity.float(), dim=-1).flatten(0, 1)
        told = velocity.gather(1, targets["velocity"].flatten()[:, None])[:, 0]
        shift, presence = output.refinement.float().flatten(0, 1).chunk(2, dim=-1)
        wanted = (targets["shifts"] * SHIFT_SCALE + 0.5).flatten(0, 1)
        shifts = ContinuousBernoulli(logits=shift, validate_args=False).log_prob(wanted)
        present = -F.binary_cross_entropy_with_logits(
            presence, targets["present"].flatten(0, 1), reduction="none"
        )
        return added_up(
            {
                "path": _path_loss(output, intervals, targets["known"]),
                "velocity": per_window(told),
                "shift": per_window(shifts.sum(dim=-1)),
                "presence": per_window(present.sum(dim=-1)),
            }
        )

    def _intervals(self, window: WindowLabels) -> Iterator[_Interval]:
        """Quantise all spans; two of one symbol that frames cannot tell apart become one."""
        config = self._config
        grid = FrameGrid.over(window.duration_s, config.sample_rate_hz, config.hop_samples)
        last = window.duration_s * config.sample_rate_hz / config.hop_samples
        symbol, onset, end, velocity = self._spans(window.labels, grid)
        open_: dict[int, _Interval] = {}
        for i in np.argsort(onset, kind="stable").tolist():
            start, stop = max(float(onset[i]), 0.0), min(float(end[i]), last)
            if stop <= start:
                continue
            begins, ends = round(start), round(stop)
            before = open_.get(int(symbol[i]))
            present = [bool(onset[i] >= 0), bool(end[i] < last)]
            if before and (begins < before.end or (begins, ends) == (before.begin, before.end)):
                before.end, before.shifts[1], before.present[1] = ends, stop - ends, present[1]
                continue
            if before:
                yield before
            shifts = [start - begins, stop - ends]
            open_[int(symbol[i])] = _Interval(
                int(symbol[i]), begins, ends, int(velocity[i]), shifts, present
            )
        yield from open_.values()

    def _spans(
        self, labels: Labels, grid: FrameGrid
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """All notes and presses of pedals: symbol, onset and end in frames, velocity."""
        extends = self._config.pedal_extends_notes
        notes = note_frames(labels, grid, pedal_extends_notes=extends)
        spans = [(notes.key + _FIRST_KEY, notes.onset, notes.end, notes.velocity)]
        for row, controller in enumerate(SYMBOLS[:_N_PEDALS]):
            if labels.pedals is not None:
                own = labels.pedals.controller == -controller
                onset, end = labels.pedals.onset_s[own], labels.pedals.offset_s[own]
                end = np.minimum(end, np.append(onset[1:], np.inf))
                n = np.full(len(onset), row)
                down = np.full(len(onset), 127)
                spans.append((n, grid.frames(onset), grid.frames(end), down))
        symbol, onset, end, velocity = (np.concatenate(parts) for parts in zip(*spans, strict=True))
        return symbol, onset, end, velocity


def _path_loss(output: Any, intervals: Tensor, known: Tensor) -> Tensor:
    """Compare the scores of the true paths with those of all paths, symbol by symbol."""
    # Scores grow with the length of the interval: half the precision would not do.
    with torch.autocast(intervals.device.type, enabled=False):
        heads = (output.ends.float(), output.begins.float(), output.singles.float())
        scores = interval_scores(*heads)
        n_windows, n_symbols = scores.shape[:2]
        all_paths = log_partition(scores.flatten(0, 1)).view(n_windows, n_symbols)
        window, row = (intervals[..., 0] >= 0).nonzero(as_tuple=True)
        symbol, begin, end = intervals[window, row].unbind(dim=1)
        chosen = scores[window, symbol, end, begin]
        true_path = torch.zeros_like(all_paths).index_put((window, symbol), chosen, accumulate=True)
        return ((all_paths - true_path) * known).sum() / n_windows
