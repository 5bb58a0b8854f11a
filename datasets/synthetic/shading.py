"""Light on a mesh: from what each pixel sees to its colour."""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.raster import rasterise

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


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
    #: (V, 2), strength and exponent of the mirror-like share.
    gloss: Floats
    #: (V,), share of the surroundings' light that arrives.
    openness: Floats
    #: (V, 2), column and row in the painted texture; NaN where nothing is painted.
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
                    [part.gloss for part in parts],
                    [part.openness for part in parts],
                    [part.texels for part in parts],
                )
            )
        )


@dataclass(frozen=True)
class Light:
    """A far lamp and the surroundings' glow."""

    #: (3,), unit, towards the lamp.
    direction: Floats
    #: (3,), of the lamp.
    colour: Floats
    #: (3,) each, of the surroundings from above and from below.
    above: Floats
    below: Floats
    #: How dark the lamp's shadows are, 0 to 1.
    shadow: float
    #: Width of the shadows' edges in texels of the shadow map.
    softness: float

    @property
    def brightness(self) -> float:
        """How much light a surface that half faces the lamp gets, for what is drawn without a mesh."""
        return float((self.above + self.below).mean() / 2 + 0.6 * self.colour.mean())


def shade(mesh: Mesh, paint: Floats, light: Light, seen: Ints, weights: Floats) -> Floats:
    """Colours of a rasterised mesh.

    Args:
        mesh: what was rasterised.
        paint: (H, W, 4), the painted texture: linear RGB and its opacity.
        light: how it is lit.
        seen, weights: as :func:`datasets.synthetic.raster.rasterise` gives them.

    Returns:
        (height, width, 3), linear RGB; 0 where no triangle is.
    """
    toward = light.direction / np.linalg.norm(light.direction)
    side = np.cross(toward, [0.13, 1.0, 0.21])
    side /= np.linalg.norm(side)
    basis = np.stack([side, np.cross(toward, side), -toward]).astype(np.float32)
    turned = mesh.vertices @ basis.T
    low = turned.min(0)
    scale = (_SHADOW_SIZE - 1) / max(float((turned.max(0) - low)[:2].max()), 1e-3)
    turned = ((turned - low) * scale).astype(np.float32)
    if light.shadow > 0:
        depths = rasterise(turned, mesh.triangles, _SHADOW_SIZE, _SHADOW_SIZE)[2]
    else:
        depths = np.full((_SHADOW_SIZE, _SHADOW_SIZE), np.inf, dtype=np.float32)
    out = np.zeros((*seen.shape, 3), dtype=np.float32)
    _shade(
        mesh.triangles, mesh.vertices, mesh.normals, mesh.colours, mesh.gloss, mesh.openness, mesh.texels,
        np.ascontiguousarray(paint, dtype=np.float32),
        toward.astype(np.float32), light.colour.astype(np.float32), light.above.astype(np.float32),
        light.below.astype(np.float32), float(light.shadow), float(light.softness),
        turned, depths, float(0.45 * scale), seen, weights, out,
    )  # fmt: skip
    return out


_SHADOW_SIZE = 200


@numba.njit(cache=True, nogil=True, fastmath=False)
def _shade(  # type: ignore[no-untyped-def]
    triangles, vertices, normals, colours, gloss, openness, texels, paint,
    toward, lamp, above, below, shadow, softness,
    lit, depths, bias, seen, weights, out,
):  # fmt: skip
    height, width = seen.shape
    paint_height, paint_width = paint.shape[0], paint.shape[1]
    size = depths.shape[0]
    for y in range(height):
        for x in range(width):
            t = seen[y, x]
            if t < 0:
                continue
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            v, w = weights[y, x, 0], weights[y, x, 1]
            u = np.float32(1.0) - v - w
            nx = u * normals[a, 0] + v * normals[b, 0] + w * normals[c, 0]
            ny = u * normals[a, 1] + v * normals[b, 1] + w * normals[c, 1]
            nz = u * normals[a, 2] + v * normals[b, 2] + w * normals[c, 2]
            px = u * vertices[a, 0] + v * vertices[b, 0] + w * vertices[c, 0]
            py = u * vertices[a, 1] + v * vertices[b, 1] + w * vertices[c, 1]
            pz = u * vertices[a, 2] + v * vertices[b, 2] + w * vertices[c, 2]
            inverse = 1.0 / max(1e-6, np.sqrt(nx * nx + ny * ny + nz * nz))
            distance = 1.0 / max(1e-6, np.sqrt(px * px + py * py + pz * pz))
            ex, ey, ez = -px * distance, -py * distance, -pz * distance
            if nx * ex + ny * ey + nz * ez < 0.0:
                inverse = -inverse
            nx, ny, nz = nx * inverse, ny * inverse, nz * inverse
            r = u * colours[a, 0] + v * colours[b, 0] + w * colours[c, 0]
            g = u * colours[a, 1] + v * colours[b, 1] + w * colours[c, 1]
            bl = u * colours[a, 2] + v * colours[b, 2] + w * colours[c, 2]
            tx = u * texels[a, 0] + v * texels[b, 0] + w * texels[c, 0]
            ty = u * texels[a, 1] + v * texels[b, 1] + w * texels[c, 1]
            if tx >= 0.0 and ty >= 0.0 and tx < paint_width - 1 and ty < paint_height - 1:
                i, j = int(ty), int(tx)
                fy, fx = ty - i, tx - j
                for channel in range(4):
                    value = (1.0 - fy) * ((1.0 - fx) * paint[i, j, channel] + fx * paint[i, j + 1, channel]) + fy * (
                        (1.0 - fx) * paint[i + 1, j, channel] + fx * paint[i + 1, j + 1, channel]
                    )
                    if channel == 0:
                        paint_r = value
                    elif channel == 1:
                        paint_g = value
                    elif channel == 2:
                        paint_b = value
                    else:
                        r += value * (paint_r - r)
                        g += value * (paint_g - g)
                        bl += value * (paint_b - bl)
            facing = nx * toward[0] + ny * toward[1] + nz * toward[2]
            arriving = 1.0
            if shadow > 0.0 and facing > -0.2:
                sx = u * lit[a, 0] + v * lit[b, 0] + w * lit[c, 0]
                sy = u * lit[a, 1] + v * lit[b, 1] + w * lit[c, 1]
                sz = u * lit[a, 2] + v * lit[b, 2] + w * lit[c, 2] - bias
                hidden = 0.0
                for dy in range(-1, 2):
                    for dx in range(-1, 2):
                        i = min(max(int(sy + dy * softness + 0.5), 0), size - 1)
                        j = min(max(int(sx + dx * softness + 0.5), 0), size - 1)
                        if depths[i, j] < sz:
                            hidden += 1.0
                arriving = 1.0 - shadow * hidden / 9.0
            # Skin lets light wrap around its edges, redder than it came.
            wrapped = max(0.0, (facing + 0.15) / 1.15)
            red = max(0.0, (facing + 0.3) / 1.3)
            sky = 0.5 - 0.5 * ny
            open_ = u * openness[a] + v * openness[b] + w * openness[c]
            ambient_r = open_ * (sky * above[0] + (1.0 - sky) * below[0])
            ambient_g = open_ * (sky * above[1] + (1.0 - sky) * below[1])
            ambient_b = open_ * (sky * above[2] + (1.0 - sky) * below[2])
            shine = 0.0
            strength = u * gloss[a, 0] + v * gloss[b, 0] + w * gloss[c, 0]
            if strength > 0.0 and facing > 0.0:
                hx, hy, hz = ex + toward[0], ey + toward[1], ez + toward[2]
                length = max(1e-6, np.sqrt(hx * hx + hy * hy + hz * hz))
                half = max(0.0, (nx * hx + ny * hy + nz * hz) / length)
                exponent = u * gloss[a, 1] + v * gloss[b, 1] + w * gloss[c, 1]
                shine = strength * half**exponent * arriving
            out[y, x, 0] = r * (ambient_r + arriving * (0.7 * wrapped + 0.3 * red) * lamp[0]) + shine * lamp[0]
            out[y, x, 1] = g * (ambient_g + arriving * wrapped * lamp[1]) + shine * lamp[1]
            out[y, x, 2] = bl * (ambient_b + arriving * wrapped * lamp[2]) + shine * lamp[2]
