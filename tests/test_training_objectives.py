"""Objectives: networks learn from them, decoders understand them, their authors agree."""

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import mir_eval
import numpy as np
import pytest
import torch
from make_parity_targets import loss_inputs, performance

from amtcli.datasets.labels import labels_of_performance
from amtcli.decoders import DECODERS
from amtcli.decoders.frames import FrameActivations, decode_frames
from amtcli.decoders.note_states import NoteStates, decode_note_states
from amtcli.decoders.onset_peaks import OnsetActivations, decode_onset_peaks
from amtcli.decoders.regression import RegressionActivations, decode_regression
from amtcli.errors import TrainingError
from amtcli.front_ends import FRONT_ENDS
from amtcli.networks import ARCHITECTURES
from amtcli.notes import Note, PedalSpan, Performance, extend_by_pedal
from amtcli.tables import from_table
from amtcli.training.objectives import OBJECTIVES
from amtcli.training.objectives.losses import cross_entropies, matched, mean_over
from amtcli.training.objectives.objective import WindowLabels
from amtcli.training.recipe import find_recipe, read_recipe

PARITY = Path(__file__).parent / "data" / "parity" / "targets.npz"
RATE_HZ = 16000
WINDOW_S = 1.2

# Of each recipe, sizes at which a step takes no time.
SMALL = {
    "onsets-velocities": [
        "network.n_stem_modules=1",
        "network.n_onset_stages=2",
        "network.n_onset_modules=1",
        "network.head_width=16",
    ],
    "hpt-notes": [
        "network.conv_channels=[2, 2, 2]",
        "network.dense_width=16",
        "network.recurrent_width=8",
    ],
    "hppnet-base": ["network.width=4"],
    "hppnet-sp": ["network.width=4"],
    "hcqt-hppnet": ["network.base_channels=4", "network.lstm_width=4"],
    "onsets-and-frames": ["network.complexity=2"],
    "autoregressive": ["network.conv_complexity=2", "network.lstm_complexity=4"],
    "autoregressive-96ms": ["network.conv_complexity=2", "network.lstm_complexity=4"],
}
SMALL["hpt-pedals"] = SMALL["hpt-notes"]
TRANSKUN = [
    "network.base_channels=4",
    "network.width=16",
    "network.n_layers=1",
    "network.n_heads=2",
    "network.head_width=8",
]


@dataclass(frozen=True)
class Parts:
    front_end: object
    network: object
    decoder_config: object
    objective: object


def built(registry, table, name):
    key = "architecture" if name == "network" else "kind"
    config_class, made = registry[table[key]]
    rest = {k: v for k, v in table.items() if k != key}
    return from_table(config_class, rest, name, Path("recipe")), made


def parts(name, *overrides):
    recipe = read_recipe(find_recipe(name), [*SMALL.get(name, []), *overrides])
    front_end_config, front_end = built(FRONT_ENDS, recipe.front_end, "front_end")
    network_config, network = built(ARCHITECTURES, recipe.network, "network")
    objective_config, objective = built(OBJECTIVES, recipe.objective, "objective")
    decoder_config, _ = built(DECODERS, recipe.decoder, "decoder")
    torch.manual_seed(0)
    return Parts(
        front_end(front_end_config),
        network(network_config),
        decoder_config,
        objective(objective_config),
    )


def played(seed):
    """Just above a second: a few notes, the pedal, and a note that lasts on."""
    random = np.random.RandomState(seed)
    onsets_s = np.sort(random.uniform(0.3, 0.9, 6))
    pitches = random.permutation(np.arange(40, 80))[:6]
    notes = [
        Note(t, t + 0.15, int(p), int(random.randint(30, 100)))
        for t, p in zip(onsets_s, pitches, strict=True)
    ]
    return Performance((*notes, Note(1.1, 2.5, 82, 70)), (PedalSpan(0.6, 1.0, 64),))


def sound(performance):
    """What was played, on decaying tones; digital silence before the first note."""
    time_s = np.arange(round(WINDOW_S * RATE_HZ)) / RATE_HZ
    samples = np.zeros_like(time_s)
    for note in performance.notes:
        since_s = np.maximum(time_s - note.onset_s, 0)
        tone = np.sin(2 * np.pi * 440 * 2 ** ((note.pitch - 69) / 12) * since_s)
        samples += 0.2 * note.velocity / 127 * tone * np.exp(-4 * since_s) * (since_s > 0)
    return torch.from_numpy(samples.astype(np.float32))[None]


def stacked(targets):
    return {
        name: torch.from_numpy(np.stack([window[name] for window in targets]))
        for name in targets[0]
    }


def batch_of(parts_of_recipe):
    """Features and targets of two windows, the first beginning in silence."""
    pieces = [played(0), played(1)]
    features = parts_of_recipe.front_end.train()([sound(piece) for piece in pieces])
    windows = [WindowLabels(labels_of_performance(piece), WINDOW_S) for piece in pieces]
    targets = [parts_of_recipe.objective.targets(window) for window in windows]
    return features.detach(), stacked(targets)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_the_loss_of_a_batch_falls(name):
    made = parts(name)
    features, targets = batch_of(made)
    assert features.isfinite().all()
    network = made.network.train()
    optimizer = torch.optim.Adam(network.parameters(), 2e-2)
    totals = []
    for _ in range(4):
        torch.manual_seed(1)  # the same dropout
        loss = made.objective.loss(network, features, targets)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        totals.append(loss.total.item())
    assert totals[-1] < 0.9 * totals[0]
    assert loss.total.item() == pytest.approx(sum(term.item() for term in loss.terms.values()))
    assert not any(term.requires_grad for term in loss.terms.values())
    idle = ("output.bias",) if name == "onsets-velocities" else ()  # before a normalisation
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad.any() or parameter_name.endswith(idle), parameter_name


@pytest.mark.parametrize("name", sorted(SMALL))
def test_a_window_without_any_note_has_a_loss(name):
    made = parts(name)
    labels = labels_of_performance(Performance())
    targets = stacked([made.objective.targets(WindowLabels(labels, 0.5))])
    features = made.front_end.train()([0.01 * torch.randn(1, RATE_HZ // 2)])
    loss = made.objective.loss(made.network.train(), features, targets)
    assert torch.isfinite(loss.total)
    loss.total.backward()
    gradients = [p.grad for p in made.network.parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)


def answered(name, targets):
    """What a network would answer that had learnt its targets, decoded."""
    config = parts(name).decoder_config
    floats = {key: value.astype(np.float32) for key, value in targets.items()}
    if name == "onsets-velocities":
        velocity = floats["velocity"]
        onset = (velocity > 0).astype(np.float32)
        return decode_onset_peaks(OnsetActivations(onset, velocity / 127), config)
    if name.startswith("hpt"):
        keys, pedal = np.zeros((len(targets[next(iter(targets))]), 88), np.float32), "pedal_"
        activations = RegressionActivations(
            onset=floats.get("onset", keys),
            offset=floats.get("offset", keys),
            frame=floats.get("frame", keys),
            velocity=floats.get("velocity", keys) / 128,
            pedal_offset=floats.get(pedal + "offset", keys[:, :1]),
            pedal_frame=floats.get(pedal + "frame", keys[:, :1]),
            level=np.zeros_like(keys[:, :1]),
        )
        return decode_regression(activations, config)
    if name.startswith("autoregressive"):
        states = targets["states"].astype(np.int64)
        return decode_note_states(NoteStates(states, (states > 2).astype(np.float32)), config)
    velocity = floats["velocity"] / config.velocity_scale
    frame = floats.get("frame", (velocity > 0).astype(np.float32))
    return decode_frames(
        FrameActivations(floats["onset"], frame, floats["offset"], velocity), config
    )


def columns(events):
    intervals = np.array([[e.onset_s, e.offset_s] for e in events])
    return intervals, np.array([mir_eval.util.midi_to_hz(e.pitch) for e in events])


@pytest.mark.parametrize(
    ("name", "overrides"),
    [(name, []) for name in sorted(SMALL.keys() - {"hpt-pedals"})]
    + [("hpt-notes", ["objective.regression=faithful"])],
)
def test_notes_come_back_out_of_their_targets(name, overrides):
    objective = parts(name, *overrides).objective
    piece = performance()
    decoded = answered(name, objective.targets(WindowLabels(labels_of_performance(piece), 16.0)))
    extends = getattr(objective._config, "pedal_extends_notes", True)
    expected = (extend_by_pedal(piece) if extends else piece).notes
    offset_ratio = None if name == "onsets-velocities" else 0.2
    scores = mir_eval.transcription.precision_recall_f1_overlap(
        *columns(expected), *columns(decoded), offset_ratio=offset_ratio
    )
    assert scores[:3] == (1.0, 1.0, 1.0)
    if not name.startswith("autoregressive"):  # which does not tell them
        by_onset = [
            sorted(notes, key=lambda n: (n.pitch, n.onset_s)) for notes in (expected, decoded)
        ]
        assert [n.velocity for n in by_onset[0]] == [n.velocity for n in by_onset[1]]


def test_regressed_times_are_exact_between_the_frames():
    objective, piece = parts("hpt-notes").objective, played(3)
    decoded = answered(
        "hpt-notes", objective.targets(WindowLabels(labels_of_performance(piece), WINDOW_S))
    )
    whole = [note for note in extend_by_pedal(piece).notes if note.offset_s < WINDOW_S]
    found = {note.pitch: note for note in decoded}
    for note in whole:
        assert found[note.pitch].onset_s == pytest.approx(note.onset_s, abs=1e-5)
        assert found[note.pitch].offset_s == pytest.approx(note.offset_s, abs=1e-5)


def test_pedals_come_back_out_of_their_targets():
    objective, piece = parts("hpt-pedals").objective, performance()
    targets = objective.targets(WindowLabels(labels_of_performance(piece), 16.0))
    decoded = answered("hpt-pedals", targets)
    assert len(decoded) == len(piece.pedals) == 8
    for span, expected in zip(decoded, piece.pedals, strict=True):
        assert span.onset_s == pytest.approx(expected.onset_s, abs=0.0051)  # of whole frames
        assert span.offset_s == pytest.approx(expected.offset_s, abs=1e-5)


# --- Losses, of networks that answer what they are told to. ---------------------------------


@pytest.fixture(scope="module")
def given():
    return {name: torch.from_numpy(values) for name, values in loss_inputs().items()}


@pytest.fixture(scope="module")
def parity():
    return dict(np.load(PARITY))


def answering(answer):
    return lambda *_: answer


def test_the_loss_of_onsets_and_velocities_is_its_authors(given, parity):
    stages = torch.stack([given["stage_0"][:, 1:], given["stage_1"][:, 1:]])
    network = answering({"onset": stages, "velocity": given["velocity"][:, 1:]})
    objective = parts("onsets-velocities").objective
    # As its targets do: every onset lasts for three frames, the louder of two counts.
    velocity = given["midi_velocity"].clone()
    velocity[:, 0] = 0  # the author cuts the first frame off before
    for _ in range(2):
        velocity[:, 1:] = torch.maximum(velocity[:, 1:], velocity[:, :-1].clone())
    loss = objective.loss(network, torch.zeros(0), {"velocity": velocity})
    assert loss.total.item() == pytest.approx(float(parity["onsets_velocities_loss"]), rel=1e-5)


def test_the_loss_of_regression_is_its_authors(given, parity):
    network = answering({name: given[name] for name in ("onset", "offset", "frame", "velocity")})
    targets = {
        "onset": given["onset_triangle"],
        "offset": given["offset_triangle"],
        "frame": given["is_frame"],
        "velocity": given["midi_velocity"],
        "whole": given["mask"],
    }
    loss = parts("hpt-notes").objective.loss(network, torch.zeros(0), targets)
    assert loss.total.item() == pytest.approx(float(parity["hpt_loss"]), rel=1e-5)


def test_the_loss_of_onsets_and_frames_is_its_authors(given, parity):
    heads = {name: given[name] for name in ("onset", "offset", "frame", "velocity")}
    targets = {
        "onset": given["is_onset"],
        "offset": given["is_offset"],
        "frame": given["is_frame"],
        "velocity": given["midi_velocity"],
    }
    objective = parts("onsets-and-frames").objective
    loss = objective.loss(answering(SimpleNamespace(**heads)), torch.zeros(0), targets)
    assert loss.total.item() == pytest.approx(float(parity["onsets_and_frames_loss"]), rel=1e-5)


@pytest.mark.parametrize("shift", [0, 2])
def test_the_loss_of_states_is_their_authors(given, parity, shift):
    objective = parts("autoregressive", f"objective.label_shift_frames={shift}").objective
    network = answering(given["state_logits"])
    loss = objective.loss(network, torch.zeros(2, 40, 3), {"states": given["states"]})
    expected = float(parity[f"autoregressive_loss_{shift}"])
    assert loss.total.item() == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_hppnet_by_hand():
    half, one = torch.full((1, 2, 1), 0.5), torch.tensor([[[1], [0]]])
    heads = dict.fromkeys(("onset", "offset", "frame"), half) | {"velocity": 0.5 * half}
    targets = {"onset": one, "offset": one == 0, "frame": one, "velocity": 64 * one}
    loss = parts("hppnet-base").objective.loss(answering(heads), torch.zeros(0), targets)
    log2 = np.log(2)
    assert loss.terms["onset"].item() == pytest.approx((2 + 1) / 2 * log2)
    assert loss.terms["offset"].item() == pytest.approx(log2)
    assert loss.terms["velocity"].item() == pytest.approx(0.25**2)  # at the onset alone


def test_the_loss_on_a_harmonic_spectrogram_by_hand():
    logits, velocity = torch.zeros(1, 2, 1), torch.tensor([[[127], [0]]])
    heads = dict.fromkeys(("onset", "offset", "frame", "velocity"), logits)
    triangle = torch.tensor([[[0.25], [0.0]]])
    targets = {"onset": triangle, "offset": triangle, "velocity": velocity}
    loss = parts("hcqt-hppnet").objective.loss(answering(heads), torch.zeros(0), targets)
    log2 = np.log(2)
    assert loss.terms["onset"].item() == pytest.approx((3.5 * 0.25 + 0.75 + 1) / 2 * log2)
    assert loss.terms["offset"].item() == pytest.approx(log2)
    assert loss.terms["frame"].item() == pytest.approx((10 + 1) / 2 * log2)
    assert loss.terms["velocity"].item() == pytest.approx(0.25)  # while the note sounds


def test_onsets_fall_into_the_frame_that_they_begin_in_and_last():
    notes = Performance((Note(0.0479, 1, 60, 50), Note(0.096, 1, 61, 60), Note(-0.01, 1, 62, 70)))
    window = WindowLabels(labels_of_performance(notes), 0.2)
    velocity = parts("onsets-velocities").objective.targets(window)["velocity"]
    assert velocity[:, 39].tolist() == [0, 50, 50, 50, 0, 0, 0, 0, 0]
    assert velocity[:, 40].tolist() == [0, 0, 0, 0, 60, 60, 60, 0, 0]
    assert velocity[:, 41].tolist() == [70, 70, 0, 0, 0, 0, 0, 0, 0]


def test_states_are_shifted_against_the_audio():
    window = WindowLabels(labels_of_performance(Performance((Note(0.32, 0.48, 60, 50),))), 0.64)
    plain, shifted = (
        parts("autoregressive", f"objective.label_shift_frames={shift}").objective.targets(window)
        for shift in (0, 2)
    )
    assert plain["states"][:, 39].tolist() == [0] * 10 + [3, 2, 2, 2, 2, 1] + [0] * 5
    np.testing.assert_array_equal(shifted["states"][:-2], plain["states"][2:])
    assert not shifted["states"][-2:].any()


def test_the_network_is_told_the_states_of_the_frame_before():
    made = parts("autoregressive")
    features, targets = batch_of(made)
    network = made.network.eval()
    told = {"states": targets["states"].clone()}
    told["states"][:, 30] = 3
    with torch.no_grad():
        states = (targets["states"].long(), told["states"].long())
        plain, other = (network(features, s) for s in states)
    assert torch.equal(plain[:, :31], other[:, :31])
    assert not torch.equal(plain[:, 31], other[:, 31])


def test_cells_of_another_clock_are_refused():
    targets = {"frame": torch.zeros(1, 12, 88)}
    assert matched(targets, 11)["frame"].shape == (1, 11, 88)
    for n_frames in (10, 13):
        with pytest.raises(TrainingError, match="hop_samples"):
            matched(targets, n_frames)


def test_the_mean_of_nothing_is_nought():
    values = torch.tensor([1.0, 2.0, 6.0])
    assert mean_over(values, torch.tensor([True, False, True])) == 3.5
    assert mean_over(values, torch.zeros(3, dtype=torch.bool)) == 0


def test_cross_entropies_are_taken_in_float32():
    logits = torch.tensor([12.0], dtype=torch.bfloat16)
    found = cross_entropies(logits, torch.ones(1), 8.0)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(8 * np.log1p(np.exp(-12)), rel=1e-4)


@pytest.mark.parametrize("name", ["autoregressive", "autoregressive-96ms"])
def test_decoder_and_objective_of_a_recipe_shift_alike(name):
    made = parts(name)
    assert made.decoder_config.label_shift_frames == made.objective._config.label_shift_frames
    with pytest.raises(ValueError, match="below 0"):
        replace(made.objective._config, label_shift_frames=-1)


def test_the_loss_of_transkun_falls():
    made = parts("transkun", *TRANSKUN)
    rate_hz = 44100
    samples = torch.nn.functional.interpolate(
        sound(played(0))[None], scale_factor=rate_hz / RATE_HZ
    )
    features = made.front_end.train()([samples[0]]).detach()
    duration_s = samples.shape[-1] / rate_hz
    window = WindowLabels(labels_of_performance(played(0)), duration_s)
    targets = stacked([made.objective.targets(window)])
    network = made.network.train()
    optimizer = torch.optim.Adam(network.parameters(), 2e-2)
    totals = []
    for _ in range(3):
        torch.manual_seed(1)  # the same dropout
        loss = made.objective.loss(network, features, targets)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        totals.append(loss.total.item())
    assert totals[-1] < 0.9 * totals[0]
    assert all(parameter.grad.any() for parameter in network.parameters())
