"""What the repository brings, and the scripts use where no other is named."""

from pathlib import Path

ASSETS = Path(__file__).resolve().parent.parent / "assets"
WEIGHTS = ASSETS / "weights" / "untrained.pth.tar"
WFLW = ASSETS / "WFLW"
WFLW_V = ASSETS / "WFLW_V"

#: What a report says of figures that come from :data:`WEIGHTS`.
UNTRAINED_NOTE = "These weights are untrained: the run shows that everything works, and its figures mean nothing."


def is_untrained(weights: str | Path) -> bool:
    return Path(weights).resolve() == WEIGHTS
