import numpy as np
import pytest
from synthetic_piano import RATE_HZ, sound

from amtcli.alignment.features import (
    CHROMA_HZ,
    ONSETS_HZ,
    audio_features,
    score_features,
    score_onsets,
)


def features(samples, rate_hz=RATE_HZ):
    return audio_features(samples, source_rate_hz=rate_hz)


def test_a_note_begins_and_sounds_in_its_pitch_class():
    found = features(sound([2.0], [69], 5.0))
    assert len(found.onsets) == 5 * ONSETS_HZ + 1
    assert len(found.chroma) == 5 * CHROMA_HZ + 1
    frame, pitch_class = np.unravel_index(np.argmax(found.onsets), found.onsets.shape)
    assert pitch_class == 9
    assert frame / ONSETS_HZ == pytest.approx(2.0, abs=0.02)
    assert found.chroma[23].argmax() == 9
    assert found.chroma[23, 9] > 5 * found.chroma[15, 9]  # before it there is noise alone
    assert found.duration_s == 5.0


def test_features_do_not_depend_on_where_blocks_end():
    # Blocks of 2 s come from a stream; here the same samples lie 0.99 s later in them.
    samples = sound([1.0, 2.0, 3.5], [60, 64, 67], 6.0)
    late = np.pad(samples, (round(0.9 * RATE_HZ), 0))
    first, second = features(samples), features(late)
    np.testing.assert_allclose(first.onsets[60:540], second.onsets[150:630], atol=0.05)
    np.testing.assert_allclose(first.chroma[10:50], second.chroma[19:59], atol=0.05)


def test_loudness_and_rate_do_not_count():
    samples = sound([1.0, 2.0, 3.5], [60, 64, 67], 6.0)
    loud, soft = features(samples), features(0.01 * samples)
    np.testing.assert_allclose(loud.onsets, soft.onsets, atol=0.05)
    np.testing.assert_allclose(loud.chroma, soft.chroma, atol=0.05)


def test_silence_has_no_onsets():
    found = features(np.zeros(3 * RATE_HZ, np.float32))
    assert not found.onsets.any()


def test_a_scores_onset_lies_between_two_frames_where_it_is():
    onsets = score_onsets(np.array([0.253]), np.array([60]))
    column = onsets[:, 0]
    assert column.sum() == pytest.approx(1, abs=1e-3)
    assert (column * np.arange(len(column))).sum() / column.sum() == pytest.approx(25.3, abs=0.01)
    assert onsets[:, 7].sum() == pytest.approx(0.3, abs=1e-3)  # its third partial is a G


def test_a_scores_note_sounds_from_its_onset_to_its_offset_and_fades():
    chroma = score_features(np.array([1.0]), np.array([2.0]), np.array([60])).chroma[:, 0]
    assert (np.flatnonzero(chroma) == np.arange(10, 20)).all()
    assert chroma[10] == 1
    assert (np.diff(chroma[10:20]) < 0).all()
