"""What synthetic images have of photographs: occluders, shadows, looks, degradations, light, poses, expressions."""

import itertools

import cv2
import numpy as np
import pytest

from datasets.synthetic.people.expression import random_expression
from datasets.synthetic.people.pose import random_pose, turned_aside
from datasets.synthetic.people.texture import TEXTURE_SHAPE, add_face_paint
from datasets.synthetic.renderer import occluders
from datasets.synthetic.renderer.light import random_light
from datasets.synthetic.renderer.looks import KINDS, Look
from datasets.synthetic.renderer.photography import Degradation, photograph, random_degradation, severe_degradation
from datasets.synthetic.renderer.shade import Shade
from datasets.synthetic.renderer.surroundings import occlude, random_background
from ldeq.landmarks98 import MIRRORED

SIDE = 160
OCCLUDERS = (
    occluders.hand,
    occluders.microphone,
    occluders.held,
    occluders.other_head,
    occluders.eyewear,
    occluders.face_mask,
    occluders.strands,
    occluders.shape,
)


@pytest.fixture(scope="module")
def points():
    """98 points of a plain face that fills the middle of an image."""
    out = np.zeros((98, 2))
    angle = np.linspace(np.pi, 0, 33)
    out[:33] = np.stack([0.8 * np.cos(angle), 0.2 + np.sin(angle)], 1)
    for first, last, x, y in ((33, 42, -0.4, -0.3), (60, 68, -0.4, 0.0), (76, 96, 0.0, 0.8)):
        around = np.linspace(np.pi, -np.pi, last - first, endpoint=False)
        out[first:last] = np.stack([x + 0.2 * np.cos(around), y - 0.1 * np.sin(around)], 1)
    out[51:55] = [[0, 0], [0, 0.15], [0, 0.3], [0, 0.45]]
    out[55:60] = [[x, 0.5] for x in (-0.2, -0.1, 0, 0.1, 0.2)]
    out[96] = -0.4, 0
    left = [*range(42, 51), *range(68, 76), 97]
    out[left] = out[[MIRRORED[i] for i in left]] * [-1, 1]
    return out * 0.3 * SIDE + [SIDE / 2, 0.4 * SIDE]


@pytest.fixture(scope="module")
def photo():
    rng = np.random.default_rng(0)
    scene = random_background(rng, 96, 96)
    cv2.circle(scene, (48, 48), 30, (0.5, 0.3, 0.2), -1)
    return photograph(scene, Degradation(noise=2.0), rng)


def opacity_of(draw, points, seed):
    """How much an occluder covers each pixel, told from two images that it is drawn on."""
    images = [np.full((SIDE, SIDE, 3), level, np.float32) for level in (0.25, 0.75)]
    for image in images:
        draw(image, np.random.default_rng(seed), points, 0.8)
    opacity = 1 - (images[1] - images[0]) / 0.5
    return opacity, images


@pytest.mark.parametrize("draw", OCCLUDERS, ids=lambda draw: draw.__name__)
def test_an_occluder_covers_some_pixels_and_leaves_the_others(draw, points):
    covered = []
    for seed in range(6):
        opacity, images = opacity_of(draw, points, seed)
        assert opacity.min() > -1e-5
        assert opacity.max() < 1 + 1e-5
        assert all(image.min() >= 0 and np.isfinite(image).all() for image in images)
        untouched = np.abs(opacity).max(axis=2) < 1e-6
        assert untouched.any()
        for image, level in zip(images, (0.25, 0.75), strict=True):
            assert (image[untouched] == np.float32(level)).all()
        covered.append((opacity > 0.5).mean())
    assert max(covered) > 0.002
    assert np.median(covered) < 0.4


@pytest.mark.parametrize("draw", OCCLUDERS, ids=lambda draw: draw.__name__)
def test_an_occluder_goes_with_the_face(draw, points):
    for seed in range(4):
        here, _ = opacity_of(draw, points, seed)
        there, _ = opacity_of(draw, np.add(points, (16, 8)), seed)
        moved = there[8:, 16:] - here[:-8, :-16]
        assert np.abs(moved).mean() < 0.01


def test_occluders_are_a_function_of_the_random_numbers(points):
    results = []
    for seed in (1, 1, 2):
        image = np.full((SIDE, SIDE, 3), 0.4, np.float32)
        number = occlude(image, np.random.default_rng(seed), points, 0.8, 0.0, least=3)
        assert number == 3
        results.append(image)
    assert np.array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])
    plain = np.full((SIDE, SIDE, 3), 0.4, np.float32)
    assert occlude(plain, np.random.default_rng(1), points, 0.8, 0.0) == 0
    assert (plain == np.float32(0.4)).all()


def test_occluders_may_lie_beside_the_image(points):
    for draw, shift in itertools.product(OCCLUDERS, (-1000, 1000)):
        image = np.full((40, 60, 3), 0.4, np.float32)
        draw(image, np.random.default_rng(3), points + shift, 0.8)
        assert np.isfinite(image).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_look_is_the_same_every_time(kind, photo):
    before = photo.copy()
    looks = [Look(kind, seed) for seed in range(6)]
    images = [look.apply(photo) for look in looks]
    assert np.array_equal(photo, before)
    for look, image in zip(looks, images, strict=True):
        assert image.shape == photo.shape
        assert image.dtype == np.uint8
        assert image.std() > 1
        assert np.array_equal(look.apply(photo), image)
    assert any(not np.array_equal(image, photo) for image in images)
    assert len({image.tobytes() for image in images}) > 1
    assert looks[0].scaled(0.5).apply(photo[:40, :60]).shape == (40, 60, 3)


def test_looks_do_what_their_names_say(photo):
    for seed in range(5):
        posterised = Look("posterised", seed).apply(photo)
        assert max(len(np.unique(posterised[..., channel])) for channel in range(3)) <= 6
        grey = Look("grey", seed).apply(photo)
        assert (grey == grey[..., :1]).all()
        sharp = Look("sharpened", seed).apply(photo)
        assert np.abs(np.diff(sharp.astype(int), axis=0)).mean() > np.abs(np.diff(photo.astype(int), axis=0)).mean()


def test_shade_takes_light_and_never_gives_any():
    for seed in range(12):
        shade = Shade.random(np.random.default_rng(seed))
        light = shade.light(48, 64)
        assert light.shape == (48, 64, 3)
        assert light.min() > 0
        assert light.max() <= 1
        assert np.array_equal(light, shade.light(48, 64))
    scene = np.full((64, 64, 3), 0.3, np.float32)
    rng = np.random.default_rng(0)
    bright, dark = (
        photograph(scene, Degradation(noise=0.0, shade=shade), rng).astype(int) for shade in (None, Shade(0, 0.9))
    )
    assert (dark <= bright).all()
    assert (dark < 0.7 * bright).mean() > 0.05


def test_photographs_with_all_effects_are_bytes_of_the_same_size():
    scene = random_background(np.random.default_rng(1), 64, 80)
    for seed in range(40):
        degradation = random_degradation(np.random.default_rng(seed), 0.5).scaled(0.25)
        first, again = (photograph(scene, degradation, np.random.default_rng(seed)) for _ in range(2))
        assert first.shape == (64, 80, 3)
        assert first.dtype == np.uint8
        assert np.array_equal(first, again)


def test_a_small_face_is_enlarged_as_it_was_asked():
    scene = np.random.default_rng(0).random((64, 64, 3)).astype(np.float32)
    nearest, linear = (
        photograph(scene, Degradation(noise=0.0, resolution=0.25, enlargement=how), np.random.default_rng(0))
        for how in (cv2.INTER_NEAREST, cv2.INTER_LINEAR)
    )
    blocks = nearest.reshape(16, 4, 16, 4, 3)
    assert (blocks == blocks[:, :1, :, :1]).all()
    assert not np.array_equal(nearest, linear)


def test_most_photographs_are_plain_and_the_others_have_every_effect():
    drawn = [random_degradation(np.random.default_rng(seed), 0.2) for seed in range(1500)]
    plain = [d.shade is None and not d.looks and d.resolution > 0.5 and d.quality > 30 for d in drawn]
    assert 0.55 < np.mean(plain) < 0.8
    assert {look.kind for d in drawn for look in d.looks} == set(KINDS)
    assert {d.enlargement for d in drawn} == {cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC}
    for chosen in (
        [d.resolution < 0.4 for d in drawn], [d.quality < 30 for d in drawn], [d.shade is not None for d in drawn],
        [d.exposure < -1.2 for d in drawn], [d.exposure > 0.9 for d in drawn],
    ):  # fmt: skip
        assert 0.01 < np.mean(chosen) < 0.2


def test_a_video_keeps_its_look_when_its_degradation_rises():
    rng = np.random.default_rng(0)
    mild = Degradation(shade=Shade(1, 0.5), looks=(Look("grey", 1), Look("grain", 2)))
    severe = severe_degradation(rng, mild)
    for degradation in (severe, mild.blend(severe, 0.5), severe.blend(mild, 1.0)):
        assert (degradation.shade, degradation.looks) == (mild.shade, mild.looks)
    assert [look.unit for look in mild.scaled(0.5).looks] == [0.5, 0.5]


def test_poses_reach_profiles_and_steep_angles():
    poses = [random_pose(np.random.default_rng(seed)) for seed in range(2000)]
    yaw, pitch, roll = np.array([(pose.yaw, pose.pitch, pose.roll) for pose in poses]).T
    for angles, far in ((yaw, 72), (pitch, 33), (roll, 50)):
        assert angles.min() < -far
        assert angles.max() > far
    assert np.abs(yaw).max() < 85
    assert np.abs(pitch).max() <= 40
    assert 0.55 < (np.abs(yaw) < 30).mean() < 0.8
    assert 0.1 < (np.abs(yaw) > 45).mean() < 0.25
    turned = [turned_aside(pose, np.random.default_rng(1)) for pose in poses[:50]]
    assert all(40 <= abs(pose.yaw) < 85 for pose in turned)


def test_some_lights_are_hard_coloured_from_below_and_from_behind():
    lights = [random_light(np.random.default_rng(seed)) for seed in range(800)]
    for light in lights:
        assert np.linalg.norm(light.direction) == pytest.approx(1, abs=1e-5)
        assert min(light.colour.min(), light.sky.min(), light.ground.min()) >= 0
        assert 0.2 < light.brightness < 2
    hard = [light.colour.mean() > 6 * light.sky.mean() and light.shadow > 0.8 for light in lights]
    coloured = [light.colour.max() > 2.5 * light.colour.min() for light in lights]
    below, behind = ([light.direction[axis] > 0.2 for light in lights] for axis in (1, 2))
    for share in (hard, coloured, below, behind):
        assert 0.015 < np.mean(share) < 0.3


def test_mouths_open_wide_and_eyes_shut_as_often_as_in_photographs():
    expressions = [random_expression(np.random.default_rng(seed)) for seed in range(1500)]
    assert all(0 <= strength <= 1 for actions in expressions for strength in actions.values())
    open_wide = np.mean([actions.get("jawOpen", 0) > 0.6 for actions in expressions])
    blinks = np.array([[actions.get("eyeBlink" + side, 0) for side in ("Left", "Right")] for actions in expressions])
    shut, winks = (blinks.min(1) > 0.6).mean(), ((blinks.max(1) > 0.6) & (blinks.min(1) < 0.3)).mean()
    assert 0.1 < open_wide < 0.25
    assert 0.08 < shut < 0.2
    assert 0.02 < winks < 0.12


def test_face_paint_covers_some_of_a_texture():
    textures = []
    for seed in (*range(8), 0):
        texture = np.zeros((*TEXTURE_SHAPE, 4), dtype=np.float32)
        add_face_paint(texture, np.random.default_rng(seed))
        assert texture.min() >= 0
        assert texture.max() <= 1
        assert 0.005 < (texture[..., 3] > 0.3).mean() <= 1
        textures.append(texture)
    assert np.array_equal(textures[0], textures[-1])
    assert not np.array_equal(textures[0], textures[1])


def test_backgrounds_are_a_function_of_the_random_numbers():
    first, again, other = (random_background(np.random.default_rng(seed), 40, 60) for seed in (4, 4, 5))
    assert first.shape == (40, 60, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert all(random_background(np.random.default_rng(s), 40, 60).min() >= 0 for s in range(20))
