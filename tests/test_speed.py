"""``benchmarks.speed``: what it measures is a matter of the machine, and not what it makes of it."""

import re
from pathlib import Path

import pytest
import torch

from benchmarks import common, speed
from tests.conftest import assert_refused
from tests.test_package import CLIP


def test_steps_of_what_is_installed(run_script, monkeypatch):
    monkeypatch.setattr(speed, "is_installed", lambda runtime: runtime != "openvino")
    monkeypatch.setattr(common, "PRODUCT_SIDES", (64,))
    flags = ["--networks=bundled", "--streams", 1, 1, "--repeats=1", "--frames=0"]
    status, out, err = run_script(speed.main, *flags, "--runtimes", "openvino", "onnxruntime", "onnxruntime")
    assert (status, err) == (0, "")
    assert "openvino is not installed" in out
    rows = re.findall(r"│ bundled, 1 face │ (\w+ \w+) *│ +([\d.]+) │", out)
    assert [way for way, _ in rows] == ["onnxruntime fp32"]
    assert float(rows[0][1]) > 0


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--frames=1"], "--frames 1"),
        (["--runtimes=onnxruntime", "--precisions=bf16"], "--precisions bf16"),
        (["--runtimes=onnxruntime", "--device=meta"], "meta"),
    ],
)
def test_flags_that_leave_nothing_to_measure(flags, named, run_script):
    assert_refused(run_script(speed.main, *flags), named, "expected")


def test_a_clip_that_takes_no_longer_than_its_first_frame(monkeypatch, tmp_path):
    """In noise; nothing is divided by what is left."""
    ways = [speed.Way("torch", "fp32"), speed.Way("onnxruntime", "fp32")]
    monkeypatch.setattr(speed, "run_video", lambda clip, weights, way, *_: (1.0 + (way is ways[1] and clip == CLIP), 9))
    found = speed.end_to_end(
        ways, torch.device("cpu"), speed.NetworkFiles(Path(), Path(), Path()), CLIP, tmp_path, "a clip"
    )
    assert found[ways[0]] == ["nan", "nan", "1.0", "9"]
    assert found[ways[1]] == ["59.0", "nan", "1.0", "9"]
