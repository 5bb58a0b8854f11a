"""The two scripts as their users run them: reports, batch invariance, resuming, and every way to get input wrong."""

import argparse
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path, PurePosixPath

import av
import numpy as np
import pytest
import torch
from PIL import Image

import test_LDEQ_WFLW
import test_LDEQ_WFLW_V
import train_LDEQ
from ldeq import LDEQ, predict, pretrained
from tests.conftest import GOLDEN, assert_refused, first_frames
from tests.test_datasets import DAMAGES, damaged_video
from utils import bundled

REPOSITORY = Path(__file__).resolve().parent.parent
ANDERSON = f"--landmark_model_weights={GOLDEN / 'anderson.pth.tar'}"


def results(folder):
    return json.loads((folder / "results.json").read_text())


def rows(folder, name="results.csv"):
    with open(folder / name, newline="") as table:
        return list(csv.DictReader(table))


@pytest.fixture
def wflw_run(run_script, tmp_path):
    def run_it(*arguments, out="out"):
        return run_script(test_LDEQ_WFLW.main, "--workers=0", f"--output_dir={tmp_path / out}", *arguments)

    return run_it


@pytest.fixture
def video_run(run_script, tmp_path):
    def run_it(*arguments, out="out"):
        return run_script(test_LDEQ_WFLW_V.main, ANDERSON, f"--output_dir={tmp_path / out}", *arguments)

    return run_it


# -- WFLW --------------------------------------------------------------------------------------------------------------


def test_wflw_without_arguments_has_the_bundled_weights(wflw_run, tmp_path):
    status, out, err = wflw_run()
    assert (status, err) == (0, "")
    assert pretrained.BUNDLED_NOTE in out
    assert "assets/WFLW" in out
    assert "3.92" not in out, "the paper's figure stands beside ours only where the data are the paper's"
    folder = tmp_path / "out"
    found = results(folder)
    assert found["weights"].endswith("synthetic.pth.tar")
    assert found["config"]["model"]["im_size"] == 256
    assert found["splits"]["test"]["NME"] < 8
    assert found["environment"]["torch"] == torch.__version__
    assert [row["split"] for row in rows(folder)] == list(found["splits"]) == list(test_LDEQ_WFLW.SPLITS)
    for row in rows(folder):
        figures = found["splits"][row["split"]]
        assert {name: float(row[name]) for name in figures} == figures
    for name in ("cumulative_error.png", *(f"worst_{split}.png" for split in found["splits"])):
        assert Image.open(folder / name).width > 300
    assert len(rows(folder, "images.csv")) == sum(figures["n_images"] for figures in found["splits"].values())
    with np.load(folder / "predictions.npz") as predictions:
        assert predictions["test"].shape == (18, 98, 2)


@pytest.mark.usefixtures("no_plots")
def test_splits_and_worker_processes(wflw_run, tmp_path):
    wflw_run("--split", "test_blur", "test", "--workers=2", "--batch_size=4", out="a")
    wflw_run("--split=test", "--batch_size=1", out="b")
    a, b = results(tmp_path / "a")["splits"], results(tmp_path / "b")["splits"]
    assert list(a) == ["test_blur", "test"]
    assert list(b) == ["test"]
    assert a["test"]["NME"] == pytest.approx(b["test"]["NME"], rel=1e-5)


def test_images_are_not_held_in_memory(wflw_run, monkeypatch):
    """A data set makes its items when they are asked for, and no more than a batch of them is alive."""
    from datasets.wflw import precropped

    read = []
    monkeypatch.setattr(
        precropped, "read_crop", lambda path, real=precropped.read_crop: read.append(path) or real(path)
    )
    dataset = precropped.WFLWDataset(bundled.WFLW, "test")
    assert not read
    dataset[0]
    assert len(read) == 1


@pytest.mark.usefixtures("no_plots")
def test_verbose_solver_and_summary(wflw_run):
    _, out, err = wflw_run(ANDERSON, "--split=test", "--verbose_solver", "true", "--summary")
    assert "iterations [" in out + err
    assert "converged" in out + err
    assert "GFLOP" in out
    assert "Parameters in all: " in out


@pytest.mark.usefixtures("no_plots")
def test_batch_criterion(wflw_run, tmp_path):
    data = f"--dataset_path={GOLDEN / 'WFLW'}"
    wflw_run(ANDERSON, data, "--split=test", "--stop_criterion=batch", "--batch_size=1", out="one")
    wflw_run(ANDERSON, data, "--split=test", "--batch_size=1", out="sample")
    one, sample = (results(tmp_path / name)["splits"]["test"]["NME"] for name in ("one", "sample"))
    assert one == pytest.approx(sample, rel=1e-6)


def damage_list(wflw, how):
    path = wflw / "test.txt"
    lines = path.read_text().splitlines()
    if how == "missing list":
        path.unlink()
    elif how == "empty list":
        path.write_text("\n")
    elif how == "short line":
        lines[2] = " ".join(lines[2].split()[:-1])
    elif how == "long line":
        lines[2] += " 0.5"
    elif how == "word":
        lines[2] = lines[2].rsplit(" ", 1)[0] + " x"
    elif how == "nan":
        lines[2] = lines[2].rsplit(" ", 1)[0] + " nan"
    elif how == "no eye distance":
        words = lines[2].split()
        words[1 + 2 * 72 : 3 + 2 * 72] = words[1 + 2 * 60 : 3 + 2 * 60]
        lines[2] = " ".join(words)
    elif how == "binary":
        path.write_bytes(b"\xff\xfe\x00")
    if how not in ("missing list", "empty list", "binary"):
        path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ("missing list", "no such file"),
        ("empty list", "is empty"),
        ("short line", "line 3: has 195 numbers"),
        ("long line", "line 3: has 197 numbers"),
        ("word", "line 3: has 0 numbers"),
        ("nan", "line 3: a coordinate is not finite"),
        ("no eye distance", "line 3: landmarks 60 and 72 coincide"),
        ("binary", "cannot be read as text"),
    ],
)
def test_wflw_lists(how, named, wflw, wflw_run, tmp_path):
    path = damage_list(wflw, how)
    assert_refused(wflw_run(f"--dataset_path={wflw}"), path, named, "expected")
    assert not (tmp_path / "out" / "results.json").exists()


def test_missing_images_are_all_named(wflw, wflw_run):
    for name in ("1.jpg", "4.jpg"):
        (wflw / "test" / name).unlink()
    (wflw / "test_blur" / "0.jpg").unlink()
    missing = [wflw / "test" / "1.jpg", wflw / "test" / "4.jpg", wflw / "test_blur" / "0.jpg"]
    assert_refused(wflw_run(f"--dataset_path={wflw}"), *missing)


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_images_are_all_named(workers, wflw, wflw_run, tmp_path):
    (wflw / "test" / "1.jpg").write_text("<html>")
    content = (wflw / "test" / "4.jpg").read_bytes()
    (wflw / "test" / "4.jpg").write_bytes(content[: len(content) // 2])
    Image.new("RGB", (128, 128)).save(wflw / "test_blur" / "0.jpg")
    outcome = wflw_run(f"--dataset_path={wflw}", f"--workers={workers}", "--batch_size=2")
    images = [wflw / "test" / "1.jpg", wflw / "test" / "4.jpg", wflw / "test_blur" / "0.jpg"]
    assert_refused(outcome, *images, "cannot be read as an image", "128x128, expected a 256x256 crop")
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--batch_size=0"], "--batch_size: '0' is not a whole number of at least 1"),
        (["--batch_size=many"], "--batch_size"),
        (["--workers=-1"], "--workers"),
        (["--device=tpu"], "device 'tpu'"),
        (["--device=cuda:7"], "device 'cuda:7'"),
        (["--precision=fp8"], "--precision"),
        (["--stop_criterion=never"], "--stop_criterion"),
        (["--summary=perhaps"], "'perhaps' is neither true"),
        (["--split=train"], "train.txt: no such file"),
        (["--dataset_path=/nowhere"], "/nowhere: no such folder"),
        (["--landmark_model_weights=/nowhere.pth.tar"], "/nowhere.pth.tar: no such file"),
        (["--landmark_model_weights=README.md"], "README.md: cannot be read, expected a checkpoint"),
        (["--unknown"], "--unknown"),
        (["--output_dir=README.md"], "README.md"),
        (["--output_dir=/proc/nowhere"], "/proc/nowhere"),
    ],
)
def test_wflw_flags(arguments, named, wflw_run, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    assert_refused(wflw_run(*arguments), named)


def test_a_checkpoint_with_another_class(wflw_run, tmp_path):
    with torch.serialization.safe_globals([argparse.Namespace]):
        content = torch.load(GOLDEN / "fpi.pth.tar", weights_only=True)
    content["where"] = PurePosixPath("/tmp")
    torch.save(content, tmp_path / "other.pth.tar")
    weights = f"--landmark_model_weights={tmp_path / 'other.pth.tar'}"
    assert_refused(wflw_run(weights), "PurePosixPath", "--trust_pickle")
    assert wflw_run(weights, "--trust_pickle", "--split=test_blur")[0] == 0


def test_a_full_device_is_said(wflw_run, monkeypatch):
    def no_memory(*arguments, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(LDEQ, "forward", no_memory)
    assert_refused(wflw_run(), "memory is full", "expected a smaller batch")


def test_ctrl_c_is_said(wflw_run, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(LDEQ, "forward", interrupted)
    status, _, err = wflw_run()
    assert status == 130
    assert err.strip().endswith("interrupted")


# -- WFLW-V ------------------------------------------------------------------------------------------------------------


def test_wflw_v_report(video_run, tmp_path):
    ids = ["portrait-pan", "portrait-turn", "synthetic-easy-0"]
    data = f"--WFLW_V_dataset_path={first_frames(bundled.WFLW_V, tmp_path / 'data', dict.fromkeys(ids, 10))}"
    (tmp_path / "data" / "hard_video_IDs.txt").write_text("portrait-turn")
    (tmp_path / "data" / "easy_video_IDs.txt").write_text("synthetic-easy-0\nportrait-pan")
    status, out, err = video_run(data, "--WFLW_V_split=all", "--rwr", "yes", "--plot")
    assert status == 0, err
    folder = tmp_path / "out"
    found = results(folder)
    assert sorted(found["videos"]) == ids
    assert found["split"] == "all"
    assert found["skipped"] == {}
    assert list(found["videos"]) == [row["id"] for row in rows(folder)]
    for row in rows(folder):
        figures = found["videos"][row["id"]]
        assert {name: float(row[name]) for name in figures} == figures
    for figure in ("NME", "NMF"):
        assert found[figure] == pytest.approx(np.mean([video[figure] for video in found["videos"].values()]))
        assert f"{found[figure]:.3f}" in out
    for id, video in found["videos"].items():
        with av.open(str(folder / "videos" / f"{id}.mp4")) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == "h264"
            assert sum(1 for _ in container.decode(stream)) == video["n_frames"] == 10
        assert Image.open(folder / "frames" / f"{id}.png").width > 300
        assert np.load(folder / "predictions" / f"{id}.npy").shape == (10, 98, 2)
    for name in ("nme_nmf.png", "frames.png"):
        assert Image.open(folder / name).width > 300


@pytest.mark.usefixtures("no_plots")
def test_annotated_frames_show_truth_and_prediction(video_run, tmp_path):
    from ldeq.drawing import PREDICTION_COLOUR, TRUTH_COLOUR

    data = first_frames(bundled.WFLW_V, tmp_path / "data", {"portrait-pan": 10})
    video_run(f"--WFLW_V_dataset_path={data}", "--WFLW_V_split=easy", "--plot")
    truth = np.load(data / "landmarks" / "portrait-pan.npy")
    predicted = np.load(tmp_path / "out" / "predictions" / "portrait-pan.npy")
    with av.open(str(tmp_path / "out" / "videos" / "portrait-pan.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    for t in (0, 5, 9):
        for points, colour in ((truth[t, 5:28], TRUTH_COLOUR), (predicted[t], PREDICTION_COLOUR)):
            columns, rows_ = points.round().astype(int).T
            near = np.abs(frames[t][rows_, columns] - colour).mean(axis=1)
            assert np.median(near) < 70


@pytest.fixture(scope="module")
def short_clips(tmp_path_factory):
    """Golden clips of several lengths, all of them short."""
    lengths = {"clip-A1": 4, "clip-B2": 6, "clip_C3": 3, "-hard-D4": 5, "hardE5": 3}
    return first_frames(GOLDEN / "WFLW_V", tmp_path_factory.mktemp("short") / "WFLW_V", lengths)


@pytest.mark.parametrize("rwr", ["true", "false"])
@pytest.mark.usefixtures("no_plots")
def test_results_do_not_depend_on_batches_order_or_workers(rwr, video_run, short_clips, tmp_path):
    data = shutil.copytree(short_clips, tmp_path / "data")
    flags = [f"--WFLW_V_dataset_path={data}", "--WFLW_V_split=easy", f"--rwr={rwr}"]
    video_run(*flags, "--WFLW_V_batch_size=1", "--WFLW_V_workers=0", out="base")
    base = results(tmp_path / "base")["videos"]
    path = data / "easy_video_IDs.txt"
    path.write_text("\n".join(reversed(path.read_text().split())))
    for batch_size, workers in ((2, 0), (5, 2)):
        video_run(*flags, f"--WFLW_V_batch_size={batch_size}", f"--WFLW_V_workers={workers}", out="other")
        other = results(tmp_path / "other")["videos"]
        assert list(other) != list(base)
        for id, figures in base.items():
            assert other[id] == pytest.approx(figures, rel=1e-5)


def test_iteration_counts_do_not_depend_on_batches(short_clips):
    from datasets.wflw_v import Clip, WFLWVDataset
    from ldeq import RecurrentLDEQ, load_checkpoint
    from ldeq.runtime.pytorch import TorchLandmarker
    from utils.engine.evaluation import track_videos

    model = load_checkpoint(GOLDEN / "broyden.pth.tar")

    def iterations(clips, batch_size, workers):
        batches, frames, counts = [], [], {}
        for _ in track_videos(
            TorchLandmarker(RecurrentLDEQ(model, rwr=False)),
            clips,
            Clip.frames,
            batch_size=batch_size,
            workers=workers,
            on_batch=lambda found: batches.append([solve.n_iters for solve in found.solves]),
            on_frame=lambda video, frame, landmarks: frames.append(video.clip.id),
        ):
            pass
        for id, n_iters in zip(frames, chain.from_iterable(batches), strict=True):
            counts.setdefault(id, []).append(n_iters)
        return counts

    clips = WFLWVDataset(short_clips, "easy").clips
    alone = iterations(clips, 1, 0)
    assert len(set(chain.from_iterable(alone.values()))) > 1
    assert iterations(clips[::-1], 2, 2) == iterations(clips, 5, 0) == alone


@pytest.mark.usefixtures("no_plots")
def test_chosen_videos_even_with_a_dash(video_run, tmp_path):
    data = [f"--WFLW_V_dataset_path={GOLDEN / 'WFLW_V'}", "--WFLW_V_split", "hard"]
    assert video_run("--videos", "-hard-D4", *data)[0] == 0
    assert list(results(tmp_path / "out")["videos"]) == ["-hard-D4"]
    assert video_run(*data, "--videos", "hardE5", "-hard-D4", "--rwr", "t", out="both")[0] == 0
    assert list(results(tmp_path / "both")["videos"]) == ["-hard-D4", "hardE5"]


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.usefixtures("no_plots")
def test_unusable_videos_are_skipped_and_counted(how, video_run, wflw_v, tmp_path):
    path = wflw_v / "videos" / "clip-B2.mp4"
    damaged_video(path, how)
    flags = [f"--WFLW_V_dataset_path={wflw_v}", "--WFLW_V_split=easy"]
    status, out, err = video_run(*flags, "--plot")
    assert (status, err) == (0, "")
    found = results(tmp_path / "out")
    assert list(found["skipped"]) == ["clip-B2"]
    assert str(path) in found["skipped"]["clip-B2"]
    assert list(found["videos"]) == ["clip-A1", "clip_C3"]
    assert f"skipped  clip-B2: {path}" in out
    written = sorted(file.name for file in (tmp_path / "out" / "videos").iterdir())
    assert written == ["clip-A1.mp4", "clip_C3.mp4"]
    assert_refused(video_run(*flags, "--strict", out="strict"), path)


def test_no_usable_video_is_an_error(video_run, wflw_v):
    shutil.rmtree(wflw_v / "videos")
    err = assert_refused(video_run(f"--WFLW_V_dataset_path={wflw_v}", "--WFLW_V_split=hard"), "no video", "-hard-D4")
    assert "expected at least one" in err


def spoil_array(path, how):
    values = np.load(path)
    if how == "missing":
        path.unlink()
    elif how == "text":
        path.write_text("bbox")
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[:-40])
    elif how == "pickled":
        np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    elif how == "nan":
        values[3] = np.nan
        np.save(path, values)
    elif how == "shape":
        np.save(path, values[:, :3])
    elif how == "fewer":
        np.save(path, values[:-1])
    elif how == "flat":
        values[4] = 7.0
        np.save(path, values)


@pytest.mark.parametrize("folder", ["bboxes", "landmarks"])
@pytest.mark.parametrize("how", ["missing", "text", "truncated", "pickled", "nan", "shape", "fewer", "flat"])
def test_annotations(how, folder, video_run, wflw_v, tmp_path):
    path = wflw_v / folder / "-hard-D4.npy"
    spoil_array(path, how)
    frame = {"nan": "frame 3", "flat": "frame 4"}.get(how, "")
    assert_refused(video_run(f"--WFLW_V_dataset_path={wflw_v}"), path, frame, *(["expected"] if not frame else []))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (None, "no such file"),
        ("", "is empty"),
        ("a\nb\na\n", "line 3: repeats a of line 1"),
        ("a\n../b\n", "line 2: '../b' cannot be a file name"),
    ],
)
def test_id_lists(content, named, video_run, wflw_v, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.wflw_v.download.sources._LISTS", "http://127.0.0.1:9/")  # nobody answers
    monkeypatch.setenv("LDEQ_HOME", str(tmp_path / "cache"))
    path = wflw_v / "hard_video_IDs.txt"
    path.unlink()
    if content is not None:
        path.write_text(content)
    assert_refused(video_run(f"--WFLW_V_dataset_path={wflw_v}"), path, named, "expected")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--WFLW_V_dataset_path=/nowhere"], "/nowhere: no such folder"),
        (["--WFLW_V_split=medium"], "--WFLW_V_split"),
        (["--rwr=2"], "'2' is neither true"),
        (["--rwr_max_iters=0"], "--rwr_max_iters"),
        (["--WFLW_V_batch_size=0"], "--WFLW_V_batch_size"),
        (["--videos"], "--videos: expected at least one id"),
        (["--videos", "zzz"], "zzz: not in the hard id list"),
    ],
)
def test_wflw_v_flags(arguments, named, video_run):
    assert_refused(video_run(*arguments), named)


def test_show_without_a_display(video_run, monkeypatch):
    for variable in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    assert_refused(video_run("--show"), "no window", "display")


# -- interrupted runs --------------------------------------------------------------------------------------------------


def break_after(monkeypatch, n_videos):
    """Ends the run as a power cut does, when so many videos are on disk."""
    from utils.runs.videos import VideoRun

    real, done = VideoRun.add, []

    def add(self, *arguments):
        if len(done) == n_videos:
            raise SystemError("power cut")
        real(self, *arguments)
        done.append(arguments[0])

    monkeypatch.setattr(VideoRun, "add", add)
    return done


@pytest.mark.usefixtures("no_plots")
def test_resuming_does_only_what_is_missing(video_run, wflw_v, tmp_path, monkeypatch):
    flags = [ANDERSON, f"--WFLW_V_dataset_path={wflw_v}", "--WFLW_V_split=all", "--rwr=1", "--WFLW_V_batch_size=2"]
    out = f"--output_dir={tmp_path / 'out'}"
    video_run(*flags, out="whole")
    with monkeypatch.context() as patched:
        done = break_after(patched, 2)
        with pytest.raises(SystemError):
            test_LDEQ_WFLW_V.main([*flags, out])
    assert [row["id"] for row in rows(tmp_path / "out")] == done
    assert not (tmp_path / "out" / "results.json").exists()

    assert_refused(video_run(*flags), "unfinished run", "--resume")
    assert_refused(video_run(*flags, "--resume", "--rwr=0"), "rwr (then True, now False)")

    with monkeypatch.context() as patched:
        again = break_after(patched, 99)
        status, out_text, _ = video_run(*flags, "--resume", "--WFLW_V_batch_size=5")
    assert status == 0
    assert "2 videos were done before" in out_text
    assert sorted(again + done) == sorted(results(tmp_path / "out")["videos"])
    whole, resumed = (results(tmp_path / name) for name in ("whole", "out"))
    assert list(resumed["videos"]) == list(whole["videos"])
    assert resumed["NMF"] == pytest.approx(whole["NMF"], rel=1e-5)
    for id in done:
        assert resumed["videos"][id] == pytest.approx(whole["videos"][id], rel=1e-5)


@pytest.mark.usefixtures("no_plots")
def test_a_finished_video_adds_a_line_and_rewrites_nothing(video_run, wflw_v, tmp_path, monkeypatch):
    """The cost of a video's results does not grow with the number of videos before it."""
    from utils.runs.videos import VideoRun

    table, marker = tmp_path / "out" / "results.csv", tmp_path / "out" / "run.json"
    real, lines, inodes = VideoRun.add, [], []

    def add(self, *arguments):
        before = table.read_bytes() if table.exists() else b""
        real(self, *arguments)
        assert table.read_bytes().startswith(before)
        lines.append(table.read_bytes().removeprefix(before).decode())
        inodes.append((table.stat().st_ino, marker.stat().st_ino, marker.stat().st_mtime_ns))

    monkeypatch.setattr(VideoRun, "add", add)
    flags = [f"--WFLW_V_dataset_path={wflw_v}", "--WFLW_V_split=all", "--rwr=1"]
    assert video_run(*flags)[0] == 0
    header, lines[0] = lines[0].split("\n", 1)
    assert header == "id,NME,NMF,n_frames,n_solved,n_converged,n_not_finite,n_iters"
    assert len(lines) == 5
    assert all(line.count("\n") == 1 and line.endswith("\n") for line in lines)
    assert len(set(inodes)) == 1
    final = table.read_text().splitlines()
    assert sorted(final[1:]) == sorted(line.strip() for line in lines)
    found = results(tmp_path / "out")
    assert [line.split(",")[0] for line in final[1:]] == list(found["videos"])
    for row in rows(tmp_path / "out"):
        figures = {"NME": float(row["NME"]), "NMF": float(row["NMF"]), "n_frames": int(row["n_frames"])}
        assert figures == found["videos"][row["id"]]
    counts = {name: sum(int(row[name]) for row in rows(tmp_path / "out")) for name in header.split(",")[4:]}
    n_iters = counts.pop("n_iters")
    assert found["solver"] == {**counts, "mean_n_iters": n_iters / counts["n_solved"]}


@pytest.mark.usefixtures("no_plots")
def test_a_line_that_a_kill_cut_off_is_made_again(video_run, wflw_v, tmp_path, monkeypatch):
    flags = [ANDERSON, f"--WFLW_V_dataset_path={wflw_v}", "--WFLW_V_split=all", "--rwr=1", "--WFLW_V_batch_size=1"]
    assert video_run(*flags, out="whole")[0] == 0
    with monkeypatch.context() as patched:
        break_after(patched, 2)
        with pytest.raises(SystemError):
            test_LDEQ_WFLW_V.main([*flags, f"--output_dir={tmp_path / 'killed'}"])
    for n_left, n_kept in ((5, 0), (70, 0), (-1, 1)):  # half a header, half a row, all of a row but its end
        folder = tmp_path / f"left {n_left}"
        shutil.copytree(tmp_path / "killed", folder)
        table = folder / "results.csv"
        table.write_bytes(table.read_bytes()[:n_left])
        with monkeypatch.context() as patched:
            again = break_after(patched, 99)
            status, out, _ = video_run(*flags, "--resume", out=folder.name)
        assert status == 0
        assert len(again) == 5 - n_kept
        assert ("1 videos were done before" in out) == bool(n_kept)
        for name in ("results.csv", "run.json"):
            assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
        whole, resumed = results(tmp_path / "whole"), results(folder)
        assert [resumed[key] for key in ("NME", "NMF", "videos", "solver")] == [
            whole[key] for key in ("NME", "NMF", "videos", "solver")
        ]


@pytest.mark.usefixtures("no_plots")
def test_resuming_what_never_began_begins(video_run, wflw_v, tmp_path):
    assert video_run(f"--WFLW_V_dataset_path={wflw_v}", "--resume")[0] == 0
    assert len(results(tmp_path / "out")["videos"]) == 2


@pytest.mark.usefixtures("no_plots")
def test_resuming_the_latest_run(run_script, wflw_v, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = [ANDERSON, f"--WFLW_V_dataset_path={wflw_v}", "--WFLW_V_split=hard"]
    assert_refused(run_script(test_LDEQ_WFLW_V.main, *flags, "--resume"), "no earlier run")
    with monkeypatch.context() as patched:
        break_after(patched, 1)
        with pytest.raises(SystemError):
            test_LDEQ_WFLW_V.main(flags)
    (folder,) = (tmp_path / "results" / "test_LDEQ_WFLW_V").iterdir()
    assert run_script(test_LDEQ_WFLW_V.main, *flags, "--resume")[0] == 0
    assert len(results(folder)["videos"]) == 2


def with_ctrl_c():
    """For a child: SIGINT interrupts it, even where the tests run as a background job and ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_process_loses_only_what_is_in_flight(how, tmp_path, wflw_v):
    """A real process, killed once its first row is on disk, and started again."""
    script = [sys.executable, str(REPOSITORY / "test_LDEQ_WFLW_V.py"), ANDERSON]
    ids = [f"copy-{number:02d}" for number in range(8)]
    for id in ids:
        for folder, suffix in (("bboxes", "npy"), ("landmarks", "npy"), ("videos", "mp4")):
            shutil.copy(wflw_v / folder / f"clip_C3.{suffix}", wflw_v / folder / f"{id}.{suffix}")
    (wflw_v / "easy_video_IDs.txt").write_text("\n".join(ids))
    flags = [f"--WFLW_V_dataset_path={wflw_v}", "--WFLW_V_split=easy", f"--output_dir={tmp_path / 'out'}", "--plot"]
    flags += ["--rwr=true", "--WFLW_V_workers=1"]
    process = subprocess.Popen(
        [*script, *flags, "--WFLW_V_batch_size=1"], stderr=subprocess.PIPE, text=True, preexec_fn=with_ctrl_c
    )
    table = tmp_path / "out" / "results.csv"
    deadline = time.monotonic() + 120
    while not table.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert process.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL)
    assert "Traceback" not in err
    if how == signal.SIGINT:
        assert not list((tmp_path / "out").rglob(".*"))
    before = rows(tmp_path / "out")
    assert 1 <= len(before) < len(ids)
    finished = {path.stem for path in (tmp_path / "out" / "videos").glob("[!.]*.mp4")}
    assert finished >= {row["id"] for row in before}
    for path in (tmp_path / "out" / "videos").glob("[!.]*.mp4"):
        with av.open(str(path)) as container:
            assert sum(1 for _ in container.decode(video=0)) == 7
    again = subprocess.run([*script, *flags, "--resume"], capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    assert f"{len(before)} video" in again.stdout
    assert list(results(tmp_path / "out")["videos"]) == ids
    assert rows(tmp_path / "out")[: len(before)] == before
    assert not list((tmp_path / "out").rglob(".*")), "what the killed process left unfinished is removed"


# -- as processes ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "flags"), [("test_LDEQ_WFLW.py", []), ("test_LDEQ_WFLW_V.py", ["--videos", "portrait-dark"])]
)
def test_as_a_process_from_another_folder(script, flags, tmp_path):
    command = [sys.executable, str(REPOSITORY / script), *flags]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr
    assert pretrained.BUNDLED_NOTE in done.stdout
    (folder,) = (tmp_path / "results" / script[:-3]).iterdir()
    assert (folder / "results.json").is_file()


@pytest.mark.parametrize("script", [test_LDEQ_WFLW, test_LDEQ_WFLW_V, predict, train_LDEQ], ids=lambda s: s.__name__)
def test_help_is_short_and_full_help_has_every_flag_with_its_default(script, run_script, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    (_, short, _), (status, full, _) = (run_script(script.main, flag) for flag in ("--help", "--help_all"))
    assert status == 0
    for action in script.make_parser()._actions:
        assert action.help
        assert all(flag in full for flag in action.option_strings)
        if action.default not in (None, argparse.SUPPRESS, []):
            default = str(action.default).lower() if isinstance(action.default, bool) else action.default
            # Lines end within a path as well, at its hyphens.
            assert "".join(f"(default: {default})".split()) in "".join(full.split())
    assert len(short) < len(full)
    assert short.splitlines()[-1].endswith("see --help_all.")
    assert max(map(len, [*short.splitlines(), *full.splitlines()])) <= 80


@pytest.mark.slow
def test_damaged_videos_leave_stderr_to_us(tmp_path, wflw_v):
    """FFmpeg writes to the process's stderr, past Python: nothing of it may stand there."""
    for id, how in (("-hard-D4", "truncated"), ("hardE5", "text")):
        damaged_video(wflw_v / "videos" / f"{id}.mp4", how)
    command = [sys.executable, str(REPOSITORY / "test_LDEQ_WFLW_V.py"), f"--WFLW_V_dataset_path={wflw_v}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENCV")}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, env=environment)
    assert_refused((done.returncode, done.stdout, done.stderr), "no video")
