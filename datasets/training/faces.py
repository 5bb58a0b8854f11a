"""The faces that a network is trained and validated on, as a stream that is the same wherever and whenever it is made.

Example i of a run is a function of the run's seed and i alone: not of workers, processes, or whether the run was
interrupted before it.
"""

import os
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from datasets.training.augmentation import AugmentationConfig, augment_clip
from datasets.wflw import WFLWDataset
from ldeq import InputError
from ldeq.fields import check, check_types
from ldeq.landmarks98 import CROP_SIZE

if TYPE_CHECKING:
    from datasets.synthetic import SyntheticFaces

Face = tuple[NDArray[np.uint8], NDArray[np.float32]]

#: Seeds of synthetic people from here on are of held-out ones, which no run trains on.
HELD_OUT = 10_000_000
#: Seed of the synthetic faces that a network is validated on.
VALIDATION_SEED = 1_000_000_007


@dataclass(frozen=True)
class DataConfig:
    """What a network is trained and validated on.

    Raises:
        InputError: where a field has the wrong type or value, or there is nothing to train on.
    """

    #: Folder of pre-cropped WFLW to train on (``<split>.txt`` and ``<split>/<file name>``).
    dataset_path: str = ""
    #: Split of it to train on.
    train_split: str = "train"
    #: Train on synthetic faces, drawn as training goes.
    synthetic: bool = False
    #: Share of synthetic faces where there are both.
    synthetic_share: float = 0.5
    #: Images in a row that show the same synthetic person: more are drawn faster, and teach a little less each.
    images_per_person: int = 1
    #: How loosely the crops of synthetic faces in training sit on them, 1 as a detector's.
    crop_jitter: float = 1.0
    #: Share of the synthetic faces in training that are as blurred, noisy, dark and occluded as hard videos get.
    hard_images: float = 0.0
    #: Share of the synthetic faces in training with heads turned by 40° to 75°, beside those that are in any case.
    turned_heads: float = 0.0
    #: Moments that each face is shown in, one after the other as in a video; the network is trained on the last of
    #: them, or on the last so many (``trained_views``).
    views: int = 1
    #: Split of WFLW to validate on; if empty, ``test``, or synthetic faces where training sees no WFLW.
    validation_split: str = ""
    #: Faces to validate on at most.
    validation_images: int = 500

    def __post_init__(self) -> None:
        check_types(self)
        check(self, "synthetic_share", 0 <= self.synthetic_share <= 1, "from 0 to 1")
        check(self, "images_per_person", self.images_per_person >= 1, "at least 1")
        check(self, "crop_jitter", self.crop_jitter >= 0, "at least 0")
        check(self, "hard_images", 0 <= self.hard_images <= 1, "from 0 to 1")
        check(self, "turned_heads", 0 <= self.turned_heads <= 1, "from 0 to 1")
        check(self, "views", self.views >= 1, "at least 1")
        check(self, "validation_images", self.validation_images >= 0, "at least 0")
        if not self.dataset_path and not self.synthetic:
            raise InputError("there is nothing to train on, expected --dataset_path (WFLW), --synthetic, or both")
        if self.validation_split and not self.dataset_path:
            raise InputError(f"validation_split = {self.validation_split!r}, expected --dataset_path with it")


class Source(Protocol):
    """An endless source of faces: images (S, S, 3) uint8 RGB, landmarks (98, 2) as fractions of the side."""

    def draw(self, index: int, views: int = 1) -> list[Face]:
        """The views of a face, the last of which is its own image."""
        ...


class _Synthetic:
    """Synthetic faces, whose generator is made in the process that draws them, when it first does."""

    def __init__(self, seed: int, im_size: int, **options: Any) -> None:
        self._seed, self._im_size, self._options = seed, im_size, options
        self._faces: SyntheticFaces | None = None

    def draw(self, index: int, views: int = 1) -> list[Face]:
        if self._faces is None:
            try:
                from datasets.synthetic import SyntheticFaces

                self._faces = SyntheticFaces(self._seed, self._im_size, **self._options)
            except ImportError as error:
                raise InputError(f"--synthetic: {error}, expected the packages of requirements.txt") from None
        return [(view.image, view.landmarks) for view in self._faces.draw_clip(index, views)]


class _WFLW:
    """A split over and over, each time in another order, changed at random."""

    def __init__(self, dataset: WFLWDataset, config: AugmentationConfig, seed: int) -> None:
        self._dataset = dataset
        self._config = config
        self._seed = seed
        self._order: tuple[int, NDArray[np.int64]] | None = None

    def draw(self, index: int, views: int = 1) -> list[Face]:
        epoch, position = divmod(index, len(self._dataset))
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, np.random.default_rng([self._seed, 1, epoch]).permutation(len(self._dataset))
        image, landmarks = self._dataset[int(self._order[1][position])]
        rng = np.random.default_rng([self._seed, 2, index])
        return augment_clip(image, landmarks, self._config, rng, views)


class TrainingFaces(Dataset[Face | InputError]):
    """Example i of a run: its views (V, S, S, 3) uint8 RGB with S = ``im_size``, and their landmarks (V, 98, 2) float32
    in [0, 1]. Key ``(i, v)`` asks for the last v of its views only.

    What is wrong with an example's file is returned and not raised, so that it comes through a worker as it is.
    """

    def __init__(self, data: DataConfig, augmentation: AugmentationConfig, seed: int, im_size: int) -> None:
        self._seed, self._im_size, self.views = seed, im_size, data.views
        self._share = data.synthetic_share if data.dataset_path and data.synthetic else float(data.synthetic)
        self._synthetic = _Synthetic(
            seed,
            im_size,
            crop_jitter=data.crop_jitter,
            images_per_person=data.images_per_person,
            hard=data.hard_images,
            turned=data.turned_heads,
        )
        self._wflw = None
        if data.dataset_path:
            self._wflw = _WFLW(WFLWDataset(data.dataset_path, data.train_split), augmentation, seed)

    def __getitem__(self, key: int | tuple[int, int]) -> Face | InputError:
        index, n_views = key if isinstance(key, tuple) else (key, self.views)
        try:
            drawn = np.random.default_rng([self._seed, 0, index]).random() < self._share
            source: Source = self._synthetic if drawn or self._wflw is None else self._wflw
            views = [_sized(view, self._im_size) for view in source.draw(index, n_views)]
        except InputError as error:
            return error
        return np.stack([image for image, _ in views]), np.stack([landmarks for _, landmarks in views])


class ValidationFaces:
    """The faces that a network is validated on, kept in memory: item i is an image (S, S, 3) and its landmarks (98, 2).

    :attr:`description` says in words what they are.

    Args:
        rank, size: this process among those that share the work: it has every ``size``-th face.
    """

    def __init__(self, data: DataConfig, im_size: int, workers: int, rank: int = 0, size: int = 1) -> None:
        source: Source
        if data.dataset_path and (data.validation_split or not data.synthetic or data.synthetic_share < 1):
            dataset = WFLWDataset(data.dataset_path, data.validation_split or "test")
            count = min(len(dataset), data.validation_images)
            # Spread over the list, which may be sorted.
            chosen = [index * len(dataset) // count for index in range(count)]
            source = _Unchanged(dataset)
            self.description = f"{count} of {len(dataset)} images of {dataset.root}, {dataset.split}"
        else:
            chosen = list(range(data.validation_images))
            self.description = f"{data.validation_images} synthetic faces that no run trains on"
            source = _Synthetic(VALIDATION_SEED, im_size)
        loaded = _loader(_Chosen(source, im_size), ([index] for index in chosen[rank::size]), workers)
        self._faces: list[Face] = [(images[0], landmarks[0]) for images, landmarks in loaded]

    def __len__(self) -> int:
        return len(self._faces)

    def __getitem__(self, index: int) -> Face:
        return self._faces[index]


class _Unchanged:
    def __init__(self, dataset: WFLWDataset) -> None:
        self._dataset = dataset

    def draw(self, index: int, views: int = 1) -> list[Face]:
        return [self._dataset[index]] * views


class _Chosen(Dataset[Face | InputError]):
    def __init__(self, source: Source, im_size: int) -> None:
        self._source, self._im_size = source, im_size

    def __getitem__(self, index: int) -> Face | InputError:
        try:
            return _sized(self._source.draw(index)[-1], self._im_size)
        except InputError as error:
            return error


def training_batches(
    faces: TrainingFaces,
    *,
    first_step: int,
    last_step: int,
    batch_size: int,
    parts: int = 1,
    rank: int = 0,
    size: int = 1,
    workers: int = 0,
    with_views: Callable[[int], bool] = lambda step: True,
) -> Generator[Face, None, None]:
    """Views (b, V, S, S, 3) and landmarks (b, V, 98, 2) of each step's ``parts``, for one process.

    Step s (from 0) is made of the examples s·B … (s + 1)·B − 1, B = ``batch_size``, whoever takes which, and
    b = B / (parts·size). V is 1 at steps for which ``with_views`` says that they do without the earlier views.

    Raises:
        InputError: where an example's file cannot be read.
    """
    each = batch_size // (parts * size)

    def keys() -> Iterator[list[tuple[int, int]]]:
        for step in range(first_step, last_step):
            n_views = faces.views if with_views(step) else 1
            for part in range(parts):
                start = step * batch_size + (part * size + rank) * each
                yield [(index, n_views) for index in range(start, start + each)]

    return _loader(faces, keys(), workers)


def _loader(dataset: Dataset[Any], batches: Iterator[list[Any]], workers: int) -> Generator[Any, None, None]:
    sampler: Any = _Once(batches)
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=_start_worker if workers else None,
        prefetch_factor=3 if workers else None,
    )
    for batch in loader:
        if isinstance(batch, InputError):
            raise batch
        yield batch


class _Once:
    """Lists of keys, once."""

    def __init__(self, batches: Iterator[list[Any]]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[list[Any]]:
        return self._batches


def _collate(examples: Sequence[tuple[NDArray[Any], ...] | InputError]) -> tuple[NDArray[Any], ...] | InputError:
    """Arrays and not tensors: they travel through a pipe, where tensors need shared memory, of which some machines
    have little.
    """
    faces = []
    for example in examples:
        if isinstance(example, InputError):
            return example
        faces.append(example)
    return tuple(np.stack(arrays) for arrays in zip(*faces, strict=True))


def _start_worker(worker: int) -> None:
    """One thread a worker; and it is the main process that an interrupt is for, which loses the worker before it has
    saved if that ends too.

    In a group of its own a worker does not get what ends a whole group (``timeout``, torchrun, a cluster's scheduler),
    and it does not mind the first signal of what ends every process (``systemctl stop``, ``pkill -f``).
    """
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))


def _sized(face: Face, im_size: int) -> Face:
    image, landmarks = face
    if im_size != image.shape[0]:
        reduced = im_size < CROP_SIZE
        resized = cv2.resize(image, (im_size, im_size), interpolation=cv2.INTER_AREA if reduced else cv2.INTER_LINEAR)
        image = np.asarray(resized, dtype=np.uint8)
    return image, np.asarray(landmarks, dtype=np.float32).clip(0, 1)
