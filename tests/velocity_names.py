"""What the authors call the weights of the networks that hear velocities."""

import re

from filled import filled

_HPT = [
    (r"acoustic\.", "velocity_model."),
    (r"blocks\.(\d)\.convolutions\.(\d)", r"conv_block<\1>.conv<\2>"),
    (r"blocks\.(\d)\.norms\.(\d)", r"conv_block<\1>.bn<\2>"),
    (r"dense\.weight", "fc5.weight"),
    (r"dense_norm", "bn5"),
    (r"recurrent", "gru"),
    (r"output", "fc"),
    (r"^norm\.", "bn0."),
]
_HPPNET = [
    (r"^trunk\.", "velocity_subnet.trunk."),
    (r"stem\.0", "block_1.0"),
    (r"stem\.1", "block_2.0"),
    (r"stem\.2", "block_2_5.0"),
    (r"harmonics", "conv_3.convs"),
    (r"key_octaves", "block_5.0"),
    (r"octaves", "block_4.0"),
    (r"times\.0", "block_6.0"),
    (r"times\.1", "block_7.0"),
    (r"times\.2", "block_8.0"),
    (r"^head\.lstm", "velocity_subnet.heads.velocity.lstm.rnn"),
    (r"^head\.output", "velocity_subnet.heads.velocity.linear"),
]
_LEVELS = {"second": 2, "third": 3, "fourth": 4}
_DYNEST = [
    (r"^norm\.", "bn0."),
    (r"encoder\.norm\.", "encoder.bn0."),
    (r"block\.norms\.(\d)", r"block.bn<\1>"),
    (r"block\.convolutions\.(\d)", r"block.conv<\1>"),
    (r"around", "skip"),
    (r"first\.0\.join", "conv1"),
    (r"first\.1\.join", "conv02"),
    (r"first\.(\d)\.block", r"block1<\1>"),
    *(
        (rf"{name}\.(\d)\.{ours}", rf"{theirs}{level}<\1>")
        for name, level in _LEVELS.items()
        for ours, theirs in (("join", "conv"), ("block", "block"), ("norm", "bn"))
    ),
    (r"fifth\.join", "conv51"),
    (r"fifth\.block", "block51"),
    (r"fifth\.norm", "bn51"),
    (r"attentions\.0\.attention", "self_att23.att"),
    (r"attentions\.0\.norm", "bn23"),
    (r"attentions\.1\.attention", "self_att.att"),
    (r"attentions\.1\.norm", "bn4"),
    *(
        (rf"spreads\.{i}\.spread", f"us{name}")
        for i, name in enumerate((121, 221, 232, 321, 332, 421))
    ),
    (r"encoder\.output", "encoder.conv_out"),
]
_NOTE_EDITOR = [
    (r"^pitch", "pitch_emb"),
    (r"^features", "feat_proj"),
    (r"^time", "time_emb"),
    (r"^output", "head"),
    (r"layers", "encoder"),
    (r"attention", "attn"),
    (r"along", "dwconv"),
    (r"across", "pwconv"),
    (r"widen", "ffn.0"),
    (r"narrow", "ffn.3"),
    (r"norms\.(\d)", r"norm<\1>"),
]
_BILSTM = [(r"^lstm", "rnn"), (r"^output", "fc")]
_DUAL_GATED = [
    (r"of_sound", "ac_expert"),
    (r"of_score", "sc_expert"),
    (r"input", "inp"),
    (r"output", "out"),
    (r"near\.(\d)", r"blocks.\1.0"),
    (r"norms\.(\d)", r"blocks.\1.1"),
    (r"across\.(\d)", r"blocks.\1.3"),
]
_SCRR = [
    (r"^input", "conv_in"),
    (r"^output", "conv_out"),
    (r"near", "dw"),
    (r"across", "pw"),
    (r"modulation", "film"),
    (r"share", "res_scale"),
]
_FILM_UNET = [
    (r"^norm\.", "bn0."),
    (r"acoustic\.blocks\.(\d)\.convolutions\.(\d)", r"post_unet_encoder.conv_block<\1>.conv<\2>"),
    (r"acoustic\.blocks\.(\d)\.norms\.(\d)", r"post_unet_encoder.conv_block<\1>.bn<\2>"),
    (r"acoustic\.dense\.0\.dense", "construction.dim_adjust"),
    (r"acoustic\.dense\.0\.norm", "construction.bn_dim_adjust"),
    (r"acoustic\.dense\.1", "construction.fc"),
    (r"acoustic\.dense_norm", "construction.bn"),
    (r"acoustic\.recurrent", "construction.gru"),
    (r"acoustic\.output", "construction.finalfc"),
    (r"unet\.ups\.(\d)\.", r"unet.decoder.d_block<\1>."),
    (r"enlarge", "us"),
    (r"(d_block<\d>)\.convolutions\.0", r"\1.conv2d"),
    (r"(d_block<\d>)\.convolutions\.1", r"\1.conv1d"),
    (r"(d_block<\d>)\.norms\.0", r"\1.bn2d"),
    (r"(d_block<\d>)\.norms\.1", r"\1.bn1d"),
    (r"unet\.downs\.(\d)\.", r"unet.encoder.block<\1>."),
    (r"unet\.score\.downs\.(\d)\.", r"unet.encoder.score_block<\1>."),
    (r"unet\.score\.modulations\.(\d)", r"unet.encoder.bg_gen<\1>"),
    (r"unet\.skips\.0", "unet.encoder.conv3"),
    (r"unet\.skips\.1", "unet.encoder.conv2"),
    (r"unet\.skips\.2", "unet.encoder.conv1"),
    (r"convolutions\.(\d)", r"conv<\1>"),
    (r"norms\.(\d)", r"bn<\1>"),
    (r"around", "skip"),
    (r"halve", "ds"),
    (r"^(unet|post_unet_encoder|construction)\.", r"double_unet.\1."),
]
_RULES = {
    "hpt": _HPT,
    "hppnet": _HPPNET,
    "dynest": _DYNEST,
    "note_editor": _NOTE_EDITOR,
    "bilstm": _BILSTM,
    "dual_gated": _DUAL_GATED,
    "scrr": _SCRR,
    "film_unet": _FILM_UNET,
    "unet": _FILM_UNET,
}


def their_name(kind, name):
    """The authors' name; theirs count from 1 where ``<n>`` stands."""
    for pattern, replacement in _RULES[kind]:
        name = re.sub(pattern, replacement, name)
    return re.sub(r"<(\d)>", lambda found: str(int(found[1]) + 1), name)


def fill_as_theirs(network, kind, variant=None):
    """Give a network the weights that its authors' one has in the parity file."""
    state = {
        name: filled(f"{variant or kind}.{their_name(kind, name)}", tuple(tensor.shape))
        for name, tensor in network.state_dict().items()
    }
    network.load_state_dict(state)
    return network.eval()
