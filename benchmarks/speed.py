"""Frames per second of WFLW-V evaluation, and where the time goes: ``python -m benchmarks.speed``.

A network of the published example's size with random weights tracks the bundled clips, with RwR and frame by frame.
The parts (decoding, cropping, network, the rest) are timed one after the other over the same frames; then the whole
evaluation, which decodes in the background, is timed as the script runs it. Random weights do not converge, so that
frame by frame every frame takes all of ``--max_iters``: an upper bound.
"""

import itertools
import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.common import PUBLISHED_EXAMPLE, describe_machine, seconds_of, synchronise
from datasets.wflw_v.clips import Clip, FaceFrame, WFLWVDataset
from ldeq import LDEQ, ModelConfig, RecurrentLDEQ, SolverConfig
from ldeq.command_line import MOST_WORKERS, ArgumentParser, at_least, run
from ldeq.config import PRECISIONS, SOLVERS
from ldeq.device import prepare, resolve_device, slow_precision_note, with_precision
from ldeq.face.crop import crop, crop_matrix
from ldeq.metrics import video_nme, video_nmf
from ldeq.model.normalisation import normalise
from ldeq.runtime.pytorch import TorchLandmarker
from ldeq.terminal import console, table
from ldeq.video.reading import VideoReader
from utils import bundled
from utils.engine.evaluation import track_videos

#: Rows of the table.
PARTS = ("decoding", "cropping", "network", "the rest", "whole evaluation", "frames a second")


@dataclass(frozen=True, eq=False)
class Copy:
    """The first frames of a clip, as a clip of its own."""

    clip: Clip
    most_frames: int

    @property
    def n_frames(self) -> int:
        return min(self.most_frames, len(self.clip.bboxes))

    def frames(self, keep_frames: bool = False) -> Iterator[FaceFrame]:
        return itertools.islice(self.clip.frames(keep_frames), self.n_frames)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precisions", choices=PRECISIONS, nargs="+", default=["fp32"])
    parser.add_argument("--batch_size", type=at_least(1), default=5, help="videos at a time")
    parser.add_argument(
        "--workers", type=at_least(0, MOST_WORKERS), default=2, help="threads that decode, in the whole evaluation"
    )
    parser.add_argument("--frames", type=at_least(2), default=6, help="of each video")
    parser.add_argument("--solver", choices=SOLVERS, default="anderson")
    parser.add_argument("--max_iters", type=at_least(1), default=12, help="of a frame by itself")
    parser.add_argument("--dataset_path", type=Path, default=bundled.WFLW_V)
    flags = parser.parse(arguments)
    device = resolve_device(flags.device)
    clips = WFLWVDataset(flags.dataset_path, "all").clips
    copies = [Copy(clip, flags.frames) for clip in itertools.islice(itertools.cycle(clips), flags.batch_size)]
    torch.manual_seed(0)
    solver = SolverConfig(solver=flags.solver, max_iters=flags.max_iters)
    network = LDEQ(ModelConfig(**PUBLISHED_EXAMPLE), solver).eval()

    out = console()
    out.print(describe_machine(device))
    for precision in flags.precisions:
        model = with_precision(prepare(deepcopy(network), device), precision)
        note = slow_precision_note(device, precision)
        if note:
            out.print(note)
        measured: dict[str, list[str]] = {}
        for rwr in (True, False):
            _warm_up(model, flags.batch_size, device)
            parts = _time_parts(model, rwr, copies, device)
            whole = _time_whole(model, rwr, copies, flags.workers)
            n_frames = sum(copy.n_frames for copy in copies)
            milliseconds = [1e3 * seconds / n_frames for seconds in (*parts, whole)]
            mode = "RwR, 1 iteration" if rwr else f"frame by frame, {flags.max_iters} iterations"
            measured[mode] = [f"{value:.2f}" for value in (*milliseconds, n_frames / whole)]
        title = f"{precision}, {flags.solver}, {flags.batch_size} videos of {flags.frames} frames: milliseconds a frame"
        rows = list(zip(PARTS, *measured.values(), strict=True))
        out.print(table(title, ["", *measured], rows))


def _warm_up(model: LDEQ, batch_size: int, device: torch.device) -> None:
    images = torch.zeros(batch_size, 3, model.config.im_size, model.config.im_size, device=device)
    seconds_of(lambda: RecurrentLDEQ(model).step(images, range(batch_size)), device)


def _time_parts(model: LDEQ, rwr: bool, copies: list[Copy], device: torch.device) -> tuple[float, float, float, float]:
    """Seconds of decoding, cropping, network and the rest, one after the other."""

    def decode() -> list[list[NDArray[np.uint8]]]:
        return [list(itertools.islice(VideoReader(copy.clip.video_path), copy.n_frames)) for copy in copies]

    decoding, frames = seconds_of(decode, device)
    boxes = [copy.clip.bboxes for copy in copies]

    def crop_all() -> list[list[FaceFrame]]:
        cropped = []
        for video, rows in zip(frames, boxes, strict=True):
            matrices = [crop_matrix(box) for box in rows[: len(video)]]
            pairs = zip(video, matrices, strict=True)
            cropped.append([FaceFrame(crop(frame, matrix), matrix, None) for frame, matrix in pairs])
        return cropped

    cropping, crops = seconds_of(crop_all, device)
    tracker, names = RecurrentLDEQ(model, rwr=rwr), range(len(copies))
    network = rest = 0.0
    predictions = []
    for step in zip(*crops, strict=True):
        started = time.perf_counter()
        images = normalise(np.stack([frame.image for frame in step]), device)
        synchronise(device)
        middle = time.perf_counter()
        output = tracker.step(images, names)
        synchronise(device)
        ended = time.perf_counter()
        keypoints = output.keypoints.float().cpu().numpy()
        predictions.append([frame.to_frame(points) for points, frame in zip(keypoints, step, strict=True)])
        network += ended - middle
        rest += middle - started + time.perf_counter() - ended
    started = time.perf_counter()
    for copy, predicted in zip(copies, np.stack(predictions, axis=1), strict=True):
        truth = copy.clip.landmarks[: copy.n_frames]
        video_nme(predicted, truth), video_nmf(predicted, truth)
    return decoding, cropping, network, rest + time.perf_counter() - started


def _time_whole(model: LDEQ, rwr: bool, copies: list[Copy], workers: int) -> float:
    """Seconds of the evaluation as the script runs it."""
    started = time.perf_counter()
    network = RecurrentLDEQ(model, rwr=rwr)
    for video in track_videos(TorchLandmarker(network), copies, Copy.frames, batch_size=len(copies), workers=workers):
        predicted = np.stack(video.landmarks)
        truth = video.clip.clip.landmarks[: len(predicted)]
        video_nme(predicted, truth), video_nmf(predicted, truth)
    return time.perf_counter() - started


if __name__ == "__main__":
    run(main)
