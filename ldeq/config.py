"""Settings of a network, its solver and its gradient, as frozen dataclasses; checkpoints' ``args`` give the first two.

Their fields are named as in the published checkpoints' ``args`` (an :class:`argparse.Namespace`).
"""

import argparse
import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from ldeq.errors import InputError
from ldeq.fields import accepts, check, coerce_fields, convert, kind, setting, shown

MODEL_MODES = ("implicit", "explicit")
CELL_NORMS = ("softargmax", "linear", "None")
SOLVERS = ("fpi", "anderson", "broyden")
STOP_MODES = ("rel", "abs")
STOP_CRITERIA = ("sample", "batch")
GRADIENTS = ("implicit", "jfb", "unrolled")
#: Precisions of the network's convolutions.
PRECISIONS = ("fp32", "bf16", "fp16")
#: What runs a network. All but ``auto`` are names of packages.
RUNTIMES = ("auto", "torch", "onnxruntime", "openvino")

#: Frames a second that images may be said to have, from and to.
FPS = (0.1, 1000.0)

#: Stride of the stem: images of ``im_size`` give heatmaps of ``im_size / STEM_STRIDE``.
STEM_STRIDE = 4
#: The hourglass halves the heatmap four times.
HOURGLASS_DEPTH = 4

#: Iterations of a solver, and applications of an unrolled cell, at most. Published networks make 30.
MAX_ITERS = 1000
#: Iterations of Broyden's method, whose memory grows by two vectors of z's size with each.
MAX_BROYDEN_ITERS = 200
#: Iterates that Anderson acceleration mixes, of which each takes two vectors of z's size. Published networks have 5.
MAX_ANDERSON_M = 32
#: Channels at most: of the network's layers, and of z. Published networks have a few hundred, and about a hundred.
MAX_WIDTH = 2048
MAX_Z_WIDTH = 512


def check_runtime(runtime: str, precision: str) -> None:
    """Raises InputError where there is no such runtime, or no such precision; ``auto`` is one of each."""
    if runtime not in RUNTIMES:
        raise InputError(f"runtime = {runtime!r}, expected one of {', '.join(RUNTIMES)}")
    if precision not in (*PRECISIONS, "auto"):
        raise InputError(f"precision = {precision!r}, expected one of {', '.join((*PRECISIONS, 'auto'))}")


@dataclass(frozen=True)
class ModelConfig:
    """Architecture of an LDEQ network.

    Raises:
        InputError: where a field has the wrong type or a value that cannot be built; the message names the field.
    """

    model_mode: str = setting(
        "implicit",
        "implicit: the output is an equilibrium that a solver finds; explicit: the cell is unrolled",
        choices=MODEL_MODES,
    )
    explicit_depth: int = setting(1, "number of cell applications in explicit mode", low=1, high=MAX_ITERS)
    injection_width: int = setting(224, "I, channels of the injection x that the stem gives", low=4, high=MAX_WIDTH)
    cell_base_width: int = setting(224, "W, channels of the hourglass at its finest level", low=1, high=MAX_WIDTH)
    cell_width_increment: int = setting(
        24, "i, channels that each of the four coarser levels adds", low=-MAX_WIDTH, high=MAX_WIDTH
    )
    cell_gn_groups: int = setting(8, "groups of every GroupNorm in the cell", low=1, high=MAX_WIDTH)
    cell_use_bn_for_explicit: bool = setting(
        False, "in explicit mode, BatchNorm instead of GroupNorm in the cell; implicit mode always has GroupNorm"
    )
    cell_norm: str = setting("softargmax", "normalisation of the heatmaps in the cell", choices=CELL_NORMS)
    cell_softargmax_beta: float = setting(1.0, "sharpness of the softargmax normalisation", low=-1e6, high=1e6)
    cell_learn_softargmax_beta: bool = setting(False, "take softplus(cell_softargmax_beta) as the cell's sharpness")
    n_keypoints: int = setting(98, "landmarks of a face", low=1, high=MAX_Z_WIDTH, is_flag=False)
    z_width: int = setting(
        98, "channels of the equilibrium z; those past n_keypoints are latent", low=1, high=MAX_Z_WIDTH
    )
    heatmap_size: int = setting(64, "side of the heatmaps in pixels", low=16, high=512)
    im_size: int = setting(256, "side of the input images in pixels", low=16 * STEM_STRIDE, high=512 * STEM_STRIDE)
    z0_mode: str = setting(
        "zeros", "where z starts if nothing is handed on; zeros is the only mode", choices=("zeros",), is_flag=False
    )

    def __post_init__(self) -> None:
        coerce_fields(self)
        check(
            self,
            "injection_width",
            self.injection_width % 4 == 0,
            "a multiple of 4 (the stem has I/4, I/2 and I channels)",
        )
        check(self, "z_width", self.z_width >= self.n_keypoints, f"at least n_keypoints = {self.n_keypoints}")
        check(
            self,
            "heatmap_size",
            self.heatmap_size * STEM_STRIDE == self.im_size,
            f"a quarter of im_size = {self.im_size}",
        )
        step = 2**HOURGLASS_DEPTH
        check(
            self,
            "heatmap_size",
            self.heatmap_size % step == 0,
            f"a multiple of {step} (the hourglass halves it four times)",
        )
        for width in self.hourglass_widths:
            holds = 1 <= width <= MAX_WIDTH
            expected = f"hourglass widths from 1 to {MAX_WIDTH:,} and not {self.hourglass_widths}"
            check(self, "cell_width_increment", holds, expected)
        if not self.uses_batch_norm_in_cell:
            for width in self.hourglass_widths:
                divides = width % self.cell_gn_groups == 0
                check(self, "cell_gn_groups", divides, f"a divisor of every hourglass width {self.hourglass_widths}")

    @property
    def hourglass_widths(self) -> tuple[int, ...]:
        """Channels of the hourglass from its finest level to its bottleneck: W, W+i, …, W+4i."""
        return tuple(self.cell_base_width + level * self.cell_width_increment for level in range(HOURGLASS_DEPTH + 1))

    @property
    def uses_batch_norm_in_cell(self) -> bool:
        return self.model_mode == "explicit" and self.cell_use_bn_for_explicit

    @classmethod
    def from_namespace(cls, args: argparse.Namespace | Mapping[str, Any], notes: list[str] | None = None) -> Self:
        """Reads a checkpoint's ``args``; fields that do not concern the network are ignored.

        A missing ``z_width`` is ``n_keypoints + cell_extra_latent_width``, and a missing ``im_size`` is four times
        ``heatmap_size``.

        Args:
            notes: gets a sentence for each field of another type than its own, which the published code would take.

        Raises:
            InputError: where a field is missing or invalid.
        """
        values = dict(_as_mapping(args))
        for name in ("z_width", "im_size"):  # which others give
            if values.get(name) is None:
                values.pop(name, None)
        values.setdefault("z0_mode", "zeros")
        if "cell_norm" in values and values["cell_norm"] is None:
            values["cell_norm"] = "None"
        if "z_width" not in values and "n_keypoints" in values:
            extra = values.get("cell_extra_latent_width")
            parts = [_as_taken("int", value) for value in (values["n_keypoints"], 0 if extra is None else extra)]
            if None in parts:
                raise InputError("args lacks z_width, expected it or whole n_keypoints and cell_extra_latent_width")
            values["z_width"] = sum(parts)
        size = _as_taken("int", values.get("heatmap_size"))
        if "im_size" not in values and size is not None:
            values["im_size"] = STEM_STRIDE * size
        return cls(**_read_fields(cls, values, _without_effect(values), notes))


@dataclass(frozen=True)
class SolverConfig:
    """Solver of the equilibrium, and its stop criterion.

    Raises:
        InputError: where a field has the wrong type or value; the message names the field.
    """

    solver: str = setting("anderson", "fpi (fixed-point iteration), anderson or broyden", choices=SOLVERS)
    max_iters: int = setting(30, "maximum number of the solver's iterations", low=1, high=MAX_ITERS)
    stop_mode: str = setting(
        "rel", "error that ends the iteration: rel (below rel_diff_target) or abs (abs_diff_target)", choices=STOP_MODES
    )
    rel_diff_target: float = setting(1e-3, "relative error below which a sample has converged", low=-1.0, high=1e6)
    abs_diff_target: float = setting(5e-3, "absolute error below which a sample has converged", low=-1.0, high=1e6)
    anderson_m: int = setting(5, "m, number of iterates that Anderson acceleration mixes", low=2, high=MAX_ANDERSON_M)
    anderson_lam: float = setting(1e-4, "Tikhonov term of Anderson's least squares", low=0.0, high=1e6)
    anderson_beta: float = setting(
        1.0, "Anderson's mixing: 1 takes the mixed values, 0 the mixed iterates", low=-100.0, high=100.0
    )
    take_one_less_inference_step: bool = setting(False, "leave out the evaluation of the cell that follows the solver")
    stop_criterion: str = setting(
        "sample",
        "sample: each sample stops by its own error; batch: by the batch's mean, as the published code does",
        choices=STOP_CRITERIA,
    )

    def __post_init__(self) -> None:
        coerce_fields(self)
        _check_broyden(self, self.solver, "max_iters")

    @property
    def tolerance(self) -> float:
        """eps: the iteration ends when the chosen error is below it."""
        return self.rel_diff_target if self.stop_mode == "rel" else self.abs_diff_target

    @classmethod
    def from_namespace(cls, args: argparse.Namespace | Mapping[str, Any], notes: list[str] | None = None) -> Self:
        """Reads a checkpoint's ``args``. In explicit mode, which has no solver, what is not valid takes defaults.

        Args:
            notes: as of :meth:`ModelConfig.from_namespace`.

        Raises:
            InputError: where a field is missing or invalid.
        """
        values = {name: value for name, value in _as_mapping(args).items() if name != "stop_criterion"}
        optional = {"stop_criterion"}
        if _is(values, "model_mode", "explicit"):
            try:
                return cls(**_read_fields(cls, values, {field.name for field in dataclasses.fields(cls)}, None))
            except InputError:
                return cls()
        if not _is(values, "solver", "anderson"):
            optional |= {"anderson_m", "anderson_lam", "anderson_beta"}
        optional.add("abs_diff_target" if _is(values, "stop_mode", "rel") else "rel_diff_target")
        return cls(**_read_fields(cls, values, optional, notes))


@dataclass(frozen=True)
class GradientConfig:
    """Gradients of the weights through an equilibrium. In explicit mode only ``n_corrections`` has an effect.

    Raises:
        InputError: where a field has the wrong type or value; the message names the field.
    """

    gradient: str = setting(
        "implicit",
        "implicit (implicit differentiation), jfb (Jacobian-free: one application of the cell) or unrolled (through "
        "max_iters plain applications of the cell, without a solver)",
        choices=GRADIENTS,
        is_common=True,
    )
    backward_solver: str = setting("anderson", "solver of implicit differentiation's backward pass", choices=SOLVERS)
    backward_max_iters: int = setting(12, "maximum number of the backward solver's iterations", low=1, high=MAX_ITERS)
    backward_tolerance: float = setting(
        1e-3, "relative error below which a sample's backward solve has converged", low=0.0, high=1e6
    )
    n_corrections: int = setting(
        0,
        "iterates on the way to the equilibrium that a correction loss is taken at, evenly spread; unrolled gives all "
        "unless this is 0",
        low=0,
        high=MAX_ITERS,
    )
    n_probes: int = setting(
        0,
        "random probes that estimate the size of the cell's Jacobian at the equilibrium; 0 for none",
        low=0,
        high=1000,
    )

    def __post_init__(self) -> None:
        coerce_fields(self)
        _check_broyden(self, self.backward_solver, "backward_max_iters")


def _check_broyden(config: object, solver: str, name: str) -> None:
    holds = solver != "broyden" or getattr(config, name) <= MAX_BROYDEN_ITERS
    check(config, name, holds, f"at most {MAX_BROYDEN_ITERS} with broyden")


def to_namespace(model: ModelConfig, solver: SolverConfig) -> argparse.Namespace:
    """The ``args`` of a checkpoint in the published format, complete enough for the published code to read it."""
    values = dataclasses.asdict(model) | dataclasses.asdict(solver)
    del values["stop_criterion"]
    ignored_here = {
        "landmark_model_name": "udeq",
        "cell_name": "Cell0",
        "input_channels": 3,
        "JFB": False,
        "stochastic_max_iters": False,
        "verbose_solver": False,
    }
    return argparse.Namespace(**ignored_here, **values)


def _as_mapping(args: argparse.Namespace | Mapping[str, Any]) -> Mapping[str, Any]:
    return vars(args) if isinstance(args, argparse.Namespace) else args


def _is(values: Mapping[str, Any], name: str, word: str) -> bool:
    """True if that field is this word; a file can hold anything, of which some cannot be compared."""
    return isinstance(values.get(name), str) and values[name] == word


def _without_effect(values: Mapping[str, Any]) -> set[str]:
    """Fields of the network that the others leave without effect."""
    names = set()
    if not _is(values, "model_mode", "explicit"):
        names |= {"explicit_depth", "cell_use_bn_for_explicit"}
    elif _as_taken("bool", values.get("cell_use_bn_for_explicit")):
        names.add("cell_gn_groups")
    if not _is(values, "cell_norm", "softargmax"):
        names.add("cell_learn_softargmax_beta")
    if _is(values, "cell_norm", "linear"):
        names.add("cell_softargmax_beta")
    return names


def _read_fields(cls: type, values: Mapping[str, Any], optional: set[str], notes: list[str] | None) -> dict[str, Any]:
    """The fields of ``cls`` among ``values``. Those in ``optional`` have no effect, and may be missing or anything."""
    fields = {field.name: field for field in dataclasses.fields(cls)}
    missing = [name for name in fields if name not in values and name not in optional]
    if missing:
        raise InputError(f"args lacks {', '.join(missing)}, which {cls.__name__} needs")
    found = {}
    for name, field in fields.items():
        if name not in values:
            continue
        value = values[name]
        if convert(kind(field), value) is None and (taken := _as_taken(kind(field), value)) is not None:
            if notes is not None and name not in optional:
                notes.append(f"{name} = {shown(value)} in args is taken for {taken!r}")
            value = taken
        if name not in optional or accepts(field, value):
            found[name] = value
    return found


def _as_taken(kind: str, value: Any) -> Any:
    """``value`` as the published code, which checks no types, would take it for a ``kind``; None where it would fail.

    The words true and false are taken for what they say.
    """
    try:
        if hasattr(value, "shape") and math.prod(value.shape) == 1:
            value = value.item()  # of a tensor, or an array
    except Exception:  # one that holds no plain number
        return None
    if kind == "bool":
        words = {"true": True, "false": False}
        if isinstance(value, str):
            return words.get(value.lower())
        return bool(value) if value is None or isinstance(value, (bool, int, float)) else None
    if isinstance(value, bool):
        value = int(value)
    return convert(kind, value)
