"""Trains an LDEQ network on pre-cropped WFLW, on synthetic faces, or on both."""

if __name__ == "__main__":
    from ldeq.interrupts import end_at_once_until_run

    end_at_once_until_run()

    from ldeq.torchrun import end_with_torchrun

    end_with_torchrun()  # before the imports that take seconds: after its end nothing says whose process this was

import argparse
import dataclasses
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ldeq import InputError, pretrained, run_folder
from ldeq.command_line import MOST_WORKERS, ArgumentParser, add_boolean, add_device_flag, add_output_flag, at_least, run
from utils.cli.config_flags import add_config_flags, config_from_flags
from utils.engine.settings import Settings

if TYPE_CHECKING:  # imported by main and train, so that --help answers at once
    from ldeq import LDEQ
    from utils.engine.distribution import World

SCRIPT = "train_LDEQ"


def make_parser() -> ArgumentParser:
    parser = ArgumentParser(__doc__)
    general = parser.group("run")
    add_output_flag(general, SCRIPT)
    add_boolean(
        general, "--resume", "go on with the run in --output_dir (if not given, the newest unfinished) and its settings"
    )
    general.add_argument(
        "--init_weights",
        metavar="FILE|NAME",
        help="checkpoint to start from, or the name of a network; its settings become the defaults",
    )
    add_boolean(general, "--trust_pickle", "load an --init_weights that holds other classes than tensors")
    add_device_flag(general)
    general.add_argument(
        "--workers",
        type=at_least(0, MOST_WORKERS),
        default=min(4, os.cpu_count() or 1),
        metavar="N",
        help="processes that make samples, for each process that trains",
    )
    parser.leave_to_full_help("--trust_pickle")
    for field in dataclasses.fields(Settings):
        assert isinstance(field.type, type)
        add_config_flags(parser, field.name, field.type)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains as the command line (or ``arguments``) says."""
    flags = make_parser().parse(arguments)
    if flags.resume and flags.init_weights:
        raise InputError("--resume with --init_weights: a run goes on from its own weights, expected one of them")

    from utils.engine.distribution import init_distributed

    with init_distributed(flags.device) as world, ExitStack() as held:
        train(flags, world, held)


def train(flags: argparse.Namespace, world: "World", held: ExitStack) -> None:
    """Trains in this process, one of those of the run, which has its folder until ``held`` is closed."""
    from datasets.training.faces import TrainingSet, ValidationSet, training_batches
    from ldeq import terminal
    from ldeq.device import slow_precision_note
    from utils.engine.fit import fit
    from utils.engine.training import make_trainer, steps_of
    from utils.runs.training import LAST, TrainingRun

    if flags.resume and not flags.output_dir:
        flags.output_dir = world.from_main(lambda: run_folder.latest_folder(SCRIPT))
    init = load_init(flags)
    settings = settings_from_flags(flags, init, world)
    config = settings.training
    check_settings(settings, world, flags.resume)
    settings = with_fixed_count(settings, world)
    training_set = TrainingSet(settings.data, settings.augmentation, config.seed, settings.model.im_size)
    trainer = make_trainer(settings, init, world)

    def open_run() -> TrainingRun:
        folder = held.enter_context(run_folder.output_folder(flags.output_dir, SCRIPT))
        return TrainingRun(folder, dataclasses.asdict(settings), training_set.digests, resume=flags.resume)

    training_run = world.from_main(open_run, share=False)
    if flags.resume:
        state = world.from_main(lambda: training_run.load_state() if training_run else {})
        trainer.load_state(state, str(Path(flags.output_dir) / LAST))
    validation_set = world.on_all_ranks(
        lambda: ValidationSet(settings.data, settings.model.im_size, flags.workers, world.rank, world.size)
    )
    batches = training_batches(
        training_set,
        first_step=trainer.step,
        last_step=config.steps,
        batch_size=config.batch_size,
        parts=config.accumulate,
        rank=world.rank,
        size=world.size,
        workers=flags.workers,
        is_on_clips=config.is_on_clips,
    )

    def begin() -> None:
        if training_run is not None:
            if not flags.resume:
                training_run.save_state(trainer.state())  # with what --init_weights gave
            training_run.begin(describe(flags, world), trainer.step)

    world.on_all_ranks(begin)
    if training_run is not None:
        n_weights = sum(weight.numel() for weight in trainer.model.parameters())
        note = slow_precision_note(world.device, config.precision, training=True)
        print_head(n_weights, validation_set.description, training_run.folder, note)
    with closing(batches), training_run or nullcontext():
        figures = fit(trainer, world.lockstep(steps_of(batches, config.accumulate)), validation_set, training_run)
    if training_run is not None:
        last = f"NME {figures['validation_NME']:.3f} %. " if figures else ""
        lines = [f"{config.steps} steps. {last}Weights are {training_run.folder / 'final.pth.tar'}"]
        terminal.print_lines(terminal.console(), lines)


def load_init(flags: argparse.Namespace) -> "LDEQ | None":
    """The network of ``--init_weights``, where that is given."""
    if not flags.init_weights:
        return None
    from ldeq import load_checkpoint

    path = pretrained.resolve(flags.init_weights, load_checkpoint)
    return load_checkpoint(path, trust_pickle=flags.trust_pickle)


def settings_from_flags(flags: argparse.Namespace, init: "LDEQ | None", world: "World") -> Settings:
    """The settings that flags give; the others are those of the run to resume or of the network to start from."""
    from utils.runs.training import read_settings

    base: dict[str, dict[str, Any]] = {}
    if flags.resume:
        base = world.from_main(lambda: read_settings(Path(flags.output_dir)))
    elif init is not None:
        base = {"model": dataclasses.asdict(init.config), "solver": dataclasses.asdict(init.solver_config)}
    groups = {field.name: field.type for field in dataclasses.fields(Settings)}
    return Settings(**{name: config_from_flags(cls, flags, base.get(name)) for name, cls in groups.items()})  # type: ignore[arg-type]


def check_settings(settings: Settings, world: "World", is_resumed: bool) -> None:
    """Raises InputError where these processes cannot share out the batches, or a resumed run's data set has gone."""
    config = settings.training
    if config.batch_size % (world.size * config.accumulate):
        parts = f"{world.size} processes times {config.accumulate} parts (--accumulate)"
        raise InputError(f"batch_size = {config.batch_size}, expected a multiple of {parts}")
    for name in ("dataset_path", "renderings"):
        path = getattr(settings.data, name)
        if is_resumed and path and not Path(path).exists():
            raise InputError(
                f"{path}: no such folder, expected the data set of the run to resume (where it is now: --{name})"
            )


def with_fixed_count(settings: Settings, world: "World") -> Settings:
    """Settings that say how many renderings there are to train on, which may become more while the run lasts."""
    data = settings.data
    if not data.renderings or data.n_renderings:
        return settings

    def count() -> int:
        from datasets.training.faces import open_renderings

        return len(open_renderings(data))

    return dataclasses.replace(settings, data=dataclasses.replace(data, n_renderings=world.from_main(count)))


def print_head(n_weights: int, validation: str, folder: Path, note: str | None) -> None:
    from ldeq import terminal

    head = [f"network  {n_weights:,} weights", f"validate {validation}", f"run      {folder}", note]
    terminal.print_lines(terminal.console(), head)


def describe(flags: argparse.Namespace, world: "World") -> dict[str, Any]:
    """The part of run.json that does not decide what is computed."""
    from ldeq.device import describe_device

    return {
        "script": SCRIPT,
        "command": shlex.join(sys.argv),
        "init_weights": flags.init_weights,
        "processes": world.size,
        "environment": run_folder.describe_environment(describe_device(world.device)),
    }


if __name__ == "__main__":
    run(main)
