"""Crops of photographs without a face in them: what a tracker would see where a detector was wrong."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ldeq import InputError
from ldeq.face.crop import FaceCrop
from ldeq.face.detectors import Detector
from ldeq.landmarks98 import CROP_SCALE, N_LANDMARKS
from ldeq.video.media import read_image
from utils.bundled import ASSETS
from utils.engine.evaluation import Sample

#: The bundled photograph; of a portrait what is left without its face.
PORTRAIT = ASSETS / "portrait" / "astronaut.png"
#: Sides of crops in pixels of the photograph: the least, and the largest as a fraction of its shorter side.
_LEAST, _LARGEST = 32, 0.9
#: How far around a detected face, as a fraction of its box's sides, crops stay away.
_MARGIN = 0.25
#: Places that are tried for a crop.
_TRIES = 200


def background_crops(photographs: str | Path, detector: Detector, count: int, seed: int = 0) -> list[Sample]:
    """Crops of a folder's photographs, or of one, at random places and of random sizes, where no face is found.

    Args:
        photographs: a folder of images, or an image.
        count: of the crops, over all photographs about alike.
        seed: which ones.

    Returns:
        Images (256, 256, 3) RGB, and as there is nothing to annotate landmarks of NaN.

    Raises:
        InputError: as :func:`read_images`, or where there is no place without a face.
    """
    images = read_images(photographs)
    nowhere = np.full((N_LANDMARKS, 2), np.nan, dtype=np.float32)
    crops: list[Sample] = []
    for number, image in enumerate(images):
        faces = detector.detect(image)
        rng = np.random.default_rng([seed, number])
        share = (count * (number + 1)) // len(images) - (count * number) // len(images)
        boxes = [box for _ in range(share) if (box := _free_box(image, faces, rng)) is not None]
        crops += [(FaceCrop.around(image, box).image, nowhere) for box in boxes]
    if not crops:
        raise InputError(f"{photographs}: has no place without a face, expected photographs with a background")
    return crops


def read_images(photographs: str | Path) -> list[NDArray[np.uint8]]:
    """The images (H, W, 3) RGB of a folder, in the order of their names, or the one of a file.

    Raises:
        InputError: where there is none, or a file is something else.
    """
    path = Path(photographs)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder, expected photographs")
    images = []
    for each in sorted(path.iterdir()) if path.is_dir() else [path]:
        if each.is_file():
            image = read_image(each)
            if image is None:
                raise InputError(f"{each}: cannot be decoded, expected an image")
            images.append(image)
    if not images:
        raise InputError(f"{path}: holds no images, expected photographs")
    return images


def _free_box(
    image: NDArray[np.uint8], faces: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64] | None:
    """A box x1, y1, x2, y2 whose crop is within the image and shows nothing of the faces; None where none was found."""
    height, width = image.shape[:2]
    around = _MARGIN * (faces[:, 2:] - faces[:, :2])
    low, high = faces[:, :2] - around, faces[:, 2:] + around
    largest = _LARGEST * min(height, width)
    for _ in range(_TRIES):
        side = float(np.exp(rng.uniform(np.log(min(_LEAST, largest)), np.log(largest))))
        corner = rng.uniform(0, 1, 2) * (width - side, height - side)
        if not ((corner < high) & (corner + side > low)).all(axis=1).any():
            middle, half = corner + side / 2, side / CROP_SCALE / 2
            return np.concatenate([middle - half, middle + half])
    return None
