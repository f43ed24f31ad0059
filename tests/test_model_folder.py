import errno
import subprocess
import sys
import threading

import pytest
import safetensors.torch
import torch
import toy_folder

from amtcli import model_folder
from amtcli.errors import ModelError
from amtcli.model_folder import load_model, read_config, rewrite_config, write_model
from amtcli.windows import WindowSpec


@pytest.fixture(autouse=True)
def _toy_classes(monkeypatch):
    toy_folder.register(monkeypatch)


@pytest.fixture
def folder(tmp_path):
    write_model(tmp_path / "toy", toy_folder.CONFIG, toy_folder.TENSORS, card="# toy\n")
    return tmp_path / "toy"


def edit(folder, old, new):
    path = folder / "model.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_what_was_written_is_read_and_loaded(folder):
    model = load_model(folder)
    assert model.model_id == "toy 1.2"
    assert model.front_end.gain.tolist() == [2.0]
    assert model.network.map.weight.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert model.network.map.bias.tolist() == [7, 8]
    assert not model.network.dropout.training
    decoder = model.new_decoder(model.config.window.spec(fast=True))
    assert decoder.config.threshold == 0.5
    assert decoder.window == WindowSpec(100, 80, 10)
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "model.toml",
        "weights.safetensors",
    ]
    assert read_config(folder).provenance == toy_folder.CONFIG.provenance
    assert read_config(folder).network == toy_folder.CONFIG.network


def test_reading_the_configuration_does_not_import_torch(folder):
    code = (
        "import sys; from pathlib import Path; from amtcli.model_folder import read_config;"
        "print(read_config(Path(sys.argv[1])).model_id, 'torch' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
    )
    assert result.stdout == "toy 1.2 False\n"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("format = 1", "format = 2", "format is 2, this amt reads 1"),
        ("format = 1", "", "key 'format' is missing in its top level"),
        ("[window]", "[window]\nhop_s = 1", r"unknown key 'hop_s' in \[window\]"),
        ("[window.fast]", "[window.slow]", r"unknown key 'slow' in \[window\]"),
        ("[window.fast]\nhop_samples = 80", "[window.fast]\nhop_samples = 0", r"\[window\]: hop_s"),
        ("[precision]\n", "[precision]\nauto_fp8 = true\n", "unknown key 'auto_fp8'"),
        ('file = "weights.safetensors"\n', "", r"key 'file' is missing in \[weights\]"),
        ('file = "', 'file = "../', "plain file name"),
        ('name = "toy"', 'name = "../toy"', r"\[provenance\]: name may hold"),
        ("[decoder]", "[[decoder]]", "'decoder' must be a table"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(folder, old, new, message):
    edit(folder, old, new)
    with pytest.raises(ModelError, match=message) as caught:
        read_config(folder)
    assert str(folder / "model.toml") in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("n_in = 3", "n_in = 3\nn_layers = 2", r"unknown key 'n_layers' in \[network\]"),
        ("n_in = 3\n", "", r"key 'n_in' is missing in \[network\]"),
        ('architecture = "toy-linear"', "", r"key 'architecture' is missing in \[network\]"),
        ('"toy-linear"', '"mlp"', r"unknown architecture 'mlp' in \[network\] \(known: .*toy-lin"),
        ('"toy-gain"', '"no-such-kind"', r"unknown kind 'no-such-kind' in \[front_end\]"),
        ("threshold = 0.5", "threshold = 2.0", r"\[decoder\]: threshold is 2.0"),
        ("n_in = 3", "n_in = 4", r"network.map.weight is \(2, 3\), not \(2, 4\)"),
        ('dtype = "float32"', 'dtype = "float16"', "is float32.* says float16"),
    ],
)
def test_settings_that_do_not_fit_code_or_weights_are_refused(folder, old, new, message):
    edit(folder, old, new)
    with pytest.raises(ModelError, match=message):
        load_model(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network.map.bias": None}, "network.map.bias is missing"),
        ({"network.extra": torch.zeros(1)}, "network.extra is unexpected"),
        ({"decoder.threshold": torch.zeros(1)}, "decoder.threshold is unexpected"),
    ],
)
def test_tensors_are_loaded_strictly(tmp_path, change, message):
    tensors = {k: v for k, v in (toy_folder.TENSORS | change).items() if v is not None}
    write_model(tmp_path / "toy", toy_folder.CONFIG, tensors)
    with pytest.raises(ModelError, match=rf"weights.safetensors does not fit .*{message}"):
        load_model(tmp_path / "toy")


def test_many_misfits_are_counted(tmp_path):
    extra = {f"network.extra{i}": torch.zeros(1) for i in range(9)}
    write_model(tmp_path / "toy", toy_folder.CONFIG, toy_folder.TENSORS | extra)
    with pytest.raises(ModelError, match=r"network\.extra3 is unexpected and 5 more$"):
        load_model(tmp_path / "toy")


def test_damaged_weights_are_refused_with_what_to_do(folder):
    path = folder / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"weights\.safetensors is damaged.*pull toy --force"):
        load_model(folder)
    path.unlink()
    with pytest.raises(ModelError, match=r"weights\.safetensors cannot be read: No such file"):
        load_model(folder)


def test_weights_that_are_no_safetensors_are_refused(folder):
    sha256 = model_folder.read_config(folder).weights.sha256
    (folder / "weights.safetensors").write_bytes(b"\x80\x04 anything")
    import hashlib

    edit(folder, sha256, hashlib.sha256(b"\x80\x04 anything").hexdigest())
    with pytest.raises(ModelError, match="is not a safetensors file"):
        load_model(folder)


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
        monkeypatch.setattr(model_folder.os, "fsync", full)
    else:
        rename = model_folder.Path.rename
        monkeypatch.setattr(
            model_folder.Path,
            "rename",
            lambda path, to: full() if to == folder and path.suffix != ".old" else rename(path, to),
        )
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


def test_settings_can_be_rewritten_beside_the_same_weights(folder):
    import dataclasses

    config = read_config(folder)
    before = (folder / "weights.safetensors").stat().st_mtime_ns
    rewrite_config(folder, dataclasses.replace(config, decoder=config.decoder | {"threshold": 0.7}))
    assert load_model(folder).new_decoder(WindowSpec(1, 1, 0)).config.threshold == 0.7
    assert (folder / "weights.safetensors").stat().st_mtime_ns == before
    assert (folder / "README.md").read_text() == "# toy\n"
