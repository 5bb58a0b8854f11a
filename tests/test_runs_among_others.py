"""A run among other processes: who else is at work in its folder, asks it to end, is to end with it, and reads it."""

import ctypes
import io
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import predict_video
import test_LDEQ_WFLW
import test_LDEQ_WFLW_V
import train_LDEQ
from datasets import crop_WFLW
from datasets.synthetic import __main__ as synthetic
from datasets.synthetic import writing
from ldeq import terminal
from ldeq.errors import program_name
from ldeq.files import WholeFile
from ldeq.folder_lock import NAME, FolderInUse, held, remove_leftovers
from ldeq.interrupts import deferred_interrupt
from ldeq.run_folder import output_folder
from tests.conftest import assert_refused
from tests.processes import is_alive, wait_until
from tests.test_crop_wflw import original  # noqa: F401  (a fixture)
from tests.test_training import TINY, faces  # noqa: F401  (faces is a fixture)
from utils import bundled, download_WFLW_V

REPOSITORY = Path(__file__).resolve().parent.parent
CLIP = bundled.WFLW_V / "videos" / "portrait-pan.mp4"


def start(code_or_script, *arguments, shell_ignores_ctrl_c=False, **options):
    """A process of Python: a script of the repository, a module (-m) or code."""
    program = [code_or_script] if code_or_script.endswith(".py") else ["-c", textwrap.dedent(code_or_script)]

    def on_start():
        signal.signal(signal.SIGINT, signal.SIG_IGN if shell_ignores_ctrl_c else signal.default_int_handler)

    return subprocess.Popen(
        [sys.executable, *program, *map(str, arguments)],
        cwd=REPOSITORY,
        preexec_fn=on_start,
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


def files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# -- one run a folder --------------------------------------------------------------------------------------------------

HOLDER = """
    import sys
    from pathlib import Path
    from ldeq.folder_lock import held
    with held(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()
"""


@contextmanager
def another_run(folder):
    """Another process that is at work in the folder, where it has an unfinished file."""
    folder.mkdir(parents=True, exist_ok=True)
    process = start(HOLDER, folder, stdin=subprocess.PIPE)
    assert process.stdout.readline() == "held\n"
    unfinished = WholeFile(folder / "video.mp4")
    try:
        yield process
        assert unfinished.temporary.is_file(), "it was removed as if its run were dead"
    finally:
        unfinished.discard()
        process.kill()
        process.communicate(timeout=60)


@pytest.fixture
def programs(tmp_path, original, faces):  # noqa: F811
    """The main function of each program that fills a folder, its arguments, and the folder."""
    out, images, annotations = tmp_path / "out", *original[:2]
    evaluation = ("--device=cpu", f"--output_dir={out}")
    return {
        "training": (train_LDEQ.main, [*TINY, "--dataset_path", faces, "--steps", 1, "--output_dir", out], out),
        "WFLW": (test_LDEQ_WFLW.main, evaluation, out),
        "WFLW-V": (test_LDEQ_WFLW_V.main, evaluation, out),
        "a video": (predict_video.main, [CLIP, *evaluation], out),
        "videos": (predict_video.main, [CLIP, bundled.WFLW / "test", *evaluation], out),
        "cropping": (
            crop_WFLW.main,
            [f"--images={images}", f"--annotations={annotations}", f"--output_folder={out}"],
            out,
        ),
        "drawing images": (synthetic.main, ["--output_dir", out, "--test", 1, "--workers", 1], out / "WFLW"),
        "drawing videos": (synthetic.main, ["--output_dir", out, "--hard", 1, "--workers", 1], out / "WFLW_V"),
        "download": (download_WFLW_V.main, ["--output_folder", out], out),
    }


@pytest.mark.parametrize(
    "program",
    [
        *("training", "WFLW", "WFLW-V", "a video", "videos"),
        *("cropping", "drawing images", "drawing videos", "download"),
    ],
)
def test_the_second_run_in_a_folder_is_refused_before_it_touches_it(program, programs, run_script):
    main, arguments, folder = programs[program]
    with another_run(folder) as other:
        before = files_of(folder)
        assert_refused(run_script(main, *arguments), folder, f"process {other.pid}", "is in use by", "expected")
        assert files_of(folder) == before


def test_the_second_resumption_of_a_training_run_is_refused(tmp_path, faces, run_script):  # noqa: F811
    out = tmp_path / "run"
    assert run_script(train_LDEQ.main, *TINY, "--dataset_path", faces, "--steps", 1, "--output_dir", out)[0] == 0
    assert not (out / NAME).exists()
    with another_run(out):
        before = files_of(out)
        assert_refused(run_script(train_LDEQ.main, "--resume", "--output_dir", out), out, "is in use by")
        assert files_of(out) == before
    assert run_script(train_LDEQ.main, "--resume", "--output_dir", out)[0] == 0


def test_a_lock_ends_with_its_process_and_not_with_what_that_has_forked(tmp_path):
    forking = start(
        """
        import os, sys, time
        from pathlib import Path
        from ldeq.folder_lock import held
        with held(Path(sys.argv[1])):
            child = os.fork()
            if not child:
                print(os.getpid(), flush=True)  # here it has let go of what it was forked with
            time.sleep(60)
        """,
        tmp_path,
    )
    child = int(forking.stdout.readline())
    try:
        with pytest.raises(FolderInUse, match=f"process {forking.pid} on "), held(tmp_path):
            pass
        forking.kill()
        forking.wait()
        assert is_alive(child)
        assert json.loads((tmp_path / NAME).read_text())["process"] == forking.pid  # it had no time to remove it
        with output_folder(str(tmp_path), "script"):
            assert json.loads((tmp_path / NAME).read_text())["process"] == os.getpid()
        assert not list(tmp_path.iterdir())
    finally:
        os.kill(child, signal.SIGKILL)


def test_what_a_lock_says_is_shown_only_where_a_lock_could_have_said_it(tmp_path):
    ours = json.dumps({"process": os.getpid(), "host": socket.gethostname(), "token": "another container's"})
    unprintable = json.dumps({"command": "\x1b]52;c;x\x07", "process": 1, "host": "h", "since": "now"})
    with another_run(tmp_path):
        for content in (ours, unprintable, "", "[]", '{"process": 1}'):
            (tmp_path / NAME).write_text(content)
            with pytest.raises(FolderInUse, match="is in use by another run,"), held(tmp_path):
                pass


def test_a_process_has_its_folder_as_often_as_it_needs(tmp_path):
    with held(tmp_path), held(tmp_path):
        assert (tmp_path / NAME).is_file()
    assert not list(tmp_path.iterdir())


def test_drawing_holds_the_folder_between_its_parts(tmp_path, monkeypatch):
    """The Python function as well, until its last image."""
    monkeypatch.setattr(writing, "_in_processes", lambda draw, chunks, workers: iter(chunks))
    drawn = writing.write_images(tmp_path, "test", 3, 1)
    next(drawn)
    assert (tmp_path / NAME).is_file()
    drawn.close()
    assert not (tmp_path / NAME).exists()


def test_leftovers_are_a_folders_own(tmp_path):
    """Neither those of a live run in a folder below, nor those of any folder below that is not named."""
    left = [WholeFile(tmp_path / name).temporary for name in ("a.png", "videos/b.mp4", "frames/c.png", "test/x/d.png")]
    with another_run(tmp_path / "videos"), held(tmp_path):
        remove_leftovers(tmp_path, "videos", "frames", "missing")
        assert [path.is_file() for path in left] == [False, True, False, True]
    with held(tmp_path):
        remove_leftovers(tmp_path, "videos")
    assert [path.is_file() for path in left] == [False, False, False, True]


def test_cropping_keeps_the_unfinished_files_of_folders_below(tmp_path, programs, run_script):
    main, arguments, out = programs["cropping"]
    with another_run(out / "results" / "run"):
        left = WholeFile(out / "test" / "left.png").temporary
        assert run_script(main, *arguments)[0] == 0
        assert not left.exists()


def test_a_folder_that_cannot_be_locked_is_named(tmp_path, run_script):
    (tmp_path / NAME).mkdir()
    outcome = run_script(test_LDEQ_WFLW.main, "--device=cpu", "--split=test_blur", f"--output_dir={tmp_path}")
    assert_refused(outcome, tmp_path, "expected a folder for the results")


# -- workers -----------------------------------------------------------------------------------------------------------

PARENT = """
    import multiprocessing, sys, threading, time
    from datasets.training.faces import TrainingSet, training_batches
    from tests.sleeping_jobs import sleep
    from utils.engine.settings import AugmentationConfig, DataConfig
    from utils.engine.workers import Workers

    if __name__ == "__main__":
        samples = TrainingSet(DataConfig(dataset_path=sys.argv[1]), AugmentationConfig(augment=False), 0, 256)
        batches = training_batches(samples, first_step=0, last_step=1000, batch_size=8, workers=2)
        next(batches)  # and then nobody reads what the workers write
        with Workers(sleep, 2) as workers:
            for seconds in (1000, 1000):
                workers.submit(seconds)
            threading.Thread(target=list, args=(workers,), daemon=True).start()
            while len(multiprocessing.active_children()) < 4:
                time.sleep(0.1)
            print(*(child.pid for child in multiprocessing.active_children()), flush=True)
            time.sleep(1000)
"""


def test_every_kind_of_worker_ends_with_a_killed_parent(faces):  # noqa: F811
    """Workers of a data loader that are stuck in writing, and a pool's that are at work."""
    parent = start(PARENT, faces)
    workers = [int(word) for word in parent.stdout.readline().split()]
    assert len(workers) == 4, parent.communicate(timeout=60)
    assert all(map(is_alive, workers))
    parent.kill()
    parent.communicate(timeout=60)
    wait_until(lambda: not any(map(is_alive, workers)), seconds=30)


WHILE_IT_IMPORTS = """
import runpy, sys, time
class Slow:
    def find_spec(name, *options):
        if name == "torch":
            print("ready", flush=True)
            time.sleep(1000)
sys.meta_path.insert(0, Slow)
sys.argv = ["train_LDEQ.py", "--synthetic"]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
WHILE_IT_MEETS_THE_OTHERS = """
import time, torch.distributed as dist
from utils.engine.distribution import init_distributed
dist.init_process_group = lambda backend: (print("ready", flush=True), time.sleep(1000))
with init_distributed("cpu"): pass
"""


@pytest.mark.parametrize("rank", [WHILE_IT_IMPORTS, WHILE_IT_MEETS_THE_OTHERS])
def test_the_processes_of_a_distributed_run_end_with_torchrun(rank):
    launcher = start(
        """
        import os, subprocess, sys, time
        environment = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "RANK": "0", "MASTER_PORT": "1"}
        process = subprocess.Popen(
            [sys.executable, "-c", sys.argv[1]], env={**os.environ, **environment, "MASTER_ADDR": "here"},
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        print(process.pid, process.stdout.readline(), flush=True)
        time.sleep(1000)
        """,
        rank,
    )
    pid, word = launcher.stdout.readline().split()
    assert word == "ready", launcher.communicate(timeout=60)
    launcher.kill()
    launcher.communicate(timeout=60)
    try:
        wait_until(lambda: not is_alive(pid), seconds=10)
    finally:
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


# -- requests to end ---------------------------------------------------------------------------------------------------


def swallow_exception():
    with suppress(BaseException):
        signal.raise_signal(signal.SIGTERM)


def swallow_in_finaliser():
    class Finalised:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)

    Finalised()


def swallow_in_callback():
    @ctypes.CFUNCTYPE(ctypes.c_int)
    def callback():
        signal.raise_signal(signal.SIGINT)
        return 0

    callback()


SWALLOWED = [swallow_exception, swallow_in_finaliser, swallow_in_callback]


@pytest.mark.parametrize("swallow", SWALLOWED)
def test_a_request_that_a_library_swallows_is_repeated(swallow, run_script):
    went_on = []

    def script(arguments):
        swallow()
        end = time.monotonic() + 30
        while time.monotonic() < end:
            went_on.append(time.sleep(0.01))

    status, _, err = run_script(script)
    assert status == 130
    assert err == f"{program_name()}: interrupted\n"
    assert len(went_on) < 2500


@pytest.mark.parametrize("swallow", SWALLOWED)
def test_a_request_that_was_swallowed_counts_where_they_are_deferred(swallow, run_script):
    def script(arguments):
        swallow()
        with deferred_interrupt() as interrupt:
            time.sleep(1.2)  # it is not repeated here, where it would be the second
            raise KeyboardInterrupt("saved" if interrupt.requested else "lost")

    status, _, err = run_script(script)
    assert status == 130
    assert err.endswith("interrupted: saved\n")


def test_a_request_that_a_library_takes_for_an_error_of_its_own(run_script):
    def script(arguments):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            raise ImportError("numpy.core cannot be imported, please read this") from error

    status, _, err = run_script(script)
    assert status == 130
    assert err.endswith("interrupted\n")


def test_cleaning_up_is_not_interrupted_by_the_repetition(run_script):
    cleaned = []

    def script(arguments):
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            time.sleep(1.2)
            cleaned.append(True)

    assert run_script(script)[0] == 130
    assert cleaned == [True]


def test_handlers_are_as_they_were(run_script):
    kinds = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    before = [signal.getsignal(kind) for kind in kinds], sys.unraisablehook, sys.stdout
    assert run_script(lambda arguments: swallow_exception())[0] == 0
    assert ([signal.getsignal(kind) for kind in kinds], sys.unraisablehook, sys.stdout) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


IMPORTING = {"training": "train_LDEQ.py", "WFLW": "test_LDEQ_WFLW.py", "a video": "predict_video.py"}


@pytest.mark.parametrize(
    ("program", "library", "how"),
    [
        ("training", "libtorch_cpu", signal.SIGINT),
        ("WFLW", "multiarray", signal.SIGINT),
        ("a video", "multiarray", signal.SIGTERM),
    ],
)
def test_a_request_while_modules_are_imported_ends_the_run_in_a_line(program, library, how, programs):
    """NumPy's come before main is called, PyTorch's after."""
    _, arguments, out = programs[program]
    process = start(IMPORTING[program], *arguments)
    maps = Path(f"/proc/{process.pid}/maps")
    wait_until(lambda: library in maps.read_text())
    process.send_signal(how)
    shown, err = process.communicate(timeout=60)
    assert (process.returncode, shown, err) == (130, "", f"{IMPORTING[program]}: interrupted\n")
    assert not out.exists()


def test_a_run_in_a_shells_background_ignores_ctrl_c_and_not_sigterm():
    code = """
        import os, signal, sys
        from ldeq.interrupts import end_at_once_until_run
        end_at_once_until_run()
        from ldeq.command_line import run
        def script(arguments):
            signal.raise_signal(signal.SIGINT)
            print("went on", flush=True)
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        run(script)
    """
    process = start(code, shell_ignores_ctrl_c=True)
    shown, err = process.communicate(timeout=60)
    assert (process.returncode, shown, err) == (130, "went on\n", "-c: interrupted\n")


# -- output that nobody reads ------------------------------------------------------------------------------------------

OUTPUT = {
    "a reader that has gone": "| true",
    "a reader of both that has gone": "2>&1 | true",
    "no stdout": ">&-",
    "no stderr": "2>&-",
    "neither": ">&- 2>&-",
    "nothing at all": "<&- >&- 2>&-",
    "a full disk": ">/dev/full",
    "a full disk for both": ">/dev/full 2>&1",
}


def in_shell(command, *arguments):
    """A command line of bash, with '{}' in the place of Python and its arguments: its status, stdout and stderr."""
    words = " ".join(f"'{word}'" for word in (sys.executable, *arguments))
    line = f"sleep 0.2; {command.format(words)}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("output", OUTPUT)
def test_a_run_does_its_work_whoever_reads_what_it_says(output, programs, tmp_path):
    _, arguments, out = programs["cropping"]
    status, _, err = in_shell(f"{{}} {OUTPUT[output]}", "-m", "datasets.crop_WFLW", *arguments, "--split", "test_blur")
    assert status == 0, err
    assert sorted(path.name for path in out.iterdir()) == ["test_blur", "test_blur.txt"]
    assert len(err.splitlines()) == (output == "a full disk")
    if err:
        assert "stdout: cannot be written (No space left on device), expected" in err


@pytest.mark.parametrize("output", ["| true", ">&- 2>&-", ">/dev/full 2>&1", "2>/dev/full"])
def test_help_and_refusals_keep_their_status(output):
    assert in_shell(f"{{}} {output}", "train_LDEQ.py", "--help")[0] == 0
    assert in_shell(f"{{}} {output}", "train_LDEQ.py", "--nothing")[0] == 2


def test_an_evaluation_goes_on_after_head(tmp_path):
    arguments = ("test_LDEQ_WFLW.py", "--device=cpu", "--split=test_blur", f"--output_dir={tmp_path / 'out'}")
    status, shown, err = in_shell("{} | head -1", *arguments)
    assert (status, len(shown.splitlines()), err) == (0, 1, "")
    assert (tmp_path / "out" / "results.json").is_file()


def test_what_a_library_says_does_not_get_into_files_that_are_open(tmp_path):
    """With stderr closed, the next file gets its number, which is where libraries in C write to."""
    code = f"""
        import os
        from ldeq.command_line import run
        def script(arguments):
            with open({str(tmp_path / "results.csv")!r}, "w") as file:
                os.write(2, b"[h264] a warning")
                file.write("figures")
        run(script)
    """
    path = tmp_path / "script.py"
    path.write_text(f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\n{textwrap.dedent(code)}")
    assert in_shell("{} 2>&-", path)[0] == 0
    assert (tmp_path / "results.csv").read_text() == "figures"


def test_the_terminal_can_do_without_streams(monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    terminal.print_lines(terminal.console(), ["a line"])
    monkeypatch.setattr(terminal, "SECONDS_A_LINE", 0.0)
    with terminal.ProgressBar(2, "frame", "clip") as bar:
        bar.advance()
    assert bar.n_done == 1


def test_what_stands_above_a_bar_is_not_folded(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setattr(sys, "stderr", shown := Terminal())
    line = f"Results are in /{300 * 'folder/'}"
    with terminal.ProgressBar(2, "frame", "clip") as bar:
        bar.print_above(f"{line}\n")
    assert line in shown.getvalue()
