"""Synthetic faces with exact landmarks: pictures without end, and videos."""

from datasets.synthetic.pictures import FacePicture, SyntheticFaces
from datasets.synthetic.videos import SyntheticVideo, VideoFrame

__all__ = ["FacePicture", "SyntheticFaces", "SyntheticVideo", "VideoFrame"]
