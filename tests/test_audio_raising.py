"""Which recordings are made louder, and by how much."""

import numpy as np
import pytest
from swift_model import write_swift

from amtcli.audio.raising import raised
from amtcli.engine import Engine, EngineOptions
from amtcli.model_folder import load_model
from amtcli.reading import Recording

RATE_HZ = 100


def blocks(*levels_db, seconds=1):
    """A block for each level, of which the first sample is the peak; None: silence."""
    made = []
    for level_db in levels_db:
        block = np.zeros((1, seconds * RATE_HZ), np.float32)
        if level_db is not None:
            block[0, 0] = -(10 ** (level_db / 20))
        made.append(block)
    return made


def levels_db(given):
    peaks = [float(np.abs(block).max()) for block in given]
    return [None if peak == 0 else round(20 * np.log10(peak), 2) for peak in peaks]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((-50, -45, -60), (-20, -15, -30)),  # by the peak of all
        ((-70, -72), (-40, -42)),  # by 30 dB at the most
        ((-50, -24, -50), (-50, -24, -50)),  # not soft
        ((None, None), (None, None)),
        ((), ()),
    ],
)
def test_short_recordings_are_raised_as_a_whole(given, expected):
    assert levels_db(raised(blocks(*given), RATE_HZ)) == list(expected)


def test_what_comes_louder_later_lowers_the_gain_and_ends_it():
    given = [*blocks(None, -60, seconds=15), *blocks(-60, -30, -60, -20, -60)]
    assert levels_db(raised(given, RATE_HZ)) == [None, -30, -30, -15, -45, -20, -60]


def test_loud_recordings_are_not_copied():
    given = blocks(-20, -60, -10)
    assert [a is b for a, b in zip(raised(given, RATE_HZ), given, strict=True)] == [True] * 3


def test_no_more_than_half_a_minute_is_held():
    taken = []

    def stream():
        for index in range(90):
            taken.append(index)
            yield from blocks(-60)

    next(raised(stream(), RATE_HZ))
    assert len(taken) == 30


def test_a_quiet_recording_has_the_notes_of_a_loud_one(tmp_path):
    random = np.random.default_rng(0)
    sound = random.uniform(-1, 1, 40_000).astype(np.float32)
    engine = Engine(load_model(write_swift(tmp_path / "small")), EngineOptions("cpu"))
    loud, quiet = (
        next(engine.transcribe([Recording("a", sound * 10 ** (level_db / 20), 16_000)]))
        for level_db in (-15, -43)
    )
    assert len(loud.performance.notes) > 50
    found, expected = (
        np.array([(n.onset_s, n.offset_s, n.pitch) for n in one.performance.notes])
        for one in (quiet, loud)
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)
    assert [len(one.warnings) for one in (loud, quiet)] == [0, 0]
