"""How fast a network runs here, by runtime and precision: ``python -m benchmarks.speed``.

A *step* is one frame of RwR of each of so many faces, crops in and landmarks out, as the landmarkers of
``ldeq.runtime`` make it; the runtimes take turns, so that a noisy moment disturbs all alike, and figures are medians.
*End to end* is ``ldeq-video`` on a clip of one face, or of four (2 × 2 of it), from the file to the files that it
leaves; *start-up* is that on one frame; *MiB* is the peak of the process. The limit is a large matrix product in the
precision.

Networks are the bundled one and one of the published example's size with random weights, which follow no face: of that
the steps alone.
"""

import itertools
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import PUBLISHED_EXAMPLE, describe_machine, gflop_of_a_step, medians_by_turns, product_rate
from ldeq import LDEQ, ModelConfig, SolverConfig, load_checkpoint, pretrained, save_checkpoint
from ldeq.command_line import ArgumentParser, at_least, run
from ldeq.device import resolve_device
from ldeq.errors import InputError
from ldeq.face.crop import FaceCrop
from ldeq.processor import cpu_features, cpu_name
from ldeq.runtime.choice import is_installed, open_network
from ldeq.runtime.export import export
from ldeq.runtime.network import CountedLandmarker
from ldeq.runtime.steps import has_precision, version_of
from ldeq.solve_settings import SolveSettings
from ldeq.terminal import ProgressBar, console, table
from ldeq.torchrun import n_threads
from ldeq.video.reading import VideoReader
from ldeq.video.writing import VideoWriter
from utils import bundled

REPOSITORY = Path(__file__).resolve().parent.parent
RUNTIMES = ("torch", "onnxruntime", "openvino")
PRECISIONS = ("fp32", "bf16")
NETWORKS = ("bundled", "published size")
#: Precisions that a processor lacks are emulated, and take forever. So a way takes turns until its steps have taken so
#: long, and one at least,
_SECONDS_OF_A_WAY = 60
#: and one that is so many times as slow as the fastest is not run from end to end.
_HOPELESS = 8
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Way:
    """A way to run a network."""

    runtime: str
    precision: str

    def __str__(self) -> str:
        return f"{self.runtime} {self.precision}"


@dataclass(frozen=True)
class NetworkFiles:
    """A network: its checkpoint, and its steps as they are exported for float32 and for half precisions."""

    checkpoint: Path
    step: Path
    half_step: Path

    def of(self, way: Way) -> Path:
        """The file that runs this way."""
        if way.runtime == "torch":
            return self.checkpoint
        return self.step if way.precision == "fp32" else self.half_step


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("--device", default="cpu", help="of PyTorch; the other runtimes are for the CPU")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), help="which networks")
    parser.add_argument("--runtimes", nargs="+", choices=RUNTIMES, default=list(RUNTIMES), help="those installed")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS), help="of the network")
    parser.add_argument("--streams", nargs="+", type=at_least(1, 64), default=[1, 4], help="faces at a time")
    parser.add_argument("--repeats", type=at_least(1), default=15, help="steps of each")
    parser.add_argument("--frames", type=at_least(0), default=120, help="of the clip, end to end; 0: steps alone")
    flags = parser.parse(arguments)
    if flags.frames == 1:
        raise InputError(
            "--frames 1: a clip of one frame is the start-up alone, expected at least 2, or 0 for steps alone"
        )
    for name in ("networks", "runtimes", "precisions", "streams"):
        setattr(flags, name, list(dict.fromkeys(getattr(flags, name))))
    out = console()
    device = resolve_device(flags.device)
    runtimes = [runtime for runtime in flags.runtimes if is_installed(runtime)]
    for runtime in flags.runtimes:
        if runtime not in runtimes:
            out.print(f"{runtime} is not installed (pip install {runtime}) and left out")
    if device.type != "cpu":
        runtimes = [runtime for runtime in runtimes if runtime == "torch"]
    ways = [Way(r, p) for r in runtimes for p in flags.precisions if has_precision(r, p)]
    if not ways:
        asked = f"--runtimes {' '.join(flags.runtimes)} --precisions {' '.join(flags.precisions)} --device {device}"
        raise InputError(
            f"{asked}: none of them is left, expected torch, or on the CPU openvino, or onnxruntime and fp32"
        )
    torch.set_num_threads(n_threads())
    limits = {precision: product_rate(device, _DTYPES[precision]) for precision in flags.precisions}
    if device.type != "cpu":
        out.print(describe_machine(device))
    products = [f"matrix product {precision}: {value / 1e9:.0f} GFLOP/s" for precision, value in limits.items()]
    out.print(f"{cpu_name()} ({', '.join(cpu_features()) or platform.machine()}), {n_threads()} threads")
    out.print(f"Python {platform.python_version()}, {', '.join(map(version_of, runtimes))}")
    out.print("; ".join(products))
    steps, videos = [], []
    with tempfile.TemporaryDirectory() as folder:
        clips = {n: Path(folder) / f"clip{n}.mp4" for n in flags.streams} if flags.frames else {}
        for n, clip in clips.items():
            write_clip(clip, n, flags.frames)
        for name in flags.networks:
            files = network_files(name, Path(folder))
            work = gflop_of_a_step(load_checkpoint(files.checkpoint))
            for n in flags.streams:
                faces = f"{name}, {n} face{'s' * (n > 1)}"
                seconds = time_steps(ways, device, files, n, flags.repeats)
                steps += [[faces, str(way), *figures] for way, figures in step_figures(seconds, work, limits).items()]
                if n in clips and name == "bundled":
                    usable = [way for way, taken in seconds.items() if taken < _HOPELESS * min(seconds.values())]
                    for way in seconds.keys() - set(usable):
                        out.print(f"{way} is left out from end to end, as a step takes {seconds[way]:.2g} s")
                    speeds = end_to_end(usable, device, files, clips[n], Path(folder), faces)
                    videos += [[faces, str(way), *figures] for way, figures in speeds.items()]
    words = ["network", "runtime"]
    out.print(table("A step of RwR; x: times torch fp32", [*words, "ms a face", "x", "% of limit"], steps, n_words=2))
    if videos:
        columns = [*words, "frames/s", "x", "start-up s", "MiB"]
        out.print(table("ldeq-video from end to end; x: times torch fp32", columns, videos, n_words=2))


def network_files(name: str, folder: Path) -> NetworkFiles:
    """Those of the bundled network, whose convolutions are too small for Winograd's algorithm, or of a new one."""
    if name == "bundled":
        return NetworkFiles(
            pretrained.path_of(pretrained.BUNDLED), pretrained.bundled_step(), pretrained.bundled_step()
        )
    files = NetworkFiles(*(folder / f"published{suffix}" for suffix in (".pth.tar", ".onnx", "-half.onnx")))
    torch.manual_seed(0)
    save_checkpoint(files.checkpoint, LDEQ(ModelConfig(**PUBLISHED_EXAMPLE), SolverConfig(solver="fpi")).eval())
    export(files.checkpoint, files.step)
    export(files.checkpoint, files.half_step, winograd=False)
    return files


def time_steps(
    ways: Sequence[Way], device: torch.device, files: NetworkFiles, n: int, repeats: int
) -> dict[Way, float]:
    """Seconds a face of a step of ``n`` faces, of the ways that work here."""
    settings = SolveSettings()
    landmarkers: dict[Way, CountedLandmarker] = {}
    for way in ways:
        try:
            opened = open_network(
                files.of(way), runtime=way.runtime, device=str(device), precision=way.precision, settings=settings
            )
        except InputError as error:
            console().print(f"{way} is left out: {error}")
            continue
        landmarkers[way] = opened.network.landmarker(settings)
    (image,) = itertools.islice(VideoReader(bundled.WFLW_V / "videos" / "portrait-pan.mp4"), 1)
    crops = [FaceCrop.around(image, (140 + 3 * k, 20, 340, 240)) for k in range(n)]
    steps = {way: partial(landmarker.locate, crops, range(n)) for way, landmarker in landmarkers.items()}
    # Landmarks are on the host when a step returns, whatever the device.
    seconds = medians_by_turns(steps, repeats, most_seconds=_SECONDS_OF_A_WAY)
    return {way: taken / n for way, taken in seconds.items()}


def step_figures(seconds: Mapping[Way, float], work: float, limits: Mapping[str, float]) -> dict[Way, list[str]]:
    """Milliseconds a face, times as fast as PyTorch in float32, and percent of the limit.

    Args:
        work: of a step, in 10⁹ operations, by plain convolutions: Winograd's algorithm may pass the limit.
        limits: operations a second, by precision.
    """
    base = seconds.get(Way("torch", "fp32"))
    figures = {}
    for way, taken in seconds.items():
        share = work * 1e9 / taken / limits[way.precision]
        figures[way] = [
            f"{1e3 * taken:.1f}",
            "" if base is None else f"{base / taken:.2f}",
            # An emulated product, which is several times as slow as an emulated convolution, is no limit.
            f"{100 * share:.0f}" if share < 1.5 or way.precision == "fp32" else "",
        ]
    return figures


def end_to_end(
    ways: Sequence[Way], device: torch.device, files: NetworkFiles, clip: Path, folder: Path, label: str
) -> dict[Way, list[str]]:
    """Frames a second, times those of PyTorch in float32, start-up in seconds, and peak memory in MiB.

    Where the clip takes no longer than its first frame, in noise, the speed is not known.
    """
    first = folder / f"first-{clip.name}"
    n_frames = sum(1 for _ in VideoReader(clip))
    write_frames(first, itertools.islice(VideoReader(clip), 1))
    measured: dict[Way, tuple[float, float, float]] = {}
    with ProgressBar(len(ways), "run", label) as bar:
        for way in ways:
            start, _ = run_video(first, files.of(way), way, device, folder)
            whole, memory = run_video(clip, files.of(way), way, device, folder)
            speed = (n_frames - 1) / (whole - start) if whole > start else np.nan
            measured[way] = speed, start, memory
            bar.advance()
    base = measured.get(Way("torch", "fp32"))
    return {
        way: [f"{speed:.1f}", "" if base is None else f"{speed / base[0]:.2f}", f"{start:.1f}", f"{memory:.0f}"]
        for way, (speed, start, memory) in measured.items()
    }


#: Runs ``ldeq-video`` and prints the process's peak memory in KiB as the last line. What the system counts for a
#: process begins with what started it, but for Linux's own line.
_PROGRAM = """
import pathlib, resource, sys
from ldeq.predict import main
main(sys.argv[1:])
status = pathlib.Path("/proc/self/status")
lines = status.read_text().splitlines() if status.is_file() else []
peak = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
unit = 1024 if sys.platform == "darwin" else 1
print(peak[0] if peak else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit)
"""


def run_video(clip: Path, weights: Path, way: Way, device: torch.device, folder: Path) -> tuple[float, float]:
    """Seconds of ``ldeq-video``, the better of two, and its peak memory in MiB."""
    flags = [f"--landmark_model_weights={weights}", f"--runtime={way.runtime}", f"--precision={way.precision}"]
    command = [
        sys.executable,
        "-c",
        _PROGRAM,
        str(clip),
        *flags,
        f"--output_dir={folder / 'out'}",
        f"--device={device}",
    ]
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
        seconds.append(time.perf_counter() - started)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} ended with status {done.returncode}: {done.stderr}")
    return min(seconds), int(done.stdout.split()[-1]) / 2**10


def write_clip(path: Path, n_faces: int, n_frames: int) -> None:
    """A bundled clip, to and fro, beside itself as often as it takes for so many faces."""
    frames = list(VideoReader(bundled.WFLW_V / "videos" / "portrait-pan.mp4"))
    columns = int(np.ceil(np.sqrt(n_faces)))
    rows = -(-n_faces // columns)

    def shown() -> Iterator[np.ndarray]:
        for frame in itertools.islice(itertools.cycle([*frames, *frames[::-1]]), n_frames):
            tiles = [frame if k < n_faces else np.zeros_like(frame) for k in range(rows * columns)]
            yield np.vstack([np.hstack(tiles[row * columns : (row + 1) * columns]) for row in range(rows)])

    write_frames(path, shown())


def write_frames(path: Path, frames: Iterator[np.ndarray]) -> None:
    """Frames (H, W, 3) uint8 RGB as a clip of 25 a second."""
    writer = VideoWriter(path, 25)
    for frame in frames:
        writer.write(frame)
    writer.close()


if __name__ == "__main__":
    run(main)
