"""Against the authors' programs (data/parity/autoregressive.npz), and against itself."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from autoregressive_model import NETWORK, fill, log_mel
from filled import audio, filled_state

from amtcli.checkpoints.autoregressive import ORIGIN
from amtcli.decoders.note_states import OFF, ONSET
from amtcli.networks.autoregressive import Autoregressive, AutoregressiveConfig, StateFrames
from amtcli.networks.conv_stack import ConvStackStream

PARITY = Path(__file__).parent / "data" / "parity" / "autoregressive.npz"


@pytest.fixture(scope="module")
def stored():
    return dict(np.load(PARITY))


@pytest.fixture(scope="module")
def network(stored, tmp_path_factory):
    """The network with the authors' names and weights, through the reader of checkpoints."""
    shapes = json.loads(str(stored["shapes"]))
    wanted = {n: s for n, s in shapes.items() if not n.startswith("melspectrogram.")}
    path = tmp_path_factory.mktemp("checkpoint") / "model.pt"
    torch.save({"model_state_dict": filled_state(wanted)}, path)
    network = Autoregressive(NETWORK)
    network.load_state_dict(
        {name.removeprefix("network."): t for name, t in ORIGIN.read(path).items()}
    )
    return network.eval()


@pytest.mark.parametrize(("lstm_complexity", "n"), [(48, 14_594_994), (16, 6_136_754)])
def test_parameters_are_as_many_as_published(lstm_complexity, n):
    with torch.device("meta"):
        network = Autoregressive(AutoregressiveConfig(229, 48, lstm_complexity, (3, 3, 3)))
    assert sum(p.numel() for p in network.parameters()) == n


@torch.no_grad()
def test_logits_are_the_authors(stored, network):
    mel = torch.from_numpy(stored["mel"])[None]
    states = torch.from_numpy(np.random.RandomState(3).randint(0, 5, (1, mel.shape[1], 88)))
    np.testing.assert_allclose(network(mel, states)[0], stored["logits"], rtol=0, atol=1e-5)


@torch.inference_mode()
def test_live_states_are_the_authors(stored, network):
    # Their program hears blocks of 512 samples after a second of zeros, its windows end with
    # the block, it starts to decide at once, and doubles the probability of onsets.
    samples = torch.from_numpy(np.concatenate([np.zeros(1536, np.float32), audio(16000)]))
    mel = log_mel()([samples[None]])[0][2 : 2 + 31]  # window n holds samples 512 n to 512 n + 2048
    silence = log_mel()([torch.zeros(1, 4096)])[0, 0]
    acoustic = ConvStackStream(network.acoustic, silence).push(mel)
    np.testing.assert_allclose(acoustic, stored["live_acoustic"], rtol=1e-5, atol=1e-5)
    frames = StateFrames(network.language, network.language.drive(acoustic), np.zeros(31, bool))
    decided, _ = frames.decide(slice(None), None, 2.0)
    np.testing.assert_array_equal(decided.states, stored["live_states"])
    assert len(np.unique(decided.states)) == 5


@torch.no_grad()
def test_steps_give_the_logits_of_the_whole_when_told_the_same_states(stored, network):
    mel = torch.from_numpy(stored["mel"])[None]
    (frames,) = network.activations(mel)
    decided, _ = frames.decide(slice(None), None, 1.0)
    logits = network(mel, torch.from_numpy(decided.states)[None])[0]
    probability = logits.softmax(dim=-1)[..., ONSET:].sum(dim=-1)
    np.testing.assert_allclose(decided.onset_probability, probability, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(decided.states, logits.argmax(dim=-1))


def test_memory_carries_over_any_cut(stored, network):
    (frames,) = network.activations(torch.from_numpy(stored["mel"])[None])
    whole, _ = frames.decide(slice(None), None, 1.0)
    first, memory = frames.decide(slice(0, 11), None, 1.0)
    second, _ = frames.decide(slice(11, None), memory, 1.0)
    np.testing.assert_array_equal(np.concatenate([first.states, second.states]), whole.states)
    forgetful, _ = frames.decide(slice(11, None), None, 1.0)
    assert (forgetful.states != second.states).any()


def test_digital_silence_is_off_and_what_follows_starts_anew(network):
    samples = np.zeros(40 * 512, np.float32)
    samples[20 * 512 :] = audio(20 * 512)
    mel = log_mel()([torch.from_numpy(samples)[None]])
    (frames,) = network.activations(mel)
    # The window of frame 19 is the first to reach sample 20 * 512, and frame 16 hears it.
    assert np.flatnonzero(~frames.silent)[0] == 16
    _, memory = frames.decide(slice(16, 30), None, 1.0)
    decided, memory = frames.decide(slice(0, 16), memory, 1.0)
    assert (decided.states == OFF).all()
    assert (decided.onset_probability == 0).all()
    assert memory is None


def test_one_step_of_training_lowers_the_loss():
    network = fill(Autoregressive(NETWORK)).train()
    random = torch.Generator().manual_seed(0)
    mel = torch.randn(2, 20, 229, generator=random) * 2 - 5
    states = 3 * (torch.rand(2, 20, 88, generator=random) < 0.1)  # mostly off, some onsets
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)

    def loss():
        torch.manual_seed(1)  # the same dropout
        return F.cross_entropy(network(mel, states).flatten(0, 2), states.flatten())

    before = loss()
    before.backward()
    optimizer.step()
    assert loss() < before - 0.01


def test_wide_kernels_are_refused():
    with pytest.raises(ValueError, match=r"must each be 1 or 3, not \(3, 5, 3\)"):
        AutoregressiveConfig(229, 48, 48, (3, 5, 3))
