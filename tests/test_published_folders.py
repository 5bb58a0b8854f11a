"""Data sets as they are published and unpacked, with lists or without, whole or in part; and their checks."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import test_LDEQ_WFLW
import test_LDEQ_WFLW_V
from datasets import crop_WFLW
from datasets.wflw import SPLITS, WFLWDataset
from datasets.wflw import __main__ as check_wflw
from datasets.wflw_v import WFLWVDataset
from datasets.wflw_v import __main__ as check_wflw_v
from datasets.wflw_v.download import sources
from ldeq.files import sha256_of_bytes
from tests.conftest import assert_refused
from tests.loopback import Answer, serving
from tests.test_crop_wflw import line_of

pytestmark = pytest.mark.usefixtures("no_plots")
IDS = ["-hard-D4", "clip-A1", "clip-B2", "clip_C3", "hardE5"]
#: The ids of the lists that are published, of which the data set has two hard and no easy ones.
LISTS = {"hard_video_IDs.txt": "absent1\nhardE5\n-hard-D4\nabsent2\n", "easy_video_IDs.txt": "absent3\n"}


def results(folder):
    return json.loads((folder / "results.json").read_text())


@pytest.fixture
def three_folders(wflw_v):
    """WFLW-V as it is published: without id lists."""
    for path in wflw_v.glob("*.txt"):
        path.unlink()
    return wflw_v


@pytest.fixture
def site(monkeypatch, tmp_path):
    """The server that the lists are published on, and an empty cache."""
    with serving() as server:
        monkeypatch.setenv("LDEQ_HOME", str(tmp_path / "cache"))
        monkeypatch.setattr(sources, "_LISTS", f"{server.url}/")
        digests = {name: sha256_of_bytes(content.encode()) for name, content in LISTS.items()}
        monkeypatch.setattr(sources, "_SHA256", digests)
        for name, content in LISTS.items():
            server.answers[f"/{name}"] = Answer(content.encode(), "text/plain")
        yield server


@pytest.fixture
def video_run(run_script, weights, tmp_path):
    def run_it(root, *more, out="out"):
        flags = [weights, f"--WFLW_V_dataset_path={root}", f"--output_dir={tmp_path / out}"]
        return run_script(test_LDEQ_WFLW_V.main, *flags, *more)

    return run_it


# -- WFLW-V without its lists ------------------------------------------------------------------------------------------


def test_all_needs_no_list(three_folders, site, video_run, tmp_path):
    (three_folders / "bboxes" / "._clip-A1.npy").write_bytes(b"what one system leaves")
    (three_folders / "bboxes" / "README.txt").touch()
    (three_folders / "landmarks" / "clip-B2.npy").unlink()
    (three_folders / "videos" / "clip_C3.mp4").rename(three_folders / "videos" / "clip_C3.webm")
    status, out, err = video_run(three_folders, "--WFLW_V_split=all")
    assert (status, err) == (0, "")
    found = results(tmp_path / "out")
    assert list(found["videos"]) == ["-hard-D4", "clip-A1", "hardE5"]
    assert found["skipped"].keys() == {"clip-B2", "clip_C3"}
    assert "landmarks/clip-B2.npy: no such file" in found["skipped"]["clip-B2"]
    assert "clip_C3.mp4: no such file" in found["skipped"]["clip_C3"]
    assert "clip_C3.webm" in found["skipped"]["clip_C3"]
    assert "skipped  clip-B2" in out
    assert not site.requests
    assert_refused(video_run(three_folders, "--WFLW_V_split=all", "--strict"), "clip-B2.npy", "clip_C3.mp4")


def test_all_is_the_lists_where_both_are_there(wflw_v):
    (wflw_v / "easy_video_IDs.txt").write_text("clip_C3\n")
    assert [clip.id for clip in WFLWVDataset(wflw_v, "all").clips] == ["-hard-D4", "hardE5", "clip_C3"]
    (wflw_v / "easy_video_IDs.txt").unlink()
    assert [clip.id for clip in WFLWVDataset(wflw_v, "all").clips] == IDS
    assert [clip.id for clip in WFLWVDataset(wflw_v, "all", ["clip_C3"]).clips] == ["clip_C3"]


def test_published_lists_are_fetched_once_for_any_folder(three_folders, site, video_run, tmp_path):
    assert video_run(three_folders)[0] == 0
    found = results(tmp_path / "out")
    assert list(found["videos"]) == ["hardE5", "-hard-D4"]
    assert found["skipped"].keys() == {"absent1", "absent2"}
    assert "no such file" in found["skipped"]["absent1"]
    site.answers.clear()
    other = Path(shutil.copytree(three_folders, tmp_path / "other"))
    assert [clip.id for clip in WFLWVDataset(other, "hard").clips] == ["hardE5", "-hard-D4"]
    assert sum(site.requests.values()) == 1
    assert sorted(path.name for path in three_folders.iterdir()) == ["bboxes", "landmarks", "videos"]


def test_a_list_of_the_folder_comes_first(three_folders, site):
    (three_folders / "hard_video_IDs.txt").write_text("clip-A1")
    assert [clip.id for clip in WFLWVDataset(three_folders, "hard").clips] == ["clip-A1"]
    # The published list, as the downloader puts it there, is of more videos than a folder may have.
    (three_folders / "hard_video_IDs.txt").write_bytes(LISTS["hard_video_IDs.txt"].replace("\n", "\r\n").encode())
    dataset = WFLWVDataset(three_folders, "hard")
    assert [clip.id for clip in dataset.clips] == ["hardE5", "-hard-D4"]
    assert dataset.lacking.keys() == {"absent1", "absent2"}
    (three_folders / "easy_video_IDs.txt").write_text(LISTS["easy_video_IDs.txt"])
    dataset = WFLWVDataset(three_folders, "all")
    assert [clip.id for clip in dataset.clips] == ["hardE5", "-hard-D4"]
    assert dataset.lacking.keys() == {"absent1", "absent2", "absent3"}
    assert not site.requests


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (Answer(b"not here", status=404), "HTTP status 404"),
        (Answer(b"hardE5\n"), "SHA-256"),
        (Answer(b"<html>sign in</html>", "text/html"), "could not be had"),
    ],
)
def test_a_list_that_cannot_be_had(answer, named, three_folders, site, video_run, tmp_path):
    site.answers["/hard_video_IDs.txt"] = answer
    place = tmp_path / "cache" / "wflw_v" / "hard_video_IDs.txt"
    refused = video_run(three_folders)
    assert_refused(refused, three_folders / "hard_video_IDs.txt", site.url, named, place, "--WFLW_V_split all")
    assert not place.exists()
    # What the sentence says helps.
    place.parent.mkdir(parents=True)
    place.write_bytes(LISTS["hard_video_IDs.txt"].encode())
    assert len(WFLWVDataset(three_folders, "hard").clips) == 2


def test_a_cache_that_is_damaged_or_cannot_be_written_to(three_folders, site, monkeypatch, tmp_path):
    place = tmp_path / "cache" / "wflw_v" / "hard_video_IDs.txt"
    place.parent.mkdir(parents=True)
    place.write_text("clip-A1\n")
    assert len(WFLWVDataset(three_folders, "hard").clips) == 2
    assert place.read_text() == LISTS["hard_video_IDs.txt"]
    monkeypatch.setenv("LDEQ_HOME", str(place))
    assert len(WFLWVDataset(three_folders, "hard").clips) == 2


def test_a_folder_with_none_of_the_published_videos(three_folders, site, video_run):
    refused = video_run(three_folders, "--WFLW_V_split=easy")
    assert_refused(refused, three_folders / "easy_video_IDs.txt", "no video of the published easy list", "split all")


def test_where_the_data_set_is(three_folders, site, video_run, tmp_path):
    above = tmp_path / "unpacked"
    (above / "__MACOSX" / "bboxes").mkdir(parents=True)
    (above / "__MACOSX" / "landmarks").mkdir()
    shutil.move(three_folders, above / "WFLW_V")
    assert [clip.id for clip in WFLWVDataset(above, "all").clips] == IDS
    assert_refused(video_run(above / "WFLW_V" / "videos"), "is a part of a data set", above / "WFLW_V")
    (tmp_path / "WFLW_V.zip").write_bytes(b"PK\x03\x04")
    assert_refused(video_run(tmp_path / "WFLW_V.zip"), "is a file, expected the folder that it is unpacked to")
    shutil.copytree(above / "WFLW_V", above / "again")
    assert_refused(video_run(above), "holds WFLW_V, again, expected one of them")
    shutil.rmtree(above / "again")
    for folder in ("bboxes", "landmarks"):
        for path in (above / "WFLW_V" / folder).iterdir():
            path.rename(path.with_suffix(".npz"))
    assert_refused(video_run(above), "has no .npy in bboxes, but 5 .npz")
    shutil.rmtree(above / "WFLW_V" / "landmarks")
    assert_refused(video_run(above / "WFLW_V"), "has no folder landmarks, but bboxes, videos")
    assert not site.requests


@pytest.mark.parametrize(
    "change",
    [
        lambda bboxes, landmarks: (bboxes.round().astype(int), landmarks.round().astype(np.int64)),
        lambda bboxes, landmarks: (bboxes.astype(np.float16), landmarks.astype(np.float16)),
        lambda bboxes, landmarks: (np.hstack([bboxes, bboxes]), np.asfortranarray(landmarks)),
        lambda bboxes, landmarks: (bboxes.astype(">f8"), landmarks.astype(np.longdouble)),
        lambda bboxes, landmarks: (bboxes.round().astype("u2"), landmarks - 400),
    ],
)
def test_annotations_of_any_numbers(change, wflw_v):
    paths = [wflw_v / folder / "hardE5.npy" for folder in ("bboxes", "landmarks")]
    for path, array in zip(paths, change(*map(np.load, paths)), strict=True):
        np.save(path, array)
    assert WFLWVDataset(wflw_v, "hard").lengths["hardE5"] == 6


# -- WFLW --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def wflw_run(run_script, weights, tmp_path):
    def run_it(root, *more):
        flags = [weights, f"--dataset_path={root}", f"--output_dir={tmp_path / 'out'}", "--workers=0"]
        return run_script(test_LDEQ_WFLW.main, *flags, *more)

    return run_it


def keep_only(root, *splits):
    for split in set(SPLITS) - set(splits):
        (root / f"{split}.txt").unlink()
        shutil.rmtree(root / split)


def test_wflw_as_it_is_unpacked(wflw, wflw_run, tmp_path):
    """A folder in a folder, what one system puts beside it, other line ends and blank lines, and some splits alone."""
    keep_only(wflw, "test_blur", "test_makeup")
    path = wflw / "test_blur.txt"
    lines = path.read_text().splitlines()
    path.write_bytes(
        b"\xef\xbb\xbf" + "\r\n".join([*(line.replace(" ", "\t") for line in lines), "", " ", ""]).encode()
    )
    beside = wflw.parent / "unpacked" / "__MACOSX"
    beside.mkdir(parents=True)
    (beside / "test_blur.txt").write_bytes(b"what one system leaves")
    shutil.move(wflw, beside.parent / "WFLW")
    status, out, err = wflw_run(beside.parent)
    assert (status, err) == (0, "")
    assert list(results(tmp_path / "out")["splits"]) == ["test_makeup", "test_blur"]
    assert "left out test, test_largepose, test_expression, test_illumination, test_occlusion:" in out
    assert_refused(wflw_run(beside.parent, "--split=test"), "test.txt: no such file")
    assert_refused(wflw_run(beside.parent / "WFLW" / "test_blur"), "is a part of a data set")
    (tmp_path / "WFLW.zip").write_bytes(b"PK\x03\x04")
    assert_refused(wflw_run(tmp_path / "WFLW.zip"), "is a file")
    (tmp_path / "empty").mkdir()
    assert_refused(wflw_run(tmp_path / "empty"), "empty: has no list of faces")


def test_a_split_of_another_name(wflw, wflw_run, run_script, tmp_path):
    """Also where the folder above happens to hold a data set."""
    shutil.copytree(wflw / "test_blur", wflw / "mine" / "own")
    shutil.copy(wflw / "test_blur.txt", wflw / "mine" / "own.txt")
    assert wflw_run(wflw / "mine", "--split=own")[0] == 0
    assert list(results(tmp_path / "out")["splits"]) == ["own"]
    assert run_script(check_wflw.main, wflw / "mine", "--split=own", f"--output_dir={tmp_path / 'check'}")[0] == 0


@pytest.mark.parametrize("words", ["1e-1 5E-1", "0 1", "+.25 0.75", "0.1 1_0e-2"])
def test_numbers_of_any_spelling(words, wflw):
    line = (wflw / "test.txt").read_text().splitlines()[0].split()
    (wflw / "test.txt").write_text(" ".join([line[0], *words.split(), *line[3:]]))
    landmarks = WFLWDataset(wflw, "test")[0][1]
    assert landmarks.shape == (98, 2)


def test_own_annotations_without_attributes(run_script, wflw_run, tmp_path):
    """Lists as :mod:`datasets.crop_WFLW` makes them of faces of which none has an attribute, or of which some have."""
    images = tmp_path / "images"
    images.mkdir()
    Image.new("RGB", (200, 200), (90, 120, 150)).save(images / "a.png")
    points = np.random.default_rng(0).uniform(20, 180, (98, 2))
    for attributes, with_faces in (((), ["test"]), (("blur",), ["test", "test_blur"])):
        (tmp_path / "list_98pt_rect_attr_test.txt").write_text(line_of(points, attributes, "a.png"))
        flags = [f"--images={images}", f"--annotations={tmp_path}", f"--output_folder={tmp_path / 'WFLW'}"]
        assert run_script(crop_WFLW.main, *flags, "--split", *SPLITS)[0] == 0
        status, out, err = wflw_run(tmp_path / "WFLW")
        assert (status, err) == (0, "")
        assert list(results(tmp_path / "out")["splits"]) == with_faces
        (line,) = [line for line in out.splitlines() if line.startswith("left out")]
        assert [split for split in SPLITS if split in line.partition(":")[0].replace(",", "").split()] == [
            split for split in SPLITS if split not in with_faces
        ]
    assert_refused(wflw_run(tmp_path / "WFLW", "--split", "test", "test_makeup"), "test_makeup.txt: is empty")


@pytest.mark.parametrize("content", [None, "", "\ufeff\r\n \n"])
def test_a_full_test_set_that_has_lost_its_list_is_an_error(content, wflw, wflw_run):
    (wflw / "test.txt").unlink()
    if content is not None:
        (wflw / "test.txt").write_text(content, encoding="utf-8")
    assert_refused(wflw_run(wflw), "test.txt: ", "expected")


# -- the checks --------------------------------------------------------------------------------------------------------


def test_a_sound_wflw(wflw, run_script, tmp_path):
    (wflw / "test_makeup.txt").write_text("")
    status, out, err = run_script(check_wflw.main, wflw, f"--output_dir={tmp_path / 'out'}")
    assert (status, err) == (0, "")
    assert "No problems." in out
    with Image.open(tmp_path / "out" / "contact_sheet.png") as sheet:
        assert sheet.size == (8 * 256, 6 * 256)
        levels = np.asarray(sheet.convert("RGB")).astype(int)
    greenish = (levels[..., 1] > levels[..., 0] + 60) & (levels[..., 1] > levels[..., 2] + 60)
    assert greenish[:256, :256].sum() > 300  # landmarks


def test_every_problem_of_wflw(wflw, run_script, tmp_path):
    (wflw / "test" / "0.jpg").unlink()
    (wflw / "test" / "1.jpg").write_bytes((wflw / "test" / "1.jpg").read_bytes()[:3000])
    Image.new("RGB", (128, 128)).save(wflw / "test" / "2.jpg")
    (wflw / "test" / "nobody.jpg").touch()
    lines = (wflw / "test_blur.txt").read_text().splitlines()
    lines[0], lines[2] = lines[0].rsplit(" ", 1)[0], lines[2].rsplit(" ", 1)[0] + " nan"
    (wflw / "test_blur.txt").write_text("\n".join(lines))
    (wflw / "test_largepose.txt").write_bytes(b"\xff\xff")
    status, out, _ = run_script(check_wflw.main, wflw, f"--output_dir={tmp_path / 'out'}", "--workers=1")
    assert status == 1
    problems = [line for line in out.splitlines() if ", expected" in line]
    named = [
        "test/0.jpg",
        "test/1.jpg",
        "test/2.jpg",
        "test_blur.txt, line 1",
        "test_blur.txt, line 3",
        "largepose.txt",
    ]
    assert len(problems) == len(named)
    for name in named:
        assert sum(name in problem for problem in problems) == 1
    assert "6 problems." in out
    assert (tmp_path / "out" / "contact_sheet.png").is_file()
    for root, sentence in ((tmp_path / "nowhere", "no such folder"), (wflw / "test", "part of a data set")):
        assert_refused(run_script(check_wflw.main, root, f"--output_dir={tmp_path / 'out'}"), sentence)


def test_a_sound_wflw_v(three_folders, run_script, tmp_path):
    status, out, err = run_script(check_wflw_v.main, three_folders, f"--output_dir={tmp_path / 'out'}")
    assert (status, err) == (0, "")
    assert "No problems." in out
    with Image.open(tmp_path / "out" / "contact_sheet.png") as sheet:
        assert sheet.size == (4 * 400, 5 * 300)


def test_every_problem_of_wflw_v(wflw_v, run_script, tmp_path):
    (wflw_v / "hard_video_IDs.txt").write_text("hardE5\n-hard-D4\nlisted_alone\n")
    (wflw_v / "easy_video_IDs.txt").write_text("clip-A1\nclip-A1\n")
    np.save(wflw_v / "landmarks" / "hardE5.npy", np.full((6, 98, 2), np.nan))
    for folder in ("bboxes", "landmarks"):
        path = wflw_v / folder / "-hard-D4.npy"
        np.save(path, np.load(path)[:-1])
    (wflw_v / "videos" / "clip-A1.mp4").unlink()
    whole = (wflw_v / "videos" / "clip-B2.mp4").read_bytes()
    (wflw_v / "videos" / "clip-B2.mp4").write_bytes(whole[: len(whole) // 2])
    shutil.copy(wflw_v / "videos" / "clip_C3.mp4", wflw_v / "videos" / "unannotated.mp4")
    shutil.copy(wflw_v / "videos" / "clip_C3.mp4", wflw_v / "videos" / "clip_C3.rejected.mp4")
    status, out, _ = run_script(check_wflw_v.main, wflw_v, f"--output_dir={tmp_path / 'out'}")
    assert status == 1
    problems = [line for line in out.splitlines() if line.startswith(str(wflw_v))]
    named = {
        "easy_video_IDs.txt, line 2: repeats clip-A1": 1,
        "landmarks/hardE5.npy: frame 0": 1,
        "videos/-hard-D4.mp4: the clip has 8 frames, expected 7": 1,
        "videos/clip-A1.mp4: no such file": 1,
        "videos/clip-B2.mp4: ": 1,
        "/listed_alone.": 3,
        "/unannotated.npy: no such file": 2,
    }
    for words, count in named.items():
        assert sum(words in problem for problem in problems) == count, words
    assert len(problems) == sum(named.values())
    assert f"{len(problems)} problems." in out
    with Image.open(tmp_path / "out" / "contact_sheet.png") as sheet:
        assert sheet.size == (4 * 400, 300)
