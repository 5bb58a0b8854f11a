"""The network, its solvers, RwR, evaluation and training on a GPU that is not there.

Fake tensors have shapes, types and devices and no values: a tensor on the wrong device is an error as it would be on
the GPU, and what needs a value is something that the host waits for. Such reads are answered as a test chooses, and
listed.

PyTorch's fakes of Apple's devices cannot be indexed, so these are stood in for by a GPU without float64, which is what
code for them differs by. And PyTorch runs no backward pass of fakes where there is no GPU at all: what is ours of it,
the solve, has a test of its own.
"""

import traceback
from collections import Counter
from contextlib import contextmanager, nullcontext
from pathlib import Path
from unittest.mock import Mock, patch

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from ldeq import GradientConfig, InputError, RecurrentLDEQ
from ldeq.config import PRECISIONS
from ldeq.device import prepare, with_precision
from ldeq.face.crop import FaceCrop
from ldeq.model.gradients import BackwardSolve, solve_backward
from ldeq.model.normalisation import normalise
from ldeq.model.step import RecurrentStep
from ldeq.runtime.pytorch import TorchLandmarker
from ldeq.solvers import anderson
from tests.conftest import make_small_model
from utils.engine.distribution import World
from utils.engine.evaluation import predict_images, track_videos
from utils.engine.settings import LossConfig, TrainingConfig
from utils.engine.training import Trainer, parameter_groups

#: Folders whose functions may be the ones that wait.
OURS = ("ldeq", "solvers", "model", "runtime", "engine")
DEVICE = torch.device("cuda", 0)
SOLVERS = ("fpi", "anderson", "broyden")
aten = torch.ops.aten

#: What the host is told of n samples that iterate: which of them have stopped.
NONE, FIRST, ALL = (lambda n: [False] * n), (lambda n: [True] + [False] * (n - 1)), (lambda n: [True] * n)


class Host(TorchDispatchMode):
    """The host's side of a fake device: what it waits for, and what it is told where it reads.

    Args:
        stopped: answers which samples have stopped. Single numbers are 1 and true, all others 0.
    """

    def __init__(self, stopped=NONE):
        super().__init__()
        self.stopped = stopped
        #: The functions that waited for the device, and how often.
        self.waits = Counter()
        #: How often tensors went to the device or came from it, waited for or not.
        self.n_transfers = 0
        #: Types of the numbers that were computed there.
        self.types = set()
        self._pinned = []
        #: Functions that come undivided in inference mode.
        self._composite = (
            "aten::pin_memory",
            "aten::to.device",
            "aten::to.dtype_layout",
            "aten::to.dtype",
            "aten::item",
        )

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func.name() in self._composite:
            with self:
                return func.decompose(*args, **kwargs)
        if func is aten._pin_memory.default:
            self._pinned = [*self._pinned[-9:], aten.clone.default(args[0])]
            return self._pinned[-1]
        if func is aten._local_scalar_dense.default:
            self.wait_for(args[0])
            return 1
        result = func(*args, **kwargs)
        if func in (aten._to_copy.default, aten.copy_.default):
            source, target = (args[1], args[0]) if func is aten.copy_.default else (args[0], result)
            goes_on = kwargs.get("non_blocking", False) and any(source is tensor for tensor in self._pinned)
            if source.device != target.device:
                self.n_transfers += 1
                if not goes_on:
                    self.wait()
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, torch.Tensor) and tensor.device.type == DEVICE.type and tensor.is_floating_point():
                self.types.add(tensor.dtype)
        return result

    def values_of(self, tensor):
        """What the host is told where it reads all of a tensor."""
        self.wait_for(tensor)
        if tensor.dtype == torch.bool:
            return np.array(self.stopped(len(tensor)))
        return np.zeros(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))

    def wait_for(self, tensor):
        if tensor.device.type == DEVICE.type:
            self.wait()

    def wait(self):
        """Notes the function of ours that waits."""
        ours = [frame for frame in traceback.extract_stack() if Path(frame.filename).parent.name in OURS]
        self.waits[ours[-1].name if ours else "elsewhere"] += 1


@contextmanager
def fake_gpu(stopped=NONE):
    """Fake tensors, and the host of their device."""
    host = Host(stopped)
    reads = {"numpy": lambda tensor: host.values_of(tensor), "tolist": lambda tensor: host.values_of(tensor).tolist()}
    with patch.multiple(FakeTensor, create=True, **reads), FakeTensorMode(allow_non_fake_inputs=True), host:
        yield host


def there(model, host):
    """The model on the fake GPU; that it got there is no part of what is looked at."""
    model = prepare(model, DEVICE)
    host.waits.clear()
    return model


def images_of(n):
    return normalise(np.zeros((n, 256, 256, 3), np.uint8), DEVICE)


def is_there(*tensors):
    return {tensor.device for tensor in tensors} == {DEVICE}


# -- the network -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("solver", "precision", "stopped"),
    [
        *((solver, precision, FIRST) for solver in SOLVERS for precision in PRECISIONS),
        *(("broyden", "fp32", stopped) for stopped in (NONE, ALL)),
    ],
)
def test_solves(solver, precision, stopped):
    """Stem, cell, solver and readout; the host is told once an iteration but the last which samples have stopped."""
    model = with_precision(make_small_model(solver={"solver": solver, "max_iters": 3}), precision)
    with fake_gpu(stopped) as host, torch.no_grad():
        output = there(model, host)(images_of(3), return_trajectory=True)
    assert is_there(output.keypoints, output.uncertainty, *output.trajectory, *vars(output.stats).values())
    assert output.z_star.dtype == output.keypoints.dtype == torch.float32
    half = {"fp32": set(), "bf16": {torch.bfloat16}, "fp16": {torch.float16}}[precision]
    assert host.types == {torch.float32} | half | ({torch.float64} if solver == "anderson" else set())
    assert host.waits == {"solve": 1 if stopped is ALL else 2}


def test_anderson_on_a_device_without_float64(monkeypatch):
    """Its small systems are the CPU's: of each iterate products go there, and of each step weights come back."""
    monkeypatch.setattr(anderson, "WITHOUT_FLOAT64", (DEVICE.type,))
    model = make_small_model(solver={"solver": "anderson", "max_iters": 3})
    with fake_gpu(FIRST) as host, torch.no_grad():
        output = there(model, host)(images_of(3))
    assert is_there(output.keypoints, output.z_star, *vars(output.stats).values())
    assert host.types == {torch.float32}
    assert host.waits.pop("solve") == 2
    assert host.waits.pop("_remember") == 2 + 3
    assert host.waits.pop("step") == 2 * 3
    assert sum(host.waits.values()) == 2  # of the samples that go on and of those that stop, the rows


@pytest.mark.parametrize(
    ("mode", "precision"), [*((mode, "fp32") for mode in (*SOLVERS, "explicit")), ("fpi", "bf16"), ("fpi", "fp16")]
)
def test_a_step_of_rwr_waits_for_nothing(mode, precision):
    """Streams that start, go on, end and share a batch; what is given at the end goes to the host at once."""
    changes = {"model_mode": "explicit", "explicit_depth": 2} if mode == "explicit" else {}
    model = make_small_model(solver={"solver": mode if mode in SOLVERS else "fpi"}, **changes)
    model = with_precision(model, precision)
    with fake_gpu() as host:
        network = RecurrentLDEQ(there(model, host))
        for streams in (["a"], ["b", "a"], ["a", "c", "b"], ["d", "c"]):
            output = network.step(images_of(len(streams)), streams)
            assert is_there(output.keypoints, output.uncertainty, output.z_star, network._states._z)
            if "c" in streams:
                network.reset("a")
        assert not host.waits
        on_host = output.on_host()
        assert host.waits == {"to_host": 1}
        figures = [on_host.keypoints, on_host.uncertainty, *(vars(on_host.stats).values() if on_host.stats else ())]
        assert {tensor.device.type for tensor in figures} == {"cpu"}
        assert [tensor.dtype for tensor in figures[2:4]] == ([] if mode == "explicit" else [torch.int64, torch.float32])


class Graph:
    """Stands in for what needs a GPU: a graph that, replayed, does nothing."""

    n_replayed = 0

    def replay(self):
        Graph.n_replayed += 1


@pytest.mark.parametrize("mode", ["anderson", "explicit"])
def test_what_a_cuda_graph_captures(mode, monkeypatch):
    """No wait and no transfer, neither of which a graph can hold; one graph a batch size; nothing of it is given."""
    captured = []

    @contextmanager
    def capture(graph, pool, stream):
        before = host.n_transfers, host.waits.total()
        yield
        captured.append((host.n_transfers - before[0], host.waits.total() - before[1]))

    stands_in = {"graph": capture, "CUDAGraph": Graph, "stream": nullcontext, "graph_pool_handle": lambda: None}
    streams = {name: lambda device: Mock() for name in ("Stream", "current_stream")}
    for name, value in (stands_in | streams).items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(Graph, "n_replayed", 0)
    changes = {"model_mode": "explicit", "explicit_depth": 2} if mode == "explicit" else {}
    model = make_small_model(solver={"solver": mode if mode in SOLVERS else "fpi"}, **changes)
    with fake_gpu() as host:
        network = RecurrentLDEQ(there(model, host), cuda_graph=True)
        outputs = [network.step(images_of(len(streams)), streams) for streams in (["a"], ["b"], ["b"])]
        assert is_there(*(output.z_star for output in outputs))
    assert captured == [(0, 0)]
    assert Graph.n_replayed == 3
    last, before = outputs[-1], outputs[-2]
    assert last.z_star is not before.z_star
    assert not host.waits


@pytest.mark.parametrize(("max_iters", "named"), [(1, "a CUDA graph on cpu"), (2, "of 2 iterations")])
def test_where_there_can_be_no_graph(max_iters, named):
    with pytest.raises(InputError, match=named):
        RecurrentLDEQ(make_small_model(), max_iters=max_iters, cuda_graph=True)


def test_first_solves_beside_streams_under_way():
    """Some samples make more iterations than others, known beforehand, which is no reason to wait."""
    model = make_small_model(solver={"solver": "fpi", "max_iters": 2})
    with fake_gpu() as host:
        model = there(model, host)
        network = RecurrentLDEQ(model, full_first_solve=True, take_one_less_inference_step=True)
        network.step(images_of(1), ["a"])
        assert is_there(network.step(images_of(2), ["b", "a"]).z_star)
        assert host.waits == {"solve": 2}


@pytest.mark.parametrize(
    ("solver", "precision"), [("fpi", "fp32"), ("fpi", "bf16"), ("anderson", "fp16"), (None, "fp32")]
)
def test_the_fixed_step_waits_for_nothing(solver, precision):
    """What is captured in a CUDA graph, or compiled."""
    changes = {} if solver else {"model_mode": "explicit", "explicit_depth": 2}
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    step = RecurrentStep(make_small_model(solver={"solver": solver or "fpi"}, **changes), dtype=dtype)
    with fake_gpu() as host, torch.no_grad():
        step = step.to(DEVICE)
        host.waits.clear()
        images = torch.zeros(2, 256, 256, 3, dtype=torch.uint8, device=DEVICE)
        assert is_there(*step(images, torch.zeros(2, 98, 64, 64, device=DEVICE)))
        assert not host.waits


# -- evaluation and training -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_evaluation_of_videos(precision):
    """One transfer each way a step, of which the host waits for the landmarks alone."""
    model = with_precision(make_small_model(solver={"solver": "anderson"}), precision)
    crop = FaceCrop(np.zeros((256, 256, 3), np.uint8), np.eye(2, 3))
    with fake_gpu() as host:
        landmarker = TorchLandmarker(RecurrentLDEQ(there(model, host)))
        lengths = {"a": 3, "b": 1, "c": 2}
        videos = track_videos(landmarker, lengths, lambda name: iter([crop] * lengths[name]), batch_size=2, workers=0)
        assert {video.clip: len(video.landmarks) for video in videos} == lengths
    assert host.waits == {"to_host": 3}


def test_evaluation_of_images():
    model = make_small_model(solver={"solver": "fpi", "max_iters": 2})
    with fake_gpu(ALL) as host:
        model = there(model, host)
        samples = [(np.zeros((256, 256, 3), np.uint8), np.zeros((98, 2), np.float32))] * 3
        found = predict_images(model, samples, batch_size=2, workers=0)
    assert found.predicted.shape == (3, 98, 2)
    assert (found.tally.n_solved, host.waits) == (3, {"solve": 2, "to_host": 2})


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_solve_of_the_backward_pass(solver):
    """Of two samples the second does not stop with the first, and is in the batch of a graph that is of both."""
    report = BackwardSolve()
    with fake_gpu(FIRST) as host:
        gradient = torch.zeros(2, 3, 16, 16, device=DEVICE)
        config = GradientConfig(backward_solver=solver, backward_max_iters=3)
        assert is_there(solve_backward(lambda v: 0.5 * v, gradient, config, report))
        assert is_there(report.replaced, *vars(report.stats).values())
    assert host.waits == {"solve": 2}


@pytest.mark.parametrize(("gradient", "precision"), [("implicit", "fp32"), ("jfb", "fp16"), ("unrolled", "bf16")])
def test_a_training_step(gradient, precision, monkeypatch):
    """On a clip: RwR up to its last frame, which is trained on. The host reads the solve's stops and figures to log."""
    # Autocast is for a GPU that is there, and so is the engine of backward passes.
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda *arguments: True)
    losses = []

    def backward(loss):
        losses.append((loss.device, loss.dtype, loss.shape))
        for weight in model.parameters():
            weight.grad = torch.zeros_like(weight)

    monkeypatch.setattr("torch.autograd.backward", backward)
    model = make_small_model(solver={"solver": "fpi", "max_iters": 2}, im_size=64, heatmap_size=16)
    config = TrainingConfig(precision=precision, batch_size=2, warmup_steps=0)
    frames, landmarks = np.zeros((2, 2, 64, 64, 3), np.uint8), np.zeros((2, 2, 98, 2), np.float32)
    trainer = Trainer(model, config, GradientConfig(gradient=gradient), LossConfig(), World(0, 1, DEVICE))
    with fake_gpu() as host:
        there(trainer.model, host)
        there(trainer.averaged_model, host)
        trainer._optimiser = torch.optim.AdamW(parameter_groups(model, config.weight_decay))  # of the weights there
        trainer.advance([(frames, landmarks)])
    assert losses == [(DEVICE, torch.float32, torch.Size([]))]
    half = {"fp32": set(), "bf16": {torch.bfloat16}, "fp16": {torch.float16}}[precision]
    assert host.types - {torch.float64} == {torch.float32} | half
    figures = {"<dictcomp>", "_solver_figures"}
    solves = {"unrolled": set()}.get(gradient, {"solve"})
    assert host.waits.keys() == {"_backward", "_advance", "_check_weights", "update"} | figures | solves
