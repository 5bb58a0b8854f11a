"""A training step. It knows batches of clips and landmarks, and no data set's files."""

import dataclasses
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ldeq import LDEQ, GradientConfig, InputError, LDEQOutput, RecurrentLDEQ
from ldeq.device import autocast, prepare
from ldeq.errors import reason_of
from ldeq.model.normalisation import normalise
from utils.engine.averaging import averaged
from utils.engine.distribution import World, share_batch_norm, without_exchange
from utils.engine.losses import FACE_PARTS, training_loss
from utils.engine.settings import LossConfig, Settings, TrainingConfig
from utils.engine.state import check_state

#: Clips of T frames (b, T, S, S, 3) uint8 RGB, and their landmarks (b, T, 98, 2) float32, as fractions of S. A single
#: image is a clip of one frame. Landmarks of frames without a face are NaN.
Batch = tuple[NDArray[np.uint8], NDArray[np.float32]]

#: Steps in a row that may be skipped for gradients that are not finite; fp16 skips some until it has found its scale.
_MOST_SKIPPED = 30


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
        self._clip_gradient = self._gradient
        if config.clip_gradient != "same":
            self._clip_gradient = dataclasses.replace(self._gradient, gradient=config.clip_gradient)
        self._replica = world.replica(model)
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

    @property
    def is_sound(self) -> bool:
        """False while steps are skipped for gradients that are not finite, since weights may be past repair."""
        return not self._n_skipped

    def advance(self, parts: list[Batch], interrupted: bool = False) -> bool:
        """One step on the parts of this process's share of a batch.

        Args:
            interrupted: whether this process was asked to end.

        Returns:
            Whether any process was.

        Raises:
            InputError: where too many steps in a row had gradients that are not finite, or the weights are not.
        """
        with _in_range(f"step {self.step + 1}"):
            return self._advance(parts, interrupted)

    def _advance(self, parts: list[Batch], interrupted: bool) -> bool:
        self.model.train()
        for group in self._optimiser.param_groups:
            group["lr"] = self.config.lr_at(self.step)
        self._optimiser.zero_grad(set_to_none=True)
        torch.manual_seed(hash((self.config.seed, self.step, self.world.rank)) % 2**63)
        statistics = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        with without_exchange(self._replica):
            figures = [self._backward(batch, 1 / len(parts)) for batch in parts[:-1]]
        figures.append(self._backward(parts[-1], 1 / len(parts)))
        self._scaler.unscale_(self._optimiser)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm or math.inf)
        finite = bool(torch.isfinite(norm))
        if finite:
            self._scaler.step(self._optimiser)
            self._check_weights()
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
        n_samples = sum(len(frames) for frames, _ in parts) * self.world.size
        of_faces = _of_those_concerned(dict(zip(mean, shared, strict=False)))
        self.meter.add(of_faces | {"gradient_norm": float(norm)}, n_samples, finite)
        self.step += 1
        return bool(shared[-1] > 0)

    def _backward(self, batch: Batch, share: float) -> dict[str, float]:
        frames, landmarks = batch
        device = self.world.device
        clip_length = frames.shape[1]
        on_clips = clip_length > 1
        n_trained = min(self.config.bptt_steps, clip_length)
        if self.config.is_reversed(self.step, clip_length):
            frames, landmarks = frames[:, ::-1], landmarks[:, ::-1].copy()
        truth = torch.from_numpy(landmarks).to(device)
        # By itself, as halved weights that autocast keeps from here would have no gradient.
        with autocast(device, self.config.precision):
            before = self._track(frames[:, :-n_trained])
        z = before.z_star if before else None
        errors = before.keypoints - truth[:, -n_trained - 1] if before else None
        config = self.model.solver_config
        config = dataclasses.replace(config, max_iters=self.config.max_iters_at(self.step, config.max_iters, on_clips))
        gradient = self._clip_gradient if on_clips else self._gradient
        outputs: list[LDEQOutput] = []
        losses: list[dict[str, Tensor]] = []
        for frame in range(-n_trained, 0):
            with autocast(device, self.config.precision):
                output: LDEQOutput = self._replica(normalise(frames[:, frame], device), z, config, gradient=gradient)
                losses.append(training_loss(self.model, output, truth[:, frame], self._loss, errors))
            outputs.append(output)
            z, errors = output.z_star, output.keypoints - truth[:, frame]
        total = torch.stack([parts["loss"] for parts in losses]).mean()
        torch.autograd.backward(self._scaler.scale(total * share))
        figures = [
            {**{name: float(part.detach()) for name, part in parts.items()}, **_solver_figures(output)}
            for parts, output in zip(losses, outputs, strict=True)
        ]
        return _means(figures) | {"faces": float(np.isfinite(landmarks[:, -n_trained:, 0, 0]).mean())}

    def _track(self, frames: NDArray[np.uint8]) -> LDEQOutput | None:
        """RwR's output, at its default settings, on the last of the frames (b, T, S, S, 3); None where T is 0."""
        tracker = RecurrentLDEQ(self.model)
        output: LDEQOutput | None = None
        for index in range(frames.shape[1]):
            output = tracker.step(normalise(frames[:, index], self.world.device), range(len(frames)))
        return output

    def _count_skipped(self, finite: bool) -> None:
        self._n_skipped = 0 if finite else self._n_skipped + 1
        # A short run that had hardly a step is none.
        most_was_skipped = self.step + 1 == self.config.steps < 2 * self._n_skipped
        if self._n_skipped >= _MOST_SKIPPED or most_was_skipped:
            raise InputError(
                f"step {self.step + 1}: gradients have not been finite for {self._n_skipped} steps in a row, expected "
                "a lower --lr, a --jacobian_weight or another --precision to keep training stable"
            )

    def _check_weights(self) -> None:
        largest = nn.utils.get_total_norm(self.model.parameters(), norm_type=math.inf)
        if not torch.isfinite(largest):
            raise InputError(f"step {self.step + 1}: weights are not finite any more, expected a lower --lr")

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

    def load_state(self, state: dict[str, Any], source: str) -> None:
        """Goes on from what :meth:`state` gave.

        Args:
            source: of the state, for messages.

        Raises:
            InputError: where it is not one of a trainer with these settings.
        """
        weights = [weight for group in self._optimiser.param_groups for weight in group["params"]]
        try:
            check_state(state, self.state(), weights, n_steps=self.config.steps, most_skipped=_MOST_SKIPPED)
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self._optimiser.load_state_dict(state["optimiser"])
            if state["scaler"]:
                self._scaler.load_state_dict(state["scaler"])
            self.step, self._n_skipped, self.best_nme = state["step"], state["n_skipped"], state["best_nme"]
            self.meter = Meter(**state["meter"])
        except Exception as error:  # values of any type raise whatever they lead to
            raise InputError(
                f"{source}: its state does not fit its settings ({reason_of(error)}), expected one of this run"
            ) from None


def make_trainer(settings: Settings, init: LDEQ | None, world: World) -> Trainer:
    """A trainer at step 0.

    Args:
        init: network whose weights training starts from; None for random ones.

    Raises:
        InputError: where ``init`` is another network than the settings say.
    """
    torch.manual_seed(settings.training.seed)
    model = LDEQ(settings.model, settings.solver)
    with torch.no_grad(), _in_range("the first weights"):
        model.cell.head.conv.weight *= settings.training.head_scale
    if init is not None:
        here, there = ({key: value.shape for key, value in net.state_dict().items()} for net in (model, init))
        different = [key for key in (here | there) if here.get(key) != there.get(key)]
        if different:
            raise InputError(f"--init_weights: {different[0]} differs, expected weights of the same network")
        model.load_state_dict(init.state_dict())
    if world.size > 1:
        share_batch_norm(model)
    # Half precisions are out of the question contiguous where they are emulated.
    prepare(model, world.device, contiguous_cell=settings.training.precision == "fp32")
    return Trainer(model, settings.training, settings.gradient, settings.loss, world)


@contextmanager
def _in_range(what: str) -> Iterator[None]:
    """Settings that are too large may lead to numbers that no float has.

    Raises:
        InputError: where they do.
    """
    try:
        yield
    except (OverflowError, RuntimeError) as error:
        if not isinstance(error, OverflowError) and "overflow" not in str(error):
            raise
        raise InputError(f"{what}: a number is too large ({error.args[-1]}), expected a lower --lr, say") from None


def _means(figures: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each figure over those that have it."""
    return {
        name: sum(values) / len(values)
        for name in dict.fromkeys(name for each in figures for name in each)
        if (values := [each[name] for each in figures if name in each])
    }


def _of_those_concerned(figures: dict[str, float]) -> dict[str, float]:
    """Means over all samples of a step, with the share of ``faces`` among them, as means over the faces, or over the
    samples without one; what has none is left out.
    """
    faces = figures.pop("faces")
    shares = dict.fromkeys(FACE_PARTS, faces) | {"no_face": 1 - faces}
    return {name: value / shares.get(name, 1.0) for name, value in figures.items() if shares.get(name, 1.0) > 0}


def _solver_figures(output: LDEQOutput) -> dict[str, float]:
    """Means over the batch of the solves' figures, where there were any."""
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
    n_samples: int = 0
    n_skipped: int = 0
    #: Time that the steps took, waiting for their samples included.
    seconds: float = 0.0

    def add(self, figures: dict[str, float], n_samples: int, finite: bool) -> None:
        self.n_samples += n_samples
        if not finite:
            self.n_skipped += 1
            return
        for name, value in figures.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """The means, and begins anew."""
        means = {name: total / self.counts[name] for name, total in self.sums.items()}
        row = {**means, "skipped_steps": self.n_skipped, "faces_per_second": self.n_samples / self.seconds}
        self.sums, self.counts, self.n_samples, self.n_skipped, self.seconds = {}, {}, 0, 0, 0.0
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
