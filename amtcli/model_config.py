"""``model.toml``: all that turns a model's weights into notes, as frozen dataclasses.

Each table maps onto one of them, every key is required, and an unknown key is an error. A model
whose weights are published elsewhere has ``[weights]`` with ``checkpoint`` (a name in
``amtcli.checkpoints.ORIGINS``) and ``[[weights.sources]]`` in place of ``file`` and ``sha256``;
``amtcli.catalog`` turns it into a whole folder.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amtcli.errors import ModelError
from amtcli.sources import Source
from amtcli.tables import check_keys, from_table, read_toml
from amtcli.windows import WindowConfig

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


def _read_weights(table: dict[str, Any], path: Path) -> StoredWeights | PublishedWeights:
    if "sources" in table:
        return from_table(PublishedWeights, table, "weights", path)
    return from_table(StoredWeights, table, "weights", path)
