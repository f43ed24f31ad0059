"""The card of a trained model: what happened, for those who will use it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# The metric of networks that give no notes: the loss, negative, so that more is better.
NEG_LOSS = "neg_loss"

_WIDTH = 100
_CURVE_ROWS = 12
_CURVE_SCORES = 4


@dataclass(frozen=True)
class SplitFacts:
    """How much of a pack belongs to one split."""

    n_recordings: int
    hours: float


@dataclass(frozen=True)
class PackFacts:
    """A pack: the name of its folder, the data set it was made of, its splits by name."""

    name: str
    dataset: str
    splits: dict[str, SplitFacts]


@dataclass(frozen=True)
class CurvePoint:
    """The scores of one validation."""

    step: int
    scores: dict[str, float]


@dataclass(frozen=True)
class CardFacts:
    """All that a card says.

    ``recipe`` is the recipe as nested tables, ``decoder`` the model's own ``[decoder]``.
    ``surroundings`` is what the training ran on, by name. ``hours`` of training are those until
    its last step, ``step`` that of the weights; ``scores`` are theirs, empty without validation.
    ``protocol`` is that of `protocol_words`. ``is_named``: ``--model`` finds the model by name.
    """

    name: str
    is_named: bool
    n_parameters: int
    recipe: Mapping[str, Any]
    protocol: str
    decoder: Mapping[str, Any]
    packs: Sequence[PackFacts]
    step: int
    last_step: int
    hours: float
    surroundings: Mapping[str, Any]
    curve: Sequence[CurvePoint]
    scores: Mapping[str, float]


def write_card(facts: CardFacts) -> str:
    """Write the card, Markdown."""
    about, front_end = facts.recipe["about"], facts.recipe["front_end"]
    architecture = facts.recipe["network"]["architecture"]
    window, rate_hz = facts.recipe["window"], front_end["sample_rate_hz"]
    window_s, hop_s = (window[key] / rate_hz for key in ("length_samples", "hop_samples"))
    sections = [
        f"# {facts.name}\n\n{_paragraph(about['description'] + '.')}",
        _table(
            ("", ""),
            [
                ("Input", f"piano recordings of any length, resampled to {rate_hz} Hz"),
                (
                    "Network",
                    f"{architecture}, front-end {front_end['kind']}",
                ),
                ("Windows", f"{window_s:.2f} s, every {hop_s:.2f} s"),
                ("Size", f"{facts.n_parameters:,} parameters"),
                ("Weights", f"those after step {facts.step:,}{_averaged(facts.recipe)}"),
            ],
        ),
        "Written by `amt train` from what happened; `model.toml` has every setting.",
        f"## Data\n\n{data_words(facts.packs)}\n\n{_data_table(facts.packs)}",
        f"## Training\n\n{_paragraph(facts.protocol)}\n\n{_training_table(facts)}",
        _scores_section(facts),
        _decoder_section(facts),
        f"## Licence\n\n{_paragraph(about['licence'])}",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def data_words(packs: Sequence[PackFacts]) -> str:
    """Say in one line what a model was trained on."""
    parts = []
    for pack in packs:
        split = pack.splits.get("train", SplitFacts(0, 0.0))
        parts.append(
            f"{pack.name} ({pack.dataset}): {split.n_recordings} recordings, {split.hours:.1f} h"
        )
    return "; ".join(parts)


def protocol_words(recipe: Mapping[str, Any], *, is_best: bool) -> str:
    """Say in a few sentences how a model was trained and chosen: the best one, or not at all."""
    training = recipe["training"]
    window_s = recipe["sampling"]["length_samples"] / recipe["front_end"]["sample_rate_hz"]
    augmented = "with" if recipe["augmentation"] else "without"
    chosen = _choice_words(recipe["validation"]) if is_best else "These weights are the last."
    return (
        f"Trained on the split train, in windows of {window_s:g} s {augmented} augmentation, "
        f"{training['batch_size']} per step. {chosen}"
    )


def chooses_thresholds(recipe: Mapping[str, Any]) -> bool:
    """Tell whether each validation chooses settings of the decoder."""
    validation = recipe["validation"]
    return bool(validation["thresholds"]) and validation["metric"] != NEG_LOSS


def _choice_words(validation: Mapping[str, Any]) -> str:
    count, excerpt_s = validation["n_recordings"], validation["excerpt_s"]
    measured = f"at most {count} recordings" if count else "all recordings"
    stretch = f", the first {excerpt_s:g} s of each" if excerpt_s else ", whole"
    return (
        f"The best by {validation['metric']} on the split validation ({measured}{stretch}), "
        f"measured every {validation['every_steps']} steps, is kept."
    )


def _averaged(recipe: Mapping[str, Any]) -> str:
    decay = recipe["training"]["ema_decay"]
    return f", averaged exponentially ({decay:g})" if decay else ""


def _data_table(packs: Sequence[PackFacts]) -> str:
    rows = [
        (pack.name, name, str(split.n_recordings), f"{split.hours:.2f}")
        for pack in packs
        for name, split in pack.splits.items()
    ]
    return _table(("pack", "split", "recordings", "hours"), rows)


def _training_table(facts: CardFacts) -> str:
    optimiser, schedule = facts.recipe["optimiser"], facts.recipe["schedule"]
    rows = [
        ("Seed", str(facts.recipe["training"]["seed"])),
        ("Batch statistics", facts.recipe["training"]["batch_statistics"]),
        ("Steps", f"{facts.last_step:,} of {facts.recipe['training']['steps']:,}"),
        ("Time in steps", _duration_words(facts.hours)),
        ("Objective", str(facts.recipe["objective"]["kind"])),
        (
            "Optimiser",
            f"{optimiser['kind']}, learning rate {optimiser['learning_rate']:g}, "
            f"schedule {schedule['kind']}",
        ),
        *((name, str(value)) for name, value in facts.surroundings.items()),
    ]
    return _table(("", ""), rows)


def _scores_section(facts: CardFacts) -> str:
    if not facts.scores and not facts.curve:
        return "## Scores\n\nNot validated while it was trained."
    if not facts.scores:
        words = (
            "Not validated as it is: validations of this training were of other weights, batch "
            "statistics or settings of the decoder."
        )
        return f"## Scores\n\n{_paragraph(words)}"
    named = _table(
        ("score", "validation"), [(name, f"{value:.4f}") for name, value in facts.scores.items()]
    )
    how = "mean over recordings, by the engine and the code of `amt evaluate`"
    if facts.recipe["validation"]["metric"] == NEG_LOSS:
        how = "the objective's mean loss over windows, negative"
    informed = " --velocity" if facts.decoder["kind"] == "score_velocities" else ""
    address = facts.name if facts.is_named else "FOLDER"
    this = "" if facts.is_named else ", FOLDER being this one"
    words = _paragraph(
        f"Of these weights on the split validation, {how}. For other recordings: "
        f"`amt evaluate REFERENCES{informed} --model {address}`{this}."
    )
    return f"## Scores\n\n{words}\n\n{named}\n\n{_curve_table(facts)}"


def _curve_table(facts: CardFacts) -> str:
    """Show some of the validations: first, last, the chosen one, others spread between."""
    metric = facts.recipe["validation"]["metric"]
    others = [name for name in facts.scores if name != metric and name.endswith("_f1")]
    names = [metric, *others[: _CURVE_SCORES - 1]]
    rows = [
        (f"{point.step:,}", *(_cell(point.scores.get(name)) for name in names))
        for point in thinned(facts.curve, facts.step, _CURVE_ROWS)
    ]
    return _table(("step", *names), rows)


def thinned(curve: Sequence[CurvePoint], step: int, n_rows: int) -> list[CurvePoint]:
    """Take about ``n_rows`` points evenly, with the first, the last and that of ``step``."""
    last = len(curve) - 1
    places = {round(k * last / (n_rows - 1)) for k in range(n_rows)} if curve else set()
    places |= {place for place, point in enumerate(curve) if point.step == step}
    return [curve[place] for place in sorted(places)]


def _decoder_section(facts: CardFacts) -> str:
    is_chosen = facts.scores or facts.decoder != facts.recipe["decoder"]
    if not (chooses_thresholds(facts.recipe) and is_chosen):
        return ""
    rows = [
        (f"`{name}`", f"{facts.decoder[name]:g}", ", ".join(f"{value:g}" for value in values))
        for name, values in facts.recipe["validation"]["thresholds"].items()
    ]
    how = (
        "on the same validation recordings, whose scores they flatter a little"
        if facts.scores
        else "on the validation recordings for the best weights of this training, not for these"
    )
    return f"## Decoder\n\n{_paragraph(f'These settings were chosen {how}.')}\n\n" + _table(
        ("setting", "chosen", "among"), rows
    )


def _duration_words(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [_row(head), "|" + "---|" * len(head), *map(_row, rows)]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "|" + "".join(f" {_escaped(cell)} |" if cell else " |" for cell in cells)


def _escaped(cell: str) -> str:
    return " ".join(cell.replace("|", "\\|").split())


def _paragraph(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), _WIDTH)
