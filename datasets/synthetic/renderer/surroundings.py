"""The surroundings of a face: the background behind it, and what occludes it."""

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.renderer.arrays import Floats, f32
from datasets.synthetic.renderer.colour import palette_colour, random_colour, smooth_noise, to_linear
from datasets.synthetic.renderer.compositing import composite, coverage

_SKIN = ((245, 210, 190), (215, 165, 130), (150, 100, 72), (70, 45, 35))


def random_background(rng: np.random.Generator, height: int, width: int) -> Floats:
    """A background out of focus, which is no place in particular: (height, width, 3), linear RGB."""
    full = (width, height)
    height, width = max(8, height // 2), max(8, width // 2)  # it is out of focus anyway
    first, second = random_colour(rng, 0.8), random_colour(rng, 0.8)
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    ramp = (0.5 + 0.5 * (np.cos(angle) * columns + np.sin(angle) * rows)).clip(0, 1)[..., None]
    image = (first + (second - first) * ramp).astype(np.float32)
    if rng.random() < 0.75:
        for _ in range(int(rng.integers(2, 26))):
            _random_shape(image, rng, random_colour(rng))
    if rng.random() < 0.5:
        noise = smooth_noise(rng, height, width, rng.uniform(3, 60)) * rng.uniform(2, 28)
        image += noise[..., None] * rng.uniform(0.4, 1, 3).astype(np.float32)
    if rng.random() < 0.6:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 0.04 * max(height, width)))
    if rng.random() < 0.12:  # other faces, as the network may take them for the one it should find
        for _ in range(int(rng.integers(1, 4))):
            centre = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
            axes = (int(width * rng.uniform(0.08, 0.25)), int(height * rng.uniform(0.1, 0.32)))
            cv2.ellipse(
                image,
                centre,
                axes,
                rng.uniform(-20, 20),
                0,
                360,
                palette_colour(_SKIN, rng.random()).tolist(),
                -1,
                cv2.LINE_AA,
            )
    return np.asarray(cv2.resize(to_linear(image), full, interpolation=cv2.INTER_LINEAR), dtype=np.float32)


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
    for _ in range(number):
        kind = rng.random()
        if kind < 0.3:
            _hand(image, rng, points, brightness)
        elif kind < 0.45:
            _face_mask(image, rng, points, brightness)
        elif kind < 0.6:
            _strands(image, rng, points, brightness)
        else:
            _object(image, rng, points, brightness)
    return number


def _span(points: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.prod(np.ptp(points, axis=0))))


def _shaded(rng: np.random.Generator, height: int, width: int, colour: Floats, brightness: float) -> Floats:
    """A colour with shading and some texture: (height, width, 3)."""
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    light = 1 + rng.uniform(0, 0.6) * (np.cos(angle) * columns + np.sin(angle) * rows)
    light = light * np.exp(rng.uniform(0, 0.25) * smooth_noise(rng, height, width, rng.uniform(4, 50)))
    shaded: Floats = (colour * brightness * light[..., None]).astype(np.float32)
    return shaded


def _hand(image: Floats, rng: np.random.Generator, points: NDArray[np.floating], brightness: float) -> None:
    height, width = image.shape[:2]
    size = _span(points)
    target = points[rng.integers(0, 98)] + rng.normal(0, 0.08 * size, 2)
    toward = rng.uniform(0, 2 * np.pi)
    across = toward + np.pi / 2
    mask = np.zeros((height, width), np.uint8)
    finger = size * rng.uniform(0.055, 0.085)
    edges = np.zeros((height, width), np.uint8)
    length = size * rng.uniform(0.3, 0.55)
    palm = target - np.array([np.cos(toward), np.sin(toward)]) * length
    for i in range(4):
        spread = (i - 1.5) * rng.uniform(0.02, 0.2)
        base = palm + np.array([np.cos(across), np.sin(across)]) * (i - 1.5) * finger * 2.1
        tip = base + length * rng.uniform(0.8, 1.1) * np.array([np.cos(toward + spread), np.sin(toward + spread)])
        thickness = max(1, int(finger * 2 * rng.uniform(0.85, 1.1)))
        ends = (tuple(int(v * 16) for v in base), tuple(int(v * 16) for v in tip))
        cv2.line(mask, *ends, 255, thickness, cv2.LINE_AA, 4)
        cv2.line(edges, *ends, 255, max(1, int(thickness * 0.55)), cv2.LINE_AA, 4)
    wrist = palm - np.array([np.cos(toward), np.sin(toward)]) * size * 2
    cv2.line(
        mask,
        tuple(int(v * 16) for v in palm),
        tuple(int(v * 16) for v in wrist),
        255,
        max(1, int(finger * 8)),
        cv2.LINE_AA,
        4,
    )
    colour = to_linear(palette_colour(_SKIN, rng.random()))
    shade = _shaded(rng, height, width, colour, brightness)
    bright = coverage(cv2.GaussianBlur(edges, (0, 0), max(0.5, finger * 0.4)))[..., None]
    composite(image, coverage(mask), shade * (0.65 + 0.5 * bright))


def _face_mask(image: Floats, rng: np.random.Generator, points: NDArray[np.floating], brightness: float) -> None:
    height, width = image.shape[:2]
    low = rng.uniform(0, 1)
    bridge = points[52] * (1 - low) + points[54] * low
    first = int(rng.integers(4, 8))
    outline = np.concatenate([points[first : 33 - first], bridge[None]])
    middle = outline.mean(0)
    outline = middle + (outline - middle) * rng.uniform(0.98, 1.08)
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [(outline * 16).round().astype(np.int32)], 255, cv2.LINE_AA, 4)
    colour = to_linear(
        palette_colour(((235, 240, 245), (130, 190, 220), (30, 30, 35)), rng.random())
        if rng.random() < 0.7
        else random_colour(rng)
    )
    shade = _shaded(rng, height, width, colour, brightness)
    fold = (shade.mean(axis=(0, 1)) * 0.7).tolist()
    for t in np.linspace(0.25, 0.75, int(rng.integers(0, 4))):
        start, end = (((1 - t) * points[i] + t * points[16]).astype(int).tolist() for i in (first, 32 - first))
        cv2.line(shade, start, end, fold, 1, cv2.LINE_AA)
    composite(image, coverage(mask), shade)


def _strands(image: Floats, rng: np.random.Generator, points: NDArray[np.floating], brightness: float) -> None:
    height, width = image.shape[:2]
    size = _span(points)
    mask = np.zeros((height, width), np.uint8)
    start = np.array([rng.uniform(points[:, 0].min(), points[:, 0].max()), points[:, 1].min() - 0.25 * size])
    end = start + np.array([rng.normal(0, 0.35), rng.uniform(0.4, 1.4)]) * size
    bend = rng.normal(0, 0.2 * size, 2)
    t = np.linspace(0, 1, 12)[:, None]
    for _ in range(int(rng.integers(4, 40))):
        jitter = rng.normal(0, 0.05 * size, 2)
        curve = (
            (1 - t) ** 2 * (start + jitter) + 2 * t * (1 - t) * ((start + end) / 2 + bend) + t**2 * (end + 2 * jitter)
        )
        cv2.polylines(
            mask,
            [(curve * 16).round().astype(np.int32)],
            False,
            int(rng.uniform(90, 255)),
            int(rng.integers(1, 4)),
            cv2.LINE_AA,
            4,
        )
    colour = to_linear(random_colour(rng, 0.4) * rng.uniform(0.2, 1))
    composite(image, coverage(mask), colour * brightness)


def _object(image: Floats, rng: np.random.Generator, points: NDArray[np.floating], brightness: float) -> None:
    height, width = image.shape[:2]
    size = _span(points)
    centre = points[rng.integers(0, 98)] + rng.normal(0, 0.2 * size, 2)
    mask = np.zeros((height, width), np.uint8)
    _random_shape(mask, rng, f32([255, 255, 255]), centre, size * rng.uniform(0.08, 0.42))
    if rng.random() < 0.1:
        mask = (mask * rng.uniform(0.5, 0.9)).astype(np.uint8)
    composite(image, coverage(mask), _shaded(rng, height, width, to_linear(random_colour(rng)), brightness))


def _random_shape(
    image: NDArray[np.integer | np.floating],
    rng: np.random.Generator,
    colour: Floats,
    centre: NDArray[np.floating] | None = None,
    size: float | None = None,
) -> None:
    height, width = image.shape[:2]
    if centre is None:
        centre = rng.uniform(-0.1, 1.1, 2) * (width, height)
    if size is None:
        size = rng.uniform(0.02, 0.45) * max(height, width)
    value = colour.tolist() if image.ndim == 3 else float(colour[0])
    kind = rng.random()
    if kind < 0.35:
        axes = (max(1, int(size)), max(1, int(size * rng.uniform(0.2, 1))))
        cv2.ellipse(image, (int(centre[0]), int(centre[1])), axes, rng.uniform(0, 180), 0, 360, value, -1, cv2.LINE_AA)
    elif kind < 0.65:
        box = cv2.boxPoints(
            ((float(centre[0]), float(centre[1])), (size * 2, size * rng.uniform(0.2, 2)), rng.uniform(0, 180))
        )
        cv2.fillPoly(image, [box.round().astype(np.int32)], value, cv2.LINE_AA)
    elif kind < 0.85:
        n = int(rng.integers(3, 9))
        angles = np.sort(rng.uniform(0, 2 * np.pi, n))
        radii = size * rng.uniform(0.4, 1.2, n)
        polygon = centre + np.stack([radii * np.cos(angles), radii * np.sin(angles)], 1)
        cv2.fillPoly(image, [polygon.round().astype(np.int32)], value, cv2.LINE_AA)
    else:
        direction = rng.uniform(0, 2 * np.pi)
        reach = np.array([np.cos(direction), np.sin(direction)]) * max(height, width)
        ends = [tuple(int(v) for v in centre + sign * reach) for sign in (-1, 1)]
        cv2.line(image, ends[0], ends[1], value, max(1, int(size * 0.35)), cv2.LINE_AA)
