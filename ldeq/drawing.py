"""Landmarks drawn onto frames."""

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from ldeq.landmarks98 import CURVES, IBUG68_CURVES, N_LANDMARKS

#: RGB.
TRUTH_COLOUR = (60, 220, 90)
PREDICTION_COLOUR = (255, 70, 70)
#: Colours of faces by their ids, in turn.
FACE_COLOURS = ((255, 70, 70), (70, 160, 255), (255, 190, 40), (90, 220, 120), (220, 110, 255), (60, 220, 220))
_SHIFT = 4  # fractional bits of OpenCV's drawing coordinates


def draw_landmarks(frame: NDArray[np.uint8], landmarks: NDArray[np.floating], colour: tuple[int, int, int]) -> None:
    """Draws landmarks (98, 2) or iBUG's (68, 2), in frame pixels, and the face's curves through them, in place."""
    size = max(float(np.ptp(landmarks, axis=0).max()), 1.0)
    radius = min(max(size / 130, 1.0), 50.0)
    # Far outside the frame there is nothing to see, and OpenCV's coordinates are 16.16 bits.
    points = np.round(np.clip(landmarks, -4096, 12288) * 2**_SHIFT).astype(np.int32)
    for first, last, closed in CURVES if len(landmarks) == N_LANDMARKS else IBUG68_CURVES:
        curve = points[first : last + 1].reshape(-1, 1, 2)
        cv2.polylines(frame, [curve], closed, colour, 1, cv2.LINE_AA, _SHIFT)
    for x, y in points:
        cv2.circle(frame, (int(x), int(y)), round(radius * 2**_SHIFT), colour, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def draw_caption(frame: NDArray[np.uint8], words: list[tuple[str, tuple[int, int, int]]]) -> None:
    """Writes words, each in its colour, on a dark strip along the upper edge, in place; smaller in a narrow frame."""
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, max(frame.shape[0] / 800, 0.4)
    needed = sum(cv2.getTextSize(word, font, 1.0, 1)[0][0] + 16 for word, _ in words) + 16
    scale = min(scale, frame.shape[1] / needed)
    gap, height = round(16 * scale), round(44 * scale)
    frame[:height] = frame[:height] // 4
    x = gap
    for word, colour in words:
        cv2.putText(frame, word, (x, round(30 * scale)), font, scale, colour, 1, cv2.LINE_AA)
        x += cv2.getTextSize(word, font, scale, 1)[0][0] + gap


def annotate(
    frame: NDArray[np.uint8], prediction: NDArray[np.floating], truth: NDArray[np.floating], caption: str
) -> NDArray[np.uint8]:
    """A copy of a frame (H, W, 3) RGB with truth and prediction on it."""
    image = frame.copy()
    draw_landmarks(image, truth, TRUTH_COLOUR)
    draw_landmarks(image, prediction, PREDICTION_COLOUR)
    draw_caption(image, [(caption, (255, 255, 255)), ("truth", TRUTH_COLOUR), ("prediction", PREDICTION_COLOUR)])
    return image


def draw_faces(frame: NDArray[np.uint8], faces: Mapping[int, NDArray[np.floating]]) -> NDArray[np.uint8]:
    """A copy of a frame (H, W, 3) RGB with faces on it, each in its colour.

    Args:
        faces: landmarks (98, 2) in frame pixels, by the face's id (from 1).
    """
    image = frame.copy()
    for id, points in faces.items():
        colour = FACE_COLOURS[(id - 1) % len(FACE_COLOURS)]
        draw_landmarks(image, points, colour)
        _draw_label(image, points, str(id), colour)
    return image


def side_by_side(
    frame: NDArray[np.uint8],
    left: Mapping[int, NDArray[np.floating]],
    right: Mapping[int, NDArray[np.floating]],
    titles: tuple[str, str],
) -> NDArray[np.uint8]:
    """A frame (H, W, 3) RGB twice, (H, 2 W, 3), with faces as of :func:`draw_faces` on either half."""
    halves = [draw_faces(frame, left), draw_faces(frame, right)]
    for half, title in zip(halves, titles, strict=True):
        draw_caption(half, [(title, (255, 255, 255))])
    return np.concatenate(halves, axis=1)


def fitted(frame: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A frame in an image of ``size`` (width, height): scaled where it has another one, with black at its sides."""
    height, width = frame.shape[:2]
    if (width, height) == size:
        return frame
    scale = min(size[0] / width, size[1] / height)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    x, y = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    image[y : y + inner[1], x : x + inner[0]] = cv2.resize(frame, inner, interpolation=cv2.INTER_AREA)
    return image


def _draw_label(
    frame: NDArray[np.uint8], points: NDArray[np.floating], label: str, colour: tuple[int, int, int]
) -> None:
    """A face's number beside its upper left corner."""
    scale = max(float(np.ptp(points, axis=0).max()) / 350, 0.4)
    low = np.clip(points.min(axis=0), -4096, 12288)
    x, y = round(low[0] - 24 * scale * len(label)), round(low[1])
    for thickness, shade in ((3, (0, 0, 0)), (1, colour)):
        where = (max(x, 2), max(y, round(26 * scale)))
        cv2.putText(frame, label, where, cv2.FONT_HERSHEY_SIMPLEX, scale, shade, thickness, cv2.LINE_AA)
