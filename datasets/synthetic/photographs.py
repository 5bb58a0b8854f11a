"""Photographs of renderings: the crop, fresh light, what is in front of the face, exposure and camera.

A rendering takes long to draw and a photograph of it does not, so that one rendering makes many photographs.
"""

import copy
import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.motion import ClipMotions, Motion, displacement_field, move_points
from datasets.reduction import reduced
from datasets.synthetic.relighting import relit
from datasets.synthetic.renderer.arrays import Bytes, Doubles, Floats, f32
from datasets.synthetic.renderer.colour import to_linear
from datasets.synthetic.renderer.photography import (
    Degradation,
    exposure,
    photograph,
    random_degradation,
    severe_degradation,
)
from datasets.synthetic.renderer.surroundings import occlude
from ldeq.face.bbox import tight_bbox
from ldeq.landmarks98 import CROP_SCALE, CROP_SIZE, MIRRORED

#: A rendering's side relative to that of WFLW's crop of its face. A crop that is turned by 45° reaches as far.
MARGIN = 1.5
#: Pixels of a crop for each pixel of the rendering below which the rendering is reduced first.
_LEAST_SCALE = 0.75
#: From a clip's frame to the one before: how far occluders move, in face sizes (standard deviation), and how the
#: severity of a hard image's degradation changes, by a trend, least and most, and at random (standard deviation).
_OCCLUDER_MOTION, _SEVERITY_TREND, _SEVERITY_NOISE = 0.1, (-0.3, 0.1), 0.15
# Streams of random numbers, none of which is one that renderings are drawn by.
_CROP, _PHOTOGRAPH, _HARD, _CLIP, _LIGHT = range(10, 15)


class FaceImage(NamedTuple):
    """A face crop."""

    #: (size, size, 3), RGB
    image: NDArray[np.uint8]
    #: (98, 2), x and y as fractions of the crop's side; beside [0, 1] where the crop cuts the face. As in WFLW, times
    #: 256 they are pixels of a crop of that size whose first pixel has its centre at 0.
    landmarks: NDArray[np.float32]
    #: Its attributes, of :data:`datasets.wflw.ATTRIBUTES`.
    attributes: frozenset[str]


class Rendering(NamedTuple):
    """A face with its surroundings, :data:`MARGIN` times as wide as WFLW's crop: before crop, occluders and camera."""

    #: (S, S, 3), RGB: sRGB of the linear RGB times :attr:`gain`.
    image: Bytes
    #: (98, 2), fractions of the side, from the left and the upper edge.
    landmarks: Doubles
    #: What keeps dark faces from being crushed by eight bits, and bright ones from being clipped.
    gain: float
    #: Of the light, in linear RGB.
    brightness: float
    #: Of WFLW's, those that it has already.
    attributes: frozenset[str]


@dataclass(frozen=True)
class Photographer:
    """Makes face crops of renderings.

    Args:
        seed: of all that is random in them, with a photograph's index.
        size: side of the crops in pixels.
        crop_jitter: how loosely crops sit on faces, 1 as a detector's and 0 as WFLW's.
        hard: share of the images that are as bad as a hard video's worst frames: blurred, noisy, dark, occluded.
        augment: also turn, mirror and stretch them, now and then cut them off at a border, and change their light, so
            that photographs of one rendering differ by more than their cameras.
    """

    seed: int
    size: int = CROP_SIZE
    crop_jitter: float = 1.0
    hard: float = 0.0
    augment: bool = False

    def photographs(self, rendering: Rendering, index: int, clip_length: int = 1) -> list[FaceImage]:
        """A face in ``clip_length`` frames of a clip, the last of which is photograph ``index``, whatever the length.

        From one frame to the next the face and its occluders move a little, and the noise and the crop's jitter are
        others. In a clip of a hard image the degradation changes too: its severity has mostly risen, so that what
        earlier frames showed is worth remembering. Each frame is one warp of the rendering.
        """
        rng, hard_rng, clip_rng = (self._rng(index, stream) for stream in (_PHOTOGRAPH, _HARD, _CLIP))
        crop = self._crop(rendering, self._rng(index, _CROP))
        own_severity = float(rng.beta(0.7, 2.0))
        hard = hard_rng.random() < self.hard
        n_occluders = 1.0 if hard else 0.3
        scene = self._scene(rendering, crop, index)
        occluder_rng = copy.deepcopy(rng)
        points = crop.landmarks * self.size - 0.5
        is_occluded = occlude(scene, rng, points, rendering.brightness, n_occluders) > 0
        gain = exposure(scene, points)
        camera = _Camera.random(rng, own_severity, hard_rng if hard else None)
        attributes = rendering.attributes | _added_attributes(camera.degradation, is_occluded)
        image = self._photograph(scene * gain, camera, rng)
        frames = [FaceImage(image, _as_wflw(crop.landmarks), attributes)]
        # Earlier frames, from the last back to the first.
        occluder_motion = clip_rng.normal(0, _OCCLUDER_MOTION, 2) * np.ptp(points, axis=0).max()
        trend, motions = clip_rng.uniform(*_SEVERITY_TREND), ClipMotions(clip_rng)
        for age in range(1, clip_length):
            camera = camera.earlier(trend, clip_rng)
            moved = motions.earlier(camera.severity)
            scene, landmarks = self._scene(rendering, crop, index, moved), move_points(crop.landmarks, moved)
            # The same random numbers are the same occluders.
            occluder_points = landmarks * self.size - 0.5 + age * occluder_motion
            occlude(scene, copy.deepcopy(occluder_rng), occluder_points, rendering.brightness, n_occluders)
            image = self._photograph(scene * gain, camera, clip_rng)
            frames.append(FaceImage(image, _as_wflw(landmarks), attributes))
        return frames[::-1]

    def _photograph(self, scene: Floats, camera: "_Camera", rng: np.random.Generator) -> Bytes:
        # Degradations are in pixels of a crop of 256.
        return photograph(scene, camera.degradation.scaled(self.size / CROP_SIZE), rng)

    def _rng(self, index: int, stream: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, index, stream))

    def _crop(self, rendering: Rendering, rng: np.random.Generator) -> "_Crop":
        change, jitter, mirrored = np.eye(2), self.crop_jitter, False
        if self.augment:
            change, mirrored = _random_change(rng)
            jitter *= 1.5 if rng.random() < 0.15 else 1
        # A detector's box is upright in the image that it sees.
        points = rendering.landmarks @ change.T
        low, high = np.split(tight_bbox(points), 2)
        extent = CROP_SCALE * float((high - low).max())
        centre = (low + high) / 2
        if jitter:
            extent *= float(
                np.exp(jitter * (rng.normal(0.02, 0.08) + (rng.uniform(-0.12, 0.3) if rng.random() < 0.2 else 0)))
            )
            centre = centre + extent * jitter * rng.normal(0, 0.035, 2)
        landmarks = (points - centre) / extent + 0.5
        if mirrored:
            landmarks = landmarks[list(MIRRORED)]
        border, bounds = cv2.BORDER_REFLECT_101, np.array([[0.0, 0.0], [1.0, 1.0]])
        if self.augment:
            border = cv2.BORDER_CONSTANT if rng.random() < 0.5 else border
            if rng.random() < 0.05:  # the photograph that the crop is of ends there
                end, axis = rng.integers(2, size=2)
                middle = float(rendering.landmarks[:, axis].mean())
                bounds[end, axis] = middle + (2 * end - 1) * rng.uniform(0.3, 0.5) * extent
        inverse = np.linalg.inv(change)
        matrix = np.column_stack([extent * inverse, inverse @ (centre - 0.5 * extent)])
        return _Crop(matrix, landmarks, border, bounds)

    def _scene(self, rendering: Rendering, crop: "_Crop", index: int, motions: list[Motion] | None = None) -> Floats:
        """The linear RGB (size, size, 3) in a crop, whose face was moved."""
        image = crop.cut(rendering.image, self.size, motions)
        scene = cv2.LUT(image, _LINEAR) * np.float32(1 / rendering.gain)
        return relit(scene, self._rng(index, _LIGHT)) if self.augment else f32(scene)


@dataclass(frozen=True)
class _Camera:
    """The camera of a frame, by its degradation, which changes over the frames of a hard clip."""

    mild: Degradation
    #: That of the worst frames; None where the clip is not hard.
    severe: Degradation | None = None
    #: Of the frame, 0 (mild) to 1 (severe).
    severity: float = 0.0

    @classmethod
    def random(cls, rng: np.random.Generator, own_severity: float, hard_rng: np.random.Generator | None) -> "_Camera":
        """That of a clip's last frame.

        Args:
            own_severity: as of :func:`random_degradation`.
            hard_rng: makes it a hard clip's.
        """
        mild = random_degradation(rng, own_severity)
        if hard_rng is None:
            return cls(mild)
        return cls(mild, severe_degradation(hard_rng, mild), float(hard_rng.uniform(0.2, 1.0)))

    def earlier(self, trend: float, rng: np.random.Generator) -> "_Camera":
        """That of the frame before."""
        if self.severe is None:
            return self
        severity = float(np.clip(self.severity + trend + rng.normal(0, _SEVERITY_NOISE), 0, 1))
        return replace(self, severity=severity)

    @property
    def degradation(self) -> Degradation:
        return self.mild if self.severe is None else self.mild.blend(self.severe, self.severity)


def _added_attributes(degradation: Degradation, is_occluded: bool) -> set[str]:
    """Attributes that a face has by its photograph."""
    added = {
        "illumination": abs(degradation.exposure) > 0.9,
        "occlusion": is_occluded,
        "blur": max(degradation.blur / 1.8, degradation.motion / 5, 0.5 / degradation.resolution) > 1,
    }
    return {name for name, present in added.items() if present}


@dataclass(frozen=True)
class _Crop:
    """Where a crop is in a rendering."""

    #: (2, 3), from fractions of the crop's side to fractions of the rendering's.
    matrix: Doubles
    #: (98, 2), fractions of the crop's side, from its left and its upper edge.
    landmarks: Doubles
    #: OpenCV's number of what is beyond the rendering.
    border: int
    #: (2, 2), the upper left and the lower right end of what is used of the rendering, as fractions of its side.
    bounds: Doubles

    def cut(self, image: Bytes, size: int, motions: list[Motion] | None = None) -> Bytes:
        """The crop (size, size, 3) of a rendering's image, whose face was moved within the crop."""
        image = reduced(image, size / math.sqrt(abs(np.linalg.det(self.matrix[:, :2]))), _LEAST_SCALE)
        side = len(image)
        (left, top), (right, bottom) = np.round(self.bounds * side).astype(int).clip(0, side).tolist()
        # From pixels to pixels; the centre of the first one is at 0.
        linear = self.matrix[:, :2] * (side / size)
        shift = (self.matrix @ [0.5 / size, 0.5 / size, 1]) * side - 0.5 - (left, top)
        source = image[top:bottom, left:right]
        if motions is None:
            warp = np.column_stack([linear, shift])
            flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
            moved = cv2.warpAffine(source, warp, (size, size), flags=flags, borderMode=self.border)
        else:
            field = f32(displacement_field(size, motions) @ linear.T.astype(np.float32) + shift.astype(np.float32))
            moved = cv2.remap(source, field, None, cv2.INTER_CUBIC, borderMode=self.border)  # type: ignore[call-overload]
        return np.asarray(moved, dtype=np.uint8)


def _random_change(rng: np.random.Generator) -> tuple[Doubles, bool]:
    """A turn, a stretch and, half the time, the mirror image: the matrix (2, 2), and whether it mirrors."""
    angle = math.radians(rng.normal(0, 10) if rng.random() < 0.8 else rng.uniform(-40, 40))
    stretch = 1.06 ** rng.uniform(-1, 1)
    mirrored = bool(rng.random() < 0.5)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return np.diag([stretch, 1 / stretch]) @ turn @ np.diag([-1.0 if mirrored else 1.0, 1.0]), mirrored


#: Linear RGB of each of a rendering's levels.
_LINEAR = to_linear(np.arange(256.0))


def _as_wflw(points: Doubles) -> NDArray[np.float32]:
    """Points in fractions of the side, from its left or upper edge, as WFLW has them: from its first pixel's centre.

    WFLW's crops have 256 pixels a side, so at any other size it is the same half of such a pixel.
    """
    return (points - 0.5 / CROP_SIZE).astype(np.float32)
