"""Every network from its recipe's settings, as a model folder, through the command it is for."""

import itertools
import json
from pathlib import Path

import pytest
import soundfile
from autoregressive_model import fill
from benchmarks.random_models import read_settings
from filled import audio
from typer.testing import CliRunner

from amtcli.cli import app
from amtcli.midi import performance_to_midi_bytes
from amtcli.midi_reading import read_performance
from amtcli.model_folder import outline_model
from amtcli.model_writing import write_model
from amtcli.notes import Note, Performance
from amtcli.tables import read_toml
from amtcli.training.recipe import RECIPES_FOLDER

# Sizes that take a test no time; a network that is not here is taken as its recipe has it.
SMALL = {
    "autoregressive": {"conv_complexity": 2, "lstm_complexity": 1},
    "hcqt_hppnet": {"base_channels": 4, "lstm_width": 4},
    "hppnet": {"width": 8},
    "hpt": {"conv_channels": [4, 4, 4, 4], "dense_width": 16, "recurrent_width": 8},
    "onsets_and_frames": {"complexity": 2},
    "onsets_velocities": {"n_stem_modules": 1, "n_onset_modules": 1, "head_width": 16},
}
# Beats are no notes; models that read a score say nothing without one; the semi-CRF finds so much
# in random scores that it takes minutes, and is tested with its own weights.
ELSEWHERE = ("beats", "score_velocities", "semi_crf")
RECIPES = [
    path
    for path in sorted(RECIPES_FOLDER.glob("*.toml"))
    if read_toml(path)["decoder"]["kind"] not in ELSEWHERE
]
BEAT_RECIPES = [
    path
    for path in sorted(RECIPES_FOLDER.glob("*.toml"))
    if read_toml(path)["decoder"]["kind"] == "beats"
]
VELOCITY_RECIPES = sorted(RECIPES_FOLDER.glob("velocity-*.toml"))


def write_random_model(folder, recipe):
    architecture = read_toml(recipe)["network"]["architecture"]
    config = read_settings(recipe, SMALL.get(architecture))
    outline = outline_model(config, folder)
    network = fill(outline.network.to_empty(device="cpu"))
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    tensors |= {f"front_end.{n}": t for n, t in outline.front_end.state_dict().items()}
    write_model(folder, config, tensors)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_two_seconds_become_midi(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_random_model(Path("model"), recipe)
    soundfile.write("tones.wav", audio(32000), 16000)
    words = "tones.wav -o tones.mid --model ./model --offline --device cpu"
    result = CliRunner().invoke(app, ["transcribe", *words.split()])
    assert result.exit_code == 0, result.stderr
    played = read_performance(Path("tones.mid"))
    assert max(event.onset_s for event in (*played.notes, *played.pedals)) <= 2.0
    assert len(played.notes) > 50 or played.pedals
    assert all(21 <= note.pitch <= 108 and note.offset_s > note.onset_s for note in played.notes)


@pytest.mark.parametrize("recipe", BEAT_RECIPES, ids=lambda path: path.stem)
def test_beats_join_a_transcription_and_move_no_note(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_random_model(Path("beats"), recipe)
    write_random_model(Path("notes"), RECIPES_FOLDER / "onsets-velocities.toml")
    soundfile.write("tones.wav", audio(160_000), 16000)
    words = "tones.wav --model ./notes --offline --device cpu --format mid,json -o"
    for out, more in (("plain", ()), ("metred", ("--beats", "./beats"))):
        result = CliRunner().invoke(app, ["transcribe", *words.split(), f"{out}/", *more])
        assert result.exit_code == 0, result.stderr
    plain, metred = (
        json.loads(Path(f"{out}/tones.json").read_text()) for out in ("plain", "metred")
    )
    assert metred["notes"] == plain["notes"]
    assert not plain["beats"]
    beats = metred["beats"]
    assert 3 < len(beats) < 200
    assert all(a["onset_s"] < b["onset_s"] for a, b in itertools.pairwise(beats))
    assert f", {len(beats)} beats, " in result.stderr
    assert metred["model"]["name"].endswith(" + random")
    notes, moved = (read_performance(Path(f"{out}/tones.mid")).notes for out in ("plain", "metred"))
    assert len(notes) == len(moved)
    assert all(abs(a.onset_s - b.onset_s) < 0.0011 for a, b in zip(notes, moved, strict=True))


@pytest.mark.parametrize("recipe", VELOCITY_RECIPES, ids=lambda path: path.stem)
def test_two_seconds_give_a_score_its_velocities(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_random_model(Path("model"), recipe)
    soundfile.write("tones.wav", audio(32000), 16000)
    notes = tuple(Note(0.1 * k, 0.1 * k + 0.3, 40 + 3 * k, 127) for k in range(12))
    Path("score.mid").write_bytes(performance_to_midi_bytes(Performance(notes)))
    words = "score.mid tones.wav -o new.mid --model ./model --offline --device cpu"
    result = CliRunner().invoke(app, ["refine-velocity", *words.split()])
    assert result.exit_code == 0, result.stderr
    before, after = (read_performance(Path(name)).notes for name in ("score.mid", "new.mid"))
    assert [(n.onset_s, n.offset_s, n.pitch) for n in after] == [
        (n.onset_s, n.offset_s, n.pitch) for n in before
    ]
    assert {note.velocity for note in after} != {127}
