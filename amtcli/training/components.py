"""The parts that a recipe names, built: front-end, network, objective, augmentation."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch

from amtcli.front_ends import FRONT_ENDS
from amtcli.front_ends.front_end import FrontEnd
from amtcli.model_folder import check_decoder
from amtcli.networks import ARCHITECTURES
from amtcli.networks.network import Network
from amtcli.tables import built, check_clocks, from_table, registered
from amtcli.training.augmentation import AugmentationConfig
from amtcli.training.objectives import OBJECTIVES
from amtcli.training.objectives.objective import Objective
from amtcli.training.recipe import Recipe


@dataclass(frozen=True)
class Components:
    """What learns, on the CPU; ``augmentation`` None: windows are taken as they were recorded."""

    front_end: FrontEnd
    network: Network
    objective: Objective
    augmentation: AugmentationConfig | None


def build_components(recipe: Recipe) -> Components:
    """Build what a recipe names; the network's weights follow from the recipe's seed.

    Raises ModelError that names the key, the table and the file.
    """
    path = recipe.path
    check_decoder(recipe.decoder, recipe.window, path)  # refused now, not at validation
    tables = {"front_end": recipe.front_end, "decoder": recipe.decoder}
    check_clocks(tables | {"objective": recipe.objective}, path)
    objective_config, objective = registered(OBJECTIVES, recipe.objective, "objective", path)
    augmentation = None
    if recipe.augmentation:
        augmentation = from_table(AugmentationConfig, recipe.augmentation, "augmentation", path)
    front_end, network = build_modules(recipe)
    return Components(front_end, network, objective(objective_config), augmentation)


def build_modules(recipe: Recipe) -> tuple[FrontEnd, Network]:
    """Build front-end and network alone, with the weights that training begins with."""
    path = recipe.path
    front_end_config, front_end = registered(FRONT_ENDS, recipe.front_end, "front_end", path)
    network_config, network = registered(ARCHITECTURES, recipe.network, "network", path)
    torch.manual_seed(recipe.training.seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Initializing zero-element")  # `check_window` says it
        return (
            built(front_end, front_end_config, "front_end", path),
            built(network, network_config, "network", path),
        )
