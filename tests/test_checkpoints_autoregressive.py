import json
from pathlib import Path

import numpy as np
import pytest
import torch
from autoregressive_model import FRONT_END, NETWORK
from filled import as_module, filled_state

from amtcli.checkpoints.autoregressive import ORIGIN, network_config
from amtcli.errors import ModelError
from amtcli.front_ends.log_mel import mel_filters
from amtcli.networks.autoregressive import Autoregressive, AutoregressiveConfig

PARITY = Path(__file__).parent / "data" / "parity" / "autoregressive.npz"


@pytest.fixture
def state():
    """What the authors' network holds, by their own names."""
    shapes = json.loads(str(np.load(PARITY)["shapes"]))
    constants = {name for name in shapes if name.startswith("melspectrogram.")}
    assert constants == {"melspectrogram.stft.forward_basis", "melspectrogram.mel_basis"}
    tensors = filled_state({n: s for n, s in shapes.items() if n not in constants})
    basis = torch.zeros(4, 1, 2048)  # only its first row, the window, is looked at
    basis[0, 0] = torch.hann_window(2048)
    return tensors | {
        "melspectrogram.stft.forward_basis": basis,
        "melspectrogram.mel_basis": mel_filters(FRONT_END).T,
    }


@pytest.mark.parametrize(
    "save",
    [
        lambda state: {"model_state_dict": state, "model_complexity_conv": 2, "optimizer": [1]},
        as_module,
    ],
    ids=["online_amt", "low-latency-amt"],
)
def test_both_kinds_fill_the_network_exactly(tmp_path, state, save):
    path = tmp_path / "model.pt"
    torch.save(save(state), path)
    tensors = ORIGIN.read(path)
    expected = {f"network.{name}" for name in Autoregressive(NETWORK).state_dict()}
    assert tensors.keys() == expected
    assert torch.equal(
        tensors["network.language.lstm.weight_hh_l1"], state["language_model.weight_hh_l1"]
    )
    assert torch.equal(
        tensors["network.acoustic.convolutions.2.weight"], state["acoustic_model.cnn.8.weight"]
    )


def test_the_network_is_told_by_its_tensors(tmp_path, state):
    state["acoustic_model.cnn.3.weight"] = state["acoustic_model.cnn.3.weight"][:, :, :1]
    torch.save(as_module(state), tmp_path / "model.pt")
    config = network_config(ORIGIN.read(tmp_path / "model.pt"))
    assert config == AutoregressiveConfig(229, 2, 1, (3, 1, 3))


def test_missing_and_unexpected_tensors_are_named(tmp_path, state):
    del state["class_embedding.weight"]
    state["velocity.weight"] = torch.zeros(1)
    torch.save(as_module(state), tmp_path / "model.pt")
    with pytest.raises(
        ModelError, match=r"class_embedding\.weight is missing, velocity\.weight is unexpected"
    ):
        ORIGIN.read(tmp_path / "model.pt")


@pytest.mark.parametrize("key", ["melspectrogram.stft.forward_basis", "melspectrogram.mel_basis"])
def test_another_front_end_is_refused(tmp_path, state, key):
    state[key] = state[key] * 1.01
    torch.save(as_module(state), tmp_path / "model.pt")
    with pytest.raises(ModelError, match=f"{key} is not that of the published front-end"):
        ORIGIN.read(tmp_path / "model.pt")
