import shutil
from collections import Counter

import numpy as np
import pytest
from data_sets import make_mazurka

from amtcli.datasets.labels import DYNAMICS
from amtcli.datasets.mazurka import EXCLUDED, find_mazurka
from amtcli.datasets.splits import assign_folds
from amtcli.errors import DataError, NoInputError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mazurka")
    return folder, make_mazurka(folder)


def by_name(folder, audio, fold=0):
    return {each.name: each for each in find_mazurka(folder, audio, fold).recordings}


def test_recordings_are_found_by_number_without_the_excluded(made):
    folder, sizes = made
    found = by_name(folder, folder)
    counts = Counter(name.split("/")[0] for name in found)
    assert counts == {name: n for name, n in sizes.items() if name not in ("M06-4", "M63-2")}
    assert "M41-1/9070b-09" in found  # where the table says 9070b-01
    assert found["M41-1/9070b-09"].audio.name == "pid9070b-09.wav"
    assert len(found["M41-1/9070b-09"].read_labels().beats) == 11


def test_beat_zero_is_the_downbeat(made):
    beats = by_name(made[0], made[0])["M06-1/9061-01"].read_labels().beats
    assert beats.time_s == pytest.approx(0.3 + 0.5 * np.arange(12))
    assert beats.is_downbeat.tolist() == [True, False, False] * 4


def test_dynamics_hold_until_the_next_and_begin_with_mf(made):
    beats = by_name(made[0], made[0])["M06-1/9061-01"].read_labels().beats
    marks = [DYNAMICS[index] for index in beats.dynamics]
    assert marks == ["mf"] * 3 + ["p"] * 5 + ["ff"] * 4


def test_beats_without_a_time_are_left_out(made):
    beats = by_name(made[0], made[0])["M06-1/9061-02"].read_labels().beats
    assert beats.time_s[0] == pytest.approx(0.8)
    assert beats.is_downbeat.tolist() == [False, False] + [True, False, False] * 3
    assert [DYNAMICS[index] for index in beats.dynamics[:3]] == ["mf", "mf", "p"]


def test_folds_keep_mazurkas_together_and_do_not_ask_for_audio(made, tmp_path):
    folder, sizes = made
    sizes = {name: n for name, n in sizes.items() if name not in EXCLUDED}
    expected = assign_folds(sizes)
    one_audio = tmp_path / "audio"
    one_audio.mkdir()
    shutil.copy(folder / "mazurka_audio/mazurka33-4/pid9334-01.wav", one_audio / "9334-01.wav")
    for fold in range(5):
        for each in find_mazurka(folder, folder, fold).recordings:
            place = (expected[each.group] - fold) % 5
            assert each.split == {0: "test", 1: "validation"}.get(place, "train")
        (alone,) = find_mazurka(folder, one_audio, fold).recordings
        assert alone.split == by_name(folder, folder, fold)["M33-4/9334-01"].split
    notices = find_mazurka(folder, one_audio, 0).notices
    assert notices == (f"{sum(sizes.values()) - 1} recordings without audio are left out",)


def test_tables_without_an_index_column_are_read(made, tmp_path):
    shutil.copytree(made[0], tmp_path / "old")
    path = tmp_path / "old/beat_time/M06-1beat_time.csv"
    path.write_text("\n".join(line.split(",", 1)[1] for line in path.read_text().splitlines()))
    beats = by_name(tmp_path / "old", tmp_path / "old")["M06-1/9061-01"].read_labels().beats
    assert beats.time_s[1] == pytest.approx(0.8)


def test_damaged_tables_are_named(made, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(made[0], folder)
    recording = by_name(folder, folder)["M06-1/9061-01"]
    markings = folder / "markings_dyn/M06-1markings.csv"
    markings.write_text("a,b\n1,2\np,loud\n")
    with pytest.raises(DataError, match="is no table of markings"):
        recording.read_labels()
    markings.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        recording.read_labels()
    beats = folder / "beat_time/M06-1beat_time.csv"
    lines = beats.read_text().splitlines()
    markings.write_text("p\n1\np\n")
    beats.write_text("\n".join([*lines[:3], lines[5], *lines[3:]]))
    with pytest.raises(DataError, match="beat 4 does not come after the last"):
        recording.read_labels()
    beats.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="is no table of beats"):
        recording.read_labels()


def test_two_files_of_one_recording_are_its_problem(made, tmp_path):
    audio = tmp_path / "audio"
    for folder in ("x", "y"):
        (audio / folder).mkdir(parents=True)
        shutil.copy(
            made[0] / "mazurka_audio/mazurka33-4/pid9334-01.wav", audio / folder / "9334-01.wav"
        )
    (alone,) = find_mazurka(made[0], audio, 0).recordings
    assert alone.problem.startswith("there are ")


def test_other_folders_are_refused(made, tmp_path):
    with pytest.raises(NoInputError, match="is it MazurkaBL"):
        find_mazurka(tmp_path, tmp_path, 0)
    with pytest.raises(NoInputError, match="holds no audio called pid"):
        find_mazurka(made[0], tmp_path, 0)
