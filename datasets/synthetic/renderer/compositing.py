"""Alpha compositing: the operator "over" of Porter and Duff, "Compositing Digital Images" (1984)."""

import numba
import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.renderer.arrays import Floats


def coverage(mask: NDArray[np.integer | np.floating]) -> Floats:
    """A mask of 0 to 255 as opacities in [0, 1]."""
    opacity: Floats = mask.astype(np.float32) / np.float32(255)
    return opacity


def composite(image: Floats, opacity: Floats, colour: NDArray[np.floating]) -> None:
    """Lays a colour over an image, which is opaque, in place.

    Args:
        image: (H, W, 3), linear RGB.
        opacity: (H, W), in [0, 1].
        colour: (3,) or (H, W, 3), linear RGB.
    """
    image += opacity[..., None] * (colour - image)


def composite_onto_texture(texture: Floats, opacity: NDArray[np.floating], colour: NDArray[np.floating]) -> None:
    """Lays a colour over a texture, which may be transparent itself, in place.

    Args:
        texture: (H, W, 4), linear RGB and opacity.
        opacity: (H, W), in [0, 1].
        colour: (3,), linear RGB.
    """
    _over(texture, np.asarray(opacity, dtype=np.float32), np.asarray(colour, dtype=np.float32))


@numba.njit(cache=True, nogil=True)
def _over(texture: Floats, opacity: Floats, colour: Floats) -> None:
    for i in range(texture.shape[0]):
        for j in range(texture.shape[1]):
            over = opacity[i, j]
            if over > np.float32(0.004):
                below = texture[i, j, 3] * (np.float32(1) - over)
                total = below + over
                for channel in range(3):
                    texture[i, j, channel] = (texture[i, j, channel] * below + colour[channel] * over) / total
                texture[i, j, 3] = total
