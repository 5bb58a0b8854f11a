"""Recurrence without recurrence (RwR): the equilibrium of one frame is where the next frame's solve starts.

A network trained on still images becomes recurrent at inference (paper, section 3.3). The recurrence is explicit
state here: one z per video stream, and streams that start, end and restart at different frames share a batch.
"""

import dataclasses
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from ldeq.model import LDEQ, LDEQOutput

StreamT = TypeVar("StreamT", bound=Hashable)
ItemT = TypeVar("ItemT")


class VideoTracker:
    """Runs an LDEQ over frames of any number of video streams.

    Args:
        model: in evaluation mode, on its device.
        rwr: hand z* of a stream's frame on to its next; if false every frame is solved by itself from z0 = 0 with
            the model's own solver settings.
        max_iters: with ``rwr``, the solver's iterations on every frame, a stream's first included.
        take_one_less_inference_step: with ``rwr``, whether the evaluation that follows the solver is left out.
        stop_criterion: ``sample`` or ``batch``; None keeps the model's.
        full_first_solve: solve a stream's first frame with the model's own settings instead.

    In explicit mode ``rwr`` changes only where the unrolling starts.
    """

    def __init__(
        self,
        model: LDEQ,
        *,
        rwr: bool = True,
        max_iters: int = 1,
        take_one_less_inference_step: bool = False,
        stop_criterion: str | None = None,
        full_first_solve: bool = False,
    ) -> None:
        self.model = model
        self.rwr = rwr
        full = model.solver_config
        if stop_criterion is not None:
            full = dataclasses.replace(full, stop_criterion=stop_criterion)
        short = dataclasses.replace(
            full, max_iters=max_iters, take_one_less_inference_step=take_one_less_inference_step
        )
        self._next_config = short if rwr else full
        self._first_config = short if rwr and not full_first_solve else full
        self._z: dict[Hashable, Tensor] = {}

    @torch.no_grad()
    def step(self, images: Tensor, streams: Sequence[Hashable]) -> LDEQOutput:
        """One frame of each of B streams.

        Args:
            images: (B, 3, im_size, im_size), normalised.
            streams: B different names; a name that has no state yet (or was reset) starts a stream.

        Returns:
            The model's output, row b for ``streams[b]``.

        Raises:
            ValueError: where names repeat or are not one an image.
        """
        if len(streams) != images.shape[0] or len(set(streams)) != len(streams):
            raise ValueError(
                f"{len(streams)} stream names for {images.shape[0]} images, expected one different name each"
            )
        fresh = [stream not in self._z for stream in streams]
        if self._first_config == self._next_config or all(fresh) or not any(fresh):
            config = self._first_config if all(fresh) else self._next_config
            output: LDEQOutput = self.model(images, self._gather_z(streams), config)
        else:
            output = self._step_apart(images, streams, fresh)
        if self.rwr:
            self._remember(streams, output.z_star)
        return output

    def reset(self, *streams: Hashable) -> None:
        """Forgets the state of these streams: their next frame is a first one. Unknown names do nothing."""
        for stream in streams:
            self._z.pop(stream, None)

    def _remember(self, streams: Sequence[Hashable], z: Tensor) -> None:
        """Keeps z* (B, z_width, S, S) of each stream. One that is not finite would spoil all that follow."""
        finite = torch.isfinite(torch.linalg.vector_norm(z.flatten(1), dim=1)).tolist()
        for stream, state, usable in zip(streams, z, finite, strict=True):
            if usable:
                self._z[stream] = state.clone()
            else:
                self.reset(stream)

    def _gather_z(self, streams: Sequence[Hashable]) -> Tensor | None:
        if not any(stream in self._z for stream in streams):
            return None
        zero = torch.zeros_like(next(iter(self._z.values())))
        return torch.stack([self._z.get(stream, zero) for stream in streams])

    def _step_apart(self, images: Tensor, streams: Sequence[Hashable], fresh: list[bool]) -> LDEQOutput:
        """First frames and later ones in two calls, since their solver settings differ."""
        is_fresh = torch.tensor(fresh, device=images.device)
        later = [stream for stream, first in zip(streams, fresh, strict=True) if not first]
        first = self.model(images[is_fresh], None, self._first_config)
        after = self.model(images[~is_fresh], self._gather_z(later), self._next_config)
        order = torch.argsort(torch.cat([is_fresh.nonzero()[:, 0], (~is_fresh).nonzero()[:, 0]]))
        return _concatenate(first, after, order)


@dataclass(frozen=True)
class TrackedBatch(Generic[StreamT, ItemT]):
    """One step of :func:`track`."""

    #: The streams that had a frame in this step, their frames' items, and the model's output, row by row; the last
    #: steps may have none, and then ``output`` is None.
    streams: list[StreamT]
    items: list[ItemT]
    output: LDEQOutput | None
    #: Streams that turned out to have no further frame.
    ended: list[StreamT]


def track(
    tracker: VideoTracker,
    streams: Iterable[StreamT],
    frames_of: Callable[[StreamT], Iterator[ItemT]],
    collate: Callable[[list[ItemT]], Tensor],
    batch_size: int,
) -> Iterator[TrackedBatch[StreamT, ItemT]]:
    """Steps through many streams, ``batch_size`` of them at a time; when one ends the next takes its place.

    Args:
        streams: taken one by one, when a place is free.
        frames_of: a stream's items (a frame and what belongs to it), in order.
        collate: items → normalised images (B, 3, im_size, im_size) on the model's device.

    Raises:
        ValueError: where ``batch_size`` is below 1 or a stream comes up again while it is being tracked.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size = {batch_size}, expected at least 1")
    waiting = iter(streams)
    places: dict[StreamT, Iterator[ItemT]] = {}
    exhausted = False
    while True:
        items: dict[StreamT, ItemT] = {}
        ended: list[StreamT] = []
        for stream in list(places):
            _take(stream, places, items, ended)
        while len(places) < batch_size and not exhausted:
            try:
                stream = next(waiting)
            except StopIteration:
                exhausted = True
            else:
                if stream in places:
                    raise ValueError(f"stream {stream!r} comes up while it is being tracked, expected different ones")
                tracker.reset(stream)
                places[stream] = frames_of(stream)
                _take(stream, places, items, ended)
        tracker.reset(*ended)
        output = tracker.step(collate(list(items.values())), list(items)) if items else None
        if items or ended:
            yield TrackedBatch(list(items), list(items.values()), output, ended)
        if exhausted and not places:
            return


def _take(
    stream: StreamT, places: dict[StreamT, Iterator[ItemT]], items: dict[StreamT, ItemT], ended: list[StreamT]
) -> None:
    try:
        items[stream] = next(places[stream])
    except StopIteration:
        del places[stream]
        ended.append(stream)


def _concatenate(first: LDEQOutput, second: LDEQOutput, order: Tensor) -> LDEQOutput:
    def joined(one: Tensor, other: Tensor) -> Tensor:
        return torch.cat([one, other])[order]

    stats = None
    if first.stats is not None and second.stats is not None:
        names = [field.name for field in dataclasses.fields(first.stats)]
        stats = type(first.stats)(
            **{name: joined(getattr(first.stats, name), getattr(second.stats, name)) for name in names}
        )
    return LDEQOutput(
        joined(first.keypoints, second.keypoints),
        joined(first.uncertainty, second.uncertainty),
        joined(first.z_star, second.z_star),
        stats,
        None,
    )
