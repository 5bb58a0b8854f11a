"""Networks in ONNX files, by ONNX Runtime on the CPU."""

import re
from pathlib import Path
from typing import Any

from ldeq.errors import InputError
from ldeq.lazy import load_package
from ldeq.torchrun import n_threads

#: The suffix of ONNX files.
SUFFIX = ".onnx"


def open_session(path: Path, *, optimised: bool = True) -> Any:
    """An ONNX Runtime session of a file on the CPU.

    Args:
        optimised: to be run, and not only looked at.

    Raises:
        InputError: where the file is missing or no ONNX file, or ONNX Runtime is not installed.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected an ONNX file ({SUFFIX})")
    onnxruntime = load_package("onnxruntime", "ONNX Runtime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its warnings are of its own optimisations, and its errors are raised as well
    options.intra_op_num_threads = n_threads() if optimised else 1
    options.inter_op_num_threads = 1
    # Planning where tensors lie saves a hundredth of the time for up to a half of the memory, and again for each batch.
    options.enable_mem_pattern = False
    # Threads that wait busily take the time of those that decode, detect and encode.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises classes of its own for each kind of fault
        raise InputError(f"{path}: cannot be read ({last_words(error)}), expected an ONNX file ({SUFFIX})") from None


def last_words(error: Exception, most: int = 160) -> str:
    """The end of what ONNX Runtime or OpenVINO say of an error: the fault itself. Where in their code comes before."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
    line = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed:)?", "", line).rstrip(".")
    return line if len(line) <= most else f"…{line[-most:]}"
