"""An exported step of RwR: an ONNX file, and what its metadata say of it."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import ldeq
from ldeq.config import ModelConfig, SolverConfig
from ldeq.errors import InputError
from ldeq.fields import coerced, field_named
from ldeq.files import refuse_address
from ldeq.landmarks98 import CROP_SCALE, CROP_SIZE, N_LANDMARKS
from ldeq.onnx_session import open_session
from ldeq.solve_settings import SolveSettings

#: Names of the graph's inputs and outputs.
INPUTS = ("image", "z")
OUTPUTS = ("landmarks", "uncertainty", "z_next")
#: Precisions that its convolutions can have.
PRECISIONS = ("fp32", "fp16")
#: What is said of the landmarks to whoever finds the file.
SCHEME = f"WFLW's {N_LANDMARKS} landmarks, order (x, y), fractions of the crop's side"
CROP = (
    f"uint8 RGB, {CROP_SIZE} x {CROP_SIZE} pixels: a square around the middle of the face's bounding box, "
    f"{CROP_SCALE} times as wide as the box's longer side; normalised inside"
)
RECURRENCE = "z of a face's first frame is zeros, and then z_next of its last frame"

_TRUTH = {"true": True, "false": False}


@dataclass(frozen=True)
class StepDescription:
    """What an exported step is of, and how many steps it makes."""

    model: ModelConfig
    #: The network's own settings, by which a frame without a predecessor is solved.
    solver: SolverConfig
    #: Iterations of the solver in the graph.
    iterations: int
    #: Whether an evaluation of the cell follows the solver.
    last_step: bool
    #: Of the convolutions, one of :data:`PRECISIONS`.
    precision: str
    #: Whether some of them are computed by :mod:`ldeq.runtime.winograd`.
    winograd: bool
    #: The checkpoint's name and its SHA-256.
    weights: str
    weights_sha256: str
    licence: str

    @property
    def evaluations(self) -> int:
        """Evaluations of the cell in the graph."""
        if self.model.model_mode == "explicit":
            return self.model.explicit_depth
        # Anderson acceleration needs two before its first iterate.
        return self.iterations + int(self.last_step) + 2 * int(self.solver.solver == "anderson")

    @property
    def own_evaluations(self) -> int:
        """Evaluations of the cell in a solve with the network's own settings, at most."""
        own = dataclasses.replace(
            self, iterations=self.solver.max_iters, last_step=not self.solver.take_one_less_inference_step
        )
        return own.evaluations

    @property
    def tensors(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Types of the graph's inputs and outputs, and their shapes after the batch, by their names."""
        model = self.model
        z = (model.z_width, model.heatmap_size, model.heatmap_size)
        return {
            "image": ("uint8", (model.im_size, model.im_size, 3)),
            "z": ("float", z),
            "landmarks": ("float", (model.n_keypoints, 2)),
            "uncertainty": ("float", (model.n_keypoints,)),
            "z_next": ("float", z),
        }

    def lacks(self, settings: SolveSettings) -> str | None:
        """Why frames cannot be solved by this graph as the settings say; None where they can."""
        if settings.stop_criterion == "batch":
            return "faces are solved by themselves and not as batches"
        if self.model.model_mode == "explicit" or not settings.rwr:
            return None
        if (settings.max_iters, not settings.take_one_less_inference_step) != (self.iterations, self.last_step):
            last = "with" if self.last_step else "without"
            plural = "s" if self.iterations > 1 else ""
            return f"its graph makes {self.iterations} iteration{plural} {last} the last step"
        return None

    def lacks_precision(self, precision: str) -> str | None:
        """Why a runtime cannot compute this graph in a precision; None where it can."""
        if not self.winograd or precision == "fp32":
            return None
        return f"its convolutions are computed by Winograd's algorithm, for which precision {precision} is too coarse"

    def to_metadata(self) -> dict[str, str]:
        """For an ONNX file's metadata, whose values are text."""
        return {
            "made_by": f"ldeq {ldeq.__version__}",
            "scheme": SCHEME,
            "crop": CROP,
            "recurrence": RECURRENCE,
            "solver": self.model.model_mode if self.model.model_mode == "explicit" else self.solver.solver,
            "iterations": str(self.iterations),
            "last_step": str(self.last_step).lower(),
            "precision": self.precision,
            "winograd": str(self.winograd).lower(),
            "weights": self.weights,
            "weights_sha256": self.weights_sha256,
            "licence": self.licence,
            "model_config": json.dumps(dataclasses.asdict(self.model)),
            "solver_config": json.dumps(dataclasses.asdict(self.solver)),
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Self:
        """Raises InputError where they are not those of a step."""
        try:
            if metadata["precision"] not in PRECISIONS:
                raise ValueError(metadata["precision"])
            return cls(
                model=ModelConfig(**json.loads(metadata["model_config"])),
                solver=SolverConfig(**json.loads(metadata["solver_config"])),
                iterations=coerced(field_named(SolverConfig, "max_iters"), int(metadata["iterations"])),
                last_step=_TRUTH[metadata["last_step"]],
                precision=metadata["precision"],
                # Files of before it was there have none.
                winograd=_TRUTH[metadata.get("winograd", "false")],
                weights=metadata["weights"],
                weights_sha256=metadata["weights_sha256"],
                licence=metadata["licence"],
            )
        except (KeyError, TypeError, ValueError, RecursionError):
            raise InputError(
                "its metadata are not those of a step, expected a file that python -m ldeq.runtime.export wrote"
            ) from None


class StepFile(NamedTuple):
    """An exported step in its file."""

    path: Path
    description: StepDescription


def read_description(path: str | Path) -> StepDescription:
    """What an exported file says of itself.

    Raises:
        InputError: where the file is missing, is no ONNX file, or not one of an exported step; also where what it says
            of itself is not what it is.
    """
    refuse_address(path)
    path = Path(path)
    session = open_session(path, optimised=False)
    tensors = [*session.get_inputs(), *session.get_outputs()]
    if [tensor.name for tensor in tensors] != [*INPUTS, *OUTPUTS]:
        names = ", ".join(tensor.name for tensor in session.get_inputs())
        raise InputError(
            f"{path}: its inputs are {names}, expected a step ({', '.join(INPUTS)}) as python -m ldeq.runtime.export "
            "writes it"
        )
    try:
        description = StepDescription.from_metadata(session.get_modelmeta().custom_metadata_map)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    for tensor in tensors:
        type, shape = description.tensors[tensor.name]
        if not _fits(tensor, type, shape):
            sizes = ", ".join(map(str, tensor.shape))
            raise InputError(
                f"{path}: {tensor.name} is {tensor.type} of {sizes}, expected tensor({type}) of any batch, "
                f"{', '.join(map(str, shape))} as its metadata say"
            )
    return description


def _fits(tensor: Any, type: str, shape: tuple[int, ...]) -> bool:
    """Whether ONNX Runtime says that a tensor is of a type, and of any batch of a shape. Unknown sizes have names."""
    batch, *rest = tensor.shape or [0]
    same = len(rest) == len(shape) and all(not isinstance(n, int) or n == m for n, m in zip(rest, shape, strict=True))
    return bool(tensor.type == f"tensor({type})" and not isinstance(batch, int) and same)
