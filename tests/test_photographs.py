"""Figures on photographs: of faces with landmarks set by hand, by part and by what makes them hard."""

import csv
import json

import cv2
import numpy as np
import pytest

from benchmarks import detection, photographs
from benchmarks.backgrounds import background_crops
from benchmarks.causes import causes_of, head_angles
from datasets.wflw import WFLWDataset
from datasets.wflw.precropped import write_list
from ldeq import InputError, load_checkpoint
from ldeq.landmarks98 import IBUG68, MIRRORED
from ldeq.metrics import failure_rate_and_auc, image_nme
from tests.conftest import assert_refused
from utils import bundled
from utils.engine.evaluation import predict_images

N_FACES = 4


@pytest.fixture(scope="module")
def faces():
    """A few faces of the bundled sample."""
    dataset = WFLWDataset(bundled.WFLW, "test")
    return [dataset[index] for index in range(N_FACES)]


@pytest.fixture(scope="module")
def folder(faces, tmp_path_factory):
    """The same as data sets of 98 and of 68 points."""
    root = tmp_path_factory.mktemp("faces")
    (root / "test").mkdir()
    names = [f"{index}.png" for index in range(N_FACES)]
    for name, (image, _) in zip(names, faces, strict=True):
        cv2.imwrite(str(root / "test" / name), image[..., ::-1])
    write_list(root / "test.txt", names, [points for _, points in faces])
    write_list(root / "test68.txt", names, [points[list(IBUG68)] for _, points in faces])
    return root


def test_figures_are_those_of_the_evaluation(run_script, weights, folder, faces, tmp_path):
    outputs = [tmp_path / f"figures{suffix}" for suffix in photographs.FORMATS]
    plot = tmp_path / "uncertainty.png"
    flags = ("--wflw", folder, "--afw", folder, "--crops", 3, "--bias", "--plot", plot, "--output", *outputs)
    status, out, err = run_script(photographs.main, weights, *flags)
    assert (status, err) == (0, "")
    uncertainty = []
    found = predict_images(
        load_checkpoint(weights.partition("=")[2]),
        faces,
        on_batch=lambda output: uncertainty.append(output.uncertainty.numpy()),
    )
    rows = {(row["data"], row["group"]): row for row in csv.DictReader(outputs[1].open())}
    for data, points in (("WFLW", range(98)), ("AFW", IBUG68)):
        nme = image_nme(found.predicted, found.truth, points)
        failures, auc = failure_rate_and_auc(nme)
        row = rows[data, "whole"]
        assert int(row["faces"]) == N_FACES
        expected = {"NME": 100 * nme.mean(), "median": 100 * np.median(nme), "FR": 100 * failures, "AUC": auc}
        assert {name: float(row[name]) for name in expected} == pytest.approx(expected, rel=1e-5)
        assert f"{100 * nme.mean():.2f}" in out
        eyes = [index for index in points if 60 <= index < 76 or index >= 96]
        expected = 100 * image_nme(found.predicted, found.truth, eyes).mean()
        assert float(rows[data, "eyes"]["NME"]) == pytest.approx(expected, rel=1e-5)
        doubt = np.median(np.concatenate(uncertainty)[:, list(points)], axis=1)
        assert float(row["uncertainty"]) == pytest.approx(np.median(doubt), rel=1e-5)
    assert rows["WFLW", "inner 51"] == {**rows["AFW", "inner 51"], "data": "WFLW"}
    details = json.loads(outputs[2].read_text())
    assert [face["name"] for face in details["faces"]["AFW"]] == [f"{index}.png" for index in range(N_FACES)]
    assert len(details["bias"]["WFLW"]) == 98
    assert len(details["bias"]["AFW"]) == 68
    assert "| whole | 4 |" in outputs[0].read_text()
    assert len(details["background_uncertainty"]) == 3
    assert cv2.imread(str(plot)) is not None


def test_limits_of_the_uncertainty():
    doubt = np.linspace(0.01, 0.02, 101, dtype=np.float32)
    faces = photographs.Faces("", [], np.zeros(0), np.zeros(0), np.repeat(doubt[:, None], 98, axis=1), [])
    # Of 101 values each is 0.99 %.
    _, _, (kept, refused, default) = photographs.limits_table([faces], doubt + np.float32(0.0095))
    assert kept[1:] == ["0.0199", "99.0", "95.0"]
    assert refused[1:] == ["0.0200", "100.0", "94.1"]
    assert default[2:] == ["100.0", "0.0"]


def test_background_crops_show_no_face(tmp_path):
    class Red:
        """Finds what is red."""

        def detect(self, image):
            rows, columns = np.nonzero((image[..., 0] > 200) & (image[..., 1] < 50))
            return np.array([[columns.min(), rows.min(), columns.max(), rows.max()]], dtype=np.float64)

    rng = np.random.default_rng(0)
    for name, place in (("a", (20, 30)), ("b", (90, 60))):
        image = rng.integers(60, 200, (160, 240, 3), dtype=np.uint8)
        image[place[0] : place[0] + 50, place[1] : place[1] + 50] = (0, 0, 255)
        cv2.imwrite(str(tmp_path / f"{name}.png"), image)
    crops = background_crops(tmp_path, Red(), 21)
    assert len(crops) == 21
    for crop, landmarks in crops:
        assert crop.shape == (256, 256, 3)
        assert (crop[..., 1] > 50).all()
        assert np.isnan(landmarks).all()
    again = background_crops(tmp_path, Red(), 21)
    assert all(np.array_equal(one, other) for (one, _), (other, _) in zip(crops, again, strict=True))
    assert not np.array_equal(crops[0][0], background_crops(tmp_path, Red(), 21, seed=1)[0][0])
    cv2.imwrite(str(tmp_path / "a.png"), np.full((160, 240, 3), (0, 0, 255), dtype=np.uint8))
    with pytest.raises(InputError, match=r"a\.png: has no place without a face"):
        background_crops(tmp_path / "a.png", Red(), 3)


def test_detection_by_size_has_a_row_for_each_and_one_for_what_is_none(run_script, tmp_path):
    cv2.imwrite(str(tmp_path / "plain.png"), np.full((90, 160, 3), 120, dtype=np.uint8))
    status, out, err = run_script(detection.main, "--n_faces", 1, "--backgrounds", tmp_path)
    assert status == 0, err
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│")]
    found = {row[0]: row[1:] for row in cells}
    assert list(found) == [*map(str, detection.SIZES), "none"]
    assert found["16"][0] == "0"
    assert found["140"] == ["100"] * len(detection.WAYS)
    assert found["none"] == ["0"] * len(detection.WAYS)


def test_bias_is_along_the_face(faces):
    truth = np.stack([points for _, points in faces])
    corners = truth[:, 72] - truth[:, 60]
    down = np.stack([-corners[:, 1], corners[:, 0]], axis=1)
    predicted = truth.copy()
    predicted[:, 16] += 0.05 * down  # a twentieth of the distance of the eyes
    predicted[:, 3] -= 0.02 * corners
    names = [str(index) for index in range(N_FACES)]
    moved = photographs.Faces("", names, truth, predicted, np.ones((N_FACES, 98), np.float32), [])
    bias = photographs.median_bias(moved)
    assert bias[16] == pytest.approx([0, 5], abs=1e-3)
    assert bias[3] == pytest.approx([-2, 0], abs=1e-3)
    assert np.abs(np.delete(bias, [3, 16], axis=0)).max() < 1e-3


def test_uncertainty_as_a_judge():
    assert photographs.chance_of_order(np.array([1.0, 2.0]), np.array([3.0, 4.0])) == 1
    assert photographs.chance_of_order(np.array([1.0, 4.0]), np.array([2.0, 3.0])) == 0.5
    assert photographs.chance_of_order(np.array([1.0]), np.zeros(0)) is None


def test_causes_are_told_from_points_and_image(faces):
    image, points = faces[0]
    yaw, pitch, roll = head_angles(points)
    half = np.radians(40)
    turn = np.array([[np.cos(half), -np.sin(half)], [np.sin(half), np.cos(half)]])
    turned = (points - 0.5) @ turn.T + 0.5
    assert head_angles(turned) == pytest.approx((yaw, pitch, roll + 40), abs=1e-3)
    assert "roll" in causes_of(image, turned)
    mirrored = ([1, 0] + points * [-1, 1])[list(MIRRORED)]
    assert head_angles(mirrored) == pytest.approx((-yaw, pitch, -roll), abs=1e-3)
    assert "dark" in causes_of(image // 8, points)
    assert {"blurred", "dark"} <= causes_of(np.full_like(image, 20), points)
    aside = points.copy()
    aside[54, 0] = points[32, 0]
    assert "near profile" in causes_of(image, aside)
    high, low = points.copy(), points.copy()
    high[54], low[54] = points[51], points[79]
    assert "looking up" in causes_of(image, high)
    assert "looking down" in causes_of(image, low)
    wide = points.copy()
    wide[94] = points[16]
    assert "mouth open" in causes_of(image, wide)


def test_data_that_cannot_be_used(run_script, weights, folder, tmp_path):
    (tmp_path / "test").mkdir()
    for text, named in (
        (None, "no such file"),
        ("", "is empty"),
        ("0.png 1 2 3\n", "line 1"),
        ("0.png" + " 0.5" * 135 + " x\n", "line 1"),
        ("../0.png" + " 0.5" * 136 + "\n", "line 1"),
        ("0.png" + " 0.5" * 136 + "\n", "0.png"),
    ):
        if text is not None:
            (tmp_path / "test68.txt").write_text(text)
        assert_refused(run_script(photographs.main, weights, "--afw", tmp_path), tmp_path, named, "expected")
    for flag, name, expected in (("--output", "figures.xlsx", ".csv"), ("--plot", "plot.xyz", ".png")):
        assert_refused(run_script(photographs.main, weights, "--afw", folder, flag, tmp_path / name), name, expected)
    places = tmp_path / "places"
    places.mkdir()
    for named in (tmp_path / "nowhere", places):
        outcome = run_script(photographs.main, weights, "--afw", folder, "--backgrounds", named)
        assert_refused(outcome, named, "expected photographs")
    (places / "a.txt").write_text("no image")
    for command, flags in ((photographs.main, (weights, "--afw", folder)), (detection.main, ())):
        outcome = run_script(command, *flags, "--backgrounds", places)
        assert_refused(outcome, places / "a.txt", "cannot be decoded")
