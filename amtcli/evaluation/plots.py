"""One page per piece: reference against estimate, velocities, deviations.

Drawn at the width of a printed page, as ``.png`` to look at and ``.pdf`` to print, in colours
that remain apart for colour-blind readers (Okabe and Ito).
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from amtcli.evaluation.matching import Matching
from amtcli.evaluation.note_arrays import NoteArrays
from amtcli.evaluation.piece import Notes, PieceScores
from amtcli.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HIT, MISSED, EXTRA, LINE = "#a7adb5", "#d55e00", "#0072b2", "#222222"
WIDTH_IN = 7.2
ROW_HEIGHT_IN, LOWER_HEIGHT_IN = 1.4, 2.3
SHORTEST_ROW_S = 30.0
N_ROWS_AT_MOST = 8
# More than the semitone between two keys, so that a bar shows on a roll of seven octaves.
BAR_HEIGHT = 1.3
# Narrower bars would vanish on a long row.
NARROWEST_BAR = 1 / 800
STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "pdf.fonttype": 42,
}


def plot_piece(
    name: str, notes: Notes, matching: Matching, piece: PieceScores, folder: Path
) -> None:
    """Write ``<folder>/<name>.png`` and ``.pdf``; ``matching`` says which notes are hits."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        figure = draw_piece(name, notes, matching, piece)
        for suffix in ("png", "pdf"):
            image = io.BytesIO()
            figure.savefig(image, format=suffix, dpi=200)
            path = folder / name
            write_atomically(path.with_name(f"{path.name}.{suffix}"), image.getvalue())


def draw_piece(name: str, notes: Notes, matching: Matching, piece: PieceScores) -> Figure:
    """Draw the piano roll in rows of equal length above the two distributions."""
    end_s = max((float(side.offsets_s.max()) for side in notes if len(side)), default=0.0)
    n_rows = min(N_ROWS_AT_MOST, max(1, math.ceil(end_s / SHORTEST_ROW_S)))
    row_s = max(end_s, 1.0) / n_rows
    height_in = n_rows * ROW_HEIGHT_IN + LOWER_HEIGHT_IN + 0.4
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=[n_rows * ROW_HEIGHT_IN, LOWER_HEIGHT_IN])
    upper, lower = parts
    rows = upper.subplots(n_rows, 1, squeeze=False)[:, 0]
    _draw_roll(list(rows), row_s, notes, matching)
    legend = _legend(notes, matching)
    figure.legend(handles=legend, loc="outside upper right", ncols=3, frameon=False)
    figure.suptitle(_title(name, piece), x=0.01, ha="left", fontsize=8, parse_math=False)
    left, right = lower.subplots(1, 2)
    _draw_velocities(left, piece)
    _draw_deviations(right, piece)
    return figure


def _title(name: str, piece: PieceScores) -> str:
    f1 = [piece.scores[f"{kind}_f1"] or 0.0 for kind in ("onset", "onset_offset")]
    return f"{name}\nF1: onset {f1[0]:.4f}, onset and offset {f1[1]:.4f}"


def _legend(notes: Notes, matching: Matching) -> list[Patch]:
    n_hits = len(matching)
    return [
        Patch(color=HIT, label=f"hit ({n_hits})"),
        Patch(color=MISSED, label=f"missed ({len(notes[0]) - n_hits})"),
        Patch(color=EXTRA, label=f"extra ({len(notes[1]) - n_hits})"),
    ]


def _draw_roll(rows: list[Axes], row_s: float, notes: Notes, matching: Matching) -> None:
    reference, estimate = notes
    hit = np.isin(np.arange(len(reference)), matching[:, 0])
    right = np.isin(np.arange(len(estimate)), matching[:, 1])
    bars = [
        (HIT, _bars(reference, hit, row_s)),
        (MISSED, _bars(reference, ~hit, row_s)),
        (EXTRA, _bars(estimate, ~right, row_s)),
    ]
    pitches = np.concatenate([reference.pitches, estimate.pitches])
    lowest, highest = (pitches.min(), pitches.max()) if len(pitches) else (48, 72)
    octaves = [c for c in range(0, 128, 12) if lowest - 2 <= c <= highest + 2]
    for index, axes in enumerate(rows):
        for colour, corners in bars:
            axes.add_collection(PolyCollection(list(corners), facecolors=colour, linewidths=0))
        axes.set_xlim(index * row_s, (index + 1) * row_s)
        axes.set_ylim(lowest - 2, highest + 2)
        axes.set_yticks(octaves, [f"C{c // 12 - 1}" for c in octaves])
        axes.grid(axis="y", linewidth=0.3, color="#dddddd")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    rows[-1].set_xlabel("time (s)")


def _bars(notes: NoteArrays, chosen: NDArray[np.bool_], row_s: float) -> NDArray[np.float64]:
    """(n, 4, 2): the corners of a bar for each chosen note, in seconds and MIDI numbers."""
    onset, low = notes.onsets_s[chosen], notes.pitches[chosen] - BAR_HEIGHT / 2
    offset, high = (
        np.maximum(notes.offsets_s[chosen], onset + row_s * NARROWEST_BAR),
        low + BAR_HEIGHT,
    )
    corners = [(onset, low), (offset, low), (offset, high), (onset, high)]
    return np.stack([np.column_stack(corner) for corner in corners], axis=1)


def _draw_velocities(axes: Axes, piece: PieceScores) -> None:
    reference, estimate = piece.samples.velocities.T
    axes.plot([0, 127], [0, 127], color=LINE, linewidth=0.6, linestyle=":")
    axes.scatter(reference, estimate, s=5, color=EXTRA, alpha=0.35, linewidths=0, rasterized=True)
    axes.set(xlim=(0, 127), ylim=(0, 127), aspect="equal", xticks=range(0, 128, 32))
    axes.set(yticks=range(0, 128, 32), xlabel="reference velocity", ylabel="estimated velocity")
    lines = [("MAE", "velocity_mae", ".1f"), ("bias", "velocity_bias", "+.1f")]
    _write(axes, piece, [*lines, ("r", "velocity_r", ".2f")])


def _draw_deviations(axes: Axes, piece: PieceScores) -> None:
    deviations_ms = 1000 * piece.samples.deviations_s[:, 0]
    middle = piece.scores["onset_deviation_median_ms"] or 0.0
    reach = max(5.0, float(np.max(np.abs(deviations_ms - middle), initial=0.0)))
    bins = np.linspace(middle - reach, middle + reach, 51)
    axes.hist(deviations_ms, bins=bins.tolist(), color=EXTRA)
    axes.axvline(0, color=LINE, linewidth=0.6, linestyle=":")
    axes.axvline(middle, color=MISSED, linewidth=1)
    axes.set(xlabel="onset deviation (ms, late is positive)", ylabel="notes")
    axes.spines[["top", "right"]].set_visible(False)
    lines = [("median (ms)", "onset_deviation_median_ms", "+.1f")]
    lines += [(f"{p}th", f"onset_deviation_p{p:02d}_ms", "+.1f") for p in (5, 95)]
    _write(axes, piece, lines)


def _write(axes: Axes, piece: PieceScores, lines: list[tuple[str, str, str]]) -> None:
    """Put a few scores into the upper left corner."""
    known: list[tuple[str, Any, str]] = [
        (words, piece.scores.get(name), form) for words, name, form in lines
    ]
    text = "\n".join(f"{w} {value:{form}}" for w, value, form in known if value is not None)
    axes.text(0.03, 0.97, text, transform=axes.transAxes, va="top", fontsize=7)
