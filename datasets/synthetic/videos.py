"""Synthetic videos of one person each: smooth paths of head, camera, expression, gaze and light."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.motion import jittered_bbox, smooth_path
from datasets.synthetic.people.expression import Actions, random_expression
from datasets.synthetic.people.head import Head, load_head
from datasets.synthetic.people.landmarks import LandmarkModel
from datasets.synthetic.people.person import Person, draw_person, draw_phenotypes
from datasets.synthetic.people.pose import Pose, pose_face
from datasets.synthetic.renderer.arrays import Doubles, Floats, f32
from datasets.synthetic.renderer.camera import Projection
from datasets.synthetic.renderer.light import Light, random_light
from datasets.synthetic.renderer.photography import exposure, photograph, random_degradation, severe_degradation
from datasets.synthetic.renderer.scene import render
from datasets.synthetic.renderer.surroundings import occlude, random_background

FPS = 25
#: Width and height of frames in pixels.
FRAME_SIZE = (384, 384)
_OVERSAMPLING = 1.25
#: Width and height of frames as they are drawn.
_DRAWN_SIZE = (round(FRAME_SIZE[0] * _OVERSAMPLING), round(FRAME_SIZE[1] * _OVERSAMPLING))
#: Mean side of a face in a frame, as a share of the frame's height.
_FACE_SHARE = 0.5
# Streams of random numbers.
_VIDEO, _FRAME = 100, 101


class VideoFrame(NamedTuple):
    """A frame of a synthetic video."""

    #: (height, width, 3), RGB
    image: NDArray[np.uint8]
    #: (98, 2), x and y in frame pixels
    landmarks: NDArray[np.float64]
    #: (5,), x1 y1 x2 y2 in frame pixels and a score, as a face detector's: it jitters, more so on bad frames
    bbox: NDArray[np.float64]


class SyntheticVideo:
    """A video, frame by frame; iterating again gives the same.

    Args:
        seed, number: which video. Its person is in no other, and in no image of :class:`SyntheticFaces`.
        n_frames: its length.
        difficulty: 0 for a calm video in good light; 1 for bursts of occlusion, blur, darkness and fast turns.
    """

    def __init__(self, seed: int, number: int, n_frames: int, difficulty: float) -> None:
        self._seed, self._number, self._n, self._difficulty = seed, number, n_frames, difficulty

    def __len__(self) -> int:
        return self._n

    def bad_frames(self) -> NDArray[np.bool_]:
        """(n_frames,), where the image is more than half as degraded as it gets, or something is before the face."""
        trajectories = self._begin()[2]
        return np.array(
            [trajectories.severity(t) > 0.5 or trajectories.is_face_covered(t) for t in range(self._n)], dtype=bool
        )

    def _begin(self) -> "tuple[np.random.Generator, Person, _Trajectories]":
        """The person, what becomes of it, and the random numbers that go on from there."""
        head = load_head()
        rng = np.random.default_rng((self._seed, self._number, _VIDEO, int(self._difficulty * 100)))
        person = draw_person(head, draw_phenotypes(head, rng, 1)[0], rng)
        return rng, person, _Trajectories(rng, self._n, self._difficulty)

    def __iter__(self) -> Iterator[VideoFrame]:
        head = load_head()
        rng, person, trajectories = self._begin()
        light = random_light(rng)
        width, height = (round(1.5 * side) for side in _DRAWN_SIZE)
        backdrop = random_background(rng, height, width) * light.brightness * rng.uniform(0.6, 1.3)
        mild = random_degradation(rng, 0.15 + 0.25 * self._difficulty)
        severe = severe_degradation(rng, mild)
        occluder_seed = int(rng.integers(2**31))
        stage = _Stage(head, LandmarkModel(head), person, trajectories, light, backdrop, occluder_seed)
        # The exposure is set once, as if the camera had locked it.
        gain: np.float32 | None = None
        for t in range(self._n):
            frame_rng = np.random.default_rng((self._seed, self._number, _FRAME, t))
            rendering, points = stage.render(t)
            small = f32(cv2.resize(rendering, FRAME_SIZE, interpolation=cv2.INTER_AREA))
            if gain is None:
                gain = exposure(small, points / _OVERSAMPLING)
            severity = trajectories.severity(t)
            image = photograph(small * gain, mild.blend(severe, severity), frame_rng)
            shown = (points + 0.5) / _OVERSAMPLING - 0.5
            deviation = 0.008 + 0.02 * self._difficulty * (0.3 + severity)
            yield VideoFrame(image, shown, jittered_bbox(shown, frame_rng, deviation))


@dataclass(frozen=True)
class _Stage:
    """What is before the camera of a video."""

    head: Head
    landmarks: LandmarkModel
    person: Person
    trajectories: "_Trajectories"
    #: That of the person without its glow.
    light: Light
    #: (H, W, 3), linear RGB, larger than the frames that are drawn.
    backdrop: Floats
    #: The first of the occluders' seeds.
    occluder_seed: int

    def render(self, t: int) -> tuple[Floats, Doubles]:
        """Frame ``t`` of :data:`_DRAWN_SIZE`, in linear RGB, and the landmarks (98, 2) in its pixels."""
        path, size = self.trajectories, _DRAWN_SIZE
        face = pose_face(self.head, self.person, path.expression(t), path.pose(t))
        project = Projection(path.focal(t) * size[1], path.centre(t) * size - 0.5)
        points = face.landmarks(self.landmarks, project)
        image, seen = render(face.scene(self.head), path.light(self.light, t), project, size[1], size[0])
        image = np.where(seen[..., None], image, _pan(self.backdrop, path.centre(t), size))
        offset = path.occluder_offset(t)
        if offset is not None:
            # The same random numbers are the same occluder in every frame, which moves over the face.
            rng = np.random.default_rng(self.occluder_seed + path.occluder(t))
            moved = points + offset * np.ptp(points, axis=0).max()
            occlude(image, rng, moved, self.light.brightness, 1.0, least=1)
        return image, points


def _pan(backdrop: Floats, centre: NDArray[np.floating], size: tuple[int, int]) -> Floats:
    """The part of the backdrop behind the frame: it moves less than the face does."""
    height, width = backdrop.shape[:2]
    x = round(float(np.clip(0.5 + 0.3 * (0.5 - centre[0]), 0, 1)) * (width - size[0]))
    y = round(float(np.clip(0.5 + 0.3 * (0.5 - centre[1]), 0, 1)) * (height - size[1]))
    return backdrop[y : y + size[1], x : x + size[0]]


class _Trajectories:
    """Pose, camera, expression, light and degradation of a video as smooth functions of the frame."""

    def __init__(self, rng: np.random.Generator, n: int, difficulty: float) -> None:
        self._t = np.arange(n)
        seconds = self._t / FPS
        speed = rng.uniform(0.5, 1.0) + 0.8 * difficulty

        def path(sweep: float, tremor: float) -> Doubles:
            waves = (sweep, 0.08, 0.3), (0.4 * sweep, 0.3, 0.9), (tremor, 1.5, 4.0)
            return smooth_path(rng, seconds, waves, speed)

        wide = rng.uniform(0.5, 1.3) * (0.6 + 0.7 * difficulty)
        self._yaw = (rng.normal(0, 10) + path(22 * wide, 0.3)).clip(-70, 70)
        self._pitch = (rng.normal(2, 6) + path(8 * wide, 0.3)).clip(-30, 30)
        self._roll = rng.normal(0, 4) + path(7 * wide, 0.3)
        self._distance = float(np.exp(rng.uniform(np.log(50), np.log(200))))
        self._size = _FACE_SHARE * np.exp(path(0.12 * wide, 0.003)) * rng.uniform(0.75, 1.15)
        self._x, self._y = 0.5 + path(0.07 * wide, 0.002), 0.48 + path(0.04 * wide, 0.002)
        self._gaze = path(12, 0.5), path(6, 0.5)
        self._glow = np.exp(path(0.12 + 0.25 * difficulty, 0.02))
        # Expressions at a few key frames, and blends in between.
        n_keys = 2 + n // round(FPS * rng.uniform(0.5, 1.2))
        self._keys = [random_expression(rng) for _ in range(n_keys)]
        self._talks = rng.random() < 0.5
        self._talk = np.abs(np.sin(2 * np.pi * rng.uniform(1.5, 3) * seconds + path(2, 0.5))) * rng.uniform(0.1, 0.4)
        self._severity = _bursts(rng, n, difficulty * rng.uniform(0.8, 2.2), 8, 28)
        self._occluder_offsets, self._occluder_numbers = _occluder_passes(rng, n, difficulty * rng.uniform(0.8, 2.2))

    def pose(self, t: int) -> Pose:
        return Pose(
            float(self._yaw[t]), float(self._pitch[t]), float(self._roll[t]), self._distance,
            float(self._yaw[t] * 0.4), (float(self._gaze[0][t]), float(self._gaze[1][t])),
        )  # fmt: skip

    def focal(self, t: int) -> float:
        """Focal length in frame heights: a face of 18 cm fills the wanted share of the frame."""
        return float(self._size[t] * self._distance / 18)

    def centre(self, t: int) -> Doubles:
        return np.array([self._x[t], self._y[t]])

    def expression(self, t: int) -> Actions:
        at = t / max(1, len(self._t) - 1) * (len(self._keys) - 1)
        i = min(int(at), len(self._keys) - 2)
        share = at - i
        share = share * share * (3 - 2 * share)
        first, second = self._keys[i], self._keys[i + 1]
        actions = {
            name: (1 - share) * first.get(name, 0) + share * second.get(name, 0) for name in sorted({*first, *second})
        }
        if self._talks:
            actions["jawOpen"] = min(1.0, actions.get("jawOpen", 0) + float(self._talk[t]))
        return actions

    def light(self, light: Light, t: int) -> Light:
        return replace(light, colour=(light.colour * self._glow[t]).astype(np.float32))

    def severity(self, t: int) -> float:
        """Severity of the frame's degradation, 0 to 1."""
        return float(self._severity[t])

    def occluder_offset(self, t: int) -> Doubles | None:
        """Position of the occluder relative to the face (2,), in face sizes; None where there is none."""
        return None if np.isnan(self._occluder_offsets[t]).any() else self._occluder_offsets[t]

    def is_face_covered(self, t: int) -> bool:
        """True where an occluder's middle is over the face."""
        return bool((np.abs(self._occluder_offsets[t]) < 0.5).all())

    def occluder(self, t: int) -> int:
        """Number of the occluder."""
        return int(self._occluder_numbers[t])


def _bursts(rng: np.random.Generator, n: int, expected: float, shortest: int, longest: int) -> Doubles:
    """Bursts at random times that rise to at most 1 and fall again: (n,)."""
    out = np.zeros(n)
    for _ in range(int(rng.poisson(expected))):
        length, start = int(rng.integers(shortest, longest)), int(rng.integers(0, n))
        rise = np.sin(np.linspace(0, np.pi, length)) ** 0.6 * rng.uniform(0.5, 1)
        end = min(n, start + length)
        out[start:end] = np.maximum(out[start:end], rise[: end - start])
    return out


def _occluder_passes(rng: np.random.Generator, n: int, expected: float) -> tuple[Doubles, NDArray[np.int64]]:
    """Occluders that pass in front of the face.

    Returns:
        Their offsets from it (n, 2) in face sizes, NaN where there is none; the number of the occluder (n,).
    """
    offsets, number = np.full((n, 2), np.nan), np.zeros(n, dtype=np.int64)
    for k in range(int(rng.poisson(expected))):
        length, start = int(rng.integers(10, 40)), int(rng.integers(0, n))
        angle = rng.uniform(0, 2 * np.pi)
        direction = np.array([np.cos(angle), np.sin(angle)])
        along = np.linspace(-1, 1, length)
        way = np.sign(along) * np.abs(along) ** rng.uniform(1, 2.5) * rng.uniform(0.5, 1.3)
        end = min(n, start + length)
        offsets[start:end] = (way[:, None] * direction)[: end - start]
        number[start:end] = k
    return offsets, number
