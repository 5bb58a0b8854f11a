"""LDEQ: facial landmark detection with deep equilibrium models, and recurrence without recurrence on video."""

from ldeq.checkpoint import load_checkpoint, save_checkpoint
from ldeq.config import ModelConfig, SolverConfig
from ldeq.errors import InputError
from ldeq.gradients import GradientConfig
from ldeq.model import LDEQ, LDEQOutput
from ldeq.tracking import VideoTracker

__all__ = [
    "LDEQ",
    "GradientConfig",
    "InputError",
    "LDEQOutput",
    "ModelConfig",
    "SolverConfig",
    "VideoTracker",
    "load_checkpoint",
    "save_checkpoint",
]
