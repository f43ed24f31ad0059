"""The errors that a user can cause and a caller may want to catch.

Every message is one line that says what was wrong, where, and what to do. The command line
turns them into exit codes, and nothing else does.
"""


class AmtError(Exception):
    """A failure with a cause outside the program; its text is shown to the user as it is."""

    exit_code = 1


class UsageError(AmtError):
    """What was asked for contradicts itself or cannot be done."""

    exit_code = 2


class ModelError(AmtError):
    """A model is missing, unknown or damaged."""

    exit_code = 3


class NoInputError(AmtError):
    """No input matched what was asked for."""

    exit_code = 4


class AudioError(AmtError):
    """A recording cannot be read."""


class MidiError(AmtError):
    """A MIDI file cannot be read or written."""


class DataError(AmtError):
    """A data set, a pack or one of their recordings is missing, unknown or damaged."""


class TrainingError(AmtError):
    """Training cannot begin, or cannot go on."""
