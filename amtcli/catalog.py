"""Model names to folders: shipped, pulled from where authors publish, or put there by users.

Shipped models lie in ``models`` beside this file in a wheel, and in the repository's ``models``
otherwise. All others lie in one data folder: the platform's own, or ``AMT_MODEL_DIR``.
``AMT_OFFLINE=1`` forbids every connection.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from amtcli.claims import Claims
from amtcli.errors import AmtError, ModelError
from amtcli.model_config import (
    CARD_FILE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    ModelConfig,
    PublishedWeights,
    StoredWeights,
    read_config,
)
from amtcli.model_folder import read_weights
from amtcli.model_writing import rewrite_config, write_model
from amtcli.sources import DistributionSource, ProgressCallback, fetch

if TYPE_CHECKING:
    from torch import Tensor

ACCURATE_MODEL = "transkun-v2"
SHIPPED_MODEL = "swift"
LIVE_MODEL = "swift-live"
VELOCITY_MODEL = "velocity-swift"

State = Literal["shipped", "pulled", "imported", "available", "damaged"]


@dataclass(frozen=True)
class CatalogEntry:
    """One model that a name stands for.

    ``size_bytes`` is what it takes on disk or, while it is only available, what a pull
    downloads. ``source`` says where its weights come from, and ``sha256`` is that of the weights
    file there.
    """

    name: str
    version: str
    state: State
    folder: Path | None
    size_bytes: int
    description: str
    source: str
    sha256: str
    licence: str


def data_folder() -> Path:
    """Return the folder of pulled and imported models; it need not exist."""
    if override := os.environ.get("AMT_MODEL_DIR"):
        return _at_home(override)
    import platformdirs

    return platformdirs.user_data_path("amt", appauthor=False) / "models"


def _at_home(path: str) -> Path:
    """Replace a ~ in front; that of a user who is not known stays."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises for such


def shipped_folder() -> Path:
    """Return the folder of the models that come with the program."""
    package = Path(__file__).resolve().parent
    in_wheel = package / "models"
    return in_wheel if in_wheel.is_dir() else package.parent / "models"


def list_models() -> list[CatalogEntry]:
    """List all models by name, without importing torch or reading weights."""
    return [_entry(name) for name in _names()]


def default_model() -> str:
    """Name the model to transcribe with where the user names none; nothing is pulled for it.

    It is the accurate one if that has been pulled, otherwise the one that ships.
    """
    return ACCURATE_MODEL if _entry(ACCURATE_MODEL).state == "pulled" else SHIPPED_MODEL


def locate(name_or_path: str) -> Path:
    """Return the folder whose ``model.toml`` describes a model, fetching nothing.

    It holds the weights too, unless the model is shipped without them and not pulled yet. A
    folder with ``model.toml`` is itself; anything else is a name. Raises ModelError for what is
    neither.
    """
    path = _at_home(name_or_path)
    if _holds_model(path) and not _is_shipped(path):
        return path
    name = path.resolve().name if _holds_model(path) else name_or_path
    if name not in _names():
        raise _unknown(name_or_path)
    shipped, pulled = shipped_folder() / name, data_folder() / name
    if not _holds_model(shipped):
        return pulled
    config = read_config(shipped)
    return _refreshed(pulled, config, shipped) or shipped


def resolve(
    name_or_path: str,
    *,
    offline: bool = False,
    on_progress: ProgressCallback | None = None,
) -> Path:
    """Return the folder of a model with its weights, pulling it first where that is needed.

    Raises ModelError for what is neither a model's folder nor its name, and when its weights
    cannot be fetched.
    """
    folder = locate(name_or_path)
    if _is_shipped(folder) and isinstance(read_config(folder).weights, PublishedWeights):
        return pull(folder.name, offline=offline, on_progress=on_progress)
    return folder


def pull(
    name: str,
    *,
    force: bool = False,
    offline: bool = False,
    on_progress: ProgressCallback | None = None,
) -> Path:
    """Fetch the weights of a shipped model and return the folder that then holds them.

    Does nothing when they are there and intact, unless ``force``. The folder appears whole or
    not at all; several processes may pull at once. Raises ModelError.
    """
    shipped, target = shipped_folder() / name, data_folder() / name
    if name not in _names():
        raise _unknown(name)
    if not _holds_model(shipped):
        raise ModelError(f"{name} was not pulled from anywhere: it only lies in {target}")
    config = read_config(shipped)
    if not isinstance(config.weights, PublishedWeights):
        return shipped
    if not force and _is_usable(target, config, shipped):
        return target
    claims = Claims()
    claims.take([target], wait=True)  # one process pulls, the others find it done
    try:
        if force or not _is_usable(target, config, shipped):
            tensors = _fetch_tensors(name, config.weights, offline, on_progress)
            write_model(target, config, tensors, card=_card(shipped))
    finally:
        claims.release_all()
    return target


def _fetch_tensors(
    name: str, weights: PublishedWeights, offline: bool, on_progress: ProgressCallback | None
) -> dict[str, Tensor]:
    from amtcli.checkpoints import ORIGINS

    offline = offline or os.environ.get("AMT_OFFLINE", "") not in ("", "0")
    with tempfile.TemporaryDirectory(prefix="amt-") as downloads:
        try:
            checkpoint = fetch(
                weights.sources, Path(downloads), offline=offline, on_progress=on_progress
            )
        except ModelError as error:
            raise _unreachable(name, offline, error) from error
        return ORIGINS[weights.checkpoint].read(checkpoint)


def _names() -> list[str]:
    """Names of all models, shipped or in the data folder."""
    names = set()
    for folder in (shipped_folder(), data_folder()):
        with contextlib.suppress(OSError):  # not there, or not for us to read
            names |= {entry.name for entry in folder.iterdir() if _holds_model(entry)}
    return sorted(name for name in names if not name.startswith("."))


def _holds_model(folder: Path) -> bool:
    try:
        return (folder / CONFIG_FILE).is_file()
    except OSError:  # a name that is too long for a path, or a folder that may not be read
        return False


def _is_shipped(folder: Path) -> bool:
    return folder.resolve().parent == shipped_folder().resolve()


def _refreshed(folder: Path, config: ModelConfig, shipped: Path) -> Path | None:
    """Return the pulled folder of a shipped model, its settings brought up to date.

    None when it is not there, or holds the weights of another version of the model.
    """
    pulled = _read_pulled(folder, config)
    if pulled is None:
        return None
    current = dataclasses.replace(config, weights=pulled.weights)
    if pulled != current:
        try:
            rewrite_config(folder, current, card=_card(shipped))
        except AmtError:  # it may be shared, and others' to write
            if (pulled.window, pulled.decoder) != (current.window, current.decoder):
                raise
    return folder


def _read_pulled(folder: Path, config: ModelConfig) -> ModelConfig | None:
    """Read the configuration of a pulled folder if its weights are those that ``config`` needs.

    A version stands for its weights, and the tables of network and front-end for the names and
    shapes of its tensors; all else may change without pulling anew.
    """
    if not _holds_model(folder):
        return None
    try:
        pulled = read_config(folder)
    except ModelError:  # written by another version of this program, or broken by hand
        return None
    same = (
        isinstance(pulled.weights, StoredWeights)
        and pulled.model_id == config.model_id
        and pulled.network == config.network
        and pulled.front_end == config.front_end
    )
    return pulled if same else None


def _is_usable(folder: Path, config: ModelConfig, shipped: Path) -> bool:
    """Tell whether a pulled folder is there, up to date and intact."""
    if _refreshed(folder, config, shipped) is None:
        return False
    try:
        read_weights(folder, read_config(folder))
    except ModelError:
        return False
    return True


def _card(folder: Path) -> str | None:
    card = folder / CARD_FILE
    return card.read_text(encoding="utf-8") if card.is_file() else None


def _entry(name: str) -> CatalogEntry:
    shipped, other = shipped_folder() / name, data_folder() / name
    folder = shipped if _holds_model(shipped) else other
    try:
        config = read_config(folder)
    except ModelError as error:
        return CatalogEntry(name, "", "damaged", folder, 0, str(error), "", "", "")
    provenance = config.provenance
    entry = CatalogEntry(
        name=name,
        version=provenance.version,
        state="shipped" if folder == shipped else "imported",
        folder=folder,
        size_bytes=0,
        description=provenance.description,
        source=str(folder),
        sha256="",
        licence=provenance.licence,
    )
    if isinstance(config.weights, StoredWeights):
        return _with_weights(entry, folder, config.weights)
    entry = _as_available(entry, config.weights)
    pulled = _read_pulled(other, config)
    if pulled is None or not isinstance(pulled.weights, StoredWeights):
        return entry
    return _with_weights(dataclasses.replace(entry, state="pulled"), other, pulled.weights)


def _as_available(entry: CatalogEntry, weights: PublishedWeights) -> CatalogEntry:
    downloads = [source for source in weights.sources if not isinstance(source, DistributionSource)]
    return dataclasses.replace(
        entry,
        state="available",
        folder=None,
        size_bytes=downloads[0].size_bytes if downloads else 0,
        source="; ".join(map(str, weights.sources)),
        sha256=weights.sources[0].sha256,
    )


def _with_weights(entry: CatalogEntry, folder: Path, weights: StoredWeights) -> CatalogEntry:
    path = folder / weights.file
    state = entry.state if path.is_file() else "damaged"
    size_bytes = path.stat().st_size if path.is_file() else 0
    return dataclasses.replace(
        entry, state=state, folder=folder, size_bytes=size_bytes, sha256=weights.sha256
    )


def _unknown(name_or_path: str) -> ModelError:
    """Say what a word that is neither a model's name nor its folder may have been meant for."""
    path = _at_home(name_or_path)
    names = _names()
    known = f"known models: {', '.join(names) or 'none'}"
    if os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises for names that are too long
        return ModelError(
            f"{path} is a file; a model is a folder with {CONFIG_FILE} and {WEIGHTS_FILE}, which "
            f"`amt models import` makes of a checkpoint; {known}"
        )
    if os.path.isdir(path):  # noqa: PTH112
        return ModelError(f"{path} is no model: it has no {CONFIG_FILE}; {known}")
    near = difflib.get_close_matches(name_or_path, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return ModelError(f"there is no model {name_or_path!r}; {hint}{known}")


def _unreachable(name: str, offline: bool, reasons: ModelError) -> ModelError:
    target = data_folder() / name
    if offline:
        return ModelError(
            f"{name} is not here yet and cannot be pulled offline: run `amt models pull {name}` "
            f"while connected, or copy {target} from another machine ({reasons})"
        )
    return ModelError(
        f"the weights of {name} could not be fetched: {reasons}; check the connection and the "
        f"settings of pip, or copy {target} from another machine"
    )
