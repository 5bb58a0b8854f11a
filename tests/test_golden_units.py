"""The published system's intermediate results, through the Python names."""

import numpy as np
import pytest
import torch

from datasets.wflw import WFLWDataset
from ldeq.face.crop import crop_matrix, to_frame
from ldeq.metrics import failure_rate_and_auc, image_nme, video_nme, video_nmf
from ldeq.model.normalisation import normalise
from tests.conftest import GOLDEN, relative_difference

IMPLICIT = ("anderson", "fpi", "broyden")
ALL = (*IMPLICIT, "explicit")


@pytest.fixture(scope="module")
def images(golden_units):
    return normalise(list(golden_units["images_uint8_rgb"]))


@pytest.mark.parametrize("name", ALL)
@torch.inference_mode()
def test_injection_and_cell(name, golden_models, golden_units, images):
    model = golden_models[name]
    injection = model.inject(images)
    assert relative_difference(injection[:, ::4, ::8, ::8], golden_units[f"{name}/injection_sample"]) <= 1e-4
    z = torch.rand(2, model.config.z_width, 64, 64, generator=torch.Generator().manual_seed(7))
    cell_out = model.cell(z, injection)
    assert relative_difference(cell_out[:, ::7, ::8, ::8], golden_units[f"{name}/cell_out_sample"]) <= 1e-4


@pytest.mark.parametrize("j", [0, 1])
@pytest.mark.parametrize("name", ALL)
@torch.inference_mode()
def test_solve(name, j, golden_models, golden_units, images):
    def expected(key):
        return golden_units[f"{name}/{j}/{key}"]

    output = golden_models[name](images[j : j + 1], return_trajectory=True)
    assert relative_difference(output.keypoints, expected("keypoints")) <= 1e-5
    assert relative_difference(output.z_star[:, ::7, ::8, ::8], expected("z_star_sample")) <= 1e-4
    assert float(output.z_star.double().norm()) == pytest.approx(float(expected("z_star_norm")), rel=1e-5)
    norms = [float(z.double().norm()) for z in output.trajectory]
    assert relative_difference(norms, expected("trajectory_norms")) <= 1e-5
    if name in IMPLICIT:
        assert output.stats.n_iters.tolist() == [expected("n_iters")]
        # Residuals are near float32's noise floor (3e-5 relative), where other machines round otherwise.
        assert float(output.stats.rel_error) == pytest.approx(float(expected("final_rel_diff")), abs=3e-5)
        size = float(expected("final_abs_diff") / expected("final_rel_diff"))
        assert float(output.stats.abs_error / output.stats.rel_error) == pytest.approx(size, rel=1e-4)
    else:
        assert output.stats is None


def test_crop_matrices_are_the_same_to_the_bit(golden_units):
    matrices = np.stack([crop_matrix(bbox) for bbox in golden_units["bboxes"]])
    np.testing.assert_array_equal(matrices, golden_units["crop_matrices"])


def test_keypoints_go_back_to_the_frame(golden_units):
    pairs = zip(golden_units["kpts_crop"], golden_units["crop_matrices"], strict=True)
    frames = np.stack([to_frame(points, matrix) for points, matrix in pairs])
    assert relative_difference(frames, golden_units["kpts_frame"]) <= 1e-12


def test_video_metrics(golden_units):
    pred, gt = golden_units["video_pred"], golden_units["video_gt"]
    assert video_nme(pred, gt) == pytest.approx(float(golden_units["video_NME"]), rel=1e-12)
    assert video_nmf(pred, gt) == pytest.approx(float(golden_units["video_NMF"]), rel=1e-12)


def test_image_metrics(golden_units):
    nmes = image_nme(golden_units["wflw_pred"], golden_units["wflw_gt"])
    assert relative_difference(nmes, golden_units["wflw_nme_per_image"]) <= 1e-6
    assert nmes.mean() == pytest.approx(float(golden_units["wflw_NME"]), rel=1e-6)
    failures, auc = failure_rate_and_auc(nmes)
    assert failures == pytest.approx(float(golden_units["wflw_FR"]), rel=1e-12)
    assert auc == pytest.approx(float(golden_units["wflw_AUC"]), rel=1e-12)


@pytest.mark.parametrize("index", [0, 1])
def test_wflw_items(index, golden_units):
    image, landmarks = WFLWDataset(GOLDEN / "WFLW", "test")[index]
    image = normalise([image])[0]
    assert relative_difference(image[:, ::4, ::4], golden_units[f"wflw_item/{index}/image_sample"]) <= 1e-6
    assert relative_difference(landmarks, golden_units[f"wflw_item/{index}/kpts"]) <= 1e-6
