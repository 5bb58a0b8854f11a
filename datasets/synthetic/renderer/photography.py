"""Photographs of a scene: exposure, and the degradations of a camera (colour, blur, noise, compression)."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from datasets.degradations import jpeg_compressed_rgb, motion_blur_kernel
from datasets.synthetic.renderer.arrays import Bytes, Doubles, Floats, f32
from datasets.synthetic.renderer.colour import grey_levels, to_srgb
from datasets.synthetic.renderer.looks import Look
from datasets.synthetic.renderer.shade import Shade
from ldeq.face.bbox import tight_bbox


@dataclass(frozen=True)
class Degradation:
    """The difference of a photograph from a perfect one. The defaults are a good camera's."""

    #: Brightness of the scene on the sensor, in stops.
    exposure: float = 0.0
    #: Gain of red and of blue.
    red: float = 1.0
    blue: float = 1.0
    contrast: float = 1.0
    #: 0 is grey.
    saturation: float = 1.0
    #: Standard deviation in pixels of the blur of a lens out of focus (Gaussian).
    blur: float = 0.0
    #: Length in pixels and direction in radians of the motion blur.
    motion: float = 0.0
    motion_direction: float = 0.0
    #: Standard deviation of the noise in grey levels.
    noise: float = 1.0
    #: Share of its resolution that an image has left.
    resolution: float = 1.0
    #: JPEG quality; 100 is none.
    quality: int = 100
    #: How an image of less resolution is enlarged, of OpenCV's interpolations.
    enlargement: int = cv2.INTER_LINEAR
    #: Shadow that falls over the scene.
    shade: Shade | None = None
    #: What prints, screens and editors did to it afterwards, in this order.
    looks: tuple[Look, ...] = ()

    def blend(self, other: "Degradation", share: float) -> "Degradation":
        """Between this (share 0) and another (share 1), with this one's enlargement, shade and looks."""
        kept = ("quality", "enlargement", "shade", "looks")
        names = [name for name in self.__dataclass_fields__ if name not in kept]
        values = {name: (1 - share) * getattr(self, name) + share * getattr(other, name) for name in names}
        return replace(self, **values, quality=round((1 - share) * self.quality + share * other.quality))

    def scaled(self, factor: float) -> "Degradation":
        """The same degradation in an image of another size."""
        return replace(self, blur=self.blur * factor, motion=self.motion * factor,
                       looks=tuple(look.scaled(factor) for look in self.looks))  # fmt: skip


def random_degradation(rng: np.random.Generator, severity: float) -> Degradation:
    """The degradation of a photograph by its camera and its user.

    Args:
        severity: 0 (a good photograph) to 1 (as bad as surveillance gets).
    """

    def sometimes(share: float) -> bool:
        return bool(rng.random() < share)

    # Most photographs are plain: what makes one unusual comes in company.
    unusual = sometimes(0.4)

    def unusually(share: float) -> bool:
        return sometimes(share) and unusual

    resolution = float(rng.uniform(1 - 0.75 * severity, 1)) if sometimes(0.5) else 1.0
    # A face of 40 to 100 pixels that a crop enlarges.
    if unusually(0.25):
        resolution = float(np.exp(rng.uniform(np.log(0.17), np.log(0.45))))
    exposure = rng.normal(0, 0.3 + 0.7 * severity) - (1.2 * severity * rng.random() if sometimes(0.3) else 0)
    if unusually(0.2):
        exposure = rng.uniform(0.8, 1.7) if sometimes(0.4) else -rng.uniform(1.0, 2.8)
    quality = int(rng.uniform(95 - 75 * severity, 98)) if sometimes(0.6) else 100
    if unusually(0.18):
        quality = int(rng.uniform(5, 30))
    looks = tuple(Look.random(rng) for _ in range(1 + sometimes(0.3))) if unusually(0.5) else ()
    return Degradation(
        exposure=float(exposure),
        red=float(np.exp(rng.normal(0.03, 0.06 + 0.10 * severity))),
        blue=float(np.exp(rng.normal(-0.05, 0.06 + 0.10 * severity))),
        contrast=float(np.exp(rng.normal(0.12, 0.15 + 0.12 * severity))),
        saturation=0.0 if sometimes(0.05) else float(rng.uniform(0.6, 1.65)),
        blur=float(rng.uniform(0, 0.6 + 3.2 * severity)) if sometimes(0.5 + 0.4 * severity) else 0.0,
        motion=float(rng.uniform(0, 3 + 14 * severity)) if sometimes(0.1 + 0.3 * severity) else 0.0,
        motion_direction=float(rng.uniform(0, np.pi)),
        noise=float(abs(rng.normal(0, 2 + 10 * severity))),
        resolution=resolution,
        quality=quality,
        enlargement=int(rng.choice((cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST), p=(0.45, 0.45, 0.1))),
        shade=Shade.random(rng) if unusually(0.22) else None,
        looks=looks,
    )


def severe_degradation(rng: np.random.Generator, base: Degradation) -> Degradation:
    """That of a hard video's worst frames, blurred, noisy and dark, by a camera that otherwise has ``base``."""
    bad = random_degradation(rng, 1.0)
    return replace(bad, blur=max(bad.blur, 2.0), noise=max(bad.noise, 8.0), saturation=base.saturation,
                   exposure=min(bad.exposure, -0.5), quality=min(bad.quality, base.quality),
                   shade=base.shade, looks=base.looks)  # fmt: skip


def exposure(scene: Floats, points: Doubles) -> np.float32:
    """The gain of a camera's automatic exposure, which brings a face most of the way to medium brightness.

    Args:
        scene: (height, width, 3), linear RGB.
        points: (98, 2), the landmarks in its pixels.
    """
    left, top, right, bottom = tight_bbox(points).astype(int)
    face = scene[max(0, top) : max(bottom, top + 1), max(0, left) : max(right, left + 1)]
    level = float(face.mean()) if face.size else float(scene.mean())
    return np.float32((0.22 / max(level, 0.004)) ** 0.65)


def photograph(scene: Floats, degradation: Degradation, rng: np.random.Generator) -> Bytes:
    """A scene in linear RGB (height, width, 3) → an image in sRGB (height, width, 3), uint8."""
    height, width = scene.shape[:2]
    gain = f32([degradation.red, 1, degradation.blue]) * np.float32(2**degradation.exposure)
    image = scene * gain
    if degradation.shade is not None:
        image *= degradation.shade.light(height, width)
    if degradation.motion >= 1.5:
        image = cv2.filter2D(
            image,
            -1,
            motion_blur_kernel(degradation.motion, degradation.motion_direction),
            borderType=cv2.BORDER_REPLICATE,
        )
    if degradation.blur > 0.3:
        image = cv2.GaussianBlur(image, (0, 0), degradation.blur)
    image = to_srgb(image)
    if degradation.contrast != 1:
        image = 118 + (image - 118) * np.float32(degradation.contrast)
    if degradation.saturation != 1:
        grey = grey_levels(image)[..., None]
        image = grey + (image - grey) * np.float32(degradation.saturation)
    if degradation.resolution < 0.95:
        small = (max(16, round(width * degradation.resolution)), max(16, round(height * degradation.resolution)))
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    if degradation.noise > 0.3:
        strength = np.float32(degradation.noise)
        image = image + strength * rng.standard_normal(image.shape, dtype=np.float32)
    if degradation.resolution < 0.95:
        image = cv2.resize(image, (width, height), interpolation=degradation.enlargement)
    out = np.clip(image + 0.5, 0, 255).astype(np.uint8)
    for look in degradation.looks:
        out = look.apply(out)
    if degradation.quality < 97:
        out = jpeg_compressed_rgb(out, max(5, degradation.quality))
    return out
