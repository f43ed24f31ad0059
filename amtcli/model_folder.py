"""Model folders: load and check them.

A model is a folder with ``model.toml`` (see `amtcli.model_config`), ``weights.safetensors`` and,
for its readers, ``README.md`` (the card). Tensor names begin with ``front_end.`` or ``network.``,
and are loaded strictly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amtcli.errors import ModelError
from amtcli.model_config import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    ModelConfig,
    PublishedWeights,
    read_config,
)
from amtcli.tables import built, check_clocks, registered
from amtcli.windows import WindowConfig, WindowSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

    from amtcli.decoders import Decoder
    from amtcli.decoders.score_velocities import ScoreNotes, ScoreVelocityDecoder
    from amtcli.front_ends.front_end import FrontEnd
    from amtcli.networks.network import Network


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
        config, decoder_class = _decoder_parts(self.config.decoder, self.folder / CONFIG_FILE)
        decoder: Decoder = decoder_class(config, window)
        return decoder

    def new_velocity_decoder(self, window: WindowSpec, score: ScoreNotes) -> ScoreVelocityDecoder:
        """Make what reads the velocities of a recording's score; for velocity models only."""
        config, decoder_class = _decoder_parts(self.config.decoder, self.folder / CONFIG_FILE)
        decoder: ScoreVelocityDecoder = decoder_class(config, window, score)
        return decoder


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


def check_decoder(decoder: dict[str, Any], window: WindowConfig, path: Path) -> None:
    """Raise ModelError for a ``[decoder]`` that there is not, or that ``[window]`` does not fit."""
    from amtcli.decoders.score_velocities import ScoreVelocityDecoder, score_notes
    from amtcli.notes import Performance

    config, decoder_class = _decoder_parts(decoder, path)
    score = (score_notes(Performance()),) if decoder_class is ScoreVelocityDecoder else ()
    for fast in (False, True):
        try:
            decoder_class(config, window.spec(fast=fast), *score)
        except ValueError as error:
            raise ModelError(f"{path}: [window] does not fit [decoder]: {error}") from error


def _decoder_parts(decoder: dict[str, Any], path: Path) -> tuple[Any, Any]:
    from amtcli.decoders import DECODERS

    return registered(DECODERS, decoder, "decoder", path)


def _read_tensors(folder: Path, config: ModelConfig) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    data = read_weights(folder, config)  # one reading: what was hashed is what is loaded
    path = folder / WEIGHTS_FILE
    try:
        tensors = load(data)
    except SafetensorError as error:
        raise ModelError(f"{path} is not a safetensors file: {error}") from error
    check_dtype(tensors, config.weights.dtype, path)
    return tensors


def check_dtype(tensors: Mapping[str, Tensor], dtype: str, path: Path) -> None:
    """Raise ModelError where floating-point tensors are not of the type that is told."""
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
