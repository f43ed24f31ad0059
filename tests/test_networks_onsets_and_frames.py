"""Against Jongwook Kim's program (data/parity/onsets_and_frames.npz), and against itself."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from autoregressive_model import fill, write_folder
from filled import as_module, audio, filled_state, random_maps

from amtcli.checkpoints.onsets_and_frames import ORIGIN
from amtcli.decoders.frames import FrameActivations, FramesConfig, decode_frames
from amtcli.engine import Engine, EngineOptions
from amtcli.model_folder import load_model
from amtcli.networks.onsets_and_frames import OnsetsAndFrames, OnsetsAndFramesConfig
from amtcli.reading import Recording

PARITY = Path(__file__).parent / "data" / "parity" / "onsets_and_frames.npz"
SMALL = OnsetsAndFramesConfig(n_mels=229, complexity=2)
HEADS = ("onset", "offset", "activation", "frame", "velocity")
DECODER = {
    "onset_threshold": 0.5,
    "onset_peaks": False,
    "confirmation_threshold": 0.0,
    "frame_threshold": 0.5,
    "offset_threshold": 1.0,
    "held_threshold": 0.0,
    "shortest_frames": 1,
    "velocity_scale": 128,
}


@pytest.fixture(scope="module")
def stored():
    return dict(np.load(PARITY))


@pytest.fixture(scope="module")
def network(stored, tmp_path_factory):
    """The network with the authors' names and weights, through the reader of checkpoints."""
    path = tmp_path_factory.mktemp("checkpoint") / "model.pt"
    torch.save(as_module(filled_state(json.loads(str(stored["shapes"])))), path)
    network = OnsetsAndFrames(SMALL)
    network.load_state_dict(
        {name.removeprefix("network."): t for name, t in ORIGIN.read(path).items()}
    )
    return network.eval()


@pytest.mark.parametrize(
    ("complexity", "n"), [(48, 26_491_256), (16, 3_204_856), (24, 6_916_760), (32, 12_035_128)]
)
def test_parameters_are_as_many_as_published(complexity, n):
    with torch.device("meta"):
        network = OnsetsAndFrames(OnsetsAndFramesConfig(229, complexity))
    assert sum(p.numel() for p in network.parameters()) == n


@torch.no_grad()
def test_outputs_are_the_authors(stored, network):
    output = network(torch.from_numpy(stored["mel"])[None])
    for head in HEADS:
        values = getattr(output, head)[0]
        values = values if head == "velocity" else values.sigmoid()
        np.testing.assert_allclose(values, stored[head], rtol=0, atol=1e-5, err_msg=head)


def test_activations_are_probabilities_and_velocities_within_range(stored, network):
    with torch.inference_mode():
        network.prepare("float32")
        (activations,) = network.activations(torch.from_numpy(stored["mel"])[None])
    for head in ("onset", "offset", "frame"):
        np.testing.assert_allclose(getattr(activations, head), stored[head], rtol=0, atol=1e-5)
    np.testing.assert_allclose(
        activations.velocity, stored["velocity"].clip(0, 1), rtol=0, atol=1e-5
    )


def test_bf16_is_near_float32(stored, network):
    mel = torch.from_numpy(stored["mel"])[None]
    with torch.inference_mode():
        network.prepare("bf16")
        (rough,) = network.activations(mel)
        network.prepare("float32")
    assert rough.onset.dtype == np.float32
    difference = np.abs(rough.onset - stored["onset"]).max()
    assert 1e-6 < difference < 0.05


def test_notes_are_the_authors_but_do_not_overlap(stored):
    onset, frame, velocity = random_maps()
    config = FramesConfig(sample_rate_hz=10, hop_samples=1, **DECODER)
    maps = FrameActivations(onset, frame, np.zeros_like(onset), velocity)
    ours = {(n.pitch - 21, round(n.onset_s * 10)): n for n in decode_frames(maps, config)}
    theirs = sorted(
        (int(key), int(on), int(off), float(v))
        for key, (on, off), v in zip(
            stored["note_keys"], stored["note_frames"], stored["note_velocities"], strict=True
        )
    )
    assert sorted(ours) == [note[:2] for note in theirs]
    n_alone = 0
    for (key, on, off, v), following in zip(theirs, [*theirs[1:], (-1, 0, 0, 0.0)], strict=True):
        note = ours[key, on]
        overlaps = following[0] == key and following[1] < off
        assert round(note.offset_s * 10) == (following[1] if overlaps else off)
        if not overlaps:
            assert note.velocity == pytest.approx(min(max(v * 128, 1), 127), abs=0.51)
            n_alone += 1
    assert 100 < n_alone < len(theirs)


@torch.no_grad()
def test_answers_move_with_the_cut_and_most_near_it(stored, network):
    mel = torch.from_numpy(stored["mel"])[None]
    whole, cut = network(mel).frame[0], network(mel[:, 8:]).frame[0]
    moved = (whole[8:].sigmoid() - cut.sigmoid()).abs().amax(dim=-1)
    assert moved[:4].max() > 0.01
    assert moved[12:].max() < moved[:4].max() / 10
    assert moved[12:].max() > 1e-7  # but nowhere is it quite the same


def test_one_step_of_training_lowers_the_loss():
    network = fill(OnsetsAndFrames(SMALL)).train()
    random = torch.Generator().manual_seed(0)
    mel = torch.randn(2, 20, 229, generator=random) * 2 - 5
    labels = (torch.rand(2, 20, 88, generator=random) < 0.1).float()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)

    def loss():
        torch.manual_seed(1)  # the same dropout
        output = network(mel)
        heads = (output.onset, output.offset, output.frame)
        return sum(F.binary_cross_entropy_with_logits(head, labels) for head in heads)

    before = loss()
    before.backward()
    optimizer.step()
    assert loss() < before - 0.01


def test_frames_do_not_teach_onsets():
    network = fill(OnsetsAndFrames(SMALL)).train()
    network(torch.randn(1, 8, 229)).frame.sum().backward()
    assert network.onset.output.weight.grad is None
    assert network.offset.output.weight.grad is None
    assert network.activation.output.weight.grad is not None


def test_a_model_folder_transcribes(tmp_path):
    decoder = {"kind": "frames", **DECODER, "onset_threshold": 0.6, "frame_threshold": 0.4}
    table = {"architecture": "onsets_and_frames", **vars(SMALL)}
    network = fill(OnsetsAndFrames(SMALL))
    model = load_model(write_folder(tmp_path / "model", network, table, decoder))
    recording = Recording("test", audio(24000), 16000)
    (transcription,) = Engine(model, EngineOptions("cpu")).transcribe([recording])
    notes = transcription.performance.notes
    assert len(notes) > 20
    assert {n.onset_s % 0.032 < 1e-9 or n.onset_s % 0.032 > 0.032 - 1e-9 for n in notes} == {True}
