"""Makes the bundled samples: ``python -m assets.make_assets [--output_dir DIR]``.

The portrait's images are warps of it by a homography, and its 98 landmarks move by the same homography, so the
annotations are as exact as the portrait's own. Beside them are synthetic faces of people that no network is trained on.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.motion import jittered_bbox, smooth_path
from datasets.synthetic import FaceImage, SyntheticFaces, SyntheticVideo
from datasets.synthetic.writing import write_jpeg
from datasets.wflw.precropped import write_list
from datasets.wflw.splits import ATTRIBUTES
from datasets.wflw_v.clips import write_clip
from datasets.wflw_v.ids import write_ids
from ldeq.command_line import ArgumentParser, at_least, run
from ldeq.face.bbox import tight_bbox
from ldeq.landmarks98 import CROP_SIZE
from utils import bundled
from utils.engine.settings import HELD_OUT

Image = NDArray[np.uint8]
Points = NDArray[np.float64]

#: Frames (width, height) and clips of the video sample.
FRAME_SIZE = (480, 360)
N_FRAMES = 60
FPS = 25
#: Synthetic images of ``test`` and of each subset, synthetic clips of each kind, and their seed.
N_IMAGES, N_SUBSET, N_CLIPS = 12, 2, 3
#: Hard clips are chosen out of so many.
N_CANDIDATES = 200
SEED = HELD_OUT + 5_000_000
#: Share of the side of WFLW's crops that the face takes.
FACE_SHARE = 1 / 1.2
#: JPEG quality of the images.
QUALITY = 92


@dataclass(frozen=True)
class View:
    """Place, size and pose of the portrait's face in an image."""

    #: Centre of the face in pixels of the image.
    centre: tuple[float, float]
    #: Larger side of the face, in pixels.
    size: float
    #: Angles in degrees: in the image's plane, and of the portrait about its vertical and horizontal axis.
    roll: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0


class Portrait:
    """The source image with its landmarks."""

    def __init__(self, folder: Path) -> None:
        bgr = cv2.imread(str(folder / "astronaut.png"))
        assert bgr is not None, f"{folder} lacks astronaut.png"
        self.image: Image = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)  # type: ignore[assignment]
        self.landmarks: Points = np.load(folder / "astronaut_landmarks98.npy")
        low, high = np.split(tight_bbox(self.landmarks), 2)
        self.centre = (low + high) / 2
        self.size = float((high - low).max())

    def show(self, view: View, size: tuple[int, int]) -> tuple[Image, Points]:
        """The portrait as ``view`` has it, in an image of ``size`` (width, height), and its landmarks there."""
        matrix = self._homography(view)
        image: Image = cv2.warpPerspective(  # type: ignore[assignment]
            self.image, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
        )
        return image, cv2.perspectiveTransform(self.landmarks[None], matrix)[0].astype(np.float64)

    def _homography(self, view: View) -> Points:
        """The portrait as a plane, turned in space and seen by a pinhole camera four face sizes away."""
        roll, yaw, pitch = np.deg2rad([view.roll, view.yaw, view.pitch])
        about_x, _ = cv2.Rodrigues(np.array([pitch, 0.0, 0.0]))
        about_y, _ = cv2.Rodrigues(np.array([0.0, yaw, 0.0]))
        about_z, _ = cv2.Rodrigues(np.array([0.0, 0.0, roll]))
        rotation = about_z @ about_y @ about_x
        distance = 4 * self.size
        from_portrait = np.array([[1, 0, -self.centre[0]], [0, 1, -self.centre[1]], [0, 0, 1]])
        to_space = np.column_stack([rotation[:, 0], rotation[:, 1], [0, 0, distance]])
        focal = view.size / self.size * distance
        camera = np.array([[focal, 0, view.centre[0]], [0, focal, view.centre[1]], [0, 0, 1]])
        matrix: Points = camera @ to_space @ from_portrait
        return matrix


# -- degradations and occlusion --------------------------------------------------------------------------------------


def dim(image: Image, level: float, rng: np.random.Generator) -> Image:
    """A badly lit image: darker, with a sensor's noise."""
    noisy = image * level + rng.normal(0, 4, image.shape)
    return noisy.clip(0, 255).astype(np.uint8)


def side_light(image: Image, strength: float) -> Image:
    """Light from the left."""
    gains = np.linspace(1 + strength, 1 - strength, image.shape[1])[None, :, None]
    return (image * gains).clip(0, 255).astype(np.uint8)


def motion_blur(image: Image, length: float, angle: float) -> Image:
    """Motion blur of a camera: ``length`` pixels in direction ``angle`` (degrees).

    Its kernel changes smoothly with the length, as a clip's does over its frames; that of
    :func:`datasets.degradations.motion_blur_kernel` changes by steps.
    """
    side = 2 * int(np.ceil(length / 2)) + 1
    kernel = np.zeros((side, side), dtype=np.float32)
    kernel[side // 2] = np.clip(length / 2 + 0.5 - np.abs(np.arange(side) - side // 2), 0, 1)
    turn = cv2.getRotationMatrix2D((side // 2, side // 2), angle, 1)
    kernel = cv2.warpAffine(kernel, turn, (side, side))  # type: ignore[assignment]
    blurred: Image = cv2.filter2D(image, -1, kernel / kernel.sum())  # type: ignore[assignment]
    return blurred


def bar(image: Image, start: tuple[float, float], end: tuple[float, float], thickness: float) -> Image:
    """Occlusion by a bar in front of the face."""
    covered = image.copy()
    points = [tuple(round(value) for value in point) for point in (start, end)]
    cv2.line(covered, points[0], points[1], (96, 74, 60), round(thickness), cv2.LINE_AA)
    return covered


def make_up(image: Image, landmarks: Points) -> Image:
    """Make-up: lips and lids in another colour."""
    mask = np.zeros(image.shape[:2], dtype=np.float32)
    for first, last in ((76, 87), (60, 67), (68, 75)):
        cv2.fillPoly(mask, [landmarks[first : last + 1].round().astype(np.int32)], 1.0)
    mask = cv2.GaussianBlur(mask, (0, 0), 3)[..., None]  # type: ignore[assignment]
    made_up = image * (1 - 0.5 * mask) + np.array([170, 20, 70]) * 0.5 * mask
    return made_up.clip(0, 255).astype(np.uint8)


# -- WFLW --------------------------------------------------------------------------------------------------------------


def make_wflw(portrait: Portrait, root: Path, rng: np.random.Generator) -> None:
    """A few faces a split; the first of ``test`` overflows its crop, as some of WFLW's do."""
    middle, size = CROP_SIZE / 2, CROP_SIZE * FACE_SHARE

    def upright(**changes: float) -> View:
        x, y = (middle + changes.pop(axis, 0) for axis in ("dx", "dy"))
        return View((x, y), size * changes.pop("zoom", 1), **changes)

    def plain(image: Image, landmarks: Points) -> Image:
        return image

    Change = Callable[[Image, Points], Image]
    faces: dict[str, list[tuple[View, Change]]] = {
        "test": [
            (upright(dx=34, dy=18, zoom=1.1), plain),
            (upright(), plain),
            (upright(roll=14, zoom=0.9), plain),
            (upright(roll=-22, yaw=14, zoom=0.85), plain),
            (upright(pitch=16, yaw=-12, zoom=0.95), plain),
            (upright(dx=-9, dy=6, roll=5, zoom=0.8), lambda image, _: dim(image, 0.6, rng)),
        ],
        "test_largepose": [(upright(yaw=38, zoom=0.95), plain), (upright(yaw=-34, pitch=14, roll=8, zoom=0.9), plain)],
        "test_expression": [(upright(pitch=-8, zoom=0.97), plain)],
        "test_illumination": [
            (upright(roll=-6), lambda image, _: side_light(image, 0.75)),
            (upright(roll=9, zoom=0.9), lambda image, _: dim(image, 0.3, rng)),
        ],
        "test_makeup": [(upright(roll=3, zoom=0.95), make_up)],
        "test_occlusion": [
            (upright(roll=-4), lambda image, _: bar(image, (20, 120), (236, 92), 34)),
            (upright(roll=10, zoom=0.92), lambda image, _: bar(image, (180, 30), (120, 250), 44)),
        ],
        "test_blur": [(upright(roll=6, zoom=0.95), lambda image, _: motion_blur(image, 15, 30))],
    }
    synthetic = synthetic_images()
    for split, views in faces.items():
        names, annotations = [], []
        for index, (view, change) in enumerate(views):
            image, landmarks = portrait.show(view, (CROP_SIZE, CROP_SIZE))
            name = f"{index}.jpg"
            write_jpeg(root / split / name, change(image, landmarks), QUALITY)
            names.append(name)
            annotations.append(landmarks / CROP_SIZE)
        for index, face in synthetic[split].items():
            name = f"synthetic-{index}.jpg"
            write_jpeg(root / split / name, face.image, QUALITY)
            names.append(name)
            annotations.append(face.landmarks.astype(np.float64))
        write_list(root / f"{split}.txt", names, annotations, digits=6)


def synthetic_images() -> dict[str, dict[int, FaceImage]]:
    """Held-out synthetic faces of each split: the first for ``test``, the next that have its attribute for a subset."""
    faces = SyntheticFaces(SEED)
    drawn = {"test": {index: faces.draw(index) for index in range(N_IMAGES)}}
    drawn |= {f"test_{attribute}": {} for attribute in ATTRIBUTES}
    index = N_IMAGES
    while any(len(subset) < N_SUBSET for subset in drawn.values()):
        face = faces.draw(index)
        wanting = [attribute for attribute in ATTRIBUTES if attribute in face.attributes]
        for subset in (drawn[f"test_{attribute}"] for attribute in wanting):
            if len(subset) < N_SUBSET:
                subset[index] = face
        index += 1
    return drawn


# -- WFLW-V ------------------------------------------------------------------------------------------------------------


def handheld(rng: np.random.Generator) -> Iterator[View]:
    """Views along a smooth random path: slow sweeps with a hand's tremor on them."""
    seconds = np.arange(N_FRAMES) / FPS

    def path(sweep: float, tremor: float) -> NDArray[np.float64]:
        return smooth_path(rng, seconds, ((sweep, 0.15, 0.5), (sweep / 2, 0.5, 1.0), (tremor, 2.0, 5.0)))

    width, height = FRAME_SIZE
    x, y = width / 2 + path(28, 1.2), height / 2 + path(12, 1.2)
    size = 190 * np.exp(path(0.10, 0.004))
    roll, yaw, pitch = path(7, 0.4), path(14, 0.4), path(7, 0.3)
    for t in range(N_FRAMES):
        yield View((x[t], y[t]), size[t], roll[t], yaw[t], pitch[t])


def make_wflw_v(portrait: Portrait, root: Path, rng: np.random.Generator) -> None:
    """Two easy clips and three hard ones of the portrait, and three of each of synthetic people."""

    def unchanged(frame: Image, t: int) -> Image:
        return frame

    def occluded(frame: Image, t: int) -> Image:
        # Something passes in front of the face twice, upwards and back.
        y = 330 - 260 * abs(np.sin(np.pi * t / 30))
        return bar(frame, (-20, y + 40), (330, y - 20), 46)

    def blurred(frame: Image, t: int) -> Image:
        burst = max(0.0, np.sin(2 * np.pi * t / 25))
        return motion_blur(frame, 1 + 22 * burst, 25 + 3 * t)

    def dark(frame: Image, t: int) -> Image:
        return dim(frame, 0.2 + 0.1 * np.sin(2 * np.pi * t / 40), rng)

    clips: dict[str, dict[str, Callable[[Image, int], Image]]] = {
        "easy": {"portrait-pan": unchanged, "portrait-turn": unchanged},
        "hard": {"portrait-occluded": occluded, "portrait-blurred": blurred, "portrait-dark": dark},
    }
    for split, changes in clips.items():
        for id, change in changes.items():
            write_clip(root, id, portrait_frames(portrait, change, rng), fps=FPS, crf=25)
        people = {f"synthetic-{split}-{number}": video for number, video in enumerate(synthetic_videos(split))}
        for id, video in people.items():
            write_clip(root, id, video, fps=FPS, crf=22)
        write_ids(root, split, [*changes, *people])


def synthetic_videos(split: str) -> list[SyntheticVideo]:
    """The first easy videos; or, of many hard ones in the order of their shares of bad frames, those at equal steps."""
    if split == "easy":
        return [SyntheticVideo(SEED, number, N_FRAMES, difficulty=0.0) for number in range(N_CLIPS)]
    videos = [SyntheticVideo(SEED, number, N_FRAMES, difficulty=1.0) for number in range(N_CANDIDATES)]
    videos.sort(key=lambda video: int(video.bad_frames().sum()))
    return [videos[(2 * step + 1) * N_CANDIDATES // (2 * N_CLIPS)] for step in range(N_CLIPS)]


def portrait_frames(
    portrait: Portrait, change: Callable[[Image, int], Image], rng: np.random.Generator
) -> Iterator[tuple[Image, Points, Points]]:
    """Image, landmarks and bounding box of each frame of a clip of the portrait."""
    for t, view in enumerate(handheld(rng)):
        frame, points = portrait.show(view, FRAME_SIZE)
        yield change(frame, t), points, jittered_bbox(points, rng, 0.01)


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes both samples."""
    parser = ArgumentParser(__doc__.splitlines()[0])
    parser.add_argument("--output_dir", type=Path, default=bundled.ASSETS, help="where WFLW/ and WFLW_V/ go")
    parser.add_argument("--seed", type=at_least(0), default=0, help="of the portrait's clips and images")
    flags = parser.parse(arguments)
    portrait = Portrait(bundled.ASSETS / "portrait")
    make_wflw(portrait, flags.output_dir / bundled.WFLW.name, np.random.default_rng(flags.seed))
    make_wflw_v(portrait, flags.output_dir / bundled.WFLW_V.name, np.random.default_rng(flags.seed + 1))


if __name__ == "__main__":
    run(main)
