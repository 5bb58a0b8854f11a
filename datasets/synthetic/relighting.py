"""Changes of the light on a scene that has been rendered: tints, light from a side, contrast."""

import cv2
import numpy as np

from datasets.synthetic.renderer.arrays import Floats, f32

#: Side of the grid on which light is computed, which varies slowly.
_GRID = 16


def relit(scene: Floats, rng: np.random.Generator) -> Floats:
    """A scene in another light.

    Args:
        scene: (S, S, 3), linear RGB.

    Returns:
        (S, S, 3), linear RGB of about the same brightness.
    """
    ticks = np.linspace(-0.5, 0.5, _GRID, dtype=np.float32)
    columns, rows = np.meshgrid(ticks, ticks)
    stops = np.zeros((_GRID, _GRID, 3), dtype=np.float32)
    if rng.random() < 0.5:  # tinted, now and then as by a stage's or a neon light
        stops += f32(rng.normal(0, 0.15 if rng.random() < 0.85 else 0.6, 3))
    if rng.random() < 0.5:  # brighter on one side, where the light may have another colour
        angle = rng.uniform(0, 2 * np.pi)
        slope = abs(rng.normal(0, 1.2)) + rng.normal(0, 0.3 if rng.random() < 0.8 else 1.2, 3)
        stops += (np.cos(angle) * columns + np.sin(angle) * rows)[..., None] * f32(slope)
    light = cv2.resize(np.exp2(stops), scene.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    changed = cv2.multiply(scene, light)
    if rng.random() < 0.4:
        # Around medium brightness, which the exposure would lead it to anyway.
        power, middle = float(np.exp(rng.normal(0, 0.2))), max(float(changed.mean()), 1e-3)
        changed = cv2.pow(np.maximum(changed, 0) * np.float32(1 / middle), power) * np.float32(middle)
    return f32(changed)
