import os
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile as sf
from data_sets import (
    RATE_HZ,
    irregular,
    make_maestro,
    make_mazurka,
    make_pairs,
    melody,
    sound,
    write_audio,
    write_midi,
    write_tsv,
)

from amtcli.datasets.maestro import find_maestro
from amtcli.datasets.mazurka import find_mazurka
from amtcli.datasets.pack import open_pack, read_manifest, recording_path
from amtcli.datasets.packing import PackOptions, check_space, estimate, pack
from amtcli.datasets.pairs import find_pairs
from amtcli.errors import DataError, UsageError

OPTIONS = PackOptions()


def pack_pairs(source, folder, options=OPTIONS):
    return pack(find_pairs(source, "train", 0.0), folder, options)


def contents(folder):
    """All files of a folder but hidden ones, with their bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def inodes(folder):
    return {path.name: path.stat().st_ino for path in (folder / "recordings").rglob("*.h5")}


def test_maestro_becomes_recordings_with_notes_pedals_and_sources(tmp_path):
    make_maestro(tmp_path / "maestro")
    heard = []
    manifest = pack(find_maestro(tmp_path / "maestro"), tmp_path / "pack", OPTIONS, heard.append)
    assert sorted(each.name for each in heard) == [each.name for each in manifest.recordings]
    packed = open_pack(tmp_path / "pack")
    assert [each.split for each in packed.recordings] == ["train", "validation", "train", "test"]
    first = packed.recordings[0]
    assert first.group == "Frédéric Chopin: Étude, Op. 1"
    assert first.duration_s == pytest.approx(1.85)
    expected = np.rint(sound(melody(0)) * 32768) / 32768
    # Through a 16 bit wav file and the mean of two equal channels, within one step.
    assert first.read_audio(0, first.n_samples) == pytest.approx(expected, abs=1.1 / 32768)
    notes = first.read_labels().notes
    assert notes.onset_s == pytest.approx(0.1 + 0.25 * np.arange(6))
    assert first.read_labels().pedals.value.tolist() == [100]
    entry = read_manifest(tmp_path / "pack").recordings[0]
    assert [source.path for source in entry.sources] == [
        "2004/MIDI-0_wav--1.wav",
        "2004/MIDI-0_wav--1.midi",
    ]
    wav = tmp_path / "maestro/2004/MIDI-0_wav--1.wav"
    assert entry.sources[0].n_bytes == wav.stat().st_size


def test_mazurkas_become_beats_without_notes(tmp_path):
    make_mazurka(tmp_path / "data")
    data_set = find_mazurka(tmp_path / "data", tmp_path / "data", 2)
    pack(data_set, tmp_path / "pack", replace(OPTIONS, sample_rate_hz=8000))
    packed = open_pack(tmp_path / "pack")
    assert len(packed.recordings) == len(data_set.recordings)
    labels = packed.recordings[0].read_labels()
    assert labels.notes is None
    assert labels.beats.is_downbeat.sum() == 4
    before = inodes(tmp_path / "pack")
    other = find_mazurka(tmp_path / "data", tmp_path / "data", 3)
    pack(other, tmp_path / "pack", replace(OPTIONS, sample_rate_hz=8000))
    assert inodes(tmp_path / "pack") == before  # another fold writes no audio
    splits = {each.name: each.split for each in open_pack(tmp_path / "pack").recordings}
    assert splits == {each.name: each.split for each in other.recordings}


def test_audio_is_resampled_and_mixed_to_one_channel(tmp_path):
    source = tmp_path / "source"
    left = sound(melody(), 44_100)
    write_audio(source / "a.wav", np.stack([left, np.zeros_like(left)], axis=1), 44_100)
    write_midi(source / "a.mid", melody())
    pack_pairs(source, tmp_path / "pack")
    (recording,) = open_pack(tmp_path / "pack").recordings
    assert abs(recording.n_samples - 1.85 * RATE_HZ) <= 1
    audio = recording.read_audio(0, recording.n_samples)
    expected = sound(melody()) / 2
    assert np.corrcoef(audio[: len(expected)], expected[: len(audio)])[0, 1] > 0.999
    assert np.abs(audio).max() == pytest.approx(np.abs(expected).max(), rel=0.02)


def test_processes_make_the_same_pack(tmp_path):
    make_pairs(tmp_path / "source", n=4)
    pack_pairs(tmp_path / "source", tmp_path / "one")
    pack_pairs(tmp_path / "source", tmp_path / "two", PackOptions(n_jobs=2))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_what_is_done_is_not_redone_and_what_changed_is(tmp_path):
    source, folder = make_pairs(tmp_path / "source"), tmp_path / "pack"
    pack_pairs(source, folder)
    before, whole = inodes(folder), contents(folder)
    pack_pairs(source, folder)
    assert inodes(folder) == before
    assert contents(folder) == whole
    os.utime(source / "take0.wav")  # newer, but what it was
    write_midi(source / "take2.mid", melody(7))  # another performance
    write_audio(source / "take2.wav", sound(melody(7)))
    pack_pairs(source, folder)
    changed = {name for name, inode in inodes(folder).items() if inode != before[name]}
    assert changed == {"take2.h5"}
    notes = open_pack(folder).recordings[2].read_labels().notes
    assert notes.pitch.tolist() == [note.pitch for note in melody(7).notes]


def test_a_corrected_table_with_an_old_date_is_seen(tmp_path):
    source, folder = make_pairs(tmp_path / "source"), tmp_path / "pack"
    pack_pairs(source, folder)
    table = source / "take1.tsv"
    text = table.read_text()
    table.write_text(text.replace("\t30.000000", "\t31.000000"))  # as long as before
    assert table.read_text() != text
    os.utime(table, (1e9, 1e9))  # as copying and unpacking leave it
    pack_pairs(source, folder)
    assert open_pack(folder).recordings[1].read_labels().notes.velocity[0] == 31


def test_damaged_recordings_are_made_anew(tmp_path):
    source, folder = make_pairs(tmp_path / "source"), tmp_path / "pack"
    pack_pairs(source, folder)
    whole = contents(folder)
    recording_path(folder, "take1").write_bytes(b"cut off")
    recording_path(folder, "take0").unlink()
    pack_pairs(source, folder)
    assert contents(folder) == whole


def make_bad_pairs(source):
    """One good pair and one of each kind of bad ones; returns words of the reasons."""
    make_pairs(source, n=1)
    shutil.copy(source / "take0.mid", source / "unreadable.mid")
    (source / "unreadable.wav").write_bytes(b"no audio at all")
    shutil.copy(source / "take0.wav", source / "damaged.wav")
    (source / "damaged.mid").write_bytes(b"MThd")
    shutil.copy(source / "take0.wav", source / "short.wav")
    write_midi(source / "short.mid", melody(n_notes=40))
    long = irregular(0, n_notes=40)
    write_audio(source / "shifted.wav", np.pad(sound(long), (round(0.35 * RATE_HZ), 0)))
    write_midi(source / "shifted.mid", long)
    write_audio(source / "empty.wav", sound(melody()))
    write_tsv(source / "empty.tsv", replace(melody(), notes=()))
    return {
        "damaged": "is cut off",
        "empty": "there is nothing in its labels",
        "shifted": "its sound comes 0.3",
        "short": "its labels go on to",
        "unreadable": "is not audio",
    }


def test_bad_pairs_are_listed_with_the_reason_and_the_rest_is_packed(tmp_path):
    expected = make_bad_pairs(tmp_path / "source")
    manifest = pack_pairs(tmp_path / "source", tmp_path / "pack")
    assert [each.name for each in manifest.recordings] == ["take0"]
    assert list(manifest.rejected) == sorted(expected)
    for name, reason in expected.items():
        assert reason in manifest.rejected[name]
        assert "\n" not in manifest.rejected[name]
    assert list(inodes(tmp_path / "pack")) == ["take0.h5"]
    assert read_manifest(tmp_path / "pack") == manifest


def test_suspect_pairs_are_kept_where_that_is_wanted_and_only_there(tmp_path):
    make_bad_pairs(tmp_path / "source")
    lenient = PackOptions(keep_suspect=True)
    manifest = pack_pairs(tmp_path / "source", tmp_path / "pack", lenient)
    assert list(manifest.rejected) == ["damaged", "unreadable"]
    shifted = next(each for each in manifest.recordings if each.name == "shifted")
    assert shifted.lag_s == pytest.approx(0.35, abs=0.02)
    assert shifted.notices[0].startswith("its sound comes 0.3")
    strict = pack_pairs(tmp_path / "source", tmp_path / "pack")
    assert [each.name for each in strict.recordings] == ["take0"]
    patient = PackOptions(longest_lag_s=0.5)
    manifest = pack_pairs(tmp_path / "source", tmp_path / "pack", patient)
    assert [each.name for each in manifest.recordings] == ["shifted", "take0"]


def test_what_was_cut_to_full_scale_is_told(tmp_path):
    source = make_pairs(tmp_path / "source", n=1)
    loud = sound(melody())
    loud[[100, 200, 300]] = 1.5, -1.5, 1.0
    sf.write(source / "take0.wav", loud, RATE_HZ, subtype="FLOAT")
    (entry,) = pack_pairs(source, tmp_path / "pack").recordings
    assert entry.notices == ("2 samples beyond full scale were cut to it",)
    assert read_manifest(tmp_path / "pack").recordings[0].notices == entry.notices


def test_packing_without_h5py_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UsageError, match=r"packs need h5py; pip install 'amtcli\[train\]'"):
        pack_pairs(make_pairs(tmp_path / "source", n=1), tmp_path / "pack")


def test_a_folder_with_another_pack_is_refused(tmp_path):
    make_pairs(tmp_path / "source")
    pack_pairs(tmp_path / "source", tmp_path / "pack")
    with pytest.raises(UsageError, match="is a pack of pairs at 16000 Hz"):
        pack_pairs(tmp_path / "source", tmp_path / "pack", PackOptions(sample_rate_hz=8000))
    make_maestro(tmp_path / "maestro")
    with pytest.raises(UsageError, match="is a pack of pairs"):
        pack(find_maestro(tmp_path / "maestro"), tmp_path / "pack", OPTIONS)


def test_another_rate_is_packed_anew_where_a_pack_was_never_finished(tmp_path):
    make_pairs(tmp_path / "source", n=2)
    pack_pairs(tmp_path / "source", tmp_path / "pack")
    (tmp_path / "pack/manifest.json").unlink()
    pack_pairs(tmp_path / "source", tmp_path / "pack", PackOptions(sample_rate_hz=8000))
    recording = open_pack(tmp_path / "pack").recordings[0]
    assert recording.n_samples == pytest.approx(1.85 * 8000, abs=1)


def test_two_recordings_of_one_name_are_refused(tmp_path):
    data_set = find_pairs(make_pairs(tmp_path / "source"), "train", 0.0)
    twice = replace(data_set, recordings=data_set.recordings * 2)
    with pytest.raises(DataError, match="two recordings called take0"):
        pack(twice, tmp_path / "pack", OPTIONS)
    assert not (tmp_path / "pack").exists()


def test_the_estimate_is_what_is_missing(tmp_path):
    source, folder = make_pairs(tmp_path / "source"), tmp_path / "pack"
    data_set = find_pairs(source, "train", 0.0)
    needed = estimate(data_set, folder, OPTIONS)
    assert needed.durations_s == pytest.approx(dict.fromkeys(("take0", "take1", "take2"), 1.85))
    pack(data_set, folder, OPTIONS)
    sizes = [path.stat().st_size for path in (folder / "recordings").iterdir()]
    assert needed.n_bytes == pytest.approx(sum(sizes), rel=0.15)
    recording_path(folder, "take1").unlink()
    assert list(estimate(data_set, folder, OPTIONS).durations_s) == ["take1"]


def test_a_disk_that_is_too_small_is_refused(tmp_path):
    assert check_space(tmp_path / "not" / "yet", 1000) > 1000
    with pytest.raises(UsageError, match=r"needs 1000000000.0 GB, and .* GB are free there"):
        check_space(tmp_path / "not" / "yet", 10**18)


def test_real_recordings_pass_the_checks_in_place_and_not_on_another_piece(shared_data, tmp_path):
    for folder, audio, labels in (
        ("train", "chpn-p11_AkPnCGdD.opus", "chpn-p11_AkPnCGdD.tsv"),
        ("test", "chpn-p14_ENSTDkAm.flac", "scn15_9_ENSTDkAm.tsv"),
    ):
        source = shared_data / "maps" / folder
        shutil.copy(source / audio, tmp_path / audio)
        shutil.copy(source / labels, (tmp_path / audio).with_suffix(".tsv"))
    manifest = pack_pairs(tmp_path, tmp_path / "pack", PackOptions(keep_suspect=True))
    right, wrong = manifest.recordings
    assert right.lag_s == pytest.approx(0, abs=0.02)
    assert right.notices == ()
    assert wrong.notices[0].startswith(("its notes are not heard", "its labels go on to"))
