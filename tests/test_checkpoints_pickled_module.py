import os
import pickle
import sys
import types
import warnings
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from amtcli.checkpoints.pickled_module import load_inert, module_tensors
from amtcli.errors import ModelError


class Runs:
    """Unpickled by an ordinary unpickler, it leaves a file behind."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture
def foreign(monkeypatch):
    """A module of a class that will be gone when its pickle is read."""
    package = types.ModuleType("authors_package")
    exec(  # a class that pickle finds in that package and nowhere else
        "from torch import nn\n"
        "class Authors(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.cnn = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU())\n"
        "        self.rnn = nn.LSTM(3, 4, num_layers=2, bidirectional=True)\n"
        "        self.setting = {'a': {1, 2}}\n",
        vars(package),
    )
    package.Authors.__module__ = "authors_package"
    monkeypatch.setitem(sys.modules, "authors_package", package)
    module = package.Authors()
    yield module


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_whole_module_gives_its_state_dict(foreign, tmp_path, monkeypatch, is_zip):
    path = tmp_path / "model.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch cannot find the source of the class
        torch.save(foreign, path, _use_new_zipfile_serialization=is_zip)
    expected = foreign.state_dict()
    monkeypatch.delitem(sys.modules, "authors_package")
    tensors = module_tensors(load_inert(path))
    assert list(tensors) == list(expected)
    for name, tensor in expected.items():
        assert torch.equal(tensors[name], tensor), name


@pytest.mark.parametrize("is_zip", [True, False])
def test_nothing_in_a_checkpoint_runs(tmp_path, is_zip):
    path, trace = tmp_path / "model.pt", tmp_path / "trace"
    contents = {"evil": Runs(trace), "weight": torch.arange(3.0), "best": np.float64(2.0)}
    torch.save(contents, path, _use_new_zipfile_serialization=is_zip)
    loaded = load_inert(path)
    assert not trace.exists()
    assert torch.equal(loaded["weight"], torch.arange(3.0))


def test_wrappers_for_several_devices_leave_no_trace(tmp_path):
    path = tmp_path / "model.pt"
    torch.save(nn.Sequential(nn.DataParallel(nn.Linear(2, 1))), path)
    assert list(module_tensors(load_inert(path))) == ["0.weight", "0.bias"]
    torch.save({"module.0.weight": torch.zeros(1), "epoch": 3}, path)
    assert list(module_tensors(load_inert(path))) == ["0.weight"]


def test_a_part_that_is_called_module_keeps_its_name(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"attention.module.weight": torch.zeros(1), "bias": torch.zeros(1)}, path)
    assert list(module_tensors(load_inert(path))) == ["attention.module.weight", "bias"]


def test_what_holds_no_tensors_gives_none(tmp_path):
    torch.save([1, 2], tmp_path / "model.pt")
    assert module_tensors(load_inert(tmp_path / "model.pt")) == {}


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (b"", "PyTorch did not save it"),
        (b"no checkpoint", "PyTorch did not save it"),
        (pickle.dumps([1, 2], protocol=2), "PyTorch did not save it"),
        (b"PK\x03\x04 broken", "File is not a zip file"),
    ],
)
def test_other_files_are_refused(tmp_path, contents, reason):
    path = tmp_path / "model.pt"
    path.write_bytes(contents)
    with pytest.raises(ModelError, match=rf"model\.pt cannot be read as a checkpoint: .*{reason}"):
        load_inert(path)


@pytest.mark.parametrize("is_zip", [True, False])
def test_cut_files_are_refused(tmp_path, is_zip):
    path = tmp_path / "model.pt"
    torch.save({"weight": torch.zeros(1000)}, path, _use_new_zipfile_serialization=is_zip)
    whole = path.read_bytes()
    for n_bytes in range(1, len(whole), 97):
        path.write_bytes(whole[:n_bytes])
        with pytest.raises(ModelError, match="cannot be read as a checkpoint"):
            load_inert(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"gone\.pt cannot be read: No such file"):
        load_inert(tmp_path / "gone.pt")


def rewritten(path, change, compression=zipfile.ZIP_STORED):
    """Pass every part of a zip file through ``change``."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in change(parts).items():
            archive.writestr(name, data)


@pytest.mark.parametrize(
    ("change", "compression", "reason"),
    [
        (lambda parts: {**parts, "m/constants.pkl": b""}, 0, "is a TorchScript program"),
        (lambda parts: parts, zipfile.ZIP_DEFLATED, "is compressed"),
        (
            lambda parts: {n: b"big" if n.endswith("byteorder") else d for n, d in parts.items()},
            0,
            "big-endian machine",
        ),
        (
            lambda parts: {n: d for n, d in parts.items() if "/data/" not in n},
            0,
            "the numbers of a tensor are missing",
        ),
        (
            lambda parts: {n: d[:8] if "/data/" in n else d for n, d in parts.items()},
            0,
            "a tensor reaches beyond its numbers",
        ),
    ],
)
def test_archives_that_promise_too_much_are_refused(tmp_path, change, compression, reason):
    path = tmp_path / "m.pt"
    torch.save({"weight": torch.arange(3.0)}, path)
    rewritten(path, change, compression)
    with pytest.raises(ModelError, match=reason):
        load_inert(path)


def test_a_tensor_that_repeats_few_numbers_without_end_is_refused(tmp_path):
    """A view with strides of 0 takes no room in the file and terabytes when it is copied."""
    path = tmp_path / "model.pt"
    torch.save({"weight": torch.zeros(1).expand(1 << 20, 1 << 20)}, path)
    with pytest.raises(ModelError, match="a tensor reaches beyond its numbers"):
        load_inert(path)


def test_modules_that_hold_one_another_are_refused(tmp_path):
    """A pickle may refer to what it is in the middle of, or to one thing many times over."""
    inner = nn.Linear(1, 1)
    for _ in range(40):  # 2 ** 40 names for the same two tensors
        outer = nn.Module()
        outer.add_module("left", inner)
        outer.add_module("right", inner)
        inner = outer
    torch.save(inner, tmp_path / "bomb.pt")
    with pytest.raises(ModelError, match="modules within modules"):
        module_tensors(load_inert(tmp_path / "bomb.pt"))


def test_a_published_module_is_read(shared_data):
    path = shared_data / "weights" / "hppnet-tiny-498000.pt"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    tensors = module_tensors(load_inert(path))
    assert sum(tensor.numel() for tensor in tensors.values()) == 151_172
    assert tensors["subnet_onset.heads.velocity.head.lstm.rnn.weight_hh_l0"].shape == (96, 24)
