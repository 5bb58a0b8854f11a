"""A small WFLW-V as its sites serve it: lists, archives of annotations, and source videos whose frames tell numbers."""

import io
import json
import tarfile
import zipfile
from pathlib import Path

import av
import numpy as np

from ldeq.files import sha256_of_bytes
from ldeq.video.reading import VideoReader
from tests.loopback import Answer, Server

WIDTH, HEIGHT, FIRST, LAST = 64, 48, 4, 11
N_SOURCE_FRAMES = 16

#: As much of YouTube's player as pytube looks for in it.
PLAYER = """
var DE={AJ:function(a){a.reverse()}, VR:function(a,b){a.splice(0,b)}};
xyz=function(a){a=a.split("");DE.AJ(a,15);DE.VR(a,3);return a.join("")};
var Bpa=[nth];
a.C&&(b=a.get("n"))&&(b=Bpa[0](b),a.set("n",b));
nth=function(a){var b=a.split(""),c=[1,function(d){d.reverse()},b];try{c[1](c[2])}catch(d){}return b.join("")};
"""


def grey_of(number: int) -> int:
    """The grey level that says a frame's number."""
    return 20 + 12 * (number % 18)


def make_video(
    n_frames: int = N_SOURCE_FRAMES,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    pts: list[int] | None = None,
    fps: int = 25,
) -> bytes:
    """An MP4 of flat frames; ``pts`` are time stamps in hundredths of a second, for a variable frame rate."""
    width, height = size
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=100 if pts else 25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": "10", "g": "6", "bf": "2"}  # frames are not stored in the order that they are shown in
        for number in range(n_frames):
            image = av.VideoFrame.from_ndarray(np.full((height, width, 3), grey_of(number), np.uint8), format="rgb24")
            if pts:
                image.pts = pts[number]
            container.mux(stream.encode(image))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def numbers_of(path: Path) -> list[int]:
    """The numbers that the frames of a video say."""
    with VideoReader(path) as video:
        return [round((float(frame.mean()) - 20) / 12) for frame in video]


def npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def zip_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tar_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


class Site:
    """Publishes ``n`` videos on a server; a test then changes what it wants to go wrong."""

    def __init__(self, server: Server, n: int, folder: Path) -> None:
        self.server = server
        self.sources = folder / "sources.json"
        self.ids = [f"-id{number:03d}_abcd" for number in range(n)]  # eleven characters, as YouTube's
        half = (n + 1) // 2
        lists = {"hard_video_IDs.txt": self.ids[:half], "easy_video_IDs.txt": self.ids[half:]}
        self.lists = {name: "".join(f"{id}\n" for id in ids) for name, ids in lists.items()}
        self.lists["download_ranges.txt"] = "".join(f"{id} {FIRST} {LAST}\n" for id in self.ids)
        random = np.random.default_rng(0)
        points = random.uniform((5, 5), (WIDTH - 5, HEIGHT - 5), (LAST - FIRST + 1, 98, 2)).astype(np.float32)
        bbox = np.tile(np.float32([5, 5, WIDTH - 5, HEIGHT - 5]), (LAST - FIRST + 1, 1))
        self.annotations = {"bboxes": dict.fromkeys(self.ids, bbox), "landmarks": dict.fromkeys(self.ids, points)}
        self.video = make_video()
        for id in self.ids:
            server.answers[f"/{id}.mp4"] = Answer(self.video, "video/mp4")
        self.publish()

    def publish(self, **changes: str) -> Path:
        """Puts lists and archives on the server as they are now; gives the file of sources."""
        url = self.server.url
        for name, content in self.lists.items():
            self.server.answers[f"/{name}"] = Answer(content.encode(), "text/plain")
        for kind, arrays in self.annotations.items():
            members = {f"{kind}/{id}.npy": npy(values) for id, values in arrays.items()}
            members[f"__MACOSX/{kind}/._{self.ids[0]}.npy"] = b"what one system leaves in archives"
            self.server.answers[f"/{kind}.zip"] = Answer(zip_of(members), "application/zip")
        lists = {
            name: {"address": f"{url}/{name}", "sha256": sha256_of_bytes(content.encode())}
            for name, content in self.lists.items()
        }
        addresses = {"bboxes": f"{url}/bboxes.zip", "landmarks": f"{url}/landmarks.zip", "video": f"{url}/{{id}}.mp4"}
        content = {"lists": lists, **addresses, "archive": f"{url}/WFLW_V.tar.gz", **changes}
        self.sources.write_text(json.dumps({key: value for key, value in content.items() if value}))
        return self.sources
