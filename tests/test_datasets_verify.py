import numpy as np
import pytest
from data_sets import make_pairs

from amtcli.datasets.labels import Labels
from amtcli.datasets.pack import recording_path
from amtcli.datasets.packing import PackOptions, pack
from amtcli.datasets.pairs import find_pairs
from amtcli.datasets.recording_file import write_recording
from amtcli.datasets.verify import verify_pack
from amtcli.errors import DataError


@pytest.fixture
def folder(tmp_path):
    pack(find_pairs(make_pairs(tmp_path / "source"), "train", 0.0), tmp_path, PackOptions())
    return tmp_path


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_whole_pack_has_no_problems(folder, n_jobs):
    heard = []
    found = verify_pack(folder, n_jobs, heard.append)
    assert [(each.name, each.problem) for each in found] == [
        ("take0", None),
        ("take1", None),
        ("take2", None),
    ]
    assert found[0].duration_s == pytest.approx(1.85)
    assert sorted(each.name for each in heard) == ["take0", "take1", "take2"]


def test_damaged_missing_and_other_files_are_told(folder):
    damaged = recording_path(folder, "take0")
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    recording_path(folder, "take1").unlink()
    write_recording(recording_path(folder, "take2"), [np.ones(9, np.int16)], 16_000, Labels())
    problems = [each.problem for each in verify_pack(folder)]
    assert "do not match their hash" in problems[0]
    assert "is missing" in problems[1]
    assert "is not the file that the manifest lists" in problems[2]


def test_damage_of_the_files_structure_is_told_too(folder):
    damaged = recording_path(folder, "take1")
    data = damaged.read_bytes()
    damaged.write_bytes(data[:512] + bytes(512) + data[1024:])
    problems = [each.problem for each in verify_pack(folder)]
    assert problems[0] is problems[2] is None
    assert problems[1].startswith(f"{damaged} ") and problems[1].endswith("pack it again")


def test_what_is_no_pack_is_refused(tmp_path):
    with pytest.raises(DataError, match="is no pack"):
        verify_pack(tmp_path)
