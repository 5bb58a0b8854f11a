"""Input that is odd rather than missing: what a data set that has been through many hands can hold."""

import json
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import predict_video
import test_LDEQ_WFLW
import test_LDEQ_WFLW_V
import train_LDEQ
from benchmarks import gpu, layout, speed, study_rwr
from datasets.wflw import WFLWDataset
from datasets.wflw_v import Clip, WFLWVDataset
from ldeq import InputError, load_checkpoint, save_checkpoint
from ldeq.files import append_text, written_whole
from ldeq.folder_lock import remove_leftovers
from ldeq.run_folder import output_folder
from ldeq.video.media import read_image
from ldeq.video.reading import VideoReader
from ldeq.video.sources import open_source
from ldeq.video.window import Window
from ldeq.video.writing import VideoWriter
from tests.conftest import GOLDEN, make_small_model
from tests.test_training import TINY, no_more_space
from utils import bundled
from utils.engine.evaluation import predict_images
from utils.runs.videos import VideoRun


def results(folder):
    return json.loads((folder / "results.json").read_text())


def edit_line(wflw, edit):
    path = wflw / "test.txt"
    lines = path.read_text().splitlines()
    words = lines[1].split()
    edit(words)
    lines[1] = " ".join(words)
    path.write_text("\n".join(lines))


@pytest.mark.parametrize("word", ["53.2", "0532100", "1e300", "-4"])
def test_coordinates_that_are_no_fractions(word, wflw):
    edit_line(wflw, lambda words: words.__setitem__(17, word))
    with pytest.raises(InputError, match=rf"test\.txt, line 2: number 17 is {word}, expected fractions"):
        WFLWDataset(wflw, "test")


def test_lists_with_a_byte_order_mark(wflw, wflw_v):
    for path in (wflw / "test.txt", wflw_v / "hard_video_IDs.txt"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert WFLWDataset(wflw, "test").name(0) == "0.jpg"
    assert [clip.id for clip in WFLWVDataset(wflw_v, "hard").clips] == ["-hard-D4", "hardE5"]


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1"])
def test_images_of_other_modes(mode, wflw):
    with Image.open(wflw / "test" / "1.jpg") as image:
        image.convert(mode).save(wflw / "test" / "1.jpg", format="TIFF")
    image, _ = WFLWDataset(wflw, "test")[1]
    assert image.shape == (256, 256, 3)


def test_sixteen_bits_are_refused_and_not_clipped(wflw):
    levels = np.full((256, 256), 40_000, dtype=np.uint16)
    Image.fromarray(levels).save(wflw / "test" / "1.jpg", format="PNG")
    with pytest.raises(InputError, match=r"1\.jpg: has pixels of mode I;16, expected 8 bits"):
        WFLWDataset(wflw, "test")[1]


def test_the_network_does_not_run_for_a_score_that_cannot_be(wflw, run_script, weights, tmp_path, monkeypatch):
    from ldeq import LDEQ

    calls = []
    monkeypatch.setattr(LDEQ, "forward", lambda *arguments, **options: calls.append(1))
    (wflw / "test" / "0.jpg").write_bytes(b"")
    status, _, err = run_script(
        test_LDEQ_WFLW.main, weights, f"--dataset_path={wflw}", f"--output_dir={tmp_path / 'o'}"
    )
    assert (status, calls) == (2, [])
    assert "0.jpg" in err


@pytest.mark.parametrize("workers", [0, 1, 5])
def test_images_come_in_order_and_few_ahead(workers, wflw):
    dataset = WFLWDataset(bundled.WFLW, "test")
    made, waiting = [], []

    class Watched:
        def __len__(self):
            return 24

        def __getitem__(self, index):
            made.append(index)
            return dataset[index % 6]

    model = make_small_model(solver={"solver": "fpi", "max_iters": 1})
    seen = []

    def on_batch(output):
        seen.append(len(output.keypoints))
        waiting.append(len(made) - sum(seen))

    found = predict_images(model, Watched(), batch_size=5, workers=workers, on_batch=on_batch)
    assert seen == [5, 5, 5, 5, 4]
    assert max(waiting) <= 6
    np.testing.assert_allclose(found.predicted[:6], found.predicted[18:], atol=1e-5)
    np.testing.assert_array_equal(found.truth[0], dataset[0][1])


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("bboxes", lambda values: values * 1e30),
        ("bboxes", lambda values: values * 0 - [1.4, 1.4, 0.4, 0.4, 0]),
        ("landmarks", lambda values: values * 1e12),
        ("landmarks", lambda values: values * 1e-200),
        ("landmarks", lambda values: values.astype(complex)),
        ("landmarks", lambda values: values.astype(str)),
    ],
)
def test_absurd_annotations(name, spoil, wflw_v):
    path = wflw_v / name / "hardE5.npy"
    np.save(path, spoil(np.load(path)))
    with pytest.raises(InputError, match=rf"{name}/hardE5\.npy: .*(lacks|expected)"):
        WFLWVDataset(wflw_v, "hard")


@pytest.mark.parametrize(
    "content", [b"PK\x03\x04", b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'shape': (9999999999999,), }"]
)
def test_files_that_only_begin_as_arrays(content, wflw_v):
    (wflw_v / "bboxes" / "hardE5.npy").write_bytes(content)
    with pytest.raises(InputError, match=r"hardE5\.npy: cannot be read"):
        WFLWVDataset(wflw_v, "hard")


def test_arrays_of_other_numbers(wflw_v):
    for folder, kind in (("bboxes", ">i4"), ("landmarks", np.float32)):
        path = wflw_v / folder / "hardE5.npy"
        np.save(path, np.load(path).astype(kind))
    assert len(list(Clip(wflw_v, "hardE5").frames())) == 6


@pytest.mark.parametrize("id", ["_under$score$", "[red]x[b]", "$}$", "nan", "007"])
def test_ids_are_printed_and_plotted_as_they_are(id, wflw_v, run_script, weights, tmp_path, recwarn):
    for folder, suffix in (("bboxes", "npy"), ("landmarks", "npy"), ("videos", "mp4")):
        (wflw_v / folder / f"hardE5.{suffix}").rename(wflw_v / folder / f"{id}.{suffix}")
    (wflw_v / "hard_video_IDs.txt").write_text(f"{id}\n-hard-D4\n")
    flags = [weights, f"--WFLW_V_dataset_path={wflw_v}", f"--output_dir={tmp_path / 'out [b]'}", "--plot"]
    status, out, err = run_script(test_LDEQ_WFLW_V.main, *flags)
    assert (status, err) == (0, "")
    assert id in out
    assert "out [b]" in out
    assert list(results(tmp_path / "out [b]")["videos"]) == [id, "-hard-D4"]
    assert not [warning for warning in recwarn if "legend" in str(warning.message)]
    status, out, _ = run_script(test_LDEQ_WFLW_V.main, *flags, "--resume")
    assert "2 videos were done before" in out


@pytest.mark.parametrize(
    "words",
    [
        ["--videos=hardE5", "-hard-D4"],
        ["--videos", "hardE5", "-hard-D4", "--rwr", "1"],
        ["--videos", "hardE5", "--rwr=1", "--videos", "-hard-D4"],
    ],
)
def test_ways_to_name_videos(words):
    assert test_LDEQ_WFLW_V.make_parser().parse(words).videos == ["hardE5", "-hard-D4"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--videos", "--rwr", "1"], "expected at least one id"),
        (["--videos", ""], "expected at least one id"),
        (["--device=meta"], "device 'meta'"),
        (["--device=hpu"], "device 'hpu'"),
        (["--WFLW_V_batch_size=100000000000000000000000"], "--WFLW_V_batch_size"),
    ],
)
def test_odd_flags(arguments, named, run_script):
    status, _, err = run_script(test_LDEQ_WFLW_V.main, *arguments)
    assert (status, len(err.splitlines())) == (2, 1)
    assert named in err


@pytest.mark.parametrize("split", ["../test", "a/b", "file"])
def test_split_names(split, run_script):
    status, _, err = run_script(test_LDEQ_WFLW.main, f"--split={split}")
    assert status == 2
    assert "is no split" in err


@pytest.mark.usefixtures("no_plots")
def test_splits_add_up(run_script, weights, tmp_path):
    out = f"--output_dir={tmp_path}"
    assert run_script(test_LDEQ_WFLW.main, weights, "--split=test_blur", "--split=test_makeup", out)[0] == 0
    assert list(results(tmp_path)["splits"]) == ["test_blur", "test_makeup"]


def test_networks_for_other_landmarks(run_script, tmp_path):
    save_checkpoint(tmp_path / "other.pth.tar", make_small_model(n_keypoints=68))
    status, _, err = run_script(test_LDEQ_WFLW.main, f"--landmark_model_weights={tmp_path / 'other.pth.tar'}")
    assert status == 2
    assert "68 keypoints" in err


def test_weights_that_overflow_are_an_error_and_not_a_figure(run_script, tmp_path):
    model = make_small_model()
    with torch.no_grad():
        model.cell.head.conv.weight.fill_(3e38)
    save_checkpoint(tmp_path / "large.pth.tar", model)
    flags = [f"--landmark_model_weights={tmp_path / 'large.pth.tar'}", f"--output_dir={tmp_path / 'out'}"]
    for main, data in ((test_LDEQ_WFLW.main, "--split=test_blur"), (test_LDEQ_WFLW_V.main, "--videos=portrait-dark")):
        status, _, err = run_script(main, *flags, data)
        assert status == 2
        assert "finite" in err


def test_half_a_run_that_overflows_is_not_finished_by_resuming(wflw_v, run_script, weights, tmp_path, monkeypatch):
    path = weights.partition("=")[2]
    model = load_checkpoint(path)
    with torch.no_grad():
        model.cell.head.conv.weight.fill_(3e38)
    save_checkpoint(path, model)
    flags = [weights, f"--WFLW_V_dataset_path={wflw_v}", f"--output_dir={tmp_path / 'out'}", "--WFLW_V_batch_size=1"]
    for options in ([], ["--resume"], ["--resume"]):
        status, _, err = run_script(test_LDEQ_WFLW_V.main, *flags, *options)
        assert status == 2
        assert "no solve stayed finite" in err
        assert not (tmp_path / "out" / "results.json").exists()


@pytest.mark.usefixtures("no_plots")
def test_results_of_another_script_are_kept(wflw_v, run_script, weights, tmp_path):
    out = f"--output_dir={tmp_path / 'out'}"
    clip = [f"--input={wflw_v / 'videos' / 'clip_C3.mp4'}", f"--bboxes={wflw_v / 'bboxes' / 'clip_C3.npy'}"]
    scripts = [
        (test_LDEQ_WFLW, [weights, "--split=test_blur"]),
        (test_LDEQ_WFLW_V, [weights, f"--WFLW_V_dataset_path={wflw_v}"]),
        (predict_video, [weights, *clip]),
        (train_LDEQ, [*TINY, "--synthetic", "--steps=1", "--validation_images=2"]),
        (study_rwr, [weights, f"--WFLW_V_dataset_path={wflw_v}", "--splits=easy"]),
    ]  # fmt: skip
    for owner, own in scripts[:3]:
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        assert run_script(owner.main, *own, out)[0] == 0
        before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
        for other, flags in scripts:
            if other is not owner:
                status, _, err = run_script(other.main, *flags, out)
                assert status == 2
                assert f"holds results of {owner.__name__}, expected another --output_dir" in err
        assert before == {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}


def test_settings_that_cannot_be_read_are_not_written_over(run_script, weights, tmp_path):
    for name in ("run.json", "results.json"):
        (tmp_path / name).write_text('{"script": "train_LDEQ",')
        status, _, err = run_script(test_LDEQ_WFLW_V.main, weights, f"--output_dir={tmp_path}")
        assert status == 2
        assert f"{tmp_path / name}: cannot be read" in err
        assert (tmp_path / name).read_text() == '{"script": "train_LDEQ",'
        (tmp_path / name).unlink()


def test_galleries_of_other_splits_make_way_and_nothing_else(run_script, weights, tmp_path):
    (tmp_path / "worst_of_all.png").write_bytes(b"mine")
    for split in ("test_blur", "test_makeup"):
        assert run_script(test_LDEQ_WFLW.main, weights, f"--split={split}", f"--output_dir={tmp_path}")[0] == 0
    assert {path.name for path in tmp_path.glob("worst_*")} == {"worst_of_all.png", "worst_test_makeup.png"}


def test_a_run_that_fails_leaves_earlier_results(wflw_v, run_script, weights, tmp_path):
    flags = [weights, f"--WFLW_V_dataset_path={wflw_v}", f"--output_dir={tmp_path / 'out'}"]
    assert run_script(test_LDEQ_WFLW_V.main, *flags, "--plot")[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    for path in (wflw_v / "videos").iterdir():
        path.unlink()
    assert run_script(test_LDEQ_WFLW_V.main, *flags)[0] == 2
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


def test_a_new_run_leaves_nothing_of_another_in_its_folder(run_script, weights, tmp_path):
    flags = [weights, f"--WFLW_V_dataset_path={GOLDEN / 'WFLW_V'}", f"--output_dir={tmp_path / 'out'}"]
    run_script(test_LDEQ_WFLW_V.main, *flags, "--WFLW_V_split=easy", "--plot")
    assert run_script(test_LDEQ_WFLW_V.main, *flags, "--WFLW_V_split=hard")[0] == 0
    names = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert not [name for name in names if name.startswith("clip")]
    assert {"results.csv", "results.json", "run.json", "nme_nmf.png", "frames.png", "hardE5.npy"} <= names


@pytest.mark.usefixtures("no_plots")
def test_rows_that_are_not_whole_are_done_again(run_script, weights, tmp_path):
    flags = [weights, f"--WFLW_V_dataset_path={GOLDEN / 'WFLW_V'}", f"--output_dir={tmp_path}", "--WFLW_V_split=all"]
    run_script(test_LDEQ_WFLW_V.main, *flags)
    expected = results(tmp_path)["videos"]
    (tmp_path / "predictions" / "clip-A1.npy").write_bytes(b"")
    table = (tmp_path / "results.csv").read_text().splitlines()
    table[1] = table[1].replace(table[1].split(",")[1], "nan")
    (tmp_path / "results.csv").write_text("\n".join(table) + "\n")
    status, out, _ = run_script(test_LDEQ_WFLW_V.main, *flags, "--resume")
    assert status == 0
    assert "3 videos were done before" in out
    assert results(tmp_path)["videos"] == {id: pytest.approx(row, rel=1e-5) for id, row in expected.items()}
    (tmp_path / "run.json").unlink()
    assert run_script(test_LDEQ_WFLW_V.main, *flags, "--resume")[0] == 2


@pytest.mark.usefixtures("no_plots")
def test_rows_without_counts_of_the_solver_are_made_again(run_script, weights, tmp_path):
    """Earlier versions kept the counts in run.json."""
    flags = [weights, f"--WFLW_V_dataset_path={GOLDEN / 'WFLW_V'}", f"--output_dir={tmp_path}", "--WFLW_V_split=all"]
    flags.append("--WFLW_V_batch_size=1")  # figures of other batches differ by rounding
    run_script(test_LDEQ_WFLW_V.main, *flags)
    expected = {name: (tmp_path / name).read_bytes() for name in ("results.csv", "run.json")}
    solver = results(tmp_path)["solver"]
    lines = (tmp_path / "results.csv").read_text().splitlines()
    without = "".join(f"{','.join(line.split(',')[:4])}\n" for line in lines)
    unsound = "\n".join([*lines[:-1], ",".join([*lines[-1].split(",")[:4], "4", "3", "", "none"])]) + "\n"
    for table, kept in ((without, None), (unsound, "4 videos were done before")):
        (tmp_path / "results.csv").write_text(table)
        marker = json.loads(expected["run.json"])
        (tmp_path / "run.json").write_text(json.dumps({**marker, "solves": {"clip-A1": {"n_solved": 1}}}))
        status, out, _ = run_script(test_LDEQ_WFLW_V.main, *flags, "--resume")
        assert status == 0
        assert kept in out if kept else "done before" not in out
        assert {name: (tmp_path / name).read_bytes() for name in expected} == expected
        assert results(tmp_path)["solver"] == solver


@pytest.mark.usefixtures("no_plots")
def test_a_finished_run_that_goes_on_is_unfinished_until_it_ends(run_script, weights, tmp_path, monkeypatch):
    flags = [weights, f"--WFLW_V_dataset_path={GOLDEN / 'WFLW_V'}", f"--output_dir={tmp_path}"]
    run_script(test_LDEQ_WFLW_V.main, *flags)
    add = VideoRun.add
    with monkeypatch.context() as patch:
        patch.setattr(VideoRun, "add", lambda *arguments: add(*arguments) or no_more_space())
        assert run_script(test_LDEQ_WFLW_V.main, *flags, "--resume", "--plot")[0] == 2
    assert not (tmp_path / "results.json").exists()
    status, _, err = run_script(test_LDEQ_WFLW_V.main, *flags)
    assert status == 2
    assert "unfinished run" in err
    assert run_script(test_LDEQ_WFLW_V.main, *flags, "--resume", "--plot")[0] == 0
    assert len(results(tmp_path)["videos"]) == 2


@pytest.mark.usefixtures("no_plots")
def test_resuming_with_plot_draws_what_was_not_drawn(run_script, weights, tmp_path):
    flags = [weights, f"--WFLW_V_dataset_path={GOLDEN / 'WFLW_V'}", f"--output_dir={tmp_path}"]
    run_script(test_LDEQ_WFLW_V.main, *flags)
    assert run_script(test_LDEQ_WFLW_V.main, *flags, "--resume", "--plot")[0] == 0
    assert len(list((tmp_path / "videos").glob("*.mp4"))) == 2


def test_a_full_disk_is_said_of_the_right_file(tmp_path, monkeypatch):
    with (
        pytest.raises(InputError, match=r"table\.csv: cannot be written \(No space left"),
        written_whole(tmp_path / "table.csv") as temporary,
    ):
        raise OSError(28, "No space left on device", str(temporary))
    with pytest.raises(InputError, match=r"/dev/full: cannot be written \(No space left"):
        append_text(Path("/dev/full"), "a,line\n")
    writer = VideoWriter(tmp_path / "clip.mp4", 25)
    writer.write(np.zeros((64, 64, 3), dtype=np.uint8))

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer._whole, "commit", full)
    with pytest.raises(InputError, match=r"clip\.mp4: cannot be written"):
        writer.close()
    assert not list(tmp_path.iterdir())


def test_only_our_own_leftovers_are_removed(tmp_path):
    with written_whole(tmp_path / "kept.csv") as temporary:
        leftover = tmp_path / "videos" / temporary.name.replace("kept", "some.clip")
    leftover.parent.mkdir()
    mine = [tmp_path / "kept.csv", tmp_path / ".gitignore", tmp_path / ".cache.csv", tmp_path / "videos" / "a.mp4"]
    for path in (leftover, *mine):
        path.touch()
    remove_leftovers(tmp_path, "videos")
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(mine)


@pytest.mark.parametrize("benchmark", [gpu, layout, speed])
def test_benchmarks_refuse_in_a_sentence(benchmark, run_script):
    status, _, err = run_script(benchmark.main, "--device=tpu")
    assert status == 2
    assert "device 'tpu'" in err


def test_saved_checkpoints_are_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        save_checkpoint(tmp_path / name, make_small_model())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    load_checkpoint(tmp_path / "a")


@pytest.mark.usefixtures("no_plots")
def test_no_file_that_is_not_ours_makes_way(wflw_v, run_script, weights, tmp_path):
    data = {path: path.read_bytes() for path in wflw_v.rglob("*") if path.is_file()}
    flags = [weights, f"--WFLW_V_dataset_path={wflw_v}"]
    status, _, err = run_script(test_LDEQ_WFLW_V.main, *flags, f"--output_dir={wflw_v}")
    assert status == 2
    assert "the data set's own videos" in err
    assert {path: path.read_bytes() for path in wflw_v.rglob("*") if path.is_file()} == data
    mine = [tmp_path / "out" / name for name in ("videos/holiday.mp4", "photo.png", "predictions/other.npy")]
    for path in mine:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for _ in range(2):
        assert run_script(test_LDEQ_WFLW_V.main, *flags, f"--output_dir={tmp_path / 'out'}")[0] == 0
    assert all(path.is_file() for path in mine)


def test_another_run_below_the_folder_keeps_its_unfinished_files(tmp_path):
    (tmp_path / "other").mkdir()
    with written_whole(tmp_path / "other" / "table.csv") as temporary, output_folder(str(tmp_path), "script"):
        assert temporary.is_file()


def test_results_that_lead_nowhere_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").symlink_to(tmp_path / "unmounted")
    with pytest.raises(InputError, match="expected a folder for the results"), output_folder(None, "script"):
        pass


def test_paths_that_ffmpeg_would_take_for_something_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frames = np.zeros((3, 64, 64, 3), dtype=np.uint8)
    writer = VideoWriter("at 16:30/clip.mp4", 25)
    for frame in frames:
        writer.write(frame)
    writer.close()
    assert len(list(VideoReader("at 16:30/clip.mp4"))) == 3
    odd = tmp_path / "caf\udce9.mp4"
    odd.write_bytes((tmp_path / "at 16:30" / "clip.mp4").read_bytes())
    with pytest.raises(InputError, match="no UTF-8"):
        VideoReader(odd)
    with pytest.raises(InputError, match="no such file"):
        open_source("20231123161800")  # no camera has this number


def test_frames_too_large_for_h264_are_refused(tmp_path):
    writer = VideoWriter(tmp_path / "clip.mp4", 25)
    with pytest.raises(InputError, match="17000x64, expected at most 16384"):
        writer.write(np.zeros((64, 17000, 3), dtype=np.uint8))
    assert not list(tmp_path.iterdir())


def test_a_image_that_is_none_or_too_large(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(b"no image")
    (tmp_path / "b.png").touch()
    assert read_image(tmp_path / "a.png") is None
    assert read_image(tmp_path / "b.png") is None
    image = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "c.png")
    assert np.array_equal(read_image(tmp_path / "c.png"), image)

    def too_large(*arguments):
        raise cv2.error("Image is larger than CV_IO_MAX_IMAGE_PIXELS")

    monkeypatch.setattr(cv2, "imdecode", too_large)
    assert np.array_equal(read_image(tmp_path / "c.png"), image), "what OpenCV does not take is left to Pillow"
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert read_image(tmp_path / "c.png") is None


def test_closing_the_window_asks_to_stop(monkeypatch):
    def closed(*arguments):
        raise cv2.error("NULL guiReceiver")

    for name in ("namedWindow", "resizeWindow", "imshow"):
        monkeypatch.setattr(cv2, name, lambda *arguments: None)
    monkeypatch.setattr(cv2, "waitKey", lambda delay: -1)
    monkeypatch.setattr(cv2, "getWindowProperty", closed)
    monkeypatch.setattr(cv2, "destroyWindow", closed)
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **options: subprocess.CompletedProcess([], 0))
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:                           QT5")
    window = Window("LDEQ")
    assert window.show(np.zeros((64, 64, 3), dtype=np.uint8)) is False
    window.close()


def test_eye_corners_that_float32_does_not_tell_apart(wflw):
    def close(words):
        words[1 + 2 * 60 : 3 + 2 * 60] = ["0.50000000", "0.5"]
        words[1 + 2 * 72 : 3 + 2 * 72] = ["0.50000001", "0.5"]

    edit_line(wflw, close)
    with pytest.raises(InputError, match="coincide"):
        WFLWDataset(wflw, "test")
