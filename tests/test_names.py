"""Names and text out of files: what becomes a path, and what reaches the terminal."""

import io
import json
import shutil
import sys

import numpy as np
import pytest

import test_LDEQ_WFLW
import test_LDEQ_WFLW_V
from datasets import crop_WFLW
from datasets.wflw import WFLWDataset
from datasets.wflw_v import WFLWVDataset
from datasets.wflw_v.download.lists import read_ranges
from ldeq import InputError, predict, terminal
from ldeq.files import checked_name, is_file_name, printable, written_whole
from tests.conftest import assert_refused
from tests.test_crop_wflw import line_of

#: What no name out of a file may be, on any system.
BAD = [
    *("..", ".", "../up", "a/../../up", "/etc/passwd", "\\\\host\\share", "..\\up", "C:evil", "c:/evil", "a\\b"),
    *("nul\0", "line\nbreak", "bell\x07", "\x1b]52;c;ZXZpbA==\x07", "del\x7f", "c1\x9b", "half\ud800", "e" * 241),
]  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_names(name):
    assert not is_file_name(name)
    for may_have_folders in (False, True):
        with pytest.raises(
            InputError, match=r"list\.txt, line 3: .* cannot be a file name .*, expected one"
        ) as refusal:
            checked_name(name, "list.txt, line 3", "expected one", may_have_folders=may_have_folders)
        assert printable(str(refusal.value)) == str(refusal.value)
        assert len(str(refusal.value)) < 400


@pytest.mark.parametrize("name", ["-id", "007", "...", "a b", "été", "顔.jpg", "12:30", "[red]", "~", "é" * 120])
def test_good_names(name):
    assert is_file_name(name)
    assert checked_name(name, "here", "expected one") == name
    assert checked_name(f"./folder/./{name}", "here", "expected one", may_have_folders=True) == f"folder/{name}"
    assert not is_file_name(f"folder/{name}")


def test_too_many_folders():
    with pytest.raises(InputError, match="more than 1024 bytes"):
        checked_name("a/" * 600 + "b", "here", "expected one", may_have_folders=True)


def test_the_longest_name_can_be_written(tmp_path):
    with written_whole(tmp_path / f"{'é' * 120}.npy") as temporary:
        temporary.write_bytes(b"1")
    assert (tmp_path / f"{'é' * 120}.npy").read_bytes() == b"1"


# -- names in lists ----------------------------------------------------------------------------------------------------

IN_LISTS = [name for name in BAD if not {"\n", "\ud800"} & set(name)]


@pytest.mark.parametrize("name", IN_LISTS)
def test_names_of_every_list(name, wflw, wflw_v, tmp_path):
    numbers = " ".join(["0.25 0.5"] * 98)
    (wflw / "test.txt").write_text(f"\n{name} {numbers}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"test\.txt, line 2: .* cannot be a file name"):
        WFLWDataset(wflw, "test")
    (wflw_v / "hard_video_IDs.txt").write_text(f"hardE5\n{name}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"hard_video_IDs\.txt, line 2: .* cannot be a file name"):
        WFLWVDataset(wflw_v, "hard")
    (tmp_path / "download_ranges.txt").write_text(f"{name} 1 2\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"download_ranges\.txt, line 1: .* cannot be a file name"):
        read_ranges(tmp_path)


@pytest.mark.parametrize("name", ["../victim.jpg", "/etc/passwd", "a\\b.jpg", "b\x1b[2J.jpg"])
def test_names_of_the_original_lists(name, tmp_path, run_script):
    (tmp_path / "images").mkdir()
    points = np.random.default_rng(0).uniform(10, 90, (98, 2))
    (tmp_path / "list_98pt_rect_attr_test.txt").write_text(line_of(points, (), name))
    flags = [f"--images={tmp_path / 'images'}", f"--annotations={tmp_path}", f"--output_folder={tmp_path / 'out'}"]
    err = assert_refused(run_script(crop_WFLW.main, *flags, "--split=test"), "line 1", "cannot be a file name")
    assert "\x1b" not in err
    assert not (tmp_path / "out").exists()


def test_images_with_folders_and_absolute_names_of_the_data_set(wflw):
    names = ["./1.jpg", "below/2.jpg", str(wflw / "test" / "3.jpg")]
    (wflw / "test" / "below").mkdir()
    (wflw / "test" / "2.jpg").rename(wflw / "test" / "below" / "2.jpg")
    lines = (wflw / "test.txt").read_text().splitlines()[:3]
    lines = [f"{name} {line.split(maxsplit=1)[1]}" for name, line in zip(names, lines, strict=True)]
    (wflw / "test.txt").write_text("\n".join(lines))
    dataset = WFLWDataset(wflw, "test")
    assert [dataset.name(index) for index in range(3)] == ["1.jpg", "below/2.jpg", "3.jpg"]
    assert dataset[1][0].shape == (256, 256, 3)


# -- names in what an earlier run left ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_plots")
@pytest.mark.parametrize("resume", [False, True])
def test_ids_of_an_earlier_table_lead_nowhere(resume, wflw_v, run_script, weights, tmp_path):
    flags = [weights, f"--WFLW_V_dataset_path={wflw_v}", f"--output_dir={tmp_path / 'out'}"]
    assert run_script(test_LDEQ_WFLW_V.main, *flags)[0] == 0
    precious = tmp_path / "victim" / "precious.npy"
    precious.parent.mkdir()
    precious.write_bytes(b"1")
    table = tmp_path / "out" / "results.csv"
    header, first, second = table.read_text().splitlines()
    row = first.partition(",")[2]
    ids = ["../../victim/precious", str(precious.with_suffix("")), "a\0", "", '"two\nlines"', "e" * 5000]
    table.write_text("\n".join([header, *(f"{id},{row}" for id in ids), second]) + "\n")
    status, out, _ = run_script(test_LDEQ_WFLW_V.main, *flags, *["--resume"] * resume)
    assert status == 0
    assert ("1 videos were done before" in out) == resume
    assert precious.read_bytes() == b"1"
    assert [line.split(",")[0] for line in table.read_text().splitlines()] == ["id", "-hard-D4", "hardE5"]


@pytest.mark.usefixtures("no_plots")
def test_splits_of_earlier_results_lead_nowhere(run_script, weights, tmp_path):
    out = tmp_path / "out"
    (out / "worst_").mkdir(parents=True)
    (tmp_path / "precious.png").write_bytes(b"1")
    names = ["/../../precious", "a\0", "e" * 5000, "", "\x1b"]
    (out / "results.json").write_text(json.dumps({"script": "test_LDEQ_WFLW", "splits": {name: {} for name in names}}))
    assert run_script(test_LDEQ_WFLW.main, weights, "--split=test_blur", f"--output_dir={out}")[0] == 0
    assert (tmp_path / "precious.png").read_bytes() == b"1"


# -- what reaches the terminal -----------------------------------------------------------------------------------------

#: Sequences that a terminal obeys, and characters that turn the order of letters around or end a line.
ODD = "\x1b]52;c;ZXZpbA==\x07 \x9b2J \x7f \u202egpj \u2066 \u200f \u2028 \x85 \r\n"
RAW = set(ODD) - {" ", *"]52;c;ZXZpbA==2Jgpj"}


def test_text_is_escaped_and_the_rest_of_it_stays():
    assert not RAW & set(printable(ODD))
    assert printable("a\x1b[31m\u202eb\n") == r"a\x1b[31m\u202eb\n"
    same = "[red] 100 % | C:\\x  été 顔 \u0646\u200c\u0645 😀 a\u00a0b"
    assert printable(same) == same


def test_lines_tables_and_progress(capsys, monkeypatch):
    terminal.print_lines(terminal.console(), [f"[red]{ODD}[/] :smile:"])
    terminal.console().print(terminal.table(f"title {ODD}", ["a", "b"], [[f"[/]{ODD}", 1]], n_words=1))
    out = capsys.readouterr().out
    assert not RAW - {"\n"} & set(out)
    assert "[red]" in out
    assert "[/]" in out
    assert ":smile:" in out

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for made in (Terminal, io.StringIO):
        monkeypatch.setattr(sys, "stderr", shown := made())
        monkeypatch.setattr(terminal, "SECONDS_A_LINE", 0.0)
        with terminal.ProgressBar(2, "frame", f"[red] [/] [nothing]{ODD}") as bar:
            bar.advance()
            bar.describe(f"[/] [blue]{ODD}")
            bar.note(f"[bold] [/bold]{ODD}")
            bar.advance()
        # A bar moves the cursor by sequences of its own.
        assert not (RAW - set("\x1b\r\n")) & set(shown.getvalue())
        assert "]52;c" not in shown.getvalue().replace(r"\x1b]52;c", "")
        for words in ("[/]", "[blue]", "[bold] [/bold]"):
            assert words in shown.getvalue()


@pytest.mark.parametrize(
    "arguments", [["--input=clip\x1b]52;c;eA==\x07\u202e.mp4"], ["--fps=\x1b[2J"], ["--no\x9bflag"]]
)
def test_what_a_user_named(arguments, run_script):
    """It is in a message, escaped and whole."""
    err = assert_refused(run_script(predict.main, *arguments))
    assert err.strip().isprintable()
    assert r"\x" in err


@pytest.mark.usefixtures("no_plots")
def test_what_is_in_files(wflw_v, run_script, weights, tmp_path):
    """Ids and reasons on the way through tables, lines and messages; results keep them as they are."""
    id = "x\u202e[red][bold]\u200fy"
    for folder in ("bboxes", "landmarks"):
        shutil.copy(wflw_v / folder / "hardE5.npy", wflw_v / folder / f"{id}.npy")
    for video in (True, False):
        (wflw_v / "hard_video_IDs.txt").write_text(f"{id}\nhardE5\n", encoding="utf-8")
        if video:
            shutil.copy(wflw_v / "videos" / "hardE5.mp4", wflw_v / "videos" / f"{id}.mp4")
        out = tmp_path / f"out {video}"
        flags = [weights, f"--WFLW_V_dataset_path={wflw_v}", f"--output_dir={out}"]
        status, shown, err = run_script(test_LDEQ_WFLW_V.main, *flags)
        assert (status, err) == (0, "")
        assert r"x\u202e[red][bold]\u200fy" in shown
        assert not {"\u202e", "\u200f"} & set(shown)
        found = json.loads((out / "results.json").read_text())
        assert id in found["videos" if video else "skipped"]
        (wflw_v / "videos" / f"{id}.mp4").unlink(missing_ok=True)
    assert_refused(run_script(test_LDEQ_WFLW_V.main, *flags, "--strict"), r"x\u202e[red]")
