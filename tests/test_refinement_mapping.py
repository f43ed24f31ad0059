import numpy as np
import pytest

from amtcli.errors import UsageError
from amtcli.refinement.mapping import (
    Curve,
    VelocityMapping,
    keep_accents,
    local_mean,
    map_velocities,
    match_quantiles,
    parse_curve,
    to_midi,
)

READ = np.array([30.0, 60.0, 90.0])
WRITTEN = np.array([64.0, 80.0, 64.0])
FAR_APART_S = np.array([0.0, 10.0, 20.0])


def test_velocities_are_rounded_into_what_midi_has():
    assert to_midi(np.array([-3.0, 0.4, 1.4, 63.6, 126.7, 200.0])).tolist() == [
        1, 1, 1, 64, 127, 127
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("strength", "expected"), [(1, [30, 60, 90]), (0, [64, 80, 64]), (0.5, [47, 70, 77])]
)
def test_strength_goes_from_the_score_to_what_was_read(strength, expected):
    assert (
        map_velocities(READ, WRITTEN, FAR_APART_S, VelocityMapping(strength)).tolist() == expected
    )


@pytest.mark.parametrize("strength", [-0.1, 1.5, float("nan")])
def test_other_strengths_are_refused(strength):
    with pytest.raises(UsageError, match="--strength takes 0 .* to 1, not"):  # noqa: RUF043
        VelocityMapping(strength)


def test_a_mean_weighs_neighbours_by_their_distance():
    # 0.5 s is one deviation: exp(-1/2) = 0.60653; 1.6 s is out of reach.
    means = local_mean(np.array([10.0, 20.0, 70.0]), np.array([0.0, 0.5, 2.1]))
    weight = 0.6065306597
    assert means == pytest.approx(
        [(10 + weight * 20) / (1 + weight), (weight * 10 + 20) / (1 + weight), 70]
    )


def test_accents_of_a_chord_are_the_scores_and_its_loudness_the_recordings():
    onsets_s = np.array([0.0, 0.0, 5.0, 5.0])
    read = np.array([40.0, 44.0, 99.0, 101.0])
    written = np.array([70.0, 50.0, 60.0, 64.0])
    assert keep_accents(read, written, onsets_s) == pytest.approx([52, 32, 98, 102])


def test_a_score_without_accents_follows_phrases_alone():
    read = np.array([20.0, 40.0, 60.0, 80.0])
    onsets_s = np.arange(4) * 0.25
    flat = keep_accents(read, np.full(4, 64.0), onsets_s)
    np.testing.assert_allclose(flat, local_mean(read, onsets_s))
    assert np.ptp(flat) < np.ptp(read)


def test_accents_of_the_same_velocities_change_nothing():
    velocities = np.random.default_rng(0).uniform(1, 127, 50)
    onsets_s = np.sort(np.random.default_rng(1).uniform(0, 20, 50))
    np.testing.assert_allclose(keep_accents(velocities, velocities, onsets_s), velocities)


def test_quantiles_take_over_the_others_distribution_and_keep_order():
    rng = np.random.default_rng(0)
    velocities, reference = rng.uniform(40, 70, 999), rng.uniform(20, 120, 500)
    matched = match_quantiles(velocities, reference)
    assert (np.argsort(matched, kind="stable") == np.argsort(velocities, kind="stable")).all()
    for share in (0.05, 0.5, 0.95):
        assert np.quantile(matched, share) == pytest.approx(np.quantile(reference, share), abs=0.5)


def test_equal_velocities_stay_equal_and_stand_in_their_middle():
    matched = match_quantiles(np.array([64.0, 64.0, 64.0, 64.0]), np.array([10.0, 50.0, 90.0]))
    assert matched.tolist() == [50.0] * 4


def test_an_instruments_own_velocities_are_matched_to_themselves():
    velocities = np.array([10.0, 90.0, 40.0, 40.0])
    assert match_quantiles(velocities, velocities) == pytest.approx([10, 90, 40, 40])


def test_a_curve_is_straight_between_its_points_and_level_beyond():
    curve = parse_curve("20:30, 60:50,100:110")
    assert curve == Curve(((20, 30), (60, 50), (100, 110)))
    assert curve(np.array([1.0, 20.0, 40.0, 80.0, 127.0])).tolist() == [30, 30, 40, 80, 110]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("other.mid", "neither a file nor a curve"),
        ("20:30:40,50:60", "neither a file nor a curve"),
        ("20:30", "two points or more"),
        ("0:30,50:60", "velocities lie in 1-127"),
        ("20:30,50:nan", "velocities lie in 1-127"),
        ("20:30,20:60", "must rise"),
        ("20:30,50:20", "must not fall"),
    ],
)
def test_what_is_no_curve_is_refused(text, message):
    with pytest.raises(UsageError, match=message) as error:
        parse_curve(text)
    assert str(error.value).startswith(f"--match {text}: ")


def test_accents_then_match_then_strength():
    onsets_s = np.array([0.0, 0.0])
    mapping = VelocityMapping(0.5, True, parse_curve("1:1,127:64"))
    # accents: 60 + (70, 50) - 60 = 70, 50; the curve halves about: 35.5, 25.5; half way there
    new = map_velocities(np.array([50.0, 70.0]), np.array([70.0, 50.0]), onsets_s, mapping)
    assert new.tolist() == [round((70 + 35.5) / 2), round((50 + 25.5) / 2)]


def test_matching_a_reference_is_part_of_the_mapping():
    mapping = VelocityMapping(match=np.array([100.0, 110.0, 120.0]))
    assert map_velocities(READ, WRITTEN, FAR_APART_S, mapping).tolist() == [100, 110, 120]
