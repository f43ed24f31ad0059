"""``python -m amtcli`` is ``amt``."""

from amtcli.cli import main

if __name__ == "__main__":
    main()
