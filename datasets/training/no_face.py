"""Samples without a face, or with less than half of one: what a network is to be unsure of."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.motion import ClipMotions, move_image
from datasets.reduction import reduced
from ldeq.face.bbox import tight_bbox
from ldeq.landmarks98 import CROP_SIZE, N_LANDMARKS
from utils.engine.evaluation import Sample

Image = NDArray[np.uint8]
Draw = Callable[[], Sample]

#: Of the landmarks fewer than this share are within a crop that shows a part of a face.
MOST_INSIDE = 0.4
#: Longer side of the landmarks' box of a far too small face, as fractions of the crop's side.
_TINY = (0.04, 0.15)
#: How much a part of a face is enlarged, least and usually most, and at most.
_ENLARGED, _MOST_ENLARGED = (2.2, 6.0), 100.0
#: Sides of a face's image after it is warped over those before below which it is reduced first.
_LEAST_SCALE = 0.7
#: Stream of random numbers, beside those of the faces.
_STREAM = 7


class NoFace:
    """Draws crops without a face: made-up places, and faces of another source that are cut off, far too large, far too
    small or in pieces.

    Sample i is a function of the arguments and i, and of the other source's sample i.

    Args:
        seed: which samples.
        side: of the images, in pixels.
        share: of all samples that have no face.
    """

    def __init__(self, seed: int, side: int, share: float) -> None:
        self._seed, self._side, self._share = seed, side, share

    def has(self, index: int) -> bool:
        """True where sample ``index`` is one without a face."""
        return self._share > 0 and np.random.default_rng([self._seed, _STREAM, index]).random() < self._share

    def draw(self, index: int, clip_length: int, draw_face: Draw) -> list[Sample]:
        """The frames of a clip, the last of which is sample ``index``, whatever the length. Landmarks are NaN.

        Args:
            draw_face: draws another source's sample: an image of any side and landmarks; called where it is needed.
        """
        rng = np.random.default_rng([self._seed, _STREAM, index, 1])
        image = self._place(rng) if rng.random() < 0.5 else self._part_of_face(rng, *draw_face())
        motions = ClipMotions(rng)
        frames = [image, *(move_image(image, motions.earlier()) for _ in range(clip_length - 1))]
        nowhere = np.full((N_LANDMARKS, 2), np.nan, dtype=np.float32)
        return [(frame, nowhere) for frame in frames[::-1]]

    def _place(self, rng: np.random.Generator) -> Image:
        # Only now, as what trains without such samples needs no generator.
        from datasets.synthetic.renderer.photography import photograph, random_degradation
        from datasets.synthetic.renderer.scenery import random_scenery

        side = self._side
        degradation = random_degradation(rng, float(rng.beta(0.7, 2.0)))
        # Half of them from fewer pixels, which are drawn faster.
        drawn = side if rng.random() < 0.5 else max(16, side // 2)
        scene = random_scenery(rng, drawn) * np.float32(np.exp(rng.normal(0.2, 0.4)))
        if drawn < side:
            scene = np.asarray(cv2.resize(scene, (side, side), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
        return photograph(scene, degradation.scaled(side / CROP_SIZE), rng)

    def _part_of_face(self, rng: np.random.Generator, face: Image, landmarks: NDArray[np.floating]) -> Image:
        side = self._side
        points = landmarks.astype(np.float64)
        kind = rng.random()
        if kind < 0.15:
            return in_pieces(rng, np.asarray(cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA), np.uint8))
        if kind < 0.55:
            matrix = cut_off(rng, points)
        elif kind < 0.8:
            matrix = far_too_large(rng, points)
        else:
            matrix = far_too_small(rng, points)
        return self._warped(rng, face, matrix)

    def _warped(self, rng: np.random.Generator, face: Image, matrix: NDArray[np.float64]) -> Image:
        """A face's image by a map of fractions of its side to fractions of this side, on something else around it."""
        side, zoom = self._side, matrix[0, 0]
        face = reduced(face, zoom * side, _LEAST_SCALE)
        scale = zoom * side / len(face)
        warp = np.column_stack([scale * np.eye(2), matrix[:, 2] * side + (scale - 1) / 2])
        size = (side, side)
        around = self._place(rng) if rng.random() < 0.6 else np.zeros((side, side, 3), np.uint8)
        if rng.random() < 0.3:  # as the image's border goes on, which no mirror image of the face may do
            return np.asarray(cv2.warpAffine(face, warp, size, borderMode=cv2.BORDER_REPLICATE), dtype=np.uint8)
        cv2.warpAffine(face, warp, size, dst=around, borderMode=cv2.BORDER_TRANSPARENT)
        return around


def cut_off(rng: np.random.Generator, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """A map (2, 3) that moves a face's landmarks (98, 2) out of the crop, both in fractions of its side, until fewer
    than :data:`MOST_INSIDE` are left, or none.
    """
    zoom, angle = float(np.exp(rng.uniform(np.log(0.6), np.log(1.6)))), rng.uniform(0, 2 * np.pi)
    direction, most = np.array([np.cos(angle), np.sin(angle)]), rng.uniform(0, MOST_INSIDE)
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    for distance in np.arange(0, 3, 0.04):
        matrix = _about(zoom, middle, 0.5 + distance * direction)
        if share_inside(points, matrix) < max(most, 1 / N_LANDMARKS):
            break
    return matrix


def far_too_large(rng: np.random.Generator, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """As :func:`cut_off`, but by enlarging a place in the face."""
    zoom, target = float(rng.uniform(*_ENLARGED)), points[int(rng.integers(N_LANDMARKS))]
    at = rng.uniform(0.25, 0.75, 2)
    # Points that all lie in one place never leave it.
    while share_inside(points, _about(zoom, target, at)) >= MOST_INSIDE and zoom < _MOST_ENLARGED:
        zoom *= 1.15
    return _about(zoom, target, at)


def far_too_small(rng: np.random.Generator, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """A map (2, 3) that leaves of a face less than can be told, somewhere in the crop."""
    low, high = np.split(tight_bbox(points), 2)
    zoom = float(rng.uniform(*_TINY)) / float(max((high - low).max(), 1e-6))
    return _about(zoom, (low + high) / 2, rng.uniform(0.1, 0.9, 2))


def in_pieces(rng: np.random.Generator, image: Image) -> Image:
    """An image (S, S, 3) cut into squares in another order, so that it has a face's colours and edges and no face."""
    n = int(rng.integers(3, 7))
    edges = np.linspace(0, len(image), n + 1).astype(int)
    mixed = image.copy()
    order = rng.permutation(n * n)
    each = int(np.diff(edges).min())
    for place, origin in enumerate(order):
        (row, column), (from_row, from_column) = divmod(place, n), divmod(int(origin), n)
        top, left, from_top, from_left = edges[row], edges[column], edges[from_row], edges[from_column]
        mixed[top : top + each, left : left + each] = image[from_top : from_top + each, from_left : from_left + each]
    return mixed


def share_inside(points: NDArray[np.float64], matrix: NDArray[np.float64]) -> float:
    """The share of points (N, 2) that a map (2, 3) leaves within the crop, all in fractions of its side."""
    moved = points @ matrix[:, :2].T + matrix[:, 2]
    return float(((moved >= 0) & (moved <= 1)).all(axis=1).mean())


def _about(zoom: float, point: NDArray[np.float64], place: NDArray[np.float64]) -> NDArray[np.float64]:
    """A map (2, 3) that enlarges and takes ``point`` to ``place``."""
    return np.column_stack([zoom * np.eye(2), place - zoom * point])
