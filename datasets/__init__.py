"""Data on disk <-> arrays: WFLW, WFLW-V, synthetic faces, and what a network is trained on."""
