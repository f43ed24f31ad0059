"""A result as tables for a terminal: the conventions, the mean over pieces, the worst pieces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from amtcli.evaluation.beats import BEAT_TOLERANCE_S, LEFT_OUT_S
from amtcli.evaluation.compare import Comparison
from amtcli.evaluation.conventions import Conventions
from amtcli.evaluation.results import Document

N_WORST = 5
WORST_COLUMNS = {
    "onset_f1": "onset",
    "onset_offset_f1": "+ offset",
    "onset_velocity_f1": "+ velocity",
    "onset_offset_velocity_f1": "+ both",
    "frame_f1": "frame",
    "velocity_mae": "velocity MAE",
    "onset_deviation_median_ms": "late by ms",
}
DETAILS = {
    "velocity_mae": ("velocity error, matched notes: MAE", ""),
    "velocity_std": ("  standard deviation", ""),
    "velocity_bias": ("  bias", ""),
    "velocity_r": ("  Pearson r", ""),
    "velocity_mae_fitted": ("  MAE after each piece's line", ""),
    "velocity_all_mae": ("velocity error, all notes: MAE", ""),
    "velocity_all_std": ("  standard deviation", ""),
    "velocity_all_bias": ("  bias", ""),
    "velocity_all_r": ("  Pearson r", ""),
    "velocity_all_mae_fitted": ("  MAE after each piece's line", ""),
    "velocity_all_mae_of_mean": ("  MAE of the mean velocity (pooled: of a constant)", ""),
    "velocity_all_spread": ("  spread of velocities, as a share of the reference's", ""),
    "onset_deviation_median_ms": ("onsets late by: median", " ms"),
    "onset_deviation_p05_ms": ("  5th percentile", " ms"),
    "onset_deviation_p95_ms": ("  95th percentile", " ms"),
    "offset_deviation_median_ms": ("offsets late by: median", " ms"),
    "offset_deviation_p05_ms": ("  5th percentile", " ms"),
    "offset_deviation_p95_ms": ("  95th percentile", " ms"),
    "onset_drift_ms_per_min": ("onset drift", " ms/min"),
    "dynamics_accuracy": ("dynamics at matched beats: accuracy", ""),
    "dynamics_f1": ("  F1, weighted by class", ""),
}


def render_report(document: Document, conventions: Conventions) -> RenderableType:
    """All that a person wants to see of a result."""
    return Group(
        *_header(document, conventions),
        "",
        _score_table(document["aggregate"]),
        "",
        _detail_table(document["aggregate"]),
        "",
        _worst_table(document["per_file"]),
    )


def _header(document: Document, conventions: Conventions) -> Iterator[Text]:
    settings = document["settings"]
    n_pieces = settings["n_pieces"]
    words = [f"{n_pieces} piece{'s' if n_pieces != 1 else ''}"]
    words += [str(settings[key]) for key in ("dataset", "model") if settings.get(key)]
    words.append(f"a missing estimate: {_MISSING_WORDS[settings['missing']]}")
    yield Text(", ".join(words), style="bold")
    for phrase in conventions.describe():
        yield Text(phrase)
    if "beat_f1" in document["aggregate"]:
        yield Text(
            f"beats: within {1000 * BEAT_TOLERANCE_S:g} ms, without the first {LEFT_OUT_S:g} s"
        )


_MISSING_WORDS = {"zero": "scores 0", "error": "not allowed", "ignore": "left out"}


def _score_table(aggregate: Document) -> Table:
    """One row per kind of match; means over pieces, the spread of F1, and F1 of all notes."""
    table = Table(box=None, pad_edge=False, title="mean over pieces", title_justify="left")
    table.add_column("")
    for heading in ("P", "R", "F1", "SD", "95 % interval", "pooled F1", "pieces"):
        table.add_column(heading, justify="right")
    for name, f1 in aggregate.items():
        family, found, ending = name.partition("_f1")
        if not found or f1["n"] == 0 or name in DETAILS:
            continue
        table.add_row(
            _words(family, ending),
            _score(aggregate[f"{family}_precision{ending}"]["mean"]),
            _score(aggregate[f"{family}_recall{ending}"]["mean"]),
            Text(_score(f1["mean"]), style="bold"),
            _score(f1["std"]),
            f"{_score(f1['low'])}-{_score(f1['high'])}" if f1["low"] is not None else "",
            _score(f1["pooled"]),
            str(f1["n"]),
        )
    return table


_HEADINGS = {"change": "change of dynamics"}


def _words(family: str, ending: str) -> str:
    """Turn a score's name into a heading; what is asked beside the onset stands below it."""
    whose, pedal, kind = family.rpartition("pedal_")
    first, _, more = kind.partition("_")
    if more:
        return f"  + {more.replace('_', ', ')}"
    words = (whose + pedal).replace("_", " ") + _HEADINGS.get(first, first)
    tolerance, centred, _ = ending.partition("_centred")
    if tolerance:
        words += f" {tolerance[1:-2]} ms"
    return words + (", lag removed" if centred else "")


def _detail_table(aggregate: Document) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for heading in ("mean", "SD", "pooled"):
        table.add_column(heading, justify="right")
    for name, (words, unit) in DETAILS.items():
        entry = aggregate.get(name)
        if entry is None or entry["n"] == 0:
            continue
        values = [entry[key] for key in ("mean", "std", "pooled")]
        table.add_row(words, *("" if v is None else f"{v:.2f}{unit}" for v in values))
    return table


def _worst_table(pieces: list[Document]) -> Table:
    """List the pieces with the lowest onset F1."""
    scored = [row for row in pieces if row["onset_f1"] is not None]
    ordered = sorted(scored, key=lambda row: float(row["onset_f1"]))
    table = Table(box=None, pad_edge=False, title="worst by onset F1", title_justify="left")
    table.add_column("piece", overflow="ellipsis", no_wrap=True, ratio=1)
    for heading in WORST_COLUMNS.values():
        table.add_column(heading, justify="right")
    for row in ordered[:N_WORST]:
        name = Text(row["name"])
        if row["status"] != "scored":
            name.append(f" ({row['status']})", style="red")
        table.add_row(name, *(_cell(column, row.get(column)) for column in WORST_COLUMNS))
    return table


def _cell(column: str, value: float | None) -> str:
    if value is None:
        return "-"
    return _score(value) if column.endswith("f1") else f"{value:.1f}"


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def render_comparison(comparison: Comparison, name_a: str, name_b: str) -> RenderableType:
    """Differences of B from A, most interesting scores first, and the pieces behind them."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for heading in ("A", "B", "B - A", "95 % interval", "p", "better", "worse", "pieces"):
        table.add_column(heading, justify="right")
    for row in comparison.differences:
        if not row.score.partition("_f1")[1] and "mae" not in row.score:
            continue
        sure = row.p is not None and row.p < 0.05
        table.add_row(
            row.score,
            f"{row.mean_a:.4f}",
            f"{row.mean_b:.4f}",
            Text(f"{row.difference:+.4f}", style="bold" if sure else ""),
            "" if row.low is None else f"{row.low:+.4f} {row.high:+.4f}",
            "" if row.p is None else f"{row.p:.2g}",
            str(row.n_better),
            str(row.n_worse),
            str(row.n),
        )
    return Group(
        Text(f"A: {name_a}"),
        Text(f"B: {name_b}"),
        *_warnings("not scored alike", comparison.unlike_settings),
        *_warnings("only in A, left out", comparison.only_in_a),
        *_warnings("only in B, left out", comparison.only_in_b),
        "",
        table,
        Text("p: Wilcoxon's signed-rank test on the pieces, each score by itself"),
        *_changes("improved", comparison.improved, comparison.differences[0].score),
        *_changes("worsened", comparison.worsened, comparison.differences[0].score),
    )


def _warnings(what: str, words: tuple[str, ...]) -> Iterator[Text]:
    if words:
        yield Text(f"{what}: {', '.join(words)}", style="yellow")


def _changes(verb: str, changes: tuple[tuple[str, float], ...], score: str) -> Iterator[Any]:
    if not changes:
        return
    yield ""
    yield Text(f"most {verb} by {score}")
    for name, change in changes:
        yield Text(f"  {change:+.4f}  {name}")
