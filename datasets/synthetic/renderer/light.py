"""The light of a scene."""

from dataclasses import dataclass

import numpy as np

from datasets.synthetic.renderer.arrays import Doubles, Floats


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


@dataclass
class _Lighting:
    """A lamp and the room around it, whose strengths are yet to be drawn."""

    #: (3,), towards the lamp, of any length.
    direction: Doubles
    #: How much of the light is the lamp's; the room's light is the less the larger it is.
    ratio: float
    #: As of :class:`Light`.
    shadow: float
    softness: float
    #: (3,) each, linear RGB of mean about 1.
    lamp_tint: Doubles
    room_tint: Doubles


def random_light(rng: np.random.Generator) -> Light:
    """A lamp from anywhere in front of the face and a room around it, or one of the lights that are hard to see by."""
    kinds, shares = zip(*_KINDS, strict=True)
    change = kinds[int(rng.choice(len(kinds), p=shares))]
    lighting = _random_lighting(rng)
    change(lighting, rng)
    direction = lighting.direction / np.linalg.norm(lighting.direction)
    lamp = lighting.lamp_tint * lighting.ratio * rng.uniform(0.9, 1.4)
    room = (1 - 0.75 * lighting.ratio) * lighting.room_tint
    return Light(
        direction=direction.astype(np.float32),
        colour=lamp.astype(np.float32),
        sky=(room * rng.uniform(0.6, 1.1)).astype(np.float32),
        ground=(room * rng.uniform(0.25, 0.9) * (1 + rng.normal(0, 0.1, 3))).clip(0).astype(np.float32),
        shadow=float(lighting.shadow),
        softness=float(lighting.softness),
    )


def _random_lighting(rng: np.random.Generator) -> _Lighting:
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
    return _Lighting(direction, ratio, shadow, softness, lamp_tint, room_tint)


def _tint(rng: np.random.Generator, strength: float) -> Doubles:
    """A colour of light (3,) of mean about 1: warm or cool by this much, and a little of any."""
    warm = rng.normal(0.3 * strength, strength)
    tint: Doubles = np.maximum(np.array([1 + warm, 1, 1 - warm]) * (1 + rng.normal(0, 0.25 * strength, 3)), 0.2)
    return tint


# -- sorts of light: what becomes of a lighting, in place --------------------------------------------------------------


def _plain(lighting: _Lighting, rng: np.random.Generator) -> None:
    pass


def _hard(lighting: _Lighting, rng: np.random.Generator) -> None:
    """One lamp, and next to nothing else."""
    lighting.direction[0] += rng.normal(0, 0.9)
    lighting.ratio = rng.uniform(1.05, 1.28)
    lighting.shadow, lighting.softness = rng.uniform(0.85, 1), rng.uniform(0.3, 1.5)


def _flash(lighting: _Lighting, rng: np.random.Generator) -> None:
    lighting.direction = np.array([rng.normal(0, 0.08), -abs(rng.normal(0, 0.12)), -1.0])
    lighting.ratio = rng.uniform(1.0, 1.28)
    lighting.shadow, lighting.softness = rng.uniform(0.5, 1), rng.uniform(0.3, 1)


def _noon(lighting: _Lighting, rng: np.random.Generator) -> None:
    """Deep shade in the eyes and under what is worn."""
    lighting.direction = np.array([rng.normal(0, 0.35), -1.0, rng.uniform(-0.8, 0.1)])
    lighting.ratio = rng.uniform(0.95, 1.25)
    lighting.shadow, lighting.softness = rng.uniform(0.8, 1), rng.uniform(0.3, 1.2)


def _below(lighting: _Lighting, rng: np.random.Generator) -> None:
    lighting.direction = np.array([rng.normal(0, 0.4), rng.uniform(0.4, 1.2), -rng.uniform(0.2, 0.9)])
    lighting.ratio = rng.uniform(0.8, 1.25)


def _behind(lighting: _Lighting, rng: np.random.Generator) -> None:
    lighting.direction = np.array([rng.normal(0, 0.8), -abs(rng.normal(0.3, 0.4)), rng.uniform(0.2, 1.0)])
    lighting.ratio, lighting.shadow = rng.uniform(0.8, 1.2), rng.uniform(0.7, 1)


def _stage(lighting: _Lighting, rng: np.random.Generator) -> None:
    """Lamp and room in colours of their own."""
    strength = rng.uniform(0.3, 1.0)
    lighting.lamp_tint, lighting.room_tint = (
        1 - strength + strength * 1.6 * rng.dirichlet((0.7, 0.7, 0.7)) for _ in range(2)
    )
    lighting.ratio = rng.uniform(0.6, 1.2)


def _soft(lighting: _Lighting, rng: np.random.Generator) -> None:
    lighting.ratio, lighting.shadow = rng.uniform(0.0, 0.3), 0.0


#: Sorts of light, and how often each comes: half of the images have a plain one.
_KINDS = (
    (_plain, 0.56), (_hard, 0.10), (_flash, 0.07), (_noon, 0.08), (_below, 0.03), (_behind, 0.05), (_stage, 0.05),
    (_soft, 0.06),
)  # fmt: skip
