"""WFLW and WFLW-V on disk, cropping, video files and reading ahead."""

import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from datasets.wflw import SPLITS, WFLWDataset
from datasets.wflw.precropped import pad_to_landmarks
from datasets.wflw_v import Clip, UnusableVideo, WFLWVDataset
from ldeq import InputError
from ldeq.face.crop import crop, crop_matrix, to_frame
from ldeq.video.prefetch import Lookahead, Prefetched
from ldeq.video.reading import VideoReader
from ldeq.video.writing import VideoWriter
from utils import bundled

# -- cropping ----------------------------------------------------------------------------------------------------------

coordinates = st.floats(-200, 2000, allow_nan=False)


@given(x=coordinates, y=coordinates, width=st.floats(2, 900), height=st.floats(2, 900), seed=st.integers(0, 99))
def test_points_go_there_and_back(x, y, width, height, seed):
    matrix = crop_matrix([x, y, x + width, y + height])
    points = np.random.default_rng(seed).uniform(0, 2000, (98, 2))
    inside = points @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(to_frame(inside, matrix), points, atol=1e-6)


def test_the_bbox_fills_the_crop():
    matrix = crop_matrix([100, 50, 300, 250, 0.99])  # a fifth column is a detector's score
    np.testing.assert_allclose(to_frame([[128, 128]], matrix), [[200, 150]], atol=1e-4)
    np.testing.assert_allclose(to_frame([[0, 0], [256, 256]], matrix), [[80, 30], [320, 270]], atol=1e-3)


def test_outside_the_frame_is_black():
    frame = np.full((100, 100, 3), 200, dtype=np.uint8)
    image = crop(frame, crop_matrix([-50, -50, 50, 50]))
    assert image.shape == (256, 256, 3)
    assert (image[:100, :100] == 0).all()
    assert (image[150:, 150:] == 200).all()


# -- WFLW --------------------------------------------------------------------------------------------------------------


def landmarks_in(left, top, right, bottom):
    points = np.random.default_rng(0).uniform(0.3, 0.7, (98, 2))
    points[0], points[1] = (left, top), (right, bottom)
    return points


def test_a_face_inside_its_crop_is_left_alone():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (256, 256, 3), dtype=np.uint8))
    points = landmarks_in(0.1, 0.1, 0.9, 0.9)
    same, unmoved = pad_to_landmarks(image, points)
    assert same is image
    np.testing.assert_array_equal(unmoved, points)


@pytest.mark.parametrize("over", [0.0019, -0.0])
def test_half_a_pixel_is_clipped(over):
    image = Image.new("RGB", (256, 256))
    same, clipped = pad_to_landmarks(image, landmarks_in(-over, -over, 1 + over, 1 + over))
    assert same is image
    assert clipped.min() == 0
    assert clipped.max() == 1


def test_each_overflowing_side_is_padded():
    image = Image.new("RGB", (256, 256), (255, 255, 255))
    # Left by 10.24 pixels → 11 + 8 of border; below by a tenth of one → 1 + 8, since another side asks for padding.
    points = landmarks_in(-0.04, 0.2, 0.8, 1.0004)
    padded, moved = pad_to_landmarks(image, points)
    assert padded.size == (256, 256)
    expected = (points * 256 + (19, 0)) / (275, 265)
    np.testing.assert_allclose(moved, expected.clip(0, 1), rtol=1e-12)
    levels = np.asarray(padded)[..., 0]
    assert (levels[100, :15] == 0).all()
    assert levels[100, 25] == 255
    assert (levels[-6:, 100] == 0).all()
    assert levels[2, 100] == 255


def test_an_overflow_of_half_a_pixel_exactly_is_padded():
    image = Image.new("RGB", (256, 256))
    padded, _ = pad_to_landmarks(image, landmarks_in(-0.5 / 256, 0.1, 0.9, 0.9))
    assert padded is not image


def test_eye_corners_outside_the_crop_are_told_apart_by_the_padding(wflw):
    words = (wflw / "test.txt").read_text().splitlines()[1].split()
    for landmark, (x, y) in ((60, (-0.1, -0.1)), (72, (-0.05, -0.2))):
        words[1 + 2 * landmark : 3 + 2 * landmark] = [str(x), str(y)]
    (wflw / "test.txt").write_text(" ".join(words))
    _, landmarks = WFLWDataset(wflw, "test")[0]
    assert (landmarks[60] != landmarks[72]).any()


def test_the_bundled_sample_reads():
    for split in SPLITS:
        dataset = WFLWDataset(bundled.WFLW, split)
        for index in range(len(dataset)):
            image, landmarks = dataset[index]
            assert image.shape == (256, 256, 3)
            assert image.dtype == np.uint8
            assert landmarks.dtype == np.float32
            assert landmarks.shape == (98, 2)
            assert landmarks.min() >= 0
            assert landmarks.max() <= 1


def test_file_names_may_have_spaces(wflw):
    (wflw / "test" / "0.jpg").rename(wflw / "test" / "a face.jpg")
    listed = (wflw / "test.txt").read_text().replace("0.jpg", "a face.jpg", 1)
    (wflw / "test.txt").write_text(f"\n{listed}\n\n")
    assert WFLWDataset(wflw, "test").name(0) == "a face.jpg"


# -- WFLW-V ------------------------------------------------------------------------------------------------------------


def test_the_bundled_clips_show_what_is_annotated():
    dataset = WFLWVDataset(bundled.WFLW_V, "all")
    assert sum(clip.id.startswith("portrait") for clip in dataset.clips) == 5
    assert sum(clip.id.startswith("synthetic") for clip in dataset.clips) == 6
    assert set(dataset.lengths.values()) == {60}
    for clip in dataset.clips:
        frames = list(clip.frames(keep_frames=True))
        landmarks = clip.landmarks
        assert len(frames) == len(landmarks)
        for frame, points in zip(frames, landmarks, strict=True):
            assert frame.image.shape == (256, 256, 3)
            height, width = frame.frame.shape[:2]
            assert (points > 0).all()
            assert (points < (width, height)).all()
            inside = points @ frame.matrix[:, :2].T + frame.matrix[:, 2]
            assert (inside > 0).all()
            assert (inside < 256).all()


def test_the_bundled_truth_follows_the_face():
    """Images of the face, aligned by its landmarks, are the same image in every frame."""
    clip = Clip(bundled.WFLW_V, "portrait-pan")
    template = clip.landmarks[0] - clip.landmarks[0].mean(axis=0) + 128
    aligned, held = [], []
    for frame, points in zip(clip.frames(keep_frames=True), clip.landmarks, strict=True):
        matrix, _ = cv2.findHomography(points, template)
        aligned.append(cv2.warpPerspective(frame.frame, matrix, (256, 256))[60:200, 80:180].astype(float))
        held.append(frame.frame[60:200, 180:280].astype(float))

    def unrest(images):
        return np.std(images, axis=0).mean()

    assert unrest(aligned) < 0.25 * unrest(held)


def test_ids_are_chosen_in_the_order_of_the_list(wflw_v):
    assert [clip.id for clip in WFLWVDataset(wflw_v, "all").clips] == [
        "-hard-D4",
        "hardE5",
        "clip-A1",
        "clip-B2",
        "clip_C3",
    ]
    assert [clip.id for clip in WFLWVDataset(wflw_v, "easy", ["clip_C3", "clip-A1"]).clips] == ["clip-A1", "clip_C3"]
    with pytest.raises(InputError, match="hardE5: not in the easy id list"):
        WFLWVDataset(wflw_v, "easy", ["hardE5"])


def test_frames_beyond_the_annotations_are_not_read(wflw_v):
    for folder in ("bboxes", "landmarks"):
        path = wflw_v / folder / "clip-A1.npy"
        np.save(path, np.load(path)[:4])
    assert len(list(Clip(wflw_v, "clip-A1").frames())) == 4


def damaged_video(path, how):
    if how == "missing":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("<html>video unavailable</html>")
    elif how == "truncated":
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
    elif how == "short":
        frames = list(VideoReader(path))[:3]
        writer = VideoWriter(path, 25)
        for frame in frames:
            writer.write(frame)
        writer.close()


DAMAGES = ["missing", "empty", "text", "truncated", "short"]


@pytest.mark.parametrize("how", DAMAGES)
def test_unusable_videos_say_why(how, wflw_v):
    path = wflw_v / "videos" / "clip-A1.mp4"
    damaged_video(path, how)
    with pytest.raises(UnusableVideo, match=r"clip-A1\.mp4: .*expected"):
        list(Clip(wflw_v, "clip-A1").frames())


# -- video files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(120, 160), (121, 161)])
def test_a_written_video_reads_the_same(size, tmp_path):
    height, width = size
    y, x = np.mgrid[:height, :width]
    frames = [np.stack([x + 4 * t, y + 2 * t, x // 2 + y // 2], axis=-1).astype(np.uint8) for t in range(12)]
    writer = VideoWriter(tmp_path / "a" / "clip.mp4", 30000 / 1001, crf=5)
    for frame in frames:
        writer.write(frame)
        assert not (tmp_path / "a" / "clip.mp4").exists()
    writer.close()
    with VideoReader(tmp_path / "a" / "clip.mp4") as video:
        assert video.fps == pytest.approx(29.97, abs=0.01)
        assert video.n_frames_declared == 12
        read = list(video)
    assert read[0].shape == (height + height % 2, width + width % 2, 3)
    for frame, back in zip(frames, read, strict=True):
        assert np.abs(frame.astype(int) - back[:height, :width]).mean() < 4


def test_written_videos_are_h264_that_browsers_play(tmp_path):
    import av

    writer = VideoWriter(tmp_path / "clip.mp4", 25)
    for level in (0, 128):
        writer.write(np.full((64, 64, 3), level, dtype=np.uint8))
    writer.close()
    with av.open(str(tmp_path / "clip.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
    content = (tmp_path / "clip.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat"), "the index comes first, for playing while loading"


def test_a_discarded_video_leaves_nothing(tmp_path):
    writer = VideoWriter(tmp_path / "clip.mp4", 25)
    writer.write(np.zeros((64, 64, 3), dtype=np.uint8))
    writer.discard()
    empty = VideoWriter(tmp_path / "clip.mp4", 25)
    empty.close()
    assert not list(tmp_path.iterdir())


def test_frames_of_another_size_are_refused(tmp_path):
    writer = VideoWriter(tmp_path / "clip.mp4", 25)
    writer.write(np.zeros((64, 64, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match="32x64, expected 64x64"):
        writer.write(np.zeros((64, 32, 3), dtype=np.uint8))
    writer.discard()


# -- reading ahead -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("length", [0, 1, 4, 9])
def test_order_and_number_stay(workers, length):
    with ThreadPoolExecutor(workers or 1) as pool:
        executor = pool if workers else None
        several = [Prefetched(iter(range(start, start + length)), executor, chunk=4) for start in (0, 100, 200)]
        assert [list(items) for items in several] == [list(range(start, start + length)) for start in (0, 100, 200)]


def test_at_most_two_chunks_are_held():
    produced = []

    def source():
        for number in range(1000):
            produced.append(number)
            yield number

    with ThreadPoolExecutor(1) as pool:
        items = Prefetched(source(), pool, chunk=4)
        for taken in range(1, 30):
            next(items)
            pool.submit(lambda: None).result()
            assert len(produced) - taken <= 8


def test_one_thread_serves_iterators_that_wait_for_each_other():
    with ThreadPoolExecutor(1) as pool:
        several = [Prefetched(iter(range(50)), pool) for _ in range(6)]
        rows = list(zip(*several, strict=True))
    assert len(rows) == 50


def test_the_producer_runs_elsewhere_and_its_error_arrives():
    threads = []

    def source():
        threads.append(threading.current_thread())
        yield 1
        raise InputError("broken")

    with ThreadPoolExecutor(1) as pool:
        items = Prefetched(source(), pool, chunk=1)
        assert next(items) == 1
        with pytest.raises(InputError, match="broken"):
            next(items)
    assert threads[0] is not threading.main_thread()


@pytest.mark.parametrize("n", [0, 1, 4])
def test_the_next_items_are_known(n):
    items = Lookahead(iter(range(6)), lambda item: n)
    items.begin()
    assert [(item, list(items.upcoming)) for item in items] == [
        (item, list(range(item + 1, min(item + 1 + n, 6)))) for item in range(6)
    ]
    assert list(items) == []


def test_fewer_large_items_are_known():
    items = Lookahead(iter([1, 1, 1, 3, 9, 1, 1]), lambda size: 3 // size)
    assert [(item, list(items.upcoming)) for item in items] == [
        *[(1, [1, 1, 3]), (1, [1, 3]), (1, [3]), (3, [9]), (9, []), (1, [1]), (1, [])]
    ]


def test_an_error_is_raised_behind_the_items_before_it():
    def source():
        yield from range(3)
        raise InputError("broken")

    items = Lookahead(source(), lambda item: 4)
    items.begin()
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    for _ in range(2):
        with pytest.raises(InputError, match="broken"):
            next(items)
    nothing = Lookahead((number for number in source() if number > 5), lambda item: 4)
    with pytest.raises(InputError, match="broken"):
        nothing.begin()
