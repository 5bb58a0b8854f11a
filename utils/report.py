"""What a run shows on the terminal: tables on stdout, progress on stderr."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text
from tqdm import tqdm

from ldeq import LDEQ, LDEQOutput
from ldeq.solvers import StopReason

#: The paper's own WFLW model on the full test set, 2,500 images (Micaelli et al. 2023, table 2).
PAPER_WFLW = {"test": {"NME": 3.92, "FR": 2.48, "AUC": 0.624, "n_images": 2500}}


def console() -> Console:
    """stdout, wide enough not to fold a table that goes to a file. Paths and ids are printed as they are."""
    return Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 140)


def print_lines(out: Console, lines: Iterable[str | None]) -> None:
    """Prints the lines that there are, each unfolded, so that paths in them can be copied."""
    for line in filter(None, lines):
        out.print(line, soft_wrap=True)


class _Lines:
    """stderr where it is a log: a line an update, where a terminal has one line that changes."""

    def __init__(self) -> None:
        self._stream = sys.stderr

    def write(self, text: str) -> None:
        line = text.strip("\r\n ")
        if line:
            self._stream.write(line + "\n")

    def flush(self) -> None:
        self._stream.flush()


def mode(model: LDEQ, rwr: bool, max_iters: int, take_one_less_inference_step: bool) -> str:
    """How a video's frames are solved, in words."""
    if model.config.model_mode == "explicit":
        start = "from the last frame's heatmaps" if rwr else "frame by frame"
        return f"explicit, {model.config.explicit_depth} cell applications {start}"
    solver = model.solver_config
    if not rwr:
        return f"frame by frame ({solver.solver}, at most {solver.max_iters} iterations)"
    last = "without" if take_one_less_inference_step else "with"
    plural = "s" if max_iters > 1 else ""
    return f"RwR ({solver.solver}, {max_iters} iteration{plural} a frame, {last} the last step)"


#: Between a bar's lines where stderr is no terminal.
SECONDS_A_LINE = 30.0


def progress(total: int | None, unit: str, description: str, done: int = 0) -> "tqdm[Any]":
    """A bar with speed and time left; where stderr is no terminal, now and then a line."""
    common = {"total": total, "initial": done, "unit": unit, "desc": description}
    if sys.stderr.isatty():
        return tqdm(**common, dynamic_ncols=True)
    line = "{desc}: {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
    return tqdm(**common, file=_Lines(), bar_format=line, mininterval=SECONDS_A_LINE, delay=SECONDS_A_LINE)


def say(bar: "tqdm[Any]", line: str) -> None:
    """Prints a line on stdout while a bar is shown."""
    if sys.stderr.isatty():
        bar.write(line)
    else:
        print(line)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], n_words: int = 1) -> Table:
    """A table whose first ``n_words`` columns are words and the rest figures."""
    made = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        made.add_column(column, justify="left" if index < n_words else "right", overflow="fold")
    for row in rows:
        made.add_row(*[Text(str(cell)) for cell in row])
    return made


def wflw_table(splits: Mapping[str, Mapping[str, float]]) -> Table:
    """A row a split, the paper's figures beside ours."""

    def beside(split: str, figure: str, digits: int) -> str:
        paper = PAPER_WFLW.get(split, {}).get(figure)
        return "" if paper is None else f"{paper:.{digits}f}"

    rows = []
    for split, figures in splits.items():
        cells: list[object] = [split]
        for figure, digits in (("NME", 2), ("FR", 2), ("AUC", 3)):
            cells += [f"{figures[figure]:.{digits + 1}f}", beside(split, figure, digits)]
        rows.append([*cells, figures["n_images"]])
    columns = ["split", "NME %", "paper", "FR %", "paper", "AUC", "paper", "images"]
    return table("WFLW", columns, rows)


def paper_note(splits: Mapping[str, Mapping[str, float]]) -> str | None:
    """What to know of the paper's figures where the data set is another one."""
    for split, paper in PAPER_WFLW.items():
        if split in splits and splits[split]["n_images"] != paper["n_images"]:
            n_images = f"{paper['n_images']:,}"
            return f"The paper's figures are for the {n_images} images of WFLW's {split} split, not for this data."
    return None


def solver_line(output: LDEQOutput) -> str:
    """How the solver did on a batch."""
    stats = output.stats
    if stats is None:
        return "explicit mode: no solver"
    iterations = ", ".join(str(n) for n in stats.n_iters.tolist())
    reasons = [StopReason(code).name.lower().replace("_", " ") for code in sorted(set(stats.stop_reason.tolist()))]
    return (
        f"solver: iterations [{iterations}], {' and '.join(reasons)}, "
        f"mean abs error {stats.abs_error.mean():.3e}, mean rel error {stats.rel_error.mean():.3e}, "
        f"{int(stats.n_fallbacks.sum())} singular steps replaced"
    )


@torch.inference_mode()
def print_summary(model: LDEQ) -> None:
    """torchinfo's tables of stem and cell, and the operations of each, for one image."""
    from torch.utils.flop_counter import FlopCounterMode
    from torchinfo import summary

    device = next(model.parameters()).device
    side = model.config.im_size
    images = torch.zeros(1, 3, side, side, device=device)
    injection, z = model.inject(images), torch.zeros(1, *model.z_shape, device=device)
    parts: dict[str, tuple[torch.nn.Module, list[torch.Tensor]]] = {
        "stem, once an image": (model.tail, [images]),
        "cell, once an evaluation": (model.cell, [z, injection]),
    }
    for name, (module, inputs) in parts.items():
        with FlopCounterMode(display=False) as counter:
            module(*inputs)
        print(f"{name}: {counter.get_total_flops() / 1e9:.2f} GFLOP")
        print(summary(module, input_data=inputs, depth=3, col_names=("output_size", "num_params"), verbose=0))
    print(f"Parameters in all: {sum(parameter.numel() for parameter in model.parameters()):,}")
