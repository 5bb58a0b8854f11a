"""Settings of the tracker, which a command line can know without the tracker."""

from dataclasses import dataclass

from ldeq.fields import coerce_fields, setting

#: Names of detectors (:func:`ldeq.face.detectors.make_detector`).
DETECTORS = ("auto", "centerface", "dlib", "yunet")


@dataclass(frozen=True)
class TrackingSettings:
    """When a face is looked for, and when it is lost. Sizes are those of a face's box, the longer side.

    Raises:
        InputError: where a field has the wrong type or is out of its bounds; the message names the field.
    """

    detect_every: int = setting(15, "frames between two looks for new faces", low=1, high=1_000_000)
    search_every: int = setting(3, "the same while there is no face, or one is lost", low=1, high=1_000_000)
    look_closely_every: int = setting(
        45,
        "frames between two looks at which a detector that can (CenterFace) finds smaller faces too; while a small one "
        "is lost, detect_every",
        low=1,
        high=1_000_000,
    )
    max_faces: int = setting(50, "most faces at a time; the largest are taken", low=1, high=1000)
    max_uncertainty: float = setting(
        0.05,
        "a detection with a higher median uncertainty over its points is no face, and a face that has one in "
        "unsure_frames frames in a row, or far_above times it in one, is lost; as a fraction of the crop's side",
        low=0.0,
        high=1.0,
    )
    unsure_frames: int = setting(3, "see max_uncertainty", low=1, high=1_000_000)
    far_above: float = setting(1.5, "see max_uncertainty", low=1.0, high=1000.0)
    min_agreement: float = setting(
        0.45,
        "a face whose landmarks' box overlaps less with the detected one (intersection over union) has drifted, and "
        "starts again there",
        low=0.0,
        high=1.0,
    )
    min_size: float = setting(16.0, "smaller faces, in pixels of the frame, are lost", low=0.0, high=1e6)
    min_visible: float = setting(0.5, "a face of which a smaller part is within the frame is lost", low=0.0, high=1.0)
    max_jump: float = setting(
        0.35,
        "a face that moves further than its motion leads it, as a fraction of its size, is lost",
        low=0.0,
        high=1e6,
    )
    max_growth: float = setting(
        1.35,
        "a face that grows or shrinks by more than this factor from a frame to the next is lost",
        low=1.0,
        high=1e6,
    )
    same_face: float = setting(
        0.12,
        "two tracks whose landmarks are closer than this fraction of a face's size follow one face",
        low=0.0,
        high=1e6,
    )
    remember: int = setting(75, "frames for which a lost face is kept in mind", low=0, high=1_000_000)

    def __post_init__(self) -> None:
        coerce_fields(self)
