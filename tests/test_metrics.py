"""Metrics: their definitions, on numbers that can be checked by hand."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldeq import metrics
from ldeq.metrics import failure_rate_and_auc, frame_flicker, image_nme, video_nme, video_nmf


@pytest.fixture
def face():
    """A face 100 wide and 64 high, its eye corners 50 apart."""
    points = np.random.default_rng(0).uniform([10, 10], [90, 60], (98, 2))
    points[0], points[1] = (0, 0), (100, 64)
    points[60], points[72] = (20, 20), (70, 20)
    return points


def test_docstrings():
    assert doctest.testmod(metrics, optionflags=doctest.ELLIPSIS).failed == 0
    assert doctest.testmod(metrics).attempted > 0


def test_nme_is_in_eye_distances(face):
    assert image_nme(np.add(face[None], [3, 4]), face[None])[0] == pytest.approx(5 / 50)
    assert video_nme(np.stack([np.add(face, [3, 4]), face]), np.stack([face, face])) == pytest.approx(100 * 5 / 50 / 2)


def test_a_steady_error_does_not_flicker(face):
    truth = face + np.arange(5)[:, None, None] * [7, -3]
    assert video_nmf(np.add(truth, [5, 5]), truth) == pytest.approx(0, abs=1e-9)


def test_flicker_is_in_face_sizes(face):
    # Every other frame is 2 pixels off; the face's size is sqrt(100·64)/256 = 80/256.
    truth = np.stack([face] * 4)
    pred = truth + np.array([0, 2, 0, 2])[:, None, None] * [1, 0]
    np.testing.assert_allclose(frame_flicker(pred, truth), 100 * 2 / (80 / 256))
    assert video_nmf(pred, truth) == pytest.approx(640)


def test_flicker_is_a_root_mean_square(face):
    truth = np.stack([face] * 3)
    pred = truth.copy()
    pred[2, 7] += [0, 3]
    assert video_nmf(pred, truth) == pytest.approx(100 * 3 / (80 / 256) / np.sqrt(98 * 2))


@given(st.lists(st.floats(0, 0.3), min_size=1, max_size=60))
def test_failures_and_area_agree_with_the_curve(values):
    failures, auc = failure_rate_and_auc(values)
    assert failures == pytest.approx(np.mean(np.array(values) > 0.10), abs=1e-9)
    # The area under the empirical curve has a closed form; Simpson's rule is off by a step's width at each jump.
    exact = np.mean(np.clip(0.10 - np.array(values), 0, None)) / 0.10
    assert auc == pytest.approx(exact, abs=1.5e-3)


def test_the_curve_has_a_point_every_ten_thousandth():
    for threshold, n_points in ((0.10, 1001), (0.05, 501)):
        thresholds, fractions = metrics.cumulative_error([0.01, 0.07], threshold)
        assert len(thresholds) == len(fractions) == n_points
        np.testing.assert_allclose(thresholds, np.arange(n_points) / 1e4)


def test_a_perfect_and_a_hopeless_model():
    assert failure_rate_and_auc([0.0, 0.0]) == pytest.approx((0, 1))
    assert failure_rate_and_auc([0.5, 0.2]) == pytest.approx((1, 0))


def test_what_cannot_be_measured_is_refused(face):
    with pytest.raises(ValueError, match="expected at least one"):
        failure_rate_and_auc([])
    with pytest.raises(ValueError, match="at least 2"):
        video_nmf(face[None], face[None])
    with pytest.raises(ValueError, match="expected \\(N, 98, 2\\)"):
        image_nme(face[None, :68], face[None, :68])
