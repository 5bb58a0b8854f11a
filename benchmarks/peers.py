"""The same clip before MediaPipe's Face Mesh and dlib's 68 points: ``python -m benchmarks.peers --input clip.mp4``.

Each peer runs in an environment of its own, named by its Python, and is left out where it is not there. A row a method
gives frames a second (detection, tracking and landmarks of decoded frames, the first one not counted), the share of
frames with a face, and jitter as ``ldeq-video`` measures it. Jitter needs no truth, and what really shakes counts too:
compare methods on one clip, not clips.

All methods follow one face, the largest. Jitter is that of the 51 points that all have: iBUG's 68 without the outline,
which are numbers 17 to 67 of dlib's, those of WFLW's 98 that stand for them (``ldeq.landmarks98.IBUG68``), and those of
Face Mesh's 468 in ``FACE_MESH``. Correspondences are approximate.
"""

import json
import struct
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldeq import terminal
from ldeq.command_line import ArgumentParser, add_network_flags, add_runtime_flag, run
from ldeq.errors import InputError
from ldeq.face.curves import face_curves
from ldeq.face.settings import TrackingSettings
from ldeq.landmarks98 import IBUG68
from ldeq.network_from_flags import open_from_flags
from ldeq.pipeline import Pipeline
from ldeq.processor import cpu_name
from ldeq.smoothing import RECOMMENDED, smooth, smooth_tracks
from ldeq.solve_settings import SolveSettings
from ldeq.torchrun import n_threads
from ldeq.video.sources import Frame, open_source

#: The script that runs in a peer's environment; the form of its frames and answers is told there.
WORKER = Path(__file__).with_name("peer_worker.py")
#: Numbers of iBUG's 68 without the outline, and those of WFLW's 98 that stand for them.
INNER68 = range(17, 68)
INNER98 = IBUG68[17:]
#: Those of Face Mesh's points that stand for iBUG's inner 51, in their order.
FACE_MESH = (
    *(70, 63, 105, 66, 107),  # left brow, upper edge
    *(336, 296, 334, 293, 300),  # right brow
    *(168, 197, 5, 4),  # nose, down the ridge
    *(98, 97, 2, 326, 327),  # nose, below
    *(33, 161, 157, 133, 154, 163),  # left eye
    *(362, 384, 388, 263, 390, 381),  # right eye
    *(61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91),  # lips, outer
    *(78, 81, 13, 311, 308, 402, 14, 178),  # lips, inner
)
#: A face's inner points in a frame.
ROW = np.dtype(
    [
        ("frame", np.int64),
        ("time", np.float64),
        ("face_id", np.int32),
        ("restarted", np.bool_),
        ("landmarks", np.float64, (len(FACE_MESH), 2)),
        ("uncertainty", np.float32, (1,)),
    ]
)
#: How a peer is had.
HOW = {
    "Face Mesh": "pip install mediapipe==0.10.21 (later versions have no Face Mesh)",
    "dlib 68": "pip install dlib-bin numpy, and shape_predictor_68_face_landmarks.dat (face_recognition_models has it)",
}
#: Seconds that a peer has to end in once it answers no more.
_LAST_SECONDS = 10.0
COLUMNS = ("method", "frames/s", "with a face %", "jitter")


@dataclass(frozen=True)
class Peer:
    """A program that others use."""

    name: str
    #: What follows the worker's name on its command line.
    words: tuple[str, ...]
    #: The Python of an environment that has it.
    python: str
    #: How many points it gives, and the numbers of the inner ones.
    n_points: int
    inner: Sequence[int]


@dataclass(frozen=True)
class Found:
    """The findings of a method in a clip."""

    #: (frames with a face,), of :data:`ROW`.
    rows: NDArray[Any]
    n_frames: int
    #: Of all frames but the first, which may load and set up what the others find ready.
    seconds: float

    def figures(self) -> tuple[float, float, float]:
        """Frames a second, percent of frames with a face, and jitter (NaN where no three frames follow each other)."""
        jitter = face_curves([self.rows])[1].summary()["jitter"] if len(self.rows) else None
        rate = (self.n_frames - 1) / self.seconds if self.seconds else np.nan
        return rate, 100 * len(self.rows) / self.n_frames, np.nan if jitter is None else jitter


class PeerFailed(Exception):
    """A peer has ended, or does not answer as it should; the message is a sentence."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("--input", nargs="+", required=True, metavar="CLIP", help="videos that show one face")
    parser.add_argument("--mediapipe", metavar="PYTHON", help="the Python of an environment with mediapipe")
    parser.add_argument("--dlib", metavar="PYTHON", help="the Python of an environment with dlib and numpy")
    parser.add_argument("--dlib_model", metavar="FILE", help="shape_predictor_68_face_landmarks.dat")
    add_network_flags(parser, "peers")
    add_runtime_flag(parser, default="auto")
    flags = parser.parse(arguments)
    out = terminal.console()
    for clip in flags.input:
        open_source(clip).close()  # before anything takes long
    peers, lines = usable(*asked_for(flags.mediapipe, flags.dlib, flags.dlib_model))
    opened = open_from_flags(flags)
    ours = {
        name: Pipeline(opened.network, SolveSettings(rwr=rwr), tracking=TrackingSettings(max_faces=1))
        for name, rwr in (("RwR", True), ("frame by frame", False))
    }
    about = f"{opened.network.weights} on {opened.describe()}"
    terminal.print_lines(out, [f"{cpu_name()}, {n_threads()} threads", f"RwR: {about}", *lines])
    tables: list[dict[str, tuple[float, ...]]] = []
    failures: list[str] = []
    for clip in flags.input:
        found = {"RwR": found_by_us(ours["RwR"], clip)}
        found[f"RwR, {RECOMMENDED}"] = smoothed(found["RwR"], clip)
        found["frame by frame"] = found_by_us(ours["frame by frame"], clip)
        for peer in list(peers):
            try:
                found[peer.name] = found_by_peer(peer, clip)
            except PeerFailed as failure:
                failures.append(f"{clip}: {failure}")
                peers.remove(peer)
        tables.append({method: what.figures() for method, what in found.items()})
        title = f"{Path(clip).name}, {found['RwR'].n_frames} frames"
        out.print(terminal.table(title, COLUMNS, rows_of(tables[-1])))
    if len(tables) > 1:
        out.print(terminal.table(f"Medians over {len(tables)} clips", COLUMNS, rows_of(medians_of(tables))))
    if failures:
        raise InputError("; ".join(failures))


# -- which peers -------------------------------------------------------------------------------------------------------


def asked_for(mediapipe: str | None, dlib: str | None, dlib_model: str | None) -> tuple[list[Peer], list[str]]:
    """The peers that the flags name, and a line on each that they do not.

    Raises:
        InputError: where what is named is not there.
    """
    for path, what in ((mediapipe, "the Python"), (dlib, "the Python"), (dlib_model, "the model")):
        if path and not Path(path).is_file():
            raise InputError(f"{path}: no such file, expected {what} of a peer")
    peers, lines = [], []
    if mediapipe:
        peers.append(Peer("Face Mesh", ("mediapipe",), mediapipe, 468, FACE_MESH))
    else:
        lines.append(f"Face Mesh is left out: --mediapipe names the Python of an environment with {HOW['Face Mesh']}")
    if dlib and dlib_model:
        peers.append(Peer("dlib 68", ("dlib", str(Path(dlib_model).resolve())), dlib, 68, INNER68))
    else:
        lacking = " and ".join(flag for flag, given in (("--dlib", dlib), ("--dlib_model", dlib_model)) if not given)
        lines.append(f"dlib 68 is left out for want of {lacking}: an environment with {HOW['dlib 68']}")
    return peers, lines


def usable(peers: list[Peer], lines: list[str]) -> tuple[list[Peer], list[str]]:
    """Those that are installed where they should be; to the lines come one on the version of each, or on its want.

    Raises:
        InputError: where what should be a peer's Python is none, or the peer cannot be loaded.
    """
    there = []
    for peer in peers:
        try:
            with closing(Worker(peer)) as worker:
                if worker.missing is None:
                    there.append(peer)
                    lines.append(f"{peer.name}: {worker.version}")
                else:
                    want = f"{peer.python} does not have it ({worker.missing}), expected {HOW[peer.name]}"
                    lines.append(f"{peer.name} is left out: {want}")
        except PeerFailed as failure:
            raise InputError(str(failure)) from None
    return there, lines


class Worker:
    """A peer at work in a process of its own, which has one frame at a time.

    Raises:
        PeerFailed: where it does not begin, as from the methods.
    """

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  (closed by __exit__)
        try:
            self._process = subprocess.Popen(
                [peer.python, str(WORKER), *peer.words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
            )
        except OSError as error:
            self._said.close()
            raise PeerFailed(f"{peer.python}: cannot be run ({error.strerror}), expected a peer's Python") from None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._frames, self._answers = self._process.stdin, self._process.stdout
        line = self._answers.readline()
        try:
            greeting: Any = json.loads(line)
            #: What it is, and why it cannot be it.
            self.version, self.missing = greeting.get("version"), greeting.get("missing")
        except (ValueError, AttributeError):
            failure = self._failure()
            self.close()
            if line:
                failure = PeerFailed(f"{peer.python}: gives no answer as {WORKER.name} does, expected a peer's Python")
            raise failure from None

    def find(self, image: NDArray[np.uint8]) -> tuple[float, NDArray[np.float64] | None]:
        """The seconds that a frame (H, W, 3) RGB takes, and the inner points (51, 2), None where it shows no face."""
        try:
            self._frames.write(struct.pack("<II", *image.shape[:2]) + image.tobytes())
            self._frames.flush()
        except OSError:
            raise self._failure() from None
        seconds, n_points = struct.unpack("<dI", self._read(12))
        if n_points not in (0, self._peer.n_points):
            raise PeerFailed(f"{self._peer.name}: gives {n_points} points, expected {self._peer.n_points}")
        points = np.frombuffer(self._read(16 * n_points), np.float64).reshape(-1, 2)
        return seconds, points[list(self._peer.inner)] if n_points else None

    def _read(self, n_bytes: int) -> bytes:
        content = self._answers.read(n_bytes)
        if len(content) < n_bytes:
            raise self._failure()
        return content

    def _failure(self) -> PeerFailed:
        """The way in which it has ended, with its last words."""
        with suppress(subprocess.TimeoutExpired):  # of one that has closed stdout and goes on
            self._process.wait(_LAST_SECONDS)
        self._process.kill()
        status = self._process.wait()
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
        about = f"{self._peer.name} ({self._peer.python}): ended with status {status} ({lines[-1]})"
        return PeerFailed(f"{about}, expected an answer")

    def close(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.wait()
        for file in (self._frames, self._answers, self._said):
            with suppress(OSError):  # what was still to be written, to a process that has ended
                file.close()


# -- what is measured --------------------------------------------------------------------------------------------------


def found_by_us(pipeline: Pipeline, clip: str) -> Found:
    """The findings of this project's tracker and network."""
    faces, rows, seconds, n_frames = pipeline.faces(), [], 0.0, 0
    with open_source(clip) as source:
        for frame in source:
            started = time.perf_counter()
            found = faces.step(frame)
            seconds += (time.perf_counter() - started) * bool(n_frames)
            n_frames += 1
            rows += [row_of(frame, face.landmarks[list(INNER98)], face.restarted) for face in found[:1]]
    return Found(np.array(rows, ROW), n_frames, seconds)


def found_by_peer(peer: Peer, clip: str) -> Found:
    """The findings of a peer, which has nothing to decode and says itself how long it took.

    Raises:
        PeerFailed: where it ends before the clip does.
    """
    rows, seconds, n_frames = [], 0.0, 0
    with open_source(clip) as source, closing(Worker(peer)) as worker:
        for frame in source:
            took, points = worker.find(frame.image)
            seconds += took * bool(n_frames)
            n_frames += 1
            rows += [row_of(frame, points, False)] if points is not None else []
    return Found(np.array(rows, ROW), n_frames, seconds)


def smoothed(found: Found, clip: str) -> Found:
    """The same through the filter that ``ldeq-video --smooth`` takes."""
    with open_source(clip) as source:
        fps = source.fps
    smooth(np.zeros((3, 1, 2)))  # imports what the filter is made of
    rows, started = found.rows.copy(), time.perf_counter()
    rows["landmarks"] = smooth_tracks(
        rows["landmarks"], rows["frame"], rows["face_id"], rows["restarted"], RECOMMENDED, fps
    )
    return Found(rows, found.n_frames, found.seconds + time.perf_counter() - started)


def row_of(frame: Frame, points: NDArray[np.float64], restarted: bool) -> NDArray[Any]:
    """A frame's face as a row of :data:`ROW`; peers give no ids, so whatever face there is counts as the same."""
    return np.array((frame.index, frame.time, 1, restarted, points, 0), ROW)


def medians_of(tables: Sequence[Mapping[str, tuple[float, ...]]]) -> dict[str, tuple[float, ...]]:
    """Each method's medians over clips, of methods that have figures of all clips."""
    methods = [method for method in tables[0] if all(method in table for table in tables)]
    return {method: tuple(np.median([table[method] for table in tables], axis=0)) for method in methods}


def rows_of(figures: Mapping[str, tuple[float, ...]]) -> list[list[str]]:
    """The rows of a table."""
    return [[method, *(f"{value:.1f}" for value in values)] for method, values in figures.items()]


if __name__ == "__main__":
    run(main)
