"""Landmarks on any video: a file, a folder of pictures or a camera, with recurrence without recurrence (RwR)."""

import argparse
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from tqdm import tqdm

from ldeq import LDEQ, InputError, LDEQOutput, VideoTracker
from utils import bundled, plots, report, results
from utils.audio import has_sound
from utils.cli import (
    ArgumentParser,
    Interrupt,
    add_boolean,
    add_common_flags,
    at_least,
    deferred_interrupt,
    number_within,
    run,
)
from utils.detectors import DEFAULT_SIDE, Detector, DlibDetector, YuNetDetector, fetch_yunet
from utils.device import load_model, resolve_device, slow_precision_note
from utils.display import Window
from utils.drawing import draw_faces, fitted, side_by_side
from utils.face_curves import face_curves
from utils.face_tracking import FaceTracker, TrackingSettings
from utils.faces import Face, NetworkLandmarker
from utils.given_boxes import Boxes, GivenFaces, read_boxes
from utils.landmark_files import LandmarkFiles
from utils.prefetch import Prefetched
from utils.sources import Camera, FrameSource, PictureFolder, SourceFrame, open_source
from utils.video import DEFAULT_FPS, VideoWriter

SCRIPT = "predict_video"
DEFAULTS = TrackingSettings()
#: Up to so many faces are listed on the terminal.
LISTED = 12
#: What a run writes into its folder.
WRITTEN = ("video.mp4", "landmarks.csv", "landmarks.npz", "plot.png", "run.json")
#: How a run is said to have ended after Ctrl-C.
INTERRUPTED = "interrupted"


class Faces(Protocol):
    """What gives the faces of frame after frame: tracking, or given boxes."""

    def step(self, picture: NDArray[np.uint8], index: int | None = None) -> list[Face]: ...


@dataclass
class Outcome:
    """What a run has done so far."""

    n_frames: int = 0
    n_with_faces: int = 0
    #: The number of the frame after the last one, those that could not be read counted.
    end: int = 0
    #: The last frame's time.
    seconds: float = 0.0
    #: Set where the user ended the run: how.
    stopped: str | None = None


def make_parser() -> ArgumentParser:
    parser = ArgumentParser(__doc__)
    parser.add_argument(
        "--input",
        required=True,
        metavar="VIDEO|FOLDER|N",
        help="a video file, a folder of pictures, or a camera's number",
    )
    parser.add_argument("--fps", type=number_within(0.1, 1000), default=DEFAULT_FPS, help="of a folder of pictures")
    add_boolean(
        parser,
        "--rwr",
        "recurrence without recurrence: each frame's solve starts from the last frame's equilibrium",
        default=True,
    )
    parser.add_argument(
        "--no-rwr", dest="rwr", action="store_false", default=argparse.SUPPRESS, help="the same as --rwr false"
    )
    parser.add_argument(
        "--rwr_max_iters", type=at_least(1), default=1, help="with --rwr, solver iterations on every frame"
    )
    add_boolean(
        parser, "--rwr_take_one_less_inference_step", "with --rwr, leave out the evaluation that follows the solver"
    )
    parser.add_argument(
        "--full_first_solve",
        choices=("auto", "true", "false"),
        default="auto",
        help="with --rwr, solve a face's first frame (new, found again, new shot) with the checkpoint's own settings; "
        "auto: true, but with --bboxes false, as the evaluation on WFLW-V does",
    )
    add_boolean(parser, "--side_by_side", "also solve frame by frame, and show both next to each other")
    parser.add_argument(
        "--detector",
        choices=("auto", "dlib", "yunet"),
        default="auto",
        help="dlib's frontal detector or OpenCV's YuNet; auto: YuNet where --yunet_model is given",
    )
    parser.add_argument(
        "--yunet_model", metavar="FILE|fetch", help="YuNet's ONNX file; fetch downloads it once, into the user's cache"
    )
    parser.add_argument(
        "--detector_score",
        type=number_within(-1e6, 1e6),
        metavar="SCORE",
        help="faces below it are left out (dlib 0, YuNet 0.7)",
    )
    parser.add_argument(
        "--detector_side", type=at_least(64), default=DEFAULT_SIDE, help="frames are scaled to this longer side for it"
    )
    parser.add_argument(
        "--bboxes",
        metavar="FILE",
        help="boxes instead of detection and tracking: .npy (frames, 4) or (frames, faces, 4), x1 y1 x2 y2 (NaN: no "
        "face), or landmarks.npz of an earlier run",
    )
    parser.add_argument(
        "--detect_every", type=at_least(1), default=DEFAULTS.detect_every, help="frames between looks for new faces"
    )
    parser.add_argument("--max_faces", type=at_least(1), default=DEFAULTS.max_faces, help="most faces at a time")
    parser.add_argument(
        "--max_uncertainty",
        type=number_within(0, 1),
        default=DEFAULTS.max_uncertainty,
        help="a face whose median uncertainty (fraction of the crop's side) stays above it is lost, and what is "
        "detected with a higher one is no face; 1: never",
    )
    add_boolean(parser, "--show", "show frames in a live window as they are done (q ends the run)")
    add_common_flags(parser, SCRIPT)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Predicts as the command line (or ``arguments``) says."""
    flags = make_parser().parse(arguments)
    if flags.side_by_side and not flags.rwr:
        raise InputError("--side_by_side shows RwR beside frame by frame, expected it without --no-rwr")
    refuse_to_overwrite(flags)
    device = resolve_device(flags.device)
    model = load_model(flags.landmark_model_weights, device, flags.precision, flags.trust_pickle)
    boxes = read_boxes(flags.bboxes) if flags.bboxes else None
    detector = None if flags.bboxes else make_detector(flags)
    landmarker = NetworkLandmarker(
        make_video_tracker(model, flags), flags.precision, say_solver if flags.verbose_solver else None
    )
    other = None
    if flags.side_by_side:
        memoryless = VideoTracker(model, rwr=False, stop_criterion=flags.stop_criterion)
        other = NetworkLandmarker(memoryless, flags.precision)
    faces: FaceTracker | GivenFaces
    if boxes is not None:
        faces = GivenFaces(landmarker, boxes, other)
    else:
        assert detector is not None
        settings = TrackingSettings(
            detect_every=flags.detect_every, max_faces=flags.max_faces, max_uncertainty=flags.max_uncertainty
        )
        faces = FaceTracker(landmarker, detector, settings, other)

    console = report.console()
    with ExitStack() as stack:
        source = stack.enter_context(open_source(flags.input, flags.fps))
        window = Window("LDEQ") if flags.show else None
        if window is not None:
            stack.callback(window.close)
        frames = stack.enter_context(decoded_ahead(source))
        first = next(frames)  # what cannot be decoded at all leaves no folder
        folder = results.make_output_folder(flags.output_dir, SCRIPT)
        head = [
            f"weights  {flags.landmark_model_weights}",
            f"input    {source.name}",
            f"faces    {flags.bboxes or type(detector).__name__.removesuffix('Detector')}",
            f"mode     {mode_of(model, flags)}",
            slow_precision_note(device, flags.precision),
        ]
        report.print_lines(console, head)
        if flags.summary:
            report.print_summary(model)
        files = LandmarkFiles(folder, flags.side_by_side)
        stack.callback(files.close)
        video = VideoWriter(
            folder / "video.mp4", source.fps, timed=True, sound_of=source.sound, pixel_aspect=source.pixel_aspect
        )
        stack.callback(video.discard)
        draw = draw_faces if not flags.side_by_side else partial(side_by_side, titles=("RwR", "frame by frame"))
        started = time.perf_counter()
        # A Ctrl-C from here on ends the frames, and not what makes whole files of them.
        interrupt = stack.enter_context(deferred_interrupt())
        outcome = process(source, chain([first], frames), faces, files, video, draw, window, interrupt)
        seconds = time.perf_counter() - started
        damage = None if outcome.stopped else source.check()
        # Where the pictures end before their time, so does the sound.
        video.close(outcome.seconds + 1 / source.fps if outcome.stopped or damage else math.inf)
        files.finish()
        modes = {"RwR" if flags.rwr else "frame by frame": face_curves(files.chunks())}
        if flags.side_by_side:
            modes["frame by frame"] = face_curves(files.chunks(), "_frame_by_frame")

        note = bundled.note_on(flags.landmark_model_weights)
        title = f"{Path(source.name).name}, {mode_of(model, flags)}"
        plots.save(plots.face_curves_plot(modes, title, note), folder / "plot.png")
        warnings = list(filter(None, warnings_of(outcome, source, damage, video, flags, boxes)))
        summary: dict[str, Any] = {
            "n_frames": outcome.n_frames,
            "n_frames_with_faces": outcome.n_with_faces,
            "n_cuts": faces.n_cuts if isinstance(faces, FaceTracker) else None,
            "sound": None if video.sound is None else {"codec": video.sound.codec, "copied": video.sound.copied},
            "stopped": outcome.stopped,
            "warnings": warnings,
            "tracking": None if boxes is not None else asdict(settings),
            "faces": {mode: {str(id): curve.summary() for id, curve in found.items()} for mode, found in modes.items()},
            "solver": landmarker.tally.summary(),
        }
        description = results.describe_run(
            SCRIPT, flags.landmark_model_weights, source.name, model, vars(flags), device
        )
        description["input"] = description.pop("dataset")
        results.write_json(folder / "run.json", {**description, **summary})

    print_faces(console, summary["faces"])
    none = None
    if files.n_rows == 0:
        sure = flags.max_uncertainty < 1 and landmarker.tally.n_solved
        doubt = f" of which the network is sure (--max_uncertainty {flags.max_uncertainty:g})" if sure else ""
        advice = "" if boxes is not None else " A larger --detector_side or YuNet (--yunet_model) may find some."
        none = f"{source.name}: no face was found{doubt}; the files are there, without landmarks.{advice}"
    speed = f"{outcome.n_frames} frames in {seconds:.1f} s ({outcome.n_frames / seconds:.1f} a second)."
    report.print_lines(console, [*warnings, none, note, landmarker.tally.check(), f"{speed} Results are in {folder}"])
    if interrupt.requested:
        done = f"the first {outcome.n_frames}" if outcome.stopped else f"all {outcome.n_frames}"
        raise KeyboardInterrupt(f"{done} frames are done and in {folder}")


def refuse_to_overwrite(flags: argparse.Namespace) -> None:
    """Keeps the results from taking the place of what they are made from.

    Raises:
        InputError: where they would.
    """
    if flags.output_dir is None:
        return
    folder = Path(flags.output_dir)
    given = {"--input": flags.input, "--bboxes": flags.bboxes, "--yunet_model": flags.yunet_model}
    given["--landmark_model_weights"] = flags.landmark_model_weights
    for flag, name in given.items():
        if not name or not Path(name).exists() or not folder.is_dir():
            continue
        if folder.samefile(name):
            raise InputError(f"{folder}: is the folder of pictures itself, expected another --output_dir")
        for written in WRITTEN:
            if (folder / written).exists() and (folder / written).samefile(name):
                raise InputError(f"{name}: is {flag} and would be overwritten, expected another --output_dir")


def warnings_of(
    outcome: Outcome,
    source: FrameSource,
    damage: str | None,
    video: VideoWriter,
    flags: argparse.Namespace,
    boxes: Boxes | None,
) -> Iterator[str | None]:
    """What was not as it should be, a sentence each."""
    if video.sound is not None and video.sound.failure:
        yield f"{source.name}: {video.sound.failure}, and ends early."
    if video.sound is None and source.sound is not None and has_sound(source.sound):
        yield f"{source.name}: its sound cannot be read and is left out."
    yield damage
    # A run's own rows end with the last face.
    counted = boxes is not None and Path(flags.bboxes).suffix != ".npz" and not outcome.stopped
    n_frames = source.n_frames if isinstance(source, PictureFolder) else outcome.end
    if boxes is not None and counted and len(boxes) != n_frames:
        yield f"{flags.bboxes}: has boxes for {len(boxes)} frames, and the video has {n_frames}."


def make_video_tracker(model: LDEQ, flags: argparse.Namespace) -> VideoTracker:
    full_first_solve = not flags.bboxes if flags.full_first_solve == "auto" else flags.full_first_solve == "true"
    return VideoTracker(
        model,
        rwr=flags.rwr,
        max_iters=flags.rwr_max_iters,
        take_one_less_inference_step=flags.rwr_take_one_less_inference_step,
        stop_criterion=flags.stop_criterion,
        full_first_solve=full_first_solve,
    )


def make_detector(flags: argparse.Namespace) -> Detector:
    """The detector that the flags name.

    Raises:
        InputError: where it cannot be had.
    """
    score = {} if flags.detector_score is None else {"min_score": flags.detector_score}
    if flags.detector == "dlib" or (flags.detector == "auto" and not flags.yunet_model):
        return DlibDetector(side=flags.detector_side, **score)
    model = fetch_yunet() if flags.yunet_model in (None, "fetch") else flags.yunet_model
    return YuNetDetector(model, side=flags.detector_side, **score)


def mode_of(model: LDEQ, flags: argparse.Namespace) -> str:
    """The mode in words."""
    return report.mode(model, flags.rwr, flags.rwr_max_iters, flags.rwr_take_one_less_inference_step)


@contextmanager
def decoded_ahead(source: FrameSource) -> Iterator[Iterator[SourceFrame]]:
    """The frames, decoded in the background; a camera's when they are asked for, so that none is old."""
    if isinstance(source, Camera):
        yield iter(source)
        return
    with ThreadPoolExecutor(1, "decode") as executor:
        yield Prefetched(iter(source), executor, chunk=2)


def process(
    source: FrameSource,
    frames: Iterable[SourceFrame],
    faces: Faces,
    files: LandmarkFiles,
    video: VideoWriter,
    draw: Callable[[NDArray[np.uint8], list[Face]], NDArray[np.uint8]],
    window: Window | None,
    interrupt: Interrupt,
) -> Outcome:
    """Finds the faces of every frame, and writes and shows them, until the frames end or the user ends the run."""
    outcome = Outcome()
    size: tuple[int, int] | None = None
    with report.progress(source.n_frames, "frame", SCRIPT) as bar:
        for frame in frames:
            found = faces.step(frame.picture, frame.index)
            for face in found:
                files.add(frame.index, frame.time, face)
            picture = draw(frame.picture, found)
            size = size or (picture.shape[1], picture.shape[0])
            video.write(fitted(picture, size), frame.time)
            outcome.n_frames += 1
            outcome.n_with_faces += bool(found)
            outcome.end, outcome.seconds = frame.index + 1, frame.time
            bar.update()
            if window is not None and not window.show(picture):
                outcome.stopped = "window closed"
            if interrupt.requested:
                outcome.stopped = INTERRUPTED
            if outcome.stopped:
                break
    return outcome


def say_solver(output: LDEQOutput) -> None:
    tqdm.write(report.solver_line(output))


def print_faces(console: Console, modes: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    """A row a face and mode; of many faces, those seen longest."""
    rows = []
    for mode, faces in modes.items():
        listed = sorted(faces, key=lambda id: -faces[id]["n_frames"])[:LISTED]
        for id in sorted(listed, key=int):
            face = faces[id]
            flicker = "" if face["unsteadiness"] is None else f"{face['unsteadiness']:.2f}"
            seen = f"{face['first']:.2f} – {face['last']:.2f}"
            rows.append([id, mode, seen, face["n_frames"], f"{100 * face['uncertainty']:.2f}", flicker])
    if rows:
        n_faces = len(next(iter(modes.values())))
        title = (
            f"The {LISTED} of {n_faces} faces that are seen longest (all are in run.json)"
            if n_faces > LISTED
            else "Faces"
        )
        columns = ["face", "mode", "seconds", "frames", "uncertainty %", "flicker"]
        console.print(report.table(title, columns, rows, n_words=3))


if __name__ == "__main__":
    run(main)
