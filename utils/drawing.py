"""Landmarks drawn onto frames."""

import cv2
import numpy as np
from numpy.typing import NDArray

from utils.landmarks98 import CURVES

#: RGB.
TRUTH_COLOUR = (60, 220, 90)
PREDICTION_COLOUR = (255, 70, 70)
_SHIFT = 4  # fractional bits of OpenCV's drawing coordinates


def draw_landmarks(frame: NDArray[np.uint8], landmarks: NDArray[np.floating], colour: tuple[int, int, int]) -> None:
    """Draws 98 landmarks (98, 2) in frame pixels and the face's curves through them, in place."""
    size = max(float(np.ptp(landmarks, axis=0).max()), 1.0)
    radius = min(max(size / 130, 1.0), 50.0)
    # Far outside the frame there is nothing to see, and OpenCV's coordinates are 16.16 bits.
    points = np.round(np.clip(landmarks, -4096, 12288) * 2**_SHIFT).astype(np.int32)
    for first, last, closed in CURVES:
        curve = points[first : last + 1].reshape(-1, 1, 2)
        cv2.polylines(frame, [curve], closed, colour, 1, cv2.LINE_AA, _SHIFT)
    for x, y in points:
        cv2.circle(frame, (int(x), int(y)), round(radius * 2**_SHIFT), colour, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def draw_caption(frame: NDArray[np.uint8], words: list[tuple[str, tuple[int, int, int]]]) -> None:
    """Writes words, each in its colour, on a dark strip along the upper edge, in place."""
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, max(frame.shape[0] / 800, 0.4)
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
    picture = frame.copy()
    draw_landmarks(picture, truth, TRUTH_COLOUR)
    draw_landmarks(picture, prediction, PREDICTION_COLOUR)
    draw_caption(picture, [(caption, (255, 255, 255)), ("truth", TRUTH_COLOUR), ("prediction", PREDICTION_COLOUR)])
    return picture
