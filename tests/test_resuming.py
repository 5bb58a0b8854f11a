"""What an interrupted run goes on from: the same content, wherever it lies, and rows that are whole."""

import json
import os
import shutil

import numpy as np
import pytest

import test_LDEQ_WFLW_V
import train_LDEQ
from ldeq import load_checkpoint, save_checkpoint
from tests.conftest import GOLDEN, assert_refused
from tests.test_training import TINY

pytestmark = pytest.mark.usefixtures("no_plots")


@pytest.fixture(scope="module")
def finished(quick_weights, tmp_path_factory):
    """The folder of a finished evaluation."""
    out = tmp_path_factory.mktemp("finished") / "out"
    flags = [f"--landmark_model_weights={quick_weights}", f"--WFLW_V_dataset_path={GOLDEN / 'WFLW_V'}"]
    test_LDEQ_WFLW_V.main([*flags, f"--output_dir={out}", "--WFLW_V_batch_size=1"])
    return out


@pytest.fixture
def earlier(finished, wflw_v, run_script, weights, tmp_path):
    """Copies of it and of its data set, and a function that goes on with it."""
    out = shutil.copytree(finished, tmp_path / "out")

    def run_it(*more, data=wflw_v, network=weights):
        flags = [network, f"--WFLW_V_dataset_path={data}", f"--output_dir={out}", "--WFLW_V_batch_size=1"]
        return run_script(test_LDEQ_WFLW_V.main, *flags, *more)

    return out, wflw_v, run_it


def test_a_moved_data_set_and_moved_weights(earlier, tmp_path):
    out, data, run_it = earlier
    expected = json.loads((out / "results.json").read_text())["videos"]
    shutil.move(data, tmp_path / "elsewhere")
    # The same numbers in other files.
    boxes = tmp_path / "elsewhere" / "bboxes" / "hardE5.npy"
    np.save(boxes, np.asfortranarray(np.load(boxes).astype(np.float64)))
    shutil.move(tmp_path / "small.pth.tar", tmp_path / "moved.pth.tar")
    network = f"--landmark_model_weights={tmp_path / 'moved.pth.tar'}"
    status, shown, err = run_it("--resume", data=tmp_path / "elsewhere", network=network)
    assert (status, err) == (0, "")
    assert "2 videos were done before" in shown
    found = json.loads((out / "results.json").read_text())
    assert found["videos"] == expected
    assert found["dataset"] == str(tmp_path / "elsewhere")


@pytest.mark.parametrize("folder", ["bboxes", "landmarks"])
def test_other_annotations(folder, earlier):
    out, data, run_it = earlier
    path = data / folder / "hardE5.npy"
    np.save(path, np.load(path) + 1e-3)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    refused = run_it("--resume")
    assert_refused(refused, out / "run.json", "boxes or landmarks of hardE5 are not what they were", "--output_dir")
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_other_weights_and_settings(earlier, tmp_path):
    out, _, run_it = earlier
    path = tmp_path / "small.pth.tar"
    model = load_checkpoint(path)
    model.cell.head.conv.bias.data += 0.1
    save_checkpoint(path, model)
    assert_refused(run_it("--resume"), out / "run.json", "weights_sha256 (then", "another --output_dir")
    assert_refused(run_it("--resume", "--rwr"), "weights_sha256", "rwr (then False, now True)")


def test_a_data_set_that_has_grown_or_shrunk(earlier):
    _, data, run_it = earlier
    (data / "hard_video_IDs.txt").write_text("clip-A1\nhardE5\n")
    status, shown, _ = run_it("--resume")
    assert status == 0
    assert "1 videos were done before" in shown


def test_a_run_of_a_version_that_kept_the_path(earlier, tmp_path):
    out, data, run_it = earlier
    marker = json.loads((out / "run.json").read_text())
    del marker["annotations_sha256"]
    (out / "run.json").write_text(json.dumps({**marker, "dataset": str(data)}))
    copy = shutil.copytree(data, tmp_path / "copy")
    assert_refused(run_it("--resume", data=copy), out / "run.json", str(data), "another --output_dir")
    status, shown, _ = run_it("--resume")
    assert status == 0
    assert "2 videos were done before" in shown
    (out / "run.json").write_text(json.dumps({**marker, "annotations_sha256": [1]}))
    assert_refused(run_it("--resume"), out / "run.json", "annotations_sha256 is no object")
    (out / "run.json").write_text(json.dumps({**marker, "dataset": "a\0b"}))
    assert_refused(run_it("--resume"), out / "run.json", "another --output_dir")


@pytest.mark.parametrize(
    "cells",
    [
        *({"n_frames": word} for word in ("inf", "1e999", "6.0", "", "-6", "9" * 5000)),
        *({name: word} for name, word in (("NME", "inf"), ("NMF", "nan"), ("NME", "-1"), ("NMF", "1e999"))),
        *({name: "1e308"} for name in ("NME", "NMF")),  # whose sum would be no number
        *({"n_iters": word} for word in ("inf", "9" * 400, "-3")),
        {"id": "9" * 300},
    ],
    ids=str,
)
def test_cells_that_no_run_wrote(cells, earlier):
    """They are refused in a sentence, or their video is done again."""
    out, _, run_it = earlier
    expected = (out / "results.csv").read_text()
    header, first, second = expected.splitlines()
    row = dict(zip(header.split(","), second.split(","), strict=True)) | cells
    (out / "results.csv").write_text("\n".join([header, first, ",".join(row.values())]) + "\n")
    outcome = run_it("--resume")
    if outcome[0] == 2:
        assert_refused(outcome, out / "results.csv", "expected the rows of the run to resume")
    else:
        assert "1 videos were done before" in outcome[1]
        assert (out / "results.csv").read_text() == expected


@pytest.mark.parametrize(
    "spoilt",
    [
        np.zeros((6, 5)),
        np.zeros((6, 98, 3)),
        np.zeros(()),
        np.full((6, 98, 2), np.inf),
        np.zeros((6, 98, 2), complex),
    ],
    ids=lambda array: f"{array.dtype} {array.shape}",
)
def test_predictions_of_another_shape_are_made_again(spoilt, earlier):
    out, _, run_it = earlier
    path = out / "predictions" / "hardE5.npy"
    expected = np.load(path)
    np.save(path, spoilt)
    status, shown, _ = run_it("--resume")
    assert status == 0
    assert "1 videos were done before" in shown
    np.testing.assert_array_equal(np.load(path), expected)


# -- training ----------------------------------------------------------------------------------------------------------


def test_training_on_a_data_set_that_was_moved(wflw, run_script, tmp_path):
    out = tmp_path / "run"
    begin = [*TINY, "--train_split=test", f"--output_dir={out}"]
    assert run_script(train_LDEQ.main, *begin, f"--dataset_path={wflw}", "--steps=1")[0] == 0
    go_on = ["--resume", f"--output_dir={out}", "--workers=0", "--device=cpu"]
    moved = tmp_path / "moved"
    os.rename(wflw, moved)
    assert_refused(run_script(train_LDEQ.main, *go_on), wflw, "--dataset_path")
    line, *lines = (moved / "test.txt").read_text().splitlines()
    (moved / "test.txt").write_text("\n".join(lines))
    refused = run_script(train_LDEQ.main, *go_on, f"--dataset_path={moved}")
    assert_refused(refused, out / "run.json", "other names or landmarks", "another --output_dir")
    (moved / "test.txt").write_text("\n".join([line, *lines]))
    status, _, err = run_script(train_LDEQ.main, *go_on, f"--dataset_path={moved}")
    assert status == 0, err
    assert json.loads((out / "run.json").read_text())["settings"]["data"]["dataset_path"] == str(moved)
