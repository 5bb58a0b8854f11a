"""Tables of results with the paper's figures beside ours."""

from collections.abc import Mapping

from rich.table import Table

from ldeq.config import SolverConfig
from ldeq.solver_tally import SolverTally
from ldeq.terminal import table

#: The paper's own WFLW model on the full test set, 2,500 images (Micaelli et al. 2023, table 2).
PAPER_WFLW = {"test": {"NME": 3.92, "FR": 2.48, "AUC": 0.624, "n_images": 2500}}
_DIGITS = {"NME": 2, "FR": 2, "AUC": 3}


def wflw_table(splits: Mapping[str, Mapping[str, float]]) -> Table:
    """A row a split. The paper's figures stand beside ours where the data set is as large as the paper's."""
    papers = {split: _paper_of(split, figures["n_images"]) for split, figures in splits.items()}
    names = {"NME": "NME %", "FR": "FR %", "AUC": "AUC"}
    with_paper = any(papers.values())
    columns = [
        "split",
        *(name for figure in names for name in ([names[figure], "paper"] if with_paper else [names[figure]])),
    ]
    rows = []
    for split, figures in splits.items():
        cells: list[object] = [split]
        for figure, digits in _DIGITS.items():
            cells.append(f"{figures[figure]:.{digits + 1}f}")
            if with_paper:
                paper = papers[split]
                cells.append(f"{paper[figure]:.{digits}f}" if paper else "")
        rows.append([*cells, figures["n_images"]])
    return table("WFLW", [*columns, "images"], rows)


def solver_table(config: SolverConfig, tallies: Mapping[str, SolverTally]) -> Table:
    """How many solves there were, and how many of them ended before their error was below the tolerance: a row a split.

    Args:
        config: of solves that were to converge.
    """
    rows = [
        [split, tally.n_solved, tally.n_not_converged, f"{tally.n_iters / tally.n_solved:.1f}"]
        for split, tally in tallies.items()
        if tally.n_solved
    ]
    title = (
        f"Solver: {config.solver}, to {config.stop_mode}_diff_target = {config.tolerance:g}, at most "
        f"{config.max_iters} iterations"
    )
    return table(title, ["split", "solves", "not converged", "mean iterations"], rows)


def _paper_of(split: str, n_images: float) -> Mapping[str, float] | None:
    paper = PAPER_WFLW.get(split)
    return paper if paper is not None and paper["n_images"] == n_images else None
