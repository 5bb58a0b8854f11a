"""Endless synthetic face crops with their 98 landmarks."""

import copy
import dataclasses
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.motion import move_image, move_points, random_jitter, random_motion
from datasets.synthetic.colour import Floats, f32
from datasets.synthetic.expression import random_expression
from datasets.synthetic.head import load_head
from datasets.synthetic.landmarks import LandmarkModel, Projection
from datasets.synthetic.person import Person, Phenotype, draw_person, draw_phenotypes
from datasets.synthetic.photography import exposure, photograph, random_faults, random_light, worst_faults
from datasets.synthetic.scene import Pose, landmarks, pose_face, render
from datasets.synthetic.surroundings import occlude, random_background
from ldeq.landmarks98 import CROP_SIZE

#: Rendered pixels a pixel of the picture, in each direction.
_OVERSAMPLING = 1.45
#: People whose shapes are prepared together.
_BLOCK = 128
#: From a view to the one before: how far what hides the face moves, in face sizes; and of the badness of a hard
#: picture's faults the trend, least and most, and what is random.
_PASSING, _TREND, _FLICKER = 0.1, (-0.3, 0.1), 0.15
# Streams of random numbers.
_PICTURE, _PERSON, _PHENOTYPES, _HARD, _VIEWS, _TURN = range(6)


class FacePicture(NamedTuple):
    """A face crop."""

    #: (size, size, 3), RGB
    image: NDArray[np.uint8]
    #: (98, 2), x and y as fractions of the crop's side; beside [0, 1] where the crop cuts the face. As in WFLW, times
    #: 256 they are pixels of a crop of that size whose first pixel has its centre at 0.
    landmarks: NDArray[np.float32]
    #: Which of WFLW's attributes it has: of :data:`datasets.wflw.ATTRIBUTES`.
    attributes: frozenset[str]


class _Scene(NamedTuple):
    """What a camera is held up to."""

    #: (S, S, 3) linear RGB, where S is :attr:`side`.
    picture: Floats
    #: (98, 2), the landmarks in its pixels.
    points: NDArray[np.float64]
    brightness: float
    #: Which of WFLW's attributes it has already, and has not.
    has: dict[str, bool]

    @property
    def side(self) -> int:
        return len(self.picture)

    def occluded(
        self, picture: Floats, points: NDArray[np.float64], rng: np.random.Generator, amount: float
    ) -> tuple[Floats, int]:
        """A copy of a picture of it with things before the face, and how many they are."""
        copied = picture.copy()
        return copied, occlude(copied, rng, points, self.brightness, amount)


class SyntheticFaces:
    """Face crops like WFLW's, drawn as they are asked for.

    Picture ``index`` is a function of the arguments and the index alone. Different seeds have no person in common.

    Args:
        seed: which faces.
        size: side of the crops in pixels.
        crop_jitter: how loosely crops sit on faces, 1 as a detector's and 0 as WFLW's.
        pictures_per_person: how many pictures in a row show the same person, each in another pose, expression and
            light. More than one is faster, as making a person up takes half the time of a picture.
        hard: share of the pictures that are as bad as a hard video's worst moments: blurred, noisy, dark, occluded.
        turned: share of the pictures whose heads are turned by 40° to 75° to a side, beside those that are in any case.
    """

    def __init__(
        self,
        seed: int,
        size: int = 256,
        crop_jitter: float = 1.0,
        pictures_per_person: int = 1,
        hard: float = 0.0,
        turned: float = 0.0,
    ) -> None:
        self._hard, self._turned = hard, turned
        self._seed, self._size, self._jitter, self._per_person = seed, size, crop_jitter, pictures_per_person
        self._head = load_head()
        self._landmarks = LandmarkModel(self._head)
        self._block: tuple[int, list[Phenotype]] = (-1, [])
        self._last: tuple[int, Person | None] = (-1, None)

    def draw(self, index: int) -> FacePicture:
        """The picture at an index, 0 or more."""
        return self.draw_views(index, 1)[0]

    def draw_views(self, index: int, count: int) -> list[FacePicture]:
        """A face as ``count`` moments of a video might show it, the last of which is the picture at ``index``.

        From one to the next the face moves a little, what hides it moves on over it, and the noise and the crop's
        jitter are others. Of a hard picture the camera's faults change too: they have mostly come up, so that what was
        there before is worth remembering. The scene is one still picture's.
        """
        rng, hard_rng, views_rng = (np.random.default_rng((self._seed, index, s)) for s in (_PICTURE, _HARD, _VIEWS))
        scene = self._stage(index, rng)
        severity = float(rng.beta(0.7, 2.0))
        hard = hard_rng.random() < self._hard
        n_things = 1.0 if hard else 0.3
        same_things = copy.deepcopy(rng)
        picture, n_occluders = scene.occluded(scene.picture, scene.points, rng, n_things)
        picture = self._reduced(picture)
        to_crop = self._size / scene.side
        gain = exposure(picture, scene.points * to_crop)
        good = random_faults(rng, severity)
        worst, badness = good, 0.0
        if hard:
            worst, badness = worst_faults(hard_rng, good), float(hard_rng.uniform(0.2, 1.0))
        faults = good.blend(worst, badness) if hard else good
        has = {
            **scene.has,
            "illumination": abs(faults.exposure) > 0.9 or scene.has["illumination"],
            "occlusion": n_occluders > 0 or scene.has["occlusion"],
            "blur": max(faults.blur / 1.8, faults.motion / 5, 0.5 / faults.resolution) > 1,
        }
        attributes = frozenset(name for name, present in has.items() if present)
        centred = (scene.points + 0.5) / scene.side
        image = photograph(picture * gain, faults.scaled(self._size / 256), rng)
        views = [FacePicture(image, _as_wflw(centred), attributes)]
        # Earlier moments, from the last back to the first.
        motions = []
        passing = views_rng.normal(0, _PASSING, 2) * np.ptp(scene.points, axis=0).max()
        trend = views_rng.uniform(*_TREND)
        for age in range(1, count):
            if hard:
                badness = float(np.clip(badness + trend + views_rng.normal(0, _FLICKER), 0, 1))
                faults = good.blend(worst, badness)
            motions.append(random_motion(views_rng))
            moved = [*motions, random_jitter(views_rng, badness)]
            picture, points = move_image(scene.picture, moved), move_points(centred, moved)
            things = copy.deepcopy(same_things)
            picture, _ = scene.occluded(picture, points * scene.side - 0.5 + age * passing, things, n_things)
            image = photograph(self._reduced(picture) * gain, faults.scaled(self._size / 256), views_rng)
            views.append(FacePicture(image, _as_wflw(points), attributes))
        return views[::-1]

    def _stage(self, index: int, rng: np.random.Generator) -> _Scene:
        """Someone somewhere, before anything is in front of the face and any camera has spoilt it."""
        person = self._person(index // self._per_person)
        pose = random_pose(rng)
        turn_rng = np.random.default_rng((self._seed, index, _TURN))
        if turn_rng.random() < self._turned:
            pose = turned_aside(pose, turn_rng)
        expression = random_expression(rng)
        face = pose_face(self._head, person, expression, pose)
        # Where the face is in the picture of a camera of focal length 1 decides on the crop.
        points = landmarks(self._landmarks, face, Projection(1.0, np.zeros(2)))
        low, high = points.min(0), points.max(0)
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
        picture, seen, _ = render(self._head, face, light, project, side, side)
        background = random_background(rng, side, side) * light.brightness * rng.uniform(0.5, 1.5)
        has = {
            "largepose": max(abs(pose.yaw) / 40, abs(pose.pitch) / 25, abs(pose.roll) / 35) > 1,
            "expression": sum(expression.values()) > 3,
            "illumination": light.direction[2] > 0 or light.direction[1] > 0,
            "makeup": person.made_up,
            "occlusion": person.glasses is not None and person.glasses.lens_opacity > 0.5,
        }
        shown = project.scale * points + project.shift
        return _Scene(np.where(seen[..., None], picture, background), shown, light.brightness, has)

    def _reduced(self, picture: Floats) -> Floats:
        """A rendered picture at the crops' size."""
        return f32(cv2.resize(picture, (self._size, self._size), interpolation=cv2.INTER_AREA))

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


def _as_wflw(points: NDArray[np.float64]) -> NDArray[np.float32]:
    """Points in fractions of the side, from its left or upper edge, as WFLW has them: from its first pixel's centre.

    WFLW's crops have 256 pixels a side, so at any other size it is the same half of such a pixel.
    """
    return (points - 0.5 / CROP_SIZE).astype(np.float32)


def random_pose(rng: np.random.Generator) -> Pose:
    """Mostly towards the camera, now and then as far as ±75° to a side."""
    kind = rng.random()
    yaw = rng.normal(0, 18) if kind < 0.65 else rng.normal(0, 35) if kind < 0.88 else rng.uniform(-75, 75)
    yaw = float(np.clip(yaw, -75, 75))
    pitch = float(np.clip(rng.normal(2, 12), -35, 35))
    roll = float(rng.normal(0, 10) if rng.random() < 0.85 else rng.uniform(-45, 45))
    return Pose(
        yaw=yaw,
        pitch=pitch,
        roll=roll,
        distance=float(np.exp(rng.uniform(np.log(38), np.log(260)))),
        torso_yaw=yaw * float(rng.uniform(0.1, 0.9)),
        gaze=(float(np.clip(rng.normal(0, 13), -35, 35)), float(np.clip(rng.normal(0, 8), -22, 25))),
    )


def turned_aside(pose: Pose, rng: np.random.Generator) -> Pose:
    """The same but for a turn of 40° to 75° to a side."""
    yaw = float(rng.uniform(40, 75) * rng.choice((-1, 1)))
    return dataclasses.replace(pose, yaw=yaw, torso_yaw=yaw * float(rng.uniform(0.1, 0.9)))
