"""The comparison with other programs, which are made up here: what answers is known, or does not answer."""

import re
import sys

import cv2
import numpy as np
import pytest

import ldeq
from benchmarks import peers
from ldeq.metrics import frame_jitter
from ldeq.smoothing import smooth
from ldeq.video.reading import VideoReader
from ldeq.video.writing import VideoWriter
from tests.conftest import assert_refused
from utils import bundled

#: Points of the made-up peers are at their numbers' places on a spiral, and go to and fro by so many pixels.
SWAY = 3
SPIRAL = """
import math
n = 0
def spiral(k):
    global n
    n += 1
    return [(70 + 0.4 * i * math.cos(i) + {sway} * (n % 2), 60 + 0.3 * i * math.sin(i)) for i in range(k)]
"""
MEDIAPIPE = (
    SPIRAL
    + """
from types import SimpleNamespace as Some
__version__ = "0.0"
print("a library may say what it likes")
class FaceMesh:
    def __init__(self, static_image_mode, max_num_faces):
        assert (static_image_mode, max_num_faces) == (False, 1)
    def process(self, image):
        height, width = image.shape[:2]
        points = spiral(468)
        if n == {crash}:
            raise RuntimeError("out of luck")
        if n == {empty}:
            return Some(multi_face_landmarks=None)
        face = Some(landmark=[Some(x=x / width, y=y / height) for x, y in points])
        return Some(multi_face_landmarks=[face])
solutions = Some(face_mesh=Some(FaceMesh=FaceMesh))
"""
)
DLIB = (
    SPIRAL
    + """
from types import SimpleNamespace as Some
__version__ = "0.0"
class Box:
    def __init__(self, area): self.area = lambda: area
def get_frontal_face_detector():
    return lambda image, upsampled: [Box(3), Box(9), Box(4)]
class shape_predictor:
    def __init__(self, path):
        if open(path).read() != "a model": raise RuntimeError("no model")
    def __call__(self, image, box):
        assert box.area() == 9
        return Some(parts=lambda: [Some(x=x, y=y) for x, y in spiral(68)])
"""
)
N_FRAMES = 8


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    writer = VideoWriter(path, 25)
    for _, frame in zip(range(N_FRAMES), VideoReader(bundled.WFLW_V / "videos" / "portrait-pan.mp4"), strict=False):
        writer.write(cv2.resize(frame, (240, 180), interpolation=cv2.INTER_AREA))
    writer.close()
    return path


@pytest.fixture
def environment(tmp_path):
    """Makes the Python of an environment that has a module of some name and text."""

    def make(name, text="", crash=0, empty=0, sway=SWAY):
        folder = tmp_path / f"with-{name}"
        folder.mkdir()
        for key, value in (("crash", crash), ("empty", empty), ("sway", sway)):
            text = text.replace(f"{{{key}}}", str(value))
        (folder / f"{name}.py").write_text(text)
        python = folder / "python"
        python.write_text(f'#!/bin/sh\nPYTHONPATH="{folder}" exec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
        return python

    return make


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "points.dat"
    path.write_text("a model")
    return path


def compare(run_script, weights, *arguments):
    return run_script(peers.main, *arguments, weights)


def figures(out, method):
    """Frames a second, percent with a face and jitter of a method, of every table."""
    rows = re.findall(rf"│ {re.escape(method)} *│ +([\d.nai]+) │ +([\d.]+) │ +([\d.na]+) │", out)
    return [tuple(map(float, row)) for row in rows]


def jitter_of_sway(numbers, k):
    """That of points that go to and fro between two places, all the same way."""
    points = np.array([(70 + 0.4 * i * np.cos(i), 60 + 0.3 * i * np.sin(i)) for i in range(k)])[list(numbers)]
    return 100 * SWAY / np.sqrt(np.ptp(points, axis=0).prod() / 256**2)


def test_peers_are_measured_in_environments_of_their_own(run_script, weights, clip, environment, model):
    mediapipe, dlib = environment("mediapipe", MEDIAPIPE, empty=5), environment("dlib", DLIB)
    flags = (f"--mediapipe={mediapipe}", f"--dlib={dlib}", f"--dlib_model={model}")
    status, out, err = compare(run_script, weights, "--input", clip, clip, *flags)
    assert (status, err) == (0, "")
    assert "Face Mesh: MediaPipe 0.0, Python 3" in out
    assert "left out" not in out
    assert "a library" not in out
    of_mesh, of_dlib = figures(out, "Face Mesh"), figures(out, "dlib 68")
    assert len(of_mesh) == len(of_dlib) == 3, "a table a clip, and their medians"
    for rate, share, jitter in of_mesh:
        assert rate > 0
        assert share == pytest.approx(100 * (N_FRAMES - 1) / N_FRAMES, abs=0.06)
        assert jitter == pytest.approx(jitter_of_sway(peers.FACE_MESH, 468), abs=0.06)
    for _, share, jitter in of_dlib:
        assert share == 100
        assert jitter == pytest.approx(jitter_of_sway(range(17, 68), 68), abs=0.06)


def test_ours_is_what_the_package_finds(run_script, clip):
    status, out, _ = run_script(peers.main, "--input", clip)
    assert status == 0
    for rwr, method in ((True, "RwR"), (False, "frame by frame")):
        found = ldeq.landmarks(clip, rwr=rwr)
        points = found.landmarks[:, list(peers.INNER98)]
        for name, track in ((method, points), (f"{method}, savitzky-golay", smooth(points)))[: 1 + rwr]:
            ((rate, share, jitter),) = figures(out, name)
            assert rate > 0
            expected = np.sqrt(np.nanmean(frame_jitter(track, found.time) ** 2))
            assert (share, jitter) == (100, pytest.approx(expected, abs=0.06))
    for flag in ("--mediapipe", "--dlib", "--dlib_model"):
        assert flag in out, "how the peers are had"
    assert "pip install mediapipe" in out


def test_the_same_inner_points():
    assert len(peers.INNER68) == len(peers.INNER98) == len(set(peers.FACE_MESH)) == 51
    assert max(peers.FACE_MESH) < 468


def test_a_clip_without_figures_takes_none_from_the_medians(run_script, clip, tmp_path):
    """One frame has neither a speed nor jitter."""
    writer = VideoWriter(tmp_path / "one.mp4", 25)
    writer.write(next(iter(VideoReader(clip))))
    writer.close()
    status, out, err = run_script(peers.main, "--input", clip, tmp_path / "one.mp4")
    assert (status, err) == (0, "")
    for method in ("RwR", "RwR, savitzky-golay", "frame by frame"):
        whole, one, medians = figures(out, method)
        assert np.isnan([one[0], one[2]]).all()
        assert (medians[0], medians[2]) == (whole[0], whole[2])
        assert medians[1] == pytest.approx((whole[1] + one[1]) / 2, abs=0.06)


def test_a_peer_that_is_not_installed_is_left_out(run_script, weights, clip, environment, model):
    other = environment("mediapipe", "raise ImportError('No module named mediapipe')")
    new = environment("dlib", "raise ImportError('No module named dlib')")
    flags = (f"--mediapipe={other}", f"--dlib={new}", f"--dlib_model={model}")
    status, out, err = compare(run_script, weights, "--input", clip, *flags)
    assert (status, err) == (0, "")
    words = " ".join(out.split())
    assert f"Face Mesh is left out: {other} does not have it (No module named mediapipe)" in words
    assert "expected pip install mediapipe" in words
    assert "dlib 68 is left out" in words
    assert len(figures(out, "RwR")) == 1


def test_mediapipe_without_face_mesh_is_left_out(run_script, weights, clip, environment):
    new = environment("mediapipe", "__version__ = '9.9'")
    status, out, _ = compare(run_script, weights, "--input", clip, f"--mediapipe={new}")
    assert status == 0
    assert "mediapipe 9.9 has no Face Mesh any more" in out


def test_a_peer_that_crashes_takes_nothing_from_the_others(run_script, weights, clip, environment, model):
    mediapipe, dlib = environment("mediapipe", MEDIAPIPE, crash=4), environment("dlib", DLIB)
    flags = (f"--mediapipe={mediapipe}", f"--dlib={dlib}", f"--dlib_model={model}")
    outcome = compare(run_script, weights, "--input", clip, clip, *flags)
    assert_refused(outcome, clip, mediapipe, "status 1", "RuntimeError: out of luck")
    assert not figures(outcome[1], "Face Mesh")
    assert len(figures(outcome[1], "dlib 68")) == 3


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("#!/bin/sh\n", "ended with status 0"),
        ("#!/bin/sh\necho no answer\n", "no answer as"),
        ("#!/bin/sh\necho 5\n", "no answer as"),
        ("no program", "cannot be run"),
    ],
)
def test_what_is_no_peers_python(text, named, run_script, tmp_path, clip):
    python = tmp_path / "python"
    python.write_text(text)
    python.chmod(0o755)
    assert_refused(run_script(peers.main, "--input", clip, f"--mediapipe={python}"), python, named, "expected")


def test_paths_that_cannot_be_used(run_script, clip, environment, model, tmp_path):
    dlib = environment("dlib", DLIB)
    (tmp_path / "other.dat").write_text("no model")
    for flags, named in (
        ([tmp_path / "nowhere.mp4"], "nowhere.mp4: no such file"),
        ([clip, "--mediapipe=/nowhere/python"], "/nowhere/python: no such file"),
        ([clip, f"--mediapipe={clip}"], "clip.mp4: cannot be run"),
        ([clip, f"--dlib={dlib}", "--dlib_model=/nowhere.dat"], "/nowhere.dat: no such file"),
        ([clip, f"--dlib={dlib}", f"--dlib_model={tmp_path / 'other.dat'}"], "RuntimeError: no model"),
    ):
        assert_refused(run_script(peers.main, "--input", *flags), named)
    assert_refused(run_script(peers.main), "--input")
