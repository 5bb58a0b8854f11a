"""What fewer bits cost and give: ``python -m benchmarks.low_precision`` (needs ``pip install onnx``).

Sets speed and figures of the bundled step beside those of float32: in bfloat16 by OpenVINO, where that is installed and
the processor has it, and with convolutions in eight bits by ONNX Runtime's static quantisation, calibrated on frames of
the bundled synthetic clips with the z that they have there: all convolutions, and all but those that read the image or
z or give heatmaps.
"""

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import medians_by_turns
from datasets.wflw_v import Clip, WFLWVDataset
from datasets.wflw_v.clips import FaceFrame
from ldeq import pretrained
from ldeq.command_line import ArgumentParser, at_least, run
from ldeq.errors import InputError
from ldeq.metrics import video_nme, video_nmf
from ldeq.onnx_session import open_session
from ldeq.processor import cpu_name
from ldeq.runtime.step_file import read_description
from ldeq.runtime.step_landmarker import StepLandmarker
from ldeq.runtime.steps import Step, onnxruntime_step, openvino_step
from ldeq.solve_settings import SolveSettings
from ldeq.terminal import console, table
from utils import bundled
from utils.engine.evaluation import TrackedVideo, track_videos

#: Of each synthetic clip every so many of its first frames are calibrated on.
_EVERY, _FIRST = 6, 30


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("--repeats", type=at_least(1), default=25, help="steps of each")
    flags = parser.parse(arguments)
    clips = WFLWVDataset(bundled.WFLW_V, "all").clips
    inputs = list(calibration_inputs([clip for clip in clips if clip.id.startswith("synthetic")]))
    out = console()
    with tempfile.TemporaryDirectory() as folder:
        steps = {"fp32": onnxruntime_step(pretrained.bundled_step())}
        try:
            steps["bf16"] = openvino_step(pretrained.bundled_step(), "bf16")
        except InputError as error:
            out.print(f"bf16 is left out: {error}")
        for name, edges in (("int8, all", True), ("int8, all but image, z and heatmaps", False)):
            path = Path(folder) / f"{len(steps)}.onnx"
            quantise(path, inputs, edges)
            steps[name] = onnxruntime_step(path)
        image, z = inputs[0]["image"], inputs[0]["z"]
        seconds = medians_by_turns({name: partial(step, image, z) for name, step in steps.items()}, flags.repeats)
        reference = follow(steps["fp32"], clips)
        rows = []
        for name, step in steps.items():
            found = reference if name == "fp32" else follow(step, clips)
            ratio = seconds["fp32"] / seconds[name]
            rows.append([name, f"{1e3 * seconds[name]:.1f}", f"{ratio:.2f}", *found.figures(), *found.moved(reference)])
    out.print(cpu_name())
    columns = ["precision", "ms", "times as fast", "NME %", "NMF", "moved", "99 %"]
    out.print(table("A step of one face; pixels of the crop from fp32", columns, rows))


@dataclass
class Followed:
    """Landmarks of RwR over clips."""

    #: By clips, (frames, 98, 2) in pixels of the crop, but for where the crop is in the frame.
    points: dict[str, NDArray[np.float64]]
    #: NME and NMF of each clip.
    errors: list[tuple[float, float]]

    def figures(self) -> list[str]:
        """NME in percent and NMF, means over the clips."""
        nme, nmf = np.mean(self.errors, axis=0)
        return [f"{nme:.3f}", f"{nmf:.1f}"]

    def moved(self, reference: "Followed") -> list[str]:
        """How far landmarks are from others, in pixels of the crop: the median and the 99th percentile."""
        differences = [points - reference.points[clip] for clip, points in self.points.items()]
        distances = np.linalg.norm(np.concatenate(differences), axis=-1)
        return [f"{np.percentile(distances, share):.3f}" for share in (50, 99)]


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


def follow(step: Step, clips: Sequence[Clip]) -> Followed:
    """RwR over the clips."""
    description = read_description(pretrained.bundled_step())
    landmarker = StepLandmarker(step, description, SolveSettings())
    points: dict[str, list[NDArray[np.float64]]] = defaultdict(list)

    def keep(video: TrackedVideo[Clip], frame: FaceFrame, landmarks: NDArray[np.float64]) -> None:
        scale = float(np.sqrt(np.linalg.det(frame.matrix[:, :2])))
        points[video.clip.id].append(scale * landmarks)

    errors = []
    for video in track_videos(landmarker, clips, Clip.frames, batch_size=5, workers=1, on_frame=keep):
        if video.failure is not None:
            raise video.failure
        predicted = np.stack(video.landmarks)
        errors.append((video_nme(predicted, video.clip.landmarks), video_nmf(predicted, video.clip.landmarks)))
    return Followed({clip: np.stack(found) for clip, found in points.items()}, errors)


if __name__ == "__main__":
    run(main)
