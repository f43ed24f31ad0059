"""Piece by piece, the network answers what it answers of the whole."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from test_networks_swift import SMALL, features, network

from amtcli.networks.swift_stream import SwiftStream


@torch.inference_mode()
@pytest.mark.parametrize("limit", [0, 2, 4, 100])
@pytest.mark.parametrize("piece_frames", [1, 7, 40])
def test_pieces_give_what_the_whole_gives(limit, piece_frames):
    built = network(replace(SMALL, max_lookahead_frames=limit))
    built.level_weight.fill_(0.5)
    built.prepare("float32")
    sound, n_before = features(40)[0], 60
    silence = torch.zeros(n_before, *sound.shape[1:])
    (expected,) = built.activations(torch.cat([silence, sound])[None])
    stream = SwiftStream(built)
    answers = [stream.push(piece) for piece in sound.split(piece_frames)]
    first = n_before - built.lookahead_frames
    for field in fields(expected):
        found = np.concatenate([getattr(answer, field.name) for answer in answers])
        wanted = getattr(expected, field.name)[first : first + 40]
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5, err_msg=field.name)
