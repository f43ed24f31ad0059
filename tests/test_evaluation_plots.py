import numpy as np
import pytest
from evaluation_data import melody, notes, with_faults

from amtcli.evaluation.conventions import Conventions
from amtcli.evaluation.matching import match_notes, onset_rule
from amtcli.evaluation.piece import compared_notes, score_piece

pytest.importorskip("matplotlib")

from amtcli.evaluation.plots import EXTRA, HIT, MISSED, draw_piece, plot_piece

CONVENTIONS = Conventions()


def drawn(reference, estimate):
    sides = compared_notes(reference, estimate, CONVENTIONS)
    matching = match_notes(*sides, onset_rule(CONVENTIONS, 0.05))
    return sides, matching, score_piece(reference, estimate, CONVENTIONS)


def n_bars(axes):
    """How many bars of each colour a row of the roll has."""
    from matplotlib.colors import to_hex

    return {
        to_hex(bars.get_facecolor()[0]): len(bars.get_paths())
        for bars in axes.collections
        if len(bars.get_paths())
    }


def test_the_roll_shows_hits_misses_and_extras():
    reference = notes((0, 1, 60), (1, 2, 62), (2, 3, 64), (3, 4, 65))
    estimate = notes((0, 1, 60), (1, 2, 62), (2, 3, 63))
    figure = draw_piece("a piece", *drawn(reference, estimate))
    roll = figure.subfigs[0].axes
    assert len(roll) == 1
    assert n_bars(roll[0]) == {HIT: 2, MISSED: 2, EXTRA: 1}
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["hit (2)", "missed (2)", "extra (1)"]
    assert "onset 0.5714" in figure.get_suptitle()


def test_a_long_piece_is_broken_into_rows_that_join():
    long = notes(*((k, k + 0.5, 60) for k in range(100)))
    rows = draw_piece("long", *drawn(long, long)).subfigs[0].axes
    limits = [axes.get_xlim() for axes in rows]
    assert len(rows) == 4
    assert limits[0][0] == 0
    assert limits[-1][1] == pytest.approx(99.5)
    np.testing.assert_allclose(
        [right for _, right in limits[:-1]], [left for left, _ in limits[1:]]
    )


def test_velocities_and_deviations_are_those_of_the_piece():
    reference = melody()
    sides, matching, piece = drawn(reference, with_faults(reference, 0))
    velocities, deviations = draw_piece("m", sides, matching, piece).subfigs[1].axes
    np.testing.assert_array_equal(velocities.collections[0].get_offsets(), piece.samples.velocities)
    assert sum(bar.get_height() for bar in deviations.patches) == len(piece.samples.deviations_s)
    median = piece.scores["onset_deviation_median_ms"]
    assert f"median (ms) {median:+.1f}" in deviations.texts[0].get_text()


@pytest.mark.parametrize(
    ("reference", "estimate"), [(melody(), notes()), (notes(), melody()), (notes(), notes())]
)
def test_an_empty_side_can_be_drawn(tmp_path, reference, estimate):
    sides, matching, piece = drawn(reference, estimate)
    plot_piece("x.y/of [b]", sides, matching, piece, tmp_path)
    assert (tmp_path / "x.y" / "of [b].png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "x.y" / "of [b].pdf").read_bytes().startswith(b"%PDF")
