"""What a front-end makes of the recordings of a pack, computed once.

``PACK/features/<key>/<name>-<hash of the recording>.npy`` is an array in the front-end's own layout
without its batch axis; ``front_end.json`` beside them says which front-end it was, which axis is
that of frames, and what a frame of digital silence is. The key follows from the front-end's
settings, so features are never taken for those of other settings, nor, by the hash, for those of
other samples.

A recording is put through in pieces with more sound on either side than any frame hears, so that
features do not depend on where windows begin. Front-ends that measure a window by its own loudest
cell, or that learn, cannot be cached; a floor far below the loudest cell is taken as none.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import multiprocessing
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from amtcli.datasets.pack import Pack, PackedRecording, features_folder
from amtcli.datasets.workers import map_unordered
from amtcli.errors import DataError, ModelError, UsageError
from amtcli.files import write_atomically
from amtcli.tables import from_table

if TYPE_CHECKING:
    from amtcli.front_ends.front_end import FrontEnd

_PIECE_S = 30.0
_CONTEXT_S = 3.0  # the longest kernels, of constant-Q transforms from A0 on, reach 1.3 s
_ABOUT_FILE = "front_end.json"
_PROBE_TOLERANCE = 1e-3


def features_key(front_end: Mapping[str, Any]) -> str:
    """Return the name under which features of the table ``[front_end]`` are kept."""
    text = json.dumps(dict(front_end), sort_keys=True)
    return f"{front_end.get('kind')}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def features_bytes(pack: Pack, front_end: Mapping[str, Any]) -> int:
    """Return how large the features that are missing will be.

    Raises UsageError where the front-end's output cannot be cached for this pack, ModelError
    where the table describes none.
    """
    builder = _builder(json.dumps(dict(front_end)))
    _check_can_be_cached(builder, pack.sample_rate_hz)
    missing = without_features(pack, features_key(front_end))
    n_frames = sum(each.n_samples // builder.hop_samples + 1 for each in missing)
    return n_frames * builder.silence.nbytes


def without_features(pack: Pack, key: str) -> tuple[PackedRecording, ...]:
    """Return the recordings that have no features of that front-end."""
    return tuple(each for each in pack.recordings if not each.features_file(key).is_file())


def cache_features(
    pack: Pack,
    front_end: Mapping[str, Any],
    n_jobs: int = 1,
    on_cached: Callable[[PackedRecording], None] | None = None,
) -> str:
    """Compute the features of all recordings that have none yet; return their key.

    ``on_cached`` hears of each of them as it is done.

    Raises UsageError and ModelError as `features_bytes`, AmtError where they cannot be written.
    """
    features_bytes(pack, front_end)
    text, key = json.dumps(dict(front_end)), features_key(front_end)
    builder = _builder(text)
    about = {
        "front_end": dict(front_end),
        "frame_axis": builder.axis,
        "silence": builder.silence.tolist(),
    }
    about_file = features_folder(pack.folder, key) / _ABOUT_FILE
    write_atomically(about_file, (json.dumps(about) + "\n").encode())
    work = partial(_cache_recording, front_end_json=text, key=key)
    for recording in map_unordered(work, without_features(pack, key), n_jobs):
        if on_cached is not None:
            on_cached(recording)
    return key


def read_features(
    recording: PackedRecording, key: str, start_frame: int, n_frames: int
) -> NDArray[np.float32]:
    """Read what a front-end made of a recording, in its own layout without the batch.

    Frame n is at ``n * hop_samples / sample_rate_hz``; frames outside the recording are those of
    silence. Raises DataError when that front-end was not packed.
    """
    file = recording.features_file(key)
    try:
        held = np.load(file, mmap_mode="r")
        folder = next(parent for parent in file.parents if parent.name == key)
        axis, silence = _about(folder / _ABOUT_FILE)
    except FileNotFoundError:
        raise DataError(f"{file} is missing; run `amt pack` with --features again") from None
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{file} cannot be read: {error}") from error
    first, last = max(start_frame, 0), min(start_frame + n_frames, held.shape[axis])
    features: NDArray[np.float32] = np.repeat(silence, n_frames, axis=axis)
    if last > first:
        inside = _frames(features, axis, first - start_frame, last - start_frame)
        inside[:] = _frames(held, axis, first, last)
    return features


class _Builder:
    """A front-end with what is needed to compute the features of whole recordings."""

    def __init__(self, front_end: FrontEnd, hop_samples: int) -> None:
        self.front_end = front_end
        self.hop_samples = hop_samples
        self.n_context = math.ceil(_CONTEXT_S * front_end.sample_rate_hz / hop_samples)
        self.n_piece = math.ceil(_PIECE_S * front_end.sample_rate_hz / hop_samples)
        shapes = [self._compute(np.zeros(n * hop_samples, np.float32)).shape for n in (500, 600)]
        self.axis = next(i for i in range(len(shapes[0])) if shapes[0][i] != shapes[1][i])
        self.silence = self.frames(np.zeros(self.n_samples(1), np.float32), 1)

    def n_samples(self, n_frames: int) -> int:
        """How many samples ``n_frames`` frames and their surroundings take."""
        return (n_frames + 2 * self.n_context) * self.hop_samples

    def frames(self, samples: NDArray[np.float32], n_frames: int) -> NDArray[np.float32]:
        """Return the ``n_frames`` frames that follow the first surroundings."""
        first = self.n_context
        wanted: NDArray[np.float32] = np.ascontiguousarray(
            _frames(self._compute(samples), self.axis, first, first + n_frames)
        )
        return wanted

    def features(self, recording: PackedRecording) -> NDArray[np.float32]:
        """Return the features of a whole recording."""
        n_frames = recording.n_samples // self.hop_samples + 1
        pieces = []
        for start in range(0, n_frames, self.n_piece):
            n_wanted = min(self.n_piece, n_frames - start)
            first_sample = (start - self.n_context) * self.hop_samples
            samples = recording.read_audio(first_sample, self.n_samples(n_wanted))
            pieces.append(self.frames(samples, n_wanted))
        return np.concatenate(pieces, axis=self.axis)

    def _compute(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            features: NDArray[np.float32] = (
                self.front_end([torch.from_numpy(samples)[None]])[0].float().numpy()
            )
        return features


@lru_cache(maxsize=4)
def _builder(front_end_json: str) -> _Builder:
    import torch

    from amtcli.front_ends import FRONT_ENDS

    table = json.loads(front_end_json)
    kind = table.pop("kind", None)
    if kind not in FRONT_ENDS:
        raise ModelError(f"unknown front-end {kind!r} (known: {', '.join(sorted(FRONT_ENDS))})")
    config_class, front_end_class = FRONT_ENDS[kind]
    config = from_table(config_class, table, "front_end", Path("the front-end's table"))
    if multiprocessing.parent_process() is not None:
        torch.set_num_threads(1)  # the other processes have the other cores
    # In training a front-end takes digital silence as it takes any sound.
    front_end = front_end_class(config).train()
    if any(True for _ in front_end.parameters()):
        raise UsageError(f"the front-end {kind} learns: its output cannot be cached")
    return _Builder(front_end, table["hop_samples"])


def _check_can_be_cached(builder: _Builder, sample_rate_hz: int) -> None:
    front_end = builder.front_end
    if front_end.sample_rate_hz != sample_rate_hz:
        raise UsageError(
            f"the front-end takes {front_end.sample_rate_hz} Hz, the pack has {sample_rate_hz} Hz; "
            "pack again with that --sample-rate"
        )
    noise = np.random.default_rng(0).standard_normal(builder.n_samples(100)).astype(np.float32)
    quiet, loud = 0.01 * noise, 0.3 * noise
    alone = builder.frames(quiet, 100)
    before_loud = builder.frames(np.concatenate([quiet, loud]), 100)
    if np.abs(alone - before_loud).max() > _PROBE_TOLERANCE * np.abs(alone).max():
        raise UsageError(
            "this front-end measures each window by the loudest cell in it: its output for a "
            "recording is not that for a window, and cannot be cached"
        )


def _cache_recording(recording: PackedRecording, front_end_json: str, key: str) -> PackedRecording:
    features = _builder(front_end_json).features(recording)
    write_atomically(recording.features_file(key), _npy_bytes(features))
    return recording


def _frames(features: NDArray[Any], axis: int, first: int, last: int) -> NDArray[Any]:
    return features[(slice(None),) * axis + (slice(first, last),)]


@lru_cache(maxsize=64)
def _about(file: Path) -> tuple[int, NDArray[np.float32]]:
    """Return the axis of frames, and a frame of silence."""
    about = json.loads(file.read_text())
    return about["frame_axis"], np.array(about["silence"], np.float32)


def _npy_bytes(array: NDArray[np.float32]) -> bytes:
    memory = io.BytesIO()
    np.save(memory, array)
    return memory.getvalue()
