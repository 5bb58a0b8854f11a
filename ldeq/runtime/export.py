"""Writes the recurrent step of a network as an ONNX file: ``python -m ldeq.runtime.export``."""

if __name__ == "__main__":
    from ldeq.interrupts import end_at_once_until_run

    end_at_once_until_run()

import contextlib
import dataclasses
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ldeq
from ldeq import pretrained, terminal
from ldeq.command_line import ArgumentParser, add_boolean, complain, number_of, run
from ldeq.config import SolverConfig
from ldeq.errors import InputError
from ldeq.files import printable, refuse_unwritable, sha256_of, written_whole
from ldeq.lazy import load_package
from ldeq.onnx_session import SUFFIX
from ldeq.runtime.step_file import INPUTS, OUTPUTS, PRECISIONS, StepDescription, read_description

if TYPE_CHECKING:  # imported by what exports, so that --help answers at once
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from ldeq.config import ModelConfig
    from ldeq.model.step import RecurrentStep
    from ldeq.runtime.steps import Step

#: The version of ONNX's operators: the first that has all of the graph's, which most runtimes of the last years know.
OPSET = 18
#: The first PyTorch whose exporter can do it.
TORCH = "2.8"
#: Most that landmarks may differ from PyTorch's, in pixels of the crop.
TOLERANCES = {"fp32": 0.01, "fp16": 0.5}
#: The licence of the bundled weights; others have that of whoever trained them.
BUNDLED_LICENCE = "MIT"
OTHER_LICENCE = "that of the checkpoint"
#: Bytes of weights that an ONNX file can hold, with some left for the graph.
MOST_BYTES = 2**31 - 2**24


def make_parser() -> ArgumentParser:
    parser = ArgumentParser(
        "Writes the recurrent step of a network as an ONNX file: an image and z give landmarks, uncertainty and the "
        "next frame's z.",
        prog="python -m ldeq.runtime.export",
    )
    parser.add_argument(
        "--landmark_model_weights",
        default=pretrained.BUNDLED,
        metavar="FILE|NAME",
        help=f"checkpoint, or a network's name: {', '.join(pretrained.NAMES)}",
    )
    parser.add_argument("--output", required=True, metavar="FILE", help=f"the file to write ({SUFFIX})")
    parser.add_argument(
        "--iterations",
        type=number_of(SolverConfig, "max_iters"),
        default=1,
        metavar="N",
        help="the solver's iterations on every frame; more than 1 with fixed-point networks alone",
    )
    add_boolean(parser, "--last_step", "end with the evaluation of the cell that follows the solver", default=True)
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="fp32", help="of the convolutions; z and heatmaps stay float32"
    )
    add_boolean(
        parser,
        "--winograd",
        "compute convolutions by Winograd's algorithm where that is faster on a CPU; in float32 alone, where it is the "
        "default",
        default=None,
    )
    parser.add_argument("--licence", metavar="TEXT", help="of the weights, for the file's metadata")
    add_boolean(parser, "--trust_pickle", "load a checkpoint that holds any Python objects: its source is trusted")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Exports as the command line (or ``arguments``) says."""
    flags = make_parser().parse(arguments)
    output = Path(flags.output)
    if output.suffix != SUFFIX:
        raise InputError(f"--output {output}: expected a name that ends in {SUFFIX}")
    if output.is_dir():
        raise InputError(f"--output {output}: is a folder, expected a file")
    description, difference = export(
        flags.landmark_model_weights,
        output,
        iterations=flags.iterations,
        last_step=flags.last_step,
        precision=flags.precision,
        winograd=flags.winograd,
        licence=flags.licence,
        trust_pickle=flags.trust_pickle,
    )
    last = "with" if description.last_step else "without"
    plural = "s" if description.evaluations > 1 else ""
    frame = f"{description.evaluations} evaluation{plural} of the cell a frame ({last} the last step)"
    how = description.precision + (", convolutions by Winograd's algorithm" if description.winograd else "")
    terminal.print_lines(
        terminal.console(),
        [
            f"{output}: {output.stat().st_size / 1e6:.1f} MB, {frame}, {how}",
            f"Its landmarks differ from PyTorch's by {difference:.2g} pixels of the crop at most.",
        ],
    )


def export(
    weights: str | Path,
    output: Path,
    *,
    iterations: int = 1,
    last_step: bool = True,
    precision: str = "fp32",
    winograd: bool | None = None,
    licence: str | None = None,
    trust_pickle: bool = False,
    on_begin: Callable[[], None] | None = None,
) -> tuple[StepDescription, float]:
    """Writes the step of a network, and compares it with PyTorch before the file gets its name.

    Args:
        weights: a checkpoint's path, or one of :data:`ldeq.pretrained.NAMES`.
        iterations: as of :class:`ldeq.model.step.RecurrentStep`, as is ``last_step``; explicit networks have neither.
        precision: one of :data:`PRECISIONS`.
        winograd: compute convolutions by :mod:`ldeq.runtime.winograd` where that is faster on a CPU, and the landmarks
            stay as exact as they have to be; None: in float32.
        on_begin: called once the checkpoint and the place for the file are known to be good; the rest takes longer.

    Returns:
        What the file says of itself, and the largest difference of its landmarks from PyTorch's in crop pixels.

    Raises:
        InputError: where the checkpoint cannot be used, its step not be exported, or the file not be written.
    """
    if winograd is None:
        winograd = precision == "fp32"
    if winograd and precision != "fp32":
        raise InputError(f"--winograd true: is too coarse for --precision {precision}, expected fp32, or false")
    for name in ("onnx", "onnxruntime", "onnxscript", "torch"):
        load_package(name, name, install='"ldeq[export]"')
    import torch

    from ldeq.device import load_model
    from ldeq.model.step import RecurrentStep
    from ldeq.runtime.winograd import MOST_GROWTH, use_winograd

    model, path = load_model(weights, torch.device("cpu"), "fp32", trust_pickle)
    if output.exists() and output.samefile(path):
        raise InputError(f"{output}: is the checkpoint itself and would be overwritten, expected another output")
    dtype = torch.float32 if precision == "fp32" else torch.float16
    try:
        step = RecurrentStep(model, iterations, not last_step, dtype)
    except InputError as error:
        raise InputError(f"{path}: cannot be exported: {error}") from None
    size = sum(parameter.nbytes for parameter in step.parameters())
    if size > MOST_BYTES:
        raise InputError(f"{path}: has {size / 1e9:.1f} GB of weights, expected less than 2 GB, as ONNX files hold")
    refuse_unwritable(output)
    if on_begin is not None:
        on_begin()
    bundled = path.resolve() == pretrained.path_of(pretrained.BUNDLED)
    description = StepDescription(
        model=model.config,
        solver=model.solver_config,
        iterations=iterations if step.solver else 1,
        last_step=step.last_step,
        precision=precision,
        winograd=False,
        weights=printable(path.name),
        weights_sha256=sha256_of(path),
        licence=printable(licence or (BUNDLED_LICENCE if bundled else OTHER_LICENCE)),
    )
    reference = step if precision == "fp32" else RecurrentStep(model, iterations, not last_step)
    if winograd and MOST_GROWTH * size <= MOST_BYTES:
        faster = RecurrentStep(model, iterations, not last_step)
        if use_winograd(faster, *map(torch.from_numpy, _inputs(model.config, 1))):
            described = dataclasses.replace(description, winograd=True)
            try:
                return described, _write(faster, described, reference, output)
            except _InexactError as error:
                complain(f"{path}: by Winograd's algorithm {error}; it is exported without")
    try:
        return description, _write(step, description, reference, output)
    except _InexactError as error:
        raise InputError(f"{path}: {error}") from None


class _InexactError(Exception):
    """Landmarks of an exported step are too far from PyTorch's."""


def _write(step: "RecurrentStep", description: StepDescription, reference: "RecurrentStep", output: Path) -> float:
    """Writes the file, and gives the largest difference of its landmarks from those of the reference in crop pixels.

    Raises:
        _InexactError: where it is too large; nothing is written then.
        InputError: where the file cannot be written.
    """
    from ldeq.runtime.steps import onnxruntime_step

    graph = _graph_of(step, description)
    with written_whole(output) as temporary:  # from here on nothing is imported, during which a Ctrl-C ends all at once
        temporary.write_bytes(graph)
        if read_description(temporary) != description:
            raise AssertionError("an exported step does not say of itself what it is")
        difference = _largest_difference(reference, description, onnxruntime_step(temporary))
        most = TOLERANCES[description.precision]
        if not difference <= most:
            raise _InexactError(
                f"the exported step's landmarks differ from PyTorch's by {difference:.2g} pixels of the crop, "
                f"expected at most {most:g} in {description.precision}"
            )
    return difference


def _graph_of(step: "RecurrentStep", description: StepDescription) -> bytes:
    """The content of the file."""
    import onnx
    import torch

    # Of two samples: PyTorch takes what was one at the tracing for always one.
    images, z = _inputs(description.model, 2)
    graph = onnx_graph(step, (torch.from_numpy(images), torch.from_numpy(z)), INPUTS, OUTPUTS)
    graph.producer_name, graph.producer_version = "ldeq", ldeq.__version__
    # Where each operator comes from, with the paths of this machine.
    for node in graph.graph.node:
        del node.metadata_props[:]
        node.ClearField("doc_string")
    for value in [*graph.graph.input, *graph.graph.output, *graph.graph.value_info, *graph.graph.initializer]:
        del value.metadata_props[:]
        value.ClearField("doc_string")
    del graph.graph.metadata_props[:], graph.metadata_props[:]
    onnx.helper.set_model_props(graph, description.to_metadata())
    onnx.checker.check_model(graph)
    content: bytes = graph.SerializeToString(deterministic=True)
    return content


def onnx_graph(
    module: "nn.Module", inputs: "tuple[Tensor, ...]", input_names: Sequence[str], output_names: Sequence[str]
) -> Any:
    """A module as an ``onnx.ModelProto``, for any number of samples in place of those of the inputs (2 or more).

    Raises:
        InputError: where this PyTorch cannot.
    """
    import torch

    batch = torch.export.Dim("batch")
    try:
        with _quiet(), torch.no_grad():
            program: Any = torch.onnx.export(
                module,
                inputs,
                dynamo=True,
                opset_version=OPSET,
                input_names=list(input_names),
                output_names=list(output_names),
                dynamic_shapes=tuple({0: batch} for _ in inputs),
                verbose=False,
            )
    except torch.onnx.OnnxExporterError:  # those of 2.6 and 2.7 cannot do some of it
        raise InputError(f"PyTorch {torch.__version__} cannot write this as ONNX, expected {TORCH} or newer") from None
    return program.model_proto


def _largest_difference(reference: "RecurrentStep", description: StepDescription, step: "Step") -> float:
    """Over two frames of three faces by themselves and together, in crop pixels; NaN where landmarks are not finite."""
    import numpy as np
    import torch

    images, z = _inputs(description.model, 3)
    largest = 0.0
    for _ in range(2):
        with torch.no_grad():
            expected = [part.numpy() for part in reference(torch.from_numpy(images), torch.from_numpy(z))]
        together = step(images, z)
        alone = [step(images[row : row + 1], z[row : row + 1]) for row in range(len(images))]
        for found in (together.landmarks, np.concatenate([result.landmarks for result in alone])):
            difference = np.abs(found - expected[0]).max() * description.model.im_size
            largest = float(np.maximum(largest, difference))  # and not max, which passes over NaN
        z = expected[2]
    return largest


def _inputs(config: "ModelConfig", n_samples: int) -> "tuple[NDArray[np.uint8], NDArray[np.float32]]":
    """Soft random images, and z of first frames."""
    import cv2
    import numpy as np

    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (n_samples, 16, 16, 3), dtype=np.uint8)
    size = (config.im_size, config.im_size)
    images = np.stack([cv2.resize(image, size, interpolation=cv2.INTER_CUBIC) for image in coarse])
    z = np.zeros((n_samples, config.z_width, config.heatmap_size, config.heatmap_size), np.float32)
    return images, z


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's own report."""
    level = logging.root.manager.disable
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)  # its errors are raised as well
        try:
            yield
        finally:
            logging.disable(level)


if __name__ == "__main__":
    run(main)
