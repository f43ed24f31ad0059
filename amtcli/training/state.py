"""The whole state of a training, from which it goes on bit for bit.

There is no random state in it: what is random in a step follows from the seed and the step.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from amtcli.datasets.pack import PackedRecording
from amtcli.errors import TrainingError
from amtcli.files import write_atomically
from amtcli.training.average import WeightAverage
from amtcli.training.hearing import Hearing
from amtcli.training.optimisers import make_optimiser
from amtcli.training.ranks import divided_like, whole
from amtcli.training.recipe import Recipe, differences

FORMAT = 4

# What torch.load raises, depending on where a file ceases to make sense.
_DAMAGE = (OSError, RuntimeError, ValueError, LookupError, EOFError, pickle.UnpicklingError)


@dataclass
class Progress:
    """How far training is, in plain numbers.

    ``step`` counts the steps done. ``sums`` are of the losses since the last line of the log, over
    ``n_summed`` steps. The last validation was after ``validated_step`` steps; the best so far had
    ``best_scores``, and ``n_worse`` counts the validations since. ``measure`` says on what they
    were measured, and how. ``init`` names the models whose weights training began with.
    """

    step: int = 0
    elapsed_s: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    n_summed: int = 0
    validated_step: int = 0
    best_scores: dict[str, float] = field(default_factory=dict)
    n_worse: int = 0
    measure: str = ""
    init: str = ""

    def forget_validations(self) -> None:
        """Let the next one be the best so far, as nothing is left of those before."""
        self.validated_step, self.best_scores, self.n_worse = 0, {}, 0


@dataclass(frozen=True)
class Learner:
    """All that learns, its optimiser and, where there is one, the average of the weights."""

    hearing: Hearing
    optimiser: torch.optim.Optimizer
    average: WeightAverage | None

    def model_tensors(self) -> Mapping[str, Tensor]:
        """Return the weights that a model is made of, as they lie among the processes."""
        return self.hearing.state_dict() if self.average is None else self.average.tensors


def make_learner(recipe: Recipe, hearing: Hearing) -> Learner:
    """Give what learns, as it lies among the processes, its optimiser and its average."""
    decay = recipe.training.ema_decay
    return Learner(
        hearing,
        make_optimiser(recipe.optimiser, hearing.parameters()),
        WeightAverage(hearing.state_dict(), decay) if decay else None,
    )


def gather_state(learner: Learner, progress: Progress, recipe: bytes, data: str) -> dict[str, Any]:
    """Gather the state of all processes; each of them must take part."""
    return {
        "format": FORMAT,
        "recipe": recipe.decode(),
        "data": data,
        "progress": dict(vars(progress)),
        "weights": whole(learner.hearing.state_dict()),
        "optimiser": whole(learner.optimiser.state_dict()),
        "average": None if learner.average is None else whole(learner.average.tensors),
    }


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Name the tensors that hold anything but finite numbers."""
    return [name for name, tensor in tensors.items() if not tensor.isfinite().all()]


def restore_state(state: Mapping[str, Any], learner: Learner) -> Progress:
    """Put a state into what was built by the same recipe; returns how far it had come."""
    own = learner.hearing.state_dict()
    learner.hearing.load_state_dict(
        {name: divided_like(tensor, own[name]) for name, tensor in state["weights"].items()}
    )
    learner.optimiser.load_state_dict(_divided_optimiser(state["optimiser"], learner.optimiser))
    if learner.average is not None:
        for name, average in learner.average.tensors.items():
            average.copy_(divided_like(state["average"][name], average))
    return Progress(**state["progress"])


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state, whole or not at all. Raises AmtError when the system refuses."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(path, buffer.getvalue())


def read_state(path: Path, recipe: bytes, data: str) -> dict[str, Any]:
    """Read a state that was written by the same recipe on the same recordings.

    Raises TrainingError when it is missing, damaged or of another training.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TrainingError(f"{path} cannot be read: {error.strerror}") from error
    try:
        state: dict[str, Any] = torch.load(
            io.BytesIO(content), map_location="cpu", weights_only=True
        )
    except _DAMAGE as error:
        raise TrainingError(f"{path} is damaged, or no state of a training") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise TrainingError(f"{path} is no state of a training that this amt can continue")
    _check_recipe(state["recipe"], recipe.decode(), path)
    if state["data"] != data:
        same = state["data"].split("-")[0] == data.split("-")[0]
        raise TrainingError(
            f"{path} was trained on the same recordings in another order: give --data in its order"
            if same
            else f"{path} was trained on other recordings: give the same --data, or another folder"
        )
    return state


def data_identity(recordings: Sequence[PackedRecording]) -> str:
    """Return hashes of the recordings and of their order: a step is the same only if they are."""
    listed = [[r.name, r.n_samples, r.sample_rate_hz, r.sha256] for r in recordings]
    hashes = (hashlib.sha256(json.dumps(each).encode()) for each in (sorted(listed), listed))
    return "-".join(each.hexdigest() for each in hashes)


def _check_recipe(written: str, wanted: str, path: Path) -> None:
    """Refuse a recipe that differs where it would change what the steps so far have done."""
    changed = differences(written, wanted)
    if changed:
        raise TrainingError(
            f"{path} was trained by another recipe ({', '.join(changed)}): take it back, "
            "or begin anew in another folder"
        )


def _divided_optimiser(saved: dict[str, Any], optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Lay the moments of each weight out as the weight itself is."""
    weights = [weight for group in optimiser.param_groups for weight in group["params"]]
    moments = {
        index: {
            name: divided_like(value, weights[index]) if value.dim() else value
            for name, value in entry.items()
        }
        for index, entry in saved["state"].items()
    }
    return {"state": moments, "param_groups": saved["param_groups"]}
