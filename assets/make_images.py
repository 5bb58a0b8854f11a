"""Makes the images of ``docs/images`` that the documentation shows and that no other script writes.

    python -m assets.make_images

``predict_video.jpg``: a frame of what ``ldeq-video --side_by_side`` makes of a bundled clip.
``rwr.gif``: a bundled clip solved frame by frame, with recurrence without recurrence (RwR), and with RwR and a filter.
``landmarks98.png``: the 98 landmarks with their numbers, on the portrait.
``synthetic_faces.jpg``: synthetic faces, the last row with their landmarks.
"""

import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datasets.synthetic import SyntheticFaces
from datasets.synthetic.writing import write_jpeg
from datasets.wflw_v import Clip
from ldeq import LDEQ, RecurrentLDEQ, predict
from ldeq.command_line import ArgumentParser, run
from ldeq.drawing import PREDICTION_COLOUR, draw_caption, draw_landmarks
from ldeq.files import written_whole
from ldeq.runtime.pytorch import TorchLandmarker
from ldeq.smoothing import smooth
from ldeq.video.media import read_image
from ldeq.video.reading import VideoReader
from utils import bundled
from utils.engine.evaluation import track_videos
from utils.visualization.figures import save
from utils.visualization.landmark_map import landmark_map

REPOSITORY = Path(__file__).resolve().parent.parent
PORTRAIT = REPOSITORY / "assets" / "portrait" / "astronaut.png"

#: The clip of the GIF, milliseconds a frame, and the side of each of its three parts in pixels.
CLIP, MILLISECONDS, SIDE = "portrait-occluded", 50, 224
#: The frame of it that is shown by itself, in which the eyes are hidden.
FRAME = 21
#: Rows and columns of the synthetic faces, the side of each in pixels, and the seed of them.
ROWS, COLUMNS, FACE_SIDE, FACES_SEED = 3, 8, 192, 5
#: The side of what is shown over the extent of the true landmarks, and colours of the GIF.
_VIEW, _COLOURS = 1.3, 28
#: Frames over which the view of the face is averaged.
_STEADY = 9


def main(arguments: Sequence[str] | None = None) -> None:
    parser = ArgumentParser(__doc__.splitlines()[0])
    parser.add_argument(
        "--output_dir", type=Path, default=REPOSITORY / "docs" / "images", metavar="DIR", help="where they go"
    )
    folder: Path = parser.parse(arguments).output_dir
    write_jpeg(folder / "predict_video.jpg", side_by_side(CLIP, FRAME), quality=90)
    save_gif(comparison(CLIP), folder / "rwr.gif")
    image = read_image(PORTRAIT)
    assert image is not None
    points = np.load(PORTRAIT.with_name("astronaut_landmarks98.npy")).astype(np.float64)
    save(landmark_map(image, points), folder / "landmarks98.png", dpi=100)
    write_jpeg(folder / "synthetic_faces.jpg", synthetic_faces(), quality=85)


def synthetic_faces() -> NDArray[np.uint8]:
    """A sheet (ROWS · FACE_SIDE, COLUMNS · FACE_SIDE, 3) RGB of the first faces of a seed."""
    faces = SyntheticFaces(FACES_SEED, FACE_SIDE, crop_jitter=0.0)
    rows = []
    for row in range(ROWS):
        drawn = [faces.draw(row * COLUMNS + column) for column in range(COLUMNS)]
        images = [face.image.copy() for face in drawn]
        if row == ROWS - 1:
            for image, face in zip(images, drawn, strict=True):
                draw_landmarks(image, face.landmarks.astype(np.float64) * FACE_SIDE, PREDICTION_COLOUR)
        rows.append(np.concatenate(images, axis=1))
    return np.concatenate(rows)


def side_by_side(id: str, number: int) -> NDArray[np.uint8]:
    """A frame (H, 2 W, 3) RGB of a bundled clip as ``ldeq-video --side_by_side`` writes it."""
    with tempfile.TemporaryDirectory() as folder:
        predict.main([str(Clip(bundled.WFLW_V, id).video_path), "--side_by_side", "--output_dir", folder])
        with VideoReader(Path(folder) / "video.mp4") as video:
            (frame,) = islice(video, number, number + 1)
    return frame


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
    (video,) = track_videos(TorchLandmarker(network), [clip], Clip.frames, batch_size=1, workers=1)
    return np.stack(video.landmarks)


def save_gif(frames: Sequence[NDArray[np.uint8]], path: Path) -> None:
    """Writes frames (H, W, 3) RGB as a GIF that goes on from its beginning, with one palette for all."""
    sample = Image.fromarray(np.concatenate(frames[:: max(1, len(frames) // 6)]))
    palette = sample.quantize(_COLOURS, method=Image.Quantize.MEDIANCUT)
    # Dithering would change from frame to frame, which takes space and looks like noise.
    first, *rest = (Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames)
    with written_whole(path) as temporary:
        first.save(temporary, format="GIF", save_all=True, append_images=rest, duration=MILLISECONDS, loop=0)


if __name__ == "__main__":
    run(main)
