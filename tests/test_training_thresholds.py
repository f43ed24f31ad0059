"""Choosing settings: the best of what is listed, each combination scored once."""

from pathlib import Path

import numpy as np
import pytest

from amtcli.decoders.frames import FrameActivations, FramesConfig, decode_frames
from amtcli.errors import ModelError
from amtcli.training.thresholds import DecoderCache, check_grid, choose_settings
from amtcli.windows import WindowSpec

RECIPE = Path("recipe.toml")
FRAMES = {
    "kind": "frames",
    "sample_rate_hz": 1000,
    "hop_samples": 20,
    "onset_threshold": 0.5,
    "onset_peaks": True,
    "confirmation_threshold": 0.0,
    "frame_threshold": 0.5,
    "offset_threshold": 1.0,
    "held_threshold": 0.0,
    "shortest_frames": 1,
    "velocity_scale": 128,
}


def test_settings_that_help_each_other_are_found_in_rounds():
    def score(d):  # moving y alone never helps from x = 0; after x = 2 it does
        return {0: [5, 4, 3], 1: [5, 6, 3], 2: [6, 7, 9]}[d["x"]][d["y"]]

    choice = choose_settings({"x": 0, "y": 0}, {"y": [0, 1, 2], "x": [0, 1, 2]}, score)
    assert (choice.decoder, choice.score) == ({"x": 2, "y": 2}, 9)
    asked = [(d["x"], d["y"]) for d, _ in choice.tried]
    assert len(asked) == len(set(asked)) == 8


def test_of_equal_ones_the_present_value_stays_and_others_are_untouched():
    choice = choose_settings({"kind": "k", "x": 0.3}, {"x": [0.1, 0.2, 0.3]}, lambda _: 1.0)
    assert choice.decoder == {"kind": "k", "x": 0.3}
    first = choose_settings({"x": 0.3}, {"x": [0.1, 0.2]}, lambda d: float(d["x"] < 0.3))
    assert first.decoder == {"x": 0.1}


def test_counts_stay_whole_numbers():
    choice = choose_settings({"n_frames": 1}, {"n_frames": (2.0, 4.0)}, lambda d: d["n_frames"])
    assert choice.decoder["n_frames"] == 4
    assert isinstance(choice.decoder["n_frames"], int)


def test_a_grid_is_checked_before_anything_is_computed():
    check_grid(FRAMES, {"onset_threshold": [0.1, 0.9], "shortest_frames": [2.0]}, RECIPE)
    for grid, match in (
        ({"onset": [0.5]}, r"recipe\.toml: 'onset' .*onset_threshold"),
        ({"onset_peaks": [1.0]}, "'onset_peaks'"),
        ({"shortest_frames": [1.5]}, "'shortest_frames'"),
    ):
        with pytest.raises(ModelError, match=match):
            check_grid(FRAMES, grid, RECIPE)


def test_what_was_kept_decodes_as_it_would_have_at_once():
    random = np.random.default_rng(3)
    n_frames = 15  # three windows of 5 frames, of which each owns the middle 3
    heads = random.uniform(0, 1, (4, n_frames, 88)).astype(np.float32)
    padded = np.pad(heads, ((0, 0), (1, 1), (0, 0)))
    cache, cut = (DecoderCache(WindowSpec(100, 60, 20), end_s) for end_s in (9.0, 0.1))
    for start in range(0, n_frames, 3):
        assert cache.feed(FrameActivations(*padded[:, start : start + 5])) == ()
        cut.feed(cache.fed[-1])
    assert cache.close() == ()
    for threshold in (0.6, 0.9):
        table = FRAMES | {"onset_threshold": threshold}
        config = FramesConfig(**{k: v for k, v in table.items() if k != "kind"})
        expected = decode_frames(FrameActivations(*heads), config)
        found = cache.decode(table).notes
        assert list(found) == sorted(expected, key=lambda n: (n.onset_s, n.pitch))
        assert len(found) > 20
        assert cut.decode(table).notes == tuple(note for note in found if note.onset_s < 0.1)
