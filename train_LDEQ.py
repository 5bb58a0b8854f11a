"""Trains an LDEQ network on pre-cropped WFLW, on synthetic faces, or on both."""

import argparse
import dataclasses
import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datasets.training.augmentation import AugmentationConfig
from datasets.training.faces import HELD_OUT, DataConfig, TrainingFaces, ValidationFaces, training_batches
from ldeq import (
    LDEQ,
    GradientConfig,
    InputError,
    ModelConfig,
    SolverConfig,
    load_checkpoint,
    pretrained,
    run_folder,
    terminal,
)
from ldeq.command_line import ArgumentParser, add_boolean, at_least, deferred_interrupt, run
from ldeq.config import CELL_NORMS, GRADIENTS, MODEL_MODES, PRECISIONS, SOLVERS, STOP_CRITERIA, STOP_MODES
from ldeq.device import autocast, prepare, slow_precision_note
from ldeq.errors import reason_of
from ldeq.landmarks98 import N_LANDMARKS
from ldeq.metrics import failure_rate_and_auc, image_nme
from ldeq.solvers.tally import SolverTally
from utils.cli.config_flags import add_config_flags, config_from_flags
from utils.engine.distribution import World, joined, share_batch_norm
from utils.engine.evaluation import predict_images
from utils.engine.losses import LossConfig
from utils.engine.training import FOLLOW_GRADIENTS, Batch, Trainer, TrainingConfig, steps_of
from utils.runs.training import TrainingRun, read_settings

SCRIPT = "train_LDEQ"
#: Seconds within which signals to end come from one wish.
PATIENCE = 5.0
CHOICES = {
    "model_mode": MODEL_MODES,
    "cell_norm": CELL_NORMS,
    "solver": SOLVERS,
    "stop_mode": STOP_MODES,
    "stop_criterion": STOP_CRITERIA,
    "gradient": GRADIENTS,
    "follow_gradient": FOLLOW_GRADIENTS,
    "backward_solver": SOLVERS,
    "precision": PRECISIONS,
}


#: Settings that have no effect without views, without synthetic faces, and without WFLW.
_OF_VIEWS = ("trained_views", "follow_iters", "follow_gradient")
_OF_SYNTHETIC = ("synthetic_share", "images_per_person", "crop_jitter", "hard_images", "turned_heads")
_OF_WFLW = tuple(field.name for field in dataclasses.fields(AugmentationConfig))


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that decides what a run computes."""

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
        if bool(self.training.follow_views) != (self.data.views > 1):
            raise InputError(
                f"follow_views = {self.training.follow_views} with views = {self.data.views}, expected both: more than "
                "one view of a face, and a share of the steps that goes through them"
            )
        for part, names, given, without, flag in (
            (self.training, _OF_VIEWS, self.training.follow_views, "steps that follow views", "follow_views"),
            (self.loss, ("flicker_weight",), self.training.follow_views, "steps that follow views", "follow_views"),
            (self.data, _OF_SYNTHETIC, self.data.synthetic, "synthetic faces", "synthetic"),
            (self.augmentation, _OF_WFLW, self.data.dataset_path, "WFLW's crops", "dataset_path"),
        ):
            if not given:
                _check_usual(part, names, f"without {without}, expected --{flag} as well")
        trained_views, views = self.training.trained_views, self.data.views
        if trained_views > views:
            raise InputError(f"trained_views = {trained_views}, expected at most views = {views}")
        if self.data.synthetic and self.training.seed >= HELD_OUT:
            raise InputError(
                f"seed = {self.training.seed}, expected less than {HELD_OUT}: from there on people are held out"
            )
        gradients = {self.gradient.gradient}
        if self.training.follow_views and self.training.follow_gradient != "same":
            gradients.add(self.training.follow_gradient)
        unrolled = self.model.model_mode == "explicit" or gradients == {"unrolled"}
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


def make_parser() -> ArgumentParser:
    parser = ArgumentParser(__doc__)
    parser.add_argument("--output_dir", metavar="DIR", help=f"where results go; if not given, results/{SCRIPT}/<time>")
    add_boolean(
        parser, "--resume", "go on with the run in --output_dir (the newest unfinished if not given), with its settings"
    )
    parser.add_argument(
        "--init_weights",
        metavar="FILE",
        help="checkpoint to start from, or the name of a network; its settings become the defaults",
    )
    add_boolean(parser, "--trust_pickle", "load an --init_weights that holds other classes than tensors")
    parser.add_argument("--device", default="auto", help="auto (CUDA, else MPS, else CPU), cpu, cuda, cuda:1, mps")
    workers = min(4, os.cpu_count() or 1)
    parser.add_argument(
        "--workers", type=at_least(0), default=workers, help="processes that make faces, for each process"
    )
    for field in dataclasses.fields(Settings):
        assert isinstance(field.type, type)
        add_config_flags(parser, field.type, CHOICES)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains as the command line (or ``arguments``) says."""
    flags = make_parser().parse(arguments)
    if flags.resume and flags.init_weights:
        raise InputError("--resume with --init_weights: a run goes on from its own weights, expected one of them")
    with joined(flags.device) as world:
        train(flags, world)


def train(flags: argparse.Namespace, world: World) -> None:
    if flags.resume and not flags.output_dir:
        flags.output_dir = world.from_main(lambda: run_folder.latest_folder(SCRIPT))
    start = None
    if flags.init_weights:
        start = load_checkpoint(
            pretrained.resolve(flags.init_weights, load_checkpoint), trust_pickle=flags.trust_pickle
        )
    settings = read_flags(flags, start, world)
    config = settings.training
    if config.batch_size % (world.size * config.accumulate):
        parts = f"{world.size} processes times {config.accumulate} parts (--accumulate)"
        raise InputError(f"batch_size = {config.batch_size}, expected a multiple of {parts}")
    faces = TrainingFaces(settings.data, settings.augmentation, config.seed, settings.model.im_size)
    trainer = make_trainer(settings, start, world)

    def open_run() -> TrainingRun:
        folder = run_folder.make_output_folder(flags.output_dir, SCRIPT)
        return TrainingRun(folder, dataclasses.asdict(settings), resume=flags.resume)

    training_run = world.from_main(open_run, share=False)
    if flags.resume:
        state = world.from_main(lambda: training_run.load_state() if training_run else {})
        load_state(trainer, state, flags.output_dir)
    validation = world.together(
        lambda: ValidationFaces(settings.data, settings.model.im_size, flags.workers, world.rank, world.size)
    )
    batches = training_batches(
        faces,
        first_step=trainer.step,
        last_step=config.steps,
        batch_size=config.batch_size,
        parts=config.accumulate,
        rank=world.rank,
        size=world.size,
        workers=flags.workers,
        with_views=config.follows_views_at,
    )

    def begin() -> None:
        if training_run is not None:
            if not flags.resume:
                training_run.save_state(trainer.state())  # with what --init_weights gave
            training_run.begin(describe(flags, world), trainer.step)

    world.together(begin)
    if training_run is not None:
        note = slow_precision_note(world.device, config.precision)
        n_weights = sum(weight.numel() for weight in trainer.model.parameters())
        head = [
            f"network  {n_weights:,} weights",
            f"validate {validation.description}",
            f"run      {training_run.folder}",
            note,
        ]
        terminal.print_lines(terminal.console(), head)
    with closing(batches), training_run or nullcontext():
        figures = fit(trainer, world.abreast(steps_of(batches, config.accumulate)), validation, training_run)
    if training_run is not None:
        last = f"NME {figures['validation_NME']:.3f} %. " if figures else ""
        lines = [f"{config.steps} steps. {last}Weights are {training_run.folder / 'final.pth.tar'}"]
        terminal.print_lines(terminal.console(), lines)


def describe(flags: argparse.Namespace, world: World) -> dict[str, Any]:
    """The part of run.json that does not decide what is computed."""
    return {
        "script": SCRIPT,
        "command": shlex.join(sys.argv),
        "init_weights": flags.init_weights,
        "processes": world.size,
        "environment": run_folder.describe_environment(world.device),
    }


def read_flags(flags: argparse.Namespace, start: LDEQ | None, world: World) -> Settings:
    """The settings: of the flags that were given, then of the run to resume or the network to start from."""
    base: dict[str, dict[str, Any]] = {}
    if flags.resume:
        base = world.from_main(lambda: read_settings(Path(flags.output_dir)))
    elif start is not None:
        base = {"model": dataclasses.asdict(start.config), "solver": dataclasses.asdict(start.solver_config)}
    parts = {field.name: field.type for field in dataclasses.fields(Settings)}
    return Settings(**{name: config_from_flags(cls, flags, base.get(name)) for name, cls in parts.items()})  # type: ignore[arg-type]


def make_trainer(settings: Settings, start: LDEQ | None, world: World) -> Trainer:
    torch.manual_seed(settings.training.seed)
    model = LDEQ(settings.model, settings.solver)
    with torch.no_grad():
        model.cell.head.conv.weight *= settings.training.head_scale
    if start is not None:
        here, there = ({key: value.shape for key, value in net.state_dict().items()} for net in (model, start))
        different = [key for key in (here | there) if here.get(key) != there.get(key)]
        if different:
            raise InputError(f"--init_weights: {different[0]} differs, expected weights of the same network")
        model.load_state_dict(start.state_dict())
    if world.size > 1:
        share_batch_norm(model)
    prepare(model, world.device, settings.training.precision)
    return Trainer(model, settings.training, settings.gradient, settings.loss, world)


def load_state(trainer: Trainer, state: dict[str, Any], folder: str) -> None:
    try:
        trainer.load_state(state)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder}: its state does not fit its settings ({reason_of(error)}), expected one of this run"
        ) from None


def fit(
    trainer: Trainer, steps: Iterator[list[Batch]], validation: ValidationFaces, training_run: TrainingRun | None
) -> dict[str, float]:
    """Trains to the end, with a row of the log, a validation and a saved state every so many steps.

    Args:
        training_run: None in all but the main process.

    Returns:
        The last validation's figures.

    Raises:
        KeyboardInterrupt: where the process was asked to end; its state is saved.
    """
    config = trainer.config
    figures: dict[str, float] = {}
    bar = terminal.ProgressBar(config.steps, "step", "training", trainer.step) if training_run else None
    since = time.perf_counter()
    with deferred_interrupt(PATIENCE) as interrupt, bar or nullcontext():
        for parts in steps:
            ended = trainer.advance(parts, interrupt.requested)
            step = trainer.step
            trainer.meter.seconds += time.perf_counter() - since
            due = {
                "log": step % config.log_every == 0 or step == config.steps,
                "validate": step % config.validate_every == 0 or step == config.steps,
                "save": step % config.save_every == 0 or step == config.steps or ended,
            }
            row: dict[str, float] = {}
            if due["log"]:
                row = trainer.meter.take()
            if due["validate"]:
                figures = validate(trainer, validation)
                row |= figures
            if training_run is not None:
                publish(training_run, trainer, row, due)
            if bar is not None:
                bar.advance()
                if row:
                    shown = {"loss": row.get("loss"), "NME": figures.get("validation_NME")}
                    bar.note(", ".join(f"{key} {value:.3f}" for key, value in shown.items() if value))
            since = time.perf_counter()  # validation and saving are no part of the speed of training
            if ended and step < config.steps:
                where = f" --output_dir {shlex.quote(str(training_run.folder))}" if training_run else ""
                raise KeyboardInterrupt(f"step {step} of {config.steps} is saved, --resume{where} goes on from it")
    return figures


def publish(training_run: TrainingRun, trainer: Trainer, row: dict[str, float], due: dict[str, bool]) -> None:
    """Writes what is due after a step."""
    config, step = trainer.config, trainer.step
    if row:
        training_run.write_row({"step": step, "lr": config.lr_at(step - 1), **row})
    nme = row.get("validation_NME")
    if nme is not None and nme < trainer.best_nme:
        trainer.best_nme = nme
        training_run.save_weights("best", trainer.averaged_model, step)
    # Before the state, from which a run that has its last step does nothing more.
    if step == config.steps:
        training_run.save_weights("final", trainer.averaged_model, step)
    if due["save"]:
        training_run.save_state(trainer.state())
    if due["validate"]:
        training_run.plot()


def validate(trainer: Trainer, faces: ValidationFaces) -> dict[str, float]:
    """NME and FR in percent, AUC and the solver's iterations, of the averaged weights over all processes' faces."""
    tally = SolverTally()
    config = trainer.config
    batch_size = max(1, config.batch_size // (trainer.world.size * config.accumulate))
    with autocast(trainer.world.device, config.precision):
        found = predict_images(
            trainer.averaged_model,
            faces,
            batch_size=batch_size,
            workers=0,
            on_batch=lambda output: tally.add(output.stats),
        )
    mine = image_nme(found.predicted, found.truth)
    gathered = trainer.world.gather((mine, tally.n_iters, tally.n_solved))
    nmes = np.concatenate([nmes for nmes, _, _ in gathered])
    if not len(nmes):
        return {}
    failures, auc = failure_rate_and_auc(nmes)
    n_solved = sum(n for _, _, n in gathered)
    return {
        "validation_NME": 100 * float(nmes.mean()),
        "validation_FR": 100 * failures,
        "validation_AUC": auc,
        "validation_iterations": sum(n for _, n, _ in gathered) / max(n_solved, 1),
    }


if __name__ == "__main__":
    run(main)
