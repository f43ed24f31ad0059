"""HPPNet against its authors' code, its decoder on the authors' notes, and the whole engine."""

from collections import defaultdict
from pathlib import Path

import mir_eval
import numpy as np
import pretty_midi
import pytest
import soundfile
import torch
from filled import audio, filled_state, random_maps

from amtcli.checkpoints.hppnet import ORIGIN, network_config, our_names
from amtcli.decoders.frames import FrameActivations, FramesConfig, decode_frames
from amtcli.engine import Engine, EngineOptions
from amtcli.model_config import read_config
from amtcli.model_folder import load_model
from amtcli.model_writing import write_model
from amtcli.networks.hppnet import HEADS, SIZES, Hppnet, HppnetConfig, gather_harmonics
from amtcli.reading import Recording
from amtcli.tables import from_table

DATA = Path(__file__).parent / "data"
SHIPPED = Path(__file__).parent.parent / "models" / "hppnet-tiny"
KEPT = slice(60, 68)  # the frames that are stored


@pytest.fixture(scope="module")
def parity():
    return np.load(DATA / "parity" / "hppnet.npz")


@pytest.fixture(scope="module")
def published(shared_data):
    path = shared_data / "weights" / "hppnet-tiny-498000.pt"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    return path


@pytest.fixture(scope="module")
def tiny_folder(published, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "hppnet-tiny"
    write_model(folder, read_config(SHIPPED), ORIGIN.read(published))
    return folder


@pytest.mark.parametrize(
    "size, n_parameters",
    [
        ("base", 818_628),
        ("sp", 1_239_428),
        ("tiny", 237_956),
        ("ultra-tiny", 150_388),
        ("published-tiny", 151_172),
    ],
)
def test_sizes_have_the_authors_parameters(size, n_parameters):
    assert sum(p.numel() for p in Hppnet(SIZES[size]).parameters()) == n_parameters


@pytest.mark.parametrize("name", ["base", "sp"])
def test_probabilities_equal_the_authors(parity, name):
    random = np.random.RandomState(2)
    features = torch.from_numpy(random.uniform(-80, 0, (1, 128, 352)).astype(np.float32))
    network = filled_as_the_authors(
        Hppnet(HppnetConfig(1, 8, name == "sp")), parity[f"{name}_names"]
    )
    with torch.no_grad():
        found = network.eval()(features[:, None])
    for head, expected in zip(HEADS, parity[name], strict=True):
        assert np.ptp(expected) > 0.2
        np.testing.assert_allclose(found[head][0, KEPT], expected, atol=1e-5)


def filled_as_the_authors(network, names):
    """Fill a network as the authors' was, through the names in their checkpoints."""
    ours = our_names(names)
    shapes = {theirs: network.state_dict()[our[8:]].shape for our, theirs in ours.items()}
    filled = filled_state(shapes)
    network.load_state_dict({our[8:]: filled[theirs] for our, theirs in ours.items()})
    return network


def test_published_weights_give_the_authors_probabilities_from_audio(parity, tiny_folder):
    model = load_model(tiny_folder)
    with torch.no_grad():
        features = model.front_end([torch.from_numpy(audio(128 * 320))[None]])
        found = model.network(features)
    for head, expected in zip(HEADS, parity["tiny"], strict=True):
        np.testing.assert_allclose(found[head][0, KEPT], expected, rtol=0, atol=1e-5)
    assert parity["tiny"][1].max() > 0.9


def test_sizes_are_told_from_a_checkpoint(published):
    assert network_config(ORIGIN.read(published)) == SIZES["published-tiny"]


def test_harmonics_gathered_in_one_product_equal_the_convolutions():
    trunk = Hppnet(HppnetConfig(1, 8, False)).parts["all"].trunk
    x = torch.randn(2, 16, 3, 352, generator=torch.manual_seed(0))
    apart = torch.stack([convolve(x) for convolve in trunk.harmonics]).sum(dim=0)
    torch.testing.assert_close(gather_harmonics(trunk.harmonics, x), apart, atol=1e-5, rtol=1e-5)


def test_heads_at_half_rate_keep_the_clock_for_odd_numbers_of_frames():
    network = Hppnet(HppnetConfig(1, 8, True)).eval()
    features = torch.randn(1, 1, 32, 352, generator=torch.manual_seed(0))
    with torch.no_grad():
        odd = network(features[:, :, :31])
        repeated = network(torch.cat([features[:, :, :31], features[:, :, 30:31]], dim=2))
    assert odd["frame"].shape == (1, 31, 88)
    torch.testing.assert_close(odd["frame"], repeated["frame"][:, :31])


def test_notes_equal_the_authors_but_for_two_things(parity):
    """Theirs end a frame early, and do not end where their key is struck again."""
    onset, frame, velocity = random_maps()
    activations = FrameActivations(onset, frame, np.zeros_like(frame), velocity)
    decoder = {k: v for k, v in read_config(SHIPPED).decoder.items() if k != "kind"}
    config = from_table(FramesConfig, decoder, "decoder", SHIPPED)
    found = [
        (n.pitch - 21, round(n.onset_s * 50), round(n.offset_s * 50), n.velocity)
        for n in decode_frames(activations, config)
    ]
    next_onset = defaultdict(lambda: len(onset))
    expected = []
    columns = zip(parity["pitches"], parity["intervals"], parity["velocities"], strict=True)
    for key, (start, end), value in sorted(columns, key=lambda note: -note[1][0]):
        is_heard = frame[min(start + 1, len(frame) - 1), key] > 0.4
        end = min(end + is_heard, next_onset[key])
        next_onset[key] = start
        expected.append((key, start, end, min(max(round(value * 128), 1), 127)))
    assert len(expected) > 1000
    assert sorted(found) == sorted(expected)


def test_a_short_recording_goes_through_the_engine(tiny_folder, demo_audio):
    """Six seconds in windows of twenty: what surrounds them must not disturb them."""
    samples, rate_hz = soundfile.read(demo_audio, frames=6 * 44100)
    engine = Engine(load_model(tiny_folder), EngineOptions(device="cpu"))
    (result,) = engine.transcribe([Recording("demo", samples.T, rate_hz)])
    reference = pretty_midi.PrettyMIDI(str(demo_audio.with_suffix(".mid"))).instruments[0].notes
    scores = mir_eval.transcription.precision_recall_f1_overlap(
        *columns([(n.start, n.end, n.pitch) for n in reference if n.start < 5.9]),
        *columns([(n.onset_s, n.offset_s, n.pitch) for n in result.performance.notes]),
        offset_ratio=None,
    )
    assert scores[2] > 0.9


def columns(notes):
    onset, offset, pitch = np.array(notes).T
    intervals = np.stack([onset, np.maximum(offset, onset + 0.01)], axis=1)
    return intervals, mir_eval.util.midi_to_hz(pitch)


def test_silence_around_a_recording_changes_nothing(tiny_folder):
    model = load_model(tiny_folder)
    sounding = torch.from_numpy(audio(100 * 320))[None]
    padded = torch.nn.functional.pad(sounding, (40 * 320, 60 * 320))
    with torch.no_grad():
        (alone,) = model.network.activations(model.front_end([sounding]))
        both = model.network.activations(model.front_end([padded, padded]))
    for among in both:
        np.testing.assert_allclose(among.onset[40:140], alone.onset, atol=1e-6)
        assert not among.onset[:40].any()
        assert not among.frame[140:].any()
        assert among.frame.shape == (200, 88)


def test_how_far_the_cut_moves_probabilities(tiny_folder):
    """Its normalisation sees the whole window: the same sound in a shorter one scores otherwise."""
    model = load_model(tiny_folder)
    samples = torch.from_numpy(audio(6 * 16000))[None]
    with torch.no_grad():
        whole = model.network(model.front_end([samples]))["onset"][0, 100:200]
        part = model.network(model.front_end([samples[:, : 5 * 16000]]))["onset"][0, 100:200]
    moved = (whole - part).abs()
    assert 1e-4 < moved.max() < 0.5
    assert moved.mean() < 0.01


def test_one_step_of_training_lowers_the_loss():
    torch.manual_seed(0)
    network = Hppnet(HppnetConfig(1, 8, True))
    features = torch.randn(1, 1, 16, 352)
    target = (torch.rand(1, 16, 88) < 0.1).float()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)

    def loss():
        return sum(
            torch.nn.functional.binary_cross_entropy(p, target) for p in network(features).values()
        )

    before = loss()
    before.backward()
    optimizer.step()
    with torch.no_grad():
        assert loss() < before
