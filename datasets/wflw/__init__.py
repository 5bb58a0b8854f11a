"""WFLW: the pre-cropped data set, and cropping the original one."""

from datasets.wflw.precropped import ATTRIBUTES, SPLITS, WFLWDataset

__all__ = ["ATTRIBUTES", "SPLITS", "WFLWDataset"]
