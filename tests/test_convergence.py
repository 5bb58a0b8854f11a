"""Solves that do not converge are counted where users look, and a network that gives nothing finite leaves nothing."""

import copy
import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

import ldeq
import predict_video
import test_LDEQ_WFLW
import test_LDEQ_WFLW_V
import train_LDEQ
from ldeq import InputError, SolverConfig, save_checkpoint
from ldeq.solver_tally import SolverTally
from tests.conftest import GOLDEN, assert_refused, make_small_model
from tests.test_predict_video import boxes_for, make_video
from utils.engine.training import Trainer

NEVER = {"solver": "fpi", "max_iters": 2, "rel_diff_target": 1e-12}
ALWAYS = {"solver": "fpi", "max_iters": 2, "rel_diff_target": 1e6}
COUNTED = "rel_diff_target = 1e-12 (fpi, at most 2 iterations)"


@pytest.fixture
def weights(tmp_path):
    """The flag of a small network with these settings of its solver."""

    def save(solver=None, factor=None, **changes):
        model = make_small_model(solver=solver, **changes)
        if factor is not None:
            with torch.no_grad():
                model.cell.head.conv.weight.fill_(factor)
        save_checkpoint(tmp_path / "small.pth.tar", model)
        return f"--landmark_model_weights={tmp_path / 'small.pth.tar'}"

    return save


@pytest.fixture
def clip(tmp_path):
    """A video of two frames, with the boxes of a face."""
    video = make_video(tmp_path / "clip.mp4", 2)
    return [str(video), boxes_for(tmp_path / "boxes.npy", 2)]


def read_json(path):
    return json.loads(path.read_text())


# -- solves that do not converge ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("solver", "unconverged"), [(NEVER, 1), (ALWAYS, 0)])
def test_wflw_counts_them(solver, unconverged, weights, run_script, tmp_path):
    flags = [weights(solver), "--split", "test_blur", "test_makeup", "--workers=0", f"--output_dir={tmp_path / 'out'}"]
    status, out, err = run_script(test_LDEQ_WFLW.main, *flags)
    assert (status, err) == (0, "")
    assert "not converged" in out
    assert ("Most solves did not converge: 6 of 6 solves ended without reaching " + COUNTED in out) == bool(unconverged)
    found = read_json(tmp_path / "out" / "results.json")
    for figures in found["splits"].values():
        assert (figures["n_solved"], figures["n_not_converged"]) == (3, 3 * unconverged)
    assert found["solver"]["n_not_converged"] == 6 * unconverged
    with (tmp_path / "out" / "results.csv").open() as table:
        assert [row["n_not_converged"] for row in csv.DictReader(table)] == [str(3 * unconverged)] * 2


def test_wflw_v_counts_them_frame_by_frame(weights, run_script, tmp_path):
    flags = [weights(NEVER), f"--WFLW_V_dataset_path={GOLDEN / 'WFLW_V'}", "--videos", "clip_C3", "--WFLW_V_split=all"]
    for rwr in (False, True):
        out = tmp_path / str(rwr)
        status, said, _ = run_script(test_LDEQ_WFLW_V.main, *flags, f"--rwr={rwr}", f"--output_dir={out}")
        assert status == 0
        assert ("7 of 7 solves ended without reaching " + COUNTED in said) == (not rwr)
        assert ("not converged" in said) == (not rwr)
        solver = read_json(out / "results.json")["solver"]
        assert solver["n_solved"] == 7
        assert solver.get("n_not_converged") == (None if rwr else 7)


@pytest.mark.parametrize(
    ("flags", "counted"),
    [
        (["--no-rwr"], True),
        (["--rwr"], False),
        (["--rwr", "--rwr_max_iters=2"], True),
        (["--side_by_side"], True),
    ],
)
def test_predictions_count_them_frame_by_frame(flags, counted, clip, weights, run_script, tmp_path):
    status, out, _ = run_script(predict_video.main, *clip, weights(NEVER), *flags, f"--output_dir={tmp_path / 'out'}")
    assert status == 0
    warning = "Most solves did not converge: 2 of 2 solves ended without reaching " + COUNTED
    assert (warning in out) == counted
    run = read_json(tmp_path / "out" / "run.json")
    assert any(warning in sentence for sentence in run["warnings"]) == counted
    assert run["solver"].get("n_not_converged") == (2 if counted and flags != ["--side_by_side"] else None)


def test_the_function_warns_of_them(weights):
    path = weights(NEVER).partition("=")[2]
    frames, bboxes = np.zeros((2, 60, 80, 3), np.uint8), [[10, 10, 40, 40]] * 2
    assert ldeq.landmarks(frames, weights=path, bboxes=bboxes).warnings == []
    (warning,) = ldeq.landmarks(frames, weights=path, bboxes=bboxes, rwr=False).warnings
    assert warning.startswith("Most solves did not converge: 2 of 2")


def test_explicit_mode_has_no_solves_to_count(clip, weights, run_script, tmp_path):
    network = weights(model_mode="explicit")
    for main, flags in (
        (test_LDEQ_WFLW.main, ["--split=test_blur", "--workers=0"]),
        (predict_video.main, [*clip, "--no-rwr"]),
    ):
        out = tmp_path / main.__module__
        status, said, _ = run_script(main, network, *flags, f"--output_dir={out}")
        assert status == 0
        assert "converge" not in said
    assert "n_solved" not in read_json(tmp_path / "test_LDEQ_WFLW" / "results.json")["splits"]["test_blur"]


def test_some_are_no_warning():
    config = SolverConfig(solver="anderson", max_iters=9, stop_mode="abs", abs_diff_target=0.5)
    some = SolverTally(n_solved=4, n_converged=2, n_iters=30)
    sentence = "2 of 4 solves ended without reaching abs_diff_target = 0.5 (anderson, at most 9 iterations)."
    assert some.convergence(config) == sentence
    assert some.mostly_not_converged(config) is None
    assert SolverTally(n_solved=4, n_converged=1).mostly_not_converged(config).count("3 of 4") == 1
    assert SolverTally(n_solved=4, n_converged=4).convergence(config) is None
    assert SolverTally().mostly_not_converged(config) is None


# -- networks that give nothing finite ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["implicit", "explicit"])
def test_nothing_finite_leaves_nothing(mode, clip, weights, run_script, tmp_path):
    network = weights(factor=3e38, model_mode=mode)
    image = tmp_path / "image.png"
    Image.new("RGB", (64, 48)).save(image)
    boxes = boxes_for(tmp_path / "one.npy", 1)
    data = f"--WFLW_V_dataset_path={GOLDEN / 'WFLW_V'}"
    for main, flags in (
        (predict_video.main, clip),
        (predict_video.main, [*clip, "--side_by_side", "--smooth"]),
        (predict_video.main, [*clip, "--no-rwr"]),
        (predict_video.main, [image, boxes]),
        (test_LDEQ_WFLW.main, ["--split=test_blur", "--workers=0"]),
        (test_LDEQ_WFLW_V.main, [data, "--videos", "clip_C3", "--WFLW_V_split=all", "--plot"]),
        (test_LDEQ_WFLW_V.main, [data, "--WFLW_V_split=all", "--rwr"]),
    ):
        outcome = run_script(main, network, *flags, f"--output_dir={tmp_path / 'out'}")
        assert_refused(outcome, "finite", "expected weights that fit the precision")
        assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_nothing_finite_takes_nothing_from_earlier_results(clip, weights, run_script, tmp_path):
    out = f"--output_dir={tmp_path / 'out'}"
    assert run_script(predict_video.main, *clip, weights(), out)[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert_refused(run_script(predict_video.main, *clip, weights(factor=3e38), out), "finite")
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_nothing_finite_in_python(weights):
    path = weights(factor=3e38).partition("=")[2]
    frames = np.zeros((2, 60, 80, 3), np.uint8)
    with pytest.raises(InputError, match="finite"):
        ldeq.landmarks(frames, weights=path, bboxes=[[10, 10, 40, 40]] * 2)


def test_some_that_are_not_finite_are_a_warning(clip, weights, run_script, tmp_path, monkeypatch):
    """Of the two frames' solves one is said to have met numbers that are not finite."""
    real = SolverTally.of_samples
    seen = []

    def of_samples(stats):
        seen.append(real(stats))
        return [SolverTally(1, 0, int(len(seen) == 1), 1)]

    monkeypatch.setattr(SolverTally, "of_samples", staticmethod(of_samples))
    status, out, _ = run_script(predict_video.main, *clip, weights(), f"--output_dir={tmp_path / 'out'}")
    assert status == 0
    sentence = "1 of 2 solves met numbers that are not finite: their landmarks are poor."
    assert sentence in out
    assert sentence in read_json(tmp_path / "out" / "run.json")["warnings"]


@pytest.mark.parametrize("mode", ["implicit", "explicit"])
def test_training_goes_on_where_a_validation_is_not_finite(mode, weights, run_script, tmp_path, monkeypatch):
    """Its steps are sound, but the average of their weights is not yet."""
    init = weights(model_mode=mode, im_size=64, heatmap_size=16).partition("=")[2]
    averaged_model = Trainer.averaged_model.fget

    def spoilt(trainer):
        model = copy.deepcopy(averaged_model(trainer))
        torch.nn.init.constant_(model.cell.head.conv.weight, 3e38)
        return model

    monkeypatch.setattr(Trainer, "averaged_model", property(spoilt))
    flags = ["--synthetic", "--steps=1", "--batch_size=2", "--workers=0", "--validation_images=2", "--validate_every=1"]
    out = tmp_path / "out"
    status, said, err = run_script(train_LDEQ.main, *flags, f"--init_weights={init}", f"--output_dir={out}")
    assert status == 0
    assert err == "step 1: the network gives nothing finite, and is not validated.\n"
    assert "NME" not in said
    assert (out / "final.pth.tar").is_file()
    assert not (out / "best.pth.tar").exists()
