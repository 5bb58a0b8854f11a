"""Processes that train one network, as ``torchrun`` starts them; one process alone needs nothing of it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ldeq import InputError, torchrun
from ldeq.device import local_device, resolve_device

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """This process among those of the run."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """True in the process that writes and prints."""
        return self.rank == 0

    @property
    def shared_device(self) -> torch.device:
        """The device of figures for :meth:`mean`; those of a process that is alone need not leave the CPU."""
        return self.device if self.size > 1 else torch.device("cpu")

    def mean(self, values: Tensor) -> Tensor:
        """The mean over processes, on each of them."""
        if self.size > 1:
            values = values.clone()
            dist.all_reduce(values)
            values /= self.size
        return values

    def replica(self, model: nn.Module) -> nn.Module:
        """A module with ``model``'s weights whose backward passes leave means over processes as gradients.

        The weights become the main process's. A process that is alone has ``model`` itself.
        """
        return model if self.size == 1 else DistributedDataParallel(model, gradient_as_bucket_view=True)

    def gather(self, value: Any) -> list[Any]:
        """The value of each process (anything that can be pickled), by rank, on all of them."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def on_all_ranks(self, make: Callable[[], T]) -> T:
        """Calls ``make`` in each process, and gives each its own result.

        Raises:
            InputError: in all of them, where ``make`` raised it in any: none is left waiting for another.
        """
        made: T | None = None
        error = None
        try:
            made = make()
        except InputError as raised:
            error = str(raised)
        # One number first: this runs at every step, and a gathering of messages takes many times as long.
        failed = torch.tensor(float(error is not None), device=self.shared_device)
        if self.mean(failed) > 0:
            raise InputError(next(message for message in self.gather(error) if message is not None))
        return cast(T, made)

    def lockstep(self, sequence: Iterator[T]) -> Iterator[T]:
        """Each process's own sequence, item by item in step with the others: of one length, and without None.

        Raises:
            InputError: in all of them, where an item raised it in any: none is left waiting for another.
        """
        while (item := self.on_all_ranks(lambda: next(sequence, None))) is not None:
            yield item

    def from_main(self, make: Callable[[], T], share: bool = True) -> T | Any:
        """Calls ``make`` in the main process, and gives its result to all (without ``share``, None to the others).

        Raises:
            InputError: in all of them, where ``make`` raised it: none is left waiting.
        """
        made = self.on_all_ranks(lambda: make() if self.is_main else None)
        if not share or self.size == 1:
            return made
        sent = [made]
        dist.broadcast_object_list(sent)
        return sent[0]


def collective_backend(device: torch.device) -> str:
    """The backend by which processes on such devices exchange tensors.

    Raises:
        InputError: where there is none.
    """
    backends = {"cuda": "nccl", "cpu": "gloo"}
    if device.type not in backends:
        raise InputError(f"several processes on devices of type {device.type}, expected --device cpu or cuda")
    return backends[device.type]


@contextmanager
def init_distributed(device_name: str) -> Iterator[World]:
    """Within the block this process is one of those that ``torchrun`` started, or alone where it started none.

    Raises:
        InputError: where the device is not there, or the environment says that there are other processes and not which.
    """
    if torchrun.number_of_processes() == 1:
        yield World(0, 1, resolve_device(device_name))
        return
    torchrun.end_with_torchrun()
    device = local_device(device_name)
    dist.init_process_group(collective_backend(device))
    try:
        yield World(dist.get_rank(), dist.get_world_size(), device)
    finally:
        dist.destroy_process_group()


def without_exchange(replica: nn.Module) -> AbstractContextManager[None]:
    """Within the block, backward passes through a replica add to its own process's gradients; the next one outside it
    exchanges the sums.
    """
    return replica.no_sync() if isinstance(replica, DistributedDataParallel) else nullcontext()


class _SumOverProcesses(torch.autograd.Function):
    """Differentiable: every process's gradient reaches every process's values."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


def _sum_over_processes(values: Tensor) -> Tensor:
    total: Tensor = _SumOverProcesses.apply(values)
    return total


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d whose statistics in training are those of the whole batch over all processes.

    PyTorch's SyncBatchNorm does the same on GPUs alone. State dict keys and everything in evaluation are BatchNorm2d's.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not (dist.is_available() and dist.is_initialized()):
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        with torch.autocast(x.device.type, enabled=False):
            values = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
            # In two passes: a variance as a difference of large sums would lose digits.
            count = values.numel() // values.shape[1] * dist.get_world_size()  # every process has as many samples
            mean = _sum_over_processes(values.sum(dim=(0, 2, 3))) / count
            centred = values - mean[:, None, None]
            variance = _sum_over_processes(centred.square().sum(dim=(0, 2, 3))) / count
            with torch.no_grad():
                momentum = self.momentum if self.momentum is not None else 0.1
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
                self.running_var.lerp_((variance * count / max(count - 1, 1)).to(self.running_var.dtype), momentum)
                if self.num_batches_tracked is not None:
                    self.num_batches_tracked.add_(1)
            out = centred * ((variance + self.eps).rsqrt() * self.weight)[:, None, None] + self.bias[:, None, None]
        result: Tensor = out.to(x.dtype)
        return result


def share_batch_norm(module: nn.Module) -> None:
    """Replaces every BatchNorm2d below ``module`` by :class:`GlobalBatchNorm2d` with the same state."""
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            shared = GlobalBatchNorm2d(child.num_features, child.eps, child.momentum or 0.1)
            shared.load_state_dict(child.state_dict())
            setattr(module, name, shared.to(child.weight.device))
        else:
            share_batch_norm(child)
