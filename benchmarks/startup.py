"""How long programs take to start: ``python -m benchmarks.startup``.

Processor time and wall time of ``--help`` of each script, of importing the package and torch, and of ``ldeq-video`` up
to its first frame: a whole run on a clip of one frame, by ONNX Runtime. Each
runs in processes of its own, one after the other; figures are medians. Wall time is that of a machine with nothing else
to do only where it has nothing else to do.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from ldeq.command_line import ArgumentParser, at_least, run
from ldeq.processor import cpu_name
from ldeq.terminal import ProgressBar, console, table
from ldeq.video.reading import VideoReader
from ldeq.video.writing import VideoWriter
from utils import bundled

REPOSITORY = Path(__file__).resolve().parent.parent
#: Scripts by what follows ``python`` to run them.
SCRIPTS = (
    ("test_LDEQ_WFLW.py",),
    ("test_LDEQ_WFLW_V.py",),
    ("predict_video.py",),
    ("train_LDEQ.py",),
    ("-m", "utils.download_weights"),
    ("-m", "utils.download_WFLW_V"),
    ("-m", "datasets.crop_WFLW"),
    ("-m", "datasets.synthetic"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("--repeats", type=at_least(1), default=5, help="runs of each")
    flags = parser.parse(arguments)
    with tempfile.TemporaryDirectory() as folder:
        programs = make_programs(Path(folder))
        seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
        with ProgressBar(flags.repeats * len(programs), "run", "startup") as bar:
            # In turns, so that a noisy moment disturbs all alike.
            for _ in range(flags.repeats):
                for name, program in programs.items():
                    seconds[name].append(times_of(program))
                    bar.advance()
    medians = {
        name: [statistics.median(column) for column in zip(*runs, strict=True)] for name, runs in seconds.items()
    }
    out = console()
    out.print(f"{cpu_name()}, {os.cpu_count()} CPU cores, Python {sys.version.split()[0]}")
    rows = [[name, *(f"{figure:.2f}" for figure in figures)] for name, figures in medians.items()]
    out.print(table(f"Seconds, medians of {flags.repeats} runs", ["program", "processor", "wall"], rows))


def make_programs(folder: Path) -> dict[str, list[str]]:
    """What is run, as arguments of Python, by its name; files of its own are in a folder."""
    clip = folder / "clip.mp4"
    write_clip(clip)
    programs: dict[str, list[str]] = {f"{script[-1]} --help": [*script, "--help"] for script in SCRIPTS}
    programs |= {name: ["-c", name] for name in ("import ldeq", "import torch")}
    video = ["-m", "ldeq.predict", str(clip), "--output_dir", str(folder / "out"), "--runtime", "onnxruntime"]
    return {**programs, "ldeq-video, one frame": video}


def write_clip(path: Path) -> None:
    """The first frame of a bundled clip as a clip of its own."""
    writer = VideoWriter(path, 25)
    writer.write(next(iter(VideoReader(bundled.WFLW_V / "videos" / "portrait-pan.mp4"))))
    writer.close()


def times_of(program: Sequence[str]) -> tuple[float, float]:
    """Processor time and wall time in seconds of ``python`` with these arguments, run from the repository's root.

    Raises:
        RuntimeError: where it fails.
    """
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *program], cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    if status != 0:
        raise RuntimeError(f"{' '.join(program)} ended with status {os.waitstatus_to_exitcode(status)}")
    return usage.ru_utime + usage.ru_stime, wall


if __name__ == "__main__":
    run(main)
