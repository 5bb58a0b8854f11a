"""Training on samples without a face: what they are, and that their heatmaps get flat."""

import copy
from contextlib import suppress

import numpy as np
import pytest
import torch

from datasets.training.faces import TrainingSet, training_batches
from datasets.training.no_face import (
    MOST_INSIDE,
    NoFace,
    cut_off,
    far_too_large,
    far_too_small,
    in_pieces,
    share_inside,
)
from datasets.wflw import WFLWDataset
from ldeq import LDEQ, GradientConfig
from ldeq.model.heatmaps import read_keypoints
from tests.conftest import make_small_model
from utils import bundled
from utils.engine.distribution import World
from utils.engine.losses import heatmap_divergence, training_loss
from utils.engine.settings import AugmentationConfig, DataConfig, LossConfig, TrainingConfig
from utils.engine.training import Trainer

NOWHERE = np.full((98, 2), np.nan, dtype=np.float32)


def small_model() -> LDEQ:
    return make_small_model(solver={"max_iters": 2}, im_size=64, heatmap_size=16, n_keypoints=98, z_width=98)


def trainer_of(model: LDEQ, lr: float) -> Trainer:
    config = TrainingConfig(lr=lr, warmup_steps=0)
    return Trainer(model, config, GradientConfig("jfb"), LossConfig(), World(0, 1, torch.device("cpu")))


def samples(share: float, seed: int = 3, **changes) -> TrainingSet:
    """The bundled sample of WFLW with a share of samples without a face."""
    data = DataConfig(dataset_path=str(bundled.WFLW), train_split="test", no_face_share=share, **changes)
    return TrainingSet(data, AugmentationConfig(), seed=seed, im_size=64)


def is_without(landmarks: np.ndarray) -> bool:
    assert np.isnan(landmarks).all() or not np.isnan(landmarks).any()
    return bool(np.isnan(landmarks).all())


# -- the loss ----------------------------------------------------------------------------------------------------------


def test_without_a_face_the_divergence_is_zero_at_flat_heatmaps_alone():
    nowhere = torch.full((1, 2, 2), torch.nan)
    flat = torch.full((1, 2, 16, 16), 0.3)
    assert heatmap_divergence(flat, nowhere, 1.5).item() == pytest.approx(0, abs=1e-5)
    uneven = flat.clone()
    uneven[0, 0, 4, 5] = 0.9
    surer = flat.clone()
    surer[0, 0, 4, 5] = 30.0
    assert 1e-4 < heatmap_divergence(uneven, nowhere, 1.5) < heatmap_divergence(surer, nowhere, 1.5)
    spread = read_keypoints(flat).uncertainty
    assert (spread > read_keypoints(surer).uncertainty.min()).all()
    assert spread.mean().item() == pytest.approx(1 / np.sqrt(12), abs=0.005)


def test_the_gradient_lowers_what_sticks_out():
    logits = torch.zeros(1, 1, 16, 16, requires_grad=True)
    with torch.no_grad():
        logits[0, 0, 2, 2] = 12.0
    heatmap_divergence(torch.exp(logits - logits.amax()), torch.full((1, 1, 2), torch.nan), 1.5).backward()
    assert logits.grad[0, 0, 2, 2] > 0.5
    assert logits.grad[0, 0, 9, 9] < 0
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_faces_beside_a_sample_without_one_have_the_loss_and_gradient_that_they_have_alone(power):
    model = small_model().requires_grad_(True)
    images = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    landmarks = torch.rand(3, 98, 2, generator=torch.Generator().manual_seed(1))
    before = 0.01 * torch.ones(3, 98, 2)
    landmarks[2] = before[2] = torch.nan
    config = LossConfig(interocular_power=power, flicker_weight=1.0, no_face_weight=0.0)

    def found(n: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        model.zero_grad()
        output = model(images[:n], gradient=GradientConfig("jfb"))
        parts = training_loss(model, output, landmarks[:n], config, before[:n])
        (parts["loss"] * n).backward()
        return parts, torch.cat([weight.grad.flatten() for weight in model.parameters()])

    (alone, expected), (mixed, gradient) = found(2), found(3)
    for name in ("loss", "keypoint", "heatmap", "flicker"):
        assert 3 * mixed[name].item() == pytest.approx(2 * alone[name].item(), rel=1e-5)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5)
    assert alone["no_face"] == 0
    assert mixed["no_face"] > 0


def test_figures_are_of_those_that_they_concern():
    """The keypoints' error in the log is the faces', also where a part of the batch has none of them."""
    frames = np.random.default_rng(0).integers(0, 255, (4, 1, 64, 64, 3), dtype=np.uint8)
    landmarks = np.random.default_rng(1).random((4, 1, 98, 2), dtype=np.float32)
    landmarks[2:] = np.nan
    model = small_model()

    def figures(*parts: slice) -> dict[str, float]:
        trainer = trainer_of(copy.deepcopy(model), lr=1e-9)
        trainer.advance([(frames[part], landmarks[part]) for part in parts])
        trainer.meter.seconds = 1.0
        return trainer.meter.take()

    faces, mixed = figures(slice(0, 2)), figures(slice(0, 2), slice(2, 4))
    for name in ("keypoint", "heatmap"):
        assert mixed[name] == pytest.approx(faces[name], rel=1e-5)
    assert "no_face" not in faces
    nothing = figures(slice(2, 4))
    assert mixed["no_face"] == pytest.approx(nothing["no_face"], rel=1e-5)
    assert not {"keypoint", "heatmap"} & nothing.keys()


def test_training_flattens_heatmaps_where_there_is_no_face():
    frames, landmarks = (np.stack(part) for part in zip(*(samples(1.0)[index] for index in range(2)), strict=True))
    model = small_model()
    with torch.no_grad():
        model.cell.head.conv.weight *= 100  # sure of something
    trainer = trainer_of(model, lr=5e-3)
    found = []
    for _ in range(6):
        trainer.advance([(frames, landmarks)])
        trainer.meter.seconds = 1.0
        found.append(trainer.meter.take()["no_face"])
    assert found[-1] < 0.8 * found[0]


# -- samples -----------------------------------------------------------------------------------------------------------


def test_the_share_is_of_all_samples_and_the_others_stay_what_they_are():
    some, none = samples(0.3), samples(0.0)
    without = [some._no_face.has(index) for index in range(1000)]
    assert 250 < sum(without) < 350
    assert not any(none._no_face.has(index) for index in range(1000))
    for index in range(12):
        image, landmarks = some[index]
        face, annotation = none[index]
        assert is_without(landmarks) == without[index]
        assert not is_without(annotation)
        assert np.array_equal(image, face) != without[index]
        assert without[index] or np.array_equal(landmarks, annotation)
    assert all(is_without(samples(1.0)[index][1]) for index in range(3))


def test_samples_do_not_depend_on_who_makes_them():
    whole = list(training_batches(samples(0.5), first_step=0, last_step=2, batch_size=6))
    later = list(training_batches(samples(0.5), first_step=1, last_step=2, batch_size=6, workers=1))
    for found, expected in zip(later[0], whole[1], strict=True):
        assert np.array_equal(found, expected, equal_nan=True)
    assert {is_without(points) for points in whole[1][1]} == {True, False}
    others = samples(0.5, seed=4)
    assert [others._no_face.has(i) for i in range(50)] != [samples(0.5)._no_face.has(i) for i in range(50)]


def test_clips_without_a_face_end_in_the_sample_itself():
    for index in range(6):
        (alone,), _ = samples(1.0)[index]
        frames, landmarks = samples(1.0, clip_length=3)[index]
        assert np.array_equal(frames[-1], alone)
        assert landmarks.shape == (3, 98, 2)
        assert is_without(landmarks)
        assert len({frame.tobytes() for frame in frames}) == 3


@pytest.mark.parametrize("seed", range(3))
def test_places_need_no_face(seed):
    """Half of the samples show none, and are drawn without one; none is of one colour, or the same as another."""

    def none() -> tuple[np.ndarray, np.ndarray]:
        raise LookupError

    images = []
    for index in range(12):
        with suppress(LookupError):
            images += [image for image, _ in NoFace(seed, 64, 1.0).draw(index, 1, none)]
    assert 2 <= len(images) <= 10
    assert len({image.tobytes() for image in images}) == len(images)
    assert all(image.shape == (64, 64, 3) and image.std() > 1 for image in images)


def test_of_a_face_less_than_half_is_left():
    image, landmarks = WFLWDataset(bundled.WFLW, "test")[0]
    points = landmarks.astype(np.float64)
    rng = np.random.default_rng(0)
    for _ in range(40):
        assert share_inside(points, cut_off(rng, points)) < MOST_INSIDE
        large = far_too_large(rng, points)
        assert share_inside(points, large) < MOST_INSIDE
        assert large[0, 0] >= 2
        small = far_too_small(rng, points)
        moved = points @ small[:, :2].T + small[:, 2]
        assert np.ptp(moved, axis=0).max() <= 0.15 + 1e-9
    pieces = in_pieces(rng, image)
    assert abs(float(pieces.mean()) - float(image.mean())) < 3
    assert np.abs(pieces.astype(float) - image).mean() > 10
