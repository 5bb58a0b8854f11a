"""Jitter, NMF and NME with and without RwR and with each filter over either: ``python -m benchmarks.smoothing``.

The bundled network (or another one) on the bundled clips in their given bounding boxes, frame by frame and with RwR;
each filter of :data:`ldeq.smoothing.FILTERS`, with its settings there, runs over the landmarks of both. Figures are
means over clips. Jitter needs no ground truth, and so falls with any smoothing; NME tells what that costs.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import describe_machine
from datasets.wflw_v import Clip, WFLWVDataset
from ldeq import RecurrentLDEQ
from ldeq.command_line import ArgumentParser, add_network_flags, run
from ldeq.device import load_model, resolve_device
from ldeq.metrics import frame_jitter, video_nme, video_nmf
from ldeq.runtime.pytorch import TorchLandmarker
from ldeq.smoothing import FILTERS
from ldeq.terminal import console, table
from utils import bundled
from utils.engine.evaluation import track_videos

Array = NDArray[np.float64]

#: Groups of clips that have a table each, by how their names begin.
GROUPS = {"All": "", "Portrait": "portrait-", "Synthetic": "synthetic-"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = ArgumentParser(__doc__)
    add_network_flags(parser)
    flags = parser.parse(arguments)
    device = resolve_device(flags.device)
    model, _ = load_model(flags.landmark_model_weights, device, flags.precision, flags.trust_pickle)
    clips = WFLWVDataset(bundled.WFLW_V, "all").clips
    fps = {clip.id: clip.read_fps() for clip in clips}
    found: dict[str, dict[str, Array]] = {}
    for mode, rwr in (("frame by frame", False), ("RwR", True)):
        found[mode] = landmarks_of(TorchLandmarker(RecurrentLDEQ(model, rwr=rwr)), clips)
        for name, smooth in FILTERS.items():
            found[f"{mode}, {name}"] = {id: smooth(points, fps[id]) for id, points in found[mode].items()}
    out = console()
    out.print(describe_machine(device))
    for title, start in GROUPS.items():
        members = [clip for clip in clips if clip.id.startswith(start)]
        rows = [row_of(method, members, videos, fps) for method, videos in found.items()]
        columns = ["landmarks", "jitter", "NMF", "NME %"]
        out.print(table(f"{title}: means over {len(members)} clips", columns, rows))


def landmarks_of(landmarker: TorchLandmarker, clips: Sequence[Clip]) -> dict[str, Array]:
    """Landmarks (frames, 98, 2) in frame pixels, by the clip's id.

    Raises:
        InputError: where a clip cannot be used.
    """
    found = {}
    for video in track_videos(landmarker, clips, Clip.frames, batch_size=5, workers=1):
        if video.failure is not None:
            raise video.failure
        found[video.clip.id] = np.stack(video.landmarks)
    return found


def row_of(method: str, clips: Sequence[Clip], videos: Mapping[str, Array], fps: Mapping[str, float]) -> list[str]:
    """A row of a table: jitter (root mean square over frames), NMF and NME in percent, means over clips."""
    figures = []
    for clip in clips:
        points = videos[clip.id]
        jitter = frame_jitter(points, np.arange(len(points)) / fps[clip.id])
        rms = np.sqrt(np.nanmean(jitter**2))
        figures.append((rms, video_nmf(points, clip.landmarks), video_nme(points, clip.landmarks)))
    jitter_mean, nmf, nme = np.mean(figures, axis=0)
    return [method, f"{jitter_mean:.1f}", f"{nmf:.1f}", f"{nme:.3f}"]


if __name__ == "__main__":
    run(main)
