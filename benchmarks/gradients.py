"""Memory and time of a training step by gradient and solver iterations: ``python -m benchmarks.gradients``.

Memory is what the step's graph keeps for its backward pass beside the weights, counted exactly; time is the
processor's on the CPU (other programs do not count) and the clock's elsewhere. The solver's tolerance is 0, so that
every iteration is made.
"""

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import describe_machine, synchronise
from ldeq import LDEQ, GradientConfig, ModelConfig, SolverConfig
from ldeq.command_line import ArgumentParser, at_least, run
from ldeq.config import GRADIENTS, PRECISIONS
from ldeq.device import autocast, prepare, resolve_device
from ldeq.terminal import console, table
from utils.engine.losses import training_loss
from utils.engine.settings import LossConfig


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--im_size", type=at_least(64), default=128)
    parser.add_argument("--batch_size", type=at_least(1), default=4)
    parser.add_argument("--iterations", type=at_least(1), nargs="+", default=[2, 4, 8, 16])
    parser.add_argument("--backward_max_iters", type=at_least(1), default=6, help="of implicit differentiation")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32")
    flags = parser.parse(arguments)
    device = resolve_device(flags.device)
    torch.manual_seed(0)
    widths: dict[str, Any] = {"injection_width": 48, "cell_base_width": 32, "cell_width_increment": 24}
    model = prepare(LDEQ(ModelConfig(**widths, im_size=flags.im_size, heatmap_size=flags.im_size // 4)), device)
    with torch.no_grad():
        model.cell.head.conv.weight *= 0.1
    rows = []
    _measure(model, GradientConfig(gradient="jfb"), 1, flags.batch_size, flags.precision)  # the first of all is slow
    for gradient in GRADIENTS:
        config = GradientConfig(gradient=gradient, backward_max_iters=flags.backward_max_iters, backward_tolerance=0.0)
        for iterations in flags.iterations:
            kept, seconds = _measure(model, config, iterations, flags.batch_size, flags.precision)
            megabytes, each = kept / flags.batch_size / 2**20, 1e3 * seconds / flags.batch_size
            rows.append([gradient, iterations, f"{megabytes:.1f}", f"{each:.0f}"])
    out = console()
    out.print(describe_machine(device))
    n_weights = sum(weight.numel() for weight in model.parameters())
    title = f"A training step in {flags.precision}, {n_weights:,} weights, {flags.im_size} pixels"
    out.print(table(title, ["gradient", "iterations", "graph MB/image", "ms/image"], rows))


def _measure(
    model: LDEQ, config: GradientConfig, iterations: int, batch_size: int, precision: str
) -> tuple[int, float]:
    """Bytes that the graph keeps, and seconds of forward and backward pass."""
    device = next(model.parameters()).device
    side = model.config.im_size
    images = torch.randn(batch_size, 3, side, side, device=device)
    landmarks = torch.rand(batch_size, model.config.n_keypoints, 2, device=device)
    solver = SolverConfig(solver="fpi", max_iters=iterations, rel_diff_target=0.0)
    kept: dict[int, int] = {}
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    clock = time.process_time if device.type == "cpu" else time.perf_counter
    synchronise(device)
    started = clock()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), autocast(device, precision):
        output = model(images, solver_config=solver, gradient=config)
        loss = training_loss(model, output, landmarks, LossConfig())["loss"]
    torch.autograd.backward(loss)
    synchronise(device)
    model.zero_grad()
    return sum(kept.values()), clock() - started


if __name__ == "__main__":
    run(main)
