"""The training loss: errors of the keypoints and of the heatmaps, at the equilibrium and on the way to it."""

import torch
from torch import Tensor

from ldeq import LDEQ, LDEQOutput
from ldeq.landmarks98 import OUTER_EYE_CORNERS
from utils.engine.settings import LossConfig

#: Below this a heatmap's value is taken for it: exp(-46), past any gradient of use.
_LEAST = 1e-20
#: An inter-ocular distance that is usual in a crop, and the least one that weights are taken from, as fractions of the
#: crop's side.
_USUAL, _SHORTEST = 0.4, 0.08


#: The parts that :func:`training_loss` may give, in the order in which a log shows them.
PARTS = ("loss", "keypoint", "heatmap", "flicker", "correction", "jacobian")


def training_loss(
    model: LDEQ,
    output: LDEQOutput,
    landmarks: Tensor,
    config: LossConfig,
    errors_before: Tensor | None = None,
) -> dict[str, Tensor]:
    """The loss of a batch and its parts (:data:`PARTS`), each a scalar and not yet weighted but for ``loss``.

    Parts that the batch or the weights do not have are left out: flicker where there was no frame before.

    Args:
        landmarks: (B, K, 2), fractions of the crop's side.
        errors_before: (B, K, 2), how far keypoints were from the truth in the frames before, in the same
            fractions; None where there were none.
    """
    with torch.autocast(landmarks.device.type, enabled=False):
        keypoint, heatmap = _errors(model, output.z_star, landmarks, config)
        loss = config.keypoint_weight * keypoint + config.heatmap_weight * heatmap
        parts = {"keypoint": keypoint, "heatmap": heatmap}
        if errors_before is not None and config.flicker_weight:
            weights = face_weights(landmarks, config.interocular_power)
            parts["flicker"] = _mean_size(output.keypoints - landmarks - errors_before, weights)
            loss = loss + config.flicker_weight * parts["flicker"]
        aux = output.aux
        if aux is not None and aux.corrections and config.correction_weight:
            errors = [_errors(model, z, landmarks, config) for z in aux.corrections]
            weighted = [config.keypoint_weight * k + config.heatmap_weight * h for k, h in errors]
            parts["correction"] = torch.stack(weighted).mean()
            loss = loss + config.correction_weight * parts["correction"]
        if aux is not None and aux.jacobian_norm is not None:
            parts["jacobian"] = aux.jacobian_norm.mean()
            loss = loss + config.jacobian_weight * parts["jacobian"]
    return {"loss": loss, **parts}


def _errors(model: LDEQ, z: Tensor, landmarks: Tensor, config: LossConfig) -> tuple[Tensor, Tensor]:
    keypoints = model.read_out(z).position
    weights = face_weights(landmarks, config.interocular_power)
    keypoint = _mean_size(keypoints - landmarks, weights)
    if not config.heatmap_weight:
        return keypoint, torch.zeros_like(keypoint)
    divergence = heatmap_divergence(model.normalised_heatmaps(z), landmarks, config.heatmap_sigma)
    return keypoint, (weights * divergence).mean()


def _mean_size(differences: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of differences (B, K, 2), fractions of the crop's side, in percent of it; weights (B,)."""
    return 100 * (weights * differences.abs().mean(dim=(1, 2))).mean()


def face_weights(landmarks: Tensor, power: float) -> Tensor:
    """Weights (B,) of faces with landmarks (B, 98, 2), near 1 for those that look into the camera."""
    if not power:
        return landmarks.new_ones(len(landmarks))
    left, right = OUTER_EYE_CORNERS
    interocular = torch.linalg.vector_norm(landmarks[:, left] - landmarks[:, right], dim=-1)
    weights: Tensor = (_USUAL / interocular.clamp_min(_SHORTEST)) ** power
    return weights


def heatmap_divergence(heatmaps: Tensor, landmarks: Tensor, sigma: float) -> Tensor:
    """Mean over points of KL(q ‖ p) in nats, (B,): p the heatmap divided by its sum, q a Gaussian at the true point.

    Args:
        heatmaps: (B, K, S, S), at least 0.
        landmarks: (B, K, 2), fractions of the side: times S they are columns and rows, counted from 0.
        sigma: of the Gaussian, in heatmap pixels. What of it is outside the map is left out, and the rest sums to 1.
    """
    side = heatmaps.shape[-1]
    grid = torch.arange(side, device=heatmaps.device, dtype=heatmaps.dtype)
    # (B, K, 2, S): the Gaussian is a product of one along x and one along y.
    log_q = torch.log_softmax(-((grid - side * landmarks[..., None]) ** 2) / (2 * sigma**2), dim=-1)
    q = log_q.exp()
    negative_entropy = (q * log_q).sum(dim=(-1, -2))
    log_h = heatmaps.clamp_min(_LEAST).log()
    # Not matrix products, which would be taken in half precision where autocast is on.
    expected = ((log_h * q[..., 0, None, :]).sum(dim=-1) * q[..., 1, :]).sum(dim=-1)
    log_total = heatmaps.sum(dim=(-1, -2)).clamp_min(_LEAST).log()
    return (negative_entropy - expected + log_total).mean(dim=1)
