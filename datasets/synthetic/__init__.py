"""Synthetic faces with exact landmarks: images without end, and videos.

Imports run one way: ``__main__`` → :mod:`~datasets.synthetic.writing` (data sets on disk) →
:mod:`~datasets.synthetic.images` and :mod:`~datasets.synthetic.videos` → :mod:`~datasets.synthetic.people` (heads,
expressions, poses and landmarks) → :mod:`~datasets.synthetic.renderer` (meshes, light, surroundings and photography,
which know of people no more than where their landmarks are).
"""

from datasets.synthetic.images import FaceImage, SyntheticFaces
from datasets.synthetic.videos import SyntheticVideo, VideoFrame

__all__ = ["FaceImage", "SyntheticFaces", "SyntheticVideo", "VideoFrame"]
