"""The solvers and their driver, on functions whose equilibria are known."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ldeq import SolverConfig
from ldeq.solvers import Anderson, Broyden, FixedPointIteration, StopReason, make_solver, solve
from tests import plain_solvers

SOLVERS = {"fpi": FixedPointIteration(), "anderson": Anderson(5, 1e-8, 1.0), "broyden": Broyden()}
every_solver = pytest.mark.parametrize("name", list(SOLVERS))


def contraction(n_samples, size=12, rate=0.7, seed=0, wobble=0.1):
    """f(z) = A z + b + a little tanh, a different one for each sample; gives (A, b) and f."""
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(n_samples, size, size, generator=generator, dtype=torch.float64)
    a = a * rate / torch.linalg.matrix_norm(a, ord=2)[:, None, None]
    b = torch.randn(n_samples, size, generator=generator, dtype=torch.float64)

    def f(z, a, b):
        return torch.bmm(a, (z + wobble * torch.tanh(z))[:, :, None])[:, :, 0] + b

    return (a, b), f


def solve_with(name_or_solver, args, f, n_samples, **changes):
    solver = SOLVERS.get(name_or_solver, name_or_solver) if isinstance(name_or_solver, str) else name_or_solver
    z0 = torch.zeros(n_samples, args[1].shape[1], dtype=torch.float64)
    options = {"max_iters": 200, "tolerance": 1e-10, **changes}
    return solve(f, z0, solver, args=args, **options)


@every_solver
def test_finds_the_equilibrium(name):
    args, f = contraction(6)
    solution = solve_with(name, args, f, 6)
    torch.testing.assert_close(f(solution.z, *args), solution.z, rtol=1e-8, atol=1e-8)
    assert (solution.stats.stop_reason == StopReason.CONVERGED).all()
    assert (solution.stats.rel_error < 1e-10).all()


@every_solver
def test_a_linear_system_is_solved_exactly(name):
    args, f = contraction(3, wobble=0.0)
    a, b = args
    exact = torch.linalg.solve(torch.eye(12, dtype=torch.float64) - a, b)
    torch.testing.assert_close(solve_with(name, args, f, 3).z, exact, rtol=1e-8, atol=1e-8)


def test_acceleration_needs_fewer_iterations():
    args, f = contraction(4, size=6, rate=0.95)
    n_iters = {name: solve_with(name, args, f, 4, tolerance=1e-4).stats.n_iters for name in SOLVERS}
    assert (n_iters["anderson"] < n_iters["fpi"]).all()
    assert (n_iters["broyden"] < n_iters["fpi"]).all()


@settings(max_examples=60)
@given(
    name=st.sampled_from(list(SOLVERS)),
    seed=st.integers(0, 10_000),
    max_iters=st.integers(1, 12),
    mode=st.sampled_from(["rel", "abs"]),
    eps=st.sampled_from([1e-1, 1e-2, 1e-4]),
    rate=st.sampled_from([0.5, 0.9, 1.4]),
    memory=st.integers(2, 6),
    lam=st.sampled_from([1e-4, 1e-2]),
    beta=st.sampled_from([1.0, 0.6, 0.0]),
)
def test_does_what_the_published_solver_does(name, seed, max_iters, mode, eps, rate, memory, lam, beta):
    args, f = contraction(1, rate=rate, seed=seed)
    config = SolverConfig(name, max_iters, mode, eps, eps, memory, lam, beta)

    def plain(z):
        return f(torch.from_numpy(z)[None], *args)[0].numpy()

    options = (memory, lam, beta) if name == "anderson" else ()
    z, n_iters, absolute, relative, trajectory = getattr(plain_solvers, name)(
        plain, np.zeros(12), max_iters, mode, eps, *options
    )
    found = solve_with(
        make_solver(config), args, f, 1, max_iters=max_iters, tolerance=eps, stop_mode=mode, return_trajectory=True
    )
    assert found.stats.n_iters.item() == n_iters
    np.testing.assert_allclose(found.z[0].numpy(), z, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.stats.abs_error.item(), absolute, rtol=1e-5, atol=1e-10)
    np.testing.assert_allclose(found.stats.rel_error.item(), relative, rtol=1e-5, atol=1e-10)
    assert len(found.trajectory) == len(trajectory)
    for ours, theirs in zip(found.trajectory, trajectory, strict=True):
        np.testing.assert_allclose(ours[0].numpy(), theirs, rtol=1e-6, atol=1e-9)


@every_solver
def test_a_sample_does_not_depend_on_its_neighbours(name):
    args, f = contraction(7, rate=0.9)
    args = (args[0] * torch.linspace(0.2, 1, 7, dtype=torch.float64)[:, None, None], args[1])
    together = solve_with(name, args, f, 7, tolerance=1e-6)
    assert len(set(together.stats.n_iters.tolist())) > 2, "the samples are to stop at different iterations"
    for row in range(7):
        alone = solve_with(name, tuple(arg[row : row + 1] for arg in args), f, 1, tolerance=1e-6)
        for field in dataclasses.fields(alone.stats):
            ours, theirs = (getattr(found.stats, field.name) for found in (together, alone))
            torch.testing.assert_close(ours[row : row + 1], theirs, rtol=1e-6, atol=0)
        torch.testing.assert_close(together.z[row : row + 1], alone.z, rtol=1e-9, atol=1e-9)


@every_solver
def test_samples_that_stopped_are_not_evaluated_again(name):
    args, f = contraction(5)
    args = (args[0] * torch.tensor([0.01, 0.1, 0.5, 0.9, 1.0], dtype=torch.float64)[:, None, None], args[1])
    evaluated = []

    def counted(z, a, b):
        evaluated.append(len(z))
        return f(z, a, b)

    stats = solve_with(name, args, counted, 5, tolerance=1e-6).stats
    assert sum(evaluated) == stats.n_evaluations.sum().item()
    assert evaluated[-1] < 5


@every_solver
def test_by_the_batch_all_stop_together(name):
    args, f = contraction(5)
    args = (args[0] * torch.linspace(0.1, 1, 5, dtype=torch.float64)[:, None, None], args[1])
    alone = solve_with(name, args, f, 5, tolerance=1e-5)
    batch = solve_with(name, args, f, 5, tolerance=1e-5, stop_criterion="batch")
    assert len(set(batch.stats.n_iters.tolist())) == 1
    assert alone.stats.n_iters.min() <= batch.stats.n_iters[0] <= alone.stats.n_iters.max()
    assert batch.stats.rel_error.mean() < 1e-5
    assert len(set(batch.stats.rel_error.tolist())) == 5, "errors stay per sample"


@every_solver
def test_a_batch_of_one_stops_the_same_by_either_criterion(name):
    args, f = contraction(1)
    one = solve_with(name, args, f, 1, tolerance=1e-5)
    other = solve_with(name, args, f, 1, tolerance=1e-5, stop_criterion="batch")
    torch.testing.assert_close(one.z, other.z, rtol=0, atol=0)


@every_solver
@pytest.mark.parametrize("criterion", ["sample", "batch"])
def test_a_sample_that_is_not_finite_ends_and_disturbs_nobody(name, criterion):
    args, f = contraction(3)

    def broken(z, a, b):
        out = f(z, a, b)
        # Sample 1 is known by its b; it breaks when its iterate has come some way.
        bad = (b == args[1][1]).all(dim=1) & (z.norm(dim=1) > 0.5)
        return torch.where(bad[:, None], torch.nan, out)

    keep = torch.tensor([0, 2])
    found = solve_with(name, args, broken, 3, stop_criterion=criterion)
    expected = solve_with(name, tuple(arg[keep] for arg in args), f, 2, stop_criterion=criterion)
    torch.testing.assert_close(found.z[keep], expected.z, rtol=1e-8, atol=1e-8)
    assert found.stats.stop_reason.tolist()[1] == StopReason.NON_FINITE
    assert torch.isfinite(found.z).all()


@every_solver
def test_without_any_finite_iterate_the_start_is_kept(name):
    z0 = torch.full((2, 4), 3.0)
    found = solve(lambda z: z / 0 - z / 0, z0, SOLVERS[name], max_iters=10, tolerance=1e-3)
    torch.testing.assert_close(found.z, z0)
    assert found.stats.stop_reason.tolist() == [StopReason.NON_FINITE] * 2
    assert torch.isinf(found.stats.rel_error).all()


def test_a_singular_anderson_system_takes_the_plain_step():
    # Equal residuals in every iterate: the Gram matrix has rank one, and there is no Tikhonov term.
    solver = Anderson(3, 0.0, 1.0)
    z0 = torch.zeros(1, 4, dtype=torch.float64)
    found = solve(lambda z: z + 1, z0, solver, max_iters=5, tolerance=1e-9, return_trajectory=True)
    assert found.stats.n_fallbacks.item() > 0
    assert torch.isfinite(found.z).all()
    torch.testing.assert_close(found.trajectory[1], torch.full_like(z0, 2.0))


def test_a_broyden_update_by_nothing_is_left_out():
    found = solve(lambda z: z + 1, torch.zeros(1, 4), Broyden(), max_iters=20, tolerance=1e-9)
    assert torch.isfinite(found.z).all()
    assert found.stats.n_fallbacks.item() == 19
    assert found.stats.stop_reason.item() == StopReason.MAX_ITERS


def test_broyden_stops_when_it_diverges():
    # The first secant is almost flat and throws the second step to 1,000, where g is a billion times larger.
    found = solve(
        lambda z: z + 1 - 0.002 * z + 0.001 * z**4,
        torch.zeros(1, 1, dtype=torch.float64),
        Broyden(),
        max_iters=500,
        tolerance=1e-12,
        stop_mode="abs",
    )
    assert found.stats.stop_reason.item() == StopReason.DIVERGED
    assert found.stats.n_iters.item() == 2
    torch.testing.assert_close(found.z, torch.ones(1, 1, dtype=torch.float64))


@every_solver
def test_a_fixed_start_is_recognised(name):
    z0 = torch.full((2, 4), 2.0, dtype=torch.float64)
    found = solve(lambda z: torch.full_like(z, 2.0), z0, SOLVERS[name], max_iters=10, tolerance=1e-6)
    torch.testing.assert_close(found.z, z0)
    assert found.stats.n_iters.tolist() == [1, 1]


@every_solver
def test_the_trajectory_of_a_stopped_sample_repeats(name):
    args, f = contraction(2)
    args = (args[0] * torch.tensor([0.01, 1.0], dtype=torch.float64)[:, None, None], args[1])
    found = solve_with(name, args, f, 2, tolerance=1e-8, return_trajectory=True)
    early, late = found.stats.n_iters.tolist()
    assert early < late == len(found.trajectory) - 1
    torch.testing.assert_close(found.trajectory[0], torch.zeros(2, 12, dtype=torch.float64))
    for z in found.trajectory[early:]:
        torch.testing.assert_close(z[0], found.trajectory[early][0], rtol=0, atol=0)


def test_many_broyden_steps_outgrow_the_first_buffer():
    args, f = contraction(1, size=40, rate=0.99)
    found = solve_with("broyden", args, f, 1, tolerance=1e-10)
    assert found.stats.n_iters.item() > 9
    torch.testing.assert_close(f(found.z, *args), found.z, rtol=1e-8, atol=1e-8)


@every_solver
@pytest.mark.parametrize("mode", ["rel", "abs"])
def test_batch_means_choose_the_stop_and_the_iterate(name, mode):
    """The batch's n_iters and best iterate, found again from the iterates of a run that does not stop."""
    args, f = contraction(5, rate=0.9)
    args = (args[0] * torch.linspace(0.1, 1, 5, dtype=torch.float64)[:, None, None], args[1])
    endless = solve_with(name, args, f, 5, max_iters=25, tolerance=0.0, return_trajectory=True).trajectory
    errors = []
    for before, z in itertools.pairwise(endless):
        value = z if name == "fpi" else f(z, *args)
        size = (value + 1e-5).norm(dim=1) if name == "anderson" else 1e-5 + value.norm(dim=1)
        change = (value - (before if name == "fpi" else z)).norm(dim=1)
        errors.append((change / size if mode == "rel" else change).mean().item())
    tolerance = sorted(errors)[len(errors) // 2]
    n_iters = next(k for k, error in enumerate(errors, 1) if error < tolerance)
    best = n_iters if name == "fpi" else 1 + int(np.argmin(errors[:n_iters]))
    found = solve_with(name, args, f, 5, max_iters=25, tolerance=tolerance, stop_mode=mode, stop_criterion="batch")
    assert found.stats.n_iters.tolist() == [n_iters] * 5
    torch.testing.assert_close(found.z, endless[best], rtol=1e-9, atol=1e-9)


@every_solver
def test_an_overflowing_relative_error_is_no_convergence(name):
    """f so large that its norm is infinite in float32 has a relative error of 0 by arithmetic."""
    found = solve(lambda z: z * 1.0001 + 1e18, torch.full((1, 4), 3e19), SOLVERS[name], max_iters=3, tolerance=1e-3)
    assert found.stats.stop_reason.item() != StopReason.CONVERGED


@pytest.mark.parametrize("words", [{"stop_mode": "relative"}, {"stop_criterion": "mean"}])
def test_other_words_are_refused(words):
    with pytest.raises(ValueError, match=r"expected one of"):
        solve(lambda z: z, torch.zeros(1, 1), FixedPointIteration(), max_iters=1, tolerance=1.0, **words)
