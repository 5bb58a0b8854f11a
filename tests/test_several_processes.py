"""Runs that torchrun shares out among several processes: the results of one, and an end whenever one of them ends."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import test_LDEQ_WFLW
import test_LDEQ_WFLW_V
from ldeq import InputError, predict, save_checkpoint, torchrun
from ldeq.device import local_device
from ldeq.folder_lock import NAME as LOCK
from tests.conftest import make_small_model
from tests.processes import children_of, is_alive, wait_until
from utils import bundled

REPOSITORY = Path(__file__).resolve().parent.parent
CLIPS = ("portrait-pan", "synthetic-easy-1", "portrait-dark", "synthetic-hard-0", "portrait-turn")


@dataclass(frozen=True)
class Ended:
    """A run of several processes at its end."""

    statuses: list[int]
    stdout: str
    stderr: str

    def sentences(self) -> list[str]:
        """What was said on stderr but for the progress, by whichever process."""
        return [line for line in self.stderr.splitlines() if not is_progress(line)]


def is_progress(line: str) -> bool:
    return re.search(r": \d+(/\d+)? (frame|image)s, ", line) is not None


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Ended]]:
    """Runs a script in ``size`` processes (:mod:`tests.launcher`).

    ``sabotage`` is code that the process of a rank runs first.
    """
    folder = tmp_path_factory.mktemp("said")
    launcher = subprocess.Popen(
        [sys.executable, "-m", "tests.launcher"],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    n_runs = 0

    def run_it(
        script: str,
        *arguments: object,
        size: int = 2,
        one_a_machine: bool = False,
        sabotage: dict[int, str] | None = None,
    ) -> Ended:
        nonlocal n_runs
        n_runs += 1
        said = {name: folder / f"{n_runs}.{name}" for name in ("stdout", "stderr")}
        order = {"script": script, "arguments": [*map(str, arguments)], "size": size, "one_a_machine": one_a_machine}
        order |= {name: str(path) for name, path in said.items()}
        order["sabotage"] = {rank: textwrap.dedent(code) for rank, code in (sabotage or {}).items()}
        print(json.dumps(order), file=launcher.stdin, flush=True)
        pids = json.loads(launcher.stdout.readline())
        statuses = json.loads(launcher.stdout.readline())
        assert not any(map(is_alive, pids))
        return Ended(statuses, *(said[name].read_text() for name in ("stdout", "stderr")))

    yield run_it
    launcher.stdin.close()
    assert launcher.wait(60) == 0


def at_video(number: int, do: str) -> str:
    """Code for a process: what it does in place of taking the NME of its ``number``-th video, counted from 1."""
    return f"""
import os, signal, ldeq.metrics
calls, video_nme = [], ldeq.metrics.video_nme
def sabotaged(*arguments):
    calls.append(arguments)
    if len(calls) == {number}:
        {do}
    return video_nme(*arguments)
ldeq.metrics.video_nme = sabotaged
"""


KILLED = "os.kill(os.getpid(), signal.SIGKILL)"


@pytest.fixture(scope="module")
def videos(quick_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A data set of short clips of different lengths, two of which cannot be used, and the flags of runs on it."""
    root = tmp_path_factory.mktemp("videos") / "WFLW_V"
    for name in ("bboxes", "landmarks", "videos"):
        (root / name).mkdir(parents=True)
    for number, id in enumerate(("late", *CLIPS, "missing")):
        source = CLIPS[number % len(CLIPS)]
        for name in ("bboxes", "landmarks"):
            values = np.load(bundled.WFLW_V / name / f"{source}.npy")
            np.save(root / name / f"{id}.npy", values[: 4 + number if number else 24])
        if id != "missing":
            shutil.copy(bundled.WFLW_V / "videos" / f"{source}.mp4", root / "videos" / f"{id}.mp4")
    late = root / "videos" / "late.mp4"  # it is found out at its end, after others behind it
    late.write_bytes(late.read_bytes()[:30_000])
    flags = [f"--landmark_model_weights={quick_weights}", f"--WFLW_V_dataset_path={root}", "--WFLW_V_split=all"]
    return root, [*flags, "--rwr", "--device=cpu"]


@pytest.fixture(scope="module")
def alone(videos: tuple[Path, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process finds in them."""
    out = tmp_path_factory.mktemp("alone") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("utils.visualization.figures.save", lambda *arguments, **options: None)
        test_LDEQ_WFLW_V.main([*videos[1], f"--output_dir={out}"])
    return out


def results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    del found["environment"]["time"]
    for flag in ("output_dir", "resume", "plot", "WFLW_V_batch_size"):
        found["config"].pop(flag, None)
    return found


def assert_same_results(folder: Path, expected: Path) -> None:
    """All that is in the results, in the same order; figures to rounding, as a batch's neighbours are others."""
    found, alone = results(folder), results(expected)
    for name in ("NME", "NMF"):
        assert found.pop(name) == pytest.approx(alone.pop(name), rel=1e-6)
    videos, videos_alone = found.pop("videos"), alone.pop("videos")
    assert list(videos) == list(videos_alone)
    for id, row in videos.items():
        assert row == pytest.approx(videos_alone[id], rel=1e-6)
        names = [where / "predictions" / f"{id}.npy" for where in (folder, expected)]
        np.testing.assert_allclose(*map(np.load, names), atol=1e-3)
    assert json.dumps(found) == json.dumps(alone)
    tables = [list(csv.reader((where / "results.csv").open())) for where in (folder, expected)]
    assert [(row[0], row[3:]) for row in tables[0]] == [(row[0], row[3:]) for row in tables[1]]
    assert not list(folder.rglob(".*")), "no lock and nothing unfinished is left"


# -- torchrun itself ---------------------------------------------------------------------------------------------------


def test_a_killed_process_ends_the_run_of_torchrun_and_another_number_goes_on(videos, alone, several, tmp_path):
    out = tmp_path / "out"
    flags = [*videos[1], f"--output_dir={out}", "--WFLW_V_batch_size=1"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    # Held up between its videos, so that there is something left to do.
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'RANK' in os.environ:\n"
        "    import ldeq.metrics, time\n"
        "    nme = ldeq.metrics.video_nme\n"
        "    ldeq.metrics.video_nme = lambda *arguments: (time.sleep(1), nme(*arguments))[1]\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    torchrun_ = subprocess.Popen(
        [*command, "test_LDEQ_WFLW_V.py", *flags],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    table = out / "results.csv"
    wait_until(lambda: torchrun_.poll() is not None or (table.is_file() and table.read_text().count("\n") > 1))
    ranks = children_of(torchrun_.pid)
    os.kill(ranks[1], signal.SIGKILL)
    shown, said = torchrun_.communicate(timeout=60)
    assert torchrun_.returncode != 0
    ours = [line for line in said.splitlines() if line.startswith("test_LDEQ_WFLW_V.py: ")]
    assert len(ours) == 1, said
    assert "(rank 1 on " in ours[0]
    assert f"videos are done and in {out}, --resume goes on from there" in ours[0]
    assert shown.count("weights ") == 1
    assert not any(map(is_alive, ranks))
    assert not (out / LOCK).exists()
    assert not (out / "results.json").exists()

    ended = several("test_LDEQ_WFLW_V", *flags, "--resume", size=3)
    assert ended.statuses == [0, 0, 0], ended
    assert "videos were done before" in ended.stdout
    assert_same_results(out, alone)


# -- videos ------------------------------------------------------------------------------------------------------------


def test_videos_are_shared_out_and_the_results_are_those_of_one_process(videos, alone, several, tmp_path):
    """On machines of their own, which meet by the network."""
    out = tmp_path / "out"
    ended = several("test_LDEQ_WFLW_V", *videos[1], "--plot", f"--output_dir={out}", size=3, one_a_machine=True)
    assert ended.statuses == [0, 0, 0], ended
    assert ended.sentences() == []
    assert_same_results(out, alone)
    ids = list(results(alone)["videos"])
    assert sorted(path.stem for path in (out / "videos").iterdir()) == sorted(ids)
    # One bar, which counts the frames of all.
    lines = [line for line in ended.stderr.splitlines() if is_progress(line)]
    done = [int(re.search(r"(\d+)/\d+ frames", line)[1]) for line in lines]
    assert done == sorted(done)
    assert done[-1] > sum(row["n_frames"] for row in results(alone)["videos"].values())  # and of what was in vain
    for once in ("weights ", "skipped  late: ", "skipped  missing: ", "WFLW-V, mean over videos", "Results are in"):
        assert ended.stdout.count(once) == 1


def test_a_run_goes_on_in_any_number_of_processes(videos, alone, several, tmp_path):
    out = tmp_path / "out"
    flags = [*videos[1], f"--output_dir={out}", "--WFLW_V_batch_size=1"]
    ended = several("test_LDEQ_WFLW_V", *flags, size=1, sabotage={0: at_video(2, KILLED)})
    assert ended.statuses == [-signal.SIGKILL]
    ended = several("test_LDEQ_WFLW_V", *flags, "--resume", size=2, sabotage={0: at_video(1, KILLED)})
    assert ended.statuses[0] == -signal.SIGKILL
    assert ended.statuses[1] != 0
    (sentence,) = ended.sentences()
    assert sentence.startswith("test_LDEQ_WFLW_V.py: error: the main one of 2 processes has ended before its time")
    assert sentence.endswith("--resume goes on from what is done")
    assert not (out / "results.json").exists()
    ended = several("test_LDEQ_WFLW_V", *flags, "--resume", size=3)
    assert ended.statuses == [0, 0, 0], ended
    assert_same_results(out, alone)


@pytest.mark.parametrize(
    ("do", "sentence", "status"),
    [
        ("raise MemoryError", "memory is full, expected a smaller batch to fit", 2),
        ("raise KeyError('which')", "the process of rank 1 has ended with a KeyError, which is a fault of", 2),
        ("raise OSError(28, 'No space left on device', 'disk')", "disk: No space left on device, expected", 2),
        ("os.kill(os.getpid(), signal.SIGTERM)", "videos are done and in", 130),
        ("os.killpg(0, signal.SIGINT); os.killpg(0, signal.SIGTERM)", "videos are done and in", 130),
    ],
)
def test_what_ends_one_process_ends_all_with_its_sentence(do, sentence, status, videos, several, tmp_path):
    out = tmp_path / "out"
    flags = [*videos[1], f"--output_dir={out}", "--WFLW_V_batch_size=1"]
    ended = several("test_LDEQ_WFLW_V", *flags, sabotage={1: at_video(2, do)})
    assert ended.statuses[0] == status, ended
    assert ended.statuses[1] != 0
    ours = [line for line in ended.sentences() if line.startswith("test_LDEQ_WFLW_V.py: ")]
    assert len(ours) == 1, ended
    assert sentence in ours[0]
    assert ("--resume goes on from there" in ours[0]) == (status == 130)
    assert ("Traceback" in ended.stderr) == ("KeyError" in do)
    assert len((out / "results.csv").read_text().splitlines()) > 1, "what was done is kept"
    assert not list(out.rglob(".*"))


@pytest.mark.parametrize(
    ("do", "sentence"),
    [(KILLED, "(rank 1 on "), ("raise ldeq.InputError('its disk: is full')", "error: its disk: is full")],
)
def test_what_ends_one_process_before_it_has_begun(do, sentence, videos, several, tmp_path):
    sabotage = f"""
import datasets.wflw_v, ldeq, os, signal
def opened(*arguments):
    {do}
datasets.wflw_v.WFLWVDataset = opened
"""
    ended = several("test_LDEQ_WFLW_V", *videos[1], f"--output_dir={tmp_path / 'out'}", sabotage={1: sabotage})
    assert ended.statuses[0] == 2, ended
    assert ended.statuses[1] != 0
    (said,) = ended.sentences()
    assert sentence in said
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize("one_a_machine", [False, True])
def test_a_process_that_never_comes(one_a_machine, videos, several, tmp_path):
    """The others wait for it, and end when they are told to."""
    dies = """
import os, signal, time
time.sleep(0.5)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.killpg(0, signal.SIGTERM)
os._exit(3)
"""
    flags = [*videos[1], f"--output_dir={tmp_path / 'out'}"]
    ended = several("test_LDEQ_WFLW_V", *flags, size=3, one_a_machine=one_a_machine, sabotage={1: dies})
    assert ended.statuses == [130, 3, 130], ended
    assert ended.sentences() == ["test_LDEQ_WFLW_V.py: interrupted"]


def test_a_lost_process_is_named_where_the_end_of_the_others_is_asked_for_because_of_it(videos, several, tmp_path):
    # It hears of the loss first, and is asked on the way out.
    asked = """
import signal
from utils.visualization.annotated_videos import AnnotatedVideos
def close(self):
    signal.raise_signal(signal.SIGTERM)
AnnotatedVideos.close = close
"""
    sabotage = {0: asked, 1: at_video(1, KILLED)}
    flags = [*videos[1], f"--output_dir={tmp_path / 'out'}", "--WFLW_V_batch_size=1"]
    ended = several("test_LDEQ_WFLW_V", *flags, one_a_machine=True, sabotage=sabotage)
    assert ended.statuses == [2, -signal.SIGKILL], ended
    (sentence,) = ended.sentences()
    assert "(rank 1 on " in sentence
    assert sentence.endswith("--resume goes on from there")


@pytest.mark.parametrize("rank", [0, 1])
def test_the_end_of_one_that_is_importing_is_known_to_all(rank, videos, several, tmp_path):
    (tmp_path / "asked.py").write_text("import os, signal, time; os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)")
    sabotage = {rank: at_video(1, f"__import__('sys').path.append({str(tmp_path)!r}); import asked")}
    flags = [*videos[1], f"--output_dir={tmp_path / 'out'}", "--WFLW_V_batch_size=1"]
    ended = several("test_LDEQ_WFLW_V", *flags, sabotage=sabotage)
    assert ended.statuses[rank] == 130, ended
    assert ended.statuses[0] == 130
    (sentence,) = ended.sentences()
    assert sentence.startswith("test_LDEQ_WFLW_V.py: interrupted")


def test_each_machine_says_what_it_was(videos, several, tmp_path):
    flags = [*videos[1], f"--output_dir={tmp_path / 'out'}"]
    killed = f"""
import datasets.wflw_v, os, signal
datasets.wflw_v.WFLWVDataset = lambda *arguments: {KILLED}
"""
    ended = several("test_LDEQ_WFLW_V", *flags, size=3, one_a_machine=True, sabotage={0: killed})
    assert [sentence.count("the main one of 3 processes has ended") for sentence in ended.sentences()] == [1, 1], ended
    flags += ["--WFLW_V_batch_size=none"]
    ended = several("test_LDEQ_WFLW_V", *flags, one_a_machine=True)
    assert ended.statuses == [2, 2], ended
    assert [sentence.count("'none' is not a whole number") for sentence in ended.sentences()] == [1, 1], ended


def test_a_bad_video_of_one_process_is_an_error_of_all(videos, several, tmp_path):
    root = shutil.copytree(videos[0], tmp_path / "WFLW_V")
    bad = root / "videos" / "missing.mp4"  # the longest but one, and so not the main process's
    bad.write_bytes(b"no video")
    shutil.copy(root / "videos" / f"{CLIPS[-1]}.mp4", root / "videos" / "late.mp4")
    flags = [*videos[1], f"--WFLW_V_dataset_path={root}", "--strict", f"--output_dir={tmp_path / 'out'}"]
    ended = several("test_LDEQ_WFLW_V", *flags)
    assert ended.statuses == [2, 2], ended
    (sentence,) = ended.sentences()
    assert sentence.startswith(f"test_LDEQ_WFLW_V.py: error: {bad}: cannot be decoded")
    assert not (tmp_path / "out" / LOCK).exists()


# -- images ------------------------------------------------------------------------------------------------------------


def test_images_are_shared_out_by_the_batches_of_one_process(several, tmp_path, no_plots, capsys):
    """With figures that depend on who shares a batch."""
    weights = tmp_path / "iterating.pth.tar"
    save_checkpoint(weights, make_small_model(solver={"solver": "fpi", "max_iters": 5, "rel_diff_target": 1e-2}))
    flags = [f"--landmark_model_weights={weights}", "--device=cpu", "--batch_size=3", "--stop_criterion=batch"]
    flags += ["--split", "test_largepose", "test_occlusion", "test_blur"]
    test_LDEQ_WFLW.main([*flags, f"--output_dir={tmp_path / 'one'}"])
    shown = capsys.readouterr().out
    ended = several("test_LDEQ_WFLW", *flags, f"--output_dir={tmp_path / 'three'}", size=3)
    assert ended.statuses == [0, 0, 0], ended
    assert ended.sentences() == []
    assert results(tmp_path / "three") == results(tmp_path / "one")
    for name in ("results.csv", "images.csv"):
        assert (tmp_path / "three" / name).read_text() == (tmp_path / "one" / name).read_text()
    one, three = (np.load(tmp_path / name / "predictions.npz") for name in ("one", "three"))
    assert list(one) == list(three)
    for split in one:
        np.testing.assert_array_equal(three[split], one[split])
    assert ended.stdout.splitlines()[:-1] == shown.splitlines()[:-1]  # the last line is of the speed
    assert ended.stderr.splitlines()[-1].split(": ")[1].startswith("11/11 images")


def test_unreadable_images_of_all_processes_are_named_in_order(weights, several, wflw, tmp_path):
    damaged = [wflw / name for name in ("test/0.jpg", "test/synthetic-9.jpg", "test_blur/0.jpg")]
    for path in damaged:
        path.write_bytes(b"no image")
    out = tmp_path / "out"
    flags = [weights, f"--dataset_path={wflw}", "--device=cpu", "--batch_size=1", f"--output_dir={out}"]
    ended = several("test_LDEQ_WFLW", *flags)
    assert ended.statuses == [2, 0], ended
    (sentence,) = ended.sentences()
    places = [sentence.index(f"{path}: cannot be read as an image") for path in damaged]
    assert places == sorted(places)
    assert not list(out.iterdir())


# -- ldeq-video --------------------------------------------------------------------------------------------------------


@pytest.fixture
def inputs(tmp_path: Path) -> list[Path]:
    """Folders of images, two of the same name, and a video that cannot be read."""
    folders = [tmp_path / name for name in ("a", "b", "c/a")]
    for folder in folders:
        folder.mkdir(parents=True)
        for number in range(24):
            os.link(bundled.WFLW / "test" / f"{number % 4}.jpg", folder / f"{number:02}.jpg")
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    return [folders[0], bad, *folders[1:]]


def test_inputs_are_shared_out(inputs, several, tmp_path):
    for folder in (inputs[0], *inputs[2:]):
        for image in sorted(folder.iterdir())[5:]:
            image.unlink()
    flags = ["--device=cpu", *inputs]
    with pytest.raises(InputError, match="1 of 4 inputs"):
        predict.main([*map(str, flags), f"--output_dir={tmp_path / 'one'}"])
    ended = several("predict_video", *flags, f"--output_dir={tmp_path / 'two'}")
    assert ended.statuses == [2, 0], ended
    assert ended.sentences() == [
        f"predict_video.py: error: {inputs[1]}: cannot be decoded, expected a video",
        "predict_video.py: error: 1 of 4 inputs could not be used (named above), expected all to be",
    ]
    assert ended.stdout.startswith("weights ")
    assert ended.stdout.count("weights ") == 1
    assert ended.stdout.endswith(f"3 of 4 inputs are done, each in a folder below {tmp_path / 'two'}\n")
    names = ["a", "a.2", "b"]
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == names
    for name in names:
        assert f"Results are in {tmp_path / 'two' / name}\n" in ended.stdout
        one, two = (dict(np.load(tmp_path / run / name / "landmarks.npz")) for run in ("one", "two"))
        assert one.keys() == two.keys()
        assert len(one["landmarks"])
        for key, values in one.items():
            np.testing.assert_array_equal(two[key], values)
    bar = [line for line in ended.stderr.splitlines() if is_progress(line)]
    assert all(" of 4 inputs: " in line for line in bar), "there is one, of the frames of all"
    assert len(bar) == 15
    assert ": 15 frames, " in bar[-1]


def test_inputs_end_together_and_keep_what_they_have(inputs, weights, several, tmp_path):
    # At the third frame of each: the other one presses Ctrl-C once the main one is there.
    sabotage = f"""
import os, signal, time
from ldeq.annotated_output import AnnotatedOutput
add = AnnotatedOutput.add
def held(self, image, at, *landmarks):
    if 0.07 < at < 0.09:
        name = "{tmp_path}/" + ("there", "pressed")[int(os.environ["RANK"])]
        if name.endswith("pressed"):
            while not os.path.exists("{tmp_path}/there"):
                time.sleep(0.01)
            os.killpg(0, signal.SIGINT)
            os.killpg(0, signal.SIGINT)
        open(name, "w").close()
        while not os.path.exists("{tmp_path}/pressed"):
            time.sleep(0.01)
    add(self, image, at, *landmarks)
AnnotatedOutput.add = held
"""
    del inputs[1]
    flags = [weights, "--device=cpu", *inputs, f"--output_dir={tmp_path / 'out'}"]
    ended = several("predict_video", *flags, sabotage={0: sabotage, 1: sabotage})
    assert ended.statuses == [130, 130], ended
    (sentence,) = ended.sentences()
    for name in ("a", "b"):
        folder = tmp_path / "out" / name
        assert f"the first 3 frames are done and in {folder}" in sentence
        assert json.loads((folder / "run.json").read_text())["stopped"] == "interrupted"
        assert (folder / "video.mp4").is_file()
    assert len(list((tmp_path / "out").iterdir())) == 2
    assert not list((tmp_path / "out").rglob(".*"))


def test_a_lost_process_is_no_fault_of_the_input_that_another_is_at(inputs, weights, several, tmp_path):
    # The main one is in the middle of its own, and nobody but it ends it.
    kill = f"""
import os, signal, time
from ldeq.annotated_output import AnnotatedOutput
add = AnnotatedOutput.add
def held(self, image, at, *landmarks):
    if os.environ["RANK"] == "1":
        open("{tmp_path}/killed", "w").close()
        {KILLED}
    while not os.path.exists("{tmp_path}/killed"):
        time.sleep(0.01)
    time.sleep(0.01)
    add(self, image, at, *landmarks)
AnnotatedOutput.add = held
"""
    del inputs[1]
    flags = [weights, "--device=cpu", *inputs, f"--output_dir={tmp_path / 'out'}"]
    ended = several("predict_video", *flags, one_a_machine=True, sabotage={0: kill, 1: kill})
    assert ended.statuses == [2, -signal.SIGKILL], ended
    (sentence,) = ended.sentences()
    assert "(rank 1 on " in sentence


# -- what is refused, and what a process has ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "flags", "sentence"),
    [
        ("test_LDEQ_WFLW_V", ["--stop_criterion=batch"], "--stop_criterion batch in 2 processes"),
        ("test_LDEQ_WFLW_V", ["--WFLW_V_batch_size=none"], "'none' is not a whole number"),
        ("test_LDEQ_WFLW", ["--landmark_model_weights=none.tar"], "none.tar: no such file"),
        ("test_LDEQ_WFLW", ["--device=nothing"], "device 'nothing' is not available here"),
        ("predict_video", ["clip.mp4", "--show"], "--show is of one process"),
        ("predict_video", [], "there is no input"),
    ],
)
def test_what_all_refuse_is_said_once(script, flags, sentence, several, tmp_path):
    ended = several(script, *flags, f"--output_dir={tmp_path / 'out'}")
    assert ended.statuses[0] == 2, ended
    assert ended.statuses[1] != 0
    assert len(ended.sentences()) == 1, ended
    assert sentence in ended.stderr
    assert not (tmp_path / "out").exists()


def test_what_torchrun_says(monkeypatch):
    for name in ("WORLD_SIZE", "RANK", "TORCHELASTIC_RUN_ID", "LOCAL_WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert (torchrun.number_of_processes(), torchrun.is_main(), torchrun.share(8)) == (1, True, 8)
    for name, word in {"WORLD_SIZE": "6", "RANK": "4", "LOCAL_WORLD_SIZE": "3", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, word)
    with pytest.raises(InputError, match="MASTER_PORT is ''"):
        torchrun.number_of_processes()
    monkeypatch.setenv("MASTER_PORT", "65536")
    with pytest.raises(InputError, match="MASTER_PORT is '65536'"):
        torchrun.number_of_processes()
    assert not torchrun.is_main()
    assert [torchrun.share(n) for n in (0, 1, 8)] == [0, 1, 3]
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(8), raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "5,2")
    assert torchrun.n_threads() == 5
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert torchrun.n_threads() == 2
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    taken = []
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    assert local_device("auto") == torch.device("cuda", 1)
    assert taken == [torch.device("cuda", 1)]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match="2 GPUs for 3 processes, expected one for each"):
        local_device("auto")


def test_torchruns_own_number_of_threads_is_no_wish(monkeypatch):
    """It sets OMP_NUM_THREADS where the user has not, and only its own environment tells the two apart."""
    code = """
        import os, subprocess, sys
        os.environ |= {"OMP_NUM_THREADS": "1", "TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "RANK": "0"}
        child = "import os; os.sched_getaffinity = lambda _: range(8)\\n"
        child += "from ldeq import torchrun; print(torchrun.n_threads())"
        subprocess.run([sys.executable, "-c", child])
    """
    outside = {name: word for name, word in os.environ.items() if name != "OMP_NUM_THREADS"}
    for environment, expected in ((outside, "4"), ({**outside, "OMP_NUM_THREADS": "1"}, "1")):
        command = [sys.executable, "-c", textwrap.dedent(code)]
        done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected
