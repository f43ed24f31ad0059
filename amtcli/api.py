"""The Python API: the words of the command line, without its printing."""

from __future__ import annotations

import os
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from amtcli.catalog import default_model, resolve
from amtcli.engine import Engine, EngineOptions
from amtcli.errors import AudioError
from amtcli.model_config import CONFIG_FILE
from amtcli.model_folder import load_model
from amtcli.notes import Performance
from amtcli.reading import Recording
from amtcli.refinement.reading import check_transcriber


def transcribe(
    source: str | os.PathLike[str] | BinaryIO | NDArray[Any],
    *,
    source_rate_hz: int | None = None,
    model: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    fast: bool = False,
) -> Performance:
    """Transcribe one recording.

    ``source`` is a path, a binary stream, or samples of shape (samples,) or (channels, samples)
    with their ``source_rate_hz``. ``model`` is a name or a model folder; one that is not here
    yet is pulled. Without it, transkun-v2 listens if it has been pulled, else swift, which ships.
    The engine is kept for the next call with the same settings, until its model changes.

    Raises AmtError when the recording or the model cannot be used. What could not be read of a
    damaged recording is a warning of the ``warnings`` module.
    """
    options = EngineOptions(device=device, precision=precision, fast=fast)
    if isinstance(source, (str, os.PathLike)):
        source = Path(source)
    elif not isinstance(source, np.ndarray) and not hasattr(source, "read"):
        kind = type(source).__name__
        raise AudioError(f"a recording is a path, a binary stream or a NumPy array, not a {kind}")
    folder = resolve(model or default_model()).resolve()
    # Whoever writes a model anew writes this file: it has the checksum of the weights.
    written_ns = (folder / CONFIG_FILE).stat().st_mtime_ns
    engine = _engine(folder, written_ns, options)
    key = str(source) if isinstance(source, Path) else "recording"
    (result,) = engine.transcribe([Recording(key, source, source_rate_hz)])
    for warning in result.warnings:
        warnings.warn(f"{key}: {warning}", stacklevel=2)
    if result.performance is None:
        assert result.error is not None  # the engine gives one or the other
        raise result.error
    return result.performance


@lru_cache(maxsize=1)
def _engine(folder: Path, written_ns: int, options: EngineOptions) -> Engine:
    model = load_model(folder)
    check_transcriber(model.config)
    return Engine(model, options)
