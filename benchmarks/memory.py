"""Peak memory by the length of the work, which it should not depend on: ``python -m benchmarks.memory``.

Runs the scripts themselves, in processes of their own: the evaluation of WFLW-V over copies of a bundled clip and over
one long clip made of its frames, ``predict_video.py`` over short and long videos, and training for few and many steps.
Networks are tiny, so that memory and not arithmetic is what is looked at, but for prediction, which follows faces only
with one that knows them. Of a run's processes it is the sum at the moment when it is largest.
"""

import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import torch

from datasets.wflw_v import Clip
from ldeq import LDEQ, ModelConfig, SolverConfig, save_checkpoint
from ldeq.command_line import ArgumentParser, at_least, run
from ldeq.terminal import console, table
from ldeq.video.reading import VideoReader
from ldeq.video.writing import VideoWriter
from utils import bundled

REPOSITORY = Path(__file__).resolve().parent.parent
#: Seconds between looks at a run's memory.
_INTERVAL = 0.05


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("--copies", type=at_least(1), nargs="*", default=[4, 64], help="of a clip of 60 frames")
    parser.add_argument("--long", type=at_least(2), default=3000, help="frames of the evaluation's long clip")
    parser.add_argument("--plot", action="store_true", help="write annotated videos in evaluation as well")
    parser.add_argument("--frames", type=at_least(2), nargs="*", default=[300, 6000], help="of predict_video.py")
    parser.add_argument("--steps", type=at_least(1), nargs="*", default=[50, 400], help="of training")
    flags = parser.parse(arguments)
    extra = ["--plot"] if flags.plot else []
    rows = []
    for n_videos, n_frames in [*((copies, 60) for copies in flags.copies), (1, flags.long)] if flags.copies else []:
        with tempfile.TemporaryDirectory() as folder:
            peak = of_evaluation(Path(folder), n_videos, n_frames, *extra)
        rows.append(["test_LDEQ_WFLW_V.py", f"{n_videos} x {n_frames} frames", f"{peak / 2**20:.0f}"])
    for n_frames in flags.frames:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(
                ["predict_video.py", f"{n_frames} frames", f"{of_prediction(Path(folder), n_frames) / 2**20:.0f}"]
            )
    for n_steps in flags.steps:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(["train_LDEQ.py", f"{n_steps} steps", f"{of_training(Path(folder), n_steps) / 2**20:.0f}"])
    console().print(table("Peak memory of a run", ["script", "work", "MiB"], rows, n_words=2))


def of_evaluation(root: Path, n_videos: int, n_frames: int, *arguments: str, enlarged: int = 1) -> int:
    """Peak in bytes of the evaluation over copies of a clip, its frames repeated to ``n_frames``, and enlarged."""
    source = Clip(bundled.WFLW_V, "portrait-pan")
    for folder in ("videos", "bboxes", "landmarks"):
        (root / folder).mkdir()
    ids = [f"copy-{number}" for number in range(n_videos)]
    write_long_clip(source.video_path, Clip(root, ids[0]).video_path, n_frames, enlarged)
    for name in ("bboxes", "landmarks"):
        values = getattr(source, name)
        np.save(root / name / f"{ids[0]}.npy", enlarged * values[np.arange(n_frames) % len(values)])
    for id in ids[1:]:
        for folder, suffix in (("videos", "mp4"), ("bboxes", "npy"), ("landmarks", "npy")):
            (root / folder / f"{id}.{suffix}").symlink_to(root / folder / f"{ids[0]}.{suffix}")
    (root / "hard_video_IDs.txt").write_text("\n".join(ids) + "\n")
    return peak_memory(
        "test_LDEQ_WFLW_V.py",
        f"--landmark_model_weights={tiny_weights(root)}",
        f"--WFLW_V_dataset_path={root}",
        f"--output_dir={root / 'results'}",
        "--rwr=true",
        "--rwr_take_one_less_inference_step=true",
        *arguments,
    )


def of_prediction(root: Path, n_frames: int) -> int:
    """Peak in bytes of prediction on a video of so many frames, from detection to the written video."""
    video = root / "clip.mp4"
    write_long_clip(Clip(bundled.WFLW_V, "portrait-pan").video_path, video, n_frames)
    return peak_memory("predict_video.py", str(video), f"--output_dir={root / 'results'}")


def of_training(root: Path, n_steps: int) -> int:
    """Peak in bytes of training on synthetic faces, validations and saved states included; workers count."""
    return peak_memory(
        "train_LDEQ.py",
        "--synthetic=true",
        f"--steps={n_steps}",
        "--batch_size=4",
        "--validate_every=25",
        "--save_every=25",
        "--log_every=10",
        "--validation_images=8",
        "--warmup_steps=5",
        "--im_size=64",
        "--heatmap_size=16",
        "--injection_width=8",
        "--cell_base_width=8",
        "--cell_width_increment=2",
        "--cell_gn_groups=2",
        f"--output_dir={root / 'run'}",
    )


def write_long_clip(source: Path, target: Path, n_frames: int, enlarged: int = 1) -> None:
    """Writes the source's frames again and again, forwards and backwards, so that nothing in it jumps.

    Args:
        n_frames: how many.
        enlarged: how many times as wide and high they get.
    """
    frames = list(VideoReader(source))
    writer = VideoWriter(target, 25)
    for frame in itertools.islice(itertools.cycle([*frames, *frames[::-1]]), n_frames):
        writer.write(frame.repeat(enlarged, axis=0).repeat(enlarged, axis=1))
    writer.close()


def tiny_weights(root: Path) -> Path:
    """A checkpoint of a tiny network with random weights in the folder."""
    config = ModelConfig(injection_width=8, cell_base_width=4, cell_width_increment=0, cell_gn_groups=1)
    torch.manual_seed(0)
    path = root / "tiny.pth.tar"
    save_checkpoint(path, LDEQ(config, SolverConfig(solver="fpi", max_iters=1)))
    return path


def peak_memory(script: str, *arguments: str) -> int:
    """Peak in bytes of the memory that a script and its workers have to themselves and share.

    Raises:
        RuntimeError: where the script fails.
    """
    process = subprocess.Popen([sys.executable, str(REPOSITORY / script), *arguments], stdout=subprocess.DEVNULL)
    family, peak = psutil.Process(process.pid), 0
    while process.poll() is None:
        with suppress(psutil.Error):  # of processes that end meanwhile
            # What a worker shares with its parent is counted once.
            members = [family, *family.children(recursive=True)]
            peak = max(peak, family.memory_info().rss + sum(member.memory_full_info().uss for member in members[1:]))
        time.sleep(_INTERVAL)
    if process.returncode != 0:
        raise RuntimeError(f"{script} ended with status {process.returncode}")
    return peak


if __name__ == "__main__":
    run(main)
