"""A page on what refining has changed: velocities over time, their distributions, old to new."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from amtcli.evaluation.plots import EXTRA, LINE, MISSED, STYLE, WIDTH_IN
from amtcli.files import write_atomically
from amtcli.refinement.mapping import local_mean
from amtcli.refinement.refining import Refined, describe

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BEFORE, AFTER = MISSED, EXTRA
HEIGHT_IN = 5.0


def plot_refined(refined: Refined, path: Path) -> None:
    """Write ``<path>.png`` and ``<path>.pdf``."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        figure = draw_refined(refined)
        for suffix in ("png", "pdf"):
            image = io.BytesIO()
            figure.savefig(image, format=suffix, dpi=200)
            write_atomically(path.with_name(f"{path.name}.{suffix}"), image.getvalue())


def draw_refined(refined: Refined) -> Figure:
    """Draw velocities over time above their distributions and the change of each note."""
    onsets_s = np.array([note.heard_s for note in refined.notes])
    before = np.array([note.velocity_before for note in refined.notes], np.float64)
    after = np.array([note.velocity_after for note in refined.notes], np.float64)
    figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN), layout="constrained")
    axes: Any = figure.subplot_mosaic([["time", "time"], ["counts", "change"]])
    _draw_over_time(axes["time"], onsets_s, (before, after))
    _draw_counts(axes["counts"], (before, after))
    _draw_change(axes["change"], before, after)
    title = f"{refined.name}\n{len(before)} notes, {describe(refined.placement)}"
    figure.suptitle(title, x=0.01, ha="left", fontsize=8, parse_math=False)
    return figure


def _draw_over_time(
    axes: Axes,
    onsets_s: NDArray[np.float64],
    sides: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> None:
    order = np.argsort(onsets_s, kind="stable")
    times_s = onsets_s[order]
    for label, colour, velocities in zip(("before", "after"), (BEFORE, AFTER), sides, strict=True):
        values = velocities[order]
        axes.scatter(times_s, values, s=4, color=colour, alpha=0.4, linewidths=0, rasterized=True)
        axes.plot(times_s, local_mean(values, times_s), color=colour, linewidth=0.8, label=label)
    axes.set(xlabel="time in the recording (s)", ylabel="velocity", ylim=(0, 128))
    axes.legend(frameon=False, ncols=2, loc="upper right")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_counts(axes: Axes, sides: tuple[NDArray[np.float64], NDArray[np.float64]]) -> None:
    bins = np.arange(0.5, 132, 4).tolist()
    for colour, velocities in zip((BEFORE, AFTER), sides, strict=True):
        axes.hist(velocities, bins=bins, color=colour, alpha=0.6)
    axes.set(xlabel="velocity", ylabel="notes", xlim=(0, 128))
    axes.spines[["top", "right"]].set_visible(False)


def _draw_change(axes: Axes, before: NDArray[np.float64], after: NDArray[np.float64]) -> None:
    axes.plot([0, 127], [0, 127], color=LINE, linewidth=0.6, linestyle=":")
    axes.scatter(before, after, s=5, color=AFTER, alpha=0.35, linewidths=0, rasterized=True)
    axes.set(xlim=(0, 128), ylim=(0, 128), aspect="equal", xticks=range(0, 128, 32))
    axes.set(yticks=range(0, 128, 32), xlabel="velocity before", ylabel="velocity after")
