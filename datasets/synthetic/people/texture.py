"""The texture of a face, which lies over its skin: blemishes, wrinkles, make-up, paint and beard."""

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.people.head import PLANE, TEXELS, plane_to_texels
from datasets.synthetic.renderer.arrays import Floats, f32
from datasets.synthetic.renderer.colour import random_colour, smooth_noise, to_linear
from datasets.synthetic.renderer.compositing import composite_onto_texture, coverage
from datasets.synthetic.renderer.shapes import draw_line

#: Rows and columns of a face's texture, which covers the template's front view.
TEXTURE_SHAPE = (round((PLANE[3] - PLANE[1]) * TEXELS), round((PLANE[2] - PLANE[0]) * TEXELS))


def add_blemishes(texture: Floats, rng: np.random.Generator, skin: NDArray[np.float32], age: float) -> None:
    """Pores, blotches, spots, freckles and, with age, wrinkles; ``skin`` is its colour (3,) in sRGB, 0 to 255."""
    height, width = texture.shape[:2]
    fine = smooth_noise(rng, height, width, 90) * rng.uniform(0, 0.14)
    fine += smooth_noise(rng, height, width, 220) * rng.uniform(0, 0.12)
    dark, red = to_linear(skin * 0.6), to_linear(skin * f32([1.0, 0.72, 0.68]))
    composite_onto_texture(texture, fine.clip(0, 0.45), dark if rng.random() < 0.6 else red)
    # What is lighter than the skin around it.
    composite_onto_texture(texture, (-fine).clip(0, 0.3), to_linear((skin * 1.2).clip(0, 255)))
    if rng.random() < 0.3:
        blotches = smooth_noise(rng, height, width, rng.uniform(6, 25)) - rng.uniform(0.3, 1.5)
        composite_onto_texture(texture, (blotches * rng.uniform(0.1, 0.3)).clip(0, 0.4), red)
    marks, pimples = np.zeros((height, width), np.uint8), np.zeros((height, width), np.uint8)
    if rng.random() < 0.2:
        for _ in range(int(rng.integers(20, 220))):
            cv2.circle(marks, _point(rng, width, height), 1, int(rng.uniform(40, 160)), -1, cv2.LINE_AA)
    for _ in range(int(rng.integers(0, 5))):
        cv2.circle(
            marks, _point(rng, width, height), int(rng.integers(1, 4)), int(rng.uniform(90, 230)), -1, cv2.LINE_AA
        )
    if rng.random() < 0.25:
        for _ in range(int(rng.integers(3, 40))):
            cv2.circle(pimples, _point(rng, width, height), int(rng.integers(1, 4)), int(rng.uniform(50, 190)), -1)
        composite_onto_texture(texture, coverage(cv2.GaussianBlur(pimples, (0, 0), 1.2)), red)
    composite_onto_texture(texture, coverage(cv2.GaussianBlur(marks, (0, 0), 0.9)), to_linear(skin * 0.45))
    _add_wrinkles(texture, rng, skin, age)


def _add_wrinkles(texture: Floats, rng: np.random.Generator, skin: NDArray[np.float32], age: float) -> None:
    """Folds and lines, which all faces have a little and old ones deeply."""
    lines = np.zeros(texture.shape[:2], np.uint8)
    depth = rng.uniform(0.0, 0.35) + max(0.0, age - 0.55) * 2 * rng.uniform(0.3, 1.0)

    def line(x: NDArray[np.floating], y: NDArray[np.floating], strength: float, width: int = 1) -> None:
        column, row = plane_to_texels(x, y)
        draw_line(lines, np.stack([column, row], 1), int(min(255.0, strength * depth)), width)

    fold, bag, crow, brow = rng.uniform(20, 150, 4)
    for side in (-1, 1):
        # From the nose to the mouth, and down from its corners.
        line(np.array([1.9, 2.8, 3.3]) * side, np.array([3.6, 5.2, 7.2]) + rng.normal(0, 0.3, 3), fold, 2)
        line(np.array([3.0, 3.3, 3.2]) * side, np.array([7.4, 8.4, 9.2]) + rng.normal(0, 0.2, 3), 0.6 * fold)
        # Under the eyes, and from their outer corners.
        at = np.linspace(1.6, 4.6, 7)
        for drop in (0.95, 1.35):
            line(at * side, 0.3 + drop * np.sin(np.pi * (at - 1.2) / 4.0) + rng.normal(0, 0.03, 7), bag)
        for slope in np.linspace(-0.5, 0.6, int(rng.integers(2, 6))):
            reach = np.linspace(0, rng.uniform(0.7, 1.8), 4)
            line((4.9 + reach) * side, 0.1 + slope * (0.5 + reach) + 0.15 * reach**2 * np.sign(slope), crow)
        line(np.array([0.5, 0.55]) * side, np.array([-2.3, -0.9]) + rng.normal(0, 0.15, 2), brow, 2)
    for level in np.arange(-6.5, -3, rng.uniform(0.6, 1.4)):
        line(np.linspace(-4, 4, 9), level + rng.normal(0, 0.1, 9), rng.uniform(0.2, 1.0) * brow)
    soft = cv2.GaussianBlur(lines, (0, 0), rng.uniform(0.8, 1.6))
    composite_onto_texture(texture, coverage(soft), to_linear(skin * f32([0.5, 0.4, 0.38])))


def add_makeup(texture: Floats, rng: np.random.Generator) -> None:
    """Make-up around the eyes, on the cheeks and along the lids."""
    _add_eye_shadow(texture, rng)
    _add_blush(texture, rng)
    if rng.random() < 0.6:
        _add_eye_liner(texture, rng)


def _add_eye_shadow(texture: Floats, rng: np.random.Generator) -> None:
    mask = np.zeros(texture.shape[:2], np.uint8)
    for side in (-1, 1):
        x, y = plane_to_texels(np.array(side * rng.uniform(2.9, 3.4)), np.array(rng.uniform(-0.9, -0.4)))
        axes = (int(TEXELS * rng.uniform(1.4, 2.0)), int(TEXELS * rng.uniform(0.6, 1.1)))
        cv2.ellipse(mask, (int(x), int(y)), axes, side * rng.uniform(-15, 5), 0, 360, 255, -1, cv2.LINE_AA)
    soft = cv2.GaussianBlur(mask, (0, 0), TEXELS * rng.uniform(0.15, 0.4))
    composite_onto_texture(
        texture, coverage(soft) * np.float32(rng.uniform(0.1, 0.7)), to_linear(random_colour(rng) * 0.7)
    )


def _add_blush(texture: Floats, rng: np.random.Generator) -> None:
    mask = np.zeros(texture.shape[:2], np.uint8)
    for side in (-1, 1):
        x, y = plane_to_texels(np.array(side * 5.0), np.array(3.6))
        cv2.ellipse(mask, (int(x), int(y)), (TEXELS * 2, TEXELS), -side * 25, 0, 360, 255, -1, cv2.LINE_AA)
    soft = cv2.GaussianBlur(mask, (0, 0), TEXELS * 0.6)
    composite_onto_texture(texture, coverage(soft) * np.float32(rng.uniform(0, 0.4)), to_linear((200, 80, 90)))


def _add_eye_liner(texture: Floats, rng: np.random.Generator) -> None:
    """Lines along the lids, to a wing beyond the outer corners."""
    mask = np.zeros(texture.shape[:2], np.uint8)
    wing, line = rng.uniform(0, 0.9), int(rng.integers(1, 5))
    at = np.linspace(0, 1, 9)
    for side in (-1, 1):
        for bulge in (-0.75, 0.55)[: int(rng.integers(1, 3))]:
            x = side * (1.75 + at * 2.75)
            y = 0.25 - 0.25 * at + bulge * np.sin(np.pi * at)
            if bulge < 0:
                x, y = np.append(x, x[-1] + side * wing), np.append(y, y[-1] - 0.5 * wing)
            draw_line(mask, np.stack(plane_to_texels(x, y), 1), width=line)
    soft = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.5, 2.0))
    ink = to_linear(random_colour(rng) * rng.uniform(0.0, 0.4))
    composite_onto_texture(texture, coverage(soft) * np.float32(rng.uniform(0.3, 0.95)), ink)


def add_face_paint(texture: Floats, rng: np.random.Generator) -> None:
    """Paint on the face: all of it, halves, patches, stripes or a flag's, mostly symmetric."""
    height, width = texture.shape[:2]
    kind = str(rng.choice(["all", "halves", "patches", "stripes", "cheeks"], p=[0.25, 0.1, 0.25, 0.25, 0.15]))
    colours = [to_linear(random_colour(rng, 1.3)) for _ in range(4)]
    if rng.random() < 0.4:
        colours[0] = to_linear((240, 240, 238))
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    # Centimetres from the middle of the face.
    x, y = (columns - width / 2) / np.float32(TEXELS), (rows - height / 2) / np.float32(TEXELS)
    worn = 0.9 + 0.15 * smooth_noise(rng, height, width, rng.uniform(10, 80))
    cover = np.float32(rng.uniform(0.55, 0.98))

    def lay(mask: NDArray[np.floating], colour: Floats) -> None:
        soft = cv2.GaussianBlur(f32(mask), (0, 0), rng.uniform(0.8, 3))
        composite_onto_texture(texture, (soft * worn * cover).clip(0, 0.98), colour)

    if kind in ("all", "patches", "stripes"):
        lay(np.hypot(x / rng.uniform(7, 12), y / rng.uniform(10, 16)) < 1, colours[0])
    if kind == "halves":
        lay(x < 0, colours[0])
        lay(x >= 0, colours[1])
    if kind == "stripes":
        bend = smooth_noise(rng, height, width, 5)
        bend = (bend + bend[:, ::-1]) * np.float32(0.7)
        wave = np.sin((y + rng.uniform(-0.6, 0.6) * np.abs(x) + bend) * np.float32(rng.uniform(1.5, 5)))
        lay((wave > rng.uniform(0, 0.8)) & (np.abs(x) > rng.uniform(0, 4)), colours[1] * rng.choice([0.05, 1.0]))
    if kind == "cheeks":
        for k in range(int(rng.integers(1, 4))):
            level = 2.2 + 0.8 * k - rng.uniform(0, 0.2)
            lay((np.abs(y - level) < 0.3) & (np.abs(np.abs(x) - 4.5) < 1.6), colours[k])
    if kind == "patches" or rng.random() < 0.3:
        for k in range(1, int(rng.integers(2, 5))):
            mask = np.zeros((height, width), np.uint8)
            angles = np.sort(rng.uniform(0, 2 * np.pi, 7))
            radii = TEXELS * rng.uniform(0.5, 2.6) * rng.uniform(0.6, 1.2, 7)
            middle = np.array([width / 2 + TEXELS * rng.uniform(0, 6), height / 2 + TEXELS * rng.uniform(-7, 8)])
            spot = middle + np.stack([radii * np.cos(angles), radii * np.sin(angles)], 1)
            cv2.fillPoly(mask, [spot.round().astype(np.int32)], 1, cv2.LINE_8)
            lay(np.maximum(mask, mask[:, ::-1]), colours[k])


def add_beard(texture: Floats, rng: np.random.Generator, colour: NDArray[np.float32]) -> None:
    """A beard of some style; ``colour`` is that of the hair (3,) in sRGB, 0 to 255."""
    height, width = texture.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    kind = rng.choice(["full", "stubble", "moustache", "goatee", "chin strap"], p=[0.36, 0.32, 0.12, 0.13, 0.07])

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
    density = rng.uniform(0.1, 0.45) if kind == "stubble" else rng.uniform(0.5, 1.3)
    opacity = (soft * (density * (0.6 + 0.7 * hairs.clip(0, 1)))).clip(0, 0.97).astype(np.float32)
    composite_onto_texture(texture, opacity, to_linear(colour) * rng.uniform(0.7, 1.1))


def _point(rng: np.random.Generator, width: int, height: int) -> tuple[int, int]:
    return int(rng.uniform(0.12, 0.88) * width), int(rng.uniform(0.2, 0.9) * height)
