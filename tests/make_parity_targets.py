"""Make data/parity/targets.npz with the authors' own code for targets and losses.

    python tests/make_parity_targets.py HPT ONSETS_VELOCITIES ONSETS_AND_FRAMES LOW_LATENCY_AMT

Each is a copy of a repository: bytedance/piano_transcription, andres-fr/iamusica_training,
jongwook/onsets-and-frames and jdasam/low-latency-amt on GitHub. What they import beside torch,
mido, librosa, soundfile, joblib and tqdm is replaced by mocks.
"""

import importlib
import sys
import tempfile
import types
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np

from amtcli.notes import Note, PedalSpan, Performance

WINDOW_START_S = 3.0
WINDOW_S = 10.0
N_FRAMES = 40  # of the losses
TARGET = Path(__file__).parent / "data" / "parity" / "targets.npz"


def performance():
    """Fifteen seconds: a few keys, struck often, some while the pedal holds them."""
    random = np.random.RandomState(7)
    notes = []
    for pitch in (21, 40, 41, 60, 64, 67, 90, 108):
        time_s = random.uniform(0, 0.4)
        while time_s < 14.5:
            duration_s = random.uniform(0.06, 0.6)
            notes.append(Note(time_s, time_s + duration_s, pitch, int(random.randint(1, 128))))
            time_s += duration_s + random.uniform(0.07, 0.8)
    notes.sort(key=lambda note: note.onset_s)
    pedals = [PedalSpan(t, t + 0.9, 64) for t in (0.3, 2.2, 3.6, 5.05, 7.7, 9.31, 11.0, 13.9)]
    return Performance(tuple(notes), tuple(pedals))


def loss_inputs():
    """Values in -3 to 3 by name, and targets: all that the losses are computed from."""
    random = np.random.RandomState(8)
    shape = (2, N_FRAMES, 88)
    names = ("onset", "offset", "frame", "velocity", "stage_0", "stage_1")
    values = {name: random.uniform(-3, 3, shape).astype(np.float32) for name in names}
    struck = random.rand(*shape) < 0.05
    return values | {
        "is_onset": struck,
        "is_offset": random.rand(*shape) < 0.05,
        "is_frame": random.rand(*shape) < 0.2,
        "onset_triangle": random.rand(*shape).astype(np.float32),
        "offset_triangle": random.rand(*shape).astype(np.float32),
        "midi_velocity": np.where(struck, random.randint(1, 128, shape), 0).astype(np.uint8),
        "mask": random.rand(*shape) < 0.9,
        "states": random.randint(0, 5, shape),
        "state_logits": random.uniform(-3, 3, (*shape, 5)).astype(np.float32),
    }


def events():
    """The performance as messages in order of time: (seconds, kind, number, value)."""
    played = performance()
    messages = []
    for note in played.notes:
        messages.append((note.onset_s, "note_on", note.pitch, note.velocity))
        messages.append((note.offset_s, "note_off", note.pitch, 0))
    for span in played.pedals:
        messages.append((span.onset_s, "control_change", 64, 127))
        messages.append((span.offset_s, "control_change", 64, 0))
    return sorted(messages)


def stand_in(*names):
    for name in names:
        sys.modules.setdefault(name, MagicMock())


def hpt(checkout):
    stand_in("pandas", "audioread")
    sys.path[:0] = [str(Path(checkout) / "utils"), str(Path(checkout) / "pytorch")]
    utilities, losses = importlib.import_module("utilities"), importlib.import_module("losses")
    texts = {
        "note_on": "note_on channel=0 note={} velocity={} time=0",
        "note_off": "note_off channel=0 note={} velocity={} time=0",
        "control_change": "control_change channel=0 control={} value={} time=0",
    }
    messages = events()
    processor = utilities.TargetProcessor(WINDOW_S, 100, 21, 88)
    rolls, _, _ = processor.process(
        WINDOW_START_S,
        [message[0] for message in messages],
        [texts[message[1]].format(*message[2:]) for message in messages],
        extend_pedal=False,
    )
    import torch

    given = {name: torch.from_numpy(values) for name, values in loss_inputs().items()}
    outputs = {
        "reg_onset_output": given["onset"].sigmoid(),
        "reg_offset_output": given["offset"].sigmoid(),
        "frame_output": given["frame"].sigmoid(),
        "velocity_output": given["velocity"].sigmoid(),
    }
    wanted = {
        "reg_onset_roll": given["onset_triangle"],
        "reg_offset_roll": given["offset_triangle"],
        "frame_roll": given["is_frame"].float(),
        "mask_roll": given["mask"].float(),
        "velocity_roll": given["midi_velocity"].float(),
        "onset_roll": given["is_onset"].float(),
    }
    loss = losses.regress_onset_offset_frame_velocity_bce(None, outputs, wanted)
    return {f"hpt_{name}": values for name, values in rolls.items()} | {"hpt_loss": loss.item()}


def onsets_velocities(checkout):
    """Their loss; what makes its targets stands in the middle of their script and is retold."""
    stand_in(
        "pandas", "torchaudio", "torchaudio.transforms", "h5py", "parse", "pytz", "coloredlogs"
    )
    sys.path.insert(0, checkout)
    import torch

    utils = importlib.import_module("ov_piano.utils")
    given = {name: torch.from_numpy(values) for name, values in loss_inputs().items()}
    roll = given["midi_velocity"].float()[:, 1:]
    for _ in range(2):
        roll = torch.maximum(roll, torch.nn.functional.pad(roll[:, :-1], (0, 0, 1, 0)))
    onset_loss = torch.nn.BCEWithLogitsLoss(pos_weight=torch.FloatTensor([8.0]))
    stages = [given[name][:, 1:] for name in ("stage_0", "stage_1")]
    onset = sum(onset_loss(stage, roll.clip(0, 1)) for stage in stages) / len(stages)
    velocity = utils.MaskedBCEWithLogitsLoss()(
        given["velocity"][:, 1:], roll / 127.0, mask=roll.clip(0, 1)
    )
    return {"onsets_velocities_loss": (onset + 10 * velocity).item()}


def rolls_of(checkout, package_name):
    """What their data set makes of the whole performance, through a MIDI and a wave file."""
    import mido
    import soundfile

    for name in [name for name in sys.modules if name.split(".")[0] == "onsets_and_frames"]:
        del sys.modules[name]
    package = types.ModuleType("onsets_and_frames")
    package.__path__ = [str(Path(checkout) / "onsets_and_frames")]
    sys.modules["onsets_and_frames"] = package
    dataset = importlib.import_module("onsets_and_frames.dataset")
    parse_midi = importlib.import_module("onsets_and_frames.midi").parse_midi
    track, last_s = mido.MidiTrack(), 0.0
    for time_s, kind, number, value in events():
        field = "control" if kind == "control_change" else "note"
        amount = "value" if kind == "control_change" else "velocity"
        delta = round(time_s * 10000) - round(last_s * 10000)
        track.append(mido.Message(kind, **{field: number, amount: value}, time=delta))
        last_s = time_s
    midi = mido.MidiFile(ticks_per_beat=5000, tracks=[track])  # 0.1 ms at 120 BPM
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        midi.save(path / "piece.mid")
        rows = parse_midi(str(path / "piece.mid"))
        np.savetxt(path / "piece.tsv", rows, fmt="%.6f", delimiter="\t", header="rows")
        soundfile.write(path / "piece.wav", np.zeros(16 * 16000), 16000)
        load = dataset.PianoRollAudioDataset.load
        made = load(None, str(path / "piece.wav"), str(path / "piece.tsv"))
    rolls = {name: made[name].numpy() for name in ("label", "velocity") if name in made}
    return {f"{package_name}_{name}": roll for name, roll in rolls.items()}


class Answering:
    """Stands for their network: answers what it was told to."""

    def __init__(self, answer):
        self.answer = answer

    def __call__(self, *_):
        return self.answer


def losses_of(checkout):
    """The losses of both programs of this family, told what their networks answer."""
    sys.path.insert(0, str(Path(__file__).parent))
    import torch
    from make_parity_onsets_and_frames import authors_module

    for name in [name for name in sys.modules if name.split(".")[0] == "onsets_and_frames"]:
        del sys.modules[name]
    transcriber = authors_module(checkout, "onsets_and_frames", "transcriber")
    given = {name: torch.from_numpy(values) for name, values in loss_inputs().items()}
    if hasattr(transcriber, "ARTranscriber"):
        network = Answering(given["state_logits"])
        network.criterion = torch.nn.CrossEntropyLoss()
        batch = {"audio": None, "mel": None, "label": given["states"]}
        run = transcriber.ARTranscriber.run_on_batch
        return {
            f"autoregressive_loss_{shift}": run(network, batch, label_shift=shift)[1]["main"].item()
            for shift in (0, 2)
        }
    transcriber.melspectrogram = lambda audio: audio[:, None]
    heads = [given["onset"].sigmoid(), given["offset"].sigmoid(), None, given["frame"].sigmoid()]
    network = Answering((*heads, given["velocity"]))
    network.velocity_loss = types.MethodType(transcriber.OnsetsAndFrames.velocity_loss, network)
    batch = {
        "audio": torch.zeros(2, 9),
        "onset": given["is_onset"].float(),
        "offset": given["is_offset"].float(),
        "frame": given["is_frame"].float(),
        "velocity": given["midi_velocity"].float() / 128,
    }
    losses = transcriber.OnsetsAndFrames.run_on_batch(network, batch)[1]
    return {"onsets_and_frames_loss": sum(losses.values()).item()}


def main(hpt_checkout, velocities_checkout, frames_checkout, states_checkout):
    found = hpt(hpt_checkout) | onsets_velocities(velocities_checkout)
    found |= rolls_of(frames_checkout, "onsets_and_frames") | losses_of(frames_checkout)
    found |= rolls_of(states_checkout, "autoregressive") | losses_of(states_checkout)
    rolls = {name: np.asarray(values) for name, values in found.items()}
    small = {n: v.astype(np.float32) if v.dtype == np.float64 else v for n, v in rolls.items()}
    np.savez_compressed(TARGET, **small)


if __name__ == "__main__":
    main(*sys.argv[1:])
