"""Where Winograd's algorithm is faster than a convolution, by channels and size: ``python -m benchmarks.winograd``.

Each row is one convolution of one image by the runtimes of exported steps, medians of interleaved turns, and the root
mean square of how far its values are from those in float64, in parts of their standard deviation.
"""

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.common import medians_by_turns
from ldeq.command_line import ArgumentParser, at_least, run
from ldeq.onnx_session import SUFFIX, open_session
from ldeq.processor import cpu_features, cpu_name
from ldeq.runtime.choice import is_installed
from ldeq.runtime.export import onnx_graph
from ldeq.runtime.steps import STEP_RUNTIMES, compiled_by_openvino, version_of
from ldeq.runtime.winograd import POINTS, TILE, WinogradConvolution
from ldeq.terminal import ProgressBar, console, table
from ldeq.torchrun import n_threads

Values = NDArray[np.float32]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = ArgumentParser(__doc__)
    channels = [48, 64, 96, 128, 160, 192, 224, 256, 320]
    parser.add_argument("--channels", nargs="+", type=at_least(1, 1024), default=channels, help="in and out")
    parser.add_argument("--sides", nargs="+", type=at_least(TILE, 256), default=[64, 32, 16, 8], help="of the image")
    parser.add_argument("--repeats", type=at_least(1), default=15, help="of each")
    flags = parser.parse(arguments)
    runtimes = [runtime for runtime in STEP_RUNTIMES if is_installed(runtime)]
    out = console()
    out.print(
        f"{cpu_name()} ({', '.join(cpu_features())}), {n_threads()} threads, {', '.join(map(version_of, runtimes))}"
    )
    sizes = [(k, side, n) for k in POINTS for side in flags.sides if side % TILE == 0 for n in flags.channels]
    rows = []
    with tempfile.TemporaryDirectory() as folder, ProgressBar(len(sizes), "convolution", "sizes") as bar:
        for kernel_size, side, n_channels in sizes:
            figures = compare(kernel_size, side, n_channels, runtimes, flags.repeats, Path(folder))
            words = f"{kernel_size}x{kernel_size} {side} {n_channels}"
            rows += [[words, runtime, *of_runtime] for runtime, of_runtime in figures.items()]
            bar.advance()
    columns = ["", "runtime", "ms", "Winograd", "x", "error", "Winograd"]
    out.print(table("Kernel, side and channels; x: times as fast by Winograd's algorithm", columns, rows, n_words=2))


def compare(
    kernel_size: int, side: int, n_channels: int, runtimes: Sequence[str], repeats: int, folder: Path
) -> dict[str, list[str]]:
    """By runtime: milliseconds of both ways, their ratio, and the errors of both."""
    torch.manual_seed(0)
    direct = nn.Conv2d(n_channels, n_channels, kernel_size, padding=kernel_size // 2)
    images = torch.randn(2, n_channels, side, side)
    ways: dict[tuple[str, bool], Callable[[Values], Values]] = {}
    for is_winograd, module in enumerate((direct, WinogradConvolution(direct))):
        path = folder / f"{is_winograd}{SUFFIX}"
        path.write_bytes(onnx_graph(module.eval(), (images,), ["x"], ["y"]).SerializeToString())
        for runtime in runtimes:
            ways[runtime, bool(is_winograd)] = function_of(path, runtime)
    x = images[:1].numpy()
    seconds = medians_by_turns({way: partial(compute, x) for way, compute in ways.items()}, repeats)
    with torch.no_grad():
        exact = direct.double()(images[:1].double()).numpy()
    figures = {}
    for runtime in runtimes:
        plain, fast = (1e3 * seconds[runtime, is_winograd] for is_winograd in (False, True))
        differences = [ways[runtime, is_winograd](x) - exact for is_winograd in (False, True)]
        errors = [f"{np.sqrt(np.mean(difference**2)) / exact.std():.1e}" for difference in differences]
        figures[runtime] = [f"{plain:.2f}", f"{fast:.2f}", f"{plain / fast:.2f}", *errors]
    return figures


def function_of(path: Path, runtime: str) -> Callable[[Values], Values]:
    """A graph of one input and output as a function."""
    if runtime == "openvino":
        request = compiled_by_openvino(path).create_infer_request()
        return lambda x: request.infer({"x": x}, share_inputs=True)["y"]
    session: Any = open_session(path)
    return lambda x: session.run(None, {"x": x})[0]


if __name__ == "__main__":
    run(main)
