"""A small Metre model with random weights, which finds beats on about half of what is struck."""

import torch
from benchmarks.random_models import read_settings

from amtcli.model_folder import outline_model
from amtcli.model_writing import write_model
from amtcli.training.recipe import find_recipe


def write_metre(folder):
    config = read_settings(find_recipe("metre"), {"width": 8})
    torch.manual_seed(3)
    network = outline_model(config, folder).network.to_empty(device="cpu")
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0, 0.5)
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    write_model(folder, config, tensors)
    return folder
