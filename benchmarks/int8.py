"""What eight bits would give: ``python -m benchmarks.int8`` (needs ``pip install onnx``).

Quantises the convolutions of the bundled step by ONNX Runtime's static quantisation, calibrated on frames of the
bundled synthetic clips with the z that they have there, and sets speed and figures beside those of float32: of all
convolutions, and of all but those that read the image or z or give heatmaps.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from datasets.wflw_v import Clip, WFLWVDataset
from ldeq import pretrained
from ldeq.command_line import ArgumentParser, at_least, run
from ldeq.metrics import video_nme, video_nmf
from ldeq.onnx_session import open_session
from ldeq.processor import cpu_name
from ldeq.runtime.step_file import read_description
from ldeq.runtime.step_landmarker import StepLandmarker
from ldeq.runtime.steps import Step, onnxruntime_step
from ldeq.solve_settings import SolveSettings
from ldeq.terminal import console, table
from utils import bundled
from utils.engine.evaluation import track_videos

#: Of each synthetic clip every so many of its first frames are calibrated on.
_EVERY, _FIRST = 6, 30


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("--repeats", type=at_least(1), default=25, help="steps of each")
    flags = parser.parse(arguments)
    clips = WFLWVDataset(bundled.WFLW_V, "all").clips
    inputs = list(calibration_inputs([clip for clip in clips if clip.id.startswith("synthetic")]))
    with tempfile.TemporaryDirectory() as folder:
        steps = {"fp32": onnxruntime_step(pretrained.bundled_step())}
        for name, edges in (("int8, all", True), ("int8, all but image, z and heatmaps", False)):
            path = Path(folder) / f"{len(steps)}.onnx"
            quantise(path, inputs, edges)
            steps[name] = onnxruntime_step(path)
        seconds = time_steps(steps, inputs[0], flags.repeats)
        rows = []
        for name, step in steps.items():
            ratio = seconds["fp32"] / seconds[name]
            rows.append([name, f"{1e3 * seconds[name]:.1f}", f"{ratio:.2f}", *figures_of(step, clips)])
    out = console()
    out.print(cpu_name())
    out.print(table("A step of one face", ["convolutions", "ms", "times as fast", "NME %", "NMF"], rows))


def calibration_inputs(clips: Sequence[Clip]) -> Iterator[dict[str, Any]]:
    """Images and z as the step meets them."""
    step = onnxruntime_step(pretrained.bundled_step())
    model = read_description(pretrained.bundled_step()).model
    for clip in clips:
        z = np.zeros((1, model.z_width, model.heatmap_size, model.heatmap_size), np.float32)
        for number, frame in enumerate(islice(clip.frames(), _FIRST)):
            if number % _EVERY == 0:
                yield {"image": frame.image[None], "z": z}
            z = step(frame.image[None], z).z


def quantise(path: Path, inputs: Sequence[dict[str, Any]], edges: bool) -> None:
    """Writes the bundled step with its convolutions in eight bits.

    Args:
        edges: those too that read the image or z, or give heatmaps.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Inputs(CalibrationDataReader):  # type: ignore[misc]
        """The calibration's inputs, one by one."""

        def __init__(self) -> None:
            self._left = iter(inputs)

        def get_next(self) -> dict[str, Any] | None:
            return next(self._left, None)

    prepared = path.with_name(f"prepared-{path.name}")
    quant_pre_process(str(pretrained.bundled_step()), str(prepared), skip_symbolic_shape=True)
    graph = onnx.load(prepared).graph
    weights = {weight.name: list(weight.dims) for weight in graph.initializer}
    shapes = {node.name: weights[node.input[1]] for node in graph.node if node.op_type == "Conv"}
    z_width = read_description(pretrained.bundled_step()).model.z_width
    at_edges = [name for name, (n_out, n_in, *_) in shapes.items() if n_in in (3, z_width) or n_out == z_width]
    quantize_static(
        str(prepared),
        str(path),
        Inputs(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv"],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=[] if edges else at_edges,
    )
    open_session(path, optimised=False)


def time_steps(steps: dict[str, Step], inputs: dict[str, Any], repeats: int) -> dict[str, float]:
    """Seconds of a step of each, taken in turns: medians."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(2 + repeats):
        for name, step in steps.items():
            started = time.perf_counter()
            step(inputs["image"], inputs["z"])
            if turn >= 2:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def figures_of(step: Step, clips: Sequence[Clip]) -> list[str]:
    """NME in percent and NMF of RwR over the clips, means over them."""
    description = read_description(pretrained.bundled_step())
    landmarker = StepLandmarker(step, description, SolveSettings())
    figures = []
    for video in track_videos(landmarker, clips, Clip.frames, batch_size=5, workers=1):
        if video.failure is not None:
            raise video.failure
        predicted = np.stack(video.landmarks)
        figures.append((video_nme(predicted, video.clip.landmarks), video_nmf(predicted, video.clip.landmarks)))
    nme, nmf = np.mean(figures, axis=0)
    return [f"{nme:.3f}", f"{nmf:.1f}"]


if __name__ == "__main__":
    run(main)
