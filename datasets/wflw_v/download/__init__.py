"""The download of WFLW-V in its published layout: id lists, bboxes, landmarks, and the videos, cut and checked."""
