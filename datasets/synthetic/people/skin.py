"""Skin: its colour and its specular highlights at every vertex of a head."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.people.head import Head
from datasets.synthetic.renderer.arrays import Floats, f32
from datasets.synthetic.renderer.colour import palette_colour, random_colour, to_linear, wave_noise

#: In sRGB.
_LIPSTICK = ((90, 20, 30), (170, 30, 45), (200, 70, 90), (120, 50, 60), (215, 110, 110))


def random_skin(
    head: Head, rng: np.random.Generator, skin: NDArray[np.float32], gender: float
) -> tuple[Floats, Floats]:
    """The skin of a head.

    Args:
        skin: (3,), its colour in sRGB, 0 to 255.
        gender: as of :class:`datasets.synthetic.people.person.Phenotype`.

    Returns:
        Diffuse reflectance in linear RGB (V, 3); strength and exponent of the specular highlight (V, 2).
    """
    points = head.template
    base = to_linear(skin)
    colours = base * np.exp(_tone(rng, points))
    _add_blood(colours, head, rng)
    lips = _Lips.random(rng, base, gender)
    colours += lips.opacity * head.lips[:, None] * (lips.colour - colours)
    cavity = np.clip(head.mouth - head.lips, 0, 1)
    colours += cavity[:, None] * (f32([0.16, 0.03, 0.03]) * rng.uniform(0.3, 1.2) - colours)
    colours[head.is_tongue] = f32([0.45, 0.14, 0.14]) * rng.uniform(0.7, 1.2)
    _add_lashes(colours, head, rng)
    specular = _grease(rng, points)
    specular[head.lips > 0.5, 0] = lips.highlight
    specular[head.lips > 0.5, 1] = rng.uniform(15, 50)
    specular[cavity > 0.5, 0] = 0.02
    return colours.clip(0.002, 0.95).astype(np.float32), specular


def _near(points: Floats, x: float, y: float, radius: float) -> Floats:
    """How near points of the face's front (V, 3) are to a place on both sides of it: (V, 1), 1 there."""
    d2 = (np.abs(points[:, 0]) - x) ** 2 + (points[:, 1] - y) ** 2
    return np.exp(-d2 / (2 * radius**2)).astype(np.float32)[:, None] * (points[:, 2:] < 6)


def _tone(rng: np.random.Generator, points: Floats) -> Floats:
    """Unevenness of the skin as the logarithm of its brightness: (V, 1)."""
    tone = np.zeros((len(points), 1), dtype=np.float32)
    for wavelength, strength in ((9.0, 0.06), (3.0, 0.05), (1.2, 0.035)):
        tone += (strength * rng.uniform(0.3, 1.5) * wave_noise(rng, points, wavelength))[:, None]
    return tone


def _add_blood(colours: Floats, head: Head, rng: np.random.Generator) -> None:
    """Blotches of more and of less blood, flushed cheeks, nose and ears, and dark lids and rings below; in place."""
    points = head.template
    blood = rng.uniform(0, 0.09) * wave_noise(rng, points, rng.uniform(1.5, 4.0))[:, None]
    colours *= np.exp(blood * f32([0.3, -1.0, -0.9]))
    flush = rng.uniform(0, 0.45)
    red = f32([1.15, 0.72, 0.74])
    for place in (_near(points, 4.5, 3.3, 1.6), _near(points, 0, 3.3, 1.1), head.ears[:, None] * 0.7):
        colours *= 1 + flush * place * (red - 1)
    colours *= 1 - rng.uniform(0, 0.35) * _near(points, 3.0, 1.0, 0.7) * f32([0.5, 0.6, 0.5])
    colours *= 1 - rng.uniform(0, 0.4) * head.lids[:, None] * f32([0.5, 0.7, 0.7])


class _Lips(NamedTuple):
    """Lips, painted or not."""

    #: (3,), linear RGB.
    colour: Floats
    opacity: float
    #: Strength of the specular highlight.
    highlight: float

    @classmethod
    def random(cls, rng: np.random.Generator, base: Floats, gender: float) -> "_Lips":
        """The lips of a face whose skin has the colour ``base``."""
        if rng.random() < 0.45 * (1 - gender) + 0.04:
            paint = palette_colour(_LIPSTICK, rng.random()) if rng.random() < 0.9 else random_colour(rng)
            return cls(to_linear(paint), rng.uniform(0.4, 1.0), rng.uniform(0.05, 0.5))
        colour = (base * f32([0.92, 0.56, 0.58]) * rng.uniform(0.65, 1.15)).astype(np.float32)
        return cls(colour, rng.uniform(0.25, 0.95), rng.uniform(0.02, 0.15))


def _add_lashes(colours: Floats, head: Head, rng: np.random.Generator) -> None:
    """Lashes and, on some, a drawn line; in place."""
    edge = np.zeros(len(colours), dtype=np.float32)
    for lid, weight in (*((lid, 1.0) for lid in head.upper_lids), *((lid, 0.4) for lid in head.lower_lids)):
        edge[lid.vertices[:, 0]] = weight * rng.uniform(0.3, 1)
    colours *= 1 - (edge * rng.uniform(0.3, 0.95))[:, None]


def _grease(rng: np.random.Generator, points: Floats) -> Floats:
    """Strength and exponent of the specular highlight (V, 2): of grease, which shines on the forehead, the nose and the
    cheeks, and of the skin's unevenness of a few millimetres.
    """
    grease = rng.uniform(0.0, 0.14) if rng.random() < 0.75 else rng.uniform(0.14, 0.3)
    shine = 1 + 0.3 * wave_noise(rng, points, 4.0) + rng.uniform(0, 0.5) * wave_noise(rng, points, 0.9)
    places = _near(points, 0, -4.5, 2.5) + _near(points, 0, 2.5, 1.0) + _near(points, 4.2, 2.2, 1.2)
    shine += rng.uniform(0, 1.2) * places[:, 0]
    specular = np.empty((len(points), 2), dtype=np.float32)
    specular[:, 0] = grease * shine.clip(0, 3)
    specular[:, 1] = rng.uniform(6, 30) if rng.random() < 0.7 else rng.uniform(30, 70)
    return specular
