"""Shipped models and recipes with random weights: every network, without training or download."""

import torch

from amtcli.catalog import shipped_folder
from amtcli.decoders.note_states import OFF
from amtcli.front_ends import FRONT_ENDS
from amtcli.model_config import ModelConfig, Precision, Provenance, StoredWeights
from amtcli.model_folder import Model
from amtcli.networks import ARCHITECTURES
from amtcli.networks.autoregressive import Autoregressive
from amtcli.networks.dynest import Dynest
from amtcli.networks.onsets_velocities import OnsetsVelocities
from amtcli.networks.transkun import Transkun
from amtcli.tables import from_table, read_toml, registered
from amtcli.training.recipe import RECIPES_FOLDER
from amtcli.windows import WindowConfig

QUIET = 5.0  # by so much logits are lowered


def settings_files():
    """The files that say how networks are built, by names that tell models from recipes.

    Networks that are told notes hear nothing, so there is nothing to time.
    """
    models = sorted(shipped_folder().glob("*/model.toml"))
    recipes = sorted(RECIPES_FOLDER.glob("*.toml"))
    named = {f"models/{path.parent.name}": path for path in models}
    named |= {f"recipes/{path.stem}": path for path in recipes}
    return {k: path for k, path in named.items() if read_toml(path)["front_end"]["kind"] != "clock"}


def read_settings(path, smaller=None):
    """Read the tables that models and recipes have in common; ``smaller`` changes [network]."""
    tables = read_toml(path)
    return ModelConfig(
        format=1,
        network=tables["network"] | (smaller or {}),
        front_end=tables["front_end"],
        window=from_table(WindowConfig, tables["window"], "window", path),
        decoder=tables["decoder"],
        precision=from_table(Precision, tables["precision"], "precision", path),
        weights=StoredWeights("weights.safetensors", "", "float32"),
        provenance=Provenance("random", "0", "random weights", "none", "none", 0, 0, {}, "none"),
    )


def random_model(path):
    """Build a model in evaluation mode that finds hardly any note, as between the notes of music.

    Of Transkun not one interval scores above silence, so its heads for intervals have nothing to
    do; with its own weights they take 3 % of the time.
    """
    config = read_settings(path)
    torch.manual_seed(0)
    front_end_config, front_end = registered(FRONT_ENDS, config.front_end, "front_end", path)
    network_config, network = registered(ARCHITECTURES, config.network, "network", path)
    front_end, network = front_end(front_end_config).eval(), network(network_config).eval()
    with torch.no_grad():
        _quieten(network)
    return Model(config, path.parent, front_end, network)


def _quieten(network):
    if isinstance(network, Transkun):
        network.scorer.map.bias.zero_()  # untrained, its frames are 0 and scores are biases
    elif isinstance(network, OnsetsVelocities):
        for stage in network.onset_stages:
            stage.norm.bias -= QUIET
    elif isinstance(network, Dynest):
        network.heads["beat"].bias -= QUIET
    elif isinstance(network, Autoregressive):
        network.language.output.bias.view(88, -1)[:, OFF] += QUIET
    else:
        for name, bias in network.named_parameters():
            if name.endswith("output.bias"):
                bias -= QUIET
