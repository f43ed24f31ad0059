"""Files of ``torch.save``, whatever was saved: the tensors in them, and none of the code.

The pickle is read by ``inert_unpickler``; here are the files around it, of the zip format and of
the one before PyTorch 1.6, and the numbers of the tensors.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from amtcli.checkpoints.inert_unpickler import (
    Instance,
    TensorLayout,
    UnreadablePickleError,
    interpret,
)
from amtcli.errors import ModelError

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_PICKLE_START = b"\x80"
_MAX_PICKLE_BYTES = 1 << 24
_MAX_ENTRIES = 100_000
_MAX_NAME_LENGTH = 1000
_MAX_DIMENSIONS = 16
_WRAPPERS = ("DataParallel", "DistributedDataParallel")
_WRAPPED = "module."


def load_inert(path: Path) -> Any:
    """Read a file of ``torch.save``, whatever was saved, onto the CPU.

    Tensors, lists, dicts and plain values come out as they are, all else as ``Instance``.
    Raises ModelError when it is no such file.
    """
    try:
        file = io.BytesIO(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    is_zip = file.getvalue().startswith(b"PK\x03\x04")
    try:
        return _read_zip(file) if is_zip else _read_legacy(file)
    # What genops, struct, zipfile and operations on a pickle's stack raise on damaged files.
    except (
        UnreadablePickleError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        OverflowError,
        EOFError,
        struct.error,
        zipfile.BadZipFile,
        NotImplementedError,
    ) as error:
        reason = str(error) or type(error).__name__
        raise ModelError(f"{path} cannot be read as a checkpoint: {reason}") from error


def module_tensors(saved: Any) -> dict[str, Tensor]:
    """Name the tensors of a module that was read, or of a state_dict, as a state_dict does.

    Wrappers for several devices leave no trace in the names: neither modules of theirs nor a
    ``module.`` that all names of a state_dict begin with. What is neither gives none. Raises
    ModelError for modules that hold one another.
    """
    named = saved.items() if isinstance(saved, dict) else _named_tensors(saved)
    tensors = {str(name): tensor for name, tensor in named if isinstance(tensor, Tensor)}
    is_wrapped = all(name.startswith(_WRAPPED) for name in tensors)
    return {n.removeprefix(_WRAPPED): x for n, x in tensors.items()} if is_wrapped else tensors


def _read_zip(file: io.BytesIO) -> Any:
    with zipfile.ZipFile(file) as archive:
        members = {info.filename.partition("/")[2]: info for info in archive.infolist()}
        if "constants.pkl" in members:
            raise UnreadablePickleError("it is a TorchScript program, not a file of tensors")
        if any(info.compress_type != zipfile.ZIP_STORED for info in members.values()):
            raise UnreadablePickleError("it is compressed, which PyTorch's files are not")
        if sum(info.file_size for info in members.values()) > len(file.getvalue()):
            raise UnreadablePickleError("its parts overlap")
        if members["data.pkl"].file_size > _MAX_PICKLE_BYTES:
            raise UnreadablePickleError("its pickle is too large")
        if "byteorder" in members and archive.read(members["byteorder"]) != b"little":
            raise UnreadablePickleError("it was written on a big-endian machine")
        storages = {
            name.removeprefix("data/"): bytearray(archive.read(info))
            for name, info in members.items()
            if name.startswith("data/")
        }
        pickled = archive.read(members["data.pkl"])
    return interpret(io.BytesIO(pickled), partial(_tensor, storages))


def _read_legacy(file: io.BytesIO) -> Any:
    """Read five pickles (magic number, protocol, system, object, storage keys), then numbers."""
    if file.read(1) != _PICKLE_START:
        raise UnreadablePickleError("PyTorch did not save it")
    file.seek(0)
    if interpret(file) != _LEGACY_MAGIC:
        raise UnreadablePickleError("PyTorch did not save it")
    interpret(file)
    if not interpret(file)["little_endian"]:
        raise UnreadablePickleError("it was written on a big-endian machine")
    start = file.tell()
    dtypes: dict[str, torch.dtype] = {}
    # The numbers come last, so the object is read once to find them and once to be made.
    interpret(file, lambda layout: dtypes.setdefault(layout.storage.key, layout.storage.dtype))
    storages = {}
    for key in interpret(file):
        (n_elements,) = struct.unpack("<q", file.read(8))
        itemsize = dtypes[key].itemsize if key in dtypes else 0
        storages[key] = bytearray(file.read(max(n_elements, 0) * itemsize))
    file.seek(start)
    return interpret(file, partial(_tensor, storages))


def _named_tensors(root: Any) -> Iterator[tuple[str, Any]]:
    """Walk a module as ``state_dict`` does: its parameters, its buffers, the modules in it."""
    waiting = [("", root)]
    n_entries = 0
    while waiting:
        prefix, module = waiting.pop()
        if not isinstance(module, Instance):
            continue
        passing = _names_of_passing_buffers(module)
        tensors = _entries(module, "_parameters") + [
            (name, x) for name, x in _entries(module, "_buffers") if name not in passing
        ]
        modules = _entries(module, "_modules")
        n_entries += len(tensors) + len(modules)
        if n_entries > _MAX_ENTRIES or len(prefix) > _MAX_NAME_LENGTH:
            raise ModelError("a checkpoint with so many modules within modules is not read")
        yield from ((prefix + name, tensor) for name, tensor in tensors)
        if module.class_name.name in _WRAPPERS:
            waiting += [(prefix, child) for _, child in modules]
        else:
            waiting += [(f"{prefix}{name}.", child) for name, child in reversed(modules)]


def _names_of_passing_buffers(module: Instance) -> list[Any]:
    """Names in the set of the buffers that a module does not put into its state_dict."""
    names = module.state.get("_non_persistent_buffers_set")
    if isinstance(names, Instance) and isinstance(names.arguments, tuple) and names.arguments:
        return names.arguments[0] if isinstance(names.arguments[0], list) else []
    return []


def _entries(module: Instance, kind: str) -> list[tuple[str, Any]]:
    entries = module.state.get(kind)
    return [(str(n), x) for n, x in entries.items()] if isinstance(entries, dict) else []


def _tensor(storages: Mapping[str, bytearray], layout: TensorLayout) -> Tensor:
    """Make a tensor of a layout: a view of its storage that lies wholly within it."""
    storage, sizes, strides = layout.storage, layout.sizes, layout.strides
    if storage.key not in storages:
        raise UnreadablePickleError("the numbers of a tensor are missing")
    if len(sizes) > _MAX_DIMENSIONS:
        raise UnreadablePickleError("a tensor has too many dimensions")
    numbers = [layout.offset, *sizes, *strides]
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise UnreadablePickleError("the layout of a tensor is not one of whole numbers")
    data = storages[storage.key]
    n_stored = len(data) // storage.dtype.itemsize
    n_elements = math.prod(sizes)
    if not n_elements:
        return torch.zeros(0, dtype=storage.dtype)
    reach = sum((n - 1) * step for n, step in zip(sizes, strides, strict=True))
    if n_elements > n_stored or layout.offset + reach >= n_stored:
        raise UnreadablePickleError("a tensor reaches beyond its numbers")
    flat = torch.frombuffer(data, dtype=storage.dtype)
    return flat.as_strided(sizes, strides, layout.offset)
