import math

import torch

from amtcli.networks.interval_scorer import FrameProjection, IntervalScorer, positive_cells


def test_positive_cells_are_those_of_the_full_table():
    generator = torch.Generator().manual_seed(5)
    ends = torch.randn(3, 12, 4, generator=generator)
    begins = torch.randn(3, 12, 4, generator=generator)
    singles = torch.randn(3, 12, generator=generator)
    found = {
        (int(r), int(b), int(e)): float(s)
        for r, b, e, s in zip(*positive_cells(ends, begins, singles), strict=True)
    }
    expected = {}
    for row in range(3):
        for end in range(12):
            for begin in range(end + 1):
                product = float(ends[row, end] @ begins[row, begin]) / math.sqrt(4)
                score = float(singles[row, end]) if begin == end else product * (end - begin)
                if score > 0:
                    expected[row, begin, end] = score
    assert found.keys() == expected.keys()
    assert all(math.isclose(found[k], expected[k], rel_tol=1e-4) for k in found)


def projection_and_reference():
    generator = torch.Generator().manual_seed(6)
    frames = FrameProjection(width=4, factor=8).requires_grad_(False)
    frames.weight.copy_(torch.randn(8, 4, 4, generator=generator))
    frames.bias.copy_(torch.randn(4, generator=generator))
    coarse = torch.randn(3, 5, 4, generator=generator)
    upsampled = torch.nn.functional.conv_transpose1d(
        coarse.transpose(1, 2), frames.weight.permute(2, 1, 0), frames.bias, stride=8
    ).transpose(1, 2)  # (3, 40, 4)
    return frames, coarse, upsampled


def test_frames_taken_one_by_one_are_those_of_the_transposed_convolution():
    frames, coarse, upsampled = projection_and_reference()
    row, frame = torch.tensor([0, 2, 2, 1]), torch.tensor([0, 39, 17, 8])
    torch.testing.assert_close(frames.at(coarse, row, frame), upsampled[row, frame])


def test_maps_composed_with_the_projection_equal_one_after_the_other():
    frames, coarse, upsampled = projection_and_reference()
    scorer = IntervalScorer(width=4).requires_grad_(False)
    expected = scorer.map(upsampled).split([4, 4, 1], dim=-1)
    for (weight, bias), values in zip(scorer.split_maps(frames), expected, strict=True):
        composed = torch.nn.functional.linear(coarse, weight, bias).reshape(3, 40, -1)
        torch.testing.assert_close(composed, values)
