"""Frames of a front-end, piece by piece."""

import pytest
import torch
from autoregressive_model import FRONT_END as LOG_MEL
from filled import audio
from swift_model import FRONT_END as LOG_FREQUENCY

from amtcli.front_ends.log_frequency import LogFrequency
from amtcli.front_ends.log_mel import LogMel
from amtcli.live_networks.feature_stream import FeatureStream


@pytest.mark.parametrize(
    ("front_end", "behind", "ahead", "first"),
    [(LogMel(LOG_MEL), 1024, 1024, -2), (LogFrequency(LOG_FREQUENCY), 3072, 1024, -3)],
)
@pytest.mark.parametrize("piece", [1, 100, 1024, 9000])
def test_pieces_give_the_frames_of_the_whole(front_end, behind, ahead, first, piece):
    hop = front_end.config.hop_samples
    samples = torch.from_numpy(audio(6000))
    before, after = torch.zeros(20 * hop), torch.zeros(20 * hop)
    whole = front_end([torch.cat([before, samples, after])[None]])[0]
    stream = FeatureStream(front_end, hop, behind, ahead)
    assert stream.first_frame == first
    given = [stream.push(part) for part in samples.split(piece)]
    found = torch.cat([features for features in given if features is not None])
    assert len(found) == (6000 - ahead) // hop + 1 - first
    torch.testing.assert_close(found, whole[20 + first :][: len(found)], rtol=0, atol=1e-5)
