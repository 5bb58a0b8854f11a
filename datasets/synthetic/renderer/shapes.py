"""Flat shapes that people, backgrounds and occluders are drawn with."""

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.renderer.arrays import Doubles, Floats, Ints
from datasets.synthetic.renderer.colour import smooth_noise

#: Colours of skin in sRGB, from light to dark.
SKIN = ((245, 210, 190), (215, 165, 130), (150, 100, 72), (70, 45, 35))
#: Bits of the fractions of a pixel that OpenCV takes coordinates in.
_BITS = 4


def fill(mask: NDArray[np.uint8], outline: NDArray[np.floating], value: int = 255) -> None:
    """Fills a polygon with smooth edges in a mask (H, W), in place.

    Args:
        outline: its corners (n, 2), columns and rows in pixels.
        value: of the mask inside, 0 to 255.
    """
    cv2.fillPoly(mask, [_fixed_point(outline)], value, cv2.LINE_AA, _BITS)


def draw_line(
    mask: NDArray[np.uint8], points: NDArray[np.floating], value: int = 255, width: int = 1, closed: bool = False
) -> None:
    """Draws a line with smooth edges through points in a mask (H, W), in place.

    Args:
        points: (n, 2), columns and rows in pixels.
        value: of the mask on the line, 0 to 255.
        width: of the line in pixels.
        closed: from the last point back to the first one.
    """
    cv2.polylines(mask, [_fixed_point(points)], closed, value, width, cv2.LINE_AA, _BITS)


def _fixed_point(points: NDArray[np.floating]) -> Ints:
    fixed: Ints = (points * 2**_BITS).round().astype(np.int32)
    return fixed


def superellipse(n: int, power: float) -> tuple[Doubles, Doubles]:
    """x and y (n,) each, in [-1, 1], around an ellipse (power 2) that higher powers make a box with round corners."""
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    c, s = np.cos(angle), np.sin(angle)
    return np.sign(c) * np.abs(c) ** (2 / power), np.sign(s) * np.abs(s) ** (2 / power)


def shaded(rng: np.random.Generator, height: int, width: int, colour: Floats, brightness: float) -> Floats:
    """A colour with shading and some texture: (height, width, 3)."""
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    light = 1 + rng.uniform(0, 0.6) * (np.cos(angle) * columns + np.sin(angle) * rows)
    light = light * np.exp(rng.uniform(0, 0.25) * smooth_noise(rng, height, width, rng.uniform(4, 50)))
    out: Floats = (colour * brightness * light[..., None]).astype(np.float32)
    return out


def random_shape(
    image: NDArray[np.integer | np.floating],
    rng: np.random.Generator,
    colour: Floats,
    centre: NDArray[np.floating] | None = None,
    size: float | None = None,
) -> None:
    """Draws an ellipse, a box, a polygon or a bar on an image (H, W, 3) or a mask (H, W), in place."""
    height, width = image.shape[:2]
    if centre is None:
        centre = rng.uniform(-0.1, 1.1, 2) * (width, height)
    if size is None:
        size = rng.uniform(0.02, 0.45) * max(height, width)
    value = colour.tolist() if image.ndim == 3 else float(colour[0])
    kind = rng.random()
    if kind < 0.35:
        axes = (max(1, int(size)), max(1, int(size * rng.uniform(0.2, 1))))
        cv2.ellipse(image, (int(centre[0]), int(centre[1])), axes, rng.uniform(0, 180), 0, 360, value, -1, cv2.LINE_AA)
    elif kind < 0.65:
        box = cv2.boxPoints(
            ((float(centre[0]), float(centre[1])), (size * 2, size * rng.uniform(0.2, 2)), rng.uniform(0, 180))
        )
        cv2.fillPoly(image, [box.round().astype(np.int32)], value, cv2.LINE_AA)
    elif kind < 0.85:
        n = int(rng.integers(3, 9))
        angles = np.sort(rng.uniform(0, 2 * np.pi, n))
        radii = size * rng.uniform(0.4, 1.2, n)
        polygon = centre + np.stack([radii * np.cos(angles), radii * np.sin(angles)], 1)
        cv2.fillPoly(image, [polygon.round().astype(np.int32)], value, cv2.LINE_AA)
    else:
        direction = rng.uniform(0, 2 * np.pi)
        reach = np.array([np.cos(direction), np.sin(direction)]) * max(height, width)
        ends = [tuple(int(v) for v in centre + sign * reach) for sign in (-1, 1)]
        cv2.line(image, ends[0], ends[1], value, max(1, int(size * 0.35)), cv2.LINE_AA)
