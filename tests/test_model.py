"""The network: configuration, heatmaps, the cell, modes and normalisations, and precision."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ldeq import InputError, ModelConfig, SolverConfig
from ldeq.model.heatmaps import linear, read_keypoints, softargmax
from ldeq.model.normalisation import MEAN, STD, normalise
from tests.conftest import SMALL, make_small_model, random_images

# -- heatmaps ----------------------------------------------------------------------------------------------------------


def test_softargmax_is_one_at_the_maximum():
    maps = torch.randn(2, 3, 16, 16)
    out = softargmax(maps, 2.5)
    torch.testing.assert_close(out.amax(dim=(2, 3)), torch.ones(2, 3))
    torch.testing.assert_close(out.log() / 2.5 + maps.amax(dim=(2, 3), keepdim=True), maps)


def test_linear_spans_zero_to_one():
    maps = torch.randn(2, 3, 16, 16) * 100
    out = linear(maps)
    torch.testing.assert_close(out.amin(dim=(2, 3)), torch.zeros(2, 3))
    torch.testing.assert_close(out.amax(dim=(2, 3)), torch.ones(2, 3))
    assert (linear(torch.full((1, 1, 16, 16), 5.0)) == 0).all()


def test_a_peak_is_read_at_its_pixel():
    maps = torch.zeros(1, 2, 64, 64)
    maps[0, 0, 10, 40] = 1e4
    maps[0, 1, 63, 0] = 1e4
    position, uncertainty = read_keypoints(maps)
    torch.testing.assert_close(position[0], torch.tensor([[40 / 64, 10 / 64], [0, 63 / 64]]))
    assert (uncertainty < 1e-3).all()


@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_uncertainty_is_the_standard_deviation(sigma):
    grid = torch.arange(64, dtype=torch.float64)
    bell = torch.exp(-((grid - 30) ** 2) / (2 * sigma**2))
    maps = (bell[:, None] * bell[None, :])[None, None] * 1e3
    assert read_keypoints(maps).uncertainty.item() == pytest.approx(sigma / 64, rel=1e-3)


def test_images_survive_normalisation():
    images = torch.randint(0, 256, (3, 8, 9, 3), dtype=torch.uint8).numpy()
    normalised = normalise(list(images))
    assert normalised.shape == (3, 3, 8, 9)
    restored = 255 * (normalised.permute(0, 2, 3, 1).numpy() * STD + MEAN)
    assert (restored.round() == images).all()


# -- the network -------------------------------------------------------------------------------------------------------


def written_out_cell(model, z, x):
    """f(z, x) of REFERENCE section 2 from the state dict, without our modules."""
    config, weights = model.config, model.state_dict()
    prefix = "deq_layer.cell."

    def conv(name, h):
        weight = weights[f"{prefix}{name}.conv.weight"]
        return F.conv2d(h, weight, weights[f"{prefix}{name}.conv.bias"], padding=(weight.shape[-1] - 1) // 2)

    def block(name, h):
        h = F.leaky_relu(conv(name, h), 0.01)
        scale, shift = weights[f"{prefix}{name}.norm.weight"], weights[f"{prefix}{name}.norm.bias"]
        if config.uses_batch_norm_in_cell:
            mean, var = (weights[f"{prefix}{name}.norm.running_{key}"] for key in ("mean", "var"))
            return F.batch_norm(h, mean, var, scale, shift)
        return F.group_norm(h, config.cell_gn_groups, scale, shift)

    y = block("tail", torch.cat([z, x], dim=1))
    skips = []
    for level in (1, 2, 3, 4):
        s = block(f"hourglass.same{level}", y)
        skips.append(s)
        y = block(f"hourglass.upchan{level}", F.avg_pool2d(s, 2))
    y = block("hourglass.bottlneck", y)
    for (odd, even, same), s in zip(((1, 2, 5), (3, 4, 6), (5, 6, 7), (7, 8, 8)), reversed(skips), strict=True):
        u = block(f"hourglass.downchan{odd}", y).repeat_interleave(2, 2).repeat_interleave(2, 3)
        d = block(f"hourglass.downchan{even}", torch.cat([s, u], dim=1))
        y = block(f"hourglass.same{same}", d) + d
    h = conv("head", y)
    flat = h.flatten(2)
    high, low = flat.amax(2)[..., None, None], flat.amin(2)[..., None, None]
    beta = torch.tensor(config.cell_softargmax_beta, dtype=z.dtype)
    if config.cell_norm == "softargmax":
        return torch.exp((F.softplus(beta) if config.cell_learn_softargmax_beta else beta) * (h - high))
    if config.cell_norm == "linear":
        return (h - low) / (high - low + 1e-5)
    return h


VARIANTS = {
    "softargmax": {},
    "linear": {"cell_norm": "linear"},
    "None": {"cell_norm": "None"},
    "learned sharpness": {"cell_softargmax_beta": 0.7, "cell_learn_softargmax_beta": True},
    "sharp": {"cell_softargmax_beta": 20.0},
    "latent channels": {"z_width": 110},
    "explicit, BatchNorm": {"model_mode": "explicit", "explicit_depth": 3, "cell_use_bn_for_explicit": True},
    "explicit, GroupNorm": {"model_mode": "explicit", "explicit_depth": 3, "cell_use_bn_for_explicit": False},
    "implicit ignores BatchNorm": {"cell_use_bn_for_explicit": True},
}


@pytest.mark.parametrize("variant", list(VARIANTS))
@torch.no_grad()
def test_the_cell_is_as_described(variant):
    model = make_small_model(**VARIANTS[variant]).double()
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.copy_(torch.rand_like(buffer) + 0.5)
    z, x = (torch.rand(2, channels, 64, 64, dtype=torch.float64) for channels in (model.config.z_width, 8))
    torch.testing.assert_close(model.cell(z, x), written_out_cell(model, z, x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("variant", list(VARIANTS))
@torch.no_grad()
def test_the_readout_is_as_described(variant):
    model = make_small_model(solver={"solver": "fpi", "max_iters": 3, "rel_diff_target": 0.0}, **VARIANTS[variant])
    config, images = model.config, random_images(2)
    output = model(images, return_trajectory=True)
    injection = model.inject(images)
    z = torch.zeros(2, config.z_width, 64, 64)
    n_steps = config.explicit_depth if config.model_mode == "explicit" else 4  # three, and the one that follows
    for _ in range(n_steps):
        z = model.cell(z, injection)
    torch.testing.assert_close(output.z_star, z, rtol=1e-3, atol=1e-4)
    maps = z[:, :98]
    if config.cell_norm == "None":
        maps = torch.exp(config.cell_softargmax_beta * (maps - maps.amax(dim=(2, 3), keepdim=True)))
    p = maps / (1e-4 + maps.sum(dim=(2, 3), keepdim=True))
    grid = torch.arange(64.0)
    expected = torch.stack([(p * grid).sum(dim=(2, 3)), (p * grid[:, None]).sum(dim=(2, 3))], dim=-1) / 64
    torch.testing.assert_close(output.keypoints, expected, rtol=1e-4, atol=1e-5)
    assert output.uncertainty.shape == (2, 98)
    assert output.z_star.shape == (2, config.z_width, 64, 64)
    assert (output.stats is None) == (config.model_mode == "explicit")
    assert len(output.trajectory) == 4
    assert (output.trajectory[0] == 0).all()


@torch.no_grad()
def test_one_step_less():
    model = make_small_model(solver={"solver": "fpi", "max_iters": 2, "rel_diff_target": 0.0})
    images = random_images(1)
    less = dataclasses.replace(model.solver_config, take_one_less_inference_step=True)
    output = model(images, solver_config=less)
    torch.testing.assert_close(model.cell(output.z_star, model.inject(images)), model(images).z_star)


@torch.no_grad()
def test_z0_is_where_the_solve_starts():
    model = make_small_model(solver={"solver": "anderson", "max_iters": 3})
    images, z0 = random_images(2), torch.rand(2, 98, 64, 64)
    output = model(images, z0, return_trajectory=True)
    torch.testing.assert_close(output.trajectory[0], z0)
    assert not torch.allclose(output.keypoints, model(images).keypoints)


@pytest.mark.parametrize("solver", ["fpi", "anderson", "broyden"])
@torch.no_grad()
def test_a_image_does_not_depend_on_its_batch(solver):
    model = make_small_model(solver={"solver": solver, "max_iters": 6, "rel_diff_target": 1e-2})
    images = random_images(4)
    together = model(images)
    for row in range(4):
        alone = model(images[row : row + 1])
        assert alone.stats.n_iters.item() == together.stats.n_iters[row].item()
        torch.testing.assert_close(alone.keypoints[0], together.keypoints[row], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_lower_precision_is_near(dtype):
    model = make_small_model(solver={"solver": "anderson", "max_iters": 3})
    images = random_images(1)
    exact = model(images)
    with torch.autocast("cpu", dtype):
        near = model(images)
    assert near.z_star.dtype == near.keypoints.dtype == torch.float32
    assert (near.keypoints - exact.keypoints).abs().max() < 0.05
    assert not torch.equal(near.keypoints, exact.keypoints)


@torch.no_grad()
def test_channels_last_gives_the_same():
    model = make_small_model()
    images = random_images(2)
    expected = model(images).keypoints
    torch.testing.assert_close(
        model.to(memory_format=torch.channels_last)(images).keypoints, expected, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("shape", [(3, 256, 256), (1, 1, 256, 256), (1, 3, 128, 128)])
def test_wrong_image_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="images of shape"):
        make_small_model()(torch.zeros(shape))


def test_wrong_z0_shapes_are_refused():
    with pytest.raises(ValueError, match="z0 of shape"):
        make_small_model()(torch.zeros(2, 3, 256, 256), torch.zeros(1, 98, 64, 64))


def test_other_sizes():
    model = make_small_model(im_size=128, heatmap_size=32, n_keypoints=5, z_width=7)
    output = model(torch.randn(1, 3, 128, 128))
    assert output.keypoints.shape == (1, 5, 2)
    assert output.z_star.shape == (1, 7, 32, 32)


def test_the_size_of_the_published_example():
    from ldeq import LDEQ

    with torch.device("meta"):
        model = LDEQ(ModelConfig(injection_width=224, cell_base_width=224, cell_width_increment=24))
    assert sum(parameter.numel() for parameter in model.parameters()) == pytest.approx(16.5e6, rel=0.01)


# -- configuration -----------------------------------------------------------------------------------------------------

INVALID_MODELS = [
    ({"model_mode": "both"}, "model_mode"),
    ({"cell_norm": "softmax"}, "cell_norm"),
    ({"z0_mode": "ones"}, "z0_mode"),
    ({"injection_width": 10}, "injection_width"),
    ({"injection_width": 0}, "injection_width"),
    ({"injection_width": 8.5}, "injection_width"),
    ({"injection_width": "8"}, "injection_width"),
    ({"injection_width": True}, "injection_width"),
    ({"cell_gn_groups": 3}, "cell_gn_groups"),
    ({"z_width": 97}, "z_width"),
    ({"heatmap_size": 32}, "heatmap_size"),
    ({"heatmap_size": 10, "im_size": 40}, "heatmap_size"),
    ({"cell_softargmax_beta": "1"}, "cell_softargmax_beta"),
    ({"cell_use_bn_for_explicit": "no"}, "cell_use_bn_for_explicit"),
    ({"model_mode": "explicit", "explicit_depth": 0}, "explicit_depth"),
]
INVALID_SOLVERS = [
    ({"solver": "newton"}, "solver"),
    ({"stop_mode": "both"}, "stop_mode"),
    ({"stop_criterion": "none"}, "stop_criterion"),
    ({"max_iters": 0}, "max_iters"),
    ({"max_iters": True}, "max_iters"),
    ({"anderson_m": 1}, "anderson_m"),
    ({"anderson_lam": -1.0}, "anderson_lam"),
    ({"rel_diff_target": float("nan")}, "rel_diff_target"),
]


@pytest.mark.parametrize(("changes", "name"), INVALID_MODELS)
def test_invalid_models_are_refused_by_name(changes, name):
    with pytest.raises(InputError, match=name):
        ModelConfig(**{**SMALL, **changes})


@pytest.mark.parametrize(("changes", "name"), INVALID_SOLVERS)
def test_invalid_solvers_are_refused_by_name(changes, name):
    with pytest.raises(InputError, match=name):
        SolverConfig(**changes)


def test_batch_norm_needs_no_group_size():
    ModelConfig(model_mode="explicit", cell_use_bn_for_explicit=True, cell_base_width=10, cell_gn_groups=8)


def test_numbers_of_other_types_become_pythons_own():
    config = SolverConfig(max_iters=12.0, anderson_m=np.int64(4), rel_diff_target=np.float32(0.5), anderson_lam=1)
    assert (config.max_iters, config.anderson_m, config.rel_diff_target, config.anderson_lam) == (12, 4, 0.5, 1.0)
    assert [type(value) for value in (config.max_iters, config.anderson_m, config.rel_diff_target)] == [int, int, float]
    assert SolverConfig(take_one_less_inference_step=np.bool_(True)).take_one_less_inference_step is True
    assert SolverConfig(take_one_less_inference_step=0).take_one_less_inference_step is False


@pytest.mark.parametrize("solver", [{"anderson_beta": 0.2, "anderson_m": 4}, {"anderson_beta": 1.0, "anderson_m": 2}])
@torch.no_grad()
def test_anderson_keeps_its_digits_on_the_real_network(solver, golden_models, golden_units):
    """The weights of a damped history amplify rounding: alone, in a batch and in double precision agree."""
    model = golden_models["anderson"]
    config = dataclasses.replace(model.solver_config, rel_diff_target=1e-3, **solver)
    images = normalise(list(golden_units["images_uint8_rgb"]))
    together = model(images, None, config, return_trajectory=True)
    for row in (0, 1):
        alone = model(images[row : row + 1], None, config, return_trajectory=True)
        exact = copy.deepcopy(model).double()(images[row : row + 1].double(), None, config, return_trajectory=True)
        assert alone.stats.n_iters[0] == together.stats.n_iters[row] == exact.stats.n_iters[0]
        for one, other, truth in zip(alone.trajectory, together.trajectory, exact.trajectory, strict=False):
            size = truth.norm() + 1e-9
            assert (one[0] - truth[0]).norm() / size < 1e-4
            assert (other[row] - truth[0]).norm() / size < 1e-4


@torch.no_grad()
def test_z0_of_another_precision_is_taken():
    model = make_small_model()
    images, z0 = random_images(1), torch.rand(1, 98, 64, 64)
    expected = model(images, z0).keypoints
    torch.testing.assert_close(model(images, z0.double()).keypoints, expected)
    assert model(images, z0.bfloat16()).z_star.dtype == torch.float32
