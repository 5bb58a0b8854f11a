"""What the repository brings, and the scripts use where no other is named."""

from pathlib import Path

ASSETS = Path(__file__).resolve().parent.parent / "assets"
WEIGHTS = ASSETS / "weights" / "synthetic.pth.tar"
WFLW = ASSETS / "WFLW"
WFLW_V = ASSETS / "WFLW_V"

#: What a report says of figures that come from :data:`WEIGHTS`.
WEIGHTS_NOTE = "These are the bundled weights: a small network that has seen synthetic faces alone."


def note_on(weights: str | Path) -> str | None:
    """What to say of figures that these weights gave."""
    return WEIGHTS_NOTE if Path(weights).resolve() == WEIGHTS else None
