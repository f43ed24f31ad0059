"""Pieces of losses that several objectives share."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from amtcli.errors import TrainingError
from amtcli.training.objectives.objective import Loss


def matched(targets: Mapping[str, Tensor], n_frames: int) -> dict[str, Tensor]:
    """Cut targets (batch, frames, ...) to the frames that the network answers for.

    A front-end may leave out the frame on a window's very end. Raises TrainingError where more
    is missing than that one.
    """
    for name, target in targets.items():
        if not 0 <= target.shape[1] - n_frames <= 1:
            raise TrainingError(
                f"the network answers for {n_frames} frames and the target {name!r} has "
                f"{target.shape[1]}: give [objective] the hop_samples of [front_end]"
            )
    return {name: target[:, :n_frames] for name, target in targets.items()}


def mean_over(values: Tensor, chosen: Tensor) -> Tensor:
    """Average the values of the chosen cells; 0 where none is chosen."""
    weights = chosen.to(values.dtype)
    return (values * weights).sum() / weights.sum().clamp(min=1)


def cross_entropies(logits: Tensor, target: Tensor, positive_weight: float = 1.0) -> Tensor:
    """Binary cross-entropy of each cell, cells whose target is 1 counting ``positive_weight``."""
    logits = logits.float()  # under autocast they may come in half the precision
    weight = logits.new_tensor(positive_weight)
    return F.binary_cross_entropy_with_logits(
        logits, target.to(logits.dtype), pos_weight=weight, reduction="none"
    )


def added_up(terms: dict[str, Tensor]) -> Loss:
    """Make the loss that is the sum of its terms."""
    total = torch.stack(list(terms.values())).sum()
    return Loss(total, {name: term.detach() for name, term in terms.items()})
