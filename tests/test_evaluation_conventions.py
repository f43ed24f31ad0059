import pytest

from amtcli.errors import UsageError
from amtcli.evaluation.conventions import Conventions


def test_the_first_tolerance_has_no_suffix():
    assert Conventions(onset_tolerances_s=(0.05, 0.1, 0.0125)).suffixes == (
        "",
        "_100ms",
        "_12.5ms",
    )


def test_every_convention_is_said():
    text = "\n".join(Conventions(onset_tolerances_s=(0.05, 0.1)).describe())
    for phrase in ("50, 100 ms", "50 ms or 20 %", "0.1 of the reference's range", "50 cents in Hz"):
        assert phrase in text
    for phrase in ("reference and estimate extended (CC64 >= 64)", "continuous", "every 10 ms"):
        assert phrase in text
    other = Conventions(
        pitch_unit="midi",
        velocity_scale="unit",
        pedal_extend="ref",
        pedal_threshold=8,
        grid_s=0.032,
    )
    text = "\n".join(other.describe())
    for phrase in ("a semitone may be a hit", "of 128", "reference extended (CC64 >= 8)", "32 ms"):
        assert phrase in text


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"onset_tolerances_s": ()}, "above 0"),
        ({"onset_tolerances_s": (0.05, 0.0)}, "above 0"),
        ({"onset_tolerances_s": (float("nan"),)}, "above 0"),
        ({"offset_ratio": float("nan")}, "numbers from 0"),
        ({"velocity_tolerance": float("nan")}, "above 0"),
        ({"grid_s": float("nan")}, "above 0 seconds"),
        ({"frame_hop_s": float("nan")}, "length in seconds"),
        ({"frame_hop_s": float("inf")}, "length in seconds"),
        ({"onset_tolerances_s": (0.05, 0.1, 0.1)}, "given twice"),
        ({"onset_tolerances_s": (0.05, 0.05)}, "given twice"),
        ({"offset_ratio": -0.1}, "numbers from 0"),
        ({"offset_min_s": float("inf")}, "numbers from 0"),
        ({"velocity_tolerance": 0.0}, "velocity tolerance"),
        ({"grid_s": 0.0}, "grid"),
        ({"frame_hop_s": -0.01}, "frame hop"),
        ({"pedal_threshold": 0}, "1 to 127"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(UsageError, match=message):
        Conventions(**wrong)
