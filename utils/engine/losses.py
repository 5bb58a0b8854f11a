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
PARTS = ("loss", "keypoint", "heatmap", "flicker", "no_face", "correction", "jacobian")
#: Those that only samples with a face have.
FACE_PARTS = ("keypoint", "heatmap", "flicker")


def training_loss(
    model: LDEQ,
    output: LDEQOutput,
    landmarks: Tensor,
    config: LossConfig,
    errors_before: Tensor | None = None,
) -> dict[str, Tensor]:
    """The loss of a batch and its parts (:data:`PARTS`), each a scalar and not yet weighted but for ``loss``.

    Parts that the batch or the weights do not have are left out: flicker where there was no frame before.

    A sample whose landmarks are NaN has no face: its heatmaps are to be flat (``no_face``), and it counts as 0 in
    :data:`FACE_PARTS`, as faces do in ``no_face``. All parts are means over all samples.

    Args:
        landmarks: (B, K, 2), fractions of the crop's side.
        errors_before: (B, K, 2), how far keypoints were from the truth in the frames before, in the same
            fractions; None where there were none.
    """
    with torch.autocast(landmarks.device.type, enabled=False):
        parts = _errors(model, output.z_star, landmarks, config)
        loss = _weighted(parts, config)
        if errors_before is not None and config.flicker_weight:
            weights = face_weights(landmarks, config.interocular_power) * has_face(errors_before)
            change = output.keypoints - landmarks.nan_to_num() - errors_before.nan_to_num()
            parts["flicker"] = _mean_size(change, weights)
            loss = loss + config.flicker_weight * parts["flicker"]
        aux = output.aux
        if aux is not None and aux.corrections and config.correction_weight:
            errors = [_errors(model, z, landmarks, config) for z in aux.corrections]
            parts["correction"] = torch.stack([_weighted(each, config) for each in errors]).mean()
            loss = loss + config.correction_weight * parts["correction"]
        if aux is not None and aux.jacobian_norm is not None:
            parts["jacobian"] = aux.jacobian_norm.mean()
            loss = loss + config.jacobian_weight * parts["jacobian"]
    return {"loss": loss, **parts}


def has_face(landmarks: Tensor) -> Tensor:
    """1 for those of B samples that have a face, and 0 for those whose landmarks (B, K, 2) are NaN: (B,)."""
    return landmarks[:, 0, 0].isfinite().to(landmarks.dtype)


def _errors(model: LDEQ, z: Tensor, landmarks: Tensor, config: LossConfig) -> dict[str, Tensor]:
    """The parts that a single iterate has."""
    weights = face_weights(landmarks, config.interocular_power)
    # Where there is no face any point serves: it has no weight.
    keypoint = _mean_size(model.read_out(z).position - landmarks.nan_to_num(), weights)
    if not config.heatmap_weight:
        return {"keypoint": keypoint, "heatmap": torch.zeros_like(keypoint), "no_face": torch.zeros_like(keypoint)}
    divergence = heatmap_divergence(model.normalised_heatmaps(z), landmarks, config.heatmap_sigma)
    no_face = ((1 - has_face(landmarks)) * divergence).mean()
    return {"keypoint": keypoint, "heatmap": (weights * divergence).mean(), "no_face": no_face}


def _weighted(parts: dict[str, Tensor], config: LossConfig) -> Tensor:
    """The sum of the parts that a single iterate has."""
    faces = config.keypoint_weight * parts["keypoint"] + config.heatmap_weight * parts["heatmap"]
    return faces + config.no_face_weight * parts["no_face"]


def _mean_size(differences: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of differences (B, K, 2), fractions of the crop's side, in percent of it; weights (B,)."""
    return 100 * (weights * differences.abs().mean(dim=(1, 2))).mean()


def face_weights(landmarks: Tensor, power: float) -> Tensor:
    """Weights (B,) of landmarks (B, 98, 2): near 1 for faces that look into the camera, and 0 where there is none."""
    if not power:
        return has_face(landmarks)
    left, right = OUTER_EYE_CORNERS
    interocular = torch.linalg.vector_norm(landmarks[:, left] - landmarks[:, right], dim=-1)
    weights: Tensor = (_USUAL / interocular.clamp_min(_SHORTEST)) ** power
    return weights.nan_to_num(0.0)


def heatmap_divergence(heatmaps: Tensor, landmarks: Tensor, sigma: float) -> Tensor:
    """Mean over points of KL(q ‖ p) in nats, (B,): p the heatmap divided by its sum, q a Gaussian at the true point.

    Where that is NaN, as there is no face, q is uniform.

    Args:
        heatmaps: (B, K, S, S), at least 0.
        landmarks: (B, K, 2), fractions of the side: times S they are columns and rows, counted from 0.
        sigma: of the Gaussian, in heatmap pixels. What of it is outside the map is left out, and the rest sums to 1.
    """
    side = heatmaps.shape[-1]
    grid = torch.arange(side, device=heatmaps.device, dtype=heatmaps.dtype)
    # (B, K, 2, S): the Gaussian is a product of one along x and one along y.
    exponents = -((grid - side * landmarks[..., None]) ** 2) / (2 * sigma**2)
    log_q = torch.log_softmax(exponents.nan_to_num(0.0), dim=-1)
    q = log_q.exp()
    negative_entropy = (q * log_q).sum(dim=(-1, -2))
    log_h = heatmaps.clamp_min(_LEAST).log()
    # Not matrix products, which would be taken in half precision where autocast is on.
    expected = ((log_h * q[..., 0, None, :]).sum(dim=-1) * q[..., 1, :]).sum(dim=-1)
    log_total = heatmaps.sum(dim=(-1, -2)).clamp_min(_LEAST).log()
    return (negative_entropy - expected + log_total).mean(dim=1)
