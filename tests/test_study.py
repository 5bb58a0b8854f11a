"""The study of RwR: the filters that it compares with, and the study on a small data set."""

import csv
import dataclasses
import shutil
from itertools import islice

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from benchmarks import study_rwr
from benchmarks.filter_families import filter_families
from ldeq import RecurrentLDEQ, save_checkpoint
from ldeq.metrics import video_nme, video_nmf
from ldeq.smoothing import exponential_average, kalman, median, one_euro, savitzky_golay
from tests.conftest import GOLDEN, make_small_model, random_images


@pytest.fixture
def walk():
    """A video's landmarks: a smooth path, and the same with noise."""
    t = np.arange(80)[:, None, None]
    path = 100 + 20 * np.sin(t / 15 + np.arange(98)[None, :, None]) + np.zeros((80, 98, 2))
    return path, path + np.random.default_rng(0).normal(0, 1.5, path.shape)


def test_an_exponential_average_is_the_recursive_filter(walk):
    _, noisy = walk
    alpha = 0.3
    start = (1 - alpha) * noisy[:1]
    expected, _ = lfilter([alpha], [1, alpha - 1], noisy, axis=0, zi=start)
    assert np.allclose(exponential_average(noisy, alpha), expected)
    assert np.array_equal(exponential_average(noisy, 1.0), noisy)


def test_one_euro_is_an_average_at_rest_and_follows_what_is_fast(walk):
    _, noisy = walk
    fps, cutoff = 25.0, 1.5
    alpha = 1 / (1 + fps / (2 * np.pi * cutoff))
    assert np.allclose(one_euro(noisy, fps, cutoff, beta=0.0), exponential_average(noisy, alpha))
    step = np.repeat(np.array([0.0, 100.0]), 20)[:, None, None] * np.ones((1, 98, 2))
    slow, fast = (one_euro(step, fps, cutoff, beta) for beta in (0.0, 0.1))
    assert fast[21, 0, 0] > slow[21, 0, 0] + 20
    assert (np.diff(fast[20:, 0, 0]) >= 0).all()


def test_a_kalman_filter_is_the_least_squares_path_up_to_each_frame(walk):
    """Of a start, a velocity and accelerations from the second frame on, by what they explain and what they cost."""
    _, noisy = walk
    ratio = 0.4
    found = kalman(noisy, ratio)
    for t in (0, 1, 2, 5, 30):
        n_turns = max(0, t - 1)
        # An acceleration after frame s moves frame r by half of it, and of its velocity, r - s - 1 times.
        moves = np.array([[r - s - 0.5 if r > s else 0.0 for s in range(1, 1 + n_turns)] for r in range(t + 1)])
        straight = np.column_stack([np.ones(t + 1), np.arange(t + 1)])
        costs = np.column_stack([np.zeros((n_turns, 2)), np.eye(n_turns) / np.sqrt(ratio)])
        system = np.vstack([np.column_stack([straight, moves.reshape(t + 1, n_turns)]), costs])
        seen = np.concatenate([noisy[: t + 1].reshape(t + 1, -1), np.zeros((n_turns, 98 * 2))])
        path = system[: t + 1] @ np.linalg.lstsq(system, seen, rcond=None)[0]
        assert np.allclose(found[t].ravel(), path[t])
    line = np.arange(20.0)[:, None, None] * np.ones((1, 98, 2))
    assert np.allclose(kalman(line, 0.01), line)
    assert np.array_equal(kalman(line[:1], 0.01), line[:1])


def test_savitzky_golay_keeps_polynomials_and_short_videos():
    t = np.arange(30.0)[:, None, None]
    cubic = 0.01 * t**3 - t**2 + np.ones((1, 98, 2))
    assert np.allclose(savitzky_golay(cubic, 9, 3), cubic)
    assert np.allclose(savitzky_golay(cubic[:3], 9, 2), cubic[:3])
    assert savitzky_golay(cubic[:6], 21, 2).shape == (6, 98, 2)


def test_a_median_leaves_out_what_lasts_less_than_half_of_it():
    path = np.arange(40.0)[:, None, None] + np.zeros((40, 98, 2))
    jumps = path.copy()
    jumps[[10, 20, 21], 3] += 50
    assert np.array_equal(median(path, 5), path)
    assert np.abs(median(jumps, 5) - path).max() <= 2
    assert np.abs(median(jumps, 3) - path).max() > 40


@pytest.mark.parametrize("smooth", [lambda x: exponential_average(x, 0.5), lambda x: savitzky_golay(x, 7, 2),
                                    lambda x: one_euro(x, 25, 2.0, 0.05), lambda x: median(x, 5),
                                    lambda x: kalman(x, 0.1)])  # fmt: skip
def test_filters_lower_flicker(walk, smooth):
    path, noisy = walk
    assert video_nmf(smooth(noisy), path) < 0.8 * video_nmf(noisy, path)


def make_row(method, setting, *figures):
    """A row of the study, from NME and NMF of each video."""
    return study_rwr.Row("hard", method, setting, np.array(figures, dtype=float))


def test_the_front_has_what_nothing_beats():
    rows = [make_row("m", str(i), pair) for i, pair in enumerate([(3, 1), (2, 2), (2.5, 2), (1, 3)])]
    assert [row.setting for row in study_rwr.front(rows)] == ["0", "1", "3"]


def test_figures_are_means_over_videos_and_a_draw_of_videos_may_turn_them():
    n_videos = 20
    row = make_row("RwR", "1 iteration", *[(3, 300)] * n_videos)
    better, worse = (make_row("median", "", *[(nme, 299)] * n_videos) for nme in (2.9, 3.1))
    # Better on all videos but one, which has to be drawn for the mean to be worse.
    hanging = make_row("median", "", (1000, 299), *[(2.9, 299)] * (n_videos - 1))
    mean = hanging.NME
    assert mean == pytest.approx((1000 + 2.9 * 19) / 20)
    assert better.beats(row)
    assert not worse.beats(row)
    assert not row.beats(worse)
    assert study_rwr.chance_unbeaten(row, [worse]) == 1
    assert study_rwr.chance_unbeaten(row, [worse, better]) == 0
    drawn = 1 - (1 - 1 / n_videos) ** n_videos
    assert study_rwr.chance_unbeaten(row, [worse, hanging]) == pytest.approx(drawn, abs=0.02)


def test_the_verdict_tells_causal_filters_from_others():
    rows = [
        make_row("frame by frame", "", (5, 500)),
        make_row("RwR", "1 iteration, with the last step", (4, 400)),
        make_row("RwR", "2 iterations, with the last step", (4.5, 450)),
        make_row("Kalman", "a", (4.2, 300)),
        make_row("median", "b", (3.9, 390)),
        make_row("RwR, then median", "1 iteration, with the last step; b", (3.8, 380)),
    ]
    every, _, causal, _, filters, filtered = study_rwr.verdict(rows)
    assert "1 of 1 are beaten in both figures by filters." in every
    assert "0 of 1 are beaten in both figures by causal filters." in causal
    assert "1 of 2 are beaten by RwR, filtered or not" in filters
    assert "0 of 1 by filters" in filtered


def test_fixed_point_iterations_without_the_last_step_are_not_made_twice():
    less = {"solver": "fpi", "take_one_less_inference_step": True}
    trackers = study_rwr.rwr_trackers(make_small_model(solver=less), [1, 2, 3])
    (frame,) = random_images(2).split(2)
    # Stopped early as RwR is, whatever the network's own solver leaves out: on a first frame they are the same.
    early, rwr = (
        trackers[f"{name}, 1 iteration{end}"] for name, end in (("frame by frame", ""), ("RwR", ", with the last step"))
    )
    assert torch.equal(early.step(frame, ["a", "b"]).keypoints, rwr.step(frame, ["a", "b"]).keypoints)
    names = list(trackers)
    assert [name for name in names if "without" in name] == ["RwR, 1 iteration, without the last step"]
    model = make_small_model(solver={"solver": "fpi"})
    one, two = RecurrentLDEQ(model, max_iters=1), RecurrentLDEQ(model, max_iters=2, take_one_less_inference_step=True)
    for frame in random_images(6).split(2):
        found, same = (tracker.step(frame, ["a", "b"]).keypoints for tracker in (one, two))
        torch.testing.assert_close(found, same, atol=1e-6, rtol=0)


@pytest.mark.slow
def test_the_study_scores_as_the_metrics_do_and_goes_on(tmp_path, run_script, monkeypatch):
    weights = tmp_path / "small.pth.tar"
    save_checkpoint(weights, make_small_model(solver={"max_iters": 3}))
    arguments = [
        "--WFLW_V_dataset_path", GOLDEN / "WFLW_V", "--splits", "easy", "--iterations", 1, 2,
        "--landmark_model_weights", weights, "--output_dir", tmp_path / "out", "--workers", 0,
    ]  # fmt: skip
    status, out, err = run_script(study_rwr.main, *arguments)
    assert status == 0, err
    assert "frame by frame" in out
    assert "RwR, 2 iterations, without the last step" in out
    with (tmp_path / "out" / "study.csv").open() as file:
        rows = list(csv.DictReader(file))
    settings = {(row["method"], row["setting"]) for row in rows}
    assert len(settings) == len(rows) > 50
    base, *early = [row for row in rows if row["method"] == "frame by frame"]
    assert [row["setting"] for row in early] == ["1 iteration"]
    folder = tmp_path / "out" / "landmarks" / "frame by frame"
    ids = [path.stem for path in folder.glob("*.npy")]
    truth = {id: np.load(GOLDEN / "WFLW_V" / "landmarks" / f"{id}.npy") for id in ids}
    expected = np.mean([video_nme(np.load(folder / f"{id}.npy"), truth[id]) for id in ids])
    assert float(base["NME"]) == pytest.approx(expected)
    members = [row for row in rows if row["method"] == "RwR, then median"]
    assert len(members) == len([row for row in rows if row["method"] == "median"])
    after = min(members, key=lambda row: float(row["NME"]))
    best = after["setting"].removeprefix("1 iteration, with the last step; ")
    assert "RwR, then median" in out
    assert "by causal filters" in out
    assert max(map(len, out.splitlines())) <= 80
    rwr = folder.parent / "RwR, 1 iteration, with the last step"
    window = int(best.split()[-1])
    expected = np.mean([video_nme(median(np.load(rwr / f"{id}.npy"), window), truth[id]) for id in ids])
    assert float(after["NME"]) == pytest.approx(expected)
    assert (tmp_path / "out" / "study.png").stat().st_size > 10_000

    # From here on it is about videos, and two settings of each filter do.
    few = {
        name: dataclasses.replace(family, settings=dict(islice(family.settings.items(), 2)))
        for name, family in filter_families().items()
    }
    monkeypatch.setattr(study_rwr, "filter_families", lambda: few)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "landmarks").rglob("*.npy")}
    assert run_script(study_rwr.main, *arguments)[0] == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}

    # A video that is gone is left out of all methods, and another split may be added.
    data = shutil.copytree(GOLDEN / "WFLW_V", tmp_path / "WFLW_V")
    gone, *rest = ids
    (data / "videos" / f"{gone}.mp4").unlink()
    arguments[1] = data
    arguments[5:7] = [1]
    shutil.rmtree(tmp_path / "out" / "landmarks")
    status, out, err = run_script(study_rwr.main, *arguments)
    assert status == 0, err
    assert f"skipped  {gone}" in out
    assert {path.stem for path in (tmp_path / "out" / "landmarks").rglob("*.npy")} == set(rest)

    # One that is lost between two trackers is left out of what was found before as well.
    shutil.copy(GOLDEN / "WFLW_V" / "videos" / f"{gone}.mp4", data / "videos")
    assert run_script(study_rwr.main, *arguments)[0] == 0
    lost = tmp_path / "out" / "landmarks" / "RwR, 1 iteration, with the last step" / f"{gone}.npy"
    lost.unlink()
    whole = (data / "videos" / f"{gone}.mp4").read_bytes()
    (data / "videos" / f"{gone}.mp4").write_bytes(whole[: len(whole) // 2])
    status, out, err = run_script(study_rwr.main, *arguments)
    assert status == 0, err
    assert f"skipped  {gone}" in out
    with (tmp_path / "out" / "study.csv").open() as file:
        base = next(row for row in csv.DictReader(file) if row["method"] == "frame by frame")
    expected = np.mean([video_nme(np.load(folder / f"{id}.npy"), truth[id]) for id in rest])
    assert float(base["NME"]) == pytest.approx(expected)

    # Some data sets are one, if their videos have names of their own.
    status, _, err = run_script(study_rwr.main, arguments[0], data, *arguments[1:])
    assert status == 2
    assert f"{ids[0]}: in {data} and in {data}, expected videos of other names" in err
    other = tmp_path / "other"
    for kind, ending in (("bboxes", "npy"), ("landmarks", "npy"), ("videos", "mp4")):
        (other / kind).mkdir(parents=True)
        shutil.copy(data / kind / f"{rest[0]}.{ending}", other / kind / f"another.{ending}")
    (other / "easy_video_IDs.txt").write_text("another\n")
    status, _, err = run_script(study_rwr.main, arguments[0], other, *arguments[1:])
    assert status == 0, err
    assert {path.stem for path in folder.glob("*.npy")} >= {*rest, "another"}

    save_checkpoint(weights, make_small_model(seed=1, solver={"max_iters": 3}))
    status, _, err = run_script(study_rwr.main, *arguments)
    assert status == 2
    assert "holds a study of other weights" in err
    (tmp_path / "out" / "run.json").write_text("{")
    status, _, err = run_script(study_rwr.main, *arguments)
    assert status == 2
    assert "run.json: cannot be read" in err
