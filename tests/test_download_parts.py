"""The parts of a download: which stream, cutting, unpacking, what errors mean, fetching files, worker processes."""

import bz2
import dataclasses
import errno
import gzip
import http.client
import io
import json
import lzma
import os
import resource
import shutil
import signal
import ssl
import tarfile
import time
import zipfile
from pathlib import Path
from unittest.mock import Mock
from urllib.parse import quote

import av
import numpy as np
import pytest

from datasets.wflw_v.download.annotations import Extent
from datasets.wflw_v.download.sources import Sources
from datasets.wflw_v.download.videos import DiskFull, FinishedClip, Job, process_job
from ldeq import InputError
from ldeq.face.detectors import fetch_yunet
from ldeq.fetch import Connection, RetryPolicy, fetch
from ldeq.terminal import ProgressBar
from ldeq.video.reading import VideoReader
from tests.loopback import Answer, serving
from tests.wflw_v_site import PLAYER, make_video, numbers_of, tar_of, zip_of
from utils.download.cutting import cut
from utils.download.failure import Failure, Kind, kind_of_message, kind_of_status
from utils.download.pytube_backend import PytubeBackend
from utils.download.streams import Stream, choose
from utils.download.unpack import DamagedArchive, unpack
from utils.download.yt_dlp_backend import YtDlpBackend, is_original
from utils.engine.workers import BytesReceived, Done, Workers

NOWAIT = RetryPolicy(retries=2, delay=0.01)
QUICK = Connection(timeout=3.0)


# -- Which stream ------------------------------------------------------------------------------------------------------


def stream(id, width, height, **more):
    return Stream(id, width, height, **{"codec": "avc1.64001f", "fps": 30.0, **more})


P360 = stream("18", 640, 360, progressive=True)
V360 = stream("134", 640, 360)
V480 = stream("135", 854, 480)
P720 = stream("22", 1280, 720, progressive=True)
V720 = stream("136", 1280, 720)
VP720 = stream("247", 1280, 720, codec="vp9")
V720_60 = stream("298", 1280, 720, fps=60.0)
V1080 = stream("137", 1920, 1080)
FAR, NEAR = (1100.0, 600.0), (300.0, 200.0)


@pytest.mark.parametrize(
    ("streams", "min_size", "id", "size", "step"),
    [
        ([P360, V720, P720, V1080], FAR, "22", (1280, 720), 1),  # progressive, as annotated
        ([P360, VP720, V720, V1080], FAR, "136", (1280, 720), 1),  # 720p without sound; H.264 before VP9
        ([P360, V360, V480, V1080], FAR, "137", (1280, 720), 1),  # what 720p would be, from the larger
        ([P360, V480], NEAR, "18", (640, 360), 1),  # never had 720p: the largest progressive one
        ([V360, V480], NEAR, "134", (640, 360), 1),
        ([P360, V480], (700.0, 300.0), "135", (854, 480), 1),  # annotations prove it larger
        ([P360, V720_60], FAR, "298", (1280, 720), 2),  # frames of 60 a second count for half
        ([P360, V720_60, V720], FAR, "136", (1280, 720), 1),
        ([stream("x", 640, 360, fps=50.0, progressive=True)], NEAR, "x", (640, 360), 2),
        ([stream("232", 1280, 720, bitrate=9.0, segmented=True), V720], FAR, "136", (1280, 720), 1),
        ([stream("a", 1280, 536), stream("b", 1920, 804)], NEAR, "a", (1280, 536), 1),  # 2.39:1
        ([stream("b", 1920, 804)], NEAR, "b", (1280, 536), 1),
        ([stream("c", 720, 1280), stream("d", 1080, 1920)], NEAR, "c", (720, 1280), 1),  # upright
        ([Stream("x", bitrate=1.0), Stream("y", bitrate=2.0)], FAR, "y", None, 1),  # sizes unknown
    ],
)
def test_the_stream_that_fits_the_annotations(streams, min_size, id, size, step):
    choice = choose(streams, min_size)
    assert (choice.stream.id, choice.size, choice.step) == (id, size, step)
    assert choice == choose(streams[::-1], min_size)


def test_what_a_choice_leaves_open_is_noted():
    assert "scaled from 1920x1080" in choose([P360, V1080], FAR).note
    assert "would fit in 640x360" in choose([P360, V720], NEAR).note
    assert choose([P360, V720], FAR).note == ""


@pytest.mark.parametrize(("avoid", "id"), [({"136"}, "137"), ({"136", "137"}, "18"), ({"136", "137", "18"}, "136")])
def test_a_refused_stream_leaves_the_annotated_size_as_it_is(avoid, id):
    choice = choose([P360, V720, V1080], NEAR, avoid)
    assert (choice.stream.id, choice.size) == (id, (1280, 720))


def test_a_refused_stream_of_unknown_size():
    streams = [Stream("x", bitrate=1.0), Stream("y", bitrate=2.0)]
    assert choose(streams, NEAR, {"y"}).stream.id == "x"


def test_annotations_that_reach_out_of_all_streams():
    with pytest.raises(Failure, match="largest stream is 854x480") as failed:
        choose([P360, V480], FAR)
    assert failed.value.kind is Kind.WRONG_SIZE
    with pytest.raises(Failure) as failed:
        choose([], NEAR)
    assert failed.value.kind is Kind.NO_STREAM


# -- Cutting -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "last", "step"), [(0, 0, 1), (0, 17, 1), (7, 12, 1), (17, 17, 1), (2, 5, 2)])
def test_cutting_is_exact_to_the_frame(first, last, step, tmp_path):
    source, target = tmp_path / "source.mp4", tmp_path / "cut.mp4"
    source.write_bytes(make_video(18))
    cut(source, target, first, last, size=None, step=step)
    assert numbers_of(target) == list(range(first * step, last * step + 1, step))
    with av.open(str(target)) as container:
        video = container.streams.video[0]
        assert (video.codec_context.name, video.pix_fmt, video.start_time or 0) == ("h264", "yuv420p", 0)


def test_cutting_a_variable_frame_rate(tmp_path):
    source, target = tmp_path / "source.mp4", tmp_path / "cut.mp4"
    pts = [0, 4, 8, 9, 10, 50, 54, 58, 100, 104, 300, 304]
    source.write_bytes(make_video(12, pts=pts))
    cut(source, target, 3, 10, size=None, step=1)
    assert numbers_of(target) == list(range(3, 11))
    with av.open(str(target)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    np.testing.assert_allclose(times, (np.array(pts[3:11]) - pts[3]) / 100, atol=1e-6)


def test_cutting_scales_and_keeps_odd_sizes(tmp_path):
    source, target = tmp_path / "source.mp4", tmp_path / "cut.mp4"
    source.write_bytes(make_video(5))
    for size, made in (((32, 24), (32, 24)), ((128, 96), (128, 96)), ((33, 25), (34, 26))):
        cut(source, target, 1, 3, size=size, step=1)
        assert numbers_of(target) == [1, 2, 3]
        with VideoReader(target) as video:
            assert next(iter(video)).shape[1::-1] == made


def test_a_cut_looks_like_its_source(tmp_path):
    """On a real image, decoded pixels of the clip are within about a grey level of the source's."""
    from utils import bundled

    source, target = bundled.WFLW_V / "videos" / "portrait-turn.mp4", tmp_path / "cut.mp4"
    cut(source, target, 10, 19, size=None, step=1)
    with VideoReader(source) as video:
        expected = [frame for index, frame in enumerate(video) if 10 <= index < 20]
    with VideoReader(target) as video:
        found = list(video)
    difference = np.abs(np.array(found, np.float32) - np.array(expected, np.float32))
    assert difference.mean() < 1.5


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (lambda content: b"", Kind.UNDECODABLE),
        (lambda content: b"<!DOCTYPE html><html>sorry</html>", Kind.UNDECODABLE),
        (lambda content: os.urandom(5000), Kind.UNDECODABLE),
        (lambda content: content[: len(content) // 2], Kind.UNDECODABLE),  # the index is at the end
        (lambda content: make_video(9), Kind.LENGTH),
    ],
)
def test_cutting_what_is_damaged_or_short(damage, kind, tmp_path):
    source = tmp_path / "source.mp4"
    source.write_bytes(damage(make_video(18)))
    with pytest.raises(Failure) as failed:
        cut(source, tmp_path / "cut.mp4", 5, 12, size=None, step=1)
    assert failed.value.kind is kind


def damaged_portrait():
    """A video whose sixth frame lacks its second half, which a decoder makes up for without an error."""
    from utils import bundled

    content = (bundled.WFLW_V / "videos" / "portrait-turn.mp4").read_bytes()
    with av.open(io.BytesIO(content)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][5]
    middle, end = packet.pos + packet.size // 2, packet.pos + packet.size
    return content[:middle] + bytes(end - middle) + content[end:]


def test_a_damaged_frame_is_not_taken_for_the_image(tmp_path):
    source = tmp_path / "source.mp4"
    source.write_bytes(damaged_portrait())
    with pytest.raises(Failure, match=r"frame \d+ is damaged") as failed:
        cut(source, tmp_path / "cut.mp4", 0, 59, size=None, step=1)
    assert failed.value.kind is Kind.UNDECODABLE
    target = tmp_path / "videos" / "id.mp4"
    target.parent.mkdir()
    source.rename(target)
    found = process_job(Job("id", tmp_path, tmp_path / "work", Extent(60, (9, 9), (90, 90), 9)), lambda n_bytes: None)
    assert isinstance(found, Failure)
    assert "is damaged" in found.message


# -- Unpacking ---------------------------------------------------------------------------------------------------------


def unpack_all(content, folder):
    archive = folder / "archive"
    archive.write_bytes(content)
    unpack(archive, lambda path: folder / "out" / path, folder)
    return {str(path.relative_to(folder / "out")) for path in (folder / "out").rglob("*") if path.is_file()}


@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_unpacking(pack, tmp_path):
    assert unpack_all(pack({"a/b.npy": b"1", "c.npy": b"2"}), tmp_path) == {"a/b.npy", "c.npy"}
    assert (tmp_path / "out" / "a" / "b.npy").read_bytes() == b"1"


@pytest.mark.parametrize("format", ["gzip", "bzip2", "xz"])
def test_a_compressed_archive_may_have_several_streams(format, tmp_path):
    """Programs that compress in parallel write them, and tapes are filled up with zeros."""
    content = packed("tar", MEMBERS)
    streams = [COMPRESS[format](content[start : start + 4096]) for start in range(0, len(content), 4096)]
    assert len(unpack_all(b"".join(streams) + bytes(512), tmp_path)) == len(MEMBERS)


def test_an_archive_whose_paths_have_backslashes(tmp_path):
    assert unpack_all(zip_of({"a\\b.npy": b"1"}), tmp_path) == {"a/b.npy"}


def special_tar(kind, name="link", target="/etc/passwd"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, target
        archive.addfile(entry)
    return buffer.getvalue()


def zip_with_link():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo("link")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    return buffer.getvalue()


def zip_that_lies():
    """It says that its member unpacks to 4 GB less a little."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"0" * 100_000)
    return buffer.getvalue().replace((100_000).to_bytes(4, "little"), (0xFFFFFFF0).to_bytes(4, "little"))


REFUSED = {
    "zip, up": (zip_of({"good": b"", "../evil": b""}), "../evil"),
    "tar, up": (tar_of({"good": b"", "a/../../evil": b""}), "a/../../evil"),
    "tar, absolute": (tar_of({"/evil": b""}), "/evil"),
    "zip, backslash": (zip_of({"..\\evil": b""}), "evil"),
    "zip, drive": (zip_of({"C:\\evil": b""}), "evil"),
    "tar, link": (special_tar(tarfile.SYMTYPE), "link"),
    "tar, hard link": (special_tar(tarfile.LNKTYPE), "link"),
    "tar, device": (special_tar(tarfile.CHRTYPE), "link"),
    "tar, pipe": (special_tar(tarfile.FIFOTYPE), "link"),
    "zip, link": (zip_with_link(), "link"),
    "zip, cut off": (zip_of({"a": os.urandom(5000)})[:-30], "expected a ZIP or TAR"),
    "tar, cut off": (tar_of({"a": os.urandom(50000)})[:30000], "expected a"),
    "zip, lies": (zip_that_lies(), "expected"),
    "web page": (b"<html>quota exceeded</html>", "is a web page"),
    "empty": (b"", "expected a ZIP or TAR"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_archives_that_are_refused_leave_nothing(case, tmp_path):
    content, named = REFUSED[case]
    with pytest.raises(InputError) as refused:
        unpack_all(content, tmp_path)
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "archive"]


def packed(format, members):
    """An archive of one of the formats that are taken."""
    buffer = io.BytesIO()
    if format in ZIP_METHODS:
        with zipfile.ZipFile(buffer, "w", ZIP_METHODS[format]) as archive:
            for name, content in members:
                archive.writestr(name, content)
        return buffer.getvalue()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return COMPRESS[format](buffer.getvalue())


ZIP_METHODS = {
    "zip, stored": zipfile.ZIP_STORED,
    "zip": zipfile.ZIP_DEFLATED,
    "zip, bzip2": zipfile.ZIP_BZIP2,
    "zip, lzma": zipfile.ZIP_LZMA,
}
COMPRESS = {
    "tar": bytes,
    "gzip": gzip.compress,
    "gzip, stored": lambda content: gzip.compress(content, 0),
    "bzip2": bz2.compress,
    "xz": lambda content: lzma.compress(content, preset=0),
    "lzma": lambda content: lzma.compress(content, lzma.FORMAT_ALONE),
}
MEMBERS = [(f"a/{number}.npy", os.urandom(900) + bytes(200)) for number in range(5)]


def changed(content, start, n_bytes=100):
    return (
        content[:start] + bytes(byte ^ 0x55 for byte in content[start : start + n_bytes]) + content[start + n_bytes :]
    )


#: Damage that must be seen in archives of all formats.
DAMAGE = {
    "middle": lambda content: changed(content, len(content) // 2),
    "one bit": lambda content: changed(content, len(content) // 3, 1),
    "cut off": lambda content: content[: len(content) // 3],
    "last bytes": lambda content: content[:-5],
    "trailing bytes": lambda content: content + b"something else",
    "concatenated": lambda content: content + content,
    "beginning": lambda content: changed(content, 0, 300),
}


def assert_refused_whole(content, folder, *named):
    """The archive is refused in one sentence with its name, and no file of it is left, under whatever name."""
    with pytest.raises(DamagedArchive) as refused:
        unpack_all(content, folder)
    sentence = str(refused.value)
    assert sentence.startswith(f"{folder / 'archive'}: ")
    assert "\n" not in sentence
    assert all(word in sentence for word in named), sentence
    assert not [path for path in folder.rglob("*") if path.is_file() and path.name != "archive"]


#: A plain TAR has no checksum of what its members hold, and ends with more zeros than it needs.
UNSEEN = {("tar", damage) for damage in ("middle", "one bit", "last bytes")}


@pytest.mark.parametrize(
    ("format", "damage"),
    sorted({(format, damage) for format in (*ZIP_METHODS, *COMPRESS) for damage in DAMAGE} - UNSEEN),
)
def test_a_damaged_archive_is_refused_whole(format, damage, tmp_path):
    content = packed(format, MEMBERS)
    assert len(unpack_all(content, tmp_path)) == len(MEMBERS)
    shutil.rmtree(tmp_path / "out")
    assert_refused_whole(DAMAGE[damage](content), tmp_path, "damaged")


def trailer(offset, value):
    """A gzip file whose last eight bytes, its checksum and its length, are wrong: what unpacks is as it was."""
    content = bytearray(packed("gzip", MEMBERS))
    content[offset] ^= value
    return bytes(content)


def tar_without_its_end():
    content = packed("tar", MEMBERS)
    return content[: len(MEMBERS) * (512 + 1536)]


def tar_with_a_wrong_header():
    content = packed("tar", MEMBERS)
    return changed(content, 2 * (512 + 1536) + 20, 10)


def encrypted():
    content = bytearray(packed("zip", MEMBERS))
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def overlapping():
    """Two entries of a ZIP's directory for the same bytes."""
    content = packed("zip, stored", [("a", b"content"), ("b", b"content")])
    entry = content.rindex(b"PK\x01\x02")
    return content[: entry + 42] + bytes(4) + content[entry + 46 :]


def bomb(format):
    return packed(format, [("zeros", bytes(80_000_000))])


def sparse_tar(size):
    entry = tarfile.TarInfo("sparse")
    entry.size = size
    return gzip.compress(entry.tobuf() + bytes(2048))


ODD = {
    "gzip, checksum": (lambda: trailer(-7, 1), "damaged"),
    "gzip, length": (lambda: trailer(-4, 1), "damaged"),
    "tar without its end": (tar_without_its_end, "its end is missing"),
    "tar, wrong header": (tar_with_a_wrong_header, "damaged"),
    "gzip of no archive": (lambda: gzip.compress(b"hello" * 500), "damaged"),
    "zip with a password": (encrypted, "password"),
    "zip, overlapping": (overlapping, "overlaps"),
    "zip, bomb": (lambda: bomb("zip"), "times its size"),
    "gzip, bomb": (lambda: bomb("gzip"), "times its size"),
    "xz, bomb": (lambda: bomb("xz"), "times its size"),
    "tar, petabytes": (lambda: sparse_tar(8**16), "times its size"),
    "two of one name": (lambda: packed("gzip", [*MEMBERS, MEMBERS[0]]), "expected one for"),
    "two of one letter": (lambda: packed("tar", [("a", b"1"), ("b", b"1"), ("a", b"2")]), "expected one for"),
    "differ by case": (lambda: packed("zip", [("a", b"1"), ("A", b"2")]), "expected one for"),
    "7z": (lambda: b"7z\xbc\xaf\x27\x1c" + bytes(100), "7z"),
    "zeros": (lambda: bytes(20480), "no files"),
    "no members": (lambda: packed("zip", []), "no files"),
}


@pytest.mark.parametrize("case", ODD)
def test_odd_archives_are_refused_whole(case, tmp_path):
    make, named = ODD[case]
    assert_refused_whole(make(), tmp_path, named)


def test_an_archive_with_more_members_than_any(tmp_path, monkeypatch):
    monkeypatch.setattr("utils.download.unpack._MAX_MEMBERS", 4)
    for format in ("zip", "gzip"):
        assert_refused_whole(packed(format, MEMBERS), tmp_path, "members")


def test_a_member_that_is_left_out_is_checked_as_well(tmp_path):
    archive = tmp_path / "archive"
    content = packed("zip, stored", [("wanted", b"1"), ("other", b"content")])
    archive.write_bytes(content.replace(b"content", b"damaged"))
    with pytest.raises(DamagedArchive, match="other"):
        unpack(archive, lambda path: tmp_path / "out" if path.name == "wanted" else None, tmp_path)
    assert not (tmp_path / "out").exists()


def test_zstandard_is_read_or_named(tmp_path):
    try:
        from compression import zstd
    except ImportError:
        with pytest.raises(InputError, match="Zstandard"):
            unpack_all(b"\x28\xb5\x2f\xfd" + bytes(50), tmp_path)
        return
    content = zstd.compress(packed("tar", MEMBERS))
    assert len(unpack_all(content, tmp_path)) == len(MEMBERS)
    shutil.rmtree(tmp_path / "out")
    assert_refused_whole(content[:-5], tmp_path, "damaged")


def test_a_disk_that_is_full_is_not_called_damage(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    (tmp_path / "archive").write_bytes(packed("bzip2", [("a", os.urandom(100)), ("b", os.urandom(9000))]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
    try:
        with pytest.raises(InputError, match="b: cannot be written") as refused:
            unpack(tmp_path / "archive", lambda path: tmp_path / "out" / path, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not isinstance(refused.value, DamagedArchive)
    assert not list((tmp_path / "out").iterdir())


def test_an_archive_that_is_larger_than_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(InputError, match="free"):
        unpack_all(zip_of({"a": bytes(2000)}), tmp_path)


# -- What errors mean --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("[youtube] x: Private video. Sign in if you've been granted access to this video", Kind.PRIVATE),
        ("[youtube] x: Video unavailable. This video has been removed by the uploader", Kind.REMOVED),
        ("Video unavailable. This video is no longer available because the YouTube account … terminated", Kind.REMOVED),
        ("Video unavailable. The uploader has not made this video available in your country", Kind.REGION),
        ("Video unavailable. It contains content from X, who has blocked it in your country on copyright", Kind.REGION),
        ("Sign in to confirm your age. This video may be inappropriate for some users.", Kind.LOGIN),
        ("Join this channel to get access to members-only content like this video", Kind.LOGIN),
        ("Sign in to confirm you’re not a bot. Use --cookies-from-browser", Kind.BLOCKED),
        ("This content isn't available, try again later", Kind.BLOCKED),
        ("Unable to download webpage: [Errno -2] Name or service not known (caused by TransportError)", Kind.NETWORK),
        ("The read operation timed out", Kind.NETWORK),
        ("Requested format is not available", Kind.NO_STREAM),
        ("Failed to extract any player response", Kind.BACKEND),
        ("[youtube] x: The page needs to be reloaded.. The page needs to be reloaded.", Kind.BLOCKED),
        ("Video unavailable. This content isn’t available.", Kind.BLOCKED),
        ("All player responses are invalid. Your IP is likely being blocked by Youtube", Kind.BLOCKED),
        ("Video unavailable. YouTube is requiring a captcha challenge before playback", Kind.BLOCKED),
        ("unable to download video data: HTTP Error 403: Forbidden", Kind.BLOCKED),
        ("Unable to download API page: HTTP Error 429: Too Many Requests (caused by …)", Kind.BLOCKED),
        ("We're processing this video. Check back later.", Kind.NOT_YET),
        ("Premieres in 3 hours", Kind.NOT_YET),
        ("This live event will begin in a few moments.", Kind.NOT_YET),
        ("This video is currently unavailable", Kind.NOT_YET),
        ("x is streaming live and cannot be loaded", Kind.NOT_YET),
        ("[youtube] x: This video is DRM protected", Kind.INCOMPLETE),
        ("This live stream recording is not available.", Kind.REMOVED),
        ("HTTP Error 503: Service Unavailable", Kind.NETWORK),
        ("<urlopen error [Errno 101] Network is unreachable>", Kind.NETWORK),
        ("[youtube] deleteddrm0: Something that nobody knows", Kind.BACKEND),  # an id is no message
    ],
)
def test_messages_by_what_they_mean(message, kind):
    assert kind_of_message(message) is kind


def test_what_passes_is_tried_again_and_what_stays_is_not():
    assert all(kind.is_transient for kind in (Kind.BLOCKED, Kind.NETWORK, Kind.NOT_YET, Kind.INCOMPLETE))
    assert not any(kind.is_transient for kind in (Kind.REMOVED, Kind.PRIVATE, Kind.REGION, Kind.LOGIN, Kind.WRONG_SIZE))


def test_statuses_by_what_they_mean():
    statuses = {404: Kind.REMOVED, 410: Kind.REMOVED, 401: Kind.LOGIN, 451: Kind.REGION, 429: Kind.BLOCKED}
    statuses |= {403: Kind.BLOCKED, 500: Kind.NETWORK, 503: Kind.NETWORK}
    assert {status: kind_of_status(status) for status in statuses} == statuses
    assert all(kind.advice for kind in Kind)


# -- Files -------------------------------------------------------------------------------------------------------------


def test_fetching_goes_on_where_a_connection_broke(tmp_path):
    content = os.urandom(3_000_000)
    with serving() as server:
        server.answers["/file"] = Answer(content, break_after=1_200_000, n_breaks=2)
        with ProgressBar(None, "B", "file") as bar:
            fetch(f"{server.url}/file", tmp_path / "file", QUICK, NOWAIT, bar)
            assert bar.n_done == len(content)
        assert server.ranges  # it did not begin anew
    assert (tmp_path / "file").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("answer", "n_requests", "named"),
    [
        (Answer(b"no", status=404), 1, "HTTP status 404"),
        (Answer(b"no", status=503), 3, "HTTP status 503"),
        (Answer(b"x" * 9000, break_after=0), 3, "cannot be fetched"),
    ],
)
def test_what_cannot_be_fetched(answer, n_requests, named, tmp_path):
    with serving() as server:
        server.answers["/file"] = answer
        with pytest.raises(InputError, match=named) as refused:
            fetch(f"{server.url}/file", tmp_path / "file", QUICK, NOWAIT)
        assert server.requests["/file"] == n_requests
        assert server.url in str(refused.value)
    assert not (tmp_path / "file").exists()


BAD_ADDRESSES = [
    *("http://[::1/x", "http://[::1", "http://host:99999/x", "http://host:port/x", "http://host:0/x", "http:///x"),
    *("http://a b/x", "http://host/a b", "http://host/\nx", "http://host\\x", "ftp://host/x", "javascript://host/x"),
    *(
        "http://.host/x",
        f"http://{'a' * 64}.org/x",
        "file:///nowhere/x",
        "nowhere/x.zip",
        "short",
        "",
        "http://ho\0st/x",
    ),
]


@pytest.mark.parametrize("address", BAD_ADDRESSES)
def test_what_is_no_address(address, tmp_path):
    with pytest.raises(InputError, match="expected") as refused:
        fetch(address, tmp_path / "file", QUICK, RetryPolicy(5, 60.0))  # nobody waits for it
    assert len(str(refused.value).splitlines()) == 1
    with pytest.raises(InputError, match="expected"):
        Sources(archive=address)
    with pytest.raises(InputError, match="expected"):
        fetch_yunet(address, "0" * 64, tmp_path)


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "fetched"),
        (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), "fetched"),
        (ssl.SSLError(1, "[SSL: BAD_RECORD] bad record"), "fetched"),
        (OSError(errno.ENOSPC, "No space left on device"), "written"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "written"),
    ],
)
def test_a_connection_that_fails_is_not_called_a_full_disk(error, named, tmp_path, monkeypatch):
    monkeypatch.setattr("gdown.download", Mock(side_effect=error))
    with pytest.raises(InputError, match=f"cannot be {named}"):
        fetch("http://host/file", tmp_path / "file", QUICK, NOWAIT)


def test_a_server_that_leads_to_no_address(tmp_path):
    with serving() as server:
        server.answers["/file"] = Answer(status=302, headers={"Location": "http://[::1/x"})
        with pytest.raises(InputError, match="cannot be fetched"):
            fetch(f"{server.url}/file", tmp_path / "file", QUICK, RetryPolicy(5, 60.0))


@pytest.mark.parametrize("id", ["-id_0", "{id}", "{0}", "a b&c/d"])
def test_an_id_is_put_into_its_address_as_it_is(id):
    assert Sources(video="https://host/v?a={id}&b={id}").address_of_video(id) == (
        f"https://host/v?a={quote(id, safe='')}&b={quote(id, safe='')}"
    )


def test_fetching_from_nowhere(tmp_path):
    with serving() as server:
        url = server.url
    with pytest.raises(InputError, match="Connection refused"):
        fetch(f"{url}/file", tmp_path / "file", QUICK, NOWAIT)


# -- yt-dlp with a list of streams -------------------------------------------------------------------------------------

MANIFEST = """<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S"
     profiles="urn:mpeg:dash:profile:isoff-main:2011"><Period><AdaptationSet mimeType="video/mp4" codecs="avc1.64001f">
{}</AdaptationSet></Period></MPD>"""
ENTRY = """<Representation id="{0}" bandwidth="1000" width="{1}" height="{2}" frameRate="{3}">
<BaseURL>{0}.mp4</BaseURL></Representation>
"""


def manifest(*streams):
    return Answer(MANIFEST.format("".join(ENTRY.format(*entry) for entry in streams)).encode(), "application/dash+xml")


def test_yt_dlp_downloads_the_chosen_stream_of_a_list(tmp_path):
    folder = tmp_path / "100% of $HOME {id} ~"
    folder.mkdir()
    video = make_video()
    with serving() as server:
        server.answers["/clip.mpd"] = manifest(("low", 640, 360, 30), ("high", 1280, 720, 30), ("best", 1920, 1080, 30))
        server.answers["/high.mp4"] = Answer(video, "video/mp4")
        seen = []
        made = YtDlpBackend(QUICK).download(f"{server.url}/clip.mpd", folder, lambda s: choose(s, FAR), seen.append)
        assert not [path for path in server.requests if path in ("/low.mp4", "/best.mp4")]
    assert made.path.read_bytes() == video
    assert made.choice.size == (1280, 720)
    assert "high" in made.choice.stream.id
    assert made.n_bytes == sum(seen) == len(video)


HLS = """#EXTM3U
#EXT-X-STREAM-INF:BANDWIDTH=900000,RESOLUTION=640x360,CODECS="avc1.64001f,mp4a.40.2",FRAME-RATE=30
low.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=1900000,RESOLUTION=854x480,CODECS="avc1.64001f,mp4a.40.2",FRAME-RATE=30
high.m3u8
"""


def listed_by_yt_dlp(address, folder):
    listed = []

    def choose_none(streams):
        listed.extend(streams)
        raise Failure(Kind.NO_STREAM, "none")

    with pytest.raises(Failure):
        YtDlpBackend(QUICK).download(address, folder, choose_none, lambda n: None)
    return listed


def test_playlists_with_sound_are_not_progressive(tmp_path):
    with serving() as server:
        server.answers["/clip.m3u8"] = Answer(HLS.encode(), "application/vnd.apple.mpegurl")
        streams = listed_by_yt_dlp(f"{server.url}/clip.m3u8", tmp_path)
    assert [(each.width, each.progressive, each.segmented) for each in streams] == [
        (640, False, True),
        (854, False, True),
    ]
    assert choose([*streams, P360], NEAR).size == (640, 360)


@pytest.mark.parametrize(
    ("changes", "original"),
    [
        ({}, True),
        ({"format_id": "136-sr", "format_note": "720p, AI-upscaled"}, False),
        ({"format_note": "720p, DAMAGED"}, False),
        ({"vcodec": "none"}, False),
        ({"has_drm": True}, False),
    ],
)
def test_formats_that_are_not_what_was_uploaded(changes, original):
    assert is_original({"format_id": "136", "vcodec": "avc1", "ext": "mp4", **changes}) is original


def test_a_list_that_may_lack_the_annotated_stream_is_not_chosen_from(tmp_path, monkeypatch):
    from yt_dlp.extractor.generic import GenericIE

    extract = GenericIE._real_extract

    def without_javascript(self, url):
        self.report_warning("No supported JavaScript runtime could be found. Some formats may be missing.")
        return extract(self, url)

    monkeypatch.setattr(GenericIE, "_real_extract", without_javascript)
    with serving() as server:
        server.answers["/small.mpd"] = manifest(("low", 640, 360, 30), ("mid", 854, 480, 30))
        server.answers["/large.mpd"] = manifest(("low", 640, 360, 30), ("high", 1280, 720, 30))
        with pytest.raises(Failure, match="install deno") as failed:
            YtDlpBackend(QUICK).download(f"{server.url}/small.mpd", tmp_path, lambda s: choose(s, NEAR), print)
        assert len(listed_by_yt_dlp(f"{server.url}/large.mpd", tmp_path)) == 2
    assert failed.value.kind is Kind.BACKEND


DRM = '<ContentProtection schemeIdUri="urn:uuid:edef8ba9-79d6-4ace-a3c8-27dcd51d21ed"/>'


def manifest_with_drm(*streams, protected):
    answer = manifest(*streams)
    for id in protected:
        answer.body = answer.body.replace(f"<BaseURL>{id}.mp4".encode(), f"{DRM}<BaseURL>{id}.mp4".encode())
    return answer


LOW, MID, HIGH = ("low", 640, 360, 30), ("mid", 854, 480, 30), ("high", 1280, 720, 30)


@pytest.mark.parametrize("min_size", [NEAR, FAR])
@pytest.mark.parametrize("protected", [["high"], ["mid", "high"], ["low", "mid", "high"]])
def test_a_stream_with_drm_is_not_taken_for_one_that_is_not_there(protected, min_size, tmp_path):
    with serving() as server:
        server.answers["/clip.mpd"] = manifest_with_drm(LOW, MID, HIGH, protected=protected)
        with pytest.raises(Failure, match="DRM") as failed:
            YtDlpBackend(QUICK).download(f"{server.url}/clip.mpd", tmp_path, lambda s: choose(s, min_size), print)
        assert not [path for path in server.requests if path.endswith(".mp4")]
    assert failed.value.kind is Kind.INCOMPLETE


def test_a_stream_with_drm_that_is_not_wanted(tmp_path):
    with serving() as server:
        server.answers["/clip.mpd"] = manifest_with_drm(LOW, MID, HIGH, protected=["low"])
        assert [each.height for each in listed_by_yt_dlp(f"{server.url}/clip.mpd", tmp_path)] == [480, 720]


def failure_and_sizes(backend, folder):
    """Of a download from YouTube that ends with the choice of a stream: how it fails, and the size that is chosen."""
    sizes = []

    def choose_near(streams):
        sizes.append(choose(streams, NEAR).size)
        raise Failure(Kind.CRASHED, "far enough")

    with pytest.raises(Failure) as failed:
        backend(QUICK).download("https://www.youtube.com/watch?v=abcdefghijk", folder, choose_near, print)
    return failed.value, sizes


def youtube_format(itag, height=0, **more):
    video = {"vcodec": "avc1.64001f", "width": height * 16 // 9, "height": height, "fps": 30} if height else {}
    both = {"vcodec": "none", "acodec": "none", "ext": "mp4", "protocol": "https", "url": "http://127.0.0.1:1/x"}
    return {"format_id": itag, **both, **video, **more}


F18 = youtube_format("18", 360, acodec="mp4a.40.2")
F134, F135, F136 = (youtube_format(itag, height) for itag, height in (("134", 360), ("135", 480), ("136", 720)))
SOUND, STORYBOARD = youtube_format("140", acodec="mp4a.40.2"), youtube_format("sb0", ext="mhtml", protocol="mhtml")
SABR = "[youtube] x: Some tv client https formats have been skipped as they are missing a URL. YouTube may have …"
LOCKED = "[youtube] x: Some tv client https formats have been skipped as they are DRM protected."
TOKEN = "[youtube] x: mweb client https formats require a GVS PO Token which was not provided."
CHALLENGE = "[youtube] x: n challenge solving failed: Some formats may be missing."
MANIFEST_FAILED = "[youtube] x: Failed to download m3u8 information: HTTP Error 429: Too Many Requests"


@pytest.mark.parametrize(
    ("formats", "warning", "kind"),
    [
        ([F18, SOUND, STORYBOARD], None, Kind.INCOMPLETE),  # 360p alone, and not a word about it
        ([SOUND, STORYBOARD], None, Kind.INCOMPLETE),
        ([STORYBOARD], None, Kind.INCOMPLETE),
        ([], None, Kind.INCOMPLETE),
        ([F18, F134, F135], SABR, Kind.INCOMPLETE),
        ([F18, F134, F135], LOCKED, Kind.INCOMPLETE),
        ([F18, F134, F135], TOKEN, Kind.INCOMPLETE),
        ([F18, F134, F135], MANIFEST_FAILED, Kind.INCOMPLETE),
        ([F18, F134, F135], CHALLENGE, Kind.BACKEND),
        ([F18, F134, {**F136, "url": None}], None, Kind.INCOMPLETE),
        ([F18, F134, {**F136, "has_drm": True}], None, Kind.INCOMPLETE),
        ([F18, F134, {**F136, "format_note": "720p, DAMAGED"}], None, Kind.INCOMPLETE),
        ([{**F136, "has_drm": True}, STORYBOARD], None, Kind.INCOMPLETE),
        ([F18, F134, F135], "SCREEN", Kind.INCOMPLETE),
        ([F18, F134, F135, {**F136, "format_id": "136-sr"}], None, None),  # never had 720p
        ([F18, F134, F136, SOUND], SABR, None),  # has what was annotated
    ],
)
def test_lists_of_youtube(formats, warning, kind, tmp_path, monkeypatch):
    from yt_dlp.extractor.youtube import YoutubeIE

    def extract(self, url):
        if warning == "SCREEN":
            self.to_screen("This video is age-restricted; some formats may be missing without authentication.")
        elif warning:
            self.report_warning(warning)
        return {"id": "abcdefghijk", "title": "x", "formats": [dict(entry) for entry in formats]}

    monkeypatch.setattr(YoutubeIE, "_real_extract", extract)
    failure, sizes = failure_and_sizes(YtDlpBackend, tmp_path)
    assert failure.kind is (kind or Kind.CRASHED), failure.message
    assert len(sizes) == (kind is None)


@pytest.mark.parametrize("status", ["is_live", "is_upcoming", "post_live"])
def test_a_live_event_is_not_downloaded(status, tmp_path, monkeypatch):
    from yt_dlp.extractor.youtube import YoutubeIE

    info = {"id": "abcdefghijk", "title": "x", "formats": [F18, F136], "live_status": status}
    monkeypatch.setattr(YoutubeIE, "_real_extract", lambda self, url: info)
    with pytest.raises(Failure) as failed:
        YtDlpBackend(QUICK).download("https://youtu.be/abcdefghijk", tmp_path, lambda s: choose(s, NEAR), print)
    assert failed.value.kind is Kind.NOT_YET


def test_a_size_that_a_list_in_doubt_lacks_is_not_wrong_for_good(tmp_path):
    """Of annotations that reach beyond 720p, the stream may be the one without an address."""
    with serving() as server:
        streams = (*(LOW, HIGH), ("best", 1920, 1080, 30))
        server.answers["/clip.mpd"] = manifest_with_drm(*streams, protected=["best"])
        with pytest.raises(Failure) as failed:
            YtDlpBackend(QUICK).download(f"{server.url}/clip.mpd", tmp_path, lambda s: choose(s, (1500, 900)), print)
    assert failed.value.kind is Kind.INCOMPLETE


def test_a_smaller_stream_does_not_stand_in_for_one_that_is_refused(tmp_path):
    job = Job("id", tmp_path, tmp_path / "work", Extent(8, (0, 0), (50, 40), 10), 4, 11)
    with serving() as server:
        server.answers["/clip.mpd"] = manifest(LOW, HIGH)
        server.answers["/high.mp4"] = Answer(b"", status=403)
        server.answers["/low.mp4"] = Answer(make_video(size=(640, 360)), "video/mp4")
        job = dataclasses.replace(job, address=f"{server.url}/clip.mpd")
        for _ in range(2):
            failure = process_job(job, lambda n_bytes: None)
            assert failure.kind is Kind.BLOCKED
            job = dataclasses.replace(job, avoid=frozenset({failure.stream}))
        assert "/low.mp4" not in server.requests


def test_yt_dlp_says_which_stream_failed(tmp_path):
    with serving() as server:
        server.answers["/clip.mpd"] = manifest(("low", 640, 360, 30), ("high", 1280, 720, 30))
        server.answers["/high.mp4"] = Answer(b"", status=403)
        with pytest.raises(Failure) as failed:
            YtDlpBackend(QUICK).download(f"{server.url}/clip.mpd", tmp_path, lambda s: choose(s, FAR), lambda n: None)
    assert failed.value.kind is Kind.BLOCKED
    assert "high" in failed.value.stream


def test_a_file_that_is_here_already_is_copied(tmp_path):
    (tmp_path / "mine.zip").write_bytes(b"archive")
    for source in (str(tmp_path / "mine.zip"), f"file://{tmp_path / 'mine.zip'}"):
        fetch(source, tmp_path / "work" / "copy", Connection(), RetryPolicy(0, 0.0))
        assert (tmp_path / "work" / "copy").read_bytes() == b"archive"
    assert (tmp_path / "mine.zip").exists()


def test_cookies_are_read_and_never_written(tmp_path):
    cookies = tmp_path / "cookies.txt"
    cookies.write_text("# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tname\tvalue\n")
    before = cookies.read_bytes()
    cookies.chmod(0o444)
    with serving() as server:
        server.answers["/clip.mp4"] = Answer(make_video(), "video/mp4", headers={"Set-Cookie": "other=1"})
        connection = Connection(timeout=3.0, cookies=str(cookies))
        YtDlpBackend(connection).download(f"{server.url}/clip.mp4", tmp_path, lambda s: choose(s, NEAR), lambda n: None)
        assert all(sent.startswith("name=value") for sent in server.cookies)
    assert cookies.read_bytes() == before


def test_a_full_disk_ends_the_run(tmp_path, monkeypatch):
    """It does so wherever the error comes from: yt-dlp, the encoder, or Python."""
    full = OSError(errno.ENOSPC, "No space left on device")
    job = Job("id", tmp_path, tmp_path / "work", Extent(8, (0, 0), (50, 40), 10), 4, 11, "")
    with serving() as server:
        server.answers["/clip.mp4"] = Answer(make_video(), "video/mp4")
        job = dataclasses.replace(job, address=f"{server.url}/clip.mp4")
        for name in ("datasets.wflw_v.download.videos.cut", "yt_dlp.downloader.http.HttpFD.real_download"):
            with monkeypatch.context() as patched:
                patched.setattr(name, Mock(side_effect=full))
                result = process_job(dataclasses.replace(job, work=tmp_path / name), lambda n_bytes: None)
            assert isinstance(result, DiskFull)
            assert "No space left" in result.message
        assert isinstance(process_job(job, lambda n_bytes: None), FinishedClip)


@pytest.mark.parametrize(
    ("error", "is_full"),
    [
        (OSError(errno.EROFS, "Read-only file system"), True),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), False),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), False),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), False),
    ],
)
def test_the_disk_and_the_connection_are_told_apart(error, is_full, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.wflw_v.download.videos.make_backend", Mock(side_effect=error))
    result = process_job(
        Job("id", tmp_path, tmp_path / "work", Extent(8, (0, 0), (9, 9), 1), 4, 11, "x"), lambda n: None
    )
    assert isinstance(result, DiskFull) if is_full else result.kind is Kind.NETWORK


@pytest.mark.parametrize("error", [ssl.SSLError(1, "wrong version number"), http.client.IncompleteRead(b"")])
def test_pytube_says_that_the_connection_failed(error, tmp_path, monkeypatch):
    monkeypatch.setattr("pytube.YouTube", Mock(side_effect=error))
    with pytest.raises(Failure) as failed:
        PytubeBackend(QUICK).download("https://youtube.com/watch?v=x", tmp_path, lambda s: choose(s, FAR), print)
    assert failed.value.kind is Kind.NETWORK


def pytube_entry(itag, height, codecs, **more):
    url = f"https://video.example/play?itag={itag}&signature=given"
    size = {"width": height * 16 // 9, "height": height, "fps": 25}
    return {"itag": itag, "url": url, "mimeType": f'video/mp4; codecs="{codecs}"', "bitrate": 1000, **size, **more}


P18 = pytube_entry(18, 360, "avc1.42001E, mp4a.40.2")
P135, P136 = pytube_entry(135, 480, "avc1.4d401f"), pytube_entry(136, 720, "avc1.4d401f")
P140 = {"itag": 140, "mimeType": 'audio/mp4; codecs="mp4a.40.2"', "bitrate": 100}  # without an address


def without_url(entry, **more):
    return {key: value for key, value in entry.items() if key != "url"} | more


def list_by_pytube(monkeypatch, folder, status=None, formats=None, adaptive=()):
    """What pytube makes of YouTube's answer: the kind of failure, and the annotated size where it came to that."""
    import pytube

    page = (
        f"<html>var ytInitialPlayerResponse = {json.dumps({'playabilityStatus': status or {'status': 'OK'}})};</html>"
    )
    info = {"playabilityStatus": status or {"status": "OK"}, "videoDetails": {"title": "x", "lengthSeconds": "1"}}
    if formats is not None:
        info["streamingData"] = {"formats": list(formats), "adaptiveFormats": list(adaptive)}
    for name, value in (("watch_html", page), ("vid_info", info), ("js", PLAYER)):
        monkeypatch.setattr(pytube.YouTube, name, property(lambda self, value=value: value))
    monkeypatch.setattr(pytube.YouTube, "bypass_age_gate", lambda self: None)
    failure, sizes = failure_and_sizes(PytubeBackend, folder)
    return failure.kind, *sizes


@pytest.mark.parametrize(
    ("formats", "adaptive", "outcome"),
    [
        ([P18], [P135, P136], (Kind.CRASHED, (1280, 720))),
        ([P18], [P135], (Kind.CRASHED, (640, 360))),  # never had 720p
        ([P18], [], (Kind.INCOMPLETE,)),
        ([P18], [P135, without_url(P136), P140], (Kind.INCOMPLETE,)),
        ([P18], [P135, without_url(P136, signatureCipher="s=x"), P140], (Kind.INCOMPLETE,)),
        ([P18], [P135, {**P136, "drmFamilies": ["WIDEVINE"]}], (Kind.INCOMPLETE,)),
        ([without_url(P18)], [without_url(P136)], (Kind.INCOMPLETE,)),
        ([P18], [without_url(P135), P136, P140], (Kind.CRASHED, (1280, 720))),
    ],
)
def test_lists_of_youtube_by_pytube(formats, adaptive, outcome, tmp_path, monkeypatch):
    assert list_by_pytube(monkeypatch, tmp_path, None, formats, adaptive) == outcome


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        ("UNPLAYABLE", "The page needs to be reloaded.", Kind.BLOCKED),
        ("LOGIN_REQUIRED", "Sign in to confirm you’re not a bot", Kind.BLOCKED),
        ("ERROR", "We're processing this video. Check back later.", Kind.NOT_YET),
        ("LIVE_STREAM_OFFLINE", "This live event will begin in 2 hours.", Kind.NOT_YET),
        ("UNPLAYABLE", "The uploader has not made this video available in your country", Kind.REGION),
        ("ERROR", "Video unavailable", Kind.REMOVED),
        ("UNPLAYABLE", "Words that nobody knows", Kind.REMOVED),
    ],
)
def test_what_youtube_says_to_pytube(status, reason, kind, tmp_path, monkeypatch):
    assert list_by_pytube(monkeypatch, tmp_path, {"status": status, "reason": reason}) == (kind,)


# -- Worker processes --------------------------------------------------------------------------------------------------


def behave(job, on_bytes):
    if job == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if job == "raise":
        raise ValueError("so it goes")
    if job == "hang":
        time.sleep(600)
    on_bytes(3)
    return f"{job} done"


@pytest.mark.slow
def test_workers_survive_crashes_and_are_stopped_while_they_hang():
    results, n_bytes, pids = {}, 0, []
    with Workers(behave, 2) as workers:
        for job in ("a", "crash", "raise", "b"):
            workers.submit(job)
        workers.submit("late", delay=0.2)
        for event in workers:
            if isinstance(event, BytesReceived):
                n_bytes += event.n_bytes
            elif isinstance(event, Done):
                results[event.job] = event.result
                if event.job == "late":
                    workers.submit("hang")
                    workers.submit("last")
                if event.job == "last":
                    pids = [worker.process.pid for worker in workers._workers]
                    break
    assert results["a"] == "a done"
    assert results["b"] == "b done"
    assert results["late"] == "late done"
    assert "-9" in results["crash"]
    assert "so it goes" in results["raise"]
    assert n_bytes == 12
    assert len(pids) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
