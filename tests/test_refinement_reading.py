from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_folder import CONFIG

from amtcli.errors import ModelError
from amtcli.notes import Note, PedalSpan, Performance
from amtcli.reading import Recording
from amtcli.refinement.reading import (
    ScoredRecording,
    VelocityReading,
    check_velocity_model,
    rewritten,
    without_velocities,
)


def test_a_models_decoder_says_whether_it_reads_velocities():
    check_velocity_model(replace(CONFIG, decoder={"kind": "score_velocities"}))
    with pytest.raises(ModelError, match=r"toy 1\.2 does not read velocities .* a velocity model"):
        check_velocity_model(CONFIG)
    with pytest.raises(ModelError, match="its decoder is None"):
        check_velocity_model(replace(CONFIG, decoder={}))


def test_velocities_that_were_read_are_rounded_into_the_score():
    pedals = (PedalSpan(0.0, 1.0, 64),)
    score = Performance(tuple(Note(k, k + 1, 60, 10 + k) for k in range(4)), pedals)
    blind = without_velocities(score)
    assert [note.velocity for note in blind.notes] == [64] * 4
    assert blind.pedals == pedals
    read = np.array([0.2, 63.6, np.nan, 130.0])
    scored = ScoredRecording(Recording("a", Path("a.wav")), blind)
    refined = rewritten(VelocityReading(scored, read, None, (), 4.0))
    assert [note.velocity for note in refined.notes] == [1, 64, 64, 127]
    assert [replace(note, velocity=0) for note in refined.notes] == [
        replace(note, velocity=0) for note in score.notes
    ]
    assert refined.pedals == pedals
