"""The program: ``amt``, and ``python -m amtcli``."""

from __future__ import annotations

import sys
from contextlib import suppress

_INTERRUPTED = 130


def main() -> None:
    """Run the command line; interrupted while it is still being imported, it says so, too."""
    try:
        from amtcli.cli import main as run

        run()
    except KeyboardInterrupt:
        with suppress(OSError, ValueError, AttributeError):  # standard error may be closed
            sys.stderr.write("amt: interrupted\n")
        sys.exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
