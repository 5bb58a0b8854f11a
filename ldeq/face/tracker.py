"""Faces through a video: found by a detector, followed by their own landmarks, found again when they are lost.

A face's next crop is made around its last landmarks. The detector is asked at the first frame, every so often for new
faces (now and then closely, for small ones), and when a face is lost: when the network is unsure of it, even where it
starts from nothing, when it jumps or changes its size as no face does, when it leaves the frame, or when two tracks
have come to follow one face. A lost face is kept in mind for a while, and is expected where its motion leads: that
tells two faces apart that have crossed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ldeq.face.ahead import DetectorAhead
from ldeq.face.bbox import overlap, tight_bbox
from ldeq.face.crop import FaceCrop
from ldeq.face.detectors import ClosenessDetector, Detector
from ldeq.face.landmarker import Face, Landmarker
from ldeq.face.settings import TrackingSettings
from ldeq.face.shots import ShotDetector

Bbox = NDArray[np.float64]

#: Intersection over union from which on a detection is of a face that is followed.
EXPLAINED = 0.25
#: The same from which on two faces are so near that one may be taken for the other.
ENTANGLED = 0.1
#: Faces below this part of the frame's longer side are small: a detector finds them where it looks closely.
SMALL = 1 / 40


@dataclass(eq=False)
class _Track:
    """A face that is followed, or kept in mind. ``eq=False``: it is its own key to the network's memory."""

    bbox: Bbox
    id: int | None = None
    #: The tight bbox of the last landmarks, None before the first.
    extent: Bbox | None = None
    #: Velocity of the centre, in pixels a frame.
    velocity: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))
    #: Where the face was when its motion was last known, and how many frames ago.
    anchor: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))
    since_anchor: int = 0
    #: Frames since it was seen; 0 while it is followed.
    missing: int = 0
    restarted: bool = True
    #: Frames in a row in which the network was unsure of it.
    unsure: int = 0

    @property
    def size(self) -> float:
        return _size(self.bbox if self.extent is None else self.extent)

    @property
    def expected(self) -> NDArray[np.float64]:
        """Where its motion leads the face in the frame at hand: straight on, ever slower."""
        return self.anchor + self.velocity * (1 - 0.97**self.since_anchor) / 0.03

    @property
    def expected_bbox(self) -> Bbox:
        """The last landmarks' bbox, moved to where the face is expected."""
        return self.bbox if self.extent is None else self.extent + np.tile(self.expected - _centre(self.extent), 2)


@dataclass(frozen=True, eq=False)
class _Sighting:
    """What the network finds where a track is expected."""

    track: _Track
    crop: FaceCrop
    #: (98, 2), frame pixels.
    points: NDArray[np.float64]
    #: (98,)
    uncertainty: NDArray[np.float64]
    is_sure: bool

    @cached_property
    def extent(self) -> Bbox:
        """The landmarks' tight bbox."""
        return tight_bbox(self.points)


class FaceTracker:
    """Follows the faces of one video.

    Args:
        landmarker: the network, with its memory of each face.
        detector: finds faces to follow.
        settings: when a face is looked for, and when it is lost.
    """

    def __init__(
        self,
        landmarker: Landmarker,
        detector: Detector,
        settings: TrackingSettings | None = None,
    ) -> None:
        self._landmarker = landmarker
        self._detector = detector
        self._settings = settings or TrackingSettings()
        self._shots = ShotDetector()
        self._tracks: list[_Track] = []
        self._n_faces = 0
        #: Frames since the last look, and since the last close one; None before the first one of a shot.
        self._since_detection: int | None = None
        self._since_close_look: int | None = None
        #: Shot changes so far.
        self.n_cuts = 0

    def step(self, image: NDArray[np.uint8], upcoming: Sequence[NDArray[np.uint8]] = ()) -> list[Face]:
        """The faces of the video's next frame (H, W, 3) RGB, in the order of their ids.

        Args:
            upcoming: some of the frames that follow, if they are known: the detector may begin with one of them. They
                change nothing of what is found.
        """
        faces = self._step(image)
        self._look_ahead(upcoming)
        return faces

    def _step(self, image: NDArray[np.uint8]) -> list[Face]:
        if self._shots.is_cut(image):
            self.n_cuts += 1
            self._forget(self._tracks)
            self._since_detection = self._since_close_look = None
        if self._since_close_look is not None:
            self._since_close_look += 1
        for track in self._tracks:
            track.since_anchor += 1
            track.missing += bool(track.missing)
        self._forget([track for track in self._tracks if track.missing > self._settings.remember])

        detected = self._detect(image) if self._is_detection_due() else None
        if detected is not None:
            self._correct(image, detected)
        fresh = self._seed(image, detected) if detected is not None else []
        faces, lost = self._follow(image, [*self._live, *fresh])
        if lost:
            # At once, so that no frame is left out where the detector can help.
            detected = self._detect(image) if detected is None else detected
            fresh = self._seed(image, detected)
            faces += self._follow(image, fresh)[0] if fresh else []
        return sorted(faces, key=lambda face: face.id)

    @property
    def _live(self) -> list[_Track]:
        return [track for track in self._tracks if not track.missing]

    def _is_detection_due(self) -> bool:
        if self._since_detection is None:
            return True
        self._since_detection += 1
        return self._since_detection >= self._frames_between_looks

    @property
    def _frames_between_looks(self) -> int:
        followed = bool(self._tracks) and not any(track.missing for track in self._tracks)
        return self._settings.detect_every if followed else self._settings.search_every

    def _look_ahead(self, upcoming: Sequence[NDArray[np.uint8]]) -> None:
        """Lets the detector begin with the frame of its next look, unless that is the very next frame: what is found
        now may still call for another one.
        """
        if isinstance(self._detector, DetectorAhead) and self._since_detection is not None:
            due_in = self._frames_between_looks - self._since_detection
            if 1 < due_in <= len(upcoming):
                image = upcoming[due_in - 1]
                self._detector.closely = self._is_close_look_due(image, due_in)
                self._detector.begin(image)

    def _is_close_look_due(self, image: NDArray[np.uint8], due_in: int = 0) -> bool:
        """True where the look at an image ``due_in`` frames from now is to be a close one."""
        if self._since_close_look is None:
            return True
        small = SMALL * max(image.shape[:2])
        wanted = any(track.missing and track.size < small for track in self._tracks)
        every = self._settings.detect_every if wanted else self._settings.look_closely_every
        return self._since_close_look + due_in >= every

    def _detect(self, image: NDArray[np.uint8]) -> list[Bbox]:
        self._since_detection = 0
        closely = self._is_close_look_due(image)
        if isinstance(self._detector, ClosenessDetector):
            self._detector.closely = closely
        if closely:
            self._since_close_look = 0
        bboxes = [bbox for bbox in self._detector.detect(image) if _size(bbox) >= self._settings.min_size]
        return sorted(bboxes, key=_size, reverse=True)

    def _forget(self, tracks: Sequence[_Track]) -> None:
        self._landmarker.restart(*tracks)
        self._tracks = [track for track in self._tracks if track not in tracks]

    # -- from detections to tracks -------------------------------------------------------------------------------------

    def _correct(self, image: NDArray[np.uint8], bboxes: list[Bbox]) -> None:
        """Starts faces again that have drifted from where they are detected, but for those among others: theirs may be
        another's bbox.
        """
        live = self._live
        ahead = [track.extent + np.tile(track.velocity, 2) for track in live if track.extent is not None]
        overlaps = np.array([[overlap(bbox, extent) for extent in ahead] for bbox in bboxes]).reshape(
            len(bboxes), len(live)
        )
        drifted = []
        for row, column in _assign(-overlaps, limit=-EXPLAINED):
            others = [index for index in range(len(live)) if index != column]
            entangled = any(max(overlaps[row, i], overlap(ahead[column], ahead[i])) > ENTANGLED for i in others)
            if overlaps[row, column] < self._settings.min_agreement and not entangled:
                live[column].bbox = live[column].extent = bboxes[row]
                live[column].restarted = True
                drifted.append(live[column])
        if drifted:
            self._refine(image, drifted)

    def _seed(self, image: NDArray[np.uint8], bboxes: list[Bbox]) -> list[_Track]:
        """Tracks for the detected faces that none follows yet: of lost faces that come back, or new ones."""
        live = self._live
        extents = [track.extent for track in live if track.extent is not None]  # those followed have one
        overlaps = np.array([[overlap(bbox, extent) for extent in extents] for bbox in bboxes])
        explained = {bbox for bbox, _ in _assign(-overlaps.reshape(len(bboxes), len(live)), limit=-EXPLAINED)}
        free = [
            bbox
            for index, bbox in enumerate(bboxes)
            if index not in explained and (not live or overlaps[index].max() < 0.5)
        ]
        missing = [track for track in self._tracks if track.missing]
        distances = np.array([[self._distance(track, bbox) for track in missing] for bbox in free])
        returning = dict(_assign(distances.reshape(len(free), len(missing)), limit=1.0))
        seeds: list[_Track] = []
        for index, bbox in enumerate(free):
            if len(live) + len(seeds) >= self._settings.max_faces:
                break
            track = missing[returning[index]] if index in returning else _Track(bbox, anchor=_centre(bbox))
            track.bbox, track.restarted = bbox, True
            seeds.append(track)
        if seeds:
            self._refine(image, seeds)
        return seeds

    def _distance(self, track: _Track, bbox: Bbox) -> float:
        """How far a detection is from what is expected of a lost face, 1 being as far as it may be."""
        sizes = max(_size(bbox), track.size) / min(_size(bbox), track.size)
        reach = min(1.0 + 0.05 * track.missing, 2.5) * track.size
        apart = float(np.linalg.norm(_centre(bbox) - track.expected))
        return max(apart / reach, float(np.log2(sizes)))

    def _refine(self, image: NDArray[np.uint8], tracks: list[_Track]) -> None:
        """Replaces detected bboxes by those of the landmarks in them, which is what the network is used to."""
        self._landmarker.restart(*tracks)
        crops = [FaceCrop.around(image, track.bbox) for track in tracks]
        found = self._landmarker.locate(crops, tracks)
        self._landmarker.restart(*tracks)
        for track, crop, points in zip(tracks, crops, found.points, strict=True):
            bbox = tight_bbox(crop.to_frame(points))
            if overlap(bbox, track.bbox) > 0.3:
                track.bbox = bbox

    # -- from tracks to faces ------------------------------------------------------------------------------------------

    def _follow(self, image: NDArray[np.uint8], tracks: list[_Track]) -> tuple[list[Face], bool]:
        """The faces of these tracks that are there, and whether one of those followed before is not."""
        if not tracks:
            return [], False
        seen = self._sight(image, tracks)
        rivals = [track for track in self._live if track not in tracks]
        plausible = [sighting for sighting in seen if sighting.is_sure and self._is_plausible(sighting, image)]
        kept = self._without_doubles(plausible, rivals)
        lost = False
        for sighting in seen:
            if sighting not in kept:
                lost |= not sighting.track.missing and sighting.track.id is not None
                self._lose(sighting.track)
        faces = [self._face_of(sighting) for sighting in kept]
        extents = [sighting.extent for sighting in kept]
        for number, (sighting, extent) in enumerate(zip(kept, extents, strict=True)):
            others = [*extents[:number], *extents[number + 1 :], *(rival.extent for rival in rivals)]
            entangled = any(overlap(extent, other) > ENTANGLED for other in others if other is not None)
            _advance(sighting.track, extent, entangled and sighting.track.since_anchor <= self._settings.remember)
        return faces, lost

    def _sight(self, image: NDArray[np.uint8], tracks: list[_Track]) -> list[_Sighting]:
        """What the network finds where these tracks are expected."""
        seen = self._locate(image, tracks)
        doubtful = [sighting.track for sighting in seen if not (sighting.is_sure or sighting.track.restarted)]
        if not doubtful:
            return seen
        # What the network remembers of a face may be what misleads it: a second chance without.
        for track in doubtful:
            track.bbox, track.restarted = track.expected_bbox, True
        self._landmarker.restart(*doubtful)
        anew = {sighting.track: sighting for sighting in self._locate(image, doubtful)}
        return [anew.get(sighting.track, sighting) for sighting in seen]

    def _locate(self, image: NDArray[np.uint8], tracks: list[_Track]) -> list[_Sighting]:
        crops = [FaceCrop.around(image, track.bbox) for track in tracks]
        found = self._landmarker.locate(crops, tracks)
        return [
            _Sighting(track, crop, crop.to_frame(points), uncertainty, self._is_sure(track, uncertainty))
            for track, crop, points, uncertainty in zip(tracks, crops, found.points, found.uncertainty, strict=True)
        ]

    def _face_of(self, sighting: _Sighting) -> Face:
        """The face that is seen, which gets a number where it is new."""
        track = sighting.track
        if track.id is None:
            self._n_faces += 1
            track.id = self._n_faces
            self._tracks.append(track)
        return Face(track.id, sighting.points, sighting.uncertainty, track.bbox, track.restarted, sighting.crop)

    def _is_sure(self, track: _Track, uncertainty: NDArray[np.float64]) -> bool:
        """True where the network is sure of a face: by the median over points, since parts may be hidden."""
        settings = self._settings
        median = float(np.median(uncertainty))
        track.unsure = track.unsure + 1 if median > settings.max_uncertainty else 0
        if track.restarted:
            return track.unsure == 0
        return track.unsure < settings.unsure_frames and median <= settings.far_above * settings.max_uncertainty

    def _is_plausible(self, sighting: _Sighting, image: NDArray[np.uint8]) -> bool:
        """True where a face can have this size and be there."""
        settings, track, extent = self._settings, sighting.track, sighting.extent
        size = _size(extent)
        if size < settings.min_size:
            return False
        height, width = image.shape[:2]
        inside = np.clip(extent, 0, [width, height, width, height])
        if float((inside[2:] - inside[:2]).prod()) < settings.min_visible * float((extent[2:] - extent[:2]).prod()):
            return False
        if track.missing or track.extent is None:
            return True
        jump = float(np.linalg.norm(_centre(extent) - _centre(track.extent) - track.velocity))
        growth = max(size, track.size) / min(size, track.size)
        return jump <= settings.max_jump * track.size and growth <= settings.max_growth

    def _without_doubles(self, seen: list[_Sighting], rivals: list[_Track]) -> list[_Sighting]:
        """Where two tracks have landed on one face, the one goes on whose motion led there."""

        def surprise(sighting: _Sighting) -> float:
            track = sighting.track
            return np.inf if track.restarted else float(np.linalg.norm(_centre(sighting.extent) - track.expected))

        remaining: list[_Sighting] = []
        for sighting in sorted(seen, key=surprise):
            points, extent = sighting.points, sighting.extent
            limit = self._settings.same_face * _size(extent)
            near = any(np.linalg.norm(points - other.points, axis=1).mean() < limit for other in remaining)
            taken = any(rival.extent is not None and np.abs(rival.extent - extent).mean() < limit for rival in rivals)
            if not near and not taken:
                remaining.append(sighting)
        return [sighting for sighting in seen if sighting in remaining]

    def _lose(self, track: _Track) -> None:
        self._landmarker.restart(track)
        track.missing = max(track.missing, 1)
        track.restarted = True


def _advance(track: _Track, extent: Bbox, entangled: bool) -> None:
    """Takes over where a face is now. Among other faces its motion is not measured: it may be another's."""
    centre = _centre(extent)
    if not entangled:
        if not track.restarted and track.extent is not None:
            track.velocity = track.velocity + 0.5 * (centre - _centre(track.extent) - track.velocity)
        track.anchor, track.since_anchor = centre, 0
    track.bbox = extent if track.restarted else _steady(track.bbox, extent)
    # A fast face is met where it will be; a slow one's crop is better left alone.
    speed = float(np.linalg.norm(track.velocity)) / track.size
    if not entangled:
        track.bbox = track.bbox + np.tile(track.velocity, 2) * np.clip(20 * speed - 0.5, 0, 1)
    track.extent, track.missing, track.restarted = extent, 0, False


def _steady(bbox: Bbox, extent: Bbox) -> Bbox:
    """The bbox of the next crop: small differences are followed slowly, so that the crop does not tremble with the
    landmarks, and those from 5 % of the face's size on at once.
    """
    difference = float(np.abs(extent - bbox).max()) / _size(extent)
    return bbox + min(1.0, 0.2 + 0.8 * (difference / 0.05) ** 2) * (extent - bbox)


def _assign(costs: NDArray[np.float64], limit: float) -> list[tuple[int, int]]:
    """Pairs (row, column) of the least total cost, each row and column once, without those above ``limit``."""
    if not costs.size:
        return []
    if min(costs.shape) == 1:
        # One pair, as where a video shows one face; without SciPy's optimisers, whose import takes half a second.
        pairs = [np.unravel_index(np.argmin(costs), costs.shape)]
    else:
        from scipy.optimize import linear_sum_assignment

        pairs = list(zip(*linear_sum_assignment(costs), strict=True))
    return [(int(row), int(column)) for row, column in pairs if costs[row, column] <= limit]


def _centre(bbox: Bbox) -> NDArray[np.float64]:
    return (bbox[:2] + bbox[2:]) / 2


def _size(bbox: Bbox) -> float:
    return float((bbox[2:] - bbox[:2]).max())
