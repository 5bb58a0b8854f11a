"""Glasses, which are drawn as lines and polygons over the image: their rims are too thin for a mesh."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.renderer.arrays import Doubles, Floats
from datasets.synthetic.renderer.camera import Projection
from datasets.synthetic.renderer.compositing import composite, coverage
from datasets.synthetic.renderer.light import Light
from datasets.synthetic.renderer.shapes import fill

#: Depth in centimetres behind the surface at which points are still drawn, as glasses rest on the skin.
_SLACK = 0.8


@dataclass(frozen=True)
class Glasses:
    """A pair of glasses: lines in centimetres, colours in linear RGB."""

    #: (n, 3) each: the left and the right rim, closed.
    rims: tuple[Floats, Floats]
    #: (n, 3) each: bridge and temples.
    bars: tuple[Floats, ...]
    #: (3,), of rims and bars.
    colour: Floats
    #: Thickness of rims and bars, in centimetres.
    thickness: float
    lens_colour: Floats
    #: 0 to 1
    lens_opacity: float
    #: Colour of the lenses' lower edge, which is another where they mirror ground and sky.
    lower_colour: Floats
    #: Strength of a reflection on the lenses, 0 to 1.
    glare: float

    def moved(self, rotation: Floats, shift: Floats) -> "Glasses":
        """The glasses turned by a matrix (3, 3), then shifted by (3,)."""
        left, right, *bars = (line @ rotation.T + shift for line in (*self.rims, *self.bars))
        return replace(self, rims=(left, right), bars=tuple(bars))


def draw_glasses(
    image: Floats, depths: Floats, glasses: Glasses, light: Light, project: Projection, distance: float
) -> None:
    """Draws glasses over an image where nothing is in front of them, in place.

    Args:
        image: (height, width, 3), linear RGB.
        depths: (height, width), of what the image shows.
        glasses: in the camera's coordinates.
        light: how they are lit.
        project: the camera.
        distance: of the head from the camera, which decides on the lines' thickness in pixels.
    """
    brightness = light.brightness
    height, width = depths.shape

    def visible(pixels: Doubles, z: Floats) -> NDArray[np.bool_]:
        column = pixels[:, 0].round().astype(int).clip(0, width - 1)
        row = pixels[:, 1].round().astype(int).clip(0, height - 1)
        return np.asarray(z < depths[row, column] + _SLACK)

    for rim in glasses.rims:
        pixels = project(rim)
        if visible(pixels, rim[:, 2]).mean() < 0.4:
            continue
        mask = np.zeros((height, width), np.uint8)
        fill(mask, pixels)
        opacity = coverage(mask)
        if glasses.lens_opacity > 0.01:
            low, high = float(pixels[:, 1].min()), float(pixels[:, 1].max())
            share = ((np.arange(height, dtype=np.float32) - low) / max(high - low, 1.0)).clip(0, 1)[:, None, None]
            tint = glasses.lens_colour + share * (glasses.lower_colour - glasses.lens_colour)
            composite(image, opacity * glasses.lens_opacity, tint * brightness)
        if glasses.glare > 0:
            rows, columns = np.mgrid[:height, :width].astype(np.float32)
            centre = pixels.mean(0)
            extent = max(4.0, float(np.ptp(pixels[:, 0])) * 0.25)
            band = np.exp(
                -(((columns - centre[0]) + 0.7 * (rows - centre[1]) + extent * 0.6) ** 2) / (2 * extent**2 * 0.3)
            )
            image += (opacity * glasses.glare * band)[..., None] * light.colour * 0.8
    mask = np.zeros((height, width), np.uint8)
    thickness = max(1, round(glasses.thickness * project.scale / distance))
    for closed, line in (*((True, rim) for rim in glasses.rims), *((False, bar) for bar in glasses.bars)):
        pixels = project(line)
        shown = visible(pixels, line[:, 2])
        points = (pixels * 16).round().astype(np.int32)
        for i in range(len(points) if closed else len(points) - 1):
            j = (i + 1) % len(points)
            if shown[i] and shown[j]:
                cv2.line(mask, points[i].tolist(), points[j].tolist(), 255, thickness, cv2.LINE_AA, 4)
    composite(image, coverage(mask), glasses.colour * brightness)
