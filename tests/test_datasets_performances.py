"""Performances without sound: labels as the files have them, silence as long as they sound."""

from dataclasses import replace

import numpy as np
import pytest
from data_sets import melody, write_midi, write_tsv

from amtcli.datasets.labels import labels_of_performance
from amtcli.datasets.note_files import read_note_labels
from amtcli.datasets.pack import open_pack, read_manifest
from amtcli.datasets.packing import PackOptions, estimate, pack
from amtcli.datasets.performances import CLOCK_HZ, KIND, silence
from amtcli.datasets.rendering_sources import find_midi
from amtcli.datasets.verify import verify_pack
from amtcli.errors import DataError
from amtcli.notes import Beat, Note, PedalSpan, Performance

OPTIONS = PackOptions(CLOCK_HZ)


@pytest.fixture
def midi(tmp_path):
    """Two pieces, one played twice; the first performance has beats."""
    folder = tmp_path / "midi"
    write_midi(folder / "Bach/a.mid", melody(0))
    write_midi(folder / "Bach/b.mid", melody(1, 12))
    write_tsv(folder / "Ravel/c.tsv", melody(2))
    rows = ("0.1\t0.1\tdb,3/4,1", "0.6\t0.6\tb", "1.123456\t1.123456\tbR", "1.9\t1.9\tdb")
    (folder / "Bach/a_annotations.txt").write_text("\n".join(rows))
    return folder


def found(*paths):
    return replace(find_midi(paths), kind=KIND)


def facts(folder):
    """Of every recording's file, what changes when it is written anew."""
    files = (folder / "recordings").rglob("*.h5")
    return {path.stem: (path.stat().st_ino, path.read_bytes()) for path in files}


def test_silence_lasts_a_second_longer_than_the_pedal_holds_the_last_note():
    performance = Performance(
        (Note(0.5, 3.0, 60, 50), Note(1.0, 2.0, 62, 50)), (PedalSpan(1.5, 4.257, 64),)
    )
    audio = silence(labels_of_performance(performance), CLOCK_HZ)
    assert (audio.dtype, audio.shape) == (np.int16, (5257,))
    assert not audio.any()


@pytest.mark.parametrize(
    ("performance", "message"),
    [
        (Performance(), "it has no notes"),
        (Performance(beats=(Beat(1.0),)), "it has no notes"),
        (Performance((Note(0.0, 1e7, 60, 50),)), "its notes go on to 2778 h"),
        (
            Performance((Note(0.0, 2.0, 60, 50),), beats=(Beat(1.0), Beat(3.1))),
            r"its beats go on to 3\.1 s, its notes to 2\.0 s; are they of another performance",
        ),
    ],
)
def test_what_cannot_be_packed_is_told(performance, message):
    with pytest.raises(DataError, match=message):
        silence(labels_of_performance(performance), CLOCK_HZ)


def test_labels_are_those_of_the_files(tmp_path, midi):
    heard = []
    manifest = pack(found(midi), tmp_path / "pack", OPTIONS, heard.append)
    assert (manifest.dataset, manifest.sample_rate_hz) == ("performances", 1000)
    assert (len(heard), manifest.rejected) == (3, {})
    packed = {each.name: each for each in open_pack(tmp_path / "pack").recordings}
    for name, file in (("Bach/a", "a.mid"), ("Bach/b", "b.mid"), ("Ravel/c", "c.tsv")):
        own = read_note_labels((midi / name).with_name(file))
        labels = packed[name].read_labels()
        for column in ("onset_s", "offset_s", "sounding_end_s", "pitch", "velocity"):
            assert np.array_equal(getattr(labels.notes, column), getattr(own.notes, column))
        assert packed[name].n_samples == round(1000 * (own.notes.sounding_end_s.max() + 1))
        assert not packed[name].read_audio(0, packed[name].n_samples).any()
    labels = packed["Bach/a"].read_labels()
    assert labels.beats.time_s.tolist() == [0.1, 0.6, 1.123456, 1.9]
    assert labels.beats.is_downbeat.tolist() == [True, False, False, True]
    assert labels.pedals.value.tolist() == [100]
    assert packed["Bach/b"].read_labels().beats is None
    assert packed["Ravel/c"].read_labels().pedals is None


def test_the_manifest_has_groups_splits_and_sources(tmp_path, midi):
    data_set = replace(find_midi([midi], maestro_splits={"b": "test"}), kind=KIND)
    pack(data_set, tmp_path / "pack", OPTIONS)
    first, second, third = read_manifest(tmp_path / "pack").recordings
    assert [each.group for each in (first, second, third)] == ["Bach", "Bach", "Ravel"]
    assert [each.split for each in (first, second, third)] == ["test", "test", "train"]
    assert [source.path for source in first.sources] == ["Bach/a.mid", "Bach/a_annotations.txt"]
    assert [source.path for source in third.sources] == ["Ravel/c.tsv"]
    # The last key is up at 0.1 + 0.25 (11 + 0.8) s.
    assert second.duration_s == pytest.approx(4.05, abs=0.006)
    assert (second.lag_s, second.notices) == (None, ())
    assert [each.problem for each in verify_pack(tmp_path / "pack")] == [None] * 3


def test_only_what_changed_is_written_anew(tmp_path, midi, monkeypatch):
    folder = tmp_path / "pack"
    pack(found(midi), folder, OPTIONS)
    before = facts(folder)
    monkeypatch.chdir(tmp_path)  # the same folder by another name
    pack(found(midi.relative_to(tmp_path)), folder, replace(OPTIONS, n_jobs=2))
    assert facts(folder) == before
    assert estimate(found(midi), folder, OPTIONS).durations_s == {}
    (midi / "Bach/a_annotations.txt").write_text("0.5\t0.5\tdb\n")
    write_midi(midi / "Bach/b.mid", melody(5))
    pack(found(midi), folder, OPTIONS)
    after = facts(folder)
    assert {name for name in after if after[name] != before[name]} == {"a", "b"}
    first, second, _ = open_pack(folder).recordings
    assert first.read_labels().beats.time_s.tolist() == [0.5]
    assert second.read_labels().notes.pitch.tolist() == [note.pitch for note in melody(5).notes]


def test_several_folders_are_named_from_the_one_that_they_share(tmp_path, midi):
    pack(found(midi / "Ravel", midi / "Bach" / "a.mid"), tmp_path / "pack", OPTIONS)
    sources = {
        each.name: each.sources[0].path for each in read_manifest(tmp_path / "pack").recordings
    }
    assert sources == {"a": "Bach/a.mid", "c": "Ravel/c.tsv"}


def test_bad_files_are_left_out_with_the_reason(tmp_path, midi):
    (midi / "Bach/a_annotations.txt").write_text("0.5\t0.5\tdb\n9.5\t9.5\tdb\n")
    (midi / "Bach/b.mid").write_bytes(b"not MIDI")
    write_midi(midi / "Satie/empty.mid", Performance())
    manifest = pack(found(midi), tmp_path / "pack", OPTIONS)
    assert [each.name for each in manifest.recordings] == ["Ravel/c"]
    assert list(manifest.rejected) == ["Bach/a", "Bach/b", "Satie/empty"]
    reasons = ("its beats go on to 9.5 s", "b.mid is not a MIDI file", "it has no notes")
    for reason, told in zip(reasons, manifest.rejected.values(), strict=True):
        assert reason in told and "\n" not in told
    assert list(facts(tmp_path / "pack")) == ["c"]
