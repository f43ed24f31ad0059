"""The training loop: steps, and between them the log, validation, the state and the model.

A run folder holds ``recipe.toml`` (with every override), ``log.jsonl``, ``tensorboard/``,
``state/last.pt`` to go on from, and ``model/``, the best model so far.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from amtcli.datasets.pack import PackedRecording
from amtcli.devices import describe, resolve_precision
from amtcli.errors import TrainingError, UsageError
from amtcli.files import write_atomically
from amtcli.training.batch_statistics import MOST_BATCHES, fix_statistics, measure_statistics
from amtcli.training.batches import Batch, Share, WindowMaker
from amtcli.training.cached import find_cached
from amtcli.training.checks import check_recordings, check_window
from amtcli.training.companions import Companions, Listener, Moment, Validation
from amtcli.training.components import build_components, build_modules
from amtcli.training.feeding import auto_workers, feed
from amtcli.training.hearing import Hearing
from amtcli.training.initial import load_initial_weights
from amtcli.training.interrupts import Interrupts, can_debug
from amtcli.training.log import RunLog, surroundings
from amtcli.training.ranks import Ranks, join_ranks, share_network, whole
from amtcli.training.recipe import Recipe, recipe_toml
from amtcli.training.run_folder import (
    MODEL_FOLDER,
    NOT_FINITE_FILE,
    RECIPE_FILE,
    STATE_FILE,
    find_state,
    is_state_of,
)
from amtcli.training.state import (
    Progress,
    data_identity,
    gather_state,
    make_learner,
    not_finite,
    read_state,
    restore_state,
    write_state,
)
from amtcli.training.stepping import NotFiniteError, Stepper, StepReport

_ALL_STEPS, _TIME_LIMIT, _PATIENCE, _INTERRUPTED = (
    "all steps",
    "time limit",
    "no better",
    "interrupted",
)


@dataclass(frozen=True)
class TrainOptions:
    """Where and how to compute.

    Beyond rounding, ``init`` changes what is learnt, and a little does ``cached_features``, whose
    frames at the ends of a window hear what lies beyond it. The number of processes does where
    there is dropout, and on a CPU where statistics of batches are, as each takes those of its part.

    ``resume`` is "" (the folder must be new), "auto" (go on where there is a state) or the path
    of a state. ``n_workers`` None lets the device decide. Training ends after ``time_limit_s``.
    ``cached_features`` takes what ``amt pack --features`` computed in place of audio. Without a
    state, the weights to begin with are those of the model in the folder ``init``, or the mean of
    several models'.
    """

    folder: Path
    device: str = "auto"
    n_workers: int | None = None
    resume: str = ""
    time_limit_s: float | None = None
    shard: bool = False
    cached_features: bool = False
    wandb_project: str | None = None
    init: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How a training ended: why, after how many steps, and the scores of the best model."""

    reason: str
    step: int
    scores: dict[str, float]
    model: Path


def train(
    recipe: Recipe,
    recordings: Sequence[PackedRecording],
    options: TrainOptions,
    companions: Companions,
) -> Outcome:
    """Train on ``recordings`` as a recipe says, from its beginning or from a state.

    Raises TrainingError where training cannot begin or go on, and KeyboardInterrupt when it was
    asked to stop; what was reached by then is saved.
    """
    check_recordings(recipe, recordings)
    with join_ranks(options.device) as ranks:
        run = _Run(recipe, recordings, options, companions, ranks)
        # One process looks for the file, which is gone once it was seen.
        folder = options.folder if ranks.is_first else None
        with Interrupts(folder, options.time_limit_s) as interrupts:
            return run.go(interrupts)


class _Run:
    """One process's part in a training."""

    def __init__(
        self,
        recipe: Recipe,
        recordings: Sequence[PackedRecording],
        options: TrainOptions,
        companions: Companions,
        ranks: Ranks,
    ) -> None:
        self._recipe, self._options, self._ranks = recipe, options, ranks
        self._companions = companions
        self._listener = companions.listener if ranks.is_first else Listener()
        self._data = data_identity(recordings)
        self._share = _share(recipe, ranks)
        resumed = find_state(options.folder, options.resume)
        own_recipe = recipe_toml(recipe)
        state = None if resumed is None else read_state(resumed, own_recipe, self._data)
        parts = build_components(recipe)
        check_window(recipe, parts)
        # As front-ends learn: digital silence is no special case to them then.
        front_end = parts.front_end.train()
        cached = find_cached(recipe, front_end, recordings) if options.cached_features else None
        self._maker = WindowMaker(
            recordings,
            parts.objective,
            recipe.sampling,
            parts.augmentation,
            recipe.training.seed,
            cached,
        )
        self._front_end = front_end.to(ranks.device)
        hearing = Hearing(front_end, parts.network)
        begun_with = ""
        if options.init and state is None:
            begun_with = load_initial_weights(hearing, options.init)
        hearing = hearing.to(ranks.device).train()
        if recipe.training.batch_statistics == "fixed":
            fix_statistics(hearing)
        called = share_network(hearing, ranks, shard=options.shard)
        self._learner = make_learner(recipe, hearing)
        self._progress = Progress(measure=companions.measure, init=begun_with)
        if resumed is not None and state is not None:
            self._progress = restore_state(state, self._learner)
            self._keep_comparable(is_state_of(options.folder, resumed))
        self._precision = resolve_precision(recipe.training.precision, ranks.device, ["bf16"])
        self._stepper = Stepper(
            recipe,
            self._front_end if cached is None and hearing.front_end is None else None,
            parts.objective,
            self._learner,
            called,
            ranks,
            self._precision,
        )

    def _keep_comparable(self, has_best: bool) -> None:
        """Forget validations whose best model lies elsewhere, or that were of another measure."""
        progress, measure = self._progress, self._companions.measure
        if progress.measure != measure and progress.best_scores:
            self._listener.notice("measured otherwise than before: the best model is chosen anew")
        if progress.measure != measure or not has_best:
            progress.forget_validations()
        progress.measure = measure

    def go(self, interrupts: Interrupts) -> Outcome:
        """Take all steps that are left, then measure and write the model."""
        n_steps = self._recipe.training.steps
        steps = range(self._progress.step, n_steps)
        description = f"{describe(self._ranks.device)}, {self._precision}"
        self._listener.started(self._progress.step, n_steps, description)
        with ExitStack() as stack:
            self._log = stack.enter_context(self._open_log()) if self._ranks.is_first else None
            batches = stack.enter_context(closing(self._feed(steps, self._share)))
            reason = self._take_steps(steps, batches, interrupts)
            self._save()
            if reason == _INTERRUPTED:
                raise KeyboardInterrupt
            self._measure()
            self._save()
        progress, model = self._progress, self._options.folder / MODEL_FOLDER
        return Outcome(reason, progress.step, progress.best_scores, model)

    def _take_steps(
        self, steps: range, batches: Generator[Batch, None, None], interrupts: Interrupts
    ) -> str:
        """Take steps until something ends them; returns what it was."""
        training, validation = self._recipe.training, self._recipe.validation
        for step in steps:
            if step and step % validation.every_steps == 0:
                self._measure()
                self._save()
                if 0 < validation.patience <= self._progress.n_worse:
                    return _PATIENCE
            if interrupts.wants_debugger():
                self._debug()
            asked = interrupts.stop or (self._ranks.is_first and interrupts.out_of_time)
            report = self._step(step, batches, stop=asked)
            self._record(report)
            done = self._progress.step
            # Also before a validation: what fails there has cost no step.
            if done % training.save_every_steps == 0 or done % validation.every_steps == 0:
                self._save()
            if report.stop:
                late = interrupts.out_of_time and not interrupts.stop
                return str(self._ranks.from_first(_TIME_LIMIT if late else _INTERRUPTED))
        return _ALL_STEPS

    def _step(self, step: int, batches: Generator[Batch, None, None], *, stop: bool) -> StepReport:
        start_s = time.perf_counter()
        try:
            report = self._stepper.step(step, batches, stop=stop)
        except NotFiniteError as error:
            raise self._breakdown(str(error), self._gather()) from error
        self._progress.step = step + 1
        self._progress.elapsed_s += time.perf_counter() - start_s
        return report

    def _breakdown(self, how: str, state: dict[str, Any]) -> TrainingError:
        """Keep a state aside, so that the one before remains; returns what is to be raised."""
        path, before = (self._options.folder / name for name in (NOT_FINITE_FILE, STATE_FILE))
        self._write(path, state)
        kept = f", {before} the last one before" if before.exists() else ""
        return TrainingError(
            f"training broke down {how}; {path} holds the state{kept}; try a lower "
            "optimiser.learning_rate or optimiser.clip_norm"
        )

    def _record(self, report: StepReport) -> None:
        """Add a step to the sums, and write their means when it is time to."""
        progress = self._progress
        for name, value in report.losses.items():
            progress.sums[name] = progress.sums.get(name, 0.0) + value
        progress.n_summed += 1
        self._listener.stepped(progress.step, report)
        if progress.step % self._recipe.training.log_every_steps:
            return
        if self._log is not None:
            means = {name: total / progress.n_summed for name, total in progress.sums.items()}
            spent = {
                "learning_rate": report.learning_rate,
                "gradient_norm": report.gradient_norm,
                "waited_s": report.waited_s,
                "computed_s": report.computed_s,
                "elapsed_s": progress.elapsed_s,
            }
            self._log.write("train", progress.step, means | spent)
        progress.sums, progress.n_summed = {}, 0

    def _measure(self) -> None:
        """Validate, unless these weights were, and write the model if it is the best."""
        progress = self._progress
        if progress.validated_step == progress.step:
            return
        progress.validated_step = progress.step
        tensors = whole(dict(self._learner.model_tensors()))
        first = self._ranks.is_first
        if first and self._recipe.training.batch_statistics == "measured":
            tensors = self._with_measured_statistics(tensors)
        if broken := not_finite(tensors):  # batch statistics, or what another version had saved
            raise TrainingError(f"training broke down {_describe_weights(progress.step, broken)}")
        validation = None
        if self._companions.validator is not None:
            validation = self._ranks.from_first(self._validate(tensors) if first else None)
        best = validation is None or self._is_best(validation)
        if validation is not None:
            progress.n_worse = 0 if best else progress.n_worse + 1
            progress.best_scores = validation.scores if best else progress.best_scores
            self._listener.validated(progress.step, validation, best=best)
            if self._log is not None:
                self._log.write("validation", progress.step, validation.scores)
        if best and first:
            self._export(tensors, Moment(progress.step, progress.elapsed_s, validation))

    def _is_best(self, validation: Validation) -> bool:
        metric = self._recipe.validation.metric
        if metric not in validation.scores:
            known = ", ".join(validation.scores)
            raise UsageError(f"metric {metric!r} in [validation] is none of the scores: {known}")
        before = self._progress.best_scores.get(metric, -math.inf)
        return validation.scores[metric] > before

    def _with_measured_statistics(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Give weights their own batch statistics, those of windows that no step learns from."""
        hearing = Hearing(*build_modules(self._recipe)).to(self._ranks.device)
        hearing.load_state_dict(tensors)
        n_steps = self._recipe.training.steps
        steps = range(n_steps, n_steps + min(n_steps, MOST_BATCHES))
        share = Share(self._share.n_windows, n_parts=1, process=0, n_processes=1)
        with closing(self._feed(steps, share)) as batches:
            measure_statistics(hearing, partial(self._stepper.loss, hearing), batches)
        measured: dict[str, Tensor] = whole(hearing.state_dict())
        return measured

    def _validate(self, tensors: dict[str, Tensor]) -> Validation:
        front_end, network = build_modules(self._recipe)
        Hearing(front_end, network).load_state_dict(tensors)
        assert self._companions.validator is not None
        return self._companions.validator(network.to(self._ranks.device).eval(), front_end.eval())

    def _export(self, tensors: dict[str, Tensor], moment: Moment) -> None:
        fixed = self._front_end.state_dict()
        named = {f"front_end.{name}": tensor.cpu() for name, tensor in fixed.items()}
        self._companions.exporter(named | tensors, moment)

    def _save(self) -> None:
        """Write the state, from which training could go on. Raises TrainingError where it can't."""
        state = self._gather()
        broken = not_finite(state["weights"]) or not_finite(state["average"] or {})
        if broken:
            raise self._breakdown(_describe_weights(self._progress.step, broken), state)
        self._write(self._options.folder / STATE_FILE, state)

    def _gather(self) -> dict[str, Any]:
        """Gather the state; all processes take part."""
        recipe = recipe_toml(self._recipe)
        return gather_state(self._learner, self._progress, recipe, self._data)

    def _write(self, path: Path, state: dict[str, Any]) -> None:
        if self._ranks.is_first:
            write_state(path, state)

    def _open_log(self) -> RunLog:
        write_atomically(self._options.folder / RECIPE_FILE, recipe_toml(self._recipe))
        progress = self._progress
        log = RunLog(
            self._options.folder,
            progress.step,
            progress.validated_step,
            self._options.wandb_project,
        )
        facts = surroundings(self._ranks.device, self._ranks.n_ranks, self._precision)
        if progress.init:
            facts["init"] = progress.init
        log.write("start", progress.step, facts)
        return log

    def _feed(self, steps: range, share: Share) -> Generator[Batch, None, None]:
        n_workers = self._options.n_workers
        if n_workers is None:
            n_workers = auto_workers(self._ranks.device)
        return feed(self._maker, share, steps, n_workers)

    def _debug(self) -> None:
        if not can_debug():
            self._listener.notice("no debugger: standard input is no terminal")
            return
        breakpoint()  # up one frame: the loop; self._learner and self._stepper are at hand


def _describe_weights(step: int, names: Sequence[str]) -> str:
    more = f" and {len(names) - 1} others" if len(names) > 1 else ""
    return f"by step {step}: {names[0]}{more} in the weights are not finite"


def _share(recipe: Recipe, ranks: Ranks) -> Share:
    training = recipe.training
    n_portions = training.accumulation * ranks.n_ranks
    if training.batch_size % n_portions:
        raise UsageError(
            f"training.batch_size is {training.batch_size}: {ranks.n_ranks} processes with "
            f"training.accumulation {training.accumulation} need a multiple of {n_portions}"
        )
    return Share(
        training.batch_size // n_portions, training.accumulation, ranks.rank, ranks.n_ranks
    )
