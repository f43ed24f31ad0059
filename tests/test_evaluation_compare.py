import pytest

from amtcli.errors import NoInputError
from amtcli.evaluation.compare import compare_results


def result(onset_f1, velocity_mae=None, **settings):
    """A result in which piece p0, p1, ... has these scores."""
    names = [f"p{k}" for k in range(len(onset_f1))]
    rows = [{"name": n, "onset_f1": f1} for n, f1 in zip(names, onset_f1, strict=True)]
    aggregate = {"onset_f1": {}}
    if velocity_mae is not None:
        aggregate["velocity_mae"] = {}
        for row, mae in zip(rows, velocity_mae, strict=True):
            row["velocity_mae"] = mae
    return {"settings": settings, "versions": {}, "aggregate": aggregate, "per_file": rows}


BEFORE = [0.70, 0.80, 0.90, 0.75, 0.85, 0.95, 0.65, 0.60, 0.55, 0.50]


def test_a_small_gain_on_every_piece_is_significant():
    after = [f1 + 0.01 + 0.001 * k for k, f1 in enumerate(BEFORE)]
    found = compare_results(result(BEFORE), result(after)).differences[0]
    assert found.difference == pytest.approx(0.0145)
    assert (found.n_better, found.n_worse, found.n) == (10, 0, 10)
    # All ten of one sign: 2 / 2**10 by the exact distribution of the signed ranks.
    assert found.p == pytest.approx(2 / 1024)
    assert 0.01 < found.low < 0.0145 < found.high < 0.02


def test_a_gain_here_and_a_loss_there_is_not():
    after = [f1 + (0.05 + 0.001 * k) * (-1) ** k for k, f1 in enumerate(BEFORE)]
    found = compare_results(result(BEFORE), result(after)).differences[0]
    assert found.p > 0.5
    assert found.low < 0 < found.high


def test_the_same_result_twice_has_no_difference():
    found = compare_results(result(BEFORE), result(BEFORE)).differences[0]
    assert (found.difference, found.p, found.n_better, found.n_worse) == (0, 1, 0, 0)


def test_rounding_is_no_difference():
    found = compare_results(result(BEFORE), result([f1 + 1e-13 for f1 in BEFORE])).differences[0]
    assert (found.difference, found.p, found.n_better, found.n_worse) == (
        pytest.approx(0),
        1,
        0,
        0,
    )


def test_of_an_error_less_is_better():
    a, b = result(BEFORE, [5.0] * 10), result(BEFORE, [4.0] * 9 + [6.0])
    mae = compare_results(a, b).differences[1]
    assert (mae.score, mae.n_better, mae.n_worse) == ("velocity_mae", 9, 1)


def test_the_pieces_that_changed_most_come_first():
    after = [0.75, 0.70, 0.92, *BEFORE[3:]]
    found = compare_results(result(BEFORE), result(after))
    assert [name for name, _ in found.improved] == ["p0", "p2"]
    assert found.worsened == (("p1", pytest.approx(-0.1)),)


def test_only_common_pieces_and_known_scores_count():
    found = compare_results(result([0.5, None, 0.7, 0.9]), result([0.6, 0.7, 0.8]))
    assert found.differences[0].n == 2
    assert (found.only_in_a, found.only_in_b) == (("p3",), ())


def test_what_was_not_scored_alike_is_said():
    a = result(BEFORE, model="one 1", pedal_extend="ref", grid_s=None)
    b = result(BEFORE, model="two 2", pedal_extend="none", grid_s=None)
    assert compare_results(a, b).unlike_settings == ("pedal_extend: ref and none",)


def test_nothing_in_common():
    with pytest.raises(NoInputError, match="no piece with a score in common"):
        compare_results(result([]), result(BEFORE))


def test_one_piece_has_no_test():
    found = compare_results(result([0.5]), result([0.6])).differences[0]
    assert (found.p, found.low, found.n_better) == (None, None, 1)
