import csv
import io
import json

import pytest
from evaluation_data import melody, notes, with_faults, write_table

from amtcli.errors import AmtError, UsageError
from amtcli.evaluation.conventions import Conventions
from amtcli.evaluation.pairing import pair_names
from amtcli.evaluation.results import (
    is_higher_better,
    make_document,
    parse_threshold,
    read_document,
    score_names,
    to_json,
    to_table,
    unmet_thresholds,
)
from amtcli.evaluation.run import Task, Wanted, score_task

CONVENTIONS = Conventions(onset_tolerances_s=(0.05, 0.1))


@pytest.fixture
def document(tmp_path):
    references = {
        name: write_table(tmp_path / f"{name}.tsv", melody(seed=seed))
        for seed, name in enumerate("abc")
    }
    estimates = {"a": melody(seed=0), "b": with_faults(melody(seed=1), 0)}
    tasks = [Task(name, path, estimates.get(name)) for name, path in references.items()]
    results = [score_task(task, CONVENTIONS, Wanted()) for task in reversed(tasks)]
    unused = {"a": tmp_path / "a.mid", "b": tmp_path / "b.mid", "d": tmp_path / "d.mid"}
    settings = {"dataset": "toys v1", "missing": "zero"}
    return make_document(results, CONVENTIONS, settings, pair_names(references, unused))


def test_the_document_says_how_it_was_scored_and_with_what(document):
    assert document["settings"]["onset_tolerances_s"] == (0.05, 0.1)
    assert document["settings"]["dataset"] == "toys v1"
    assert document["settings"]["n_pieces"] == 3
    assert set(document["versions"]) == {"amt", "python", "mir_eval", "numpy", "scipy"}


def test_a_missing_estimate_is_listed_and_lowers_the_mean(document):
    rows = {row["name"]: row for row in document["per_file"]}
    assert list(rows) == ["a", "b", "c"]
    assert rows["c"]["status"] == "missing"
    assert rows["c"]["onset_f1"] == 0
    mean = document["aggregate"]["onset_f1"]["mean"]
    assert mean == pytest.approx((1 + rows["b"]["onset_f1"]) / 3)
    assert [path[-5:] for path in document["unmatched"]["references"]] == ["c.tsv"]
    assert [path[-5:] for path in document["unmatched"]["estimates"]] == ["d.mid"]


def test_the_names_that_others_will_look_for(document):
    for row in (document["aggregate"], document["per_file"][0]):
        assert {
            "onset_f1",
            "onset_offset_f1",
            "onset_velocity_f1",
            "onset_offset_velocity_f1",
            "onset_f1_100ms",
            "onset_f1_centred",
            "onset_f1_100ms_centred",
            "frame_f1",
            "velocity_mae",
            "onset_deviation_median_ms",
            "onset_drift_ms_per_min",
        } <= set(row)


def test_what_is_written_is_read_again(document, tmp_path):
    path = tmp_path / "result.json"
    path.write_text(to_json(document))
    assert read_document(path) == json.loads(to_json(document))


@pytest.mark.parametrize("text", ["", "[1, 2]", '{"settings": {}}'])
def test_what_is_no_result_is_refused(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(AmtError, match=r"x\.json (cannot be read as|is not) a result"):
        read_document(tmp_path / "x.json")


def test_the_table_has_a_row_per_piece_and_gaps_where_there_is_no_score(document):
    rows = list(csv.DictReader(io.StringIO(to_table(document, "\t")), delimiter="\t"))
    assert [row["name"] for row in rows] == ["a", "b", "c"]
    assert float(rows[0]["onset_f1"]) == 1
    assert rows[2]["velocity_mae"] == ""


def test_nothing_scored_is_an_error(tmp_path):
    failed = score_task(Task("a", tmp_path / "none.tsv", notes()), CONVENTIONS, Wanted())
    with pytest.raises(AmtError, match="no piece could be scored"):
        make_document([failed], CONVENTIONS, {}, pair_names({}, {}))


def test_thresholds_that_are_met_and_that_are_not(document):
    mean = document["aggregate"]["onset_f1"]["mean"]
    assert unmet_thresholds(document, [("onset_f1", mean)]) == []
    assert unmet_thresholds(document, [("onset_f1", mean + 1e-6), ("frame_f1", 0.1)]) == [
        f"onset_f1 is {mean:.4f}, below {mean + 1e-6:g}"
    ]
    # There is no pedal in these references, so its score is not good enough for anything.
    assert unmet_thresholds(document, [("pedal_onset_f1", 0.0)]) == [
        "pedal_onset_f1 is unknown, below 0"
    ]


def test_thresholds_are_checked_before_anything_is_scored():
    known = score_names(CONVENTIONS)
    assert parse_threshold("onset_f1_100ms_centred=0.95", known) == ("onset_f1_100ms_centred", 0.95)
    assert parse_threshold("pedal_frame_f1=1", known) == ("pedal_frame_f1", 1)
    for name in ("beat_f1", "downbeat_recall", "change_precision", "dynamics_accuracy"):
        assert parse_threshold(f"{name}=0.5", known) == (name, 0.5)
    assert "dynamics_f1" in known and "beat_accuracy" not in known
    with pytest.raises(UsageError, match="there is no score 'onset_f'; near it: onset_f1"):
        parse_threshold("onset_f=0.9", known)
    with pytest.raises(UsageError, match="not of the form"):
        parse_threshold("onset_f1", known)
    with pytest.raises(UsageError, match="less is better"):
        parse_threshold("velocity_mae=3", known)
    for endless in ("nan", "inf", "-inf", "1e999"):
        with pytest.raises(UsageError, match=f"{endless} is no minimum"):
            parse_threshold(f"onset_f1={endless}", known)


def test_which_scores_are_better_when_higher():
    higher = ["onset_f1_100ms_centred", "velocity_r", "frame_accuracy", "onset_overlap"]
    lower = ["velocity_mae", "onset_deviation_median_ms", "n_ref_notes", "velocity_std"]
    assert all(map(is_higher_better, higher))
    assert not any(map(is_higher_better, lower))
