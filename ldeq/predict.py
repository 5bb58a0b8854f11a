"""Landmarks on any videos and images, with recurrence without recurrence (RwR): the command ``ldeq-video``.

``predict_video.py`` in the repository is the same program, and also plots what it found.
"""

import argparse
import glob
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from ldeq import smoothing, terminal
from ldeq.command_line import (
    ArgumentParser,
    add_boolean,
    add_common_flags,
    add_runtime_flag,
    add_rwr_flags,
    at_least,
    complain,
    number_of,
    number_within,
    run,
)
from ldeq.config import FPS
from ldeq.errors import InputError, program_name
from ldeq.face.settings import DETECTORS, TrackingSettings
from ldeq.processes import Processes, joined

if TYPE_CHECKING:  # imported by main, so that --help answers at once
    from ldeq.prediction import Finished, Prediction

SCRIPT = "predict_video"
DEFAULTS = TrackingSettings()
#: Files that a run may write into a folder.
WRITTEN = ("video.mp4", "image.png", "landmarks.csv", "landmarks.npz", "plot.png", "run.json")


def make_parser() -> ArgumentParser:
    parser = ArgumentParser(
        "Finds the landmarks of the faces in videos and images, with recurrence without recurrence (RwR)."
    )
    inputs = parser.group("input")
    inputs.add_argument(
        "inputs", nargs="*", metavar="INPUT", help="videos, images, folders of images, or a camera's number"
    )
    inputs.add_argument("--input", action="append", default=[], metavar="INPUT", help="the same as a flag")
    inputs.add_argument("--fps", type=number_within(*FPS), default=25.0, metavar="X", help="of a folder of images")
    inputs.add_argument(
        "--bboxes",
        metavar="FILE",
        help="bounding boxes instead of detection and tracking: .npy (frames, 4) or (frames, faces, 4), x1 y1 x2 y2 "
        "(NaN: no face), or landmarks.npz of an earlier run",
    )
    output = parser.group("output")
    output.add_argument(
        "--points", type=int, choices=(98, 68), default=98, help="WFLW's 98, or iBUG's 68, which are approximate"
    )
    output.add_argument(
        "--format",
        choices=("ldeq", "openface"),
        default="ldeq",
        help="columns of landmarks.csv: ours, or OpenFace's (with --points 68)",
    )
    output.add_argument(
        "--smooth",
        nargs="?",
        const=smoothing.RECOMMENDED,
        choices=tuple(smoothing.FILTERS),
        metavar="NAME",
        help=f"filter the finished tracks: {', '.join(smoothing.FILTERS)}; without a name {smoothing.RECOMMENDED}",
    )
    add_boolean(output, "--side_by_side", "also solve frame by frame, and show both next to each other")
    add_boolean(output, "--show", "show frames in a live window as they are done (q ends the run)")
    add_rwr_flags(parser, default=True)
    parser.group("solver").add_argument(
        "--full_first_solve",
        choices=("auto", "true", "false"),
        default="auto",
        help="with --rwr, solve a face's first frame (new, found again, new shot) with the checkpoint's own settings; "
        "auto: true, but with --bboxes false, as the evaluation on WFLW-V does",
    )
    faces = parser.group("faces")
    faces.add_argument(
        "--detector",
        choices=DETECTORS,
        default="auto",
        help="CenterFace, dlib's frontal detector or OpenCV's YuNet; auto: YuNet where --yunet_model is given, "
        "else CenterFace",
    )
    faces.add_argument(
        "--yunet_model", metavar="FILE|fetch", help="YuNet's ONNX file; fetch downloads it once, into the user's cache"
    )
    faces.add_argument(
        "--detector_score",
        type=number_within(-1e6, 1e6),
        metavar="SCORE",
        help="faces below it are left out (CenterFace 0.4, dlib 0, YuNet 0.7)",
    )
    faces.add_argument(
        "--detector_side",
        type=at_least(64, 16_384),
        default=960,
        metavar="PIXELS",
        help="frames are scaled to this longer side for it; CenterFace looks at them at twice that now and then",
    )
    faces.add_argument(
        "--detect_every",
        type=number_of(TrackingSettings, "detect_every"),
        default=DEFAULTS.detect_every,
        metavar="N",
        help="frames between looks for new faces",
    )
    faces.add_argument(
        "--max_faces",
        type=number_of(TrackingSettings, "max_faces"),
        default=DEFAULTS.max_faces,
        metavar="N",
        help="maximum number of faces at a time",
    )
    faces.add_argument(
        "--max_uncertainty",
        type=number_of(TrackingSettings, "max_uncertainty"),
        default=DEFAULTS.max_uncertainty,
        metavar="X",
        help="a face whose median uncertainty (fraction of the crop's side) stays above it is lost, and what is "
        "detected with a higher one is no face; 1: never",
    )
    add_common_flags(parser, SCRIPT)
    add_runtime_flag(parser, "auto")
    parser.leave_to_full_help("--input", "--fps")
    parser.leave_to_full_help(
        "--full_first_solve", "--detector_score", "--detector_side", "--detect_every", "--max_uncertainty"
    )
    return parser


def main(arguments: Sequence[str] | None = None, on_finished: "Callable[[Finished], None] | None" = None) -> None:
    """Predicts as the command line (or ``arguments``) says.

    Args:
        on_finished: called with each input that is done, once its files are there but for ``run.json``.
    """
    flags = make_parser().parse(arguments)
    with joined(flags.device) as processes:
        inputs = processes.from_main(lambda: checked_inputs(flags, processes.size))
        predict(flags, inputs, processes, on_finished)


@dataclass(frozen=True)
class FrameDone:
    """A frame of any input has its landmarks."""


@dataclass(frozen=True)
class InputDone:
    """An input is done, or cannot be used."""

    #: What there is to say about it, where it has not been said.
    said: str
    #: What is wrong with it, if anything is.
    failure: str | None


class Collected:
    """What all processes report of the inputs, in the main one.

    Args:
        n_inputs: of all of them.
        bar: shows the frames.
    """

    def __init__(self, n_inputs: int, bar: terminal.ProgressBar) -> None:
        self._n_inputs, self._bar = n_inputs, bar
        self._n_done = 0
        self.failures: list[str] = []

    def take(self, done: FrameDone | InputDone) -> None:
        """Takes a report."""
        if isinstance(done, FrameDone):
            self._bar.advance()
            return
        self._n_done += 1
        self._bar.describe(f"{self._n_done} of {self._n_inputs} inputs")
        self._bar.print_above(done.said)
        if done.failure is not None:
            # One that cannot be used takes nothing from the others.
            self.failures.append(done.failure)
            complain(f"{program_name()}: error: {done.failure}")


def predict(
    flags: argparse.Namespace,
    inputs: Sequence[str],
    processes: Processes,
    on_finished: "Callable[[Finished], None] | None",
) -> None:
    """Predicts on the inputs that this process gets, one after the other.

    Raises:
        InputError: where an only input cannot be used, or any of several, once the others are done.
    """
    from ldeq.prediction import Prediction
    from ldeq.run_folder import output_folder

    several, shared = len(inputs) > 1, processes.size > 1
    report: Callable[[FrameDone | InputDone], None]

    def on_frame() -> None:
        report(FrameDone())

    prediction = processes.alike(
        lambda choice: Prediction(flags, SCRIPT, on_finished, on_frame if shared else None, choice),
        lambda made: made.choice,
    )
    with ExitStack() as stack:
        folder = None
        if several and processes.is_main:
            folder = stack.enter_context(output_folder(flags.output_dir, SCRIPT))
        folder = processes.from_main(lambda: folder)
        if folder is not None and not folder.is_dir():
            raise InputError(f"{folder}: is not there in every process, expected a folder that all machines share")
        taken: set[str] = set()
        work = [(name, None if folder is None else folder / subfolder_of(name, taken)) for name in inputs]
        bar = terminal.ProgressBar(None, "frame", f"0 of {len(inputs)} inputs", is_shown=shared and processes.is_main)
        if shared:
            prediction.print_head()  # what is said of inputs comes in the order in which they are done
        stack.enter_context(bar)
        collected = Collected(len(inputs), bar)
        report = stack.enter_context(processes.reports(collected.take))
        for name, place in processes.shared_out(work, dealt=1):
            report(process_input(prediction, name, place, quiet=shared, may_fail=several))
    if not processes.is_main:
        return
    n_failed = len(collected.failures)
    if several:
        counted = f"{len(inputs) - n_failed} of {len(inputs)} inputs are done, each in a folder below {folder}"
        terminal.print_lines(terminal.console(), [counted])
    if n_failed:
        raise InputError(f"{n_failed} of {len(inputs)} inputs could not be used (named above), expected all to be")


def process_input(
    prediction: "Prediction", name: str, folder: Path | None, *, quiet: bool, may_fail: bool
) -> InputDone:
    """Finds the landmarks of an input.

    Args:
        folder: as of :meth:`Prediction.process`.
        quiet: what there is to say is not printed: of several processes it is shown input by input.
        may_fail: an input that cannot be used is reported, and no error.
    """
    said, failure = StringIO(), None
    with redirect_stdout(said) if quiet else nullcontext():
        try:
            prediction.process(name, folder)
        except InputError as error:
            if not may_fail:
                raise
            failure = str(error)
    return InputDone(said.getvalue(), failure)


def checked_inputs(flags: argparse.Namespace, n_processes: int) -> list[str]:
    """The inputs that flags name.

    Raises:
        InputError: where flags contradict each other, or results would take the place of what they are made from.
    """
    inputs = expanded([*flags.inputs, *flags.input])
    check_flags(flags, inputs, n_processes)
    for name in inputs:
        refuse_to_overwrite(flags, name)
    return inputs


def expanded(words: Sequence[str]) -> list[str]:
    """The inputs, with patterns that the shell has left (as those of Windows do) in place of what they match."""
    names: list[str] = []
    for word in words:
        found = sorted(glob.glob(word)) if glob.has_magic(word) and not Path(word).exists() else []
        names += found or [word]
    return list(dict.fromkeys(names))


def check_flags(flags: argparse.Namespace, inputs: Sequence[str], n_processes: int) -> None:
    """Raises InputError where flags contradict each other."""
    if not inputs:
        raise InputError("there is no input, expected a video, an image, a folder of images or a camera's number")
    if flags.side_by_side and not flags.rwr:
        raise InputError("--side_by_side shows RwR beside frame by frame, expected it without --no-rwr")
    if flags.format == "openface" and flags.points != 68:
        raise InputError("--format openface has 68 landmarks, expected --points 68 with it")
    if flags.show and n_processes > 1:
        raise InputError(f"--show is of one process, expected it without torchrun and its {n_processes}")
    if flags.bboxes and len(inputs) > 1:
        raise InputError(f"--bboxes are of one video, expected one input and not {len(inputs)}")


def subfolder_of(name: str, taken: set[str]) -> str:
    """A folder's name for an input, different from those that others have."""
    stem = f"camera_{name}" if name.isdecimal() and not Path(name).exists() else Path(name).resolve().stem
    free = next(word for word in chain([stem], (f"{stem}.{n}" for n in range(2, 10**9))) if word not in taken)
    taken.add(free)
    return free


def refuse_to_overwrite(flags: argparse.Namespace, name: str) -> None:
    """Keeps the results from taking the place of what they are made from.

    Raises:
        InputError: where they would.
    """
    if flags.output_dir is None:
        return
    folder = Path(flags.output_dir)
    given = {"the input": name, "--bboxes": flags.bboxes, "--yunet_model": flags.yunet_model}
    given["--landmark_model_weights"] = flags.landmark_model_weights
    for what, path in given.items():
        if not path or not Path(path).exists() or not folder.is_dir():
            continue
        if folder.samefile(path):
            raise InputError(f"{folder}: is the folder of images itself, expected another --output_dir")
        for written in WRITTEN:
            if (folder / written).exists() and (folder / written).samefile(path):
                raise InputError(f"{path}: is {what} and would be overwritten, expected another --output_dir")


if __name__ == "__main__":
    run(main)
