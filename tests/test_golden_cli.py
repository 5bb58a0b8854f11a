"""The published system's figures, through the two scripts."""

import json

import pytest

import test_LDEQ_WFLW
import test_LDEQ_WFLW_V
from tests.conftest import GOLDEN

pytestmark = pytest.mark.usefixtures("no_plots")


def results(folder):
    return json.loads((folder / "results.json").read_text())


def assert_close(found, expected, tolerance):
    for figure, rel in tolerance.items():
        assert found[figure] == pytest.approx(expected[figure], rel=rel, abs=1e-12), figure


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("name", ["anderson", "fpi", "broyden", "explicit"])
def test_wflw(name, batch_size, golden_cli, tmp_path):
    test_LDEQ_WFLW.main(
        [
            f"--landmark_model_weights={GOLDEN / name}.pth.tar",
            f"--dataset_path={GOLDEN / 'WFLW'}",
            f"--batch_size={batch_size}",
            "--workers=0",
            f"--output_dir={tmp_path}",
        ]
    )
    found, expected = results(tmp_path)["splits"], golden_cli["wflw"][name]
    assert list(found) == list(expected)
    for split, figures in expected.items():
        assert_close(found[split], figures, {"NME": 1e-4, "FR": 1e-4, "AUC": 1e-4})


def test_wflw_with_landmarks_near_the_predictions(golden_cli, wflw_near, tmp_path):
    flags = [f"--landmark_model_weights={GOLDEN / 'anderson'}.pth.tar", f"--dataset_path={wflw_near}"]
    test_LDEQ_WFLW.main([*flags, "--workers=0", f"--output_dir={tmp_path}"])
    found = results(tmp_path)["splits"]
    for split, figures in golden_cli["wflw_near"]["anderson"].items():
        assert_close(found[split], figures, {"NME": 1e-4, "FR": 1e-4, "AUC": 1e-4})


@pytest.mark.parametrize("rwr", [0, 1])
@pytest.mark.parametrize("split", ["easy", "hard"])
@pytest.mark.parametrize("name", ["anderson", "fpi", "broyden", "explicit"])
def test_wflw_v(name, split, rwr, golden_cli, tmp_path):
    test_LDEQ_WFLW_V.main(
        [
            f"--landmark_model_weights={GOLDEN / name}.pth.tar",
            f"--WFLW_V_dataset_path={GOLDEN / 'WFLW_V'}",
            f"--WFLW_V_split={split}",
            f"--rwr={rwr}",
            f"--output_dir={tmp_path}",
        ]
    )
    found, expected = results(tmp_path), golden_cli["wflw_v"][f"{name}/{split}/rwr={rwr}"]
    tolerance = {"NME": 1e-4, "NMF": 1e-3}
    assert_close(found, expected, tolerance)
    assert list(found["videos"]) == list(expected["videos"])
    for id, figures in expected["videos"].items():
        assert_close(found["videos"][id], figures, tolerance)
    assert found["rwr"] is bool(rwr)
    assert found["split"] == split
