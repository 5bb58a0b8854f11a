"""The surroundings of a face: the background behind it, and what occludes it."""

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.renderer import occluders
from datasets.synthetic.renderer.arrays import Floats
from datasets.synthetic.renderer.colour import palette_colour, random_colour, smooth_noise, to_linear
from datasets.synthetic.renderer.shapes import SKIN, random_shape

#: Sorts of occluders, and how often each comes.
_OCCLUDERS = (
    (occluders.hand, 0.26), (occluders.microphone, 0.12), (occluders.held, 0.10), (occluders.other_head, 0.12),
    (occluders.eyewear, 0.10), (occluders.face_mask, 0.07), (occluders.strands, 0.11), (occluders.shape, 0.12),
)  # fmt: skip


def random_background(rng: np.random.Generator, height: int, width: int, *, with_people: bool = True) -> Floats:
    """A background which is no place in particular, out of focus or sharp: (height, width, 3), linear RGB.

    In about a fifth there are people, whose faces are a few ellipses.
    """
    full = (width, height)
    sharp = rng.random() < 0.35
    if not sharp:  # half the pixels do
        height, width = max(8, height // 2), max(8, width // 2)
    vivid = rng.uniform(0.1, 1)
    first, second = random_colour(rng, vivid), random_colour(rng, vivid)
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    ramp = (0.5 + 0.5 * (np.cos(angle) * columns + np.sin(angle) * rows)).clip(0, 1)[..., None]
    image = (first + (second - first) * ramp).astype(np.float32)
    structure = rng.random()
    if structure < 0.15:
        _add_bars(image, rng, rows, columns)
    elif structure < 0.35:
        _add_foliage(image, rng)
    if structure > 0.15 and rng.random() < 0.75:
        for _ in range(int(rng.integers(2, 26))):
            random_shape(image, rng, random_colour(rng, vivid))
    if rng.random() < 0.15:
        _add_text(image, rng)
    if rng.random() < 0.5:
        noise = smooth_noise(rng, height, width, rng.uniform(3, 60)) * rng.uniform(2, 28)
        image += noise[..., None] * rng.uniform(0.4, 1, 3).astype(np.float32)
    people = rng.random()
    if with_people and people < 0.22:  # other faces, as the network may take them for the one it should find
        for _ in range(int(rng.integers(1, 4)) if people < 0.15 else int(rng.integers(6, 30))):
            _add_person(image, rng, 1.0 if people < 0.15 else 0.35)
    if not sharp:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 0.04 * max(height, width)))
    return np.asarray(cv2.resize(to_linear(image), full, interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _add_bars(image: Floats, rng: np.random.Generator, rows: Floats, columns: Floats) -> None:
    """Stripes, tiles, bricks or windows, in place; rows and columns are coordinates in [-1, 1]."""
    angle = rng.choice((0.0, np.pi / 2, rng.uniform(0, np.pi)))
    u = np.cos(angle) * columns + np.sin(angle) * rows
    v = np.cos(angle) * rows - np.sin(angle) * columns
    period, ratio, gap = rng.uniform(0.04, 0.7), rng.uniform(0.4, 3), rng.uniform(0.05, 0.5)
    mask = (u / period) % 1 < gap
    if rng.random() < 0.6:
        mask |= (v / (period * ratio)) % 1 < gap
    image[mask] = random_colour(rng)


def _add_foliage(image: Floats, rng: np.random.Generator) -> None:
    """Leaves, hair, gravel: noise of several sizes with hard edges, in place."""
    height, width = image.shape[:2]
    cells = rng.uniform(8, 30)
    noise = smooth_noise(rng, height, width, cells) + 0.7 * smooth_noise(rng, height, width, cells * 2.7)
    greens = ((15, 30, 10), (50, 90, 30), (130, 160, 60), (200, 210, 130))
    dark, light = (palette_colour(greens, rng.random()) if rng.random() < 0.6 else random_colour(rng) for _ in range(2))
    share = (0.5 + noise * rng.uniform(0.3, 1.5)).clip(0, 1)[..., None]
    image += rng.uniform(0.5, 1) * (dark + (light - dark) * share - image)


def _add_text(image: Floats, rng: np.random.Generator) -> None:
    """Rows of letters, in place."""
    height, width = image.shape[:2]
    mask = np.zeros((height, width), np.uint8)  # OpenCV writes on bytes alone
    size = rng.uniform(0.4, 3) * width / 256
    for k in range(int(rng.integers(1, 5))):
        text = "".join(chr(letter) for letter in rng.integers(48, 123, 14))
        place = int(rng.uniform(-0.4, 0.7) * width), int((rng.uniform(0, 0.3) + 0.25 * k) * height)
        cv2.putText(mask, text, place, int(rng.integers(0, 8)), size, 255, max(1, round(2 * size)), cv2.LINE_AA)
    image += (mask[..., None] / np.float32(255)) * (random_colour(rng) - image)


def _add_person(image: Floats, rng: np.random.Generator, scale: float) -> None:
    """A head with hair and shoulders, in place; at scale 1 it may be as large as the face."""
    height, width = image.shape[:2]
    x, y = rng.uniform(0, width), rng.uniform(0, height)
    rx, ry = width * scale * rng.uniform(0.08, 0.25), height * scale * rng.uniform(0.12, 0.32)
    skin = palette_colour(SKIN, rng.random()) * rng.uniform(0.5, 1)
    hair = random_colour(rng, 0.4) * rng.uniform(0.1, 0.7)
    tilt = rng.uniform(-25, 25)
    parts = (
        (0.0, 1.9, 1.9, 0.9, random_colour(rng)), (0.0, -0.15, 1.15, 1.12, hair), (0.0, 0.1, 0.95, 0.95, skin),
        (-0.4, -0.05, 0.2, 0.08, skin * 0.35), (0.4, -0.05, 0.2, 0.08, skin * 0.35), (0.0, 0.3, 0.16, 0.1, skin * 0.75),
        (0.0, 0.55, 0.35, 0.1, skin * np.float32(0.6)),
    )  # fmt: skip
    from_behind = rng.random() < 0.25
    for across, down, half_width, half_height, colour in parts[: 2 if from_behind else None]:
        place = (int(x + across * rx), int(y + down * ry))
        axes = (max(1, int(half_width * rx)), max(1, int(half_height * ry)))
        cv2.ellipse(image, place, axes, tilt * 0.3, 0, 360, colour.tolist(), -1, cv2.LINE_AA)


def occlude(
    image: Floats,
    rng: np.random.Generator,
    points: NDArray[np.floating],
    brightness: float,
    amount: float,
    least: int = 0,
) -> int:
    """Draws random occluders over a face, in place, and returns their number.

    Args:
        image: (height, width, 3), linear RGB.
        points: (98, 2), the landmarks, which say where the face is.
        brightness: of the light.
        amount: expected number of occluders.
        least: number of occluders at least.
    """
    number = max(least, int(rng.poisson(amount)))
    draws, shares = zip(*_OCCLUDERS, strict=True)
    for _ in range(number):
        draw = draws[int(rng.choice(len(draws), p=shares))]
        draw(image, rng, points, brightness)
    return number
