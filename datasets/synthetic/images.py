"""Endless synthetic face crops with their 98 landmarks, and clips of them."""

import copy
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.motion import move_image, move_points, random_jitter, random_motion
from datasets.synthetic.people.expression import random_expression
from datasets.synthetic.people.head import load_head
from datasets.synthetic.people.landmarks import LandmarkModel
from datasets.synthetic.people.person import Person, Phenotype, draw_person, draw_phenotypes
from datasets.synthetic.people.pose import pose_face, random_pose, turned_aside
from datasets.synthetic.renderer.arrays import Doubles, Floats, f32
from datasets.synthetic.renderer.camera import Projection
from datasets.synthetic.renderer.light import random_light
from datasets.synthetic.renderer.photography import exposure, photograph, random_degradation, severe_degradation
from datasets.synthetic.renderer.scene import render
from datasets.synthetic.renderer.surroundings import occlude, random_background
from ldeq.face.boxes import tight_bbox
from ldeq.landmarks98 import CROP_SIZE

#: Rendered pixels a pixel of the image, in each direction.
_OVERSAMPLING = 1.45
#: People whose shapes are prepared together.
_BLOCK = 128
#: From a clip's frame to the one before: how far occluders move, in face sizes (standard deviation), and how the
#: severity of a hard image's degradation changes, by a trend, least and most, and at random (standard deviation).
_OCCLUDER_MOTION, _SEVERITY_TREND, _SEVERITY_NOISE = 0.1, (-0.3, 0.1), 0.15
# Streams of random numbers.
_IMAGE, _PERSON, _PHENOTYPES, _HARD, _CLIP, _TURN = range(6)


class FaceImage(NamedTuple):
    """A face crop."""

    #: (size, size, 3), RGB
    image: NDArray[np.uint8]
    #: (98, 2), x and y as fractions of the crop's side; beside [0, 1] where the crop cuts the face. As in WFLW, times
    #: 256 they are pixels of a crop of that size whose first pixel has its centre at 0.
    landmarks: NDArray[np.float32]
    #: Its attributes, of :data:`datasets.wflw.ATTRIBUTES`.
    attributes: frozenset[str]


class _Rendering(NamedTuple):
    """A face and its background, before occluders and the camera."""

    #: (S, S, 3) linear RGB, where S is :attr:`side`.
    image: Floats
    #: (98, 2), the landmarks in its pixels.
    points: Doubles
    brightness: float
    #: WFLW's attributes, and which of them it has already.
    has: dict[str, bool]

    @property
    def side(self) -> int:
        return len(self.image)


class SyntheticFaces:
    """Face crops like WFLW's, drawn as they are asked for.

    Image ``index`` is a function of the arguments and the index alone. Different seeds have no person in common.

    Args:
        seed: which faces.
        size: side of the crops in pixels.
        crop_jitter: how loosely crops sit on faces, 1 as a detector's and 0 as WFLW's.
        images_per_person: how many images in a row show the same person, each in another pose, expression and light.
            More than one is faster, as making a person up takes half the time of an image.
        hard: share of the images that are as bad as a hard video's worst frames: blurred, noisy, dark, occluded.
        turned: share of the images whose heads are turned by 40° to 75° to a side, beside those that are in any case.
    """

    def __init__(
        self,
        seed: int,
        size: int = 256,
        crop_jitter: float = 1.0,
        images_per_person: int = 1,
        hard: float = 0.0,
        turned: float = 0.0,
    ) -> None:
        self._hard, self._turned = hard, turned
        self._seed, self._size, self._jitter, self._per_person = seed, size, crop_jitter, images_per_person
        self._head = load_head()
        self._landmarks = LandmarkModel(self._head)
        self._block: tuple[int, list[Phenotype]] = (-1, [])
        self._last: tuple[int, Person | None] = (-1, None)

    def draw(self, index: int) -> FaceImage:
        """The image at an index, 0 or more."""
        return self.draw_clip(index, 1)[0]

    def draw_clip(self, index: int, clip_length: int) -> list[FaceImage]:
        """A face in ``clip_length`` frames of a clip, the last of which is the image at ``index``.

        From one frame to the next the face and its occluders move a little, and the noise and the crop's jitter are
        others. In a clip of a hard image the degradation changes too: its severity has mostly risen, so that what
        earlier frames showed is worth remembering. All frames are warps of one rendering.
        """
        rng, hard_rng, clip_rng = (np.random.default_rng((self._seed, index, s)) for s in (_IMAGE, _HARD, _CLIP))
        scene = self._render(index, rng)
        own_severity = float(rng.beta(0.7, 2.0))
        hard = hard_rng.random() < self._hard
        n_occluders = 1.0 if hard else 0.3
        occluder_rng = copy.deepcopy(rng)
        occluded = scene.image.copy()
        is_occluded = occlude(occluded, rng, scene.points, scene.brightness, n_occluders) > 0
        occluded = self._resized(occluded)
        gain = exposure(occluded, scene.points * (self._size / scene.side))
        mild = random_degradation(rng, own_severity)
        severe, severity = mild, 0.0
        if hard:
            severe, severity = severe_degradation(hard_rng, mild), float(hard_rng.uniform(0.2, 1.0))
        degradation = mild.blend(severe, severity) if hard else mild
        has = {
            **scene.has,
            "illumination": abs(degradation.exposure) > 0.9 or scene.has["illumination"],
            "occlusion": is_occluded or scene.has["occlusion"],
            "blur": max(degradation.blur / 1.8, degradation.motion / 5, 0.5 / degradation.resolution) > 1,
        }
        attributes = frozenset(name for name, present in has.items() if present)
        centred = (scene.points + 0.5) / scene.side
        # Blur is in pixels of a crop of 256.
        image = photograph(occluded * gain, degradation.scaled(self._size / 256), rng)
        frames = [FaceImage(image, _as_wflw(centred), attributes)]
        # Earlier frames, from the last back to the first.
        motions = []
        occluder_motion = clip_rng.normal(0, _OCCLUDER_MOTION, 2) * np.ptp(scene.points, axis=0).max()
        trend = clip_rng.uniform(*_SEVERITY_TREND)
        for age in range(1, clip_length):
            if hard:
                severity = float(np.clip(severity + trend + clip_rng.normal(0, _SEVERITY_NOISE), 0, 1))
                degradation = mild.blend(severe, severity)
            motions.append(random_motion(clip_rng))
            moved = [*motions, random_jitter(clip_rng, severity)]
            occluded, points = move_image(scene.image, moved), move_points(centred, moved)
            # The same random numbers are the same occluders.
            occluder_points = points * scene.side - 0.5 + age * occluder_motion
            occlude(occluded, copy.deepcopy(occluder_rng), occluder_points, scene.brightness, n_occluders)
            image = photograph(self._resized(occluded) * gain, degradation.scaled(self._size / 256), clip_rng)
            frames.append(FaceImage(image, _as_wflw(points), attributes))
        return frames[::-1]

    def _render(self, index: int, rng: np.random.Generator) -> _Rendering:
        person = self._person(index // self._per_person)
        pose = random_pose(rng)
        turn_rng = np.random.default_rng((self._seed, index, _TURN))
        if turn_rng.random() < self._turned:
            pose = turned_aside(pose, turn_rng)
        expression = random_expression(rng)
        face = pose_face(self._head, person, expression, pose)
        # Where the face is in the image of a camera of focal length 1 decides on the crop.
        points = face.landmarks(self._landmarks, Projection(1.0, np.zeros(2)))
        low, high = np.split(tight_bbox(points), 2)
        extent = 1.2 * float((high - low).max())
        centre = (low + high) / 2
        if self._jitter:
            extent *= float(
                np.exp(self._jitter * (rng.normal(0.02, 0.08) + (rng.uniform(-0.12, 0.3) if rng.random() < 0.2 else 0)))
            )
            centre = centre + extent * self._jitter * rng.normal(0, 0.035, 2)
        side = round(self._size * _OVERSAMPLING)
        scale = side / extent
        project = Projection(scale, side / 2 - 0.5 - centre * scale)
        light = random_light(rng)
        image, seen = render(face.scene(self._head), light, project, side, side)
        background = random_background(rng, side, side) * light.brightness * rng.uniform(0.5, 1.5)
        has = {
            "largepose": max(abs(pose.yaw) / 40, abs(pose.pitch) / 25, abs(pose.roll) / 35) > 1,
            "expression": sum(expression.values()) > 3,
            "illumination": light.direction[2] > 0 or light.direction[1] > 0,
            "makeup": person.wears_makeup,
            "occlusion": person.glasses is not None and person.glasses.lens_opacity > 0.5,
        }
        shown = project.scale * points + project.shift
        return _Rendering(np.where(seen[..., None], image, background), shown, light.brightness, has)

    def _resized(self, rendering: Floats) -> Floats:
        """A rendered image at the crops' size."""
        return f32(cv2.resize(rendering, (self._size, self._size), interpolation=cv2.INTER_AREA))

    def _person(self, number: int) -> Person:
        if self._last[0] != number or self._last[1] is None:
            block, within = divmod(number, _BLOCK)
            if self._block[0] != block:
                rng = np.random.default_rng((self._seed, block, _PHENOTYPES))
                self._block = block, draw_phenotypes(self._head, rng, _BLOCK)
            rng = np.random.default_rng((self._seed, number, _PERSON))
            self._last = number, draw_person(self._head, self._block[1][within], rng)
        assert self._last[1] is not None
        return self._last[1]


def _as_wflw(points: Doubles) -> NDArray[np.float32]:
    """Points in fractions of the side, from its left or upper edge, as WFLW has them: from its first pixel's centre.

    WFLW's crops have 256 pixels a side, so at any other size it is the same half of such a pixel.
    """
    return (points - 0.5 / CROP_SIZE).astype(np.float32)
