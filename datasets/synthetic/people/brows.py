"""Eyebrows: their shapes, their hair in the skin's texture, and their landmarks."""

from dataclasses import dataclass

import cv2
import numpy as np

from datasets.synthetic.people.head import Head, SurfacePoints, plane_to_texels
from datasets.synthetic.renderer.arrays import Doubles, Floats
from datasets.synthetic.renderer.compositing import coverage
from datasets.synthetic.renderer.shapes import fill

#: Distance of the template's outer eye corners in centimetres, the unit of a brow's proportions.
_EYES = 8.9


@dataclass(frozen=True)
class BrowEdges:
    """The edges of a brow on a head, each from the brow's outer end to its inner one."""

    upper: SurfacePoints
    lower: SurfacePoints


@dataclass(frozen=True)
class Brow:
    """A brow of the template's front view. Lengths are fractions of the distance of the outer eye corners."""

    #: 1 for the person's left brow, −1 for the right.
    side: int
    #: Distance of its ends from the middle of the face, and the height of the inner one (negative is up).
    inner: float
    outer: float
    level: float
    #: Rise of the arch, where along the brow its top is, and how much lower the outer end sits.
    arch: float
    peak: float
    droop: float
    thickness: float
    #: 0 (hardly a hair) to 1.
    density: float

    @staticmethod
    def random_pair(rng: np.random.Generator, gender: float) -> "tuple[Brow, Brow]":
        """The left and the right brow of a person, nearly symmetric."""
        inner, outer = rng.normal(0.155, 0.018), rng.normal(0.60, 0.022)
        level, arch = rng.normal(-0.137, 0.018), max(0.0, rng.normal(0.056, 0.024))
        peak, droop = rng.uniform(0.5, 0.75), rng.normal(0.025, 0.02)
        thickness = float(np.clip(rng.normal(0.072 + 0.012 * gender, 0.017), 0.03, 0.13))
        density = float(rng.beta(2.2, 1.0))
        left, right = (
            Brow(side, inner, outer, level + rng.normal(0, 0.004), arch, peak, droop, thickness, density)
            for side in (1, -1)
        )
        return left, right

    def edges(self, head: Head) -> BrowEdges:
        """Its edges, which its landmarks lie on and which meet at its outer end."""
        along = np.linspace(1, 0, 17)
        across = np.full_like(along, 0.5)
        upper, lower = across.copy(), across.copy()
        upper[1:], lower[1:] = 0, 1
        return BrowEdges(*(head.at_front(*self._place(along, edge)) for edge in (upper, lower)))

    def opacity(self, rng: np.random.Generator, height: int, width: int) -> Floats:
        """Opacity in [0, 1] of its hair in the skin's texture, (height, width)."""
        t = np.linspace(0, 1, 25)
        upper, lower = (np.stack(plane_to_texels(*self._place(t, edge)), 1) for edge in (0 * t, 1 + 0 * t))
        mask = np.zeros((height, width), np.uint8)
        fill(mask, np.concatenate([upper, lower[::-1]]), int(255 * self.density * rng.uniform(0.35, 1.0)))
        mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.6, 2.2)), dtype=np.uint8)
        n = int(rng.integers(40, 150) * (0.4 + self.density))
        at = rng.random(n)
        x, y = self._place(at, rng.random(n))
        length = rng.uniform(0.25, 0.7, n)
        lean = rng.uniform(-1.2, -0.1, n) * (1 - at) + rng.uniform(-0.1, 0.7, n) * at
        starts = np.stack(plane_to_texels(x, y), 1)
        ends = np.stack(plane_to_texels(x + self.side * length * np.cos(lean), y + 0.6 * length * np.sin(lean)), 1)
        values = rng.uniform(120, 255, n) * (0.4 + 0.6 * self.density)
        lines = (np.stack([starts, ends], 1) * 16).round().astype(int).tolist()
        for (start, end), value in zip(lines, values.astype(int).tolist(), strict=True):
            cv2.line(mask, start, end, value, 1, cv2.LINE_AA, 4)
        return coverage(mask)

    def _place(self, along: Doubles, across: Doubles) -> tuple[Doubles, Doubles]:
        """x and y in centimetres of points in the brow: along from its inner end, across from its upper edge."""
        bend = np.sin(np.pi * np.clip(along, 0, 1) ** (np.log(0.5) / np.log(self.peak)))
        middle = self.level - self.arch * bend + self.droop * along
        taper = (1 - 0.9 * np.clip((along - 0.6) / 0.4, 0, 1) ** 2) * (0.8 + 0.2 * np.clip(along / 0.25, 0, 1))
        x = self.side * (self.inner + (self.outer - self.inner) * along) * _EYES
        y = (middle + (across - 0.5) * self.thickness * taper) * _EYES
        return x, y
