"""Evaluates an LDEQ checkpoint on WFLW-V: NME and NMF (flicker), frame by frame or recurrent without recurrence."""

if __name__ == "__main__":
    from ldeq.interrupts import end_at_once_until_run

    end_at_once_until_run()

    from ldeq.torchrun import end_with_torchrun

    end_with_torchrun()  # before the imports that take seconds: after its end nothing says whose process this was

import argparse
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.wflw_v import SPLITS
from ldeq import InputError, pretrained, run_folder, terminal, torchrun
from ldeq.command_line import (
    MOST_WORKERS,
    ArgumentParser,
    add_boolean,
    add_common_flags,
    add_runtime_flag,
    add_rwr_flags,
    at_least,
    run,
)
from ldeq.fields import MOST_AT_A_TIME, first_of
from ldeq.files import WholeFile
from ldeq.processes import Processes, ProcessLost, joined
from utils import bundled

if TYPE_CHECKING:  # imported by main, so that --help answers at once
    import numpy as np
    from rich.console import Console

    from datasets.wflw_v import Clip, WFLWVDataset
    from ldeq.face.landmarker import CropLandmarks
    from ldeq.runtime.choice import OpenedNetwork
    from ldeq.runtime.network import Network
    from ldeq.solve_settings import SolveSettings
    from ldeq.solver_tally import SolverTally
    from ldeq.video.window import Window
    from utils.engine.evaluation import TrackedVideo
    from utils.runs.videos import VideoRun

SCRIPT = "test_LDEQ_WFLW_V"
#: Up to so many videos are listed whole on the terminal, else those that flicker most; and so many that are skipped.
LISTED = 12


def make_parser() -> ArgumentParser:
    parser = ArgumentParser(__doc__, ids_flag="--videos")
    data = parser.group("data")
    data.add_argument(
        "--WFLW_V_dataset_path",
        default=str(bundled.WFLW_V),
        metavar="DIR",
        help="WFLW-V: bboxes/, landmarks/ and videos/; a small bundled sample if not given",
    )
    data.add_argument(
        "--WFLW_V_split",
        choices=(*SPLITS, "all"),
        default="hard",
        help="which id list: the data set's own <split>_video_IDs.txt, else the published one, fetched at the first "
        "need; all: both, or where there are no own ones every annotated video",
    )
    data.add_argument("--videos", action="append", metavar="ID ...", help="only these videos of the split")
    data.add_argument(
        "--WFLW_V_batch_size", type=at_least(1, MOST_AT_A_TIME), default=5, metavar="N", help="videos at a time"
    )
    data.add_argument(
        "--WFLW_V_workers", type=at_least(0, MOST_WORKERS), default=8, metavar="N", help="threads that decode videos"
    )
    add_boolean(data, "--strict", "a video that cannot be used is an error")
    add_common_flags(parser, SCRIPT)
    add_runtime_flag(parser, "torch")
    add_rwr_flags(parser, default=False)
    output = parser.group("output")
    add_boolean(output, "--plot", "write annotated MP4s and curves of every video")
    add_boolean(output, "--show", "show frames in a live window as they are done (q ends the run)")
    add_boolean(output, "--resume", "go on with an interrupted run, in --output_dir or else in the latest folder")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluates as the command line (or ``arguments``) says."""
    flags = make_parser().parse(arguments)
    with joined(flags.device, "--resume goes on from what is done") as processes, ExitStack() as held:
        evaluate(flags, processes, held)


def evaluate(flags: argparse.Namespace, processes: Processes, held: ExitStack) -> None:
    """Evaluates into the output folder, which nobody else has until ``held`` is closed."""
    from datasets.wflw_v import WFLWVDataset
    from ldeq.network_from_flags import open_from_flags, settings_from_flags
    from ldeq.video.window import Window

    check_flags(flags, processes.size)
    settings = settings_from_flags(flags)
    opened = processes.alike(lambda choice: open_from_flags(flags, settings, choice), lambda opened: opened.choice)
    network = opened.network
    dataset = processes.main_first(lambda: WFLWVDataset(flags.WFLW_V_dataset_path, flags.WFLW_V_split, flags.videos))
    if flags.strict:
        refuse_missing_files(dataset)
    if not processes.is_main:
        track(network, settings, dataset, None, flags, None, processes)
        return
    window = Window("LDEQ") if flags.show else None
    outcome = open_run(flags, network, dataset, held)
    print_head(flags, opened, settings, dataset, outcome)
    started = time.perf_counter()
    try:
        skipped, n_frames = track(network, settings, dataset, outcome, flags, window, processes)
    except (KeyboardInterrupt, ProcessLost) as ended:
        done = f"{len(outcome.rows)} of {len(dataset.clips)} videos are done"
        words = [*map(str, ended.args), f"{done} and in {outcome.folder}, --resume goes on from there"]
        raise type(ended)("; ".join(words)) from None
    seconds = time.perf_counter() - started
    remarks = finish(flags, network, settings, dataset, outcome, skipped)
    speed = f"{n_frames} frames in {seconds:.1f} s ({n_frames / seconds:.1f} a second)."
    terminal.print_lines(terminal.console(), [*remarks, f"{speed} Results are in {outcome.folder}"])


def check_flags(flags: argparse.Namespace, n_processes: int) -> None:
    """Raises InputError where flags contradict each other."""
    if n_processes > 1 and flags.stop_criterion == "batch" and flags.WFLW_V_batch_size > 1:
        raise InputError(
            f"--stop_criterion batch in {n_processes} processes: landmarks would depend on which videos share a "
            "batch, expected --stop_criterion sample, --WFLW_V_batch_size 1, or one process"
        )
    if flags.runtime != "torch" and not flags.rwr:
        raise InputError(f"--runtime {flags.runtime} makes a number of steps that is fixed, expected --rwr with it")
    if flags.runtime != "torch" and flags.summary:
        raise InputError("--summary lists the layers of a checkpoint, expected --runtime torch with it")


def refuse_missing_files(dataset: "WFLWVDataset") -> None:
    """Raises InputError where videos or their annotations are not there."""
    missing = [str(clip.video_path) for clip in dataset.clips if not clip.video_path.is_file()]
    missing += dataset.lacking.values()
    if missing:
        raise InputError(f"missing files (--strict): {first_of(missing, LISTED)}")


def open_run(flags: argparse.Namespace, network: "Network", dataset: "WFLWVDataset", held: ExitStack) -> "VideoRun":
    """The results, in a folder which nobody else has until ``held`` is closed; with ``--resume`` those so far."""
    from utils.runs.videos import SUBFOLDERS, VideoRun

    description = run_folder.describe_run(SCRIPT, network, dataset.root, vars(flags))
    requested = run_folder.latest_folder(SCRIPT) if flags.resume and not flags.output_dir else flags.output_dir
    if requested and (Path(requested) / "videos").resolve() == (dataset.root / "videos").resolve():
        raise InputError(f"--output_dir {requested}: holds the data set's own videos, expected another folder")
    return VideoRun(
        held.enter_context(run_folder.output_folder(requested, SCRIPT, SUBFOLDERS)),
        description,
        identity_of(description, flags, network),
        dataset.lengths,
        dataset.digests,
        resume=flags.resume,
        drawn=flags.plot,
    )


def print_head(
    flags: argparse.Namespace,
    opened: "OpenedNetwork",
    settings: "SolveSettings",
    dataset: "WFLWVDataset",
    outcome: "VideoRun",
) -> None:
    network = opened.network
    head = [
        f"weights  {network.weights}",
        f"data     {dataset.root}, {flags.WFLW_V_split} ({len(dataset.clips)} videos)",
        f"mode     {settings.describe(network.config, network.solver_config)}",
        f"runtime  {opened.describe()}",
        f"resumed  {len(outcome.rows)} videos were done before" if outcome.rows else None,
        network.warning,
    ]
    terminal.print_lines(terminal.console(), head)
    if flags.summary:
        network.print_summary()


def finish(
    flags: argparse.Namespace,
    network: "Network",
    settings: "SolveSettings",
    dataset: "WFLWVDataset",
    outcome: "VideoRun",
    skipped: dict[str, str],
) -> list[str | None]:
    """Writes and prints figures, tables and plots; gives remarks on them.

    Raises:
        InputError: where no video could be used.
        NotFiniteError: where solves have given nothing finite.
    """
    from utils.cli.tables import solver_table

    if not outcome.rows:
        reasons = first_of(list(skipped.values()), LISTED, "; ")
        raise InputError(
            f"{dataset.root}: no video of {flags.WFLW_V_split} could be used ({reasons}), expected at least one"
        )
    unsound = outcome.tally.check()
    own = settings.to_converge(network.solver_config)
    outcome.finish(list(dataset.lengths), flags.WFLW_V_split, flags.rwr, skipped, to_converge=own is not None)
    note = pretrained.note_on(network.weights)
    save_plots(outcome, dataset, settings.describe(network.config, network.solver_config), note, flags.plot)
    console = terminal.console()
    print_tables(console, outcome, skipped, flags.WFLW_V_split)
    unconverged = None
    if outcome.tally.n_solved and own is not None:
        console.print(solver_table(own, {flags.WFLW_V_split: outcome.tally}))
        unconverged = outcome.tally.mostly_not_converged(own)
    return [note, unsound, unconverged]


def identity_of(description: dict[str, Any], flags: argparse.Namespace, network: "Network") -> dict[str, Any]:
    """What must not change between an interrupted run and the one that resumes it."""
    names = (
        "rwr",
        "rwr_max_iters",
        "rwr_take_one_less_inference_step",
        "WFLW_V_split",
        "videos",
        "precision",
        "stop_criterion",
    )
    settings = {name: getattr(flags, name) for name in names} | {"precision": network.precision}
    if flags.stop_criterion == "batch":
        settings["WFLW_V_batch_size"] = flags.WFLW_V_batch_size
    if network.runtime != "torch":
        settings["runtime"] = network.runtime
    weights = {"weights_sha256": description["weights_sha256"]}
    return {**weights, **settings}


@dataclass(frozen=True)
class FramesDone:
    """A step's frames have their landmarks."""

    n_frames: int


@dataclass(frozen=True)
class SolveDone:
    """The solver did on a batch as it is described."""

    description: str


@dataclass(frozen=True)
class VideoDone:
    """A video has its landmarks, which are as of :meth:`utils.runs.videos.VideoRun.add`."""

    id: str
    nme: float
    nmf: float
    landmarks: "np.ndarray"
    tally: "SolverTally"
    drawn: WholeFile | None


@dataclass(frozen=True)
class VideoSkipped:
    """A video cannot be used."""

    id: str
    reason: str


class Collected:
    """What all processes report, in the main one.

    Args:
        outcome: takes the videos that are done.
        bar: shows the frames.
    """

    def __init__(self, outcome: "VideoRun | None", bar: terminal.ProgressBar) -> None:
        self._outcome, self._bar = outcome, bar
        self.n_frames = 0
        #: Why videos cannot be used, by their ids.
        self.reasons: dict[str, str] = {}

    def take(self, done: FramesDone | SolveDone | VideoDone | VideoSkipped) -> None:
        """Takes a report."""
        if isinstance(done, FramesDone):
            self.n_frames += done.n_frames
            self._bar.advance(done.n_frames)
        elif isinstance(done, SolveDone):
            print(done.description)
        elif isinstance(done, VideoSkipped):
            self.reasons[done.id] = done.reason
        else:
            assert self._outcome is not None
            self._outcome.add(done.id, done.nme, done.nmf, done.landmarks, done.tally, done.drawn)


def track(
    network: "Network",
    settings: "SolveSettings",
    dataset: "WFLWVDataset",
    outcome: "VideoRun | None",
    flags: argparse.Namespace,
    window: "Window | None",
    processes: Processes,
) -> tuple[dict[str, str], int]:
    """Tracks the videos that are not done yet; gives the skipped ones with their reasons, and the frames it made.

    Args:
        outcome: None in all but the main process, which has the results of all.

    Raises:
        InputError: with ``--strict``, at the first video that cannot be used.
    """
    from utils.engine.evaluation import track_videos
    from utils.runs.videos import annotated_video
    from utils.visualization.annotated_videos import AnnotatedVideos

    # Long ones first, so that no process has one left when the others are done.
    folder, digests = processes.from_main(lambda: left_to_do(outcome, dataset, longest_first=processes.size > 1))
    if any(dataset.digests.get(id) != digest for id, digest in digests.items()):
        raise InputError(f"{dataset.root}: is not the data set of the main process, expected the same in all of them")
    clips = {clip.id: clip for clip in dataset.clips}
    if flags.plot and not folder.is_dir():
        raise InputError(f"{folder}: is not there in every process, expected a folder that all machines share (--plot)")
    batch_size = flags.WFLW_V_batch_size
    if processes.size > 1:
        # Of few videos few at a time, so that there are some for all of them.
        batch_size = min(batch_size, max(1, len(digests) // (2 * processes.size)))
    n_done = sum(row["n_frames"] for row in outcome.rows.values()) if outcome is not None else 0
    bar = terminal.ProgressBar(
        sum(dataset.lengths.values()), "frame", flags.WFLW_V_split, n_done, is_shown=processes.is_main
    )
    collected = Collected(outcome, bar)
    drawings = AnnotatedVideos(lambda id: annotated_video(folder, id), flags.plot, window)
    with bar, processes.reports(collected.take) as report, closing(drawings):

        def on_solve(description: str) -> None:
            report(SolveDone(description))

        def on_batch(found: "CropLandmarks") -> None:
            report(FramesDone(len(found.points)))

        for video in track_videos(
            network.landmarker(settings, on_solve if flags.verbose_solver else None),
            (clips[id] for id in processes.shared_out(list(digests), dealt=batch_size + 1)),
            lambda clip: clip.frames(keep_frames=drawings.wanted),
            batch_size=batch_size,
            workers=torchrun.share(flags.WFLW_V_workers),
            on_frame=lambda video, frame, landmarks: drawings.add(video.clip, frame.frame, landmarks),
            on_batch=on_batch,
        ):
            report(result_of(video, drawings.end(video.clip, failed=video.failure is not None), flags.strict))
    # In the order of the id list, whichever of them was found out first.
    reasons = {id: collected.reasons[id] for id in clips if id in collected.reasons}
    return {**dataset.lacking, **reasons}, collected.n_frames


def result_of(video: "TrackedVideo[Clip]", drawn: WholeFile | None, strict: bool) -> VideoDone | VideoSkipped:
    """The figures of a video at its end, or why it has none.

    Raises:
        InputError: where it cannot be used, if that is an error.
    """
    import numpy as np

    from datasets.wflw_v import UnusableVideo
    from ldeq.metrics import video_nme, video_nmf

    clip = video.clip
    if video.failure is None:
        predicted, truth = np.stack(video.landmarks), clip.landmarks
        figures = video_nme(predicted, truth), video_nmf(predicted, truth)
        return VideoDone(clip.id, *figures, predicted, video.tally, drawn)
    if strict or not isinstance(video.failure, UnusableVideo):
        raise video.failure
    return VideoSkipped(clip.id, str(video.failure))


def left_to_do(outcome: "VideoRun | None", dataset: "WFLWVDataset", longest_first: bool) -> tuple[Path, dict[str, str]]:
    """The folder of the run, and the videos that it does not have yet, with the digests of their annotations."""
    assert outcome is not None, "the main process has the results"
    ids = [clip.id for clip in dataset.clips if clip.id not in outcome.rows]
    if longest_first:
        ids.sort(key=lambda id: -dataset.lengths[id])
    return outcome.folder.absolute(), {id: dataset.digests[id] for id in ids}


def save_plots(outcome: "VideoRun", dataset: "WFLWVDataset", mode: str, note: str | None, every_video: bool) -> None:
    """NME against NMF over videos; error and flicker along the most, middle and least flickering (or every) one."""
    import numpy as np

    from utils.visualization.figures import save
    from utils.visualization.videos import frame_curves, video_scatter

    folder = outcome.folder
    save(video_scatter(outcome.rows, f"{dataset.split} videos, {mode}", note), folder / "nme_nmf.png")
    clips = {clip.id: clip for clip in dataset.clips if clip.id in outcome.rows}

    def landmarks(id: str) -> "tuple[np.ndarray, np.ndarray]":
        return np.load(outcome.predictions_path(id)), clips[id].landmarks

    steady = sorted(clips, key=lambda id: outcome.rows[id]["NMF"])
    chosen = dict.fromkeys((steady[-1], steady[len(steady) // 2], steady[0]))
    title = f"Error and flicker along the most, middle and least flickering video\n{mode}"
    save(frame_curves({id: landmarks(id) for id in chosen}, title, note), folder / "frames.png")
    for id in clips if every_video else ():
        save(frame_curves({id: landmarks(id)}, f"{id}, {mode}", note), folder / "frames" / f"{id}.png")


def print_tables(console: "Console", outcome: "VideoRun", skipped: dict[str, str], split: str) -> None:
    """The videos that flicker most, those that were skipped, and the means over videos."""
    rows = sorted(outcome.rows.items(), key=lambda item: item[1]["NMF"], reverse=True)
    if len(rows) > LISTED:
        title = f"The {LISTED} of {len(rows)} videos that flicker most (all are in results.csv)"
    else:
        title = "Videos"
    listed = [(id, f"{row['NME']:.3f}", f"{row['NMF']:.3f}", row["n_frames"]) for id, row in rows[:LISTED]]
    console.print(terminal.table(title, ["video", "NME %", "NMF", "frames"], listed))
    lines = [f"skipped  {id}: {reason}" for id, reason in skipped.items()]
    rest = f"skipped  {len(lines) - LISTED} more (all are in results.json)" if len(lines) > LISTED else None
    terminal.print_lines(console, [*lines[:LISTED], rest])
    mean = [split, f"{outcome.mean('NME'):.3f}", f"{outcome.mean('NMF'):.3f}", len(rows), len(skipped)]
    columns = ["split", "NME %", "NMF", "videos", "skipped"]
    console.print(terminal.table("WFLW-V, mean over videos", columns, [mean]))


if __name__ == "__main__":
    run(main)
