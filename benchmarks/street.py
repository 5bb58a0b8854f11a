"""A made street whose faces are known, and what ``ldeq-video`` finds in it: ``python -m benchmarks.street``.

People of the synthetic data set, and the one of the bundled portrait, are near and far before houses with windows,
lamps, wheels, posters and a clock; some are seen from behind. The clip stays beside the run's results, to be looked at.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from assets.make_assets import Portrait
from datasets.synthetic.people.head import Head, load_head
from datasets.synthetic.people.landmarks import LandmarkModel
from datasets.synthetic.people.person import draw_person, draw_phenotypes
from datasets.synthetic.people.pose import Pose, PosedFace, pose_face
from datasets.synthetic.renderer.arrays import f32
from datasets.synthetic.renderer.camera import Projection
from datasets.synthetic.renderer.colour import to_srgb
from datasets.synthetic.renderer.light import Light
from datasets.synthetic.renderer.scene import render
from ldeq import predict
from ldeq.command_line import ArgumentParser, at_least, run
from ldeq.face.bbox import overlap, tight_bbox
from ldeq.run_folder import output_folder
from ldeq.terminal import console, table
from ldeq.video.writing import VideoWriter
from utils import bundled

Image = NDArray[np.uint8]
Points = NDArray[np.float64]

SIZE = (1920, 1080)
#: The longer sides of the landmarks' boxes in pixels, from left to right; negative ones of people seen from behind.
PEOPLE = (34, 110, 24, -60, 150, 28, -36, 75, 42, -110, 54)
#: The face of this size is that of the portrait.
PORTRAIT = 75
#: A landmarks' box that overlaps so much with a true one (intersection over union) is of that face.
SAME = 0.4
_LIGHT = Light(
    f32([-0.35, -0.55, -0.76]), f32([0.62, 0.6, 0.56]), f32([0.5, 0.52, 0.56]), f32([0.28, 0.26, 0.25]), 0.7, 2
)
_OVERSAMPLING = 1.5
#: Row of the image at which the houses end and the pavement begins.
_GROUND = 640
#: Centimetres: of everybody from a camera that is scaled to make them near or far, and of a face.
_DISTANCE, _FACE = 320.0, 15.0


@dataclass(frozen=True)
class _Figure:
    """Somebody in the street."""

    #: (H, W, 3) RGB and (H, W) opacity in [0, 1].
    image: NDArray[np.float32]
    opacity: NDArray[np.float32]
    #: (98, 2) in pixels of the image; None of one seen from behind.
    landmarks: Points | None
    #: The middle of the head in the image (2,).
    head: Points
    #: Longer side of the landmarks' box.
    size: float
    #: Where the middle of the head is in the street at rest (2,).
    place: Points
    #: Radians by which its walk is ahead of others.
    phase: float
    #: RGB of what it wears below.
    coat: tuple[int, int, int]

    def shift(self, t: int) -> Points:
        """From the image's pixels to those of frame ``t``: it walks to and fro."""
        sway = min(26.0, 0.6 * self.size) * np.sin(2 * np.pi * t / 50 + self.phase)
        bob = 0.03 * self.size * np.sin(2 * np.pi * t / 13 + self.phase)
        moved: Points = self.place - self.head + (sway, bob)
        return moved

    def draw(self, image: NDArray[np.float32], t: int) -> None:
        """Draws it as it is in frame ``t`` into a street (H, W, 3), in place."""
        shift = self.shift(t)
        left, top = np.floor(shift).astype(int).tolist()
        width, height = self.opacity.shape[1] + 1, self.opacity.shape[0] + 1
        right, bottom = left + width, top + height
        image[bottom - round(0.3 * self.size) :, max(0, left + width // 4) : right - width // 4] = self.coat
        matrix = np.array([[1, 0, shift[0] - left], [0, 1, shift[1] - top]])
        opacity = cv2.warpAffine(self.opacity, matrix, (width, height))[..., None]
        shown = cv2.warpAffine(self.image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
        part = image[top:bottom, max(0, left) : right]
        rows, columns = slice(len(part)), slice(max(0, -left), max(0, -left) + part.shape[1])
        part += opacity[rows, columns] * (shown[rows, columns] - part)


class Street:
    """A street, frame by frame.

    Args:
        seed: whose people are in it.
        people: who, as in :data:`PEOPLE`.
    """

    def __init__(self, seed: int = 0, people: Sequence[int] = PEOPLE) -> None:
        rng = np.random.default_rng(seed)
        self._backdrop = _backdrop(rng)
        head = load_head()
        model = LandmarkModel(head)
        phenotypes = draw_phenotypes(head, rng, len(people))
        gap = SIZE[0] / len(people)
        self._figures = []
        for number, (size, phenotype) in enumerate(zip(people, phenotypes, strict=True)):
            if size == PORTRAIT:
                look = _portrait(size)
            else:
                turn = rng.uniform(-35, 35) + 180 * (size < 0)
                pose = Pose(turn, rng.uniform(-4, 10), rng.normal(0, 4), _DISTANCE, turn)
                look = _rendered(pose_face(head, draw_person(head, phenotype, rng), {}, pose), head, model, size)
            # The farther, the higher: the camera is above the heads.
            place = np.array([gap * (number + 0.5), 300 + 1.1 * abs(size)])
            coat = tuple(rng.integers(25, 110, 3).tolist())
            self._figures.append(_Figure(*look, float(abs(size)), place, rng.uniform(0, 2 * np.pi), coat))

    def frame(self, t: int) -> tuple[Image, dict[int, Points]]:
        """Frame ``t`` (1080, 1920, 3) RGB, and by their numbers the landmarks (98, 2) of the faces in it."""
        image = self._backdrop.astype(np.float32)
        # The nearer hide the farther.
        for figure in sorted(self._figures, key=lambda figure: figure.size):
            figure.draw(image, t)
        truths = {n: f.landmarks + f.shift(t) for n, f in enumerate(self._figures) if f.landmarks is not None}
        return np.clip(image + 0.5, 0, 255).astype(np.uint8), truths


def _rendered(
    face: PosedFace, head: Head, model: LandmarkModel, size: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], Points | None, Points]:
    """Somebody of the synthetic data set: image, opacity, landmarks and middle of the head, as figures have them."""
    unit = Projection(1.0, np.zeros(2))
    points = face.landmarks(model, unit)
    scale = size / float(np.ptp(points, axis=0).max()) if size > 0 else -size * _DISTANCE / _FACE
    scene = face.scene(head)
    low, high = np.split(scale * tight_bbox(unit(scene.mesh.vertices)), 2)
    width, height = (int(n) + 4 for n in high - low)
    finer = Projection(_OVERSAMPLING * scale, _OVERSAMPLING * (2 - low))
    linear, seen = render(scene, _LIGHT, finer, round(_OVERSAMPLING * height), round(_OVERSAMPLING * width))
    srgb = to_srgb(linear * np.float32(1.1)) * f32(seen)[..., None]
    image, opacity = (
        f32(cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)) for part in (srgb, f32(seen))
    )
    middle = np.median(unit(face.skin), axis=0)
    landmarks, middle = (scale * at + 2 - low for at in (points, middle))
    return f32(image / np.maximum(opacity, 1e-3)[..., None]), opacity, landmarks if size > 0 else None, middle


def _portrait(size: float) -> tuple[NDArray[np.float32], NDArray[np.float32], Points | None, Points]:
    """The head of the portrait, cut out: image, opacity, landmarks and the middle of the head, as figures have them."""
    portrait = Portrait(bundled.ASSETS / "portrait")
    scale = size / portrait.size
    opacity = np.zeros(portrait.image.shape[:2], np.float32)
    x, y = portrait.centre
    axes = (round(0.66 * portrait.size), round(0.98 * portrait.size))
    cv2.ellipse(opacity, (round(x), round(y - 0.15 * portrait.size)), axes, 0, 0, 360, 1.0, -1, cv2.LINE_AA)
    rows = slice(0, round(y + 0.85 * portrait.size))
    columns = slice(round(x - 0.7 * portrait.size), round(x + 0.7 * portrait.size))
    image, opacity = (
        f32(cv2.resize(f32(part[rows, columns]), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
        for part in (portrait.image, opacity)
    )
    landmarks, middle = (scale * (at - (columns.start, rows.start)) for at in (portrait.landmarks, portrait.centre))
    return image, opacity, landmarks, middle


def _backdrop(rng: np.random.Generator) -> Image:
    """Houses, a pavement, and round things and signs that are no faces."""
    width, height = SIZE
    image = np.empty((height, width, 3), np.uint8)
    image[:] = np.linspace((176, 196, 220), (214, 216, 214), height)[:, None]
    _add_houses(image, rng)
    _add_pavement(image)
    for x in (110, 640, 1180, 1700):
        _add_lamp(image, x)
    for x in (330, 1400):
        _add_car(image, x, rng)
    _add_clock(image, (960, 120))
    for number, (x, words) in enumerate(((200, "SALE"), (740, "OPEN"), (1300, "JAZZ"), (1800, "TAXI"))):
        _add_poster(image, x, words, rng, checked=number % 2 == 1)
    noise = rng.normal(0, 5, (height // 2, width // 2, 3)).astype(np.float32)
    noisy = image + cv2.resize(noise, SIZE, interpolation=cv2.INTER_LINEAR)
    return np.clip(cv2.GaussianBlur(noisy, (0, 0), 0.8), 0, 255).astype(np.uint8)


# -- what stands in the street, drawn in place; x is its column --------------------------------------------------------


def _add_houses(image: Image, rng: np.random.Generator) -> None:
    frame = (230, 230, 225)
    for left, right in itertools.pairwise([0, 420, 800, 1260, 1560, SIZE[0]]):
        wall = rng.integers(90, 190, 3)
        cv2.rectangle(image, (left, int(rng.integers(0, 60))), (right, _GROUND), wall.tolist(), -1)
        for x, y in itertools.product(range(left + 30, right - 70, 95), range(80, _GROUND - 200, 120)):
            cv2.rectangle(image, (x, y), (x + 52, y + 76), (wall * 0.45).tolist(), -1)
            cv2.rectangle(image, (x, y), (x + 52, y + 76), frame, 3)
            cv2.line(image, (x + 26, y), (x + 26, y + 76), frame, 2)


def _add_pavement(image: Image) -> None:
    image[_GROUND:] = (128, 126, 122)
    for y in range(_GROUND, SIZE[1], 60):
        cv2.line(image, (0, y), (SIZE[0], y), (112, 110, 106), 2)


def _add_lamp(image: Image, x: int) -> None:
    cv2.line(image, (x, 190), (x, _GROUND + 40), (45, 48, 50), 8)
    cv2.circle(image, (x, 170), 30, (250, 240, 205), -1, cv2.LINE_AA)
    cv2.circle(image, (x, 170), 30, (60, 60, 60), 4, cv2.LINE_AA)


def _add_car(image: Image, x: int, rng: np.random.Generator) -> None:
    paint = rng.integers(40, 200, 3).tolist()
    cv2.rectangle(image, (x - 170, _GROUND - 60), (x + 170, _GROUND + 40), paint, -1)
    for wheel in (x - 100, x + 100):
        hub = (wheel, _GROUND + 40)
        cv2.circle(image, hub, 44, (25, 25, 27), -1, cv2.LINE_AA)
        cv2.circle(image, hub, 24, (170, 172, 176), -1, cv2.LINE_AA)
        for spoke in np.arange(5) * 2 * np.pi / 5:
            cv2.line(image, hub, _around(hub, 22, spoke), (80, 80, 84), 4, cv2.LINE_AA)


def _add_clock(image: Image, middle: tuple[int, int]) -> None:
    x, y = middle
    cv2.circle(image, middle, 62, (240, 236, 226), -1, cv2.LINE_AA)
    cv2.circle(image, middle, 62, (40, 40, 40), 6, cv2.LINE_AA)
    for hour in np.arange(12) * np.pi / 6:
        cv2.circle(image, _around(middle, 50, hour), 4, (40, 40, 40), -1, cv2.LINE_AA)
    cv2.line(image, middle, (x, y - 38), (30, 30, 30), 5, cv2.LINE_AA)
    cv2.line(image, middle, (x + 26, y + 14), (30, 30, 30), 6, cv2.LINE_AA)


def _add_poster(image: Image, x: int, words: str, rng: np.random.Generator, checked: bool) -> None:
    """Words above a chequerboard or a target."""
    cv2.rectangle(image, (x, 30), (x + 110, 190), rng.integers(150, 255, 3).tolist(), -1)
    cv2.putText(image, words, (x + 8, 70), cv2.FONT_HERSHEY_DUPLEX, 1.1, (30, 30, 60), 2, cv2.LINE_AA)
    if checked:
        tiles = (np.indices((8, 8)).sum(axis=0) % 2 * 255).astype(np.uint8)
        image[90:180, x + 10 : x + 100] = cv2.resize(tiles, (90, 90), interpolation=cv2.INTER_NEAREST)[..., None]
        return
    for ring in range(5):
        colour = (240, 240, 240) if ring % 2 else (200, 40, 40)
        cv2.circle(image, (x + 55, 132), 44 - 9 * ring, colour, -1, cv2.LINE_AA)


def _around(middle: tuple[int, int], radius: float, angle: float) -> tuple[int, int]:
    """A point on a circle, in whole pixels."""
    return int(middle[0] + radius * np.cos(angle)), int(middle[1] + radius * np.sin(angle))


# -- what is found in it -----------------------------------------------------------------------------------------------


def write_clip(street: Street, n_frames: int, path: Path) -> list[dict[int, Points]]:
    """Writes the first frames of a street as a video, and gives the landmarks of each."""
    writer = VideoWriter(path, 25, 18)
    truths = []
    for t in range(n_frames):
        image, truth = street.frame(t)
        writer.write(image)
        truths.append(truth)
    writer.close()
    return truths


@dataclass(frozen=True)
class Score:
    """What was found of each face, and beside them."""

    #: By the face's number: frames in which it was found, ids that it had, and the mean distance of its landmarks from
    #: the true ones by the longer side of their box.
    n_frames: dict[int, int]
    ids: dict[int, set[int]]
    error: dict[int, float]
    #: Frame and landmarks' box of what is no face.
    others: list[tuple[int, Points]]


def score(truths: Sequence[dict[int, Points]], landmarks: Path) -> Score:
    """Compares a run's ``landmarks.npz`` with the true landmarks of each frame."""
    with np.load(landmarks) as arrays:
        rows = list(zip(arrays["frame"].tolist(), arrays["face_id"].tolist(), arrays["landmarks"], strict=True))
    errors: dict[int, list[float]] = {number: [] for truth in truths for number in truth}
    ids: dict[int, set[int]] = {number: set() for number in errors}
    others = []
    for frame, id, points in rows:
        bbox = tight_bbox(points)
        overlaps = {number: overlap(bbox, tight_bbox(truth)) for number, truth in truths[frame].items()}
        number = max(overlaps, key=overlaps.__getitem__)
        if overlaps[number] < SAME:
            others.append((frame, bbox))
            continue
        truth = truths[frame][number]
        ids[number].add(id)
        errors[number].append(float(np.linalg.norm(points - truth, axis=1).mean() / np.ptp(truth, axis=0).max()))
    means = {number: float(np.mean(values)) if values else float("nan") for number, values in errors.items()}
    return Score({number: len(values) for number, values in errors.items()}, ids, means, others)


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the clip, runs ``ldeq-video`` on it and prints what it found."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("--frames", type=at_least(1, 1000), default=60, help="length of the clip")
    parser.add_argument("--seed", type=at_least(0, 2**31), default=0, help="whose people are in it")
    parser.add_argument("--output_dir", metavar="FOLDER", help="default: results/street/<time>")
    flags = parser.parse(arguments)
    with output_folder(flags.output_dir, "street") as folder:
        truths = write_clip(Street(flags.seed), flags.frames, folder / "street.mp4")
        predict.main([str(folder / "street.mp4"), "--output_dir", str(folder / "found")])
        found = score(truths, folder / "found" / "landmarks.npz")
    rows = [
        [PEOPLE[number], found.n_frames[number], len(found.ids[number]), f"{100 * found.error[number]:.1f}"]
        for number in sorted(found.n_frames, key=lambda number: PEOPLE[number])
    ]
    out = console()
    out.print(table(f"Faces in {flags.frames} frames", ["pixels", "frames found", "ids", "error %"], rows))
    out.print(f"Found beside them: {len(found.others)}. The clip is in {folder}")


if __name__ == "__main__":
    run(main)
