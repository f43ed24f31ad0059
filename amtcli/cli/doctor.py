"""``amt doctor``: what is installed, what it can read and compute, and what is broken."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from amtcli import __version__
from amtcli.cli.streams import is_terminal
from amtcli.errors import AmtError, ModelError

_NEEDED = ("torch", "numpy", "soundfile", "soxr", "safetensors")
# The format and subtype that soundfile must know.
_SOUNDFILE_FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "aiff": ("AIFF", "PCM_16"),
}
_AV_CODECS = {"m4a": "aac", "aac": "aac", "mp4": "aac", "wma": "wmav2", "webm": "opus"}


@dataclass
class Diagnosis:
    """All that ``amt doctor`` found out; ``problems`` are what must be mended."""

    versions: dict[str, str] = field(default_factory=dict)
    devices: list[dict[str, Any]] = field(default_factory=list)
    formats: dict[str, str] = field(default_factory=dict)
    model_folder: str = ""
    models: list[dict[str, Any]] = field(default_factory=list)
    terminal: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check the installation: versions, devices, audio formats, models, terminal.

    Exit codes: 0 all that is needed works, 1 something is broken.
    """
    diagnosis = Diagnosis(terminal=_terminal())
    modules = _import_packages(diagnosis)
    diagnosis.formats = _formats(modules)
    if "torch" in modules:
        diagnosis.devices = _devices()
    if {"numpy", "safetensors"} <= modules.keys():
        _check_models(diagnosis)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(diagnosis), indent=2))
    else:
        for line in _lines(diagnosis):
            typer.echo(line)
    if diagnosis.problems:
        raise AmtError("; ".join(diagnosis.problems))


def _import_packages(diagnosis: Diagnosis) -> dict[str, Any]:
    """Import what ``amt transcribe`` imports; what fails to is a problem, but for extras."""
    versions = diagnosis.versions
    versions.update(amt=__version__, python=platform.python_version(), system=platform.platform())
    modules: dict[str, Any] = {}
    for name in (*_NEEDED, "av"):
        try:
            modules[name] = importlib.import_module(name)
            versions[name] = importlib.metadata.version(name)
        except ModuleNotFoundError:
            versions[name] = "not installed"
            if name in _NEEDED:
                diagnosis.problems.append(f"{name} is not installed: `pip install {name}`")
        # A shared library that is missing or does not fit: a broken installation.
        except (ImportError, OSError) as error:
            versions[name] = "broken"
            reason = str(error).splitlines()[0]
            diagnosis.problems.append(f"{name} cannot be loaded ({reason}): install it anew")
    if "soundfile" in modules:
        versions["libsndfile"] = modules["soundfile"].__libsndfile_version__
    return modules


def _formats(modules: dict[str, Any]) -> dict[str, str]:
    """Say, for each format, which package reads it, or what to install."""
    formats = {}
    soundfile, av = modules.get("soundfile"), modules.get("av")
    for name, (major, subtype) in _SOUNDFILE_FORMATS.items():
        readable = soundfile and soundfile.check_format(major, subtype)
        formats[name] = "soundfile" if readable else "no: needs a newer libsndfile"
    codecs = av.codecs_available if av else set()
    for name, codec in _AV_CODECS.items():
        formats[name] = "av" if codec in codecs else 'no: `pip install "amtcli[av]"`'
    return formats


def _devices() -> list[dict[str, Any]]:
    """List the devices that --device takes, and mark the one that auto takes."""
    import torch

    from amtcli.devices import describe, is_fast_at_bf16, is_fast_at_int8, resolve_device

    devices = [torch.device("cpu")]
    devices += [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append(torch.device("mps"))
    chosen = resolve_device("auto")
    return [
        {
            "device": str(device),
            "description": describe(device),
            "processor": _processor() if device.type == "cpu" else "",
            "fast_bf16": is_fast_at_bf16(device),
            "fast_int8": is_fast_at_int8(device),
            "auto": device == chosen,
        }
        for device in devices
    ]


def _processor() -> str:
    """Name the CPU, which Python itself knows only on Windows."""
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _check_models(diagnosis: Diagnosis) -> None:
    """Read every model that is here and check its hash."""
    from amtcli.catalog import data_folder, list_models
    from amtcli.model_config import read_config
    from amtcli.model_folder import read_weights

    diagnosis.model_folder = str(data_folder())
    for entry in list_models():
        state: str = entry.state
        if entry.folder is not None:
            try:
                read_weights(entry.folder, read_config(entry.folder))
            except ModelError as error:
                state = "damaged"
                diagnosis.problems.append(str(error))
            else:
                state = f"{state}, sha256 ok"
        diagnosis.models.append(
            {
                "name": entry.name,
                "version": entry.version,
                "state": state,
                "sha256": entry.sha256,
                "folder": str(entry.folder or ""),
            }
        )


def _terminal() -> dict[str, Any]:
    return {
        "stdout_encoding": getattr(sys.stdout, "encoding", None),
        "file_name_encoding": sys.getfilesystemencoding(),
        "stdout_is_terminal": is_terminal(sys.stdout),
        "stderr_is_terminal": is_terminal(sys.stderr),
        "variables": {
            name: value
            for name, value in sorted(os.environ.items())
            if name in ("NO_COLOR", "TERM") or name.startswith("AMT_")
        },
    }


def _lines(diagnosis: Diagnosis) -> list[str]:
    """Lay a diagnosis out for a person."""
    lines = [f"{name:12} {version}" for name, version in diagnosis.versions.items()]
    lines += ["", "devices"]
    for device in diagnosis.devices:
        fast = [name for name in ("int8", "bf16") if device[f"fast_{name}"]]
        arithmetic = f"fast {' and '.join(fast)}" if fast else "float32"
        chosen = ", taken by auto" if device["auto"] else ""
        name = f" {device['processor']}," if device["processor"] else ""
        lines.append(f"  {device['description']}:{name} {arithmetic}{chosen}")
    lines += ["", "audio formats"]
    lines += [f"  {name:10} {reader}" for name, reader in diagnosis.formats.items()]
    lines += ["", f"models in {diagnosis.model_folder}"]
    lines += [
        f"  {model['name']} {model['version']}: {model['state']}" for model in diagnosis.models
    ]
    lines += ["", "terminal"]
    lines += [f"  {name:20} {value}" for name, value in diagnosis.terminal.items()]
    lines += ["", f"problems: {len(diagnosis.problems)}"]
    return lines
