"""Makes the images of ``docs/images`` that the documentation shows and that no other script writes.

    python -m assets.make_images

``rwr.gif``: a bundled clip solved frame by frame, with recurrence without recurrence (RwR), and with RwR and a filter.
``landmarks98.png``: the 98 landmarks with their numbers, on the portrait.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from PIL import Image

from datasets.wflw_v import Clip
from ldeq import LDEQ, RecurrentLDEQ
from ldeq.command_line import ArgumentParser, run
from ldeq.drawing import PREDICTION_COLOUR, draw_caption, draw_landmarks
from ldeq.files import written_whole
from ldeq.landmarks98 import CURVES, IBUG68, PARTS
from ldeq.smoothing import smooth
from ldeq.video.media import read_image
from ldeq.video.reading import VideoReader
from utils import bundled
from utils.engine.evaluation import track_videos

REPOSITORY = Path(__file__).resolve().parent.parent
PORTRAIT = REPOSITORY / "assets" / "portrait" / "astronaut.png"

#: The clip of the GIF, milliseconds a frame, and the side of each of its three parts in pixels.
CLIP, MILLISECONDS, SIDE = "portrait-occluded", 50, 224
#: The side of what is shown over the extent of the true landmarks, and colours of the GIF.
_VIEW, _COLOURS = 1.3, 28
#: Frames over which the view of the face is averaged.
_STEADY = 9

#: Width and height of the map of the landmarks in inches, and pixels an inch.
_MAP_SIZE, _MAP_DPI = (9.0, 10.6), 100
_PART_COLOURS = ("C0", "C2", "C2", "C1", "C4", "C4", "C3", "C5", "C9")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = ArgumentParser(__doc__.splitlines()[0])
    parser.add_argument(
        "--output_dir", type=Path, default=REPOSITORY / "docs" / "images", metavar="DIR", help="where they go"
    )
    folder: Path = parser.parse(arguments).output_dir
    save_gif(comparison(CLIP), folder / "rwr.gif")
    with written_whole(folder / "landmarks98.png") as temporary:
        landmark_map().savefig(temporary, dpi=_MAP_DPI)


def comparison(id: str) -> list[NDArray[np.uint8]]:
    """Frames (SIDE, 3 SIDE, 3) RGB of a bundled clip: the face with the bundled network's landmarks, from left to right
    frame by frame, with RwR, and with RwR and the recommended filter.

    The view follows the face by its true landmarks, so that only the predicted ones move in it.
    """
    clip = Clip(bundled.WFLW_V, id)
    model = LDEQ.from_pretrained("synthetic")
    recurrent = _landmarks_of(RecurrentLDEQ(model), clip)
    parts = {
        "frame by frame": _landmarks_of(RecurrentLDEQ(model, rwr=False), clip),
        "RwR": recurrent,
        "RwR, smoothed": smooth(recurrent, fps=clip.read_fps()),
    }
    centres = (clip.landmarks.min(axis=1) + clip.landmarks.max(axis=1)) / 2
    extent = _VIEW * float(np.ptp(clip.landmarks, axis=1).max())
    images = []
    for index, frame in enumerate(VideoReader(clip.video_path)):
        near = slice(max(0, index - _STEADY // 2), index + _STEADY // 2 + 1)
        scale = SIDE / extent
        matrix = np.column_stack([scale * np.eye(2), SIDE / 2 - scale * centres[near].mean(axis=0)])
        view = cv2.warpAffine(frame, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        # In grey, which takes less space and from which the landmarks stand out.
        grey = cv2.cvtColor(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        shown = []
        for title, landmarks in parts.items():
            part = np.asarray(grey, dtype=np.uint8).copy()
            draw_landmarks(part, landmarks[index] @ matrix[:, :2].T + matrix[:, 2], PREDICTION_COLOUR)
            draw_caption(part, [(title, (255, 255, 255))])
            shown.append(part)
        images.append(np.concatenate(shown, axis=1))
    return images


def _landmarks_of(network: RecurrentLDEQ, clip: Clip) -> NDArray[np.float64]:
    """Landmarks (frames, 98, 2) of a clip in frame pixels."""
    (video,) = track_videos(network, [clip], Clip.frames, batch_size=1, workers=1)
    return np.stack(video.landmarks)


def save_gif(frames: Sequence[NDArray[np.uint8]], path: Path) -> None:
    """Writes frames (H, W, 3) RGB as a GIF that goes on from its beginning, with one palette for all."""
    sample = Image.fromarray(np.concatenate(frames[:: max(1, len(frames) // 6)]))
    palette = sample.quantize(_COLOURS, method=Image.Quantize.MEDIANCUT)
    # Dithering would change from frame to frame, which takes space and looks like noise.
    first, *rest = (Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames)
    with written_whole(path) as temporary:
        first.save(temporary, format="GIF", save_all=True, append_images=rest, duration=MILLISECONDS, loop=0)


def landmark_map() -> Figure:
    """The 98 landmarks, placed by hand, on the portrait: numbers, parts in colours, and which stand for iBUG's 68."""
    image = read_image(PORTRAIT)
    assert image is not None
    points = np.load(PORTRAIT.with_name("astronaut_landmarks98.npy")).astype(np.float64)
    figure = Figure(figsize=_MAP_SIZE)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(image, alpha=0.35, interpolation="bicubic")
    low, high = points.min(axis=0), points.max(axis=0)
    width = 1.12 * (high[0] - low[0])
    height = width * _MAP_SIZE[1] / _MAP_SIZE[0]
    left, top = (low[0] + high[0] - width) / 2, low[1] - 0.06 * height
    axes.set(xlim=(left, left + width), ylim=(top + height, top))
    axes.set_axis_off()
    handles = []
    for (name, numbers), colour in zip(PARTS.items(), _PART_COLOURS, strict=True):
        for first, last, closed in CURVES:
            if first in numbers:
                line = points[[*range(first, last + 1), *([first] * closed)]]
                axes.plot(line[:, 0], line[:, 1], color=colour, linewidth=1)
        for number in numbers:
            dx, dy = 11 * _label_direction(number, points)
            face = colour if number in IBUG68 else "white"
            axes.plot(*points[number], "o", markersize=5, color=colour, markerfacecolor=face)
            axes.annotate(
                str(number),
                points[number],
                xytext=(dx, -dy),
                textcoords="offset points",
                ha="center",
                va="center",
                fontsize=8,
            )
        label = f"{numbers[0]}–{numbers[-1]}  {name}"
        handles.append(Line2D([], [], color=colour, marker="o", markersize=5, label=label))
    for face, label in (("0.3", "stands for one of iBUG's 68"), ("white", "has no counterpart there")):
        handles.append(Line2D([], [], color="0.3", linestyle="", marker="o", markerfacecolor=face, label=label))
    axes.legend(handles=handles, loc="lower center", ncols=3, fontsize=9, framealpha=0.9)
    return figure


def _label_direction(number: int, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The direction from a landmark to where its number stands: a unit vector (2,), down the image being positive."""
    part = next(name for name, numbers in PARTS.items() if number in numbers)
    if part == "nose":
        direction = np.array([1.0, 0.0]) if number < 55 else np.array([0.0, 1.0])
    elif part == "pupils":
        direction = np.array([0.0, 1.0])
    elif part.endswith("brow"):
        # The first five are the upper edge.
        direction = np.array([0.0, -1.0 if number < PARTS[part][5] else 1.0])
    else:
        members = points[list(PARTS[part])]
        centre = (members.min(axis=0) + members.max(axis=0)) / 2
        direction = points[number] - centre
        if part == "inner lips":
            direction = -direction
        # Across long and flat shapes, rather than along them.
        direction = direction / np.ptp(members, axis=0)
    unit: NDArray[np.float64] = direction / np.linalg.norm(direction)
    return unit


if __name__ == "__main__":
    run(main)
