"""Model folders: read, check, load and write them.

A model is a folder with ``model.toml``, ``weights.safetensors`` and, for its readers,
``README.md`` (the card). ``model.toml`` says everything that turns weights into notes: each of
its tables maps onto one frozen dataclass, every key is required, and an unknown key is an error.
Tensor names begin with ``front_end.`` or ``network.``, and are loaded strictly.

A model whose weights are published elsewhere has ``[weights]`` with ``checkpoint`` (a name in
``amtcli.checkpoints.ORIGINS``) and ``[[weights.sources]]`` in place of ``file`` and ``sha256``;
``amtcli.catalog`` turns it into a whole folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amtcli.errors import ModelError
from amtcli.files import write_atomically
from amtcli.sources import Source
from amtcli.tables import built, check_clocks, check_keys, from_table, read_toml, registered
from amtcli.windows import WindowConfig, WindowSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

    from amtcli.decoders import Decoder
    from amtcli.decoders.score_velocities import ScoreNotes, ScoreVelocityDecoder
    from amtcli.front_ends.front_end import FrontEnd
    from amtcli.networks.network import Network

FORMAT = 1
CONFIG_FILE = "model.toml"
WEIGHTS_FILE = "weights.safetensors"
CARD_FILE = "README.md"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class StoredWeights:
    """Weights that lie in the folder: ``dtype`` is that of the floating-point tensors."""

    file: str
    sha256: str
    dtype: str

    def __post_init__(self) -> None:
        if Path(self.file).name != self.file:
            raise ValueError(f"file must be a plain file name, not {self.file!r}")


@dataclass(frozen=True)
class PublishedWeights:
    """Weights that their authors publish: who reads their checkpoint, and where it may be."""

    checkpoint: str
    dtype: str
    sources: tuple[Source, ...]

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("sources must name at least one source")


@dataclass(frozen=True)
class Provenance:
    """Where a model comes from; what its authors did not publish is said in words."""

    name: str
    version: str
    description: str
    data: str
    protocol: str
    seed: int | str
    steps: int | str
    scores: dict[str, float]
    licence: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"name may hold letters, digits, '.', '_' and '-', not {self.name!r}")


@dataclass(frozen=True)
class Precision:
    """What ``--precision auto`` may take: only what was measured to cost nothing."""

    auto_bf16: bool
    auto_int8: bool


@dataclass(frozen=True)
class ModelConfig:
    """The whole of ``model.toml``.

    ``network``, ``front_end`` and ``decoder`` stay tables here, because their dataclasses live
    beside code that imports torch; ``load_model`` checks their keys.
    """

    format: int
    network: dict[str, Any]
    front_end: dict[str, Any]
    window: WindowConfig
    decoder: dict[str, Any]
    precision: Precision
    weights: StoredWeights | PublishedWeights
    provenance: Provenance

    @property
    def model_id(self) -> str:
        """Name and version, as written into results."""
        return f"{self.provenance.name} {self.provenance.version}"


@dataclass(frozen=True)
class Model:
    """A loaded model: its modules are on the CPU, in evaluation mode."""

    config: ModelConfig
    folder: Path
    front_end: FrontEnd
    network: Network

    @property
    def model_id(self) -> str:
        """Name and version, as written into results."""
        return self.config.model_id

    def new_decoder(self, window: WindowSpec) -> Decoder:
        """Make a decoder for one recording that is cut by ``window``."""
        config, decoder_class = _decoder_parts(self.config, self.folder / CONFIG_FILE)
        decoder: Decoder = decoder_class(config, window)
        return decoder

    def new_velocity_decoder(self, window: WindowSpec, score: ScoreNotes) -> ScoreVelocityDecoder:
        """Make what reads the velocities of a recording's score; for velocity models only."""
        config, decoder_class = _decoder_parts(self.config, self.folder / CONFIG_FILE)
        decoder: ScoreVelocityDecoder = decoder_class(config, window, score)
        return decoder


def read_config(folder: Path) -> ModelConfig:
    """Read and check ``model.toml`` without importing torch.

    Raises ModelError that names the key, the table and the file.
    """
    path = folder / CONFIG_FILE
    tables = read_toml(path)
    if tables.get("format", FORMAT) != FORMAT:
        raise ModelError(f"{path}: format is {tables['format']!r}, this amt reads {FORMAT}")
    check_keys(tables, [field.name for field in dataclasses.fields(ModelConfig)], "", path)
    for name, table in tables.items():
        if name != "format" and not isinstance(table, dict):
            raise ModelError(f"{path}: {name!r} must be a table")
    return ModelConfig(
        format=FORMAT,
        network=tables["network"],
        front_end=tables["front_end"],
        window=from_table(WindowConfig, tables["window"], "window", path),
        decoder=tables["decoder"],
        precision=from_table(Precision, tables["precision"], "precision", path),
        weights=_read_weights(tables["weights"], path),
        provenance=from_table(Provenance, tables["provenance"], "provenance", path),
    )


def load_model(folder: Path) -> Model:
    """Build front-end and network as ``model.toml`` says and load the weights, strictly.

    Raises ModelError when the folder is not a whole, undamaged model.
    """
    config = read_config(folder)
    model = _build(config, folder, "cpu")
    tensors = _read_tensors(folder, config)
    problems = misfits(model, tensors)
    if problems:
        raise ModelError(f"{folder / WEIGHTS_FILE} does not fit its {CONFIG_FILE}: {problems}")
    for part, module in _modules(model).items():
        module.load_state_dict(
            {name: tensors[f"{part}.{name}"] for name in module.state_dict()}, strict=True
        )
        module.eval()
    return model


def outline_model(config: ModelConfig, folder: Path) -> Model:
    """Build a model whose network has shapes but neither weights nor memory for them.

    Nothing in ``folder`` is read; it is what messages name. Raises ModelError for settings that
    cannot be built.
    """
    return _build(config, folder, "meta")


def misfits(model: Model, tensors: Mapping[str, Tensor]) -> str:
    """Say in a few words where tensors are not those that a model needs; "" where they are."""
    expected = {
        f"{part}.{name}": tuple(tensor.shape)
        for part, module in _modules(model).items()
        for name, tensor in module.state_dict().items()
    }
    wrong = [f"{name} is missing" for name in expected.keys() - tensors.keys()]
    wrong += [f"{name} is unexpected" for name in tensors.keys() - expected.keys()]
    wrong += [
        f"{name} is {tuple(tensors[name].shape)}, not {expected[name]}"
        for name in expected.keys() & tensors.keys()
        if tuple(tensors[name].shape) != expected[name]
    ]
    more = f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""
    return ", ".join(sorted(wrong)[:4]) + more


def write_model(
    folder: Path, config: ModelConfig, tensors: Mapping[str, Tensor], card: str | None = None
) -> None:
    """Write a model folder, whole or not at all, in place of the model that may be there.

    ``tensors`` are named ``front_end.…`` and ``network.…``. The ``[weights]`` table is made anew
    for them, keeping only its ``dtype``. Raises ModelError when that is not theirs, or when the
    folder cannot be written or holds other things than a model.
    """
    from safetensors.torch import save

    _check_dtype(tensors, config.weights.dtype, folder / WEIGHTS_FILE)
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


def read_weights(folder: Path, config: ModelConfig) -> bytes:
    """Read the weights file and check its sha256.

    Raises ModelError when there is none, when it cannot be read, or when it is damaged.
    """
    weights, name = config.weights, config.provenance.name
    if isinstance(weights, PublishedWeights):
        raise ModelError(
            f"{folder} holds no weights: use the model by its name ({name}), or a copy of the "
            f"folder that `amt models path {name}` prints"
        )
    path = folder / weights.file
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != weights.sha256:
        raise ModelError(
            f"{path} is damaged: its sha256 is not the one in {CONFIG_FILE}; copy the model "
            f"again, or run `amt models pull {name} --force` if it was pulled"
        )
    return data


def _read_weights(table: dict[str, Any], path: Path) -> StoredWeights | PublishedWeights:
    if "sources" in table:
        return from_table(PublishedWeights, table, "weights", path)
    return from_table(StoredWeights, table, "weights", path)


def check_decoder(decoder: dict[str, Any], window: WindowConfig, path: Path) -> None:
    """Raise ModelError for a ``[decoder]`` that there is not, or that ``[window]`` does not fit."""
    from amtcli.decoders import DECODERS
    from amtcli.decoders.score_velocities import ScoreVelocityDecoder, score_notes
    from amtcli.notes import Performance

    config, decoder_class = registered(DECODERS, decoder, "decoder", path)
    score = (score_notes(Performance()),) if decoder_class is ScoreVelocityDecoder else ()
    for fast in (False, True):
        try:
            decoder_class(config, window.spec(fast=fast), *score)
        except ValueError as error:
            raise ModelError(f"{path}: [window] does not fit [decoder]: {error}") from error


def _decoder_parts(config: ModelConfig, path: Path) -> tuple[Any, Any]:
    from amtcli.decoders import DECODERS

    return registered(DECODERS, config.decoder, "decoder", path)


def _read_tensors(folder: Path, config: ModelConfig) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    data = read_weights(folder, config)  # one reading: what was hashed is what is loaded
    path = folder / WEIGHTS_FILE
    try:
        tensors = load(data)
    except SafetensorError as error:
        raise ModelError(f"{path} is not a safetensors file: {error}") from error
    _check_dtype(tensors, config.weights.dtype, path)
    return tensors


def _check_dtype(tensors: Mapping[str, Tensor], dtype: str, path: Path) -> None:
    for name, tensor in tensors.items():
        found = str(tensor.dtype).removeprefix("torch.")
        if tensor.is_floating_point() and found != dtype:
            raise ModelError(f"{path}: tensor {name} is {found}, [weights] says {dtype}")


def _build(config: ModelConfig, folder: Path, network_device: str) -> Model:
    import torch

    from amtcli.front_ends import FRONT_ENDS
    from amtcli.networks import ARCHITECTURES

    path = folder / CONFIG_FILE
    # Refused now, not after the first window has been computed.
    check_decoder(config.decoder, config.window, path)
    check_clocks({"front_end": config.front_end, "decoder": config.decoder}, path)
    front_end_config, front_end = registered(FRONT_ENDS, config.front_end, "front_end", path)
    network_config, network = registered(ARCHITECTURES, config.network, "network", path)
    with torch.device(network_device):
        listening = built(network, network_config, "network", path)
    return Model(config, folder, built(front_end, front_end_config, "front_end", path), listening)


def _modules(model: Model) -> dict[str, nn.Module]:
    """Front-end and network by the names that their tensors begin with."""
    return {"front_end": model.front_end, "network": model.network}


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
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    try:
        temporary.mkdir(parents=True)
        for name, data in files.items():
            with (temporary / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        _put_in_place(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _put_in_place(temporary: Path, folder: Path) -> None:
    """Rename ``temporary`` to ``folder``; of several processes that do so at once, one wins."""
    retired = temporary.with_name(f"{temporary.name}.old")
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
