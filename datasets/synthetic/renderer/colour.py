"""Colours and noise that people, backgrounds and occluders are drawn with."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.renderer.arrays import Floats

#: Of a display: linear RGB is this power of sRGB.
GAMMA = 2.2


def to_linear(colour: Sequence[float] | NDArray[np.floating]) -> Floats:
    """sRGB in 0 to 255 → linear RGB in [0, 1] (a plain power)."""
    return ((np.asarray(colour, dtype=np.float32).clip(0, 255) / 255) ** GAMMA).astype(np.float32)


def to_srgb(linear: Floats) -> Floats:
    """Linear RGB, of which what is beyond [0, 1] is clipped → sRGB in 0 to 255."""
    levels: Floats = np.clip(linear, 0, 1) ** np.float32(1 / GAMMA) * 255
    return levels


def grey_levels(colours: Floats) -> Floats:
    """How bright colours (..., 3) in sRGB look: grey levels (...) in the same unit (luma, ITU-R BT.601)."""
    levels: Floats = colours @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    return levels


def palette_colour(palette: Sequence[Sequence[float]], position: float) -> Floats:
    """The colour at ``position`` in [0, 1] of a palette of sRGB colours, interpolated: sRGB (3,)."""
    steps = np.linspace(0, 1, len(palette))
    return np.array([np.interp(position, steps, channel) for channel in np.array(palette).T], dtype=np.float32)


def random_colour(rng: np.random.Generator, saturation: float = 1.0) -> Floats:
    """Any colour: sRGB (3,), grey at saturation 0."""
    value = rng.uniform(5, 250)
    tint = rng.uniform(-1, 1, 3) * 110 * saturation * rng.random()
    return (value + tint).clip(0, 255).astype(np.float32)


def smooth_noise(rng: np.random.Generator, height: int, width: int, cells: float) -> Floats:
    """Noise of mean 0 and deviation about 1 whose features are 1/cells of the longer side: (height, width)."""
    side = max(height, width)
    small = rng.standard_normal(
        (max(2, round(cells * height / side) + 1), max(2, round(cells * width / side) + 1)), dtype=np.float32
    )
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.float32)


def wave_noise(rng: np.random.Generator, points: Floats, wavelength: float) -> Floats:
    """Smooth noise in space, of deviation about 1: (n, 3) → (n,)."""
    waves = 6
    directions = rng.standard_normal((waves, 3), dtype=np.float32) * np.float32(2 * np.pi / wavelength)
    phases = rng.uniform(0, 2 * np.pi, waves).astype(np.float32)
    noise: Floats = np.sin(points @ directions.T + phases).sum(1) * np.float32(np.sqrt(2 / waves))
    return noise
