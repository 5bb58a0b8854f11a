"""Peak memory of WFLW-V evaluation by number and length of videos: ``python -m benchmarks.memory``.

Runs the script itself, in processes of their own, over copies of a bundled clip and over one long clip made of its
frames, with a tiny network so that memory and not arithmetic is what is looked at.
"""

import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from datasets.wflw_v import Clip
from ldeq import LDEQ, ModelConfig, SolverConfig, save_checkpoint
from ldeq.command_line import ArgumentParser, at_least, run
from ldeq.terminal import console, table
from ldeq.video.reading import VideoReader
from ldeq.video.writing import VideoWriter
from utils import bundled

REPOSITORY = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("--copies", type=at_least(1), nargs="+", default=[4, 64], help="of a clip of 60 frames")
    parser.add_argument("--long", type=at_least(2), default=3000, help="frames of the long clip")
    parser.add_argument("--plot", action="store_true", help="write annotated videos as well")
    flags = parser.parse(arguments)
    cases = [(copies, 60) for copies in flags.copies] + [(1, flags.long)]
    extra = ["--plot"] if flags.plot else []
    rows = []
    for n_videos, n_frames in cases:
        with tempfile.TemporaryDirectory() as folder:
            make_dataset(Path(folder), n_videos, n_frames)
            peak = peak_memory(Path(folder), *extra)
        rows.append([n_videos, n_frames, f"{peak / 2**20:.0f}"])
    console().print(table("Peak resident memory of the process", ["videos", "frames each", "MiB"], rows, n_words=0))


def make_dataset(root: Path, n_videos: int, n_frames: int) -> None:
    """A WFLW-V of copies of a bundled clip, its frames repeated to ``n_frames``, and tiny weights beside it."""
    source = Clip(bundled.WFLW_V, "portrait-pan")
    for folder in ("videos", "bboxes", "landmarks"):
        (root / folder).mkdir()
    ids = [f"copy-{number}" for number in range(n_videos)]
    first = Clip(root, ids[0])
    frames = list(VideoReader(source.video_path))
    writer = VideoWriter(first.video_path, 25)
    for frame in itertools.islice(itertools.cycle(frames), n_frames):
        writer.write(frame)
    writer.close()
    for name in ("bboxes", "landmarks"):
        values = getattr(source, name)
        np.save(root / name / f"{ids[0]}.npy", values[np.arange(n_frames) % len(values)])
    for id in ids[1:]:
        for folder, suffix in (("videos", "mp4"), ("bboxes", "npy"), ("landmarks", "npy")):
            (root / folder / f"{id}.{suffix}").symlink_to(root / folder / f"{ids[0]}.{suffix}")
    (root / "hard_video_IDs.txt").write_text("\n".join(ids) + "\n")
    config = ModelConfig(injection_width=8, cell_base_width=4, cell_width_increment=0, cell_gn_groups=1)
    torch.manual_seed(0)
    save_checkpoint(root / "tiny.pth.tar", LDEQ(config, SolverConfig(solver="fpi", max_iters=1)))


def peak_memory(root: Path, *arguments: str) -> int:
    """Peak resident memory in bytes of the evaluation script over such a data set.

    Raises:
        RuntimeError: where the script fails.
    """
    command = [
        sys.executable,
        str(REPOSITORY / "test_LDEQ_WFLW_V.py"),
        f"--landmark_model_weights={root / 'tiny.pth.tar'}",
        f"--WFLW_V_dataset_path={root}",
        f"--output_dir={root / 'results'}",
        "--rwr=true",
        "--rwr_take_one_less_inference_step=true",
        *arguments,
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise RuntimeError(f"the script ended with status {os.waitstatus_to_exitcode(status)}")
    # Linux counts in KiB, macOS in bytes.
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    run(main)
