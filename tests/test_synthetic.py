"""Synthetic faces: landmarks that are where the image shows them, the same from a seed, and data sets of them."""

import ast
import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import people
from datasets.degradations import motion_blur_kernel
from datasets.synthetic import SyntheticFaces, SyntheticVideo, writing
from datasets.synthetic import __main__ as writer
from datasets.synthetic.people.brows import Brow
from datasets.synthetic.people.expression import random_expression
from datasets.synthetic.people.head import PHENOTYPES, Sphere, load_head
from datasets.synthetic.people.landmarks import LandmarkModel, pupil
from datasets.synthetic.people.person import draw_person, draw_phenotypes
from datasets.synthetic.people.pose import pose_face, random_pose
from datasets.synthetic.renderer.camera import Projection
from datasets.synthetic.renderer.raster import rasterise
from datasets.wflw import SPLITS, WFLWDataset
from datasets.wflw_v import WFLWVDataset
from ldeq.face.bbox import tight_bbox
from ldeq.landmarks98 import MIRRORED

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.slow  # Anny's model is loaded, and built on the first use of a machine

DISTANCE, SIZE = 60.0, 512
PROJECT = Projection(SIZE * DISTANCE / 26, np.array([SIZE / 2, SIZE / 2]))


@pytest.fixture(scope="module")
def head():
    return load_head()


@pytest.fixture(scope="module")
def model(head):
    return LandmarkModel(head)


def turned(points, yaw):
    angle = np.radians(yaw)
    turn = np.array([[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]])
    return (points @ turn.T + [0, 0, DISTANCE]).astype(np.float32)


def look_at(head, model, yaw=0.0, actions=None):
    """Landmarks of the template with an expression, and the vertices that the camera sees."""
    vertices = turned(head.express(head.template, actions or {}), yaw)
    brows = tuple(Brow(side, 0.155, 0.6, -0.155, 0.045, 0.6, 0.025, 0.055, 1.0).edges(head) for side in (1, -1))
    gaze = np.float32([0, 0, -1])
    pupils = [turned(pupil(Sphere(eye.centre, eye.radius), gaze)[None], yaw)[0] for eye in head.eyes(head.template)]
    return model.locate(vertices, PROJECT, brows, np.stack(pupils[::-1]), 0.0), vertices


def test_a_symmetric_head_has_symmetric_landmarks(head, model):
    points, _ = look_at(head, model)
    mirrored = points[list(MIRRORED)] * [-1, 1] + [SIZE, 0]
    assert np.abs(mirrored - points).max() < 1.0  # pixels of a face of 300: brows and nose are picked on a grid


def test_landmarks_are_in_wflw_s_order(head, model):
    x, y = look_at(head, model)[0].T
    assert (np.diff(x[:33]) > -1).all()  # a head is widest a little below the ends
    assert np.argmax(y[:33]) == 16
    for first, last in ((33, 37), (42, 46), (60, 64), (68, 72), (76, 82), (88, 92)):
        assert (np.diff(x[first : last + 1]) > 0).all()
    assert (np.diff(y[51:55]) > 0).all()
    assert (np.diff(x[55:60]) > 0).all()
    for upper, lower in ((62, 66), (70, 74), (79, 85), (90, 94), (35, 40), (44, 48)):
        assert y[upper] < y[lower]
    assert y[35] < y[62] < y[54] < y[57] < y[79] <= y[90] < y[85] < y[16]
    for corner, pupil_of, other in ((60, 96, 64), (68, 97, 72)):
        assert x[corner] < x[pupil_of] < x[other]


def test_expressions_move_the_landmarks_that_they_should(head, model):
    calm, _ = look_at(head, model)
    wide, _ = look_at(head, model, actions={"jawOpen": 0.8})
    assert wide[94, 1] - wide[90, 1] > 25 > calm[94, 1] - calm[90, 1]
    assert wide[16, 1] - calm[16, 1] > 20
    assert np.abs(wide[[36, 43, 51, 60, 72]] - calm[[36, 43, 51, 60, 72]]).max() < 0.5
    shut, _ = look_at(head, model, actions={"eyeBlinkLeft": 1.0})
    assert shut[74, 1] - shut[70, 1] < 0.35 * (calm[74, 1] - calm[70, 1])
    assert np.abs(shut[60:68] - calm[60:68]).max() < 0.5
    happy, _ = look_at(head, model, actions={"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0})
    assert happy[82, 0] - happy[76, 0] > 1.1 * (calm[82, 0] - calm[76, 0])


@pytest.mark.parametrize("yaw", [0, 30, -45])
def test_the_outline_is_where_the_face_ends(head, model, yaw):
    points, vertices = look_at(head, model, yaw)
    face = head.triangles[(head.ears[head.triangles] < 0.5).all(1) & (vertices[head.triangles][..., 1].max(1) < 11)]
    seen, _, depths = rasterise(PROJECT.with_depth(vertices), np.ascontiguousarray(face), SIZE, SIZE)
    inside = cv2.distanceTransform((seen >= 0).astype(np.uint8), cv2.DIST_L2, 5)
    # The half that turns away ends at the silhouette.
    far = points[22:30] if yaw > 0 else points[3:11] if yaw < 0 else np.concatenate([points[3:11], points[22:30]])
    column, row = far.round().astype(int).T
    assert inside[row, column].max() < 6
    # Landmarks of the side that faces the camera are seen, and are no silhouette: the head goes on behind them.
    if yaw:
        near = points[3:11] if yaw > 0 else points[22:30]
        column, row = near.round().astype(int).T
        assert np.isfinite(depths[row, column]).all()
    # Points are evenly spaced.
    for half in (points[:17], points[16:33]):
        steps = np.linalg.norm(np.diff(half, axis=0), axis=1)
        assert steps.max() < 1.15 * steps.min()


#: Curves along the face and, of near-frontal faces of WFLW, the medians of the shares of their length at which their
#: inner points lie.
SPACING = {
    "upper edge of the right brow": ((33, 34, 35, 36, 37), (0.29, 0.53, 0.77)),
    "lower edge of the right brow": ((33, 41, 40, 39, 38), (0.25, 0.50, 0.76)),
    "upper edge of the left brow": ((42, 43, 44, 45, 46), (0.24, 0.48, 0.72)),
    "lower edge of the left brow": ((50, 49, 48, 47, 46), (0.26, 0.51, 0.76)),
    "ridge of the nose": ((51, 52, 53, 54), (0.34, 0.67)),
    "nostrils": ((55, 56, 57, 58, 59), (0.26, 0.51, 0.76)),
    "upper lid of the right eye": ((60, 61, 62, 63, 64), (0.23, 0.47, 0.73)),
    "lower lid of the right eye": ((60, 67, 66, 65, 64), (0.25, 0.51, 0.75)),
    "upper lid of the left eye": ((68, 69, 70, 71, 72), (0.28, 0.56, 0.78)),
    "lower lid of the left eye": ((68, 75, 74, 73, 72), (0.25, 0.51, 0.75)),
    "outer edge of the upper lip": ((76, 77, 78, 79, 80, 81, 82), (0.21, 0.41, 0.51, 0.60, 0.80)),
    "outer edge of the lower lip": ((82, 83, 84, 85, 86, 87, 76), (0.16, 0.33, 0.49, 0.66, 0.83)),
    "inner edge of the upper lip": ((88, 89, 90, 91, 92), (0.26, 0.51, 0.76)),
    "inner edge of the lower lip": ((92, 93, 94, 95, 88), (0.24, 0.49, 0.74)),
    "outline": (tuple(range(33)), tuple(np.arange(1, 32) / 32)),
}  # fmt: skip
#: Medians of some landmarks of near-frontal faces of WFLW, in hundredths of the distance of the outer eye corners from
#: the point midway between them: the outline's ends, chin, brows, nose, lids, mouth.
MEDIANS = {
    0: (-77.6, -5.6), 32: (77.5, -5.5), 8: (-61.9, 74.6), 24: (62.0, 75.8), 16: (0.7, 125.1), 33: (-60.6, -12.9),
    35: (-38.4, -21.9), 37: (-15.5, -16.5), 40: (-38.5, -14.0), 46: (61.5, -13.5), 51: (-0.6, 0.3), 54: (0.0, 45.9),
    55: (-18.6, 49.3), 57: (0.4, 53.4), 59: (18.2, 48.9), 62: (-35.3, -5.5), 66: (-35.5, 5.4), 76: (-29.3, 72.0),
    79: (0.7, 66.5), 82: (29.8, 70.4), 85: (0.7, 89.3), 90: (0.5, 71.4), 94: (0.7, 78.8),
}  # fmt: skip


@pytest.fixture(scope="module")
def near_frontal(head, model):
    """The landmarks (100, 98, 2) of people who look nearly into the camera, in the unit of :data:`MEDIANS`."""
    rng = np.random.default_rng(11)
    people = []
    for phenotype in draw_phenotypes(head, rng, 100):
        pose = replace(random_pose(rng), yaw=rng.uniform(-15, 15), pitch=rng.uniform(-13, 17))
        face = pose_face(head, draw_person(head, phenotype, rng), random_expression(rng), pose)
        points = face.landmarks(model, Projection(1000.0, np.zeros(2)))
        origin, x = (points[60] + points[72]) / 2, points[72] - points[60]
        turn = np.array([x, [-x[1], x[0]]]) / (x @ x)
        people.append(100 * (points - origin) @ turn.T)
    return np.array(people)


@pytest.mark.parametrize("curve", SPACING)
def test_points_are_spaced_along_curves_as_in_wflw(near_frontal, curve):
    points, expected = SPACING[curve]
    lengths = np.linalg.norm(np.diff(near_frontal[:, list(points)], axis=1), axis=2).cumsum(1)
    assert np.median(lengths[:, :-1] / lengths[:, -1:], axis=0) == pytest.approx(expected, abs=0.02)


def test_the_faces_of_wflw_lie_well_inside_the_population(near_frontal):
    points = list(MEDIANS)
    off = (np.array(list(MEDIANS.values())) - np.median(near_frontal[:, points], axis=0)) / near_frontal[:, points].std(
        0
    )
    assert np.abs(off).max() < 0.9


def test_images_depend_on_seed_and_index_alone():
    faces, again = SyntheticFaces(5, size=64), SyntheticFaces(5, size=64)
    in_order = [faces.draw(index) for index in (0, 1, 2, 130)]
    for expected, index in ((in_order[3], 130), (in_order[1], 1)):
        found = again.draw(index)
        assert np.array_equal(found.image, expected.image)
        assert np.array_equal(found.landmarks, expected.landmarks)
        assert found.attributes == expected.attributes
    assert len({face.image.tobytes() for face in in_order}) == 4
    other = SyntheticFaces(6, size=64).draw(0)
    assert not np.array_equal(other.landmarks, in_order[0].landmarks)


def test_images_are_bytes_with_landmarks_in_the_crop():
    faces = SyntheticFaces(7, size=96, crop_jitter=0.0)
    for index in range(12):
        image, landmarks, _ = faces.draw(index)
        assert image.shape == (96, 96, 3)
        assert image.dtype == np.uint8
        assert image.std() > 2
        assert landmarks.shape == (98, 2)
        # The crop is WFLW's: 1.2 times the longer side of the points' extent, around its middle.
        assert np.ptp(landmarks, axis=0).max() == pytest.approx(1 / 1.2, abs=1e-3)
        assert np.allclose((landmarks.min(0) + landmarks.max(0)) / 2, 0.5 - 0.5 / 256, atol=1e-3)


def test_the_same_person_in_several_images():
    faces = SyntheticFaces(8, size=64, images_per_person=2)
    first, second, third = (faces.person(index) for index in range(3))
    assert first is second
    assert not np.array_equal(third.neutral, first.neutral)
    assert not np.array_equal(faces.draw(0).landmarks, faces.draw(1).landmarks)


def test_figures_by_people_are_of_all_of_them(run_script):
    status, out, err = run_script(people.main, "--images", "8")
    assert status == 0, err
    groups = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│")]
    for name in people.GROUPS:
        found = [row for row in groups if row[0] == name]
        assert sum(int(row[2]) for row in found) == 8
        assert all(0.5 < float(row[3]) < 100 for row in found)


def test_a_clip_of_a_face_leads_to_its_image():
    faces = SyntheticFaces(1, 96, hard=0.5)
    for index in range(3):
        face = faces.draw(index)
        clip = faces.draw_clip(index, 3)
        assert np.array_equal(clip[-1].image, face.image)
        assert np.array_equal(clip[-1].landmarks, face.landmarks)
        moved = [np.abs(a.landmarks - b.landmarks).mean() for a, b in itertools.pairwise(clip)]
        assert 0 < max(moved) < 0.1
        assert not np.array_equal(clip[0].image, clip[1].image)


def test_a_share_of_heads_is_turned_aside():
    plain, some, all_of_them = (SyntheticFaces(4, 64, turned=share) for share in (0.0, 0.5, 1.0))
    noses = []
    n_same = 0
    for index in range(8):
        before, after, turned_face = (faces.draw(index) for faces in (plain, some, all_of_them))
        n_same += np.array_equal(before.image, after.image)
        assert "largepose" in turned_face.attributes
        x = turned_face.landmarks[:, 0]
        # The nose's tip against the middle of the face's outline.
        noses.append((x[54] - (x[:33].min() + x[:33].max()) / 2) / np.ptp(x[:33]))
    assert 0 < n_same < 8
    assert np.abs(noses).min() > 0.25
    assert min(noses) < 0 < max(noses)


def test_people_differ(head):
    shapes = [SyntheticFaces(9).person(number).neutral for number in range(6)]
    assert min(np.abs(a - b).max() for i, a in enumerate(shapes) for b in shapes[:i]) > 0.2
    assert set(PHENOTYPES) >= {"gender", "age", "african", "asian", "caucasian"}


def test_videos_are_smooth_and_repeat():
    easy = list(SyntheticVideo(3, 0, n_frames=4, difficulty=0.0))
    again = list(SyntheticVideo(3, 0, n_frames=4, difficulty=0.0))
    for frame, same in zip(easy, again, strict=True):
        assert np.array_equal(frame.image, same.image)
        assert np.array_equal(frame.landmarks, same.landmarks)
        assert np.array_equal(frame.bbox, same.bbox)
        assert np.abs(frame.bbox[:4] - tight_bbox(frame.landmarks)).max() < 0.06 * np.ptp(frame.landmarks, axis=0).max()
    steps = [np.abs(b.landmarks - a.landmarks).max() for a, b in itertools.pairwise(easy)]
    assert 0 < max(steps) < 8
    hard = next(iter(SyntheticVideo(3, 0, n_frames=4, difficulty=1.0)))
    assert not np.array_equal(hard.landmarks, easy[0].landmarks)


def test_imports_run_one_way():
    rooms = {
        "renderer": ("people", "photographs", "images", "videos", "renderings", "writing"),
        "people": ("photographs", "images", "videos", "renderings", "writing"),
        "photographs.py": ("people", "images", "videos", "renderings", "writing"),
        "renderings.py": ("people", "images", "videos", "writing"),
        "images.py": ("videos", "renderings", "writing"),
        "videos.py": ("photographs", "images", "renderings", "writing"),
    }
    package = Path(writing.__file__).parent
    for room, later in rooms.items():
        paths = sorted((package / room).glob("*.py")) or [package / room]
        imported = {
            node.module
            for path in paths
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom) and node.module
        }
        assert not {
            name for name in imported if name.startswith(tuple(f"datasets.synthetic.{other}" for other in later))
        }


@pytest.mark.parametrize("fraction_bits", [0, 4])
@pytest.mark.parametrize("length", [3, 7.3, 15])
def test_motion_blur_is_along_its_direction_and_moves_nothing(length, fraction_bits):
    for direction in np.linspace(0, np.pi, 9):
        kernel = motion_blur_kernel(length, direction, fraction_bits)
        side = len(kernel)
        assert kernel.shape == (side, side)
        assert side % 2 == 1
        assert length <= side < length + 2
        assert kernel.sum() == pytest.approx(1)
        at = np.stack(np.mgrid[:side, :side][::-1]).astype(float) - side // 2
        assert np.abs((kernel * at).sum((1, 2))).max() < 0.35  # pixels: its ends are rounded
        across = at[0] * np.sin(direction) - at[1] * np.cos(direction)
        assert np.abs(across[kernel > 0]).max() < 1.1


def test_data_sets_are_read_as_the_real_ones(tmp_path, run_script, monkeypatch):
    monkeypatch.setattr(writing, "_CHUNK", 4)
    assert run_script(writer.main, "--output_dir", tmp_path, "--train", 6, "--workers", 2)[0] == 0
    arguments = ["--output_dir", tmp_path, "--test", 3, "--hard", 1, "--frames", 3, "--workers", 1]
    assert run_script(writer.main, *arguments)[0] == 0
    train = WFLWDataset(tmp_path / "WFLW", "train")
    assert len(train) == 6
    faces = SyntheticFaces(0, crop_jitter=1.0, images_per_person=4)
    for index in (2, 5):  # each of another process
        expected = faces.draw(index)
        difference = train[index][0].astype(float) - expected.image
        inside = (expected.landmarks >= 0).all() and (expected.landmarks <= 1).all()
        # JPEG keeps little of the noise of colours.
        assert not inside or np.abs(cv2.blur(difference, (4, 4))).mean() < 4
    test = WFLWDataset(tmp_path / "WFLW", "test")
    names = {test.name(index): test[index][1] for index in range(len(test))}
    for split in SPLITS[1:]:
        subset = WFLWDataset(tmp_path / "WFLW", split)
        shared = [i for i in range(len(subset)) if subset.name(i) in names]
        assert all(np.array_equal(subset[i][1], names[subset.name(i)]) for i in shared)
        # One that none of the images belongs to has one of its own.
        assert len(shared) == len(subset) or len(subset) == 1
    videos = WFLWVDataset(tmp_path / "WFLW_V", "hard")
    assert [clip.check_annotations() for clip in videos.clips] == [3]
    frames = list(videos.clips[0].frames())
    assert len(frames) == 3
    assert not list(tmp_path.rglob(".*"))

    # A list that is lost is made again.
    lost = tmp_path / "WFLW" / "test_blur.txt"
    before = lost.read_bytes()
    lost.unlink()
    assert run_script(writer.main, *arguments)[0] == 0
    assert lost.read_bytes() == before

    # Longer videos of the same ids are other videos.
    assert run_script(writer.main, "--output_dir", tmp_path, "--hard", 1, "--frames", 4, "--workers", 1)[0] == 0
    (clip,) = WFLWVDataset(tmp_path / "WFLW_V", "hard").clips
    assert clip.check_annotations() == 4

    # A video that has lost a part of it is made again.
    for path in (clip.video_path, tmp_path / "WFLW_V" / "bboxes" / f"{clip.id}.npy"):
        before = path.read_bytes()
        path.unlink()
        assert run_script(writer.main, "--output_dir", tmp_path, "--hard", 1, "--frames", 4, "--workers", 1)[0] == 0
        assert path.read_bytes() == before


def test_an_interrupted_data_set_goes_on_and_never_mixes_two(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "_CHUNK", 2)

    def write(seed):
        return writing.write_images(tmp_path, "train", seed, 4)

    def begin(seed):
        work = write(seed)
        next(work)
        work.close()

    image = tmp_path / "train" / "000000.jpg"
    begin(3)
    drawn = image.stat().st_mtime_ns
    assert sum(write(3)) == 4
    assert image.stat().st_mtime_ns == drawn
    assert len(WFLWDataset(tmp_path, "train")) == 4
    assert sum(write(3)) == 4
    assert image.stat().st_mtime_ns == drawn  # what is finished stays
    assert (tmp_path / "train.txt").is_file()
    begin(4)
    image.unlink()  # of a part that is done
    begin(4)
    assert image.is_file()
    assert not (tmp_path / "train.txt").exists()
    drawn = image.stat().st_mtime_ns
    assert sum(write(3)) == 4
    assert image.stat().st_mtime_ns > drawn


def test_an_interrupt_ends_all_processes_at_once(tmp_path):
    """Whole videos are drawn by each, which take far longer than anybody waits for."""
    command = [sys.executable, "-m", "datasets.synthetic", "--output_dir", tmp_path, "--hard", "6", "--frames", "2000"]
    drawing = subprocess.Popen(
        [*map(str, command), "--workers", "2"], cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        end = time.monotonic() + 120
        while len(list(tmp_path.rglob("*.mp4*"))) < 2 and drawing.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        os.killpg(drawing.pid, signal.SIGINT)
        _, err = drawing.communicate(timeout=20)
        assert drawing.returncode == 130
        assert "interrupted" in err.splitlines()[-1]
        assert "Traceback" not in err
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(drawing.pid, signal.SIGKILL)


@pytest.mark.parametrize("name", ["WFLW/test.txt", "WFLW/test_blur.txt", "WFLW_V/hard_video_IDs.txt"])
def test_data_sets_of_others_are_kept(name, tmp_path, run_script):
    theirs = tmp_path / name
    theirs.parent.mkdir()
    theirs.write_text("0kE1T3Wm0Nk\n")
    arguments = ("--train", 1, "--test", 1, "--hard", 1, "--workers", 1)
    status, _, err = run_script(writer.main, "--output_dir", tmp_path, *arguments)
    assert status == 2
    assert f"{theirs}: is no list of synthetic" in err
    assert theirs.read_text() == "0kE1T3Wm0Nk\n"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [theirs]  # nothing was begun
    # Not even beside what we have begun or finished.
    (theirs.parent / ".test.unfinished").mkdir()
    assert run_script(writer.main, "--output_dir", tmp_path, *arguments)[0] == 2
    assert theirs.read_text() == "0kE1T3Wm0Nk\n"


def test_images_of_others_are_kept(tmp_path, run_script):
    theirs = tmp_path / "WFLW" / "train" / "000000.jpg"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"an image")
    status, _, err = run_script(writer.main, "--output_dir", tmp_path, "--train", 1, "--workers", 1)
    assert status == 2
    assert f"{theirs.parent}: holds other files" in err
    assert theirs.read_bytes() == b"an image"


def test_nothing_to_write_is_refused(tmp_path, run_script):
    status, _, err = run_script(writer.main, "--output_dir", tmp_path)
    assert status == 2
    assert "expected a number for --train, --test, --easy, --hard or --renderings" in err


def test_held_out_people_are_not_for_training(tmp_path, run_script):
    status, _, err = run_script(writer.main, "--output_dir", tmp_path, "--train", 4, "--seed", 10_000_000)
    assert status == 2
    assert "expected less than 10000000" in err
    assert not list(tmp_path.iterdir())
