"""Data on disk <-> arrays: WFLW, WFLW-V, cropping."""
