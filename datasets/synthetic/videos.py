"""Synthetic videos of one person each: smooth paths of head, camera, expression, gaze and light."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.colour import Floats, f32
from datasets.synthetic.expression import Actions, random_expression
from datasets.synthetic.head import load_head
from datasets.synthetic.landmarks import LandmarkModel, Projection
from datasets.synthetic.person import draw_person, draw_phenotypes
from datasets.synthetic.photography import exposure, photograph, random_faults, random_light, worst_faults
from datasets.synthetic.scene import Pose, landmarks, pose_face, render
from datasets.synthetic.shading import Light
from datasets.synthetic.surroundings import occlude, random_background

FPS = 25
#: Width and height of frames in pixels.
FRAME_SIZE = (384, 384)
_OVERSAMPLING = 1.25
#: Mean side of a face in a frame, as a share of the frame's height.
_FACE_SHARE = 0.5

_IDENTITY, _FRAME = 100, 101


class VideoFrame(NamedTuple):
    """A frame of a synthetic video."""

    #: (height, width, 3), RGB
    image: NDArray[np.uint8]
    #: (98, 2), x and y in frame pixels
    landmarks: NDArray[np.float64]
    #: (5,), x1 y1 x2 y2 in frame pixels and a score, as a face detector's: a little off, more so on bad frames
    bbox: NDArray[np.float64]


class SyntheticVideo:
    """A video, frame by frame; iterating again gives the same.

    Args:
        seed, number: which video. Its person is in no other, and in no picture of :class:`SyntheticFaces`.
        n_frames: how long.
        hardness: 0 for a calm video in good light; 1 for stretches of occlusion, blur, darkness and fast turns.
    """

    def __init__(self, seed: int, number: int, n_frames: int, hardness: float) -> None:
        self._seed, self._number, self._n, self._hardness = seed, number, n_frames, hardness

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[VideoFrame]:
        head = load_head()
        model = LandmarkModel(head)
        rng = np.random.default_rng((self._seed, self._number, _IDENTITY, int(self._hardness * 100)))
        person = draw_person(head, draw_phenotypes(head, rng, 1)[0], rng)
        paths = _Paths(rng, self._n, self._hardness)
        light = random_light(rng)
        width, height = FRAME_SIZE
        size = (round(width * _OVERSAMPLING), round(height * _OVERSAMPLING))
        brightness = light.brightness
        backdrop = (
            random_background(rng, round(size[1] * 1.5), round(size[0] * 1.5)) * brightness * rng.uniform(0.6, 1.3)
        )
        base = random_faults(rng, 0.15 + 0.25 * self._hardness)
        bad = worst_faults(rng, base)
        occluder_seed = int(rng.integers(2**31))
        # The exposure is set once, as if the camera had locked it.
        gain: np.float32 | None = None
        for t in range(self._n):
            noise = np.random.default_rng((self._seed, self._number, _FRAME, t))
            pose, focal = paths.pose(t), paths.focal(t)
            face = pose_face(head, person, paths.expression(t), pose)
            scale = focal * size[1]
            project = Projection(scale, paths.centre(t) * size - 0.5)
            points = landmarks(model, face, project)
            lit = paths.light(light, t)
            picture, seen, _ = render(head, face, lit, project, size[1], size[0])
            picture = np.where(seen[..., None], picture, _pan(backdrop, paths.centre(t), size))
            hidden = paths.occlusion(t)
            if hidden is not None:
                # The same thing every frame, which moves over the face.
                moved = points + hidden * np.ptp(points, axis=0).max()
                occlude(
                    picture, np.random.default_rng(occluder_seed + paths.occluder(t)), moved, brightness, 1.0, least=1
                )
            small = f32(cv2.resize(picture, FRAME_SIZE, interpolation=cv2.INTER_AREA))
            if gain is None:
                gain = exposure(small, points / _OVERSAMPLING)
            faults = base.blend(bad, paths.badness(t))
            image = photograph(small * gain, faults, noise)
            shown = (points + 0.5) / _OVERSAMPLING - 0.5
            yield VideoFrame(
                image, shown, _detect(shown, noise, 0.008 + 0.02 * self._hardness * (0.3 + paths.badness(t)))
            )


def _pan(backdrop: Floats, centre: NDArray[np.floating], size: tuple[int, int]) -> Floats:
    """The part of the backdrop behind the frame: it moves less than the face does."""
    height, width = backdrop.shape[:2]
    x = round(float(np.clip(0.5 + 0.3 * (0.5 - centre[0]), 0, 1)) * (width - size[0]))
    y = round(float(np.clip(0.5 + 0.3 * (0.5 - centre[1]), 0, 1)) * (height - size[1]))
    return backdrop[y : y + size[1], x : x + size[0]]


def _detect(points: NDArray[np.float64], rng: np.random.Generator, error: float) -> NDArray[np.float64]:
    side = float(np.ptp(points, axis=0).max())
    box = np.concatenate([points.min(0), points.max(0)]) + rng.normal(0, error * side, 4)
    return np.concatenate([box, [0.99]])


class _Paths:
    """What changes over a video, as smooth functions of the frame."""

    def __init__(self, rng: np.random.Generator, n: int, hardness: float) -> None:
        self._t = np.arange(n)
        seconds = self._t / FPS
        speed = rng.uniform(0.5, 1.0) + 0.8 * hardness

        def path(sweep: float, tremor: float) -> NDArray[np.float64]:
            value = np.zeros(n)
            for amplitude, slowest, fastest in ((sweep, 0.08, 0.3), (0.4 * sweep, 0.3, 0.9), (tremor, 1.5, 4.0)):
                frequency, phase = rng.uniform(slowest, fastest) * speed, rng.uniform(0, 2 * np.pi)
                value += amplitude * np.sin(2 * np.pi * frequency * seconds + phase)
            return value

        wide = rng.uniform(0.5, 1.3) * (0.6 + 0.7 * hardness)
        self._yaw = (rng.normal(0, 10) + path(22 * wide, 0.3)).clip(-70, 70)
        self._pitch = (rng.normal(2, 6) + path(8 * wide, 0.3)).clip(-30, 30)
        self._roll = rng.normal(0, 4) + path(7 * wide, 0.3)
        self._distance = float(np.exp(rng.uniform(np.log(50), np.log(200))))
        self._size = _FACE_SHARE * np.exp(path(0.12 * wide, 0.003)) * rng.uniform(0.75, 1.15)
        self._x, self._y = 0.5 + path(0.07 * wide, 0.002), 0.48 + path(0.04 * wide, 0.002)
        self._gaze = path(12, 0.5), path(6, 0.5)
        self._glow = np.exp(path(0.12 + 0.25 * hardness, 0.02))
        # Expressions at a few moments, and blends in between.
        n_keys = 2 + n // round(FPS * rng.uniform(0.5, 1.2))
        self._keys = [random_expression(rng) for _ in range(n_keys)]
        self._talks = rng.random() < 0.5
        self._talk = np.abs(np.sin(2 * np.pi * rng.uniform(1.5, 3) * seconds + path(2, 0.5))) * rng.uniform(0.1, 0.4)
        self._bad = _stretches(rng, n, hardness * rng.uniform(0.8, 2.2), 8, 28)
        self._hidden, self._hidden_number = _passes(rng, n, hardness * rng.uniform(0.8, 2.2))

    def pose(self, t: int) -> Pose:
        return Pose(
            float(self._yaw[t]), float(self._pitch[t]), float(self._roll[t]), self._distance,
            float(self._yaw[t] * 0.4), (float(self._gaze[0][t]), float(self._gaze[1][t])),
        )  # fmt: skip

    def focal(self, t: int) -> float:
        """Focal length in frame heights: a face of 18 cm fills the wanted share of the frame."""
        return float(self._size[t] * self._distance / 18)

    def centre(self, t: int) -> NDArray[np.float64]:
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

    def badness(self, t: int) -> float:
        """0 to 1: how far the camera's faults have come."""
        return float(self._bad[t])

    def occlusion(self, t: int) -> NDArray[np.float64] | None:
        """Where the thing before the face is, in face sizes; None where there is none."""
        return None if np.isnan(self._hidden[t]).any() else self._hidden[t]

    def occluder(self, t: int) -> int:
        return int(self._hidden_number[t])


def _stretches(rng: np.random.Generator, n: int, expected: float, shortest: int, longest: int) -> NDArray[np.float64]:
    """Rises to at most 1 and falls again, some times: (n,)."""
    out = np.zeros(n)
    for _ in range(int(rng.poisson(expected))):
        length, start = int(rng.integers(shortest, longest)), int(rng.integers(0, n))
        rise = np.sin(np.linspace(0, np.pi, length)) ** 0.6 * rng.uniform(0.5, 1)
        end = min(n, start + length)
        out[start:end] = np.maximum(out[start:end], rise[: end - start])
    return out


def _passes(rng: np.random.Generator, n: int, expected: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Things that pass before the face: offsets (n, 2) in face sizes, NaN where there is none, and which thing."""
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
