"""``amt train``: a recipe and packs in, a run folder with a model out."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amtcli.cli.options import OnlyErrors
from amtcli.cli.streams import check_stdout, printable
from amtcli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from amtcli.training.companions import Listener
    from amtcli.training.loop import Outcome, TrainOptions
    from amtcli.training.recipe import Recipe

_COMPUTING, _RUN, _TUNING = "Computing", "Run", "Tuning"
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
    init: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL",
            help="Begin with the weights of a model (a name or a folder), or, repeated, with the "
            "mean of theirs; all else begins anew.",
            show_default=False,
            rich_help_panel=_RUN,
        ),
    ] = None,
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
            help=r"Log to Weights & Biases also (pip install 'amtcli\[wandb]').",
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
    cached_features: Annotated[
        bool,
        typer.Option(
            "--cached-features",
            help="Take what amt pack --features computed in place of audio.",
            rich_help_panel=_COMPUTING,
        ),
    ] = False,
    tune_trials: Annotated[
        int | None,
        typer.Option(
            "--tune",
            min=1,
            metavar="N",
            help="Search for settings with N trainings in RUN/trials; goes on where it was.",
            show_default=False,
            rich_help_panel=_TUNING,
        ),
    ] = None,
    space: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What to choose among, as TOML: a recipe's keys with lists or { low = 1e-4, "
            "high = 1e-2, log = true }; without it the learning rate.",
            show_default=False,
            rich_help_panel=_TUNING,
        ),
    ] = None,
    quiet: OnlyErrors = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="One line per validation, no bar.")
    ] = False,
) -> None:
    """Train a model from a recipe and packs.

    amt train --list
    amt train RECIPE --data PACK -o RUN --smoke           does everything work?
    amt train RECIPE --data PACK -o RUN                   then RUN/model is a model
    amt train RECIPE --data PACK -o RUN --resume auto     goes on, exactly
    amt train RECIPE --data PACK -o RUN --init run/model  from a model's weights
    amt train my.toml --data A --data B -o RUN -s training.steps=1000 --time-limit 20m
    amt train RECIPE --data PACK -o RUN --tune 20         the best of 20 learning rates
    torchrun --nproc-per-node 4 -m amtcli train RECIPE --data PACK -o RUN

    Prints the scores of the best model and its folder. Interrupted, it saves its state.
    kill -USR1, or a file RUN/debug, opens a debugger before the next step.

    Exit codes:
    0    trained
    1    training could not begin, or broke down (what it had reached is saved)
    2    wrong usage, or there is no such recipe
    3    the recipe is wrong, or the model of --init is wrong or missing
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
    from amtcli.catalog import resolve
    from amtcli.cli.train_screen import TrainScreen
    from amtcli.training.loop import TrainOptions

    if resume and (smoke or tune_trials is not None):
        raise UsageError("--smoke begins anew, --tune goes on by itself: --resume is for neither")
    if space is not None and tune_trials is None:
        raise UsageError("--space says what --tune N chooses among: give both")
    options = TrainOptions(
        folder=out,
        device=device,
        n_workers=n_workers,
        resume=resume,
        time_limit_s=limit_s,
        shard=shard,
        cached_features=cached_features,
        wandb_project=wandb,
        init=tuple(resolve(model) for model in init or ()),
    )
    if smoke:
        chosen, options = _shrink(chosen, options)
    with TrainScreen(quiet=quiet, verbose=verbose) as screen:
        work = _Work(data, options, screen)
        if tune_trials is None:
            result = work.train(chosen)
        else:
            result = work.tune(chosen, tune_trials, space)
    if _is_first():
        check_stdout()
        typer.echo(result)


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
    import shutil

    from amtcli.training.run_folder import RECIPE_FILE

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
    if _is_first() and folder.exists():
        if not (folder / RECIPE_FILE).exists() and any(folder.iterdir()):
            raise UsageError(f"{folder} holds something else than a run: choose another -o")
        shutil.rmtree(folder)
    return (
        dataclasses.replace(recipe, training=training, validation=validation),
        dataclasses.replace(options, folder=folder, resume=""),
    )


def _distinct(folders: Sequence[Path]) -> Sequence[Path]:
    """Raise UsageError where a pack is named twice."""
    places = [folder.resolve() for folder in folders]
    for folder, place in zip(folders, places, strict=True):
        if places.count(place) > 1:
            raise UsageError(f"--data {folder} is given twice; once is enough")
    return folders


class _Work:
    """Trains on packs, once or many times."""

    def __init__(self, data: Sequence[Path], options: TrainOptions, screen: Listener) -> None:
        from amtcli.datasets.pack import check_files, open_pack

        self._packs = [open_pack(folder) for folder in _distinct(data)]
        self._learnt = [each for pack in self._packs for each in pack.split("train")]
        self._measured = [each for pack in self._packs for each in pack.split("validation")]
        check_files([*self._learnt, *self._measured])  # now, not in the middle of a run
        self._options, self._screen = options, screen

    def train(self, recipe: Recipe) -> str:
        """Train once; returns the line to print."""
        if not self._measured and _is_first():
            self._screen.notice(
                "no recording of the split validation: RUN/model is the last one, unmeasured"
            )
        outcome = self._train(recipe, self._options, self._screen)
        scores = "".join(f"{name} {value:.4f}\t" for name, value in outcome.scores.items())
        return f"{scores}{outcome.step} steps\t{printable(str(outcome.model))}"

    def tune(self, recipe: Recipe, n_trials: int, space: Path | None) -> str:
        """Search for settings; returns the line to print."""
        from amtcli.training.run_folder import MODEL_FOLDER
        from amtcli.training.tuning import default_space, read_space, tune

        if not self._measured:
            raise UsageError("--tune needs recordings of the split validation to choose by")

        def run_trial(varied: Recipe, folder: Path, listener: Listener) -> float:
            options = dataclasses.replace(self._options, folder=folder, resume="auto")
            return self._train(varied, options, listener).scores[recipe.validation.metric]

        chosen = default_space(recipe) if space is None else read_space(space)
        best = tune(recipe, chosen, n_trials, self._options.folder, run_trial, self._screen)
        settings = "".join(f"{name}={value}\t" for name, value in best.settings.items())
        score = f"{recipe.validation.metric} {best.score:.4f}"
        return f"{score}\t{settings}{printable(str(best.folder / MODEL_FOLDER))}"

    def _train(self, recipe: Recipe, options: TrainOptions, listener: Listener) -> Outcome:
        from amtcli.training.companions import Companions
        from amtcli.training.export import complete_card, make_exporter
        from amtcli.training.loop import train
        from amtcli.training.validation import make_validator, measure_identity

        companions = Companions(
            make_validator(recipe, self._measured) if self._measured else None,
            make_exporter(recipe, self._packs, self._learnt, options.folder),
            listener,
            measure_identity(recipe, self._measured),
        )
        outcome = train(recipe, self._learnt, options, companions)
        if _is_first():
            complete_card(options.folder)
        return outcome


def _is_first() -> bool:
    """Tell whether this is the process that speaks, of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"
