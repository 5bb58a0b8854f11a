"""Training: losses, the augmentation, and train_LDEQ.py from its command line."""

import copy
import csv
import dataclasses
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import test_LDEQ_WFLW
import train_LDEQ
from datasets.motion import move_image, move_points, random_jitter, random_motion, random_pace
from datasets.synthetic import FaceImage
from datasets.training.augmentation import augment
from datasets.training.faces import TrainingSet, training_batches
from ldeq import GradientConfig, InputError, LDEQOutput, RecurrentLDEQ, load_checkpoint, save_checkpoint
from ldeq.interrupts import deferred_interrupt
from ldeq.landmarks98 import MIRRORED
from ldeq.model.deq import Equilibrium
from ldeq.model.normalisation import normalise
from tests.conftest import assert_refused, make_small_model
from tests.processes import children_of
from utils import bundled
from utils.engine.distribution import World, collective_backend
from utils.engine.losses import PARTS, face_weights, heatmap_divergence, training_loss
from utils.engine.settings import AugmentationConfig, DataConfig, LossConfig, Settings, TrainingConfig
from utils.engine.training import Trainer, make_trainer
from utils.runs.training import COLUMNS, read_settings
from utils.visualization.training import training_curves

ROOT = Path(__file__).parent.parent

TINY = [
    *("--injection_width", 8, "--cell_base_width", 8, "--cell_width_increment", 4, "--cell_gn_groups", 1),
    *("--im_size", 64, "--heatmap_size", 16, "--max_iters", 3, "--gradient", "jfb", "--device", "cpu"),
    *("--batch_size", 4, "--validation_images", 4, "--workers", 0, "--warmup_steps", 2, "--log_every", 1),
]


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled WFLW sample with a training split."""
    root = Path(shutil.copytree(bundled.WFLW, tmp_path_factory.mktemp("train") / "WFLW"))
    shutil.copytree(root / "test", root / "train")
    shutil.copy(root / "test.txt", root / "train.txt")
    return root


def log_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "faces_per_second"} for row in csv.DictReader(file)]


def column(folder: Path, name: str) -> list[float]:
    return [float(row[name]) for row in log_of(folder) if row[name]]


# -- losses and schedule -----------------------------------------------------------------------------------------------


def test_the_divergence_is_zero_at_the_gaussian_and_grows_away_from_it():
    grid = torch.arange(32, dtype=torch.float64)
    landmarks = torch.tensor([[[0.4, 0.25], [0.99, 0.5]]], dtype=torch.float64)
    squared = ((grid - 32 * landmarks[..., None]) ** 2).unbind(2)
    maps = 7 * torch.exp(-(squared[0][..., None, :] + squared[1][..., :, None]) / (2 * 1.5**2))
    assert heatmap_divergence(maps, landmarks, 1.5).item() == pytest.approx(0, abs=1e-6)
    nearer, farther = (heatmap_divergence(maps, landmarks + shift, 1.5) for shift in (0.01, 0.02))
    assert 0 < nearer < farther


def test_the_divergence_has_a_useful_gradient_where_a_heatmap_is_sure_and_wrong():
    logits = torch.zeros(1, 1, 16, 16, requires_grad=True)
    with torch.no_grad():
        logits[0, 0, 2, 2] = 40.0
    heatmap_divergence(torch.exp(logits - logits.amax()), torch.tensor([[[0.75, 0.75]]]), 1.5).backward()
    assert logits.grad[0, 0, 12, 12] < -0.01
    assert logits.grad[0, 0, 2, 2] > 0.5
    assert torch.isfinite(logits.grad).all()


def test_the_learning_rate_rises_and_falls():
    config = TrainingConfig(steps=100, lr=1.0, final_lr=0.1, warmup_steps=10)
    rates = [config.lr_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == pytest.approx(1.0)
    assert (np.diff(rates[:10]) > 0).all()
    assert (np.diff(rates[10:]) < 0).all()
    assert rates[-1] == pytest.approx(0.1)


def test_iteration_counts_are_drawn_evenly():
    config = TrainingConfig(stochastic_max_iters=True)
    drawn = [config.max_iters_at(step, 5) for step in range(500)]
    assert sorted(set(drawn)) == [1, 2, 3, 4, 5]
    assert min(np.bincount(drawn)[1:]) > 60
    assert TrainingConfig().max_iters_at(3, 5) == 5
    assert TrainingConfig(train_iters=2).max_iters_at(3, 5) == 2
    own = TrainingConfig(clip_iters=3, train_iters=2)
    assert {own.max_iters_at(step, 5, on_clips=True) for step in range(50)} == {3}
    assert {own.max_iters_at(step, 5) for step in range(50)} == {2}
    drawn = dataclasses.replace(own, stochastic_max_iters=True)
    assert {drawn.max_iters_at(step, 5, on_clips=True) for step in range(50)} == {1, 2, 3}
    assert TrainingConfig(train_iters=2).max_iters_at(3, 5, on_clips=True) == 2


# -- faces -------------------------------------------------------------------------------------------------------------


def test_a_mirrored_face_with_its_points_renamed_is_a_face():
    assert [MIRRORED[other] for other in MIRRORED] == list(range(98))
    landmarks = np.load(bundled.ASSETS / "portrait" / "astronaut_landmarks98.npy").astype(float)
    mirrored = (landmarks * [-1, 1])[list(MIRRORED)]
    # Up to position, size and turn the mirror image's points are where the face's own are.
    face, image = ((points - points.mean(axis=0)) @ [1, 1j] for points in (landmarks, mirrored))
    turn = (face @ image.conj()) / (image @ image.conj())
    errors = abs(face - turn * image) / abs(face[60] - face[72])
    assert errors.max() < 0.3
    assert errors.mean() < 0.12


def marked(points: np.ndarray) -> np.ndarray:
    """A black image with a soft white dot at each of a few points, fractions of the side."""
    grid = np.arange(256)
    image = np.zeros((256, 256))
    for x, y in points * 256:
        image += 255 * np.exp(-((grid[None] - x) ** 2 + (grid[:, None] - y) ** 2) / (2 * 2.0**2))
    return np.repeat(image.clip(0, 255).astype(np.uint8)[..., None], 3, axis=-1)


@pytest.mark.parametrize("seed", range(6))
def test_landmarks_move_with_the_image(seed):
    rng = np.random.default_rng(seed)
    landmarks = rng.uniform(0.3, 0.7, (98, 2)).astype(np.float32)
    landmarks[32] = landmarks[0] + 0.1
    landmarks[1:32] = landmarks[16]  # one dot at 0, one at 32 and one in between
    only_moved = AugmentationConfig(colour=0, grey=0, blur=0, noise=0, jpeg=0, occlusion=0)
    for dot in (0, 16, 50):
        image, points = augment(marked(landmarks[[dot]]), landmarks, only_moved, np.random.default_rng([seed, 5]))
        weights = image[..., 0].astype(float)
        found = [float((weights * axis).sum() / weights.sum()) for axis in np.mgrid[:256, :256][::-1]]
        distances = np.linalg.norm(points * 256 - found, axis=1)
        assert min(distances[dot], distances[MIRRORED[dot]]) < 0.3


def test_blur_leaves_the_image_where_it_is():
    image = np.zeros((256, 256, 3), dtype=np.uint8)
    image[96:161, 96:161] = 255
    blurred = AugmentationConfig(
        rotation=0, scaling=0, stretch=0, shift=0, flip=0, colour=0, grey=0, blur=1, noise=0, jpeg=0, occlusion=0
    )
    landmarks = np.full((98, 2), 0.5, dtype=np.float32)
    centres = []
    for seed in range(40):
        found, _ = augment(image, landmarks, blurred, np.random.default_rng(seed))
        weights = found[..., 0].astype(float)
        centres.append([float((weights * axis).sum() / weights.sum()) for axis in np.mgrid[:256, :256][::-1]])
    # Streaks at an angle are drawn to whole pixels, either way.
    np.testing.assert_allclose(centres, np.full((40, 2), 128), atol=0.4)
    np.testing.assert_allclose(np.mean(centres, axis=0), 128, atol=0.05)


def test_mirroring_twice_changes_nothing():
    config = AugmentationConfig(
        rotation=0, scaling=0, stretch=0, shift=0, flip=1, colour=0, grey=0, blur=0, noise=0, jpeg=0, occlusion=0
    )
    image = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    landmarks = np.random.default_rng(1).uniform(0.1, 0.9, (98, 2)).astype(np.float32)
    once = augment(image, landmarks, config, np.random.default_rng(2))
    assert not np.array_equal(once[0], image)
    twice = augment(*once, config, np.random.default_rng(3))
    assert np.array_equal(twice[0], image)
    np.testing.assert_allclose(twice[1], landmarks, atol=1e-6)


def test_faces_do_not_depend_on_who_makes_them(faces):
    """Nor on where a run begins: workers, processes and parts give the same faces in the same places."""
    source = TrainingSet(DataConfig(dataset_path=str(faces)), AugmentationConfig(), seed=3, im_size=64)
    whole = list(training_batches(source, first_step=0, last_step=3, batch_size=4))
    later = list(training_batches(source, first_step=2, last_step=3, batch_size=4, workers=2))
    assert np.array_equal(later[0][0], whole[2][0])
    shares = [
        list(training_batches(source, first_step=0, last_step=3, batch_size=4, parts=2, rank=rank, size=2))
        for rank in (0, 1)
    ]
    for step, (images, landmarks) in enumerate(whole):
        in_order = [shares[rank][2 * step + part] for part in (0, 1) for rank in (0, 1)]
        assert np.array_equal(np.concatenate([share[0] for share in in_order]), images)
        assert np.array_equal(np.concatenate([share[1] for share in in_order]), landmarks)
    assert len({image.tobytes() for images, _ in whole for image in images}) == 12
    other = TrainingSet(DataConfig(dataset_path=str(faces)), AugmentationConfig(), seed=4, im_size=64)
    assert not np.array_equal(other[0][0], source[0][0])


def test_synthetic_faces_are_mixed_in_by_their_share(faces, monkeypatch):
    class Plain:
        """Stands in for the generator: an image of one level says who drew it."""

        def __init__(self, seed, *args, **options):
            self.seed = seed

        def draw(self, index):
            image = np.full((256, 256, 3), 7, dtype=np.uint8)
            return FaceImage(image, np.full((98, 2), index / 1000, dtype=np.float32), frozenset())

        def draw_clip(self, index, clip_length):
            return [self.draw(index)] * clip_length

    monkeypatch.setitem(sys.modules, "datasets.synthetic", types.SimpleNamespace(SyntheticFaces=Plain))
    data = DataConfig(dataset_path=str(faces), synthetic=True, synthetic_share=0.25)
    source = TrainingSet(data, AugmentationConfig(augment=False), seed=0, im_size=64)
    drawn = [index for index in range(200) if (source[index][0] == 7).all()]
    assert 35 < len(drawn) < 65
    assert all(np.allclose(source[index][1], index / 1000) for index in drawn[:5])
    alone = TrainingSet(DataConfig(synthetic=True), AugmentationConfig(), seed=0, im_size=64)
    assert all((alone[index][0] == 7).all() for index in range(5))


def test_clips_end_in_the_sample_itself(faces):
    def source(length, **changes):
        config = AugmentationConfig(**changes)
        return TrainingSet(DataConfig(dataset_path=str(faces), clip_length=length), config, seed=3, im_size=64)

    for index in range(3):
        (alone,), landmarks = source(1)[index]
        frames, same = source(3)[index]
        assert frames.shape == (3, 64, 64, 3)
        assert np.array_equal(frames[-1], alone)
        assert same.shape == (3, 98, 2)
        assert np.array_equal(same[-1], landmarks[0])
        assert len({frame.tobytes() for frame in frames}) == 3
    # Nothing but the motion: a face moves by a few percent of the crop from one frame to the next.
    still = dict.fromkeys(("colour", "grey", "blur", "noise", "jpeg", "occlusion"), 0.0)
    changes = [np.abs(np.diff(source(2, **still)[index][0].astype(float), axis=0)).mean() for index in range(8)]
    assert 1 < np.median(changes) < 30


def test_landmarks_follow_a_motion():
    rng = np.random.default_rng(0)
    points = rng.uniform(0.3, 0.7, (4, 2))
    for seed in range(6):
        motions = [random_motion(np.random.default_rng([seed, step])) for step in range(2)]
        motions.append(random_jitter(np.random.default_rng(seed), severity=1.0))
        moved = move_points(points, motions)
        assert 0 < np.linalg.norm(moved - points, axis=1).mean() < 0.2
        for before, after in zip(points, moved, strict=True):
            image = move_image(marked(before[None]), motions)[..., 0].astype(float)
            found = [float((image * axis).sum() / image.sum()) for axis in np.mgrid[:256, :256][::-1]]
            assert np.linalg.norm(after * 256 - found) < 1.0


def test_a_clip_moves_at_its_pace():
    points = np.random.default_rng(0).uniform(0, 1, (20, 2))
    for seed in range(4):

        def moved(pace, seed=seed):
            return random_motion(np.random.default_rng(seed), pace).displacement(points)

        def jittered(pace, seed=seed):
            return random_jitter(np.random.default_rng(seed), severity=0.5, pace=pace).displacement(points)

        for pace in (0.0, 0.3, 2.0):
            assert np.allclose(moved(pace), pace * moved(1.0))
            assert np.allclose(jittered(pace), min(pace, 1.0) * jittered(1.0))  # a detector's jitter has its own bound
    # Mostly slow, as a head is that talks, and now and then fast.
    paces = np.array([random_pace(np.random.default_rng(seed)) for seed in range(300)])
    assert 0.3 < np.median(paces) < 0.7
    assert 0.1 < (paces > 1).mean() < 0.4


def test_clips_are_tracked_as_rwr_tracks_videos(faces, monkeypatch):
    data = DataConfig(dataset_path=str(faces), clip_length=3)
    model = make_small_model(im_size=64, heatmap_size=16, n_keypoints=98, z_width=98)
    source = TrainingSet(data, AugmentationConfig(), seed=3, im_size=64)
    (batch,) = training_batches(source, first_step=0, last_step=1, batch_size=2)
    starts = []
    forward = model.forward

    def watched(images, z0=None, *arguments, **options):
        starts.append(z0)
        return forward(images, z0, *arguments, **options)

    monkeypatch.setattr(model, "forward", watched)
    config = TrainingConfig(lr=1e-9, warmup_steps=0)
    trainer = Trainer(model, config, GradientConfig(gradient="jfb"), LossConfig(), World(0, 1, torch.device("cpu")))
    for length in (1, 3):
        starts.clear()
        trainer.advance([(batch[0][:, -length:], batch[1][:, -length:])])
        assert len(starts) == length
        assert starts[0] is None
    assert all(z0 is not None and not z0.requires_grad for z0 in starts[1:])
    tracker = RecurrentLDEQ(model.train())
    with torch.no_grad():
        expected = [tracker.step(normalise(batch[0][:, index]), ["a", "b"]).z_star for index in range(2)]
    torch.testing.assert_close(starts[1], expected[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(starts[2], expected[1], atol=1e-5, rtol=1e-4)


def random_clips(count: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """A clip of so many frames of 64 pixels of each of two faces, and landmarks."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 255, (2, count, 64, 64, 3), dtype=np.uint8), rng.random((2, count, 98, 2), dtype=np.float32)


def test_steps_on_clips_have_a_gradient_and_iterations_of_their_own():
    """Jacobian-free from zeros, unrolled from where the clip led to: each step's gradient is that of its own kind."""
    model = make_small_model(im_size=64, heatmap_size=16, n_keypoints=98, z_width=98)
    frames, landmarks = random_clips()

    def gradient(length: int, kind: str, **options) -> torch.Tensor:
        copied = copy.deepcopy(model)
        config = TrainingConfig(clip_norm=0, **options)
        trainer = Trainer(copied, config, GradientConfig(kind), LossConfig(), World(0, 1, torch.device("cpu")))
        trainer.advance([(frames[:, -length:], landmarks[:, -length:])])
        return torch.cat([weight.grad.flatten() for weight in copied.parameters()])

    own = {"clip_gradient": "unrolled", "clip_iters": 1}
    torch.testing.assert_close(gradient(1, "jfb", **own), gradient(1, "jfb"))
    unrolled = gradient(2, "unrolled", train_iters=1)
    torch.testing.assert_close(gradient(2, "jfb", **own), unrolled)
    assert (gradient(2, "jfb") - unrolled).norm() > 0.01 * unrolled.norm()


@pytest.mark.parametrize("n_trained", [1, 2, 3])
def test_gradients_run_through_the_frames_that_are_trained_on(n_trained):
    """As if the cell were one network unrolled over time; the frames before them are tracked without a gradient."""
    model = make_small_model(im_size=64, heatmap_size=16, n_keypoints=98, z_width=98)
    frames, landmarks = random_clips(3)
    loss_config = LossConfig(flicker_weight=0.5)
    config = TrainingConfig(clip_norm=0, bptt_steps=n_trained, clip_gradient="unrolled", clip_iters=1)
    trained = copy.deepcopy(model)
    trainer = Trainer(trained, config, GradientConfig("jfb"), loss_config, World(0, 1, torch.device("cpu")))
    trainer.advance([(frames, landmarks)])
    if config.is_reversed(0, 3):
        frames, landmarks = frames[:, ::-1], landmarks[:, ::-1].copy()
    truth = torch.from_numpy(landmarks)
    tracker = RecurrentLDEQ(model.train())
    before = [tracker.step(normalise(frames[:, index]), range(2)) for index in range(3 - n_trained)]
    z = before[-1].z_star if before else torch.zeros(2, *model.z_shape)
    errors = before[-1].keypoints - truth[:, 2 - n_trained] if before else None
    losses = []
    for index in range(3 - n_trained, 3):
        z = model.cell(z, model.inject(normalise(frames[:, index])))
        keypoints = model.read_out(z)
        output = LDEQOutput(keypoints.position, keypoints.uncertainty, Equilibrium(z, None, None))
        losses.append(training_loss(model, output, truth[:, index], loss_config, errors)["loss"])
        errors = keypoints.position - truth[:, index]
    torch.stack(losses).mean().backward()
    for (name, weight), (_, expected) in zip(trained.named_parameters(), model.named_parameters(), strict=True):
        torch.testing.assert_close(weight.grad, expected.grad, rtol=1e-3, atol=1e-5, msg=name)
    trainer.meter.seconds = 1.0
    assert trainer.meter.take()["loss"] == pytest.approx(float(torch.stack(losses).mean().detach()), rel=1e-4)


def test_clips_run_backwards_in_half_of_the_steps_that_train_on_whole_ones():
    config = TrainingConfig(bptt_steps=3)
    assert 160 < sum(config.is_reversed(step, 3) for step in range(400)) < 240
    assert not any(config.is_reversed(step, length) for step in range(50) for length in (1, 2, 4))
    assert not any(TrainingConfig().is_reversed(step, 1) for step in range(50))


@torch.no_grad()
def test_flicker_is_the_change_of_the_errors_since_the_frame_before():
    model = make_small_model(im_size=64, heatmap_size=16, n_keypoints=98, z_width=98)
    output = model(torch.randn(2, 3, 64, 64))
    landmarks = torch.rand(2, 98, 2)
    errors = output.keypoints - landmarks
    config = LossConfig(flicker_weight=2.0)
    without = training_loss(model, output, landmarks, config)
    assert "flicker" not in without
    for change, flicker in ((0.0, 0.0), (0.03, 3.0), (-0.01, 1.0)):
        parts = training_loss(model, output, landmarks, config, errors + change)
        assert float(parts["flicker"]) == pytest.approx(flicker, abs=1e-4)
        assert float(parts["loss"] - without["loss"]) == pytest.approx(2 * flicker, abs=1e-4)
        assert "flicker" not in training_loss(model, output, landmarks, LossConfig(), errors + change)


def test_flicker_is_trained_on_where_there_is_a_frame_before():
    model = make_small_model(im_size=64, heatmap_size=16, n_keypoints=98, z_width=98)
    config, weights = TrainingConfig(lr=1e-9), LossConfig(flicker_weight=1.0)
    trainer = Trainer(model, config, GradientConfig("jfb"), weights, World(0, 1, torch.device("cpu")))
    frames, landmarks = random_clips()
    found = []
    # The mean of a row of the log is that of the steps that have it.
    for steps in ((1,), (2,), (1, 2, 1)):
        for length in steps:
            trainer.advance([(frames[:, -length:], landmarks[:, -length:])])
        trainer.meter.seconds = 1.0
        found.append(trainer.meter.take().get("flicker"))
    tracker = RecurrentLDEQ(model.train())
    with torch.no_grad():
        before, after = (tracker.step(normalise(frames[:, index]), ["a", "b"]).keypoints.numpy() for index in (0, 1))
    changes = (after - landmarks[:, 1]) - (before - landmarks[:, 0])
    flicker = pytest.approx(100 * np.abs(changes).mean(), rel=1e-3)
    assert found == [None, flicker, flicker]


def test_a_step_that_is_skipped_leaves_nothing():
    """Neither in the weights nor in BatchNorm's statistics."""
    model = make_small_model(im_size=64, heatmap_size=16, n_keypoints=98, z_width=98)
    trainer = Trainer(model, TrainingConfig(), GradientConfig("jfb"), LossConfig(), World(0, 1, torch.device("cpu")))
    stem = model.tail[0].conv.weight
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        stem.fill_(torch.inf)
    trainer.advance([random_clips(1)])
    with torch.no_grad():
        stem.copy_(kept["tail.0.conv.weight"])
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, kept[name], atol=0, rtol=0, msg=name)
    trainer.meter.seconds = 1.0
    assert trainer.meter.take()["skipped_steps"] == 1


def test_every_part_of_the_loss_is_drawn():
    columns = {name: ([1, 2], [0.5, 0.25]) for name in COLUMNS}
    labels = {line.get_label() for axes in training_curves(columns).axes for line in axes.get_lines()}
    assert set(PARTS) <= labels


def test_other_processes_that_are_not_there_are_refused_in_one_sentence(faces, tmp_path, run_script, monkeypatch):
    for environment, sentence in (
        ({"WORLD_SIZE": "many"}, "WORLD_SIZE is 'many'"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE = 2 but RANK is ''"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_PORT": "29500"}, "MASTER_ADDR is not set"),
    ):
        for name, word in environment.items():
            monkeypatch.setenv(name, word)
        status, _, err = run_script(train_LDEQ.main, *TINY, "--dataset_path", faces, "--output_dir", tmp_path / "out")
        assert status == 2
        assert sentence in err
        assert len(err.splitlines()) == 1


def test_in_half_precision_clips_leave_every_weight_its_gradient():
    model = make_small_model(im_size=64, heatmap_size=16, n_keypoints=98, z_width=98)
    config = TrainingConfig(precision="bf16", clip_probability=1.0)
    trainer = Trainer(model, config, GradientConfig(), LossConfig(), World(0, 1, torch.device("cpu")))
    trainer.advance([random_clips()])
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []


def test_only_steps_on_clips_have_them(faces):
    config = TrainingConfig(clip_probability=0.3)
    on_clips = [config.is_on_clips(step) for step in range(400)]
    assert 85 < sum(on_clips) < 160
    data = DataConfig(dataset_path=str(faces), clip_length=3)
    source = TrainingSet(data, AugmentationConfig(), seed=3, im_size=64)
    all_clips = list(training_batches(source, first_step=0, last_step=8, batch_size=2))
    some = list(training_batches(source, first_step=0, last_step=8, batch_size=2, is_on_clips=config.is_on_clips))
    assert {frames.shape[1] for frames, _ in some} == {1, 3}
    for step, (frames, landmarks) in enumerate(some):
        assert frames.shape[1] == (3 if on_clips[step] else 1)
        np.testing.assert_array_equal(frames, all_clips[step][0][:, -frames.shape[1] :])
        np.testing.assert_array_equal(landmarks, all_clips[step][1][:, -frames.shape[1] :])


def test_weights_of_faces_follow_nme():
    landmarks = torch.zeros(2, 98, 2)
    landmarks[:, 72, 0] = torch.tensor([0.4, 0.1])
    assert face_weights(landmarks, 0.0).tolist() == [1, 1]
    assert face_weights(landmarks, 1.0).tolist() == pytest.approx([1, 4])


# -- the script --------------------------------------------------------------------------------------------------------


def test_a_short_run_learns(faces, tmp_path, run_script):
    out = tmp_path / "run"
    options = ["--augment", "false", "--steps", 40, "--validate_every", 10, "--lr", "1e-2", "--ema_decay", 0.5]
    status, shown, err = run_script(train_LDEQ.main, *TINY, *options, "--dataset_path", faces, "--output_dir", out)
    assert status == 0, err
    nme = column(out, "validation_NME")
    assert nme[-1] < 0.85 * nme[0]
    loss = column(out, "loss")
    assert loss[-1] < 0.6 * loss[0]
    assert f"{nme[-1]:.3f}" in shown
    assert {path.name for path in out.iterdir()} >= {"run.json", "curves.png", "best.pth.tar", "last.pth.tar"}
    assert cv2.imread(str(out / "curves.png")) is not None
    assert json.loads((out / "run.json").read_text())["settings"]["training"]["lr"] == 0.01


def test_the_evaluation_script_finds_what_validation_found(faces, tmp_path, run_script):
    out = tmp_path / "run"
    options = ["--im_size", 256, "--heatmap_size", 64, "--steps", 1, "--validation_images", 100]
    status, _, err = run_script(train_LDEQ.main, *TINY, *options, "--dataset_path", faces, "--output_dir", out)
    assert status == 0, err
    status, _, err = run_script(
        test_LDEQ_WFLW.main,
        *("--landmark_model_weights", out / "final.pth.tar", "--dataset_path", faces, "--split", "test"),
        *("--output_dir", tmp_path / "evaluated", "--device", "cpu"),
    )
    assert status == 0, err
    figures = json.loads((tmp_path / "evaluated" / "results.json").read_text())["splits"]["test"]
    assert figures["NME"] == pytest.approx(column(out, "validation_NME")[-1], rel=1e-4)
    assert figures["FR"] == column(out, "validation_FR")[-1]


TWO_PROCESSES = ("--nproc_per_node", "2", "--standalone")


def train(faces: Path, out: Path, *options: object, launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """The script in processes of its own."""
    launch = [sys.executable, *(("-m", "torch.distributed.run", *launcher) if launcher else ()), "train_LDEQ.py"]
    arguments = map(str, [*TINY, "--dataset_path", faces, "--output_dir", out, *options])
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*launch, *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_row(out: Path, step: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 400
    while process.poll() is None and time.monotonic() < deadline:
        if (out / "log.csv").is_file() and len((out / "log.csv").read_text().splitlines()) > step:
            return
        time.sleep(0.02)
    raise AssertionError(f"no row {step}: {process.communicate()}")


def test_a_log_of_something_else_is_kept(faces, tmp_path, run_script):
    (tmp_path / "log.csv").write_text("epoch,loss\n1,2\n")
    status, _, err = run_script(train_LDEQ.main, *TINY, "--dataset_path", faces, "--steps", 1, "--output_dir", tmp_path)
    assert status == 2
    assert f"{tmp_path}: holds a training run" in err
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


def test_signals_of_one_wish_are_one_and_a_later_one_interrupts(monkeypatch):
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    with deferred_interrupt(patience=5) as interrupt:
        assert not interrupt.requested
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
        assert interrupt.requested
        now += 6
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def no_more_space(*arguments):
    raise OSError(28, "No space left on device", "disk")


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_nothing_had_happened(faces, tmp_path, run_script):
    options = [
        "--steps",
        16,
        "--save_every",
        3,
        "--validate_every",
        8,
        "--stochastic_max_iters",
        "--gradient",
        "implicit",
    ]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    status, _, err = run_script(train_LDEQ.main, *TINY, *options, "--dataset_path", faces, "--output_dir", whole)
    assert status == 0, err

    process = train(faces, killed, *options)
    wait_for_row(killed, 4, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(log_of(killed)) < 16
    process = train(faces, killed, "--gradient", "implicit", "--resume", "--workers", 2)
    wait_for_row(killed, 8, process)
    # To all at once, as systemd does, and to the group, as timeout and torchrun do.
    for each in (*children_of(process.pid), process.pid):
        os.kill(each, signal.SIGTERM)
    os.killpg(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "--resume --output_dir" in err
    assert "Traceback" not in err

    status, _, err = run_script(train_LDEQ.main, "--resume", "--output_dir", killed)  # the settings are the run's own
    assert status == 0, err
    assert log_of(killed) == log_of(whole)
    one, other = (load_checkpoint(folder / "final.pth.tar").state_dict() for folder in (whole, killed))
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.slow
def test_two_processes_train_as_one(faces, tmp_path, run_script):
    options = ["--steps", 5, "--validate_every", 5, "--head_scale", 0.01, "--clip_norm", 0, "--accumulate", 2]
    options += [
        "--clip_length",
        3,
        "--bptt_steps",
        2,
        "--clip_probability",
        0.5,
        "--clip_gradient",
        "unrolled",
        "--clip_iters",
        2,
        "--flicker_weight",
        1,
    ]
    one, two = tmp_path / "one", tmp_path / "two"
    status, _, err = run_script(train_LDEQ.main, *TINY, *options, "--dataset_path", faces, "--output_dir", one)
    assert status == 0, err
    pair = train(faces, two, *options, launcher=TWO_PROCESSES)
    _, err = pair.communicate(timeout=600)
    assert pair.returncode == 0, err
    for name in ("loss", "keypoint", "heatmap", "lr", "validation_NME"):
        np.testing.assert_allclose(column(two, name), column(one, name), rtol=1e-4, err_msg=name)


@pytest.mark.slow
def test_a_image_that_one_process_cannot_read_ends_them_all(faces, tmp_path):
    root = Path(shutil.copytree(faces, tmp_path / "WFLW"))
    damaged = sorted((root / "train").glob("*.jpg"))[-1]
    damaged.write_bytes(damaged.read_bytes()[:100])
    out = tmp_path / "run"
    pair = train(root, out, "--steps", 40, "--save_every", 1, launcher=TWO_PROCESSES)
    _, err = pair.communicate(timeout=600)
    assert pair.returncode != 0
    assert str(damaged) in err
    assert "RuntimeError" not in err, "the other process lost its connection"
    assert (out / "last.pth.tar").is_file()


BAD = {
    "nothing to train on": (["--steps", 3], "--dataset_path (WFLW), --synthetic, or both"),
    "no such split": (["--dataset_path", "{faces}", "--train_split", "other"], "other.txt"),
    "batch size": (["--dataset_path", "{faces}", "--accumulate", 3], "batch_size = 4, expected a multiple of"),
    "sizes": (["--dataset_path", "{faces}", "--im_size", 128], "heatmap_size = 16, expected a quarter of"),
    "gradient": (["--dataset_path", "{faces}", "--correction_weight", 1], "--n_corrections"),
    "jacobian": (["--dataset_path", "{faces}", "--jacobian_weight", 1], "--n_probes"),
    "jacobian of no equilibrium": (
        ["--dataset_path", "{faces}", "--jacobian_weight", 1, "--n_probes", 1, "--gradient", "unrolled"],
        "implicit or jfb gradients",
    ),
    "far too large": (["--dataset_path", "{faces}", "--injection_width", 4 * 10**24], "expected a whole number below"),
    "larger than any float": (["--dataset_path", "{faces}", "--steps", 10**400], "expected a whole number below 2**31"),
    "turned heads of no synthetic faces": (
        ["--dataset_path", "{faces}", "--turned_heads", 0.2],
        "turned_heads = 0.2 without synthetic faces, expected --synthetic as well",
    ),
    "augmentation of no images": (
        ["--synthetic", "--rotation", 20],
        "rotation = 20.0 without WFLW's crops, expected --dataset_path as well",
    ),
    "learning rate": (["--dataset_path", "{faces}", "--lr", 0], "lr = 0.0, expected more than 0"),
    "no number": (["--dataset_path", "{faces}", "--lr", "nan"], "'nan' is not a finite number"),
    "validation": (["--synthetic", "--validation_split", "test"], "expected --dataset_path"),
    "weights": (["--dataset_path", "{faces}", "--init_weights", "{faces}/none"], "no such file"),
    "other weights": (
        ["--dataset_path", "{faces}", "--init_weights", "synthetic"],
        "expected weights of the same network",
    ),
    "held-out people": (["--synthetic", "--seed", 10_000_000], "expected less than 10000000"),
    "unrolled corrections": (
        ["--dataset_path", "{faces}", "--gradient", "unrolled", "--correction_weight", 1],
        "--n_corrections",
    ),
    "no clips": (["--dataset_path", "{faces}", "--clip_probability", 0.5], "clip_length = 1, expected both"),
    "iterations of no clips": (["--dataset_path", "{faces}", "--clip_iters", 2], "expected --clip_probability as well"),
    "gradient of no clips": (
        ["--dataset_path", "{faces}", "--clip_gradient", "jfb"],
        "clip_gradient = 'jfb' without steps on clips",
    ),
    "flicker of no clips": (
        ["--dataset_path", "{faces}", "--flicker_weight", 1],
        "expected --clip_probability as well",
    ),
    "weight of nothing": (
        ["--dataset_path", "{faces}", "--no_face_weight", 2],
        "no_face_weight = 2.0 without samples without a face, expected --no_face_share as well",
    ),
    "flat heatmaps that do not count": (
        ["--dataset_path", "{faces}", "--no_face_share", 0.1, "--heatmap_weight", 0],
        "heatmap_weight = 0 with no_face_share above 0",
    ),
    "bptt of no clips": (
        ["--dataset_path", "{faces}", "--bptt_steps", 2],
        "bptt_steps = 2 without steps on clips",
    ),
    "bptt over more than the clip": (
        ["--dataset_path", "{faces}", "--clip_length", 2, "--clip_probability", 0.5, "--bptt_steps", 3],
        "bptt_steps = 3, expected at most clip_length = 2",
    ),
    "nothing to resume": (["--resume"], "expected the folder of a training run"),
    "two starts": (["--resume", "--init_weights", "{faces}"], "expected one of them"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_bad_settings_are_refused_in_one_sentence(case, faces, tmp_path, run_script):
    options, sentence = BAD[case]
    options = [str(option).format(faces=faces) for option in options]
    status, _, err = run_script(train_LDEQ.main, *TINY, "--output_dir", tmp_path / "out", *options)
    assert status == 2
    assert sentence in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_networks_for_other_landmarks_are_refused(faces, tmp_path, run_script):
    save_checkpoint(tmp_path / "other.pth.tar", make_small_model(n_keypoints=68))
    options = ["--dataset_path", faces, "--init_weights", tmp_path / "other.pth.tar", "--device", "cpu"]
    status, _, err = run_script(train_LDEQ.main, *options, "--output_dir", tmp_path / "out")
    assert status == 2
    assert "n_keypoints = 68, expected 98" in err


def test_a_run_of_another_version_is_refused_by_the_settings_that_are_gone(faces, tmp_path, run_script):
    out = tmp_path / "run"
    assert run_script(train_LDEQ.main, *TINY, "--dataset_path", faces, "--steps", 1, "--output_dir", out)[0] == 0
    description = json.loads((out / "run.json").read_text())
    description["settings"]["data"] |= {"views": 1}
    description["settings"]["training"] |= {"follow_views": 0.0}
    (out / "run.json").write_text(json.dumps(description))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    status, _, err = run_script(train_LDEQ.main, "--resume", "--output_dir", out)
    assert status == 2
    assert f"{out / 'run.json'}: its run was begun by another version" in err
    assert "settings that this one does not have (views, follow_views)" in err
    assert f"a new one can start from its weights: --init_weights {out / 'best.pth.tar'}" in err
    assert len(err.splitlines()) == 1
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_folder_with_a_run_is_not_overwritten(faces, tmp_path, run_script):
    arguments = [*TINY, "--dataset_path", faces, "--output_dir", tmp_path / "run", "--steps", 2]
    assert run_script(train_LDEQ.main, *arguments)[0] == 0
    rows = log_of(tmp_path / "run")
    status, _, err = run_script(train_LDEQ.main, *arguments)
    assert status == 2
    assert "holds a training run, expected --resume" in err
    status, _, err = run_script(train_LDEQ.main, *arguments, "--resume", "--lr", "0.5")
    assert status == 2
    assert "lr (then 0.001, now 0.5)" in err
    assert log_of(tmp_path / "run") == rows


def test_an_unreadable_face_ends_the_run_in_one_sentence(faces, tmp_path, run_script):
    root = Path(shutil.copytree(faces, tmp_path / "WFLW"))
    for path in (root / "train").iterdir():
        path.write_bytes(b"no image")
    for workers in (0, 1):
        status, _, err = run_script(
            train_LDEQ.main,
            *TINY,
            "--workers",
            workers,
            "--dataset_path",
            root,
            "--output_dir",
            tmp_path / f"{workers}",
        )
        assert status == 2
        assert "cannot be read as an image" in err
        assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "options", [["--lr", "1e300"], ["--final_lr", "1e300"], ["--weight_decay", "1e300"], ["--heatmap_sigma", "1e300"]]
)
def test_numbers_that_training_cannot_compute_with_are_refused_in_one_sentence(options, faces, tmp_path, run_script):
    out = tmp_path / "run"
    assert_refused(
        run_script(train_LDEQ.main, *TINY, "--dataset_path", faces, "--output_dir", out, "--steps", 4, *options)
    )
    assert not (out / "final.pth.tar").exists()


@pytest.mark.parametrize(("steps", "most_skipped"), [(5, 30), (20, 3)])
def test_weights_that_diverge_end_the_run_in_one_sentence_and_the_last_good_state_is_kept(
    steps, most_skipped, faces, tmp_path, run_script, monkeypatch
):
    """After so many steps, or at the end of a run that has hardly had any."""
    monkeypatch.setattr("utils.engine.training._MOST_SKIPPED", most_skipped)
    clip, norms = torch.nn.utils.clip_grad_norm_, []

    def diverging(parameters, *arguments):
        norms.append(clip(parameters, *arguments))
        return norms[-1] if len(norms) <= 2 else torch.tensor(torch.nan)

    monkeypatch.setattr("torch.nn.utils.clip_grad_norm_", diverging)
    out = tmp_path / "run"
    options = ["--dataset_path", faces, "--output_dir", out, "--steps", steps, "--save_every", 1]
    outcome = run_script(train_LDEQ.main, *TINY, *options)
    assert_refused(outcome, "step 5: gradients have not been finite for 3 steps in a row", "expected a lower --lr")
    assert torch.load(out / "last.pth.tar")["step"] == 2
    assert not (out / "final.pth.tar").exists()


def test_a_step_that_leaves_weights_that_are_not_finite_ends_training():
    model = make_small_model(im_size=64, heatmap_size=16, n_keypoints=98, z_width=98)
    trainer = Trainer(model, TrainingConfig(), GradientConfig("jfb"), LossConfig(), World(0, 1, torch.device("cpu")))
    averages = {name: value.clone() for name, value in trainer.average.state_dict().items()}
    trainer._optimiser.register_step_post_hook(lambda *_: model.tail[0].conv.weight.data.fill_(torch.inf))
    with pytest.raises(InputError, match="step 1: weights are not finite any more, expected a lower --lr"):
        trainer.advance([random_clips(1)])
    assert all(torch.equal(averages[name], value) for name, value in trainer.average.state_dict().items())


def test_training_goes_on_from_weights_at_another_size(faces, tmp_path, run_script):
    first, second = tmp_path / "first", tmp_path / "second"
    data = ["--dataset_path", faces, "--steps", 1]
    assert run_script(train_LDEQ.main, *TINY, *data, "--output_dir", first)[0] == 0
    status, _, err = run_script(
        train_LDEQ.main,
        *("--init_weights", first / "final.pth.tar", "--im_size", 128, "--heatmap_size", 32),
        *(*data, "--output_dir", second, "--batch_size", 2, "--validation_images", 2, "--workers", 0),
    )
    assert status == 0, err
    config = load_checkpoint(second / "final.pth.tar").config
    assert (config.injection_width, config.im_size) == (8, 128)


def test_a_run_that_ends_before_its_first_state_keeps_the_weights_it_started_from(
    faces, tmp_path, run_script, monkeypatch
):
    first, whole, killed = tmp_path / "first", tmp_path / "whole", tmp_path / "killed"
    data = ["--dataset_path", faces, "--steps", 2]
    assert run_script(train_LDEQ.main, *TINY, *data, "--output_dir", first)[0] == 0
    start = [*TINY, *data, "--init_weights", first / "final.pth.tar", "--seed", 1]
    assert run_script(train_LDEQ.main, *start, "--output_dir", whole)[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "advance", no_more_space)
        assert run_script(train_LDEQ.main, *start, "--output_dir", killed)[0] == 2
    (first / "final.pth.tar").unlink()
    assert run_script(train_LDEQ.main, "--resume", "--workers", 0, "--output_dir", killed)[0] == 0
    assert log_of(killed) == log_of(whole)
    description = json.loads((killed / "run.json").read_text())
    assert description["init_weights"] == str(first / "final.pth.tar")
    assert len(description["resumed"]) == 1


def test_resuming_takes_the_newest_run_that_is_not_finished(faces, tmp_path, run_script, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stopped, finished = (tmp_path / "results" / "train_LDEQ" / name for name in ("stopped", "finished"))
    arguments = [*TINY, "--dataset_path", faces, "--steps", 1, "--output_dir"]
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "advance", no_more_space)
        assert run_script(train_LDEQ.main, *arguments, stopped)[0] == 2
    assert run_script(train_LDEQ.main, *arguments, finished)[0] == 0
    os.utime(stopped, (0, 0))
    assert not (stopped / "final.pth.tar").exists()
    assert run_script(train_LDEQ.main, "--resume", "--workers", 0)[0] == 0
    assert (stopped / "final.pth.tar").is_file()


def test_devices_that_cannot_exchange_tensors_are_refused():
    assert [collective_backend(torch.device(kind)) for kind in ("cpu", "cuda")] == ["gloo", "nccl"]
    with pytest.raises(InputError, match="several processes on devices of type mps"):
        collective_backend(torch.device("mps"))


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("run.json", "[]", "is no object"),
        ("run.json", '{"settings": null}', "has no settings"),
        ("run.json", '{"settings": {"data": {"warmth": 1}}}', "settings that this one does not have (warmth)"),
        ("last.pth.tar", {"step": 1}, "does not fit its settings"),
        ("last.pth.tar", {}, "does not fit its settings"),
        ("last.pth.tar", None, "no such file"),
        ("log.csv", "x\ny\n", "has no column 'step'"),
        ("log.csv", "step,loss\n1,low\n", "cannot be read"),
    ],
)
def test_a_damaged_run_is_refused_in_one_sentence(file, content, sentence, faces, tmp_path, run_script):
    out = tmp_path / "run"
    assert run_script(train_LDEQ.main, *TINY, "--dataset_path", faces, "--steps", 1, "--output_dir", out)[0] == 0
    if content is None:
        (out / file).unlink()
    elif isinstance(content, str):
        (out / file).write_text(content)
    else:
        torch.save(content, out / file)
    status, _, err = run_script(train_LDEQ.main, "--resume", "--output_dir", out)
    assert status == 2
    assert sentence in err
    assert len(err.splitlines()) == 1


def change(*path, by=None, to=None):
    """A change of a training state: what is at a path of keys becomes ``to``, or its first number becomes ``by``."""

    def apply(state):
        *parents, last = path
        for key in parents:
            state = state[key]
        if by is None:
            state[last] = to
        else:
            state[last][(0,) * state[last].ndim] = by

    return apply


WEIGHT = "tail.0.conv.weight"
NUMBERS = {
    "a negative step": (change("step", to=-1), "step is -1, expected 0 to 4"),
    "a step past the end": (change("step", to=10**9), "step is 1000000000"),
    "a step before its updates": (change("step", to=1), "n_averaged is 2, expected 0 to 1"),
    "a step that is no number": (change("step", to="2"), "step is '2'"),
    "a step that is a fraction": (change("step", to=2.0), "step is 2.0"),
    "a step that is a tensor": (change("step", to=torch.tensor(2)), "step is tensor(2)"),
    "skipped steps": (change("n_skipped", to=10**6), "n_skipped is 1000000"),
    "the best figure": (change("best_nme", to=math.nan), "best_nme is nan"),
    "a negative best figure": (change("best_nme", to=-1.0), "best_nme is -1.0"),
    "a weight": (change("model", WEIGHT, by=math.nan), f"model, {WEIGHT} is not finite"),
    "a weight's type": (change("model", WEIGHT, to=torch.zeros(2).int()), f"model, {WEIGHT} is (torch.int32"),
    "a weight that is a list": (change("model", WEIGHT, to=[0.0]), "list"),
    "sparse weights": (change("average", f"module.{WEIGHT}", to=torch.eye(2).to_sparse()), "sparse"),
    "a variance": (change("model", "tail.0.norm.running_var", by=-1.0), "tail.0.norm.running_var is negative"),
    "an average's weight": (change("average", f"module.{WEIGHT}", by=math.inf), "is not finite"),
    "an average's count": (change("average", "n_averaged", by=-5), "n_averaged is negative"),
    "a moment": (change("optimiser", "state", 0, "exp_avg", by=math.nan), "exp_avg is not finite"),
    "a negative square": (change("optimiser", "state", 0, "exp_avg_sq", by=-1.0), "exp_avg_sq is negative"),
    "a moment's shape": (change("optimiser", "state", 0, "exp_avg", to=torch.zeros(3)), "exp_avg is (torch.float32"),
    "moments that are gone": (change("optimiser", "state", to={}), "weights after 2 updates"),
    "the optimiser's step": (change("optimiser", "state", 0, "step", by=-3.0), "step is -3.0, not 2"),
    "the optimiser's decays": (change("optimiser", "param_groups", 0, "betas", to=(0.9, 7.0)), "betas is (0.9, 7.0)"),
    "the optimiser's epsilon": (change("optimiser", "param_groups", 1, "eps", to=math.nan), "eps is nan"),
    "no optimiser": (change("optimiser", to=None), "NoneType"),
    "a scale of no scaler": (change("scaler", to={"scale": -1.0}), "the scaler has scale"),
    "seconds": (change("meter", "seconds", to=math.nan), "the meter's seconds is nan"),
    "samples": (change("meter", "n_samples", to=-4), "the meter's n_samples is -4"),
    "sums": (change("meter", "sums", to={"loss": "low"}), "the meter's sums and counts differ"),
}


@pytest.fixture(scope="module")
def interrupted_run(faces, tmp_path_factory):
    """A run of four steps that has ended after two of them."""
    out = tmp_path_factory.mktemp("interrupted") / "run"
    options = ["--dataset_path", faces, "--output_dir", out, "--steps", 4, "--save_every", 1, "--log_every", 4]
    arguments = [str(word) for word in (*TINY, *options)]
    advance = Trainer.advance

    def advance_twice(trainer, *rest):
        return (advance if trainer.step < 2 else no_more_space)(trainer, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "advance", advance_twice)
        with pytest.raises(OSError, match="No space"):
            train_LDEQ.main(arguments)
    return out


@pytest.fixture(scope="module")
def new_trainer(interrupted_run):
    settings = read_settings(interrupted_run)
    groups = {field.name: field.type(**settings[field.name]) for field in dataclasses.fields(Settings)}
    return make_trainer(Settings(**groups), None, World(0, 1, torch.device("cpu")))


@pytest.mark.parametrize("case", NUMBERS)
def test_a_state_whose_numbers_were_changed_is_not_taken(case, interrupted_run, new_trainer):
    apply, reason = NUMBERS[case]
    state = torch.load(interrupted_run / "last.pth.tar")
    apply(state)
    before = copy.deepcopy(new_trainer.state())
    with pytest.raises(InputError, match="where: its state does not fit its settings") as refused:
        new_trainer.load_state(state, "where")
    assert reason in str(refused.value)
    assert all(torch.equal(before["model"][name], value) for name, value in new_trainer.state()["model"].items())


@pytest.mark.parametrize("case", ["a negative step", "a weight", "sparse weights", "a negative square"])
def test_a_run_whose_state_was_changed_is_refused_and_stays(case, interrupted_run, tmp_path, run_script):
    out = Path(shutil.copytree(interrupted_run, tmp_path / "run"))
    apply, reason = NUMBERS[case]
    state = torch.load(out / "last.pth.tar")
    apply(state)
    torch.save(state, out / "last.pth.tar")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    outcome = run_script(train_LDEQ.main, "--resume", "--workers", 0, "--output_dir", out)
    assert_refused(outcome, out / "last.pth.tar", "does not fit its settings", reason, "expected one of this run")
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_state_of_the_run_is_taken(interrupted_run, tmp_path, run_script):
    out = Path(shutil.copytree(interrupted_run, tmp_path / "run"))
    assert run_script(train_LDEQ.main, "--resume", "--workers", 0, "--output_dir", out)[0] == 0
    assert [row["step"] for row in log_of(out)] == ["4"]
