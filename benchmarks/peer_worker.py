"""The peer's side of :mod:`benchmarks.peers`: runs where the peer and NumPy are installed, and nothing of this project.

``python peer_worker.py mediapipe`` or ``python peer_worker.py dlib MODEL``. On stdout it says in a line of JSON what it
is, ``{"version": …}``, or why it cannot be, ``{"missing": …}``. Then for each frame on stdin (height and width, two
uint32, and height x width x 3 bytes RGB; little-endian) it answers on stdout: the seconds that it took (a double), the
number of its points (uint32, 0 without a face), and these (x, y doubles, in frame pixels).
"""

from __future__ import annotations

import json
import os
import struct
import sys
import time
from collections.abc import Callable
from typing import Any, BinaryIO

FRAME, ANSWER = "<II", "<dI"
#: An image (H, W, 3) to points (x, y) in pixels; none without a face.
Find = Callable[[Any], list[tuple[float, float]]]


def face_mesh() -> tuple[str, Find]:
    """MediaPipe's Face Mesh in its video mode: 468 points, each frame's search begins at the last one's face."""
    import mediapipe  # type: ignore[import-not-found]

    solutions = getattr(mediapipe, "solutions", None)
    if solutions is None:
        raise ImportError(f"mediapipe {mediapipe.__version__} has no Face Mesh any more")
    mesh = solutions.face_mesh.FaceMesh(static_image_mode=False, max_num_faces=1)

    def find(image: Any) -> list[tuple[float, float]]:
        faces = mesh.process(image).multi_face_landmarks
        height, width = image.shape[:2]
        return [(point.x * width, point.y * height) for point in faces[0].landmark] if faces else []

    return f"MediaPipe {mediapipe.__version__}", find


def dlib68(model: str) -> tuple[str, Find]:
    """dlib's 68 points in the largest face that its frontal detector finds; it has no video mode."""
    import dlib

    detector, predictor = dlib.get_frontal_face_detector(), dlib.shape_predictor(model)

    def find(image: Any) -> list[tuple[float, float]]:
        boxes = detector(image, 0)
        if not boxes:
            return []
        return [(point.x, point.y) for point in predictor(image, max(boxes, key=lambda box: box.area())).parts()]

    return f"dlib {dlib.__version__}", find


PEERS: dict[str, Callable[..., tuple[str, Find]]] = {"mediapipe": face_mesh, "dlib": dlib68}


def main() -> None:
    """Answers until stdin ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    try:
        import numpy as np

        version, find = PEERS[sys.argv[1]](*sys.argv[2:])
    except ImportError as error:
        say(answers, {"missing": str(error)})
        return
    say(answers, {"version": f"{version}, Python {sys.version.split()[0]}"})
    while True:
        head = sys.stdin.buffer.read(struct.calcsize(FRAME))
        if not head:
            return
        height, width = struct.unpack(FRAME, head)
        image = np.frombuffer(sys.stdin.buffer.read(height * width * 3), np.uint8).reshape(height, width, 3)
        started = time.perf_counter()
        points = find(image)
        seconds = time.perf_counter() - started
        answers.write(struct.pack(ANSWER, seconds, len(points)))
        answers.write(np.asarray(points, np.float64).tobytes())
        answers.flush()


def say(answers: BinaryIO, words: dict[str, str]) -> None:
    """A line of JSON."""
    answers.write(json.dumps(words).encode() + b"\n")
    answers.flush()


if __name__ == "__main__":
    main()
