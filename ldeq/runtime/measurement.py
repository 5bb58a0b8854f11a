"""Which of several runtimes is the fastest here, and exact enough: measured once, and then remembered."""

import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ldeq.errors import InputError
from ldeq.face.crop import FaceCrop
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
    candidates: list[Candidate], settings: SolveSettings, weights_sha256: str
) -> tuple[Candidate, dict[str, Figures]]:
    """The fastest of those whose landmarks are exact enough, and all figures by the candidates' names.

    Args:
        candidates: the first that works is what the others' landmarks are compared with.
        settings: how they are going to solve.

    Raises:
        InputError: where none works, or none is exact enough.
    """
    key = _key(candidates, settings, weights_sha256)
    figures = _remembered(key)
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

    One that does not work here (without the arithmetic of its precision, say) takes forever.

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
        for name in under_way:
            started = time.perf_counter()
            found = landmarkers[name].locate([crop], [1])
            seconds[name].append(time.perf_counter() - started)
            points[name] = found.points
        if turn == N_BEFORE - 1:
            longest = HOPELESS * min(values[-1] for values in seconds.values())
            under_way = [name for name in under_way if seconds[name][-1] <= longest]
    reference = next(iter(points.values()))
    figures = {candidate.name: Figures(math.inf, math.inf) for candidate in candidates}
    for name in landmarkers:
        moved = float(np.median(np.linalg.norm(points[name] - reference, axis=-1))) * CROP_SIZE
        counted = seconds[name][N_BEFORE:] or seconds[name][-1:]
        figures[name] = Figures(1e3 * float(np.median(counted)), moved)
    return figures


def _key(candidates: list[Candidate], settings: SolveSettings, weights_sha256: str) -> str:
    """What the figures depend on. The cache folder may be on a disk that different machines share."""
    versions = sorted({version_of(candidate.runtime) for candidate in candidates})
    solves = str(settings.max_iters) if settings.rwr else "frame by frame"
    processor = [cpu_name(), " ".join(cpu_features()), f"{n_threads()} threads"]
    return " | ".join([*processor, weights_sha256[:16], solves, *versions])


def _record() -> dict[str, Any]:
    """What was measured before, by key; nothing where the record is not there or is not one, which ends no run."""
    with suppress(OSError, ValueError, RecursionError):
        content = json.loads((cache_folder() / RECORD).read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    return {}


def _remembered(key: str) -> dict[str, Figures]:
    """The figures of this key; none where there are none, or what is there is none."""
    with suppress(ValueError, TypeError, KeyError, AttributeError):
        return {
            name: Figures(*(math.inf if value is None else float(value) for value in values))
            for name, values in _record()[key].items()
        }
    return {}


def _remember(key: str, figures: Mapping[str, Figures]) -> None:
    values = {name: [value if value < math.inf else None for value in found] for name, found in figures.items()}
    with suppress(InputError, OSError):  # a cache that cannot be written to costs a measurement, and no more
        write_json(cache_folder() / RECORD, {**_record(), key: values})
