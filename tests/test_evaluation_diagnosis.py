from dataclasses import replace

from evaluation_data import melody, with_faults, write_table

from amtcli.evaluation.conventions import Conventions
from amtcli.evaluation.diagnosis import N_LOOKED_INTO, diagnose
from amtcli.evaluation.run import Task, Wanted, score_task
from amtcli.notes import Performance

CONVENTIONS = Conventions()


def tasks_of(tmp_path, estimates):
    """Piece k has the melody of seed k for its reference."""
    return [
        Task(f"p{k:02d}", write_table(tmp_path / f"{k}.tsv", melody(seed=k)), estimate)
        for k, estimate in enumerate(estimates)
    ]


def diagnosed(tasks):
    results = [score_task(task, CONVENTIONS, Wanted()) for task in tasks]
    return diagnose(results, tasks, CONVENTIONS)


def transposed(performance, semitones):
    notes = (replace(note, pitch=note.pitch + semitones) for note in performance.notes)
    return Performance(tuple(notes))


def test_pairs_that_are_off_by_one_are_recognised(tmp_path):
    reasons = diagnosed(tasks_of(tmp_path, [melody(seed=k + 1) for k in range(4)]))
    assert reasons["p00"] == (
        "its estimate fits the reference of p01 (onset F1 1.000): are the files paired by one off?"
    )
    assert list(reasons) == ["p00", "p01", "p02"]  # the last one fits nothing that is there


def test_a_transposed_estimate_is_recognised(tmp_path):
    estimates = [transposed(melody(seed=k), semitones) for k, semitones in enumerate((1, -12))]
    assert diagnosed(tasks_of(tmp_path, estimates)) == {
        "p00": "fits its reference when moved by -1 semitones (onset F1 1.000)",
        "p01": "fits its reference when moved by +12 semitones (onset F1 1.000)",
    }


def test_good_missing_and_simply_bad_pieces_are_not_explained(tmp_path):
    good = with_faults(melody(seed=0), 0)
    assert diagnosed(tasks_of(tmp_path, [good, None, melody(seed=9), Performance()])) == {}


def test_a_reference_that_cannot_be_read_explains_nothing(tmp_path):
    tasks = tasks_of(tmp_path, [melody(seed=1), melody(seed=1)])
    tasks[1].reference.write_text("x\nnonsense\n")
    assert diagnosed(tasks) == {}


def test_not_every_piece_of_a_wrong_folder_is_looked_into(tmp_path):
    n_pieces = N_LOOKED_INTO + 3
    tasks = tasks_of(tmp_path, [melody(seed=k + 1) for k in range(n_pieces)])
    assert len(diagnosed(tasks)) == N_LOOKED_INTO
