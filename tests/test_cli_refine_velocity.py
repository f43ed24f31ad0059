import csv
import dataclasses
import json
import os
import sys
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer
from synthetic_piano import RATE_HZ, piece, sound
from typer.testing import CliRunner

from amtcli.cli import _Commands, refine_velocity
from amtcli.cli.engines import EngineChoice, open_reader
from amtcli.cli.progress import NORMAL, Screen
from amtcli.errors import AudioError, ModelError, UsageError
from amtcli.midi import performance_to_midi_bytes
from amtcli.midi_reading import read_score
from amtcli.notes import Note, Performance
from amtcli.refinement import refining
from amtcli.refinement.reading import VelocityReading

LENGTH_S = 16.0
LATE_S = 0.2
# The command as it stands on the command line.
app = typer.Typer(cls=_Commands)
app.command("refine-velocity")(refine_velocity.refine_velocity)
app.command("other")(lambda: None)


class StubReader:
    """Reads velocity 20 + the note's index, and fails for recordings that are named bad."""

    description = "stub"

    def __init__(self):
        self.asked = []

    def read_velocities(self, scored, on_progress=None, /):
        for one in scored:
            self.asked.append(one)
            key = one.recording.key
            bad = "bad" in key
            read = None if bad else 20.0 + np.arange(len(one.score.notes))
            error = AudioError(f"{key}: not audio") if bad else None
            warnings = ("a second was lost",) if "cut" in key else ()
            yield VelocityReading(one, read, error, warnings, LENGTH_S)


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """A stub behind the command; the current folder is a fresh one."""
    monkeypatch.chdir(tmp_path)
    stub = StubReader()
    stub.choices = []

    def open_stub(choice, screen):
        stub.choices.append(choice)
        return stub, None

    monkeypatch.setattr(refine_velocity, "open_reader", open_stub)
    return stub


MUSIC = piece(LENGTH_S)
NOTES = tuple(
    Note(float(onset_s), float(offset_s), int(pitch), 64)
    for onset_s, offset_s, pitch in zip(*MUSIC, strict=True)
)
SCORE = performance_to_midi_bytes(Performance(NOTES))
SAMPLES = sound(MUSIC[0] + LATE_S, MUSIC[2], LENGTH_S + 1)


def put(score, audio=None, data=SCORE):
    for name in filter(None, (score, audio)):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(score).write_bytes(data)
    if audio:
        soundfile.write(audio, SAMPLES, RATE_HZ)


def amt(*words):
    return CliRunner().invoke(app, ["refine-velocity", *words], prog_name="amt")


def velocities(path):
    return [note.velocity for note in read_score(Path(path).read_bytes()).notes]


EXPECTED = [20 + index for index in range(len(NOTES))]


def test_one_score_gives_its_file_and_one_line(reader):
    put("song.mid", "take.wav")
    result = amt("song.mid", "take.wav")
    assert (result.exit_code, result.stdout) == (0, "")
    assert velocities("song.refined.mid") == EXPECTED
    assert velocities("song.mid") == [64] * len(NOTES)
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"song.mid -> song.refined.mid: {len(NOTES)} notes, velocities changed")
    assert "the score" in line and "19" in line  # 190 to 199 ms behind
    (asked,) = reader.asked
    assert asked.recording.source == Path("take.wav")
    heard_s = [note.onset_s for note in asked.score.notes]
    assert heard_s == pytest.approx([note.onset_s + LATE_S for note in NOTES], abs=0.015)


def test_velocities_are_mapped_as_asked(reader):
    put("song.mid", "song.wav")
    assert amt("song.mid", "song.wav", "-o", "half.mid", "--strength", "0.5").exit_code == 0
    assert velocities("half.mid") == [round((64 + new) / 2) for new in EXPECTED]
    assert amt("song.mid", "song.wav", "-o", "c.mid", "--match", "1:100,127:100").exit_code == 0
    assert velocities("c.mid") == [100] * len(NOTES)
    assert amt("song.mid", "song.wav", "-o", "m.mid", "--match", "half.mid").exit_code == 0
    assert velocities("m.mid") == velocities("half.mid")
    assert amt("song.mid", "song.wav", "-o", "k.mid", "--keep-accents").exit_code == 0
    assert velocities("k.mid")[5:-5] == pytest.approx(EXPECTED[5:-5], abs=3)


def test_folders_are_paired_by_name_and_one_failure_does_not_stop_the_rest(reader):
    put("scores/a.mid", "audio/a.wav")
    put("scores/x/b.midi", "audio/b.flac")
    put("scores/bad.mid", "audio/bad.wav")
    put("scores/empty.mid", "audio/empty.wav", performance_to_midi_bytes(Performance()))
    put("scores/damaged.mid", "audio/damaged.wav", SCORE[:-9])
    put("scores/alone.mid")
    put("scores/a.refined.mid")
    result = amt("scores", "audio", "-o", "out")
    assert result.exit_code == 1
    assert sorted(path.as_posix() for path in Path("out").rglob("*.mid*")) == [
        "out/a.mid", "out/x/b.midi"
    ]  # fmt: skip
    assert velocities("out/x/b.midi") == EXPECTED
    lines = result.stderr.splitlines()
    for message in (
        "amt: scores/bad.mid: not audio",
        "amt: scores/empty.mid: the score has no notes (drums, on channel 10, are none)",
        "amt: scores/damaged.mid is cut off: copy or export it again",
        "amt: scores/alone.mid: there is no recording of this name",
    ):
        assert message in lines
    assert lines[-1] == f"6 scores: 2 refined, 4 failed; {2 * len(NOTES)} notes"


def test_results_among_the_scores_are_no_scores(reader):
    put("s/a.mid", "w/a.wav")
    for words in ([], ["--overwrite"]):
        assert amt("s", "w", "-o", "s/out", *words).exit_code == 0
    assert [path.name for path in Path("s/out").iterdir()] == ["a.mid"]
    assert len(reader.asked) == 2


def test_a_recording_from_a_pipe_is_heard_twice(reader):
    put("a.mid", "a.wav")
    os.mkfifo("pipe")
    data = Path("a.wav").read_bytes()
    feeder = threading.Thread(target=Path("pipe").write_bytes, args=(data,))
    feeder.start()
    heard = []
    read_velocities = reader.read_velocities

    def read(scored, on_progress=None, /):
        for reading in read_velocities(scored):
            heard.append(reading.scored.recording.source.read_bytes())
            yield reading

    reader.read_velocities = read
    result = amt("a.mid", "pipe")
    feeder.join()
    assert result.exit_code == 0, result.stderr
    assert velocities("a.refined.mid") == EXPECTED
    assert heard == [data]


def test_outputs_that_exist_are_refused_skipped_or_replaced(reader):
    put("s/a.mid", "w/a.wav")
    put("s/cut.mid", "w/cut.wav")
    put("out/a.mid", data=b"mine")
    result = amt("s", "w", "-o", "out")
    assert result.exit_code == 2
    assert "1 output exists" in result.stderr
    assert not reader.asked
    result = amt("s", "w", "-o", "out", "--skip-existing")
    assert result.exit_code == 0
    assert "2 scores: 1 refined, 1 skipped" in result.stderr
    assert "amt: s/cut.mid: warning: a second was lost" in result.stderr
    assert Path("out/a.mid").read_bytes() == b"mine"
    assert amt("s", "w", "-o", "out", "--overwrite").exit_code == 0
    assert velocities("out/a.mid") == EXPECTED
    assert amt("s", "w", "-o", "out", "--skip-existing", "--report", "all.json").exit_code == 0
    assert json.loads(Path("all.json").read_text()) == []


@pytest.mark.parametrize("report", ["all.csv", "all.json"])
def test_what_is_skipped_stays_in_the_report(reader, report):
    put("s/a.mid", "w/a.wav")
    put("s/b.mid", "w/b.wav")
    if sys.platform == "linux":  # which takes names that are no text
        name = os.fsdecode(b"a\xff")
        put(f"s/{name}.mid")
        Path(f"w/{name}.wav").write_bytes(Path("w/a.wav").read_bytes())
    assert amt("s", "w", "-o", "out", "--report", report).exit_code == 0
    whole = Path(report).read_text()
    assert whole.count("velocity_after") >= 1
    assert amt("s", "w", "-o", "out", "--skip-existing", "--report", report).exit_code == 0
    assert Path(report).read_text() == whole
    Path("out/b.mid").unlink()
    assert amt("s", "w", "-o", "out", "--skip-existing", "--report", report).exit_code == 0
    assert Path(report).read_text() == whole
    Path(report).write_text("of something else")
    result = amt("s", "w", "-o", "out", "--skip-existing", "--report", report)
    assert result.exit_code == UsageError.exit_code
    assert f"--report {report} holds something else: name another file" in result.stderr
    assert Path(report).read_text() == "of something else"


@pytest.mark.parametrize(
    ("report", "text"), [("r.csv", "of,mine\n1,2\n"), ("r.json", '{"of": "mine"}')]
)
def test_a_report_replaces_no_file_but_a_report(reader, report, text):
    put("a.mid", "a.wav")
    Path(report).write_text(text)
    result = amt("a.mid", "a.wav", "--report", report)
    assert result.exit_code == UsageError.exit_code
    assert f"--report {report} holds something else: name another file" in result.stderr
    assert Path(report).read_text() == text
    assert not Path("a.refined.mid").exists()
    Path(report).write_text("")
    for _ in range(2):  # in place of nothing, and of its own
        assert amt("a.mid", "a.wav", "--report", report, "--overwrite").exit_code == 0
        assert Path(report).read_text().count("a.mid") >= 1


def test_refined_scores_are_not_kept_in_memory(reader, monkeypatch):
    alive, made = [], []

    def counted(*args):
        alive.append(sum(one() is not None for one in made))
        refined = refine(*args)
        made.append(weakref.ref(refined))
        return refined

    refine = refining.refine
    monkeypatch.setattr(refining, "refine", counted)
    for name in "abc":
        put(f"s/{name}.mid", f"w/{name}.wav")
    result = amt("s", "w", "-o", "out")
    assert result.stderr.splitlines()[-1].endswith(f"3 refined; {3 * len(NOTES)} notes")
    assert alive == [0, 0, 0]


def test_a_dry_run_says_what_and_does_nothing(reader):
    put("s/a.mid", "w/a.wav")
    put("s/b.mid")
    result = amt("s", "w", "-o", "out", "--dry-run")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "refine\ts/a.mid\tw/a.wav\tout/a.mid",
        "fail\ts/b.mid\t\tthere is no recording of this name",
    ]
    assert not Path("out").exists()
    assert not reader.asked


def test_a_dry_run_for_programs_escapes_what_would_end_a_cell(reader):
    put("s/a\tb\\c.mid", "w/a\tb\\c.wav")
    (line,) = amt("s", "w", "-o", "out", "--dry-run").stdout.splitlines()
    assert line.split("\t")[1] == "s/a\\tb\\\\c.mid"


def test_a_result_for_standard_output_is_nothing_but_midi(reader):
    put("a.mid", "a.wav")
    result = amt("a.mid", "a.wav", "-o", "-")
    assert result.exit_code == 0
    assert [note.velocity for note in read_score(result.stdout_bytes).notes] == EXPECTED


def test_the_report_has_old_and_new_velocity_of_each_note(reader):
    put("a.mid", "a.wav")
    assert amt("a.mid", "a.wav", "--report", "r.csv", "--strength", "0.5").exit_code == 0
    rows = list(csv.DictReader(Path("r.csv").read_text().splitlines()))
    assert [int(row["velocity_after"]) for row in rows] == velocities("a.refined.mid")
    assert {row["velocity_before"] for row in rows} == {"64"}
    assert [float(row["velocity_read"]) for row in rows] == EXPECTED
    assert float(rows[3]["onset_s"]) == pytest.approx(NOTES[3].onset_s, abs=1e-3)
    assert amt("a.mid", "a.wav", "--report", "r.json", "--overwrite").exit_code == 0
    (document,) = json.loads(Path("r.json").read_text())
    assert (document["score"], document["warped"]) == ("a.mid", False)
    assert document["alignment"]["bias_s"] == pytest.approx(LATE_S, abs=0.012)
    assert [note["velocity_after"] for note in document["notes"]] == EXPECTED


def test_a_plot_that_cannot_be_written_takes_no_result_away(reader):
    pytest.importorskip("matplotlib")
    put("a.mid", "a.wav")
    Path("plots/a.png").mkdir(parents=True)
    result = amt("a.mid", "a.wav", "-o", "out.mid", "--plot", "plots", "--report", "r.csv")
    assert result.exit_code == 1
    assert "amt: a.mid: no plot: " in result.stderr
    assert velocities("out.mid") == EXPECTED
    assert len(Path("r.csv").read_text().splitlines()) == 1 + len(EXPECTED)


def test_what_nothing_is_heard_of_is_told_and_of_all_notes_an_error(reader, monkeypatch):
    put("a.mid", "a.wav")
    nothing = {0: np.nan}
    read_velocities = reader.read_velocities

    def with_gaps(scored, on_progress=None, /):
        for reading in read_velocities(scored, on_progress):
            read = np.where(
                np.isin(np.arange(len(reading.velocities)), list(nothing)), np.nan, 50.0
            )
            yield dataclasses.replace(reading, velocities=read)

    monkeypatch.setattr(reader, "read_velocities", with_gaps)
    result = amt("a.mid", "a.wav", "-o", "some.mid")
    assert result.exit_code == 0
    assert (
        "a.mid: warning: 1 notes of which nothing is heard keep their velocities" in result.stderr
    )
    nothing.update(dict.fromkeys(range(100), np.nan))
    result = amt("a.mid", "a.wav", "-o", "none.mid")
    assert result.exit_code == 1
    assert "amt: a.mid: the recording is silent where the score has notes" in result.stderr
    assert not Path("none.mid").exists()


def test_a_match_that_is_no_midi_file_is_wrong_usage(reader):
    put("a.mid", "a.wav")
    result = amt("a.mid", "a.wav", "--match", "a.wav")
    assert result.exit_code == 2
    assert "--match: a.wav is not a MIDI file" in result.stderr


def test_a_plot_is_drawn_for_each_score(reader):
    pytest.importorskip("matplotlib")
    put("s/x/a.mid", "w/x/a.wav")
    assert amt("s", "w", "-o", "out", "--plot", "plots").exit_code == 0
    assert Path("plots/x/a.png").read_bytes().startswith(b"\x89PNG")
    assert Path("plots/x/a.pdf").read_bytes().startswith(b"%PDF")


def test_a_score_out_of_time_needs_align(reader):
    slower = tuple(
        Note(1.3 * note.onset_s, 1.3 * note.offset_s, note.pitch, 64)
        for note in NOTES
        if 1.3 * note.onset_s < LENGTH_S
    )
    put("a.mid", "a.wav", performance_to_midi_bytes(Performance(slower)))
    result = amt("a.mid", "a.wav")
    assert result.exit_code == 1
    assert "amt: a.mid: score and recording do not correlate" in result.stderr
    assert not Path("a.refined.mid").exists()
    soundfile.write("a.wav", SAMPLES[: round((slower[-1].onset_s / 1.3 + 0.6) * RATE_HZ)], RATE_HZ)
    result = amt("a.mid", "a.wav", "--align", "--report", "r.json")
    assert result.exit_code == 0, result.stderr
    assert "score warped onto the recording" in result.stderr
    heard_s = np.array([note.onset_s for note in reader.asked[0].score.notes])
    played_s = np.array([note.onset_s / 1.3 + LATE_S for note in slower])
    assert np.median(np.abs(heard_s - played_s)) < 0.03
    assert json.loads(Path("r.json").read_text())[0]["warped"] is True


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--strength", "2"], "--strength takes 0"),
        (["--match", "no.mid"], "--match no.mid: this is neither a file nor a curve"),
        (["--report", "r.txt"], "--report r.txt: its name must end in .csv or .json"),
        (["--report", "a.wav/r.csv"], "--report a.wav/r.csv cannot be written: a.wav (a.wav is"),
        (["--plot", "a.wav"], "--plot: cannot write into a.wav"),
        (["-o", "a.mid"], "-o a.mid: the score would be overwritten"),
        (["-o", "./link.mid"], "the score would be overwritten"),
        (["-o", "a.json"], "-o a.json: the result is MIDI"),
        (["-o", "a.wav"], "-o a.wav: the result is MIDI"),
        (["-q", "-v"], "contradict"),
        (["--skip-existing", "--overwrite"], "contradict"),
    ],
)
def test_wrong_options_stop_before_any_work(reader, words, message):
    put("a.mid", "a.wav")
    Path("link.mid").symlink_to("a.mid")
    result = amt("a.mid", "a.wav", *words)
    assert result.exit_code == 2
    assert result.stderr.startswith("amt: error: ")
    assert message in result.stderr
    assert not reader.asked


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["none.mid", "a.wav"], 4, "none.mid does not exist"),
        (["a.mid", "none.wav"], 4, "none.wav does not exist"),
        (["a.mid", "w"], 2, "give two files or two folders"),
        (["a.wav", "a.mid"], 2, "a.wav is no score: SCORE comes first, AUDIO second"),
        (["w", "w", "-o", "out"], 4, "w holds no scores"),
        (["s", "w"], 2, "name a folder for the results with -o"),
        (["s", "w", "-o", "s"], 2, "the scores would be overwritten"),
        (["s", "w", "-o", "-"], 2, "-o - takes the result of one score"),
        (["s", "none", "-o", "out"], 4, "none does not exist"),
        (["s", "empty", "-o", "out"], 4, "no recording in empty has the name of a score"),
    ],
)
def test_inputs_that_are_not_there_or_do_not_fit_are_named(reader, words, code, message):
    put("a.mid", "a.wav")
    put("s/a.mid", "w/a.wav")
    Path("empty").mkdir()
    result = amt(*words)
    assert result.exit_code == code
    assert message in result.stderr


def test_a_reference_without_notes_is_refused(reader):
    put("a.mid", "a.wav")
    put("none.mid", data=performance_to_midi_bytes(Performance()))
    result = amt("a.mid", "a.wav", "--match", "none.mid")
    assert result.exit_code == 2
    assert "--match none.mid: there are no notes in it" in result.stderr


def choice(model):
    return EngineChoice(model, "cpu", None, "auto", False, True)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("transkun-v2", "does not read velocities of a given score .its decoder is 'semi_crf'"),
        ("no-such-model", "there is no model 'no-such-model'"),
    ],
)
def test_a_model_that_reads_no_velocities_is_an_error_before_it_is_pulled(model, message):
    with pytest.raises(ModelError, match=message):
        open_reader(choice(model), Screen(NORMAL, 1))
