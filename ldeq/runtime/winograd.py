"""Convolutions by Winograd's minimal filtering, which need fewer products: for exported steps in float32 on a CPU.

Convolutions run nearly as fast as a processor multiplies, so that they become faster only by multiplying less. Of k×k
kernels F(4×4, k×k) makes 4×4 outputs by (k + 3)² products for a pair of channels in place of 16·k²: a quarter for
k = 3, and 4 of 25 for k = 5 (Lavin and Gray, "Fast algorithms for convolutional neural networks", 2015, section 4). It
costs transforming tiles of the image there and back, so that it pays with many channels, and some accuracy, so that it
is for float32 alone.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Outputs of a tile, along each side.
TILE = 4
#: Where polynomials are evaluated, beside infinity, by kernel size: among small fractions those that round best.
POINTS = {3: (0, 2 / 3, -2 / 3, 3 / 2, -3 / 2), 5: (0, 1, -1, 2, -2, 1 / 2, -1 / 2)}
#: Where it pays, by kernel size (``python -m benchmarks.winograd``): with so many channels in and out,
LEAST_CHANNELS = {3: 160, 5: 96}
#: and on images of such a side. On smaller ones the transformed weights are read for too few products each.
LEAST_SIDE = 16
#: Its weights are so many times as large as those of a 3×3 kernel, and less of a 5×5 one.
MOST_GROWTH = 4


class WinogradConvolution(nn.Module):
    """What a convolution of stride 1 gives, to rounding: (B, n_in, H, W) → (B, n_out, H, W), H and W divisible by 4.

    Args:
        convolution: with a kernel of one of :data:`POINTS`, padded by zeros so that H and W stay. Its weights are
            copied.
    """

    to_tiles: Tensor
    from_tiles: Tensor

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        if not _is_supported(convolution):
            raise ValueError(f"{convolution}: expected stride 1, one group and a kernel of 3 or 5 that keeps the size")
        self.kernel_size = convolution.kernel_size[0]
        outputs, kernel, inputs = transforms(self.kernel_size)
        transformed = torch.einsum("ai,bj,ocij->aboc", kernel, kernel, convolution.weight.detach().double())
        #: ((k + 3)², n_out, n_in).
        self.weight = nn.Parameter(transformed.flatten(0, 1).to(convolution.weight))
        bias = torch.zeros(convolution.out_channels) if convolution.bias is None else convolution.bias.detach()
        self.bias = nn.Parameter(bias.to(convolution.weight).clone())
        # As kernels of convolutions: ((k + 3)², 1, k + 3, k + 3) and (16, (k + 3)², 1, 1).
        self.register_buffer("to_tiles", _of_both_sides(inputs.T).to(convolution.weight).unsqueeze(1))
        from_tiles = _of_both_sides(outputs.T).flatten(1)[..., None, None]
        self.register_buffer("from_tiles", from_tiles.to(convolution.weight))

    def forward(self, x: Tensor) -> Tensor:
        batch, n_in, height, width = x.shape
        n_products, n_out, _ = self.weight.shape
        rows, columns = height // TILE, width // TILE
        # Every channel by itself, so that the transform is the same for all.
        channels = x.reshape(batch * n_in, 1, height, width)
        tiles = F.conv2d(channels, self.to_tiles, stride=TILE, padding=(self.kernel_size - 1) // 2)
        tiles = tiles.reshape(batch, n_in, n_products, rows * columns).transpose(1, 2)
        products = self.weight @ tiles
        # Channels below one another, which is how they lie in memory.
        products = products.reshape(batch, n_products, n_out * rows, columns)
        values = F.pixel_shuffle(F.conv2d(products, self.from_tiles), TILE)
        return values.reshape(batch, n_out, height, width) + self.bias[:, None, None]


def transforms(kernel_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """A, G and B with which y = Aᵀ[(G g) ⊙ (Bᵀ d)] are the 4 outputs of the kernel g on k + 3 inputs d.

    They come of multiplying polynomials by their values at points (Toom and Cook), transposed: with V_n the powers
    below n of the points, and of infinity the leading coefficient, A is V_4, G is V_k, and B the inverse of V_(k+3).

    Returns:
        (k + 3, 4), (k + 3, k) and (k + 3, k + 3), in float64.
    """
    points = torch.tensor(POINTS[kernel_size], dtype=torch.float64)

    def powers(n: int) -> Tensor:
        return torch.cat([points[:, None] ** torch.arange(n), torch.eye(n, dtype=torch.float64)[-1:]])

    return powers(TILE), powers(kernel_size), torch.linalg.inv(powers(kernel_size + TILE - 1))


def use_winograd(module: nn.Module, *inputs: Tensor) -> int:
    """Puts :class:`WinogradConvolution` in place of those convolutions of a module where it is faster.

    Args:
        inputs: with which the module is run once, so that the sizes of images are known.

    Returns:
        How many there are.
    """
    sizes: dict[nn.Module, torch.Size] = {}

    def look(convolution: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        sizes[convolution] = arguments[0].shape[2:]

    convolutions = {name: part for name, part in module.named_modules() if isinstance(part, nn.Conv2d)}
    hooks = [convolution.register_forward_pre_hook(look) for convolution in convolutions.values()]
    with torch.no_grad():
        module(*inputs)
    for hook in hooks:
        hook.remove()
    found = {name: part for name, part in convolutions.items() if part in sizes and _pays(part, *sizes[part])}
    for name, convolution in found.items():
        module.set_submodule(name, WinogradConvolution(convolution))
    return len(found)


def _pays(convolution: nn.Conv2d, height: int, width: int) -> bool:
    if not _is_supported(convolution) or height % TILE or width % TILE or min(height, width) < LEAST_SIDE:
        return False
    n_channels = min(convolution.in_channels, convolution.out_channels)
    return n_channels >= LEAST_CHANNELS[convolution.kernel_size[0]]


def _is_supported(convolution: nn.Conv2d) -> bool:
    size = convolution.kernel_size[0]
    others = (convolution.stride, convolution.dilation, convolution.groups, convolution.padding_mode)
    padding = ((size - 1) // 2,) * 2
    return (
        size in POINTS
        and convolution.kernel_size == (size, size)
        and convolution.padding == padding
        and others == ((1, 1), (1, 1), 1, "zeros")
    )


def _of_both_sides(transform: Tensor) -> Tensor:
    """A transform (n, m) along rows and columns of a square: (n², m, m)."""
    return torch.einsum("ai,bj->abij", transform, transform).flatten(0, 1)
