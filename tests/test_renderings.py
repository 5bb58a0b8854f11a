"""Renderings: photographs whose landmarks stay where they are, a folder of them on disk, and training from it."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

import train_LDEQ
from datasets.synthetic import Photographer, Rendering, Renderings, SyntheticFaces, photographs, writing
from datasets.synthetic import __main__ as writer
from datasets.training.faces import TrainingSet, training_batches
from ldeq import InputError
from ldeq.landmarks98 import MIRRORED
from tests.conftest import assert_refused
from utils.engine.settings import AugmentationConfig, DataConfig

#: Inside a rendering's middle, far from each other.
LANDMARKS = np.stack(np.meshgrid(np.linspace(0.25, 0.75, 10), np.linspace(0.24, 0.76, 10)), axis=-1).reshape(-1, 2)[:98]
SIDE = 384
SMALL = ("--injection_width=8", "--cell_base_width=8", "--cell_width_increment=2", "--cell_gn_groups=2")
TINY = (*SMALL, "--im_size=64", "--heatmap_size=16", "--steps=1", "--batch_size=2", "--workers=0")


class Dots:
    """Stands in for the generator: a bright dot at each landmark, whose blue says which landmark that is."""

    def __init__(self, seed: int, **options: object) -> None:
        self.seed = seed

    def rendering(self, number: int) -> Rendering:
        landmarks = LANDMARKS + np.random.default_rng([self.seed, number]).uniform(-0.004, 0.004, (98, 2))
        image = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
        for i, point in enumerate(landmarks * SIDE - 0.5):
            cv2.circle(
                image, np.round(point * 64).astype(int).tolist(), 4 * 64, (255, 255, 60 + 2 * i), -1, cv2.LINE_AA, 6
            )
        return Rendering(image, landmarks, 2.0, 0.5, frozenset({"makeup"}))


@pytest.fixture
def plain_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing between the rendering and the image but the warp."""
    monkeypatch.setattr(photographs, "occlude", lambda *arguments: 0)
    monkeypatch.setattr(photographs, "relit", lambda scene, rng: scene)
    monkeypatch.setattr(photographs, "exposure", lambda scene, points: np.float32(2))  # the rendering's gain
    monkeypatch.setattr(
        photographs,
        "photograph",
        lambda scene, degradation, rng: (scene.clip(0, 1) ** (1 / 2.2) * 255 + 0.5).astype(np.uint8),
    )


@pytest.fixture
def dots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_faces", Dots)


def found_dots(image: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where dots near some pixels are, and which of them was drawn there; NaN near the border."""
    radius = int(0.42 * np.linalg.norm(points[1] - points[0]))
    centres, blues = np.full((len(points), 2), np.nan), np.full(len(points), np.nan)
    for i, (x, y) in enumerate(np.round(points).astype(int).tolist()):
        if min(x, y) < radius or max(x, y) >= len(image) - radius:
            continue
        part = image[y - radius : y + radius + 1, x - radius : x + radius + 1].astype(float)
        weights = part[..., 0]
        rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        centres[i] = x + (weights * columns).sum() / weights.sum(), y + (weights * rows).sum() / weights.sum()
        blues[i] = image[y, x, 2]
    return centres, (blues - 60) / 2


@pytest.mark.parametrize("size", [256, 128, 64])
def test_landmarks_are_on_the_face_after_the_warp(size, tmp_path, dots, plain_camera):
    """From the disk, at 128 and 64 pixels from an image that was decoded at a part of its size."""
    assert sum(writing.write_renderings(tmp_path, writing.rendering_settings(3, 1, 0.0), 1)) == 1
    rendering = Renderings(tmp_path).read(0, size)
    assert len(rendering.image) == SIDE * size // 256
    centres, _ = found_dots(rendering.image, rendering.landmarks * len(rendering.image) - 0.5)
    assert np.abs(centres - (rendering.landmarks * len(rendering.image) - 0.5)).max() < 0.25
    mirrored = []
    photographer = Photographer(5, size, augment=True)
    for index in range(12):
        image, landmarks, attributes = photographer.photographs(rendering, index, clip_length=1 + index % 2)[0]
        assert "makeup" in attributes
        points = landmarks.astype(float) * size + 0.5 * size / 256 - 0.5
        centres, which = found_dots(image, points)
        seen = np.isfinite(which)
        assert seen.sum() > 40
        # In a clip, waves stretch the dots themselves.
        assert (
            np.linalg.norm(centres - points, axis=1)[seen].max() < (0.6 if index % 2 == 0 else 1.0) * size / 256 + 0.1
        )
        likeness = [np.corrcoef(which[seen], order[seen])[0, 1] for order in (np.arange(98), np.array(MIRRORED))]
        mirrored.append(likeness[1] > likeness[0])
        # Small dots' colours are blurred by JPEG.
        assert max(likeness) > max(0.9, min(likeness) + 0.05)
    assert 0 < sum(mirrored) < 12


def test_crops_without_jitter_are_wflw_s(plain_camera):
    rendering = Dots(0).rendering(0)
    (image,) = Photographer(0, 256, crop_jitter=0.0).photographs(rendering, 4)
    assert np.ptp(image.landmarks, axis=0).max() == pytest.approx(1 / 1.2, abs=1e-6)
    assert np.allclose((image.landmarks.min(0) + image.landmarks.max(0)) / 2, 0.5 - 0.5 / 256, atol=1e-6)
    loose = [Photographer(0, 256, augment=True).photographs(rendering, index)[0].landmarks for index in range(30)]
    widths = [np.ptp(landmarks, axis=0).max() for landmarks in loose]
    assert 0.4 < min(widths) < 0.8 < max(widths) < 1.3


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_interrupted_renderings_go_on_and_may_become_more(tmp_path, monkeypatch, dots):
    settings, one, two = writing.rendering_settings(3, 4, 0.0), tmp_path / "one", tmp_path / "two"
    monkeypatch.setattr(writing, "CHUNK", 4)
    monkeypatch.setattr("datasets.synthetic.renderings.CHUNK", 4)
    assert sum(writing.write_renderings(one, settings, 10)) == 10
    work = writing.write_renderings(two, settings, 6)
    assert [next(work), next(work)] == [0, 4]
    # They are read while they are written.
    assert len(Renderings(two)) == 4
    (two / "renderings" / "000005.jpg").write_bytes(b"half an im")
    work.close()
    assert sum(writing.write_renderings(two, settings, 6)) == 6
    before = Renderings(two)
    assert len(before) == 6
    assert sum(writing.write_renderings(two, settings, 10)) == 10
    assert files(one) == files(two)
    assert Renderings(two, 6).digest() == before.digest() != Renderings(two).digest()
    # What is finished stays as it is, and fewer are asked for than there are.
    image = two / "renderings" / "000000.jpg"
    written = image.stat().st_mtime_ns
    assert sum(writing.write_renderings(two, settings, 8)) == 8
    assert image.stat().st_mtime_ns == written
    with pytest.raises(InputError, match=r"differ in seed \(then 3, now 4\)"):
        writing.write_renderings(two, {**settings, "seed": 4}, 10)
    monkeypatch.setattr(writing, "_faces", lambda seed, **options: Dots(seed + 1))
    with pytest.raises(InputError, match="another version of the generator"):
        list(writing.write_renderings(two, settings, 12))
    assert files(one) == files(two)


def test_damaged_renderings_are_named(tmp_path, dots, run_script):
    list(writing.write_renderings(tmp_path, writing.rendering_settings(0, 1, 0.0), 2))
    flags = ("--synthetic", f"--renderings={tmp_path}", *TINY, f"--output_dir={tmp_path / 'run'}")
    image, arrays, settings = (tmp_path / "renderings" / name for name in ("000001.jpg", "000000.npz", "settings.json"))
    whole = image.read_bytes()
    image.write_bytes(whole[:-200])
    assert_refused(run_script(train_LDEQ.main, *flags, "--validation_images=0"), image, "cannot be decoded")
    image.write_bytes(whole)
    known = settings.read_text()
    settings.write_text(json.dumps({**json.loads(known), "seed": 10_000_000}))
    assert_refused(run_script(train_LDEQ.main, *flags), tmp_path, "held-out people")
    settings.write_text("{}")
    assert_refused(run_script(train_LDEQ.main, *flags), settings, "expected the --output_dir of")
    settings.write_text(known)
    np.savez(arrays, landmarks=np.zeros((2, 68, 2)), gain=np.ones(2), brightness=np.ones(2), attributes=np.ones((2, 6)))
    assert_refused(run_script(train_LDEQ.main, *flags), arrays, "expected landmarks of up to 64 renderings")
    arrays.unlink()
    assert_refused(run_script(train_LDEQ.main, *flags), tmp_path / "renderings", "no rendering is finished")


def test_faces_off_the_disk_do_not_depend_on_who_makes_them(tmp_path, dots, monkeypatch):
    list(writing.write_renderings(tmp_path, writing.rendering_settings(0, 1, 0.0), 6))
    data = DataConfig(synthetic=True, renderings=str(tmp_path), n_renderings=5, clip_length=2)
    source = TrainingSet(data, AugmentationConfig(), seed=3, im_size=64)
    whole = list(training_batches(source, first_step=0, last_step=3, batch_size=4))
    later = list(training_batches(source, first_step=1, last_step=3, batch_size=4, workers=2))
    for (images, landmarks), (same, as_well) in zip(whole[1:], later, strict=True):
        assert np.array_equal(images, same)
        assert np.array_equal(landmarks, as_well)
    alone, _ = source[7, 1]
    assert np.array_equal(alone[-1], whole[1][0][3, -1])
    read, numbers = Renderings.read, []
    monkeypatch.setattr(
        Renderings, "read", lambda self, number, size: numbers.append(number) or read(self, number, size)
    )
    for index in range(15):
        source[index, 1]
    passes = [numbers[start : start + 5] for start in (0, 5, 10)]
    assert all(sorted(numbers) == [0, 1, 2, 3, 4] for numbers in passes)
    assert passes[0] != passes[1] or passes[1] != passes[2]
    other = TrainingSet(data, AugmentationConfig(), seed=4, im_size=64)
    assert not np.array_equal(other[0][0], source[0][0])


def test_a_run_keeps_to_the_renderings_that_it_began_with(tmp_path, dots, run_script):
    root, out = tmp_path / "faces", tmp_path / "run"
    settings = writing.rendering_settings(0, 1, 0.0)
    list(writing.write_renderings(root, settings, 3))
    flags = ("--synthetic", f"--renderings={root}", *TINY, f"--output_dir={out}", "--validation_images=0")
    assert run_script(train_LDEQ.main, *flags)[0] == 0
    run = json.loads((out / "run.json").read_text())
    assert run["settings"]["data"]["n_renderings"] == 3
    # They may become more and be moved.
    list(writing.write_renderings(root, settings, 5))
    moved = root.rename(tmp_path / "moved")
    resume = ("--resume", f"--output_dir={out}", "--workers=0")
    assert_refused(run_script(train_LDEQ.main, *resume), root, "no such folder", "--renderings")
    assert run_script(train_LDEQ.main, *resume, f"--renderings={moved}")[0] == 0
    again = json.loads((out / "run.json").read_text())
    assert again["settings"]["data"]["n_renderings"] == 3
    assert again["renderings_sha256"] == run["renderings_sha256"]
    others, fewer = tmp_path / "others", tmp_path / "fewer"
    list(writing.write_renderings(others, writing.rendering_settings(1, 1, 0.0), 3))
    err = assert_refused(run_script(train_LDEQ.main, *resume, f"--renderings={others}"), "renderings", "holds others")
    assert "--output_dir" in err
    list(writing.write_renderings(fewer, settings, 2))
    assert_refused(run_script(train_LDEQ.main, *resume, f"--renderings={fewer}"), fewer, "holds 2", "at least 3")


def test_what_was_drawn_with_the_renderings_is_no_setting_of_a_run(tmp_path, run_script):
    flags = ("--synthetic", f"--renderings={tmp_path}")
    for flag in ("--turned_heads=0.2", "--images_per_person=4"):
        assert_refused(run_script(train_LDEQ.main, *flags, flag), flag[2:].split("=")[0], "with --renderings")
    assert_refused(run_script(train_LDEQ.main, *flags), tmp_path, "no such file, expected the --output_dir of")
    assert_refused(run_script(train_LDEQ.main, "--synthetic", "--n_renderings=3"), "n_renderings", "--renderings")
    assert_refused(run_script(writer.main, "--output_dir", tmp_path, "--turned_heads=1"), "--renderings")
    theirs = tmp_path / "renderings" / "000000.jpg"
    theirs.parent.mkdir()
    theirs.write_bytes(b"an image")
    assert_refused(run_script(writer.main, "--output_dir", tmp_path, "--renderings=1"), theirs.parent, "other files")
    assert os.listdir(theirs.parent) == [theirs.name]


@pytest.mark.slow  # Anny's model is loaded
def test_what_is_read_is_what_was_drawn(tmp_path, run_script):
    arguments = ("--output_dir", tmp_path, "--renderings", 3, "--images_per_person", 2, "--turned_heads", 1)
    assert run_script(writer.main, *arguments, "--seed", 5, "--workers", 1)[0] == 0
    store, faces = Renderings(tmp_path), SyntheticFaces(5, images_per_person=2, turned=1.0)
    assert len(store) == 3
    for number in (2, 0):
        read, drawn = store.read(number, 256), faces.rendering(number)
        assert read.image.shape == drawn.image.shape == (SIDE, SIDE, 3)
        assert np.abs(read.image.astype(float) - drawn.image).mean() < 3  # JPEG
        np.testing.assert_allclose(read.landmarks, drawn.landmarks, atol=1e-6)
        assert read.gain == drawn.gain
        assert read.brightness == drawn.brightness
        assert read.attributes == drawn.attributes >= {"largepose"}
        # The face is in the middle, and as large as a crop of it that is turned needs it to be.
        assert np.ptp(drawn.landmarks, axis=0).max() == pytest.approx(1 / 1.8, abs=1e-6)
        assert 20 < drawn.image[SIDE // 4 : -SIDE // 4, SIDE // 4 : -SIDE // 4].mean() < 235
