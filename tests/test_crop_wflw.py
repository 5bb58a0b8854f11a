"""Cropping the original WFLW into the layout that the evaluation reads."""

import cv2
import numpy as np
import pytest

from datasets import crop_WFLW
from datasets.wflw import SPLITS, WFLWDataset
from datasets.wflw.original import crop_face, crop_square
from ldeq.landmarks98 import N_LANDMARKS
from tests.conftest import assert_refused

ATTRIBUTES = ("largepose", "expression", "illumination", "makeup", "occlusion", "blur")


def line_of(landmarks, attributes, image):
    bbox = [*landmarks.min(axis=0), *landmarks.max(axis=0)]
    numbers = [f"{value:.6f}" for value in [*landmarks.ravel(), *map(int, bbox)]]
    return " ".join([*numbers, *("1" if name in attributes else "0" for name in ATTRIBUTES), image])


@pytest.fixture
def original(tmp_path):
    """Two train faces of one image, and seven test faces, one an attribute and one with none, some cut off."""
    random = np.random.default_rng(0)
    images, annotations = tmp_path / "WFLW_images", tmp_path / "WFLW_annotations"
    for folder in (images / "0--Parade", images / "1--a b", annotations / "list_98pt_rect_attr_train_test"):
        folder.mkdir(parents=True)
    for name in ("0--Parade/0_Parade_1.jpg", "1--a b/0_Parade_1.jpg"):
        smooth = cv2.resize(random.integers(0, 255, (12, 16, 3), np.uint8), (640, 480), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(images / name), smooth)

    def face(centre, size):
        return np.asarray(centre) + random.uniform(-size / 2, size / 2, (N_LANDMARKS, 2))

    parade, other = "0--Parade/0_Parade_1.jpg", "1--a b/0_Parade_1.jpg"
    faces = {
        "train": [(face((200, 200), 90), (), parade), (face((400, 100), 60), ("blur",), parade)],
        "test": [(face((30, 460), 150), (name,), other) for name in ATTRIBUTES] + [(face((300, 240), 120), (), parade)],
    }
    for part, members in faces.items():
        path = annotations / "list_98pt_rect_attr_train_test" / f"list_98pt_rect_attr_{part}.txt"
        path.write_text("\r\n".join(line_of(*member) for member in members) + "\r\n")
    return images, annotations, faces


@pytest.fixture
def crop(run_script, original, tmp_path):
    images, annotations, _ = original

    def run_it(*more):
        arguments = [f"--images={images}", f"--annotations={annotations}", f"--output_folder={tmp_path / 'WFLW'}"]
        return run_script(crop_WFLW.main, *arguments, *more)

    return run_it


def test_every_split_can_be_evaluated_and_has_the_faces_of_its_attribute(crop, original, tmp_path):
    status, out, _ = crop()
    assert status == 0
    _, _, faces = original
    sizes = {split: len(WFLWDataset(tmp_path / "WFLW", split)) for split in ("train", *SPLITS)}
    assert sizes == {"train": 2, "test": 7, **{f"test_{name}": 1 for name in ATTRIBUTES}}
    assert "test_makeup" in out
    train = WFLWDataset(tmp_path / "WFLW", "train")
    assert train.name(0) != train.name(1)  # two faces of one image
    # The seventh face lies inside its crop: its landmarks are those of the rule, computed here in another way.
    points = np.round(faces["test"][6][0], 6)
    lo, hi = np.floor(points.min(axis=0)), np.floor(points.max(axis=0))
    side = int(1.2 * max(hi - lo + 1))
    corner = np.floor((lo + hi + 1) / 2) - side // 2
    _, landmarks = WFLWDataset(tmp_path / "WFLW", "test")[6]
    np.testing.assert_allclose(landmarks, (points - corner) / side, atol=1e-6)


def test_a_crop_shows_what_was_around_its_landmarks():
    """An image with a white dot on each landmark has, cropped, white dots on the landmarks that come with it."""
    random = np.random.default_rng(1)
    points = random.integers(20, 180, (6, 2)).astype(float)
    points[0] = (3, 60)  # so that the square leaves the image
    image = np.zeros((300, 400, 3), np.uint8)
    for x, y in points.astype(int):
        image[y - 1 : y + 2, x - 1 : x + 2] = 255
    crop, landmarks = crop_face(image, points)
    assert crop.shape == (256, 256, 3)
    # Pixel i of an image has its middle at i + 1/2; resizing scales these.
    left, top, side = crop_square(points)
    assert left < 0
    at = (points - (left, top) + 0.5) * 256 / side - 0.5
    np.testing.assert_allclose(landmarks * 256, at, atol=1)
    for x, y in np.round(at).astype(int):
        assert crop[y, x].min() > 200


def test_one_split_and_a_second_run(crop, tmp_path):
    assert crop("--split", "test_blur")[0] == 0
    assert crop("--split", "test_blur", "--workers=1")[0] == 0
    assert sorted(path.name for path in (tmp_path / "WFLW").iterdir()) == ["test_blur", "test_blur.txt"]


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda images, lists: (images / "0--Parade/0_Parade_1.jpg").unlink(), "0_Parade_1.jpg"),
        (lambda images, lists: (images / "0--Parade/0_Parade_1.jpg").write_text("<html>"), "0_Parade_1.jpg"),
        (lambda images, lists: (lists / "list_98pt_rect_attr_test.txt").unlink(), "list_98pt_rect_attr_test.txt"),
        (lambda images, lists: (lists / "list_98pt_rect_attr_test.txt").write_text(""), "is empty"),
        (lambda images, lists: (lists / "list_98pt_rect_attr_test.txt").write_text("1 2 3 a.jpg\n"), "line 1"),
        (
            lambda images, lists: (lists / "list_98pt_rect_attr_test.txt").write_text(
                line_of(np.full((98, 2), 9.0), (), "../../etc/passwd")
            ),
            "../../etc/passwd",
        ),
        (
            lambda images, lists: (lists / "list_98pt_rect_attr_test.txt").write_text(
                line_of(np.linspace(0, 9e5, 196).reshape(98, 2), (), "0--Parade/0_Parade_1.jpg")
            ),
            "holds its landmarks",
        ),
    ],
)
def test_what_cannot_be_cropped_is_named(damage, named, crop, original, tmp_path):
    images, annotations, _ = original
    damage(images, annotations / "list_98pt_rect_attr_train_test")
    assert_refused(crop(), named)
    assert not (tmp_path / "WFLW" / "test.txt").exists()


def test_unknown_split(crop):
    assert_refused(crop("--split", "val"), "val", "test_blur")


@pytest.mark.parametrize("text", ["000001.png " + " ".join(["0.5"] * 196) + "\n", "my notes\n", "\xff"])
def test_a_file_that_lists_other_crops_is_kept(crop, text, tmp_path):
    theirs = tmp_path / "WFLW" / "test.txt"
    theirs.parent.mkdir()
    theirs.write_text(text, encoding="latin-1")
    assert_refused(crop("--split=test"), "test.txt: is no list of these crops", "--output_folder")
    assert theirs.read_text(encoding="latin-1") == text


def test_one_part_needs_only_its_own_list(crop, original, tmp_path):
    _, annotations, _ = original
    next(annotations.rglob("*_train.txt")).unlink()
    assert crop("--split=test_blur")[0] == 0
    assert len(WFLWDataset(tmp_path / "WFLW", "test_blur")) == 1
    assert crop("--split=train")[0] == 2
