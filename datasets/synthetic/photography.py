"""What a camera does to a scene: light, exposure, colour, blur, noise and compression."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.colour import Floats, f32
from datasets.synthetic.shading import Light

Bytes = NDArray[np.uint8]


def random_light(rng: np.random.Generator) -> Light:
    """A lamp from anywhere before the face, and a room around it."""
    direction = np.array(
        [
            rng.normal(0, 0.8),
            -abs(rng.normal(0.3, 0.6)) if rng.random() < 0.85 else rng.uniform(0, 0.8),
            -abs(rng.normal(0.8, 0.5)),
        ]
    )
    if rng.random() < 0.08:
        direction[2] *= -0.6  # from behind
    direction /= np.linalg.norm(direction)
    ratio = rng.uniform(0.1, 0.95)
    warm = rng.normal(0, 0.12)
    lamp = np.array([1 + warm, 1, 1 - warm]) * (1 + rng.normal(0, 0.03, 3)) * ratio * rng.uniform(0.9, 1.4)
    tint = 1 + rng.normal(0, 0.08, 3) if rng.random() < 0.85 else 1 + rng.normal(0, 0.25, 3)
    room = (1 - 0.75 * ratio) * np.maximum(tint, 0.2)
    return Light(
        direction=direction.astype(np.float32),
        colour=np.maximum(lamp, 0).astype(np.float32),
        above=(room * rng.uniform(0.6, 1.1)).astype(np.float32),
        below=(room * rng.uniform(0.25, 0.9) * (1 + rng.normal(0, 0.1, 3))).clip(0).astype(np.float32),
        shadow=float(rng.uniform(0.3, 1)) if rng.random() < 0.8 else 0.0,
        softness=float(rng.uniform(0.5, 3.5)),
    )


@dataclass(frozen=True)
class Faults:
    """How a picture departs from a perfect one. The defaults are a good camera's."""

    #: Brightness of the scene on the sensor, in stops.
    exposure: float = 0.0
    #: Gain of red and of blue.
    red: float = 1.0
    blue: float = 1.0
    contrast: float = 1.0
    #: 0 is grey.
    saturation: float = 1.0
    #: Deviation of the blur in pixels.
    blur: float = 0.0
    #: Length in pixels and direction in radians of what moved during the exposure.
    motion: float = 0.0
    motion_direction: float = 0.0
    #: Deviation of the noise in grey levels, of single pixels and of larger blotches.
    noise: float = 1.0
    #: The share of its resolution that a picture has left.
    resolution: float = 1.0
    #: JPEG quality; 100 is none.
    quality: int = 100

    def blend(self, other: "Faults", share: float) -> "Faults":
        """Between this (share 0) and another (share 1)."""
        names = [name for name in self.__dataclass_fields__ if name != "quality"]
        values = {name: (1 - share) * getattr(self, name) + share * getattr(other, name) for name in names}
        return replace(self, **values, quality=round((1 - share) * self.quality + share * other.quality))

    def scaled(self, factor: float) -> "Faults":
        """The same faults in a picture of another size."""
        return replace(self, blur=self.blur * factor, motion=self.motion * factor)


def random_faults(rng: np.random.Generator, severity: float) -> Faults:
    """Faults of a camera and its user.

    Args:
        severity: 0 (a good photograph) to 1 (as bad as surveillance gets).
    """

    def sometimes(share: float) -> bool:
        return bool(rng.random() < share)

    grey = sometimes(0.06)
    return Faults(
        exposure=rng.normal(0, 0.3 + 0.7 * severity) - (1.2 * severity * rng.random() if sometimes(0.3) else 0),
        red=float(np.exp(rng.normal(0, 0.06 + 0.10 * severity))),
        blue=float(np.exp(rng.normal(0, 0.06 + 0.10 * severity))),
        contrast=float(np.exp(rng.normal(0, 0.12 + 0.12 * severity))),
        saturation=0.0 if grey else float(rng.uniform(0.5, 1.35)),
        blur=float(rng.uniform(0, 0.6 + 3.2 * severity)) if sometimes(0.5 + 0.4 * severity) else 0.0,
        motion=float(rng.uniform(0, 3 + 14 * severity)) if sometimes(0.1 + 0.3 * severity) else 0.0,
        motion_direction=float(rng.uniform(0, np.pi)),
        noise=float(abs(rng.normal(0, 2 + 10 * severity))),
        resolution=float(rng.uniform(1 - 0.75 * severity, 1)) if sometimes(0.5) else 1.0,
        quality=int(rng.uniform(95 - 75 * severity, 98)) if sometimes(0.6) else 100,
    )


def worst_faults(rng: np.random.Generator, base: Faults) -> Faults:
    """The faults of a hard video's worst moments: blurred, noisy and dark, by the camera that has ``base`` else."""
    bad = random_faults(rng, 1.0)
    return replace(bad, blur=max(bad.blur, 2.0), noise=max(bad.noise, 8.0), saturation=base.saturation,
                   exposure=min(bad.exposure, -0.5), quality=min(bad.quality, base.quality))  # fmt: skip


def exposure(scene: Floats, points: NDArray[np.floating]) -> np.float32:
    """The gain of a camera's automatic exposure, which brings a face most of the way to medium brightness.

    Args:
        scene: (height, width, 3), linear RGB.
        points: (98, 2), the landmarks in its pixels.
    """
    (left, top), (right, bottom) = points.min(0).astype(int), points.max(0).astype(int)
    face = scene[max(0, top) : max(bottom, top + 1), max(0, left) : max(right, left + 1)]
    level = float(face.mean()) if face.size else float(scene.mean())
    return np.float32((0.22 / max(level, 0.004)) ** 0.65)


def photograph(scene: Floats, faults: Faults, rng: np.random.Generator) -> Bytes:
    """A linear scene (height, width, 3) → an sRGB picture of bytes (height, width, 3)."""
    height, width = scene.shape[:2]
    gain = f32([faults.red, 1, faults.blue]) * np.float32(2**faults.exposure)
    picture = scene * gain
    if faults.motion >= 1.5:
        picture = cv2.filter2D(
            picture, -1, _streak(faults.motion, faults.motion_direction), borderType=cv2.BORDER_REPLICATE
        )
    if faults.blur > 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), faults.blur)
    picture = np.clip(picture, 0, 1) ** np.float32(1 / 2.2) * 255
    if faults.contrast != 1:
        picture = 118 + (picture - 118) * np.float32(faults.contrast)
    if faults.saturation != 1:
        grey = picture @ f32([0.299, 0.587, 0.114])
        picture = grey[..., None] + (picture - grey[..., None]) * np.float32(faults.saturation)
    if faults.resolution < 0.95:
        small = (max(16, round(width * faults.resolution)), max(16, round(height * faults.resolution)))
        picture = cv2.resize(picture, small, interpolation=cv2.INTER_AREA)
    if faults.noise > 0.3:
        strength = np.float32(faults.noise)
        picture = picture + strength * rng.standard_normal(picture.shape, dtype=np.float32)
    if faults.resolution < 0.95:
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)
    out = np.clip(picture + 0.5, 0, 255).astype(np.uint8)
    if faults.quality < 97:
        _, code = cv2.imencode(".jpg", out[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, max(5, faults.quality)])
        out = np.ascontiguousarray(np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), dtype=np.uint8)[..., ::-1])
    return out


def _streak(length: float, direction: float) -> Floats:
    side = int(np.ceil(length)) | 1
    kernel = np.zeros((side, side), np.float32)
    middle = (side - 1) / 2
    reach = np.array([np.cos(direction), np.sin(direction)]) * (length - 1) / 2
    start, end = (tuple(round(float(v) * 16) for v in middle + sign * reach) for sign in (-1, 1))
    cv2.line(kernel, start, end, 1.0, 1, cv2.LINE_AA, 4)
    return kernel / max(float(kernel.sum()), 1e-6)
