import csv
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from evaluation_data import melody, notes, with_faults, write_midi, write_table
from metre_model import write_metre
from typer.testing import CliRunner

from amtcli.cli import scoring
from amtcli.cli.evaluate import evaluate
from amtcli.engine import Timings, Transcription
from amtcli.errors import AmtError, AudioError, ModelError, NoInputError, UsageError
from amtcli.notes import Performance
from amtcli.refinement.reading import VelocityReading

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(evaluate)


def run(*words, exit_code=0):
    """Run the command; an error that the whole program would turn into a message is raised."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == exit_code, result.output
    return result


@pytest.fixture
def folders(tmp_path):
    """Four references, and estimates of them with faults."""
    for k in range(4):
        write_table(tmp_path / "ref" / f"p{k}.tsv", melody(seed=k))
        write_midi(tmp_path / "est" / f"p{k}.mid", with_faults(melody(seed=k), k))
    return tmp_path / "ref", tmp_path / "est"


def scored(*words, exit_code=0):
    """The document that --json gives, and what was said beside it."""
    result = run(*words, "--json", "-", exit_code=exit_code)
    return json.loads(result.stdout), result.stderr


def test_two_files(folders):
    ref, est = folders
    document, said = scored(ref / "p0.tsv", est / "p0.mid")
    assert document["settings"]["n_pieces"] == 1
    assert 0.5 < document["aggregate"]["onset_f1"]["mean"] < 1
    assert said == ""


def test_standard_output_by_its_other_name_holds_the_document_alone(folders):
    ref, est = folders
    document = json.loads(run(ref, est, "--json", "/dev/stdout").stdout)
    assert document["settings"]["n_pieces"] == 4


def test_the_table_goes_to_standard_output_and_notices_do_not(folders):
    (folders[1] / "p0.mid").unlink()
    result = run(*folders)
    assert result.stdout.startswith("4 pieces, a missing estimate: scores 0\nonset: within 50 ms")
    assert result.stderr == "amt: 1 without an estimate: p0\n"
    assert run(*folders, "--quiet").stderr == ""


def test_a_dropped_hard_file_lowers_the_mean_unless_it_is_told_to_be_left_out(folders):
    ref, est = folders
    before, _ = scored(*folders)
    (est / "p2.mid").unlink()
    after, said = scored(*folders)
    kept = [row["onset_f1"] for row in before["per_file"] if row["name"] != "p2"]
    assert after["aggregate"]["onset_f1"]["mean"] == pytest.approx(sum(kept) / 4)
    assert after["unmatched"]["references"] == [str(ref / "p2.tsv")]
    assert "1 without an estimate: p2" in said
    ignored, said = scored(*folders, "--missing", "ignore")
    assert ignored["aggregate"]["onset_f1"]["mean"] == pytest.approx(sum(kept) / 3)
    assert ignored["unmatched"] == after["unmatched"]
    assert "1 without an estimate: p2" in said
    with pytest.raises(AmtError, match=r"1 without an estimate .*: p2"):
        run(*folders, "--missing", "error")


def test_pairs_that_are_off_by_one_are_reported(folders):
    for k in range(4):
        write_midi(folders[1] / f"p{k}.mid", melody(seed=k + 1))
    document, said = scored(*folders)
    assert document["aggregate"]["onset_f1"]["mean"] < 0.2
    assert "p0: its estimate fits the reference of p1 (onset F1 1.000)" in said


def test_a_wrong_pitch_unit_is_reported(folders):
    for k in range(4):
        up = tuple(replace(note, pitch=note.pitch + 1) for note in melody(seed=k).notes)
        write_midi(folders[1] / f"p{k}.mid", Performance(up))
    document, said = scored(*folders)
    assert document["aggregate"]["onset_f1"]["mean"] < 0.1
    assert "fits its reference when moved by -1 semitones" in said
    wrong = run(*folders, "--pitch-unit", "midi").stdout
    assert "pitch: within 50 cents in MIDI numbers (a semitone may be a hit)" in wrong
    assert scored(*folders, "--pitch-unit", "midi")[0]["aggregate"]["onset_f1"]["mean"] > 0.8


def test_a_table_in_hertz_is_a_failure_that_names_the_line(folders):
    (folders[0] / "p1.tsv").write_text("# onset,offset,note,velocity\n1.0\t2.0\t261.63\t80\n")
    document, said = scored(*folders, exit_code=1)
    assert "p1.tsv, line 2: 261.63 is not a MIDI note number (0-127); is the column in Hz?" in said
    assert document["settings"]["n_pieces"] == 3
    assert [row["status"] for row in document["per_file"]] == ["scored", "failed", *["scored"] * 2]


def test_an_estimate_that_cannot_be_read_scores_zero_and_fails_the_run(folders):
    (folders[1] / "p1.mid").write_text("nonsense")
    document, said = scored(*folders, exit_code=1)
    assert "p1: " in said
    assert "is not a MIDI file" in said
    assert document["settings"]["n_pieces"] == 4
    assert document["per_file"][1]["onset_f1"] == 0


def test_an_empty_estimate_scores_zero(folders):
    write_midi(folders[1] / "p1.mid", notes())
    document, said = scored(*folders)
    assert document["per_file"][1]["onset_f1"] == 0
    assert "amt: p1: estimate: there are no notes in it" in said


def test_a_notice_that_many_pieces_share_is_given_once(tmp_path):
    for k in range(6):
        write_midi(tmp_path / "ref" / f"p{k}.mid", notes((0, 1, 60)))
        write_midi(tmp_path / "est" / f"p{k}.mid", notes())
    _, said = scored(tmp_path / "ref", tmp_path / "est")
    assert said == "amt: p0, p1, p2 and 3 more: estimate: there are no notes in it\n"


def test_of_many_notices_the_rest_is_counted_and_in_the_result(tmp_path):
    for k in range(14):
        write_midi(tmp_path / "ref" / f"p{k:02d}.mid", notes((0, 1, 60)))
        write_midi(tmp_path / "est" / f"p{k:02d}.mid", notes((0, 1, 60), (0.1 * k, 2, 110)))
    document, said = scored(tmp_path / "ref", tmp_path / "est", "--jobs", "1")
    lines = said.splitlines()
    assert len(lines) == 11
    assert lines[0].startswith("amt: p00: estimate: 1 note outside the 88 keys (21-108), first 110")
    assert lines[-1] == "amt: 4 more such notices: see per_file of --json"
    assert all(row["n_est_out_of_range"] == 1 for row in document["per_file"])
    assert "110 at 1.3" in document["per_file"][13]["notices"][0]


def test_conventions_reach_the_scores_and_the_result(folders):
    words = ["--onset-tolerance", "0.02", "--onset-tolerance", "0.1", "--offset-ratio", "0.5"]
    words += ["--grid", "0.032", "--velocity-scale", "unit", "--pedal-extend", "ref"]
    document, _ = scored(*folders, *words, "--dataset", "toys v1")
    settings = document["settings"]
    assert settings["onset_tolerances_s"] == [0.02, 0.1]
    assert (settings["offset_ratio"], settings["grid_s"]) == (0.5, 0.032)
    assert (settings["velocity_scale"], settings["pedal_extend"]) == ("unit", "ref")
    assert (settings["dataset"], settings["pitch_unit"]) == ("toys v1", "hz")
    mean = {name: entry["mean"] for name, entry in document["aggregate"].items()}
    assert mean["onset_f1"] < mean["onset_f1_100ms"]


def test_files_for_people_and_programs(folders, tmp_path):
    targets = {name: tmp_path / "out" / name for name in ("r.json", "r.csv", "e.csv")}
    words = ["--json", targets["r.json"], "--csv", targets["r.csv"], "--errors", targets["e.csv"]]
    result = run(*folders, *words, "--plain")
    rows = list(csv.DictReader(result.stdout.splitlines(), delimiter="\t"))
    assert [row["name"] for row in rows] == ["p0", "p1", "p2", "p3"]
    with targets["r.csv"].open() as file:
        assert list(csv.DictReader(file)) == rows
    document = json.loads(targets["r.json"].read_text())
    assert float(rows[0]["onset_f1"]) == document["per_file"][0]["onset_f1"]
    with targets["e.csv"].open() as file:
        kinds = [row["kind"] for row in csv.DictReader(file)]
    n_missed = sum(
        row["n_ref_notes"] - round(row["onset_recall"] * row["n_ref_notes"])
        for row in document["per_file"]
    )
    assert kinds.count("missed") == n_missed > 0


def test_plots_are_drawn_for_each_piece(folders, tmp_path):
    pytest.importorskip("matplotlib")
    run(folders[0] / "p0.tsv", folders[1] / "p0.mid", "--plot", tmp_path / "plots")
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == ["p0.pdf", "p0.png"]


def test_a_plot_that_cannot_be_written_takes_no_score_away(folders, tmp_path, monkeypatch):
    def refuse(*_):
        raise AmtError("p0.png cannot be written: No space left on device")

    monkeypatch.setattr("amtcli.evaluation.plots.plot_piece", refuse)
    plots = ["--plot", tmp_path / "plots"]
    files = folders[0] / "p0.tsv", folders[1] / "p0.mid"
    document, said = scored(*files, *plots, exit_code=1)
    assert "p0.png cannot be written" in said
    (row,) = document["per_file"]
    assert row["onset_f1"] == scored(*files)[0]["per_file"][0]["onset_f1"] > 0.5


def test_a_name_with_signs_of_formulas_is_drawn_as_it_is(folders, tmp_path):
    pytest.importorskip("matplotlib")
    reference = (folders[0] / "p0.tsv").rename(folders[0] / "A$_$B.tsv")
    run(reference, folders[1] / "p0.mid", "--plot", tmp_path / "plots")
    assert (tmp_path / "plots" / "A$_$B.png").exists()


def test_fail_under(folders):
    run(*folders, "--fail-under", "onset_f1=0.5", "--fail-under", "onset_f1_centred=0.5")
    result = run(*folders, "--fail-under", "onset_f1=0.999", exit_code=1)
    assert "onset_f1 is 0.9" in result.stderr
    assert "below 0.999" in result.stderr
    with pytest.raises(UsageError, match="near it: onset_f1"):
        run(*folders, "--fail-under", "onset_f=0.9")


def test_comparing_two_results(folders, tmp_path):
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    run(*folders, "--json", before)
    for k in range(4):
        write_midi(folders[1] / f"p{k}.mid", melody(seed=k))
    run(*folders, "--json", after)
    result = run("--compare", before, after)
    assert f"A: {before}" in result.stdout
    comparison = json.loads(run("--compare", before, after, "--json", "-").stdout)
    onset = comparison["differences"][0]
    assert (onset["score"], onset["mean_b"], onset["n_worse"]) == ("onset_f1", 1, 0)
    assert onset["n_better"] >= 3
    with pytest.raises(UsageError, match="--compare takes two results"):
        run(folders[0], "--compare", before, after)
    for words in (["--csv", "a.csv"], ["--plain"], ["--fail-under", "onset_f1=0.9"]):
        with pytest.raises(UsageError, match="--compare writes nothing but --json"):
            run("--compare", before, after, *words)
    for words in (["--onset-tolerance", "0.1"], ["--model", "swift"], ["--missing", "ignore"]):
        with pytest.raises(UsageError, match=f"--compare takes two .* no {words[0]}"):
            run("--compare", before, after, *words)
    whole = after.read_bytes()
    with pytest.raises(UsageError, match="this is to be read and would be overwritten"):
        run("--compare", before, after, "--json", after)
    assert after.read_bytes() == whole
    nameless = json.loads(before.read_text())
    del nameless["per_file"][0]["name"]
    before.write_text(json.dumps(nameless))
    with pytest.raises(AmtError, match="pieces without a name"):
        run("--compare", before, after)


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        ([], UsageError, "name a REFERENCE"),
        (["ref"], UsageError, "name an ESTIMATE, or a --model"),
        (["ref", "est/p0.mid"], UsageError, "two files or two folders"),
        (["ref/p0.tsv", "est"], UsageError, "two files or two folders"),
        (["ref", "est", "--csv", "-"], UsageError, "--csv takes no standard output"),
        (["ref", "est", "--csv", "/dev/stdout"], UsageError, "--csv takes no standard output"),
        (["ref", "est", "--errors", "/dev/stdout"], UsageError, "--errors takes no standard"),
        (["ref", "nothing"], NoInputError, "nothing does not exist"),
        (["x" * 300, "est"], NoInputError, "xxx does not exist"),
        (["ref", "est", "--offset-min", "inf"], UsageError, "offset minimum are numbers"),
        (["ref", "est", "--onset-tolerance", "50"], UsageError, "0.05 means 50 ms"),
        (["ref", "est", "--grid", "0"], UsageError, "grid"),
        (["ref", "est", "--json", "-", "--plain"], UsageError, "both want standard output"),
        (["ref", "est", "--json", "/dev/stdout", "--plain"], UsageError, "both want standard"),
        (["ref", "est", "--csv", "."], UsageError, "is a folder"),
        (["ref", "est", "--csv", "ref/p0.tsv/a"], UsageError, "tsv is not a folder"),
        (["ref", "est", "--plot", "ref/p0.tsv"], UsageError, "--plot: cannot write into ref/p0"),
        (["ref", "est", "--csv", "a", "--errors", "./a"], UsageError, "--csv and --errors name"),
        (["ref/p0.tsv", "est/p0.mid", "--model", "toy"], UsageError, "is no audio"),
        (["ref/p0.tsv", "--model", "toy"], NoInputError, "no audio beside"),
        (["ref", "--model", "toy"], NoInputError, "no file in ref has the name"),
    ],
)
def test_usage_is_checked_before_any_work(folders, monkeypatch, words, error, message):
    monkeypatch.chdir(folders[0].parent)
    with pytest.raises(error, match=message):
        run(*words)


@pytest.mark.parametrize("option", ["--json", "--csv", "--errors"])
def test_what_is_scored_is_not_overwritten(folders, monkeypatch, option):
    monkeypatch.chdir(folders[0].parent)
    files = Path("est/p0.mid"), Path("ref/p1.tsv")
    before = [file.read_bytes() for file in files]
    for file in files:
        with pytest.raises(UsageError, match=f"{option} {file}: this is to be read and"):
            run("ref", "est", option, file)
    assert [file.read_bytes() for file in files] == before


@pytest.mark.parametrize("option", ["--json", "--csv", "--errors"])
def test_results_replace_earlier_ones_of_their_kind_and_nothing_else(folders, tmp_path, option):
    ref, est = folders
    file = tmp_path / "file"
    other = "--csv" if option == "--errors" else "--errors"
    run(ref / "p0.tsv", est / "p0.mid", other, file)
    for content in (file.read_bytes(), b"notes of mine", b'{"settings": {}}', b"[]", b"\xff\n"):
        file.write_bytes(content)
        with pytest.raises(UsageError, match=f"{option} .*file holds something else: name another"):
            run(ref, est, option, file)
        assert file.read_bytes() == content
    file.write_bytes(b"")
    run(ref / "p0.tsv", est / "p0.mid", option, file)
    first = file.read_text()
    run(ref, est, option, file)
    assert "p3" not in first
    assert "p3" in file.read_text()


def test_a_comparison_replaces_an_earlier_one(folders, tmp_path):
    a, b, comparison = (tmp_path / name for name in ("a.json", "b.json", "comparison.json"))
    run(*folders, "--json", a)
    run(*folders, "--json", b, "--onset-tolerance", "0.1")
    run("--compare", a, a, "--json", comparison)
    run("--compare", a, b, "--json", comparison)
    unlike = json.loads(comparison.read_text())["unlike_settings"]
    assert [text.split(":")[0] for text in unlike] == ["onset_tolerances_s"]
    comparison.write_text("notes of mine")
    with pytest.raises(UsageError, match="holds something else: name another file"):
        run("--compare", a, b, "--json", comparison)


@pytest.mark.skipif(sys.platform != "linux", reason="needs names that are no text")
def test_names_that_are_no_text_are_written_escaped(folders, tmp_path):
    for folder, suffix in zip(folders, ("tsv", "mid"), strict=True):
        file = os.fsencode(folder / f"p0.{suffix}")
        Path(os.fsdecode(file)).rename(os.fsdecode(file.replace(b"p0", b"caf\xe9")))
    files = {option: tmp_path / option.strip("-") for option in ("--json", "--csv", "--errors")}
    said = run(*folders, "--plain", *(word for pair in files.items() for word in pair)).stdout
    assert said.splitlines()[1].startswith("caf\\udce9\t")
    assert '"caf\\udce9"' in files["--json"].read_text()
    assert "caf\\udce9" in files["--csv"].read_text()


class ToyEngine:
    """Answers each recording with the performance of its key, or the error of its name."""

    device, precision = "cpu", "float32"

    def __init__(self, performances):
        self.performances = performances
        self.calls = []

    def transcribe(self, recordings, on_progress=None):
        recordings = list(recordings)
        self.calls.append([recording.key for recording in recordings])
        for recording in reversed(recordings):
            performance = self.performances.get(recording.key)
            error = None if performance else AudioError(f"{recording.key} is no audio")
            times = Timings(1.0, 0.1, 0.1, 0.1, 0.2)
            yield Transcription(recording, performance, error, ("one warning",), times)


class ToyProvenance:
    name, version = "toy", "1.0"


@pytest.fixture
def engine(monkeypatch):
    """An engine in place of the real one; ``engine.choice`` is what was asked for."""
    toy = ToyEngine({f"p{k}": melody(seed=k) for k in range(3)})

    def open_engine(choice, screen):
        toy.choice = choice
        return toy, ToyProvenance

    monkeypatch.setattr(scoring, "open_engine", open_engine)
    return toy


def with_audio(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


def test_audio_beside_the_references_is_transcribed_in_one_call(folders, engine):
    ref = with_audio(folders[0], "p0.flac", "p1.wav", "p2.flac")
    document, said = scored(ref, "--model", "toy", "--device", "cpu", "--fast", "--batch-size", "3")
    assert engine.calls == [["p0", "p1", "p2"]]
    assert (engine.choice.model, engine.choice.batch_size, engine.choice.fast) == ("toy", 3, True)
    assert [row["onset_f1"] for row in document["per_file"]] == [1, 1, 1, 0]
    assert document["per_file"][0]["estimate"].endswith("p0.flac")
    assert document["settings"]["model"] == "toy 1.0"
    assert "amt: p0: one warning" in said
    assert "1 without an estimate: p3" in said


def test_an_estimates_folder_of_audio_is_transcribed_with_the_usual_model(folders, engine):
    audio = with_audio(folders[0].parent / "audio", "p0.flac", "p1.flac")
    document, _ = scored(folders[0], audio, "--missing", "ignore")
    assert engine.choice.model == ""  # the engine takes the default
    assert document["aggregate"]["onset_f1"]["mean"] == 1


def test_one_recording_beside_one_reference(folders, engine):
    ref = with_audio(folders[0], "p0.flac")
    document, _ = scored(ref / "p0.tsv", "--model", "toy")
    assert document["aggregate"]["onset_f1"]["mean"] == 1
    with_audio(folders[0], "p0.wav")
    with pytest.raises(UsageError, match=r"p0\.flac and .*p0\.wav: name the one"):
        run(ref / "p0.tsv", "--model", "toy")


def test_a_recording_that_fails_scores_zero_and_fails_the_run(folders, engine):
    ref = with_audio(folders[0], "p2.flac", "p3.flac")
    document, said = scored(ref, "--model", "toy", "--missing", "ignore", exit_code=1)
    assert [row["onset_f1"] for row in document["per_file"]] == [1, 0]
    assert "amt: p3: p3 is no audio" in said


class ToyReader:
    """Reads 3 more than twice the index of a note, nothing of the last one."""

    device, precision = "cpu", "float32"

    def read_velocities(self, scored, on_progress=None):
        for one in scored:
            assert {note.velocity for note in one.score.notes} == {64}  # it is not told them
            key = one.recording.key
            read = 2.0 * np.arange(len(one.score.notes)) + 3.2
            read[-1] = np.nan
            error = AudioError(f"{key} is no audio") if key == "p1" else None
            yield VelocityReading(one, None if error else read, error, ("one warning",), 1.0)


def test_velocities_that_are_read_off_audio_are_scored_against_the_references(folders, monkeypatch):
    ref = with_audio(folders[0], "p0.flac", "p1.flac")
    asked = []

    def open_reader(choice, screen):
        asked.append(choice.model)
        return ToyReader(), ToyProvenance

    monkeypatch.setattr(scoring, "open_reader", open_reader)
    document, said = scored(ref, "--velocity", "--missing", "ignore", exit_code=1)
    rows = {row["name"]: row for row in document["per_file"]}
    truth = np.array([note.velocity for note in melody(seed=0).notes])
    read = 2.0 * np.arange(len(truth)) + 3
    read[-1] = 64
    assert asked == ["velocity-swift"]
    assert rows["p0"]["velocity_all_mae"] == pytest.approx(np.abs(truth - read).mean())
    assert rows["p0"]["onset_f1"] == 1
    assert "amt: p1: p1 is no audio" in said
    assert "amt: p0: one warning" in said
    assert document["settings"]["model"] == "toy 1.0"
    audio = with_audio(folders[0].parent / "audio", "p0.flac")
    scored(folders[0], audio, "--velocity", "--missing", "ignore")
    assert asked == ["velocity-swift"] * 2


@pytest.fixture
def metred(tmp_path):
    """A reference of twelve seconds with beats beside it, its estimate, and a model of beats."""
    times_s = [0.5 * k for k in range(1, 24)]
    played = notes(*((t, t + 0.3, 60 + k % 7, 64) for k, t in enumerate(times_s)))
    for folder in ("ref", "est"):
        write_midi(tmp_path / folder / "waltz.mid", played)
    lines = [f"{t}\t{k % 3 + 1}\n" for k, t in enumerate(times_s)]
    (tmp_path / "ref" / "waltz.beats").write_text("".join(lines))
    return tmp_path / "ref", tmp_path / "est", write_metre(tmp_path / "metre")


def test_beats_are_found_in_the_notes_of_estimates_and_scored(metred):
    ref, est, metre = metred
    without, _ = scored(ref, est)
    document, _ = scored(ref, est, "--beats", metre, "--device", "cpu")
    assert without["aggregate"]["beat_f1"]["mean"] == 0
    assert document["settings"]["model"] == "random 0"
    assert 0.2 < document["aggregate"]["beat_recall"]["mean"] <= 1
    assert (
        document["aggregate"]["beat_precision"]["mean"] == 1
    )  # something is struck on beats alone
    assert document["aggregate"]["onset_f1"]["mean"] == 1


def test_an_estimate_without_notes_to_find_beats_in_scores_zero(metred):
    ref, est, metre = metred
    (est / "waltz.mid").write_bytes(b"no MIDI")
    document, _ = scored(ref, est, "--beats", metre, "--device", "cpu", exit_code=1)
    assert "waltz.mid" in document["per_file"][0]["problem"]
    assert document["aggregate"]["beat_f1"]["mean"] == 0


def test_a_given_score_needs_no_beats_and_files_of_notes_are_not_heard(metred):
    ref, est, _ = metred
    with pytest.raises(UsageError, match="--velocity and --beats contradict"):
        run(ref, est, "--velocity", "--beats", "metre")
    with pytest.raises(ModelError, match="hears no beats"):
        run(ref, est, "--beats", "swift")
