"""Reliefs: rounded things before a face, which are drawn in the image and lit by their heights, without a mesh."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.renderer.arrays import Doubles, Floats, f32
from datasets.synthetic.renderer.colour import smooth_noise
from datasets.synthetic.renderer.compositing import composite

#: Points (2,): column and row in pixels.
Point = NDArray[np.floating] | Sequence[float]


@dataclass(frozen=True)
class Frame:
    """Coordinates in centimetres in the plane of an image, to place things in."""

    #: (2,) each: where the origin is, in pixels, and the pixels of a centimetre along both axes.
    origin: Doubles
    first: Doubles
    second: Doubles

    def __call__(self, first: float, second: float) -> Doubles:
        """Coordinates → column and row (2,)."""
        place: Doubles = self.origin + first * self.first + second * self.second
        return place

    @property
    def unit(self) -> float:
        """Pixels of a centimetre."""
        return float(np.hypot(*self.first))

    def turned(self, origin: Doubles, angle: float) -> "Frame":
        """The frame with another origin in pixels, its first axis turned towards the second by an angle in radians."""
        c, s = np.cos(angle), np.sin(angle)
        return Frame(origin, c * self.first + s * self.second, c * self.second - s * self.first)


class Relief:
    """Heights over an image, opacities and colours, to which limbs are added; the highest is seen.

    Args:
        height, width: of the image.
    """

    def __init__(self, height: int, width: int) -> None:
        self._heights = np.zeros((height, width), dtype=np.float32)
        self._opacity = np.zeros((height, width), dtype=np.float32)
        self._colours = np.zeros((height, width, 3), dtype=np.float32)

    def limb(
        self,
        start: Point,
        end: Point,
        radius: float,
        end_radius: float,
        colour: Floats,
        lift: float = 0.0,
        flatness: float = 1.0,
    ) -> None:
        """Adds a rod with round ends: a finger's joint, a palm, a handle, and with start = end a ball.

        Args:
            start, end: its axis.
            radius, end_radius: in pixels, at the start and at the end.
            colour: (3,), linear RGB.
            lift: height of its axis in pixels.
            flatness: its height over its radius.
        """
        a, b = np.asarray(start, dtype=np.float32), np.asarray(end, dtype=np.float32)
        reach = max(radius, end_radius) + 2
        rows, columns = self._heights.shape
        left, top = np.maximum(np.floor(np.minimum(a, b) - reach).astype(int), 0)
        right, bottom = np.minimum(np.ceil(np.maximum(a, b) + reach).astype(int), (columns, rows))
        if left >= right or top >= bottom:
            return
        x = np.arange(left, right, dtype=np.float32)[None] - a[0]
        y = np.arange(top, bottom, dtype=np.float32)[:, None] - a[1]
        axis = b - a
        along = ((x * axis[0] + y * axis[1]) / max(float(axis @ axis), 1e-6)).clip(0, 1)
        widths = np.float32(radius) + np.float32(end_radius - radius) * along
        distance = np.hypot(x - along * axis[0], y - along * axis[1])
        opacity = (widths - distance + np.float32(0.5)).clip(0, 1)
        z = np.float32(lift) + np.float32(flatness) * np.sqrt((widths * widths - distance * distance).clip(0))
        window = np.s_[top:bottom, left:right]
        over = (opacity > 0) & (z >= self._heights[window])
        np.copyto(self._heights[window], z, where=over)
        np.copyto(self._colours[window], colour, where=over[..., None])
        np.maximum(self._opacity[window], opacity, out=self._opacity[window])

    def draw(self, image: Floats, rng: np.random.Generator, brightness: float, grain: float = 0.1) -> None:
        """Lights the relief from anywhere in front and lays it over an image, in place.

        Args:
            image: (height, width, 3), linear RGB.
            brightness: of the light.
            grain: deviation of its colour's logarithm.
        """
        light = np.array([rng.normal(0, 0.7), -abs(rng.normal(0.4, 0.5)), rng.uniform(0.3, 1.2)])
        light = f32(light / np.linalg.norm(light))
        ambient = np.float32(rng.uniform(0.2, 0.75))
        noise_seed, shadow = int(rng.integers(2**31)), np.float32(rng.uniform(0, 0.5))
        rows, columns = np.nonzero(self._opacity.any(1))[0], np.nonzero(self._opacity.any(0))[0]
        if not len(rows):
            return
        window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        heights, opacity, colours = self._heights[window], self._opacity[window], self._colours[window]
        smooth = cv2.GaussianBlur(heights, (0, 0), 0.8)
        dx = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8)
        dy = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8)
        facing = (light[2] - dx * light[0] - dy * light[1]) / np.sqrt(1 + dx * dx + dy * dy)
        # Furrows get less of the room's light.
        size = max(1.0, 0.03 * float(np.hypot(*heights.shape)))
        depth = ((cv2.GaussianBlur(heights, (0, 0), size) - heights) / np.float32(size)).clip(0, 1)
        lit = ambient * (1 - shadow * depth) + (1 - ambient) * 1.5 * facing.clip(0)
        noise = smooth_noise(np.random.default_rng(noise_seed), heights.shape[0], heights.shape[1], 18)
        shaded = colours * (lit * np.exp(np.float32(grain) * noise) * np.float32(brightness))[..., None]
        composite(image[window], opacity, shaded)
