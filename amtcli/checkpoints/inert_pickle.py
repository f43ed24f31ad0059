"""Checkpoints that hold whole pickled modules, read without running anything of theirs.

``torch.save(model)`` stores classes by name, and unpickling imports and calls what is named.
Here only the few callables that build tensors are let through; every other name becomes an
inert stub that keeps what it is given, so that the tensors of a module can be collected by name.
"""

from __future__ import annotations

import collections
import pickle
import types
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from amtcli.errors import ModelError

# What may be called while a checkpoint is read. All of it makes containers and tensors.
_HARMLESS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor"): torch._utils._rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch", "Size"): torch.Size,
}


class _Inert:
    """Stands for an object of any other class, and for the class itself; does nothing."""

    dump_patches = False  # torch asks for it in files that carry the source of their classes

    def __new__(cls, *_: Any, **__: Any) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *_: Any, **__: Any) -> _Inert:
        return self

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update({k: v for k, v in state.items() if isinstance(k, str)})

    def __setitem__(self, _: Any, __: Any) -> None:
        pass

    def append(self, _: Any) -> None:
        """Take an item of what was pickled as a list."""

    def extend(self, _: Any) -> None:
        """Take items of what was pickled as a list."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _HARMLESS.get((module, name), _Inert)


def _load(file: Any, **options: Any) -> Any:
    return _Unpickler(file, **options).load()


# What torch.load asks of a pickle module.
_INERT_PICKLE = types.ModuleType("inert_pickle")
vars(_INERT_PICKLE).update(Unpickler=_Unpickler, load=_load)


def load_inert(path: Path) -> Any:
    """Read a file of ``torch.save``, whatever was saved, onto the CPU.

    Tensors, containers and plain values come out as they are, all else as stubs. Raises
    ModelError when it is no such file.
    """
    try:
        if _is_program(path):
            raise ModelError(f"{path} is a TorchScript program, not a checkpoint of tensors")
        with warnings.catch_warnings():
            # Old files carry the source of their classes; torch finds that stubs differ.
            warnings.simplefilter("ignore")
            return torch.load(
                path, map_location="cpu", pickle_module=_INERT_PICKLE, weights_only=False
            )
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    except (
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        RuntimeError,
        EOFError,
        LookupError,
        AttributeError,
        TypeError,
        ValueError,
    ) as error:
        raise ModelError(f"{path} is not a checkpoint that PyTorch saved") from error


def _is_program(path: Path) -> bool:
    """Tell TorchScript archives, which torch would start as programs, by their constants."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def module_tensors(module: Any) -> dict[str, Tensor]:
    """Collect the parameters and buffers of a module that was read, named as its state dict's.

    Wrappers for several devices (``module.``) leave no trace in the names. A dictionary of
    tensors is taken for a state dict. Anything else gives none.
    """
    named = module.items() if isinstance(module, Mapping) else _tensors(module, "")
    return {
        ".".join(part for part in str(name).split(".") if part != "module"): tensor.detach()
        for name, tensor in named
        if isinstance(tensor, Tensor)
    }


def _tensors(module: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    kept = vars(module) if isinstance(module, _Inert) else {}
    for group in ("_parameters", "_buffers"):
        for name, tensor in (kept.get(group) or {}).items():
            if isinstance(tensor, Tensor):
                yield prefix + name, tensor
    for name, child in (kept.get("_modules") or {}).items():
        yield from _tensors(child, f"{prefix}{name}.")
