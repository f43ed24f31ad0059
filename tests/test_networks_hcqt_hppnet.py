"""The variant of HPPNet on a harmonic CQT against its author's code, and in the engine."""

from pathlib import Path

import numpy as np
import pytest
import torch
from filled import audio, filled_state

from amtcli.checkpoints.hcqt_hppnet import ORIGIN, network_config
from amtcli.engine import Engine, EngineOptions
from amtcli.errors import ModelError
from amtcli.model_config import ModelConfig, Precision, Provenance, StoredWeights
from amtcli.model_folder import load_model
from amtcli.model_writing import write_model
from amtcli.networks.hcqt_hppnet import HcqtHppnet, HcqtHppnetConfig
from amtcli.networks.hppnet import HEADS
from amtcli.reading import Recording
from amtcli.windows import FastWindow, WindowConfig

PARITY = Path(__file__).parent / "data" / "parity" / "hcqt_hppnet.npz"
CONFIG = ModelConfig(
    format=1,
    network={
        "architecture": "hcqt_hppnet",
        "n_input_channels": 3,
        "base_channels": 24,
        "lstm_width": 48,
    },
    front_end={
        "kind": "hcqt",
        "sample_rate_hz": 16000,
        "hop_samples": 256,
        "n_bins": 88,
        "bins_per_octave": 12,
        "f_min_hz": 27.5,
        "harmonics": [0.5, 1.0, 2.0],
        "dynamic_range_db": 80.0,
    },
    window=WindowConfig(40960, 32768, 4096, FastWindow(40960, 0)),
    decoder={
        "kind": "frames",
        "sample_rate_hz": 16000,
        "hop_samples": 256,
        "onset_threshold": 0.5,
        "onset_peaks": False,
        "confirmation_threshold": 0.3,
        "frame_threshold": 0.5,
        "offset_threshold": 0.3,
        "held_threshold": 0.85,
        "shortest_frames": 3,
        "velocity_scale": 127,
    },
    precision=Precision(auto_bf16=False, auto_int8=False),
    weights=StoredWeights("weights.safetensors", "0" * 64, "float32"),
    provenance=Provenance("toy", "1", "", "none", "none", 0, 0, {}, "MIT"),
)


@pytest.fixture(scope="module")
def parity():
    return np.load(PARITY)


@pytest.fixture(scope="module")
def author_state(parity):
    """A state_dict with the author's names and shapes, filled as the parity script did."""
    names = parity["names"]
    network = HcqtHppnet(HcqtHppnetConfig(3, 24, 48))
    tensors = list(network.state_dict().values())
    shapes = {}
    # Both modules are made in the same order, and all kernels but one are square.
    for name, tensor in zip(names, tensors, strict=True):
        shapes[str(name)] = tensor.shape
    return filled_state(shapes)


@pytest.mark.parametrize("lstm_width, n_parameters", [(48, 268_324), (64, 351_396)])
def test_sizes_have_the_authors_parameters(lstm_width, n_parameters):
    network = HcqtHppnet(HcqtHppnetConfig(3, 24, lstm_width))
    assert sum(p.numel() for p in network.parameters()) == n_parameters


@pytest.mark.parametrize("prefix", ["", "module."])
def test_logits_equal_the_authors(parity, author_state, prefix, tmp_path):
    torch.save({prefix + name: t for name, t in author_state.items()}, tmp_path / "best.pth")
    tensors = ORIGIN.read(tmp_path / "best.pth")
    assert network_config(tensors) == HcqtHppnetConfig(3, 24, 48)
    network = HcqtHppnet(network_config(tensors)).eval()
    network.load_state_dict({name.removeprefix("network."): t for name, t in tensors.items()})
    random = np.random.RandomState(2)
    features = torch.from_numpy(random.rand(1, 3, 40, 88).astype(np.float32))
    with torch.no_grad():
        logits = network(features)
    for head in HEADS:
        assert np.ptp(parity[head]) > 0.2
        np.testing.assert_allclose(logits[head][0, ::5], parity[head], atol=1e-5)


def test_a_checkpoint_of_another_network_is_refused(author_state, tmp_path):
    path = tmp_path / "other.pth"
    missing = {name: t for name, t in author_state.items() if name != "adapter.bias"}
    torch.save(missing | {"head_pedal.proj.bias": torch.zeros(1)}, path)
    with pytest.raises(ModelError, match=r"adapter\.bias is missing, head_pedal\.proj\.bias"):
        ORIGIN.read(path)


def test_a_model_folder_goes_through_the_engine(author_state, tmp_path):
    torch.save(author_state, tmp_path / "best.pth")
    write_model(tmp_path / "model", CONFIG, ORIGIN.read(tmp_path / "best.pth"))
    engine = Engine(load_model(tmp_path / "model"), EngineOptions(device="cpu"))
    (result,) = engine.transcribe([Recording("tones", audio(40000), 16000)])
    assert result.error is None
    assert len(result.performance.notes) > 0
    frames = [note.onset_s * 16000 / 256 for note in result.performance.notes]
    np.testing.assert_allclose(frames, np.round(frames), atol=1e-6)
    assert max(frames) < 40000 / 256


def test_how_far_the_cut_moves_probabilities():
    """Normalisation and recurrence see the whole window, so a longer one answers otherwise."""
    torch.manual_seed(0)
    network = HcqtHppnet(HcqtHppnetConfig(3, 4, 4)).eval()
    features = torch.rand(1, 3, 80, 88)
    with torch.no_grad():
        (whole,) = network.activations(features)
        (part,) = network.activations(features[:, :, :60])
    moved = np.abs(whole.onset[:60] - part.onset)
    assert 1e-5 < moved.max() < 0.1


def test_one_step_of_training_lowers_the_loss():
    torch.manual_seed(0)
    network = HcqtHppnet(HcqtHppnetConfig(3, 4, 4))
    features = torch.rand(1, 3, 16, 88)
    target = (torch.rand(1, 16, 88) < 0.1).float()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)

    def loss():
        entropy = torch.nn.functional.binary_cross_entropy_with_logits
        return sum(entropy(logits, target) for logits in network(features).values())

    before = loss()
    before.backward()
    optimizer.step()
    with torch.no_grad():
        assert loss() < before
