"""A frame of RwR as a function of tensors alone, with a number of steps that is known beforehand."""

import copy

import torch
from torch import Tensor, nn

from ldeq.config import ModelConfig, SolverConfig
from ldeq.errors import InputError
from ldeq.model.blocks import cast_convolutions
from ldeq.model.network import LDEQ
from ldeq.model.normalisation import MEAN, STD


def why_not_fixed(model: ModelConfig, solver: SolverConfig, max_iters: int) -> str | None:
    """Why a network has no :class:`RecurrentStep` of so many iterations, and what is expected; None where it has."""
    if model.model_mode == "explicit":
        return None
    if solver.solver == "broyden":
        return "Broyden's method updates a memory as the data say, expected a network solved by fpi"
    if solver.solver == "anderson" and max_iters != 1:
        return (
            f"Anderson acceleration stops, and chooses among its {max_iters} iterates, as the data say, "
            "expected 1 iteration, which leaves no choice"
        )
    return None


class RecurrentStep(nn.Module):
    """One frame of recurrence without recurrence, of one face a sample.

    It gives what :meth:`ldeq.RecurrentLDEQ.step` gives, without statistics, without a stop that depends on the data and
    without a guard against numbers that are not finite: a graph that can be exported, compiled or captured.

    Args:
        model: in evaluation mode. Its weights are copied.
        max_iters: the solver's iterations.
        take_one_less_inference_step: leave out the evaluation of the cell that follows the solver.
        dtype: of the convolutions; their weights are cast once, here. Norms, heatmaps and z stay in float32.

    Raises:
        InputError: where the number of steps depends on the data. Fixed-point iteration with RwR makes all its
            iterations unless it converges before; Anderson acceleration chooses the best of its iterates, so that one
            iteration alone has no choice; Broyden's method is not offered.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: LDEQ,
        max_iters: int = 1,
        take_one_less_inference_step: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        solver = model.solver_config
        is_implicit = model.config.model_mode == "implicit"
        reason = why_not_fixed(model.config, solver, max_iters)
        if reason is not None:
            raise InputError(reason)
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.solver = solver.solver if is_implicit else None
        #: Plain evaluations of the cell.
        self.depth = max_iters if is_implicit else model.config.explicit_depth
        self.last_step = is_implicit and not take_one_less_inference_step
        self.regularisation, self.mixing = solver.anderson_lam, solver.anderson_beta
        cast_convolutions(self.model, dtype)
        # In levels of 0 to 255, which is what images are.
        for name, values in (("mean", MEAN), ("std", STD)):
            self.register_buffer(name, 255 * torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The landmarks of B face crops, and z for their next frames.

        Args:
            images: (B, im_size, im_size, 3) uint8 RGB.
            z: (B, z_width, S, S) float32: what this gave for the frame before; zeros for a first one.

        Returns:
            Landmarks (B, n_keypoints, 2), order (x, y), fractions of the crop's side; uncertainty (B, n_keypoints), as
            a fraction of it; z of this frame.
        """
        cell = self.model.cell
        normalised = (images.permute(0, 3, 1, 2).to(torch.float32) - self.mean) / self.std
        injected = cell.inject(self.model.inject(normalised))
        if self.solver == "anderson":
            z = self._first_anderson_iterate(z, injected)
        else:
            for _ in range(self.depth):
                z = cell.step(z, injected)
        if self.last_step:
            z = cell.step(z, injected)
        landmarks = self.model.read_out(z)
        return landmarks.position, landmarks.uncertainty, z

    def _first_anderson_iterate(self, x0: Tensor, injected: Tensor) -> Tensor:
        """X_2 of :class:`ldeq.solvers.Anderson`, of X_0 = z and X_1 = f(X_0).

        With residuals G_0, G_1 and D = G_0 − G_1 the weights that minimise ‖α G_0 + (1 − α) G_1‖² + λ(α² + (1 − α)²)
        are α = (λ − D·G_1) / (D·D + 2λ) and 1 − α. Where α is not finite the step is the plain one.
        """
        x1 = self.model.cell.step(x0, injected)
        x2 = self.model.cell.step(x1, injected)
        residual0, residual1 = x1 - x0, x2 - x1
        change = residual0 - residual1
        numerator = self.regularisation - (change * residual1).sum(dim=(1, 2, 3), keepdim=True)
        alpha = numerator / (change.square().sum(dim=(1, 2, 3), keepdim=True) + 2 * self.regularisation)
        mixed = alpha * x1 + (1 - alpha) * x2
        if self.mixing != 1:
            mixed = mixed - (1 - self.mixing) * (alpha * residual0 + (1 - alpha) * residual1)
        return torch.where(torch.isfinite(alpha), mixed, x2)
