"""RwR's claim, tested: error against flicker of RwR, of frame-by-frame solves, and of these followed by filters.

    python -m benchmarks.study_rwr --WFLW_V_dataset_path synthetic/WFLW_V --output_dir results/study

Every network setting runs over every video once, and its landmarks are kept in the output folder, from which the same
command goes on where it was interrupted. Filters then run over the frame-by-frame landmarks for a whole grid of
parameters, on the very videos that they are scored on: their front is one that tuning on other videos could not better.
They also run over RwR's landmarks, where what the two are worth together shows.

RwR is causal. Some filters are not, and give a frame's landmarks some frames late. So the verdict says how RwR fares
against all filters, against the causal ones, and with filters over its own landmarks; and, since means over some tens
of videos hang on a few of them, in what fraction of draws of the videos with replacement (a bootstrap).
"""

import argparse
import copy
import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import describe_machine
from benchmarks.filter_families import filter_families
from datasets.wflw_v import Clip, UnusableVideo, WFLWVDataset
from datasets.wflw_v.clips import digest_of
from ldeq import LDEQ, InputError, RecurrentLDEQ, run_folder, terminal
from ldeq.command_line import MOST_WORKERS, ArgumentParser, add_network_flags, at_least, run
from ldeq.device import load_model, resolve_device
from ldeq.files import (
    read_json_object,
    sha256_of,
    write_csv,
    write_json,
    written_whole,
)
from ldeq.folder_lock import remove_leftovers
from ldeq.metrics import video_nme, video_nmf
from ldeq.runtime.pytorch import TorchLandmarker
from utils.engine.evaluation import track_videos
from utils.visualization.figures import Figure, add_legend, panels, save

SCRIPT = "study_rwr"

Array = NDArray[np.float64]
Videos = dict[str, Array]

FRAME_BY_FRAME = "frame by frame"
#: Before the name of a filter that runs over RwR's landmarks.
AFTER_RWR = "RwR, then "

#: Draws of the videos with replacement.
N_DRAWS = 10_000


@dataclass(frozen=True, eq=False)
class Row:
    """A point of the plot: a method on a split."""

    split: str
    method: str
    setting: str
    #: (videos, 2): NME in percent and NMF of each video, in the same order in all rows of a split.
    figures: Array

    @cached_property
    def NME(self) -> float:
        """Mean over the videos, as the evaluation script reports it."""
        return float(self.figures[:, 0].mean())

    @cached_property
    def NMF(self) -> float:
        """Mean over the videos, as the evaluation script reports it."""
        return float(self.figures[:, 1].mean())

    def cells(self) -> dict[str, str | float]:
        """A row of the table on disk."""
        return {
            "split": self.split, "method": self.method, "setting": self.setting, "NME": self.NME, "NMF": self.NMF,
        }  # fmt: skip

    def beats(self, other: "Row") -> bool:
        """Whether both figures are lower."""
        return self.NME < other.NME and self.NMF < other.NMF


def rwr_trackers(model: LDEQ, iterations: Sequence[int]) -> dict[str, RecurrentLDEQ]:
    """A tracker for each network setting of the study.

    Fixed-point iterations without the last step are one iteration fewer with it (where neither ends at the tolerance
    before), and are not made twice.
    """
    trackers = {FRAME_BY_FRAME: RecurrentLDEQ(model, rwr=False)}
    for less, max_iters in itertools.product((False, True), iterations):
        if less and model.solver_config.solver == "fpi" and max_iters - 1 in iterations:
            continue
        name = f"RwR, {_iterations(max_iters)}, {'without' if less else 'with'} the last step"
        trackers[name] = RecurrentLDEQ(model, max_iters=max_iters, take_one_less_inference_step=less)
    # What of RwR's effect is that it stops early, and not where it starts.
    early = copy.copy(model)
    early.solver_config = dataclasses.replace(
        model.solver_config, max_iters=iterations[0], take_one_less_inference_step=False
    )
    trackers[f"{FRAME_BY_FRAME}, {_iterations(iterations[0])}"] = RecurrentLDEQ(early, rwr=False)
    return trackers


def _iterations(count: int) -> str:
    return f"{count} iteration{'s' * (count > 1)}"


def pooled(folders: Sequence[str], split: str, lacking: dict[str, str]) -> list[Clip]:
    """The clips of a split of some data sets.

    Args:
        lacking: is given the ids of videos without annotations, with the reason.

    Raises:
        InputError: where two have a video of one name, beside what :class:`WFLWVDataset` raises.
    """
    clips: dict[str, Clip] = {}
    for folder in folders:
        dataset = WFLWVDataset(folder, split)
        lacking.update(dataset.lacking)
        for clip in dataset.clips:
            if clip.id in clips:
                raise InputError(f"{clip.id}: in {clips[clip.id].root} and in {folder}, expected videos of other names")
            clips[clip.id] = clip
    return list(clips.values())


def landmarks_of(
    landmarker: TorchLandmarker, clips: Sequence[Clip], folder: Path, name: str, batch_size: int, workers: int
) -> tuple[Videos, dict[str, str]]:
    """Landmarks (frames, 98, 2) of each clip, read from the folder where an earlier run has left them there.

    Returns:
        Them, and why some clips have none: videos vanish from WFLW-V's sources.
    """
    failures: dict[str, str] = {}
    paths = {clip.id: folder / f"{clip.id}.npy" for clip in clips}
    missing = [clip for clip in clips if not paths[clip.id].exists()]
    with terminal.ProgressBar(len(missing), "video", name, is_shown=bool(missing)) as bar:
        for video in track_videos(landmarker, missing, Clip.frames, batch_size=batch_size, workers=workers):
            if isinstance(video.failure, UnusableVideo):
                failures[video.clip.id] = str(video.failure)
            elif video.failure is not None:
                raise video.failure
            else:
                _save_landmarks(paths[video.clip.id], video.landmarks)
            bar.advance()
    return {id: np.load(path) for id, path in paths.items() if id not in failures}, failures


def _save_landmarks(path: Path, landmarks: Sequence[Array]) -> None:
    with written_whole(path) as temporary:
        np.save(temporary, np.array(landmarks))


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
    annotations = {clip.id: digest_of(*clip.annotations()) for clip in clips}
    before = read_json_object(path, "expected a study's, or another --output_dir") if path.is_file() else {}
    known = before.get("annotations", {})
    same = isinstance(known, dict) and all(known.get(id, found) == found for id, found in annotations.items())
    if before and not (same and all(before.get(name) == value for name, value in network.items())):
        raise InputError(
            f"{folder}: holds a study of other weights, videos or precision, expected another --output_dir"
        )
    write_json(path, {"script": SCRIPT, **network, "annotations": {**known, **annotations}})


def score_all(
    split: str, found: Mapping[str, Videos], truth: Mapping[str, Array], fps: Mapping[str, float]
) -> list[Row]:
    """The rows of a split: of each network setting, and of each filter over the frame-by-frame landmarks and over those
    of the first setting of RwR.

    Args:
        found: landmarks (frames, 98, 2) of each video, by network setting.
        truth: of the videos to score on, the same ones for every row.
        fps: frames a second of each video.
    """

    def score(method: str, setting: str, videos: Videos) -> Row:
        figures = [(video_nme(videos[id], points), video_nmf(videos[id], points)) for id, points in truth.items()]
        return Row(split, method, setting, np.array(figures))

    rows = []
    for name, videos in found.items():
        method, _, setting = name.partition(", ")
        rows.append(score(method, setting, videos))
    rwr = next(name for name in found if name.startswith("RwR"))
    after = rwr.partition(", ")[2] + "; "
    for name, family in filter_families().items():
        for setting, smooth in family.settings.items():
            for base, method, before in ((FRAME_BY_FRAME, name, ""), (rwr, AFTER_RWR + name, after)):
                videos = {id: smooth(found[base][id], fps[id]) for id in truth}
                rows.append(score(method, before + setting, videos))
    return rows


def front(rows: Sequence[Row]) -> list[Row]:
    """Those that no other row beats in one figure without losing in the other, by rising NMF."""

    def beaten(row: Row, other: Row) -> bool:
        return other.NME <= row.NME and other.NMF <= row.NMF and (other.NME, other.NMF) != (row.NME, row.NMF)

    kept = [row for row in rows if not any(beaten(row, other) for other in rows)]
    return sorted(kept, key=lambda row: row.NMF)


def chance_unbeaten(row: Row, others: Sequence[Row]) -> float:
    """The fraction of draws of the videos, with replacement, in which none of the others beats a row in both figures.

    The others stand for one that is tuned anew on each draw.
    """
    n_videos = len(row.figures)
    rng = np.random.default_rng(0)
    counts = rng.multinomial(n_videos, np.full(n_videos, 1 / n_videos), size=N_DRAWS).astype(np.float64)
    mine = counts @ row.figures
    unbeaten = np.ones(N_DRAWS, dtype=bool)
    for other in others:
        unbeaten &= ~(counts @ other.figures < mine).all(axis=1)
    return float(unbeaten.mean())


def _points(rows: Sequence[Row]) -> tuple[list[float], list[float]]:
    """Their x and y in the plot."""
    return [row.NMF for row in rows], [row.NME for row in rows]


def plot(rows: Sequence[Row], splits: Sequence[str]) -> Figure:
    """Error against flicker, a panel a split."""
    figure, all_axes = panels(len(splits), (5.5 * len(splits) + 2.5, 5.5))
    for axes, split in zip(all_axes, splits, strict=True):
        here = [row for row in rows if row.split == split]
        for index, (name, family) in enumerate(filter_families().items()):
            label = f"{name}, tuned" + " (non-causal)" * (not family.is_causal)
            marker = "." if family.is_causal else "D"
            look: dict[str, Any] = {"color": f"C{index + 1}", "marker": marker, "markersize": 5}
            members = [row for row in here if row.method == name]
            axes.plot(*_points(front(members)), "-", label=label, **look)
            members = [row for row in here if row.method == AFTER_RWR + name]
            axes.plot(*_points(front(members)), "--", markerfacecolor="none", **look)
        axes.plot([], [], "--", color="0.4", label="the same over RwR's landmarks")
        for word, style in (("with", "o-"), ("without", "s--")):
            members = [row for row in here if row.method == "RwR" and word in row.setting.split()]
            axes.plot(*_points(members), style, color="C0", label=f"RwR, {word} the last step")
            for row in members:
                n_iters = row.setting.split()[0]
                axes.annotate(n_iters, (row.NMF, row.NME), textcoords="offset points", xytext=(5, -11), fontsize=8)
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
    add_legend(figure, figure.axes[0])
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    parser = ArgumentParser(__doc__.splitlines()[0])
    add_network_flags(parser, SCRIPT)
    parser.add_argument(
        "--WFLW_V_dataset_path", nargs="+", required=True, metavar="DIR", help="videos in WFLW-V's layout, pooled"
    )
    parser.add_argument("--splits", nargs="+", default=["easy", "hard"], metavar="SPLIT", help="id lists of it")
    parser.add_argument("--iterations", nargs="+", type=at_least(1), default=[1, 2, 3, 5], metavar="N", help="of RwR")
    parser.add_argument("--batch_size", type=at_least(1), default=8, metavar="N", help="videos at once")
    parser.add_argument("--workers", type=at_least(0, MOST_WORKERS), default=2, metavar="N", help="threads that decode")
    flags = parser.parse(arguments)
    with ExitStack() as held:
        study(flags, held)


def study(flags: argparse.Namespace, held: ExitStack) -> None:
    """Compares into the output folder, which nobody else has until ``held`` is closed."""
    device = resolve_device(flags.device)
    model, weights = load_model(flags.landmark_model_weights, device, flags.precision, flags.trust_pickle)
    skipped: dict[str, str] = {}
    splits = {split: pooled(flags.WFLW_V_dataset_path, split, skipped) for split in flags.splits}
    folder = held.enter_context(run_folder.output_folder(flags.output_dir, SCRIPT))
    remove_leftovers(folder, *(f"landmarks/{path.name}" for path in (folder / "landmarks").glob("*/")))
    network = {"weights_sha256": sha256_of(weights), "precision": flags.precision}
    check_identity(folder, network, list(itertools.chain(*splits.values())))
    rows: list[Row] = []
    for split, clips in splits.items():
        fps, failures = frame_rates(clips)
        found: dict[str, Videos] = {}
        for name, tracker in rwr_trackers(model, flags.iterations).items():
            usable = [clip for clip in clips if clip.id not in failures]
            where, title = folder / "landmarks" / name, f"{split}, {name}"
            landmarker = TorchLandmarker(tracker)
            found[name], more = landmarks_of(landmarker, usable, where, title, flags.batch_size, flags.workers)
            failures |= more
        if len(failures) == len(clips):
            raise InputError(f"{split}: no video can be used ({'; '.join(failures.values())}), expected at least one")
        skipped |= failures
        truth = {clip.id: clip.landmarks for clip in clips if clip.id not in failures}
        rows += score_all(split, found, truth, fps)
    write_csv(folder / "study.csv", [row.cells() for row in rows])
    save(plot(rows, flags.splits), folder / "study.png")
    out = terminal.console()
    out.print(describe_machine(device))
    for split in flags.splits:
        print_split(split, [row for row in rows if row.split == split])
    terminal.print_lines(out, [f"skipped  {id}: {reason}" for id, reason in skipped.items()])


def print_split(split: str, rows: Sequence[Row]) -> None:
    """The table of a split: RwR and frame by frame, the best of each family of filters, and the verdict."""
    base, *early = (row for row in rows if row.method == FRAME_BY_FRAME)
    rwr = [row for row in rows if row.method == "RwR"]
    shown = [base, *rwr, *early]
    steadiest = min(row.NMF for row in rwr)
    for method in [*filter_families(), *(AFTER_RWR + family for family in filter_families())]:
        members = [row for row in rows if row.method == method]
        best = min(members, key=lambda row: row.NME)
        shown.append(best)
        steady = [row for row in members if steadiest >= row.NMF]
        if best not in steady and steady and not method.startswith(AFTER_RWR):
            shown.append(min(steady, key=lambda row: row.NME))

    def cells(row: Row) -> list[str]:
        change, change_nmf = 100 * (row.NME / base.NME - 1), 100 * (row.NMF / base.NMF - 1)
        # All filters over RwR's landmarks are over those of its first setting.
        setting = row.setting.rpartition("; ")[2] if row.method.startswith(AFTER_RWR) else row.setting
        name = f"{row.method}, {setting}" if setting else row.method
        return [name, f"{row.NME:.3f}", f"{change:+.1f} %", f"{row.NMF:.1f}", f"{change_nmf:+.1f} %"]

    out = terminal.console()
    out.print(
        terminal.table(f"{split} videos", ["method", "NME %", "change", "NMF", "change"], [cells(row) for row in shown])
    )
    terminal.print_lines(out, verdict(rows))


def verdict(rows: Sequence[Row]) -> list[str]:
    """Sentences on whether filters beat RwR in both figures: all of them, the causal ones, and all of them where RwR's
    landmarks are filtered as well.
    """
    families = filter_families()
    rwr = [row for row in rows if row.method == "RwR"]
    filters = [row for row in rows if row.method in families]
    causal = [row for row in filters if families[row.method].is_causal]
    filtered = [row for row in rows if row.method.startswith(AFTER_RWR)]

    def count(kept: Sequence[Row], others: Sequence[Row]) -> str:
        return f"{sum(any(other.beats(row) for other in others) for row in kept)} of {len(kept)}"

    both = [*rwr, *filtered]
    lines = []
    for name, others in (("filters", filters), ("causal filters", causal)):
        chance = chance_unbeaten(rwr[0], others)
        lines += [
            f"Of RwR's front {count(front(rwr), others)} are beaten in both figures by {name}.",
            f"  In {100 * chance:.1f} % of {N_DRAWS} draws of the videos none beats RwR's first setting.",
        ]
    lines += [
        f"Of the front of all filters {count(front(filters), both)} are beaten by RwR, filtered or not;",
        f"  of the front of RwR, filtered or not, {count(front(both), filters)} by filters.",
    ]
    return lines


if __name__ == "__main__":
    run(main)
