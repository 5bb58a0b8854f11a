"""The samples that the repository brings, which scripts use where no data set is named."""

from pathlib import Path

ASSETS = Path(__file__).resolve().parent.parent / "assets"
WFLW = ASSETS / "WFLW"
WFLW_V = ASSETS / "WFLW_V"
