"""The surroundings of a face: the background behind it, and what occludes it."""

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.renderer import occluders
from datasets.synthetic.renderer.arrays import Floats
from datasets.synthetic.renderer.colour import palette_colour, random_colour, smooth_noise, to_linear
from datasets.synthetic.renderer.shapes import SKIN, random_shape

#: Sorts of occluders, and how often each comes.
_OCCLUDERS = (
    (occluders.hand, 0.26), (occluders.microphone, 0.12), (occluders.held, 0.10), (occluders.other_head, 0.12),
    (occluders.eyewear, 0.10), (occluders.face_mask, 0.07), (occluders.strands, 0.11), (occluders.shape, 0.12),
)  # fmt: skip


def random_background(rng: np.random.Generator, height: int, width: int) -> Floats:
    """A background out of focus, which is no place in particular: (height, width, 3), linear RGB."""
    full = (width, height)
    height, width = max(8, height // 2), max(8, width // 2)  # it is out of focus anyway
    first, second = random_colour(rng, 0.8), random_colour(rng, 0.8)
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    ramp = (0.5 + 0.5 * (np.cos(angle) * columns + np.sin(angle) * rows)).clip(0, 1)[..., None]
    image = (first + (second - first) * ramp).astype(np.float32)
    if rng.random() < 0.75:
        for _ in range(int(rng.integers(2, 26))):
            random_shape(image, rng, random_colour(rng))
    if rng.random() < 0.5:
        noise = smooth_noise(rng, height, width, rng.uniform(3, 60)) * rng.uniform(2, 28)
        image += noise[..., None] * rng.uniform(0.4, 1, 3).astype(np.float32)
    if rng.random() < 0.6:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 0.04 * max(height, width)))
    if rng.random() < 0.12:  # other faces, as the network may take them for the one it should find
        for _ in range(int(rng.integers(1, 4))):
            centre = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
            axes = (int(width * rng.uniform(0.08, 0.25)), int(height * rng.uniform(0.1, 0.32)))
            cv2.ellipse(
                image,
                centre,
                axes,
                rng.uniform(-20, 20),
                0,
                360,
                palette_colour(SKIN, rng.random()).tolist(),
                -1,
                cv2.LINE_AA,
            )
    return np.asarray(cv2.resize(to_linear(image), full, interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def occlude(
    image: Floats,
    rng: np.random.Generator,
    points: NDArray[np.floating],
    brightness: float,
    amount: float,
    least: int = 0,
) -> int:
    """Draws random occluders over a face, in place, and returns their number.

    Args:
        image: (height, width, 3), linear RGB.
        points: (98, 2), the landmarks, which say where the face is.
        brightness: of the light.
        amount: expected number of occluders.
        least: number of occluders at least.
    """
    number = max(least, int(rng.poisson(amount)))
    draws, shares = zip(*_OCCLUDERS, strict=True)
    for _ in range(number):
        draw = draws[int(rng.choice(len(draws), p=shares))]
        draw(image, rng, points, brightness)
    return number
