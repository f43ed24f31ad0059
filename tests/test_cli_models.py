import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_folder
import toy_training
from autoregressive_model import write_autoregressive
from filled import filled_state
from typer.testing import CliRunner

from amtcli import catalog
from amtcli.cli.models import app
from amtcli.errors import ModelError, TrainingError
from amtcli.model_config import read_config
from amtcli.model_writing import write_model
from amtcli.training.companions import Companions, Listener
from amtcli.training.export import make_exporter
from amtcli.training.loop import TrainOptions, train

RUNNER = CliRunner()
PARITY = Path(__file__).parent / "data" / "parity" / "autoregressive.npz"


def run(*arguments):
    return RUNNER.invoke(app, list(arguments), catch_exceptions=False)


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    """A data folder with one imported model; nothing else, and no way out."""
    toy_folder.register(monkeypatch)
    monkeypatch.setenv("AMT_MODEL_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("AMT_OFFLINE", "1")
    write_model(tmp_path / "data" / "mine", toy_folder.CONFIG, toy_folder.TENSORS)
    return tmp_path / "data"


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A model that is shipped with its weights."""
    monkeypatch.setattr(catalog, "shipped_folder", lambda: tmp_path / "shipped")
    write_model(tmp_path / "shipped" / "toy", toy_folder.CONFIG, toy_folder.TENSORS)
    return tmp_path / "shipped"


def test_list_has_a_line_for_each_model():
    rows = {line.split()[0]: line.split()[1:] for line in run("list").stdout.splitlines()}
    folders = {folder.name for folder in catalog.shipped_folder().iterdir() if folder.is_dir()}
    assert list(rows) == sorted(folders | {"mine"})
    assert rows["hppnet-tiny"][:2] == ["498000", "available"]
    assert rows["mine"][:2] == ["1.2", "imported"]
    assert rows["transkun-v2"][:4] == ["2.0", "available", "51", "MB"]


def test_list_as_json_has_hashes_and_sources(data):
    entries = {entry["name"]: entry for entry in json.loads(run("list", "--json").stdout)}
    mine, transkun = entries["mine"], entries["transkun-v2"]
    assert mine["folder"] == str(data / "mine")
    assert mine["sha256"] == read_config(data / "mine").weights.sha256
    assert transkun["folder"] is None
    assert transkun["sha256"].startswith("50a80010effc")
    assert "package transkun==2.0.1" in transkun["source"]
    assert transkun["licence"].startswith("MIT")


def test_path_prints_the_folder_and_nothing_else(data):
    assert run("path", "mine").stdout == f"{data / 'mine'}\n"
    assert run("path", str(data / "mine")).stdout == f"{data / 'mine'}\n"


def test_path_of_what_is_not_here_says_how_to_get_it():
    with pytest.raises(ModelError, match="not here yet; run `amt models pull transkun-v2`"):
        run("path", "transkun-v2")


def test_pull_prints_the_folder(shipped):
    result = run("pull", "toy")
    assert result.stdout == f"{shipped / 'toy'}\n"


def test_pull_offline_is_an_error_of_the_model_kind(monkeypatch):
    monkeypatch.setattr(catalog, "fetch", refuse)
    with pytest.raises(ModelError, match="cannot be pulled offline") as caught:
        run("pull", "transkun-v2")
    assert caught.value.exit_code == 3


def refuse(sources, folder, *, offline, on_progress):
    assert offline
    raise ModelError("left out")


def test_show_has_every_setting(data):
    pairs = dict(line.split(maxsplit=1) for line in run("show", "mine").stdout.splitlines())
    assert pairs["folder"] == str(data / "mine")
    assert pairs["network.n_in"] == "3"
    assert pairs["window.fast.hop_samples"] == "80"
    assert pairs["provenance.scores.onset_f1"] == "0.5"
    assert pairs["facts.n_parameters"] == "9"
    assert pairs["facts.window_s"] == "0.0125"
    assert "facts.live_latency_s" not in pairs


def test_show_as_json_is_the_configuration():
    shown = json.loads(run("show", "transkun-v2", "--json").stdout)
    assert shown["network"]["n_layers"] == 6
    assert [source["kind"] for source in shown["weights"]["sources"]] == [
        "distribution",
        "package",
        "url",
    ]
    assert shown["facts"] == {
        "n_parameters": 13_613_711,
        "window_s": 16.0,
        "hop_s": 8.010884,
        "live_latency_s": None,
    }
    lines = run("show", "transkun-v2").stdout.splitlines()
    assert ["weights.sources.2.requirement", "transkun==2.0.1"] in [x.split() for x in lines]


def test_show_as_json_has_words_for_what_json_has_no_numbers_for(data, monkeypatch):
    settings = {"front_end": {"dynamic_range_db": math.inf, "mels": [1.5, -math.inf]}}
    monkeypatch.setattr("amtcli.cli.models._tables", lambda config: settings)
    text = run("show", "mine", "--json").stdout
    shown = json.loads(text, parse_constant=pytest.fail)
    assert shown["front_end"] == {"dynamic_range_db": "inf", "mels": [1.5, "-inf"]}


def test_show_tells_the_latency_of_a_model_that_can_run_live(data):
    write_autoregressive(data / "small", label_shift_frames=1)
    pairs = dict(line.split(maxsplit=1) for line in run("show", "small").stdout.splitlines())
    assert pairs["facts.live_latency_s"] == "0.128"


def test_import_makes_a_model_that_the_catalog_lists(data, tmp_path):
    state = filled_state(json.loads(str(np.load(PARITY)["shapes"])))
    state = {k: v for k, v in state.items() if not k.startswith("melspectrogram.")}
    torch.save({"model_state_dict": state}, tmp_path / "model-180000.pt")
    words = (
        "import",
        str(tmp_path / "model-180000.pt"),
        "--as",
        "live",
        "--label-shift-frames",
        "2",
    )
    result = run(*words)
    assert result.stdout == f"{data / 'live'}\n"
    assert "model-180000.pt is the multi-state autoregressive network" in result.stderr
    assert "amt transcribe song.wav --model live" in result.stderr
    entry = next(e for e in json.loads(run("list", "--json").stdout) if e["name"] == "live")
    assert entry["state"] == "imported"
    assert read_config(data / "live").decoder["label_shift_frames"] == 2


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """The folder of a run of 12 steps."""
    for registry, entry in toy_training.entries():
        monkeypatch.setitem(registry, "toy", entry)
    recipe = toy_training.write_recipe(tmp_path)
    pack, run_folder = toy_training.write_pack(tmp_path / "pack"), tmp_path / "run"
    learnt = pack.split("train")
    companions = Companions(None, make_exporter(recipe, [pack], learnt, run_folder), Listener())
    train(recipe, learnt, TrainOptions(run_folder, "cpu", n_workers=0), companions)
    return run_folder


def test_export_makes_a_model_that_the_catalog_lists(trained, data):
    result = run("export", str(trained), "--as", "learnt")
    assert result.stdout == f"{data / 'learnt'}\n"
    assert "learnt, as it was after 12 steps" in result.stderr
    entry = next(e for e in json.loads(run("list", "--json").stdout) if e["name"] == "learnt")
    assert (entry["version"], entry["state"]) == ("12", "imported")


def test_export_writes_to_a_folder(trained, tmp_path):
    result = run("export", str(trained), "-o", str(tmp_path / "out"), "--weights", "last")
    assert result.stdout == f"{tmp_path / 'out'}\n"
    assert read_config(tmp_path / "out").provenance.name == "toy"
    with pytest.raises(TrainingError, match="is no run"):
        run("export", str(tmp_path / "out"))


def test_listing_as_a_program_imports_no_torch(data):
    code = (
        "import sys; from amtcli.cli.models import app; app(['list'], standalone_mode=False);"
        "print('torch' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert result.stdout.splitlines()[-1] == "False"
