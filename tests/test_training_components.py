"""What a recipe names goes together, or is refused before anything is written."""

import pytest
import torch

from amtcli.errors import ModelError
from amtcli.training.checks import check_window
from amtcli.training.components import build_components
from amtcli.training.recipe import find_recipe, read_recipe, recipe_names

# Sizes that take a test no time; what is not here is taken as its recipe has it.
SMALL = {
    "autoregressive": ("conv_complexity=2", "lstm_complexity=1"),
    "hcqt_hppnet": ("base_channels=4", "lstm_width=4"),
    "hppnet": ("width=8",),
    "hpt": ("conv_channels=[4, 4, 4, 4]", "dense_width=16", "recurrent_width=8"),
    "onsets_and_frames": ("complexity=2",),
    "onsets_velocities": ("n_stem_modules=1", "n_onset_modules=1", "head_width=16"),
}


def checked(name, *overrides):
    """Build a recipe, small, and check it; returns its parts."""
    path = find_recipe(name)
    architecture = read_recipe(path).network["architecture"]
    sizes = [f"network.{size}" for size in SMALL.get(architecture, ())]
    recipe = read_recipe(path, [*sizes, *overrides])
    parts = build_components(recipe)
    before = {k: v.clone() for k, v in parts.network.state_dict().items()}
    check_window(recipe, parts)
    for key, tensor in parts.network.state_dict().items():
        assert torch.equal(tensor, before[key]), key
    return parts


@pytest.mark.parametrize("name", recipe_names())
def test_the_recipes_that_ship_go_together(name):
    checked(name)


@pytest.mark.parametrize("name", ["onsets-velocities", "hpt-notes", "onsets-and-frames"])
def test_widths_that_disagree_are_refused_in_one_line(name):
    with pytest.raises(
        ModelError, match=r"\[front_end\], \[network\] and \[objective\] do not go"
    ) as e:
        checked(name, "front_end.n_mels=128")
    assert "\n" not in str(e.value)


def test_windows_too_short_for_the_front_end_are_refused():
    with pytest.raises(ModelError, match="do not go together"):
        checked("onsets-and-frames", "sampling.length_samples=8")


def test_a_network_without_channels_is_refused():
    with pytest.raises(
        ModelError, match=r"\[network\] has nothing in network\..*: a size in it is 0"
    ):
        checked("two-core", "network.n_channels=0")
