"""Checkpoints of Onsets and Velocities, and files that are none."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from amtcli.checkpoints import ORIGINS
from amtcli.checkpoints.onsets_velocities import DECODER, ORIGIN, WINDOW, network_config
from amtcli.decoders.onset_peaks import OnsetPeaksDecoder
from amtcli.errors import ModelError

PARITY = Path(__file__).parent / "data" / "parity" / "onsets_velocities.npz"


@pytest.fixture(scope="module")
def shapes():
    """Names and shapes of the published state dict, as the author's class has them."""
    return json.loads(str(np.load(PARITY)["shapes"]))


@pytest.fixture
def state(shapes):
    return {name: torch.zeros(shape) for name, shape in shapes.items()}


def saved(tmp_path, content):
    path = tmp_path / "checkpoint.torch"
    torch.save(content, path)
    return path


def test_every_tensor_has_its_place(tmp_path, state):
    for number, tensor in enumerate(state.values()):
        tensor += number
    tensors = ORIGIN.read(saved(tmp_path, state))
    assert ORIGINS["onsets_velocities"] is ORIGIN
    assert len(tensors) == 564
    assert len({float(tensor.flatten()[0]) for tensor in tensors.values()}) == 564
    for ours, theirs in (
        ("stem.norm.running_mean", "specnorm.bn.running_mean"),
        ("stem.blocks.2.0.branches.3.0.weight", "stem.5.0.hdcs.3.0.weight"),
        ("onset_stages.1.blocks.0.0.excite.bias", "onset_stages.1.0.3.0.se.fc.2.bias"),
        ("onset_stages.2.output.bias", "onset_stages.2.0.9.4.bias"),
        ("velocity_stage.collapse.1.running_var", "velocity_stage.0.5.running_var"),
        ("velocity_stage.norm.weight", "velocity_stage.1.bn.weight"),
    ):
        assert torch.equal(tensors[f"network.{ours}"], state[theirs])


def test_images_one_column_wide_become_maps(tmp_path, state):
    state["stem.6.conv.weight"] += torch.arange(1408)[:, None, None, None]
    state["onset_stages.0.0.6.weight"] += torch.arange(88)[:, None]
    tensors = ORIGIN.read(saved(tmp_path, state))
    keys = tensors["network.stem.keys.0.weight"]
    assert keys.shape == (16, 88, 229)
    assert float(keys[3, 5, 7]) == 3 * 88 + 5
    collapse = tensors["network.onset_stages.0.collapse.0.weight"]
    assert collapse.shape == (200, 12 * 88, 3)
    assert float(collapse[0, 88 + 7, 1]) == 7  # channel 1, key 7
    assert network_config(tensors).head_width == 200


def test_missing_and_unexpected_tensors_are_named(tmp_path, state):
    state["stem.9.weight"] = state.pop("stem.0.weight")
    with pytest.raises(ModelError, match=r"stem\.0\.weight is missing.*stem\.9\.weight is unexp"):
        ORIGIN.read(saved(tmp_path, state))


def test_impossible_shapes_are_named(tmp_path, state):
    state["stem.6.conv.weight"] = torch.zeros(7)
    with pytest.raises(ModelError, match=r"stem\.keys\.0\.weight cannot have shape \(7,\)"):
        ORIGIN.read(saved(tmp_path, state))


@pytest.mark.parametrize(("fast", "n_frames"), [(False, 2300), (True, 2400)])
def test_windows_are_whole_frames_with_margins(fast, n_frames):
    spec = WINDOW.spec(fast=fast)
    stream = OnsetPeaksDecoder(DECODER, spec)._stream
    assert [len(stream.push(None)) for _ in range(2)] == [n_frames - 6, n_frames]
    assert spec.padding_samples == (spec.length_samples - spec.hop_samples) // 2
