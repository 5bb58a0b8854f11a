"""RwR's claim, tested: error against flicker of RwR, of frame-by-frame solves, and of these followed by filters.

    python -m benchmarks.study_rwr --WFLW_V_dataset_path synthetic/WFLW_V --output_dir results/study

Every network setting runs over every video once, and its landmarks are kept in the output folder, from which the same
command goes on where it was interrupted. Filters then run over the frame-by-frame landmarks for a whole grid of
parameters, on the very videos that they are scored on: their front is one that tuning on other videos could not better.
The best of each family also runs over RwR's landmarks, where what the two are worth together shows.
"""

import copy
import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.common import describe_machine
from datasets.wflw_v import Clip, UnusableVideo, WFLWVDataset
from ldeq import LDEQ, InputError, VideoTracker
from ldeq.files import read_json_object, remove_temporaries, written_whole
from utils import plots, report, results
from utils.cli import ArgumentParser, add_network_flags, at_least, run
from utils.device import autocast, load_model, resolve_device
from utils.evaluation import track_videos
from utils.filters import exponential_average, median, one_euro, savitzky_golay
from utils.metrics import video_nme, video_nmf

SCRIPT = "study_rwr"

Array = NDArray[np.float64]
Videos = dict[str, Array]

FRAME_BY_FRAME = "frame by frame"
#: Before the name of a filter that runs over RwR's landmarks.
AFTER_RWR = "RwR, then "


@dataclass(frozen=True)
class Row:
    """A point of the plot: a method on a split."""

    split: str
    method: str
    setting: str
    NME: float
    NMF: float


#: Landmarks (frames, 98, 2) and frames a second → landmarks (frames, 98, 2).
Filter = Callable[[Array, float], Array]


def filter_settings() -> Mapping[str, Mapping[str, Filter]]:
    """Filters by family and parameters, from hardly any smoothing to far too much."""

    def in_frames(smooth: Callable[[Array], Array]) -> Filter:
        return lambda points, fps: smooth(points)

    averages = {
        f"share {share:.2f}": in_frames(partial(exponential_average, share=share))
        for share in (0.99, 0.97, *np.linspace(0.95, 0.2, 16))
    }
    # At 25 frames a second 64 Hz at rest is a share of 0.94.
    cutoffs = (0.3, 0.6, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
    betas, derivative_cutoffs = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0), (1.0, 5.0)
    euros = {
        f"min_cutoff {cutoff:g}, beta {beta:g}, derivative_cutoff {derivative:g}": partial(
            one_euro, min_cutoff=cutoff, beta=beta, derivative_cutoff=derivative
        )
        for cutoff, beta, derivative in itertools.product(cutoffs, betas, derivative_cutoffs)
    }
    polynomials = {
        f"window {window}, order {order}": in_frames(partial(savitzky_golay, window=window, order=order))
        for window, order in itertools.product((3, 5, 7, 9, 11, 15, 21), (1, 2, 3))
        if window > order + 1
    }
    medians = {f"window {window}": in_frames(partial(median, window=window)) for window in (3, 5, 7, 9, 11)}
    return {
        "exponential average": averages,
        "One Euro": euros,
        "Savitzky–Golay": polynomials,
        "median": medians,
    }


def rwr_trackers(model: LDEQ, iterations: Sequence[int]) -> dict[str, VideoTracker]:
    """A tracker for each network setting of the study.

    Fixed-point iterations without the last step are one iteration fewer with it (where neither ends at the tolerance
    before), and are not made twice.
    """
    trackers = {FRAME_BY_FRAME: VideoTracker(model, rwr=False)}
    for less, max_iters in itertools.product((False, True), iterations):
        if less and model.solver_config.solver == "fpi" and max_iters - 1 in iterations:
            continue
        name = f"RwR, {_iterations(max_iters)}, {'without' if less else 'with'} the last step"
        trackers[name] = VideoTracker(model, max_iters=max_iters, take_one_less_inference_step=less)
    # What of RwR's effect is that it stops early, and not where it starts.
    early = copy.copy(model)
    early.solver_config = dataclasses.replace(
        model.solver_config, max_iters=iterations[0], take_one_less_inference_step=False
    )
    trackers[f"{FRAME_BY_FRAME}, {_iterations(iterations[0])}"] = VideoTracker(early, rwr=False)
    return trackers


def _iterations(count: int) -> str:
    return f"{count} iteration{'s' * (count > 1)}"


def landmarks_of(
    tracker: VideoTracker, clips: Sequence[Clip], folder: Path, name: str, batch_size: int, workers: int
) -> tuple[Videos, dict[str, str]]:
    """Landmarks (frames, 98, 2) of each clip, read from the folder where an earlier run has left them there.

    Returns:
        Them, and why some clips have none: videos vanish from WFLW-V's sources.
    """
    failures: dict[str, str] = {}
    paths = {clip.id: folder / f"{clip.id}.npy" for clip in clips}
    missing = [clip for clip in clips if not paths[clip.id].exists()]
    if missing:
        with report.progress(len(missing), "video", name) as bar:
            for video in track_videos(tracker, missing, batch_size=batch_size, workers=workers):
                if isinstance(video.failure, UnusableVideo):
                    failures[video.clip.id] = str(video.failure)
                elif video.failure is not None:
                    raise video.failure
                else:
                    with written_whole(paths[video.clip.id]) as temporary:
                        np.save(temporary, np.array(video.landmarks))
                bar.update()
    return {id: np.load(path) for id, path in paths.items() if id not in failures}, failures


def frame_rates(clips: Sequence[Clip]) -> tuple[dict[str, float], dict[str, str]]:
    """Frames a second of each clip, and why some cannot be used."""
    fps: dict[str, float] = {}
    failures: dict[str, str] = {}
    for clip in clips:
        try:
            fps[clip.id] = clip.read_fps()
        except InputError as failure:
            failures[clip.id] = str(failure)
    return fps, failures


def check_identity(folder: Path, network: Mapping[str, Any], clips: Sequence[Clip]) -> None:
    """Refuses a folder with landmarks of another network or of other annotations, which would stand beside new ones.

    Args:
        network: what its landmarks depend on beside the clips.

    Raises:
        InputError: where it has them, or a file that does not say.
    """
    path = folder / "run.json"
    annotations = {
        clip.id: hashlib.sha256(clip.landmarks.tobytes() + clip.bboxes.tobytes()).hexdigest() for clip in clips
    }
    before = read_json_object(path, "expected a study's, or another --output_dir") if path.is_file() else {}
    known = before.get("annotations", {})
    same = isinstance(known, dict) and all(known.get(id, found) == found for id, found in annotations.items())
    if before and not (same and all(before.get(name) == value for name, value in network.items())):
        raise InputError(
            f"{folder}: holds a study of other weights, videos or precision, expected another --output_dir"
        )
    results.write_json(path, {"script": SCRIPT, **network, "annotations": {**known, **annotations}})


def score(split: str, method: str, setting: str, found: Mapping[str, Array], truth: Mapping[str, Array]) -> Row:
    """The means over the videos of ``found`` that the evaluation script reports."""
    nme = float(np.mean([video_nme(found[id], truth[id]) for id in found]))
    nmf = float(np.mean([video_nmf(found[id], truth[id]) for id in found]))
    return Row(split, method, setting, nme, nmf)


def score_all(
    split: str, found: Mapping[str, Videos], truth: Mapping[str, Array], fps: Mapping[str, float]
) -> list[Row]:
    """The rows of a split: of each network setting, of each filter over the frame-by-frame landmarks, and of the filter
    of each family that has the lowest NME there over those of the first setting of RwR.

    Args:
        found: landmarks (frames, 98, 2) of each video, by network setting.
        truth: of the videos to score on, the same ones for every row.
        fps: frames a second of each video.
    """
    rows = []
    rwr = next(name for name in found if name.startswith("RwR"))
    for name, videos in found.items():
        method, _, setting = name.partition(", ")
        rows.append(score(split, method, setting, {id: videos[id] for id in truth}, truth))

    def score_filter(method: str, setting: str, smooth: Filter, videos: Videos) -> Row:
        return score(split, method, setting, {id: smooth(videos[id], fps[id]) for id in truth}, truth)

    for family, settings in filter_settings().items():
        members = [score_filter(family, setting, smooth, found[FRAME_BY_FRAME]) for setting, smooth in settings.items()]
        best = min(members, key=lambda row: row.NME).setting
        after = f"{rwr.partition(', ')[2]}; {best}"
        rows += [*members, score_filter(AFTER_RWR + family, after, settings[best], found[rwr])]
    return rows


def front(rows: Sequence[Row]) -> list[Row]:
    """Those that no other row beats in one figure without losing in the other, by rising NMF."""

    def beaten(row: Row, other: Row) -> bool:
        return other.NME <= row.NME and other.NMF <= row.NMF and (other.NME, other.NMF) != (row.NME, row.NMF)

    kept = [row for row in rows if not any(beaten(row, other) for other in rows)]
    return sorted(kept, key=lambda row: row.NMF)


def _points(rows: Sequence[Row]) -> tuple[list[float], list[float]]:
    """Their x and y in the plot."""
    return [row.NMF for row in rows], [row.NME for row in rows]


def plot(rows: Sequence[Row], splits: Sequence[str]) -> Figure:
    """Error against flicker, a panel a split."""
    figure = Figure(figsize=(6.5 * len(splits), 5.5), layout="constrained")
    for axes, split in zip(np.atleast_1d(figure.subplots(1, len(splits))), splits, strict=True):
        here = [row for row in rows if row.split == split]
        for index, family in enumerate(filter_settings()):
            members = [row for row in here if row.method == family]
            axes.plot(*_points(front(members)), ".-", color=f"C{index + 2}", label=f"{family}, tuned")
            axes.plot(*_points(members), ".", color=f"C{index + 2}", alpha=0.25)
        for word, style in (("with", "o-"), ("without", "s--")):
            members = [row for row in here if row.method == "RwR" and word in row.setting.split()]
            axes.plot(*_points(members), style, color="C0", label=f"RwR, {word} the last step")
            for row in members:
                n_iters = row.setting.split()[0]
                axes.annotate(n_iters, (row.NMF, row.NME), textcoords="offset points", xytext=(5, 4), fontsize=8)
        for index, family in enumerate(filter_settings()):
            members = [row for row in here if row.method == AFTER_RWR + family]
            axes.plot(*_points(members), "P", color=f"C{index + 2}", label=AFTER_RWR + family)
        base, *early = (row for row in here if row.method == FRAME_BY_FRAME)
        axes.plot(*_points([base]), "*", color="k", markersize=14, label="frame by frame, full solve")
        axes.plot(*_points(early), "x", color="k", label="frame by frame, stopped early")
        limit = max(row.NME for row in here if row.method in (FRAME_BY_FRAME, "RwR"))
        low = min(row.NME for row in here)
        top = limit + 0.6 * (limit - low + 0.1)
        axes.set_ylim(low - 0.08 * (limit - low + 0.1), top)
        flickers = [row.NMF for row in here if top > row.NME]
        margin = 0.06 * (max(flickers) - min(flickers)) or 1.0
        axes.set_xlim(min(flickers) - margin, max(flickers) + margin)
        axes.set(xlabel="NMF", ylabel="NME, %", title=f"{split} videos")
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=8)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    parser = ArgumentParser(__doc__.splitlines()[0])
    add_network_flags(parser, SCRIPT)
    parser.add_argument("--WFLW_V_dataset_path", required=True, metavar="DIR", help="videos in WFLW-V's layout")
    parser.add_argument("--splits", nargs="+", default=["easy", "hard"], metavar="SPLIT", help="id lists of it")
    parser.add_argument("--iterations", nargs="+", type=at_least(1), default=[1, 2, 3, 5], metavar="N", help="of RwR")
    parser.add_argument("--batch_size", type=at_least(1), default=8, metavar="N", help="videos at once")
    parser.add_argument("--workers", type=at_least(0), default=2, metavar="N", help="threads that decode")
    flags = parser.parse(arguments)
    device = resolve_device(flags.device)
    model = load_model(flags.landmark_model_weights, device, flags.precision, flags.trust_pickle)
    datasets = {split: WFLWVDataset(flags.WFLW_V_dataset_path, split) for split in flags.splits}
    folder = results.make_output_folder(flags.output_dir, SCRIPT)
    remove_temporaries(folder / "landmarks")
    weights = hashlib.sha256(Path(flags.landmark_model_weights).read_bytes()).hexdigest()
    network = {"weights_sha256": weights, "precision": flags.precision}
    check_identity(folder, network, [clip for dataset in datasets.values() for clip in dataset.clips])
    rows: list[Row] = []
    skipped: dict[str, str] = {}
    for split, dataset in datasets.items():
        fps, failures = frame_rates(dataset.clips)
        found: dict[str, Videos] = {}
        for name, tracker in rwr_trackers(model, flags.iterations).items():
            usable = [clip for clip in dataset.clips if clip.id not in failures]
            where, title = folder / "landmarks" / name, f"{split}, {name}"
            with autocast(device, flags.precision):
                found[name], more = landmarks_of(tracker, usable, where, title, flags.batch_size, flags.workers)
            failures |= more
        if len(failures) == len(dataset.clips):
            raise InputError(f"{split}: no video can be used ({'; '.join(failures.values())}), expected at least one")
        skipped |= failures
        truth = {clip.id: clip.landmarks for clip in dataset.clips if clip.id not in failures}
        rows += score_all(split, found, truth, fps)
    results.write_csv(folder / "study.csv", [vars(row) for row in rows])
    with written_whole(folder / "study.png") as temporary:
        plots.save(plot(rows, flags.splits), temporary)
    out = report.console()
    out.print(describe_machine(device))
    for split in flags.splits:
        print_split(split, [row for row in rows if row.split == split])
    report.print_lines(out, [f"skipped  {id}: {reason}" for id, reason in skipped.items()])


def print_split(split: str, rows: Sequence[Row]) -> None:
    """The table of a split: RwR and frame by frame, the filters' fronts, and whether a filter beats RwR in both."""
    base, *early = (row for row in rows if row.method == FRAME_BY_FRAME)
    rwr = [row for row in rows if row.method == "RwR"]
    families = filter_settings().keys()
    filters = [row for row in rows if row.method in families]
    shown = [base, *rwr, *early]
    for family in families:
        shown.append(min((row for row in filters if row.method == family), key=lambda row: row.NME))
        steady = [row for row in filters if row.method == family and min(row.NMF for row in rwr) >= row.NMF]
        if steady:
            shown.append(min(steady, key=lambda row: row.NME))
    shown += [row for row in rows if row.method.startswith(AFTER_RWR)]

    def cells(row: Row) -> list[str]:
        change, change_nmf = 100 * (row.NME / base.NME - 1), 100 * (row.NMF / base.NMF - 1)
        name = f"{row.method}, {row.setting}" if row.setting else row.method
        return [name, f"{row.NME:.3f}", f"{change:+.1f} %", f"{row.NMF:.3f}", f"{change_nmf:+.1f} %"]

    out = report.console()
    out.print(report.table(f"{split} videos", ["method", "NME %", "", "NMF", ""], [cells(row) for row in shown]))
    best = front(rwr)
    beaten = [row for row in best if any(other.NME < row.NME and other.NMF < row.NMF for other in filters)]
    out.print(f"Of the {len(best)} RwR settings on their front, {len(beaten)} are beaten in both figures by a filter.")


if __name__ == "__main__":
    run(main)
