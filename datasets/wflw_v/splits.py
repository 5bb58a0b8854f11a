"""The splits of WFLW-V."""

#: Each has an id list.
SPLITS = ("hard", "easy")
