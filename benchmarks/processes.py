"""How much faster several processes evaluate than one: ``python -m benchmarks.processes``.

Frames a second of ``test_LDEQ_WFLW_V.py`` with RwR over the bundled clips: of one process with one thread, which leaves
cores idle, against several such processes under ``torchrun``. Starting them is not in it, as it does not grow with the
videos. Runs take turns, and figures are medians. What the runs found is compared as well.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ldeq.command_line import MOST_WORKERS, ArgumentParser, at_least, run
from ldeq.processor import cpu_name
from ldeq.terminal import ProgressBar, console, print_lines, table

REPOSITORY = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("--processes", type=at_least(2, MOST_WORKERS), default=2, help="processes that share")
    parser.add_argument("--repeats", type=at_least(1), default=3, help="runs of each")
    flags = parser.parse(arguments)
    speeds: dict[int, list[float]] = {1: [], flags.processes: []}
    found: dict[int, dict[str, Any]] = {}
    with ProgressBar(2 * flags.repeats, "run", "processes") as bar:
        # In turns, so that a noisy moment disturbs all alike.
        for _ in range(flags.repeats):
            for n_processes in speeds:
                speed, found[n_processes] = evaluate(n_processes)
                speeds[n_processes].append(speed)
                bar.advance()
    medians = {n: statistics.median(measured) for n, measured in speeds.items()}
    out = console()
    out.print(f"{cpu_name()}, {os.cpu_count()} CPU cores")
    rows = [[n, f"{speed:.1f}", f"{speed / medians[1]:.2f}"] for n, speed in medians.items()]
    out.print(table(f"Medians of {flags.repeats} runs", ["processes", "frames/s", "times as fast"], rows, n_words=0))
    print_lines(out, [f"Figures differ by {difference(*found.values()):.1e} of themselves at most"])


def evaluate(n_processes: int) -> tuple[float, dict[str, Any]]:
    """Frames a second of so many processes with a thread each, and the figures of each video.

    Raises:
        RuntimeError: where the run fails.
    """
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={n_processes}"]
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--WFLW_V_split=all", "--rwr", "--device=cpu", "--WFLW_V_workers=0", f"--output_dir={folder}"]
        done = subprocess.run(
            [sys.executable, *(launcher if n_processes > 1 else ()), "test_LDEQ_WFLW_V.py", *flags],
            cwd=REPOSITORY,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        speed = re.search(r"\(([\d.]+) a second\)", done.stdout)
        if done.returncode != 0 or speed is None:
            raise RuntimeError(f"{n_processes} processes ended with status {done.returncode}: {done.stderr}")
        videos: dict[str, Any] = json.loads((Path(folder) / "results.json").read_text())["videos"]
        return float(speed[1]), videos


def difference(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The greatest relative difference of any video's figures."""
    return float(max(abs(other[id][name] / row[name] - 1) for id, row in one.items() for name in ("NME", "NMF")))


if __name__ == "__main__":
    run(main)
