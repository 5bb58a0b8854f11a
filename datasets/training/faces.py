"""The samples that a network is trained and validated on: a stream that is the same wherever and whenever it is made.

Sample i of a run is a function of the run's seed and i alone: not of workers, processes, or whether the run was
interrupted before it.
"""

import os
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from datasets.training.augmentation import augment_clip
from datasets.training.no_face import NoFace
from datasets.wflw import WFLWDataset
from ldeq import InputError
from ldeq.landmarks98 import CROP_SIZE
from ldeq.orphans import end_with_parent
from utils.engine.evaluation import Sample
from utils.engine.settings import HELD_OUT, AugmentationConfig, DataConfig

if TYPE_CHECKING:
    from datasets.synthetic import Photographer, Renderings, SyntheticFaces

#: Frames (T, S, S, 3) uint8 RGB and their landmarks (T, 98, 2) float32, fractions of S; or (b, T, …) of a batch.
Clip = tuple[NDArray[np.uint8], NDArray[np.float32]]

#: Seed of the synthetic faces that a network is validated on.
VALIDATION_SEED = 1_000_000_007
#: Signals that ask a process to end.
_REQUESTS = (signal.SIGINT, signal.SIGTERM)


class Source(Protocol):
    """An endless source of samples, each by itself or at the end of a clip."""

    def draw(self, index: int, clip_length: int = 1) -> list[Sample]:
        """The frames of a clip of one face, the last of which is sample ``index``, whatever the length."""
        ...


class _Synthetic:
    """Synthetic faces, whose generator is made in the process that draws them, when it first does."""

    def __init__(self, seed: int, im_size: int, **options: Any) -> None:
        self._seed, self._im_size, self._options = seed, im_size, options
        self._faces: SyntheticFaces | None = None

    def draw(self, index: int, clip_length: int = 1) -> list[Sample]:
        if self._faces is None:
            with _packages_of_synthetic_faces():
                from datasets.synthetic import SyntheticFaces

                self._faces = SyntheticFaces(self._seed, self._im_size, **self._options)
        return [(frame.image, frame.landmarks) for frame in self._faces.draw_clip(index, clip_length)]


class _Rendered:
    """Synthetic faces off the disk over and over, each time in another order, photographed anew."""

    def __init__(self, renderings: "Renderings", photographer: "Photographer") -> None:
        self._renderings, self._photographer = renderings, photographer
        self._order = _Order(photographer.seed, len(renderings))

    def draw(self, index: int, clip_length: int = 1) -> list[Sample]:
        rendering = self._renderings.read(self._order[index], self._photographer.size)
        frames = self._photographer.photographs(rendering, index, clip_length)
        return [(frame.image, frame.landmarks) for frame in frames]


def open_renderings(data: DataConfig) -> "Renderings":
    """The renderings that a run trains on, or may.

    Raises:
        InputError: where there are none, fewer than it says, or ones of people that no run trains on.
    """
    with _packages_of_synthetic_faces():
        from datasets.synthetic import Renderings
    renderings = Renderings(data.renderings, data.n_renderings)
    seed = renderings.settings.get("seed")
    if not isinstance(seed, int) or seed >= HELD_OUT:
        raise InputError(f"{data.renderings}: holds renderings of held-out people, expected a --seed below {HELD_OUT}")
    return renderings


@contextmanager
def _packages_of_synthetic_faces() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise InputError(f"--synthetic: {error}, expected the packages of requirements.txt") from None


class _Order:
    """Numbers of ``n`` things over and over, each time in another order, which is a function of a seed."""

    def __init__(self, seed: int, n: int) -> None:
        self._seed, self._n = seed, n
        self._pass: tuple[int, NDArray[np.int64]] | None = None

    def __getitem__(self, index: int) -> int:
        epoch, position = divmod(index, self._n)
        if self._pass is None or self._pass[0] != epoch:
            self._pass = epoch, np.random.default_rng([self._seed, 1, epoch]).permutation(self._n)
        return int(self._pass[1][position])


class _WFLW:
    """A split over and over, each time in another order, changed at random."""

    def __init__(self, dataset: WFLWDataset, config: AugmentationConfig, seed: int) -> None:
        self._dataset = dataset
        self._config = config
        self._seed = seed
        self._order = _Order(seed, len(dataset))

    def draw(self, index: int, clip_length: int = 1) -> list[Sample]:
        image, landmarks = self._dataset[self._order[index]]
        rng = np.random.default_rng([self._seed, 2, index])
        return augment_clip(image, landmarks, self._config, rng, clip_length)


class TrainingSet(Dataset[Clip | InputError]):
    """The samples of a run: item i is a clip whose images have the side ``im_size``, with landmarks in [0, 1], or NaN
    where there is no face.

    Key ``(i, t)`` asks for the last t frames of the clip only. What is wrong with a sample's file is returned and not
    raised, so that it comes through a worker as it is.
    """

    def __init__(self, data: DataConfig, augmentation: AugmentationConfig, seed: int, im_size: int) -> None:
        self._seed, self._im_size, self.clip_length = seed, im_size, data.clip_length
        self._share = data.synthetic_share if data.dataset_path and data.synthetic else float(data.synthetic)
        #: The SHA-256 of each data set that is trained on, by the setting that says where it is.
        self.digests: dict[str, str] = {}
        self._synthetic = self._synthetic_source(data)
        self._no_face = NoFace(seed, im_size, data.no_face_share)
        self._wflw = None
        if data.dataset_path:
            dataset = WFLWDataset(data.dataset_path, data.train_split)
            self.digests["dataset_path"] = dataset.digest()
            self._wflw = _WFLW(dataset, augmentation, seed)

    def _synthetic_source(self, data: DataConfig) -> Source:
        if not data.renderings:
            return _Synthetic(
                self._seed,
                self._im_size,
                crop_jitter=data.crop_jitter,
                images_per_person=data.images_per_person,
                hard=data.hard_images,
                turned=data.turned_heads,
                augment=True,
            )
        renderings = open_renderings(data)
        from datasets.synthetic import Photographer

        self.digests["renderings"] = renderings.digest()
        photographer = Photographer(self._seed, self._im_size, data.crop_jitter, data.hard_images, augment=True)
        return _Rendered(renderings, photographer)

    def __getitem__(self, key: int | tuple[int, int]) -> Clip | InputError:
        index, clip_length = key if isinstance(key, tuple) else (key, self.clip_length)
        try:
            drawn = np.random.default_rng([self._seed, 0, index]).random() < self._share
            source: Source = self._synthetic if drawn or self._wflw is None else self._wflw
            if self._no_face.has(index):
                frames = self._no_face.draw(index, clip_length, lambda: source.draw(index)[-1])
            else:
                frames = source.draw(index, clip_length)
            clip = [_sized(frame, self._im_size) for frame in frames]
        except InputError as error:
            return error
        return np.stack([image for image, _ in clip]), np.stack([landmarks for _, landmarks in clip])


class ValidationSet:
    """The samples that a network is validated on, kept in memory.

    :attr:`description` says in words what they are.

    Args:
        rank, size: this process among those that share the work: it has every ``size``-th sample.
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
        self._samples: list[Sample] = [(images[0], landmarks[0]) for images, landmarks in loaded]

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        return self._samples[index]


class _Unchanged:
    def __init__(self, dataset: WFLWDataset) -> None:
        self._dataset = dataset

    def draw(self, index: int, clip_length: int = 1) -> list[Sample]:
        return [self._dataset[index]] * clip_length


class _Chosen(Dataset[Sample | InputError]):
    def __init__(self, source: Source, im_size: int) -> None:
        self._source, self._im_size = source, im_size

    def __getitem__(self, index: int) -> Sample | InputError:
        try:
            return _sized(self._source.draw(index)[-1], self._im_size)
        except InputError as error:
            return error


def training_batches(
    samples: TrainingSet,
    *,
    first_step: int,
    last_step: int,
    batch_size: int,
    parts: int = 1,
    rank: int = 0,
    size: int = 1,
    workers: int = 0,
    is_on_clips: Callable[[int], bool] = lambda step: True,
) -> Generator[Clip, None, None]:
    """Frames (b, T, S, S, 3) and landmarks (b, T, 98, 2) of each step's ``parts``, for one process.

    Step s (from 0) is made of the samples s·B … (s + 1)·B − 1, B = ``batch_size``, whoever takes which, and
    b = B / (parts·size). T is 1 at steps that are not on clips.

    Raises:
        InputError: where a sample's file cannot be read.
    """
    each = batch_size // (parts * size)

    def keys() -> Iterator[list[tuple[int, int]]]:
        for step in range(first_step, last_step):
            clip_length = samples.clip_length if is_on_clips(step) else 1
            for part in range(parts):
                start = step * batch_size + (part * size + rank) * each
                yield [(index, clip_length) for index in range(start, start + each)]

    return _loader(samples, keys(), workers)


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
    with _signals_held_back():  # a worker has the main process's handlers until it has its own
        started = iter(loader)
    for batch in started:
        if isinstance(batch, InputError):
            raise batch
        yield batch


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Within the block requests to end wait, in processes that are forked in it until these take them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _REQUESTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Once:
    """Lists of keys, once."""

    def __init__(self, batches: Iterator[list[Any]]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[list[Any]]:
        return self._batches


def _collate(samples: Sequence[tuple[NDArray[Any], ...] | InputError]) -> tuple[NDArray[Any], ...] | InputError:
    """Arrays and not tensors: they travel through a pipe, where tensors need shared memory, of which some machines
    have little.
    """
    readable = []
    for sample in samples:
        if isinstance(sample, InputError):
            return sample
        readable.append(sample)
    return tuple(np.stack(arrays) for arrays in zip(*readable, strict=True))


def _start_worker(worker: int) -> None:
    """One thread a worker; and it is the main process that an interrupt is for, which loses the worker before it has
    saved if that ends too.

    In a group of its own a worker does not get what ends a whole group (``timeout``, torchrun, a cluster's scheduler),
    and it does not mind the first signal of what ends every process (``systemctl stop``, ``pkill -f``).
    """
    end_with_parent()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _REQUESTS)


def _sized(sample: Sample, im_size: int) -> Sample:
    image, landmarks = sample
    if im_size != image.shape[0]:
        reduced = im_size < CROP_SIZE
        resized = cv2.resize(image, (im_size, im_size), interpolation=cv2.INTER_AREA if reduced else cv2.INTER_LINEAR)
        image = np.asarray(resized, dtype=np.uint8)
    return image, np.asarray(landmarks, dtype=np.float32).clip(0, 1)
