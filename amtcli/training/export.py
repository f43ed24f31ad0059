"""What a training has learnt, as a model folder.

``RUN/data.json`` keeps what the packs held, so that a model can be exported, with its card, when
the packs are gone.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from amtcli.catalog import data_folder, shipped_folder
from amtcli.datasets.pack import SPLITS, Pack, PackedRecording, read_manifest
from amtcli.errors import TrainingError, UsageError
from amtcli.files import encoded, write_atomically
from amtcli.model_config import (
    FORMAT,
    WEIGHTS_FILE,
    ModelConfig,
    Provenance,
    StoredWeights,
    read_config,
)
from amtcli.model_folder import load_model, misfits, outline_model
from amtcli.model_writing import rewrite_config, write_model
from amtcli.training.card import (
    CardFacts,
    CurvePoint,
    PackFacts,
    SplitFacts,
    chooses_thresholds,
    data_words,
    protocol_words,
    write_card,
)
from amtcli.training.companions import Exporter, Moment
from amtcli.training.components import build_modules
from amtcli.training.log import read_log
from amtcli.training.recipe import Recipe, read_recipe, recipe_toml
from amtcli.training.run_folder import MODEL_FOLDER, RECIPE_FILE, STATE_FILE
from amtcli.training.state import data_identity, not_finite, read_state

DATA_FILE = "data.json"
BEST, LAST = "best", "last"

_DTYPE = "float32"
_UNKNOWN = "not known yet"
_SURROUNDINGS = {
    "init": "Begun with the weights of",
    "device": "Device",
    "precision": "Precision",
    "n_processes": "Processes",
    "amt": "amt",
    "torch": "PyTorch",
    "python": "Python",
}


@dataclass(frozen=True)
class RunData:
    """What a run was trained on; ``identity`` is that of its state, see `data_identity`."""

    packs: tuple[PackFacts, ...]
    identity: str


def model_config(recipe: Recipe, moment: Moment | None = None, data: str = _UNKNOWN) -> ModelConfig:
    """Make the ``model.toml`` of what a recipe gives, as far as it had come at a moment."""
    tables = dataclasses.asdict(recipe)
    found = moment.validation if moment else None
    step = moment.step if moment else 0
    return ModelConfig(
        format=FORMAT,
        network=recipe.network,
        front_end=recipe.front_end,
        window=recipe.window,
        decoder=found.decoder if found else recipe.decoder,
        precision=recipe.precision,
        weights=StoredWeights(WEIGHTS_FILE, "0" * 64, _DTYPE),
        provenance=Provenance(
            name=recipe.about.name,
            version=str(step),
            description=recipe.about.description,
            data=data,
            protocol=protocol_words(tables, is_best=found is not None),
            seed=recipe.training.seed,
            steps=step,
            scores=dict(found.scores) if found else {},
            licence=recipe.about.licence,
        ),
    )


def make_exporter(
    recipe: Recipe, packs: Sequence[Pack], learnt: Sequence[PackedRecording], run: Path
) -> Exporter:
    """Make what writes ``RUN/model`` each time there is a better one.

    ``learnt`` are the recordings that training draws from, in its order.
    """
    data = RunData(tuple(_pack_facts(pack) for pack in packs), data_identity(learnt))

    def export(tensors: Mapping[str, Tensor], moment: Moment) -> None:
        _write_data(run, data)
        config = model_config(recipe, moment, data_words(data.packs))
        write_model(run / MODEL_FOLDER, config, tensors, _card(run, recipe, data, config))

    return export


def complete_card(run: Path) -> None:
    """Write the card of ``RUN/model`` anew, with all that happened after its weights were kept."""
    recipe, data = _read_recipe(run), _read_data(run)
    config = read_config(run / MODEL_FOLDER)
    rewrite_config(run / MODEL_FOLDER, config, _card(run, recipe, data, config))


@dataclass(frozen=True)
class Exported:
    """A model that was exported: its name, its folder, and after how many steps it stood."""

    name: str
    folder: Path
    step: int


def export_run(
    run: Path, folder: Path | None = None, name: str | None = None, weights: str = BEST
) -> Exported:
    """Export a model from a run, which may still go on.

    ``weights`` are the best so far, or the last that the run has saved. Without ``folder`` it
    goes among the user's models, where ``--model`` finds it by its name, by default that of
    the recipe. Raises TrainingError where the run has nothing of the kind, UsageError for a name
    that is none or is taken.
    """
    recipe, data = _read_recipe(run), _read_data(run)
    if weights == LAST:
        config, tensors = _last(run, recipe, data)
    else:
        config, tensors = _best(run)
    config = _named(config, name or recipe.about.name)
    is_named = folder is None
    if folder is None:
        folder = data_folder() / config.provenance.name
        _refuse_taken(config.provenance.name, folder, shipped_folder() / config.provenance.name)
    else:
        _refuse_taken(config.provenance.name, folder)
    card = _card(run, recipe, data, config, is_named=is_named)
    write_model(folder, config, tensors, card)
    return Exported(config.provenance.name, folder, int(config.provenance.steps))


def _best(run: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    if not (run / MODEL_FOLDER).is_dir():
        raise TrainingError(f"{run / MODEL_FOLDER} is gone; --weights last will do")
    model = load_model(run / MODEL_FOLDER)
    return model.config, _tensors(model.front_end, model.network)


def _last(run: Path, recipe: Recipe, data: RunData) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Return configuration and weights of the last state."""
    state = read_state(run / STATE_FILE, recipe_toml(recipe), data.identity)
    progress = state["progress"]
    best = read_config(run / MODEL_FOLDER) if (run / MODEL_FOLDER).is_dir() else None
    if best is not None and best.provenance.steps == progress["step"]:
        return _best(run)
    config = model_config(recipe, Moment(progress["step"], 0.0, None), data_words(data.packs))
    scores = next((p.scores for p in _curve(run) if p.step == progress["step"]), {})
    chosen = chooses_thresholds(dataclasses.asdict(recipe))
    if chosen or recipe.training.batch_statistics == "measured":
        scores = {}  # of statistics or thresholds that the state does not hold
    provenance = dataclasses.replace(config.provenance, scores=scores)
    # Thresholds chosen for the best are near those of the last.
    decoder = config.decoder if best is None else best.decoder
    config = dataclasses.replace(config, decoder=decoder, provenance=provenance)
    front_end, _ = build_modules(recipe)
    tensors = {f"front_end.{name}": tensor for name, tensor in front_end.state_dict().items()}
    tensors |= state["average"] or state["weights"]
    if problems := misfits(outline_model(config, run), tensors):
        raise TrainingError(
            f"{run / STATE_FILE} is of another version of this network: {problems}; train anew, "
            "or export with that version of amt"
        )
    if broken := not_finite(tensors):
        raise TrainingError(f"{run / STATE_FILE} holds weights that are not finite: {broken[0]}")
    return config, tensors


def _tensors(front_end: nn.Module, network: nn.Module) -> dict[str, Tensor]:
    parts = {"front_end": front_end, "network": network}
    return {
        f"{part}.{name}": tensor
        for part, module in parts.items()
        for name, tensor in module.state_dict().items()
    }


def _count_parameters(config: ModelConfig, folder: Path) -> int:
    outline = outline_model(config, folder)
    modules = (outline.front_end, outline.network)
    return sum(weight.numel() for module in modules for weight in module.parameters())


def _named(config: ModelConfig, name: str) -> ModelConfig:
    try:
        provenance = dataclasses.replace(config.provenance, name=name)
    except ValueError as error:
        raise UsageError(f"a model cannot be called that: {error}") from error
    return dataclasses.replace(config, provenance=provenance)


def _refuse_taken(name: str, *folders: Path) -> None:
    """Refuse to put a model where another is."""
    for folder in folders:
        if folder.exists():
            raise UsageError(
                f"{folder} is there already: choose another name than {name} with --as, or "
                "another folder with -o"
            )


def _card(
    run: Path, recipe: Recipe, data: RunData, config: ModelConfig, *, is_named: bool = False
) -> str:
    log = read_log(run)
    trained = [line for line in log if line["kind"] == "train"]
    started: dict[str, Any] = {}
    for line in log:  # of several starts the last counts; only the first tells of --init
        started |= line if line["kind"] == "start" else {}
    step = int(config.provenance.steps)
    return write_card(
        CardFacts(
            name=config.provenance.name,
            is_named=is_named,
            n_parameters=_count_parameters(config, run),
            recipe=dataclasses.asdict(recipe),
            protocol=config.provenance.protocol,
            decoder=config.decoder,
            packs=data.packs,
            step=step,
            last_step=max([step, *(line["step"] for line in log)]),
            hours=(trained[-1]["elapsed_s"] if trained else 0.0) / 3600,
            surroundings={
                word: started[name] for name, word in _SURROUNDINGS.items() if name in started
            },
            curve=_curve(run),
            scores=config.provenance.scores,
        )
    )


def _curve(run: Path) -> list[CurvePoint]:
    """Read the validations off a run's log."""
    points = []
    for line in read_log(run):
        if line["kind"] == "validation":
            scores = {k: v for k, v in line.items() if isinstance(v, float)}
            points.append(CurvePoint(line["step"], scores))
    return points


def _pack_facts(pack: Pack) -> PackFacts:
    splits: dict[str, SplitFacts] = {}
    for name in SPLITS:
        recordings = pack.split(name)
        if recordings:
            hours = sum(recording.duration_s for recording in recordings) / 3600
            splits[name] = SplitFacts(len(recordings), hours)
    folder_name = encoded(pack.folder.resolve().name).decode()
    return PackFacts(folder_name, read_manifest(pack.folder).dataset, splits)


def _write_data(run: Path, data: RunData) -> None:
    text = json.dumps(dataclasses.asdict(data), indent=1, ensure_ascii=False) + "\n"
    write_atomically(run / DATA_FILE, text.encode())


def _read_data(run: Path) -> RunData:
    path = run / DATA_FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        packs = tuple(
            PackFacts(
                pack["name"],
                pack["dataset"],
                {name: SplitFacts(**split) for name, split in pack["splits"].items()},
            )
            for pack in document["packs"]
        )
        return RunData(packs, document["identity"])
    except FileNotFoundError:
        raise TrainingError(
            f"{run} has no model yet: the first comes with its first validation"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path} is damaged: train on with --resume auto") from error


def _read_recipe(run: Path) -> Recipe:
    if not (run / RECIPE_FILE).is_file():
        raise TrainingError(f"{run} is no run: it has no {RECIPE_FILE}; name the folder of a run")
    return read_recipe(run / RECIPE_FILE)
