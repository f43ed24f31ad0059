from pathlib import Path

from amtcli.datasets.labels import Labels
from amtcli.datasets.source import SourceRecording
from amtcli.datasets.splits import assign_folds, hold_out


def recording(name, group, split="train"):
    return SourceRecording(name, split, group, "", Path("a.wav"), (), Labels)


def test_groups_are_held_out_whole_and_no_recording_moves_another():
    recordings = [
        recording(f"{group} {take}", f"piece {group}") for group in range(200) for take in range(2)
    ]
    held = [each.split for each in hold_out(recordings, 0.2)]
    assert held[::2] == held[1::2]
    assert 50 <= held.count("validation") <= 110  # 80 of 400, drawn by name
    assert [each.split for each in hold_out(recordings[:100], 0.2)] == held[:100]
    assert {each.split for each in hold_out(recordings, 0.0)} == {"train"}
    assert {each.split for each in hold_out(recordings, 1.0)} == {"validation"}


def test_only_what_trains_is_held_out():
    recordings = [recording("a", "a", "test"), recording("b", "b", "validation")]
    assert [each.split for each in hold_out(recordings, 1.0)] == ["test", "validation"]


def test_folds_are_even_and_follow_from_names_and_sizes_alone():
    sizes = {"a": 5, "b": 5, "c": 4, "d": 3, "e": 3, "f": 2, "g": 1}
    folds = assign_folds(sizes)
    assert folds == {"a": 0, "b": 1, "c": 2, "d": 3, "e": 4, "f": 3, "g": 4}
    assert assign_folds(dict(reversed(sizes.items()))) == folds
