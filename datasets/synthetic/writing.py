"""Synthetic data sets on disk, in the layouts of pre-cropped WFLW and of WFLW-V, and renderings to train on."""

import functools
import itertools
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.images import SyntheticFaces
from datasets.synthetic.photographs import MARGIN, FaceImage
from datasets.synthetic.renderings import (
    CHUNK,
    Renderings,
    arrays_of,
    folder_of,
    image_path,
    landmarks_path,
    read_chunk,
    read_settings,
    settings_path,
)
from datasets.synthetic.videos import FPS, SyntheticVideo
from datasets.wflw.precropped import listed_names, write_list
from datasets.wflw.splits import ATTRIBUTES
from datasets.wflw_v.clips import Clip, write_clip
from datasets.wflw_v.ids import ids_path, read_ids, write_ids
from ldeq import InputError
from ldeq.files import TEMPORARY, read_json_object, write_json, written_whole
from ldeq.folder_lock import NAME as LOCK
from ldeq.folder_lock import held, remove_leftovers
from ldeq.landmarks98 import CROP_SIZE
from utils.engine.workers import Done, Workers

P = ParamSpec("P")

#: Images that a worker makes before it reports.
_CHUNK = 16
#: Beginning of the videos' ids.
_ID = "synthetic-"


def check_images(root: Path, split: str) -> None:
    """Checks that :func:`write_images` may write here.

    Raises:
        InputError: where there are images or a list of the split that it did not write.
    """
    folder, parts, finished = _places(root, split)
    ours = finished.exists() or parts.exists()
    for path in _lists(root, split):
        if path.exists() and not (ours and all(re.fullmatch(r"\d{6,}\.jpg", name) for name in listed_names(path))):
            raise InputError(f"{path}: is no list of synthetic images, expected another --output_dir")
    if not ours and folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder}: holds other files than synthetic images, expected another --output_dir")


def check_renderings(root: Path, settings: Mapping[str, Any]) -> None:
    """Checks that :func:`write_renderings` may write here.

    Args:
        settings: as :func:`rendering_settings` gives them.

    Raises:
        InputError: where there are other files than renderings, or renderings of other settings.
    """
    folder = folder_of(root)
    if settings_path(root).is_file():
        before = read_settings(root)
        changes = [
            f"{name} (then {before.get(name)!r}, now {value!r})"
            for name, value in settings.items()
            if before.get(name) != value
        ]
        if changes:
            raise InputError(
                f"{folder}: holds renderings that differ in {', '.join(changes)}, expected the same settings or "
                "another --output_dir"
            )
    elif folder.is_dir() and any(path.name != LOCK and not TEMPORARY.fullmatch(path.name) for path in folder.iterdir()):
        raise InputError(f"{folder}: holds other files than renderings, expected another --output_dir")


def rendering_settings(seed: int, images_per_person: int, turned: float, quality: int = 95) -> dict[str, Any]:
    """All that decides how renderings look, but for their number, which may grow.

    Args:
        seed, images_per_person, turned: see :class:`datasets.synthetic.SyntheticFaces`.
        quality: of the JPEG files, 1 to 100.
    """
    side = round(MARGIN * CROP_SIZE)
    return {"seed": seed, "images_per_person": images_per_person, "turned": turned, "quality": quality, "side": side}


def check_videos(root: Path, split: str) -> None:
    """Checks that :func:`write_videos` may write here.

    Raises:
        InputError: where there is a list of the split that it did not write.
    """
    path = ids_path(root, split)
    if path.exists() and not all(id.startswith(_ID) for id in read_ids(root, split)):
        raise InputError(f"{path}: is no list of synthetic videos, expected another --output_dir")


def _in_held_folder(
    write: Callable[Concatenate[Path, P], Iterator[int]],
) -> Callable[Concatenate[Path, P], Iterator[int]]:
    """Keeps other processes out of the data set's folder, which is made, while ``write`` is at work."""

    @functools.wraps(write)
    def write_alone(root: Path, /, *arguments: P.args, **options: P.kwargs) -> Iterator[int]:
        root.mkdir(parents=True, exist_ok=True)
        with held(root):
            yield from write(root, *arguments, **options)

    return write_alone


def _places(root: Path, split: str) -> tuple[Path, Path, Path]:
    """The images of a split, what is known of them while they are drawn, and their settings once they all are."""
    return root / split, root / f".{split}.unfinished", root / split / "settings.json"


def _lists(root: Path, split: str) -> list[Path]:
    """The list of a split, and those of its subsets if it is ``test``."""
    subsets = [f"{split}_{attribute}" for attribute in ATTRIBUTES if split == "test"]
    return [root / f"{name}.txt" for name in (split, *subsets)]


@_in_held_folder
def write_images(
    root: Path,
    split: str,
    seed: int,
    count: int,
    *,
    crop_jitter: float = 0.0,
    images_per_person: int = 1,
    quality: int = 95,
    workers: int = 1,
) -> Iterator[int]:
    """Writes ``<root>/<split>.txt`` and ``<root>/<split>/<number>.jpg``; of a split ``test`` also WFLW's six subsets.

    An interrupted call goes on where it was when it is made again, and one that was finished changes nothing; lists are
    written last. A subset that none of the images belongs to has the next one that would.

    Args:
        root: folder of the data set.
        split: name of the list.
        seed: of the faces. People of different seeds differ, so splits need different ones.
        count: how many images.
        crop_jitter, images_per_person: see :class:`datasets.synthetic.SyntheticFaces`.
        quality: of the JPEG files, 1 to 100.
        workers: processes that draw.

    Yields:
        How many images were finished since the last time.

    Raises:
        InputError: as :func:`check_images`.
    """
    check_images(root, split)
    folder, parts, finished = _places(root, split)
    lists = _lists(root, split)
    folder.mkdir(parents=True, exist_ok=True)
    arguments = {"seed": seed, "crop_jitter": crop_jitter, "images_per_person": images_per_person}
    settings = {**arguments, "quality": quality, "count": count}
    known = read_json_object(finished, "expected the settings of these images") if finished.is_file() else {}
    if known == settings and _are_whole(lists):
        yield count
        return
    # Parts of other settings would be another data set's.
    parts = parts / "-".join(str(value) for value in settings.values())
    for other in parts.parent.glob("*/"):
        if other != parts:
            shutil.rmtree(other)
    parts.mkdir(parents=True, exist_ok=True)
    remove_leftovers(
        root, *(str(path.relative_to(root)) for path in (parts, *(path.with_suffix("") for path in lists)))
    )
    # They would have the landmarks of the images that are overwritten from here on.
    for path in (finished, *lists):
        path.unlink(missing_ok=True)
    chunks = [range(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]
    draw = functools.partial(_draw_images, folder=folder, parts=parts, arguments=arguments, quality=quality)
    for chunk in _in_processes(draw, chunks, workers):
        yield len(chunk)
    saved = [np.load(parts / f"{chunk.start}.npz") for chunk in chunks]
    landmarks = np.concatenate([part["landmarks"] for part in saved])
    attributes = np.concatenate([part["attributes"] for part in saved])
    if split == "test":
        for attribute, present in zip(ATTRIBUTES, attributes.T, strict=True):
            subset = root / f"{split}_{attribute}"
            subset.mkdir(exist_ok=True)
            if present.any():
                _write_subset(subset, folder, np.flatnonzero(present).tolist(), landmarks)
            else:
                index, face = _next_with(attribute, count, arguments)
                write_jpeg(subset / _name(index), face.image, quality)
                write_list(subset.with_suffix(".txt"), [_name(index)], face.landmarks[None])
    write_list(root / f"{split}.txt", [_name(index) for index in range(count)], landmarks)
    write_json(finished, settings)
    shutil.rmtree(parts.parent)


def _write_subset(subset: Path, folder: Path, chosen: list[int], landmarks: NDArray[np.floating]) -> None:
    """Copies some of the images in a folder, whose landmarks are (N, 98, 2), to that of a subset; and its list."""
    names = [_name(index) for index in chosen]
    for name in names:
        with written_whole(subset / name) as temporary:
            shutil.copyfile(folder / name, temporary)
    write_list(subset.with_suffix(".txt"), names, landmarks[chosen])


@_in_held_folder
def write_videos(
    root: Path, split: str, seed: int, count: int, *, n_frames: int, difficulty: float, workers: int = 1, crf: int = 18
) -> Iterator[int]:
    """Writes ``<root>/<split>_video_IDs.txt`` and videos, landmarks and bounding boxes under their ids.

    Videos that are complete, and as long, are kept; the list is written last.

    Args:
        root: folder of the data set.
        split: ``easy`` or ``hard``, or any name.
        seed: of the people.
        count: how many videos.
        n_frames: frames of each.
        difficulty: see :class:`datasets.synthetic.SyntheticVideo`.
        workers: processes that draw.
        crf: quality of the H.264 files, 0 (lossless) to 51.

    Yields:
        How many videos were finished since the last time.

    Raises:
        InputError: as :func:`check_videos`.
    """
    check_videos(root, split)
    for folder in ("videos", "landmarks", "bboxes"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    remove_leftovers(root, "videos", "landmarks", "bboxes")
    numbers = list(range(count))
    if not all(_is_complete(Clip(root, _id(split, seed, number)), n_frames) for number in numbers):
        # It would be of videos that are replaced from here on.
        ids_path(root, split).unlink(missing_ok=True)
    write = functools.partial(
        _write_video, root=root, split=split, seed=seed, n_frames=n_frames, difficulty=difficulty, crf=crf
    )
    for _ in _in_processes(write, numbers, workers):
        yield 1
    write_ids(root, split, (_id(split, seed, number) for number in numbers))


def write_renderings(root: Path, settings: Mapping[str, Any], count: int, *, workers: int = 1) -> Iterator[int]:
    """Writes ``<root>/renderings``, for :class:`datasets.synthetic.Renderings`, which may read while this writes.

    An interrupted call goes on where it was when it is made again, and one with a larger count adds to what is there.

    Args:
        root: the output folder.
        settings: as :func:`rendering_settings` gives them.
        count: how many renderings there are to be at least.
        workers: processes that draw.

    Yields:
        How many renderings were finished since the last time.

    Raises:
        InputError: as :func:`check_renderings`, or where what is there was drawn by another version of the generator.
    """
    check_renderings(root, settings)
    return _write_renderings(folder_of(root), root, settings, count, workers)


@_in_held_folder
def _write_renderings(folder: Path, root: Path, settings: Mapping[str, Any], count: int, workers: int) -> Iterator[int]:
    remove_leftovers(folder)
    chunks = [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    missing = [chunk for chunk in chunks if not _is_drawn(folder, chunk)]
    arguments = {name: settings[name] for name in ("seed", "images_per_person", "turned")}
    if missing and landmarks_path(folder, 0).is_file() and image_path(folder, 0).is_file():
        _check_generator(root, arguments)
    if not settings_path(root).is_file():
        write_json(settings_path(root), settings)
    yield count - sum(map(len, missing))
    draw = functools.partial(_draw_renderings, folder=folder, arguments=arguments, quality=settings["quality"])
    for chunk in _in_processes(draw, missing, workers):
        yield len(chunk)


def _is_drawn(folder: Path, chunk: range) -> bool:
    path = landmarks_path(folder, chunk.start)
    if not path.is_file() or not all(image_path(folder, number).is_file() for number in chunk):
        return False
    return len(read_chunk(path)[0]) >= len(chunk)


def _check_generator(root: Path, arguments: Mapping[str, Any]) -> None:
    there, now = Renderings(root, 1).read(0, CROP_SIZE), _faces(**arguments).rendering(0)
    same = there.image.shape == now.image.shape and np.allclose(there.landmarks, now.landmarks, atol=1e-3)
    # An image comes back from its file a little changed.
    if not same or float(cv2.absdiff(there.image, now.image).mean()) > 4:
        raise InputError(
            f"{folder_of(root)}: holds renderings by another version of the generator, expected another --output_dir"
        )


def _draw_renderings(numbers: range, *, folder: Path, arguments: Mapping[str, Any], quality: int) -> None:
    faces, renderings = _faces(**arguments), []
    for number in numbers:
        rendering = faces.rendering(number)
        write_jpeg(image_path(folder, number), rendering.image, quality)
        renderings.append(rendering)
    with written_whole(landmarks_path(folder, numbers.start)) as temporary:
        np.savez(temporary, **arrays_of(renderings))


def write_jpeg(path: Path, image: NDArray[np.uint8], quality: int) -> None:
    """Writes an image (H, W, 3) RGB; ``quality`` is 1 to 100."""
    with written_whole(path) as temporary:
        _, coded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        temporary.write_bytes(coded.tobytes())


def _in_processes(work: Callable[[Any], None], items: Sequence[Any], workers: int) -> Iterator[Any]:
    """Runs ``work`` on every item and gives the items as they are done; one worker is this process."""
    if workers == 1:
        for item in items:
            work(item)
            yield item
        return
    with Workers(functools.partial(_in_one_thread, work), workers, preload=[__name__]) as processes:
        for item in items:
            processes.submit(item)
        for event in processes:
            if isinstance(event, Done):
                if event.result is not None:
                    raise InputError(f"a synthetic image or video was not made ({event.result}), expected to write it")
                yield event.job


def _in_one_thread(work: Callable[[Any], None], item: Any, on_bytes: Callable[[int], None]) -> None:
    cv2.setNumThreads(0)
    work(item)


def _name(index: int) -> str:
    return f"{index:06d}.jpg"


def _id(split: str, seed: int, number: int) -> str:
    return f"{_ID}{split}-{seed}-{number:03d}"


@functools.lru_cache(maxsize=1)
def _faces(seed: int, **options: Any) -> SyntheticFaces:
    return SyntheticFaces(seed, **options)


def _are_whole(lists: Sequence[Path]) -> bool:
    """True where the lists are there, with all images that they name."""
    return all(
        path.is_file() and all((path.with_suffix("") / name).is_file() for name in listed_names(path)) for path in lists
    )


def _draw_images(indices: range, *, folder: Path, parts: Path, arguments: dict[str, Any], quality: int) -> None:
    done = parts / f"{indices.start}.npz"
    if done.exists() and all((folder / _name(index)).is_file() for index in indices):
        return
    faces = _faces(**arguments)
    landmarks, attributes = [], []
    for index in indices:
        face = faces.draw(index)
        write_jpeg(folder / _name(index), face.image, quality)
        landmarks.append(face.landmarks)
        attributes.append([name in face.attributes for name in ATTRIBUTES])
    with written_whole(done) as temporary:
        np.savez(temporary, landmarks=np.array(landmarks), attributes=np.array(attributes))


def _next_with(attribute: str, start: int, arguments: dict[str, Any]) -> tuple[int, FaceImage]:
    """The first image from number ``start`` on that has an attribute, and its number."""
    for index in itertools.count(start):
        if attribute in (face := _faces(**arguments).draw(index)).attributes:
            return index, face
    raise AssertionError("unreachable: numbers do not end")


def _is_complete(clip: Clip, n_frames: int) -> bool:
    try:
        return clip.video_path.is_file() and clip.check_annotations() == n_frames
    except InputError:
        return False


def _write_video(number: int, *, root: Path, split: str, seed: int, n_frames: int, difficulty: float, crf: int) -> None:
    id = _id(split, seed, number)
    if not _is_complete(Clip(root, id), n_frames):
        write_clip(root, id, SyntheticVideo(seed, number, n_frames, difficulty), fps=FPS, crf=crf)
