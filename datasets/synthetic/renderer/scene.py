"""A scene in front of a camera, and its image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.renderer.arrays import Floats
from datasets.synthetic.renderer.camera import Projection
from datasets.synthetic.renderer.glasses import Glasses, draw_glasses
from datasets.synthetic.renderer.light import Light
from datasets.synthetic.renderer.mesh import Mesh
from datasets.synthetic.renderer.raster import rasterise
from datasets.synthetic.renderer.shading import shade


@dataclass(frozen=True)
class Scene:
    """A head and what it wears, in the camera's coordinates (centimetres)."""

    mesh: Mesh
    #: (H, W, 4), linear RGB and opacity, which lies over the mesh where that has texels.
    texture: Floats
    glasses: Glasses | None
    #: Distance of the head from the camera.
    distance: float


def render(
    scene: Scene, light: Light, project: Projection, height: int, width: int
) -> tuple[Floats, NDArray[np.bool_]]:
    """The image of a scene without a background.

    Returns:
        Linear RGB (height, width, 3), and where something is seen (height, width).
    """
    mesh = scene.mesh
    triangles, weights, depths = rasterise(project.with_depth(mesh.vertices), mesh.triangles, height, width)
    image = shade(mesh, scene.texture, light, triangles, weights)
    if scene.glasses is not None:
        draw_glasses(image, depths, scene.glasses, light, project, scene.distance)
    return image, triangles >= 0
