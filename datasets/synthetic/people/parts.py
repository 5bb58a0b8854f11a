"""Small meshes that a head has besides its skin: eyes, teeth and shoulders."""

from dataclasses import dataclass

import numpy as np

from datasets.synthetic.people.head import N_SKIN, Head, Sphere
from datasets.synthetic.renderer.arrays import Floats, Ints, f32
from datasets.synthetic.renderer.colour import random_colour, to_linear, wave_noise
from datasets.synthetic.renderer.mesh import Mesh, grid_triangles, vertex_normals


@dataclass(frozen=True)
class Part:
    """A mesh in the coordinates of the head, before it is turned."""

    vertices: Floats
    triangles: Ints
    #: (V, 3), linear RGB.
    colours: Floats
    #: Strength and exponent of the specular highlight.
    specular: tuple[float, float] = (0.02, 10.0)
    #: Share of the ambient light that arrives.
    ambient_occlusion: float = 0.9

    def mesh(self, rotation: Floats, shift: Floats) -> Mesh:
        """The part turned and moved."""
        vertices = (self.vertices @ rotation.T + shift).astype(np.float32)
        n = len(vertices)
        return Mesh(
            vertices,
            self.triangles,
            vertex_normals(vertices, self.triangles),
            self.colours,
            np.tile(f32(self.specular), (n, 1)),
            np.full(n, self.ambient_occlusion, dtype=np.float32),
            np.full((n, 2), np.nan, dtype=np.float32),
        )


@dataclass(frozen=True)
class Eye:
    """The look of both eyes: half-angles on the eyeball in degrees, linear colours."""

    iris: float
    pupil: float
    iris_colour: Floats
    sclera_colour: Floats

    @staticmethod
    def random(rng: np.random.Generator, iris_colour: Floats) -> "Eye":
        """Eyes with that iris."""
        white = to_linear(np.array([228, 218, 210]) * rng.uniform(0.72, 1.05) + rng.normal(0, 5, 3))
        return Eye(rng.uniform(21.5, 26.5), rng.uniform(6, 12), iris_colour * rng.uniform(0.5, 1.2), white)

    def mesh(self, ball: Sphere, gaze: Floats, rotation: Floats, shift: Floats) -> Mesh:
        """An eyeball that looks along the unit vector ``gaze`` of the head's coordinates, turned and moved."""
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
        triangles = grid_triangles(len(rings), n, closed=True)
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


def random_torso(rng: np.random.Generator, neutral: Floats, skin: Floats) -> Part:
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
    cloth = to_linear(random_colour(rng))
    second = to_linear(random_colour(rng))
    row = np.repeat(fine, n)
    v_neck = rng.uniform(0, 1.2) * np.cos(np.tile(around, len(fine))).clip(0, 1) ** 2
    bare = (row < collar + v_neck)[:, None]
    pattern = 0.5 + 0.5 * np.sign(wave_noise(rng, vertices, rng.uniform(2, 12)))[:, None]
    mixed = cloth + (second - cloth) * pattern * (rng.random() < 0.4)
    colours = np.where(bare, skin * 0.95, mixed * np.exp(0.12 * wave_noise(rng, vertices, 5))[:, None])
    return Part(
        vertices,
        grid_triangles(len(fine), n, closed=True),
        colours.clip(0.003, 0.95).astype(np.float32),
        (0.02, 8),
        0.8,
    )


def random_teeth(rng: np.random.Generator, neutral: Floats, head: Head) -> tuple[Part, Part]:
    """The upper and the lower row of teeth behind a neutral mouth."""
    middle = head.upper_mouths[0].on(neutral)[0]
    corner = head.upper_mouths[0].on(neutral)[-1]
    half = abs(float(corner[0] - middle[0])) * 0.95
    x = np.linspace(-half, half, 49)
    arch = 0.9 + 1.0 * (x / half) ** 2 * 1.6
    shade = to_linear(np.array([240, 231, 214]) * rng.uniform(0.8, 1.05) + rng.normal(0, 6, 3))
    gap = 0.35 + 0.65 * np.abs(np.sin(np.pi * np.abs(x) / 0.78)) ** 0.35
    side = (1 - 0.7 * np.abs(x / half) ** 3).clip(0.1)
    rows = []
    for start, end in ((-1.0, rng.uniform(0.05, 0.3)), (rng.uniform(0.15, 0.45), 1.2)):
        y = np.array([start, start * 0.5 + end * 0.5, end])
        grid = np.stack(
            [np.tile(x, 3), np.repeat(y, len(x)) + float(middle[1]), np.tile(arch, 3) + float(middle[2])], 1
        ).astype(np.float32)
        colours = np.tile(shade * (gap * side)[:, None], (3, 1)) * 0.95
        rows.append(Part(grid, grid_triangles(3, len(x), closed=False), colours.astype(np.float32), (0.15, 40), 0.75))
    return rows[0], rows[1]
