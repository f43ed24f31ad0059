"""A SoundFont made on the spot: one looped sine, silent for a while before it begins.

The layout is that of the SoundFont technical specification 2.01, sections 5 to 7.
"""

import struct

import numpy as np

SAMPLE_RATE_HZ = 44_100
PERIOD_SAMPLES = 100
ROOT_PITCH = 69
ROOT_HZ = SAMPLE_RATE_HZ / PERIOD_SAMPLES  # 441 Hz, 4 cents sharp of A4
_INSTRUMENT, _SAMPLE_ID, _SAMPLE_MODES = 41, 53, 54


def soundfont(silence_s=0.0, program=0):
    """Return the bytes of an sf2 file whose notes sound, all equally loud, until released."""
    n_silent, n_sound = round(silence_s * SAMPLE_RATE_HZ), 10 * PERIOD_SAMPLES
    wave = np.zeros(n_silent + n_sound + 46)
    wave[n_silent:] = 12_000 * np.sin(2 * np.pi * np.arange(n_sound + 46) / PERIOD_SAMPLES)
    loop_start, loop_end = n_silent + PERIOD_SAMPLES, n_silent + 5 * PERIOD_SAMPLES
    header = struct.pack(
        "<20sIIIIIBbHH",
        *(
            b"sine",
            0,
            n_silent + n_sound,
            loop_start,
            loop_end,
            SAMPLE_RATE_HZ,
            ROOT_PITCH,
            0,
            0,
            1,
        ),
    )
    hydra = [
        chunk(b"phdr", preset(b"sine", program, 0) + preset(b"EOP", 0, 1)),
        chunk(b"pbag", struct.pack("<4H", 0, 0, 1, 0)),
        chunk(b"pmod", bytes(10)),
        chunk(b"pgen", struct.pack("<4H", _INSTRUMENT, 0, 0, 0)),
        chunk(b"inst", struct.pack("<20sH20sH", b"sine", 0, b"EOI", 1)),
        chunk(b"ibag", struct.pack("<4H", 0, 0, 2, 0)),
        chunk(b"imod", bytes(10)),
        chunk(b"igen", struct.pack("<6H", _SAMPLE_MODES, 1, _SAMPLE_ID, 0, 0, 0)),
        chunk(b"shdr", header + struct.pack("<20s26x", b"EOS")),
    ]
    info = chunk(b"ifil", struct.pack("<2H", 2, 1))
    info += chunk(b"isng", b"EMU8000\0") + chunk(b"INAM", b"sine\0\0")
    samples = chunk(b"smpl", wave.astype("<i2").tobytes())
    lists = [(b"INFO", info), (b"sdta", samples), (b"pdta", b"".join(hydra))]
    return chunk(b"RIFF", b"sfbk" + b"".join(chunk(b"LIST", name + data) for name, data in lists))


def chunk(name, data):
    return name + struct.pack("<I", len(data)) + data


def preset(name, program, bag):
    return struct.pack("<20sHHHIII", name, program, 0, bag, 0, 0, 0)
