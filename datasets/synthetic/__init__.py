"""Synthetic faces with exact landmarks: images without end, and videos.

Imports run one way: ``__main__`` → :mod:`~datasets.synthetic.writing` (data sets and renderings on disk) →
:mod:`~datasets.synthetic.images` and :mod:`~datasets.synthetic.videos` → :mod:`~datasets.synthetic.people` (heads,
expressions, poses and landmarks) → :mod:`~datasets.synthetic.renderer` (meshes, light, surroundings and photography,
which know of people no more than where their landmarks are). Images come of renderings by
:mod:`~datasets.synthetic.photographs`, drawn just before or by :mod:`~datasets.synthetic.renderings` off the disk.
"""

from typing import TYPE_CHECKING

from ldeq.lazy import lazy_names

if TYPE_CHECKING:
    from datasets.synthetic.images import SyntheticFaces
    from datasets.synthetic.photographs import FaceImage, Photographer, Rendering
    from datasets.synthetic.renderings import Renderings
    from datasets.synthetic.videos import SyntheticVideo, VideoFrame

__all__ = [
    "FaceImage",
    "Photographer",
    "Rendering",
    "Renderings",
    "SyntheticFaces",
    "SyntheticVideo",
    "VideoFrame",
]

__getattr__ = lazy_names(
    __name__,
    {
        "FaceImage": "datasets.synthetic.photographs",
        "Photographer": "datasets.synthetic.photographs",
        "Rendering": "datasets.synthetic.photographs",
        "Renderings": "datasets.synthetic.renderings",
        "SyntheticFaces": "datasets.synthetic.images",
        "SyntheticVideo": "datasets.synthetic.videos",
        "VideoFrame": "datasets.synthetic.videos",
    },
)
