import os
import sys
import types
import warnings
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from amtcli.checkpoints.inert_pickle import load_inert, module_tensors
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


def test_what_holds_no_tensors_gives_none(tmp_path):
    torch.save([1, 2], tmp_path / "model.pt")
    assert module_tensors(load_inert(tmp_path / "model.pt")) == {}


@pytest.mark.parametrize("contents", [b"", b"no checkpoint", b"PK\x03\x04 broken"])
def test_other_files_are_refused(tmp_path, contents):
    path = tmp_path / "model.pt"
    path.write_bytes(contents)
    with pytest.raises(ModelError, match=r"model\.pt is not a checkpoint that PyTorch saved"):
        load_inert(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"gone\.pt cannot be read: No such file"):
        load_inert(tmp_path / "gone.pt")


def test_a_program_is_refused(tmp_path):
    path = tmp_path / "program.pt"
    torch.save(nn.Linear(2, 2), path)
    with zipfile.ZipFile(path, "a") as archive:  # what torch tells programs by
        archive.writestr("program/constants.pkl", b"")
    with pytest.raises(ModelError, match="TorchScript program"):
        load_inert(path)
