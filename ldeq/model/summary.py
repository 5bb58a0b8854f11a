"""A network in figures: its layers, parameters and operations."""

import torch

from ldeq.errors import InputError
from ldeq.model.network import LDEQ


@torch.inference_mode()
def print_summary(model: LDEQ) -> None:
    """Prints torchinfo's tables of stem and cell, and the operations of each, for one image.

    Raises:
        InputError: where torchinfo is not installed.
    """
    from torch.utils.flop_counter import FlopCounterMode

    try:
        from torchinfo import summary
    except ImportError:
        raise InputError("torchinfo is not installed, expected pip install torchinfo for a summary") from None

    device = next(model.parameters()).device
    side = model.config.im_size
    images = torch.zeros(1, 3, side, side, device=device)
    injection, z = model.inject(images), torch.zeros(1, *model.z_shape, device=device)
    parts: dict[str, tuple[torch.nn.Module, list[torch.Tensor]]] = {
        "stem, once an image": (model.tail, [images]),
        "cell, once an evaluation": (model.cell, [z, injection]),
    }
    for name, (module, inputs) in parts.items():
        with FlopCounterMode(display=False) as counter:
            module(*inputs)
        print(f"{name}: {counter.get_total_flops() / 1e9:.2f} GFLOP")
        print(summary(module, input_data=inputs, depth=3, col_names=("output_size", "num_params"), verbose=0))
    print(f"Parameters in all: {sum(parameter.numel() for parameter in model.parameters()):,}")
