"""Shading: the colour of what each pixel sees, with shadows by a shadow map."""

import numba
import numpy as np

from datasets.synthetic.renderer.arrays import Floats, Ints
from datasets.synthetic.renderer.light import Light
from datasets.synthetic.renderer.mesh import Mesh
from datasets.synthetic.renderer.raster import rasterise

#: Texels of the shadow map in each direction.
_SHADOW_SIZE = 200


def shade(mesh: Mesh, texture: Floats, light: Light, seen: Ints, weights: Floats) -> Floats:
    """Colours of a rasterised mesh.

    Args:
        mesh: what was rasterised.
        texture: (H, W, 4), linear RGB and opacity.
        light: the light on it.
        seen, weights: as :func:`datasets.synthetic.renderer.raster.rasterise` gives them.

    Returns:
        (height, width, 3), linear RGB; 0 where there is no triangle.
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
        mesh.triangles, mesh.vertices, mesh.normals, mesh.colours, mesh.specular, mesh.ambient_occlusion, mesh.texels,
        np.ascontiguousarray(texture, dtype=np.float32),
        toward.astype(np.float32), light.colour.astype(np.float32), light.sky.astype(np.float32),
        light.ground.astype(np.float32), float(light.shadow), float(light.softness),
        turned, depths, float(0.45 * scale), seen, weights, out,
    )  # fmt: skip
    return out


@numba.njit(cache=True, nogil=True, fastmath=False)
def _shade(  # type: ignore[no-untyped-def]
    triangles, vertices, normals, colours, specular, ambient_occlusion, texels, texture,
    toward, lamp, sky_light, ground_light, shadow, softness,
    in_light, depths, bias, seen, weights, out,
):  # fmt: skip
    height, width = seen.shape
    texture_height, texture_width = texture.shape[0], texture.shape[1]
    for y in range(height):
        for x in range(width):
            t = seen[y, x]
            if t < 0:
                continue
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            v, w = weights[y, x, 0], weights[y, x, 1]
            u = np.float32(1.0) - v - w
            corners, shares = (a, b, c), (u, v, w)
            nx, ny, nz = _vector_at(normals, corners, shares)
            px, py, pz = _vector_at(vertices, corners, shares)
            inverse = 1.0 / max(1e-6, np.sqrt(nx * nx + ny * ny + nz * nz))
            distance = 1.0 / max(1e-6, np.sqrt(px * px + py * py + pz * pz))
            ex, ey, ez = -px * distance, -py * distance, -pz * distance
            if nx * ex + ny * ey + nz * ez < 0.0:
                inverse = -inverse
            nx, ny, nz = nx * inverse, ny * inverse, nz * inverse
            r, g, bl = _vector_at(colours, corners, shares)
            tx, ty = _at(texels, 0, corners, shares), _at(texels, 1, corners, shares)
            if tx >= 0.0 and ty >= 0.0 and tx < texture_width - 1 and ty < texture_height - 1:
                opacity = _texel(texture, tx, ty, 3)
                r += opacity * (_texel(texture, tx, ty, 0) - r)
                g += opacity * (_texel(texture, tx, ty, 1) - g)
                bl += opacity * (_texel(texture, tx, ty, 2) - bl)
            facing = nx * toward[0] + ny * toward[1] + nz * toward[2]
            arriving = 1.0
            if shadow > 0.0 and facing > -0.2:
                sx, sy, sz = _vector_at(in_light, corners, shares)
                depth = sz - bias * (1.0 + 2.0 * (1.0 - facing))
                arriving = 1.0 - shadow * _n_hidden(depths, sx, sy, depth, softness) / 9.0
            # Skin lets light wrap around its edges, redder than it came.
            wrapped = max(0.0, (facing + 0.15) / 1.15)
            red = max(0.0, (facing + 0.3) / 1.3)
            sky = 0.5 - 0.5 * ny
            reached = u * ambient_occlusion[a] + v * ambient_occlusion[b] + w * ambient_occlusion[c]
            ambient_r = reached * (sky * sky_light[0] + (1.0 - sky) * ground_light[0])
            ambient_g = reached * (sky * sky_light[1] + (1.0 - sky) * ground_light[1])
            ambient_b = reached * (sky * sky_light[2] + (1.0 - sky) * ground_light[2])
            highlight = 0.0
            strength = _at(specular, 0, corners, shares)
            if strength > 0.0 and facing > 0.0:
                hx, hy, hz = ex + toward[0], ey + toward[1], ez + toward[2]
                length = max(1e-6, np.sqrt(hx * hx + hy * hy + hz * hz))
                half = max(0.0, (nx * hx + ny * hy + nz * hz) / length)
                highlight = strength * half ** _at(specular, 1, corners, shares) * arriving
            out[y, x, 0] = r * (ambient_r + arriving * (0.7 * wrapped + 0.3 * red) * lamp[0]) + highlight * lamp[0]
            out[y, x, 1] = g * (ambient_g + arriving * wrapped * lamp[1]) + highlight * lamp[1]
            out[y, x, 2] = bl * (ambient_b + arriving * wrapped * lamp[2]) + highlight * lamp[2]


@numba.njit(cache=True, nogil=True, fastmath=False)
def _at(values, k, corners, shares):  # type: ignore[no-untyped-def]
    """Column k of what vertices have (V, n), within a triangle."""
    (a, b, c), (u, v, w) = corners, shares
    return u * values[a, k] + v * values[b, k] + w * values[c, k]


@numba.njit(cache=True, nogil=True, fastmath=False)
def _vector_at(values, corners, shares):  # type: ignore[no-untyped-def]
    """What vertices have, (V, 3), within a triangle."""
    return _at(values, 0, corners, shares), _at(values, 1, corners, shares), _at(values, 2, corners, shares)


@numba.njit(cache=True, nogil=True, fastmath=False)
def _texel(texture, x, y, channel):  # type: ignore[no-untyped-def]
    """A channel of a texture, interpolated between four texels."""
    i, j = int(y), int(x)
    fy, fx = y - i, x - j
    above = (1.0 - fx) * texture[i, j, channel] + fx * texture[i, j + 1, channel]
    below = (1.0 - fx) * texture[i + 1, j, channel] + fx * texture[i + 1, j + 1, channel]
    return (1.0 - fy) * above + fy * below


@numba.njit(cache=True, nogil=True, fastmath=False)
def _n_hidden(depths, x, y, depth, softness):  # type: ignore[no-untyped-def]
    """How many of nine texels of the shadow map, around a place in it, have something before this depth."""
    size = depths.shape[0]
    hidden = 0.0
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            i = min(max(int(y + dy * softness + 0.5), 0), size - 1)
            j = min(max(int(x + dx * softness + 0.5), 0), size - 1)
            if depths[i, j] < depth:
                hidden += 1.0
    return hidden
