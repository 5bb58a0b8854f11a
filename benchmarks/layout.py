"""Convolution layouts and precisions compared on one device: ``python -m benchmarks.layout``.

Times the stem and one evaluation of the cell at the size of the published example, the variants taking turns so that
a noisy machine disturbs all alike, and prints medians with ratios to contiguous float32.
"""

from collections.abc import Callable, Sequence

import torch

from benchmarks.common import PUBLISHED_EXAMPLE, describe_machine, medians_by_turns
from ldeq import LDEQ, ModelConfig
from ldeq.command_line import ArgumentParser, at_least, run
from ldeq.config import PRECISIONS
from ldeq.device import prepare, resolve_device, with_precision
from ldeq.terminal import console, table

LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch_sizes", type=at_least(1), nargs="+", default=[1, 5], help="images at a time")
    parser.add_argument("--precisions", choices=PRECISIONS, nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--repeats", type=at_least(1), default=9)
    flags = parser.parse(arguments)
    device = resolve_device(flags.device)
    variants = [(layout, precision) for precision in flags.precisions for layout in LAYOUTS]
    torch.manual_seed(0)
    models = {variant: _model(*variant, device) for variant in variants}
    rows = []
    for batch_size in flags.batch_sizes:
        works = {
            (variant, part): work
            for variant in variants
            for part, work in _works(models[variant], batch_size, device).items()
        }
        seconds = medians_by_turns(works, flags.repeats, device, before=1)
        medians = {variant: (seconds[variant, "stem"], seconds[variant, "cell"]) for variant in variants}
        reference = medians["contiguous", flags.precisions[0]]
        for (layout, precision), (stem, cell) in medians.items():
            ratios = (f"{reference[0] / stem:.2f}", f"{reference[1] / cell:.2f}")
            figures = [f"{1e3 * stem / batch_size:.1f}", ratios[0], f"{1e3 * cell / batch_size:.1f}", ratios[1]]
            rows.append([batch_size, precision, layout, *figures])
    columns = ["batch", "precision", "layout", "stem", "speed-up", "cell", "speed-up"]
    out = console()
    out.print(describe_machine(device))
    out.print(table("One evaluation, medians, milliseconds an image", columns, rows, n_words=3))


def _model(layout: str, precision: str, device: torch.device) -> LDEQ:
    model = with_precision(prepare(LDEQ(ModelConfig(**PUBLISHED_EXAMPLE)).eval(), device), precision)
    return model.to(memory_format=LAYOUTS[layout])


@torch.inference_mode()
def _works(model: LDEQ, batch_size: int, device: torch.device) -> dict[str, Callable[[], object]]:
    """The stem and an evaluation of the cell."""
    images = torch.randn(batch_size, 3, model.config.im_size, model.config.im_size, device=device)
    z = torch.rand(batch_size, *model.z_shape, device=device).contiguous(memory_format=model.cell.layout)
    injected = model.cell.inject(model.inject(images))
    works = {"stem": lambda: model.inject(images), "cell": lambda: model.cell.step(z, injected)}
    return {name: torch.inference_mode()(work) for name, work in works.items()}


if __name__ == "__main__":
    run(main)
