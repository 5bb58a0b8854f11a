"""Triangle meshes and their surfaces."""

from dataclasses import dataclass

import numpy as np

from datasets.synthetic.renderer.arrays import Floats, Ints


@dataclass(frozen=True)
class Mesh:
    """Triangles with a surface. All coordinates are the camera's, colours are linear RGB in [0, 1]."""

    #: (V, 3)
    vertices: Floats
    #: (T, 3)
    triangles: Ints
    #: (V, 3)
    normals: Floats
    #: (V, 3), diffuse reflectance.
    colours: Floats
    #: (V, 2), strength and exponent of the specular highlight (Blinn and Phong's).
    specular: Floats
    #: (V,), share of the ambient light that arrives, 1 where nothing occludes it.
    ambient_occlusion: Floats
    #: (V, 2), column and row in the texture; NaN where there is none.
    texels: Floats

    @staticmethod
    def join(parts: "list[Mesh]") -> "Mesh":
        """One mesh of several."""
        starts = np.cumsum([0] + [len(part.vertices) for part in parts[:-1]])
        return Mesh(
            *(
                np.ascontiguousarray(np.concatenate(arrays))
                for arrays in (
                    [part.vertices for part in parts],
                    [part.triangles + np.int32(start) for part, start in zip(parts, starts, strict=True)],
                    [part.normals for part in parts],
                    [part.colours for part in parts],
                    [part.specular for part in parts],
                    [part.ambient_occlusion for part in parts],
                    [part.texels for part in parts],
                )
            )
        )


def vertex_normals(vertices: Floats, triangles: Ints) -> Floats:
    """Unit normals (V, 3), outwards, weighted by the area of the triangles around: of (V, 3) and (T, 3)."""
    a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
    faces = np.cross(b - a, c - a)
    normals = np.zeros_like(vertices, dtype=np.float32)
    for axis in range(3):
        for corner in range(3):
            normals[:, axis] += np.bincount(triangles[:, corner], faces[:, axis], len(vertices)).astype(np.float32)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    return normals


def grid_triangles(rows: int, columns: int, closed: bool) -> Ints:
    """Triangles (T, 3) of a sheet of rows × columns vertices; closed: the last column meets the first."""
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns if closed else columns - 1), indexing="ij")
    k = (j + 1) % columns
    a, b, c, d = i * columns + j, i * columns + k, (i + 1) * columns + j, (i + 1) * columns + k
    return np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([b, d, c], -1).reshape(-1, 3)]).astype(
        np.int32
    )
