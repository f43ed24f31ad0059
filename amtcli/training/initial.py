"""Training that begins with the weights of a model in place of random ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from amtcli.errors import ModelError
from amtcli.model_folder import load_model, misfits
from amtcli.training.hearing import Hearing


def load_initial_weights(hearing: Hearing, folder: Path) -> str:
    """Give what learns the weights and batch statistics of a model, all of them.

    A front-end that learns nothing may be another than the model's: how far it looks ahead has no
    tensors. A network that can grow may be wider or deeper than the model's. Returns the model's
    name and version. Raises ModelError that names the tensors where they do not fit.
    """
    model = load_model(folder)
    network, front_end = hearing.network, hearing.front_end
    wanted = dataclasses.replace(
        model, network=network, front_end=model.front_end if front_end is None else front_end
    )
    weights: Mapping[str, Tensor] = model.network.state_dict()
    if network.can_grow:
        weights = grow(weights, network.state_dict())
    states = (("front_end", model.front_end.state_dict()), ("network", weights))
    tensors = {f"{part}.{name}": state[name] for part, state in states for name in state}
    if problems := misfits(wanted, tensors):
        smaller = "; a network can only grow" if network.can_grow else ""
        raise ModelError(
            f"--init: {model.model_id} does not fit the network of the recipe{smaller}: "
            f"{problems}; take its recipe, or another model"
        )
    network.load_state_dict(weights)
    if front_end is not None:
        front_end.load_state_dict(model.front_end.state_dict())
    return model.model_id


def grow(weights: Mapping[str, Tensor], larger: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put the weights of a network into the freshly initialised ones of a larger one.

    What was there takes nothing from what is new (Chen, Goodfellow and Shlens, "Net2Net", ICLR
    2016, sets out from the same function, too); all else keeps its initial values. Tensors that
    cannot hold the smaller ones are not touched.
    """
    return {
        **weights,
        **{
            name: _grown(weights[name], new) if name in weights else new
            for name, new in larger.items()
        },
    }


def _grown(old: Tensor, new: Tensor) -> Tensor:
    fits = old.dim() == new.dim() and all(a <= b for a, b in zip(old.shape, new.shape, strict=True))
    if old.shape == new.shape or not fits:
        return old
    grown = new.clone()
    if old.dim() > 1:
        grown[: len(old)] = 0.0
    grown[tuple(slice(size) for size in old.shape)] = old
    return grown
