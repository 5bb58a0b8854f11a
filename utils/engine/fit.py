"""The training loop: steps to the end, with a row of the log, a validation and a saved state every so many of them."""

import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress

import numpy as np
from numpy.typing import NDArray

from ldeq import terminal
from ldeq.device import autocast
from ldeq.errors import NotFiniteError
from ldeq.interrupts import PATIENCE, deferred_interrupt
from ldeq.metrics import failure_rate_and_auc, image_nme
from ldeq.solver_tally import SolverTally
from utils.engine.evaluation import Samples, predict_images
from utils.engine.training import Batch, Trainer
from utils.runs.training import TrainingRun


def fit(
    trainer: Trainer, steps: Iterator[list[Batch]], validation: Samples, training_run: TrainingRun | None
) -> dict[str, float]:
    """Trains to the end.

    Args:
        steps: the parts of this process's share of each step's batch.
        validation: this process's share of the samples to validate on.
        training_run: None in all but the main process.

    Returns:
        The last validation's figures; none where the run had its last step before.

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
            due = _due(trainer, ended)
            row: dict[str, float] = trainer.meter.take() if due["log"] else {}
            if due["validate"]:
                figures = validate(trainer, validation)
                row |= figures
            if training_run is not None:
                _publish(training_run, trainer, row, due)
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


def _due(trainer: Trainer, ended: bool) -> dict[str, bool]:
    """What is to be done after a step, which is the last one where the run has ``ended``."""
    config, step = trainer.config, trainer.step
    is_last = step == config.steps
    return {
        "log": step % config.log_every == 0 or is_last,
        "validate": step % config.validate_every == 0 or is_last,
        "save": (step % config.save_every == 0 and trainer.is_sound) or is_last or ended,
    }


def validate(trainer: Trainer, samples: Samples) -> dict[str, float]:
    """Figures of the averaged weights over all processes' samples: NME and FR in percent, AUC, mean iterations.

    There are none where the network gives nothing finite, which is said on stderr: training may yet mend it.
    """
    config = trainer.config
    batch_size = max(1, config.batch_size // (trainer.world.size * config.accumulate))
    mine: tuple[NDArray[np.float64], SolverTally] | None = None  # where it gives nothing finite
    with autocast(trainer.world.device, config.precision), suppress(NotFiniteError):
        found = predict_images(trainer.averaged_model, samples, batch_size=batch_size, workers=0)
        found.tally.check()
        mine = image_nme(found.predicted, found.truth), found.tally
    gathered = [part for part in trainer.world.gather(mine) if part is not None]
    if len(gathered) < trainer.world.size:
        if trainer.world.is_main:
            print(f"step {trainer.step}: the network gives nothing finite, and is not validated.", file=sys.stderr)
        return {}
    nmes = np.concatenate([nmes for nmes, _ in gathered])
    if not len(nmes):
        return {}
    failures, auc = failure_rate_and_auc(nmes)
    tally = SolverTally.total(tally for _, tally in gathered)
    return {
        "validation_NME": 100 * float(nmes.mean()),
        "validation_FR": 100 * failures,
        "validation_AUC": auc,
        "validation_iterations": tally.n_iters / max(tally.n_solved, 1),
    }


def _publish(training_run: TrainingRun, trainer: Trainer, row: dict[str, float], due: dict[str, bool]) -> None:
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
