"""What a head has besides its skin: eyes, teeth, hair, hats, glasses and shoulders, as small meshes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.colour import f32, linear, random_colour, wave_noise
from datasets.synthetic.head import N_SKIN, Floats, Head, Ints, Sphere, vertex_normals
from datasets.synthetic.shading import Mesh


@dataclass(frozen=True)
class Part:
    """A mesh in the coordinates of the head, before it is turned."""

    vertices: Floats
    triangles: Ints
    #: (V, 3), linear RGB.
    colours: Floats
    #: Strength and exponent of the mirror-like share.
    gloss: tuple[float, float] = (0.02, 10.0)
    openness: float = 0.9

    def mesh(self, rotation: Floats, shift: Floats) -> Mesh:
        """The part turned and moved."""
        vertices = (self.vertices @ rotation.T + shift).astype(np.float32)
        n = len(vertices)
        return Mesh(
            vertices,
            self.triangles,
            vertex_normals(vertices, self.triangles),
            self.colours,
            np.tile(f32(self.gloss), (n, 1)),
            np.full(n, self.openness, dtype=np.float32),
            np.full((n, 2), np.nan, dtype=np.float32),
        )


@dataclass(frozen=True)
class Eye:
    """How both eyes look: half-angles on the eyeball in degrees, linear colours."""

    iris: float
    pupil: float
    iris_colour: Floats
    sclera_colour: Floats

    @staticmethod
    def random(rng: np.random.Generator, iris_colour: Floats) -> "Eye":
        """Eyes with that iris."""
        white = linear(np.array([228, 218, 210]) * rng.uniform(0.72, 1.05) + rng.normal(0, 5, 3))
        return Eye(rng.uniform(21.5, 26.5), rng.uniform(6, 12), iris_colour * rng.uniform(0.5, 1.2), white)

    def mesh(self, ball: Sphere, gaze: Floats, shift: Floats, rotation: Floats) -> Mesh:
        """An eyeball that looks along the unit vector ``gaze`` of the head's coordinates."""
        rings = np.array([0, self.pupil * 0.98, self.pupil * 1.05, 0.6 * self.iris, 0.9 * self.iris, self.iris,
                          1.07 * self.iris, 40, 65, 90], dtype=np.float32)  # fmt: skip
        black, white = f32([0.004, 0.004, 0.005]), self.sclera_colour
        colours = (black, black, self.iris_colour * 0.8, self.iris_colour * 1.2, self.iris_colour * 0.7,
                   self.iris_colour * 0.25, white * 0.9, white, white * f32([0.9, 0.75, 0.72]),
                   white * f32([0.8, 0.5, 0.5]))  # fmt: skip
        n = 24
        side = np.cross(gaze, [0.0, 1.0, 0.0])
        side /= np.linalg.norm(side)
        down = np.cross(side, gaze)
        around = np.linspace(0, 2 * np.pi, n, endpoint=False)
        circle = np.cos(around)[:, None] * side + np.sin(around)[:, None] * down
        angle = np.radians(rings)[:, None, None]
        normals = (np.cos(angle) * gaze + np.sin(angle) * circle[None]).reshape(-1, 3).astype(np.float32)
        vertices = ball.centre + ball.radius * normals
        triangles = _grid(len(rings), n, closed=True)
        count = len(vertices)
        return Mesh(
            (vertices @ rotation.T + shift).astype(np.float32),
            triangles,
            (normals @ rotation.T).astype(np.float32),
            np.repeat(np.array(colours, dtype=np.float32), n, 0),
            np.tile(f32([0.9, 180.0]), (count, 1)),
            np.full(count, 0.6, dtype=np.float32),
            np.full((count, 2), np.nan, dtype=np.float32),
        )


@dataclass(frozen=True)
class Glasses:
    """Spectacles, drawn as lines over the picture."""

    #: (n, 3) each: the left and the right rim, closed.
    rims: tuple[Floats, Floats]
    #: (n, 3) each: bridge and temples.
    bars: tuple[Floats, ...]
    #: Linear RGB.
    colour: Floats
    #: Centimetres.
    thickness: float
    lens_colour: Floats
    #: 0 to 1
    lens_opacity: float
    #: Strength of a reflection on the lenses, 0 to 1.
    glare: float


def random_glasses(rng: np.random.Generator, eyes: tuple[Sphere, Sphere]) -> Glasses:
    """Glasses that sit before these eyes."""
    width, height = rng.uniform(2.0, 2.9), rng.uniform(1.4, 2.4)
    power = rng.uniform(2, 5)
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    drop, gap = rng.uniform(0, 0.6), rng.uniform(0.9, 1.4)
    rims = []
    front = min(eye.centre[2] - eye.radius for eye in eyes) - rng.uniform(0.9, 1.5)
    for side, eye in zip((1, -1), eyes, strict=True):
        c, s = np.cos(angle), np.sin(angle)
        x = width * np.sign(c) * np.abs(c) ** (2 / power)
        y = height * np.sign(s) * np.abs(s) ** (2 / power)
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
    sun = rng.random() < 0.3
    return Glasses(
        (left, right),
        tuple(bars),
        linear(random_colour(rng, 0.7) * rng.uniform(0.05, 1)),
        rng.uniform(0.05, 0.4),
        linear(random_colour(rng, 0.5) * 0.35),
        rng.uniform(0.55, 0.98) if sun else rng.uniform(0, 0.2),
        rng.uniform(0, 0.7) if rng.random() < 0.4 else 0.0,
    )


def random_headwear(
    rng: np.random.Generator, neutral: Floats, hair: NDArray[np.float32], gender: float, age: float
) -> tuple[Part, ...]:
    """Hair, and sometimes a hat, a hood or a scarf."""
    skull = _Skull(neutral)
    worn: list[Part] = []
    kind = rng.random()
    if kind < 0.10 + 0.1 * gender * age:
        pass  # bald
    else:
        long = rng.random() < 0.75 - 0.6 * gender
        worn.append(_hair(rng, skull, hair, long))
    if rng.random() < 0.14:
        worn.append(_hat(rng, skull))
    elif rng.random() < 0.05:
        worn.append(_scarf(rng, skull))
    return tuple(worn)


def torso(rng: np.random.Generator, neutral: Floats, skin: Floats) -> Part:
    """Neck and shoulders, with something worn."""
    bottom = float(neutral[:N_SKIN, 1].max())
    neck_centre = 7.0
    wide = rng.uniform(16, 22)
    levels = np.array([bottom - 6, bottom - 1, bottom + 0.5, bottom + 3, bottom + 6, bottom + 14, bottom + 34])
    half_x = np.array([5.2, 5.9, 7.0, wide * 0.62, wide * 0.95, wide, wide])
    half_z = np.array([5.2, 5.7, 6.3, 7.5, 9, 11, 12]) * rng.uniform(0.9, 1.1)
    n = 32
    around = np.linspace(0, 2 * np.pi, n, endpoint=False)
    fine = np.linspace(0, len(levels) - 1, 26)
    step = np.arange(len(levels))
    rows = []
    for at in fine:
        y, rx, rz = (np.interp(at, step, values) for values in (levels, half_x, half_z))
        rows.append(np.stack([rx * np.sin(around), np.full(n, y), neck_centre - rz * np.cos(around)], 1))
    vertices = np.concatenate(rows).astype(np.float32)
    collar = rng.uniform(0.6, 3.6)
    cloth = linear(random_colour(rng))
    second = linear(random_colour(rng))
    row = np.repeat(fine, n)
    v_neck = rng.uniform(0, 1.2) * np.cos(np.tile(around, len(fine))).clip(0, 1) ** 2
    bare = (row < collar + v_neck)[:, None]
    pattern = 0.5 + 0.5 * np.sign(wave_noise(rng, vertices, rng.uniform(2, 12)))[:, None]
    mixed = cloth + (second - cloth) * pattern * (rng.random() < 0.4)
    colours = np.where(bare, skin * 0.95, mixed * np.exp(0.12 * wave_noise(rng, vertices, 5))[:, None])
    return Part(
        vertices, _grid(len(fine), n, closed=True), colours.clip(0.003, 0.95).astype(np.float32), (0.02, 8), 0.8
    )


def teeth(rng: np.random.Generator, neutral: Floats, head: Head) -> tuple[Part, Part]:
    """The upper and the lower row of teeth behind a neutral mouth."""
    middle = head.upper_mouths[0].on(neutral)[0]
    corner = head.upper_mouths[0].on(neutral)[-1]
    half = abs(float(corner[0] - middle[0])) * 0.95
    x = np.linspace(-half, half, 49)
    arch = 0.9 + 1.0 * (x / half) ** 2 * 1.6
    shade = linear(np.array([235, 225, 205]) * rng.uniform(0.7, 1.05) + rng.normal(0, 6, 3))
    gap = 0.35 + 0.65 * np.abs(np.sin(np.pi * np.abs(x) / 0.78)) ** 0.35
    side = (1 - 0.75 * np.abs(x / half) ** 2).clip(0.1)
    rows = []
    for start, end in ((-1.0, rng.uniform(0.05, 0.3)), (rng.uniform(0.15, 0.45), 1.2)):
        y = np.array([start, start * 0.5 + end * 0.5, end])
        grid = np.stack(
            [np.tile(x, 3), np.repeat(y, len(x)) + float(middle[1]), np.tile(arch, 3) + float(middle[2])], 1
        ).astype(np.float32)
        colours = np.tile(shade * (gap * side)[:, None], (3, 1)) * 0.75
        rows.append(Part(grid, _grid(3, len(x), closed=False), colours.astype(np.float32), (0.15, 40), 0.5))
    return rows[0], rows[1]


class _Skull:
    """How far a head reaches from its vertical axis, by direction and height."""

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
        return vertices.reshape(-1, 3).astype(np.float32), _grid(rows, n, closed=True)


def _profile(azimuth: NDArray[np.floating], heights: dict[float, float]) -> NDArray[np.floating]:
    """Heights by |azimuth| in degrees, interpolated."""
    return np.asarray(np.interp(np.degrees(np.abs(azimuth)), list(heights), list(heights.values())))


def _hair(rng: np.random.Generator, skull: _Skull, colour: NDArray[np.float32], long: bool) -> Part:
    n, rows = 128, 34
    azimuth = np.linspace(-np.pi, np.pi, n, endpoint=False)
    front = rng.uniform(-8.3, -4.8)
    temple = rng.uniform(-4.5, -2.0)
    fringe = rng.random() < 0.28
    if fringe:
        front = rng.uniform(-4.2, -1.4)
        temple = rng.uniform(-3.0, -0.5)
    if long:
        length = rng.choice([rng.uniform(2, 7), rng.uniform(8, 16), rng.uniform(16, 30)])
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
    ends = np.interp(azimuth + lean, azimuth, ends, period=2 * np.pi)
    ends = ends + rng.uniform(0.05, 0.5) * rng.standard_normal(n) * (1.0 if not fringe else 1.4)
    if rng.random() < 0.35:  # swept to a side
        ends = ends + rng.uniform(-1, 1) * 2.5 * np.sin(azimuth) * np.exp(-(azimuth**2) / 0.5)
    volume = rng.uniform(0.25, 1.2) if rng.random() < 0.7 else rng.uniform(1.2, 4.0)
    t = np.linspace(0, 1, rows)[:, None]
    taper = 0.15 + 0.85 * np.clip((1 - t) * 4, 0, 1) if not long else np.ones_like(t)
    facing = np.exp(-(azimuth[None] ** 2) / 0.6)
    thickness = volume * ((1 - facing) + facing * (0.15 + 0.85 * np.clip((1 - t) * 3, 0, 1))) * taper + 0.12
    lumps = 0.16 * volume + 0.05
    thickness = thickness + lumps * np.abs(_streaks(rng, rows, n, 30, 6)) * 0.6
    vertices, triangles = skull.cover(ends, thickness, rng.uniform(0.5, 2.5), rows)
    streak = _streaks(rng, rows, n, n, 3) * rng.uniform(0.15, 0.45) + _streaks(rng, rows, n, 24, 4) * 0.2
    colours = linear(colour) * np.exp(streak.reshape(-1, 1)) + rng.uniform(0, 0.006)
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


def _hat(rng: np.random.Generator, skull: _Skull) -> Part:
    n, rows = 64, 24
    azimuth = np.linspace(-np.pi, np.pi, n, endpoint=False)
    ends = _profile(azimuth, {0: rng.uniform(-5.5, -2.6), 90: rng.uniform(-4, -1), 180: rng.uniform(-3, 1.5)})
    t = np.linspace(0, 1, rows)[:, None]
    thickness = rng.uniform(0.5, 1.6) + rng.uniform(0, 2.5) * (1 - t) + 0 * azimuth
    vertices, triangles = skull.cover(ends, thickness, 2.0, rows)
    colour, second = linear(random_colour(rng)), linear(random_colour(rng))
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
        triangles = np.concatenate([triangles, _grid(2, n, closed=True) + len(vertices)])
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
    vertices, triangles = skull.cover(ends, thickness, 8.0, rows)
    colours = linear(random_colour(rng)) * np.exp(0.2 * wave_noise(rng, vertices, 4))[:, None]
    return Part(vertices, triangles, colours.clip(0.003, 0.95).astype(np.float32), (0.03, 10), 0.8)


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


def _grid(rows: int, columns: int, closed: bool) -> Ints:
    """Triangles of a sheet of rows × columns vertices; closed: the last column meets the first."""
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns if closed else columns - 1), indexing="ij")
    k = (j + 1) % columns
    a, b, c, d = i * columns + j, i * columns + k, (i + 1) * columns + j, (i + 1) * columns + k
    return np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([b, d, c], -1).reshape(-1, 3)]).astype(
        np.int32
    )
