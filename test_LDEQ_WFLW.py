"""Evaluates an LDEQ checkpoint on WFLW: NME, FR and AUC of each split, with plots."""

if __name__ == "__main__":
    from ldeq.interrupts import end_at_once_until_run

    end_at_once_until_run()

    from ldeq.torchrun import end_with_torchrun

    end_with_torchrun()  # before the imports that take seconds: after its end nothing says whose process this was

import argparse
import dataclasses
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datasets.wflw import SPLITS, WFLWDataset
from datasets.wflw.precropped import find_wflw, splits_with_faces
from ldeq import InputError, pretrained, run_folder, terminal, torchrun
from ldeq.command_line import MOST_WORKERS, ArgumentParser, add_common_flags, at_least, run
from ldeq.fields import MOST_AT_A_TIME
from ldeq.files import is_file_name, read_json_object, write_csv, write_json, written_whole
from ldeq.processes import Processes, joined
from utils import bundled

if TYPE_CHECKING:  # imported by main, so that --help answers at once
    from ldeq import LDEQ
    from ldeq.solver_tally import SolverTally
    from utils.engine.evaluation import Predictions

SCRIPT = "test_LDEQ_WFLW"
GALLERY_SIZE = 12


def make_parser() -> ArgumentParser:
    parser = ArgumentParser(__doc__)
    data = parser.group("data")
    data.add_argument(
        "--dataset_path",
        default=str(bundled.WFLW),
        metavar="DIR",
        help="pre-cropped WFLW: <split>.txt and <split>/<file name>; a small bundled sample if not given",
    )
    data.add_argument(
        "--split",
        nargs="+",
        action="extend",
        metavar="SPLIT",
        help=f"one or more splits; if not given, those that it has faces of, of {', '.join(SPLITS)}",
    )
    data.add_argument(
        "--batch_size", type=at_least(1, MOST_AT_A_TIME), default=32, metavar="N", help="images at a time"
    )
    data.add_argument(
        "--workers", type=at_least(0, MOST_WORKERS), default=4, metavar="N", help="threads that decode images"
    )
    add_common_flags(parser, SCRIPT)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluates as the command line (or ``arguments``) says."""
    flags = make_parser().parse(arguments)
    with joined(flags.device) as processes, ExitStack() as held:
        evaluate(flags, processes, held)


def evaluate(flags: argparse.Namespace, processes: Processes, held: ExitStack) -> None:
    """Evaluates into the output folder, which nobody else has until ``held`` is closed."""
    from ldeq.device import load_model, resolve_device, slow_precision_note
    from ldeq.metrics import image_nme
    from ldeq.model.summary import print_summary
    from ldeq.solver_tally import SolverTally
    from utils.cli.tables import solver_table, wflw_table
    from utils.visualization.figures import save
    from utils.visualization.images import cumulative_error_plot

    device = resolve_device(flags.device)
    model, weights = processes.main_first(
        lambda: load_model(flags.landmark_model_weights, device, flags.precision, flags.trust_pickle)
    )
    root = find_wflw(flags.dataset_path, *flags.split or ())
    splits = flags.split or splits_with_faces(root)
    datasets = open_splits(root, list(dict.fromkeys(splits)))
    if not processes.is_main:
        predict(model, datasets, flags, processes)
        return
    folder = held.enter_context(run_folder.output_folder(flags.output_dir, SCRIPT))

    console = terminal.console()
    note = pretrained.note_on(weights)
    without = [] if flags.split else [split for split in SPLITS if split not in splits]
    head = [
        f"weights  {weights}",
        f"data     {root}",
        f"left out {', '.join(without)}: the data set has no faces of {'them' if without[1:] else 'it'}"
        if without
        else None,
    ]
    terminal.print_lines(console, [*head, slow_precision_note(device, flags.precision)])
    if flags.summary:
        print_summary(model)

    started = time.perf_counter()
    predictions = predict(model, datasets, flags, processes)
    seconds = time.perf_counter() - started

    nmes = {split: image_nme(found.predicted, found.truth) for split, found in predictions.items()}
    tallies = {split: found.tally for split, found in predictions.items()}
    figures = {split: figures_of(nmes[split]) | solves_of(tallies[split]) for split in nmes}
    tally = SolverTally.total(tallies.values())
    unsound = tally.check()
    for split in earlier_splits(folder):
        gallery_path(folder, split).unlink(missing_ok=True)
    write_results(folder, model, weights, root, datasets, predictions, nmes, figures, flags, tally)
    save(cumulative_error_plot(nmes, note), folder / "cumulative_error.png")
    for split in datasets:
        save_gallery(folder, datasets[split], predictions[split], nmes[split], note)

    console.print(wflw_table(figures))
    if tally.n_solved:
        console.print(solver_table(model.solver_config, tallies))
    remarks = [note, unsound, tally.mostly_not_converged(model.solver_config)]
    n_images = sum(len(values) for values in nmes.values())
    remarks.append(f"{n_images} images in {seconds:.1f} s ({n_images / seconds:.1f} a second). Results are in {folder}")
    terminal.print_lines(console, remarks)


def open_splits(root: Path, splits: list[str]) -> dict[str, WFLWDataset]:
    """The splits by their names.

    Raises:
        InputError: where some cannot be used, with what is wrong in each of them.
    """
    datasets, problems = {}, []
    for split in splits:
        try:
            datasets[split] = WFLWDataset(root, split)
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError("; ".join(problems))
    return datasets


@dataclass(frozen=True)
class BatchDone:
    """The images of a split from ``start`` on that were a batch have their landmarks."""

    split: str
    start: int
    found: "Predictions"
    #: How the solver did, in words, where that is asked for.
    solve: str | None


def predict(
    model: "LDEQ", datasets: dict[str, WFLWDataset], flags: argparse.Namespace, processes: Processes
) -> "dict[str, Predictions]":
    """Landmarks of every split, in the main process; the others only do their part.

    Raises:
        InputError: where images cannot be read, with all of them named: a score over the rest is not comparable.
    """
    from ldeq.solver_tally import describe_solve
    from utils.engine.evaluation import Predictions, image_batches, predict_batches

    solver_config = dataclasses.replace(model.solver_config, stop_criterion=flags.stop_criterion)
    # Those of one process, whoever does them: what a batch's images have in common does not depend on it.
    split_of = {
        batch: split for split, dataset in datasets.items() for batch in image_batches(dataset, flags.batch_size)
    }
    sizes = {split: len(dataset) for split, dataset in datasets.items()}
    if processes.from_main(lambda: sizes) != sizes:
        raise InputError(f"{flags.dataset_path}: has not as many images in every process, expected the same data set")
    parts: dict[tuple[str, int], Predictions] = {}

    def handle(done: BatchDone) -> None:
        parts[done.split, done.start] = done.found
        bar.describe(done.split)
        bar.advance(len(done.found.predicted))
        if done.solve is not None:
            print(done.solve)

    with (
        terminal.ProgressBar(sum(sizes.values()), "image", "WFLW", is_shown=processes.is_main) as bar,
        processes.reports(handle) as report,
    ):
        for batch, found, output in predict_batches(
            model,
            processes.shared_out(list(split_of)),
            solver_config=solver_config,
            workers=torchrun.share(flags.workers),
            only_check=lambda: processes.flag_is_up,
        ):
            if found.unreadable:
                processes.raise_flag()
            solve = describe_solve(output.stats) if flags.verbose_solver and output is not None else None
            report(BatchDone(split_of[batch], batch.start, found, solve))
    predictions = {
        split: Predictions.joined(parts[key] for key in sorted(parts) if key[0] == split) for split in datasets
    }
    unreadable = [sentence for found in predictions.values() for sentence in found.unreadable]
    if unreadable:
        raise InputError("; ".join(unreadable))
    return predictions


def figures_of(nmes: np.ndarray) -> dict[str, float]:
    from ldeq.metrics import failure_rate_and_auc

    failures, auc = failure_rate_and_auc(nmes)
    return {"NME": 100 * float(nmes.mean()), "FR": 100 * failures, "AUC": auc, "n_images": len(nmes)}


def solves_of(tally: "SolverTally") -> dict[str, float]:
    """How many solves a split's images took, and how many of them did not converge; none in explicit mode."""
    return {"n_solved": tally.n_solved, "n_not_converged": tally.n_not_converged} if tally.n_solved else {}


def write_results(
    folder: Path,
    model: "LDEQ",
    weights: Path,
    root: Path,
    datasets: dict[str, WFLWDataset],
    predictions: "dict[str, Predictions]",
    nmes: dict[str, np.ndarray],
    figures: dict[str, dict[str, float]],
    flags: argparse.Namespace,
    tally: "SolverTally",
) -> None:
    from ldeq.runtime.pytorch import TorchNetwork

    network = TorchNetwork(model, weights, flags.precision)
    description = run_folder.describe_run(SCRIPT, network, root, vars(flags))
    write_csv(folder / "results.csv", [{"split": split, **row} for split, row in figures.items()])
    rows = [
        {"split": split, "image": datasets[split].name(index), "NME": 100 * nme}
        for split, values in nmes.items()
        for index, nme in enumerate(values)
    ]
    write_csv(folder / "images.csv", rows)
    with written_whole(folder / "predictions.npz") as temporary:
        np.savez(temporary, **{split: found.predicted for split, found in predictions.items()})  # type: ignore[arg-type]
    write_json(folder / "results.json", {**description, "splits": figures, "solver": tally.summary(to_converge=True)})


def save_gallery(
    folder: Path, dataset: WFLWDataset, predictions: "Predictions", nmes: np.ndarray, note: str | None
) -> None:
    from utils.visualization.figures import save
    from utils.visualization.images import gallery

    worst = [int(index) for index in np.argsort(nmes)[::-1][:GALLERY_SIZE]]
    figure = gallery(
        [dataset[index][0] for index in worst],
        predictions.predicted[worst],
        predictions.truth[worst],
        [dataset.name(index) for index in worst],
        nmes[worst],
        f"{dataset.split}: the largest errors, {len(worst)} of {len(nmes)} images",
        note,
    )
    save(figure, gallery_path(folder, dataset.split))


def earlier_splits(folder: Path) -> list[str]:
    """Those that the folder's results are of."""
    path = folder / "results.json"
    splits = read_json_object(path, "expected an earlier run's").get("splits") if path.is_file() else None
    return [split for split in splits if is_file_name(split)] if isinstance(splits, dict) else []


def gallery_path(folder: Path, split: str) -> Path:
    return folder / f"worst_{split}.png"


if __name__ == "__main__":
    run(main)
