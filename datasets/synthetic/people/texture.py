"""The texture of a face, which lies over its skin: blemishes, make-up and beard."""

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.people.head import PLANE, TEXELS, plane_to_texels
from datasets.synthetic.renderer.arrays import Floats, f32
from datasets.synthetic.renderer.colour import random_colour, smooth_noise, to_linear
from datasets.synthetic.renderer.compositing import composite_onto_texture, coverage

#: Rows and columns of a face's texture, which covers the template's front view.
TEXTURE_SHAPE = (round((PLANE[3] - PLANE[1]) * TEXELS), round((PLANE[2] - PLANE[0]) * TEXELS))


def add_blemishes(texture: Floats, rng: np.random.Generator, skin: NDArray[np.float32], age: float) -> None:
    """Spots, freckles and, with age, folds and lines; ``skin`` is its colour (3,) in sRGB, 0 to 255."""
    height, width = texture.shape[:2]
    fine = smooth_noise(rng, height, width, 90) * rng.uniform(0, 0.10)
    opacity = np.abs(fine).clip(0, 0.4)
    shade = to_linear(skin * 0.6) if rng.random() < 0.7 else to_linear(skin * f32([1.0, 0.75, 0.7]))
    composite_onto_texture(texture, opacity, shade)
    marks = np.zeros((height, width), np.uint8)
    if rng.random() < 0.2:
        for _ in range(int(rng.integers(20, 160))):
            cv2.circle(marks, _point(rng, width, height), 1, int(rng.uniform(40, 160)), -1, cv2.LINE_AA)
    for _ in range(int(rng.integers(0, 5))):
        cv2.circle(
            marks, _point(rng, width, height), int(rng.integers(1, 4)), int(rng.uniform(90, 230)), -1, cv2.LINE_AA
        )
    if age > 0.6:
        # Folds from the nose to the mouth, and lines on the forehead.
        for side in (-1, 1):
            x, y = plane_to_texels(np.array([1.9, 2.8, 3.3]) * side, np.array([3.6, 5.2, 7.2]) + rng.normal(0, 0.3, 3))
            curve = np.stack([x, y], 1).round().astype(np.int32)
            cv2.polylines(marks, [curve], False, int(rng.uniform(0, 90) * age), 2, cv2.LINE_AA)
        for level in np.arange(-6.5, -3, rng.uniform(0.7, 1.4)):
            x, y = plane_to_texels(np.linspace(-4, 4, 9), level + rng.normal(0, 0.08, 9))
            strength = int(rng.uniform(0, 80) * max(0.0, age - 0.55) * 2)
            cv2.polylines(marks, [np.stack([x, y], 1).round().astype(np.int32)], False, strength, 1, cv2.LINE_AA)
    soft = cv2.GaussianBlur(marks, (0, 0), 0.9)
    composite_onto_texture(texture, coverage(soft), to_linear(skin * 0.45))


def add_makeup(texture: Floats, rng: np.random.Generator) -> None:
    """Make-up around the eyes and on the cheeks."""
    height, width = texture.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    for side in (-1, 1):
        x, y = plane_to_texels(np.array(side * rng.uniform(2.9, 3.4)), np.array(rng.uniform(-0.9, -0.4)))
        axes = (int(TEXELS * rng.uniform(1.4, 2.0)), int(TEXELS * rng.uniform(0.6, 1.1)))
        cv2.ellipse(mask, (int(x), int(y)), axes, side * rng.uniform(-15, 5), 0, 360, 255, -1, cv2.LINE_AA)
    soft = cv2.GaussianBlur(mask, (0, 0), TEXELS * rng.uniform(0.15, 0.4))
    composite_onto_texture(
        texture, coverage(soft) * np.float32(rng.uniform(0.1, 0.7)), to_linear(random_colour(rng) * 0.7)
    )
    mask[:] = 0
    for side in (-1, 1):
        x, y = plane_to_texels(np.array(side * 5.0), np.array(3.6))
        cv2.ellipse(mask, (int(x), int(y)), (TEXELS * 2, TEXELS), -side * 25, 0, 360, 255, -1, cv2.LINE_AA)
    soft = cv2.GaussianBlur(mask, (0, 0), TEXELS * 0.6)
    composite_onto_texture(texture, coverage(soft) * np.float32(rng.uniform(0, 0.4)), to_linear((200, 80, 90)))


def add_beard(texture: Floats, rng: np.random.Generator, colour: NDArray[np.float32]) -> None:
    """A beard of some style; ``colour`` is that of the hair (3,) in sRGB, 0 to 255."""
    height, width = texture.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    kind = rng.choice(["full", "stubble", "moustache", "goatee", "chin strap"], p=[0.3, 0.35, 0.12, 0.15, 0.08])

    def polygon(points: list[tuple[float, float]], value: int = 255) -> None:
        both = np.array(points + [(-x, y) for x, y in reversed(points)])
        x, y = plane_to_texels(both[:, 0], both[:, 1])
        cv2.fillPoly(mask, [np.stack([x, y], 1).round().astype(np.int32)], value, cv2.LINE_AA)

    top = rng.uniform(-0.5, 0.8)
    if kind in ("full", "stubble", "chin strap"):
        cheek = rng.uniform(4.5, 6.8)
        polygon(
            [
                (0, 13.5),
                (9, 13.5),
                (9, top),
                (7.0, top),
                (6.2, cheek),
                (4.2, cheek + 0.6),
                (2.4, cheek - 0.3 if kind != "chin strap" else 9.6),
                (0, 5.0 if kind != "chin strap" else 9.4),
            ]
        )
    if kind == "goatee":
        polygon([(0, 13), (2.4, 13), (rng.uniform(2.2, 3.2), 9.5), (3.0, 6.8), (2.4, 5.6), (0, 5.0)])
    if kind == "moustache":
        polygon([(0, 6.3), (rng.uniform(2.2, 3.2), rng.uniform(6.4, 8)), (2.4, 5.8), (1.0, 5.0), (0, 5.1)])
    # The lips and what is under the lower one stay bare.
    x, y = plane_to_texels(np.array(0.0), np.array(7.1))
    cv2.ellipse(mask, (int(x), int(y)), (int(2.75 * TEXELS), int(1.05 * TEXELS)), 0, 0, 360, 0, -1, cv2.LINE_AA)
    soft = coverage(cv2.GaussianBlur(mask, (0, 0), TEXELS * rng.uniform(0.1, 0.35)))
    hairs = 0.5 + 0.35 * smooth_noise(rng, height, width, 160) + 0.25 * smooth_noise(rng, height, width, 25)
    density = rng.uniform(0.15, 0.45) if kind == "stubble" else rng.uniform(0.5, 1.0)
    opacity = (soft * (density * (0.6 + 0.7 * hairs.clip(0, 1)))).clip(0, 0.97).astype(np.float32)
    composite_onto_texture(texture, opacity, to_linear(colour) * rng.uniform(0.7, 1.1))


def _point(rng: np.random.Generator, width: int, height: int) -> tuple[int, int]:
    return int(rng.uniform(0.12, 0.88) * width), int(rng.uniform(0.2, 0.9) * height)
