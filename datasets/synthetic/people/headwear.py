"""Hair, hats, hoods, helmets and scarves: surfaces over the skull."""

import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.people.head import N_SKIN
from datasets.synthetic.people.parts import Part
from datasets.synthetic.renderer.arrays import Floats, Ints, f32
from datasets.synthetic.renderer.colour import random_colour, to_linear, wave_noise
from datasets.synthetic.renderer.mesh import grid_triangles


def random_headwear(
    rng: np.random.Generator, neutral: Floats, hair: NDArray[np.float32], gender: float, age: float
) -> tuple[Part, ...]:
    """Hair on most, and on some a hat, a hood, a helmet, a scarf or headphones."""
    skull = _Skull(neutral)
    worn: list[Part] = []
    bald = rng.random() < 0.10 + 0.1 * gender * age
    if not bald:
        long = rng.random() < 0.75 - 0.6 * gender
        worn.append(_hair(rng, skull, hair, long))
    kind = rng.random()
    if kind < 0.17:
        worn.append(_hat(rng, skull))
    elif kind < 0.21:
        worn.append(_scarf(rng, skull))
    elif kind < 0.25:
        worn.append(_hood(rng, skull))
    elif kind < 0.28:
        worn.append(_helmet(rng, skull))
    elif kind < 0.30:
        worn.extend(_headphones(rng, skull))
    return tuple(worn)


class _Skull:
    """The radius of a head about its vertical axis, by direction and height."""

    _DIRECTIONS, _LEVELS = 36, 40

    def __init__(self, neutral: Floats) -> None:
        skin = neutral[:N_SKIN]
        self.axis = float((skin[:, 2].min() + skin[:, 2].max()) / 2)
        self.top = float(skin[:, 1].min())
        self.bottom = float(skin[:, 1].max())
        ears = np.abs(skin[:, 0]) > 7.4
        skin = skin[~(ears & (skin[:, 1] > -1.5))]
        azimuth = np.arctan2(skin[:, 0], self.axis - skin[:, 2])
        radius = np.hypot(skin[:, 0], skin[:, 2] - self.axis)
        column = ((azimuth / (2 * np.pi)) % 1 * self._DIRECTIONS).round().astype(int) % self._DIRECTIONS
        level = ((skin[:, 1] - self.top) / (self.bottom - self.top) * (self._LEVELS - 1)).round().astype(int)
        self._reach = np.zeros((self._LEVELS, self._DIRECTIONS), dtype=np.float32)
        np.maximum.at(self._reach, (level, column), radius)
        for _ in range(3):
            around = np.stack([np.roll(self._reach, shift, axis) for axis in (0, 1) for shift in (-1, 1)]).max(0)
            self._reach = np.where(self._reach == 0, around, self._reach)

    def reach(self, azimuth: NDArray[np.floating], y: NDArray[np.floating]) -> NDArray[np.floating]:
        """Radii, interpolated: azimuth in radians (0 at the nose), y in centimetres."""
        column = (azimuth / (2 * np.pi)) % 1 * self._DIRECTIONS
        level = ((y - self.top) / (self.bottom - self.top) * (self._LEVELS - 1)).clip(0, self._LEVELS - 1.001)
        i, j = level.astype(int), column.astype(int) % self._DIRECTIONS
        fi, fj = level - i, column - column.astype(int)
        k = (j + 1) % self._DIRECTIONS
        table = self._reach
        upper = (1 - fj) * table[i, j] + fj * table[i, k]
        lower = (1 - fj) * table[i + 1, j] + fj * table[i + 1, k]
        radius: NDArray[np.floating] = (1 - fi) * upper + fi * lower
        return radius

    def cover(
        self, ends: NDArray[np.floating], thickness: NDArray[np.floating], hang: float, rows: int = 34
    ) -> tuple[Floats, Ints]:
        """A surface over the head from its crown down.

        Args:
            ends: (n,), height at which it ends in each of n directions all around.
            thickness: (rows, n), distance from the head.
            hang: height from which on it hangs down instead of following the head.
        """
        n = len(ends)
        azimuth = np.linspace(-np.pi, np.pi, n, endpoint=False)[None]
        t = np.linspace(0, 1, rows)[:, None]
        rise = thickness.mean()
        y = self.top - rise + (ends[None] - self.top + rise) * t**1.6
        held = np.minimum(y, hang)
        below = np.maximum(held, self.top + 0.15)
        radius = self.reach(np.broadcast_to(azimuth, y.shape), below)
        crown = np.sqrt(np.clip(1 - ((self.top + 3.0 - y) / (3.0 + rise)).clip(0, 1) ** 2, 0, 1))
        radius = np.where(
            y < self.top + 3.0,
            np.minimum(self.reach(np.broadcast_to(azimuth, y.shape), np.full(y.shape, self.top + 3.0)), 99) * crown,
            radius,
        )
        radius = radius + thickness * np.minimum(1, 4 * t)
        vertices = np.stack([radius * np.sin(azimuth), y, self.axis - radius * np.cos(azimuth)], -1)
        return vertices.reshape(-1, 3).astype(np.float32), grid_triangles(rows, n, closed=True)


def _profile(azimuth: NDArray[np.floating], heights: dict[float, float]) -> NDArray[np.floating]:
    """Heights by |azimuth| in degrees, interpolated."""
    return np.asarray(np.interp(np.degrees(np.abs(azimuth)), list(heights), list(heights.values())))


def _hair(rng: np.random.Generator, skull: _Skull, colour: NDArray[np.float32], long: bool) -> Part:
    n, rows = 128, 34
    azimuth = np.linspace(-np.pi, np.pi, n, endpoint=False)
    ends = _ends_of_hair(rng, azimuth, long)
    volume = rng.uniform(0.25, 1.2) if rng.random() < 0.7 else rng.uniform(1.2, 4.0)
    thickness = _thickness_of_hair(azimuth, rows, volume, long)
    lumps = 0.16 * volume + 0.05
    thickness = thickness + lumps * np.abs(_streaks(rng, rows, n, 30, 6)) * 0.6
    vertices, triangles = skull.cover(ends, thickness, rng.uniform(0.5, 2.5), rows)
    streak = _streaks(rng, rows, n, n, 3) * rng.uniform(0.15, 0.45) + _streaks(rng, rows, n, 24, 4) * 0.2
    colours = to_linear(colour) * np.exp(streak.reshape(-1, 1)) + rng.uniform(0, 0.006)
    if long and rng.random() < 0.4:
        vertices[:, 0] += (
            0.5 * np.sin(vertices[:, 1] * rng.uniform(0.4, 1.2) + rng.uniform(0, 6)) * (vertices[:, 1] > 0)
        )
    return Part(
        vertices,
        triangles,
        colours.clip(0.002, 0.95).astype(np.float32),
        (rng.uniform(0.01, 0.18), rng.uniform(8, 25)),
        0.75,
    )


def _ends_of_hair(rng: np.random.Generator, azimuth: NDArray[np.floating], long: bool) -> NDArray[np.floating]:
    """The height at which hair ends in each of some directions (n,)."""
    front = rng.uniform(-8.3, -4.8)
    temple = rng.uniform(-4.5, -2.0)
    fringe = rng.random() < 0.28
    if fringe:
        front = rng.uniform(-4.2, -1.4)
        temple = rng.uniform(-3.0, -0.5)
    if long:
        length = float(rng.choice([rng.uniform(2, 7), rng.uniform(8, 16), rng.uniform(16, 30)]))
        edge = rng.uniform(58, 82)
        ends = _profile(
            azimuth, {0: front, 34: front * 0.6 + temple * 0.4, edge - 6: temple, edge + 8: length, 180: length}
        )
    else:
        ear, nape = rng.uniform(-2.0, 1.2), rng.uniform(2, 7)
        ends = _profile(
            azimuth,
            {0: front, 38: front * 0.75 + temple * 0.25, 58: temple, 74: ear, 112: ear - 0.8, 135: nape, 180: nape},
        )
    lean = rng.normal(0, 0.12)
    ends = np.asarray(np.interp(azimuth + lean, azimuth, ends, period=2 * np.pi))
    ends = ends + rng.uniform(0.05, 0.5) * rng.standard_normal(len(azimuth)) * (1.0 if not fringe else 1.4)
    if rng.random() < 0.35:  # swept to a side
        ends = ends + rng.uniform(-1, 1) * 2.5 * np.sin(azimuth) * np.exp(-(azimuth**2) / 0.5)
    return ends


def _thickness_of_hair(azimuth: NDArray[np.floating], rows: int, volume: float, long: bool) -> NDArray[np.floating]:
    """Distance of hair from the head, from the crown down, in each of some directions (n,): (rows, n)."""
    t = np.linspace(0, 1, rows)[:, None]
    taper = 0.15 + 0.85 * np.clip((1 - t) * 4, 0, 1) if not long else np.ones_like(t)
    facing = np.exp(-(azimuth[None] ** 2) / 0.6)
    thickness: NDArray[np.floating] = (
        volume * ((1 - facing) + facing * (0.15 + 0.85 * np.clip((1 - t) * 3, 0, 1))) * taper + 0.12
    )
    return thickness


def _hat(rng: np.random.Generator, skull: _Skull) -> Part:
    n, rows = 64, 24
    azimuth = np.linspace(-np.pi, np.pi, n, endpoint=False)
    ends = _profile(azimuth, {0: rng.uniform(-5.2, -2.0), 90: rng.uniform(-4, -1), 180: rng.uniform(-3, 1.5)})
    t = np.linspace(0, 1, rows)[:, None]
    thickness = rng.uniform(0.5, 1.6) + rng.uniform(0, 2.5) * (1 - t) + 0 * azimuth
    vertices, triangles = skull.cover(ends, thickness, 2.0, rows)
    colour, second = to_linear(random_colour(rng)), to_linear(random_colour(rng))
    colours = np.tile(colour, (len(vertices), 1))
    if rng.random() < 0.4:
        stripes = np.sin(np.repeat(np.linspace(0, rng.uniform(5, 40), rows), n)) > 0
        colours[stripes] = second
    style = rng.random()
    if style < 0.65:  # a visor in front, or a brim all around
        rim = vertices.reshape(rows, n, 3)[-1]
        outward = rim - f32([0, 0, skull.axis])
        outward[:, 1] = 0
        outward /= np.linalg.norm(outward, axis=1, keepdims=True)
        length = rng.uniform(4, 8) if style < 0.4 else rng.uniform(3, 8)
        share = np.cos(np.clip(azimuth * 1.35, -np.pi / 2, np.pi / 2))[:, None] if style < 0.4 else np.ones((n, 1))
        droop = rng.uniform(-0.2, 0.35)
        edge = rim + (outward + f32([0, droop, 0])) * length * share.astype(np.float32)
        brim = np.concatenate([rim, edge]).astype(np.float32)
        triangles = np.concatenate([triangles, grid_triangles(2, n, closed=True) + len(vertices)])
        vertices = np.concatenate([vertices, brim])
        colours = np.concatenate([colours, np.tile(second if rng.random() < 0.3 else colour, (2 * n, 1))])
    colours = colours * np.exp(0.15 * wave_noise(rng, vertices, 3))[:, None]
    return Part(vertices, triangles, colours.clip(0.003, 0.95).astype(np.float32), (rng.uniform(0, 0.1), 12), 0.8)


def _scarf(rng: np.random.Generator, skull: _Skull) -> Part:
    n, rows = 72, 34
    azimuth = np.linspace(-np.pi, np.pi, n, endpoint=False)
    edge = rng.uniform(48, 66)
    ends = _profile(azimuth, {0: rng.uniform(-6.5, -4), edge - 14: -3.0, edge: 9.5, edge + 10: 16, 180: 20})
    thickness = np.full((rows, n), rng.uniform(0.4, 1.5)) + 0.25 * np.abs(_streaks(rng, rows, n, 14, 5))
    return _cloth(rng, *skull.cover(ends, thickness, 8.0, rows), shine=0.03, ambient_occlusion=0.8)


def _hood(rng: np.random.Generator, skull: _Skull) -> Part:
    """Cloth that stands off the head and shades the face."""
    n, rows = 72, 34
    azimuth = np.linspace(-np.pi, np.pi, n, endpoint=False)
    edge = rng.uniform(58, 80)
    ends = _profile(azimuth, {0: rng.uniform(-7, -4), edge - 18: rng.uniform(-5, -3), edge: 11, edge + 12: 16, 180: 20})
    t = np.linspace(0, 1, rows)[:, None]
    stands = rng.uniform(0.8, 3.0) * np.exp(-(((np.degrees(np.abs(azimuth)) - edge) / 45) ** 2)) * t
    thickness = rng.uniform(0.6, 1.8) + stands + 0.3 * np.abs(_streaks(rng, rows, n, 12, 4))
    return _cloth(rng, *skull.cover(ends, thickness, 7.0, rows), shine=0.02, ambient_occlusion=0.6)


def _cloth(rng: np.random.Generator, vertices: Floats, triangles: Ints, shine: float, ambient_occlusion: float) -> Part:
    """A surface (V, 3) as cloth of one uneven colour; ``shine`` is the strength of its highlight."""
    colours = to_linear(random_colour(rng)) * np.exp(0.2 * wave_noise(rng, vertices, 4))[:, None]
    return Part(vertices, triangles, colours.clip(0.003, 0.95).astype(np.float32), (shine, 10), ambient_occlusion)


def _helmet(rng: np.random.Generator, skull: _Skull) -> Part:
    """A hard shell, over the head alone or around the face too."""
    n, rows = 72, 28
    azimuth = np.linspace(-np.pi, np.pi, n, endpoint=False)
    front = rng.uniform(-5.5, -3.0)
    edge = rng.uniform(52, 72)
    low = rng.uniform(5, 11) if rng.random() < 0.6 else rng.uniform(-3, 0)
    ends = _profile(azimuth, {0: front, edge - 12: front + 0.6, edge: low, 130: low, 180: rng.uniform(2, 8)})
    thickness = np.full((rows, n), rng.uniform(1.5, 3.2))
    vertices, triangles = skull.cover(ends, thickness, 3.0, rows)
    first, second = to_linear(random_colour(rng)), to_linear(random_colour(rng))
    colours = np.tile(first, (len(vertices), 1))
    if rng.random() < 0.5:
        colours[np.abs(vertices[:, 0] - rng.normal(0, 2)) < rng.uniform(0.5, 3)] = second
    if rng.random() < 0.5:
        colours[-2 * n :] = second * 0.3
    return Part(vertices, triangles, colours.clip(0.003, 0.95).astype(np.float32), (rng.uniform(0.1, 0.5), 40), 0.75)


def _headphones(rng: np.random.Generator, skull: _Skull) -> tuple[Part, ...]:
    """A band over the head and a shell on either ear."""
    radius = float(skull.reach(np.array([np.pi / 2]), np.array([-2.0]))[0]) + rng.uniform(0.6, 1.2)
    colour = to_linear(random_colour(rng) * rng.uniform(0.1, 1)).clip(0.003, 0.95)
    size, depth = rng.uniform(2.4, 3.8), rng.uniform(1.5, 3.0)
    level, height = rng.uniform(-0.5, 1.0), radius + rng.uniform(0.5, 1.5)
    width = rng.uniform(0.6, 1.8)
    angle = np.linspace(0, np.pi, 33)
    rows = []
    for swell, across in ((1.0, -width), (1.06, -width), (1.06, width), (1.0, width), (1.0, -width)):
        x = radius * swell * np.cos(angle)
        y = level - (level - skull.top + height - radius) * swell * np.sin(angle)
        rows.append(np.stack([x, y, np.full_like(x, skull.axis + across)], 1))
    parts = [(np.concatenate(rows), grid_triangles(len(rows), len(angle), closed=False))]
    around = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    for side in (-1, 1):
        rings = [
            np.stack(
                [
                    np.full(24, side * (radius + out)),
                    level + share * 1.15 * size * np.sin(around),
                    skull.axis + share * size * np.cos(around),
                ],
                1,
            )
            for out, share in ((-1.0, 1.0), (depth * 0.7, 1.0), (depth, 0.75), (depth, 0.0))
        ]
        parts.append((np.concatenate(rings), grid_triangles(4, 24, closed=True)))
    return tuple(
        Part(f32(vertices), triangles, np.tile(f32(colour), (len(vertices), 1)), (rng.uniform(0.02, 0.4), 25), 0.8)
        for vertices, triangles in parts
    )


def _streaks(rng: np.random.Generator, rows: int, columns: int, across: int, down: int) -> Floats:
    """Noise that runs down hair: (rows, columns), periodic around."""
    values = rng.standard_normal((down, across)).astype(np.float32)
    at = np.linspace(0, down - 1.001, rows)
    i = at.astype(int)
    f = (at - i)[:, None]
    vertical = (1 - f) * values[i] + f * values[i + 1]
    position = np.arange(columns) * across / columns
    j = position.astype(int)
    g = (position - j)[None]
    streaks: Floats = ((1 - g) * vertical[:, j % across] + g * vertical[:, (j + 1) % across]).astype(np.float32)
    return streaks
