"""Pickled modules are read, and nothing that a pickle asks for is done."""

import io
import os
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from amtcli.checkpoints.inert_unpickler import (
    ClassName,
    Instance,
    UnreadablePickleError,
    interpret,
)
from amtcli.checkpoints.pickled_module import load_inert, module_tensors
from amtcli.errors import ModelError


class Author(nn.Module):
    """A class that a reader of the file would not have."""

    def __init__(self):
        super().__init__()
        self.config = {"sizes": [1, 2], "device": torch.device("cpu")}
        self.trunk = nn.Sequential(nn.Conv2d(2, 3, (1, 5)), nn.BatchNorm2d(3))
        self.heads = nn.ModuleDict({"onset": nn.LSTM(3, 2, bidirectional=True)})
        self.turned = nn.Parameter(torch.arange(6.0).reshape(2, 3).T)
        self.register_buffer("scratch", torch.zeros(1), persistent=False)


@pytest.mark.parametrize("zipped", [True, False])
def test_modules_give_their_state_dict(tmp_path, zipped):
    module = Author()
    path = tmp_path / "module.pt"
    torch.save(module, path, _use_new_zipfile_serialization=zipped)
    saved = load_inert(path)
    assert saved.class_name.name == "Author"
    tensors = module_tensors(saved)
    expected = module.state_dict()
    assert set(tensors) == set(expected)
    for name, tensor in expected.items():
        assert torch.equal(tensors[name], tensor), name


@pytest.mark.parametrize("zipped", [True, False])
def test_dictionaries_come_out_as_they_are(tmp_path, zipped):
    state = OrderedDict((f"module.{name}", x) for name, x in nn.Linear(2, 3).state_dict().items())
    saved = {"iteration": 7, "note": "best", "rate": 0.5, "done": False, "model": state}
    torch.save(saved, tmp_path / "training.pth", _use_new_zipfile_serialization=zipped)
    found = load_inert(tmp_path / "training.pth")
    assert {k: v for k, v in found.items() if k != "model"} == {
        "iteration": 7,
        "note": "best",
        "rate": 0.5,
        "done": False,
    }
    tensors = module_tensors(found["model"])
    assert list(tensors) == ["weight", "bias"]
    assert torch.equal(tensors["weight"], state["module.weight"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.bool])
def test_numbers_of_all_kinds_come_through(tmp_path, dtype):
    values = torch.tensor([0, 1, 1, 0]).to(dtype)
    torch.save({"values": values}, tmp_path / "values.pt")
    assert torch.equal(load_inert(tmp_path / "values.pt")["values"], values)


class Bomb:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_file_is_executed(tmp_path, zipped, protocol):
    fuse = tmp_path / "exploded"
    bomb = Bomb(os.mkdir, str(fuse))
    path = tmp_path / "bomb.pt"
    torch.save(
        {"weight": torch.ones(2), "bomb": bomb},
        path,
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=zipped,
    )
    try:
        found = load_inert(path)
    except ModelError:  # protocol 4 has opcodes that are refused
        assert protocol == 4
    else:
        assert found["bomb"].arguments == (str(fuse),)
        assert module_tensors(found)["weight"].tolist() == [1, 1]
    assert not fuse.exists()
    torch.load(path, weights_only=False)
    assert fuse.exists()  # the bomb was live


def test_a_call_becomes_a_note_of_what_was_asked_for():
    assert stub(b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.") == Instance(
        ClassName("os", "system"), ("true",)
    )


def stub(pickled):
    return interpret(io.BytesIO(pickled))


@pytest.mark.parametrize(
    "pickled, reason",
    [
        (b"\x80\x02]]R.", "no class"),  # calls a list
        (b"\x80\x02]X\x01\x00\x00\x00a]s.", "no dict"),  # fills a list
        (b"\x80\x02}]a.", "no list"),  # lengthens a dict
        (b"\x80\x02}))s.", "names nor numbers"),  # a tuple as a key
        (b"\x80\x02(", "pickle exhausted"),
        (b"\x80\x02ccodecs\nencode\n\x82\x01.", "EXT1"),
        (b"\x80\x02K\x01ios\nsystem\n.", "INST"),
    ],
)
def test_pickles_that_pytorch_does_not_write_are_refused(pickled, reason):
    with pytest.raises((UnreadablePickleError, ValueError), match=reason):
        stub(pickled)


def test_a_memo_far_away_takes_no_memory():
    """The usual unpickler makes room for all places up to the one that is named: 32 GB here."""
    far = struct.pack("<I", 2**31)
    assert stub(b"\x80\x02K\x07r" + far + b"j" + far + b"\x86.") == (7, 7)


def test_many_tuples_within_one_another_are_survived():
    value = stub(b"\x80\x02)" + b"\x85" * 200_000 + b".")
    depth = 0
    while value:
        (value,) = value
        depth += 1
    assert depth == 200_000


def write_layout(path, offset, size, stride):
    """Save a tensor of four numbers and change what the file says of its layout."""
    file = io.BytesIO()
    torch.save({"x": torch.arange(4.0)}, file)

    def numbers(values):
        return b"".join(b"K" + bytes([n]) for n in values) + bytes([0x84 + len(values)])

    with zipfile.ZipFile(file) as saved, zipfile.ZipFile(path, "w") as archive:
        for info in saved.infolist():
            data = saved.read(info)
            if info.filename.endswith("data.pkl"):
                before, after = data.split(b"K\x00" + numbers((4,)))
                after = after.replace(numbers((1,)), numbers(stride), 1)
                data = before + b"K" + bytes([offset]) + numbers(size) + after
            archive.writestr(info.filename, data)


def test_layouts_are_followed(tmp_path):
    write_layout(tmp_path / "layout.pt", 1, (3, 1), (1, 5))
    assert load_inert(tmp_path / "layout.pt")["x"].tolist() == [[1.0], [2.0], [3.0]]


@pytest.mark.parametrize(
    "offset, size, stride",
    [(1, (4,), (1,)), (0, (2, 3), (2, 1)), (0, (200, 200), (0, 0)), (0, (2, 2), (1, 200))],
)
def test_tensors_that_reach_beyond_their_numbers_are_refused(tmp_path, offset, size, stride):
    write_layout(tmp_path / "layout.pt", offset, size, stride)
    with pytest.raises(ModelError, match="beyond its numbers"):
        load_inert(tmp_path / "layout.pt")


def test_compressed_archives_are_refused(tmp_path):
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02N." + bytes(10_000_000))
    with pytest.raises(ModelError, match="compressed"):
        load_inert(path)


def test_modules_that_hold_one_another_come_to_an_end():
    root = Instance(ClassName("a", "A"), ())
    root.state["_modules"] = {"left": root, "right": root}
    with pytest.raises(ModelError, match="modules within modules"):
        module_tensors(root)


@pytest.mark.parametrize(
    "data", [b"", b"text", b"PK\x03\x04 no archive", b"\x80\x02", b"\x80\x02."]
)
def test_other_files_are_named_and_refused(tmp_path, data):
    path = tmp_path / "file.pt"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"file\.pt cannot be read as a checkpoint"):
        load_inert(path)


def test_a_missing_file_is_named():
    with pytest.raises(ModelError, match=r"nowhere\.pt cannot be read"):
        load_inert(Path("nowhere.pt"))


def test_every_damaged_copy_is_refused_or_read(tmp_path):
    """No cut and no changed byte of a file leads to anything but a result or a ModelError."""
    file = io.BytesIO()
    torch.save(nn.Linear(2, 2), file, _use_new_zipfile_serialization=False)
    data = file.getvalue()
    path = tmp_path / "damaged.pt"
    n_read = n_refused = 0
    for at in range(0, len(data), 31):
        for damaged in (data[:at], data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]):
            path.write_bytes(damaged)
            try:
                module_tensors(load_inert(path))
                n_read += 1
            except ModelError:
                n_refused += 1
    assert n_read > 0  # a changed weight is still a weight
    assert n_refused > len(data) // 31  # and every cut one is refused
