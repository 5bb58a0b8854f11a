"""The light of a scene."""

from dataclasses import dataclass

import numpy as np

from datasets.synthetic.renderer.arrays import Floats


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
    """A lamp from anywhere in front of the face, and a room around it."""
    direction = np.array(
        [
            rng.normal(0, 0.8),
            -abs(rng.normal(0.3, 0.6)) if rng.random() < 0.85 else rng.uniform(0, 0.8),
            -abs(rng.normal(0.8, 0.5)),
        ]
    )
    if rng.random() < 0.08:
        direction[2] *= -0.6  # from behind
    direction /= np.linalg.norm(direction)
    ratio = rng.uniform(0.1, 0.95)
    warm = rng.normal(0, 0.12)
    lamp = np.array([1 + warm, 1, 1 - warm]) * (1 + rng.normal(0, 0.03, 3)) * ratio * rng.uniform(0.9, 1.4)
    tint = 1 + rng.normal(0, 0.08, 3) if rng.random() < 0.85 else 1 + rng.normal(0, 0.25, 3)
    room = (1 - 0.75 * ratio) * np.maximum(tint, 0.2)
    return Light(
        direction=direction.astype(np.float32),
        colour=np.maximum(lamp, 0).astype(np.float32),
        sky=(room * rng.uniform(0.6, 1.1)).astype(np.float32),
        ground=(room * rng.uniform(0.25, 0.9) * (1 + rng.normal(0, 0.1, 3))).clip(0).astype(np.float32),
        shadow=float(rng.uniform(0.3, 1)) if rng.random() < 0.8 else 0.0,
        softness=float(rng.uniform(0.5, 3.5)),
    )
