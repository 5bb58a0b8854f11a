"""A network's forward pass as a CUDA graph: one launch in place of hundreds, which is what small batches wait for."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ldeq.config import SolverConfig
from ldeq.errors import InputError
from ldeq.model.network import LDEQ, LDEQOutput
from ldeq.solvers import SolverStats


@dataclass(frozen=True)
class _Captured:
    """A graph, and the tensors that it reads and writes."""

    graph: torch.cuda.CUDAGraph
    images: Tensor
    z0: Tensor
    output: LDEQOutput


class GraphedLDEQ:
    """``model(images, z0, config)``, replayed from CUDA graphs, one a batch size, captured when it first comes.

    Args:
        model: in evaluation mode, on a CUDA device.
        config: of the solves, whose number of evaluations must not depend on what the host reads.

    Raises:
        InputError: where it does, or the model is elsewhere.
    """

    def __init__(self, model: LDEQ, config: SolverConfig) -> None:
        if model.config.model_mode == "implicit" and config.max_iters > 1:
            raise InputError(
                f"a CUDA graph of {config.max_iters} iterations, of which the data say when they end, expected 1"
            )
        device = next(model.parameters()).device
        if device.type != "cuda":
            raise InputError(f"a CUDA graph on {device}, expected a CUDA device")
        self.model = model
        self.config = config
        self._captured: dict[int, _Captured] = {}
        # Shared, as no two graphs run at a time and what they give is copied.
        self._pool = torch.cuda.graph_pool_handle()

    @torch.no_grad()
    def __call__(self, images: Tensor, z0: Tensor) -> LDEQOutput:
        """As :meth:`ldeq.LDEQ.forward`: images (B, 3, im_size, im_size) and z0 (B, z_width, S, S)."""
        captured = self._captured.get(len(images))
        if captured is None:
            captured = self._captured[len(images)] = self._capture(images, z0)
        captured.images.copy_(images)
        captured.z0.copy_(z0)
        captured.graph.replay()
        return _copied(captured.output)

    def _capture(self, images: Tensor, z0: Tensor) -> _Captured:
        images, z0 = images.clone(), z0.clone()
        # Libraries choose and set up what they run at the first calls, which may not be part of a graph.
        stream = torch.cuda.Stream(images.device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(images.device))
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.model(images, z0, self.config)
        torch.cuda.current_stream(images.device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=stream):
            output = self.model(images, z0, self.config)
        return _Captured(graph, images, z0, output)


def _copied(output: LDEQOutput) -> LDEQOutput:
    stats = output.stats
    copied = None if stats is None else SolverStats(*(tensor.clone() for tensor in vars(stats).values()))
    equilibrium = replace(output.equilibrium, z=output.z_star.clone(), stats=copied)
    return LDEQOutput(output.keypoints.clone(), output.uncertainty.clone(), equilibrium)
