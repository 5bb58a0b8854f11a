"""Recurrence without recurrence (RwR): the equilibrium of one frame is where the next frame's solve starts.

A network trained on still images becomes recurrent at inference (paper, section 3.3). The recurrence is explicit
state here: one z per video stream, in a slot of one tensor, and streams that start, end and restart at different frames
share a batch.
"""

import dataclasses
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from ldeq.graphs import GraphedLDEQ
from ldeq.model.deq import is_finite
from ldeq.model.layout import layout_of
from ldeq.model.network import LDEQ, LDEQOutput
from ldeq.solvers import choose
from ldeq.transfer import to_device

StreamT = TypeVar("StreamT", bound=Hashable)
ItemT = TypeVar("ItemT")
InputT = TypeVar("InputT", contravariant=True)
OutputT = TypeVar("OutputT", covariant=True)


class RecurrentLDEQ:
    """Runs an LDEQ over frames of any number of video streams.

    Args:
        model: in evaluation mode, on its device.
        rwr: hand z* of a stream's frame on to its next; if false every frame is solved by itself from z0 = 0 with
            the model's own solver settings.
        max_iters: with ``rwr``, the solver's iterations on every frame, a stream's first included.
        take_one_less_inference_step: with ``rwr``, whether the evaluation that follows the solver is left out.
        stop_criterion: ``sample`` or ``batch``; None keeps the model's.
        full_first_solve: solve a stream's first frame with the model's own settings instead.
        cuda_graph: replay the steps of batches in which all streams have ``max_iters`` from a CUDA graph, which is
            captured when a batch size first comes. For ``rwr`` on a CUDA device; ``max_iters`` has to be 1.

    In explicit mode ``rwr`` changes only where the unrolling starts.

    Raises:
        InputError: where there can be no graph.
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
        cuda_graph: bool = False,
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
        self._graphed = GraphedLDEQ(model, self._next_config) if cuda_graph else None
        self._states = _Slots()

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
        if not self.rwr:
            return self._solve(images, None, [True] * len(streams))
        fresh = [stream not in self._states for stream in streams]
        output = self._solve(images, None if all(fresh) else self._states.read(streams), fresh)
        z = output.z_star
        if output.stats is None:
            # A solver keeps what is finite, and the unrolled cell may not: it would spoil all frames that follow.
            z = choose(is_finite(z), z, 0)
        self._states.write(streams, z)
        return output

    def reset(self, *streams: Hashable) -> None:
        """Forgets the state of these streams: their next frame is a first one. Unknown names do nothing."""
        self._states.forget(streams)

    def _solve(self, images: Tensor, z0: Tensor | None, fresh: Sequence[bool]) -> LDEQOutput:
        configs = [self._first_config if first else self._next_config for first in fresh]
        if self._graphed is not None and all(config == self._next_config for config in configs):
            shape = (len(images), *self.model.z_shape)
            return self._graphed(images, images.new_zeros(shape) if z0 is None else z0)
        output: LDEQOutput = self.model(images, z0, configs)
        return output


class _Slots:
    """z of each stream, in one tensor (slots, z_width, S, S) on the device.

    Which stream has which slot is known to the host alone, so neither reading nor writing waits for the device. Where
    the streams of a batch have all slots, in order, as those of a video with as many faces as before have, z is read
    without a copy.
    """

    def __init__(self) -> None:
        self._z: Tensor | None = None
        self._slots: dict[Hashable, int] = {}
        #: The slots of the last batch, on the device: the next has mostly the same ones.
        self._index: tuple[list[int], Tensor] | None = None

    def __contains__(self, stream: Hashable) -> bool:
        return stream in self._slots

    def forget(self, streams: Iterable[Hashable]) -> None:
        for stream in streams:
            self._slots.pop(stream, None)
        if not self._slots:
            self._z = None

    def read(self, streams: Sequence[Hashable]) -> Tensor:
        """z (B, z_width, S, S) of the streams: zeros for those that have none, of which there may not be B."""
        assert self._z is not None
        slots = [self._slots.get(stream, -1) for stream in streams]
        if slots == list(range(len(self._z))):
            return self._z
        if min(slots) >= 0:
            return self._z[self._on_device(slots, self._z.device)]
        z = _zeros(len(slots), self._z)
        rows = [row for row, slot in enumerate(slots) if slot >= 0]
        found = self._z[to_device(torch.tensor([slots[row] for row in rows]), z.device)]
        return z.index_copy_(0, to_device(torch.tensor(rows), z.device), found)

    def write(self, streams: Sequence[Hashable], z: Tensor) -> None:
        """Keeps a copy of z* (B, z_width, S, S) of the streams; z itself stays the caller's."""
        taken = set(self._slots.values())
        free = (slot for slot in range(len(taken) + len(streams)) if slot not in taken)
        for stream in streams:
            if stream not in self._slots:
                self._slots[stream] = next(free)
        slots = [self._slots[stream] for stream in streams]
        if slots == list(range(len(self._slots))):
            # Every stream that there is has a frame in this batch.
            self._z = z.clone()
            return
        self._z = self._with_room_for(max(self._slots.values()) + 1, z)
        self._z.index_copy_(0, self._on_device(slots, z.device), z)

    def _with_room_for(self, n_slots: int, like: Tensor) -> Tensor:
        """The tensor of all slots; a larger copy where there are more of them now."""
        there = self._z
        usable = there is not None and (torch.is_inference_mode_enabled() or not there.is_inference())
        if there is not None and usable and len(there) >= n_slots:
            return there
        grown = _zeros(max(n_slots, 0 if there is None else len(there)), like)
        if there is not None:
            grown[: len(there)] = there
        return grown

    def _on_device(self, slots: list[int], device: torch.device) -> Tensor:
        if self._index is None or self._index[0] != slots:
            self._index = slots, to_device(torch.tensor(slots), device)
        return self._index[1]


def _zeros(n: int, like: Tensor) -> Tensor:
    """(n, …) of another's shape, type and layout."""
    return torch.zeros_like(like[:1].expand(n, *like.shape[1:]), memory_format=layout_of(like))


class Stepped(Protocol[InputT, OutputT]):
    """What has a memory of streams: :class:`RecurrentLDEQ` is one."""

    def step(self, inputs: InputT, streams: Sequence[Any], /) -> OutputT: ...
    def reset(self, *streams: Hashable) -> None: ...


@dataclass(frozen=True)
class StreamBatch(Generic[StreamT, ItemT, OutputT]):
    """One step of :func:`step_streams`."""

    #: The streams that had a frame in this step, their frames' items, and the network's output, row by row; the last
    #: steps may have none, and then ``output`` is None.
    streams: list[StreamT]
    items: list[ItemT]
    output: OutputT | None
    #: Streams that turned out to have no further frame.
    ended: list[StreamT]


def step_streams(
    network: Stepped[InputT, OutputT],
    streams: Iterable[StreamT],
    frames_of: Callable[[StreamT], Iterator[ItemT]],
    collate: Callable[[list[ItemT]], InputT],
    batch_size: int,
) -> Iterator[StreamBatch[StreamT, ItemT, OutputT]]:
    """Steps through many streams, ``batch_size`` of them at a time; when one ends the next takes its place.

    Args:
        streams: taken one by one, when there is room in the batch.
        frames_of: a stream's items (a frame and what belongs to it), in order.
        collate: items → what ``network.step`` takes; of :class:`RecurrentLDEQ` normalised images
            (B, 3, im_size, im_size) on the model's device.

    Raises:
        ValueError: where ``batch_size`` is below 1 or a stream comes up again while it is under way.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size = {batch_size}, expected at least 1")
    waiting = iter(streams)
    under_way: dict[StreamT, Iterator[ItemT]] = {}
    exhausted = False
    while True:
        items: dict[StreamT, ItemT] = {}
        ended: list[StreamT] = []
        for stream in list(under_way):
            _take(stream, under_way, items, ended)
        while len(under_way) < batch_size and not exhausted:
            try:
                stream = next(waiting)
            except StopIteration:
                exhausted = True
            else:
                if stream in under_way:
                    raise ValueError(f"stream {stream!r} comes up while it is under way, expected different ones")
                network.reset(stream)
                under_way[stream] = frames_of(stream)
                _take(stream, under_way, items, ended)
        network.reset(*ended)
        output = network.step(collate(list(items.values())), list(items)) if items else None
        if items or ended:
            yield StreamBatch(list(items), list(items.values()), output, ended)
        if exhausted and not under_way:
            return


def _take(
    stream: StreamT, under_way: dict[StreamT, Iterator[ItemT]], items: dict[StreamT, ItemT], ended: list[StreamT]
) -> None:
    try:
        items[stream] = next(under_way[stream])
    except StopIteration:
        del under_way[stream]
        ended.append(stream)
