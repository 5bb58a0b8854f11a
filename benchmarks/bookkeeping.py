"""What a step of RwR costs beside the network: ``python -m benchmarks.bookkeeping``.

The stem, the cell and the readout of landmarks give tensors that were made before, so that what is left of a step is
its bookkeeping: where streams keep z, the solver's errors, best iterates and statistics. Besides, the normalisation of
images, and bringing landmarks and statistics to the host. Milliseconds of the bundled network on the CPU, medians; one
thread, and its processor time, for which other programs do not count.
"""

import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import describe_machine
from ldeq import LDEQ, RecurrentLDEQ
from ldeq.command_line import ArgumentParser, at_least, run
from ldeq.device import prepare
from ldeq.model.normalisation import normalise
from ldeq.solver_tally import SolverTally
from ldeq.terminal import console, table


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("--streams", type=at_least(1), nargs="+", default=[1, 5])
    parser.add_argument("--repeats", type=at_least(1), default=300)
    flags = parser.parse(arguments)
    torch.set_num_threads(1)
    device = torch.device("cpu")
    rows = []
    for n_streams in flags.streams:
        parts = _measure(prepare(LDEQ.from_pretrained(), device), n_streams, flags.repeats)
        rows.append([n_streams, *(f"{1e3 * seconds:.3f}" for seconds in parts)])
    out = console()
    out.print(describe_machine(device))
    columns = ["streams", "normalising", "step without the network", "to the host"]
    out.print(table("A step of RwR, milliseconds", columns, rows))


def _measure(model: LDEQ, n_streams: int, repeats: int) -> list[float]:
    """Seconds of each part."""
    side = model.config.im_size
    crops = np.random.default_rng(0).integers(256, size=(n_streams, side, side, 3), dtype=np.uint8)
    images, names = normalise(crops), list(range(n_streams))
    network = RecurrentLDEQ(model)
    _replace_network(model, images, network.step(images, names).z_star)
    seconds = []
    for _ in range(repeats + 10):
        times = [time.process_time()]
        normalise(crops)
        times.append(time.process_time())
        output = network.step(images, names)
        times.append(time.process_time())
        found = output.on_host()
        found.finite_keypoints()
        assert found.stats is not None
        SolverTally.of_samples(found.stats)
        times.append(time.process_time())
        seconds.append(np.diff(times))
    return [statistics.median(values) for values in zip(*seconds[10:], strict=True)]


@torch.no_grad()
def _replace_network(model: LDEQ, images: Tensor, z: Tensor) -> None:
    """Has the model's parts give what they gave once, and the cell two equilibria by turns."""
    injection = model.inject(images)
    injected = model.cell.inject(injection)
    keypoints = model.read_out(z)
    equilibria = [z, 0.999 * z]

    def cell_step(z: Tensor, injected: Tensor) -> Tensor:
        equilibria.reverse()
        return equilibria[0]

    replacements: list[tuple[torch.nn.Module, str, Callable[..., object]]] = [
        (model, "inject", lambda images: injection),
        (model, "read_out", lambda z: keypoints),
        (model.cell, "inject", lambda injection: injected),
        (model.cell, "step", cell_step),
    ]
    for module, name, replacement in replacements:
        setattr(module, name, replacement)


if __name__ == "__main__":
    run(main)
