"""What a network, its solver and its gradient are: frozen dataclasses, the first two read from a checkpoint's ``args``.

Their fields are named as in the published checkpoints' ``args`` (an :class:`argparse.Namespace`).
"""

import argparse
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from ldeq.errors import InputError
from ldeq.fields import check, check_choice, check_types, convert, kind

MODEL_MODES = ("implicit", "explicit")
CELL_NORMS = ("softargmax", "linear", "None")
SOLVERS = ("fpi", "anderson", "broyden")
STOP_MODES = ("rel", "abs")
STOP_CRITERIA = ("sample", "batch")
GRADIENTS = ("implicit", "jfb", "unrolled")
#: Of the network's convolutions.
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

    #: ``implicit`` (the output is an equilibrium that a solver finds) or ``explicit`` (the cell is unrolled).
    model_mode: str = "implicit"
    #: Number of cell applications in explicit mode.
    explicit_depth: int = 1
    #: I, channels of the injection x that the stem gives.
    injection_width: int = 224
    #: W, channels of the hourglass at its finest level.
    cell_base_width: int = 224
    #: i, channels that each of the four coarser levels adds.
    cell_width_increment: int = 24
    #: Groups of every GroupNorm in the cell.
    cell_gn_groups: int = 8
    #: In explicit mode, BatchNorm instead of GroupNorm in the cell. Implicit mode always has GroupNorm.
    cell_use_bn_for_explicit: bool = False
    #: Normalisation of the heatmaps in the cell: ``softargmax``, ``linear`` or ``None`` (the string).
    cell_norm: str = "softargmax"
    #: Sharpness of the softargmax normalisation.
    cell_softargmax_beta: float = 1.0
    #: Whether the cell's sharpness is softplus(``cell_softargmax_beta``).
    cell_learn_softargmax_beta: bool = False
    #: Landmarks of a face.
    n_keypoints: int = 98
    #: Channels of the equilibrium z; those past ``n_keypoints`` are latent.
    z_width: int = 98
    #: Side of the heatmaps in pixels.
    heatmap_size: int = 64
    #: Side of the input images in pixels.
    im_size: int = 256
    #: How z starts where nothing is handed on: ``zeros`` is the only mode.
    z0_mode: str = "zeros"

    def __post_init__(self) -> None:
        check_types(self)
        check_choice(self, "model_mode", MODEL_MODES)
        check_choice(self, "cell_norm", CELL_NORMS)
        check_choice(self, "z0_mode", ("zeros",))
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
    """How an equilibrium is solved for.

    Raises:
        InputError: where a field has the wrong type or value; the message names the field.
    """

    #: ``fpi`` (fixed-point iteration), ``anderson`` or ``broyden``.
    solver: str = "anderson"
    #: Iterations at most.
    max_iters: int = 30
    #: Which error ends the iteration: ``rel`` (against ``rel_diff_target``) or ``abs`` (``abs_diff_target``).
    stop_mode: str = "rel"
    #: Relative error below which a sample has converged.
    rel_diff_target: float = 1e-3
    #: Absolute error below which a sample has converged.
    abs_diff_target: float = 5e-3
    #: m, number of iterates that Anderson acceleration mixes.
    anderson_m: int = 5
    #: Tikhonov term of Anderson's least squares.
    anderson_lam: float = 1e-4
    #: Anderson's mixing: 1 takes the mixed values, 0 the mixed iterates.
    anderson_beta: float = 1.0
    #: If false, one more evaluation of the cell follows the solver.
    take_one_less_inference_step: bool = False
    #: ``sample``: every sample stops by its own error. ``batch``: the published system's batch means.
    stop_criterion: str = "sample"

    def __post_init__(self) -> None:
        check_types(self)
        check_choice(self, "solver", SOLVERS)
        check_choice(self, "stop_mode", STOP_MODES)
        check_choice(self, "stop_criterion", STOP_CRITERIA)
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
    """How gradients reach the weights through an equilibrium. In explicit mode only ``n_corrections`` has an effect.

    Raises:
        InputError: where a field has the wrong type or value; the message names the field.
    """

    #: ``implicit`` (implicit differentiation), ``jfb`` (Jacobian-free: one application of the cell) or ``unrolled``
    #: (through ``max_iters`` plain applications of the cell, without a solver).
    gradient: str = "implicit"
    #: Solver of the backward pass in implicit mode: ``fpi``, ``anderson`` or ``broyden``.
    backward_solver: str = "anderson"
    #: Iterations of the backward solver at most.
    backward_max_iters: int = 12
    #: Relative error below which a sample's backward solve has converged.
    backward_tolerance: float = 1e-3
    #: Iterates on the way to the equilibrium that a correction loss is taken at, evenly spread; ``unrolled`` gives
    #: all unless this is 0.
    n_corrections: int = 0
    #: Random probes that estimate the size of the cell's Jacobian at the equilibrium; 0 for none.
    n_probes: int = 0

    def __post_init__(self) -> None:
        check_types(self)
        check_choice(self, "gradient", GRADIENTS)
        check_choice(self, "backward_solver", SOLVERS)
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
