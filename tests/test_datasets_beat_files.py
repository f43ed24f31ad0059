import pytest
from data_sets import make_maestro, make_maps, make_pairs, make_smd, melody, write_midi

from amtcli.datasets.beat_files import beat_files_beside, read_beats, read_beats_beside
from amtcli.datasets.maestro import find_maestro
from amtcli.datasets.maps import MapsOptions, find_maps
from amtcli.datasets.note_files import read_note_labels
from amtcli.datasets.pack import open_pack
from amtcli.datasets.packing import PackOptions, pack
from amtcli.datasets.pairs import find_pairs
from amtcli.datasets.rendering_sources import find_midi
from amtcli.errors import DataError
from amtcli.notes import Beat

ANNOTATIONS = "0.25\t0.25\tdb,4/4,-3\n0.5\t0.5\tb\n0.75\t0.75\tbR\n1.0\t1.0\tdb,,2\n"


def write(path, text):
    path.write_text(text)
    return path


def test_annotations_have_downbeats_and_beats_of_uncertain_place(tmp_path):
    beats = read_beats(write(tmp_path / "a_annotations.txt", ANNOTATIONS))
    assert beats == (Beat(0.25, True), Beat(0.5), Beat(0.75), Beat(1.0, True))


@pytest.mark.parametrize("separator", [" ", "\t", "   "])
def test_the_first_beat_of_a_bar_is_the_downbeat(tmp_path, separator):
    text = "\n".join(separator.join(row) for row in (("0.2", "3"), ("0.9", "1"), ("1.5", "2.0")))
    beats = read_beats(write(tmp_path / "a.beats", text + "\n\n"))
    assert beats == (Beat(0.2), Beat(0.9, True), Beat(1.5))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1.5\t1.5", "expected a time, the same time and b, db or bR"),
        ("1.5\t1.6\tb", "expected a time, the same time"),
        ("1.5 1.5 b", "expected a time, the same time"),
        ("x\tx\tb", "expected a time, the same time"),
        ("1.5\t1.5\tdownbeat", "expected a time, the same time"),
        ("1.5\t1.5\tdb,4/4,0,x", "expected a time, the same time"),
        ("nan\tnan\tb", "expected a time, the same time"),
        ("inf\tinf\tb", "there can be no beat at inf s"),
        ("1.0\t1.0\tb", r"the beat at 1.0 s does not come after the last, at 1.0 s"),
    ],
)
def test_a_damaged_annotation_is_named(tmp_path, row, message):
    path = write(tmp_path / "a_annotations.txt", f"{ANNOTATIONS}\n{row}\n2\t2\tb\n")
    with pytest.raises(DataError, match=rf"a_annotations\.txt, line 6: {message}"):
        read_beats(path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1.5", "expected a time and the number of the beat in its bar"),
        ("1.5 2 1", "expected a time and the number"),
        ("1.5,2", "expected a time and the number"),
        ("1.5 0", "0 is no number of a beat"),
        ("1.5 1.5", "1.5 is no number of a beat"),
        ("1.5 nan", "nan is no number of a beat"),
        ("nan 2", "there can be no beat at nan s"),
        ("-1.5 2", "there can be no beat at -1.5 s"),
        ("0.5 2", r"the beat at 0.5 s does not come after the last, at 1.0 s"),
    ],
)
def test_a_damaged_beat_is_named(tmp_path, row, message):
    path = write(tmp_path / "a.beats", f"1.0 1\n{row}\n")
    with pytest.raises(DataError, match=rf"a\.beats, line 2: {message}"):
        read_beats(path)


def test_a_file_without_beats_is_damaged(tmp_path):
    with pytest.raises(DataError, match=r"a\.beats holds no beats"):
        read_beats(write(tmp_path / "a.beats", "\n"))
    (tmp_path / "b.beats").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"b\.beats cannot be read as beats"):
        read_beats(tmp_path / "b.beats")


def test_beats_belong_to_the_notes_of_their_name(tmp_path):
    notes = tmp_path / "op. 1.mid"
    write(tmp_path / "op.beats", "1.0 1\n")
    assert beat_files_beside(notes) == () == read_beats_beside(notes)
    beats = write(tmp_path / "op. 1.beats", "1.0 1\n")
    assert beat_files_beside(notes) == (beats,)
    assert read_beats_beside(notes) == (Beat(1.0, True),)
    write(tmp_path / "op. 1_annotations.txt", ANNOTATIONS)
    with pytest.raises(DataError, match=r"annotations\.txt and op\. 1\.beats are both beats"):
        read_beats_beside(notes)


def test_labels_have_the_beats_beside_their_file(tmp_path):
    path = write_midi(tmp_path / "a.mid", melody())
    assert read_note_labels(path).beats is None
    write(tmp_path / "a_annotations.txt", ANNOTATIONS)
    beats = read_note_labels(path).beats
    assert beats.time_s.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert beats.is_downbeat.tolist() == [True, False, False, True]
    assert beats.dynamics.tolist() == [-1] * 4


def test_a_pack_follows_its_beats(tmp_path):
    make_pairs(tmp_path / "data", n=2)

    def packed():
        pack(find_pairs(tmp_path / "data", "train", 0.0), tmp_path / "pack", PackOptions(16_000))
        recordings = open_pack(tmp_path / "pack").recordings
        return [each.read_labels().beats for each in recordings]

    assert packed() == [None, None]
    write(tmp_path / "data/take0_annotations.txt", ANNOTATIONS)
    first, second = packed()
    assert first.time_s.tolist() == [0.25, 0.5, 0.75, 1.0] and second is None
    write(tmp_path / "data/take0_annotations.txt", ANNOTATIONS.replace("0.5", "0.6"))
    assert packed()[0].time_s.tolist() == [0.25, 0.6, 0.75, 1.0]
    (tmp_path / "data/take0_annotations.txt").unlink()
    assert packed() == [None, None]


def test_damaged_beats_keep_a_recording_out_of_a_pack(tmp_path):
    make_pairs(tmp_path / "data", n=2)
    write(tmp_path / "data/take0.beats", "one 1\n")
    data_set = find_pairs(tmp_path / "data", "train", 0.0)
    manifest = pack(data_set, tmp_path / "pack", PackOptions(16_000))
    assert [entry.name for entry in manifest.recordings] == ["take1"]
    assert "take0.beats, line 1: expected a time" in manifest.rejected["take0"]


@pytest.mark.parametrize("name", ["maestro", "maps", "rendered"])
def test_recordings_of_known_data_sets_may_have_beats_too(tmp_path, name):
    make = {"maestro": make_maestro, "maps": make_maps, "rendered": make_smd}[name]
    make(tmp_path)
    find = {
        "maestro": find_maestro,
        "maps": lambda folder: find_maps(folder, MapsOptions()),
        "rendered": lambda folder: find_midi([folder]),
    }[name]
    plain = find(tmp_path).recordings[0]
    notes = plain.label_files[0]
    beats = write(notes.with_name(f"{notes.stem}_annotations.txt"), ANNOTATIONS)
    found = find(tmp_path).recordings[0]
    assert found.label_files == (*plain.label_files, beats)
    assert found.read_labels().beats.time_s.tolist() == [0.25, 0.5, 0.75, 1.0]
