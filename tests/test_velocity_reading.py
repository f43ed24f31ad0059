from dataclasses import replace

import pytest
from toy_folder import CONFIG

from amtcli.errors import ModelError
from amtcli.velocity_reading import check_velocity_model


def test_a_models_decoder_says_whether_it_reads_velocities():
    check_velocity_model(replace(CONFIG, decoder={"kind": "score_velocities"}))
    with pytest.raises(ModelError, match=r"toy 1\.2 does not read velocities .* a velocity model"):
        check_velocity_model(CONFIG)
    with pytest.raises(ModelError, match="its decoder is None"):
        check_velocity_model(replace(CONFIG, decoder={}))
