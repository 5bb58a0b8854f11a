"""Places without faces, with what detectors and trackers take for one: badges, balls, pillars, text, hands, clothes."""

import string
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.renderer.arrays import Floats, f32
from datasets.synthetic.renderer.colour import palette_colour, random_colour, smooth_noise, to_linear
from datasets.synthetic.renderer.compositing import composite, coverage
from datasets.synthetic.renderer.shapes import SKIN, fill
from datasets.synthetic.renderer.surroundings import occlude, random_background
from ldeq.landmarks98 import N_LANDMARKS

_HAIR = ((25, 18, 15), (80, 50, 30), (170, 125, 75), (200, 198, 195))
_FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX, cv2.FONT_HERSHEY_SCRIPT_COMPLEX)


def random_scenery(rng: np.random.Generator, side: int) -> Floats:
    """A place without a face in it: (side, side, 3), linear RGB."""
    image = random_background(rng, side, side, with_people=False)
    if rng.random() < 0.45:
        _texture(image, rng)
    for _ in range(int(rng.integers(0, 5))):
        _THINGS[int(rng.integers(len(_THINGS)))](image, rng)
    if rng.random() < 0.35:
        # What occludes faces, where there is none.
        occlude(image, rng, _ellipse(rng, side), 1.0, 1.0, least=1)
    return image


def _texture(image: Floats, rng: np.random.Generator) -> None:
    """Stripes, pillars, a grid of windows or tiles, or a rough surface, over all of the image."""
    side = len(image)
    angle = rng.choice([0, np.pi / 2]) + rng.normal(0, 0.1) if rng.random() < 0.6 else rng.uniform(0, np.pi)
    rows, columns = np.mgrid[0 : 1 : side * 1j, 0 : 1 : side * 1j].astype(np.float32)
    across = np.cos(angle) * columns + np.sin(angle) * rows
    along = np.cos(angle) * rows - np.sin(angle) * columns
    if rng.random() < 0.5:  # in perspective
        across = across / (1 + rng.uniform(0, 1.5) * along)
    kind = rng.random()
    pattern = np.sin(2 * np.pi * (rng.uniform(1, 14) * across + rng.random()))
    if kind < 0.35:
        pattern = np.tanh(rng.uniform(0.5, 6) * (pattern - rng.uniform(-0.5, 0.5)))
    elif kind < 0.65:
        other = np.sin(2 * np.pi * (rng.uniform(1, 14) * along + rng.random()))
        pattern = np.tanh(rng.uniform(1, 6) * (np.maximum if rng.random() < 0.5 else np.multiply)(pattern, other))
    else:
        octaves = [smooth_noise(rng, side, side, cells) * cells**-0.6 for cells in (4, 9, 20, 45, 100)]
        pattern = np.tanh(np.sum(octaves, axis=0) * rng.uniform(0.5, 3))
    opacity = f32((0.5 + 0.5 * pattern).clip(0, 1) * rng.uniform(0.3, 1))
    composite(image, opacity, _fill(rng, side))


def _fill(rng: np.random.Generator, side: int, colour: Floats | None = None) -> Floats:
    """A colour (sRGB; any if None) in uneven light: (side, side, 3), linear RGB."""
    if colour is None and rng.random() < 0.2:
        return random_background(rng, side, side)
    light = 1 + rng.uniform(0, 0.5) * smooth_noise(rng, side, side, rng.uniform(1, 4))
    light = light + rng.uniform(0, 0.12) * smooth_noise(rng, side, side, rng.uniform(8, 90))
    linear = to_linear(random_colour(rng) if colour is None else colour)
    return f32(linear * light.clip(0.1, 2.5)[..., None])


def _spot(rng: np.random.Generator, side: int) -> tuple[NDArray[np.float64], float]:
    """Where a thing is, and its radius, in pixels."""
    return rng.uniform(0.1, 0.9, 2) * side, float(np.exp(rng.uniform(np.log(0.06), np.log(0.5)))) * side


def _ellipse(rng: np.random.Generator, side: int) -> NDArray[np.float64]:
    """An outline (98, 2) in pixels, of as many points as a face has landmarks."""
    centre, radius = _spot(rng, side)
    angles = np.linspace(0, 2 * np.pi, N_LANDMARKS, endpoint=False)
    return centre + radius * np.stack([np.cos(angles), rng.uniform(0.8, 1.5) * np.sin(angles)], axis=1)


def _filled(side: int, outline: NDArray[np.floating], softness: float = 0.0) -> Floats:
    """The opacity (side, side) of a polygon (n, 2)."""
    mask = np.zeros((side, side), np.uint8)
    fill(mask, outline)
    return coverage(cv2.GaussianBlur(mask, (0, 0), softness) if softness > 0.3 else mask)


def _ball(image: Floats, rng: np.random.Generator) -> None:
    """A ball, a lamp, a fruit, or a head without features: an ellipse lit from a side."""
    side = len(image)
    outline = _ellipse(rng, side)
    centre, radii = outline.mean(axis=0), np.ptp(outline, axis=0) / 2
    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    x, y = (columns - centre[0]) / radii[0], (rows - centre[1]) / radii[1]
    depth = np.sqrt((1 - x**2 - y**2).clip(0, 1))
    towards = rng.normal(0, 1, 3)
    towards = towards / np.linalg.norm(towards)
    lit = (x * towards[0] + y * towards[1] + depth * abs(towards[2])).clip(0, 1)
    colour = palette_colour(SKIN, rng.random()) if rng.random() < 0.4 else None
    shaded = _fill(rng, side, colour) * (rng.uniform(0.15, 0.5) + lit)[..., None]
    if rng.random() < 0.3:
        shaded = shaded + (rng.uniform(0.1, 0.8) * lit ** rng.uniform(10, 60))[..., None]
    composite(image, _filled(side, outline, rng.uniform(0, 0.01) * side), f32(shaded))


def _badge(image: Floats, rng: np.random.Generator) -> None:
    """A badge, sign or wheel: rings around letters or a star."""
    side = len(image)
    outline = _ellipse(rng, side)
    centre = outline.mean(axis=0)
    for scale in np.sort(rng.uniform(0.4, 1, int(rng.integers(1, 4))))[::-1]:
        composite(image, _filled(side, centre + (outline - centre) * scale), _fill(rng, side))
    if rng.random() < 0.5:
        n, depth = int(rng.integers(3, 9)), rng.uniform(0.3, 0.9)
        angles = np.arange(2 * n) * np.pi / n + rng.uniform(0, np.pi)
        radii = float(np.ptp(outline[:, 0])) / 2 * rng.uniform(0.3, 0.8) * np.where(np.arange(2 * n) % 2, depth, 1)
        star = centre + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        composite(image, _filled(side, star), to_linear(random_colour(rng)))
    else:
        _write(image, rng, centre - [float(np.ptp(outline[:, 0])) * 0.3, 0], float(np.ptp(outline[:, 0])) * 0.6)


def _text(image: Floats, rng: np.random.Generator) -> None:
    """Lines of letters, on a sheet or not."""
    side = len(image)
    width, start = rng.uniform(0.3, 1.2) * side, rng.uniform(-0.1, 0.6, 2) * side
    n_lines = int(rng.integers(1, 7))
    if rng.random() < 0.5:
        corners = start + np.array([(0, -0.1), (1, -0.1), (1, 0.12 * n_lines), (0, 0.12 * n_lines)]) * width
        composite(image, _filled(side, corners), _fill(rng, side))
    for line in range(n_lines):
        _write(image, rng, start + np.array([0, line * 0.14 * width]), width)


def _write(image: Floats, rng: np.random.Generator, start: NDArray[np.floating], width: float) -> None:
    side = len(image)
    mask = np.zeros((side, side), np.uint8)
    words = "".join(rng.choice(list(string.ascii_letters + string.digits + "  "), int(rng.integers(1, 16))))
    font, thickness = _FONTS[int(rng.integers(len(_FONTS)))], int(rng.integers(1, 5))
    (usual, _), _ = cv2.getTextSize(words, font, 1.0, thickness)
    at = (int(start[0]), int(start[1]))
    cv2.putText(mask, words, at, font, min(width / max(usual, 1), side / 25), 255, thickness, cv2.LINE_AA)
    composite(image, coverage(mask), to_linear(random_colour(rng)))


def _foliage(image: Floats, rng: np.random.Generator) -> None:
    """Leaves, stones, bricks, a crowd far away: many small things of about one colour."""
    side = len(image)
    low, high = np.sort(rng.uniform(0, 1, 2)) * side
    colour, size, stretch = random_colour(rng), rng.uniform(0.01, 0.07) * side, rng.uniform(0.3, 1)
    marks = f32(image)
    for _ in range(int(rng.integers(30, 160))):
        at = (int(rng.uniform(0, side)), int(rng.uniform(low, high)))
        axes = (max(1, int(size * rng.uniform(0.5, 1.5))), max(1, int(size * stretch * rng.uniform(0.5, 1.5))))
        value = to_linear(colour * rng.uniform(0.4, 1.4)).tolist()
        cv2.ellipse(marks, at, axes, rng.uniform(0, 180), 0, 360, value, -1, cv2.LINE_AA)
    image[:] = marks


def _clothes(image: Floats, rng: np.random.Generator) -> None:
    """A body from the neck down, with a collar, buttons or a seam."""
    side = len(image)
    (x, top), width = rng.uniform((0.2, -0.2), (0.8, 0.5)) * side, rng.uniform(0.4, 1.1) * side
    body = np.array(
        [(-0.15, 0), (0.15, 0), (0.42, 0.14), (0.55, 0.45), (0.6, 2), (-0.6, 2), (-0.55, 0.45), (-0.42, 0.14)]
    )
    neck = np.array([(-0.12, -0.25), (0.12, -0.25), (0.12, 0.06), (0, rng.uniform(0.06, 0.35)), (-0.12, 0.06)])
    place = np.array([x, top])
    composite(image, _filled(side, place + body * width), _fill(rng, side))
    if rng.random() < 0.6:
        skin = _fill(rng, side, palette_colour(SKIN, rng.random()))
        composite(image, _filled(side, place + neck * width), skin)
    for line in range(int(rng.integers(0, 4))):
        first = place + np.array([(0.1 * line - 0.15) * width, rng.uniform(0.1, 0.4) * width])
        seam = np.linspace(first, first + rng.normal(0, 0.1, 2) * width + [0, width], 6)
        dots = [seam] if rng.random() < 0.5 else [point + 0.02 * width * np.eye(2) for point in seam]
        mask = np.zeros((side, side), np.uint8)
        cv2.polylines(mask, [dot.round().astype(np.int32) for dot in dots], False, 200, max(1, side // 80), cv2.LINE_AA)
        composite(image, coverage(mask), to_linear(random_colour(rng)))


def _head_from_behind(image: Floats, rng: np.random.Generator) -> None:
    """Hair, ears and a neck."""
    side = len(image)
    _clothes(image, rng) if rng.random() < 0.5 else None
    outline = _ellipse(rng, side)
    centre, (width, height) = outline.mean(axis=0), np.ptp(outline, axis=0)
    skin = _fill(rng, side, palette_colour(SKIN, rng.random()))
    neck = centre + np.array([(-0.28, 0.1), (0.28, 0.1), (0.34, 0.9), (-0.34, 0.9)]) * [width, height]
    composite(image, _filled(side, neck), skin)
    for ear in (-1, 1):
        composite(
            image, _filled(side, (outline - centre) * [0.12, 0.16] + centre + [ear * 0.5 * width, 0.05 * height]), skin
        )
    hair = palette_colour(_HAIR, rng.random())
    composite(image, _filled(side, outline, 0.01 * side), _fill(rng, side, hair))
    mask = np.zeros((side, side), np.uint8)
    crown = centre - [0, 0.35 * height]
    for _ in range(int(rng.integers(10, 80))):
        end = outline[int(rng.integers(len(outline)))]
        middle = (crown + end) / 2 + rng.normal(0, 0.08 * width, 2)
        strand = np.stack([crown, middle, end]).round().astype(np.int32)
        cv2.polylines(mask, [strand], False, int(rng.uniform(40, 160)), 1, cv2.LINE_AA)
    composite(image, coverage(mask), to_linear(hair * rng.uniform(0.4, 2.0)))


_THINGS: tuple[Callable[[Floats, np.random.Generator], None], ...] = (
    _ball,
    _ball,
    _badge,
    _text,
    _foliage,
    _clothes,
    _head_from_behind,
    _texture,
)
