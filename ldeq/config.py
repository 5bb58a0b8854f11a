"""Settings of a network, its solver and its gradient, as frozen dataclasses; checkpoints' ``args`` give the first two.

Their fields are named as in the published checkpoints' ``args`` (an :class:`argparse.Namespace`).
"""

import argparse
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from ldeq.errors import InputError
from ldeq.fields import check, coerce_fields, convert, kind, setting

MODEL_MODES = ("implicit", "explicit")
CELL_NORMS = ("softargmax", "linear", "None")
SOLVERS = ("fpi", "anderson", "broyden")
STOP_MODES = ("rel", "abs")
STOP_CRITERIA = ("sample", "batch")
GRADIENTS = ("implicit", "jfb", "unrolled")
#: Precisions of the network's convolutions.
PRECISIONS = ("fp32", "bf16", "fp16")

#: Stride of the stem: images of ``im_size`` give heatmaps of ``im_size / STEM_STRIDE``.
STEM_STRIDE = 4
#: The hourglass halves the heatmap four times.
HOURGLASS_DEPTH = 4


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
    explicit_depth: int = setting(1, "number of cell applications in explicit mode")
    injection_width: int = setting(224, "I, channels of the injection x that the stem gives")
    cell_base_width: int = setting(224, "W, channels of the hourglass at its finest level")
    cell_width_increment: int = setting(24, "i, channels that each of the four coarser levels adds")
    cell_gn_groups: int = setting(8, "groups of every GroupNorm in the cell")
    cell_use_bn_for_explicit: bool = setting(
        False, "in explicit mode, BatchNorm instead of GroupNorm in the cell; implicit mode always has GroupNorm"
    )
    cell_norm: str = setting("softargmax", "normalisation of the heatmaps in the cell", choices=CELL_NORMS)
    cell_softargmax_beta: float = setting(1.0, "sharpness of the softargmax normalisation")
    cell_learn_softargmax_beta: bool = setting(False, "take softplus(cell_softargmax_beta) as the cell's sharpness")
    n_keypoints: int = setting(98, "landmarks of a face", is_flag=False)
    z_width: int = setting(98, "channels of the equilibrium z; those past n_keypoints are latent")
    heatmap_size: int = setting(64, "side of the heatmaps in pixels")
    im_size: int = setting(256, "side of the input images in pixels")
    z0_mode: str = setting(
        "zeros", "where z starts if nothing is handed on; zeros is the only mode", choices=("zeros",), is_flag=False
    )

    def __post_init__(self) -> None:
        coerce_fields(self)
        positive = ("injection_width", "cell_base_width", "cell_gn_groups", "n_keypoints", "heatmap_size", "im_size")
        for name in positive + (("explicit_depth",) if self.model_mode == "explicit" else ()):
            check(self, name, getattr(self, name) >= 1, "at least 1")
        check(self, "cell_width_increment", self.cell_width_increment >= 0, "at least 0")
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
    def from_namespace(cls, args: argparse.Namespace | Mapping[str, Any]) -> Self:
        """Reads a checkpoint's ``args``; fields that do not concern the network are ignored.

        A missing ``z_width`` is ``n_keypoints + cell_extra_latent_width``.

        Raises:
            InputError: where a field is missing or invalid.
        """
        values = _as_mapping(args)
        optional = {"z_width", "z0_mode"}
        if values.get("model_mode") != "explicit":
            optional |= {"explicit_depth", "cell_use_bn_for_explicit"}
        fields = _read_fields(cls, values, optional)
        if fields["cell_norm"] is None:
            fields["cell_norm"] = "None"
        if "z_width" not in fields:
            extra = convert("int", values.get("cell_extra_latent_width") or 0)
            n_keypoints = convert("int", fields["n_keypoints"])
            if extra is None or n_keypoints is None:
                raise InputError("args lacks z_width, expected it or whole n_keypoints and cell_extra_latent_width")
            fields["z_width"] = n_keypoints + extra
        return cls(**fields)


@dataclass(frozen=True)
class SolverConfig:
    """Solver of the equilibrium, and its stop criterion.

    Raises:
        InputError: where a field has the wrong type or value; the message names the field.
    """

    solver: str = setting("anderson", "fpi (fixed-point iteration), anderson or broyden", choices=SOLVERS)
    max_iters: int = setting(30, "maximum number of the solver's iterations")
    stop_mode: str = setting(
        "rel", "error that ends the iteration: rel (below rel_diff_target) or abs (abs_diff_target)", choices=STOP_MODES
    )
    rel_diff_target: float = setting(1e-3, "relative error below which a sample has converged")
    abs_diff_target: float = setting(5e-3, "absolute error below which a sample has converged")
    anderson_m: int = setting(5, "m, number of iterates that Anderson acceleration mixes")
    anderson_lam: float = setting(1e-4, "Tikhonov term of Anderson's least squares")
    anderson_beta: float = setting(1.0, "Anderson's mixing: 1 takes the mixed values, 0 the mixed iterates")
    take_one_less_inference_step: bool = setting(False, "leave out the evaluation of the cell that follows the solver")
    stop_criterion: str = setting(
        "sample",
        "sample: each sample stops by its own error; batch: by the batch's mean, as the published code does",
        choices=STOP_CRITERIA,
    )

    def __post_init__(self) -> None:
        coerce_fields(self)
        check(self, "max_iters", self.max_iters >= 1, "at least 1")
        if self.solver == "anderson":
            check(self, "anderson_m", self.anderson_m >= 2, "at least 2")
            check(self, "anderson_lam", self.anderson_lam >= 0, "at least 0")

    @property
    def tolerance(self) -> float:
        """eps: the iteration ends when the chosen error is below it."""
        return self.rel_diff_target if self.stop_mode == "rel" else self.abs_diff_target

    @classmethod
    def from_namespace(cls, args: argparse.Namespace | Mapping[str, Any]) -> Self:
        """Reads a checkpoint's ``args``. In explicit mode, which has no solver, what is not valid takes defaults.

        Raises:
            InputError: where a field is missing or invalid.
        """
        values = {name: value for name, value in _as_mapping(args).items() if name != "stop_criterion"}
        optional = {"stop_criterion"}
        if values.get("model_mode") == "explicit":
            try:
                return cls(**_read_fields(cls, values, {field.name for field in dataclasses.fields(cls)}))
            except InputError:
                return cls()
        if values.get("solver") != "anderson":
            optional |= {"anderson_m", "anderson_lam", "anderson_beta"}
        optional.add("abs_diff_target" if values.get("stop_mode") == "rel" else "rel_diff_target")
        return cls(**_read_fields(cls, values, optional))


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
    backward_max_iters: int = setting(12, "maximum number of the backward solver's iterations")
    backward_tolerance: float = setting(1e-3, "relative error below which a sample's backward solve has converged")
    n_corrections: int = setting(
        0,
        "iterates on the way to the equilibrium that a correction loss is taken at, evenly spread; unrolled gives all "
        "unless this is 0",
    )
    n_probes: int = setting(
        0, "random probes that estimate the size of the cell's Jacobian at the equilibrium; 0 for none"
    )

    def __post_init__(self) -> None:
        coerce_fields(self)
        check(self, "backward_max_iters", self.backward_max_iters >= 1, "at least 1")
        check(self, "backward_tolerance", self.backward_tolerance >= 0, "at least 0")
        check(self, "n_corrections", self.n_corrections >= 0, "at least 0")
        check(self, "n_probes", self.n_probes >= 0, "at least 0")


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


def _read_fields(cls: type, values: Mapping[str, Any], optional: set[str]) -> dict[str, Any]:
    """The fields of ``cls`` among ``values``. Those in ``optional`` have no effect, and may be missing or anything."""
    kinds = {field.name: kind(field) for field in dataclasses.fields(cls)}
    missing = [name for name in kinds if name not in values and name not in optional]
    if missing:
        raise InputError(f"args lacks {', '.join(missing)}, which {cls.__name__} needs")
    return {
        name: values[name]
        for name, word in kinds.items()
        if name in values and not (name in optional and convert(word, values[name]) is None)
    }
