"""Writing model folders: whole or not at all, whoever else writes."""

import errno
import os
import signal
import subprocess
import sys
import threading

import pytest
import safetensors.torch
import torch
import toy_folder

from amtcli import model_writing
from amtcli.errors import ModelError
from amtcli.model_config import read_config
from amtcli.model_folder import load_model
from amtcli.model_writing import rewrite_config, write_model
from amtcli.windows import WindowSpec


@pytest.fixture(autouse=True)
def _toy_classes(monkeypatch):
    toy_folder.register(monkeypatch)


@pytest.fixture
def folder(tmp_path):
    write_model(tmp_path / "toy", toy_folder.CONFIG, toy_folder.TENSORS, card="# toy\n")
    return tmp_path / "toy"


def test_tensors_that_share_memory_are_stored_each_for_itself(tmp_path):
    whole = torch.arange(8.0)
    tensors = toy_folder.TENSORS | {
        "network.map.weight": whole[:6].view(3, 2).T,
        "network.map.bias": whole[6:],
    }
    write_model(tmp_path / "toy", toy_folder.CONFIG, tensors)
    stored = safetensors.torch.load_file(tmp_path / "toy" / "weights.safetensors")
    assert stored["network.map.weight"].tolist() == [[0, 2, 4], [1, 3, 5]]
    assert stored["network.map.bias"].tolist() == [6, 7]


def test_writing_refuses_tensors_of_another_type(tmp_path):
    tensors = toy_folder.TENSORS | {"front_end.gain": torch.zeros(1, dtype=torch.float64)}
    with pytest.raises(ModelError, match=r"front_end\.gain is float64"):
        write_model(tmp_path / "toy", toy_folder.CONFIG, tensors)
    assert list(tmp_path.iterdir()) == []


def test_writing_replaces_a_model_as_a_whole(folder):
    write_model(folder, toy_folder.CONFIG, toy_folder.TENSORS | {"front_end.gain": torch.ones(1)})
    assert load_model(folder).front_end.gain.tolist() == [1.0]
    assert not (folder / "README.md").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["toy"]


@pytest.mark.parametrize("failing", ["fsync", "rename"])
def test_a_failure_leaves_the_old_model_and_no_litter(folder, monkeypatch, failing):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    if failing == "fsync":
        monkeypatch.setattr(model_writing.os, "fsync", full)
    else:
        rename, refused = model_writing.Path.rename, []

        def once(path, to):  # the new model; the old one may come back
            if to == folder and not refused:
                refused.append(path)
                full()
            return rename(path, to)

        monkeypatch.setattr(model_writing.Path, "rename", once)
    other = toy_folder.TENSORS | {"front_end.gain": torch.ones(1)}
    with pytest.raises(ModelError, match="toy cannot be written: No space left on device"):
        write_model(folder, toy_folder.CONFIG, other)
    monkeypatch.undo()
    assert [path.name for path in folder.parent.iterdir()] == ["toy"]
    assert safetensors.torch.load_file(folder / "weights.safetensors")["front_end.gain"] == 2


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path):
    (tmp_path / "music").mkdir()
    song = tmp_path / "music" / "song.wav"
    song.write_bytes(b"precious")
    with pytest.raises(ModelError, match=r"holds 'song\.wav', which is no part of a model"):
        write_model(tmp_path / "music", toy_folder.CONFIG, toy_folder.TENSORS)
    assert song.read_bytes() == b"precious"


def test_what_file_managers_leave_in_a_model_is_no_obstacle(tmp_path):
    write_model(tmp_path / "toy", toy_folder.CONFIG, toy_folder.TENSORS)
    (tmp_path / "toy" / ".DS_Store").touch()
    write_model(tmp_path / "toy", toy_folder.CONFIG, toy_folder.TENSORS)
    assert not (tmp_path / "toy" / ".DS_Store").exists()


def test_several_writers_at_once_leave_one_whole_model(tmp_path):
    folder = tmp_path / "toy"
    failures = []
    barrier = threading.Barrier(8)

    def write(gain):
        tensors = toy_folder.TENSORS | {"front_end.gain": torch.tensor([gain])}
        barrier.wait()
        try:
            for _ in range(5):
                write_model(folder, toy_folder.CONFIG, tensors)
        except ModelError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(float(i),)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert load_model(folder).front_end.gain.item() in range(8)
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


@pytest.mark.skipif(os.name != "posix", reason="kills as POSIX does")
def test_what_a_killed_writer_left_is_removed_by_the_next(folder):
    code = f"""
import os, signal
from pathlib import Path
from amtcli import model_writing
rename = Path.rename
Path.rename = lambda *paths: (rename(*paths), os.kill(os.getpid(), signal.SIGKILL))
model_writing._replace_folder(Path({str(folder)!r}), {{"model.toml": b""}})
"""
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -signal.SIGKILL
    left = [path.name for path in folder.parent.iterdir()]
    assert len(left) == 2  # the model that was retired, and the one that should have followed
    assert "toy" not in left
    write_model(folder, toy_folder.CONFIG, toy_folder.TENSORS)
    assert [path.name for path in folder.parent.iterdir()] == ["toy"]


def test_settings_can_be_rewritten_beside_the_same_weights(folder):
    import dataclasses

    config = read_config(folder)
    before = (folder / "weights.safetensors").stat().st_mtime_ns
    rewrite_config(folder, dataclasses.replace(config, decoder=config.decoder | {"threshold": 0.7}))
    assert load_model(folder).new_decoder(WindowSpec(1, 1, 0)).config.threshold == 0.7
    assert (folder / "weights.safetensors").stat().st_mtime_ns == before
    assert (folder / "README.md").read_text() == "# toy\n"
