"""Changes of the light on a scene that has been rendered: shade across it, tints, cast shadows, contrast."""

import cv2
import numpy as np

from datasets.synthetic.renderer.arrays import Floats, f32
from datasets.synthetic.renderer.colour import smooth_noise

#: Side of the grid on which light is computed; edges of shadows are no sharper than its cells.
_GRID = 48


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
    if rng.random() < 0.25:
        stops -= (_shadow(rng, columns, rows) * np.float32(rng.uniform(0.5, 3)))[..., None]
    light = cv2.resize(np.exp2(stops), scene.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    changed = cv2.multiply(scene, light)
    if rng.random() < 0.4:
        # Around medium brightness, which the exposure would lead it to anyway.
        power, middle = float(np.exp(rng.normal(0, 0.2))), max(float(changed.mean()), 1e-3)
        changed = cv2.pow(np.maximum(changed, 0) * np.float32(1 / middle), power) * np.float32(middle)
    return f32(changed)


def _shadow(rng: np.random.Generator, columns: Floats, rows: Floats) -> Floats:
    """Depth in [0, 1] of a shadow with a wavy edge: of something beside or above the face, or of a bar."""
    angle = rng.uniform(0, 2 * np.pi)
    along = np.cos(angle) * columns + np.sin(angle) * rows
    along = along + rng.uniform(0, 0.12) * smooth_noise(rng, _GRID, _GRID, rng.uniform(2, 8))
    along = along - rng.uniform(-0.25, 0.25)
    if rng.random() < 0.3:
        along = np.abs(along) - rng.uniform(0.05, 0.2)
    width = rng.uniform(0.02, 0.15)
    return f32(1 / (1 + np.exp((along / (width / 4)).clip(-30, 30))))
