"""Which of several runtimes is the fastest here, and exact enough: measured once, and then remembered."""

import json
import math
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ldeq.errors import InputError
from ldeq.face.crop import FaceCrop
from ldeq.fields import convert
from ldeq.files import write_json
from ldeq.landmarks98 import CROP_SIZE
from ldeq.pretrained import cache_folder
from ldeq.processor import cpu_features, cpu_name
from ldeq.runtime.network import Network
from ldeq.runtime.steps import version_of
from ldeq.solve_settings import SolveSettings
from ldeq.torchrun import n_threads
from ldeq.video.media import read_image

#: Frames that each is measured over, after those that let it settle.
N_FRAMES = 7
N_BEFORE = 2
#: One that is so many times as slow as the fastest when all have settled takes no part in the rest: arithmetic that
#: a processor lacks may be emulated, at a thousandth of its speed.
HOPELESS = 4
#: Landmarks of a runtime may be so far from those of the first in float32, in crop pixels at the median.
MOST_MOVED = {"fp32": 0.01, "bf16": 0.5, "fp16": 0.5}
#: A half precision that is not so many times as fast as float32 is not worth what it costs in accuracy.
WORTHWHILE = 1.15

#: The record's name in the cache folder.
RECORD = "runtimes.json"
#: A photograph of a face, as the network sees it.
_FACE = Path(__file__).resolve().parent.parent / "weights" / "face.jpg"


class Candidate(NamedTuple):
    """A way to run a network."""

    runtime: str
    precision: str
    make: Callable[[], Network]

    @property
    def name(self) -> str:
        return f"{self.runtime} {self.precision}"


class Figures(NamedTuple):
    """A measurement of a candidate."""

    #: Milliseconds a frame of one face, the median.
    milliseconds: float
    #: How far its landmarks are from those of the first candidate, in crop pixels at the median.
    moved: float


def fastest(
    candidates: list[Candidate], settings: SolveSettings, weights_sha256: str, device: str
) -> tuple[Candidate, dict[str, Figures]]:
    """The fastest of those whose landmarks are exact enough, and all figures by the candidates' names.

    Args:
        candidates: the first that works is what the others' landmarks are compared with.
        settings: how they are going to solve.
        device: where they run, in words.

    Raises:
        InputError: where none works, or none is exact enough.
    """
    key = _key(candidates, settings, weights_sha256, device)
    figures = _record().get(key, {})
    if any(candidate.name not in figures for candidate in candidates):
        figures = measure(candidates, settings)
        _remember(key, figures)
    exact = [c for c in candidates if figures[c.name].moved <= MOST_MOVED[c.precision]]
    if not exact:
        exact = [candidates[0]]  # to which the others were compared

    def cost(candidate: Candidate) -> float:
        handicap = 1.0 if candidate.precision == "fp32" else WORTHWHILE
        return figures[candidate.name].milliseconds * handicap

    return min(exact, key=cost), figures


def measure(candidates: list[Candidate], settings: SolveSettings) -> dict[str, Figures]:
    """Figures of each candidate, taken in turns, so that what else the machine does meets them alike.

    One that does not work here (without the arithmetic of its precision, or because landmarks are not finite in it)
    takes forever.

    Raises:
        InputError: where none works.
    """
    image = read_image(_FACE)
    assert image is not None
    crop = FaceCrop(image, np.eye(2, 3))
    landmarkers, failures = {}, []
    for candidate in candidates:
        try:
            landmarkers[candidate.name] = candidate.make().landmarker(settings)
        except InputError as error:
            failures.append(error)
    if not landmarkers:
        raise failures[0]
    seconds: dict[str, list[float]] = {name: [] for name in landmarkers}
    points = {}
    under_way = list(landmarkers)
    for turn in range(N_BEFORE + N_FRAMES):
        for name in list(under_way):
            started = time.perf_counter()
            try:
                points[name] = landmarkers[name].locate([crop], [1]).points
            except InputError as error:
                failures.append(error)
                under_way.remove(name)
                points.pop(name, None)
            seconds[name].append(time.perf_counter() - started)
        if not points:
            raise failures[0]
        if turn == N_BEFORE - 1:
            longest = HOPELESS * min(seconds[name][-1] for name in under_way)
            under_way = [name for name in under_way if seconds[name][-1] <= longest]
    reference = next(points[name] for name in landmarkers if name in points)
    figures = {candidate.name: Figures(math.inf, math.inf) for candidate in candidates}
    for name in points:
        moved = float(np.median(np.linalg.norm(points[name] - reference, axis=-1))) * CROP_SIZE
        counted = seconds[name][N_BEFORE:] or seconds[name][-1:]
        figures[name] = Figures(1e3 * float(np.median(counted)), moved)
    return figures


def _key(candidates: list[Candidate], settings: SolveSettings, weights_sha256: str, device: str) -> str:
    """What the figures depend on. The cache folder may be on a disk that different machines share."""
    versions = sorted({_version_of(candidate.runtime) for candidate in candidates})
    solves = str(settings.max_iters) if settings.rwr else "frame by frame"
    processor = [cpu_name(), " ".join(cpu_features()), f"{n_threads()} threads"]
    return " | ".join([*processor, device, weights_sha256[:16], solves, *versions])


def _version_of(runtime: str) -> str:
    """Also of one that is installed and cannot be loaded."""
    try:
        return version_of(runtime)
    except InputError as error:
        return str(error)


def _record() -> dict[str, dict[str, Figures]]:
    """What was measured before, by key and candidate. What is there and is none of it is as good as nothing."""
    content = None
    with suppress(OSError, ValueError, RecursionError):
        content = json.loads((cache_folder() / RECORD).read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        return {}
    return {key: _figures(values) for key, values in content.items() if isinstance(values, dict)}


def _figures(values: dict[str, Any]) -> dict[str, Figures]:
    """Those of a key in the file, where what does not work is null."""
    found = {}
    for name, pair in values.items():
        if isinstance(pair, list) and len(pair) == 2:
            numbers = [math.inf if value is None else convert("float", value) for value in pair]
            if all(number is not None and number >= 0 for number in numbers):
                found[name] = Figures(*numbers)
    return found


def _remember(key: str, figures: dict[str, Figures]) -> None:
    values = {
        known: {name: [value if value < math.inf else None for value in pair] for name, pair in found.items()}
        for known, found in {**_record(), key: figures}.items()
    }
    with suppress(InputError, OSError):  # a cache that cannot be written to costs a measurement, and no more
        write_json(cache_folder() / RECORD, values)
