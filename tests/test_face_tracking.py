"""Following faces: identities, and when a face is looked for, lost and found again."""

import cv2
import numpy as np
import pytest

import ldeq
from benchmarks import street
from ldeq import predict
from ldeq.face.ahead import DetectorAhead, ahead
from ldeq.face.detectors import CenterFaceDetector, DlibDetector
from ldeq.face.given import GivenFaces
from ldeq.face.landmarker import CropLandmarks
from ldeq.face.settings import TrackingSettings
from ldeq.face.shots import ShotDetector
from ldeq.face.tracker import FaceTracker
from tests.scenes import PORTRAIT, Oracle, Scene, background, head_mask, size_of, view
from utils import bundled


def follow(scene, n_frames, settings=None, oracle=None, detector=None, **options):
    """What is found in each frame, checked to be where a head is: face id → (which head, face)."""
    oracle = oracle or Oracle(scene)
    tracker = FaceTracker(oracle, detector or oracle, settings, **options)
    history = []
    for t in range(n_frames):
        oracle.t = t
        image, truths = scene.frame(t)
        found = {}
        for face in tracker.step(image):
            errors = [
                np.inf if truth is None else np.linalg.norm(face.landmarks - truth, axis=1).mean() / size_of(truth)
                for truth in truths
            ]
            assert min(errors) < 0.05, (t, face.id, errors)
            found[face.id] = (int(np.argmin(errors)), face)
        history.append(found)
    return history, oracle, tracker


def on_heads(history):
    """Of each face id, which heads it was on."""
    return {id: {found[id][0] for found in history if id in found} for id in {id for found in history for id in found}}


def two_that_cross(n):
    return lambda t: [view(110 + 260 * t / n, 130, 100), view(370 - 260 * t / n, 140, 110)]


@pytest.mark.parametrize("n", [30, 60, 120])
def test_two_faces_that_cross_keep_their_identities(n):
    history, *_ = follow(Scene(two_that_cross(n)), n)
    assert sorted(history[0]) == sorted(history[-1]) == [1, 2]
    assert all(len(on) == 1 for on in on_heads(history).values())
    # The hidden one is lost for a while, and starts again when it comes out.
    hidden = next(id for id, on in on_heads(history).items() if on == {0})
    assert any(hidden not in found for found in history)
    back = [t for t in range(1, n) if hidden in history[t] and hidden not in history[t - 1]]
    assert len(back) == 1
    assert history[back[0]][hidden][1].restarted


def test_two_faces_that_cross_with_a_real_detector():
    n = 40
    scene = Scene(lambda t: [view(150 + 340 * t / n, 175, 150), view(490 - 340 * t / n, 190, 165)], size=(640, 360))
    history, _, _ = follow(scene, n, detector=DlibDetector(side=640))
    assert sorted(history[0]) == sorted(history[-1]) == [1, 2]
    assert all(len(on) == 1 for on in on_heads(history).values())


def test_a_face_that_passes_behind_another():
    n = 60
    history, *_ = follow(Scene(lambda t: [view(60 + 360 * t / n, 135, 90), view(240, 140, 110)]), n)
    assert sorted(history[0]) == sorted(history[-1]) == [1, 2]
    assert all(len(on) == 1 for on in on_heads(history).values())


def test_a_steady_face_is_detected_once_in_a_while_and_solved_once_a_frame():
    history, oracle, _ = follow(Scene(lambda t: [view(200 + t, 130, 100)]), 31, TrackingSettings(detect_every=10))
    assert [list(found) for found in history] == [[1]] * 31
    assert oracle.n_detections == 4
    assert oracle.n_calls == 31 + 1, "once more for the first frame: on the box of its own landmarks"
    assert [found[1][1].restarted for found in history] == [True] + [False] * 30


def test_faces_of_a_frame_share_a_call():
    history, oracle, _ = follow(Scene(lambda t: [view(100, 130, 80), view(240, 130, 80), view(380, 130, 80)]), 5)
    assert [sorted(found) for found in history] == [[1, 2, 3]] * 5
    assert oracle.n_calls == 5 + 1


def test_the_crop_is_steady_under_trembling_landmarks():
    rng = np.random.default_rng(0)

    class Trembling(Oracle):
        def locate(self, crops, faces):
            found = super().locate(crops, faces)
            found.points[:] += rng.normal(0, 0.01, (len(crops), 1, 2))
            return found

    scene = Scene(lambda t: [view(240, 135, 100)])
    history, *_ = follow(scene, 40, oracle=Trembling(scene))
    boxes = np.array([found[1][1].bbox for found in history[1:]])
    extents = np.array([found[1][1].landmarks.min(axis=0) for found in history[1:]])
    assert boxes[:, 0].std() < 0.75 * extents[:, 0].std()


def test_fast_motion_is_followed():
    scene = Scene(lambda t: [view(240 + 120 * np.sin(t / 4), 135 + 10 * np.sin(t / 3), 100 + 15 * np.sin(t / 5))])
    history, *_ = follow(scene, 50)
    assert [list(found) for found in history] == [[1]] * 50


def test_a_lost_face_is_found_again_with_its_identity_and_a_full_solve():
    scene = Scene(lambda t: [view(180 + t, 130, 100) if not 10 <= t < 20 else None])
    history, *_ = follow(scene, 40)
    assert all(list(found) == [1] for found in history[:10])
    assert not any(history[10:20])
    back = next(t for t in range(20, 40) if history[t])
    assert back < 23
    assert list(history[back]) == [1]
    assert history[back][1][1].restarted
    assert all(list(found) == [1] for found in history[back:])


def test_a_face_that_was_away_for_long_is_a_new_one():
    scene = Scene(lambda t: [view(200, 130, 100) if not 5 <= t < 20 else None])
    history, *_ = follow(scene, 25, TrackingSettings(remember=10))
    assert list(history[4]) == [1]
    assert list(history[-1]) == [2]


def test_a_face_that_leaves_the_frame_is_lost():
    history, *_ = follow(Scene(lambda t: [view(240 + 12 * t, 130, 100)]), 30)
    assert history[10]
    assert not history[-1]


def test_a_jump_restarts_in_the_same_frame():
    history, *_ = follow(Scene(lambda t: [view(120 if t < 10 else 200, 130, 100)]), 20)
    assert all(history)
    assert list(history[-1]) == [1]
    assert history[10][1][1].restarted


def test_a_shot_change_ends_identities():
    scene = Scene(lambda t: [view(200, 130, 100)] if t < 10 else [view(210, 140, 110)], backdrop=lambda t: int(t >= 10))
    history, _, tracker = follow(scene, 20)
    assert tracker.n_cuts == 1
    assert [list(found) for found in history] == [[1]] * 10 + [[2]] * 10
    assert history[10][2][1].restarted


def test_brightness_is_no_shot_change():
    scene = Scene(lambda t: [view(200, 130, 100)])
    tracker = FaceTracker(Oracle(scene), Oracle(scene))
    image, _ = scene.frame(0)
    for gain in (1.0, 0.5, 1.3, 0.3, 1.0):
        assert [face.id for face in tracker.step(np.clip(image * gain, 0, 255).astype(np.uint8))] == [1]
    assert tracker.n_cuts == 0


def cuts(images):
    shots = ShotDetector()
    return [number for number, image in enumerate(images) if shots.is_cut(image)]


def test_dark_frames_with_noise_are_no_shot_changes():
    rng = np.random.default_rng(0)
    assert cuts([rng.integers(0, 12, (270, 480, 3), dtype=np.uint8) for _ in range(30)]) == []


def test_shots_with_black_between_them():
    black = np.zeros((270, 480, 3), np.uint8)
    shot, other = background(0), background(1)
    assert cuts([shot, black, black, other, other]) == [3]
    assert cuts([shot, black, black, shot, shot]) == []
    assert cuts([black, shot, shot]) == []


def test_what_the_network_is_unsure_of_is_no_face():
    scene = Scene(lambda t: [view(200, 130, 100)])
    oracle = Oracle(scene)
    oracle.unsure = lambda t: t < 6
    history, *_ = follow(scene, 12, oracle=oracle)
    assert not any(history[:6])
    assert list(history[-1]) == [1], "what was no face took no number"


class Doubtful(Oracle):
    """As unsure of a face that it remembers as it is told: frame number → uncertainty."""

    def __init__(self, scene, doubt):
        super().__init__(scene)
        self._doubt = doubt

    def locate(self, crops, faces):
        remembered = [face in self.known for face in faces]
        found = super().locate(crops, faces)
        found.uncertainty[remembered] = self._doubt(self.t)
        return found


def test_a_face_that_the_network_is_unsure_of_for_a_moment_goes_on():
    scene = Scene(lambda t: [view(200 + t, 130, 100)])
    limit = TrackingSettings().max_uncertainty
    history, *_ = follow(scene, 14, oracle=Doubtful(scene, lambda t: 1.3 * limit if t in (5, 6, 10) else 0.02))
    assert [list(found) for found in history] == [[1]] * 14
    assert not any(found[1][1].restarted for found in history[1:])


@pytest.mark.parametrize(("doubt", "frames"), [(1.3, (5, 6, 7)), (2.0, (7,))])
def test_a_face_that_the_network_is_unsure_of_starts_again_before_it_is_lost(doubt, frames):
    scene = Scene(lambda t: [view(200 + t, 130, 100)])
    limit = TrackingSettings().max_uncertainty
    history, oracle, _ = follow(scene, 14, oracle=Doubtful(scene, lambda t: doubt * limit if t in frames else 0.02))
    assert [list(found) for found in history] == [[1]] * 14
    assert [t for t, found in enumerate(history) if found[1][1].restarted] == [0, 7]
    assert oracle.n_detections == 1


def test_a_face_that_drifts_is_corrected_by_the_detector():
    class Drifting(Oracle):
        """Each frame leads what it remembers further away, and it is sure of itself."""

        def __init__(self, scene):
            super().__init__(scene)
            self.drift = {}

        def locate(self, crops, faces):
            for face in faces:
                self.drift[face] = self.drift.get(face, -4) + 4
            (truth,) = self.scene.truths(self.t)
            points = [truth + np.array([self.drift[face], 0]) for face in faces]
            pairs = zip(points, crops, strict=True)
            fractions = [(p @ crop.matrix[:, :2].T + crop.matrix[:, 2]) / 256 for p, crop in pairs]
            return CropLandmarks(np.array(fractions), np.full((len(crops), 98), 0.02))

        def restart(self, *faces):
            for face in faces:
                self.drift.pop(face, None)

    scene = Scene(lambda t: [view(200, 130, 100)])
    oracle = Drifting(scene)
    tracker = FaceTracker(oracle, oracle, TrackingSettings(detect_every=12))
    errors, restarts = [], []
    for t in range(25):
        oracle.t = t
        image, (truth,) = scene.frame(t)
        (face,) = tracker.step(image)
        assert face.id == 1
        errors.append(float(np.abs(face.landmarks - truth).mean()))
        restarts.append(face.restarted)
    assert errors[11] > 10
    assert errors[12] < 1
    assert [t for t, restarted in enumerate(restarts) if restarted] == [0, 12, 24]


def test_most_faces():
    scene = Scene(lambda t: [view(100, 130, 60), view(240, 130, 90), view(380, 130, 80)])
    history, *_ = follow(scene, 5, TrackingSettings(max_faces=2))
    assert [len(found) for found in history] == [2] * 5
    assert on_heads(history) == {1: {1}, 2: {2}}, "the largest"


def test_a_new_face_joins():
    scene = Scene(lambda t: [view(120, 130, 80), view(360, 130, 80) if t >= 5 else None])
    history, *_ = follow(scene, 20, TrackingSettings(detect_every=6))
    assert sorted(history[-1]) == [1, 2]
    assert all(1 in found for found in history)


def test_given_boxes_restart_only_after_a_gap():
    box = np.array([150.0, 80.0, 250.0, 180.0])
    boxes = {frame: {1: box, 2: box} for frame in range(6)}
    del boxes[2][2]
    scene = Scene(lambda t: [view(200, 130, 100)])
    faces = GivenFaces(Oracle(scene), boxes)
    image, _ = scene.frame(0)
    found = [{face.id: face.restarted for face in faces.step(image, index)} for index in range(7)]
    first, on = {1: True, 2: True}, {1: False, 2: False}
    assert found == [first, on, {1: False}, {1: False, 2: True}, on, on, {}]


# -- looks ahead -------------------------------------------------------------------------------------------------------


def test_a_look_ahead_changes_nothing(monkeypatch):
    """A face from the first frame on, which is lost for a while, and another one that comes later."""
    begun = []
    begin = DetectorAhead.begin

    def noted(self, image):
        begun.append(next(t for t in range(n) if images[t] is image))
        begin(self, image)

    monkeypatch.setattr(DetectorAhead, "begin", noted)
    n = 24
    scene = Scene(lambda t: [None if 11 <= t < 14 else view(120, 130, 120), view(360, 140, 110) if t > 5 else None])
    images = [scene.frame(t)[0] for t in range(n)]
    histories = []
    for detector in (DlibDetector(side=480), ahead(DlibDetector(side=480))):
        oracle = Oracle(scene)
        tracker = FaceTracker(oracle, detector, TrackingSettings(detect_every=5))
        history = []
        for oracle.t, image in enumerate(images):
            for face in tracker.step(image, images[oracle.t + 1 : oracle.t + 5]):
                history.append((oracle.t, face.id, face.restarted, *face.bbox, *face.landmarks.ravel()))
        histories.append(history)
    assert histories[0] == histories[1]
    assert {id for _, id, *_ in histories[0]} == {1, 2}
    assert {5, 10, 14} <= set(begun), "every five frames, and every three while one is lost"


def test_a_look_that_nobody_asks_for_leaves_no_trace():
    class Counting(DlibDetector):
        n = 0

        def detect(self, image):
            self.n += 1
            return np.full((1, 4), 100.0 * image[0, 0, 0] + self.n)

    images = [np.full((8, 8, 3), shade, np.uint8) for shade in range(4)]
    detector = ahead(Counting())
    assert detector.detect(images[0])[0, 0] == 1
    detector.begin(images[1])
    detector.begin(images[1])
    assert detector.detect(images[1])[0, 0] == 102
    detector.begin(images[2])
    assert detector.detect(images[3])[0, 0] == 303
    detector.begin(images[2])
    detector.begin(images[1])
    assert detector.detect(images[1])[0, 0] == 104


def test_detectors_of_others_are_asked_where_they_are():
    oracle = Oracle(Scene(lambda t: [view(200, 130, 100)]))
    assert ahead(oracle) is oracle


class Watched:
    """Notes at which frames it looks closely."""

    def __init__(self, oracle):
        self.oracle, self.closely, self.looks = oracle, True, {}

    def detect(self, image):
        self.looks[self.oracle.t] = self.closely
        return self.oracle.detect(image)


def test_close_looks_are_at_a_shots_first_frame_and_now_and_then():
    scene = Scene(lambda t: [view(200, 130, 100)], backdrop=lambda t: int(t >= 50))
    oracle = Oracle(scene)
    detector = Watched(oracle)
    follow(scene, 60, TrackingSettings(detect_every=5, look_closely_every=18), oracle, detector)
    assert [t for t, closely in detector.looks.items() if closely] == [0, 20, 40, 50]
    assert list(detector.looks) == list(range(0, 60, 5))


@pytest.mark.parametrize(("size", "closely"), [(10, [0, 8, 17]), (40, [0])])
def test_a_small_face_that_is_lost_is_looked_for_closely(size, closely):
    scene = Scene(lambda t: [view(200, 130, size) if t < 5 else None])
    oracle = Oracle(scene)
    detector = Watched(oracle)
    follow(scene, 18, TrackingSettings(detect_every=7, min_size=5), oracle, detector)
    assert [t for t, close in detector.looks.items() if close] == closely
    assert len(detector.looks) > 4


# -- CenterFace --------------------------------------------------------------------------------------------------------


def test_centerface_finds_the_face_of_the_portrait_and_no_badges():
    portrait = cv2.cvtColor(cv2.imread(str(bundled.ASSETS / "portrait" / "astronaut.png")), cv2.COLOR_BGR2RGB)
    truth = np.array([176, 80, 272, 181])  # about the tight box of the landmarks
    for image, scale in ((portrait, 1), (cv2.resize(portrait, None, fx=4, fy=4), 4), (portrait[:300], 1)):
        (box,) = CenterFaceDetector().detect(np.asarray(image, dtype=np.uint8))
        assert np.abs(box / scale - truth).max() < 12


def test_centerface_finds_small_faces_and_no_others():
    """In a frame of full HD, at once and at half its size; in views of any form, and where there is nothing."""
    portrait = cv2.cvtColor(cv2.imread(str(bundled.ASSETS / "portrait" / "astronaut.png")), cv2.COLOR_BGR2RGB)
    head = portrait[20:230, 110:330]
    frame = np.asarray(background(size=(1920, 1080)), dtype=np.uint8)
    assert CenterFaceDetector().detect(frame).shape == (0, 4)
    places = [(100, 200, 0.6), (600, 700, 0.7), (1100, 90, 0.9), (1500, 600, 0.8), (1780, 850, 0.65)]
    for x, y, scale in places:
        small = cv2.resize(head, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        part = frame[y : y + len(small), x : x + small.shape[1]]
        part[...] = small[: part.shape[0], : part.shape[1]]
    for detector in (CenterFaceDetector(), CenterFaceDetector(side=1920)):
        found = detector.detect(frame)
        assert len(found) == len(places)
        for x, y, scale in places:
            middle = np.array([x + 114 * scale, y + 110 * scale])
            assert ((found[:, :2] < middle) & (found[:, 2:] > middle)).all(axis=1).sum() == 1
    for shape in ((1, 1), (3, 2000), (33, 31), (720, 4)):
        assert CenterFaceDetector().detect(np.zeros((*shape, 3), np.uint8)).shape == (0, 4)


def test_centerface_looks_closely_for_small_faces():
    """One of 26 pixels in a frame of full HD, which is scaled to half of that where it does not look closely."""
    frame = np.asarray(background(size=(1920, 1080)), dtype=np.uint8)
    matrix = PORTRAIT._homography(view(700, 500, 26))
    alpha = cv2.warpPerspective(head_mask(), matrix, (1920, 1080), flags=cv2.INTER_AREA)[..., None] / np.float32(255)
    head = cv2.resize(PORTRAIT.image, None, fx=26 / PORTRAIT.size, fy=26 / PORTRAIT.size, interpolation=cv2.INTER_AREA)
    left, top = (np.array([700, 500]) - PORTRAIT.centre * 26 / PORTRAIT.size).round().astype(int)
    shown = np.zeros_like(frame)
    shown[top : top + len(head), left : left + head.shape[1]] = head
    frame = (frame + alpha * (shown - frame.astype(np.float32))).astype(np.uint8)
    detector = CenterFaceDetector()
    (box,) = detector.detect(frame)
    assert np.abs((box[:2] + box[2:]) / 2 - (700, 500)).max() < 4
    assert 20 < (box[2:] - box[:2]).max() < 32
    detector.closely = False
    assert len(detector.detect(frame)) == 0


def test_centerface_looks_twice_at_what_it_is_not_sure_of():
    """Small faces score little at first and more when they are looked at once more, and backgrounds less."""

    class Once(CenterFaceDetector):
        MOST_DOUBTFUL = 0

    portrait = np.asarray(PORTRAIT.image, dtype=np.uint8)
    small = np.full((480, 640, 3), 90, np.uint8)
    small[100:220, 200:320] = cv2.resize(portrait, (120, 120), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), 1.6)
    assert len(Once().detect(small)) == 0
    assert len(CenterFaceDetector().detect(small)) == 1


@pytest.mark.parametrize("edge", ["left", "right", "top", "bottom"])
def test_a_face_that_the_images_edge_cuts_off_is_kept(edge):
    """A third of it is beyond."""
    left, top, right, bottom = PORTRAIT.landmarks.min(axis=0).tolist() + PORTRAIT.landmarks.max(axis=0).tolist()
    x, y = round((right - left) / 3), round((bottom - top) / 3)
    rows, columns = {
        "left": (slice(None), slice(round(left) + x, None)),
        "right": (slice(None), slice(round(right) - x)),
        "top": (slice(round(top) + y, None), slice(None)),
        "bottom": (slice(round(bottom) - y), slice(None)),
    }[edge]
    found = ldeq.landmarks(np.ascontiguousarray(PORTRAIT.image[rows, columns]), runtime="onnxruntime")
    assert len(found.landmarks) == 1
    truth = PORTRAIT.landmarks - (columns.start or 0, rows.start or 0)
    assert np.linalg.norm(found.landmarks[0] - truth, axis=1).mean() < 0.2 * PORTRAIT.size


def test_forty_faces_in_a_frame():
    heads = [(60 + 120 * column, 54 + 106 * row, 32 + 3 * column) for row in range(5) for column in range(8)]
    scene = Scene(lambda t: [view(x + 2 * t, y, size) for x, y, size in heads], size=(960, 540))
    history, *_ = follow(scene, 2, detector=CenterFaceDetector())
    assert [sorted(found) for found in history] == [list(range(1, 41))] * 2
    assert all(len(on) == 1 for on in on_heads(history).values())


# -- a street ----------------------------------------------------------------------------------------------------------


def test_a_street_gives_its_faces_and_no_others(run_script, tmp_path):
    """Faces of 24 to 150 pixels among people seen from behind, posters, lamps and wheels, in full HD."""
    people = (34, 24, -60, 150, 28, -36, street.PORTRAIT)
    truths = street.write_clip(street.Street(people=people), 12, tmp_path / "street.mp4")
    out = tmp_path / "out"
    arguments = (tmp_path / "street.mp4", f"--output_dir={out}", "--detect_every=5", "--runtime=onnxruntime")
    assert run_script(predict.main, *arguments)[0] == 0
    found = street.score(truths, out / "landmarks.npz")
    assert sorted(people[number] for number in found.n_frames) == [24, 28, 34, 75, 150]
    assert set(found.n_frames.values()) == {12}
    assert all(len(ids) == 1 for ids in found.ids.values())
    assert max(found.error.values()) < 0.1
    assert found.others == []
