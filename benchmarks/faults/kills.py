"""Runs that are killed, interrupted and started twice, at random moments.

Each round starts a program, and after some seconds kills it, asks it to end, or starts it once more in the same folder.
Then all its processes must be gone within seconds, a request must have ended it with status 130 and one line, the
second run must have been refused, nothing but whole files may have final names, and the same command (or ``--resume``)
must take the folder again. Not for Windows, which has no signals and groups of processes.
"""

import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from ldeq import folder_lock
from ldeq.terminal import ProgressBar
from ldeq.video.reading import VideoReader
from utils import bundled

REPOSITORY = Path(__file__).resolve().parent.parent.parent
#: What a round does to its program.
KINDS = KILL, ASK, ASK_GROUP, TWICE = "SIGKILL", "a signal to end", "a signal to its group", "a second run"
#: A network that trains in no time.
TINY = (
    *("--injection_width", "8", "--cell_base_width", "8", "--cell_width_increment", "4", "--cell_gn_groups", "1"),
    *("--im_size", "64", "--heatmap_size", "16", "--max_iters", "3", "--gradient", "jfb", "--batch_size", "4"),
    *("--validation_images", "4", "--log_every", "1", "--save_every", "3", "--steps", "100000"),
)
#: An environment variable by which a round's processes are known.
_MARK = "LDEQ_KILLS"
#: Seconds within which the processes of a killed run are gone.
_PATIENCE = 10.0


@dataclass(frozen=True)
class Program:
    """What is started, and what goes on from where that was ended, by what follows ``python``."""

    first: tuple[str, ...]
    again: tuple[str, ...]


def programs(faces: Path, out: Path) -> dict[str, Program]:
    """The programs of the rounds, by names for the table."""
    cpu = ("--device", "cpu", "--output_dir", str(out))
    train = ("train_LDEQ.py", *cpu, "--workers", "2")
    videos = ("test_LDEQ_WFLW_V.py", *cpu, "--WFLW_V_split", "all")
    clip = str(bundled.WFLW_V / "videos" / "portrait-pan.mp4")
    drawing = ("-m", "datasets.synthetic", "--output_dir", str(out), "--easy", "4", "--frames", "300")
    return {
        "training": Program((*train, *TINY, "--dataset_path", str(faces)), (*train, "--resume")),
        "WFLW": Program(("test_LDEQ_WFLW.py", *cpu), ("test_LDEQ_WFLW.py", *cpu)),
        "WFLW-V": Program(videos, (*videos, "--resume")),
        "a video": Program(("predict_video.py", clip, *cpu), ("predict_video.py", clip, *cpu)),
        "drawing": Program(drawing, drawing),
    }


def try_rounds(rounds: int, longest: float, seed: int) -> tuple[dict[str, list[int]], list[str]]:
    """Starts programs one after the other.

    Args:
        longest: seconds after which a program is killed at the latest.

    Returns:
        How many runs of each program there were of each of :data:`KINDS`, and what went wrong, a line each.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background, and so in what is started here
        signal.signal(signal.SIGINT, signal.default_int_handler)
    rng = random.Random(seed)
    counts: Counter[tuple[str, str]] = Counter()
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as folder, ProgressBar(rounds, "run", "kills") as bar:
        faces = Path(shutil.copytree(bundled.WFLW, Path(folder) / "WFLW"))
        shutil.copytree(faces / "test", faces / "train")
        shutil.copy(faces / "test.txt", faces / "train.txt")
        for number in range(rounds):
            out = Path(folder) / str(number)
            name, program = rng.choice(list(programs(faces, out).items()))
            how, moment = rng.choice(KINDS), rng.uniform(0.2, longest)
            counts[name, how] += 1
            found = one_round(program, how, moment, rng.choice((signal.SIGINT, signal.SIGTERM)), out)
            problems += [f"{name}, {how} after {moment:.2f} s: {problem}" for problem in found]
            shutil.rmtree(out, ignore_errors=True)
            bar.advance()
    return {name: [counts[name, how] for how in KINDS] for name in programs(Path(), Path())}, problems


def one_round(program: Program, how: str, moment: float, request: signal.Signals, out: Path) -> list[str]:
    """What went wrong in a round, a sentence each."""
    problems = []
    process = _start(program.first)
    time.sleep(moment)
    if how == TWICE and process.poll() is None and (out / folder_lock.NAME).is_file():
        second = _start(program.again)
        _, said = second.communicate()
        # The first may have come to its end meanwhile.
        if process.poll() is None and (second.returncode != 2 or "is in use by" not in said):
            problems.append(f"the second run ended with status {second.returncode}: {said}")
    ended = process.poll() is not None
    if how in (KILL, TWICE):
        process.kill()
    elif not ended:
        (os.killpg if how == ASK_GROUP else os.kill)(process.pid, request)
    try:
        _, said = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        return [*problems, f"{request.name} was lost"]
    if how in (ASK, ASK_GROUP) and process.returncode != 0 and (process.returncode != 130 or said.count("\n") != 1):
        problems.append(f"status {process.returncode}: {said}")
    since = time.monotonic()
    while (left := _processes()) and time.monotonic() - since < _PATIENCE:
        time.sleep(0.05)
    if left:
        problems.append(f"processes {', '.join(map(str, left))} are left")
    problems += [f"{path} is not whole" for path in out.rglob("*") if path.is_file() and not _is_whole(path)]
    return problems + _goes_on(program, out)


def _goes_on(program: Program, out: Path) -> list[str]:
    """Begins anew where the run had begun, and ends that."""
    if not (out / "run.json").is_file():
        return []
    process = _start(program.again)
    try:
        _, said = process.communicate(timeout=8)
    except subprocess.TimeoutExpired:
        process.kill()
        _, said = process.communicate()
    refused = process.returncode == 2
    return [f"{shlex.join(program.again)} ended with status 2: {said}"] if refused else []


def _start(words: tuple[str, ...]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=REPOSITORY,
        env={**os.environ, _MARK: str(os.getpid())},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _processes() -> list[int]:
    """Those of the round that are alive."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # of those that have ended, and of other users'
            if process.environ().get(_MARK) == str(os.getpid()) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def _is_whole(path: Path) -> bool:
    """False for a file under a final name that cannot be read to its end."""
    if path.name.startswith("."):
        return True
    try:
        if path.suffix == ".mp4":
            with VideoReader(path) as video:
                return sum(1 for _ in video) > 0
        if path.suffix in (".npy", ".npz"):
            loaded = np.load(path)
            return all(loaded[name] is not None for name in loaded) if path.suffix == ".npz" else True
    except Exception:
        return False
    return True
