"""Writing model folders: a whole model takes the place of the one before it, or nothing does."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from amtcli.errors import ModelError
from amtcli.files import remove_stale_temporaries, temporary_beside, write_atomically
from amtcli.model_config import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE, ModelConfig, StoredWeights
from amtcli.model_folder import check_dtype

if TYPE_CHECKING:
    from torch import Tensor


def write_model(
    folder: Path, config: ModelConfig, tensors: Mapping[str, Tensor], card: str | None = None
) -> None:
    """Write a model folder, whole or not at all, in place of the model that may be there.

    ``tensors`` are named ``front_end.…`` and ``network.…``. The ``[weights]`` table is made anew
    for them, keeping only its ``dtype``. Raises ModelError when that is not theirs, or when the
    folder cannot be written or holds other things than a model.
    """
    from safetensors.torch import save

    check_dtype(tensors, config.weights.dtype, folder / WEIGHTS_FILE)
    data = save({name: _own_copy(tensor) for name, tensor in tensors.items()})
    weights = StoredWeights(WEIGHTS_FILE, hashlib.sha256(data).hexdigest(), config.weights.dtype)
    files = {
        CONFIG_FILE: _to_toml(dataclasses.replace(config, weights=weights)),
        WEIGHTS_FILE: data,
    }
    if card is not None:
        files[CARD_FILE] = card.encode()
    try:
        _replace_folder(folder, files)
    except OSError as error:
        raise ModelError(f"{folder} cannot be written: {error.strerror}") from error


def rewrite_config(folder: Path, config: ModelConfig, card: str | None = None) -> None:
    """Replace ``model.toml`` and the card of a folder whose weights stay as they are."""
    if card is not None:
        write_atomically(folder / CARD_FILE, card.encode())
    write_atomically(folder / CONFIG_FILE, _to_toml(config))


def _own_copy(tensor: Tensor) -> Tensor:
    """Copy a tensor that may share its memory with others, or lie in it out of order."""
    import torch

    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _to_toml(config: ModelConfig) -> bytes:
    import tomli_w

    return tomli_w.dumps(dataclasses.asdict(config)).encode()


def _replace_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files into a new folder, then put it where ``folder`` is or shall be."""
    _refuse_other_contents(folder)
    temporary = temporary_beside(folder)
    try:
        temporary.mkdir(parents=True)
        for name, data in files.items():
            with (temporary / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        _put_in_place(temporary, folder)
        remove_stale_temporaries(folder)  # now: one of them may be all that was left of the model
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _put_in_place(temporary: Path, folder: Path) -> None:
    """Rename ``temporary`` to ``folder``; of several processes that do so at once, one wins."""
    retired = temporary_beside(folder)
    with contextlib.suppress(FileNotFoundError):  # nothing there, or just retired by another
        folder.rename(retired)
    try:
        temporary.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # no other model took the place
            if retired.exists():
                retired.rename(folder)
            raise
    finally:
        shutil.rmtree(retired, ignore_errors=True)


# What file managers leave where they have looked.
_LITTER = {".DS_Store", "Thumbs.db", "desktop.ini"}


def _refuse_other_contents(folder: Path) -> None:
    """Refuse a folder that holds anything but a model: what is replaced is removed."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 - at once: another process may replace it
    except FileNotFoundError:
        return
    others = sorted(set(names) - {CONFIG_FILE, WEIGHTS_FILE, CARD_FILE} - _LITTER)
    if others:
        raise ModelError(f"{folder} holds {others[0]!r}, which is no part of a model; nothing done")
