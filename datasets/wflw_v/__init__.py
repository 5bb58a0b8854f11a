"""WFLW-V: annotated clips on disk, and the download of the data set."""

from typing import TYPE_CHECKING

from datasets.wflw_v.splits import SPLITS
from ldeq.lazy import lazy_names

if TYPE_CHECKING:
    from datasets.wflw_v.clips import Clip, UnusableVideo, WFLWVDataset

__all__ = ["SPLITS", "Clip", "UnusableVideo", "WFLWVDataset"]

__getattr__ = lazy_names(__name__, dict.fromkeys(("Clip", "UnusableVideo", "WFLWVDataset"), "datasets.wflw_v.clips"))
