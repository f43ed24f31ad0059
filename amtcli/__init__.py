"""Piano recordings to MIDI: ``from amtcli import transcribe``.

Importing the package is cheap; torch is imported when ``transcribe`` is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amtcli.api import transcribe as transcribe
    from amtcli.notes import Note, PedalSpan, Performance

__all__ = ["Note", "PedalSpan", "Performance", "transcribe"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "transcribe":
        from amtcli import api

        return api.transcribe
    if name in __all__:
        from amtcli import notes

        return getattr(notes, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
