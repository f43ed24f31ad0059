"""Notes to labelled recordings: played by a synthesiser, placed in a room, packed.

All that is random about a recording follows from the seed and the recording's name: a pack that
is rendered again, in another order or on another number of processes, has the same bytes, and so
has one that was interrupted and gone on with. sfizz alone does not play twice alike; see
`play_sfz`.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from amtcli.datasets.labels import Labels, beat_labels, labels_of_performance
from amtcli.datasets.note_files import read_notes
from amtcli.datasets.pack import (
    Manifest,
    ManifestEntry,
    Source,
    recording_path,
    withdraw_manifest,
    write_manifest,
)
from amtcli.datasets.packing import Estimate, Packed, PackOptions, check_folder
from amtcli.datasets.recording_file import import_h5py, read_contents, write_recording
from amtcli.datasets.rendering_synthesiser import (
    SILENCE,
    Instrument,
    playable_midi,
    synthesise,
    synthesiser_version,
)
from amtcli.datasets.rendering_variation import vary
from amtcli.datasets.source import DataSet, SourceRecording
from amtcli.datasets.workers import map_unordered
from amtcli.errors import AmtError, DataError, UsageError
from amtcli.midi_reading import read_performance
from amtcli.note_tables import is_table
from amtcli.notes import HIGHEST_PITCH, LOWEST_PITCH, Note, PedalSpan, Performance

Alter = Callable[[NDArray[np.float32], int, Generator], NDArray[np.float32]]
"""Audio (n,), sample rate, random numbers -> audio (n,) with nothing moved in time."""

_VERSION = 1  # of what follows from a seed
_DETUNE_CENTS = 20.0
_PEAK_DBFS = (-15.0, -1.0)
_LEAD_IN_S = 0.5
_TAIL_S = 2.0
_MOST_LOOKED_AT = 16
_BYTES_PER_SAMPLE = 2


@dataclass(frozen=True)
class RenderOptions:
    """How to render.

    ``alter`` adds what dry sound lacks, None leaves it dry. Where ``longest_s`` is given, a
    random excerpt of a longer performance is rendered; with ``varied`` it is played otherwise
    than it was (`vary`). Each file is rendered ``n_copies`` times, by different instruments as
    long as there are some.
    """

    sample_rate_hz: int = 16_000
    seed: int = 0
    n_copies: int = 1
    longest_s: float | None = None
    varied: bool = False
    alter: Alter | None = None
    n_jobs: int = 1

    def __post_init__(self) -> None:
        if self.longest_s is not None and not 0 < self.longest_s < math.inf:
            raise UsageError("an excerpt has a length in seconds, above 0")


@dataclass(frozen=True)
class Take:
    """One rendering of one MIDI file or label table."""

    source: SourceRecording
    copy: int

    @property
    def name(self) -> str:
        """The recording's name in the pack."""
        return self.source.name if self.copy == 0 else f"{self.source.name}_take{self.copy + 1}"

    @property
    def notes_file(self) -> Path:
        """The MIDI file or label table."""
        return self.source.label_files[0]


def render(
    data_set: DataSet,
    instruments: Sequence[Instrument],
    folder: Path,
    options: RenderOptions,
    on_rendered: Callable[[Packed], None] | None = None,
) -> Manifest:
    """Render MIDI files and label tables into a pack, or go on doing so.

    What cannot be rendered is listed in the manifest with the reason. ``on_rendered`` hears of
    each recording as it is done.

    Raises
    ------
    UsageError
        The folder is another pack, or h5py is not installed.
    DataError
        Two recordings have one name.
    AmtError
        The folder cannot be written.
    """
    check(data_set, folder, options)
    takes = _takes(data_set, options)
    withdraw_manifest(folder)
    work = partial(render_take, instruments=tuple(instruments), folder=folder, options=options)
    results = []
    for packed in map_unordered(work, takes, options.n_jobs):
        results.append(packed)
        if on_rendered is not None:
            on_rendered(packed)
    entries = tuple(packed.entry for packed in results if packed.entry is not None)
    rejected = {packed.name: packed.problem for packed in results if packed.problem is not None}
    manifest = Manifest(
        data_set.kind, options.sample_rate_hz, entries, dict(sorted(rejected.items()))
    )
    write_manifest(folder, manifest)
    return manifest


def check(data_set: DataSet, folder: Path, options: RenderOptions) -> None:
    """Raise before any work what `render` would raise."""
    import_h5py()
    named = tuple(replace(take.source, name=take.name) for take in _takes(data_set, options))
    check_folder(replace(data_set, recordings=named), folder, PackOptions(options.sample_rate_hz))


def estimate(data_set: DataSet, folder: Path, options: RenderOptions) -> Estimate:
    """Estimate what is still to be rendered from some of the files: the mean for each of them."""
    takes = _takes(data_set, options)
    missing = [take for take in takes if not recording_path(folder, take.name).exists()]
    looked_at = missing[:: math.ceil(len(missing) / _MOST_LOOKED_AT) or 1]
    mean_s = sum(_duration_s(take, options) for take in looked_at) / max(1, len(looked_at))
    n_samples = len(missing) * mean_s * options.sample_rate_hz
    return Estimate({take.name: mean_s for take in missing}, round(n_samples * _BYTES_PER_SAMPLE))


def _takes(data_set: DataSet, options: RenderOptions) -> list[Take]:
    copies = range(options.n_copies)
    return [Take(source, copy) for source in data_set.recordings for copy in copies]


def _duration_s(take: Take, options: RenderOptions) -> float:
    try:
        notes = _performance(take, options).notes
    except (AmtError, OSError):
        return 0.0  # the reason is told when it is rendered
    return max(note.offset_s for note in notes) + _TAIL_S


def render_take(
    take: Take, instruments: Sequence[Instrument], folder: Path, options: RenderOptions
) -> Packed:
    """Render one take unless that is done already; what is wrong with it is in the result.

    Raises AmtError when the pack cannot be written.
    """
    instrument = _instrument(take, instruments, options)
    file = recording_path(folder, take.name)
    try:
        recipe = _recipe(take, instrument, options)
        entry = _kept(file, recipe, take, instrument)
        if entry is not None:
            return Packed(take.name, entry, None)
        performance = _performance(take, options)
        audio, labels = _play(performance, instrument, _rng(take, options, "sound"), options)
        if is_table(take.notes_file):
            labels = replace(labels, pedals=None)
    except (AmtError, OSError) as error:
        return Packed(take.name, None, " ".join(str(error).split()))
    written = write_recording(
        file, [audio], options.sample_rate_hz, labels, {"recipe": json.dumps(recipe)}
    )
    entry = _entry(take, instrument, recipe, written.n_samples, written.sha256)
    return Packed(take.name, entry, None)


def excerpt(performance: Performance, start_s: float, duration_s: float) -> Performance:
    """Cut out the notes and beats that begin within ``duration_s`` from ``start_s`` on.

    Pedals that are down in that time come with them.

    The excerpt begins half a second before ``start_s``; what reaches beyond its end stops there.
    """
    shift_s, end_s = _LEAD_IN_S - start_s, start_s + duration_s

    def moved(span: Any) -> Any:
        onset_s, offset_s = max(span.onset_s, start_s), min(span.offset_s, end_s)
        return replace(span, onset_s=onset_s + shift_s, offset_s=offset_s + shift_s)

    notes: list[Note] = [
        moved(note) for note in performance.notes if start_s <= note.onset_s < end_s
    ]
    pedals: list[PedalSpan] = [
        moved(pedal)
        for pedal in performance.pedals
        if pedal.onset_s < end_s and pedal.offset_s > start_s
    ]
    beats = (
        replace(beat, onset_s=beat.onset_s + shift_s)
        for beat in performance.beats
        if start_s <= beat.onset_s < end_s
    )
    return replace(performance, notes=tuple(notes), pedals=tuple(pedals), beats=tuple(beats))


def _rng(take: Take, options: RenderOptions, purpose: str) -> Generator:
    """Random numbers that depend on nothing but these; a copy has its own unless for choosing."""
    words = [_VERSION, options.seed, purpose, take.source.name]
    if purpose != "instruments":
        words.append(take.copy)
    digest = hashlib.sha256(json.dumps(words).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def _instrument(
    take: Take, instruments: Sequence[Instrument], options: RenderOptions
) -> Instrument:
    order = _rng(take, options, "instruments").permutation(len(instruments))
    return instruments[int(order[take.copy % len(instruments)])]


def _recipe(take: Take, instrument: Instrument, options: RenderOptions) -> dict[str, Any]:
    """All that the recording follows from: equal recipes, equal recordings."""
    midi, *beats = (_described(path) for path in take.source.label_files)
    return {
        "version": _VERSION,
        "midi": midi,
        **({"beats": beats} if beats else {}),
        "soundfont": [instrument.file.name, instrument.sha256],
        "program": instrument.program,
        "latency_s": instrument.latency_s,
        "synthesiser": synthesiser_version(instrument),
        "sample_rate_hz": options.sample_rate_hz,
        "seed": options.seed,
        "longest_s": options.longest_s,
        "varied": options.varied,
        "altered_by": getattr(options.alter, "__qualname__", None),
    }


def _described(path: Path) -> list[str | int]:
    contents = path.read_bytes()
    return [path.name, len(contents), hashlib.sha256(contents).hexdigest()]


def _kept(
    file: Path, recipe: dict[str, Any], take: Take, instrument: Instrument
) -> ManifestEntry | None:
    if not file.exists():
        return None
    try:
        contents = read_contents(file)
        if json.loads(str(contents.attributes["recipe"])) != recipe:
            return None
    except (DataError, KeyError, ValueError):
        return None  # of another program, or damaged: it is made anew
    return _entry(take, instrument, recipe, contents.n_samples, contents.sha256)


def _entry(
    take: Take, instrument: Instrument, recipe: dict[str, Any], n_samples: int, sha256: str
) -> ManifestEntry:
    _, n_bytes, midi_sha256 = recipe["midi"]
    n_instrument_bytes = instrument.file.stat().st_size
    return ManifestEntry(
        take.name,
        take.source.split,
        take.source.group,
        instrument.name,
        n_samples,
        n_samples / recipe["sample_rate_hz"],
        sha256,
        (
            Source(take.source.name + take.notes_file.suffix, n_bytes, midi_sha256),
            *(Source(*described) for described in recipe.get("beats", ())),
            Source(instrument.file.name, n_instrument_bytes, instrument.sha256),
        ),
    )


def _performance(take: Take, options: RenderOptions) -> Performance:
    performance = read_notes(take.notes_file)
    if options.varied:
        performance = vary(performance, _rng(take, options, "variation"))
    return _excerpt(performance, take, options)


def _excerpt(performance: Performance, take: Take, options: RenderOptions) -> Performance:
    notes = tuple(note for note in performance.notes if LOWEST_PITCH <= note.pitch <= HIGHEST_PITCH)
    if not notes:
        raise DataError("it has no notes of the piano; check the file")
    performance = replace(performance, notes=notes)
    if options.longest_s is None:
        return performance
    first_s, last_s = notes[0].onset_s, max(note.offset_s for note in notes)
    spare_s = last_s - first_s - options.longest_s
    start_s = first_s
    if spare_s > 0:
        start_s += float(_rng(take, options, "excerpt").uniform(0.0, spare_s))
    cut = excerpt(performance, start_s, options.longest_s)
    if not cut.notes:
        raise DataError("its excerpt has no notes; render more of it, or with another --seed")
    return cut


def _play(
    performance: Performance, instrument: Instrument, rng: Generator, options: RenderOptions
) -> tuple[NDArray[np.float32], Labels]:
    unmetred = replace(performance, beats=())
    midi = playable_midi(
        unmetred, instrument.program, float(rng.uniform(-_DETUNE_CENTS, _DETUNE_CENTS))
    )
    # Read back what the synthesiser was given: double strikes are one, times are whole ticks.
    labels = labels_of_performance(read_performance(io.BytesIO(midi)))
    audio = synthesise(midi, instrument, options.sample_rate_hz)
    assert labels.notes is not None
    end_s = float(labels.notes.sounding_end_s.max()) + _TAIL_S
    audio = audio[: round(end_s * options.sample_rate_hz)]
    labels = replace(labels, beats=beat_labels(performance.beats, end_s))
    if np.max(np.abs(audio), initial=0.0) < SILENCE:
        raise DataError(f"{instrument.name} made no sound; try another instrument or --program")
    if options.alter is not None:
        audio = options.alter(audio, options.sample_rate_hz, rng)
    peak = float(np.max(np.abs(audio)))
    wanted = 10.0 ** (float(rng.uniform(*_PEAK_DBFS)) / 20.0)
    return audio * np.float32(wanted / peak), labels
