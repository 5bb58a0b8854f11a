"""Gradients of an equilibrium, in float64 on a tiny network whose cell is a contraction."""

import dataclasses
import gc
import weakref

import numpy as np
import pytest
import torch

from datasets.wflw import WFLWDataset
from ldeq import LDEQ, GradientConfig, InputError, ModelConfig, SolverConfig
from ldeq.model.gradients import BackwardSolve, solve_backward
from ldeq.model.normalisation import normalise
from utils import bundled

TINY = {
    "injection_width": 4,
    "cell_base_width": 4,
    "cell_width_increment": 2,
    "cell_gn_groups": 1,
    "n_keypoints": 2,
    "z_width": 2,
    "heatmap_size": 16,
    "im_size": 64,
}
EXACTLY = SolverConfig(max_iters=100, rel_diff_target=1e-13, anderson_lam=0.0)
IMPLICIT = GradientConfig(backward_max_iters=100, backward_tolerance=1e-13)
JFB = GradientConfig(gradient="jfb")
VARIANTS = {
    "softargmax": {},
    "linear": {"cell_norm": "linear"},
    "None": {"cell_norm": "None"},
    "learned sharpness": {"cell_softargmax_beta": 0.7, "cell_learn_softargmax_beta": True},
    "latent channels": {"z_width": 4},
}


def tiny_model(**changes) -> LDEQ:
    torch.manual_seed(3)
    model = LDEQ(ModelConfig(**{**TINY, **changes}), EXACTLY).double().eval()
    with torch.no_grad():
        # The head's scale is not seen by every normalisation, so z's way in is narrowed as well.
        model.cell.head.conv.weight *= 0.3
        model.cell.tail.conv.weight[:, : model.config.z_width] *= 0.02
    return model


def inputs(seed: int = 0, n: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(n, 3, 64, 64, dtype=torch.float64, generator=generator)
    return images, torch.rand(n, 2, 2, dtype=torch.float64, generator=generator)


def loss_of(model: LDEQ, gradient: GradientConfig | None = None, **options) -> torch.Tensor:
    images, target = inputs()
    output = model(images, gradient=gradient, **options)
    # Of the keypoints and of z, so that latent channels matter as well.
    return (output.keypoints - target).square().sum() + 0.01 * output.z_star.sin().sum()


def gradients(model: LDEQ, gradient: GradientConfig | None = None, **options) -> torch.Tensor:
    model.zero_grad()
    loss_of(model, gradient, **options).backward()
    return torch.cat([weight.grad.flatten() for weight in model.parameters()])


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_implicit_is_the_gradient_of_a_long_unrolled_solve(variant):
    model = tiny_model(**VARIANTS[variant])
    unrolled = gradients(model, GradientConfig(gradient="unrolled"), solver_config=SolverConfig(max_iters=80))
    implicit = gradients(model, IMPLICIT)
    assert difference(implicit, unrolled) < 1e-8
    # And the equilibrium's share of it is no trifle: one application alone has another gradient.
    assert difference(gradients(model, JFB), unrolled) > 1e-3


@pytest.mark.parametrize("gradient", [IMPLICIT, JFB, GradientConfig(gradient="unrolled")], ids=lambda g: g.gradient)
def test_in_half_precision_every_weight_has_a_gradient(gradient):
    model = tiny_model().float()
    images, target = inputs()
    options = {"solver_config": SolverConfig(max_iters=8), "gradient": gradient}

    def gradients_of() -> dict[str, torch.Tensor]:
        model.zero_grad()
        (model(images.float(), **options).keypoints - target.float()).square().sum().backward()
        found = {name: weight.grad for name, weight in model.named_parameters()}
        assert all(part is not None for part in found.values()), found
        return found

    expected = gradients_of()
    with torch.autocast("cpu", torch.bfloat16):
        found = gradients_of()
    one, other = (torch.cat([part.flatten() for part in parts.values()]) for parts in (found, expected))
    assert torch.cosine_similarity(one, other, dim=0) > 0.9


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_implicit_is_the_slope_of_the_loss(variant):
    model = tiny_model(**VARIANTS[variant])
    gradient = gradients(model, IMPLICIT)
    weights = list(model.parameters())
    generator = torch.Generator().manual_seed(1)
    direction = [torch.randn(weight.shape, generator=generator, dtype=torch.float64) for weight in weights]
    expected = float(gradient @ torch.cat([part.flatten() for part in direction]))
    step, losses = 1e-9, []  # so small that no LeakyReLU or maximum changes sides
    with torch.no_grad():
        for sign in (1, -2):  # to one side and then to the other
            for weight, part in zip(weights, direction, strict=True):
                weight += sign * step * part
            losses.append(float(loss_of(model)))
    assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("solver", ["anderson", "broyden", "fpi"])
@pytest.mark.parametrize("last_step", [True, False])
def test_every_solver_gives_it_with_and_without_the_evaluation_that_follows(solver, last_step):
    model = tiny_model()
    expected = gradients(model, IMPLICIT)
    solver_config = dataclasses.replace(EXACTLY, solver=solver, take_one_less_inference_step=not last_step)
    found = gradients(model, dataclasses.replace(IMPLICIT, backward_solver=solver), solver_config=solver_config)
    assert difference(found, expected) < 1e-8


def test_where_the_solve_starts_does_not_matter():
    model = tiny_model()
    z0 = torch.rand(2, *model.z_shape, dtype=torch.float64)
    assert difference(gradients(model, IMPLICIT, z0=z0), gradients(model, IMPLICIT)) < 1e-8


def test_the_backward_solve_against_a_dense_one():
    generator = torch.Generator().manual_seed(0)
    jacobian = torch.randn(3, 12, 12, dtype=torch.float64, generator=generator) / 8
    # Of very different sizes, as gradients of samples are.
    gradient = torch.randn(3, 12, dtype=torch.float64, generator=generator) * torch.tensor([[1e-9], [1.0], [1e6]])

    def transposed(v: torch.Tensor) -> torch.Tensor:
        return torch.einsum("bij,bi->bj", jacobian, v)

    report = BackwardSolve()
    u = solve_backward(transposed, gradient, IMPLICIT, report)
    expected = torch.linalg.solve(torch.eye(12) - jacobian.mT, gradient[..., None])[..., 0]
    for found, truth in zip(u, expected, strict=True):
        assert difference(found, truth) < 1e-8
    assert not report.replaced.any()


def test_where_the_backward_solve_fails_the_jacobian_free_gradient_stands_in():
    # The second grows so slowly that its last change is small for its size.
    growing = torch.tensor([[3.0], [1.2], [0.5], [float("nan")], [0.0]], dtype=torch.float64)
    report = BackwardSolve()
    gradient = torch.ones(5, 4, dtype=torch.float64)
    config = GradientConfig(backward_solver="fpi", backward_max_iters=50)
    u = solve_backward(lambda v: growing * v, gradient, config, report)
    assert report.replaced.tolist() == [True, True, False, True, False]
    expected = torch.tensor([[1.0], [1.0], [2.0], [1.0], [1.0]], dtype=torch.float64).expand(5, 4)
    torch.testing.assert_close(u, expected, rtol=1e-2, atol=0)


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_jfb_points_the_same_way(variant):
    model = tiny_model(**VARIANTS[variant])
    assert gradients(model, JFB) @ gradients(model, IMPLICIT) > 0


@pytest.mark.slow
def test_jfb_points_the_same_way_on_the_trained_network():
    """And that has an equilibrium to differentiate, which plain steps find as well."""
    model = LDEQ.from_pretrained().eval()
    faces = WFLWDataset(bundled.WFLW, "test")
    images, truth = zip(*(faces[index] for index in (1, 6)), strict=True)
    solver = SolverConfig(max_iters=30, rel_diff_target=1e-4)

    def gradient_of(gradient: GradientConfig) -> torch.Tensor:
        model.zero_grad()
        output = model(normalise(images), solver_config=solver, gradient=gradient)
        assert (output.stats.rel_error < 1e-3).all()
        torch.nn.functional.l1_loss(output.keypoints, torch.from_numpy(np.stack(truth))).backward()
        if gradient.gradient == "implicit":
            assert not output.aux.backward.replaced.any()
        return torch.cat([weight.grad.flatten() for weight in model.parameters()])

    jfb, implicit = gradient_of(JFB), gradient_of(GradientConfig(backward_max_iters=30))
    assert torch.cosine_similarity(jfb, implicit, dim=0) > 0.5
    with torch.no_grad():
        plain = model(normalise(images), solver_config=SolverConfig(solver="fpi", max_iters=60))
        solved = model(normalise(images), solver_config=solver)
    torch.testing.assert_close(plain.keypoints, solved.keypoints, atol=1e-3, rtol=0)


@pytest.mark.parametrize("last_step", [True, False])
@pytest.mark.parametrize("gradient", ["implicit", "jfb"])
def test_the_output_does_not_depend_on_whether_a_gradient_is_wanted(gradient, last_step):
    model = tiny_model()
    images, _ = inputs()
    solver_config = SolverConfig(max_iters=3, take_one_less_inference_step=not last_step)
    with torch.no_grad():
        expected = model(images, solver_config=solver_config)
    found = model(images, solver_config=solver_config, gradient=GradientConfig(gradient=gradient))
    assert torch.equal(found.z_star, expected.z_star)
    assert torch.equal(found.keypoints, expected.keypoints)
    assert found.keypoints.requires_grad
    assert not expected.keypoints.requires_grad
    assert expected.aux is None


def test_a_batch_has_the_mean_of_its_samples_gradients():
    """Although they stop after different numbers of iterations, forward and backward."""
    model = tiny_model()
    images, target = inputs(n=3)
    config = dataclasses.replace(IMPLICIT, backward_tolerance=1e-9)

    def gradient_of(rows: slice):
        model.zero_grad()
        output = model(images[rows], gradient=config)
        (output.keypoints - target[rows]).square().sum().backward()
        return torch.cat([weight.grad.flatten() for weight in model.parameters()]), output.aux.backward.stats

    together, stats = gradient_of(slice(0, 3))
    alone = [gradient_of(slice(row, row + 1)) for row in range(3)]
    assert difference(together, sum(gradient for gradient, _ in alone)) < 1e-8
    assert stats.n_iters.tolist() == [int(single.n_iters) for _, single in alone]


def saved_bytes(model: LDEQ, gradient: str, max_iters: int) -> int:
    """What the graph of a training step keeps."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    never = SolverConfig(solver="fpi", max_iters=max_iters, rel_diff_target=0.0)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = loss_of(model, GradientConfig(gradient=gradient), solver_config=never)
    loss.backward()
    return sum(kept.values())


def test_memory_does_not_grow_with_iterations_but_where_unrolled():
    model = tiny_model()
    for gradient in ("implicit", "jfb"):
        assert saved_bytes(model, gradient, 2) == saved_bytes(model, gradient, 20)
    assert saved_bytes(model, "unrolled", 20) > 5 * saved_bytes(model, "unrolled", 2)


def test_a_graph_is_freed_without_a_backward_pass():
    model = tiny_model()
    gc.collect()
    gc.disable()  # by reference counts alone: a cycle would hold the graph until a collection
    try:
        output = model(inputs()[0], gradient=IMPLICIT)
        z = weakref.ref(output.z_star)
        graph = weakref.ref(output.aux)
        del output
        assert z() is None
        assert graph() is None
    finally:
        gc.enable()


def test_the_jacobian_estimate_is_its_frobenius_norm():
    model = tiny_model()
    images, _ = inputs(n=1)
    torch.manual_seed(0)
    output = model(images, gradient=GradientConfig(gradient="jfb", n_probes=150))
    z = model(images).z_star.detach()
    injection = model.inject(images).detach()
    jacobian = torch.autograd.functional.jacobian(lambda z: model.cell(z, injection), z, vectorize=True)
    size = z.numel()
    expected = float(jacobian.reshape(size, size).square().sum() / size)
    assert output.aux.jacobian_norm.item() == pytest.approx(expected, rel=0.1)
    # It can be minimised.
    output.aux.jacobian_norm.mean().backward()
    assert model.cell.head.conv.weight.grad.norm() > 0


@pytest.mark.parametrize("gradient", ["implicit", "jfb", "unrolled"])
def test_corrections_have_gradients(gradient):
    model = tiny_model()
    config = GradientConfig(gradient=gradient, n_corrections=2)
    output = model(inputs()[0], gradient=config, solver_config=SolverConfig(max_iters=5, rel_diff_target=0.0))
    assert len(output.aux.corrections) == (4 if gradient == "unrolled" else 2)
    for z in output.aux.corrections:
        model.zero_grad()
        z.sum().backward(retain_graph=True)
        assert model.tail[0].conv.weight.grad.norm() > 0


def test_explicit_mode_is_differentiated_as_it_is():
    model = tiny_model(model_mode="explicit", explicit_depth=3)
    implicit_twin = tiny_model()
    implicit_twin.load_state_dict(model.state_dict())
    unrolled = GradientConfig(gradient="unrolled")
    expected = gradients(implicit_twin, unrolled, solver_config=SolverConfig(max_iters=3))
    assert difference(gradients(model), expected) < 1e-12


def test_frozen_weights_need_no_graph():
    model = tiny_model().requires_grad_(False)
    assert not model(inputs()[0]).keypoints.requires_grad


@pytest.mark.parametrize(
    ("field", "value"),
    [("gradient", "exact"), ("backward_solver", "newton"), ("backward_max_iters", 0), ("n_probes", -1)],
)
def test_bad_settings_are_named(field, value):
    with pytest.raises(InputError, match=field):
        GradientConfig(**{field: value})
