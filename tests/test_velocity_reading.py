from dataclasses import replace

import pytest
from toy_folder import CONFIG

from amtcli.errors import ModelError
from amtcli.velocity_reading import READERS, reader_maker


def test_a_models_decoder_says_whether_it_reads_velocities(monkeypatch):
    with pytest.raises(ModelError, match=r"toy 1\.2 does not read velocities .* --model"):
        reader_maker(CONFIG)
    monkeypatch.setitem(READERS, "toy-threshold", max)
    assert reader_maker(CONFIG) is max
    with pytest.raises(ModelError, match="its decoder is None"):
        reader_maker(replace(CONFIG, decoder={}))
