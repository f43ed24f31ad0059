import subprocess
import sys

import pytest
import torch
import toy_folder

from amtcli.errors import ModelError
from amtcli.model_config import read_config
from amtcli.model_folder import load_model
from amtcli.model_writing import write_model
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
    sha256 = read_config(folder).weights.sha256
    (folder / "weights.safetensors").write_bytes(b"\x80\x04 anything")
    import hashlib

    edit(folder, sha256, hashlib.sha256(b"\x80\x04 anything").hexdigest())
    with pytest.raises(ModelError, match="is not a safetensors file"):
        load_model(folder)
