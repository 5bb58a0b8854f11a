"""Shadows that something out of the image casts over it: leaves, blinds, an edge."""

from dataclasses import dataclass

import cv2
import numpy as np

from datasets.synthetic.renderer.arrays import Floats, f32
from datasets.synthetic.renderer.colour import smooth_noise


@dataclass(frozen=True)
class Shade:
    """A pattern of light and shadow. The same shade is the same pattern in every frame of a video."""

    #: What the pattern's random numbers start from.
    seed: int
    #: Share of the light that the shadows take, 0 to 1.
    darkness: float

    @staticmethod
    def random(rng: np.random.Generator) -> "Shade":
        """Any pattern, from a hint to deep shadow."""
        return Shade(int(rng.integers(2**31)), float(rng.uniform(0.3, 0.92)))

    def light(self, height: int, width: int) -> Floats:
        """Share of the light that arrives at each pixel, (height, width, 3), in (0, 1]."""
        rng = np.random.default_rng(self.seed)
        rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
        angle = rng.uniform(0, 2 * np.pi)
        along = np.cos(angle) * columns + np.sin(angle) * rows
        kind = rng.random()
        # Below 0 is shadow, and 1 is the width of an edge.
        if kind < 0.5:  # an edge: half of the face, a wall's or a hat's shadow
            bend = smooth_noise(rng, height, width, rng.uniform(1.2, 5)) * rng.uniform(0, 0.15)
            field = (along + bend - rng.normal(0, 0.35)) / np.float32(np.exp(rng.uniform(np.log(0.015), np.log(0.7))))
        elif kind < 0.7:  # blinds, bars and branches
            period = rng.uniform(0.15, 0.9)
            bend = smooth_noise(rng, height, width, rng.uniform(1.2, 4)) * rng.uniform(0, 0.25) * period
            wave = np.cos((along + bend) * np.float32(2 * np.pi / period)) + rng.uniform(-0.5, 0.7)
            field = wave / np.float32(rng.uniform(0.15, 1))
        else:  # leaves
            noise = smooth_noise(rng, height, width, rng.uniform(2, 14)) + rng.uniform(-0.7, 0.7)
            field = noise / np.float32(rng.uniform(0.1, 1))
        lit = (field + np.float32(0.5)).clip(0, 1)
        lit = lit * lit * (3 - 2 * lit)
        shadow = np.float32(self.darkness) * (1 - lit)
        # What is left is the light of the sky or of a room, which is of another colour.
        cool = rng.normal(0, 0.08)
        left = f32([1 - cool, 1, 1 + cool]).clip(0.5, 1.5)
        return f32(cv2.merge([1 - shadow * min(1.0, 2 - float(share)) for share in left]).clip(0.01, 1))
