"""A hand with its arm, as a relief."""

import numpy as np

from datasets.synthetic.renderer.arrays import Floats, f32
from datasets.synthetic.renderer.colour import random_colour, to_linear
from datasets.synthetic.renderer.relief import Frame, Relief


def add_hand(relief: Relief, rng: np.random.Generator, frame: Frame, pose: str, skin: Floats) -> None:
    """Adds a hand whose wrist is at the frame's origin and whose fingers point along its first axis, and its arm.

    Args:
        pose: ``open``, ``fist`` or ``pointing``.
        skin: its colour (3,), linear RGB.
    """
    cm = frame.unit * rng.uniform(0.8, 1.05)
    size = cm / frame.unit
    side = float(rng.choice((-1, 1)))

    def rod(ends: tuple[float, float, float, float], radii: tuple[float, float], colour: Floats, lift: float = 0.0,
            flatness: float = 1.0) -> None:  # fmt: skip
        a, b, c, d = (size * value for value in ends)
        relief.limb(frame(a, side * b), frame(c, side * d), radii[0] * cm, radii[1] * cm, colour, lift * cm, flatness)

    sleeve = to_linear(random_colour(rng))
    cuff = rng.uniform(-10, -2)
    rod((0.5, 0, -30, 0), (2.7, 3.6), skin, -0.2, 0.7)
    if rng.random() < 0.7:
        rod((cuff, 0, -30, 0), (3.5, 4.6), sleeve, 0.2, 0.7)
    knuckle = skin * f32([0.95, 0.78, 0.75])
    nail = np.minimum(skin * f32([1.15, 1.0, 1.0]) + 0.04, 0.95)
    shows_nails = rng.random() < 0.6
    spread, curl = rng.uniform(0, 0.28), rng.uniform(0.55, 1.0)
    extended = {"open": 4, "fist": 0, "pointing": 1}[pose]
    for i, length in enumerate((6.6, 7.6, 7.0, 5.6)):
        across = (i - 1.5) * 2.0
        base = 9.3 - 0.35 * (i - 1.2) ** 2
        rod((0.8, across * 0.6, base, across), (1.7, 1.25), skin, 0.0, 0.55)
        radius = 0.93 - 0.06 * (i == 3)
        bend, lean = rng.normal(0, 0.06, 2)
        if i < extended:
            direction, at = spread * (i - 1.5) * 0.5 + bend, np.array([base, across])
            for joint, share in enumerate((0.45, 0.3, 0.25)):
                step = share * length * (curl if joint else 1.0) * np.array([np.cos(direction), np.sin(direction)])
                ends = (at[0], at[1], at[0] + step[0], at[1] + step[1])
                rod(ends, (radius * (1 - 0.06 * joint), radius * (0.94 - 0.06 * joint)), skin, 0.35 + 0.12 * joint)
                at, direction = at + step, direction + lean
            if shows_nails:
                rod((at[0] - 0.1, at[1], at[0] + 0.35, at[1]), (0.5, 0.45), nail, 0.98, 0.5)
        else:
            rod((base + 0.2, across, base - 1.0, across), (1.15, 1.05), knuckle, 0.5)
            rod((base + 0.3, across, base - 3.0 + bend * 8, across * 0.92), (1.0, 0.92), skin, 0.9)
    tucked = pose != "open" or rng.random() < 0.3
    tip = (7.2, -0.5) if tucked else (8.6 + rng.normal(0, 0.8), -6.4 + rng.normal(0, 1.0))
    middle = (5.0, -3.6) if tucked else (5.6, -5.2)
    rod((2.0, -2.0, *middle), (1.5, 1.15), skin, 0.4)
    rod((*middle, *tip), (1.1, 0.85), skin, 1.6 if tucked else 0.5)
