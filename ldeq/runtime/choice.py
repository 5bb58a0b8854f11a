"""Opens a network on the runtime that is asked for, or on the fastest that is installed and exact enough."""

import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path

from ldeq import pretrained
from ldeq.config import check_runtime
from ldeq.errors import InputError
from ldeq.fields import shown
from ldeq.files import refuse_address
from ldeq.landmarks98 import refuse_other_networks
from ldeq.onnx_session import SUFFIX
from ldeq.runtime.exported import exported_step, kept_step
from ldeq.runtime.measurement import Candidate, Figures, fastest
from ldeq.runtime.network import Network, StepNetwork
from ldeq.runtime.step_file import StepFile, read_description
from ldeq.runtime.steps import STEP_RUNTIMES, has_precision, refuse_precision
from ldeq.solve_settings import SolveSettings

#: Where Linux has the devices of NVIDIA's and AMD's GPUs.
_GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
NEEDS_TORCH = 'PyTorch is not installed, expected pip install "ldeq[torch]"'


@dataclass(frozen=True)
class OpenedNetwork:
    """A network, and why it runs where it does."""

    network: Network
    #: What was measured to choose the runtime, by candidates; empty where there was no choice.
    figures: dict[str, Figures]
    #: Whether ``auto`` took PyTorch for want of an exported step, which on a CPU may be faster.
    may_be_exported: bool = False

    @property
    def choice(self) -> tuple[str, str]:
        """The runtime and the precision by which the same can be opened again."""
        return self.network.runtime, self.network.precision

    def describe(self) -> str:
        """The runtime in words, with what it was chosen by."""
        if self.may_be_exported:
            return f"{self.network.description} (--runtime onnxruntime exports the network once, and may be faster)"
        if not self.figures:
            return self.network.description
        measured = ", ".join(
            f"{name} {found.milliseconds:.0f}" for name, found in self.figures.items() if found.milliseconds < math.inf
        )
        return f"{self.network.description} (milliseconds a face: {measured})"


def open_network(
    weights: str | Path,
    *,
    runtime: str = "auto",
    device: str = "auto",
    precision: str = "fp32",
    settings: SolveSettings | None = None,
    trust_pickle: bool = False,
) -> OpenedNetwork:
    """A network for 98 landmarks on crops of 256 pixels, ready to run.

    Args:
        weights: a checkpoint's path, a name of :data:`ldeq.pretrained.NAMES`, or an exported step (``.onnx``).
        runtime: ``torch``, ``onnxruntime``, ``openvino``, or ``auto``: PyTorch where there is a GPU, else what is the
            fastest here, by a measurement that is made once and remembered. Of a checkpoint that has not been exported
            (the bundled one has) ``auto`` takes PyTorch; the names of the others export it into the cache folder.
        device: ``auto`` (CUDA, else MPS, else CPU), or as PyTorch names it. ``onnxruntime`` and ``openvino`` run on the
            CPU.
        precision: ``fp32``, ``bf16``, ``fp16``, or ``auto``: bf16 where it is faster here and exact enough, by the same
            measurement.
        settings: how it is going to solve.
        trust_pickle: as of :func:`ldeq.load_checkpoint`.

    Raises:
        InputError: where the weights cannot be used, or not with this runtime, device, precision or settings.
    """
    check_runtime(runtime, precision)
    if not isinstance(weights, str | Path):
        raise InputError(f"weights = {shown(weights)}, expected a path or one of {', '.join(pretrained.NAMES)}")
    refuse_address(weights)
    settings = settings or SolveSettings()
    request = _Request(weights, device, precision, settings, trust_pickle)
    candidates = request.of_any_runtime() if runtime == "auto" else request.of_runtime(runtime)
    if len(candidates) == 1:
        network = candidates[0].make()
        return OpenedNetwork(network, {}, may_be_exported=runtime == "auto" and request.may_be_exported(network))
    chosen, figures = fastest(candidates, settings, request.digest(), request.place(candidates))
    return OpenedNetwork(chosen.make(), figures)


def is_installed(package: str) -> bool:
    """Whether a package can be imported, which is not done."""
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):
        return False


class _Request:
    """What is asked for, but for the runtime."""

    def __init__(
        self, weights: str | Path, device: str, precision: str, settings: SolveSettings, trust_pickle: bool
    ) -> None:
        self.weights = weights
        self.device = device
        self.settings = settings
        self.trust_pickle = trust_pickle
        self.is_step = Path(weights).suffix == SUFFIX
        self.is_bundled = weights == pretrained.BUNDLED
        self.precision = precision
        self.precisions = ("fp32", "bf16") if precision == "auto" else (precision,)

    def of_any_runtime(self) -> list[Candidate]:
        """Those among which ``auto`` chooses."""
        may_use_torch = not self.is_step and is_installed("torch")
        if may_use_torch and self._has_accelerator():
            return self._on_torch()
        steps: dict[str, StepFile] = {}
        if self.device in ("auto", "cpu"):
            steps = self._steps(self.precisions, lambda precision: kept_step(self.checkpoint, self.settings, precision))
        candidates = self._on_step_runtimes(filter(is_installed, STEP_RUNTIMES), steps)
        # Of the bundled network in float32 PyTorch is slower on every processor that it was measured on, and takes
        # seconds to be imported.
        if may_use_torch and not (self.is_bundled and candidates and "fp32" in self.precisions):
            candidates += self._on_torch()
        if not candidates:
            if steps:
                raise InputError(f"precision {self.precision}: needs OpenVINO or PyTorch, expected fp32 without them")
            raise InputError(f"{NEEDS_TORCH} for these weights, settings and device")
        return candidates

    def of_runtime(self, runtime: str) -> list[Candidate]:
        """Those of one runtime, of different precisions."""
        if runtime == "torch":
            if self.is_step:
                expected = "expected the runtime onnxruntime or openvino, or a checkpoint"
                raise InputError(f"{self.weights}: is an exported step, {expected}")
            if not is_installed("torch"):
                raise InputError(NEEDS_TORCH)
            return self._on_torch()
        if self.device not in ("auto", "cpu"):
            raise InputError(f"device {self.device!r}: {runtime} runs on the CPU, expected cpu, or the runtime torch")
        if not is_installed(runtime):
            raise InputError(f"{runtime} is not installed, expected pip install {runtime}")
        precisions = [precision for precision in self.precisions if has_precision(runtime, precision)]
        if not precisions:
            refuse_precision(runtime, self.precision)
        steps = self._steps(
            precisions,
            lambda precision: exported_step(self.checkpoint, self.settings, precision, self.trust_pickle),
        )
        return self._on_step_runtimes([runtime], steps)

    @cached_property
    def checkpoint(self) -> Path:
        """The checkpoint's path; one that is published is fetched if need be, which needs PyTorch to check it."""

        def check(path: Path) -> object:
            from ldeq.model.checkpoint import load_checkpoint

            return load_checkpoint(path)

        is_name = isinstance(self.weights, str) and self.weights in pretrained.NAMES
        if is_name and not pretrained.path_of(str(self.weights)).is_file() and not is_installed("torch"):
            raise InputError(f"{NEEDS_TORCH} for {self.weights}")
        return pretrained.resolve(self.weights, check)

    def digest(self) -> str:
        """What tells the weights from others."""
        from ldeq.files import sha256_of

        return sha256_of(self.weights if self.is_step else self.checkpoint)

    def place(self, candidates: Iterable[Candidate]) -> str:
        """Where they run, in words."""
        if not any(candidate.runtime == "torch" for candidate in candidates):
            return "cpu"
        from ldeq.device import describe_device, resolve_device

        return describe_device(resolve_device(self.device))

    def may_be_exported(self, network: Network) -> bool:
        """Whether a network that PyTorch runs on the CPU in float32 can have a step that makes a video's frames."""
        settings = self.settings
        if (network.runtime, network.precision) != ("torch", "fp32") or not network.device.startswith("cpu"):
            return False
        from ldeq.model.step import why_not_fixed

        is_fixed = why_not_fixed(network.config, network.solver_config, settings.max_iters) is None
        return is_fixed and settings.rwr and settings.stop_criterion != "batch"

    def _has_accelerator(self) -> bool:
        """Whether PyTorch runs on something else than the CPU; asked only where there may be one, as it takes long."""
        if self.device != "auto":
            return self.device != "cpu"
        if sys.platform == "linux" and not any(map(os.path.exists, _GPU_DEVICES)):
            return False
        from ldeq.device import resolve_device

        return resolve_device("auto").type != "cpu"

    def _on_torch(self) -> list[Candidate]:
        def make(precision: str) -> Network:
            from ldeq.device import load_model, resolve_device
            from ldeq.runtime.pytorch import TorchNetwork

            model, path = load_model(self.weights, resolve_device(self.device), precision, self.trust_pickle)
            return TorchNetwork(model, path, precision)

        return [Candidate("torch", precision, partial(make, precision)) for precision in self.precisions]

    def _steps(self, precisions: Iterable[str], of_checkpoint: Callable[[str], StepFile | None]) -> dict[str, StepFile]:
        """Exported steps by the precisions in which they are to be computed: those of the checkpoint, or the one that
        was given in its place."""
        if not self.is_step:
            found = {precision: of_checkpoint(precision) for precision in precisions}
            return {precision: step for precision, step in found.items() if step is not None}
        step = StepFile(Path(self.weights), read_description(self.weights))
        lacks = {precision: step.description.lacks_precision(precision) for precision in precisions}
        usable = {precision: step for precision, lack in lacks.items() if lack is None}
        if not usable:
            lack = next(iter(lacks.values()))
            raise InputError(f"{step.path}: {lack}, expected fp32, or a file exported with --winograd false")
        return usable

    def _on_step_runtimes(self, runtimes: Iterable[str], steps: Mapping[str, StepFile]) -> list[Candidate]:
        for path, description in steps.values():
            refuse_other_networks(path, description.model)

        def make(runtime: str, precision: str) -> Network:
            path, description = steps[precision]
            weights = path if self.is_step else self.checkpoint
            return StepNetwork(STEP_RUNTIMES[runtime](path, precision), description, weights, runtime, precision)

        return [
            Candidate(runtime, precision, partial(make, runtime, precision))
            for runtime in runtimes
            for precision in steps
            if has_precision(runtime, precision)
        ]
