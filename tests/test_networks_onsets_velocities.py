"""The network against the author's own, in training, and from a recording to notes."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from filled import audio
from make_parity_onsets_velocities import fill
from toy_folder import CONFIG

from amtcli.checkpoints.onsets_velocities import (
    DECODER,
    FRONT_END,
    ORIGIN,
    network_config,
)
from amtcli.decoders.onset_peaks import decode_onset_peaks
from amtcli.engine import Engine, EngineOptions
from amtcli.front_ends.log_mel import LogMel
from amtcli.model_folder import load_model
from amtcli.model_writing import write_model
from amtcli.networks.onsets_velocities import OnsetsVelocities, OnsetsVelocitiesConfig
from amtcli.reading import Recording
from amtcli.windows import FastWindow, WindowConfig

PARITY = Path(__file__).parent / "data" / "parity" / "onsets_velocities.npz"
SMALL = OnsetsVelocitiesConfig(
    n_mels=24,
    n_stem_modules=1,
    n_onset_stages=2,
    n_onset_modules=1,
    n_velocity_modules=1,
    head_width=16,
)


def small(seed=0):
    torch.manual_seed(seed)
    return OnsetsVelocities(SMALL)


@pytest.fixture(scope="module")
def published_tensors(tmp_path_factory):
    path = tmp_path_factory.mktemp("onsets_velocities") / "published.torch"
    torch.save(fill(json.loads(str(np.load(PARITY)["shapes"]))), path)
    return ORIGIN.read(path)


def test_sizes_are_the_published_ones(published_tensors):
    config = network_config(published_tensors)
    assert config == OnsetsVelocitiesConfig(229, 3, 3, 3, 1, 200)
    network = OnsetsVelocities(config)
    assert sum(parameter.numel() for parameter in network.parameters()) == 3_127_168


@torch.inference_mode()
def test_it_computes_what_its_author_computes(published_tensors):
    network = OnsetsVelocities(network_config(published_tensors)).eval()
    tensors = {name.removeprefix("network."): t for name, t in published_tensors.items()}
    network.load_state_dict(tensors)
    with np.load(PARITY) as theirs:
        mel = torch.from_numpy(theirs["mel"])[None]
        heads = network(mel)
        for name, output in (("stages", heads["onset"][:, 0]), ("velocity", heads["velocity"][0])):
            assert theirs[name].std() > 0.1
            np.testing.assert_allclose(output.numpy(), theirs[name], rtol=0, atol=1e-5)
        (activations,) = network.activations(mel)
        last = 1 / (1 + np.exp(-theirs["stages"][-1].astype(float)))
        np.testing.assert_allclose(activations.onset[1:], last, rtol=0, atol=1e-5)
    assert not activations.onset[0].any()
    assert len(activations.velocity) == mel.shape[1]


def test_it_learns_one_batch():
    network, features = small().train(), torch.randn(2, 40, 24)
    torch.manual_seed(1)
    wanted = {"onset": (torch.rand(2, 39, 88) < 0.1).float(), "velocity": torch.rand(2, 39, 88)}
    losses = []
    for _ in range(8):
        heads = network(features)
        stages = [F.binary_cross_entropy_with_logits(s, wanted["onset"]) for s in heads["onset"]]
        velocity = F.binary_cross_entropy_with_logits(heads["velocity"], wanted["velocity"])
        loss = torch.stack(stages).mean() + velocity
        network.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter -= 0.5 * parameter.grad
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1
    # A bias before a normalisation has no effect: its gradient is rounding alone.
    idle = {"output.bias"}
    for name, parameter in network.named_parameters():
        assert parameter.grad.any() or name.endswith(tuple(idle)), name


def test_later_stages_start_from_the_earlier_ones():
    network = small().eval()
    last = network.onset_stages[-1].norm
    with torch.inference_mode():
        last.weight.zero_()
        last.bias.fill_(0.25)
        first, second = network(torch.randn(1, 20, 24))["onset"]
    np.testing.assert_allclose((second - first).numpy(), 0.25, atol=1e-5)


@torch.inference_mode()
def test_answers_depend_on_the_whole_window():
    network = small().eval()
    network.prepare("float32")
    loud, quiet = torch.randn(1, 300, 24), torch.randn(1, 300, 24) * 0.1
    alone, *_ = network.activations(loud)
    followed, *_ = network.activations(torch.cat([loud, quiet], dim=1))
    # Far from the cut, where no convolution reaches it, only the gates' averages differ.
    difference = np.abs(alone.onset[50:150] - followed.onset[50:150])
    assert 1e-4 < difference.mean() < 0.05


def test_a_model_folder_transcribes_as_its_parts_do(tmp_path):
    config = replace(SMALL, n_mels=FRONT_END.n_mels)
    torch.manual_seed(3)
    network = OnsetsVelocities(config)
    decoder_config = replace(DECODER, threshold=0.6)
    hop = FRONT_END.hop_samples
    model_config = replace(
        CONFIG,
        network={"architecture": "onsets_velocities", **asdict(config)},
        front_end={"kind": "log_mel", **asdict(FRONT_END)},
        window=WindowConfig(100 * hop, 60 * hop, 20 * hop, FastWindow(80 * hop, 10 * hop)),
        decoder={"kind": "onset_peaks", **asdict(decoder_config)},
    )
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    write_model(tmp_path / "model", model_config, tensors)
    samples = audio(100 * hop)
    engine = Engine(load_model(tmp_path / "model"), EngineOptions(device="cpu", batch_size=2))
    (result,) = engine.transcribe([Recording("tones", samples, 16000)])
    assert result.error is None

    network.eval()
    padded = np.pad(samples, (20 * hop, 40 * hop))
    heads = []
    with torch.inference_mode():
        for start in (0, 60 * hop):
            window = torch.from_numpy(padded[start : start + 100 * hop])[None]
            heads.append(network.activations(LogMel(FRONT_END)([window]))[0])
    silence = np.zeros((60, 88), np.float32)  # the third window lies behind the recording
    joined = replace(
        heads[0],
        onset=np.concatenate([*(h.onset[20:80] for h in heads), silence]),
        velocity=np.concatenate([*(h.velocity[20:80] for h in heads), silence]),
    )
    found = decode_onset_peaks(joined, decoder_config)
    within = (note for note in found if note.onset_s < len(samples) / 16000)
    expected = sorted(within, key=lambda n: n.onset_s)
    assert len(result.performance.notes) == len(expected) > 10
    np.testing.assert_allclose(
        [n.onset_s for n in result.performance.notes], [n.onset_s for n in expected], atol=1e-6
    )
