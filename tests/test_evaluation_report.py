import io
from dataclasses import replace

from evaluation_data import melody, with_faults, write_table
from rich.console import Console

from amtcli.evaluation.compare import compare_results
from amtcli.evaluation.conventions import Conventions
from amtcli.evaluation.pairing import pair_names
from amtcli.evaluation.piece import score_piece
from amtcli.evaluation.report import render_comparison, render_report
from amtcli.evaluation.results import make_document
from amtcli.evaluation.run import SCORED, PieceResult, Task, Wanted, score_task
from amtcli.notes import Beat

CONVENTIONS = Conventions(onset_tolerances_s=(0.05, 0.1))


def result(tmp_path, estimates):
    references = {
        f"p[{k}]": write_table(tmp_path / f"{k}.tsv", melody(seed=k)) for k in range(len(estimates))
    }
    tasks = [
        Task(name, path, estimate)
        for (name, path), estimate in zip(references.items(), estimates, strict=True)
    ]
    results = [score_task(task, CONVENTIONS, Wanted()) for task in tasks]
    settings = {"dataset": "toys v1", "missing": "zero", "model": "toy 1"}
    return make_document(results, CONVENTIONS, settings, pair_names(references, {}))


def text_of(renderable):
    console = Console(file=io.StringIO(), width=120)
    console.print(renderable)
    return console.file.getvalue()


def lines_of(text, start):
    return [line for line in text.splitlines() if line.startswith(start)]


def test_the_report_gives_conventions_means_and_the_worst_pieces(tmp_path):
    estimates = [melody(seed=0), None, *(with_faults(melody(seed=k), k) for k in range(2, 8))]
    document = result(tmp_path, estimates)
    text = text_of(render_report(document, CONVENTIONS))
    assert text.startswith("8 pieces, toys v1, toy 1, a missing estimate: scores 0\n")
    assert "onset: within 50, 100 ms" in text
    onset = document["aggregate"]["onset_f1"]
    row = lines_of(text, "onset ")[0].split()
    assert row[3] == f"{onset['mean']:.4f}"
    assert row[-2:] == [f"{onset['pooled']:.4f}", "8"]
    headings = [line[:28].split("  0")[0].rstrip() for line in text.splitlines()[11:23]]
    under_an_onset = ["  + offset", "  + velocity", "  + offset, velocity"]
    assert headings == [
        "onset",
        *under_an_onset,
        "onset 100 ms",
        *under_an_onset,
        "onset, lag removed",
        "  + offset",
        "onset 100 ms, lag removed",
        "  + offset",
    ]
    worst = text[text.index("worst by onset F1") :].splitlines()[2:]
    assert worst[0].startswith("p[1] (missing)")
    assert len([line for line in worst if line.startswith("p[")]) == 5
    assert "p[0]" not in "".join(worst)


def test_beats_are_reported_where_references_have_them():
    beats = tuple(Beat(5.0 + k / 2, k % 3 == 0, "p" if k < 5 else "f", k == 5) for k in range(10))
    estimate = replace(melody(), beats=beats[:8])

    def text_against(reference):
        piece = score_piece(reference, estimate, CONVENTIONS)
        scored = PieceResult("a", "a.mid", "b.mid", SCORED, piece, {})
        document = make_document([scored], CONVENTIONS, {"missing": "zero"}, pair_names({}, {}))
        return text_of(render_report(document, CONVENTIONS))

    text = text_against(melody())
    assert "beat" not in text and "dynamics" not in text
    text = text_against(replace(melody(), beats=beats))
    assert "\nbeats: within 70 ms, without the first 5 s\n" in text
    assert lines_of(text, "beat ")[0].split()[1:4] == ["1.0000", "0.8000", "0.8889"]
    assert lines_of(text, "downbeat ")[0].split()[1:4] == ["1.0000", "0.7500", "0.8571"]
    assert lines_of(text, "change of dynamics ")[0].split()[3:] == [*["1.0000"] * 4, "1"]
    assert lines_of(text, "dynamics at matched beats: accuracy ")[0].split()[-2:] == ["1.00"] * 2
    assert lines_of(text, "  F1, weighted by class ")[0].split()[-2:] == ["1.00"] * 2


def test_one_piece_has_no_spread(tmp_path):
    text = text_of(render_report(result(tmp_path, [melody(seed=0)]), CONVENTIONS))
    assert text.startswith("1 piece, ")
    assert lines_of(text, "onset ")[0].split() == ["onset", *["1.0000"] * 4, "1"]


def test_a_comparison_names_both_sides_and_what_changed(tmp_path):
    before = result(tmp_path, [with_faults(melody(seed=k), k) for k in range(6)])
    after = result(tmp_path, [melody(seed=k) for k in range(6)])
    after["settings"]["pedal_extend"] = "none"
    text = text_of(render_comparison(compare_results(before, after), "a.json", "b.json"))
    assert "A: a.json\nB: b.json\n" in text
    assert "not scored alike: pedal_extend: ref,est and none" in text
    row = lines_of(text, "onset_f1 ")[0].split()
    assert row[2] == "1.0000"
    assert row[-3:] == ["6", "0", "6"]
    assert "most improved by onset_f1" in text
    assert "most worsened" not in text
