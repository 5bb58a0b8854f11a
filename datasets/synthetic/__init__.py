"""Synthetic faces with exact landmarks: pictures without end, and videos."""

from datasets.synthetic.pictures import FacePicture, SyntheticFaces

__all__ = ["FacePicture", "SyntheticFaces"]
