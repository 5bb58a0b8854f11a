"""The published system's three solvers for one sample, written straight from their description, in NumPy float64.

They share nothing with ``ldeq.solvers`` and exist to check it.
"""

from collections.abc import Callable

import numpy as np

Vector = np.ndarray
Result = tuple[Vector, int, float, float, list[Vector]]


def fpi(f: Callable[[Vector], Vector], z: Vector, max_iters: int, mode: str, eps: float) -> Result:
    trajectory = [z]
    n = 0
    while n < max_iters:
        n += 1
        new = f(z)
        absolute = float(np.linalg.norm(new - z))
        relative = absolute / (1e-5 + float(np.linalg.norm(new)))
        z = new
        trajectory.append(z)
        if (relative if mode == "rel" else absolute) < eps:
            break
    return z, n, absolute, relative, trajectory


def anderson(
    f: Callable[[Vector], Vector], z: Vector, max_iters: int, mode: str, eps: float, m: int, lam: float, beta: float
) -> Result:
    xs, fs = np.zeros((m, z.size)), np.zeros((m, z.size))
    xs[0], fs[0] = z, f(z)
    xs[1], fs[1] = fs[0], f(fs[0])
    best, lowest, errors, trajectory = z, np.inf, (np.inf, np.inf), [z]
    for k in range(2, max_iters + 2):
        n = min(k, m)
        g = fs[:n] - xs[:n]
        system = np.block([[np.zeros((1, 1)), np.ones((1, n))], [np.ones((n, 1)), g @ g.T + lam * np.eye(n)]])
        alpha = np.linalg.solve(system, np.eye(n + 1)[0])[1:]
        x = beta * alpha @ fs[:n] + (1 - beta) * alpha @ xs[:n]
        slot = k % m
        xs[slot], fs[slot] = x, f(x)
        trajectory.append(x)
        absolute = float(np.linalg.norm(fs[slot] - x))
        relative = absolute / float(np.linalg.norm(fs[slot] + 1e-5))
        chosen = relative if mode == "rel" else absolute
        if chosen < lowest:
            best, lowest, errors = x, chosen, (absolute, relative)
        if chosen < eps:
            break
    return best, k - 1, *errors, trajectory


def broyden(f: Callable[[Vector], Vector], z: Vector, max_iters: int, mode: str, eps: float) -> Result:
    inverse = -np.eye(z.size)
    g = f(z) - z
    best, lowest, errors, trajectory, first = z, np.inf, (np.inf, np.inf), [z], None
    n = 0
    while n < max_iters:
        n += 1
        step = -inverse @ g
        z = z + step
        new = f(z) - z
        change, g = new - g, new
        trajectory.append(z)
        absolute = float(np.linalg.norm(g))
        relative = absolute / (1e-5 + float(np.linalg.norm(g + z)))
        chosen = relative if mode == "rel" else absolute
        first = chosen if first is None else first
        if chosen < lowest:
            best, lowest, errors = z, chosen, (absolute, relative)
        if chosen < eps or chosen > (1e3 if mode == "rel" else 1e6) * first:
            break
        v = step @ inverse
        u = (step - inverse @ change) / (v @ change)
        inverse = inverse + np.outer(np.nan_to_num(u, nan=0.0), np.nan_to_num(v, nan=0.0))
    return best, n, *errors, trajectory
