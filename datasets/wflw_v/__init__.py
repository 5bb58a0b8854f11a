"""WFLW-V: annotated clips on disk, and the download of the data set."""

from datasets.wflw_v.clips import SPLITS, Clip, UnusableVideo, WFLWVDataset

__all__ = ["SPLITS", "Clip", "UnusableVideo", "WFLWVDataset"]
