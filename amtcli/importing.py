"""Published checkpoints to model folders in the user's data folder.

A checkpoint is recognised by the names of its tensors, whatever it is called. What it does not
hold is taken from what its origin's program does: front-end, windows, decoder.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from amtcli.catalog import data_folder, shipped_folder
from amtcli.checkpoints import ORIGINS
from amtcli.checkpoints.origin import Origin, Settings
from amtcli.checkpoints.pickled_module import load_inert
from amtcli.errors import ModelError, UsageError
from amtcli.files import sha256_of
from amtcli.model_config import WEIGHTS_FILE, ModelConfig, Precision, Provenance, StoredWeights
from amtcli.model_folder import misfits, outline_model
from amtcli.model_writing import write_model

_N_NAMED = 4
_CARD_WIDTH = 100
_DTYPE = "float32"
_UNSTATED = "not stated in the checkpoint"
_SETTINGS = "Front-end, window and decoder in `model.toml` are those of the authors' programs."


@dataclass(frozen=True)
class Imported:
    """A checkpoint that has become a model; ``title`` is that of its origin."""

    name: str
    title: str
    folder: Path


@dataclass(frozen=True)
class _Checkpoint:
    """What there is to be said of a checkpoint's file in a model's card."""

    file_name: str
    n_bytes: int
    sha256: str
    origin: Origin
    options: Mapping[str, int]


def import_checkpoint(
    path: Path, name: str | None = None, options: Mapping[str, int] | None = None
) -> Imported:
    """Make a model of a checkpoint that its authors' program saved; nothing in it is executed.

    ``name`` is that of the model, by default that of its origin; ``options`` says what
    checkpoints of some origins do not state (see ``Origin.options``). Raises ModelError for
    files that are not recognised or cannot be read, UsageError for a name that is taken and for
    options that the origin does not have.
    """
    if name is not None:
        _check_name(name)
    saved = load_inert(path)
    key, origin, found = _recognised(saved, path)
    name = name or key.replace("_", "-")
    _check_name(name)
    options = _all_options(origin, options or {})
    found = {n: _as_float32(x) for n, x in found.items()}
    try:
        tensors = {n: _as_float32(x) for n, x in origin.convert(found, path).items()}
        settings = origin.describe(tensors, saved, options)
    except (IndexError, ValueError, TypeError, RuntimeError) as error:
        raise ModelError(f"{path} is {origin.title}, but of impossible sizes: {error}") from error
    checkpoint = _Checkpoint(path.name, path.stat().st_size, sha256_of(path), origin, options)
    config = _config(name, checkpoint, settings)
    folder = data_folder() / name
    outline = outline_model(config, folder)
    if problems := misfits(outline, tensors):
        raise ModelError(f"{path} is {origin.title}, but its tensors do not fit: {problems}")
    modules = (outline.front_end, outline.network)
    n_parameters = sum(p.numel() for module in modules for p in module.parameters())
    write_model(folder, config, tensors, card=_card(name, checkpoint, n_parameters))
    return Imported(name, origin.title, folder)


def _check_name(name: str) -> None:
    """Refuse a name that cannot be one, and one that stands for a model already."""
    try:
        _provenance(name, version="", origin=None)
    except ValueError as error:
        raise UsageError(f"a model cannot be called that: {error}") from error
    for folder in (shipped_folder(), data_folder()):
        if (folder / name).exists():
            raise UsageError(
                f"there is a model {name} already, in {folder / name}: choose another name "
                "with --as, or remove that folder"
            )


def _recognised(saved: Any, path: Path) -> tuple[str, Origin, Mapping[str, Tensor]]:
    """Return the origin whose tensors these are, and them; else say which comes nearest."""
    likeness: dict[str, float] = {}
    for key, origin in ORIGINS.items():
        found = origin.find(saved)
        likeness[key] = origin.expected(found).likeness(found)
        if likeness[key] == 1:
            return key, origin, found
    nearest = max(likeness, key=lambda key: likeness[key])
    if not likeness[nearest]:
        known = "; ".join(origin.title for origin in ORIGINS.values())
        raise ModelError(f"{path} holds no tensors of any network that is known: {known}")
    raise ModelError(_difference(ORIGINS[nearest], saved, path))


def _difference(origin: Origin, saved: Any, path: Path) -> str:
    """Say in a few lines what keeps a checkpoint from being one of ``origin``."""
    found = origin.find(saved)
    expected = origin.expected(found)
    missing, unexpected = expected.missing(found), expected.unexpected(found)
    n_there = len(expected.needed) - len(missing)
    lines = [
        f"{path} is not recognised; nearest is {origin.title}, of whose "
        f"{len(expected.needed)} tensors it holds {n_there}"
    ]
    lines += [f"  missing: {name}" for name in missing[:_N_NAMED]]
    lines += [f"  unexpected: {name}" for name in unexpected[: _N_NAMED - len(missing[:_N_NAMED])]]
    n_more = len(missing) + len(unexpected) - len(lines) + 1
    return "\n".join(lines + [f"  and {n_more} more"] * (n_more > 0))


def _all_options(origin: Origin, options: Mapping[str, int]) -> dict[str, int]:
    for key in options.keys() - origin.options.keys():
        flag = f"--{key.replace('_', '-')}"
        raise UsageError(f"{flag} has no meaning here: this is a checkpoint of {origin.title}")
    return {**origin.options, **options}


def _as_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _config(name: str, checkpoint: _Checkpoint, settings: Settings) -> ModelConfig:
    tables = settings.tables()
    return ModelConfig(
        format=1,
        network=tables["network"],
        front_end=tables["front_end"],
        window=settings.window,
        decoder=tables["decoder"],
        precision=Precision(auto_bf16=False, auto_int8=False),
        weights=StoredWeights(WEIGHTS_FILE, "", _DTYPE),
        provenance=_provenance(name, checkpoint.sha256[:8], checkpoint.origin),
    )


def _provenance(name: str, version: str, origin: Origin | None) -> Provenance:
    return Provenance(
        name=name,
        version=version,
        description=f"Imported checkpoint of {origin.title}" if origin else "",
        data=_UNSTATED,
        protocol=_UNSTATED,
        seed=_UNSTATED,
        steps=_UNSTATED,
        scores={},
        licence=_UNSTATED,
    )


def _card(name: str, checkpoint: _Checkpoint, n_parameters: int) -> str:
    """Say for readers what the model is and where it comes from."""
    origin = checkpoint.origin
    file_name = checkpoint.file_name.encode("utf-8", "replace").decode().replace("|", "?")
    stated = "".join(f"\n- `{key}` = {value}" for key, value in checkpoint.options.items())
    unstated = f"\nThe file does not state these, so they were given or assumed:\n{stated}\n"
    return f"""# {name}

Imported from a checkpoint of {origin.title}.

| | |
|---|---|
| File | `{file_name}`, {checkpoint.n_bytes:,} bytes |
| SHA-256 | `{checkpoint.sha256}` |
| Published at | {origin.home} |
| Size | {n_parameters:,} parameters, {_DTYPE} |
| Version | the first eight digits of the SHA-256 |

## Settings

{_wrapped(f"{_SETTINGS} {origin.departure}".rstrip())}
{unstated if stated else ""}
## Windows

{_wrapped(f"{origin.hears} `model.toml` fixes the window.")}

## Training

The file does not say what these weights were trained on. The authors trained theirs on
{_wrapped(origin.trained)}.

## Licence

The file states none. Ask where it was published; a licence of the program may not cover weights.
"""


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _CARD_WIDTH)
