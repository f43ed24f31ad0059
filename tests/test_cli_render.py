"""`amt pack render` as it is typed."""

import shutil

import numpy as np
import pytest
from soundfonts import soundfont
from typer.testing import CliRunner

from amtcli.cli.pack import app
from amtcli.datasets.pack import Manifest, open_pack, write_manifest
from amtcli.errors import DataError, UsageError
from amtcli.midi import performance_to_midi_bytes
from amtcli.notes import Note, Performance

pytestmark = pytest.mark.skipif(
    shutil.which("fluidsynth") is None, reason="the program fluidsynth is not installed"
)


def run(*words, exit_code=0):
    """Run the command; an error that the whole program would turn into a message is raised."""
    result = CliRunner().invoke(app, ["render", *map(str, words)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == exit_code, result.output
    return result.output


def files(folder):
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.fixture
def sine(tmp_path):
    path = tmp_path / "sine.sf2"
    path.write_bytes(soundfont())
    return path


@pytest.fixture
def midi(tmp_path):
    for composer in ("Bach", "Ravel", "Satie"):
        path = tmp_path / "midi" / composer / "piece.mid"
        path.parent.mkdir(parents=True)
        notes = tuple(Note(0.3 * i, 0.3 * i + 0.2, 50 + i, 70) for i in range(8))
        path.write_bytes(performance_to_midi_bytes(Performance(notes)))
    return tmp_path / "midi"


def test_a_folder_becomes_a_pack_and_any_number_of_processes_the_same(tmp_path, midi, sine):
    common = (midi, "--soundfont", sine, "--seed", 3)
    said = run(*common, "-o", tmp_path / "one", "-j", 1)
    assert "3 recordings by 1 instruments; about 13 s of audio to render" in said
    assert "3 recordings in" in said
    run(*common, "-o", tmp_path / "two", "-j", 2)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert len(files(tmp_path / "one")) == 4


def test_dry_sound_has_no_noise_between_its_notes(tmp_path, midi, sine):
    for name, words in (("dry", ["--dry"]), ("wet", [])):
        run(midi, "--soundfont", sine, "-o", tmp_path / name, "-j", 1, *words)
    tails = {}
    for name in ("dry", "wet"):
        recordings = open_pack(tmp_path / name).recordings
        tails[name] = [np.abs(r.read_audio(r.n_samples - 8000, 8000)).max() for r in recordings]
    assert max(tails["dry"]) == 0.0
    assert max(tails["wet"]) > 0.0


def test_other_splits_than_before_are_told(tmp_path, midi, sine):
    words = (midi, "--soundfont", sine, "-o", tmp_path / "pack", "-j", 1, "--dry")
    assert "moved" not in run(*words, "--validation-share", 0.0)
    said = run(*words, "--validation-share", 1.0)
    assert "3 recordings moved from train to validation: other options than before" in said


def test_a_pack_is_not_mixed_with_its_source(midi, sine):
    with pytest.raises(UsageError, match=r"midi is the folder of the source"):
        run(midi, "--soundfont", sine, "-o", midi)
    assert not (midi / "manifest.json").exists()


def test_splits_and_what_is_left_out(tmp_path, midi, sine):
    unwanted, table = tmp_path / "unwanted.txt", tmp_path / "maestro.csv"
    unwanted.write_text("Bach\nChopin*\n")
    table.write_text("midi_filename,split\n2004/piece.midi,test\n")
    run(
        *(midi, "--soundfont", sine, "-o", tmp_path / "pack", "-j", 1, "--dry"),
        *("--exclude-compositions", unwanted, "--split-from", table),
    )
    recordings = open_pack(tmp_path / "pack").recordings
    assert [(r.name, r.split) for r in recordings] == [
        ("Ravel/piece", "test"),
        ("Satie/piece", "test"),
    ]
    said = run(
        *(midi, "--soundfont", sine, "-o", tmp_path / "held", "-j", 1, "--dry"),
        *("--exclude-compositions", unwanted, "--validation-share", 1.0),
    )
    assert [r.split for r in open_pack(tmp_path / "held").recordings] == ["validation"] * 2
    assert "1 files of excluded compositions are left out" in said
    assert "not among the MIDI files: Chopin*" in said


def test_nothing_more_is_held_out_where_maestro_says_what_is_for_what(
    tmp_path, midi, sine, monkeypatch
):
    monkeypatch.setattr("amtcli.cli.render._USUAL_SHARE", 1.0)
    table = tmp_path / "maestro.csv"
    table.write_text("midi_filename,split\n2004/other.midi,train\n")
    splits = {}
    for name, words in (("own", []), ("maestro", ["--split-from", table])):
        run(midi, "--soundfont", sine, "-o", tmp_path / name, "-j", 1, "--dry", *words)
        splits[name] = {recording.split for recording in open_pack(tmp_path / name).recordings}
    assert splits == {"own": {"validation"}, "maestro": {"train"}}


def test_a_bad_file_is_named_and_the_rest_goes_on(tmp_path, midi, sine):
    (midi / "Ravel" / "piece.mid").write_bytes(b"not MIDI")
    said = run(midi, "--soundfont", sine, "-o", tmp_path / "pack", "-j", 1, exit_code=1)
    assert "Ravel/piece is left out: " in said and "is not a MIDI file" in said
    assert "2 recordings in" in said and "1 left out" in said


def test_copies_are_by_different_soundfonts(tmp_path, midi, sine):
    other = tmp_path / "other.sf2"
    other.write_bytes(soundfont(program=0))
    run(
        *(midi, "-o", tmp_path / "pack", "-j", 1, "--copies", 2, "--dry"),
        *("--soundfont", sine, "--soundfont", other),
    )
    used = [recording.instrument for recording in open_pack(tmp_path / "pack").recordings]
    assert used.count("sine:0") == used.count("other:0") == 3


def test_performances_are_varied_and_cut(tmp_path, midi, sine):
    for name, words in (("as-is", []), ("varied", ["--varied"]), ("cut", ["--max-duration", 1])):
        run(midi, "--soundfont", sine, "-o", tmp_path / name, "-j", 1, "--dry", *words)
    labels = {
        name: open_pack(tmp_path / name).recordings[0].read_labels().notes
        for name in ("as-is", "varied", "cut")
    }
    assert labels["as-is"].onset_s[-1] == pytest.approx(2.1, abs=1e-3)
    assert abs(labels["varied"].onset_s[-1] - 2.1) > 0.02
    assert len(set(labels["varied"].velocity)) > 1
    assert len(labels["cut"]) in (3, 4)


def test_programs_are_for_soundfonts(tmp_path, midi):
    instrument = tmp_path / "piano.sfz"
    instrument.write_text("<region> sample=piano.wav")
    with pytest.raises(UsageError, match="--program chooses among those of SoundFonts"):
        run(midi, "--soundfont", instrument, "--program", 3, "-o", tmp_path / "pack")


def test_a_pack_of_something_else_is_refused_before_any_instrument_is_tried(tmp_path, midi):
    (tmp_path / "broken.sf2").write_bytes(b"broken")
    write_manifest(tmp_path / "pack", Manifest("maps", 16_000, (), {}))
    with pytest.raises(UsageError, match="is a pack of maps"):
        run(midi, "--soundfont", tmp_path / "broken.sf2", "-o", tmp_path / "pack")


def test_nothing_is_written_for_a_mistake(tmp_path, midi, sine):
    (tmp_path / "broken.sf2").write_bytes(b"broken")
    with pytest.raises(DataError, match="fluidsynth cannot play"):
        run(midi, "--soundfont", tmp_path / "broken.sf2", "-o", tmp_path / "pack")
    empty = tmp_path / "empty.txt"
    empty.write_text("\n")
    with pytest.raises(UsageError, match="names no compositions"):
        run(
            *(midi, "--soundfont", sine, "-o", tmp_path / "pack"),
            *("--exclude-compositions", empty),
        )
    assert not (tmp_path / "pack").exists()
