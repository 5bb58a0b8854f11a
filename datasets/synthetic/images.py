"""Endless synthetic face crops with their 98 landmarks, and clips of them."""

import cv2
import numpy as np

from datasets.synthetic.people.expression import random_expression
from datasets.synthetic.people.head import load_head
from datasets.synthetic.people.landmarks import LandmarkModel
from datasets.synthetic.people.person import Person, Phenotype, draw_person, draw_phenotypes
from datasets.synthetic.people.pose import pose_face, random_pose, turned_aside
from datasets.synthetic.photographs import MARGIN, FaceImage, Photographer, Rendering
from datasets.synthetic.renderer.arrays import Bytes, Doubles, Floats
from datasets.synthetic.renderer.camera import Projection
from datasets.synthetic.renderer.colour import GAMMA
from datasets.synthetic.renderer.light import random_light
from datasets.synthetic.renderer.scene import render
from datasets.synthetic.renderer.surroundings import random_background
from ldeq.face.bbox import tight_bbox
from ldeq.landmarks98 import CROP_SCALE, CROP_SIZE

#: Drawn pixels a pixel of the rendering, in each direction.
_OVERSAMPLING = 1.5
#: Linear brightness of a face in a rendering, and of its brightest spots at most.
_FACE_LEVEL, _BRIGHTEST = 0.25, 0.9
#: People whose shapes are prepared together.
_BLOCK = 128
# Streams of random numbers, others than a photographer's.
_RENDERING, _PERSON, _PHENOTYPES, _TURN = range(4)


class SyntheticFaces:
    """Face crops like WFLW's, drawn as they are asked for.

    Image ``index`` is a function of the arguments and the index alone. Different seeds have no person in common.

    Args:
        seed: which faces.
        size: side of the crops in pixels.
        crop_jitter: how loosely crops sit on faces, 1 as a detector's and 0 as WFLW's.
        images_per_person: how many images in a row show the same person, each in another pose, expression and light.
            More than one is faster, as making a person up takes a third of the time of an image.
        hard: share of the images that are as bad as a hard video's worst frames: blurred, noisy, dark, occluded.
        turned: share of the images whose heads are turned by 40° to 75° to a side, beside those that are in any case.
        augment: see :class:`Photographer`.
    """

    def __init__(
        self,
        seed: int,
        size: int = CROP_SIZE,
        crop_jitter: float = 1.0,
        images_per_person: int = 1,
        hard: float = 0.0,
        turned: float = 0.0,
        augment: bool = False,
    ) -> None:
        self._seed, self._size, self._per_person, self._turned = seed, size, images_per_person, turned
        self._photographer = Photographer(seed, size, crop_jitter, hard, augment)
        self._head = load_head()
        self._landmarks = LandmarkModel(self._head)
        self._block: tuple[int, list[Phenotype]] = (-1, [])
        self._last: tuple[int, Person | None] = (-1, None)

    def draw(self, index: int) -> FaceImage:
        """The image at an index, 0 or more."""
        return self.draw_clip(index, 1)[0]

    def draw_clip(self, index: int, clip_length: int) -> list[FaceImage]:
        """A face in ``clip_length`` frames of a clip, the last of which is the image at ``index``.

        See :meth:`Photographer.photographs`.
        """
        return self._photographer.photographs(self.rendering(index), index, clip_length)

    def rendering(self, index: int) -> Rendering:
        """The face that the image at an index is a photograph of: :data:`MARGIN` times as many pixels a side.

        It depends on ``seed``, ``size``, ``images_per_person``, ``turned`` and the index alone.
        """
        rng = np.random.default_rng((self._seed, index, _RENDERING))
        person = self.person(index)
        pose = random_pose(rng)
        turn_rng = np.random.default_rng((self._seed, index, _TURN))
        if turn_rng.random() < self._turned:
            pose = turned_aside(pose, turn_rng)
        expression = random_expression(rng)
        face = pose_face(self._head, person, expression, pose)
        # Where the face is in the image of a camera of focal length 1 decides on what is rendered.
        points = face.landmarks(self._landmarks, Projection(1.0, np.zeros(2)))
        low, high = np.split(tight_bbox(points), 2)
        side = round(MARGIN * self._size)
        drawn_side = round(_OVERSAMPLING * side)
        scale = drawn_side / (MARGIN * CROP_SCALE * float((high - low).max()))
        project = Projection(scale, drawn_side / 2 - 0.5 - (low + high) / 2 * scale)
        light = random_light(rng)
        image, seen = render(face.scene(self._head), light, project, drawn_side, drawn_side)
        background = random_background(rng, drawn_side, drawn_side) * np.float32(
            light.brightness * rng.uniform(0.5, 1.5)
        )
        cv2.copyTo(image, seen.astype(np.uint8), background)
        has = {
            "largepose": max(abs(pose.yaw) / 40, abs(pose.pitch) / 25, abs(pose.roll) / 35) > 1,
            "expression": sum(expression.values()) > 3,
            "illumination": light.direction[2] > 0 or light.direction[1] > 0,
            "makeup": person.wears_makeup,
            "occlusion": person.glasses is not None and person.glasses.lens_opacity > 0.5,
        }
        landmarks = (project.scale * points + project.shift + 0.5) / drawn_side
        small = np.asarray(cv2.resize(background, (side, side), interpolation=cv2.INTER_AREA), dtype=np.float32)
        gain = _gain(small, landmarks)
        attributes = frozenset(name for name, present in has.items() if present)
        return Rendering(_in_bytes(small, gain), landmarks, gain, light.brightness, attributes)

    def person(self, index: int) -> Person:
        """The person that the image at an index shows."""
        number = index // self._per_person
        if self._last[0] != number or self._last[1] is None:
            block, within = divmod(number, _BLOCK)
            if self._block[0] != block:
                rng = np.random.default_rng((self._seed, block, _PHENOTYPES))
                self._block = block, draw_phenotypes(self._head, rng, _BLOCK)
            rng = np.random.default_rng((self._seed, number, _PERSON))
            self._last = number, draw_person(self._head, self._block[1][within], rng)
        assert self._last[1] is not None
        return self._last[1]


def _gain(image: Floats, landmarks: Doubles) -> float:
    """What brings a face in linear RGB to medium brightness, or to less where its brightest spots would be clipped."""
    left, top, right, bottom = (tight_bbox(landmarks) * len(image)).astype(int).tolist()
    face = image[top:bottom, left:right].max(axis=2)
    brightest = float(np.quantile(face[::2, ::2], 0.99))
    return min(_FACE_LEVEL / max(float(face.mean()), 1e-3), _BRIGHTEST / max(brightest, 1e-3))


def _in_bytes(image: Floats, gain: float) -> Bytes:
    """Linear RGB times a gain as :attr:`Rendering.image` has it."""
    levels = cv2.pow((image * np.float32(gain)).clip(0, 1), 1 / GAMMA)  # OpenCV's is the faster power
    return (levels * np.float32(255) + np.float32(0.5)).astype(np.uint8)
