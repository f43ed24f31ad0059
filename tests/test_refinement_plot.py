import numpy as np
import pytest

from amtcli.alignment import Alignment
from amtcli.refinement.refining import Refined, RefinedNote

pytest.importorskip("matplotlib")

from amtcli.refinement.plot import draw_refined, plot_refined

BEFORE, AFTER = (64, 64, 90), (50, 70, 127)
REFINED = Refined(
    "a.mid",
    b"",
    tuple(
        RefinedNote("a.mid", i, float(i), i + 0.1, 60, 0, 0, before, float(after), after)
        for i, (before, after) in enumerate(zip(BEFORE, AFTER, strict=True))
    ),
    Alignment(0.1, 0.0, 1.0),
)


def test_both_sides_of_every_note_are_drawn():
    figure = draw_refined(REFINED)
    over_time, counts, change = figure.axes
    before, after = (points.get_offsets() for points in over_time.collections)
    np.testing.assert_allclose(before, np.column_stack([[0.1, 1.1, 2.1], BEFORE]))
    np.testing.assert_allclose(after, np.column_stack([[0.1, 1.1, 2.1], AFTER]))
    np.testing.assert_allclose(
        change.collections[0].get_offsets(), np.column_stack([BEFORE, AFTER])
    )
    assert sum(bar.get_height() for bar in counts.patches) == 2 * len(BEFORE)
    assert "3 notes, recording 100 ms behind the score" in figure.get_suptitle()


def test_files_appear_beside_each_other(tmp_path):
    plot_refined(REFINED, tmp_path / "x" / "a.b")
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == ["a.b.pdf", "a.b.png"]
