import json
from pathlib import Path

import numpy as np
import pytest
import torch
from filled import as_module, filled_state

from amtcli.checkpoints.onsets_and_frames import ORIGIN, network_config
from amtcli.errors import ModelError
from amtcli.networks.onsets_and_frames import OnsetsAndFrames, OnsetsAndFramesConfig

PARITY = Path(__file__).parent / "data" / "parity" / "onsets_and_frames.npz"


@pytest.fixture
def state():
    return filled_state(json.loads(str(np.load(PARITY)["shapes"])))


def test_a_whole_module_fills_the_network_exactly(tmp_path, state):
    assert len(state) == 126
    torch.save(as_module(state), tmp_path / "model.pt")
    tensors = ORIGIN.read(tmp_path / "model.pt")
    config = network_config(tensors)
    assert config == OnsetsAndFramesConfig(n_mels=229, complexity=2)
    expected = OnsetsAndFrames(config).state_dict()
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        f"network.{name}": tensor.shape for name, tensor in expected.items()
    }
    assert torch.equal(
        tensors["network.frame.lstm.weight_hh_l0_reverse"],
        state["combined_stack.0.rnn.weight_hh_l0_reverse"],
    )


def test_another_network_is_refused(tmp_path, state):
    del state["velocity_stack.1.bias"]
    torch.save(as_module(state), tmp_path / "model.pt")
    with pytest.raises(ModelError, match=r"velocity_stack\.1\.bias is missing"):
        ORIGIN.read(tmp_path / "model.pt")
    torch.save({"state": 1}, tmp_path / "model.pt")
    with pytest.raises(ModelError, match=r"is missing, .* and 122 more"):
        ORIGIN.read(tmp_path / "model.pt")
