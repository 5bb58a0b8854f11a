"""WFLW: the pre-cropped data set, and cropping the original one."""

from typing import TYPE_CHECKING

from datasets.wflw.splits import ATTRIBUTES, SPLITS
from ldeq.lazy import lazy_names

if TYPE_CHECKING:
    from datasets.wflw.precropped import WFLWDataset

__all__ = ["ATTRIBUTES", "SPLITS", "WFLWDataset"]

__getattr__ = lazy_names(__name__, {"WFLWDataset": "datasets.wflw.precropped"})
