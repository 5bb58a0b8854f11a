"""What is read of videos and images as cameras, phones and websites make them."""

import json
import shutil
import struct
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

import predict_video
import test_LDEQ_WFLW
import test_LDEQ_WFLW_V
import train_LDEQ
from datasets import crop_WFLW
from datasets.wflw_v import Clip
from datasets.wflw_v.clips import UnusableVideo
from datasets.wflw_v.download.annotations import Extent
from datasets.wflw_v.download.videos import verify
from ldeq import InputError, load_checkpoint
from ldeq.video.media import read_image
from ldeq.video.reading import VideoReader
from ldeq.video.sources import open_source
from ldeq.video.writing import VideoWriter
from tests.conftest import GOLDEN, assert_refused
from utils import bundled
from utils.download.failure import Failure, Kind

WIDTH, HEIGHT = 160, 120
#: Numbers of H.273.
BT709, BT601, BT2020, YCGCO, BT2020_CONSTANT, ICTCP, BT2020_10, PQ, FULL_RANGE = 1, 6, 9, 8, 10, 14, 14, 16, 2


def scene(n_frames, size=(WIDTH, HEIGHT)):
    """A portrait that moves, (n_frames, H, W, 3) RGB, with a red, a green and a blue corner."""
    portrait = cv2.cvtColor(cv2.imread(str(bundled.ASSETS / "portrait" / "astronaut.png")), cv2.COLOR_BGR2RGB)
    width, height = size
    for t in range(n_frames):
        matrix = np.array([[width / 420, 0, -60 * width / 420 + 2 * t], [0, height / 400, t - 5.0]])
        image = cv2.warpAffine(portrait, matrix, size, borderMode=cv2.BORDER_REFLECT)
        image[: height // 6, : width // 6] = (250, 20, 20)
        image[: height // 6, -(width // 6) :] = (20, 250, 20)
        image[-(height // 6) :, : width // 6] = (20, 20, 250)
        yield np.ascontiguousarray(image)


def make(path, codec="libx264", pixels="yuv420p", size=(WIDTH, HEIGHT), n_frames=8, sound=None, **tags):
    """A video of :func:`scene`.

    Args:
        sound: codec of a hum, 16 kHz.
        tags: attributes of the codec's context; ``options`` are its options, ``times`` the frames' numbers, ``seconds``
            the lengths of one or more audio streams, ``beep`` the time before which these are silent, and
            ``same`` the number of audio packets that share a time. ``title`` is the file's and its streams'.
    """
    options, times = tags.pop("options", {}), tags.pop("times", range(n_frames))
    seconds, beep, same = tags.pop("seconds", [(times[-1] + 1) / 25]), tags.pop("beep", 0), tags.pop("same", 1)
    titles = {"title": title} if (title := tags.pop("title", None)) else {}
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=25)
        video.width, video.height = size
        # One thread, so that every machine codes the same.
        video.pix_fmt, video.options = pixels, {**({"threads": "1"} if codec == "libx264" else {}), **options}
        for name, value in tags.items():
            setattr(video.codec_context, name, value)
        audios = [container.add_stream(sound, rate=16000, layout="mono") for _ in seconds if sound]
        for named in (container, video, *audios):
            named.metadata.update(titles)
        for time, image in zip(times, scene(n_frames, size), strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixels, threads=1)
            for name, value in tags.items():
                if name.startswith("color"):
                    setattr(frame, name, value)
            frame.pts, frame.time_base = time, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for audio, length in zip(audios, seconds, strict=False):
            hum = (8000 * np.sin(np.arange(int(16000 * length)) / 10)).astype(np.int16)
            hum[: int(16000 * beep)] = 0
            for start in range(0, len(hum), 1024):
                part = av.AudioFrame.from_ndarray(hum[None, start : start + 1024], format="s16", layout="mono")
                part.rate, part.pts = 16000, start // (1024 * same) * (1024 * same)
                container.mux(audio.encode(part))
            container.mux(audio.encode(None))
    return path


def read(path):
    with VideoReader(path) as video:
        return list(video)


def seconds_of_sound(path):
    with av.open(str(path)) as container:
        return sum(frame.samples / frame.rate for frame in container.decode(audio=0))


def rewrite(path, target):
    """Writes a video's frames again as they are, with its sound: the frames' times, and a failure of the sound."""
    with open_source(path) as source:
        writer, times = VideoWriter(target, source.fps, timed=True, sound_of=path), []
        for frame in source:
            writer.write(frame.image, frame.time)
            times.append(frame.time)
        writer.close()
        return times, writer.sound.failure


def far(images, others):
    """Mean difference of two lists of images, in grey levels."""
    assert len(images) == len(others)
    return float(np.mean([np.abs(a.astype(int) - b).mean() for a, b in zip(images, others, strict=True)]))


def add_noise(path, n_packets=3):
    """Writes noise over the middle of a video's largest packets, until a decoder flags frames and loses none."""
    with av.open(str(path)) as container:
        packets = [(packet.size, packet.pos) for packet in container.demux(video=0) if packet.size and packet.pos]
    with av.open(str(path)) as container:
        n_frames = sum(1 for _ in container.decode(video=0))
    whole = path.read_bytes()
    for seed in range(20):
        content, random = bytearray(whole), np.random.default_rng(seed)
        for size, position in sorted(packets[2:])[-n_packets:]:
            first, length = position + size // 2, min(12, size // 4)
            content[first : first + length] = random.bytes(length)
        path.write_bytes(content)
        with suppress(av.FFmpegError), av.open(str(path)) as container:
            flags = [frame.is_corrupt for frame in container.decode(video=0)]
            if len(flags) == n_frames and any(flags):
                return path
    raise AssertionError("no noise of 20 is flagged and loses no frame")


@pytest.fixture
def predict(run_script, tmp_path):
    def run_it(input, *arguments, out="out"):
        outcome = run_script(predict_video.main, f"--input={input}", f"--output_dir={tmp_path / out}", *arguments)
        run = tmp_path / out / "run.json"
        return (*outcome, json.loads(run.read_text())["warnings"] if run.exists() else None)

    return run_it


# -- pixels ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"size": (162, 98)},
        {"size": (426, 240)},
        {"pixels": "yuv420p10le"},
        {"pixels": "yuv422p"},
        {"pixels": "yuv444p", "size": (161, 99)},
        {"pixels": "yuvj420p"},
        {"pixels": "rgb24", "codec": "libx264rgb"},
        {"colorspace": BT709, "color_range": 1},
        {"colorspace": BT601, "color_range": FULL_RANGE},
        {"colorspace": BT2020, "color_primaries": BT2020, "color_trc": PQ, "n_frames": 1},
        {"colorspace": BT2020, "color_primaries": BT2020, "color_trc": BT2020_10, "n_frames": 1},
        {"codec": "mpeg4", "suffix": "avi", "size": (161, 99)},
        {"codec": "mpeg2video", "suffix": "mpg"},
        {"codec": "libvpx-vp9", "suffix": "webm", "size": (99, 67)},
        {"codec": "mjpeg", "pixels": "yuvj422p", "suffix": "mov"},
        {"codec": "prores_ks", "pixels": "yuv422p10le", "suffix": "mov"},
        {"codec": "ffv1", "pixels": "gray16le", "suffix": "mkv"},
        {"codec": "ffv1", "pixels": "yuv411p", "suffix": "mkv"},
        {"codec": "gif", "pixels": "rgb8", "suffix": "gif"},
    ],
    ids=str,
)
def test_pixels_are_opencvs_to_the_bit(how, tmp_path):
    """The published figures were measured on OpenCV's pixels. Here of its version 5, which honours colour tags."""
    how = {"n_frames": 3, **how}
    path = make(tmp_path / f"clip.{how.pop('suffix', 'mp4')}", **how)
    capture, expected = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG), []
    while (frame := capture.read())[0]:
        expected.append(cv2.cvtColor(frame[1], cv2.COLOR_BGR2RGB))
    assert len(expected) == how["n_frames"]
    with VideoReader(path) as video:
        assert video.fps == capture.get(cv2.CAP_PROP_FPS)
        found = list(video)
        assert video.what_is_missing() is None
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


INTERLACED = [
    ("mpeg2.ts", {"codec": "mpeg2video", "flags": 0x20040000}),
    ("h264.MTS", {"options": {"x264-params": "interlaced=1"}}),
    ("mpeg2-422.mkv", {"codec": "mpeg2video", "pixels": "yuv422p", "flags": 0x20040000}),
    ("camera.dv", {"codec": "dvvideo", "size": (720, 576)}),
]


@pytest.mark.parametrize(("name", "how"), INTERLACED)
def test_interlaced_frames_are_not_black(name, how, tmp_path):
    path = make(tmp_path / name, **how)
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).interlaced_frame
    assert far(read(path), list(scene(8, how.get("size", (WIDTH, HEIGHT))))) < 12


def test_a_video_that_turns_interlaced_does_not_freeze(tmp_path):
    first = make(tmp_path / "a.ts", "mpeg2video")
    second = make(tmp_path / "b.ts", "mpeg2video", flags=0x20040000)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    assert far(read(joined), [*scene(8), *scene(8)]) < 8


@pytest.mark.parametrize("matrix", [YCGCO, BT2020_CONSTANT, ICTCP])
def test_colours_that_cannot_be_converted_are_said_and_not_black(matrix, predict, tmp_path):
    path = make(tmp_path / "odd.mp4", colorspace=matrix)
    assert far(read(path), list(scene(8))) < 10
    status, out, _, warnings = predict(path)
    assert status == 0
    (warning,) = [warning for warning in warnings if "colours" in warning]
    assert "odd.mp4: its colours (" in warning
    assert "approximately" in out


def test_black_frames_never_reach_a_figure(run_script, tmp_path):
    """An interlaced clip gives the figures of the progressive one, but for what coding makes of it."""
    figures = {}
    for name, options in (("progressive", {}), ("interlaced", {"x264-params": "interlaced=1"})):
        root = tmp_path / name
        shutil.copytree(GOLDEN / "WFLW_V", root)
        path = root / "videos" / "clip-A1.mp4"
        images = read(path)
        with av.open(str(path), "w") as container:
            video = container.add_stream("libx264", rate=25)
            video.height, video.width = images[0].shape[:2]
            video.pix_fmt, video.options = "yuv420p", {"crf": "6", **options}
            for image in images:
                container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(video.encode(None))
        flags = [f"--WFLW_V_dataset_path={root}", "--videos", "clip-A1", f"--output_dir={tmp_path / f'{name}-out'}"]
        weights = f"--landmark_model_weights={GOLDEN / 'fpi.pth.tar'}"
        assert run_script(test_LDEQ_WFLW_V.main, *flags, "--WFLW_V_split=all", weights)[0] == 0
        figures[name] = json.loads((tmp_path / f"{name}-out" / "results.json").read_text())["NME"]
    assert figures["interlaced"] == pytest.approx(figures["progressive"], rel=0.02)


# -- codecs, streams and clocks ----------------------------------------------------------------------------------------


def test_av1_is_read_everywhere(predict, tmp_path):
    (tmp_path / "videos").mkdir()
    path = make(tmp_path / "videos" / "id.mp4", "libsvtav1")
    assert far(read(path), list(scene(8))) < 8
    assert verify(path, Extent(8, (1, 1), (90, 90), 9)) == (WIDTH, HEIGHT, 8)
    status, _, err, warnings = predict(path)
    assert (status, err, warnings) == (0, "", [])
    boxes, points = np.tile([40.0, 20, 120, 100], (8, 1)), np.random.default_rng(0).uniform(40, 90, (8, 98, 2))
    for folder, values in (("bboxes", boxes), ("landmarks", points)):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "id.npy", values)
    assert len(list(Clip(tmp_path, "id").frames())) == 8


@pytest.mark.parametrize(("suffix", "codec"), [("ts", "libx264"), ("ts", "mpeg2video"), ("mpg", "mpeg2video")])
def test_a_clock_that_goes_back_goes_on(suffix, codec, predict, tmp_path):
    """Segments that were joined: every frame and all the sound, in step."""
    part = make(tmp_path / f"part.{suffix}", codec, n_frames=25, sound="mp2")
    joined = tmp_path / f"joined.{suffix}"
    joined.write_bytes(part.read_bytes() + part.read_bytes())
    with open_source(joined) as source:
        frames = list(source)
        assert source.check() == []
    assert np.diff([frame.time for frame in frames]) == pytest.approx(np.full(49, 0.04), abs=0.13)
    assert far([frame.image for frame in frames], [*scene(25), *scene(25)]) < 12
    status, out, _, warnings = predict(joined)
    assert (status, warnings) == (0, []), out
    assert seconds_of_sound(tmp_path / "out" / "video.mp4") == pytest.approx(2.0, abs=0.2)


@pytest.mark.parametrize("suffix", ["avi", "mkv", "mp4"])
def test_titles_need_not_be_utf8(suffix, tmp_path):
    path = make(tmp_path / f"titled.{suffix}", sound="aac", title="a title")
    content = path.read_bytes()
    assert content.count(b"a title") >= 3
    path.write_bytes(content.replace(b"a title", b"\xe9 \xff\xe8tr\xe9"))
    times, failure = rewrite(path, tmp_path / "out.mp4")
    assert (len(times), failure) == (8, None)
    assert seconds_of_sound(tmp_path / "out.mp4") == pytest.approx(0.32, abs=0.2)


@pytest.mark.parametrize("refused", [True, False], ids=["refused", "taken"])
def test_titles_by_either_way_of_pyav(refused, tmp_path, monkeypatch):
    """PyAV 18 refuses titles that are no UTF-8 unless it is told how to decode them; 19 has no argument for that."""
    path, opened = make(tmp_path / "clip.mp4"), av.open

    def refusing(file, *, container_options, metadata_errors="strict"):
        b"\xe9".decode(errors=metadata_errors)
        return opened(file, container_options=container_options)

    def taking(file, *, container_options):
        return opened(file, container_options=container_options)

    monkeypatch.setattr(av, "open", refusing if refused else taking)
    assert len(read(path)) == 8


def test_a_wide_gap_in_a_broadcast_closes(tmp_path):
    early = make(tmp_path / "early.ts", n_frames=10)
    late = make(tmp_path / "late.ts", n_frames=10, times=range(5000, 5010))
    joined = tmp_path / "joined.ts"
    joined.write_bytes(early.read_bytes() + late.read_bytes())
    with VideoReader(joined) as video:
        times = [time for time, _ in video.timed()]
    assert len(times) == 20
    assert times[-1] < 2


@pytest.mark.parametrize("seconds", [1.2, 2.0], ids=["shorter", "longer"])
@pytest.mark.parametrize("suffix", ["ts", "mpg"])
def test_sound_of_another_length_stays_in_step_over_seams(suffix, seconds, tmp_path):
    """Each segment's sound begins with its images, and where one ends before the other the next one waits for both."""
    part = make(tmp_path / f"part.{suffix}", "mpeg2video", n_frames=40, sound="mp2", seconds=[seconds], beep=0.8)
    joined = tmp_path / f"joined.{suffix}"
    joined.write_bytes(4 * part.read_bytes())
    times, failure = rewrite(joined, tmp_path / "out.mp4")
    assert failure is None
    beeps, was_loud = [], False
    with av.open(str(tmp_path / "out.mp4")) as container:
        for frame in container.decode(audio=0):
            is_loud = np.abs(frame.to_ndarray()).max() > 0.1
            if is_loud and not was_loud:
                beeps.append(frame.time)
            was_loud = is_loud
    assert beeps == pytest.approx(times[20::40], abs=0.08)


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"], ids=["copied", "encoded"])
def test_sound_whose_times_repeat_is_whole(codec, tmp_path):
    """Some programs write fragments whose packets share a time, which an MP4's do not."""
    path = make(tmp_path / "clip.mkv", sound=codec, n_frames=25, same=2)
    assert rewrite(path, tmp_path / "out.mp4")[1] is None
    assert seconds_of_sound(tmp_path / "out.mp4") == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize(
    "how",
    [
        {"times": range(20, 28)},
        {"times": range(20, 28), "sound": "flac"},
        {"sound": "flac", "seconds": [0.3, 3]},
    ],
    ids=["starts late", "after the sound", "beside longer sound"],
)
@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_whole_videos_are_not_called_short(suffix, how, tmp_path):
    """A container's length may be that of its other streams, or counted from before the video's beginning."""
    path = make(tmp_path / f"clip.{suffix}", **how)
    with open_source(path) as source:
        assert len(list(source)) == 8
        assert source.check() == []


@pytest.mark.parametrize(("suffix", "codec"), [("avi", "mpeg4"), ("avi", "mjpeg"), ("mkv", "mpeg4")])
def test_frames_that_were_dropped_are_no_damage(suffix, codec, predict, tmp_path):
    """A recorder under load leaves frames out, in AVI by chunks without content; the sound is whole."""
    times = [0, 1, 2, 6, 7, 15, 16, 17, 18, 24]
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = make(tmp_path / f"clip.{suffix}", codec, pixels, n_frames=10, times=times, sound="libmp3lame")
    with av.open(str(path)) as container:
        stamps = [float(packet.pts * packet.time_base) for packet in container.demux(video=0) if packet.size]
    with open_source(path) as source:
        assert [frame.time for frame in source] == pytest.approx(np.array(stamps) - stamps[0], abs=2e-3)
        assert source.check() == []
    status, _, _, warnings = predict(path)
    assert (status, warnings) == (0, [])
    assert seconds_of_sound(tmp_path / "out" / "video.mp4") == pytest.approx(1.0, abs=0.15)


def with_two_streams(path, default, lengths=(5, 12)):
    """A Matroska file with a small and a large video stream; ``default`` says which the file calls so."""
    with av.open(str(path), "w") as container:
        streams = []
        for width, is_default in zip((64, 128), default, strict=True):
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, 48, "yuv420p"
            stream.disposition = 1 if is_default else 0
            streams.append(stream)
        for stream, length in zip(streams, lengths, strict=True):
            for index in range(length):
                frame = av.VideoFrame.from_ndarray(np.full((48, stream.width, 3), 100, np.uint8), format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("default", "width"), [((True, False), 64), ((False, True), 128), ((True, True), 128)])
def test_of_several_video_streams_the_default_or_the_longest(default, width, predict, tmp_path):
    path = with_two_streams(tmp_path / "two.mp4", default)
    assert read(path)[0].shape == (48, width, 3)
    number = 1 if width == 64 else 2
    assert [f"of its 2 video streams number {number} ({width}x48) is taken" in w for w in predict(path)[3]] == [True]


def test_a_cover_is_no_video(tmp_path):
    with av.open(str(tmp_path / "song.mp4"), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt, cover.disposition = 64, 64, "yuvj420p", 1024
        audio = container.add_stream("aac", rate=16000, layout="mono")
        container.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        container.mux(cover.encode(None))
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.int16), format="s16", layout="mono")
        sound.rate, sound.pts = 16000, 0
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
    with pytest.raises(InputError, match=r"song\.mp4: has no images that can be decoded, expected a video"):
        open_source(tmp_path / "song.mp4")


# -- orientations ------------------------------------------------------------------------------------------------------

#: By EXIF's number: what brings the upright image to how it is stored.
STORED = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: np.rot90(image),
    7: lambda image: image[::-1, ::-1].transpose(1, 0, 2),
    8: lambda image: np.rot90(image, -1),
}
#: By EXIF's number: a, b, c, d of a display matrix that shows the stored image upright.
MATRICES = {
    1: (1, 0, 0, 1),
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: (0, 1, -1, 0),
    7: (0, -1, -1, 0),
    8: (0, -1, 1, 0),
}


@pytest.mark.parametrize("number", list(STORED))
def test_videos_of_all_orientations_are_upright(number, tmp_path):
    upright = next(scene(1))
    stored = np.ascontiguousarray(STORED[number](upright))
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.height, video.width = stored.shape[:2]
        video.pix_fmt = "yuv420p"
        for _ in range(2):
            container.mux(video.encode(av.VideoFrame.from_ndarray(stored, format="rgb24")))
        container.mux(video.encode(None))
    content = bytearray(path.read_bytes())
    a, b, c, d = (value << 16 for value in MATRICES[number])
    place = content.index(b"tkhd") + 4 + 40
    content[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    assert far(read(path), [upright, upright]) < 6


def test_pixels_that_are_not_square_turn_with_the_video(tmp_path):
    path = make(tmp_path / "clip.mp4", sample_aspect_ratio=Fraction(4, 3), n_frames=2)
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4 + 40
    content[place : place + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    with open_source(path) as source:
        next(iter(source))
        assert source.pixel_aspect == Fraction(3, 4)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff", "avif"])
def test_images_of_all_orientations_are_upright(suffix, tmp_path):
    upright = next(scene(1))
    for number, store in STORED.items():
        exif = Image.Exif()
        exif[0x0112] = number
        path = tmp_path / f"{number}.{suffix}"
        Image.fromarray(np.ascontiguousarray(store(upright))).save(path, exif=exif)
        assert far([read_image(path)], [upright]) < 6, number


def test_a_single_image_is_upright_from_the_command_line(predict, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = next(scene(1, (480, 360)))
    Image.fromarray(np.ascontiguousarray(np.rot90(upright))).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    assert predict(tmp_path / "turned.jpg")[0] == 0
    drawn = np.asarray(Image.open(tmp_path / "out" / "image.png").convert("RGB"))
    assert drawn.shape == upright.shape
    assert far([drawn[:60, :80]], [upright[:60, :80]]) < 6


KINDS = {
    # By name: the format, the number of images, whether it is one image, and the remark on it.
    "animated.png": ("PNG", 3, False, []),
    "animated.gif": ("GIF", 3, False, []),
    "animated.webp": ("WEBP", 3, True, ["the first of its 3 images is taken."]),
    "pages.tiff": ("TIFF", 3, True, ["the first of its 3 images is taken."]),
    "preview.jpg": ("MPO", 2, True, []),
    "still.gif": ("GIF", 1, True, []),
    "still.ico": ("ICO", 1, True, []),
    "still.pcx": ("PCX", 1, True, []),
    "image.mp4": ("PNG", 1, True, []),
    "animated.mp4": ("GIF", 3, False, []),
    "stream.mjpeg": ("JPEG", 3, False, []),
    "video.jpg": ("video", 3, False, []),
    "video.heic": ("video", 3, False, []),
}


@pytest.mark.parametrize("name", list(KINDS))
def test_one_image_or_a_video_by_content(name, tmp_path):
    format, n_images, is_image, remarks = KINDS[name]
    path = tmp_path / name
    images = [Image.fromarray(image) for image in scene(n_images)]
    if format == "video":
        make(tmp_path / "clip.mp4", n_frames=n_images).rename(path)
    elif format == "JPEG":
        with path.open("wb") as file:
            for image in images:
                image.save(file, format)
    else:
        several = {"save_all": True, "append_images": images[1:], "duration": 100} if n_images > 1 else {}
        images[0].save(path, format, **several)
    with open_source(path) as source:
        frames = list(source)
        assert (source.is_image, source.check()) == (is_image, [f"{path}: {remark}" for remark in remarks])
    assert len(frames) == (1 if is_image else n_images)
    if format != "ICO":  # which is smaller
        assert far([frame.image for frame in frames], list(scene(len(frames)))) < 12


# -- folders -----------------------------------------------------------------------------------------------------------


def test_folders_of_phones(predict, tmp_path):
    """Images of every suffix count, in their places; what cannot be read is named and leaves its gap."""
    folder = tmp_path / "phone"
    folder.mkdir()
    images = list(scene(6))
    for number, (image, suffix) in enumerate(zip(images, ["PNG", "jfif", "avif", "HEIC", "x", "webp"], strict=True)):
        format = {"jfif": "JPEG", "avif": "AVIF", "webp": "WEBP"}.get(suffix, "PNG")
        Image.fromarray(image).save(folder / f"IMG_{number}.{suffix}", format=format)
    (folder / "IMG_2b.dng").write_bytes(b"raw")
    (folder / "IMG_4.MOV").write_bytes(b"a live photograph")
    (folder / "notes.txt").write_text("no image")
    with open_source(folder, fps=10) as source:
        frames = list(source)
        assert source.check() == [
            f"{folder}: IMG_2b.dng cannot be read as images and are left out.",
            f"{folder}: IMG_4.MOV are videos and are left out.",
        ]
    assert [round(10 * frame.time) for frame in frames] == [0, 1, 2, 4, 5, 6]
    assert far([frame.image for frame in frames], images) < 8


def test_heic_is_read(tmp_path):
    path = tmp_path / "IMG_0001.HEIC"
    shutil.copy(GOLDEN / "scene.heic", path)
    assert far([read_image(path)], [next(scene(1))]) < 8
    with open_source(path) as source:
        assert source.is_image


# -- damage ------------------------------------------------------------------------------------------------------------

FLAGGED = [("clip.mp4", "libx264"), ("clip.ts", "libx264"), ("clip.avi", "mpeg4"), ("clip.mpg", "mpeg2video")]


@pytest.mark.parametrize(("name", "codec"), FLAGGED)
def test_damage_that_loses_no_frame_is_told_of(name, codec, predict, tmp_path):
    path = make(tmp_path / name, codec, n_frames=30, sound="mp2" if name.endswith("mpg") else "libmp3lame")
    status, out, _, warnings = predict(path, out="whole")
    assert (status, warnings) == (0, []), "no false alarm"
    add_noise(path)
    with VideoReader(path) as video:
        assert len(list(video)) == 30
    status, out, _, warnings = predict(path)
    assert status == 0
    (warning,) = warnings
    assert f"{name}: is damaged" in warning
    assert "is damaged" in out
    with pytest.raises(Failure, match="the clip is damaged") as failed:
        verify(path, Extent(30, (1, 1), (90, 90), 9))
    assert failed.value.kind is Kind.UNDECODABLE


def test_damaged_clips_are_skipped_with_their_reason(wflw_v, run_script, tmp_path):
    path = wflw_v / "videos" / "clip-B2.mp4"
    with av.open(str(path)) as container:
        largest = max(container.demux(video=0), key=lambda packet: packet.size if packet.pts else 0)
        place = largest.pos + largest.size // 2, largest.size // 3
    content = bytearray(path.read_bytes())
    content[place[0] : place[0] + place[1]] = np.random.default_rng(1).bytes(place[1])
    path.write_bytes(content)
    flags = [f"--WFLW_V_dataset_path={wflw_v}", "--WFLW_V_split=easy"]
    flags.append(f"--landmark_model_weights={GOLDEN / 'fpi.pth.tar'}")
    status, *_ = run_script(test_LDEQ_WFLW_V.main, *flags, f"--output_dir={tmp_path / 'out'}")
    assert status == 0
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert list(found["videos"]) == ["clip-A1", "clip_C3"]
    assert f"{path}: is damaged" in found["skipped"]["clip-B2"]
    assert_refused(
        run_script(test_LDEQ_WFLW_V.main, *flags, f"--output_dir={tmp_path / 's'}", "--strict"), path, "is damaged"
    )
    with pytest.raises(UnusableVideo, match="is damaged"):
        list(Clip(wflw_v, "clip-B2").frames())


def test_a_first_frame_that_is_lost_does_not_shift_the_others(wflw_v):
    """More frames than annotations would hide it, and every frame be measured against the next one's landmarks."""
    clip = Clip(wflw_v, "clip-A1")
    n_frames = len(clip.landmarks)
    for path in (clip.bboxes_path, clip.landmarks_path):
        np.save(path, np.load(path)[: n_frames - 2])
    content = bytearray(clip.video_path.read_bytes())
    with av.open(str(clip.video_path)) as container:
        first = next(container.demux(video=0))
    content[first.pos : first.pos + first.size] = bytes(first.size)
    clip.video_path.write_bytes(content)
    with pytest.raises(UnusableVideo, match="is damaged"):
        list(clip.frames())


def test_recordings_that_begin_between_key_frames_are_whole(tmp_path):
    path = make(tmp_path / "clip.ts", n_frames=40, options={"x264-params": "keyint=10:scenecut=0"})
    content = path.read_bytes()
    begun = tmp_path / "begun.ts"
    begun.write_bytes(content[: 3 * 188] + content[(len(content) // 188 // 8) * 188 :])
    with VideoReader(begun) as video:
        n_frames = sum(1 for _ in video)
        assert video.what_is_missing() is None
    assert 20 <= n_frames < 40


def test_the_whole_test_bed_raises_no_alarm():
    paths = [*(GOLDEN / "WFLW_V" / "videos").iterdir(), *(bundled.WFLW_V / "videos").iterdir()]
    assert len(paths) > 10
    for path in paths:
        with VideoReader(path) as video:
            for _ in video:
                pass
            assert (video.what_is_missing(), video.remarks) == (None, []), path


# -- addresses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["https://example.org/a.mp4", "rtsp://camera/1", "s3://bucket/a.mp4", "HTTP://x"])
def test_addresses_are_named_as_they_were_given(address, predict, tmp_path):
    outcome = predict(address)
    assert_refused(outcome[:3], address, "is an address", "download it first")
    with pytest.raises(InputError, match="is an address"):
        open_source(address)


FLAGS = [
    (predict_video.main, "--bboxes"),
    (predict_video.main, "--output_dir"),
    (predict_video.main, "--landmark_model_weights"),
    (test_LDEQ_WFLW.main, "--dataset_path"),
    (test_LDEQ_WFLW_V.main, "--WFLW_V_dataset_path"),
    (train_LDEQ.main, "--dataset_path"),
    (train_LDEQ.main, "--init_weights"),
    (crop_WFLW.main, "--images"),
]


@pytest.mark.parametrize(("main", "flag"), FLAGS, ids=[f"{main.__module__} {flag}" for main, flag in FLAGS])
def test_no_flag_takes_an_address_for_a_path(main, flag, run_script):
    others = ["--annotations=a", "--output_folder=b"] if main is crop_WFLW.main else []
    outcome = run_script(main, f"{flag}=https://example.org/some//file.npy", *others)
    assert_refused(outcome, flag, "https://example.org/some//file.npy: is an address")
    with pytest.raises(InputError, match=r"https://example\.org/a: is an address"):
        load_checkpoint("https://example.org/a")


def test_a_playlist_opens_nothing_else(tmp_path):
    """A playlist that names an address is no way out of the machine."""
    playlist = tmp_path / "list.m3u8"
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(InputError, match=r"list\.m3u8: .*expected a video"):
        list(open_source(playlist))


def test_names_of_cases_differ(tmp_path):
    """A suffix in capitals, and none, are read by content."""
    path = make(tmp_path / "CLIP.MP4")
    other = Path(shutil.copy(path, tmp_path / "clip"))
    assert all(np.array_equal(a, b) for a, b in zip(read(path), read(other), strict=True))
