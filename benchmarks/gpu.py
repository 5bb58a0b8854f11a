"""A step of RwR on a GPU, eager, from a CUDA graph and compiled: ``python -m benchmarks.gpu``.

A network of the published example's size with random weights (or ``--weights``), fixed-point iteration: two evaluations
of the cell a frame, 53.6 GFLOP. By streams and precisions it prints milliseconds a step, frames a second and the share
of what the device reaches in a large matrix product of that precision (float32 without TF32, as everywhere here). Then,
at the largest number of streams, where the time of a step from crops in the host's memory to landmarks there goes.

``--device cpu`` measures what ``torch.compile`` gains on a CPU; there are no graphs there.
"""

import statistics
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.common import (
    PUBLISHED_EXAMPLE,
    describe_machine,
    gflop_of_a_step,
    medians_by_turns,
    product_rate,
    seconds_of,
)
from ldeq import LDEQ, ModelConfig, RecurrentLDEQ, SolverConfig
from ldeq.command_line import ArgumentParser, add_boolean, at_least, run
from ldeq.config import PRECISIONS
from ldeq.device import prepare, resolve_device, with_precision
from ldeq.model.normalisation import normalise
from ldeq.model.step import RecurrentStep
from ldeq.terminal import console, table

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
T = TypeVar("T")
Step = Callable[[], object]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--streams", type=at_least(1), nargs="+", default=[1, 5, 64])
    parser.add_argument("--precisions", choices=PRECISIONS, nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--repeats", type=at_least(1), default=15)
    parser.add_argument("--weights", metavar="FILE|NAME", help="a network solved by fpi in place of the random one")
    add_boolean(parser, "--compile", "compile as well, which takes minutes", default=True)
    flags = parser.parse(arguments)
    device = resolve_device(flags.device)
    torch.manual_seed(0)
    network = LDEQ(ModelConfig(**PUBLISHED_EXAMPLE), SolverConfig(solver="fpi")).eval()
    if flags.weights:
        network = LDEQ.from_pretrained(flags.weights)
    gflop = gflop_of_a_step(network)
    out = console()
    out.print(describe_machine(device))
    for precision in flags.precisions:
        limit = product_rate(device, DTYPES[precision]) / 1e9
        rows = []
        for n_streams in flags.streams:
            steps = variants(network, precision, n_streams, device, flags.compile)
            for name, seconds in medians_by_turns(steps, flags.repeats, device, before=3).items():
                share = n_streams * gflop / seconds / limit
                figures = [f"{1e3 * seconds:.2f}", f"{n_streams / seconds:.1f}", f"{100 * share:.0f} %"]
                rows.append([n_streams, name, *figures])
        columns = ["streams", "step", "milliseconds", "frames/s", "of the limit"]
        out.print(table(f"{precision}: a large matrix product makes {limit / 1e3:.2f} TFLOP/s", columns, rows, 2))
        parts = end_to_end(network, precision, max(flags.streams), device, flags.repeats)
        rows = [[name, f"{1e3 * seconds:.2f}"] for name, seconds in parts.items()]
        out.print(table(f"{precision}, {max(flags.streams)} streams, end to end", ["part", "milliseconds"], rows, 1))


def variants(network: LDEQ, precision: str, n_streams: int, device: torch.device, compiles: bool) -> dict[str, Step]:
    """Steps of the same streams, by how they run. The images are on the device."""
    side = network.config.im_size
    crops = torch.randint(256, (n_streams, side, side, 3), dtype=torch.uint8, device=device)
    model = prepare(with_precision(deepcopy(network), precision), device)
    images = normalise(crops.cpu().numpy(), device)
    names = list(range(n_streams))
    steps: dict[str, Step] = {}
    layouts = {"eager": torch.contiguous_format, "eager, channels-last": torch.channels_last}
    if device.type == "cpu":
        layouts = {"eager": torch.channels_last}
    for name, layout in layouts.items():
        steps[name] = _recurrent(RecurrentLDEQ(deepcopy(model).to(memory_format=layout)), images, names)
    if device.type == "cuda":
        for name, layout in layouts.items():
            laid_out = deepcopy(model).to(memory_format=layout)
            graphed = RecurrentLDEQ(laid_out, cuda_graph=True)
            steps[name.replace("eager", "CUDA graph")] = _recurrent(graphed, images, names)
    if compiles:
        for mode in ("default",) if device.type == "cpu" else ("default", "reduce-overhead"):
            step = RecurrentStep(model, dtype=DTYPES[precision])
            step.to(device).to(memory_format=torch.channels_last)
            steps[f"compiled, {mode}"] = _compiled(step, mode, crops)
    return steps


def _recurrent(recurrent: RecurrentLDEQ, images: Tensor, names: list[int]) -> Step:
    return lambda: recurrent.step(images, names)


def _compiled(step: RecurrentStep, mode: str, crops: Tensor) -> Step:
    torch._dynamo.reset()
    compiled = torch.compile(step, mode=mode, fullgraph=True, dynamic=False)
    z = torch.zeros(len(crops), *step.model.z_shape, device=crops.device)

    @torch.no_grad()
    def run_step() -> None:
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        z.copy_(compiled(crops, z)[2])

    return run_step


def end_to_end(network: LDEQ, precision: str, n_streams: int, device: torch.device, repeats: int) -> dict[str, float]:
    """Seconds of the parts of a step, each waited for; and of whole steps, in which the host goes ahead."""
    model = prepare(with_precision(deepcopy(network), precision), device)
    recurrent = RecurrentLDEQ(model, cuda_graph=device.type == "cuda")
    names = list(range(n_streams))
    side = network.config.im_size
    crops = [np.random.default_rng(row).integers(256, size=(side, side, 3), dtype=np.uint8) for row in names]
    parts: dict[str, list[float]] = {}

    def timed(name: str, work: Callable[..., T], *arguments: Any) -> T:
        seconds, result = seconds_of(lambda: work(*arguments), device)
        parts.setdefault(name, []).append(seconds)
        return result

    def whole_step() -> NDArray[np.float32]:
        return recurrent.step(normalise(np.stack(crops), device), names).on_host().finite_keypoints()

    for _ in range(repeats + 3):
        stacked = timed("stacking crops", np.stack, crops)
        images = timed("to the device, normalised", normalise, stacked, device)
        output = timed("step", recurrent.step, images, names)
        timed("landmarks to the host", lambda output: output.on_host().finite_keypoints(), output)
        timed("whole", whole_step)
    return {name: statistics.median(values[3:]) for name, values in parts.items()}


if __name__ == "__main__":
    run(main)
