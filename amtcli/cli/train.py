"""``amt train``: a recipe and packs in, a run folder with a model out."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amtcli.cli.streams import check_stdout, printable
from amtcli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from amtcli.training.loop import Outcome, TrainOptions
    from amtcli.training.recipe import Recipe

_COMPUTING, _RUN = "Computing", "Run"
_SMOKE_STEPS = 2
_SMOKE_EXCERPT_S = 10.0
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE", help="A recipe's name (--list) or a TOML file.", show_default=False
        ),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            "--data",
            metavar="PACK",
            help="A pack (amt pack); may be given several times.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="RUN", help="The run's folder.", show_default=False),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "-s",
            "--set",
            metavar="KEY=VALUE",
            help="Another value in the recipe, as training.steps=100.",
            show_default=False,
        ),
    ] = None,
    list_recipes: Annotated[
        bool, typer.Option("--list", help="Name the recipes that ship with amt.")
    ] = False,
    resume: Annotated[
        str,
        typer.Option(
            metavar="auto|FILE",
            help="Go on from the state in RUN, where there is one, or from a state file.",
            show_default=False,
            rich_help_panel=_RUN,
        ),
    ] = "",
    time_limit: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="End after so long, as 20m or 1h30m, with a model; --resume auto goes on.",
            show_default=False,
            rich_help_panel=_RUN,
        ),
    ] = "",
    smoke: Annotated[
        bool,
        typer.Option(
            "--smoke",
            help="Run everything once, in RUN/smoke: two small steps, validation, the model.",
            rich_help_panel=_RUN,
        ),
    ] = False,
    wandb: Annotated[
        str | None,
        typer.Option(
            metavar="PROJECT",
            help="Log to Weights & Biases also (pip install 'amtcli[wandb]').",
            show_default=False,
            rich_help_panel=_RUN,
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            metavar="DEVICE",
            help="auto (CUDA, else MPS, else CPU), cpu, cuda, cuda:N or mps.",
            rich_help_panel=_COMPUTING,
        ),
    ] = "auto",
    workers: Annotated[
        str,
        typer.Option(
            metavar="auto|N",
            help="Processes that make windows, 0: a thread; what is learnt is the same.",
            rich_help_panel=_COMPUTING,
        ),
    ] = "auto",
    shard: Annotated[
        bool,
        typer.Option(
            "--shard",
            help="Divide weights and optimiser among torchrun's processes (FSDP).",
            rich_help_panel=_COMPUTING,
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only errors.")] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="One line per validation, no bar.")
    ] = False,
) -> None:
    """Train a model from a recipe and packs.

    amt train --list
    amt train RECIPE --data PACK -o RUN --smoke           does everything work?
    amt train RECIPE --data PACK -o RUN                   then RUN/model is a model
    amt train RECIPE --data PACK -o RUN --resume auto     goes on, exactly
    amt train my.toml --data A --data B -o RUN -s training.steps=1000 --time-limit 20m
    torchrun --nproc-per-node 4 -m amtcli train RECIPE --data PACK -o RUN

    Prints the scores of the best model and its folder. Interrupted, it saves its state.
    kill -USR1, or a file RUN/debug, opens a debugger before the next step.

    Exit codes:
    0    trained
    1    training could not begin or go on; its state is saved
    2    wrong usage
    3    the recipe is missing or wrong
    130  interrupted; the state is saved
    """
    from amtcli.training.recipe import find_recipe, read_recipe

    if list_recipes:
        _print_recipes()
        return
    if recipe is None or not data or out is None:
        raise UsageError("name a RECIPE (amt train --list), --data PACK and -o RUN")
    chosen = read_recipe(find_recipe(recipe), overrides or ())
    limit_s = parse_duration(time_limit) if time_limit else None
    n_workers = _n_workers(workers)
    from amtcli.training.loop import TrainOptions

    options = TrainOptions(out, device, n_workers, resume, limit_s, shard, wandb)
    if smoke:
        chosen, options = _shrink(chosen, options)
    _run(chosen, data, options, quiet=quiet, verbose=verbose)


def parse_duration(text: str) -> float:
    """Turn "90s", "20m" or "1h30m" into seconds. Raises UsageError for anything else."""
    parts = _DURATION.fullmatch(text)
    if not text or parts is None:
        raise UsageError(f"--time-limit {text}: write 90s, 20m or 1h30m")
    hours, minutes, seconds = (int(part or 0) for part in parts.groups())
    return float(3600 * hours + 60 * minutes + seconds)


def _n_workers(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isascii() or not text.isdigit():
        raise UsageError(f"--workers takes auto or a number from 0, not {text}")
    return int(text)


def _print_recipes() -> None:
    from amtcli.training.recipe import RECIPES_FOLDER, read_recipe, recipe_names

    check_stdout()
    for name in recipe_names():
        about = read_recipe(RECIPES_FOLDER / f"{name}.toml").about
        typer.echo(f"{name}\t{about.description}")


def _shrink(recipe: Recipe, options: TrainOptions) -> tuple[Recipe, TrainOptions]:
    """Make a recipe so small that everything runs once within a minute, in a folder of its own."""
    import dataclasses
    import shutil

    n_processes = int(os.environ.get("WORLD_SIZE", "1"))
    training = dataclasses.replace(
        recipe.training,
        steps=_SMOKE_STEPS,
        batch_size=recipe.training.accumulation * n_processes,
        log_every_steps=1,
        save_every_steps=1,
    )
    validation = dataclasses.replace(
        recipe.validation,
        every_steps=_SMOKE_STEPS,
        n_recordings=1,
        excerpt_s=min(recipe.validation.excerpt_s or _SMOKE_EXCERPT_S, _SMOKE_EXCERPT_S),
    )
    folder = options.folder / "smoke"
    if _is_first():
        shutil.rmtree(folder, ignore_errors=True)
    return (
        dataclasses.replace(recipe, training=training, validation=validation),
        dataclasses.replace(options, folder=folder, resume=""),
    )


def _run(
    recipe: Recipe, data: Sequence[Path], options: TrainOptions, *, quiet: bool, verbose: bool
) -> None:
    from amtcli.cli.train_screen import TrainScreen
    from amtcli.datasets.pack import open_pack
    from amtcli.training.export import complete_card, make_exporter
    from amtcli.training.loop import Companions, train
    from amtcli.training.validation import make_validator

    packs = [open_pack(folder) for folder in data]
    learnt = [recording for pack in packs for recording in pack.split("train")]
    measured = [recording for pack in packs for recording in pack.split("validation")]
    screen = TrainScreen(quiet=quiet, verbose=verbose)
    if not measured and _is_first():
        screen.notice("no recording of the split validation: RUN/model is the last one, unmeasured")
    companions = Companions(
        make_validator(recipe, measured) if measured else None,
        make_exporter(recipe, packs, learnt, options.folder),
        screen,
    )
    with screen:
        outcome = train(recipe, learnt, options, companions)
    if _is_first():
        complete_card(options.folder)
        check_stdout()
        typer.echo(_result(outcome))


def _is_first() -> bool:
    """Tell whether this is the process that speaks, of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def _result(outcome: Outcome) -> str:
    scores = "".join(f"{name} {value:.4f}\t" for name, value in outcome.scores.items())
    return f"{scores}{outcome.step} steps\t{printable(str(outcome.model))}"
