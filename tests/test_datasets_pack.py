import json
import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from amtcli.datasets.labels import labels_of_performance
from amtcli.datasets.pack import (
    Manifest,
    ManifestEntry,
    Source,
    open_pack,
    read_manifest,
    recording_path,
    write_manifest,
    write_recording,
)
from amtcli.errors import DataError
from amtcli.notes import Note, Performance

SPLIT_OF = {"b/one": "train", "a": "validation", "c": "train"}


def make_pack(folder):
    entries = []
    for number, (name, split) in enumerate(SPLIT_OF.items()):
        labels = labels_of_performance(Performance((Note(0.1, 0.2, 60 + number, 64),)))
        samples = np.full(800 + number, 100 * (number + 1), np.int16)
        written = write_recording(recording_path(folder, name), [samples], 8000, labels)
        source = Source(f"{name}.wav", 7, "00ff")
        entries.append(
            ManifestEntry(
                name,
                split,
                f"piece {number}",
                "Grand",
                written.n_samples,
                written.n_samples / 8000,
                written.sha256,
                (source,),
                0.012,
                ("louder than full scale",),
            )
        )
    write_manifest(folder, Manifest("pairs", 8000, tuple(entries), {"bad": "no labels"}))
    return folder


def first_sample(recording):
    return round(float(recording.read_audio(0, 1)[0]) * 32768)


def test_a_pack_is_read_as_it_was_written(tmp_path):
    pack = open_pack(make_pack(tmp_path))
    assert pack.sample_rate_hz == 8000
    assert [recording.name for recording in pack.recordings] == ["a", "b/one", "c"]
    assert [recording.name for recording in pack.split("train")] == ["b/one", "c"]
    assert pack.split("test") == ()
    recording = pack.recordings[0]
    assert (recording.group, recording.instrument) == ("piece 1", "Grand")
    assert (recording.n_samples, recording.duration_s) == (801, 801 / 8000)
    assert recording.read_labels().notes.pitch.tolist() == [61]
    assert recording.read_audio(-1, 3).tolist() == [0, 200 / 32768, 200 / 32768]


def test_the_manifest_comes_back_whole(tmp_path):
    make_pack(tmp_path)
    manifest = read_manifest(tmp_path)
    write_manifest(tmp_path / "copy", manifest)
    assert read_manifest(tmp_path / "copy") == manifest
    assert manifest.rejected == {"bad": "no labels"}
    assert manifest.recordings[0].sources == (Source("a.wav", 7, "00ff"),)
    assert manifest.recordings[0].notices == ("louder than full scale",)


def test_recordings_are_read_in_other_threads_and_processes(tmp_path):
    recordings = open_pack(make_pack(tmp_path)).recordings
    expected = [200, 100, 300]
    assert [first_sample(recording) for recording in recordings] == expected
    assert [first_sample(pickle.loads(pickle.dumps(each))) for each in recordings] == expected
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(first_sample, recordings * 20)) == expected * 20
    if "fork" in multiprocessing.get_all_start_methods():
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map(first_sample, recordings * 5) == expected * 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is no pack"),
        ("{", "is damaged"),
        ('{"format": 2, "recordings": []}', "format unknown"),
        ('{"format": 1, "recordings": [{"name": "a"}]}', "is damaged"),
        ('{"format": 1, "recordings": [], "dataset": "x", "more": 1}', "is damaged"),
        ("[]", "is damaged"),
    ],
)
def test_what_is_no_pack_is_refused(tmp_path, text, message):
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=message):
        open_pack(tmp_path)


def test_an_unknown_split_is_refused(tmp_path):
    path = make_pack(tmp_path) / "manifest.json"
    document = json.loads(path.read_text())
    document["recordings"][0]["split"] = "dev"
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match="split dev of a"):
        open_pack(tmp_path)


def test_two_recordings_of_one_name_are_refused(tmp_path):
    entry = ManifestEntry("a", "train", "", "", 1, 1.0, "")
    with pytest.raises(DataError, match="two recordings of the pack are called a"):
        write_manifest(tmp_path, Manifest("pairs", 8000, (entry, entry)))
