"""Made-up videos of the bundled portrait, and stand-ins that know where its faces are."""

import cv2
import numpy as np

from assets.make_assets import Portrait, View
from ldeq.face.bbox import tight_bbox
from ldeq.face.landmarker import CropLandmarks
from utils import bundled

PORTRAIT = Portrait(bundled.ASSETS / "portrait")
SIZE = (480, 270)


def head_mask():
    mask = np.zeros(PORTRAIT.image.shape[:2], np.uint8)
    (x, y), size = PORTRAIT.centre, PORTRAIT.size
    cv2.ellipse(mask, (int(x), int(y - 0.15 * size)), (int(0.62 * size), int(0.95 * size)), 0, 0, 360, 255, -1)
    return mask


def background(seed=0, size=SIZE):
    patches = np.random.default_rng(seed).integers(40, 200, (9, 16, 3), dtype=np.uint8)
    return cv2.resize(patches, size, interpolation=cv2.INTER_CUBIC)


class Scene:
    """Heads over a background; later ones hide those before.

    Args:
        views: frame number → the views of the heads, None for one that is not there.
        backdrop: frame number → which background.
    """

    def __init__(self, views, backdrop=lambda t: 0, size=SIZE):
        self._views, self._backdrop, self._size = views, backdrop, size
        self._mask = head_mask()

    def frame(self, t):
        """The image, and landmarks (98, 2) of each head or None."""
        image = background(self._backdrop(t), self._size).astype(np.float32)
        truths = self.truths(t)
        for view in self._views(t):
            if view is not None:
                matrix = PORTRAIT._homography(view)
                alpha = cv2.warpPerspective(self._mask, matrix, self._size)[..., None] / np.float32(255)
                image += alpha * (cv2.warpPerspective(PORTRAIT.image, matrix, self._size) - image)
        return image.astype(np.uint8), truths

    def truths(self, t):
        found = []
        for view in self._views(t):
            matrix = None if view is None else PORTRAIT._homography(view)
            found.append(None if view is None else cv2.perspectiveTransform(PORTRAIT.landmarks[None], matrix)[0])
        return found

    def seen(self, t):
        """Landmarks of the heads that are in the frame and not hidden by one in front, the foremost first."""
        seen = []
        for points in reversed([points for points in self.truths(t) if points is not None]):
            centre = points.mean(axis=0)
            inside = (centre > 0).all() and (centre < self._size).all()
            hidden = any(np.linalg.norm(centre - front.mean(axis=0)) < 0.55 * size_of(front) for front in seen)
            if inside and not hidden:
                seen.append(points)
        return seen


def size_of(points):
    return float(np.ptp(points, axis=0).max())


class Oracle:
    """Knows the scene: a detector and a landmark network that make no error, and count how often they are asked.

    A crop shows the foremost face whose centre is in its inner part, else the network is unsure.
    """

    def __init__(self, scene):
        self.scene, self.t = scene, 0
        self.n_detections = self.n_calls = 0
        self.known, self.restarts = set(), []
        #: Frame number → that the network is unsure of everything.
        self.unsure = lambda t: False

    def detect(self, image):
        self.n_detections += 1
        boxes = [tight_bbox(points) for points in self.scene.seen(self.t)]
        return np.array(boxes).reshape(-1, 4)

    def locate(self, crops, faces):
        self.n_calls += 1
        points, spreads = [], []
        for crop, face in zip(crops, faces, strict=True):
            if face not in self.known:
                self.restarts.append((self.t, face))
            self.known.add(face)
            inverse = cv2.invertAffineTransform(crop.matrix)
            centre = inverse @ (128, 128, 1)
            side = 256 * inverse[0, 0]
            near = [p for p in self.scene.seen(self.t) if np.abs(p.mean(axis=0) - centre).max() < 0.35 * side]
            found = near[0] if near else centre + side * (PORTRAIT.landmarks - PORTRAIT.centre) / PORTRAIT.size / 1.2
            points.append(np.clip((found @ crop.matrix[:, :2].T + crop.matrix[:, 2]) / 256, 0, 0.999))
            spreads.append(np.full(98, 0.02 if near and not self.unsure(self.t) else 0.2))
        return CropLandmarks(np.array(points), np.array(spreads))

    def restart(self, *faces):
        self.known -= set(faces)


def view(x, y, size, **angles):
    return View((x, y), size, **angles)
