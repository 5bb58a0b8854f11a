"""LDEQ: stem, DEQ layer and the readout of landmarks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ldeq.config import GradientConfig, ModelConfig, SolverConfig
from ldeq.errors import NotFiniteError
from ldeq.model import heatmaps
from ldeq.model.blocks import Cell, make_stem
from ldeq.model.deq import DEQLayer, Equilibrium
from ldeq.model.gradients import GradientAux
from ldeq.solvers import SolverStats
from ldeq.transfer import to_host


@dataclass(frozen=True)
class LDEQOutput:
    """The network's output for B face crops."""

    #: (B, n_keypoints, 2), order (x, y), in [0, 1): times ``im_size`` they are crop pixels.
    keypoints: Tensor
    #: (B, n_keypoints), standard deviation of each heatmap as a fraction of the crop's side.
    uncertainty: Tensor
    equilibrium: Equilibrium

    @property
    def z_star(self) -> Tensor:
        """(B, z_width, heatmap_size, heatmap_size), the equilibrium: what RwR hands on to the next frame."""
        return self.equilibrium.z

    @property
    def stats(self) -> SolverStats | None:
        """How the solver did; None in explicit mode."""
        return self.equilibrium.stats

    @property
    def trajectory(self) -> list[Tensor] | None:
        """z0 and one z an iteration (in explicit mode one a cell application), where asked for."""
        return self.equilibrium.trajectory

    @property
    def aux(self) -> GradientAux | None:
        """Further terms for a loss; None where no gradient was wanted."""
        return self.equilibrium.aux

    def on_host(self) -> "LDEQOutput":
        """The same with keypoints, uncertainty and statistics on the CPU, by one transfer. z stays where it is."""
        stats = self.stats
        figures = [] if stats is None else list(vars(stats).values())
        keypoints, uncertainty, *figures = to_host([self.keypoints, self.uncertainty, *figures])
        equilibrium = replace(self.equilibrium, stats=None if stats is None else SolverStats(*figures))
        return LDEQOutput(keypoints, uncertainty, equilibrium)

    def finite_keypoints(self) -> NDArray[np.float32]:
        """The keypoints on the CPU.

        Raises:
            NotFiniteError: where they are not finite, as those of weights that overflow a half precision are.
        """
        keypoints: NDArray[np.float32] = self.keypoints.float().cpu().numpy()
        if not np.isfinite(keypoints).all():
            raise NotFiniteError("the network's landmarks are not finite, expected weights that fit the precision")
        return keypoints


class LDEQ(nn.Module):
    """Landmark deep equilibrium model (Micaelli et al., CVPR 2023, section 3).

    Args:
        config: the architecture.
        solver_config: how equilibria are solved for, unless a call says otherwise.
    """

    def __init__(self, config: ModelConfig, solver_config: SolverConfig | None = None) -> None:
        super().__init__()
        self.config = config
        self.solver_config = solver_config or SolverConfig()
        self.tail = make_stem(config.injection_width)
        self.deq_layer = DEQLayer(config)

    @classmethod
    def from_pretrained(cls, name: str = "synthetic", device: str | torch.device = "cpu") -> "LDEQ":
        """A network by its name, in evaluation mode.

        Args:
            name: ``synthetic`` (the bundled one), ``wflw`` or ``wflw_v`` (the published ones, fetched into the user's
                cache at their first use: :mod:`ldeq.pretrained`), or a checkpoint's path.

        Raises:
            InputError: as :func:`ldeq.load_checkpoint`, and where a published one cannot be fetched.
        """
        from ldeq.model.checkpoint import load_checkpoint  # which imports this module
        from ldeq.pretrained import resolve

        return load_checkpoint(resolve(name, load_checkpoint), device)

    @property
    def cell(self) -> Cell:
        """f(z, x): ``model.cell(z, injection)`` → (B, z_width, heatmap_size, heatmap_size)."""
        return self.deq_layer.cell

    @property
    def z_shape(self) -> tuple[int, int, int]:
        """Shape of one sample's z."""
        return self.config.z_width, self.config.heatmap_size, self.config.heatmap_size

    def inject(self, images: Tensor) -> Tensor:
        """The injection x: normalised images (B, 3, im_size, im_size) → (B, I, heatmap_size, heatmap_size)."""
        injection: Tensor = self.tail(images)
        return injection.contiguous(memory_format=self.cell.layout)

    def forward(
        self,
        images: Tensor,
        z0: Tensor | None = None,
        solver_config: SolverConfig | Sequence[SolverConfig] | None = None,
        return_trajectory: bool = False,
        gradient: GradientConfig | None = None,
    ) -> LDEQOutput:
        """Landmarks of a batch of face crops.

        Args:
            images: (B, 3, im_size, im_size), RGB in [0, 1] normalised with ImageNet's mean and deviation
                (:func:`ldeq.model.normalisation.normalise`).
            z0: (B, z_width, heatmap_size, heatmap_size), where the iteration starts; zeros if None. The z* of the
                frame before makes this recurrence without recurrence (see :class:`ldeq.RecurrentLDEQ`).
            solver_config: stands in for the model's own; without effect in explicit mode. B of them, one a sample, may
                differ in ``max_iters`` and ``take_one_less_inference_step``.
            return_trajectory: keep every iterate.
            gradient: how the output gets its gradient, where gradients are enabled; implicit differentiation if None.

        Raises:
            ValueError: where a shape is not as above, or solver settings are not.
        """
        side = self.config.im_size
        if images.ndim != 4 or images.shape[1:] != (3, side, side):
            raise ValueError(f"images of shape {tuple(images.shape)}, expected (B, 3, {side}, {side})")
        n_samples = images.shape[0]
        injection = self.inject(images)
        # And not the convolutions' or the injection's, which may be half of it.
        dtype = self.cell.tail.norm.weight.dtype
        if z0 is None:
            z0 = torch.zeros(n_samples, *self.z_shape, dtype=dtype, device=images.device)
        elif z0.shape != (n_samples, *self.z_shape):
            raise ValueError(f"z0 of shape {tuple(z0.shape)}, expected {(n_samples, *self.z_shape)}")
        z0 = z0.to(dtype).contiguous(memory_format=self.cell.layout)
        equilibrium = self.deq_layer(z0, injection, solver_config or self.solver_config, return_trajectory, gradient)
        keypoints = self.read_out(equilibrium.z)
        return LDEQOutput(keypoints.position, keypoints.uncertainty, equilibrium)

    def normalised_heatmaps(self, z: Tensor) -> Tensor:
        """Normalised heatmaps (B, n_keypoints, S, S), at least 0, of an equilibrium z (B, z_width, S, S)."""
        maps = z[:, : self.config.n_keypoints]
        if self.config.cell_norm == "None":
            # Raw z: normalised here, and only here, by β itself (the published code never learns this one).
            maps = heatmaps.softargmax(maps, self.config.cell_softargmax_beta)
        return maps

    def read_out(self, z: Tensor) -> heatmaps.Keypoints:
        """Landmarks from an equilibrium z (B, z_width, S, S). Channels past ``n_keypoints`` are latent."""
        return heatmaps.read_keypoints(self.normalised_heatmaps(z))
