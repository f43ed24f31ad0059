"""Training that begins with the weights of a model in place of random ones."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from amtcli.errors import ModelError
from amtcli.model_folder import load_model, misfits
from amtcli.networks.network import Network


def load_initial_weights(network: Network, folder: Path) -> str:
    """Give ``network`` the weights and batch statistics of a model's network, all of them.

    The model's front-end may be another: how far it looks ahead has no tensors. Returns the
    model's name and version. Raises ModelError that names the tensors where they do not fit.
    """
    model = load_model(folder)
    wanted = dataclasses.replace(model, network=network)
    tensors = {
        f"{part}.{name}": tensor
        for part, module in (("front_end", model.front_end), ("network", model.network))
        for name, tensor in module.state_dict().items()
    }
    if problems := misfits(wanted, tensors):
        raise ModelError(
            f"--init: {model.model_id} does not fit the network of the recipe: {problems}; take "
            "its recipe, or another model"
        )
    network.load_state_dict(model.network.state_dict())
    return model.model_id
