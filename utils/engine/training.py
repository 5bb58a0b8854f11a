"""The training loop. It knows batches of images and landmarks, and no data set's files."""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ldeq import LDEQ, GradientConfig, InputError, LDEQOutput, RecurrentLDEQ
from ldeq.config import GRADIENTS, PRECISIONS
from ldeq.device import autocast
from ldeq.fields import check, check_choice, check_types
from ldeq.model.normalisation import normalise
from utils.engine.averaging import averaged
from utils.engine.distribution import World
from utils.engine.losses import LossConfig, training_loss

#: Views (b, V, S, S, 3) uint8 RGB of faces, and their landmarks (b, V, 98, 2) float32, as fractions of S.
Batch = tuple[NDArray[np.uint8], NDArray[np.float32]]

#: Steps in a row that may be skipped for gradients that are not finite; fp16 skips some until it has found its scale.
_MOST_SKIPPED = 30

FOLLOW_GRADIENTS = ("same", *GRADIENTS)


@dataclass(frozen=True)
class TrainingConfig:
    """How weights are optimised.

    Raises:
        InputError: where a field has the wrong type or value; the message names the field.
    """

    #: Steps of the optimiser in all.
    steps: int = 100_000
    #: Faces a step, over all processes.
    batch_size: int = 32
    #: Parts of a process's share of a batch that run one after the other, for less memory.
    accumulate: int = 1
    #: Learning rate of AdamW after the warm-up.
    lr: float = 1e-3
    #: Learning rate at the end, reached along half a cosine.
    final_lr: float = 1e-5
    #: Steps over which the learning rate rises from 0.
    warmup_steps: int = 1000
    #: Weight decay of convolution kernels; norms and biases have none.
    weight_decay: float = 1e-4
    #: Norm to which larger gradients are shortened; 0 for never.
    clip_norm: float = 1.0
    #: Decay a step of the average of the weights, which is what is validated and published.
    ema_decay: float = 0.999
    #: Iterations of solves in training at most; 0 for the solver's own ``max_iters``, which validation and the
    #: checkpoints have in any case.
    train_iters: int = 0
    #: Draw each step's number of iterations evenly from 1 to the most.
    stochastic_max_iters: bool = False
    #: Share of the steps whose solves start where RwR is after the faces' earlier views, and not at zeros.
    follow_views: float = 0.0
    #: Views that these steps are trained on, counted from the last; where solves are unrolled, gradients run through
    #: all of them, so that the network learns what to hand on. Where they are all of the views, the first one's solve
    #: starts at zeros, and half of the steps take them from the last to the first.
    trained_views: int = 1
    #: Iterations of these steps at most; 0 for those of the other steps. Unrolled, 2 are what RwR with fixed-point
    #: iteration makes of a frame.
    follow_iters: int = 0
    #: Gradient of these steps: ``implicit``, ``jfb``, ``unrolled``, or the ``same`` as the other steps'.
    follow_gradient: str = "same"
    #: Factor on the random first weights of the cell's last convolution: with 1 the cell is no contraction, and its
    #: solves do not converge until it has been trained for long.
    head_scale: float = 0.1
    #: Precision of the convolutions: ``fp32``, ``bf16`` or ``fp16``.
    precision: str = "fp32"
    #: Seed of the first weights, the faces and everything else that is random.
    seed: int = 0
    #: Steps between rows of the log.
    log_every: int = 100
    #: Steps between validations.
    validate_every: int = 2000
    #: Steps between states that a killed run goes on from.
    save_every: int = 1000

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("steps", "batch_size", "accumulate", "trained_views", "log_every", "validate_every", "save_every"):
            check(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("final_lr", "warmup_steps", "train_iters", "follow_iters", "weight_decay", "clip_norm", "seed"):
            check(self, name, getattr(self, name) >= 0, "at least 0")
        check(self, "follow_views", 0 <= self.follow_views <= 1, "from 0 to 1")
        check(self, "lr", self.lr > 0, "more than 0")
        check(self, "head_scale", self.head_scale > 0, "more than 0")
        check(self, "ema_decay", 0 <= self.ema_decay < 1, "from 0 to less than 1")
        check_choice(self, "follow_gradient", FOLLOW_GRADIENTS)
        check_choice(self, "precision", PRECISIONS)

    def lr_at(self, step: int) -> float:
        """Learning rate of step ``step`` (from 0): a linear rise, then half a cosine to ``final_lr``."""
        if step < self.warmup_steps:
            return self.lr * (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(self.steps - 1 - self.warmup_steps, 1)
        return self.final_lr + (self.lr - self.final_lr) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2

    def max_iters_at(self, step: int, max_iters: int, follows: bool = False) -> int:
        """Iterations of step ``step``, the same in every process.

        Args:
            max_iters: the solver's own.
            follows: whether the step's solves start where the views led to.
        """
        own = self.follow_iters if follows else 0
        max_iters = own or self.train_iters or max_iters
        if not self.stochastic_max_iters:
            return max_iters
        return int(np.random.default_rng([self.seed, 3, step]).integers(1, max_iters + 1))

    def follows_views_at(self, step: int) -> bool:
        """Whether step ``step`` goes through the faces' earlier views first, the same in every process."""
        return bool(np.random.default_rng([self.seed, 5, step]).random() < self.follow_views)

    def runs_backwards_at(self, step: int, n_views: int) -> bool:
        """Whether step ``step`` sees its views from the last to the first: half of the steps that train on all.

        Views lead from clear moments into bad ones, and videos out of them again as well.
        """
        return 1 < n_views == self.trained_views and bool(np.random.default_rng([self.seed, 6, step]).random() < 0.5)


class Trainer:
    """A network, its optimiser and the average of its weights, a step at a time.

    Args:
        model: on the world's device.
    """

    def __init__(
        self, model: LDEQ, config: TrainingConfig, gradient: GradientConfig, loss: LossConfig, world: World
    ) -> None:
        self.model = model
        self.config = config
        self.world = world
        self._loss = loss
        # What the loss does not use is not computed.
        self._gradient = dataclasses.replace(
            gradient,
            n_corrections=gradient.n_corrections if loss.correction_weight else 0,
            n_probes=gradient.n_probes if loss.jacobian_weight else 0,
        )
        self._follow_gradient = self._gradient
        if config.follow_gradient != "same":
            self._follow_gradient = dataclasses.replace(self._gradient, gradient=config.follow_gradient)
        self.average = averaged(model, config.ema_decay)
        self._optimiser = torch.optim.AdamW(parameter_groups(model, config.weight_decay), lr=config.lr)
        self._scaler = torch.amp.GradScaler(world.device.type, enabled=config.precision == "fp16")
        self.meter = Meter()
        self.step = 0
        self.best_nme = math.inf
        self._n_skipped = 0

    @property
    def averaged_model(self) -> LDEQ:
        module = self.average.module
        assert isinstance(module, LDEQ)
        return module

    def advance(self, parts: list[Batch], interrupted: bool = False) -> bool:
        """One step on the parts of this process's share of a batch.

        Args:
            interrupted: whether this process was asked to end.

        Returns:
            Whether any process was.

        Raises:
            InputError: where too many steps in a row had gradients that are not finite.
        """
        self.model.train()
        for group in self._optimiser.param_groups:
            group["lr"] = self.config.lr_at(self.step)
        self._optimiser.zero_grad(set_to_none=True)
        torch.manual_seed(hash((self.config.seed, self.step, self.world.rank)) % 2**63)
        statistics = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        figures = [self._backward(batch, 1 / len(parts)) for batch in parts]
        self.world.average_gradients(self.model.parameters())
        self._scaler.unscale_(self._optimiser)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm or math.inf)
        finite = bool(torch.isfinite(norm))
        if finite:
            self._scaler.step(self._optimiser)
            self.average.update_parameters(self.model)
        else:
            # BatchNorm has taken what was not finite into its running statistics, which would never be rid of it.
            for name, buffer in self.model.named_buffers():
                buffer.copy_(statistics[name])
        self._scaler.update()
        self._count_skipped(finite)
        mean = _means(figures)
        shared = self.world.mean(
            torch.tensor([*mean.values(), float(interrupted)], dtype=torch.float64, device=self.world.shared_device)
        ).tolist()
        n_faces = sum(len(images) for images, _ in parts) * self.world.size
        self.meter.add(dict(zip(mean, shared, strict=False)) | {"gradient_norm": float(norm)}, n_faces, finite)
        self.step += 1
        return bool(shared[-1] > 0)

    def _backward(self, batch: Batch, share: float) -> dict[str, float]:
        views, landmarks = batch
        device = self.world.device
        follows = views.shape[1] > 1
        n_trained = min(self.config.trained_views, views.shape[1])
        if self.config.runs_backwards_at(self.step, views.shape[1]):
            views, landmarks = views[:, ::-1], landmarks[:, ::-1].copy()
        truth = torch.from_numpy(landmarks).to(device)
        # By itself, as halved weights that autocast keeps from here would have no gradient.
        with autocast(device, self.config.precision):
            before = self._follow(views[:, :-n_trained])
        z = before.z_star if before else None
        errors = before.keypoints - truth[:, -n_trained - 1] if before else None
        config = self.model.solver_config
        config = dataclasses.replace(config, max_iters=self.config.max_iters_at(self.step, config.max_iters, follows))
        gradient = self._follow_gradient if follows else self._gradient
        outputs: list[LDEQOutput] = []
        losses: list[dict[str, Tensor]] = []
        for view in range(-n_trained, 0):
            with autocast(device, self.config.precision):
                output: LDEQOutput = self.model(normalise(views[:, view], device), z, config, gradient=gradient)
                losses.append(training_loss(self.model, output, truth[:, view], self._loss, errors))
            outputs.append(output)
            z, errors = output.z_star, output.keypoints - truth[:, view]
        total = torch.stack([parts["loss"] for parts in losses]).mean()
        torch.autograd.backward(self._scaler.scale(total * share))
        figures = [
            {**{name: float(part.detach()) for name, part in parts.items()}, **_solver_figures(output)}
            for parts, output in zip(losses, outputs, strict=True)
        ]
        return _means(figures)

    def _follow(self, views: NDArray[np.uint8]) -> LDEQOutput | None:
        """What RwR, at its default settings, finds in the last of the views (b, V, S, S, 3)."""
        tracker = RecurrentLDEQ(self.model)
        output: LDEQOutput | None = None
        for index in range(views.shape[1]):
            output = tracker.step(normalise(views[:, index], self.world.device), range(len(views)))
        return output

    def _count_skipped(self, finite: bool) -> None:
        self._n_skipped = 0 if finite else self._n_skipped + 1
        if self._n_skipped >= _MOST_SKIPPED:
            raise InputError(
                f"step {self.step + 1}: gradients have not been finite for {self._n_skipped} steps in a row, expected "
                "a lower --lr, a --jacobian_weight or another --precision to keep training stable"
            )

    def state(self) -> dict[str, Any]:
        """Everything that :meth:`load_state` needs to go on as if nothing had happened."""
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
            "n_skipped": self._n_skipped,
            "best_nme": self.best_nme,
            "meter": dataclasses.asdict(self.meter),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        if state["scaler"]:
            self._scaler.load_state_dict(state["scaler"])
        self.step, self._n_skipped, self.best_nme = state["step"], state["n_skipped"], state["best_nme"]
        self.meter = Meter(**state["meter"])


def _means(figures: list[dict[str, float]]) -> dict[str, float]:
    """Of each figure, over those that have it."""
    return {
        name: sum(values) / len(values)
        for name in dict.fromkeys(name for each in figures for name in each)
        if (values := [each[name] for each in figures if name in each])
    }


def _solver_figures(output: LDEQOutput) -> dict[str, float]:
    """Means over the batch of how the solves went, where there were any."""
    figures: dict[str, float] = {}
    backward = output.aux.backward if output.aux else None
    for prefix, stats in (("", output.stats), ("backward_", backward.stats if backward else None)):
        if stats is not None:
            figures[f"{prefix}iterations"] = float(stats.n_iters.float().mean())
            figures[f"{prefix}residual"] = float(stats.rel_error.mean())
    if backward is not None and backward.replaced is not None:
        figures["backward_replaced"] = float(backward.replaced.float().mean())
    return figures


@dataclass
class Meter:
    """Means of the steps since the last row of the log, each figure's over those that have it."""

    sums: dict[str, float] = dataclasses.field(default_factory=dict)
    counts: dict[str, int] = dataclasses.field(default_factory=dict)
    n_faces: int = 0
    n_skipped: int = 0
    #: What the steps took, waiting for their faces included.
    seconds: float = 0.0

    def add(self, figures: dict[str, float], n_faces: int, finite: bool) -> None:
        self.n_faces += n_faces
        if not finite:
            self.n_skipped += 1
            return
        for name, value in figures.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """The means, and begins anew."""
        means = {name: total / self.counts[name] for name, total in self.sums.items()}
        row = {**means, "skipped_steps": self.n_skipped, "faces_per_second": self.n_faces / self.seconds}
        self.sums, self.counts, self.n_faces, self.n_skipped, self.seconds = {}, {}, 0, 0, 0.0
        return row


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Kernels, which decay, and vectors (biases, norms), which do not."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    kernels = [parameter for parameter in parameters if parameter.ndim > 1]
    vectors = [parameter for parameter in parameters if parameter.ndim <= 1]
    return [{"params": kernels, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def steps_of(batches: Iterator[Batch], parts: int) -> Iterator[list[Batch]]:
    """The batches, ``parts`` at a time."""
    while taken := list(islice(batches, parts)):
        yield taken
