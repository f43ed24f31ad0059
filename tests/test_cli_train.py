"""`amt train` from the command line to a model that `amt transcribe` takes."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import toy_training as toy
from typer.testing import CliRunner

from amtcli.cli import app
from amtcli.cli.train import parse_duration
from amtcli.datasets.labels import Labels, NoteLabels
from amtcli.datasets.pack import (
    Manifest,
    ManifestEntry,
    recording_path,
    write_manifest,
    write_recording,
)
from amtcli.errors import DataError, ModelError, TrainingError, UsageError
from amtcli.model_config import read_config
from amtcli.model_folder import load_model
from amtcli.training.log import read_log
from amtcli.training.recipe import read_recipe, recipe_names
from amtcli.training.run_folder import RECIPE_FILE, STATE_FILE

RUNNER = CliRunner()
SMALL = (
    "network.complexity=2",
    "training.steps=2",
    "training.batch_size=2",
    "sampling.length_samples=16384",
    "window.length_samples=32768",
    "window.hop_samples=24576",
    "window.padding_samples=4096",
    "window.fast.hop_samples=24576",
    "window.fast.padding_samples=4096",
)


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """One thread and no torchrun, with the toy known."""
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for registry, entry in toy.entries():
        monkeypatch.setitem(registry, "toy", entry)
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture
def pack(tmp_path):
    toy.write_recipe(tmp_path)
    toy.write_pack(tmp_path / "pack")
    return tmp_path / "pack"


def train(*arguments):
    return RUNNER.invoke(app, ["train", *map(str, arguments)])


def toy_run(tmp_path, *arguments, run="run"):
    recipe, data = tmp_path / "toy.toml", tmp_path / "pack"
    return train(recipe, "--data", data, "-o", tmp_path / run, "--device", "cpu", *arguments)


def failed(result, kind, problem):
    """Tell whether a command ended with one line that says ``problem``, as a kind of AmtError."""
    (line,) = result.stderr.splitlines()
    assert re.search(problem, line), line
    return result.exit_code == kind.exit_code and line.startswith("amt: error: ")


def settings(*overrides):
    return [part for override in overrides for part in ("-s", override)]


def piano_pack(folder):
    """Two recordings of 3 s at 16 kHz: a sine for each note."""
    entries = []
    for i, split in enumerate(("train", "validation")):
        onset_s = np.arange(0.1, 2.9, 0.4)
        pitch = np.arange(60, 60 + len(onset_s)).astype(np.int16)
        time_s = np.arange(48000) / 16000
        audio = np.zeros(48000, np.float32)
        for onset, key in zip(onset_s, pitch, strict=True):
            tone = np.sin(2 * np.pi * 440 * 2 ** ((key - 69) / 12) * (time_s - onset))
            audio += 0.3 * tone * ((time_s >= onset) & (time_s < onset + 0.3))
        notes = NoteLabels(onset_s, onset_s + 0.3, onset_s + 0.3, pitch, np.full(7, 64, np.int16))
        path = recording_path(folder, f"piece{i}")
        path.parent.mkdir(parents=True, exist_ok=True)
        written = write_recording(path, [audio], 16000, Labels(notes))
        entries.append(ManifestEntry(path.stem, split, path.stem, "", 48000, 3.0, written.sha256))
        soundfile.write(folder.parent / f"piece{i}.wav", audio, 16000)
    write_manifest(folder, Manifest("sines", 16000, tuple(entries)))


def test_a_shipped_recipe_ends_in_a_model_that_transcribes(tmp_path):
    piano_pack(tmp_path / "pack")
    out = tmp_path / "run"
    result = train(
        "onsets-and-frames", "--data", tmp_path / "pack", "-o", out, "--device", "cpu",
        *settings(*SMALL),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    *scores, steps, model = result.stdout.rstrip("\n").split("\t")
    assert (steps, model) == ("2 steps", str(out / "model"))
    assert any(score.startswith("onset_f1 ") for score in scores)
    config = read_config(out / "model")
    assert (config.provenance.name, config.provenance.steps) == ("onsets-and-frames", 2)
    assert "16384" in (out / RECIPE_FILE).read_text()
    transcribed = RUNNER.invoke(
        app,
        ["transcribe", str(tmp_path / "piece0.wav"), "--model", model, "--device", "cpu",
         "-o", str(tmp_path / "piece0.json")],
    )  # fmt: skip
    assert transcribed.exit_code == 0, transcribed.output
    assert "notes" in json.loads((tmp_path / "piece0.json").read_text())


def test_off_a_terminal_there_is_one_line_and_no_more(tmp_path, pack):
    result = toy_run(tmp_path)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert result.stdout.count("\n") == 1
    loud = toy_run(tmp_path, "-v", run="loud")
    assert "training from step 0 to 12 on cpu (1 threads), float32" in loud.stderr
    assert "step 6: " in loud.stderr


def test_killed_and_begun_again_equals_undisturbed(tmp_path, pack):
    longer = settings(
        "training.steps=400", "training.save_every_steps=20", "validation.every_steps=200"
    )
    assert toy_run(tmp_path, *longer, run="whole").exit_code == 0
    arguments = [tmp_path / "toy.toml", "--data", pack, "-o", tmp_path / "run", "--device", "cpu"]
    program = [sys.executable, toy.__file__, "train", *map(str, arguments), *longer]
    state = tmp_path / "run" / STATE_FILE
    process = subprocess.Popen(
        [*program, "--resume", "auto"], env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    while not state.exists() and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    killed_at = torch.load(state, weights_only=True)["progress"]["step"]
    assert 0 < killed_at < 400
    assert toy_run(tmp_path, *longer, "--resume", "auto").exit_code == 0
    whole, parts = (
        torch.load(tmp_path / run / STATE_FILE, weights_only=True) for run in ("whole", "run")
    )
    for part in ("weights", "average"):
        for name, tensor in whole[part].items():
            assert torch.equal(tensor, parts[part][name]), (part, name)
    for index, moments in whole["optimiser"]["state"].items():
        for name, tensor in moments.items():
            assert torch.equal(tensor, parts["optimiser"]["state"][index][name]), name
    curves = [
        [(line["step"], line["loss"]) for line in read_log(tmp_path / run) if "loss" in line]
        for run in ("whole", "run")
    ]
    assert curves[0] == curves[1]


def test_smoke_runs_everything_once_in_a_folder_of_its_own(tmp_path, pack):
    for _ in range(2):  # what an earlier one left is no obstacle
        result = toy_run(tmp_path, "--smoke")
        assert result.exit_code == 0, result.output
    lines = read_log(tmp_path / "run" / "smoke")
    assert [(line["kind"], line["step"]) for line in lines] == [
        ("start", 0),
        ("train", 1),
        ("train", 2),
        ("validation", 2),
    ]
    recipe = read_recipe(tmp_path / "run" / "smoke" / RECIPE_FILE)
    assert (recipe.training.batch_size, recipe.validation.n_recordings) == (1, 1)
    assert (tmp_path / "run" / "smoke" / "model" / "model.toml").exists()
    assert toy_run(tmp_path).exit_code == 0  # the run itself has not begun yet


def test_smoke_removes_nothing_but_what_smoke_made(tmp_path, pack):
    precious = tmp_path / "run" / "smoke" / "precious.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("x")
    assert failed(toy_run(tmp_path, "--smoke"), UsageError, "smoke holds something else than")
    assert precious.read_text() == "x"


def test_a_training_begins_with_the_weights_of_a_model(tmp_path, pack):
    toy_run(tmp_path)
    slow = settings("optimiser.learning_rate=1e-9", "training.steps=1", "training.seed=8")
    result = toy_run(tmp_path, "--init", tmp_path / "run" / "model", *slow, run="on")
    assert result.exit_code == 0, result.stderr
    first, on = (load_model(tmp_path / name / "model").network for name in ("run", "on"))
    for one, other in zip(first.parameters(), on.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_without_validation_recordings_the_last_model_is_taken_with_a_notice(tmp_path, pack):
    toy.write_pack(tmp_path / "pack", n_recordings=1)
    result = toy_run(tmp_path)
    assert result.exit_code == 0, result.output
    assert result.stderr == (
        "amt: no recording of the split validation: RUN/model is the last one, unmeasured\n"
    )
    assert result.stdout == f"12 steps\t{tmp_path / 'run' / 'model'}\n"


def test_several_packs_are_learnt_together(tmp_path, pack):
    toy.write_pack(tmp_path / "more", n_recordings=2)
    result = toy_run(tmp_path, "--data", tmp_path / "more")
    assert result.exit_code == 0, result.output
    packs = json.loads((tmp_path / "run" / "data.json").read_text())["packs"]
    assert [pack["splits"]["train"]["n_recordings"] for pack in packs] == [2, 1]


def test_the_recipes_that_ship_are_listed(tmp_path):
    result = train("--list")
    assert result.exit_code == 0
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == recipe_names()
    assert "hpt-notes\t" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "kind", "problem"),
    [
        (["-s", "training.stepz=1"], ModelError, "unknown key 'stepz'"),
        (["-s", "network.wide=1"], ModelError, r"unknown key 'wide' in \[network\]"),
        (["-s", "network.width=0"], ModelError, r"\[network\] has nothing in network.first.weight"),
        (
            ["-s", "sampling.length_samples=390"],
            ModelError,
            r"\[front_end\], \[network\] and \[obj",
        ),
        (["-s", "objective.kind=none"], ModelError, r"unknown kind 'none' in \[objective\]"),
        (["--workers", "two"], UsageError, "--workers takes auto or a number"),
        (["--time-limit", "soon"], UsageError, "write 90s, 20m or 1h30m"),
        (["--shard"], UsageError, "--shard needs several processes"),
        (["--data", "nowhere"], DataError, "nowhere is no pack"),
        (["--resume", "nowhere.pt"], TrainingError, "nowhere.pt cannot be read"),
        (["--init", "nobody"], ModelError, "there is no model 'nobody'"),
        (["--smoke", "--resume", "auto"], UsageError, "--resume is for neither"),
        (["--tune", "2", "--resume", "auto"], UsageError, "--resume is for neither"),
    ],
)
def test_mistakes_are_named_before_anything_is_written(tmp_path, pack, arguments, kind, problem):
    result = toy_run(tmp_path, *arguments)
    assert failed(result, kind, problem)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("more", [[], ["--tune", "1"]])
def test_files_that_are_gone_are_named_before_anything_is_written(tmp_path, pack, more):
    recording_path(pack, "piece2").unlink()  # of the split validation
    assert failed(
        toy_run(tmp_path, *more), DataError, r"piece2\.h5 is missing, which its pack lists"
    )
    recording_path(pack, "piece0").unlink()
    assert failed(toy_run(tmp_path, *more), DataError, r"piece0\.h5 \(and 1 more\) is missing")
    assert not (tmp_path / "run").exists()


def test_a_pack_that_is_given_twice_is_named(tmp_path, pack):
    result = toy_run(tmp_path, "--data", tmp_path / "x" / ".." / "pack")
    assert failed(result, UsageError, "pack is given twice")


def test_what_is_missing_on_the_command_line_is_named():
    for arguments in ([], ["two-core"], ["two-core", "-o", "run"]):
        assert failed(train(*arguments), UsageError, "name a RECIPE")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("20m", 1200), ("1h30m", 5400), ("1h1m1s", 3661)]
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "20", "m", "1.5h", "30m1h"])
def test_what_is_no_duration(text):
    with pytest.raises(UsageError):
        parse_duration(text)


def test_interrupted_it_saves_its_state(tmp_path, pack):
    arguments = [tmp_path / "toy.toml", "--data", pack, "-o", tmp_path / "run", "--device", "cpu"]
    program = [sys.executable, toy.__file__, "train", *map(str, arguments)]
    never = settings("training.steps=100000", "training.save_every_steps=100000",
                     "validation.every_steps=100000")  # fmt: skip
    process = subprocess.Popen(
        [*program, *never],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    log = tmp_path / "run" / "log.jsonl"
    while process.poll() is None and not (log.exists() and '"train"' in log.read_text()):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=60)
    assert (process.returncode, message) == (130, "amt: interrupted\n")
    state = torch.load(tmp_path / "run" / STATE_FILE, weights_only=True)
    assert state["progress"]["step"] >= read_log(tmp_path / "run")[-1]["step"] > 0


def test_tuning_trains_again_and_again_and_names_the_best(tmp_path, pack):
    space = tmp_path / "space.toml"
    space.write_text("[optimiser]\nlearning_rate = { low = 1e-4, high = 1e-2, log = true }\n")
    shorter = settings("training.steps=2", "validation.every_steps=2")
    result = toy_run(tmp_path, "--tune", "2", "--space", space, *shorter)
    assert result.exit_code == 0, result.output
    score, rate, model = result.stdout.rstrip("\n").split("\t")
    assert score.startswith("onset_f1 ")
    assert 1e-4 <= float(rate.removeprefix("optimiser.learning_rate=")) <= 1e-2
    assert read_config(Path(model)).provenance.steps == 2
    assert sorted(path.name for path in (tmp_path / "run" / "trials").iterdir()) == ["0", "1"]
    again = toy_run(tmp_path, "--tune", "2", "--space", space, *shorter)
    assert again.stdout == result.stdout


def test_a_space_without_a_search_is_refused(tmp_path, pack):
    assert failed(toy_run(tmp_path, "--space", "space.toml"), UsageError, "give both")


def test_tuning_needs_something_to_choose_by(tmp_path, pack):
    toy.write_pack(tmp_path / "pack", n_recordings=1)
    assert failed(toy_run(tmp_path, "--tune", "2"), UsageError, "recordings of the split")


def test_help_is_quick_because_torch_is_not_imported():
    program = "import sys, amtcli.cli; assert 'torch' not in sys.modules, 'torch'"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
