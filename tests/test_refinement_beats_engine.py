"""Beats in given notes, by the engine: what one window says, and many."""

import mir_eval
import numpy as np
import pytest
import torch
from benchmarks.random_models import read_settings
from metre_model import write_metre

from amtcli.catalog import shipped_folder
from amtcli.decoders.beats import BeatsConfig, decode_beats
from amtcli.decoders.score_velocities import score_notes
from amtcli.engine import EngineOptions
from amtcli.errors import ModelError
from amtcli.model_folder import load_model, outline_model
from amtcli.model_writing import write_model
from amtcli.networks.strikes import strikes_of
from amtcli.notes import Note, Performance
from amtcli.refinement.beats_engine import BeatsOfNotesEngine
from amtcli.training.recipe import find_recipe


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(write_metre(tmp_path_factory.mktemp("models") / "metre"))


def played(duration_s, seed=0):
    random = np.random.RandomState(seed)
    onsets_s = np.cumsum(random.uniform(0.1, 0.4, round(duration_s * 4)))
    return Performance(
        tuple(
            Note(t, t + 0.3, int(p), int(v))
            for t, p, v in zip(
                onsets_s[onsets_s < duration_s],
                random.randint(30, 90, len(onsets_s)),
                random.randint(20, 110, len(onsets_s)),
                strict=False,
            )
        )
    )


def test_of_one_window_beats_are_what_network_and_decoder_say(model):
    performance = played(45)
    found = BeatsOfNotesEngine(model, EngineOptions("cpu")).hear_beats(performance)
    with torch.inference_mode():
        strikes = strikes_of(score_notes(performance))
        (heard,) = model.network.eval().activations_of([strikes], 6001, 0.01)
    decoder = BeatsConfig(**{k: v for k, v in model.config.decoder.items() if k != "kind"})
    expected = decode_beats(heard, decoder)
    assert len(found) > 20
    assert [(b.onset_s, b.is_downbeat) for b in found] == [
        (pytest.approx(b.onset_s), b.is_downbeat) for b in expected
    ]


def test_beats_of_many_windows_lie_on_what_is_struck_up_to_the_end(model):
    performance = played(400)
    found = BeatsOfNotesEngine(model, EngineOptions("cpu", batch_size=3)).hear_beats(performance)
    onsets_s = strikes_of(score_notes(performance)).onset_s
    beats_s = np.array([beat.onset_s for beat in found])
    assert len(beats_s) > 200 and beats_s[-1] > 390
    assert (np.diff(beats_s) > 0.05).all()
    distances_s = np.abs(beats_s[:, None] - onsets_s).min(axis=1)
    assert distances_s.max() <= 0.0101  # half a frame; between two frames of one peak another half


def test_the_batch_changes_nothing(model):
    performance = played(300, seed=1)
    one, four = (
        BeatsOfNotesEngine(model, EngineOptions("cpu", batch_size=n)).hear_beats(performance)
        for n in (1, 4)
    )
    assert [beat.onset_s for beat in one] == [beat.onset_s for beat in four]


def test_without_notes_there_are_no_beats(model):
    assert BeatsOfNotesEngine(model, EngineOptions("cpu")).hear_beats(Performance()) == ()


def test_a_model_that_listens_is_refused(tmp_path):
    config = read_settings(find_recipe("dynest"), {})
    network = outline_model(config, tmp_path).network.to_empty(device="cpu")
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    write_model(tmp_path / "dynest", config, tensors)
    with pytest.raises(ModelError, match="in sound, not in notes"):
        BeatsOfNotesEngine(load_model(tmp_path / "dynest"), EngineOptions("cpu"))


def waltz(n_bars, quarter_s, seed=1):
    """Bass, two chords and a tune, in a tempo that sways by a twentieth; and when bars begin."""
    random = np.random.RandomState(seed)
    notes, bars_s, time_s = [], [], 1.0
    for place in range(3 * n_bars):
        root, held_s = (0, 5, 7, 0)[place // 3 % 4], 0.9 * quarter_s
        if place % 3 == 0:
            bars_s.append(time_s)
            notes.append(Note(time_s, time_s + held_s, 36 + root, 80))
        else:
            chord = (48 + root + step for step in (4, 7, 12))
            notes += [Note(time_s, time_s + held_s / 2, pitch, 55) for pitch in chord]
        notes.append(Note(time_s, time_s + held_s, random.choice([72, 74, 76, 77, 79]), 85))
        time_s += quarter_s * (1 + 0.05 * np.sin(place / 9))
    return Performance(tuple(notes)), np.array(bars_s)


@pytest.mark.parametrize("quarter_s", [0.35, 0.5])
def test_the_model_that_ships_hears_the_bars_of_a_waltz(quarter_s):
    performance, bars_s = waltz(40, quarter_s)
    engine = BeatsOfNotesEngine(load_model(shipped_folder() / "metre"), EngineOptions("cpu"))
    beats = engine.hear_beats(performance)
    found_s = np.array([beat.onset_s for beat in beats if beat.is_downbeat])
    f1 = mir_eval.beat.f_measure(*map(mir_eval.beat.trim_beats, (bars_s, found_s)))
    assert f1 > 0.9
