"""Glasses that fit a head."""

import numpy as np

from datasets.synthetic.people.head import Sphere
from datasets.synthetic.renderer.arrays import f32
from datasets.synthetic.renderer.colour import random_colour, to_linear
from datasets.synthetic.renderer.glasses import Glasses
from datasets.synthetic.renderer.shapes import superellipse


def random_glasses(rng: np.random.Generator, eyes: tuple[Sphere, Sphere]) -> Glasses:
    """Glasses that sit before these eyes."""
    sun = rng.random() < 0.33
    width, height = rng.uniform(2.0, 2.9), rng.uniform(1.4, 2.4)
    if sun:
        width, height = width * rng.uniform(1.0, 1.25), height * rng.uniform(1.0, 1.25)
    power = rng.uniform(2, 5)
    unit_x, unit_y = superellipse(40, power)
    drop, gap = rng.uniform(0, 0.6), rng.uniform(0.9, 1.4)
    rims = []
    front = min(eye.centre[2] - eye.radius for eye in eyes) - rng.uniform(0.9, 1.5)
    for side, eye in zip((1, -1), eyes, strict=True):
        x, y = width * unit_x, height * unit_y
        centre = max(abs(float(eye.centre[0])), width * 0.9 + gap * 0.5) + 0.1
        outward = x * side
        z = front + 0.035 * (centre + outward) ** 2 * 0.5
        rims.append(np.stack([side * centre + x, eye.centre[1] + drop + y, z], 1).astype(np.float32))
    left, right = rims
    inner_left, inner_right = left[int(np.argmin(left[:, 0]))], right[int(np.argmax(right[:, 0]))]
    t = np.linspace(0, 1, 7)[:, None]
    bridge = inner_right + t * (inner_left - inner_right)
    bridge[:, 1] -= 0.3 * np.sin(np.pi * t[:, 0]) + 0.3
    bars = [bridge.astype(np.float32)]
    for side, rim in ((1, left), (-1, right)):
        hinge = rim[int(np.argmax(side * rim[:, 0]))]
        ear = f32([side * 8.0, eyes[0].centre[1] + 0.3, 8.5])
        bars.append((hinge + np.linspace(0, 1, 14)[:, None] * (ear - hinge)).astype(np.float32))
    lens = to_linear(random_colour(rng, 0.5) * rng.uniform(0.0, 0.35))
    mirrors = sun and rng.random() < 0.35
    return Glasses(
        (left, right),
        tuple(bars),
        to_linear(random_colour(rng, 0.7) * rng.uniform(0.05, 1)),
        rng.uniform(0.05, 0.4),
        lens,
        rng.uniform(0.7, 1.0) if sun else rng.uniform(0, 0.2),
        to_linear(random_colour(rng, 1.3)) if mirrors else lens * np.float32(rng.uniform(1, 3)),
        rng.uniform(0, 0.7) if rng.random() < 0.4 else 0.0,
    )
