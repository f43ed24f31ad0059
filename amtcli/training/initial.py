"""Training that begins with the weights of a model in place of random ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from amtcli.errors import ModelError
from amtcli.model_folder import Model, load_model, misfits
from amtcli.training.hearing import Hearing


def load_initial_weights(hearing: Hearing, folders: Sequence[Path]) -> str:
    """Give what learns the weights and batch statistics of a model, all of them.

    Of several models it is their mean (Wortsman et al., "Model soups", ICML 2022), which is a model
    where all descend from the same one. A front-end that learns nothing may be another than the
    model's: how far it looks ahead has no tensors. A network that can grow may be wider or deeper
    than the model's. Returns the names and versions. Raises ModelError that names the tensors
    where they do not fit.
    """
    models = [load_model(folder) for folder in folders]
    weights = [_fitting(hearing, model) for model in models]
    hearing.load_state_dict(_mean_of(weights))
    names = " and ".join(model.model_id for model in models)
    return f"{names} (their mean)" if len(models) > 1 else names


def _mean_of(weights: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Take the mean of each tensor; what is counted (batches) is that of the first."""
    return {
        name: torch.stack([each[name] for each in weights]).mean(dim=0)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in weights[0].items()
    }


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


def _fitting(hearing: Hearing, model: Model) -> dict[str, Tensor]:
    """Return the tensors of a model as what learns calls them, grown where it can."""
    network, front_end = hearing.network, hearing.front_end
    wanted = dataclasses.replace(
        model, network=network, front_end=model.front_end if front_end is None else front_end
    )
    weights: Mapping[str, Tensor] = model.network.state_dict()
    grows = network.can_grow_from(model.network)
    if grows:
        weights = grow(weights, network.state_dict())
    states = (("front_end", model.front_end.state_dict()), ("network", weights))
    tensors = {f"{part}.{name}": state[name] for part, state in states for name in state}
    if problems := misfits(wanted, tensors):
        smaller = "; a network can only grow" if grows else ""
        raise ModelError(
            f"--init: {model.model_id} does not fit the network of the recipe{smaller}: "
            f"{problems}; take its recipe, or another model"
        )
    own = hearing.state_dict()
    return {name: tensor for name, tensor in tensors.items() if name in own}


def _grown(old: Tensor, new: Tensor) -> Tensor:
    fits = old.dim() == new.dim() and all(a <= b for a, b in zip(old.shape, new.shape, strict=True))
    if old.shape == new.shape or not fits:
        return old
    grown = new.clone()
    if old.dim() > 1:
        grown[: len(old)] = 0.0
    grown[tuple(slice(size) for size in old.shape)] = old
    return grown
