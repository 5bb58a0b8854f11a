"""One input of ``ldeq-video`` from its frames to its files: landmarks found, drawn, smoothed and written."""

import argparse
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from rich.console import Console

from ldeq import pretrained, terminal, torchrun
from ldeq.annotated_output import AnnotatedOutput
from ldeq.config import SolverConfig
from ldeq.errors import InputError
from ldeq.face.curves import FaceCurve, face_curves
from ldeq.face.detectors import make_detector
from ldeq.face.given import Bboxes, read_bboxes
from ldeq.face.settings import TrackingSettings
from ldeq.files import write_json
from ldeq.interrupts import Interrupt, deferred_interrupt
from ldeq.landmark_table import FRAME_BY_FRAME, UNSMOOTHED, RowsOnDisk, write_csv_table, write_npz_table
from ldeq.network_from_flags import open_from_flags, settings_from_flags
from ldeq.pipeline import Pipeline, VideoFaces, decoded_ahead, solved_again
from ldeq.run_folder import describe_run, output_folder
from ldeq.runtime.network import CountedLandmarker
from ldeq.solver_tally import SolverTally
from ldeq.video.prefetch import Lookahead
from ldeq.video.sound import has_sound
from ldeq.video.sources import Frame, FrameSource, ImageFolder, open_source
from ldeq.video.window import Window
from ldeq.video.writing import VideoWriter

#: Up to so many faces are listed on the terminal.
LISTED = 12
#: How a run is said to have ended after Ctrl-C.
INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Finished:
    """The findings of an input at its end."""

    folder: Path
    #: In words: the input, and how its frames were solved.
    title: str
    #: A remark on figures that the bundled weights gave.
    note: str | None
    #: The curves of each face, by its id, by the name of the solution.
    modes: Mapping[str, Mapping[int, FaceCurve]]


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


class Prediction:
    """A network and the flags, for one input after the other.

    Args:
        flags: of :func:`ldeq.predict.make_parser`.
        script: the program's name, which its folders and files carry.
        on_finished: called with each input that is done, once its files are there but for ``run.json``.
        on_frame: called after each frame, in place of progress bars.
        choice: the runtime and the precision that another process has chosen (:attr:`OpenedNetwork.choice`).
    """

    def __init__(
        self,
        flags: argparse.Namespace,
        script: str,
        on_finished: Callable[[Finished], None] | None,
        on_frame: Callable[[], None] | None = None,
        choice: tuple[str, str] | None = None,
    ) -> None:
        self.flags = flags
        self.script = script
        self.on_finished = on_finished
        self.on_frame = on_frame
        self.console = terminal.console()
        self.settings = settings_from_flags(flags)
        if flags.summary and flags.runtime not in ("auto", "torch"):
            raise InputError("--summary lists the layers of a checkpoint, expected --runtime torch with it")
        if flags.summary:  # an exported step has no layers to list
            choice = choice or ("torch", flags.precision)
        opened = open_from_flags(flags, self.settings, choice)
        self.network = opened.network
        self.choice = opened.choice
        self.bboxes: Bboxes | None = read_bboxes(flags.bboxes) if flags.bboxes else None

        def detector() -> Any:
            return make_detector(flags.detector, flags.yunet_model, flags.detector_score, flags.detector_side)

        self.detector_name = flags.bboxes or type(detector()).__name__.removesuffix("Detector")
        self.pipeline: Pipeline = Pipeline(
            self.network,
            self.settings,
            full_first_solve=None if flags.full_first_solve == "auto" else flags.full_first_solve == "true",
            tracking=TrackingSettings(
                detect_every=flags.detect_every, max_faces=flags.max_faces, max_uncertainty=flags.max_uncertainty
            ),
            detector=detector,
            on_solve=print if flags.verbose_solver else None,
        )
        self.mode = self.settings.describe(self.network.config, self.network.solver_config)
        #: Of the solves of frames, where these are to converge.
        self.own_settings = self.settings.to_converge(self.network.solver_config)
        self.note = pretrained.note_on(self.network.weights)
        self._runtime = opened.describe()
        #: The main process's; those of the others are the same.
        self._is_head_due = torchrun.is_main()

    def process(self, name: str, folder: Path | None) -> None:
        """Finds the landmarks of an input.

        Args:
            folder: where its files go; the folder of --output_dir if None.

        Raises:
            InputError: where the input cannot be used.
            KeyboardInterrupt: where the user asked for the end; what was done so far is whole.
        """
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
            frames.begin()  # what cannot be decoded at all leaves no folder
            folder = stack.enter_context(
                output_folder(flags.output_dir if folder is None else str(folder), self.script)
            )
            self.print_head(source.name)
            suffixes = [UNSMOOTHED] * smooths + [FRAME_BY_FRAME] * flags.side_by_side
            rows = RowsOnDisk(folder, suffixes)
            stack.callback(rows.close)
            titles = ("RwR, smoothed" if smooths else "RwR", "frame by frame") if flags.side_by_side else None
            drawing = AnnotatedOutput(source, folder, flags.points, titles)
            stack.callback(drawing.discard)
            started = time.perf_counter()
            # A Ctrl-C from here on ends the frames, and not what makes whole files of them.
            interrupt = stack.enter_context(deferred_interrupt())
            done = self._follow(source, frames, faces, other, rows, drawing, window, interrupt, smooths)
            seconds = time.perf_counter() - started
            remarks = [] if done.stopped else source.check()
            faces.landmarker.tally.check()  # before anything is written
            if smooths:
                rows.smooth(flags.smooth, source.fps)
                self._draw_again(name, rows, drawing, done)
            # Where the user has ended the images, the sound ends too.
            drawing.close(done.seconds + 1 / source.fps if done.stopped else math.inf)
            self._write(folder, source, rows, faces, other, drawing, done, remarks, smooths)
            none = self._nothing_found(source, rows, faces)
        counted = f"{done.n_frames} frame{'s' * (done.n_frames != 1)}"
        speed = f"{counted} in {seconds:.1f} s ({done.n_frames / seconds:.1f} a second)."
        lines = [none, self.note, *self._convergence(faces, other), f"{speed} Results are in {folder}"]
        terminal.print_lines(self.console, lines)
        if interrupt.requested:
            part = f"the first {done.n_frames}" if done.stopped else f"all {done.n_frames}"
            raise KeyboardInterrupt(f"{part} frames are done and in {folder}")

    def print_head(self, name: str | None = None) -> None:
        """Says what is run and how, where that has not been said, with the name of an input where there is one."""
        named = None if name is None else f"input    {name}"
        if not self._is_head_due:
            terminal.print_lines(self.console, [named])
            return
        self._is_head_due = False
        head = [
            f"weights  {self.network.weights}",
            named,
            f"faces    {self.detector_name}",
            f"mode     {self.mode}",
            f"runtime  {self._runtime}",
            self.network.warning,
        ]
        terminal.print_lines(self.console, head)
        if self.flags.summary:
            self.network.print_summary()

    def _follow(
        self,
        source: FrameSource,
        frames: Lookahead[Frame],
        faces: VideoFaces,
        other: CountedLandmarker | None,
        rows: RowsOnDisk,
        drawing: AnnotatedOutput,
        window: Window | None,
        interrupt: Interrupt,
        smooths: bool,
    ) -> Progress:
        """Finds the faces of every frame, and writes and shows them, until the frames end or the user ends the run.

        Args:
            smooths: frames are drawn later, once their smoothed landmarks are known.
        """
        done = Progress()
        name, is_shown = Path(source.name).name, self.on_frame is None
        with terminal.ProgressBar(source.n_frames, "frame", name, is_shown=is_shown) as bar:
            for frame, found in faces.follow(frames):
                compared = solved_again(other, found) if other is not None else [None] * len(found)
                for face, memoryless in zip(found, compared, strict=True):
                    rows.add(frame.index, frame.time, face, memoryless)
                landmarks = {face.id: face.landmarks for face in found}
                memoryless_landmarks = {face.id: face.landmarks for face in compared if face is not None}
                image = None
                if window is not None:
                    image = drawing.draw(frame.image, landmarks, memoryless_landmarks)
                if not smooths and image is not None:
                    drawing.add_drawn(image, frame.time)
                elif not smooths:
                    drawing.add(frame.image, frame.time, landmarks, memoryless_landmarks)
                done.n_frames += 1
                done.n_with_faces += bool(found)
                done.end, done.seconds = frame.index + 1, frame.time
                bar.advance()
                if self.on_frame is not None:
                    self.on_frame()
                if window is not None and image is not None and not window.show(image):
                    done.stopped = "window closed"
                if interrupt.requested:
                    done.stopped = INTERRUPTED
                if done.stopped:
                    break
            drawing.finish()
        return done

    def _draw_again(self, name: str, rows: RowsOnDisk, drawing: AnnotatedOutput, done: Progress) -> None:
        """The frames once more, with the smoothed landmarks, which were not known before the end."""
        waiting = chain((row for part in rows for row in part), [None])
        row = next(waiting)
        with (
            open_source(name, self.flags.fps) as source,
            decoded_ahead(source) as frames,
            terminal.ProgressBar(done.n_frames, "frame", "drawing", is_shown=self.on_frame is None) as bar,
        ):
            for frame in frames:
                if frame.index >= done.end:
                    break
                here: list[Any] = []
                while row is not None and row["frame"] == frame.index:
                    here.append(row)
                    row = next(waiting)
                found, compared = _landmarks_by_face(here, ""), {}
                if self.flags.side_by_side:
                    compared = _landmarks_by_face(here, FRAME_BY_FRAME)
                drawing.add(frame.image, frame.time, found, compared)
                bar.advance()
            drawing.finish()

    def _write(
        self,
        folder: Path,
        source: FrameSource,
        rows: RowsOnDisk,
        faces: VideoFaces,
        other: CountedLandmarker | None,
        drawing: AnnotatedOutput,
        done: Progress,
        remarks: list[str],
        smooths: bool,
    ) -> None:
        """Everything but the video."""
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
        warnings = list(filter(None, self._warnings(source, faces, other, drawing.video, done, remarks)))
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
            "solver": faces.landmarker.tally.summary(to_converge=self.own_settings is not None),
        }
        description = describe_run(self.script, self.network, source.name, vars(flags))
        description["input"] = description.pop("dataset")
        write_json(folder / "run.json", {**description, **summary})
        print_faces(self.console, summary["faces"])
        if flags.points == 68:
            warnings.append("The 68 landmarks are approximate: WFLW's points do not all coincide with iBUG's.")
        terminal.print_lines(self.console, warnings)

    def _warnings(
        self,
        source: FrameSource,
        faces: VideoFaces,
        other: CountedLandmarker | None,
        video: VideoWriter | None,
        done: Progress,
        remarks: list[str],
    ) -> Iterator[str | None]:
        """Things that were not as they should be, a sentence each."""
        yield faces.landmarker.tally.unsound()
        if other is not None and (unsound := other.tally.unsound()):
            yield f"Frame by frame: {unsound}"
        for tally, settings in self._solved_to_converge(faces, other):
            yield tally.mostly_not_converged(settings)
        if video is not None and video.sound is not None and video.sound.failure:
            yield f"{source.name}: {video.sound.failure}, and ends early."
        if video is not None and video.sound is None and source.sound is not None and has_sound(source.sound):
            yield f"{source.name}: its sound cannot be read and is left out."
        yield from remarks
        # A run's own rows end with the last face.
        counted = self.bboxes is not None and Path(self.flags.bboxes).suffix != ".npz" and not done.stopped
        n_frames = source.n_frames if isinstance(source, ImageFolder) else done.end
        if self.bboxes is not None and counted and len(self.bboxes) != n_frames:
            yield f"{self.flags.bboxes}: has boxes for {len(self.bboxes)} frames, and the video has {n_frames}."

    def _solved_to_converge(
        self, faces: VideoFaces, other: CountedLandmarker | None
    ) -> list[tuple[SolverTally, SolverConfig]]:
        """The counts and settings of solves that are to converge, as RwR's few iterations are not."""
        solved = [] if self.own_settings is None else [(faces.landmarker.tally, self.own_settings)]
        return solved if other is None else [*solved, (other.tally, self.network.solver_config)]

    def _convergence(self, faces: VideoFaces, other: CountedLandmarker | None) -> list[str | None]:
        """Sentences on solves that were to converge and did not, unless a warning says it."""
        solved = self._solved_to_converge(faces, other)
        return [tally.convergence(config) for tally, config in solved if not tally.mostly_not_converged(config)]

    def _nothing_found(self, source: FrameSource, rows: RowsOnDisk, faces: VideoFaces) -> str | None:
        if rows.n_rows:
            return None
        limit = self.flags.max_uncertainty
        sure = limit < 1 and faces.landmarker.tally.n_solved
        doubt = f" of which the network is sure (--max_uncertainty {limit:g})" if sure else ""
        advice = " A larger --detector_side or YuNet (--yunet_model) may find some." if self.bboxes is None else ""
        return f"{source.name}: no face was found{doubt}; the files are there, without landmarks.{advice}"


def _landmarks_by_face(rows: list[Any], suffix: str) -> dict[int, Any]:
    """The landmarks of rows of one frame, by the face's id; ``suffix`` names the solution."""
    return {int(row["face_id"]): row[f"landmarks{suffix}"] for row in rows}


def print_faces(console: Console, modes: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
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
