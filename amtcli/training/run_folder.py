"""What lies in the folder of a training run, beside its log, and which state it goes on from."""

from __future__ import annotations

from pathlib import Path

from amtcli.errors import UsageError

RECIPE_FILE = "recipe.toml"
STATE_FILE = Path("state") / "last.pt"
NOT_FINITE_FILE = Path("state") / "not_finite.pt"
MODEL_FOLDER = "model"


def find_state(folder: Path, resume: str) -> Path | None:
    """Find the state to go on from, of ``--resume`` as it was given; None: there is none.

    Raises UsageError where what is in a run's folder would be lost.
    """
    own = folder / STATE_FILE
    if resume not in ("", "auto"):
        state = Path(resume)
        if own.exists() and not state.resolve().is_relative_to(folder.resolve()):
            raise UsageError(f"{folder} holds another training than {state}: choose another folder")
        return state
    if not resume and own.exists():
        raise UsageError(
            f"{folder} holds a training: --resume auto continues it; "
            "otherwise choose another folder"
        )
    return own if own.exists() else None


def is_state_of(folder: Path, state: Path) -> bool:
    """Whether a state is that of the run in ``folder``."""
    return state.resolve() == (folder / STATE_FILE).resolve()
