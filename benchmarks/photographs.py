"""Figures on real photographs with landmarks set by hand: ``python -m benchmarks.photographs --wflw DIR --afw DIR``.

NME, FR and AUC as everywhere (by the outer eye corners, failures above 10 %): of whole faces, of the 51 inner points of
iBUG's, by part of the face, and by what makes faces hard (:mod:`benchmarks.causes`); how uncertain the network is of
them (the median over a face's points, by which tracking tells what is no face), and how well that tells failures.

Beside them stand crops of photographs in which no face is found (``--backgrounds``), and what limits of the uncertainty
(``--max_uncertainty`` of ``ldeq-video``) keep of the faces and refuse of the crops.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.backgrounds import PORTRAIT, background_crops
from benchmarks.causes import CAUSES, causes_of, upright
from benchmarks.common import add_batch_flags
from benchmarks.ibug68 import Ibug68Dataset
from datasets.wflw import WFLWDataset
from ldeq import LDEQ, InputError, LDEQOutput
from ldeq.command_line import ArgumentParser, add_boolean, add_network_flags, at_least, run
from ldeq.device import load_model, resolve_device
from ldeq.face.detectors import make_detector
from ldeq.face.settings import TrackingSettings
from ldeq.files import write_csv, write_json, written_whole
from ldeq.landmarks98 import IBUG68, PARTS
from ldeq.metrics import FAILURE_THRESHOLD, failure_rate_and_auc, image_nme
from ldeq.terminal import console, table
from utils import bundled
from utils.engine.evaluation import Samples, predict_images

#: Parts of the face that have a row.
FACE_PARTS = {
    "outline": ("outline",),
    "brows": ("left brow", "right brow"),
    "nose": ("nose",),
    "eyes": ("left eye", "right eye", "pupils"),
    "mouth": ("outer lips", "inner lips"),
}
#: iBUG's points without the outline.
INNER51 = IBUG68[17:]
PERCENTILES = (1, 10, 50, 90, 99)
#: Shares of faces that a limit of the uncertainty is to keep, and of background crops that it is to refuse, in percent.
KEPT, REFUSED = 99, 95
FORMATS = (".md", ".csv", ".json")


@dataclass(frozen=True)
class Faces:
    """A data set's faces with what the network says of them."""

    title: str
    names: list[str]
    #: (N, 98, 2), fractions of the crop's side; those that are not annotated are NaN.
    truth: NDArray[np.float32]
    #: (N, 98, 2)
    predicted: NDArray[np.float32]
    #: (N, 98)
    uncertainty: NDArray[np.float32]
    #: What makes each of them hard.
    causes: list[frozenset[str]]

    @property
    def annotated(self) -> list[int]:
        """Landmarks that all faces have."""
        return [int(index) for index in np.flatnonzero(np.isfinite(self.truth).all(axis=(0, 2)))]

    @property
    def doubt(self) -> NDArray[np.float32]:
        """(N,), the median uncertainty over each face's points."""
        return doubt_of(self.uncertainty)

    @property
    def nme(self) -> NDArray[np.float64]:
        """(N,), fractions."""
        return image_nme(self.predicted, self.truth, self.annotated)


@dataclass(frozen=True)
class Row:
    """Figures of some points of some faces of a data set. NME and FR are in percent."""

    data: str
    group: str
    faces: int
    NME: float
    median: float
    FR: float
    AUC: float
    uncertainty: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    flags = make_parser().parse(arguments)
    outputs = [Path(path) for path in flags.output or ()]
    for path in outputs:
        if path.suffix not in FORMATS:
            raise InputError(f"--output {path}: expected a name that ends in {', '.join(FORMATS)}")
    if flags.plot and Path(flags.plot).suffix != ".png":
        raise InputError(f"--plot {flags.plot}: expected a name that ends in .png")
    datasets: dict[str, WFLWDataset | Ibug68Dataset] = {}
    if flags.wflw or not flags.afw:
        datasets["WFLW"] = WFLWDataset(flags.wflw or bundled.WFLW, "test")
    if flags.afw:
        datasets["AFW"] = Ibug68Dataset(flags.afw)
    # Before the network's work, which would be lost where they cannot be had.
    crops = background_crops(flags.backgrounds, make_detector(), flags.crops)
    device = resolve_device(flags.device)
    model, weights = load_model(flags.landmark_model_weights, device, flags.precision, flags.trust_pickle)
    sets = [faces_of(model, title, dataset, flags.batch_size, flags.workers) for title, dataset in datasets.items()]
    rows = [row for faces in sets for row in rows_of(faces)]
    tables = [figures_table(faces.title, rows) for faces in sets]
    background = doubt_of(run_network(model, crops, flags.batch_size, flags.workers)[2])
    doubts = {faces.title: faces.doubt for faces in sets} | {"background": background}
    tables += [doubt_table(sets, background), limits_table(sets, background)]
    if flags.bias:
        tables += [bias_table(faces) for faces in sets]
    out = console()
    out.print(f"weights  {weights}", soft_wrap=True)
    for title, columns, cells in tables:
        out.print(table(title, columns, cells))
    for path in outputs:
        if path.suffix == ".csv":
            write_csv(path, [asdict(row) for row in rows])
        elif path.suffix == ".json":
            details = details_of(sets) | {"background_uncertainty": background.tolist()}
            write_json(path, {"weights": str(weights), "rows": [asdict(row) for row in rows], **details})
        else:
            with written_whole(path) as temporary:
                temporary.write_text("\n".join(markdown(*part) for part in tables), encoding="utf-8")
    if flags.plot:
        # Only now, as matplotlib takes a second to import.
        from utils.visualization.figures import save
        from utils.visualization.uncertainty import uncertainty_plot

        save(uncertainty_plot(doubts, TrackingSettings().max_uncertainty), Path(flags.plot))


def make_parser() -> ArgumentParser:
    parser = ArgumentParser(__doc__)
    data = parser.group("data")
    data.add_argument("--wflw", metavar="DIR", help="pre-cropped WFLW: test.txt (98 points) and test/<file name>")
    data.add_argument("--afw", metavar="DIR", help="test68.txt (iBUG's 68 points) and test/<file name>; without both, "
                      "the bundled sample of WFLW, whose faces are synthetic")  # fmt: skip
    data.add_argument("--backgrounds", default=str(PORTRAIT), metavar="DIR", help="photographs (a folder, or one) that "
                      "crops without a face are taken from")  # fmt: skip
    data.add_argument("--crops", type=at_least(1, 100_000), default=200, metavar="N", help="of them, in all")
    add_batch_flags(data)
    add_network_flags(parser)
    output = parser.group("output")
    output.add_argument("--output", nargs="+", metavar="FILE", help="the figures as .md, .csv or .json")
    output.add_argument("--plot", metavar="FILE", help="the uncertainty of faces and background crops as .png")
    add_boolean(output, "--bias", "also print each point's median error, across and down")
    return parser


def faces_of(model: LDEQ, title: str, dataset: WFLWDataset | Ibug68Dataset, batch_size: int, workers: int) -> Faces:
    """Runs the network over a data set.

    Raises:
        InputError: where images cannot be read.
    """
    truth, predicted, uncertainty = run_network(model, dataset, batch_size, workers)
    return Faces(
        title,
        [dataset.name(index) for index in range(len(dataset))],
        truth,
        predicted,
        uncertainty,
        [causes_of(dataset[index][0], truth[index]) for index in range(len(dataset))],
    )


def run_network(
    model: LDEQ, samples: Samples, batch_size: int, workers: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Truth and predictions (N, 98, 2), and uncertainties (N, 98).

    Raises:
        InputError: where images cannot be read.
    """
    uncertainty: list[NDArray[np.float32]] = []

    def keep(output: LDEQOutput) -> None:
        uncertainty.append(output.uncertainty.float().numpy())

    found = predict_images(model, samples, batch_size=batch_size, workers=workers, on_batch=keep)
    if found.unreadable:
        raise InputError("; ".join(found.unreadable))
    return found.truth, found.predicted, np.concatenate(uncertainty)


def rows_of(faces: Faces) -> list[Row]:
    """Whole faces, the inner points, parts, and causes."""
    annotated = faces.annotated
    everyone = np.ones(len(faces.names), dtype=bool)
    rows = [_row(faces, "whole", everyone, annotated), _row(faces, "inner 51", everyone, INNER51)]
    for name, parts in FACE_PARTS.items():
        points = [index for index in annotated if any(index in PARTS[part] for part in parts)]
        rows.append(_row(faces, name, everyone, points))
    for cause in CAUSES:
        rows.append(_row(faces, cause, np.array([cause in causes for causes in faces.causes]), annotated))
    rows.append(_row(faces, "none of these", np.array([not causes for causes in faces.causes]), annotated))
    return [row for row in rows if row.faces]


def _row(faces: Faces, group: str, chosen: NDArray[np.bool_], points: Sequence[int]) -> Row:
    if not chosen.any():
        return Row(faces.title, group, 0, *[float("nan")] * 5)
    nme = image_nme(faces.predicted, faces.truth, points)[chosen]
    failures, auc = failure_rate_and_auc(nme)
    doubt = np.median(faces.uncertainty[chosen][:, list(points)], axis=1)
    median, unsure = 100 * float(np.median(nme)), float(np.median(doubt))
    return Row(faces.title, group, len(nme), 100 * float(nme.mean()), median, 100 * failures, auc, unsure)


def doubt_of(uncertainty: NDArray[np.float32]) -> NDArray[np.float32]:
    """What tracking goes by: the median of uncertainties (N, 98) over each crop's points, (N,)."""
    return np.asarray(np.median(uncertainty, axis=1))


def chance_of_order(low: NDArray[np.floating], high: NDArray[np.floating]) -> float | None:
    """The probability that one of ``high`` is above one of ``low``, the area under the ROC curve; None without both."""
    from scipy.stats import mannwhitneyu

    if not (len(low) and len(high)):
        return None
    return float(mannwhitneyu(high, low).statistic / (len(low) * len(high)))


def judge_of_failures(faces: Faces) -> float | None:
    """How often a failed face is the more uncertain one of it and a good one."""
    failed = faces.nme > FAILURE_THRESHOLD
    return chance_of_order(faces.doubt[~failed], faces.doubt[failed])


def median_bias(faces: Faces) -> NDArray[np.float64]:
    """Median over faces of prediction minus annotation, (98, 2), in hundredths of the distance of the outer eye
    corners: from 60 to 72, and down across it.
    """
    moved = [upright(predicted, truth) - upright(truth, truth)
             for predicted, truth in zip(faces.predicted, faces.truth, strict=True)]  # fmt: skip
    return 100 * np.median(moved, axis=0)


# -- tables: a title, columns, and cells -------------------------------------------------------------------------------

Cells = list[list[str]]


def figures_table(title: str, rows: Sequence[Row]) -> tuple[str, list[str], Cells]:
    columns = ["group", "faces", "NME %", "median", "FR %", "AUC", "uncertainty"]
    cells = [
        [row.group, str(row.faces), f"{row.NME:.2f}", f"{row.median:.2f}", f"{row.FR:.1f}", f"{row.AUC:.3f}",
         f"{row.uncertainty:.4f}"]
        for row in rows
        if row.data == title
    ]  # fmt: skip
    return title, columns, cells


def doubt_table(sets: Sequence[Faces], background: NDArray[np.float32]) -> tuple[str, list[str], Cells]:
    def levels(doubt: NDArray[np.float32]) -> list[str]:
        return [str(len(doubt)), *(f"{100 * level:.2f}" for level in np.percentile(doubt, PERCENTILES))]

    cells = []
    for faces in sets:
        judge = judge_of_failures(faces)
        cells.append([faces.title, *levels(faces.doubt), "" if judge is None else f"{judge:.2f}"])
    cells.append(["background", *levels(background), ""])
    columns = ["crops", "n", *(f"{p} %" for p in PERCENTILES), "tells failures"]
    return "Median uncertainty over a crop's points, in hundredths of its side: percentiles", columns, cells


def limits_table(sets: Sequence[Faces], background: NDArray[np.float32]) -> tuple[str, list[str], Cells]:
    faces = np.concatenate([each.doubt for each in sets])
    limits = {
        f"{KEPT} % of the faces kept": float(np.percentile(faces, KEPT)),
        f"{REFUSED} % of the background refused": float(np.percentile(background, 100 - REFUSED)),
        "the default": TrackingSettings().max_uncertainty,
    }
    cells = [
        [name, f"{limit:.4f}", f"{100 * (faces <= limit).mean():.1f}", f"{100 * (background > limit).mean():.1f}"]
        for name, limit in limits.items()
    ]
    order = chance_of_order(faces, background)
    title = f"Limits of the uncertainty; a background crop has more than a face with probability {order:.3f}"
    return title, ["limit", "", "faces kept %", "background refused %"], cells


def bias_table(faces: Faces) -> tuple[str, list[str], Cells]:
    bias = median_bias(faces)
    cells = [[str(index), *(f"{value:+.1f}" for value in bias[index])] for index in faces.annotated]
    title = f"{faces.title}: median of prediction minus annotation, hundredths of the eyes' distance"
    return title, ["point", "across", "down"], cells


def details_of(sets: Sequence[Faces]) -> dict[str, Any]:
    """What the tables are made of, by data set."""
    return {
        "faces": {
            faces.title: [
                {"name": name, "NME": 100 * float(nme), "uncertainty": float(doubt), "causes": sorted(causes)}
                for name, nme, doubt, causes in zip(faces.names, faces.nme, faces.doubt, faces.causes, strict=True)
            ]
            for faces in sets
        },
        "bias": {
            faces.title: {index: median_bias(faces)[index].tolist() for index in faces.annotated} for faces in sets
        },
        "tells_failures": {faces.title: judge_of_failures(faces) for faces in sets},
    }


def markdown(title: str, columns: Sequence[str], cells: Cells) -> str:
    """A table as Markdown, its title above it."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *cells]
    return f"{title}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    run(main)
