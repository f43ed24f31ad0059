import shutil

import numpy as np
import pytest
import torch
from data_sets import irregular, make_pairs, sound, write_audio, write_midi

from amtcli.datasets.features import (
    cache_features,
    features_bytes,
    features_key,
    read_features,
)
from amtcli.datasets.pack import open_pack
from amtcli.datasets.packing import PackOptions, pack
from amtcli.datasets.pairs import find_pairs
from amtcli.errors import DataError, ModelError, UsageError
from amtcli.front_ends.cqt import Cqt, CqtConfig
from amtcli.front_ends.log_mel import LogMel, LogMelConfig

MEL = {
    "kind": "log_mel",
    "sample_rate_hz": 16_000,
    "window_samples": 2048,
    "hop_samples": 320,
    "n_mels": 40,
    "f_min_hz": 30.0,
    "f_max_hz": 8000.0,
    "mel_scale": "htk",
    "equal_area": False,
    "spectrum": "magnitude",
    "logarithm": "natural",
    "floor": 1e-5,
    "dynamic_range_db": float("inf"),
}
CQT = {
    "kind": "cqt",
    "sample_rate_hz": 16_000,
    "hop_samples": 320,
    "n_bins": 24,
    "bins_per_octave": 12,
    "f_min_hz": 440.0,
    "dynamic_range_db": 80.0,
    "stft_window_samples": 1024,
    "stft_f_max_hz": 7000.0,
}
HCQT = {
    "kind": "hcqt",
    "sample_rate_hz": 16_000,
    "hop_samples": 320,
    "n_bins": 24,
    "bins_per_octave": 12,
    "f_min_hz": 440.0,
    "harmonics": [1.0, 2.0],
    "dynamic_range_db": 80.0,
}


@pytest.fixture(scope="module")
def pack_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    source = make_pairs(folder / "source", n=1)
    played = irregular(0, n_notes=120)  # over half a minute: more than one piece
    write_audio(source / "long.wav", sound(played))
    write_midi(source / "long.mid", played)
    pack(find_pairs(source, "train", 0.0), folder / "pack", PackOptions())
    return folder / "pack"


@pytest.fixture
def packed(pack_folder, tmp_path):
    """A copy of its own of a pack with a long and a short recording."""
    shutil.copytree(pack_folder, tmp_path / "pack")
    return open_pack(tmp_path / "pack")


def settings(table, config_class):
    return config_class(**{key: value for key, value in table.items() if key != "kind"})


def test_features_are_those_of_any_window(packed):
    long, short = packed.recordings
    assert long.duration_s > 32
    key = cache_features(packed, MEL)
    front_end = LogMel(settings(MEL, LogMelConfig))
    window = long.read_audio(1400 * 320, 200 * 320)
    expected = front_end([torch.from_numpy(window)[None]])[0].numpy()
    read = read_features(long, key, 1404, 190)  # from the first piece into the second
    assert read.shape == (190, 40)
    assert read.dtype == np.float32
    assert read == pytest.approx(expected[4:194], abs=1e-4)
    assert read_features(short, key, 0, 3).shape == (3, 40)


def test_frames_outside_are_those_of_silence(packed):
    key = cache_features(packed, MEL)
    recording = packed.recordings[1]
    n_frames = recording.n_samples // 320 + 1
    silence = np.full(40, np.log(1e-5), np.float32)
    read = read_features(recording, key, -2, n_frames + 7)
    assert read[:2] == pytest.approx(np.tile(silence, (2, 1)), abs=1e-4)
    assert read[2 + n_frames :] == pytest.approx(np.tile(silence, (5, 1)), abs=1e-4)
    assert np.array_equal(read[2 : 2 + n_frames], read_features(recording, key, 0, n_frames))
    assert read_features(recording, key, 5000, 2) == pytest.approx(
        np.tile(silence, (2, 1)), abs=1e-4
    )


def test_the_axis_of_frames_is_the_front_ends_own(packed):
    key = cache_features(packed, CQT)
    window = packed.recordings[0].read_audio(200 * 320, 400 * 320)
    front_end = Cqt(settings(CQT, CqtConfig)).train()
    expected = front_end([torch.from_numpy(window)[None]])[0].numpy()
    read = read_features(packed.recordings[0], key, 300, 200)
    assert read.shape == (2, 200, 24)
    assert read == pytest.approx(expected[:, 100:300], abs=1e-3)


def test_keys_follow_from_all_settings():
    assert features_key(MEL) == features_key(dict(reversed(MEL.items())))
    assert features_key(MEL).startswith("log_mel-")
    assert features_key({**MEL, "hop_samples": 321}) != features_key(MEL)


def test_features_are_there_or_not(packed):
    key = features_key(MEL)
    assert not any(each.features_file(key).is_file() for each in packed.recordings)
    with pytest.raises(DataError, match="run `amt pack` with --features again"):
        read_features(packed.recordings[0], key, 0, 1)
    n_bytes = features_bytes(packed, MEL)
    cache_features(packed, MEL)
    assert all(each.features_file(key).is_file() for each in packed.recordings)
    files = [recording.features_file(key) for recording in packed.recordings]
    assert sum(file.stat().st_size for file in files) == pytest.approx(n_bytes, rel=0.01)
    assert features_bytes(packed, MEL) == 0


def test_only_what_is_missing_is_computed(packed):
    key = cache_features(packed, MEL)
    first, second = (recording.features_file(key) for recording in packed.recordings)
    kept, expected = first.stat().st_ino, second.read_bytes()
    second.unlink()
    done = []
    cache_features(packed, MEL, on_cached=lambda recording: done.append(recording.name))
    assert done == ["take0"]
    assert first.stat().st_ino == kept
    assert second.read_bytes() == expected


def test_front_ends_that_cannot_be_cached_are_refused(packed):
    learning = {
        "kind": "multi_window_log_mel",
        "sample_rate_hz": 16_000,
        "window_samples": 1024,
        "hop_samples": 320,
        "n_mels": 20,
        "f_min_hz": 30.0,
        "f_max_hz": 8000.0,
        "n_learned_windows": 2,
        "epsilon": 1e-5,
    }
    with pytest.raises(UsageError, match="learns"):
        cache_features(packed, learning)
    with pytest.raises(UsageError, match="measures each window by the loudest cell"):
        cache_features(packed, HCQT)
    with pytest.raises(UsageError, match="takes 8000 Hz, the pack has 16000 Hz"):
        cache_features(packed, {**MEL, "sample_rate_hz": 8000, "f_max_hz": 4000.0})
    with pytest.raises(ModelError, match="unknown front-end 'mel'"):
        cache_features(packed, {**MEL, "kind": "mel"})
    with pytest.raises(ModelError, match="unknown key 'n_mel'"):
        cache_features(packed, {**MEL, "n_mel": 3})
    assert not (packed.folder / "features").exists()
