"""Make data/parity/autoregressive.npz with the code of low-latency-amt and online_amt.

    python tests/make_parity_autoregressive.py LOW_LATENCY_AMT ONLINE_AMT

Both are copies of the repositories github.com/jdasam/<name>; librosa, scipy and torch are needed.
"""

import copy
import sys
from pathlib import Path

import numpy as np
import torch
from filled import audio, filled_state
from make_parity_onsets_and_frames import authors_module, shapes_json

CONV_COMPLEXITY, LSTM_COMPLEXITY = 2, 1
N_SAMPLES = 16000
EXACT_EVERY = 4  # frames: of those computed in float64, so many are kept
TARGET = Path(__file__).parent / "data" / "parity" / "autoregressive.npz"
SHORT_STACKS = "ABCDEFG"


def load_filled(module):
    module.load_state_dict(
        filled_state({name: tensor.shape for name, tensor in module.state_dict().items()})
        | {k: v for k, v in module.state_dict().items() if k.startswith("melspectrogram.")}
    )
    return module.eval()


def random_states(n_frames=80):
    return np.random.RandomState(2).choice(5, (n_frames, 88), p=[0.25, 0.1, 0.45, 0.1, 0.1])


def notes_of_states(decoding, states):
    """What their evaluation does to states before it looks for notes."""
    merged = torch.from_numpy(np.where(states == 4, 3, states))
    return decoding.extract_notes_wo_velocity((merged == 3).int(), (merged > 1).int())


def online_states(online_amt, network, samples):
    """Run their live program block by block: acoustic vectors and states of each block."""
    sys.path.insert(0, str(online_amt))
    authors_module(online_amt, "autoregressive", "models")
    from transcribe import OnlineTranscriber

    live = OnlineTranscriber(network)
    acoustic, states = [], []
    heard = live.update_acoustic_out

    def listen(mel):
        acoustic.append(heard(mel))
        return acoustic[-1]

    live.update_acoustic_out = listen
    for start in range(0, len(samples) - 511, 512):
        live.inference(samples[start : start + 512])
        states.append(live.prev_output[0, 0].numpy().copy())
    return torch.cat(acoustic, dim=1)[0].numpy(), np.stack(states)


@torch.no_grad()
def main(low_latency_amt, online_amt):
    theirs = authors_module(low_latency_amt, "onsets_and_frames", "transcriber")
    decoding = authors_module(low_latency_amt, "onsets_and_frames", "decoding")
    network = load_filled(theirs.ARTranscriber(229, 88, CONV_COMPLEXITY, LSTM_COMPLEXITY))
    samples = audio(N_SAMPLES)
    front_end, heard = network.melspectrogram.cpu(), torch.from_numpy(samples)[None, :-1]
    mel = front_end(heard).transpose(-1, -2)
    mel_float64 = copy.deepcopy(front_end).double()(heard.double())[0].T
    labels = torch.from_numpy(np.random.RandomState(3).randint(0, 5, (1, mel.shape[1], 88)))
    short = {
        f"acoustic_{letter}": load_filled(
            getattr(theirs, f"ConvStackShort{letter}")(229, 16 * CONV_COMPLEXITY)
        )(mel)[0].numpy()
        for letter in SHORT_STACKS
    }
    online = authors_module(online_amt, "autoregressive", "models")
    live = load_filled(online.AR_Transcriber(229, 88, CONV_COMPLEXITY, LSTM_COMPLEXITY))
    live_acoustic, live_states = online_states(online_amt, live, samples)
    keys, frames = notes_of_states(decoding, random_states())
    np.savez_compressed(
        TARGET,
        shapes=shapes_json(network.state_dict()),
        mel=mel[0].numpy(),
        mel_float64=mel_float64[::EXACT_EVERY].numpy(),
        logits=network(mel, labels)[0].numpy(),
        live_acoustic=live_acoustic,
        live_states=live_states.astype(np.int8),
        note_keys=keys.astype(np.int16),
        note_frames=frames.astype(np.int16),
        **short,
    )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
