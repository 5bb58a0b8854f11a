"""Landmarks on any videos and images, with recurrence without recurrence (RwR): the command ``ldeq-video``.

``predict_video.py`` in the repository is the same program, and also plots what it found.
"""

import argparse
import glob
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ldeq import pretrained, smoothing, terminal
from ldeq.command_line import (
    ArgumentParser,
    Interrupt,
    add_boolean,
    add_common_flags,
    at_least,
    deferred_interrupt,
    number_within,
    run,
)
from ldeq.errors import InputError
from ldeq.face.settings import TrackingSettings

if TYPE_CHECKING:  # imported by main, so that --help answers at once
    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console

    from ldeq.annotated_output import AnnotatedOutput
    from ldeq.face.curves import FaceCurve
    from ldeq.face.given import Bboxes
    from ldeq.landmark_table import RowsOnDisk
    from ldeq.pipeline import VideoFaces
    from ldeq.runtime.pytorch import TorchLandmarker
    from ldeq.video.sources import Frame, FrameSource
    from ldeq.video.window import Window
    from ldeq.video.writing import VideoWriter

SCRIPT = "predict_video"
DEFAULTS = TrackingSettings()
#: Up to so many faces are listed on the terminal.
LISTED = 12
#: Files that a run may write into a folder.
WRITTEN = ("video.mp4", "image.png", "landmarks.csv", "landmarks.npz", "plot.png", "run.json")
#: How a run is said to have ended after Ctrl-C.
INTERRUPTED = "interrupted"

Draw = Callable[["NDArray[np.uint8]", "Mapping[int, Any]", "Mapping[int, Any]"], "NDArray[np.uint8]"]


@dataclass(frozen=True)
class Finished:
    """The findings of an input at its end."""

    folder: Path
    #: In words: the input, and how its frames were solved.
    title: str
    #: A remark on figures that the bundled weights gave.
    note: str | None
    #: The curves of each face, by its id, by the name of the solution.
    modes: "Mapping[str, Mapping[int, FaceCurve]]"


@dataclass
class Progress:
    """How far a run is with an input."""

    n_frames: int = 0
    n_with_faces: int = 0
    #: The number of the frame after the last one, those that could not be read counted.
    end: int = 0
    #: The last frame's time.
    seconds: float = 0.0
    #: Set where the user ended the run: how.
    stopped: str | None = None
    #: Width and height of what is shown.
    size: tuple[int, int] | None = field(default=None)


def make_parser() -> ArgumentParser:
    parser = ArgumentParser(
        "Finds the landmarks of the faces in videos and images, with recurrence without recurrence (RwR)."
    )
    inputs = parser.group("input")
    inputs.add_argument(
        "inputs", nargs="*", metavar="INPUT", help="videos, images, folders of images, or a camera's number"
    )
    inputs.add_argument("--input", action="append", default=[], metavar="INPUT", help="the same as a flag")
    inputs.add_argument("--fps", type=number_within(0.1, 1000), default=25.0, metavar="X", help="of a folder of images")
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
    solving = parser.group("solver")
    add_boolean(
        solving,
        "--rwr",
        "recurrence without recurrence: each frame's solve starts from the last frame's equilibrium",
        default=True,
    )
    solving.add_argument(
        "--no-rwr", dest="rwr", action="store_false", default=argparse.SUPPRESS, help="the same as --rwr false"
    )
    solving.add_argument(
        "--rwr_max_iters", type=at_least(1), default=1, metavar="N", help="with --rwr, solver iterations on every frame"
    )
    add_boolean(
        solving, "--rwr_take_one_less_inference_step", "with --rwr, leave out the evaluation that follows the solver"
    )
    solving.add_argument(
        "--full_first_solve",
        choices=("auto", "true", "false"),
        default="auto",
        help="with --rwr, solve a face's first frame (new, found again, new shot) with the checkpoint's own settings; "
        "auto: true, but with --bboxes false, as the evaluation on WFLW-V does",
    )
    faces = parser.group("faces")
    faces.add_argument(
        "--detector",
        choices=("auto", "dlib", "yunet"),
        default="auto",
        help="dlib's frontal detector or OpenCV's YuNet; auto: YuNet where --yunet_model is given",
    )
    faces.add_argument(
        "--yunet_model", metavar="FILE|fetch", help="YuNet's ONNX file; fetch downloads it once, into the user's cache"
    )
    faces.add_argument(
        "--detector_score",
        type=number_within(-1e6, 1e6),
        metavar="SCORE",
        help="faces below it are left out (dlib 0, YuNet 0.7)",
    )
    faces.add_argument(
        "--detector_side",
        type=at_least(64),
        default=960,
        metavar="PIXELS",
        help="frames are scaled to this longer side for it",
    )
    faces.add_argument(
        "--detect_every",
        type=at_least(1),
        default=DEFAULTS.detect_every,
        metavar="N",
        help="frames between looks for new faces",
    )
    faces.add_argument(
        "--max_faces",
        type=at_least(1),
        default=DEFAULTS.max_faces,
        metavar="N",
        help="maximum number of faces at a time",
    )
    faces.add_argument(
        "--max_uncertainty",
        type=number_within(0, 1),
        default=DEFAULTS.max_uncertainty,
        metavar="X",
        help="a face whose median uncertainty (fraction of the crop's side) stays above it is lost, and what is "
        "detected with a higher one is no face; 1: never",
    )
    add_common_flags(parser, SCRIPT)
    parser.leave_to_full_help("--input", "--fps")
    parser.leave_to_full_help("--no-rwr", "--rwr_take_one_less_inference_step", "--full_first_solve")
    parser.leave_to_full_help("--detector_score", "--detector_side", "--detect_every", "--max_uncertainty")
    return parser


def main(arguments: Sequence[str] | None = None, on_finished: Callable[[Finished], None] | None = None) -> None:
    """Predicts as the command line (or ``arguments``) says.

    Args:
        on_finished: called with each input that is done, once its files are there but for ``run.json``.
    """
    flags = make_parser().parse(arguments)
    inputs = expanded([*flags.inputs, *flags.input])
    check_flags(flags, inputs)

    from ldeq.run_folder import make_output_folder

    several = len(inputs) > 1
    for name in inputs:
        refuse_to_overwrite(flags, name)
    prediction = Prediction(flags, on_finished)
    folder = make_output_folder(flags.output_dir, SCRIPT) if several else None
    failures: list[str] = []
    taken: set[str] = set()
    for name in inputs:
        try:
            prediction.process(name, None if folder is None else folder / subfolder_of(name, taken))
        except InputError as error:
            if not several:
                raise
            # One that cannot be used takes nothing from the others.
            failures.append(str(error))
            print(f"{Path(sys.argv[0]).name}: error: {' '.join(str(error).split())}", file=sys.stderr)
    if several:
        done = f"{len(inputs) - len(failures)} of {len(inputs)} inputs are done, each in a folder below {folder}"
        terminal.print_lines(terminal.console(), [done])
    if failures:
        raise InputError(f"{len(failures)} of {len(inputs)} inputs could not be used (named above), expected all to be")


def expanded(words: Sequence[str]) -> list[str]:
    """The inputs, with patterns that the shell has left (as those of Windows do) in place of what they match."""
    names: list[str] = []
    for word in words:
        found = sorted(glob.glob(word)) if glob.has_magic(word) and not Path(word).exists() else []
        names += found or [word]
    return list(dict.fromkeys(names))


def check_flags(flags: argparse.Namespace, inputs: Sequence[str]) -> None:
    """Raises InputError where flags contradict each other."""
    if not inputs:
        raise InputError("there is no input, expected a video, an image, a folder of images or a camera's number")
    if flags.side_by_side and not flags.rwr:
        raise InputError("--side_by_side shows RwR beside frame by frame, expected it without --no-rwr")
    if flags.format == "openface" and flags.points != 68:
        raise InputError("--format openface has 68 landmarks, expected --points 68 with it")
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


class Prediction:
    """A network and the flags, for one input after the other."""

    def __init__(self, flags: argparse.Namespace, on_finished: Callable[[Finished], None] | None) -> None:
        from ldeq.device import load_model, resolve_device, slow_precision_note
        from ldeq.face.detectors import make_detector
        from ldeq.face.given import read_bboxes
        from ldeq.pipeline import Pipeline
        from ldeq.recurrence import describe_mode

        self.flags = flags
        self.on_finished = on_finished
        self.console = terminal.console()
        self.device = resolve_device(flags.device)
        self.model, self.weights = load_model(
            flags.landmark_model_weights, self.device, flags.precision, flags.trust_pickle
        )
        self.bboxes: Bboxes | None = read_bboxes(flags.bboxes) if flags.bboxes else None

        def detector() -> Any:
            return make_detector(flags.detector, flags.yunet_model, flags.detector_score, flags.detector_side)

        self.detector_name = flags.bboxes or type(detector()).__name__.removesuffix("Detector")
        self.pipeline: Pipeline = Pipeline(
            self.model,
            precision=flags.precision,
            rwr=flags.rwr,
            rwr_max_iters=flags.rwr_max_iters,
            rwr_take_one_less_inference_step=flags.rwr_take_one_less_inference_step,
            stop_criterion=flags.stop_criterion,
            full_first_solve=None if flags.full_first_solve == "auto" else flags.full_first_solve == "true",
            tracking=TrackingSettings(
                detect_every=flags.detect_every, max_faces=flags.max_faces, max_uncertainty=flags.max_uncertainty
            ),
            detector=detector,
            on_output=self._say_solve if flags.verbose_solver else None,
        )
        self.mode = describe_mode(self.model, flags.rwr, flags.rwr_max_iters, flags.rwr_take_one_less_inference_step)
        self.note = pretrained.note_on(self.weights)
        self._slow = slow_precision_note(self.device, flags.precision)
        self._is_first = True

    def _say_solve(self, output: Any) -> None:
        from ldeq.solvers.tally import describe_solve

        print(describe_solve(output.stats))

    def process(self, name: str, folder: Path | None) -> None:
        """Finds the landmarks of an input.

        Args:
            folder: where its files go; the folder of --output_dir if None.

        Raises:
            InputError: where the input cannot be used.
            KeyboardInterrupt: where the user asked for the end; what was done so far is whole.
        """
        from ldeq.annotated_output import AnnotatedOutput
        from ldeq.landmark_table import FRAME_BY_FRAME, UNSMOOTHED, RowsOnDisk
        from ldeq.pipeline import decoded_ahead
        from ldeq.run_folder import make_output_folder
        from ldeq.video.sources import open_source
        from ldeq.video.window import Window

        flags = self.flags
        faces = self.pipeline.faces(self.bboxes)
        other = self.pipeline.frame_by_frame() if flags.side_by_side else None
        with ExitStack() as stack:
            source = stack.enter_context(open_source(name, flags.fps))
            smooths = flags.smooth is not None and not source.is_image
            if smooths and not source.is_repeatable:
                raise InputError(f"{source.name}: --smooth needs finished tracks, expected a file or a folder")
            window = Window("LDEQ") if flags.show else None
            if window is not None:
                stack.callback(window.close)
            frames = stack.enter_context(decoded_ahead(source))
            first = next(frames)  # what cannot be decoded at all leaves no folder
            folder = make_output_folder(flags.output_dir if folder is None else str(folder), SCRIPT)
            self._print_head(source)
            suffixes = [UNSMOOTHED] * smooths + [FRAME_BY_FRAME] * flags.side_by_side
            rows = RowsOnDisk(folder, suffixes)
            stack.callback(rows.close)
            titles = ("RwR, smoothed" if smooths else "RwR", "frame by frame") if flags.side_by_side else None
            drawing = AnnotatedOutput(source, folder, flags.points, titles)
            stack.callback(drawing.discard)
            started = time.perf_counter()
            # A Ctrl-C from here on ends the frames, and not what makes whole files of them.
            interrupt = stack.enter_context(deferred_interrupt())
            done = self._follow(source, chain([first], frames), faces, other, rows, drawing, window, interrupt, smooths)
            seconds = time.perf_counter() - started
            damage = None if done.stopped else source.check()
            if smooths:
                rows.smooth(flags.smooth, source.fps)
                self._draw_again(name, rows, drawing, done)
            # Where the images end before their time, so does the sound.
            drawing.close(done.seconds + 1 / source.fps if done.stopped or damage else math.inf)
            self._write(folder, source, rows, faces, drawing, done, damage, smooths)
            none = self._nothing_found(source, rows, faces)
        counted = f"{done.n_frames} frame{'s' * (done.n_frames != 1)}"
        speed = f"{counted} in {seconds:.1f} s ({done.n_frames / seconds:.1f} a second)."
        lines = [none, self.note, faces.landmarker.tally.check(), f"{speed} Results are in {folder}"]
        terminal.print_lines(self.console, lines)
        if interrupt.requested:
            part = f"the first {done.n_frames}" if done.stopped else f"all {done.n_frames}"
            raise KeyboardInterrupt(f"{part} frames are done and in {folder}")

    def _print_head(self, source: "FrameSource") -> None:
        head = [
            f"weights  {self.weights}",
            f"input    {source.name}",
            f"faces    {self.detector_name}",
            f"mode     {self.mode}",
            self._slow,
        ]
        terminal.print_lines(self.console, head if self._is_first else [head[1]])
        if self._is_first and self.flags.summary:
            from ldeq.model.summary import print_summary

            print_summary(self.model)
        self._is_first = False

    def _follow(
        self,
        source: "FrameSource",
        frames: "Iterator[Frame]",
        faces: "VideoFaces",
        other: "TorchLandmarker | None",
        rows: "RowsOnDisk",
        drawing: "AnnotatedOutput",
        window: "Window | None",
        interrupt: Interrupt,
        smooths: bool,
    ) -> Progress:
        """Finds the faces of every frame, and writes and shows them, until the frames end or the user ends the run.

        Args:
            smooths: frames are drawn later, once their smoothed landmarks are known.
        """
        from ldeq.pipeline import solved_again

        done = Progress()
        with terminal.ProgressBar(source.n_frames, "frame", Path(source.name).name) as bar:
            for frame in frames:
                found = faces.step(frame)
                compared = solved_again(other, found) if other is not None else [None] * len(found)
                for face, memoryless in zip(found, compared, strict=True):
                    rows.add(frame.index, frame.time, face, memoryless)
                image = None
                if not smooths or window is not None:
                    image = drawing.draw(
                        frame.image,
                        {face.id: face.landmarks for face in found},
                        {face.id: face.landmarks for face in compared if face is not None},
                    )
                if image is not None and not smooths:
                    drawing.write(image, frame.time)
                done.n_frames += 1
                done.n_with_faces += bool(found)
                done.end, done.seconds = frame.index + 1, frame.time
                bar.advance()
                if window is not None and image is not None and not window.show(image):
                    done.stopped = "window closed"
                if interrupt.requested:
                    done.stopped = INTERRUPTED
                if done.stopped:
                    break
        return done

    def _draw_again(self, name: str, rows: "RowsOnDisk", drawing: "AnnotatedOutput", done: Progress) -> None:
        """The frames once more, with the smoothed landmarks, which were not known before the end."""
        from ldeq.pipeline import decoded_ahead
        from ldeq.video.sources import open_source

        waiting = chain((row for part in rows for row in part), [None])
        row = next(waiting)
        with (
            open_source(name, self.flags.fps) as source,
            decoded_ahead(source) as frames,
            terminal.ProgressBar(done.n_frames, "frame", "drawing") as bar,
        ):
            for frame in frames:
                if frame.index >= done.end:
                    break
                here: list[Any] = []
                while row is not None and row["frame"] == frame.index:
                    here.append(row)
                    row = next(waiting)
                compared = (
                    {int(each["face_id"]): each["landmarks_frame_by_frame"] for each in here}
                    if (self.flags.side_by_side)
                    else {}
                )
                found = {int(each["face_id"]): each["landmarks"] for each in here}
                drawing.write(drawing.draw(frame.image, found, compared), frame.time)
                bar.advance()

    def _write(
        self,
        folder: Path,
        source: "FrameSource",
        rows: "RowsOnDisk",
        faces: "VideoFaces",
        drawing: "AnnotatedOutput",
        done: Progress,
        damage: str | None,
        smooths: bool,
    ) -> None:
        """Everything but the video."""
        from ldeq.face.curves import face_curves
        from ldeq.files import write_json
        from ldeq.landmark_table import FRAME_BY_FRAME, UNSMOOTHED, write_csv_table, write_npz_table
        from ldeq.run_folder import describe_run

        flags = self.flags
        write_csv_table(folder / "landmarks.csv", rows, flags.points, flags.format)
        write_npz_table(folder / "landmarks.npz", rows, rows.n_rows, rows.type, flags.points)
        mode = "RwR" if flags.rwr else "frame by frame"
        modes = {f"{mode}, {flags.smooth}" if smooths else mode: face_curves(rows)}
        if smooths:
            modes[mode] = face_curves(rows, UNSMOOTHED)
        if flags.side_by_side:
            modes["frame by frame"] = face_curves(rows, FRAME_BY_FRAME)
        if self.on_finished is not None:
            self.on_finished(Finished(folder, f"{Path(source.name).name}, {self.mode}", self.note, modes))
        warnings = list(filter(None, self._warnings(source, drawing.video, done, damage)))
        sound = drawing.video.sound if drawing.video is not None else None
        summary: dict[str, Any] = {
            "n_frames": done.n_frames,
            "n_frames_with_faces": done.n_with_faces,
            "n_cuts": faces.n_cuts,
            "points": flags.points,
            "points_are_approximate": flags.points == 68,
            "sound": None if sound is None else {"codec": sound.codec, "copied": sound.copied},
            "stopped": done.stopped,
            "warnings": warnings,
            "tracking": None if self.bboxes is not None else asdict(self.pipeline.tracking),
            "faces": {mode: {str(id): curve.summary() for id, curve in found.items()} for mode, found in modes.items()},
            "solver": faces.landmarker.tally.summary(),
        }
        description = describe_run(SCRIPT, self.weights, source.name, self.model, vars(flags), self.device)
        description["input"] = description.pop("dataset")
        write_json(folder / "run.json", {**description, **summary})
        print_faces(self.console, summary["faces"])
        if flags.points == 68:
            warnings.append("The 68 landmarks are approximate: WFLW's points do not all coincide with iBUG's.")
        terminal.print_lines(self.console, warnings)

    def _warnings(
        self, source: "FrameSource", video: "VideoWriter | None", done: Progress, damage: str | None
    ) -> Iterator[str | None]:
        """Things that were not as they should be, a sentence each."""
        from ldeq.video.sound import has_sound
        from ldeq.video.sources import ImageFolder

        if video is not None and video.sound is not None and video.sound.failure:
            yield f"{source.name}: {video.sound.failure}, and ends early."
        if video is not None and video.sound is None and source.sound is not None and has_sound(source.sound):
            yield f"{source.name}: its sound cannot be read and is left out."
        yield damage
        # A run's own rows end with the last face.
        counted = self.bboxes is not None and Path(self.flags.bboxes).suffix != ".npz" and not done.stopped
        n_frames = source.n_frames if isinstance(source, ImageFolder) else done.end
        if self.bboxes is not None and counted and len(self.bboxes) != n_frames:
            yield f"{self.flags.bboxes}: has boxes for {len(self.bboxes)} frames, and the video has {n_frames}."

    def _nothing_found(self, source: "FrameSource", rows: "RowsOnDisk", faces: "VideoFaces") -> str | None:
        if rows.n_rows:
            return None
        limit = self.flags.max_uncertainty
        sure = limit < 1 and faces.landmarker.tally.n_solved
        doubt = f" of which the network is sure (--max_uncertainty {limit:g})" if sure else ""
        advice = " A larger --detector_side or YuNet (--yunet_model) may find some." if self.bboxes is None else ""
        return f"{source.name}: no face was found{doubt}; the files are there, without landmarks.{advice}"


def print_faces(console: "Console", modes: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    """A row a face and mode; of many faces, those seen longest."""
    rows = []
    for mode, faces in modes.items():
        listed = sorted(faces, key=lambda id: -faces[id]["n_frames"])[:LISTED]
        for id in sorted(listed, key=int):
            face = faces[id]
            jitter = "" if face["jitter"] is None else f"{face['jitter']:.2f}"
            seen = f"{face['first']:.1f} – {face['last']:.1f}"
            rows.append([id, mode, seen, face["n_frames"], f"{100 * face['uncertainty']:.2f}", jitter])
    if rows:
        n_faces = len(next(iter(modes.values())))
        title = (
            f"The {LISTED} of {n_faces} faces that are seen longest (all are in run.json)"
            if n_faces > LISTED
            else "Faces"
        )
        columns = ["face", "mode", "seconds", "frames", "uncertainty %", "jitter"]
        console.print(terminal.table(title, columns, rows, n_words=3))


def command() -> None:
    """The command ``ldeq-video``."""
    run(main)


if __name__ == "__main__":
    run(main)
