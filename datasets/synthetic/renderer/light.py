"""The light of a scene."""

from dataclasses import dataclass

import numpy as np

from datasets.synthetic.renderer.arrays import Doubles, Floats

#: Sorts of light, and how often each comes: half of the images have a plain one.
_KINDS = {
    "plain": 0.56, "hard": 0.10, "flash": 0.07, "noon": 0.08, "below": 0.03, "behind": 0.05, "stage": 0.05,
    "soft": 0.06,
}  # fmt: skip


@dataclass(frozen=True)
class Light:
    """A directional light, and ambient light that differs from above and from below (a hemisphere light)."""

    #: (3,), unit, towards the directional light.
    direction: Floats
    #: (3,), linear RGB of the directional light.
    colour: Floats
    #: (3,) each, linear RGB of the ambient light from above and from below.
    sky: Floats
    ground: Floats
    #: Darkness of the shadows of the directional light, 0 to 1.
    shadow: float
    #: Width of the shadows' edges in texels of the shadow map.
    softness: float

    @property
    def brightness(self) -> float:
        """The light on a surface that half faces the directional light, for all that is drawn without a mesh."""
        return float((self.sky + self.ground).mean() / 2 + 0.6 * self.colour.mean())


def random_light(rng: np.random.Generator) -> Light:
    """A lamp from anywhere in front of the face and a room around it, or one of the lights that are hard to see by."""
    kind = str(rng.choice(list(_KINDS), p=list(_KINDS.values())))
    direction = np.array(
        [
            rng.normal(0, 0.8),
            -abs(rng.normal(0.3, 0.6)) if rng.random() < 0.85 else rng.uniform(0, 0.8),
            -abs(rng.normal(0.8, 0.5)),
        ]
    )
    ratio = rng.uniform(0.1, 0.95)
    softness = rng.uniform(0.5, 3.5)
    shadow = rng.uniform(0.3, 1) if rng.random() < 0.8 else 0.0
    lamp_tint, room_tint = _tint(rng, 0.12), _tint(rng, 0.08 if rng.random() < 0.85 else 0.25)
    if kind == "hard":  # one lamp, and next to nothing else
        direction[0] += rng.normal(0, 0.9)
        ratio, shadow, softness = rng.uniform(1.05, 1.28), rng.uniform(0.85, 1), rng.uniform(0.3, 1.5)
    elif kind == "flash":
        direction = np.array([rng.normal(0, 0.08), -abs(rng.normal(0, 0.12)), -1.0])
        ratio, shadow, softness = rng.uniform(1.0, 1.28), rng.uniform(0.5, 1), rng.uniform(0.3, 1)
    elif kind == "noon":  # deep shade in the eyes and under what is worn
        direction = np.array([rng.normal(0, 0.35), -1.0, rng.uniform(-0.8, 0.1)])
        ratio, shadow, softness = rng.uniform(0.95, 1.25), rng.uniform(0.8, 1), rng.uniform(0.3, 1.2)
    elif kind == "below":
        direction = np.array([rng.normal(0, 0.4), rng.uniform(0.4, 1.2), -rng.uniform(0.2, 0.9)])
        ratio = rng.uniform(0.8, 1.25)
    elif kind == "behind":
        direction = np.array([rng.normal(0, 0.8), -abs(rng.normal(0.3, 0.4)), rng.uniform(0.2, 1.0)])
        ratio, shadow = rng.uniform(0.8, 1.2), rng.uniform(0.7, 1)
    elif kind == "stage":
        strength = rng.uniform(0.3, 1.0)
        lamp_tint, room_tint = (1 - strength + strength * 1.6 * rng.dirichlet((0.7, 0.7, 0.7)) for _ in range(2))
        ratio = rng.uniform(0.6, 1.2)
    elif kind == "soft":
        ratio, shadow = rng.uniform(0.0, 0.3), 0.0
    direction /= np.linalg.norm(direction)
    lamp = lamp_tint * ratio * rng.uniform(0.9, 1.4)
    room = (1 - 0.75 * ratio) * room_tint
    return Light(
        direction=direction.astype(np.float32),
        colour=lamp.astype(np.float32),
        sky=(room * rng.uniform(0.6, 1.1)).astype(np.float32),
        ground=(room * rng.uniform(0.25, 0.9) * (1 + rng.normal(0, 0.1, 3))).clip(0).astype(np.float32),
        shadow=float(shadow),
        softness=float(softness),
    )


def _tint(rng: np.random.Generator, strength: float) -> Doubles:
    """A colour of light (3,) of mean about 1: warm or cool by this much, and a little of any."""
    warm = rng.normal(0.3 * strength, strength)
    tint: Doubles = np.maximum(np.array([1 + warm, 1, 1 - warm]) * (1 + rng.normal(0, 0.25 * strength, 3)), 0.2)
    return tint
