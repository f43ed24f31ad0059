"""Checkpoints of DynEst, and files that are none."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from amtcli.checkpoints import ORIGINS
from amtcli.checkpoints.dynest import DECODER, ORIGIN, WINDOW, network_config
from amtcli.decoders.beats import BeatsDecoder
from amtcli.errors import ModelError
from amtcli.importing import import_checkpoint
from amtcli.networks.dynest import DynestConfig

PARITY = Path(__file__).parent / "data" / "parity" / "dynest.npz"


@pytest.fixture(scope="module")
def shapes():
    """Names and shapes of the state dict, as the authors' class has them."""
    return json.loads(str(np.load(PARITY)["shapes"]))


@pytest.fixture
def state(shapes):
    return {name: torch.zeros(shape) for name, shape in shapes.items()}


def saved(tmp_path, state):
    """Save as their training does; of what is beside the state nothing is looked at."""
    path = tmp_path / "epoch_96_valf1_0.53453.pth"
    optimizer = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 3e-4}]}
    torch.save({"epoch": 96, "model": state, "optimizer": optimizer, "wandb_run_id": "x"}, path)
    return path


def test_every_tensor_but_the_idle_ones_has_its_place(tmp_path, state):
    for number, tensor in enumerate(state.values()):
        tensor += number
    tensors = ORIGIN.read(saved(tmp_path, state))
    assert ORIGINS["dynest"] is ORIGIN
    used = {float(t.flatten()[0]) for name, t in state.items() if not name.startswith("proj_")}
    found = torch.cat([tensor.flatten() for tensor in tensors.values()])
    assert set(found.tolist()) == used
    for ours, theirs in (
        ("norm.running_mean", "bn0.running_mean"),
        ("encoder.first.1.join.weight", "encoder.conv02.weight"),
        ("encoder.second.2.block.norms.1.bias", "encoder.block23.bn2.bias"),
        ("encoder.third.0.norm.running_var", "encoder.bn31.running_var"),
        ("encoder.fourth.1.block.around.weight", "encoder.block42.sk.weight"),
        ("encoder.attentions.0.attention.in_proj_weight", "encoder.self_att23.att.in_proj_weight"),
        ("encoder.attentions.1.norm.weight", "encoder.bn4.weight"),
        ("encoder.spreads.4.spread.bias", "encoder.us332.bias"),
        ("encoder.output.weight", "encoder.conv4.weight"),
        ("heads.dynamics.weight", "head_dyn_out.weight"),
        ("heads.change.bias", "head_cp_out.bias"),
    ):
        assert torch.equal(tensors[f"network.{ours}"], state[theirs]), ours


def test_experts_and_gates_are_joined_in_our_order(tmp_path, state):
    for i in range(8):
        state[f"mmoe.experts.{i}.net.0.weight"] += i
        state[f"mmoe.experts.{i}.net.2.bias"] += 10 * i
    for i in range(4):
        state[f"mmoe.gates.{i}.weight"] += i
    tensors = ORIGIN.read(saved(tmp_path, state))
    hidden, output = (
        tensors[f"network.mixture.{name}"] for name in ("hidden.weight", "experts.bias")
    )
    assert hidden.shape == (64, 8, 3)
    assert hidden[::8, 0, 0].tolist() == list(range(8))
    assert output[7::8].tolist() == list(range(0, 80, 10))
    gates = tensors["network.mixture.gates.weight"][::8, 0].tolist()
    assert gates == [1, 2, 3, 0]  # theirs begin with dynamics, ours end with them


def test_sizes_are_told_from_tensors(tmp_path, state):
    assert network_config(ORIGIN.read(saved(tmp_path, state))) == DynestConfig(22, 5, 8, 8)
    fewer = {name: t for name, t in state.items() if not name.startswith("mmoe.experts.7")}
    assert network_config(ORIGIN.read(saved(tmp_path, fewer))).n_experts == 7


def test_a_network_without_a_mixture_is_not_recognised(tmp_path, state):
    without = {name: t for name, t in state.items() if not name.startswith("mmoe.")}
    with pytest.raises(ModelError, match=r"mmoe\.experts\.0\.net\.0\.bias is missing"):
        ORIGIN.read(saved(tmp_path, without))


def test_a_network_on_other_features_is_refused(tmp_path, state, monkeypatch):
    monkeypatch.setenv("AMT_MODEL_DIR", str(tmp_path / "data"))
    state["bn0.weight"] = torch.zeros(128)
    with pytest.raises(ModelError, match="it hears 128 bands, of sones there are 22"):
        import_checkpoint(saved(tmp_path, state))


@pytest.mark.parametrize(("fast", "n_frames"), [(False, 2500), (True, 2750)])
def test_windows_lie_on_the_grid_of_the_scales(fast, n_frames):
    spec = WINDOW.spec(fast=fast)
    BeatsDecoder(DECODER, spec)
    assert spec.length_samples == 60 * 22050
    assert spec.hop_samples == n_frames * DECODER.hop_samples
    assert n_frames % 25 == 0
