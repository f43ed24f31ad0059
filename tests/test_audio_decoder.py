import numpy as np
import pytest

from amtcli.audio.decoder import loss_warning, silence


def test_silence_comes_in_blocks():
    blocks = list(silence(10, 2, 4))
    assert [block.shape for block in blocks] == [(4, 2), (4, 2), (2, 2)]
    assert all(block.dtype == np.float32 and not block.any() for block in blocks)
    assert list(silence(0, 2, 4)) == []


@pytest.mark.parametrize(
    ("lost_s", "is_damaged", "expected"),
    [
        (0.0, False, []),
        (3.204, False, ["3.20 s could not be read: the file is cut off or damaged"]),
        (0.001, True, ["0.01 s could not be read: the file is cut off or damaged"]),
        (0.0, True, ["damaged parts of the file could not be read; their length is unknown"]),
    ],
)
def test_a_loss_is_told_in_seconds_where_they_are_known(lost_s, is_damaged, expected):
    assert loss_warning(lost_s, is_damaged) == expected
