"""One line of Python: ldeq.landmarks on whatever shows faces, with the real detector, network and tracker."""

import csv
from itertools import islice

import cv2
import numpy as np
import pytest
from PIL import Image

import ldeq
from ldeq import InputError
from ldeq.landmarks98 import IBUG68, IBUG68_CURVES, N_LANDMARKS, PARTS
from ldeq.metrics import frame_jitter, video_nme, video_nmf
from ldeq.smoothing import FILTERS, RECOMMENDED, smooth, smooth_tracks
from ldeq.video.sources import open_source
from tests.conftest import first_frames
from utils import bundled

PORTRAIT = bundled.ASSETS / "portrait" / "astronaut.png"
CLIPS = ("portrait-turn", "portrait-dark", "portrait-occluded")


def clip_path(id):
    return bundled.WFLW_V / "videos" / f"{id}.mp4"


def truth_of(id):
    return np.load(bundled.WFLW_V / "landmarks" / f"{id}.npy")


@pytest.fixture(scope="module")
def frames():
    """The first frames of a clip."""
    with open_source(clip_path("portrait-pan")) as source:
        return np.stack([frame.image for frame, _ in zip(source, range(4), strict=False)])


@pytest.fixture(scope="module")
def result(frames):
    return ldeq.landmarks(frames)


def test_a_result(result, frames, tmp_path):
    assert result.landmarks.shape == (4, 98, 2)
    assert result.frame.tolist() == [0, 1, 2, 3]
    assert result.time == pytest.approx(np.arange(4) / 25)
    assert result.face_id.tolist() == [1] * 4
    assert result.bbox.shape == (4, 4)
    assert result.uncertainty.shape == (4, 98)
    assert result.restarted.tolist() == [True, False, False, False]
    assert (len(result), result.n_frames, result.warnings) == (4, 4, [])
    assert video_nme(result.landmarks, truth_of("portrait-pan")[:4]) < 4
    assert repr(result) == "LandmarkResult(1 face in 4 frames: landmarks (4, 98, 2))"
    assert np.array_equal(result.landmarks68, result.landmarks[:, list(IBUG68)])


def test_what_a_notebook_shows(result, frames):
    shown = cv2.imdecode(np.frombuffer(result._repr_png_(), np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape == frames[0].shape
    assert np.array_equal(shown[..., ::-1], result.preview())
    assert (result.preview() != frames[0]).any(), "landmarks are drawn"
    empty = ldeq.landmarks(np.full((64, 64, 3), 90, np.uint8))
    assert (len(empty), empty.n_frames, empty.landmarks.shape) == (0, 1, (0, 98, 2))
    assert empty.preview() is None
    assert empty._repr_png_() is None


def test_files(result, tmp_path):
    result.to_npz(tmp_path / "all.npz")
    with np.load(tmp_path / "all.npz") as arrays:
        for name in ("landmarks", "frame", "time", "face_id", "bbox", "uncertainty", "restarted"):
            assert np.array_equal(arrays[name], getattr(result, name)), name
    result.to_npz(tmp_path / "68.npz", points=68)
    with np.load(tmp_path / "68.npz") as arrays:
        assert np.array_equal(arrays["landmarks"], result.landmarks68)
        assert arrays["uncertainty"].shape == (4, 68)
    result.to_csv(tmp_path / "all.csv")
    with open(tmp_path / "all.csv", newline="") as table:
        rows = list(csv.DictReader(table))
    found = np.array([[[row[f"x{k}"], row[f"y{k}"]] for k in range(98)] for row in rows], dtype=float)
    assert found == pytest.approx(result.landmarks, abs=5.1e-4)
    assert {len(row[f"x{k}"].partition(".")[2]) for row in rows for k in range(98)} == {3}, "three decimals"
    result.to_csv(tmp_path / "openface.csv", points=68, format="openface")
    with open(tmp_path / "openface.csv", newline="") as table:
        reader = csv.DictReader(table)
        rows = list(reader)
    named = [f"{axis}_{index}" for axis in "xy" for index in range(68)]
    assert reader.fieldnames == ["frame", "face_id", "timestamp", "confidence", "success", *named]
    assert [row["frame"] for row in rows] == ["1", "2", "3", "4"], "OpenFace counts frames from 1"
    assert {row["face_id"] for row in rows} == {"0"}
    assert all(0.5 < float(row["confidence"]) <= 1 and row["success"] == "1" for row in rows)
    assert float(rows[2]["timestamp"]) == pytest.approx(0.08)
    assert [float(rows[3][name]) for name in named] == pytest.approx(result.landmarks68[3].T.ravel(), abs=5.1e-4)
    for options in ({"points": 5}, {"format": "xml"}, {"format": "openface"}):
        with pytest.raises(InputError, match="expected"):
            result.to_csv(tmp_path / "no.csv", **options)
    with pytest.raises(InputError, match="cannot be written"):
        result.to_csv("/proc/nowhere/x.csv")
    assert not (tmp_path / "no.csv").exists()


def test_all_kinds_of_input_agree(result, frames, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    paths = [folder / f"{index}.png" for index in (1, 2, 10, 11)]
    for path, frame in zip(paths, frames, strict=True):
        Image.fromarray(frame).save(path)
    for source in (list(frames), iter(frames), folder, paths, map(str, paths), [Image.open(path) for path in paths]):
        assert np.array_equal(ldeq.landmarks(source).landmarks, result.landmarks)
    image = ldeq.landmarks(paths[0])
    for source in (frames[0], str(paths[0]), Image.open(paths[0]), frames[:1]):
        assert np.array_equal(ldeq.landmarks(source).landmarks, image.landmarks)
    assert image.n_frames == 1
    assert np.array_equal(image.landmarks, result.landmarks[:1])
    assert ldeq.landmarks(frames, fps=50).time == pytest.approx(np.arange(4) / 50)


def test_an_image_is_turned_upright(frames, tmp_path):
    upright = ldeq.landmarks(frames[0])
    turned = Image.fromarray(np.rot90(frames[0]))
    exif = turned.getexif()
    exif[0x0112] = 6  # to be shown after a quarter turn to the right
    turned.save(tmp_path / "turned.png", exif=exif)
    assert ldeq.landmarks(tmp_path / "turned.png").landmarks == pytest.approx(upright.landmarks)


def test_given_boxes(frames, tmp_path):
    boxes = np.load(bundled.WFLW_V / "bboxes" / "portrait-pan.npy")[:4]
    boxes[2] = np.nan
    np.save(tmp_path / "boxes.npy", boxes)
    found = ldeq.landmarks(frames, bboxes=boxes)
    assert found.frame.tolist() == [0, 1, 3]
    assert np.array_equal(found.bbox, boxes[[0, 1, 3], :4])
    assert found.restarted.tolist() == [True, False, True]
    assert np.array_equal(ldeq.landmarks(frames, bboxes=tmp_path / "boxes.npy").landmarks, found.landmarks)
    for wrong in (np.array([["1", "2", "3", "4"]] * 4), boxes[:, :3], boxes.astype(complex)):
        with pytest.raises(InputError, match="bboxes"):
            ldeq.landmarks(frames, bboxes=wrong)


def test_progress_is_told(frames):
    told = []
    ldeq.landmarks(frames, progress=lambda *progress: told.append(progress))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("nowhere.mp4", "nowhere.mp4: no such file"),
        ("https://example.org/clip.mp4", "download it first"),
        ("rtsp://camera/1", "download it first"),
        (b"clip.mp4", "bytes"),
        (3.5, "a float"),
        (None, "NoneType"),
        ([], "there are none"),
        (np.zeros((4, 4), np.uint8), r"\(4, 4\)"),
        (np.zeros((4, 4, 3)), "float64"),
        (np.zeros((2, 4, 4, 4), np.uint8), r"\(4, 4, 4\)"),
        (["nowhere.png"], "nowhere.png: no such file"),
    ],
)
def test_sources_that_cannot_be_used(source, named):
    with pytest.raises(InputError, match=named):
        ldeq.landmarks(source)


@pytest.mark.parametrize(
    "options",
    [
        {"weights": "nowhere.pth.tar"},
        {"runtime": "abacus"},
        {"precision": "fp8"},
        {"device": "tpu"},
        {"smoothing": "sand"},
        {"detector": "dowser"},
        {"rwr_max_iters": 0},
        {"max_faces": 0},
        {"detect_every": 2.5},
        {"max_uncertainty": 2},
        {"fps": 0},
    ],
)
def test_options_that_cannot_be_used(options, frames):
    (name,) = options
    with pytest.raises(InputError, match=name if name != "weights" else "nowhere"):
        ldeq.landmarks(frames, **options)


@pytest.mark.slow
def test_the_default_way_of_a_video(tmp_path):
    """Detection, tracking, network and smoothing on the bundled portrait clips, against their truth."""
    figures, n_frames = {}, 30
    data = first_frames(bundled.WFLW_V, tmp_path / "WFLW_V", dict.fromkeys(CLIPS, n_frames))
    for id in CLIPS:
        truth, found = truth_of(id)[:n_frames], ldeq.landmarks(data / "videos" / f"{id}.mp4")
        assert found.frame.tolist() == list(range(n_frames)), "one face, from the first frame to the last"
        assert set(found.face_id.tolist()) == {1}
        for mode, points in (("RwR", found.landmarks), ("smooth", smooth(found.landmarks))):
            figures.setdefault(mode, []).append((video_nme(points, truth), video_nmf(points, truth)))
    (nme, nmf), (smooth_nme, smooth_nmf) = (np.mean(figures[mode], axis=0) for mode in ("RwR", "smooth"))
    assert max(figures["RwR"])[0] < 4.5
    assert nme < 3.5
    assert smooth_nme < nme
    assert smooth_nmf < 0.7 * nmf


@pytest.mark.slow
def test_rwr_is_better_than_frame_by_frame_on_the_hard_clips():
    from datasets.wflw_v import WFLWVDataset
    from ldeq.runtime.pytorch import TorchLandmarker
    from utils.engine.evaluation import track_videos

    model, n_frames = ldeq.LDEQ.from_pretrained(), 25
    ids = ["portrait-occluded", "portrait-blurred", "portrait-dark"]
    clips = WFLWVDataset(bundled.WFLW_V, "hard", ids).clips
    figures = {}
    for rwr in (True, False):
        landmarker = TorchLandmarker(ldeq.RecurrentLDEQ(model, rwr=rwr))
        for video in track_videos(
            landmarker, clips, lambda clip: islice(clip.frames(), n_frames), batch_size=3, workers=1
        ):
            truth, found = video.clip.landmarks[:n_frames], np.stack(video.landmarks)
            figures.setdefault(rwr, {})[video.clip.id] = (video_nme(found, truth), video_nmf(found, truth))
    (nme, nmf), (other_nme, other_nmf) = (np.mean(list(figures[rwr].values()), axis=0) for rwr in (True, False))
    assert nme < other_nme
    assert nmf < 0.97 * other_nmf
    for id in ids:
        assert figures[True][id][1] < figures[False][id][1], id


# -- smoothing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILTERS)
def test_filters_steady_and_do_not_cross_breaks(name):
    rng = np.random.default_rng(0)
    steady = rng.uniform(0, 200, (98, 2)) + np.arange(40)[:, None, None] * 0.5
    noisy = steady + rng.normal(0, 0.5, steady.shape)

    def jitter(points):
        return np.nanmean(frame_jitter(points, np.arange(40) / 25))

    assert jitter(smooth(noisy, name)) < 0.98 * jitter(noisy)
    # Two faces in turn, a gap in one, a restart in the other: each part as if it were alone.
    frame = np.repeat(np.arange(20), 2)
    face = np.tile([1, 2], 20)
    landmarks = rng.uniform(0, 200, (40, 98, 2))
    restarted = (frame == 0) | ((face == 2) & (frame == 12))
    kept = ~((face == 1) & (frame == 7))
    found = smooth_tracks(landmarks[kept], frame[kept], face[kept], restarted[kept], name)
    for id, parts in ((1, [(0, 7), (8, 20)]), (2, [(0, 12), (12, 20)])):
        for first, end in parts:
            rows = (face == id) & (frame >= first) & (frame < end)
            assert np.array_equal(found[rows[kept]], smooth(landmarks[rows], name)), (id, first)


def test_short_tracks_survive_every_filter():
    for name in FILTERS:
        for n_frames in (0, 1, 2, 3):
            points = np.random.default_rng(0).uniform(size=(n_frames, 98, 2))
            found = smooth(points, name)
            assert found.shape == points.shape
            assert np.isfinite(found).all()
    assert RECOMMENDED in FILTERS


def test_smoothing_of_a_result(frames, result):
    smoothed = ldeq.landmarks(frames, smoothing=True)
    assert np.array_equal(smoothed.landmarks, smooth(result.landmarks))
    assert np.array_equal(smoothed.landmarks, ldeq.landmarks(frames, smoothing=RECOMMENDED).landmarks)
    assert not np.array_equal(smoothed.landmarks, result.landmarks)


# -- the scheme --------------------------------------------------------------------------------------------------------


def test_parts_and_the_68():
    assert sorted(point for part in PARTS.values() for point in part) == list(range(N_LANDMARKS))
    assert len(set(IBUG68)) == len(IBUG68) == 68
    corners = {36: 60, 39: 64, 42: 68, 45: 72, 48: 76, 54: 82, 30: 54, 8: 16, 60: 88, 64: 92}
    assert {point: IBUG68[point] for point in corners} == corners
    lines = [point for first, last, _ in IBUG68_CURVES for point in range(first, last + 1)]
    assert lines == list(range(68))


def test_the_68_are_drawn_along_their_own_curves(result):
    """The outline's is where that of the 98 is, and no line runs from one part of the face to another."""
    from ldeq.drawing import draw_landmarks

    points = 5 * result.landmarks[0]
    drawn = [np.zeros((1800, 2400, 3), np.uint8) for _ in range(2)]
    draw_landmarks(drawn[0], points, (255, 255, 255))
    draw_landmarks(drawn[1], points[list(IBUG68)], (255, 255, 255))
    near = cv2.dilate(drawn[0], np.ones((25, 25), np.uint8))
    assert (drawn[1] > 0).any()
    assert not (drawn[1][near == 0] > 0).any()
