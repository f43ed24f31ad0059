"""``amt models``: what there is, where it lies, and fetching it ahead of time."""

from __future__ import annotations

import dataclasses
import json
import math
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from amtcli.cli.progress import NORMAL, Screen
from amtcli.cli.streams import say
from amtcli.errors import ModelError

if TYPE_CHECKING:
    from amtcli.model_config import ModelConfig

app = typer.Typer(help="List, pull, import, export and look at models.", no_args_is_help=True)


class Weights(str, Enum):
    """Which weights of a training to export."""

    BEST = "best"
    LAST = "last"


_AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Name = Annotated[str, typer.Argument(metavar="NAME", help="A name that `amt models list` prints.")]
_NameOrFolder = Annotated[str, typer.Argument(metavar="MODEL", help="A model's name or folder.")]


@app.command("list")
def list_(as_json: _AsJson = False) -> None:
    """List the models that --model knows by name, and which of them are here.

    shipped: part of the program. pulled: fetched from its authors. imported: put here by you.
    available: will be pulled when it is first used. damaged: cannot be used as it is.
    """
    from amtcli.catalog import list_models

    entries = list_models()
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(e) for e in entries], indent=2, default=str))
        return
    width = max((len(entry.name) for entry in entries), default=0)
    for entry in entries:
        size = f"{entry.size_bytes / 1e6:.0f} MB"
        about = f"{entry.version:6} {entry.state:9} {size:>7}  {entry.description}"
        typer.echo(f"{entry.name:{width}}  {about}")


@app.command()
def pull(
    name: _Name,
    force: Annotated[
        bool, typer.Option("--force", help="Pull again what is here already.")
    ] = False,
) -> None:
    """Fetch the weights of a model ahead of its first use, and print its folder.

    They are taken from an installed package where there is one, else from its authors' package in
    your package index (nothing is installed), else from a URL, and believed only when their
    SHA-256 is right. AMT_MODEL_DIR says where to keep them, AMT_OFFLINE=1 forbids to connect.
    """
    from amtcli.catalog import pull as pull_model

    with Screen(NORMAL, n_recordings=1) as screen:
        screen.status(f"pulling {name}")
        folder = pull_model(name, force=force, on_progress=screen.download)
    typer.echo(folder)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A checkpoint (.pt, .pth, .torch).")],
    name: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="NAME",
            help="What to call the model. Without it: its network.",
            show_default=False,
        ),
    ] = None,
    hop_samples: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Samples between frames, for the autoregressive network, whose checkpoints do "
            "not state it (512).",
            show_default=False,
        ),
    ] = None,
    label_shift_frames: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Frames by which training labels were shifted, for the same network (0).",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Make a model of a checkpoint that its authors published, and print its folder.

    It is recognised by the tensors in it: high-resolution transcription (Kong et al.), Onsets and
    Frames, Onsets and Velocities, HPPNet, AMT_Piano, online_amt, low-latency-amt, Transkun,
    DynEst. Nothing in the file is executed.
    """
    from amtcli.importing import import_checkpoint

    given = {"hop_samples": hop_samples, "label_shift_frames": label_shift_frames}
    options = {key: value for key, value in given.items() if value is not None}
    imported = import_checkpoint(file, name, options)
    say(
        f"amt: {file} is {imported.title}; to use it: "
        f"amt transcribe song.wav --model {imported.name}"
    )
    typer.echo(imported.folder)


@app.command()
def export(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="The folder that `amt train` wrote to.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FOLDER",
            help="Where to write it. Without it: among the models that --model knows by name.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="NAME",
            help="What to call the model. Without it: its recipe.",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        Weights,
        typer.Option(help="The best that was measured, or those of the last state saved."),
    ] = Weights.BEST,
) -> None:
    """Make a model of a training, finished or not, and print its folder.

    The card tells what happened: data, protocol, seed, steps, scores.
    """
    from amtcli.training.export import export_run

    exported = export_run(run, out, name, weights.value)
    say(f"amt: {exported.name}, as it was after {exported.step} steps")
    typer.echo(exported.folder)


@app.command()
def path(model: _NameOrFolder) -> None:
    """Print the folder of a model that is here."""
    from amtcli.catalog import locate
    from amtcli.model_config import PublishedWeights, read_config

    folder = locate(model)
    config = read_config(folder)
    if isinstance(config.weights, PublishedWeights):
        name = config.provenance.name
        raise ModelError(f"{name} is not here yet; run `amt models pull {name}`")
    typer.echo(folder)


@app.command()
def show(model: _NameOrFolder, as_json: _AsJson = False) -> None:
    """Print all that is known about a model: settings, weights, origin, scores, licence.

    The facts are worked out from the settings: parameters, seconds per window, and, for a model
    that can transcribe live, how long after its onset a note is decided at the earliest.
    """
    from amtcli.catalog import locate
    from amtcli.model_config import read_config
    from amtcli.model_facts import model_facts

    folder = locate(model)
    tables = {"folder": str(folder), **_tables(read_config(folder))}
    tables["facts"] = dataclasses.asdict(model_facts(folder))
    if as_json:
        typer.echo(json.dumps(_finite(tables), indent=2, allow_nan=False))
        return
    for name, value in _flat(tables):
        if value is not None:
            typer.echo(f"{name:36} {value}")


def _tables(config: ModelConfig) -> dict[str, Any]:
    """Return ``model.toml`` as it is read, each source of weights with its kind."""
    from amtcli.model_config import PublishedWeights

    tables = dataclasses.asdict(config)
    if isinstance(config.weights, PublishedWeights):
        tables["weights"]["sources"] = [
            {"kind": source.kind, **dataclasses.asdict(source)} for source in config.weights.sources
        ]
    return tables


def _flat(tables: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Turn nested tables into dotted names and values, in order."""
    lines: list[tuple[str, Any]] = []
    for key, value in tables.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            lines += _flat(value, f"{name}.")
        elif isinstance(value, list):
            for number, item in enumerate(value, start=1):
                lines += _flat({str(number): item}, f"{name}.")
        else:
            lines.append((name, value))
    return lines


def _finite(value: Any) -> Any:
    """Put what JSON has no numbers for, such as an unlimited range, into words."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
