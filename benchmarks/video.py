"""What ``ldeq-video`` does around the network, part by part: ``python -m benchmarks.video``.

Milliseconds of processor time a frame of all threads, which other programs disturb less than wall time. The detector is
asked every ``detect_every`` frames, and closely every ``look_closely_every``, and its time is shared out among them.
Encoding is measured by x264's presets, with the size of a frame and how near it comes to what was drawn: PSNR of
brightness, and SSIM (Wang, Bovik, Sheikh, Simoncelli 2004: Gaussian windows of 1.5 pixels). The frames are those of a
bundled clip, or of another one.
"""

import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ldeq.annotated_output import CRF, PRESET
from ldeq.command_line import ArgumentParser, at_least, run
from ldeq.drawing import draw_faces
from ldeq.face.bbox import tight_bbox
from ldeq.face.crop import FaceCrop
from ldeq.face.detectors import CenterFaceDetector
from ldeq.face.settings import TrackingSettings
from ldeq.face.shots import ShotDetector
from ldeq.landmark_table import row_type, write_csv_table, write_npz_table
from ldeq.processor import cpu_name
from ldeq.terminal import console, table
from ldeq.torchrun import n_threads
from ldeq.video.reading import VideoReader
from ldeq.video.writing import VideoWriter
from utils import bundled

Images = Sequence[NDArray[np.uint8]]

#: x264's presets and constant rate factors.
ENCODERS = (("veryfast", 20), (PRESET, 20), (PRESET, CRF), (PRESET, CRF + 1), ("ultrafast", 20))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("--input", default=str(bundled.WFLW_V / "videos" / "portrait-pan.mp4"), metavar="CLIP")
    parser.add_argument("--width", type=at_least(64, 7680), metavar="PIXELS", help="frames are scaled to it")
    parser.add_argument("--frames", type=at_least(2, 600), default=60, help="of the clip, which are kept in memory")
    flags = parser.parse(arguments)
    with VideoReader(flags.input) as reader:
        frames = list(itertools.islice(reader, flags.frames))
    if flags.width:
        size = (flags.width, round(frames[0].shape[0] * flags.width / frames[0].shape[1] / 2) * 2)
        frames = [np.asarray(cv2.resize(f, size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8) for f in frames]
    height, width = frames[0].shape[:2]
    # A face over half of the height: where it is does not matter to what it costs.
    face = np.load(bundled.ASSETS / "portrait" / "astronaut_landmarks98.npy").astype(np.float64)
    points = (face - face.mean(axis=0)) * (0.5 * height / np.ptp(face[:, 1])) + (width / 2, height / 2)
    drawn = [draw_faces(frame, {1: points}) for frame in frames]
    out = console()
    out.print(f"{cpu_name()}, {n_threads()} threads; {width}x{height}, {len(frames)} frames")
    with tempfile.TemporaryDirectory() as folder:
        encoded = [(preset, crf, *encode(drawn, preset, crf, Path(folder))) for preset, crf in ENCODERS]
        rows = [[part, f"{ms:.2f}"] for part, ms in parts(frames, points, Path(folder)).items()]
    rows.append(["encoding", next(f"{ms:.2f}" for preset, crf, ms, *_ in encoded if (preset, crf) == (PRESET, CRF))])
    out.print(table("Milliseconds of processor time a frame", ["part", "ms"], rows))
    rows = [
        [f"{preset}, CRF {crf}", f"{ms:.2f}", f"{kib:.1f}", f"{psnr:.2f}", f"{ssim:.4f}"]
        for preset, crf, ms, kib, psnr, ssim in encoded
    ]
    out.print(table("Encoding", ["preset", "ms", "KiB a frame", "PSNR", "SSIM"], rows))


def parts(frames: Images, points: NDArray[np.float64], folder: Path) -> dict[str, float]:
    """Milliseconds a frame of the parts but for encoding."""
    clip = folder / "clip.mp4"
    write(frames, clip, "veryfast", 20)
    shots, detector, bbox = ShotDetector(), CenterFaceDetector(), tight_bbox(points)
    looked_at = frames[:: TrackingSettings().detect_every]
    looked_at_closely = frames[:: TrackingSettings().look_closely_every]
    detector.detect(frames[0])  # loads it

    def detect(images: Images, closely: bool) -> None:
        detector.closely = closely
        for image in images:
            detector.detect(image)

    rows = np.zeros(len(frames), row_type())
    rows["landmarks"], rows["uncertainty"] = points, 0.02
    measured = {
        "decoding, to RGB": lambda: list(VideoReader(clip)),
        "shot changes": lambda: [shots.is_cut(frame) for frame in frames],
        "detection": lambda: detect(looked_at, closely=False),
        "detection, closely": lambda: detect(looked_at_closely, closely=True),
        "cropping": lambda: [FaceCrop.around(frame, bbox) for frame in frames],
        "drawing": lambda: [draw_faces(frame, {1: points}) for frame in frames],
        "tables": lambda: write_tables(rows, folder),
    }
    return {part: milliseconds(work) / len(frames) for part, work in measured.items()}


def write_tables(rows: NDArray[np.void], folder: Path) -> None:
    """A CSV and an NPZ."""
    write_csv_table(folder / "landmarks.csv", [rows], 98)
    write_npz_table(folder / "landmarks.npz", [rows], len(rows), rows.dtype, 98)


def encode(drawn: Images, preset: str, crf: int, folder: Path) -> tuple[float, float, float, float]:
    """Milliseconds and KiB a frame, PSNR in decibels, and SSIM."""
    path = folder / f"{preset}-{crf}.mp4"
    ms = milliseconds(lambda: write(drawn, path, preset, crf)) / len(drawn)
    errors, similarities = [], []
    for image, other in zip(drawn, VideoReader(path), strict=True):
        a, b = (cv2.cvtColor(i, cv2.COLOR_RGB2GRAY).astype(np.float64) for i in (image, other))
        errors.append(((a - b) ** 2).mean())
        similarities.append(similarity(a, b))
    psnr = 10 * np.log10(255**2 / np.mean(errors))
    return ms, path.stat().st_size / 1024 / len(drawn), float(psnr), float(np.mean(similarities))


def similarity(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """SSIM of two grey images (H, W), in [-1, 1]."""

    def blurred(image: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(cv2.GaussianBlur(image, (11, 11), 1.5), dtype=np.float64)

    mean_a, mean_b = blurred(a), blurred(b)
    variances = blurred(a * a) - mean_a**2 + blurred(b * b) - mean_b**2
    covariance = blurred(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    means = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return float((means * (2 * covariance + c2) / (variances + c2)).mean())


def write(images: Images, path: Path, preset: str, crf: int) -> None:
    """Writes a video."""
    writer = VideoWriter(path, 25, crf, preset=preset)
    for image in images:
        writer.write(image)
    writer.close()


def milliseconds(work: Callable[[], object]) -> float:
    """The processor time of a piece of work."""
    started = time.process_time()
    work()
    return 1e3 * (time.process_time() - started)


if __name__ == "__main__":
    run(main)
