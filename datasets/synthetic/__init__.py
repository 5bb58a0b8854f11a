"""Synthetic faces with exact landmarks: images without end, and videos.

Imports run one way: ``__main__`` → :mod:`~datasets.synthetic.writing` (data sets on disk) →
:mod:`~datasets.synthetic.images` and :mod:`~datasets.synthetic.videos` → :mod:`~datasets.synthetic.people` (heads,
expressions, poses and landmarks) → :mod:`~datasets.synthetic.renderer` (meshes, light, surroundings and photography,
which know of people no more than where their landmarks are).
"""

from typing import TYPE_CHECKING

from ldeq.lazy import lazy_names

if TYPE_CHECKING:
    from datasets.synthetic.images import FaceImage, SyntheticFaces
    from datasets.synthetic.videos import SyntheticVideo, VideoFrame

__all__ = ["FaceImage", "SyntheticFaces", "SyntheticVideo", "VideoFrame"]

__getattr__ = lazy_names(
    __name__,
    {
        "FaceImage": "datasets.synthetic.images",
        "SyntheticFaces": "datasets.synthetic.images",
        "SyntheticVideo": "datasets.synthetic.videos",
        "VideoFrame": "datasets.synthetic.videos",
    },
)
