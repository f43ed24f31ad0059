import pytest
from evaluation_data import melody, notes, with_faults, write_midi, write_table

from amtcli.evaluation.conventions import Conventions
from amtcli.evaluation.run import FAILED, MISSING, SCORED, Task, Wanted, score_all, score_task

CONVENTIONS = Conventions()
NOTHING_MORE = Wanted()


def run(task, wanted=NOTHING_MORE):
    return score_task(task, CONVENTIONS, wanted)


def test_a_pair_of_files(tmp_path):
    reference = write_table(tmp_path / "a.tsv", melody())
    estimate = write_midi(tmp_path / "a.mid", melody())
    result = run(Task("a", reference, estimate))
    assert (result.status, result.problem, result.estimate) == (SCORED, None, str(estimate))
    assert result.piece.scores["onset_offset_velocity_f1"] == 1


def test_no_estimate_scores_zero_and_is_missing_not_failed(tmp_path):
    result = run(Task("a", write_table(tmp_path / "a.tsv", melody()), None))
    assert (result.status, result.problem, result.notices) == (MISSING, None, ())
    assert result.piece.scores["onset_f1"] == 0
    assert result.piece.scores["n_ref_notes"] == 20


def test_an_estimate_that_cannot_be_read_scores_zero_and_says_why(tmp_path):
    reference = write_table(tmp_path / "a.tsv", melody())
    (tmp_path / "a.mid").write_text("nonsense")
    result = run(Task("a", reference, tmp_path / "a.mid"))
    assert result.status == FAILED
    assert "is not a MIDI file" in result.problem
    assert result.piece.scores["onset_f1"] == 0


def test_a_transcription_that_failed_says_why(tmp_path):
    reference = write_table(tmp_path / "a.tsv", melody())
    result = run(Task("a", reference, None, "a.flac", "a.flac is no audio"))
    assert (result.status, result.problem) == (FAILED, "a.flac is no audio")
    assert result.estimate == "a.flac"
    assert result.piece.scores["onset_f1"] == 0


def test_a_reference_that_cannot_be_read_has_no_scores(tmp_path):
    result = run(Task("a", tmp_path / "none.tsv", write_midi(tmp_path / "a.mid", melody())))
    assert (result.status, result.piece) == (FAILED, None)
    assert "none.tsv cannot be read" in result.problem


def test_not_the_references_notes_is_a_failure_that_scores_zero(tmp_path):
    reference = write_table(tmp_path / "a.tsv", melody())
    result = score_task(
        Task("a", reference, melody(seed=1)), Conventions(score_informed=True), Wanted()
    )
    assert result.status == FAILED
    assert "--velocity" in result.problem
    assert result.piece.scores["onset_f1"] == 0


def test_odd_notes_are_counted_on_both_sides(tmp_path):
    reference = write_table(tmp_path / "a.tsv", notes((0, 1, 60), (2, 2, 60)))
    result = run(Task("a", reference, notes((0, 1, 12), (1, 2, 110))))
    assert result.odd_notes == {
        "n_ref_zero_length": 1,
        "n_ref_out_of_range": 0,
        "n_est_zero_length": 0,
        "n_est_out_of_range": 2,
    }
    assert result.notices[0].startswith("reference: 1 note without length")
    assert result.notices[1].startswith("estimate: 2 notes outside")


def test_mistakes_only_where_wanted(tmp_path):
    task = Task("a", write_table(tmp_path / "a.tsv", notes((0, 1, 60))), notes((0, 1, 72)))
    assert run(task).mistakes == ()
    assert [m.kind for m in run(task, Wanted(mistakes=True)).mistakes] == ["missed", "octave"]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_several_processes_give_what_one_gives(tmp_path, n_jobs):
    tasks = [
        Task(
            str(seed),
            write_table(tmp_path / f"{seed}.tsv", melody(seed=seed)),
            write_midi(tmp_path / f"{seed}.mid", with_faults(melody(seed=seed), seed)),
        )
        for seed in range(3)
    ]
    results = {r.name: r for r in score_all(tasks, CONVENTIONS, Wanted(mistakes=True), n_jobs)}
    assert set(results) == {"0", "1", "2"}
    for task in tasks:
        alone = run(task, Wanted(mistakes=True))
        assert results[task.name].piece.scores == alone.piece.scores
        assert results[task.name].mistakes == alone.mistakes
