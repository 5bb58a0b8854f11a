"""Settings of the tracker, which a command line can know without the tracker."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TrackingSettings:
    """When a face is looked for, and when it is lost. Sizes are those of a face's box, the longer side."""

    #: Frames between two looks for new faces.
    detect_every: int = 15
    #: The same while there is no face, or one is lost.
    search_every: int = 3
    #: Most faces at a time; the largest are taken.
    max_faces: int = 10
    #: A detection with a higher median uncertainty over its points is no face, and a face that has one in
    #: ``unsure_frames`` frames in a row, or ``far_above`` times it in one, is lost. As a fraction of the crop's side.
    max_uncertainty: float = 0.065
    unsure_frames: int = 3
    far_above: float = 1.5
    #: A face whose landmarks' box overlaps less with the detected one (intersection over union) has drifted, and starts
    #: again there.
    min_agreement: float = 0.45
    #: Smaller faces, in pixels of the frame, are lost.
    min_size: float = 16.0
    #: A face of which a smaller part is within the frame is lost.
    min_visible: float = 0.5
    #: A face that moves further than its motion leads it, as a fraction of its size, is lost.
    max_jump: float = 0.35
    #: A face that grows or shrinks by more than this factor from a frame to the next is lost.
    max_growth: float = 1.35
    #: Two tracks whose landmarks are closer than this fraction of a face's size follow one face.
    same_face: float = 0.12
    #: Frames for which a lost face is kept in mind.
    remember: int = 75
