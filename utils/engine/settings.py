"""Settings of a training run: all that decides what it computes, as frozen dataclasses that import no PyTorch."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ldeq.config import GRADIENTS, MAX_ITERS, PRECISIONS, GradientConfig, ModelConfig, SolverConfig
from ldeq.errors import InputError
from ldeq.fields import MOST_AT_A_TIME, MOST_SAMPLES, check, coerce_fields, setting
from ldeq.landmarks98 import N_LANDMARKS

#: Seeds of synthetic people from here on are of held-out ones, which no run trains on.
HELD_OUT = 10_000_000

#: Steps of a run at most.
MOST_STEPS = 100_000_000

CLIP_GRADIENTS = ("same", *GRADIENTS)


@dataclass(frozen=True)
class DataConfig:
    """Data that a network is trained and validated on.

    Raises:
        InputError: where a field has the wrong type or value, or there is nothing to train on.
    """

    dataset_path: str = setting(
        "", "folder of pre-cropped WFLW to train on (<split>.txt and <split>/<file name>)", is_common=True
    )
    train_split: str = setting("train", "its split to train on")
    synthetic: bool = setting(False, "train on synthetic faces, drawn as training goes", is_common=True)
    synthetic_share: float = setting(0.5, "share of synthetic faces where there are both", low=0.0, high=1.0)
    images_per_person: int = setting(
        1,
        "images in a row of the same synthetic person: more are drawn faster, and teach a little less each",
        low=1,
        high=MOST_AT_A_TIME,
    )
    renderings: str = setting(
        "",
        "folder of synthetic faces that are drawn already (--output_dir of python -m datasets.synthetic --renderings), "
        "to photograph anew each time; if empty, faces are drawn as training goes",
        is_common=True,
    )
    n_renderings: int = setting(
        0,
        "train on the first so many of them; 0 for those that are there when the run begins",
        low=0,
        high=MOST_SAMPLES,
    )
    crop_jitter: float = setting(
        1.0, "how loosely crops sit on synthetic faces in training, 1 as a detector's", low=0.0, high=10.0
    )
    hard_images: float = setting(
        0.0,
        "share of the synthetic faces in training that are as blurred, noisy, dark and occluded as hard videos get",
        low=0.0,
        high=1.0,
    )
    turned_heads: float = setting(
        0.0,
        "share of the synthetic faces in training turned by 40° to 75°, beside those that are in any case",
        low=0.0,
        high=1.0,
    )
    no_face_share: float = setting(
        0.0,
        "share of the samples in training that show no face, or half of one, or a far too small one; their heatmaps "
        "are to be flat, so that the uncertainty tells what is no face",
        low=0.0,
        high=1.0,
        is_common=True,
    )
    clip_length: int = setting(
        1,
        "frames of a clip, in which a face moves as in a video; the network is trained on the last of them, or on the "
        "last bptt_steps",
        low=1,
        high=1000,
        is_common=True,
    )
    validation_split: str = setting(
        "", "split of WFLW to validate on; if empty, test, or synthetic faces where training sees no WFLW"
    )
    validation_images: int = setting(500, "maximum number of images to validate on", low=0, high=MOST_SAMPLES)

    def __post_init__(self) -> None:
        coerce_fields(self)
        if not self.dataset_path and not self.synthetic:
            raise InputError("there is nothing to train on, expected --dataset_path (WFLW), --synthetic, or both")
        if self.validation_split and not self.dataset_path:
            raise InputError(f"validation_split = {self.validation_split!r}, expected --dataset_path with it")


@dataclass(frozen=True)
class AugmentationConfig:
    """Sizes and probabilities of the changes of WFLW's crops in training; synthetic faces have their own.

    Raises:
        InputError: where a field has the wrong type or value; the message names the field.
    """

    augment: bool = setting(True, "change WFLW's crops at all")
    rotation: float = setting(30.0, "largest rotation of the crop in its plane, in degrees", low=0.0, high=180.0)
    scaling: float = setting(0.2, "largest change of the crop's size: 0.2 is from 1/1.2 to 1.2", low=0.0, high=10.0)
    stretch: float = setting(
        0.06,
        "largest change of the crop's width and, the other way, of its height, as a detector's boxes have it",
        low=0.0,
        high=10.0,
    )
    shift: float = setting(0.08, "largest shift of the crop, as a fraction of its side", low=0.0, high=1.0)
    flip: float = setting(0.5, "probability of the mirror image", low=0.0, high=1.0)
    colour: float = setting(
        0.8, "probability of a change of brightness, contrast, colours and gamma", low=0.0, high=1.0
    )
    grey: float = setting(0.1, "probability of an image in grey levels", low=0.0, high=1.0)
    blur: float = setting(
        0.25, "probability of blur: out of focus, by motion, or by a low resolution", low=0.0, high=1.0
    )
    noise: float = setting(0.25, "probability of noise", low=0.0, high=1.0)
    jpeg: float = setting(0.25, "probability of compression artefacts", low=0.0, high=1.0)
    occlusion: float = setting(0.35, "probability of boxes and ellipses in front of the face", low=0.0, high=1.0)

    def __post_init__(self) -> None:
        coerce_fields(self)


@dataclass(frozen=True)
class TrainingConfig:
    """Optimisation of the weights: batches, schedule, clips, and what is written when.

    Raises:
        InputError: where a field has the wrong type or value; the message names the field.
    """

    steps: int = setting(100_000, "steps of the optimiser in all", low=1, high=MOST_STEPS, is_common=True)
    batch_size: int = setting(32, "samples a step, over all processes", low=1, high=MOST_AT_A_TIME, is_common=True)
    accumulate: int = setting(
        1,
        "parts of a process's share of a batch that run one after the other, for less memory",
        low=1,
        high=MOST_AT_A_TIME,
    )
    # Up to what float32 weights can be changed by: that training diverges is said by the run itself.
    lr: float = setting(
        1e-3, "learning rate of AdamW after the warm-up", low=0.0, high=1e30, excludes_low=True, is_common=True
    )
    final_lr: float = setting(1e-5, "learning rate at the end, reached along half a cosine", low=0.0, high=10.0)
    warmup_steps: int = setting(1000, "steps over which the learning rate rises from 0", low=0, high=MOST_STEPS)
    weight_decay: float = setting(
        1e-4, "weight decay of convolution kernels; norms and biases have none", low=0.0, high=10.0
    )
    clip_norm: float = setting(1.0, "norm to which larger gradients are shortened; 0 for never", low=0.0, high=1e6)
    ema_decay: float = setting(
        0.999,
        "decay a step of the average of the weights, which is what is validated and published",
        low=0.0,
        high=0.9999999,
    )
    train_iters: int = setting(
        0,
        "maximum iterations of solves in training; 0 for the solver's own max_iters, which validation and the "
        "checkpoints have in any case",
        low=0,
        high=MAX_ITERS,
    )
    stochastic_max_iters: bool = setting(False, "draw each step's number of iterations evenly from 1 to the maximum")
    clip_probability: float = setting(
        0.0,
        "probability that a step trains on clips: its solves start where RwR is after the clip's earlier frames, and "
        "not at zeros",
        low=0.0,
        high=1.0,
        is_common=True,
    )
    bptt_steps: int = setting(
        1,
        "steps of backpropagation through time: a clip's last frames that are trained on. Unrolled, gradients run "
        "through all of them, so that the network learns what to hand on. Where they are the whole clip, the first "
        "frame's solve starts at zeros, and half of the clips run backwards",
        low=1,
        high=1000,
    )
    clip_iters: int = setting(
        0,
        "maximum iterations in steps on clips; 0 for those of the other steps. Unrolled, 2 are what RwR with "
        "fixed-point iteration makes of a frame",
        low=0,
        high=MAX_ITERS,
    )
    clip_gradient: str = setting(
        "same", "gradient of steps on clips; same: as the other steps'", choices=CLIP_GRADIENTS
    )
    head_scale: float = setting(
        0.1,
        "factor on the random first weights of the cell's last convolution: with 1 the cell is no contraction, and "
        "its solves do not converge until it has been trained for long",
        low=0.0,
        high=1000.0,
        excludes_low=True,
    )
    precision: str = setting("fp32", "precision of the convolutions", choices=PRECISIONS, is_common=True)
    seed: int = setting(
        0,
        "seed of the first weights, the samples and everything else that is random",
        low=0,
        high=2**31 - 1,
        is_common=True,
    )
    log_every: int = setting(100, "steps between rows of the log", low=1, high=MOST_STEPS)
    validate_every: int = setting(2000, "steps between validations", low=1, high=MOST_STEPS)
    save_every: int = setting(1000, "steps between states that a killed run goes on from", low=1, high=MOST_STEPS)

    def __post_init__(self) -> None:
        coerce_fields(self)

    def lr_at(self, step: int) -> float:
        """Learning rate of step ``step`` (from 0): a linear rise, then half a cosine to ``final_lr``."""
        if step < self.warmup_steps:
            return self.lr * (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(self.steps - 1 - self.warmup_steps, 1)
        return self.final_lr + (self.lr - self.final_lr) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2

    def max_iters_at(self, step: int, max_iters: int, on_clips: bool = False) -> int:
        """Iterations of step ``step``, the same in every process.

        Args:
            max_iters: the solver's own.
            on_clips: true where the step's solves start from a clip's earlier frames.
        """
        own = self.clip_iters if on_clips else 0
        max_iters = own or self.train_iters or max_iters
        if not self.stochastic_max_iters:
            return max_iters
        return int(np.random.default_rng([self.seed, 3, step]).integers(1, max_iters + 1))

    def is_on_clips(self, step: int) -> bool:
        """True where step ``step`` trains on clips and not on single frames; the same in every process."""
        return bool(np.random.default_rng([self.seed, 5, step]).random() < self.clip_probability)

    def is_reversed(self, step: int, clip_length: int) -> bool:
        """True where step ``step`` sees its clips backwards: in half of the steps that train on whole clips.

        Clips lead from clear frames into bad ones, and videos out of them again as well.
        """
        return 1 < clip_length == self.bptt_steps and bool(np.random.default_rng([self.seed, 6, step]).random() < 0.5)


@dataclass(frozen=True)
class LossConfig:
    """Weights of the loss's parts.

    Raises:
        InputError: where a field has the wrong type or value; the message names the field.
    """

    keypoint_weight: float = setting(
        1.0, "weight of the keypoints' mean absolute error, in percent of the crop's side", low=0.0, high=1e6
    )
    heatmap_weight: float = setting(
        1.0,
        "weight of the divergence of each heatmap from a Gaussian at the true point, which has a gradient from the "
        "first step on",
        low=0.0,
        high=1e6,
    )
    heatmap_sigma: float = setting(
        1.5, "standard deviation of that Gaussian, in heatmap pixels", low=0.0, high=100.0, excludes_low=True
    )
    interocular_power: float = setting(
        0.0,
        "weigh faces by their inter-ocular distance to the power of minus this: 0 for all alike, 1 as NME does. Turned "
        "heads, whose eyes come close to each other, count for more",
        low=0.0,
        high=10.0,
    )
    flicker_weight: float = setting(
        0.0,
        "weight of the mean absolute change of the keypoints' errors since the frame before, in percent of the crop's "
        "side, in steps on clips: what NMF measures on video",
        low=0.0,
        high=1e6,
    )
    no_face_weight: float = setting(
        1.0,
        "weight of the divergence of heatmaps from flat ones where there is no face (no_face_share)",
        low=0.0,
        high=1e6,
    )
    correction_weight: float = setting(
        0.0,
        "weight of the same loss at n_corrections iterates on the way to the equilibrium (fixed-point correction)",
        low=0.0,
        high=1e6,
    )
    jacobian_weight: float = setting(
        0.0,
        "weight of the squared size of the cell's Jacobian at the equilibrium, which makes solves converge; in steps "
        "whose solves are not unrolled",
        low=0.0,
        high=1e6,
    )

    def __post_init__(self) -> None:
        coerce_fields(self)
        check(self, "keypoint_weight", self.keypoint_weight + self.heatmap_weight > 0, "this or heatmap_weight above 0")


#: Settings that have no effect without clips, where synthetic faces are not drawn, without them, and without WFLW.
_OF_CLIPS = ("bptt_steps", "clip_iters", "clip_gradient")
_OF_DRAWING = ("images_per_person", "turned_heads")
_OF_SYNTHETIC = ("synthetic_share", *_OF_DRAWING, "renderings", "crop_jitter", "hard_images")
_OF_WFLW = tuple(field.name for field in dataclasses.fields(AugmentationConfig))


@dataclass(frozen=True)
class Settings:
    """Everything that decides what a run computes.

    Raises:
        InputError: where settings contradict each other, or one has no effect because of the others.
    """

    data: DataConfig
    augmentation: AugmentationConfig
    training: TrainingConfig
    loss: LossConfig
    gradient: GradientConfig
    model: ModelConfig
    solver: SolverConfig

    def __post_init__(self) -> None:
        if self.model.n_keypoints != N_LANDMARKS:
            raise InputError(f"n_keypoints = {self.model.n_keypoints}, expected {N_LANDMARKS} as the data has")
        clip_probability, clip_length = self.training.clip_probability, self.data.clip_length
        if bool(clip_probability) != (clip_length > 1):
            raise InputError(
                f"clip_probability = {clip_probability} with clip_length = {clip_length}, expected both: clips of more "
                "than one frame, and a probability that a step trains on them"
            )
        for part, names, given, without, flag in (
            (self.training, _OF_CLIPS, clip_probability, "steps on clips", "clip_probability"),
            (self.loss, ("flicker_weight",), clip_probability, "steps on clips", "clip_probability"),
            (self.loss, ("no_face_weight",), self.data.no_face_share, "samples without a face", "no_face_share"),
            (self.data, _OF_SYNTHETIC, self.data.synthetic, "synthetic faces", "synthetic"),
            (self.data, ("n_renderings",), self.data.renderings, "renderings", "renderings"),
            (self.augmentation, _OF_WFLW, self.data.dataset_path, "WFLW's crops", "dataset_path"),
        ):
            if not given:
                _check_usual(part, names, f"without {without}, expected --{flag} as well")
        if self.data.renderings:
            _check_usual(self.data, _OF_DRAWING, "with --renderings, which were drawn with their own, expected neither")
        if self.training.bptt_steps > clip_length:
            raise InputError(f"bptt_steps = {self.training.bptt_steps}, expected at most clip_length = {clip_length}")
        if self.data.synthetic and self.training.seed >= HELD_OUT:
            raise InputError(
                f"seed = {self.training.seed}, expected less than {HELD_OUT}: from there on people are held out"
            )
        gradients = {self.gradient.gradient}
        if clip_probability and self.training.clip_gradient != "same":
            gradients.add(self.training.clip_gradient)
        unrolled = self.model.model_mode == "explicit" or gradients == {"unrolled"}
        if self.data.no_face_share and not self.loss.heatmap_weight:
            raise InputError("heatmap_weight = 0 with no_face_share above 0, expected more: flat are heatmaps to be")
        if self.loss.correction_weight and not self.gradient.n_corrections:
            raise InputError("correction_weight without iterates to correct, expected --n_corrections of at least 1")
        if self.loss.jacobian_weight and (unrolled or not self.gradient.n_probes):
            raise InputError(
                "jacobian_weight without an estimate of the Jacobian, expected --n_probes of at least 1 and "
                "implicit or jfb gradients"
            )


def _check_usual(part: object, names: Sequence[str], reason: str) -> None:
    """Refuses settings other than the defaults."""
    usual = type(part)
    for name in names:
        value = getattr(part, name)
        if value != getattr(usual, name):
            raise InputError(f"{name} = {value!r} {reason}")
