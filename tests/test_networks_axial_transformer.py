import torch

from amtcli.networks import axial_transformer
from amtcli.networks.axial_transformer import AxialBlock


def block():
    torch.manual_seed(3)
    made = AxialBlock(width=16, n_heads=4, ffn_factor=2)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made.requires_grad_(False).double()


def plain(module, tokens):
    """The block as published, without tiles: queries normalised, keys and values raw."""

    def attend(attention, stream, context):
        normalised = torch.nn.functional.rms_norm(stream, (16,), eps=1e-6)
        split = lambda x: x.unflatten(-1, (4, 4)).transpose(-2, -3)  # noqa: E731
        key, value = attention.key_value(context).chunk(2, dim=-1)
        found = torch.nn.functional.scaled_dot_product_attention(
            split(attention.query(normalised)), split(key), split(value)
        )
        branch = attention.output(found.transpose(-2, -3).flatten(-2))
        return stream + branch * attention.scale

    def feed(ffn, stream):
        normalised = torch.nn.functional.rms_norm(stream, (16,), eps=1e-6)
        hidden = torch.nn.functional.gelu(ffn.expand(normalised))
        return stream + ffn.contract(hidden) * ffn.scale

    stream = feed(module.frequency_ffn, attend(module.frequency_attention, tokens, tokens))
    stream, context = stream.transpose(1, 2), tokens.transpose(1, 2)
    stream = feed(module.time_ffn, attend(module.time_attention, stream, context))
    return stream.transpose(1, 2)


def test_tiles_change_nothing(monkeypatch):
    module = block()
    tokens = torch.randn(2, 7, 9, 16, dtype=torch.float64)
    expected = plain(module, tokens)
    for tile in (1, 3, 16):
        monkeypatch.setattr(axial_transformer, "CPU_TILE", tile)
        torch.testing.assert_close(module(tokens), expected)


def test_the_pruned_block_equals_that_part_of_the_whole():
    module = block()
    tokens = torch.randn(2, 7, 9, 16, dtype=torch.float64)
    part = module(tokens, first_step=2, first_column=5)
    torch.testing.assert_close(part, plain(module, tokens)[:, 2:, 5:])
