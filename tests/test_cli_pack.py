import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from data_sets import (
    irregular,
    make_maestro,
    make_maps,
    make_mazurka,
    make_pairs,
    make_smd,
    melody,
    sound,
    write_audio,
    write_midi,
)
from typer.testing import CliRunner

from amtcli.cli import app
from amtcli.datasets.features import features_key, read_features
from amtcli.datasets.pack import open_pack
from amtcli.tables import read_toml
from amtcli.training.recipe import find_recipe

RUNNER = CliRunner()


def amt(*words):
    return RUNNER.invoke(app, ["pack", *map(str, words)])


def splits(folder):
    pack = open_pack(folder)
    return {split: len(pack.split(split)) for split in ("train", "validation", "test")}


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def test_maestro(tmp_path):
    make_maestro(tmp_path / "maestro")
    result = amt("maestro", tmp_path / "maestro", "-o", tmp_path / "pack", "-j", 1)
    assert result.exit_code == 0, result.output
    assert splits(tmp_path / "pack") == {"train": 2, "validation": 1, "test": 1}
    assert "4 recordings; 7 s of audio to pack: 0.00 GB of" in result.output
    assert "train 2 (0.0 h), validation 1 (0.0 h), test 1 (0.0 h)" in result.output


def test_maps_without_the_test_compositions(tmp_path):
    make_maps(tmp_path / "maps")
    (tmp_path / "list").write_text("chpn-p7\n")
    options = ["--exclude-compositions", tmp_path / "list", "--validation-instrument", "SptkBGCl"]
    result = amt("maps", tmp_path / "maps", "-o", tmp_path / "pack", "-j", 1, *options)
    assert result.exit_code == 0, result.output
    assert splits(tmp_path / "pack") == {"train": 2, "validation": 2, "test": 3}


def test_saarland_to_train_on(tmp_path):
    make_smd(tmp_path / "smd")
    result = amt("smd", tmp_path / "smd", "-o", tmp_path / "pack", "-j", 1, "--split", "train")
    assert result.exit_code == 0, result.output
    assert splits(tmp_path / "pack") == {"train": 3, "validation": 0, "test": 0}


def test_mazurkas_with_audio_elsewhere(tmp_path):
    make_mazurka(tmp_path / "data")
    (tmp_path / "data/mazurka_audio").rename(tmp_path / "audio")
    words = ["mazurka", tmp_path / "data", "-o", tmp_path / "pack", "-j", 1, "--fold", 4]
    result = amt(*words)
    assert result.exit_code == 4
    assert "holds no audio called pid" in result.output
    result = amt(*words, "--audio", tmp_path / "audio", "--sample-rate", 8000)
    assert result.exit_code == 0, result.output
    counts = splits(tmp_path / "pack")
    assert all(counts.values())
    assert sum(counts.values()) == len(list((tmp_path / "audio").rglob("*.wav"))) - 3 - 4


def make_performances(folder):
    """Three pieces as MIDI files, the first with beats."""
    for number, piece in enumerate(("Bach", "Ravel", "Satie")):
        write_midi(folder / piece / "take.mid", melody(number))
    (folder / "Bach/take.beats").write_text("0.1 1\n0.6 2\n1.1 1\n")
    return folder


def test_performances_without_sound(tmp_path):
    source, packed = make_performances(tmp_path / "midi"), tmp_path / "pack"
    words = ["performances", source, "-o", packed, "-j", 1, "--validation-share", 0]
    result = amt(*words)
    assert result.exit_code == 0, result.output
    assert "amt: 3 performances\n" in result.output
    assert "3 recordings in" in result.output and "train 3 (0.0 h)" in result.output
    first = open_pack(packed).recordings[0]
    assert first.sample_rate_hz == 1000
    assert first.read_labels().beats.is_downbeat.tolist() == [True, False, True]
    assert not first.read_audio(0, first.n_samples).any()
    before = contents(packed)
    assert "amt: 3 performances; 3 are there\n" in amt(*words).output
    assert contents(packed) == before
    result = amt("verify", packed, "-j", 1)
    assert (result.exit_code, "3 of 3 recordings" in result.output) == (0, True)


def test_performances_are_divided_as_those_to_render(tmp_path):
    source = make_performances(tmp_path / "midi")
    (tmp_path / "list").write_text("Satie\n")
    (tmp_path / "maestro.csv").write_text("midi_filename,split\n2004/other.midi,test\n")
    (source / "Ravel/other.mid").write_bytes((source / "Ravel/take.mid").read_bytes())
    options = ["--exclude-compositions", tmp_path / "list", "--split-from"]
    words = ["performances", source, "-j", 1, *options, tmp_path / "maestro.csv"]
    result = amt(*words, "-o", tmp_path / "pack")
    assert "1 files of excluded compositions are left out" in result.output
    assert splits(tmp_path / "pack") == {"train": 1, "validation": 0, "test": 2}
    amt(*words, "--validation-share", 1, "-o", tmp_path / "held")
    assert splits(tmp_path / "held") == {"train": 0, "validation": 1, "test": 2}


def test_a_broken_performance_is_left_out_and_the_exit_code_is_1(tmp_path):
    source = make_performances(tmp_path / "midi")
    (source / "Ravel/take.mid").write_bytes(b"MThd")
    result = amt("performances", source, "-o", tmp_path / "pack", "-j", 1, "-q")
    assert result.exit_code == 1
    assert "amt: Ravel/take is left out: " in result.output and "is cut off" in result.output
    assert [each.name for each in open_pack(tmp_path / "pack").recordings] == [
        "Bach/take",
        "Satie/take",
    ]


def test_bad_pairs_give_their_reason_and_exit_code_1(tmp_path):
    make_pairs(tmp_path / "pairs")
    (tmp_path / "pairs/take1.wav").write_bytes(b"nonsense")
    result = amt("pairs", tmp_path / "pairs", "-o", tmp_path / "pack", "-j", 1, "-q")
    assert result.exit_code == 1
    assert "amt: take1 is left out: " in result.output
    assert "is not audio in a known format" in result.output
    assert len(open_pack(tmp_path / "pack").recordings) == 2


def test_what_its_source_no_longer_has_leaves_the_pack_and_is_named(tmp_path):
    source, packed = tmp_path / "smd", tmp_path / "pack"
    make_smd(source)
    assert "no longer" not in amt("smd", source, "-o", packed, "-j", 1).output
    names = [recording.name for recording in open_pack(packed).recordings]
    for path in source.rglob(f"{names[0]}.*"):
        path.unlink()
    result = amt("smd", source, "-o", packed, "-j", 1)
    assert result.exit_code == 0, result.output
    assert [recording.name for recording in open_pack(packed).recordings] == names[1:]
    gone = packed / "recordings" / f"{names[0]}.h5"
    assert f"amt: {gone} is no longer part of the pack; delete it" in "".join(
        result.output.splitlines(keepends=False)
    )


def test_verify_tells_what_was_damaged(tmp_path):
    make_pairs(tmp_path / "pairs")
    amt("pairs", tmp_path / "pairs", "-o", tmp_path / "pack", "-j", 1)
    result = amt("verify", tmp_path / "pack", "-j", 1)
    assert result.exit_code == 0
    assert "3 of 3 recordings" in result.output
    (tmp_path / "pack/recordings/take1.h5").unlink()
    result = amt("verify", tmp_path / "pack", "-j", 1)
    assert result.exit_code == 1
    assert "amt: take1: " in result.output
    assert "2 of 3 recordings" in result.output


def test_features_of_a_recipe(tmp_path):
    make_pairs(tmp_path / "pairs", n=1)
    words = ["pairs", tmp_path / "pairs", "-o", tmp_path / "pack", "-j", 1]
    result = amt(*words, "--features", "onsets-and-frames")
    assert result.exit_code == 0, result.output
    key = features_key(read_toml(find_recipe("onsets-and-frames"))["front_end"])
    (recording,) = open_pack(tmp_path / "pack").recordings
    assert read_features(recording, key, 0, 7).shape == (7, 229)


def test_a_full_disk_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    make_pairs(tmp_path / "pairs")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    result = amt("pairs", tmp_path / "pairs", "-o", tmp_path / "pack", "-j", 1)
    assert result.exit_code == 2
    assert "needs 0.0 GB, and 0.0 GB are free there" in result.output
    assert not (tmp_path / "pack").exists()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["pairs", "{0}/none", "-o", "{0}/pack"], 2, "none is no folder"),
        (["pairs", "{0}/pairs", "-o", "{0}/pack", "--features", "no-model"], 2, "neither a recipe"),
        (["maestro", "{0}/pairs", "-o", "{0}/pack"], 4, "holds no maestro-v"),
        (["pairs", "{0}/pairs", "-o", "{0}/pairs/take0.wav/pack"], 1, "cannot be written"),
        (["pairs", "{0}/pairs", "-o", "{0}/x/../pairs"], 2, "is the folder of the source"),
        (
            ["performances", "{0}/pairs", "-o", "{0}/pack", "--split-from", "{0}/pairs/take0.wav"],
            1,
            "is not MAESTRO's table",
        ),
        (["performances", "{0}/pairs", "-o", "{0}/x/../pairs"], 2, "is the folder of the source"),
        (["performances", "{0}/empty", "-o", "{0}/pack"], 4, "no MIDI files or tables of notes in"),
        (["verify", "{0}/pairs"], 1, "is no pack"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_done(tmp_path, words, code, message):
    make_pairs(tmp_path / "pairs", n=1)
    (tmp_path / "empty").mkdir()
    result = amt(*(word.format(tmp_path) for word in words))
    assert result.exit_code == code
    assert message in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "pack").exists()
    assert not (tmp_path / "pairs" / "manifest.json").exists()


def test_other_splits_than_before_are_told(tmp_path):
    make_smd(tmp_path / "smd")
    words = ["smd", tmp_path / "smd", "-o", tmp_path / "pack", "-j", 1]
    assert "moved" not in amt(*words).stderr
    assert "moved" not in amt(*words).stderr
    moved = amt(*words, "--split", "train")
    assert "amt: 3 recordings moved from test to train: other options than before\n" in moved.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_killed_and_begun_again_it_leaves_an_equal_pack(tmp_path):
    source = tmp_path / "source"
    for number in range(8):
        performance = irregular(number, n_notes=20)
        write_audio(source / f"take{number:02}.wav", sound(performance, 44_100), 44_100)
        write_midi(source / f"take{number:02}.mid", performance)
    command = [sys.executable, "-m", "amtcli", "pack", "pairs", str(source), "-o"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    begun = subprocess.Popen([*command, tmp_path / "killed", "-j", "2"], env=environment)
    recordings = tmp_path / "killed/recordings"
    end_s = time.monotonic() + 60
    while not (recordings.is_dir() and len(list(recordings.glob("take*.h5"))) >= 2):
        assert begun.poll() is None
        assert time.monotonic() < end_s
        time.sleep(0.005)
    begun.kill()
    begun.wait()
    assert not (tmp_path / "killed/manifest.json").exists()
    for folder in ("killed", "whole"):
        subprocess.run([*command, tmp_path / folder, "-j", "1"], env=environment, check=True)
    killed, whole = contents(tmp_path / "killed"), contents(tmp_path / "whole")
    assert killed == whole
    assert len(json.loads(whole["manifest.json"])["recordings"]) == 8
