"""Landmarks of face crops by an exported step, without PyTorch."""

import math
from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from ldeq.config import SolverConfig
from ldeq.errors import NotFiniteError
from ldeq.face.crop import FaceCrop
from ldeq.face.landmarker import CropLandmarks
from ldeq.runtime.step_file import StepDescription
from ldeq.runtime.steps import Step, StepResult
from ldeq.solve_settings import SolveSettings
from ldeq.solver_tally import SolverTally

#: As in fixed-point iteration's relative error.
_EPS = 1e-5


class StepLandmarker:
    """A step over any number of faces, all faces of a frame in one batch.

    A frame that is solved by the network's own settings (every one without RwR, a face's first one where the settings
    say so) has the step applied again and again from z = 0, until z changes by less than the network's tolerance, or
    there were as many evaluations of the cell as the network's own solver makes. That solver stops between two
    evaluations and a step after several, so that the two end within the tolerance of each other.

    Args:
        step: the graph, ready to run.
        description: what the graph is of.
        settings: which the graph must have (:meth:`StepDescription.lacks`).
        on_solve: called with a line on every batch.
    """

    def __init__(
        self,
        step: Step,
        description: StepDescription,
        settings: SolveSettings,
        on_solve: Callable[[str], None] | None = None,
    ) -> None:
        self.tally = SolverTally()
        self._step = step
        self._description = description
        self._settings = settings
        self._on_solve = on_solve
        model = description.model
        self._z_shape = (model.z_width, model.heatmap_size, model.heatmap_size)
        self._is_explicit = model.model_mode == "explicit"
        #: z of the faces of the last batch, row by row, and of those that were not in it.
        self._last: tuple[list[Hashable], NDArray[np.float32]] = [], np.zeros((0, *self._z_shape), np.float32)
        self._others: dict[Hashable, NDArray[np.float32]] = {}

    def locate(self, crops: Sequence[FaceCrop], faces: Sequence[Hashable]) -> CropLandmarks:
        """See :class:`ldeq.face.landmarker.Landmarker`.

        Raises:
            NotFiniteError: where the network's landmarks are not finite.
        """
        images = np.stack([crop.image for crop in crops])
        own = np.array([self._has_own_solve(face) for face in faces])
        solves: list[SolverTally] = []
        if own.all():
            result, solves = self._solve(images)
        elif not own.any():
            z = self._z_of(faces)
            result = self._step(images, z)
            solves = self._counts(z, result.z)
        else:
            old, old_solves = self._part(images, faces, ~own)
            new, new_solves = self._solve(images[own])
            result = StepResult(*(_merged(own, *parts) for parts in zip(new, old, strict=True)))
            waiting = {True: iter(new_solves), False: iter(old_solves)}
            solves = [next(waiting[bool(is_own)]) for is_own in own] if new_solves else []
        if not (np.isfinite(result.landmarks).all() and np.isfinite(result.uncertainty).all()):
            raise NotFiniteError("the network's landmarks are not finite, expected weights that fit the precision")
        if self._settings.rwr:
            self._remember(faces, result.z)
        self.tally.merge(SolverTally.total(solves))
        if self._on_solve is not None:
            self._on_solve(_describe(solves))
        return CropLandmarks(result.landmarks.astype(np.float64), result.uncertainty.astype(np.float64), solves)

    def restart(self, *faces: Hashable) -> None:
        """See :class:`ldeq.face.landmarker.Landmarker`."""
        if set(faces) & set(self._last[0]):
            self._others |= dict(zip(*self._last, strict=True))
            self._last = [], self._last[1][:0]
        for face in faces:
            self._others.pop(face, None)

    def _has_own_solve(self, face: Hashable) -> bool:
        if not self._settings.rwr:
            return True
        return self._settings.full_first_solve and face not in self._last[0] and face not in self._others

    def _part(
        self, images: NDArray[np.uint8], faces: Sequence[Hashable], rows: NDArray[np.bool_]
    ) -> tuple[StepResult, list[SolverTally]]:
        """One step of some of the faces."""
        z = self._z_of([face for face, is_wanted in zip(faces, rows, strict=True) if is_wanted])
        result = self._step(images[rows], z)
        return result, self._counts(z, result.z)

    def _z_of(self, faces: Sequence[Hashable]) -> NDArray[np.float32]:
        """Where the faces' solves start: (B, z_width, S, S). Without a copy where they are those of the last batch."""
        known, z = self._last
        if known == list(faces):
            return z
        row_of = {face: row for row, face in enumerate(known)}
        nothing = np.zeros(self._z_shape, np.float32)
        return np.stack([z[row_of[f]] if f in row_of else self._others.get(f, nothing) for f in faces])

    def _remember(self, faces: Sequence[Hashable], z: NDArray[np.float32]) -> None:
        known, before = self._last
        if known != list(faces):
            self._others |= {face: before[row].copy() for row, face in enumerate(known) if face not in faces}
            for face in faces:
                self._others.pop(face, None)
        self._last = list(faces), z

    def _solve(self, images: NDArray[np.uint8]) -> tuple[StepResult, list[SolverTally]]:
        """The network's own solve, of B crops."""
        n_faces = len(images)
        z = np.zeros((n_faces, *self._z_shape), np.float32)
        if self._is_explicit:
            return self._step(images, z), []
        solver, evaluations = self._description.solver, self._description.evaluations
        n_steps = math.ceil(self._description.own_evaluations / evaluations)
        result: StepResult | None = None
        rows = np.arange(n_faces)  # those that have not converged
        solves = [SolverTally(n_solved=1) for _ in range(n_faces)]
        for number in range(1, n_steps + 1):
            part = self._step(images[rows], z)
            is_finite, error = _change(z, part.z, solver)
            result = part if result is None else _replaced(result, rows, part)
            converged = error < solver.tolerance
            for row, has_converged, finite in zip(rows, converged, is_finite, strict=True):
                solves[row].n_iters = number * evaluations
                solves[row].n_converged = int(has_converged)
                solves[row].n_not_finite = int(not finite)
            going_on = ~converged & is_finite
            if not going_on.any():
                break
            rows, z = rows[going_on], part.z[going_on] if not going_on.all() else part.z
        assert result is not None
        return result, solves

    def _counts(self, before: NDArray[np.float32], z: NDArray[np.float32]) -> list[SolverTally]:
        """The counts of one step of each face."""
        if self._is_explicit:
            return []
        is_finite, error = _change(before, z, self._description.solver)
        return [
            SolverTally(
                1, int(rest < self._description.solver.tolerance), int(not finite), self._description.iterations
            )
            for finite, rest in zip(is_finite, error, strict=True)
        ]


def _change(
    before: NDArray[np.float32], z: NDArray[np.float32], solver: SolverConfig
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Of B faces: whether z is finite, and its change in the solver's measure of error."""
    with np.errstate(over="ignore", invalid="ignore"):  # of z that is not finite, which is counted
        size, change = _norms(z), _norms(z - before)
        error = change / (_EPS + size) if solver.stop_mode == "rel" else change
    return np.isfinite(size), np.where(np.isfinite(error), error, np.inf)


def _norms(z: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.sqrt([float(np.dot(row, row)) for row in z.reshape(len(z), -1)])


def _merged(own: NDArray[np.bool_], new: NDArray[np.float32], old: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of ``new`` where ``own``, and of ``old`` elsewhere, in their order."""
    merged = np.empty((len(own), *new.shape[1:]), np.float32)
    merged[own], merged[~own] = new, old
    return merged


def _replaced(result: StepResult, rows: NDArray[np.intp], part: StepResult) -> StepResult:
    """``result`` with those rows from ``part``."""
    for array, new in zip(result, part, strict=True):
        array[rows] = new
    return result


def _describe(solves: Sequence[SolverTally]) -> str:
    """One line on how the solver did on a batch."""
    if not solves:
        return "explicit mode: no solver"
    iterations = ", ".join(str(solve.n_iters) for solve in solves)
    n_converged = sum(solve.n_converged for solve in solves)
    return f"solver: iterations [{iterations}], {n_converged} of {len(solves)} converged"
