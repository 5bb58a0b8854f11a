"""Augmentation: random changes of a face crop and its landmarks.

All of them are drawn from one generator: a crop, its landmarks and a generator's state determine the result.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.degradations import jpeg_compressed, motion_blur_kernel
from datasets.motion import ClipMotions, move_image, move_points
from ldeq.landmarks98 import MIRRORED
from utils.engine.settings import AugmentationConfig

Image = NDArray[np.uint8]
Points = NDArray[np.float32]


def augment(
    image: Image, landmarks: Points, config: AugmentationConfig, rng: np.random.Generator
) -> tuple[Image, Points]:
    """A changed copy of a crop and its landmarks.

    Args:
        image: (S, S, 3) RGB.
        landmarks: (98, 2), fractions of S.

    Returns:
        Both in the same units. Landmarks that leave the crop are clipped to it.
    """
    return augment_clip(image, landmarks, config, rng, 1)[0]


def augment_clip(
    image: Image, landmarks: Points, config: AugmentationConfig, rng: np.random.Generator, clip_length: int
) -> list[tuple[Image, Points]]:
    """As :func:`augment`, but a clip of ``clip_length`` frames, the last of which is what :func:`augment` gives.

    From one frame to the next the face moves a little; the crop's jitter and the degradations are others in each.
    """
    warped = _warp(image, landmarks, config, rng) if config.augment else (image, landmarks)
    frames = [(_degrade(warped[0], config, rng), warped[1])]
    motions = ClipMotions(rng)
    for _ in range(clip_length - 1):
        moved = motions.earlier()
        points = move_points(warped[1], moved).clip(0, 1).astype(np.float32)
        frames.append((_degrade(move_image(warped[0], moved), config, rng), points))
    return frames[::-1]


def _degrade(image: Image, config: AugmentationConfig, rng: np.random.Generator) -> Image:
    if not config.augment:
        return image
    image = image.copy()
    # In the order in which a camera would: what is in front of the face, light, lens, sensor, file.
    if rng.random() < config.occlusion:
        _occlude(image, rng)
    if rng.random() < config.colour:
        image = _colour(image, rng)
    if rng.random() < config.grey:
        image = _grey(image)
    if rng.random() < config.blur:
        image = _blur(image, rng)
    if rng.random() < config.noise:
        image = _noise(image, rng)
    if rng.random() < config.jpeg:
        # The codec takes it for BGR, which changes no more than where the artefacts are strongest.
        image = jpeg_compressed(image, int(rng.integers(8, 60)))
    return image


def _warp(
    image: Image, landmarks: Points, config: AugmentationConfig, rng: np.random.Generator
) -> tuple[Image, Points]:
    """Turn, size, stretch, shift and mirror image in one warp."""
    side = image.shape[0]
    angle = math.radians(rng.uniform(-1, 1) * config.rotation)
    scale = (1 + config.scaling) ** rng.uniform(-1, 1)
    stretch = (1 + config.stretch) ** rng.uniform(-1, 1)
    shift = rng.uniform(-1, 1, 2) * config.shift * side
    mirrored = rng.random() < config.flip
    border = cv2.BORDER_CONSTANT if rng.random() < 0.6 else cv2.BORDER_REFLECT_101

    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
    matrix = np.array([[cosine * stretch, -sine * stretch], [sine / stretch, cosine / stretch]])
    if mirrored:
        matrix[:, 0] *= -1
    centre = np.full(2, (side - 1) / 2)
    offset = centre + shift - matrix @ centre
    warp = np.column_stack([matrix, offset])
    moved = cv2.warpAffine(image, warp, (side, side), flags=cv2.INTER_LINEAR, borderMode=border)
    points = landmarks.astype(np.float64) * side @ matrix.T + offset
    if mirrored:
        points = points[list(MIRRORED)]
    return np.asarray(moved, dtype=np.uint8), (points / side).clip(0, 1).astype(np.float32)


def _occlude(image: Image, rng: np.random.Generator) -> None:
    """One to three boxes, ellipses or bars, in one colour, in noise or with a piece of the image itself, in place."""
    side = image.shape[0]
    for _ in range(rng.integers(1, 4)):
        size = rng.uniform(0.08, 0.4, 2) * side
        if rng.random() < 0.25:
            size[rng.integers(2)] = side * 1.5  # a bar across
        centre = rng.uniform(0, side, 2)
        angle = float(rng.uniform(0, 180))
        mask = np.zeros((side, side), dtype=np.uint8)
        if rng.random() < 0.5:
            axes = (max(1, int(size[0] / 2)), max(1, int(size[1] / 2)))
            cv2.ellipse(mask, (int(centre[0]), int(centre[1])), axes, angle, 0, 360, 255, cv2.FILLED)
        else:
            corners = cv2.boxPoints(((float(centre[0]), float(centre[1])), (float(size[0]), float(size[1])), angle))
            cv2.fillConvexPoly(mask, np.round(corners).astype(np.int32), 255)
        kind = rng.random()
        if kind < 0.5:
            cover: NDArray[np.uint8] = np.broadcast_to(rng.integers(0, 256, 3, dtype=np.uint8), image.shape)
        elif kind < 0.75:
            coarse = rng.integers(0, 256, (rng.integers(2, 12), rng.integers(2, 12), 3), dtype=np.uint8)
            cover = np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
        else:
            cover = np.roll(image, tuple(rng.integers(side // 4, 3 * side // 4, 2)), axis=(0, 1))
        image[mask > 0] = cover[mask > 0]


def _colour(image: Image, rng: np.random.Generator) -> Image:
    """Gamma, gain, offset and white balance by a table; saturation."""
    gamma = math.exp(rng.uniform(-0.5, 0.5))
    gain, offset = rng.uniform(0.6, 1.35), rng.uniform(-0.12, 0.12)
    balance = np.exp(rng.uniform(-0.15, 0.15, 3))
    levels = np.linspace(0, 1, 256)[:, None] ** gamma
    table = np.clip(255 * (levels * gain * balance + offset), 0, 255).astype(np.uint8)
    changed: Image = np.stack([cv2.LUT(image[..., channel], table[:, channel]) for channel in range(3)], axis=-1)
    saturation = rng.uniform(0.5, 1.4)
    return np.asarray(cv2.addWeighted(changed, saturation, _grey(changed), 1 - saturation, 0), dtype=np.uint8)


def _grey(image: Image) -> Image:
    return np.asarray(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), dtype=np.uint8)


def _blur(image: Image, rng: np.random.Generator) -> Image:
    side = image.shape[0]
    kind = rng.random()
    if kind < 0.4:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 3.0) * side / 256), dtype=np.uint8)
    if kind < 0.7:
        length = max(3, round(rng.uniform(3, 17) * side / 256) | 1)
        kernel = motion_blur_kernel(length, rng.uniform(0, math.pi), fraction_bits=0)
        return np.asarray(cv2.filter2D(image, -1, kernel), dtype=np.uint8)
    small = max(16, round(side * rng.uniform(0.15, 0.6)))
    reduced = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(reduced, (side, side), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def _noise(image: Image, rng: np.random.Generator) -> Image:
    deviation = rng.uniform(2, 20)
    shape = image.shape if rng.random() < 0.5 else (*image.shape[:2], 1)
    noise = rng.standard_normal(shape, dtype=np.float32) * np.float32(deviation)
    return np.clip(image + noise, 0, 255).astype(np.uint8)
