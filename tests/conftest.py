"""Fixtures that several files of tests use."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings

from benchmarks.memory import write_long_clip
from ldeq import LDEQ, ModelConfig, SolverConfig, load_checkpoint, save_checkpoint, terminal
from ldeq.command_line import run
from utils import bundled

# Tests run side by side (pyproject.toml), so each keeps to one core, and so do the processes that it starts.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"
# Shells start what is in their background without it, and tests that press Ctrl-C need it, here and in processes.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No test is about time, and one machine is busier than another.
settings.register_profile("ldeq", deadline=None)
settings.load_profile("ldeq")
terminal.SECONDS_A_LINE = float("inf")

GOLDEN = Path(__file__).parent / "golden"
SMALL = {"injection_width": 8, "cell_base_width": 8, "cell_width_increment": 2, "cell_gn_groups": 2}


@pytest.fixture(scope="session")
def golden_units() -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / "expected_units.npz"))


@pytest.fixture(scope="session")
def golden_cli() -> dict[str, Any]:
    return json.loads((GOLDEN / "expected_cli.json").read_text())


@pytest.fixture(scope="session")
def golden_models() -> dict[str, LDEQ]:
    return {name: load_checkpoint(GOLDEN / f"{name}.pth.tar") for name in ("anderson", "fpi", "broyden", "explicit")}


@pytest.fixture(scope="session")
def wflw_near(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden WFLW images with landmarks near what ``anderson`` predicts."""
    root = tmp_path_factory.mktemp("near") / "WFLW_near"
    shutil.copytree(GOLDEN / "WFLW", root)
    shutil.copytree(GOLDEN / "WFLW_near", root, dirs_exist_ok=True)
    return root


@pytest.fixture
def wflw(tmp_path: Path) -> Path:
    """A copy of the bundled WFLW sample that a test may damage."""
    return Path(shutil.copytree(bundled.WFLW, tmp_path / "WFLW"))


@pytest.fixture
def wflw_v(tmp_path: Path) -> Path:
    """A copy of the golden WFLW-V that a test may damage."""
    return Path(shutil.copytree(GOLDEN / "WFLW_V", tmp_path / "WFLW_V"))


def make_small_model(seed: int = 0, solver: dict[str, Any] | None = None, **changes: Any) -> LDEQ:
    """A small network with random weights, in evaluation mode.

    Its head is scaled down, which makes the cell a contraction: else rounding would grow with every iteration.
    """
    torch.manual_seed(seed)
    model = LDEQ(ModelConfig(**{**SMALL, **changes}), SolverConfig(**(solver or {"max_iters": 5}))).eval()
    with torch.no_grad():
        model.cell.head.conv.weight *= 0.02
    return model


def first_frames(source: Path, root: Path, n_frames: Mapping[str, int]) -> Path:
    """A data set in WFLW-V's layout of so many first frames of each of some clips of another, all in its easy split."""
    for folder in ("videos", "bboxes", "landmarks"):
        (root / folder).mkdir(parents=True)
    for id, count in n_frames.items():
        write_long_clip(source / "videos" / f"{id}.mp4", root / "videos" / f"{id}.mp4", count)
        for folder in ("bboxes", "landmarks"):
            np.save(root / folder / f"{id}.npy", np.load(source / folder / f"{id}.npy")[:count])
    (root / "easy_video_IDs.txt").write_text("\n".join(n_frames))
    return root


def random_images(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 3, 256, 256, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="session")
def quick_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a network that is quick."""
    path = tmp_path_factory.mktemp("quick") / "small.pth.tar"
    save_checkpoint(path, make_small_model(solver={"solver": "fpi", "max_iters": 1}))
    return path


@pytest.fixture
def weights(quick_weights: Path, tmp_path: Path) -> str:
    """The flag for a copy of it that a test may damage."""
    return f"--landmark_model_weights={shutil.copy(quick_weights, tmp_path / 'small.pth.tar')}"


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluations draw no plots, which take them longer than a small data set's videos."""
    monkeypatch.setattr("utils.visualization.figures.save", lambda *arguments, **options: None)


@pytest.fixture
def run_script(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a script's main function as its command line does: status, stdout and stderr."""

    def run_it(main: Callable[..., None], *arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run(main, [str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run_it


def assert_refused(outcome, *named):
    """Status 2, and one sentence on stderr that names what is wrong."""
    status, _, err = outcome
    assert status == 2
    assert len(err.strip().splitlines()) == 1, err
    assert "Traceback" not in err
    for name in named:
        assert str(name) in err
    return err


def relative_difference(found: Any, expected: Any) -> float:
    """‖found − expected‖ / ‖expected‖ over all elements."""
    found, expected = (np.asarray(values, dtype=np.float64) for values in (found, expected))
    assert found.shape == expected.shape
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
