"""The record of a run: lines of JSON, TensorBoard and, where it is asked for, wandb."""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch

from amtcli import __version__
from amtcli.devices import describe
from amtcli.errors import TrainingError, UsageError
from amtcli.files import write_atomically

LOG_FILE = "log.jsonl"
TENSORBOARD_FOLDER = "tensorboard"


class RunLog:
    """Writes what a run reports, each line with its kind and step.

    Begun at a step, it drops what an earlier process wrote of later steps and of validations after
    ``validated_step``, so that a run that was interrupted reads like one that was not. Raises
    UsageError where TensorBoard or wandb are not installed.
    """

    def __init__(
        self, folder: Path, step: int, validated_step: int, wandb_project: str | None
    ) -> None:
        self._path = folder / LOG_FILE
        _drop_later_lines(self._path, step, validated_step)
        self._tensorboard = _open_tensorboard(folder / TENSORBOARD_FOLDER, step)
        self._wandb = None if wandb_project is None else _open_wandb(folder, wandb_project)

    def write(self, kind: str, step: int, values: dict[str, Any]) -> None:
        """Write one line; numbers also go to the curves, as ``kind``/name."""
        line = json.dumps({"kind": kind, "step": step, **values}, ensure_ascii=False)
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise TrainingError(f"{self._path} cannot be written: {error.strerror}") from error
        numbers = {
            f"{kind}/{name}": value
            for name, value in values.items()
            if isinstance(value, int | float)
        }
        for name, value in numbers.items():
            self._tensorboard.add_scalar(name, value, step)
        if self._wandb is not None:
            self._wandb.log(numbers, step=step)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_: object) -> None:
        self._tensorboard.close()
        if self._wandb is not None:
            self._wandb.finish()


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Read the lines of a run's log; one that was cut by a crash is left out."""
    path = folder / LOG_FILE
    if not path.exists():
        return []
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines


def _drop_later_lines(path: Path, step: int, validated_step: int) -> None:
    last = {"validation": validated_step}
    kept = [line for line in read_log(path.parent) if line["step"] <= last.get(line["kind"], step)]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept)
    write_atomically(path, text.encode())


def _open_tensorboard(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError("training needs TensorBoard: pip install 'amtcli[train]'") from error
    return SummaryWriter(str(folder), purge_step=step + 1 if step else None)


def _open_wandb(folder: Path, project: str) -> Any:
    try:
        import wandb
    except ImportError as error:
        raise UsageError("--wandb needs: pip install 'amtcli[wandb]'") from error
    identity = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]
    return wandb.init(
        project=project, name=folder.name, id=identity, dir=str(folder), resume="allow"
    )


def surroundings(device: torch.device, n_processes: int, precision: str) -> dict[str, Any]:
    """Describe what a training runs on."""
    return {
        "amt": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": describe(device),
        "n_processes": n_processes,
        "precision": precision,
    }
