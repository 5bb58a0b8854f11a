"""Memory of an evaluation does not grow with the data."""

import pytest

from benchmarks.memory import of_evaluation


@pytest.mark.slow
def test_peak_memory_grows_neither_with_videos_nor_with_their_length(tmp_path):
    peaks = {}
    for n_videos, n_frames in ((4, 10), (20, 10), (1, 200)):
        root = tmp_path / f"{n_videos}x{n_frames}"
        root.mkdir()
        peaks[n_videos, n_frames] = of_evaluation(root, n_videos, n_frames, enlarged=2) / 2**20
    # Held whole, either would be 316 MiB of frames more; the allocator takes some 100 to level off.
    assert peaks[20, 10] < peaks[4, 10] + 150, peaks
    assert peaks[1, 200] < peaks[4, 10] + 150, peaks
