import numpy as np
import pytest

from amtcli.datasets.labels import BeatLabels, Labels, labels_of_performance
from amtcli.datasets.recording_file import (
    check_contents,
    read_audio,
    read_contents,
    to_int16,
    write_recording,
)
from amtcli.errors import DataError
from amtcli.notes import Note, PedalSpan, Performance

PLAYED = Performance(
    (Note(0.5, 0.75, 60, 64), Note(1.0, 1.25, 72, 127)), (PedalSpan(0.6, 0.9, 64, 101),)
)
BEATS = BeatLabels(np.array([0.25, 0.75]), np.array([True, False]), np.array([-1, 4], np.int8))


def write(path, samples, labels=None, **attributes):
    labels = labels or labels_of_performance(PLAYED)
    return write_recording(path, [np.asarray(samples)], 8000, labels, attributes)


def test_samples_come_back_from_anywhere_with_zeros_outside(tmp_path):
    stored = np.arange(-3, 4, dtype=np.int16) * 1000
    write(tmp_path / "a.h5", stored)
    expected = np.concatenate([np.zeros(2), stored / 32768, np.zeros(3)]).astype(np.float32)
    assert np.array_equal(read_audio(tmp_path / "a.h5", -2, 12), expected)
    assert np.array_equal(read_audio(tmp_path / "a.h5", 1, 2), stored[1:3] / np.float32(32768))
    for start in (-20, 7, 500):
        assert np.array_equal(read_audio(tmp_path / "a.h5", start, 5), np.zeros(5, np.float32))


def test_floats_of_16_bit_samples_become_them_again():
    stored = np.array([-32768, -12345, -1, 0, 1, 32767], np.int16)
    blocks = [np.float32(stored[:2])[None] / 32768, np.float32(stored[2:]) / 32768]
    samples, n_clipped = to_int16(blocks)
    assert samples.dtype == np.int16
    assert np.array_equal(samples, stored)
    assert n_clipped == 0


def test_samples_beyond_full_scale_are_cut_and_counted():
    samples, n_clipped = to_int16([np.array([1.0, 1.5, -1.0, -2.0, 0.5])])
    assert samples.tolist() == [32767, 32767, -32768, -32768, 16384]
    assert n_clipped == 2


def test_labels_and_attributes_come_back(tmp_path):
    labels = labels_of_performance(PLAYED)
    labels = Labels(labels.notes, labels.pedals, BEATS)
    written = write(tmp_path / "a.h5", [0.5, -0.5], labels, facts="four", n=3)
    contents = read_contents(tmp_path / "a.h5")
    assert (contents.n_samples, contents.sample_rate_hz) == (2, 8000)
    assert contents.attributes == {"facts": "four", "n": 3}
    assert contents.sha256 == written.sha256
    notes, pedals, beats = contents.labels.notes, contents.labels.pedals, contents.labels.beats
    assert notes.onset_s.tolist() == [0.5, 1.0]
    assert notes.offset_s.tolist() == [0.75, 1.25]
    assert notes.sounding_end_s.tolist() == [0.9, 1.25]  # held by the pedal
    assert notes.pitch.tolist() == [60, 72]
    assert notes.velocity.tolist() == [64, 127]
    assert pedals.value.tolist() == [101]
    assert beats.is_downbeat.tolist() == [True, False]
    assert beats.dynamics.tolist() == [-1, 4]


def test_what_is_not_known_is_none_and_what_is_empty_is_empty(tmp_path):
    write(tmp_path / "a.h5", [0.5], labels_of_performance(Performance()))
    labels = read_contents(tmp_path / "a.h5").labels
    assert len(labels.notes) == 0
    assert len(labels.pedals) == 0
    assert labels.beats is None
    write(tmp_path / "b.h5", [0.5], Labels(beats=BEATS))
    assert read_contents(tmp_path / "b.h5").labels.notes is None


def test_equal_contents_give_equal_bytes(tmp_path):
    for name in ("a.h5", "b.h5"):
        write(tmp_path / name, np.arange(5000, dtype=np.int16), facts="x")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_a_file_written_anew_is_read_anew(tmp_path):
    write(tmp_path / "a.h5", np.full(4, 100, np.int16))
    assert read_audio(tmp_path / "a.h5", 0, 1)[0] == 100 / 32768
    write(tmp_path / "a.h5", np.full(9, 200, np.int16), Labels(beats=BEATS), facts="y" * 500)
    assert read_audio(tmp_path / "a.h5", 0, 10)[[0, 8, 9]].tolist() == [200 / 32768] * 2 + [0]


def test_no_samples_are_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(DataError, match="a has no samples"):
        write(tmp_path / "a.h5", np.empty(0, np.int16))
    assert list(tmp_path.iterdir()) == []


def test_damage_is_found(tmp_path):
    file = tmp_path / "a.h5"
    write(file, np.arange(1000, dtype=np.int16))
    check_contents(file)
    whole = file.read_bytes()
    place = whole.index(np.arange(500, 510, dtype="<i2").tobytes())
    file.write_bytes(whole[:place] + b"\x99" + whole[place + 1 :])
    with pytest.raises(DataError, match="do not match their hash"):
        check_contents(file)
    file.write_bytes(whole[:200])
    with pytest.raises(DataError, match="cannot be read"):
        read_contents(file)
    file.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        read_audio(file, 0, 1)
    with pytest.raises(DataError, match="is missing; run `amt pack` again"):
        read_contents(file)
