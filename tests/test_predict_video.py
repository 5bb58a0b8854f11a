"""predict_video.py as its users run it, on every kind of input."""

import csv
import http.server
import json
import pkgutil
import re
import signal
import struct
import subprocess
import sys
import threading
import time
from fractions import Fraction
from hashlib import sha256

import av
import cv2
import dlib
import numpy as np
import pytest
from PIL import Image

import predict_video
import test_LDEQ_WFLW_V
from benchmarks import video as video_benchmark
from ldeq import InputError
from ldeq import predict as prediction
from ldeq.face.detectors import CenterFaceDetector, DlibDetector, YuNetDetector, fetch_yunet
from ldeq.landmarks98 import IBUG68
from ldeq.metrics import frame_jitter
from ldeq.smoothing import smooth
from ldeq.solver_tally import SolverTally
from ldeq.video.reading import VideoReader
from ldeq.video.sources import natural_key, open_source
from ldeq.video.writing import VideoWriter
from tests import fake_yunet
from tests.conftest import GOLDEN, first_frames
from tests.scenes import Oracle, Scene, view
from tests.test_datasets import damaged_video
from tests.test_scripts import REPOSITORY, assert_refused, with_ctrl_c
from utils import bundled

ANDERSON = f"--landmark_model_weights={GOLDEN / 'anderson.pth.tar'}"
PAN = bundled.WFLW_V / "videos" / "portrait-pan.mp4"
SMALL = (64, 48)


@pytest.fixture
def predict(run_script, tmp_path):
    def run_it(input, *arguments, out="out"):
        return run_script(predict_video.main, f"--input={input}", f"--output_dir={tmp_path / out}", *arguments)

    return run_it


def landmarks(folder):
    with np.load(folder / "landmarks.npz") as arrays:
        return dict(arrays)


def frames_of(path):
    """Times and images of a video, upright, with PyAV."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        assert all(frame.rotation == 0 for frame in frames)
        return [float(frame.pts * frame.time_base) for frame in frames], [f.to_ndarray(format="rgb24") for f in frames]


def make_video(path, n_frames, size=SMALL, sound=None, times=None, options=None, rate=16000):
    """A red corner above left, and a hum if there is to be one."""
    with av.open(str(path), "w", options=options or {}) as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height = size
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        audio = container.add_stream(sound, rate=rate) if sound else None
        if audio is not None:
            audio.layout = "mono"
        for index in range(n_frames):
            image = np.full((size[1], size[0], 3), 90 + index % 40, np.uint8)
            image[: size[1] // 4, : size[0] // 4] = (250, 20, 20)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = (
                round(1000 * (times[index] if times is not None else index / 25)),
                Fraction(1, 1000),
            )
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            hum = (8000 * np.sin(np.arange(rate * n_frames // 25) / 10)).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(hum[None], format="s16", layout="mono")
            frame.rate, frame.pts = rate, 0
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path


def boxes_for(path, n_frames, box=(10, 8, 40, 38), every=1):
    boxes = np.full((n_frames, 4), np.nan)
    boxes[::every] = box
    np.save(path, boxes)
    return f"--bboxes={path}"


# -- what it gives -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rwr", ["true", "false"])
def test_landmarks_agree_with_the_evaluation(rwr, predict, run_script, tmp_path):
    id, n_frames = "portrait-pan", 12
    root = first_frames(bundled.WFLW_V, tmp_path / "WFLW_V", {id: n_frames})
    evaluation = [f"--WFLW_V_dataset_path={root}", "--WFLW_V_split=easy", f"--rwr={rwr}"]
    assert run_script(test_LDEQ_WFLW_V.main, *evaluation, f"--output_dir={tmp_path / 'evaluation'}")[0] == 0
    boxes = f"--bboxes={root / 'bboxes' / f'{id}.npy'}"
    video = root / "videos" / f"{id}.mp4"
    assert predict(video, boxes, f"--rwr={rwr}", "--rwr_max_iters=1", "--runtime=torch")[0] == 0
    found, expected = landmarks(tmp_path / "out"), np.load(tmp_path / "evaluation" / "predictions" / f"{id}.npy")
    assert found["frame"].tolist() == list(range(n_frames))
    assert expected.dtype == found["landmarks"].dtype == np.float64, "float32 is coarser than 1e-4 pixels on HD"
    assert np.abs(found["landmarks"] - expected).max() < 1e-4


def test_a_portrait(predict, tmp_path, monkeypatch):
    """A zoom, shift and turn over the bundled portrait, from detection to the files; the network makes no error."""
    scene = Scene(lambda t: [view(300 + 3 * t, 180, 150 + 2 * t, roll=t)], size=(640, 360))
    writer = VideoWriter(tmp_path / "clip.mp4", 25)
    for t in range(8):
        writer.write(scene.frame(t)[0])
    writer.close()
    oracle = Oracle(scene)
    oracle.t, oracle.tally = -1, SolverTally()

    class Watched(CenterFaceDetector):
        def detect(self, image):
            oracle.t += 1
            return super().detect(image)

    monkeypatch.setattr("ldeq.face.detectors.CenterFaceDetector", Watched)
    monkeypatch.setattr("ldeq.runtime.network.StepNetwork.landmarker", lambda *arguments, **options: oracle)
    status, out, err = predict(tmp_path / "clip.mp4", "--detect_every=1", "--side_by_side")
    assert (status, err) == (0, "")
    folder = tmp_path / "out"
    found = landmarks(folder)
    assert found["frame"].tolist() == list(range(8))
    assert set(found["face_id"]) == {1}
    assert found["time"] == pytest.approx(np.arange(8) / 25)
    assert found["landmarks"].shape == found["landmarks_frame_by_frame"].shape == (8, 98, 2)
    assert found["uncertainty"].shape == found["uncertainty_frame_by_frame"].shape == (8, 98)
    truth = np.array([scene.truths(t)[0] for t in range(8)])
    assert np.abs(found["landmarks"] - truth).max() < 0.5
    assert found["restarted"].tolist() == [True] + [False] * 7

    with open(folder / "landmarks.csv", newline="") as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == 8
    for index, row in enumerate(rows):
        assert (int(row["frame"]), int(row["face_id"])) == (index, 1)
        points = np.array([[row[f"x{k}"], row[f"y{k}"]] for k in range(98)], dtype=np.float64)
        assert points == pytest.approx(found["landmarks"][index], abs=5.1e-4), "three decimals"
        spreads = np.array([row[f"u{k}"] for k in range(98)], dtype=np.float32)
        assert spreads == pytest.approx(found["uncertainty"][index], abs=1e-6)
        assert float(row["uncertainty"]) == pytest.approx(found["uncertainty"][index].mean(), abs=1e-6)
        assert [float(row[f"bbox_{side}"]) for side in ("x1", "y1", "x2", "y2")] == pytest.approx(
            found["bbox"][index], abs=5.1e-4
        )
    times, images = frames_of(folder / "video.mp4")
    assert times == pytest.approx(np.arange(8) / 25, abs=1e-3)
    assert images[0].shape == (360, 1280, 3)
    assert Image.open(folder / "plot.png").width > 300
    run = json.loads((folder / "run.json").read_text())
    assert run["n_frames"] == run["n_frames_with_faces"] == 8
    assert run["faces"]["RwR"]["1"]["n_frames"] == 8
    assert run["config"]["rwr"] is True
    assert "frame by frame" in out


def test_drawn_landmarks_are_where_they_should_be(predict, tmp_path):
    from ldeq.drawing import FACE_COLOURS

    video = make_video(tmp_path / "grey.mp4", 3, (160, 120))
    assert predict(video, boxes_for(tmp_path / "b.npy", 3, (50, 30, 130, 110)))[0] == 0
    points = landmarks(tmp_path / "out")["landmarks"][1]
    columns, rows = np.clip(points.round().astype(int), 0, (159, 119)).T
    _, images = frames_of(tmp_path / "out" / "video.mp4")
    assert np.median(np.abs(images[1][rows, columns].astype(int) - FACE_COLOURS[0]).mean(axis=1)) < 90


def test_boxes_of_an_earlier_run(predict, tmp_path):
    video = make_video(tmp_path / "clip.mp4", 4)
    boxes = np.full((4, 2, 4), np.nan)
    boxes[:, 0] = (5, 5, 30, 30)
    boxes[1:3, 1] = (20.25, 10, 55.75, 40)
    np.save(tmp_path / "b.npy", boxes)
    predict(video, f"--bboxes={tmp_path / 'b.npy'}", out="a")
    predict(video, f"--bboxes={tmp_path / 'a' / 'landmarks.npz'}", out="b")
    a, b = landmarks(tmp_path / "a"), landmarks(tmp_path / "b")
    assert a["face_id"].tolist() == [1, 1, 2, 1, 2, 1]
    for name in a:
        assert np.array_equal(a[name], b[name])


def test_boxes_of_an_earlier_run_keep_faces_ids_however_many_there_were(predict, tmp_path):
    video = make_video(tmp_path / "clip.mp4", 3)
    box = np.array([[5.0, 5, 30, 30], [20, 10, 50, 40]])
    np.savez(tmp_path / "b.npz", frame=[0, 2], face_id=[2**31 - 1, 7], bbox=box)
    predict(video, f"--bboxes={tmp_path / 'b.npz'}")
    found = landmarks(tmp_path / "out")
    assert (found["frame"].tolist(), found["face_id"].tolist()) == ([0, 2], [2**31 - 1, 7])
    assert np.array_equal(found["bbox"], box)


def test_boxes_go_by_the_image_that_they_are_of(predict, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(4):
        Image.new("RGB", SMALL, (50 * number,) * 3).save(folder / f"{number}.png")
    (folder / "1.png").write_text("no image")
    boxes = np.add.outer(np.arange(4.0), [5, 5, 30, 30])
    np.save(tmp_path / "b.npy", boxes)
    status, out, _ = predict(folder, f"--bboxes={tmp_path / 'b.npy'}")
    assert status == 0
    assert "has boxes for" not in out
    found = landmarks(tmp_path / "out")
    assert found["frame"].tolist() == [0, 2, 3]
    assert np.array_equal(found["bbox"], boxes[[0, 2, 3]])


def test_verbose_solver(predict, tmp_path):
    video = make_video(tmp_path / "clip.mp4", 2)
    _, out, _ = predict(video, boxes_for(tmp_path / "b.npy", 2), "--verbose_solver", ANDERSON)
    assert out.count("solver: iterations [1]") == 2
    _, out, _ = predict(
        video, boxes_for(tmp_path / "b.npy", 2), "--verbose_solver", "--full_first_solve=true", ANDERSON
    )
    assert out.count("solver: iterations [1]") == 1, "a full solve, and one that goes on"


def test_no_face(predict, tmp_path):
    video = make_video(tmp_path / "empty.mp4", 10, sound="aac")
    status, out, err = predict(video)
    assert (status, err) == (0, "")
    assert f"{video}: no face was found" in out
    folder = tmp_path / "out"
    assert len((folder / "landmarks.csv").read_text().splitlines()) == 1
    assert landmarks(folder)["landmarks"].shape == (0, 98, 2)
    assert len(frames_of(folder / "video.mp4")[0]) == 10
    assert (folder / "plot.png").is_file()
    assert json.loads((folder / "run.json").read_text())["faces"] == {"RwR": {}}


# -- inputs ------------------------------------------------------------------------------------------------------------


def test_variable_frame_rate_and_sound(predict, tmp_path):
    times = np.cumsum([0.0, *np.random.default_rng(0).integers(10, 150, 19)]) / 1000 * 1.0
    video = make_video(tmp_path / "vfr.mp4", 20, sound="aac", times=times)
    status, *_ = predict(video, boxes_for(tmp_path / "b.npy", 20, every=7))
    assert status == 0
    assert frames_of(tmp_path / "out" / "video.mp4")[0] == pytest.approx(times, abs=1e-4)
    assert landmarks(tmp_path / "out")["time"] == pytest.approx(times[::7], abs=1e-4)
    packets = []
    for path in (video, tmp_path / "out" / "video.mp4"):
        with av.open(str(path)) as container:
            packets.append([(float(p.pts * p.time_base), bytes(p)) for p in container.demux(audio=0) if p.size])
    assert packets[0] == packets[1], "copied, not encoded again"


@pytest.mark.parametrize(
    ("sound", "rate", "copied"),
    [("pcm_s16le", 16000, False), ("libmp3lame", 16000, True), ("libmp3lame", 11025, False)],
)
def test_sound_of_other_codecs(sound, rate, copied, predict, tmp_path):
    video = make_video(tmp_path / "clip.mkv", 25, sound=sound, rate=rate)
    assert predict(video)[0] == 0
    with av.open(str(tmp_path / "out" / "video.mp4")) as container:
        assert container.streams.audio[0].codec_context.name == ("mp3float" if copied else "aac")
        heard = np.concatenate([f.to_ndarray().mean(axis=0) for f in container.decode(audio=0)])
    assert 0.95 < len(heard) / rate < 1.25
    assert np.abs(heard).max() > 0.1
    assert json.loads((tmp_path / "out" / "run.json").read_text())["sound"]["copied"] is copied


def test_sound_that_cannot_be_read_is_left_out(predict, tmp_path, monkeypatch):
    video = make_video(tmp_path / "clip.mp4", 5, sound="aac")
    monkeypatch.setattr("ldeq.video.sound._is_known", lambda codec: False)
    status, out, _ = predict(video)
    assert status == 0
    assert "its sound cannot be read and is left out" in " ".join(out.split())
    assert len(frames_of(tmp_path / "out" / "video.mp4")[0]) == 5


def test_a_turned_video_is_shown_upright(predict, tmp_path):
    video = make_video(tmp_path / "turned.mp4", 3, (64, 32))
    content = bytearray(video.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40
    content[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 32 << 16, 0, 1 << 30)
    video.write_bytes(content)
    assert predict(video)[0] == 0
    _, images = frames_of(tmp_path / "out" / "video.mp4")
    assert images[0].shape == (64, 32, 3)
    red = images[0][..., 0].astype(int) - images[0][..., 1]
    assert red[2:10, -6:-2].min() > 100, "a quarter turn to the right takes the upper left corner to the upper right"
    assert red[2:10, 2:6].max() < 50


def test_a_folder_of_images(predict, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number, shade in ((10, 200), (2, 100), (1, 50)):
        Image.new("RGB", (64, 48), (shade,) * 3).save(folder / f"shot {number}.png")
    Image.new("RGB", (48, 48), (250,) * 3).save(folder / "shot 11.JPG")
    (folder / "shot 3.png").write_text("no image")
    (folder / "notes.txt").write_text("no image either")
    status, out, _ = predict(folder, "--fps=10")
    assert status == 0
    assert "shot 3.png cannot be read" in out
    times, images = frames_of(tmp_path / "out" / "video.mp4")
    assert times == pytest.approx([0, 0.1, 0.3, 0.4], abs=1e-3)
    assert [int(image[24, 32, 0]) for image in images] == pytest.approx([50, 100, 200, 250], abs=6)
    assert images[3][24, 1].max() < 20, "another size is fitted in"
    assert sorted(["a10", "a9", "A1", "b"], key=natural_key) == ["A1", "a9", "a10", "b"]


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ("missing", "no such file"),
        ("empty", "cannot be decoded"),
        ("text", "cannot be decoded"),
        ("truncated", "decoded"),
    ],
)
def test_what_is_no_video(how, named, predict, tmp_path):
    video = make_video(tmp_path / "clip.mp4", 10)
    damaged_video(video, how)
    assert_refused(predict(video), video, named, "expected")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("how", ["cut off", "damaged within"])
def test_what_can_be_decoded_is_kept(how, predict, tmp_path):
    video = make_video(tmp_path / "clip.mp4", 500, sound="aac", options={"movflags": "+faststart"})
    content = bytearray(video.read_bytes())
    if how == "cut off":
        del content[len(content) * 7 // 10 :]
    else:
        middle = len(content) // 2
        content[middle : middle + 8000] = np.random.default_rng(0).bytes(8000)
    video.write_bytes(content)
    status, out, err = predict(video)
    assert (status, err) == (0, "")
    (said,) = re.findall(r"is damaged.*?(\d+) of its 500 frames could be decoded", out)
    times, _ = frames_of(tmp_path / "out" / "video.mp4")
    assert 100 < len(times) == int(said) < 500
    assert json.loads((tmp_path / "out" / "run.json").read_text())["warnings"]


def test_a_camera(predict, tmp_path, monkeypatch):
    class Capture:
        def __init__(self, number):
            self.left = 5 if number == 0 else -1

        def isOpened(self):
            return self.left >= 0

        def read(self):
            self.left -= 1
            time.sleep(0.01)
            return self.left >= 0, np.full((48, 64, 3), 90, np.uint8)

        def set(self, *_):
            return True

        def get(self, _):
            return 30.0

        def release(self):
            pass

    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    status, out, _ = predict(0)
    assert status == 0
    assert "camera 0: stopped giving images" in out
    times, _ = frames_of(tmp_path / "out" / "video.mp4")
    assert len(times) == 5
    assert times[0] == 0
    assert np.diff(times).min() > 0.009
    assert_refused(predict(3), "camera 3: cannot be opened")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--bboxes=/nowhere.npy"], "/nowhere.npy: no such file"),
        (["--bboxes=README.md"], "README.md: cannot be read"),
        (["--yunet_model=/nowhere.onnx"], "/nowhere.onnx: no such file"),
        (["--yunet_model=README.md"], "README.md: cannot be read, expected YuNet's model"),
        (["--max_uncertainty=2"], "'2' is not a number from 0 to 1"),
        (["--fps=0"], "--fps"),
        (["--max_faces=0"], "--max_faces"),
        (["--side_by_side", "--no-rwr"], "--side_by_side"),
        (["--output_dir=README.md"], "README.md"),
    ],
)
def test_flags(arguments, named, predict, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    assert_refused(predict(PAN, *arguments), named)


def test_what_is_given_is_not_overwritten(predict, tmp_path):
    clips = tmp_path / "clips"
    clips.mkdir()
    video = make_video(clips / "video.mp4", 2)
    np.savez(clips / "landmarks.npz", frame=0)
    Image.new("RGB", SMALL).save(clips / "1.png")
    before = {path: path.read_bytes() for path in clips.iterdir()}
    (tmp_path / "alias").symlink_to(clips)
    for out in ("clips", "alias"):
        assert_refused(predict(video, out=out), video, "--output_dir")
        assert_refused(predict(PAN, f"--bboxes={clips / 'landmarks.npz'}", out=out), "landmarks.npz", "--output_dir")
        assert_refused(predict(clips, out=out), out, "--output_dir")
    assert {path: path.read_bytes() for path in clips.iterdir()} == before


def test_boxes_that_are_none(predict, tmp_path):
    video = make_video(tmp_path / "clip.mp4", 3)
    path = tmp_path / "b.npy"
    for boxes, named in (
        (np.zeros((3, 3)), r"\(3, 3\)"),
        (np.zeros((3, 4)), "frame 0 lacks a box"),
        (np.array([[1, 1, 9, 9], [1, 1, 9, 9], [1, 1, np.inf, 9]]), "frame 2 lacks a box"),
    ):
        np.save(path, boxes)
        assert re.search(named, assert_refused(predict(video, f"--bboxes={path}"), path))
    table = {"frame": [0, 1], "face_id": [1, 1], "bbox": [[1, 1, 9, 9], [1, 1, 9, 9]]}
    for wrong in (
        {"frame": [0]},
        {"frame": [0, -1]},
        {"face_id": [1, 0]},
        {"face_id": [1, 1.5]},
        {"bbox": [[1, 1, 9, 9]]},
        {"bbox": [1, 1]},
        {"bbox": [[1, 1, 9], [1, 1, 9]]},
        {"bbox": [[1, 1, 9, 9], [1, 1, np.nan, 9]]},
    ):
        other = tmp_path / "b.npz"
        np.savez(other, **{**table, **wrong})
        assert_refused(predict(video, f"--bboxes={other}"), other)
    boxes_for(path, 5)
    assert "has boxes for 5 frames, and the video has 3" in predict(video, f"--bboxes={path}")[1]


# -- several inputs, images, smoothing, layouts ------------------------------------------------------------------------


def test_several_inputs_in_a_folder_each(run_script, tmp_path):
    first = make_video(tmp_path / "clip.mp4", 3)
    (tmp_path / "other").mkdir()
    second = make_video(tmp_path / "other" / "clip.mp4", 2)
    out = tmp_path / "out"
    status, shown, err = run_script(predict_video.main, first, second, f"--output_dir={out}")
    assert (status, err) == (0, "")
    assert shown.count("weights  ") == 1, "one network for all"
    assert sorted(path.name for path in out.iterdir()) == ["clip", "clip.2"]
    for name, n_frames in (("clip", 3), ("clip.2", 2)):
        assert len(frames_of(out / name / "video.mp4")[0]) == n_frames
        assert json.loads((out / name / "run.json").read_text())["n_frames"] == n_frames


def test_an_input_that_cannot_be_used_takes_nothing_from_the_others(run_script, tmp_path):
    video = make_video(tmp_path / "clip.mp4", 3)
    (tmp_path / "broken.mp4").write_text("no video")
    out = tmp_path / "out"
    inputs = (tmp_path / "broken.mp4", tmp_path / "nowhere.mp4", video)
    status, shown, err = run_script(predict_video.main, *inputs, f"--output_dir={out}")
    assert status == 2
    assert "Traceback" not in err
    for name in ("broken.mp4", "nowhere.mp4"):
        assert name in err
    assert "1 of 3 inputs are done" in shown
    assert (out / "clip" / "run.json").is_file()
    assert not (out / "broken").exists()


def test_patterns_that_the_shell_has_left(run_script, tmp_path):
    for name in ("b 2.mp4", "a 1.mp4"):
        make_video(tmp_path / name, 2)
    assert run_script(predict_video.main, tmp_path / "*.mp4", f"--output_dir={tmp_path / 'out'}")[0] == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a 1", "b 2"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--smooth", "clip.mp4"], ("savitzky-golay", False, ["clip.mp4"])),
        (["--smooth", "median", "clip.mp4"], ("median", False, ["clip.mp4"])),
        (["--side_by_side", "a/clip", "--smooth"], ("savitzky-golay", True, ["a/clip"])),
        (["--side_by_side", "false", "clip.mp4", "--smooth=kalman"], ("kalman", False, ["clip.mp4"])),
    ],
)
def test_flags_with_an_optional_value_leave_files_alone(words, expected):
    flags = prediction.make_parser().parse(words)
    assert (flags.smooth, flags.side_by_side, flags.inputs) == expected


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "there is no input"),
        (["https://example.org/watch?v=1"], "download it first"),
        (["http://example.org/a.mp4"], "download it first"),
        (["a.mp4", "b.mp4", "--bboxes=b.npy"], "--bboxes"),
        (["a.mp4", "--format=openface"], "--points 68"),
        (["a.mp4", "--points=5"], "--points"),
        (["a.mp4", "--smooth=sand"], "--smooth"),
    ],
)
def test_flags_that_cannot_be_used(arguments, named, run_script):
    assert_refused(run_script(predict_video.main, *arguments), named)


def test_a_single_image(predict, tmp_path):
    with VideoReader(PAN) as video:
        image = next(iter(video))
    Image.fromarray(image).save(tmp_path / "face.png")
    status, _, err = predict(tmp_path / "face.png", "--smooth")
    assert (status, err) == (0, "")
    folder = tmp_path / "out"
    written = ["image.png", "landmarks.csv", "landmarks.npz", "plot.png", "run.json"]
    assert sorted(path.name for path in folder.iterdir()) == written
    drawn = np.asarray(Image.open(folder / "image.png"))
    assert drawn.shape == image.shape
    assert 100 < (drawn != image).any(axis=-1).sum() < image[..., 0].size / 10
    truth = np.load(bundled.WFLW_V / "landmarks" / "portrait-pan.npy")[0]
    assert np.abs(landmarks(folder)["landmarks"][0] - truth).mean() < 5


def test_68_points_and_openfaces_columns(predict, tmp_path):
    video = make_video(tmp_path / "clip.mp4", 3)
    boxes = boxes_for(tmp_path / "b.npy", 3)
    assert predict(video, boxes, out="98")[0] == 0
    status, out, _ = predict(video, boxes, "--points=68", "--format=openface", out="68")
    assert status == 0
    assert "approximate" in out
    chosen = landmarks(tmp_path / "98")["landmarks"][:, list(IBUG68)]
    assert np.array_equal(landmarks(tmp_path / "68")["landmarks"], chosen)
    with open(tmp_path / "68" / "landmarks.csv", newline="") as table:
        rows = list(csv.DictReader(table))
    assert list(rows[0])[:6] == ["frame", "face_id", "timestamp", "confidence", "success", "x_0"]
    assert [float(rows[1][f"y_{k}"]) for k in range(68)] == pytest.approx(chosen[1, :, 1], abs=5.1e-4)
    assert json.loads((tmp_path / "68" / "run.json").read_text())["points_are_approximate"] is True


@pytest.mark.parametrize("more", [[], ["--side_by_side"]])
def test_smoothing_finished_tracks(more, predict, tmp_path):
    video = make_video(tmp_path / "clip.mp4", 12, sound="aac")
    boxes = boxes_for(tmp_path / "b.npy", 12)
    array = np.load(tmp_path / "b.npy")
    array[6] = np.nan  # a gap: two tracks
    array[:, :2] += np.random.default_rng(0).integers(0, 4, (12, 2))
    np.save(tmp_path / "b.npy", array)
    assert predict(video, boxes, *more, out="plain")[0] == 0
    assert predict(video, boxes, "--smooth", *more, out="smooth")[0] == 0
    plain, smoothed = landmarks(tmp_path / "plain"), landmarks(tmp_path / "smooth")
    assert np.array_equal(smoothed["landmarks_unsmoothed"], plain["landmarks"])
    for part in (slice(0, 6), slice(6, 11)):
        assert np.array_equal(smoothed["landmarks"][part], smooth(plain["landmarks"][part]))
    assert not np.array_equal(smoothed["landmarks"], plain["landmarks"])
    times, images = frames_of(tmp_path / "smooth" / "video.mp4")
    assert times == pytest.approx(np.arange(12) / 25, abs=1e-3)
    assert images[0].shape[1] == SMALL[0] * (1 + len(more))
    with av.open(str(tmp_path / "smooth" / "video.mp4")) as container:
        assert len(container.streams.audio) == 1
    faces = json.loads((tmp_path / "smooth" / "run.json").read_text())["faces"]
    assert list(faces)[:2] == ["RwR, savitzky-golay", "RwR"]
    assert faces["RwR, savitzky-golay"]["1"]["jitter"] < faces["RwR"]["1"]["jitter"]
    drawn, _ = frames_of(tmp_path / "plain" / "video.mp4")
    assert drawn == pytest.approx(times)


# -- detectors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("detector", [CenterFaceDetector, DlibDetector])
def test_detectors_give_the_boxes_of_landmarks(detector):
    with VideoReader(PAN) as video:
        (box,) = detector().detect(next(iter(video)))
    points = np.load(bundled.WFLW_V / "landmarks" / "portrait-pan.npy")[0]
    assert np.abs(box - [*points.min(axis=0), *points.max(axis=0)]).max() < 0.12 * np.ptp(points, axis=0).max()


def test_dlibs_detector_is_the_same_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LDEQ_HOME", str(tmp_path / "cache"))
    with VideoReader(PAN) as video:
        image = next(iter(video))
    expected = dlib.get_frontal_face_detector().run(image, 1, -1.0)
    for content in (None, None, b"no detector", None):  # written, read, damaged and written anew, read
        (cached,) = (tmp_path / "cache").glob("dlib-*.svm") if content is not None else (None,)
        if cached is not None:
            cached.write_bytes(content)
        monkeypatch.setattr("ldeq.face.detectors._OF_THREAD", threading.local())
        found = DlibDetector()._detector.run(image, 1, -1.0)
        assert [str(box) for box in found[0]] == [str(box) for box in expected[0]]
        assert list(found[1]) == list(expected[1])
        assert len(list((tmp_path / "cache").iterdir())) == 1
    monkeypatch.setenv("LDEQ_HOME", "/proc/nowhere")
    monkeypatch.setattr("ldeq.face.detectors._OF_THREAD", threading.local())
    assert len(DlibDetector().detect(image)) == 1


# CenterFace cuts off the forehead, which is not there.
@pytest.mark.parametrize(("kind", "tolerance"), [(CenterFaceDetector, 0.4), (DlibDetector, 0.2)])
def test_detectors_find_a_face_that_the_image_cuts_off(kind, tolerance):
    with VideoReader(PAN) as video:
        image = next(iter(video))
    points = np.load(bundled.WFLW_V / "landmarks" / "portrait-pan.npy")[0]
    (left, top), (right, bottom) = points.min(axis=0).astype(int), points.max(axis=0).astype(int)
    detector = kind()
    cut = (bottom - top) // 5
    (box,) = detector.detect(np.ascontiguousarray(image[top + cut : bottom, left:right]))
    assert np.abs(box - [0, -cut, right - left, bottom - top - cut]).max() < tolerance * (bottom - top)
    empty = np.full((90, 160, 3), 90, np.uint8)
    assert [detector.detect(empty).shape for _ in range(3)] == [(0, 4)] * 3


def test_yunet(tmp_path):
    (tmp_path / "yunet.onnx").write_bytes(fake_yunet.model())
    image = np.zeros((360, 640, 3), np.uint8)
    image[64:96, 128:160] = 255
    detector = YuNetDetector(tmp_path / "yunet.onnx", side=640)
    (box,) = detector.detect(image)
    width, height = 32 * np.exp(fake_yunet.BOX)
    assert (box[2] - box[0], box[3]) == pytest.approx((width, 64 + height / 2), rel=0.02)
    assert box[3] - box[1] == pytest.approx((1 - YuNetDetector.FOREHEAD) * height, rel=0.02)
    assert detector.detect(np.zeros((100, 50, 3), np.uint8)).shape == (0, 4)


def test_fetching_yunet(tmp_path):
    content = fake_yunet.model()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/yunet.onnx"
        path = fetch_yunet(url, sha256(content).hexdigest(), tmp_path / "cache")
        with pytest.raises(InputError, match="another file"):
            fetch_yunet(url, "0" * 64, tmp_path / "other")
        server.shutdown()
    assert path.read_bytes() == content
    assert fetch_yunet(url, sha256(content).hexdigest(), tmp_path / "cache") == path, "it is there already"
    assert not (tmp_path / "other").exists()
    with pytest.raises(InputError, match="cannot be downloaded"):
        fetch_yunet(url, "0" * 64, tmp_path / "other")


# -- what is measured --------------------------------------------------------------------------------------------------


def test_steady_motion_is_not_unsteady():
    times = np.array([0.0, 0.1, 0.15, 0.4, 0.5])
    face = np.random.default_rng(0).uniform(0, 100, (98, 2))
    moving = face + times[:, None, None] * (300, -80)
    assert frame_jitter(moving, times)[1:-1] == pytest.approx(0, abs=1e-9)
    moving[2] += 1
    assert frame_jitter(moving, times)[2] > 100
    assert np.isnan(frame_jitter(moving, times)[[0, -1]]).all()


# -- long runs and interrupted ones ------------------------------------------------------------------------------------


def child(*arguments):
    return [sys.executable, str(REPOSITORY / "predict_video.py"), *map(str, arguments)]


def test_ctrl_c_leaves_files_that_are_whole(tmp_path):
    video = make_video(tmp_path / "long.mp4", 3000, sound="aac")
    out = tmp_path / "out"
    flags = [f"--input={video}", f"--output_dir={out}", boxes_for(tmp_path / "b.npy", 3000, every=5)]
    process = subprocess.Popen(child(*flags), stderr=subprocess.PIPE, text=True, preexec_fn=with_ctrl_c)
    deadline = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline:
        unfinished = list(out.glob(".video.*")) if out.is_dir() else []
        if any(path.stat().st_size > 20_000 for path in unfinished):
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    (said,) = re.findall(r"interrupted: the first (\d+) frames are done", err)
    times, _ = frames_of(out / "video.mp4")
    assert 5 < len(times) == int(said) < 3000
    with av.open(str(out / "video.mp4")) as container:
        heard = sum(frame.samples for frame in container.decode(audio=0)) / 16000
    assert heard == pytest.approx(len(times) / 25, abs=0.2)
    assert landmarks(out)["frame"].tolist() == list(range(0, len(times), 5))
    assert json.loads((out / "run.json").read_text())["stopped"] == "interrupted"
    assert sorted(path.name for path in out.iterdir()) == [
        "landmarks.csv",
        "landmarks.npz",
        "plot.png",
        "run.json",
        "video.mp4",
    ]


@pytest.mark.parametrize("while_in", ["ldeq.prediction.write_npz_table", "utils.visualization.figures.save"])
def test_ctrl_c_while_finishing_loses_nothing(while_in, predict, tmp_path, monkeypatch):
    owner, name = while_in.rsplit(".", 1)
    finish = pkgutil.resolve_name(while_in)

    def interrupted(*arguments):
        signal.raise_signal(signal.SIGINT)
        return finish(*arguments)

    monkeypatch.setattr(pkgutil.resolve_name(owner), name, interrupted)
    status, _, err = predict(make_video(tmp_path / "clip.mp4", 3))
    assert status == 130
    assert "all 3 frames are done" in err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(set(prediction.WRITTEN) - {"image.png"})


def test_a_disk_that_fills_up_ends_the_run(predict, tmp_path, monkeypatch):
    """Frames are encoded in the background: what goes wrong there is said as if it had gone wrong here."""
    calls = []
    write = VideoWriter.write

    def full(self, frame, time=None):
        calls.append(time)
        if len(calls) == 3:
            with self._unwritten_on_error():
                raise OSError(28, "No space left on device")
        write(self, frame, time)

    monkeypatch.setattr(VideoWriter, "write", full)
    video = make_video(tmp_path / "clip.mp4", 60)
    assert_refused(predict(video, boxes_for(tmp_path / "b.npy", 60)), "video.mp4: cannot be written", "No space left")
    assert len(calls) == 3, "nothing is written behind a frame that is lost"
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_what_surrounds_the_network_is_measured(run_script):
    status, out, err = run_script(video_benchmark.main, "--frames=3", "--width=240")
    assert (status, err) == (0, "")
    assert "240x180, 3 frames" in out
    parts = dict(re.findall(r"│ ([a-z, A-Z]+?) +│ +([\d.]+) │\n", out))
    assert set(parts) == {
        *("decoding, to RGB", "shot changes", "detection", "detection, closely", "cropping", "drawing", "tables"),
        "encoding",
    }
    encoders = re.findall(r"│ (\w+), CRF (\d+) +│ +[\d.]+ │ +([\d.]+) │ +([\d.]+) │ +([\d.]+) │", out)
    sizes = {(preset, int(crf)): float(size) for preset, crf, size, *_ in encoders}
    assert sizes["superfast", 20] > sizes["superfast", 21] > sizes["superfast", 22] > 0
    assert all(25 < float(psnr) < 60 and 0.7 < float(ssim) < 1 for *_, psnr, ssim in encoders)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_video(tmp_path):
    """A video, and one that is five times as long, one after the other in a process of their own."""
    measured = "import resource, sys, predict_video\n"
    lengths = (50, 250)
    for n_frames in lengths:
        video = make_video(tmp_path / f"{n_frames}.mp4", n_frames, size=(640, 360), sound="aac")
        boxes = boxes_for(tmp_path / f"{n_frames}.npy", n_frames, every=25)
        flags = [f"--input={video}", boxes, f"--output_dir={tmp_path / str(n_frames)}"]
        measured += f"predict_video.main({flags})\n"
        measured += "print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    done = subprocess.run([sys.executable, "-c", measured], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    for n_frames in lengths:
        assert len(landmarks(tmp_path / str(n_frames))["frame"]) == n_frames // 25
    first, second = (int(peak) / 1024 for peak in re.findall(r"peak (\d+)", done.stdout))
    # Held whole, 200 frames more would be 132 MiB more; plots and tables at the end take some, and never the same.
    assert second - first < 50, "MiB"


def test_a_source_by_its_name(tmp_path):
    with open_source(str(PAN)) as source:
        assert source.n_frames == 60
        assert source.fps == 25
    with pytest.raises(InputError, match="has no image"):
        open_source(tmp_path)
