from pathlib import Path

import numpy as np
import pytest
import torch
from filled import filled

from amtcli.checkpoints.renaming import conv_stack
from amtcli.networks.conv_stack import ConvStack, ConvStackStream

PARITY = Path(__file__).parent / "data" / "parity" / "autoregressive.npz"
# Which of the three convolutions each short stack of low-latency-amt narrows.
SHORT_STACKS = {
    "A": (1, 3, 3),
    "B": (3, 1, 3),
    "C": (3, 3, 1),
    "D": (1, 1, 3),
    "E": (3, 1, 1),
    "F": (1, 3, 1),
    "G": (1, 1, 1),
}


def authors_stack(time_kernels):
    """A stack with the weights that the names of the authors' tensors stand for."""
    stack = ConvStack(229, 2, time_kernels)
    names = conv_stack("", "")  # ".ours": ".theirs"
    shapes = {name: tensor.shape for name, tensor in stack.state_dict().items()}
    stack.load_state_dict(
        {name: filled(names[f".{name}"][1:], shape) for name, shape in shapes.items()}
    )
    return stack.eval()


@pytest.mark.parametrize("letter", SHORT_STACKS)
@torch.no_grad()
def test_short_stacks_are_the_authors(letter):
    stored = np.load(PARITY)
    ours = authors_stack(SHORT_STACKS[letter])(torch.from_numpy(stored["mel"])[None])[0]
    np.testing.assert_allclose(ours, stored[f"acoustic_{letter}"], rtol=2e-6, atol=1e-5)


@pytest.mark.parametrize("time_kernels", [(3, 3, 3), (1, 3, 1), (1, 1, 1)])
@torch.inference_mode()
def test_frames_may_come_in_pieces_of_any_size(time_kernels):
    stack = authors_stack(time_kernels)
    ahead = stack.lookahead_frames
    assert ahead == time_kernels.count(3)
    mel = torch.from_numpy(np.load(PARITY)["mel"])
    before = torch.linspace(-4, -2, 229)
    stream = ConvStackStream(stack, before)
    pieces = [stream.push(piece) for piece in mel.split([1, 1, 5, 2, 23])]
    assert [len(piece) for piece in pieces] == [1, 1, 5, 2, 23]
    # Far enough before the first frame that zeros beyond the edge are not heard.
    whole = stack(torch.cat([before.expand(10, -1), mel])[None])[0]
    expected = whole[10 - ahead : 10 - ahead + len(mel)]
    np.testing.assert_allclose(torch.cat(pieces), expected, rtol=0, atol=2e-5)
