"""Shipped recipes: they can be read and built, and their tables agree with one another."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from amtcli.datasets.labels import BeatLabels, labels_of_performance
from amtcli.decoders import DECODERS
from amtcli.front_ends import FRONT_ENDS
from amtcli.networks import ARCHITECTURES
from amtcli.notes import Note, PedalSpan, Performance
from amtcli.tables import from_table
from amtcli.training.objectives import OBJECTIVES
from amtcli.training.objectives.objective import WindowLabels
from amtcli.training.recipe import find_recipe, read_recipe, recipe_names

N_PARAMETERS = {
    "autoregressive": 14_594_994,
    "autoregressive-96ms": 14_594_994 - 2 * 48 * 96 * 3,  # a kernel of one frame for one of three
    "autoregressive-small": 6_136_754,
    "dynest": 445_053 - 4 * (8 * 8 + 8),  # projections whose results the authors throw away
    "hcqt-hppnet": 268_324,
    "hppnet-base": 818_628,
    "hppnet-sp": 1_239_428,
    "hppnet-tiny": 237_956,
    "hpt-notes": 20_218_778,
    "hpt-pedals": 13_861_277,
    "onsets-and-frames": 26_491_256,
    "onsets-velocities": 3_127_168,
    "transkun": 13_613_711 - 2 * 5,  # the windows are the front-end's
}


def config(registry, table, name):
    key = "architecture" if name == "network" else "kind"
    config_class, made = registry[table[key]]
    rest = {k: v for k, v in table.items() if k != key}
    return from_table(config_class, rest, name, Path("recipe")), made


@pytest.mark.parametrize("name", recipe_names())
def test_the_tables_of_a_recipe_agree(name):
    recipe = read_recipe(find_recipe(name))
    assert recipe.about.name == name
    front_end, _ = config(FRONT_ENDS, recipe.front_end, "front_end")
    clock = (front_end.sample_rate_hz, front_end.hop_samples)
    for part, registry in (("decoder", DECODERS), ("objective", OBJECTIVES)):
        found, _ = config(registry, getattr(recipe, part), part)
        assert (found.sample_rate_hz, found.hop_samples) == clock
    if name != "transkun":  # whose windows are of whole seconds, and begin anywhere
        assert recipe.sampling.length_samples % front_end.hop_samples == 0
        assert recipe.sampling.grid_samples % front_end.hop_samples == 0
    assert recipe.validation.thresholds.keys() <= recipe.decoder.keys()
    for key, values in recipe.validation.thresholds.items():
        assert min(values) <= recipe.decoder[key] <= max(values)


@pytest.mark.parametrize(("name", "n_parameters"), N_PARAMETERS.items())
def test_networks_of_the_authors_recipes_have_their_sizes(name, n_parameters):
    recipe = read_recipe(find_recipe(name))
    network_config, network = config(ARCHITECTURES, recipe.network, "network")
    with torch.device("meta"):
        made = network(network_config)
    assert sum(p.numel() for p in made.parameters()) == n_parameters


@pytest.mark.parametrize("name", recipe_names())
def test_targets_of_all_windows_have_the_same_shapes(name):
    recipe = read_recipe(find_recipe(name))
    objective_config, objective = config(OBJECTIVES, recipe.objective, "objective")
    duration_s = recipe.sampling.length_samples / recipe.front_end["sample_rate_hz"]
    played = Performance((Note(0.2, 0.9, 60, 50),), (PedalSpan(0.5, 1.5, 64),))
    beats = BeatLabels(np.array([0.2, 0.7]), np.array([True, False]), np.array([0, 2], np.int8))
    no_beats = BeatLabels(np.empty(0), np.empty(0, np.bool_), np.empty(0, np.int8))
    some, none = (
        objective(objective_config).targets(WindowLabels(labels, duration_s))
        for labels in (
            replace(labels_of_performance(played), beats=beats),
            replace(labels_of_performance(Performance()), beats=no_beats),
        )
    )
    for key, values in some.items():
        assert (values.shape, values.dtype) == (none[key].shape, none[key].dtype)
    assert any(not np.array_equal(some[key], none[key]) for key in some)
