"""Inputs of every kind, spoilt at random, and what the programs do with them.

A program may read on where what is left makes sense, or refuse in one sentence with status 2. It may not end otherwise,
hang, print a traceback, give a figure that is not finite, or leave unfinished files.
"""

import bz2
import gzip
import io
import json
import lzma
import math
import multiprocessing
import os
import random
import shutil
import sys
import tarfile
import tempfile
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

import predict_video
import test_LDEQ_WFLW
import test_LDEQ_WFLW_V
import train_LDEQ
from datasets import crop_WFLW
from datasets.wflw_v import Clip
from ldeq import LDEQ, ModelConfig, SolverConfig, save_checkpoint
from ldeq.command_line import run
from ldeq.files import TEMPORARY, sha256_of_bytes
from ldeq.terminal import ProgressBar
from ldeq.video.reading import VideoReader
from ldeq.video.writing import VideoWriter
from utils import bundled, download_WFLW_V

#: Seconds within which a program has to be through with a spoilt input.
PATIENCE = 60.0
#: Words that take the place of one in a text.
WORDS = (
    "nan", "inf", "-1", "1e400", "9" * 400, "0x10", "", "../../up", "/etc/passwd", "a\0b", "\x1b]52;c;AAAA\x07",
    "[red]", "{id}", "\u202eltr", "null", "[]", "{", '"', "'",
)  # fmt: skip
_TINY: dict[str, Any] = {"injection_width": 8, "cell_base_width": 8, "cell_width_increment": 2, "cell_gn_groups": 2}
_IDS = ("portrait-pan", "portrait-turn")
_N_FRAMES = 12


@dataclass(frozen=True)
class Subject:
    """A program with one of its inputs, which is spoilt.

    The path and the arguments are relative to a copy of the good inputs (:func:`make_inputs`).
    """

    main: Callable[..., None]
    input: str
    arguments: tuple[str, ...]

    def words(self, folder: Path) -> list[str]:
        """The command line for inputs in ``folder``."""
        return [word.replace("@", f"{folder}/") for word in self.arguments]


_WEIGHTS = "--landmark_model_weights=@tiny.pth.tar"
_WFLW = ("--dataset_path=@WFLW", _WEIGHTS, "--output_dir=@out", "--device=cpu", "--workers=0")
_WFLW_V = ("--WFLW_V_dataset_path=@WFLW_V", "--WFLW_V_split=hard", _WEIGHTS, "--output_dir=@out", "--WFLW_V_workers=0")
_RESUMED = (*_WFLW_V[:3], "--output_dir=@run", "--WFLW_V_workers=0", "--resume")
_PREDICT = (_WEIGHTS, "--output_dir=@out", "--bboxes=@WFLW_V/bboxes/portrait-pan.npy")
_CROP = ("--images=@original", "--annotations=@original", "--output_folder=@out")
_TRAIN = ("--resume", "--output_dir=@training", "--workers=0", "--device=cpu")
_ARCHIVES = ("tar", "tar.gz", "tar.bz2", "tar.xz", "tar.lzma", "zip", "deflated.zip", "bzip2.zip", "lzma.zip")

SUBJECTS = {
    "checkpoint": Subject(test_LDEQ_WFLW.main, "tiny.pth.tar", _WFLW),
    "list of WFLW": Subject(test_LDEQ_WFLW.main, "WFLW/test.txt", _WFLW),
    "image of WFLW": Subject(test_LDEQ_WFLW.main, "WFLW/test/0.jpg", _WFLW),
    "id list": Subject(test_LDEQ_WFLW_V.main, "WFLW_V/hard_video_IDs.txt", _WFLW_V),
    "boxes": Subject(test_LDEQ_WFLW_V.main, "WFLW_V/bboxes/portrait-pan.npy", _WFLW_V),
    "landmarks": Subject(test_LDEQ_WFLW_V.main, "WFLW_V/landmarks/portrait-pan.npy", _WFLW_V),
    "video of WFLW-V": Subject(test_LDEQ_WFLW_V.main, "WFLW_V/videos/portrait-pan.mp4", _WFLW_V),
    "table to resume": Subject(test_LDEQ_WFLW_V.main, "run/results.csv", _RESUMED),
    "settings to resume": Subject(test_LDEQ_WFLW_V.main, "run/run.json", _RESUMED),
    "predictions to resume": Subject(test_LDEQ_WFLW_V.main, "run/predictions/portrait-pan.npy", _RESUMED),
    "given boxes": Subject(
        predict_video.main, "WFLW_V/bboxes/portrait-pan.npy", ("@WFLW_V/videos/portrait-pan.mp4", *_PREDICT)
    ),
    "video": Subject(
        predict_video.main, "WFLW_V/videos/portrait-pan.mp4", ("@WFLW_V/videos/portrait-pan.mp4", *_PREDICT)
    ),
    "image": Subject(predict_video.main, "WFLW/test/0.jpg", ("@WFLW/test/0.jpg", *_PREDICT)),
    "folder of images": Subject(predict_video.main, "WFLW/test/1.jpg", ("@WFLW/test", *_PREDICT)),
    "original list": Subject(crop_WFLW.main, "original/list_98pt_rect_attr_test.txt", _CROP),
    "original image": Subject(crop_WFLW.main, "original/0.jpg", _CROP),
    "state of training": Subject(train_LDEQ.main, "training/last.pth.tar", _TRAIN),
    "settings of training": Subject(train_LDEQ.main, "training/run.json", _TRAIN),
    "log of training": Subject(train_LDEQ.main, "training/log.csv", _TRAIN),
    **{
        f"archive, {kind}": Subject(
            download_WFLW_V.main,
            f"archives/all.{kind}",
            ("--output_folder=@out", f"--sources=@archives/{kind}.json", "--source=archive", "--retries=0"),
        )
        for kind in _ARCHIVES
    },
}


def try_rounds(rounds: int, seed: int, only: str) -> tuple[dict[str, Counter[str]], list[str]]:
    """Spoils inputs one after the other.

    Args:
        only: subjects that have this in their names.

    Returns:
        How often each subject's program went on, refused, and did neither; and what was wrong, a line each.
    """
    torch.set_num_threads(1)
    counts: dict[str, Counter[str]] = {name: Counter() for name in SUBJECTS if only in name}
    problems = []
    with tempfile.TemporaryDirectory() as place, ProgressBar(rounds, "input", "spoilt") as bar:
        good, folder = Path(place) / "good", Path(place) / "round"
        make_inputs(good)
        for number in range(rounds):
            rng = random.Random(f"{seed} {number}")
            name = list(counts)[number % len(counts)]
            subject = SUBJECTS[name]
            if not counts[name]:  # without a fault there is nothing to say
                shutil.copytree(good, folder)
                outcome, said = attempt(subject, folder, good)
                if outcome != ON or said:
                    problems.append(f"{name}, not spoilt: {said}")
                shutil.rmtree(folder)
            shutil.copytree(good, folder)
            how = spoil(folder / subject.input, rng)
            outcome, said = attempt(subject, folder, good)
            counts[name][outcome] += 1
            if outcome == WRONG:
                problems.append(f"{name}, {how} (--seed {seed}, round {number}): {said}")
            shutil.rmtree(folder)
            bar.advance()
    return counts, problems


# -- spoiling ----------------------------------------------------------------------------------------------------------


def spoil(path: Path, rng: random.Random) -> str:
    """Spoils a file in place, and says how."""
    content = path.read_bytes()
    is_text = path.suffix in (".txt", ".csv", ".json")
    ways = [_noise, _flipped, _cut, _zeroed, _longer, _empty, _repeated, _page]
    way = rng.choice([_word, _word, _word, _line] if is_text and rng.random() < 0.8 else ways)
    path.write_bytes(way(content, rng))
    return way.__name__.strip("_")


def _noise(content: bytes, rng: random.Random) -> bytes:
    first = rng.randrange(len(content))
    return content[:first] + rng.randbytes(min(100, len(content) - first)) + content[first + 100 :]


def _flipped(content: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(min(len(content), rng.choice((64, 512, len(content)))))
    return content[:place] + bytes([content[place] ^ (1 << rng.randrange(8))]) + content[place + 1 :]


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def _zeroed(content: bytes, rng: random.Random) -> bytes:
    first = rng.randrange(len(content))
    length = rng.randrange(1, 2000)
    return content[:first] + bytes(min(length, len(content) - first)) + content[first + length :]


def _longer(content: bytes, rng: random.Random) -> bytes:
    return content + rng.randbytes(rng.randrange(1, 3000))


def _empty(content: bytes, rng: random.Random) -> bytes:
    return b""


def _repeated(content: bytes, rng: random.Random) -> bytes:
    return content + content


def _page(content: bytes, rng: random.Random) -> bytes:
    return b"<!DOCTYPE html><html>not found</html>"


def _word(content: bytes, rng: random.Random) -> bytes:
    words = content.replace(b",", b" , ").split(b" ")
    words[rng.randrange(len(words))] = rng.choice(WORDS).encode()
    return b" ".join(words).replace(b" , ", b",")


def _line(content: bytes, rng: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    place = rng.randrange(len(lines))
    lines[place : place + 1] = lines[place : place + 1] * rng.choice((0, 2))
    return b"".join(lines)


# -- programs ----------------------------------------------------------------------------------------------------------

ON, REFUSED, WRONG = "went on", "refused", "wrong"


def attempt(subject: Subject, folder: Path, good: Path) -> tuple[str, str]:
    """The outcome of a program's run on inputs in ``folder``, and what it said on stderr or what was wrong.

    Args:
        good: the folder that ``folder`` is a copy of.
    """
    said = folder / "stderr"
    process = multiprocessing.get_context("fork").Process(target=_run, args=(subject, folder, said))
    process.start()
    process.join(PATIENCE)
    if process.exitcode is None:
        process.kill()
        process.join()
        return WRONG, f"takes more than {PATIENCE:.0f} s"
    err = said.read_text(errors="replace")
    left = [str(path) for path in folder.rglob(".*") if TEMPORARY.fullmatch(path.name)]
    if "Traceback" in err or process.exitcode not in (0, 1, 2):
        return WRONG, f"status {process.exitcode}: {err[-800:]}"
    if left:
        return WRONG, f"leaves {', '.join(left)}"
    if process.exitcode == 2:
        sentences = [line for line in err.splitlines() if ": error: " in line]
        return (REFUSED, err) if len(sentences) == 1 else (WRONG, f"status 2 with {len(sentences)} sentences: {err}")
    for name in ("out", "run"):
        results = folder / name / "results.json"
        if results.is_file() and not _are_finite(json.loads(results.read_text())):
            return WRONG, "figures that are not finite"
    if subject.main is download_WFLW_V.main and subject.input != "archives/all.tar":  # which has no checksum
        for path in (folder / "out").glob("*/*.npy"):
            if path.read_bytes() != (good / "WFLW_V" / path.parent.name / path.name).read_bytes():
                return WRONG, f"{path.name}: is not what was packed"
    return ON, err


def _run(subject: Subject, folder: Path, said: Path) -> None:
    sys.argv = [subject.main.__module__]
    with said.open("w") as err, redirect_stderr(err), redirect_stdout(io.StringIO()):
        os.dup2(err.fileno(), 2)
        try:
            run(subject.main, subject.words(folder))
        except SystemExit:
            raise
        except BaseException:
            traceback.print_exc()


def _are_finite(value: object) -> bool:
    if isinstance(value, dict):
        return all(_are_finite(item) for name, item in value.items() if name not in ("config", "environment"))
    return not isinstance(value, float) or math.isfinite(value)


# -- good inputs -------------------------------------------------------------------------------------------------------


def make_inputs(folder: Path) -> None:
    """Writes small good inputs of every kind."""
    folder.mkdir()
    torch.manual_seed(0)
    model = LDEQ(ModelConfig(**_TINY), SolverConfig(solver="fpi", max_iters=2))
    with torch.no_grad():
        model.cell.head.conv.weight *= 0.02
    save_checkpoint(folder / "tiny.pth.tar", model)
    _make_wflw(folder)
    _make_wflw_v(folder)
    _make_archives(folder)
    for main, words in (
        (test_LDEQ_WFLW_V.main, [word for word in _RESUMED if word != "--resume"]),
        (train_LDEQ.main, _training_words()),
    ):
        status = _in_process(main, [word.replace("@", f"{folder}/") for word in words])
        if status != 0:
            raise RuntimeError(f"{main.__module__} ended with status {status} on good inputs")


def _training_words() -> list[str]:
    sizes = [f"--{name}={value}" for name, value in _TINY.items()]
    steps = ["--steps=2", "--save_every=1", "--log_every=1", "--validate_every=2", "--warmup_steps=0"]
    data = ["--dataset_path=@WFLW", "--batch_size=2", "--validation_images=2", "--workers=0", "--device=cpu"]
    return [*sizes, *steps, *data, "--output_dir=@training"]


def _in_process(main: Callable[..., None], words: list[str]) -> int:
    """The exit status of a program that is run here, and prints nothing."""
    sys.argv, before = [main.__module__], sys.argv
    try:
        with redirect_stdout(io.StringIO()):
            run(main, words)
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = before


def _make_wflw(folder: Path) -> None:
    lines = (bundled.WFLW / "test.txt").read_text().splitlines()[:3]
    for split in ("test", "train"):
        (folder / "WFLW" / split).mkdir(parents=True)
        (folder / "WFLW" / f"{split}.txt").write_text("".join(f"{line}\n" for line in lines))
        for line in lines:
            shutil.copy(bundled.WFLW / "test" / line.split()[0], folder / "WFLW" / split)
    (folder / "original").mkdir()
    rows = []
    for number, line in enumerate(lines):
        name, *numbers = line.split()
        points = 256 * np.array(numbers, float)
        box = [*points.reshape(-1, 2).min(axis=0), *points.reshape(-1, 2).max(axis=0)]
        shutil.copy(bundled.WFLW / "test" / name, folder / "original" / f"{number}.jpg")
        words = [*(f"{value:.3f}" for value in points), *(f"{value:.0f}" for value in box), *"000000", f"{number}.jpg"]
        rows.append(" ".join(words))
    for split in ("test", "train"):
        (folder / "original" / f"list_98pt_rect_attr_{split}.txt").write_text("".join(f"{row}\n" for row in rows))


def _make_wflw_v(folder: Path) -> None:
    root = folder / "WFLW_V"
    for kind in ("bboxes", "landmarks", "videos"):
        (root / kind).mkdir(parents=True)
    for id in _IDS:
        source, target = Clip(bundled.WFLW_V, id), Clip(root, id)
        writer = VideoWriter(target.video_path, 25)
        with VideoReader(source.video_path) as video:
            for frame in islice(video, _N_FRAMES):
                writer.write(frame)
        writer.close()
        for here, there in ((source.bboxes_path, target.bboxes_path), (source.landmarks_path, target.landmarks_path)):
            np.save(there, np.load(here)[:_N_FRAMES])
    (root / "hard_video_IDs.txt").write_text("".join(f"{id}\n" for id in _IDS))


def _make_archives(folder: Path) -> None:
    """Archives of the data set in every format, each with the file of addresses that names it."""
    root, place = folder / "WFLW_V", folder / "archives"
    place.mkdir()
    files = {
        f"{path.parent.name}/{path.name}": path.read_bytes() for path in sorted(root.rglob("*.*")) if path.is_file()
    }
    members = {name: content for name, content in files.items() if not name.endswith(".txt")}
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    tar = plain.getvalue()
    packed = {
        "tar": tar,
        "tar.gz": gzip.compress(tar),
        "tar.bz2": bz2.compress(tar),
        "tar.xz": lzma.compress(tar),
        "tar.lzma": lzma.compress(tar, lzma.FORMAT_ALONE),
    }
    methods = {"zip": zipfile.ZIP_STORED, "deflated.zip": zipfile.ZIP_DEFLATED}
    methods |= {"bzip2.zip": zipfile.ZIP_BZIP2, "lzma.zip": zipfile.ZIP_LZMA}
    for kind, method in methods.items():
        memory = io.BytesIO()
        with zipfile.ZipFile(memory, "w", method) as zipped:
            for name, content in members.items():
                zipped.writestr(name, content)
        packed[kind] = memory.getvalue()
    lists = {
        "hard_video_IDs.txt": "".join(f"{id}\n" for id in _IDS),
        "easy_video_IDs.txt": "other\n",
        "download_ranges.txt": "".join(f"{id} 0 {_N_FRAMES - 1}\n" for id in (*_IDS, "other")),
    }
    entries = {}
    for name, text in lists.items():
        (place / name).write_text(text)
        entries[name] = {"address": str(place / name), "sha256": sha256_of_bytes(text.encode())}
    for kind, content in packed.items():
        (place / f"all.{kind}").write_bytes(content)
        # Each round has a copy of the folder, and the files of addresses name what is in the copy.
        sources = {"lists": entries, "archive": str(folder.parent / "round" / "archives" / f"all.{kind}")}
        (place / f"{kind}.json").write_text(json.dumps(sources))
