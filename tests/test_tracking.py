"""Recurrence without recurrence over streams that share batches."""

import dataclasses

import pytest
import torch

from ldeq import RecurrentLDEQ
from ldeq.recurrence import step_streams
from tests.conftest import make_small_model, random_images


@pytest.fixture(scope="module")
def model():
    return make_small_model(solver={"solver": "anderson", "max_iters": 4, "rel_diff_target": 1e-6})


def follow(tracker, videos, batch_size):
    """{name: keypoints (frames, 98, 2)} and {name: iterations}, and the batch sizes that there were."""
    keypoints, iterations, sizes, ended = {}, {}, [], []
    collate = torch.stack
    for batch in step_streams(tracker, list(videos), lambda name: iter(videos[name]), collate, batch_size):
        sizes.append(len(batch.streams))
        ended += batch.ended
        for row, name in enumerate(batch.streams):
            keypoints.setdefault(name, []).append(batch.output.keypoints[row])
            iterations.setdefault(name, []).append(batch.output.stats.n_iters[row].item())
    assert sorted(ended) == sorted(videos)
    return {name: torch.stack(frames) for name, frames in keypoints.items()}, iterations, sizes


@pytest.fixture(scope="module")
def videos():
    lengths = {"a": 4, "b": 1, "c": 6, "d": 2, "e": 3}
    return {name: list(random_images(length, seed=index)) for index, (name, length) in enumerate(lengths.items())}


@pytest.mark.parametrize("rwr", [True, False])
def test_batches_and_order_do_not_matter(rwr, model, videos):
    def tracker():
        return RecurrentLDEQ(model, rwr=rwr, max_iters=2)

    alone, iterations, sizes = follow(tracker(), videos, 1)
    assert max(sizes) == 1
    assert {name: len(frames) for name, frames in alone.items()} == {name: len(video) for name, video in videos.items()}
    for batch_size in (2, 5, 9):
        shuffled = {name: videos[name] for name in "dbeac"}
        together, counts, sizes = follow(tracker(), shuffled, batch_size)
        assert max(sizes) == min(batch_size, 5)
        assert counts == iterations
        for name, frames in together.items():
            torch.testing.assert_close(frames, alone[name], rtol=1e-5, atol=1e-6)


def test_recurrence_hands_on_the_equilibrium(model):
    images = random_images(2)
    tracker = RecurrentLDEQ(model, max_iters=1)
    first, second = (tracker.step(image[None], ["v"]) for image in images)
    short = dataclasses.replace(model.solver_config, max_iters=1)
    expected = model(images[:1], None, short)
    torch.testing.assert_close(first.z_star, expected.z_star)
    torch.testing.assert_close(second.z_star, model(images[1:], expected.z_star, short).z_star)


def test_one_step_less_leaves_the_solvers_iterate(model):
    image = random_images(1)
    less = dataclasses.replace(model.solver_config, max_iters=1, take_one_less_inference_step=True)
    found = RecurrentLDEQ(model, max_iters=1, take_one_less_inference_step=True).step(image, [0])
    torch.testing.assert_close(found.z_star, model(image, None, less).z_star)


def test_frame_by_frame_is_the_model_itself(model):
    images = random_images(2)
    tracker = RecurrentLDEQ(model, rwr=False)
    for image in images:
        torch.testing.assert_close(tracker.step(image[None], ["v"]).z_star, model(image[None]).z_star)


def test_a_reset_stream_starts_anew(model):
    image, other = random_images(2)
    tracker = RecurrentLDEQ(model)
    first = tracker.step(image[None], ["v"]).keypoints
    tracker.step(other[None], ["v"])
    tracker.reset("v", "unknown")
    torch.testing.assert_close(tracker.step(image[None], ["v"]).keypoints, first)


def test_streams_of_one_batch_may_be_at_different_frames(model):
    images = random_images(3)
    tracker = RecurrentLDEQ(model)
    tracker.step(images[:1], ["old"])
    together = tracker.step(images[1:], ["new", "old"])
    apart = RecurrentLDEQ(model)
    apart.step(images[:1], ["old"])
    torch.testing.assert_close(together.keypoints[1:], apart.step(images[2:], ["old"]).keypoints, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(together.keypoints[:1], apart.step(images[1:2], ["new"]).keypoints, rtol=1e-5, atol=1e-6)


def test_a_full_first_solve_beside_streams_under_way(model):
    images = random_images(4)
    tracker = RecurrentLDEQ(model, full_first_solve=True)
    torch.testing.assert_close(tracker.step(images[:1], ["b"]).z_star, model(images[:1]).z_star)
    mixed = tracker.step(images[1:], ["a", "b", "c"])
    assert mixed.stats.n_iters[1] == 1
    fresh = model(images[[1, 3]])
    torch.testing.assert_close(mixed.keypoints[[0, 2]], fresh.keypoints, rtol=1e-5, atol=1e-6)
    assert mixed.stats.n_iters[[0, 2]].tolist() == fresh.stats.n_iters.tolist()


@torch.no_grad()
def test_in_explicit_mode_only_the_start_changes():
    model = make_small_model(model_mode="explicit", explicit_depth=2)
    images = random_images(2)
    tracker = RecurrentLDEQ(model)
    first = tracker.step(images[:1], ["v"])
    torch.testing.assert_close(first.z_star, model(images[:1]).z_star)
    torch.testing.assert_close(tracker.step(images[1:], ["v"]).z_star, model(images[1:], first.z_star).z_star)


def test_the_batch_criterion_reaches_the_solver(model):
    tracker = RecurrentLDEQ(model, rwr=False, stop_criterion="batch")
    stats = tracker.step(random_images(3), [0, 1, 2]).stats
    assert len(set(stats.n_iters.tolist())) == 1


@pytest.mark.parametrize("names", [["a"], ["a", "a"]])
def test_names_must_be_one_an_image(names, model):
    with pytest.raises(ValueError, match="expected one different name each"):
        RecurrentLDEQ(model).step(random_images(2), names)


def test_a_tracker_forgets_streams_that_ended(model, videos):
    tracker = RecurrentLDEQ(model)
    follow(tracker, videos, 2)
    assert tracker._states._z is None


def test_an_empty_stream_ends_at_once(model):
    keypoints, _, _ = follow(RecurrentLDEQ(model), {"none": [], "one": list(random_images(1))}, 2)
    assert list(keypoints) == ["one"]


def test_an_abandoned_tracking_leaves_nothing_behind(model, videos):
    tracker = RecurrentLDEQ(model)
    first = next(step_streams(tracker, ["a"], lambda name: iter(videos[name]), torch.stack, 1)).output.keypoints
    again = next(step_streams(tracker, ["a"], lambda name: iter(videos[name]), torch.stack, 1)).output.keypoints
    torch.testing.assert_close(first, again)


def test_the_callers_changes_do_not_reach_the_state(model):
    images = random_images(2)
    tracker, other = RecurrentLDEQ(model), RecurrentLDEQ(model)
    tracker.step(images[:1], ["v"]).z_star.zero_()
    other.step(images[:1], ["v"])
    torch.testing.assert_close(tracker.step(images[1:], ["v"]).keypoints, other.step(images[1:], ["v"]).keypoints)


@pytest.mark.parametrize("changes", [{}, {"model_mode": "explicit", "explicit_depth": 2}])
def test_a_broken_frame_does_not_spoil_the_next(changes):
    model = make_small_model(**changes)
    image = random_images(1)
    tracker = RecurrentLDEQ(model)
    tracker.step(image * torch.nan, ["v"])
    assert torch.isfinite(tracker.step(image, ["v"]).keypoints).all()


def test_tracking_refuses_what_cannot_be(model, videos):
    def start(names, batch_size):
        return list(step_streams(RecurrentLDEQ(model), names, lambda name: iter(videos[name]), torch.stack, batch_size))

    with pytest.raises(ValueError, match="batch_size = 0"):
        start(["a"], 0)
    with pytest.raises(ValueError, match="'a' comes up while"):
        start(["a", "a"], 2)
