"""The network against its authors' own, in training, and from a recording to beats."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from filled import audio
from make_parity_dynest import fill, sones
from toy_folder import CONFIG

from amtcli.checkpoints.dynest import DECODER, FRONT_END, ORIGIN, network_config
from amtcli.decoders.beats import BeatActivations, decode_beats
from amtcli.engine import Engine, EngineOptions
from amtcli.front_ends.bark import Bark
from amtcli.model_folder import load_model
from amtcli.model_writing import write_model
from amtcli.networks.dynest import Dynest, DynestConfig
from amtcli.reading import Recording
from amtcli.windows import FastWindow, WindowConfig

PARITY = Path(__file__).parent / "data" / "parity" / "dynest.npz"
PUBLISHED = DynestConfig(n_features=22, stride=5, n_latent=8, n_experts=8)
THEIR_NAMES = {
    "beat": "beat_output",
    "downbeat": "downbeat_output",
    "change": "change_point_output",
    "dynamics": "dynamic_output",
}
N_IDLE = 4 * (8 * 8 + 8)  # parameters of theirs whose result they throw away


@pytest.fixture(scope="module")
def theirs():
    stored = dict(np.load(PARITY))
    logits = {ours: stored[name] for ours, name in THEIR_NAMES.items()}
    for name in ("beat", "downbeat", "change"):
        logits[name] = logits[name][..., 0]
    return logits


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The network with the weights that theirs has in the parity file, read as a checkpoint."""
    path = tmp_path_factory.mktemp("dynest") / "epoch.pth"
    torch.save({"model": fill(json.loads(str(np.load(PARITY)["shapes"])))}, path)
    tensors = ORIGIN.read(path)
    network = Dynest(network_config(tensors)).eval()
    network.load_state_dict({name.removeprefix("network."): t for name, t in tensors.items()})
    return network


def small(seed=0):
    torch.manual_seed(seed)
    return Dynest(DynestConfig(n_features=6, stride=2, n_latent=4, n_experts=3))


def test_sizes_are_the_published_ones_but_for_what_is_idle():
    n_parameters = sum(parameter.numel() for parameter in Dynest(PUBLISHED).parameters())
    assert n_parameters == 445_053 - N_IDLE
    log_mel = Dynest(replace(PUBLISHED, n_features=128))
    assert sum(parameter.numel() for parameter in log_mel.parameters()) == 14_714_137 - N_IDLE


@torch.inference_mode()
def test_it_computes_what_its_authors_compute(published, theirs):
    logits = published(sones())._asdict()
    for name, expected in theirs.items():
        assert expected.std() > 0.5
        largest = np.abs(expected).max()
        np.testing.assert_allclose(logits[name].numpy(), expected, rtol=0, atol=1e-5 * largest)


@torch.inference_mode()
def test_in_float64_it_is_the_same_to_the_last_digits(published, theirs):
    try:
        logits = published.double()(sones().double())._asdict()
    finally:
        published.float()
    for name, expected in theirs.items():
        np.testing.assert_allclose(logits[name].numpy(), expected, rtol=0, atol=1e-12)


@torch.inference_mode()
def test_activations_are_probabilities_and_nothing_is_blank(published, theirs):
    published.prepare("float32")
    windows = published.activations(sones())
    assert len(windows) == 2
    for i, window in enumerate(windows):
        for name in ("beat", "downbeat", "change"):
            expected = 1 / (1 + np.exp(-theirs[name][i]))
            np.testing.assert_allclose(getattr(window, name), expected, rtol=0, atol=1e-5)
        weights = np.exp(theirs["dynamics"][i, :, 1:])
        expected = weights / weights.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(window.dynamics, expected, rtol=0, atol=1e-5)
        assert window.rows().dtype == np.float32
    assert (theirs["dynamics"].argmax(axis=-1) == 0).any()  # blank would have won somewhere


@torch.inference_mode()
def test_bf16_changes_little(published):
    published.prepare("float32")
    exact = np.stack([window.rows() for window in published.activations(sones())])
    published.prepare("bf16")
    rough = np.stack([window.rows() for window in published.activations(sones())])
    published.prepare("float32")
    assert rough.dtype == np.float32
    assert 0 < np.abs(exact - rough).mean() < 0.02


def test_windows_do_not_know_of_each_other(published):
    with torch.inference_mode():
        together, alone = published(sones()), published(sones()[1:])
    for both, one in zip(together, alone, strict=True):
        torch.testing.assert_close(both[1:], one, rtol=0, atol=1e-4)


@torch.inference_mode()
def test_each_task_has_a_gate_of_its_own():
    mixture = small().mixture
    latent = torch.randn(1, 4, 9)
    mixture.gates.weight.zero_()
    mixture.gates.bias.copy_(100 * torch.eye(4, 3).flatten())  # one expert for each of three tasks
    mixed = mixture(latent)
    said = mixture.experts(F.relu(mixture.hidden(latent))).unflatten(1, (3, 4))
    torch.testing.assert_close(mixed[:3, 0], said[0].transpose(1, 2))
    torch.testing.assert_close(mixed[3, 0], said[0].mean(dim=0).T)


@torch.inference_mode()
def test_an_expert_hears_nothing_of_the_others():
    mixture = small().mixture
    latent, experts = torch.randn(1, 4, 9), mixture.experts
    mixture.gates.weight.zero_()
    mixture.gates.bias.copy_(100 * torch.eye(4, 3).flatten())
    before = mixture(latent)
    mixture.hidden.weight[:4] += 1.0
    experts.weight[:4] += 1.0
    changed = (mixture(latent) - before).abs().amax(dim=(1, 2, 3))
    assert changed[0] > 0.1
    assert changed[1] == changed[2] == 0


def test_it_learns_one_batch():
    network, features = small().train(), torch.rand(2, 40, 6)
    torch.manual_seed(1)
    beat, dynamics = (torch.rand(2, 40) < 0.2).float(), torch.randint(1, 6, (2, 40))
    losses = []
    for _ in range(30):
        logits = network(features)
        loss = F.cross_entropy(logits.dynamics.flatten(0, 1), dynamics.flatten())
        for head in logits[:3]:
            loss = loss + F.binary_cross_entropy_with_logits(head, beat)
        network.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter -= 0.1 * parameter.grad
        losses.append(loss.item())
    assert min(losses[-5:]) < losses[0] - 0.3
    assert all(parameter.grad.any() for parameter in network.parameters())


def test_in_training_the_latent_is_dropped_and_later_not():
    network, features = small().train(), torch.rand(1, 40, 6)
    network.norm.eval()
    network.encoder.eval()  # it drops values of its own
    heard = [network(features).beat for _ in range(2)]
    assert not torch.equal(*heard)
    network.eval()
    assert torch.equal(network(features).beat, network(features).beat)


@pytest.mark.parametrize("name", ["n_features", "stride", "n_latent", "n_experts"])
def test_sizes_of_nothing_are_refused(name):
    with pytest.raises(ValueError, match="at least 1"):
        replace(PUBLISHED, **{name: 0})


def test_a_model_folder_transcribes_as_its_parts_do(tmp_path, published):
    hop = FRONT_END.hop_samples
    decoder_config = replace(DECODER, change_threshold=0.6)
    model_config = replace(
        CONFIG,
        network={"architecture": "dynest", **asdict(PUBLISHED)},
        front_end={"kind": "bark", **asdict(FRONT_END)},
        window=WindowConfig(200 * hop, 150 * hop, 0, FastWindow(180 * hop, 0)),
        decoder={"kind": "beats", **asdict(decoder_config)},
    )
    tensors = {f"network.{name}": tensor for name, tensor in published.state_dict().items()}
    write_model(tmp_path / "model", model_config, tensors)
    samples = audio(330 * hop)
    engine = Engine(load_model(tmp_path / "model"), EngineOptions(device="cpu", batch_size=2))
    (result,) = engine.transcribe([Recording("tones", samples, FRONT_END.sample_rate_hz)])
    assert result.error is None

    padded = np.pad(samples, (0, 400 * hop))
    rows = []
    with torch.inference_mode():
        for start, own in ((0, slice(0, 175)), (150, slice(25, 175)), (300, slice(25, 175))):
            window = torch.from_numpy(padded[start * hop : (start + 200) * hop])[None]
            rows.append(published.activations(Bark(FRONT_END)([window]))[0].rows()[own])
    joined = np.concatenate(rows)
    found = decode_beats(
        BeatActivations(joined[:, 0], joined[:, 1], joined[:, 2], joined[:, 3:]), decoder_config
    )
    expected = [beat for beat in found if beat.onset_s < 330 * 0.02]
    heard = result.performance.beats
    assert len(expected) > 10
    assert {beat.dynamics for beat in expected} > {expected[0].dynamics}
    assert [replace(beat, confidence=None) for beat in heard] == [
        replace(beat, confidence=None) for beat in expected
    ]
    np.testing.assert_allclose(
        [beat.confidence for beat in heard], [beat.confidence for beat in expected], atol=1e-4
    )
