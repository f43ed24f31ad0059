"""The network against the authors' own, in training, and from a recording to notes."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from filled import audio, filled_state
from hpt_checkpoint import published, stored
from torch import nn
from toy_folder import CONFIG

from amtcli.checkpoints.hpt import DECODER, FRONT_END, ORIGIN, network_config
from amtcli.decoders.regression import RegressionDecoder
from amtcli.engine import Engine, EngineOptions
from amtcli.front_ends.log_mel import LogMel
from amtcli.model_folder import load_model
from amtcli.model_writing import write_model
from amtcli.networks.hpt import Hpt, HptConfig
from amtcli.notes import Note, PedalSpan
from amtcli.reading import Recording
from amtcli.windows import FastWindow, WindowConfig

SIZES = {"n_mels": 229, "conv_channels": (48, 64, 96, 128), "dense_width": 768}
SIZES |= {"recurrent_width": 256, "norm_epsilon": 0.01}
SMALL = HptConfig(
    notes=True,
    pedals=True,
    n_mels=32,
    conv_channels=(4, 6),
    dense_width=24,
    recurrent_width=8,
    norm_epsilon=0.01,
)
THEIR_NAMES = {
    "onset": "reg_onset_output",
    "offset": "reg_offset_output",
    "frame": "frame_output",
    "velocity": "velocity_output",
    "pedal_onset": "reg_pedal_onset_output",
    "pedal_offset": "reg_pedal_offset_output",
    "pedal_frame": "pedal_frame_output",
}


def small(seed=0, **changes):
    torch.manual_seed(seed)
    return Hpt(replace(SMALL, **changes))


def n_parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.fixture(scope="module")
def published_tensors(tmp_path_factory):
    path = tmp_path_factory.mktemp("hpt") / "published.pth"
    torch.save(published(), path)
    return ORIGIN.read(path)


def test_sizes_are_the_published_ones(published_tensors):
    config = network_config(published_tensors)
    assert config == HptConfig(notes=True, pedals=True, **SIZES)
    with torch.device("meta"):
        notes, pedals = (Hpt(replace(config, **{part: False})) for part in ("pedals", "notes"))
    assert n_parameters(notes) == 20_218_778
    assert n_parameters(pedals) == 13_861_277


@torch.inference_mode()
def test_it_computes_what_the_authors_compute(published_tensors):
    network = Hpt(network_config(published_tensors)).eval()
    tensors = {name.removeprefix("network."): t for name, t in published_tensors.items()}
    network.load_state_dict(tensors)
    features = LogMel(FRONT_END)([torch.from_numpy(audio(8000))[None]])
    heads = network(features)
    assert heads.keys() == THEIR_NAMES.keys()
    for name, logits in heads.items():
        theirs = stored()[THEIR_NAMES[name]]
        ours = torch.sigmoid(logits)[0].numpy()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5, err_msg=name)
    network.prepare("float32")
    (activations,) = network.activations(features)
    np.testing.assert_allclose(activations.onset, stored()["reg_onset_output"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(
        activations.pedal_frame, stored()["pedal_frame_output"], rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(("part", "silent"), [("notes", "pedals"), ("pedals", "notes")])
@torch.inference_mode()
def test_a_part_that_is_not_there_says_nothing(part, silent):
    network = small(**{silent: False}).eval()
    network.prepare("float32")
    (activations,) = network.activations(torch.randn(1, 50, 32))
    said = {"notes": activations.onset, "pedals": activations.pedal_frame}
    assert said[part].min() > 0
    assert not said[silent].any()
    assert {k.split(".")[0] for k in network.state_dict()} == {part}


def test_a_network_without_parts_is_refused():
    with pytest.raises(ValueError, match="notes or pedals"):
        replace(SMALL, notes=False, pedals=False)


def targets(n_frames):
    torch.manual_seed(1)
    widths = {name: 1 if name.startswith("pedal") else 88 for name in THEIR_NAMES}
    return {name: 0.2 * torch.rand(2, n_frames, width) for name, width in widths.items()}


def test_it_learns_one_batch():
    network, features, wanted = small().train(), torch.randn(2, 30, 32), targets(30)
    losses = []
    for _ in range(6):
        heads = network(features)
        loss = sum(F.binary_cross_entropy_with_logits(heads[name], wanted[name]) for name in heads)
        network.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter -= 0.5 * parameter.grad
        losses.append(loss.item())
    assert losses[-1] < 0.95 * losses[0]
    assert all(parameter.grad.any() for parameter in network.parameters())


class Says(nn.Module):
    """An acoustic model that says the same of everything."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, _):
        return self.logits


class Loudness(nn.Module):
    """A conditioned head that passes on the velocities that it is told."""

    def forward(self, onset, loudness):
        return loudness


def test_gradients_are_those_of_a_root_even_where_nothing_sounds():
    early = torch.tensor([-200.0, -100.0, -20.0, 0.0, 30.0])[None, :, None].repeat(1, 1, 88)
    early.requires_grad_()
    notes = small(pedals=False).train().notes
    notes.heads["onset"], notes.heads["velocity"] = Says(early), Says(torch.zeros(1, 5, 88))
    notes.onset = Loudness()
    notes(torch.randn(1, 5, 32))["onset"].sum().backward()
    onset = torch.sigmoid(
        early.detach().double()
    )  # at -200 its float32 is 0, its root's slope is inf
    expected = 0.5 * (0.5 * onset.sqrt() * (1 - onset))
    torch.testing.assert_close(early.grad.double(), expected, rtol=1e-5, atol=1e-12)
    assert early.grad[0, 1].min() > 0


@torch.inference_mode()
def test_bf16_changes_little():
    network, features = small().eval(), torch.randn(2, 60, 32)
    network.prepare("float32")
    exact = network.activations(features)
    network.prepare("bf16")
    for rough, fine in zip(network.activations(features), exact, strict=True):
        difference = np.abs(rough.rows() - fine.rows())
        assert 0 < difference.max() < 0.02
    assert network(features)["onset"].dtype == torch.float32


@torch.inference_mode()
def test_answers_depend_on_the_window_but_hardly_in_its_middle():
    network = small().eval()
    network.prepare("float32")
    features = torch.randn(1, 300, 32)
    whole, *_ = network.activations(features)
    cut, *_ = network.activations(features[:, 100:200])
    difference = np.abs(whole.rows()[100:200] - cut.rows()).max(axis=1)
    assert difference[:2].max() > 0.01
    assert difference[40:60].max() < 1e-4


def test_a_model_folder_transcribes_as_its_parts_do(tmp_path):
    config = replace(SMALL, n_mels=FRONT_END.n_mels)
    network = Hpt(config)
    network.load_state_dict(filled_state({k: v.shape for k, v in network.state_dict().items()}))
    model_config = replace(
        CONFIG,
        network={"architecture": "hpt", **asdict(config)},
        front_end={"kind": "log_mel", **asdict(FRONT_END)},
        window=WindowConfig(32000, 16000, 0, FastWindow(24000, 0)),
        decoder={"kind": "regression", **asdict(DECODER)},
    )
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    write_model(tmp_path / "model", model_config, tensors)
    samples = audio(40000)
    engine = Engine(load_model(tmp_path / "model"), EngineOptions(device="cpu", batch_size=2))
    (result,) = engine.transcribe([Recording("tones", samples, 16000)])
    assert result.error is None

    decoder, found = RegressionDecoder(DECODER, engine.window), []
    network.eval().prepare("float32")
    padded = np.pad(samples, (0, 32000))
    with torch.inference_mode():
        for start in (0, 16000, 32000):
            window = torch.from_numpy(padded[start : start + 32000])[None]
            found += decoder.feed(network.activations(LogMel(FRONT_END)([window]))[0])
    found += decoder.close()
    for kind, ours in ((Note, result.performance.notes), (PedalSpan, result.performance.pedals)):
        expected = [event for event in found if isinstance(event, kind) and event.onset_s < 2.5]
        assert len(ours) == len(expected) > 0
        onsets_s = sorted(event.onset_s for event in expected)
        np.testing.assert_allclose([event.onset_s for event in ours], onsets_s, atol=1e-4)
