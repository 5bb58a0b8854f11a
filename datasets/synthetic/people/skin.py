"""Skin: its colour and its specular highlights at every vertex of a head."""

import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.people.head import Head
from datasets.synthetic.renderer.arrays import Floats, f32
from datasets.synthetic.renderer.colour import palette_colour, random_colour, to_linear, wave_noise


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
    tone = np.zeros((len(points), 1), dtype=np.float32)
    for wavelength, strength in ((9.0, 0.06), (3.0, 0.05), (1.2, 0.035)):
        tone += (strength * rng.uniform(0.3, 1.5) * wave_noise(rng, points, wavelength))[:, None]
    colours = base * np.exp(tone)

    def near(x: float, y: float, radius: float) -> Floats:
        d2 = (np.abs(points[:, 0]) - x) ** 2 + (points[:, 1] - y) ** 2
        return np.exp(-d2 / (2 * radius**2)).astype(np.float32)[:, None] * (points[:, 2:] < 6)

    # Blotches of more and of less blood.
    blood = rng.uniform(0, 0.09) * wave_noise(rng, points, rng.uniform(1.5, 4.0))[:, None]
    colours *= np.exp(blood * f32([0.3, -1.0, -0.9]))
    flush = rng.uniform(0, 0.45)
    red = f32([1.15, 0.72, 0.74])
    for place in (near(4.5, 3.3, 1.6), near(0, 3.3, 1.1), head.ears[:, None] * 0.7):
        colours *= 1 + flush * place * (red - 1)
    colours *= 1 - rng.uniform(0, 0.35) * near(3.0, 1.0, 0.7) * f32([0.5, 0.6, 0.5])
    lids = head.lids[:, None]
    colours *= 1 - rng.uniform(0, 0.4) * lids * f32([0.5, 0.7, 0.7])
    if rng.random() < 0.45 * (1 - gender) + 0.04:
        lip = to_linear(
            palette_colour(((90, 20, 30), (170, 30, 45), (200, 70, 90), (120, 50, 60), (215, 110, 110)), rng.random())
            if rng.random() < 0.9
            else random_colour(rng)
        )
        opacity, highlight = rng.uniform(0.4, 1.0), rng.uniform(0.05, 0.5)
    else:
        lip = (base * f32([0.92, 0.56, 0.58]) * rng.uniform(0.65, 1.15)).astype(np.float32)
        opacity, highlight = rng.uniform(0.25, 0.95), rng.uniform(0.02, 0.15)
    lips = head.lips[:, None]
    colours += opacity * lips * (lip - colours)
    cavity = np.clip(head.mouth - head.lips, 0, 1)[:, None]
    colours += cavity * (f32([0.16, 0.03, 0.03]) * rng.uniform(0.3, 1.2) - colours)
    colours[head.is_tongue] = f32([0.45, 0.14, 0.14]) * rng.uniform(0.7, 1.2)
    # Lashes and, on some, a drawn line.
    edge = np.zeros(len(points), dtype=np.float32)
    for lids_edge, weight in (*((lid, 1.0) for lid in head.upper_lids), *((lid, 0.4) for lid in head.lower_lids)):
        edge[lids_edge.vertices[:, 0]] = weight * rng.uniform(0.3, 1)
    colours *= 1 - (edge * rng.uniform(0.3, 0.95))[:, None]
    specular = np.empty((len(points), 2), dtype=np.float32)
    # Grease shines on the forehead, the nose and the cheeks; the noise of a few millimetres is that of the skin.
    grease = rng.uniform(0.0, 0.14) if rng.random() < 0.75 else rng.uniform(0.14, 0.3)
    shine = 1 + 0.3 * wave_noise(rng, points, 4.0) + rng.uniform(0, 0.5) * wave_noise(rng, points, 0.9)
    shine += rng.uniform(0, 1.2) * (near(0, -4.5, 2.5) + near(0, 2.5, 1.0) + near(4.2, 2.2, 1.2))[:, 0]
    specular[:, 0] = grease * shine.clip(0, 3)
    specular[:, 1] = rng.uniform(6, 30) if rng.random() < 0.7 else rng.uniform(30, 70)
    specular[head.lips > 0.5, 0] = highlight
    specular[head.lips > 0.5, 1] = rng.uniform(15, 50)
    specular[cavity[:, 0] > 0.5, 0] = 0.02
    return colours.clip(0.002, 0.95).astype(np.float32), specular
