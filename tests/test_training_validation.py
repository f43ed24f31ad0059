"""Validation: the engine's own notes, scored as `amt evaluate` scores them."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
import toy_training
from toy_training import LENGTH_SAMPLES, RATE_HZ

from amtcli.datasets.labels import BeatLabels, Labels, NoteLabels, PedalLabels
from amtcli.datasets.pack import PackedRecording, recording_path, write_recording
from amtcli.decoders.frames import FrameActivations
from amtcli.engine import Engine, EngineOptions
from amtcli.errors import DataError, ModelError, TrainingError, UsageError
from amtcli.evaluation.conventions import Conventions
from amtcli.evaluation.piece import score_piece
from amtcli.front_ends import FRONT_ENDS
from amtcli.model_folder import load_model
from amtcli.model_writing import write_model
from amtcli.networks import ARCHITECTURES
from amtcli.networks.network import Network
from amtcli.notes import Beat, Note, PedalSpan, Performance
from amtcli.reading import Recording
from amtcli.training.components import build_components, build_modules
from amtcli.training.export import model_config
from amtcli.training.objectives.objective import WindowLabels
from amtcli.training.sampling import cut_labels
from amtcli.training.validation import (
    LossValidator,
    choose_excerpts,
    make_validator,
    performance_of_labels,
)

FRAMES = """[decoder]
kind = "frames"
sample_rate_hz = 1000
hop_samples = 20
onset_threshold = 0.2
onset_peaks = true
confirmation_threshold = 0.0
frame_threshold = 0.1
offset_threshold = 1.0
held_threshold = 0.0
shortest_frames = 1
velocity_scale = 128
"""


@dataclass(frozen=True)
class LevelsConfig:
    pass


class Levels(Network):
    """Hears key 60 as loud as the loudest sample of a frame."""

    n_windows = 0

    def __init__(self, config):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(1.0))

    def prepare(self, precision):
        self.gain.data *= 1  # as networks do that change their weights here

    def activations(self, features):
        Levels.n_windows += len(features)
        level = (self.gain * features.abs().amax(dim=2))[..., None] * torch.eye(88)[39]
        nothing = np.zeros(level.shape[1:], np.float32)
        half = np.full(level.shape[1:], 0.5, np.float32)
        return [FrameActivations(x.numpy(), x.numpy(), nothing, half) for x in level]


@pytest.fixture(autouse=True)
def known(monkeypatch):
    for registry, entry in toy_training.entries():
        monkeypatch.setitem(registry, "toy", entry)
    monkeypatch.setitem(ARCHITECTURES, "levels", (LevelsConfig, Levels))
    Levels.n_windows = 0


def recipe_of_levels(folder, *overrides):
    start = toy_training.RECIPE.index("[network]")
    front_end = toy_training.RECIPE.index("[front_end]")
    text = toy_training.RECIPE[:start] + '[network]\narchitecture = "levels"\n\n'
    text += toy_training.RECIPE[front_end:].replace('[decoder]\nkind = "toy"\n', FRAMES)
    return toy_training.write_recipe(folder, *overrides, text=text)


def write_piece(folder, name, clicks, notes, duration_s=3.0, pedals=None):
    """Write a recording with clicks (seconds, level) and notes that begin at given seconds."""
    audio = np.zeros(round(duration_s * RATE_HZ), np.float32)
    for at_s, level in clicks:
        audio[round(at_s * RATE_HZ) :][:100] = level / 4  # the toy front-end multiplies by 4
    onset_s = np.array(notes)
    n = len(onset_s)
    end_s = onset_s + 0.1
    pitch, velocity = np.full(n, 60, np.int16), np.full(n, 64, np.int16)
    path = recording_path(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = Labels(NoteLabels(onset_s, end_s, end_s, pitch, velocity), pedals)
    write_recording(path, [audio], RATE_HZ, labels)
    return PackedRecording(name, "validation", name, "", len(audio), RATE_HZ, path)


def measure(recipe, recordings):
    front_end, network = build_modules(recipe)
    return make_validator(recipe, recordings)(network.eval(), front_end.eval())


def test_recordings_are_spread_and_the_same_each_time():
    recordings = [
        PackedRecording(f"r{i}", "validation", "", "", 5000 + i, RATE_HZ, None) for i in range(10)
    ]
    chosen = choose_excerpts(recordings, 3, 2.0)
    assert [(e.recording.name, e.n_samples) for e in chosen] == [
        ("r1", 2000),
        ("r5", 2000),
        ("r8", 2000),
    ]
    assert [e.n_samples for e in choose_excerpts(recordings, 0, 0.0)] == list(range(5000, 5010))
    assert len(choose_excerpts(recordings, 11, 99.0)) == 10


def test_labels_become_a_performance_that_ends_with_the_excerpt():
    onset_s, end_s = np.array([0.0, 1.0, 2.0]), np.array([0.5, 9.0, 2.5])
    pitch, velocity = np.array([60, 61, 62], np.int16), np.array([1, 2, 3], np.int16)
    pedals = PedalLabels(
        np.array([0.5, 2.0]), np.array([7.0, 8.0]), np.array([64, 67]), np.array([127, 90])
    )
    beats = BeatLabels(np.array([0.0, 2.0]), np.array([True, False]), np.array([0, -1], np.int8))
    labels = Labels(NoteLabels(onset_s, end_s, end_s, pitch, velocity), pedals, beats)
    assert performance_of_labels(labels, 2.0) == Performance(
        (Note(0.0, 0.5, 60, 1), Note(1.0, 2.0, 61, 2)),
        (PedalSpan(0.5, 2.0, 64, 127),),
        (Beat(0.0, True, "pp", True),),
    )
    assert performance_of_labels(Labels(), 2.0) == Performance()


def test_a_change_is_a_marking_other_than_the_last_one_known():
    markings = np.array([2, 2, 4, -1, 4, 1, -1, 0], np.int8)
    beats = BeatLabels(np.arange(8.0), np.arange(8) % 3 == 0, markings)
    found = performance_of_labels(Labels(beats=beats), 9.0).beats
    assert [beat.dynamics for beat in found] == ["mf", "mf", "ff", None, "ff", "p", None, "pp"]
    assert [beat.onset_s for beat in found if beat.is_change] == [2.0, 5.0, 7.0]
    assert [beat.onset_s for beat in found if beat.is_downbeat] == [0.0, 3.0, 6.0]


def test_it_measures_what_the_model_folder_would_give_its_users(tmp_path):
    recipe = recipe_of_levels(tmp_path)
    recordings = [
        write_piece(tmp_path, "a", [(0.2, 0.9), (1.5, 0.9), (2.2, 0.9)], [0.2, 1.5, 2.6]),
        write_piece(tmp_path, "b", [(0.4, 0.9)], [0.4, 1.0]),
    ]
    found = measure(recipe, recordings)
    write_model(
        tmp_path / "model",
        replace(model_config(recipe), decoder=found.decoder),
        {"front_end.scale": torch.tensor(4.0), "network.gain": torch.tensor(1.0)},
    )
    engine = Engine(load_model(tmp_path / "model"), EngineOptions(device="cpu"))
    pieces = []
    for piece in recordings:
        audio = Recording(piece.name, piece.read_audio(0, piece.n_samples), RATE_HZ)
        (result,) = engine.transcribe([audio])
        reference = performance_of_labels(piece.read_labels(), piece.duration_s)
        pieces.append(score_piece(reference, result.performance, Conventions()).scores)
    for name in ("onset_f1", "onset_offset_f1", "frame_f1", "velocity_mae"):
        assert found.scores[name] == pytest.approx((pieces[0][name] + pieces[1][name]) / 2)
    assert found.scores["onset_f1"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert found.decoder == recipe.decoder


def test_of_an_excerpt_only_its_own_notes_count(tmp_path):
    piece = write_piece(tmp_path, "a", [(0.2, 0.9), (2.2, 0.9)], [0.2, 1.5])
    whole = measure(recipe_of_levels(tmp_path), [piece])
    excerpt = measure(recipe_of_levels(tmp_path, "validation.excerpt_s=1.0"), [piece])
    assert whole.scores["onset_f1"] == 0.5
    assert excerpt.scores["onset_f1"] == 1.0


def test_thresholds_are_chosen_on_one_computation(tmp_path):
    # Soft clicks are no notes; the recipe's threshold takes them for some.
    clicks = [(0.2, 0.9), (0.8, 0.35), (1.5, 0.8), (2.2, 0.35)]
    piece = write_piece(tmp_path, "a", clicks, [0.2, 1.5])
    before = measure(recipe_of_levels(tmp_path), [piece])
    n_computed = Levels.n_windows
    chosen = measure(
        recipe_of_levels(tmp_path, "validation.thresholds={onset_threshold = [0.1, 0.5, 0.85]}"),
        [piece],
    )
    assert before.scores["onset_f1"] == pytest.approx(2 / 3)
    assert chosen.scores["onset_f1"] == 1.0
    assert chosen.decoder["onset_threshold"] == 0.5
    assert chosen.decoder["frame_threshold"] == 0.1
    assert Levels.n_windows == 2 * n_computed


def test_what_was_kept_scores_as_what_was_decoded_at_once(tmp_path):
    piece = write_piece(tmp_path, "a", [(0.2, 0.9), (0.8, 0.35), (2.9, 0.9)], [0.2, 2.9])
    at_once = measure(recipe_of_levels(tmp_path), [piece])
    kept = measure(
        recipe_of_levels(tmp_path, "validation.thresholds={onset_threshold = [0.2]}"), [piece]
    )
    assert kept == at_once


def test_packs_may_share_the_names_of_recordings(tmp_path):
    good = write_piece(tmp_path / "one", "a", [(0.2, 0.9)], [0.2])
    bad = write_piece(tmp_path / "two", "a", [(0.2, 0.9)], [1.2])
    assert measure(recipe_of_levels(tmp_path), [good, bad]).scores["onset_f1"] == 0.5


def test_pedals_are_scored_where_labels_have_them(tmp_path):
    pedals = PedalLabels(np.array([0.0]), np.array([1.0]), np.array([64]), np.array([127]))
    with_pedal = write_piece(tmp_path, "a", [(0.2, 0.9)], [0.2], pedals=pedals)
    without = write_piece(tmp_path, "b", [(0.2, 0.9)], [0.2])
    recipe = recipe_of_levels(tmp_path, "validation.metric=pedal_onset_f1")
    assert measure(recipe, [with_pedal, without]).scores["pedal_onset_f1"] == 0.0
    with pytest.raises(TrainingError, match=r"'pedal_onset_f1' .* no meaning"):
        measure(recipe, [without])


def test_what_cannot_be_measured_is_refused_beforehand(tmp_path):
    piece = write_piece(tmp_path, "a", [(0.2, 0.9)], [0.2])

    def refused(kind, match, *overrides, recordings=(piece,)):
        with pytest.raises(kind, match=match):
            make_validator(recipe_of_levels(tmp_path, *overrides), recordings)

    refused(UsageError, "near it: .*onset_f1", "validation.metric=onset_f")
    refused(UsageError, "less is better", "validation.metric=velocity_mae")
    refused(TrainingError, "no recording of the split validation", recordings=())
    refused(ModelError, "'offset' in .*thresholds", "validation.thresholds={offset = [0.5]}")


def test_a_missing_recording_ends_it_in_words(tmp_path):
    piece = write_piece(tmp_path, "a", [(0.2, 0.9)], [0.2])
    recipe = recipe_of_levels(tmp_path)
    validator = make_validator(recipe, [piece])
    piece.file.write_bytes(b"no HDF5")
    front_end, network = build_modules(recipe)
    with pytest.raises(DataError, match=r"a\.h5"):
        validator(network, front_end)


def test_the_loss_hears_silence_as_training_does(tmp_path, monkeypatch):
    class LeavesSilenceOut(toy_training.ToyFrontEnd):
        def forward(self, windows):
            features = super().forward(windows)
            silent = (features == 0).all(dim=2, keepdim=True)
            return features if self.training else features.masked_fill(silent, float("nan"))

    entry = (toy_training.ToyFrontEndConfig, LeavesSilenceOut)
    monkeypatch.setitem(FRONT_ENDS, "toy", entry)
    piece = write_piece(tmp_path, "a", [(0.2, 0.9)], [0.2])
    found = measure(toy_training.write_recipe(tmp_path, "validation.metric=neg_loss"), [piece])
    assert -2 < found.scores["neg_loss"] < 0


def test_the_loss_takes_no_recording_of_another_rate(tmp_path):
    (piece,) = toy_training.write_pack(tmp_path / "pack").split("validation")
    recipe = toy_training.write_recipe(tmp_path, "validation.metric=neg_loss")
    with pytest.raises(TrainingError, match=r"packed at 44100 Hz.*--sample-rate 1000"):
        make_validator(recipe, [replace(piece, sample_rate_hz=44100)])


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_the_loss_is_the_mean_over_all_windows_however_they_are_stacked(tmp_path, batch_size):
    pack = toy_training.write_pack(tmp_path / "pack")
    recipe = toy_training.write_recipe(
        tmp_path, "validation.metric=neg_loss", f"training.batch_size={batch_size}"
    )
    front_end, network = build_modules(recipe)
    validator = make_validator(recipe, pack.split("validation"))
    assert isinstance(validator, LossValidator)
    found = validator(network.eval(), front_end)
    objective = build_components(recipe).objective
    (recording,) = pack.split("validation")
    losses = []
    for start in range(0, recording.n_samples, LENGTH_SAMPLES):
        labels = cut_labels(recording.read_labels(), start / RATE_HZ, LENGTH_SAMPLES / RATE_HZ)
        targets = objective.targets(WindowLabels(labels, LENGTH_SAMPLES / RATE_HZ))
        audio = torch.from_numpy(recording.read_audio(start, LENGTH_SAMPLES))
        with torch.no_grad():
            loss = objective.loss(
                network,
                front_end([audio[None]]),
                {name: torch.from_numpy(array)[None] for name, array in targets.items()},
            )
        losses.append(float(loss.total))
    assert len(losses) == 10
    assert found.scores == {"neg_loss": pytest.approx(-np.mean(losses), rel=1e-5)}
