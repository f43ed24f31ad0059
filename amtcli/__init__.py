"""Piano recordings to MIDI."""

__version__ = "0.1.0"
