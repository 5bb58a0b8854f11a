"""Downloading WFLW-V end to end, over loopback, by the real libraries: what works, what fails, and what is killed."""

import csv
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from datasets.wflw_v import WFLWVDataset
from ldeq.files import sha256_of_bytes
from tests.conftest import assert_refused
from tests.loopback import Answer, make_certificate, serving
from tests.processes import wait_until
from tests.wflw_v_site import FIRST, HEIGHT, LAST, PLAYER, WIDTH, Site, make_video, npy, numbers_of, tar_of, zip_of
from utils import download_WFLW_V
from utils.download.failure import Kind

REPOSITORY = Path(__file__).resolve().parent.parent
QUICK = ("--retry_delay=0.02", "--timeout=3", "--n_processes=2")


@pytest.fixture
def server():
    with serving() as made:
        yield made


@pytest.fixture
def root(tmp_path):
    return tmp_path / "100% WFLW_V {id}"


@pytest.fixture
def download(run_script, root):
    def run_it(site, *arguments):
        return run_script(
            download_WFLW_V.main, f"--output_folder={root}", f"--sources={site.sources}", *QUICK, *arguments
        )

    return run_it


def start(*arguments, **environment):
    """The script as its users run it: by its path, from any folder."""
    command = [sys.executable, REPOSITORY / "utils" / "download_WFLW_V.py", *QUICK, *arguments]
    return subprocess.Popen(
        [str(word) for word in command],
        env={**os.environ, **environment},
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def rows_of(root):
    with (root / "download_report.csv").open(newline="") as table:
        return {row["id"]: row for row in csv.DictReader(table)}


def kinds_of(root):
    return {id: row["kind"] for id, row in rows_of(root).items() if row["status"] == "failed"}


def assert_complete(root, ids):
    """The clips of ``ids``, and no others, are under their names, whole, and nothing unfinished is left."""
    assert {path.stem for path in (root / "videos").iterdir()} == set(ids)
    for id in ids:
        assert numbers_of(root / "videos" / f"{id}.mp4") == list(range(FIRST, LAST + 1))
    assert not list(root.rglob(".*"))


# -- What works --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_data_set_that_the_evaluation_reads(server, download, root, tmp_path):
    site = Site(server, 4, tmp_path)
    status, out, err = download(site)
    assert (status, err) == (0, "")
    assert "4 of 4 videos are complete" in out
    assert_complete(root, site.ids)
    dataset = WFLWVDataset(root, "all")
    assert [clip.id for clip in dataset.clips] == site.ids
    assert all(len(list(clip.frames())) == LAST - FIRST + 1 for clip in dataset.clips)
    row = rows_of(root)[site.ids[0]]
    assert (row["status"], row["frames"], row["width"], row["height"]) == ("complete", "8", str(WIDTH), str(HEIGHT))
    assert int(row["downloaded_bytes"]) == len(site.video)

    server.requests.clear()
    assert download(site)[0] == 0
    assert not server.requests


@pytest.mark.slow
def test_an_archive(server, download, root, tmp_path):
    """The whole data set in one archive: one clip in it is short, one is missing, and another folder is about it."""
    site = Site(server, 4, tmp_path)
    clip = make_video(LAST - FIRST + 1)
    members = {f"WFLW_V/videos/{id}.mp4": clip for id in site.ids[:3]}
    members[f"WFLW_V/videos/{site.ids[1]}.mp4"] = make_video(5)
    for kind, arrays in site.annotations.items():
        members |= {f"WFLW_V/{kind}/{id}.npy": npy(values) for id, values in arrays.items()}
    content = tar_of({**members, "WFLW_V/README.md": b"hello"})
    server.answers["/WFLW_V.tar.gz"] = Answer(content)
    status, out, _ = download(site, "--source=archive")
    assert status == 1
    assert "2 of 4" in out
    assert kinds_of(root) == {site.ids[1]: Kind.LENGTH, site.ids[3]: Kind.REMOVED}
    assert {path.stem for path in (root / "videos").iterdir()} == {site.ids[0], site.ids[2]}
    assert not list(root.rglob(".*"))
    assert not (root / "README.md").exists()

    server.requests.clear()
    status, out, _ = download(site, "--source=archive")
    assert status == 1
    assert "2 that the archive lacks" in out
    assert not server.requests  # what the archive does not have, it will not have
    assert download(site, "--source=youtube")[0] == 0
    assert {path for path in server.requests if path.endswith(".mp4")} == {
        f"/{id}.mp4" for id in (site.ids[1], site.ids[3])
    }


def damaged_in_the_middle(content):
    """A gzip file that inflates as before, but for some bytes of what it holds."""
    stored = gzip.compress(gzip.decompress(content), 0)
    values = stored.index(b"NUMPY") + 150
    return stored[:values] + bytes(20) + stored[values + 20 :]


def with_a_wrong_checksum(content):
    return content[:-8] + bytes(4) + content[-4:]


def publish_archive(site, ids):
    clip = make_video(LAST - FIRST + 1)
    members = {f"videos/{id}.mp4": clip for id in ids}
    for kind, arrays in site.annotations.items():
        members |= {f"{kind}/{id}.npy": npy(values) for id, values in arrays.items()}
    site.server.answers["/WFLW_V.tar.gz"] = Answer(tar_of(members))


@pytest.mark.slow
def test_an_archive_is_kept_until_its_clips_are_checked(server, download, root, tmp_path, monkeypatch):
    site = Site(server, 2, tmp_path)
    publish_archive(site, site.ids)
    with monkeypatch.context() as patched:
        patched.setattr("datasets.wflw_v.download.run.read_extent", Mock(side_effect=KeyboardInterrupt))
        assert download(site, "--source=archive")[0] == 130
    server.requests.clear()
    assert download(site, "--source=archive")[0] == 0
    assert not server.requests
    assert not list(root.rglob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"<!DOCTYPE html><html>Too many users have viewed or downloaded this file</html>", "web page"),
        (tar_of({"videos/x.mp4": b"", "../../evil": b""}), "evil"),
        (zip_of({"videos/x.mp4": bytes(10000)})[:9000], "ZIP or TAR"),
        (with_a_wrong_checksum(tar_of({"videos/x.mp4": bytes(10000)})), "is damaged"),
    ],
    ids=["web page", "evil", "cut off", "checksum"],
)
def test_archives_that_are_none(content, named, server, download, root, tmp_path):
    site = Site(server, 2, tmp_path)
    server.answers["/WFLW_V.tar.gz"] = Answer(content)
    assert_refused(download(site, "--source=archive"), named)
    assert not (root / "videos").exists()
    assert not [path for path in root.rglob("*") if "archive" in path.name]


@pytest.mark.slow
def test_annotations_are_whole_and_what_they_were_at_first(server, download, root, tmp_path):
    site = Site(server, 2, tmp_path)
    members = {f"bboxes/{id}.npy": npy(values) for id, values in site.annotations["bboxes"].items()}
    first, other = tar_of(members), tar_of({**members, "bboxes/readme": b"other"})
    for damage in (damaged_in_the_middle, with_a_wrong_checksum, lambda content: content[:-9]):
        server.answers["/bboxes.zip"] = Answer(damage(first))
        assert_refused(download(site), f"{server.url}/bboxes.zip", "is damaged")
        assert not [path for path in root.rglob("*") if path.suffix == ".npy" or "archive" in path.name]
    server.answers["/bboxes.zip"] = Answer(first)
    assert download(site)[0] == 0  # fetched afresh

    shutil.rmtree(root / "bboxes")
    server.answers["/bboxes.zip"] = Answer(other)
    record = root / "download_sha256.txt"
    named = ("bboxes.zip", sha256_of_bytes(first), sha256_of_bytes(other), f"remove the line of {server.url}", record)
    assert_refused(download(site), *named)
    assert not list(root.rglob("bboxes/*.npy"))
    server.answers["/bboxes.zip"] = Answer(with_a_wrong_checksum(other))
    assert_refused(download(site), "is damaged")  # which it is before it is another one
    lines = record.read_text().splitlines(keepends=True)
    record.write_text("no digest\n")
    server.answers["/bboxes.zip"] = Answer(other)
    assert_refused(download(site), record, "line 1")
    record.write_text("".join(line for line in lines if "bboxes" not in line))
    assert download(site)[0] == 0
    assert sha256_of_bytes(other) in record.read_text()


@pytest.mark.slow
def test_an_archive_of_the_users_own_is_neither_deleted_nor_recorded(server, download, root, tmp_path):
    site = Site(server, 2, tmp_path)
    mine = tmp_path / "mine.tar.gz"
    mine.write_bytes(with_a_wrong_checksum(tar_of({f"videos/{site.ids[0]}.mp4": make_video(LAST - FIRST + 1)})))
    site.publish(archive=str(mine))
    assert_refused(download(site, "--source=archive"), mine, "is damaged")
    assert mine.exists()
    publish_archive(site, site.ids)
    mine.write_bytes(server.answers["/WFLW_V.tar.gz"].body)
    assert download(site, "--source=archive")[0] == 0
    assert mine.exists()
    assert not (root / "download_sha256.txt").exists()


@pytest.mark.slow
def test_a_list_that_is_incomplete_is_tried_again_and_at_the_next_run(server, download, root, tmp_path):
    from tests.test_download_parts import HIGH, LOW, manifest, manifest_with_drm

    site = Site(server, 2, tmp_path)
    site.publish(video=f"{server.url}/{{id}}.mpd")
    listed = f"/{site.ids[0]}.mpd"
    server.answers[listed] = manifest_with_drm(LOW, HIGH, protected=["high"])
    server.answers["/low.mp4"] = Answer(make_video(size=(640, 360)), "video/mp4")
    server.answers["/high.mp4"] = Answer(make_video(size=(1280, 720)), "video/mp4")
    status, out, _ = download(site, "--retries=1", "--videos", site.ids[0])
    assert status == 1
    assert "incomplete-list" in out
    assert kinds_of(root) == {site.ids[0]: Kind.INCOMPLETE}
    assert rows_of(root)[site.ids[0]]["attempts"] == "2"
    assert not list((root / "videos").glob("*"))
    server.answers[listed] = manifest(LOW, HIGH)
    assert download(site, "--videos", site.ids[0])[0] == 0
    assert rows_of(root)[site.ids[0]]["height"] == "720"


@pytest.mark.slow
def test_some_videos_of_a_list_with_streams_of_other_sizes(server, download, root, tmp_path):
    """Ids begin with '-'. Of a list without 720p, the larger stream is brought to it."""
    from tests.test_download_parts import manifest

    site = Site(server, 4, tmp_path)
    far = site.annotations["landmarks"][site.ids[0]] + np.float32([1100, 600])
    site.annotations["landmarks"] = dict.fromkeys(site.ids, far)
    site.publish(video=f"{server.url}/{{id}}.mpd")
    server.answers[f"/{site.ids[1]}.mpd"] = manifest(("low", 640, 360, 30), ("best", 1920, 1080, 30))
    server.answers[f"/{site.ids[3]}.mpd"] = manifest(("low", 640, 360, 30), ("mid", 854, 480, 30))
    server.answers["/best.mp4"] = Answer(make_video(size=(1920, 1080)), "video/mp4")
    status, _, _ = download(site, "--videos", site.ids[1], site.ids[3])
    assert status == 1
    rows = rows_of(root)
    assert set(rows) == {site.ids[1], site.ids[3]}
    assert (rows[site.ids[1]]["width"], rows[site.ids[1]]["height"]) == ("1280", "720")
    assert "scaled from 1920x1080" in rows[site.ids[1]]["note"]
    assert kinds_of(root) == {site.ids[3]: Kind.WRONG_SIZE}
    assert_complete(root, [site.ids[1]])


# -- What fails --------------------------------------------------------------------------------------------------------


def misbehave(site):
    """One video in four fails, of nine kinds; gives the kinds by id."""
    server, ids = site.server, site.ids
    html = b"<!DOCTYPE html><html><body>Sorry</body></html>"
    ways = {
        Kind.REMOVED: Answer(b"", status=404),
        Kind.REGION: Answer(b"", status=451),
        Kind.LOGIN: Answer(b"", status=401),
        Kind.BLOCKED: Answer(b"", status=429),
        Kind.NETWORK: Answer(site.video, "video/mp4", break_after=900),
        Kind.NO_STREAM: Answer(html, "text/html"),
        Kind.UNDECODABLE: Answer(html, "video/mp4"),
        Kind.LENGTH: Answer(make_video(LAST), "video/mp4"),
        Kind.WRONG_SIZE: Answer(make_video(size=(32, 24)), "video/mp4"),
    }
    failing = {}
    for index, id in enumerate(ids[5::4]):
        kind, answer = list(ways.items())[index % len(ways)]
        failing[id] = kind
        server.answers[f"/{id}.mp4"] = answer
    return failing


@pytest.mark.slow
def test_many_videos_of_which_some_fail(server, download, root, tmp_path):
    site = Site(server, 44, tmp_path)
    failing = misbehave(site)
    assert len(failing) == 10
    assert len(set(failing.values())) == 9
    # Some of the others are served badly at first, and well when asked again.
    for id in site.ids[3::12]:
        server.answers[f"/{id}.mp4"] = Answer(site.video, "video/mp4", break_after=1500, n_breaks=3)
    status, out, err = download(site, "--retries=1")
    assert status == 1
    assert "34 of 44 videos" in out
    assert "Traceback" not in err
    assert kinds_of(root) == failing
    rows = rows_of(root)
    assert list(rows) == site.ids
    assert Counter(row["status"] for row in rows.values()) == {"complete": 34, "failed": 10}
    assert all(row["message"] and row["attempts"] in "12" for row in rows.values() if row["status"] == "failed")
    assert_complete(root, [id for id in site.ids if id not in failing])

    # What was missing is there now: a second run asks for nothing else.
    for id in list(failing)[:6]:
        server.answers[f"/{id}.mp4"] = Answer(site.video, "video/mp4")
    server.requests.clear()
    assert download(site, "--retries=0")[0] == 1
    assert set(server.requests) == {f"/{id}.mp4" for id in failing}
    assert set(kinds_of(root)) == set(list(failing)[6:])


@pytest.mark.slow
def test_a_site_that_refuses_everything_is_left_alone(server, download, root, tmp_path):
    site = Site(server, 40, tmp_path)
    for id in site.ids[3:]:
        server.answers[f"/{id}.mp4"] = Answer(b"", status=429)
    status, _, err = download(site, "--retries=0")
    assert status == 2
    assert "in a row" in err
    assert "--cookies-from-browser" in err
    assert "Traceback" not in err
    assert sum(path.endswith(".mp4") for path in server.requests) < 30
    assert_complete(root, site.ids[:3])


@pytest.mark.slow
def test_what_annotations_and_lists_lack(server, download, root, tmp_path):
    site = Site(server, 6, tmp_path)
    none, short, unranged, outside, other, _ = site.ids
    del site.annotations["bboxes"][none]
    site.annotations["landmarks"][short] = site.annotations["landmarks"][short][:-1]
    site.annotations["landmarks"][outside] = site.annotations["landmarks"][outside] + np.float32([30, 0])
    site.annotations = {
        kind: {**arrays, other: np.concatenate([arrays[other], arrays[other][:1]])}
        for kind, arrays in site.annotations.items()
    }
    site.lists["download_ranges.txt"] = site.lists["download_ranges.txt"].replace(f"{unranged} {FIRST} {LAST}\n", "")
    site.publish()
    assert download(site)[0] == 1
    annotations = dict.fromkeys((none, short, other), Kind.ANNOTATIONS)
    assert kinds_of(root) == {**annotations, unranged: Kind.NO_RANGE, outside: Kind.WRONG_SIZE}
    assert not [path for path in server.requests if path.endswith(".mp4") and path[1:-4] in (none, short, unranged)]
    assert_complete(root, site.ids[-1:])


@pytest.mark.slow
def test_a_file_under_its_final_name_is_checked_if_no_report_vouches_for_it(server, download, root, tmp_path):
    site = Site(server, 3, tmp_path)
    assert download(site)[0] == 0
    (root / "download_report.csv").write_text("id,status\nsomething,else\n")
    (root / "videos" / f"{site.ids[0]}.mp4").write_bytes(site.video[:900])
    server.requests.clear()
    assert download(site)[0] == 0
    assert set(server.requests) == {f"/{site.ids[0]}.mp4"}
    assert_complete(root, site.ids)
    # One that has another length than the report says is no longer that of the report.
    (root / "videos" / f"{site.ids[1]}.mp4").write_bytes(b"")
    assert download(site)[0] == 0
    assert_complete(root, site.ids)
    # Damage that keeps the length is what --recheck is for.
    path = root / "videos" / f"{site.ids[2]}.mp4"
    path.write_bytes(bytes(path.stat().st_size))
    assert download(site, "--recheck")[0] == 0
    assert_complete(root, site.ids)


@pytest.mark.slow
def test_a_clip_of_the_users_that_is_not_right_is_kept_until_there_is_one_that_is(server, download, root, tmp_path):
    site = Site(server, 2, tmp_path)
    id = site.ids[0]
    clip = root / "videos" / f"{id}.mp4"
    clip.parent.mkdir(parents=True)
    clip.write_bytes(site.video)  # not cut
    server.answers[f"/{id}.mp4"] = Answer(b"", status=404)
    assert download(site)[0] == 1
    assert clip.with_suffix(".rejected.mp4").read_bytes() == site.video
    assert "rejected.mp4" in rows_of(root)[id]["note"]
    server.answers[f"/{id}.mp4"] = Answer(site.video, "video/mp4")
    assert download(site)[0] == 0
    assert_complete(root, site.ids)


def test_lists_are_checked_by_their_digest(server, download, root, tmp_path):
    site = Site(server, 2, tmp_path)
    server.answers["/easy_video_IDs.txt"] = Answer(b"something else\n")
    assert_refused(download(site), "easy_video_IDs.txt", "SHA-256")
    assert not (root / "easy_video_IDs.txt").exists()
    server.answers["/easy_video_IDs.txt"] = Answer(site.lists["easy_video_IDs.txt"].replace("\n", "\r\n").encode())
    server.answers["/bboxes.zip"] = Answer(b"", status=404)
    assert_refused(download(site), "bboxes.zip", "404")
    assert (root / "easy_video_IDs.txt").read_text() == site.lists["easy_video_IDs.txt"]


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("hard_video_IDs.txt", "a\nb\na\n", "repeats a"),
        ("hard_video_IDs.txt", "../a\n", "cannot be a file name"),
        ("download_ranges.txt", "a 1\n", "line 1"),
        ("download_ranges.txt", "a 1 2\na 1 3\n", "another range"),
        ("download_ranges.txt", "a 5 2\n", "ends at frame 2"),
        ("download_ranges.txt", "a -5 2\n", "line 1"),
    ],
)
def test_lists_that_say_something_odd(name, content, named, server, download, tmp_path):
    site = Site(server, 2, tmp_path)
    site.lists[name] = content
    site.publish()
    assert_refused(download(site), name, named)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--cookies", "/nowhere/cookies.txt"], "/nowhere/cookies.txt"),
        (["--cookies-from-browser", "netscape"], "netscape"),
        (["--proxy", "localhost"], "--proxy"),
        (["--proxy", "http://[::1"], "--proxy"),
        (["--proxy", "socks5://host:99999"], "--proxy"),
        (["--limit-rate", "fast"], "fast"),
        (["--sources", "/nowhere.json"], "/nowhere.json"),
        (["--backend", "pytube", "--limit-rate", "1M"], "limit-rate"),
        (["--n_processes", "0"], "n_processes"),
        (["--videos", "unknown"], "unknown"),
    ],
)
def test_flags_that_cannot_be(arguments, named, server, download, tmp_path):
    assert_refused(download(Site(server, 2, tmp_path), *arguments), named)


@pytest.mark.parametrize("content", [b'[{"name": "a"}]', b"hello\n", b"# Netscape HTTP Cookie File\n", b"\xff\x00"])
def test_cookies_that_are_none(content, server, download, tmp_path):
    cookies = tmp_path / "cookies.txt"
    cookies.write_bytes(content)
    assert_refused(download(Site(server, 1, tmp_path), "--cookies", cookies), "cookies.txt", "Netscape")


@pytest.mark.parametrize(
    "content",
    [
        *("[]", "{", '{"other": "x"}', '{"lists": {"a": 1}}'),
        *(
            '{"video": "no id"}',
            '{"video": "{id.x}"}',
            '{"video": "https://x/{id:d}"}',
            '{"video": "https://x/{id!x}"}',
        ),
        *('{"video": "https://x/{id}{"}', '{"video": "https://x/{{id}}"}', '{"video": "https://x/{id}/{}"}'),
        *('{"video": "https://x/{id}/{name}"}', '{"video": "{id}"}', '{"video": "file:///x/{id}"}'),
        *('{"video": "http://[::1/{id}"}', '{"video": "http://x:99999/{id}"}', '{"video": "http://x y/{id}"}'),
        *('{"bboxes": "http://[::1/x"}', '{"landmarks": "ftp://x/y"}', '{"archive": "nowhere.zip"}'),
        '{"lists": {"easy_video_IDs.txt": {"address": "http://[::1/x", "sha256": "0"}}}',
    ],
)
def test_sources_that_cannot_be(content, run_script, tmp_path):
    (tmp_path / "sources.json").write_text(content)
    arguments = (f"--output_folder={tmp_path}", f"--sources={tmp_path / 'sources.json'}")
    assert_refused(run_script(download_WFLW_V.main, *arguments), "sources.json")


def test_a_source_is_named_by_its_key(run_script, tmp_path):
    path = tmp_path / "sources.json"
    address = "http://[::1/x"
    of_lists = {"lists": {"easy_video_IDs.txt": {"address": address, "sha256": "0"}}}
    for content in ({"bboxes": address}, {"video": f"{address}{{id}}"}, of_lists):
        path.write_text(json.dumps(content))
        refused = run_script(download_WFLW_V.main, f"--output_folder={tmp_path}", f"--sources={path}")
        assert_refused(refused, f"{path}: {next(iter(content))}", "http://[::1/x")


# -- What is printed ---------------------------------------------------------------------------------------------------


def test_the_table_of_failures_fits_a_terminal(capsys):
    report = Mock()
    report.counts.return_value = Counter(dict.fromkeys(Kind, 1000))
    summary = Mock(report=report, ids=[""] * 1000, n_complete=0, n_complete_before=0, n_left_out=0)
    download_WFLW_V.print_summary(summary, "WFLW_V")
    out = capsys.readouterr().out
    assert all(kind.value in out for kind in Kind)
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("module", ["utils.download_WFLW_V", "utils.download_weights", "datasets.crop_WFLW"])
def test_help_answers_at_once(module):
    """It imports none of the large libraries."""
    code = (
        f"import runpy, sys\nsys.argv = ['x', '--help']\ntry: runpy.run_module('{module}', run_name='__main__')\n"
        "except SystemExit as end: sys.exit(end.code or ' '.join({'torch', 'numpy', 'cv2', 'av'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
    assert "--help" in done.stdout


# -- What is killed ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_ended_leaves_nothing_wrong_and_another_goes_on(how, server, download, root, tmp_path):
    site = Site(server, 12, tmp_path)
    for id in site.ids[5:]:
        server.answers[f"/{id}.mp4"] = Answer(site.video, "video/mp4", slowness=0.2)
    process = start("--output_folder", root, "--sources", site.sources)
    wait_until(lambda: len(list((root / "videos").glob("[!.]*.mp4"))) >= 4)
    wait_until(lambda: any(f"/{id}.mp4" in server.requests for id in site.ids[5:]))
    process.send_signal(how)
    _, err = process.communicate(timeout=120)
    wait_until(lambda: not processes_of(root))
    done = [path.stem for path in (root / "videos").glob("[!.]*")]
    assert 4 <= len(done) < 12
    for id in done:
        assert numbers_of(root / "videos" / f"{id}.mp4") == list(range(FIRST, LAST + 1))
    if how != signal.SIGKILL:
        assert process.returncode == 130
        assert "of 12 videos are there" in err
        assert "Traceback" not in err
        assert not list(root.rglob(".*"))

    for id in site.ids[5:]:
        server.answers[f"/{id}.mp4"].slowness = 0.0
    server.requests.clear()
    assert download(site)[0] == 0
    assert_complete(root, site.ids)
    assert not [id for id in done if f"/{id}.mp4" in server.requests]


def processes_of(root):
    """Processes that are at work for this folder, by what they have open or as their folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            links = [os.readlink(process / "cwd"), *(os.readlink(link) for link in (process / "fd").iterdir())]
        except OSError:
            continue
        if any(str(root) in link for link in links):
            found.append(process.name)
    return found


@pytest.mark.slow
def test_two_at_a_time_in_one_folder_are_refused(server, download, root, tmp_path):
    site = Site(server, 2, tmp_path)
    server.answers["/bboxes.zip"].slowness = 1.0
    process = start("--output_folder", root, "--sources", site.sources)
    try:
        wait_until(lambda: "/bboxes.zip" in server.requests)
        assert_refused(download(site), root, "is in use by", f"process {process.pid}")
    finally:
        process.kill()
        process.communicate()


# -- The real addresses, through a proxy -------------------------------------------------------------------------------

SCRIPT = "/s/player/abc/player_ias.vflset/base.js"
HOSTS = ["youtube.com", "www.youtube.com", "video.example", "drive.google.com", "drive.usercontent.google.com"]


@pytest.fixture
def proxy(tmp_path, monkeypatch):
    certificate = make_certificate(tmp_path, HOSTS)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with serving(certificate) as made:
        yield made


def serve_drive_file(server, id, content, name="file.zip"):
    """A large file on Google Drive: a page that warns of no scan for viruses, with a form that leads to the file."""
    fields = f'<input type="hidden" name="id" value="{id}"><input type="hidden" name="confirm" value="t">'
    action = "https://drive.usercontent.google.com/download"
    page = f'<html><form id="download-form" action="{action}" method="get">{fields}</form></html>'
    server.answers[f"//drive.google.com/uc?id={id}"] = Answer(page.encode(), "text/html; charset=utf-8")
    attachment = {"Content-Disposition": f'attachment; filename="{name}"'}
    server.answers[f"//drive.usercontent.google.com/download?id={id}&confirm=t"] = Answer(content, headers=attachment)


def serve_youtube(server, video, unplayable):
    """As much of YouTube as pytube asks for: a page, its player's script, the list of streams, and these."""

    def entry(itag, kind, size):
        width, height = size
        url = f"https://video.example/play?itag={itag}&signature=given"
        return {
            "itag": itag,
            "url": url,
            "mimeType": kind,
            "bitrate": 1000,
            "width": width,
            "height": height,
            "fps": 25,
        }

    streams = {
        "formats": [entry(18, 'video/mp4; codecs="avc1.42001E, mp4a.40.2"', (WIDTH, HEIGHT))],
        "adaptiveFormats": [
            entry(160, 'video/mp4; codecs="avc1.4d400c"', (32, 24)),
            {**entry(140, 'audio/mp4; codecs="mp4a.40.2"', (0, 0)), "audioQuality": "AUDIO_QUALITY_MEDIUM"},
        ],
    }

    def answer(path):
        head, _, query = path.partition("?")
        if head == "//youtube.com/watch":
            id = query.partition("v=")[2]
            status, reason = unplayable.get(id, ("OK", None))
            response = {"playabilityStatus": {"status": status, **({"reason": reason} if reason else {})}}
            page = (
                f"<html>/s/player/abc/player_ias.vflset/base.js var ytInitialPlayerResponse = {json.dumps(response)};"
            )
            return Answer(page.encode(), "text/html")
        if head == "//youtube.com/s/player/abc/player_ias.vflset/base.js":
            return Answer(PLAYER.encode(), "text/javascript")
        if head == "//www.youtube.com/youtubei/v1/player":
            details = {"title": "a video", "lengthSeconds": "1"}
            return Answer(json.dumps({"streamingData": streams, "videoDetails": details}).encode(), "application/json")
        if head == "//video.example/play" and "itag=18" in query:
            first, _, last = query.partition("&range=")[2].partition("-")
            return Answer(video[int(first or 0) : int(last or len(video)) + 1], "video/mp4")
        return None

    server.fallback = answer


@pytest.mark.slow
def test_pytube_with_annotations_from_google_drive(proxy, root, tmp_path):
    """By the published addresses, but for those of the lists, whose digests are theirs."""
    site = Site(proxy, 3, tmp_path)
    site.publish(bboxes="", landmarks="", archive="", video="")
    for kind, id in (
        ("bboxes", "17r2w3abzUsPlsDfqYOsjGGkTp2nvHxds"),
        ("landmarks", "1ITmlgXydTogFa5HkE0NvluKAxA4LCloj"),
    ):
        serve_drive_file(proxy, id, proxy.answers[f"/{kind}.zip"].body)
    private = ("LOGIN_REQUIRED", "This is a private video. Please sign in to verify that you may see it.")
    serve_youtube(proxy, site.video, {site.ids[1]: private})
    flags = ("--output_folder", root, "--sources", site.sources, "--proxy", proxy.url, "--backend", "pytube")
    process = start(*flags, "--retries", "0", no_proxy="127.0.0.1")
    out, err = process.communicate(timeout=600)
    assert process.returncode == 1, err
    assert "2 of 3 videos" in out
    assert kinds_of(root) == {site.ids[1]: Kind.PRIVATE}
    assert rows_of(root)[site.ids[0]]["stream"] == "18"
    assert_complete(root, [site.ids[0], site.ids[2]])
