"""An exported step of RwR as a function of arrays, on the runtimes that need no PyTorch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ldeq.errors import InputError
from ldeq.lazy import load_package
from ldeq.onnx_session import last_words, open_session
from ldeq.runtime.step_file import INPUTS, OUTPUTS
from ldeq.torchrun import n_threads

#: Runtimes by the names of their packages.
TITLES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "torch": "PyTorch"}
#: By precision, as OpenVINO calls them.
_OPENVINO_PRECISIONS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}


class StepResult(NamedTuple):
    """What a step gives for B crops."""

    #: (B, 98, 2) float32, order (x, y), fractions of the crop's side.
    landmarks: NDArray[np.float32]
    #: (B, 98) float32, standard deviation of each heatmap as a fraction of the crop's side.
    uncertainty: NDArray[np.float32]
    #: (B, z_width, 64, 64) float32.
    z: NDArray[np.float32]


class Step(Protocol):
    """An exported step that is ready to run."""

    def __call__(self, images: NDArray[np.uint8], z: NDArray[np.float32]) -> StepResult:
        """One frame of B faces: crops (B, 256, 256, 3) uint8 RGB, and z (B, z_width, 64, 64) of each.

        Raises:
            InputError: where the graph cannot be run.
        """
        ...


def has_precision(runtime: str, precision: str) -> bool:
    """Whether a runtime computes in a precision, on a CPU that does."""
    return precision == "fp32" or runtime != "onnxruntime"


def refuse_precision(runtime: str, precision: str) -> None:
    """Raises InputError where the runtime has no such precision."""
    if not has_precision(runtime, precision):
        raise InputError(
            f"precision {precision}: ONNX Runtime computes with float32 on a CPU, expected fp32, or the runtime "
            "openvino or torch"
        )


def onnxruntime_step(path: Path, precision: str = "fp32") -> Step:
    """Raises InputError as :func:`refuse_precision`, or as :func:`open_session`."""
    refuse_precision("onnxruntime", precision)
    session = open_session(path)

    def step(images: NDArray[np.uint8], z: NDArray[np.float32]) -> StepResult:
        with _faults_of(path):
            found = session.run(list(OUTPUTS), dict(zip(INPUTS, (images, z), strict=True)))
        return StepResult(*found)

    return step


def openvino_step(path: Path, precision: str = "fp32") -> Step:
    """Raises InputError as :func:`compiled_by_openvino`."""
    request = compiled_by_openvino(path, precision).create_infer_request()

    def step(images: NDArray[np.uint8], z: NDArray[np.float32]) -> StepResult:
        with _faults_of(path):
            # The inputs are read where they are; the outputs are copied, as the next run writes over them.
            found = request.infer(dict(zip(INPUTS, (images, z), strict=True)), share_inputs=True)
        return StepResult(*(found[name] for name in OUTPUTS))

    return step


def compiled_by_openvino(path: Path, precision: str = "fp32") -> Any:
    """OpenVINO's model of an ONNX file on the CPU.

    Raises:
        InputError: where the CPU has no such precision, or OpenVINO is not installed or cannot read the file.
    """
    openvino = load_package("openvino", TITLES["openvino"])
    hint = _OPENVINO_PRECISIONS[precision]
    core = openvino.Core()
    options = {
        "INFERENCE_PRECISION_HINT": hint,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": n_threads(),
        # Every thread is one that this process may use.
        "ENABLE_CPU_PINNING": False,
    }
    try:
        compiled = core.compile_model(str(path), "CPU", options)
    except RuntimeError as error:
        raise InputError(
            f"{path}: cannot be read by OpenVINO ({last_words(error)}), expected an exported step"
        ) from None
    if compiled.get_property("INFERENCE_PRECISION_HINT").to_string() != hint:
        raise InputError(f"precision {precision}: this CPU has no such arithmetic, expected fp32") from None
    return compiled


@contextmanager
def _faults_of(path: Path) -> Iterator[None]:
    """Raises InputError where a runtime cannot run a graph, as of a file that has been edited."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # ONNX Runtime raises classes of its own for each kind of fault
        raise InputError(f"{path}: cannot be run ({last_words(error)}), expected an exported step") from None


#: Runtimes of exported steps by name: what makes a step of a file and a precision, and the package that it needs.
STEP_RUNTIMES: dict[str, Callable[[Path, str], Step]] = {"onnxruntime": onnxruntime_step, "openvino": openvino_step}


def version_of(runtime: str) -> str:
    """Name and version of a runtime, for a report. Raises InputError as :func:`ldeq.lazy.load_package`."""
    version = str(load_package(runtime, TITLES[runtime]).__version__).partition("-")[0]
    return f"{TITLES[runtime]} {version}"
