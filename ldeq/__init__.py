"""LDEQ: facial landmark detection with deep equilibrium models, and recurrence without recurrence on video.

Importing this package imports neither PyTorch nor OpenCV: each name below brings in what it needs when it is first
used.
"""

from typing import TYPE_CHECKING

from ldeq.errors import InputError
from ldeq.lazy import lazy_names

if TYPE_CHECKING:
    from ldeq.config import GradientConfig, ModelConfig, SolverConfig
    from ldeq.inference import LandmarkResult, landmarks
    from ldeq.model.checkpoint import load_checkpoint, save_checkpoint
    from ldeq.model.network import LDEQ, LDEQOutput
    from ldeq.recurrence import RecurrentLDEQ

__version__ = "0.2.0"

_MODULE_OF = {
    "GradientConfig": "ldeq.config",
    "ModelConfig": "ldeq.config",
    "SolverConfig": "ldeq.config",
    "LDEQ": "ldeq.model.network",
    "LDEQOutput": "ldeq.model.network",
    "load_checkpoint": "ldeq.model.checkpoint",
    "save_checkpoint": "ldeq.model.checkpoint",
    "RecurrentLDEQ": "ldeq.recurrence",
    "LandmarkResult": "ldeq.inference",
    "landmarks": "ldeq.inference",
}

__all__ = [
    "LDEQ",
    "GradientConfig",
    "InputError",
    "LDEQOutput",
    "LandmarkResult",
    "ModelConfig",
    "RecurrentLDEQ",
    "SolverConfig",
    "landmarks",
    "load_checkpoint",
    "save_checkpoint",
]


__getattr__ = lazy_names(__name__, _MODULE_OF)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})
