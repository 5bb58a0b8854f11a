"""Whether the numbers of a saved training state can be those of a run."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ldeq.fields import listed

#: What AdamW keeps of each weight.
_MOMENTS = {"step", "exp_avg", "exp_avg_sq"}
_NOT_NEGATIVE = ("running_var", "num_batches_tracked", "n_averaged", "step", "exp_avg_sq")


def check_state(
    state: Mapping[str, Any],
    own: Mapping[str, Any],
    weights: Sequence[Tensor],
    *,
    n_steps: int,
    most_skipped: int,
) -> None:
    """Compares a state with one of the trainer that is to load it, in everything that training does not change.

    Args:
        state: what was read.
        own: :meth:`utils.engine.training.Trainer.state` of the trainer.
        weights: in the order of its optimiser.
        n_steps: steps of the whole run.
        most_skipped: fewer steps in a row than this may have been skipped.

    Raises:
        ValueError: where they differ, or a number is out of its range; or another exception that comes of values of
            other types.
    """
    _check_count("step", state["step"], n_steps)
    _check_count("n_skipped", state["n_skipped"], min(most_skipped - 1, state["step"]))
    best = state["best_nme"]
    _expect(isinstance(best, float) and best >= 0, f"best_nme is {best!r}")
    for name in ("model", "average"):
        _check_tensors(name, state[name], own[name])
    n_averaged = int(state["average"]["n_averaged"])
    _check_count("n_averaged", n_averaged, state["step"] - state["n_skipped"])
    _check_optimiser(state["optimiser"], own["optimiser"], weights, n_averaged)
    _check_scaler(state["scaler"], own["scaler"])
    _check_meter(state["meter"], own["meter"])


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _check_count(name: str, value: Any, most: int) -> None:
    _expect(type(value) is int and 0 <= value <= most, f"{name} is {value!r}, expected 0 to {most}")


def _check_number(name: str, value: Any) -> None:
    _expect(type(value) in (int, float) and math.isfinite(value) and value >= 0, f"{name} is {value!r}")


def _check_tensors(where: str, tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    different = sorted(map(str, own.keys() ^ tensors.keys()))
    _expect(not different, f"{where} differs in {listed(different)}")
    for key, expected in own.items():
        _check_tensor(f"{where}, {key}", tensors[key], expected)


def _check_tensor(name: str, tensor: Tensor, like: Tensor) -> None:
    kinds = [(each.dtype, each.layout, tuple(each.shape)) for each in (tensor, like)]
    _expect(kinds[0] == kinds[1], f"{name} is {kinds[0]}, expected {kinds[1]}")
    _expect(bool(torch.isfinite(tensor).all()), f"{name} is not finite")
    if name.endswith(_NOT_NEGATIVE):
        _expect(bool((tensor >= 0).all()), f"{name} is negative")


def _check_optimiser(
    optimiser: Mapping[str, Any], own: Mapping[str, Any], weights: Sequence[Tensor], n_updates: int
) -> None:
    groups, own_groups = optimiser["param_groups"], own["param_groups"]
    _expect(len(groups) == len(own_groups), f"the optimiser has {len(groups)} groups")
    for group, own_group in zip(groups, own_groups, strict=True):
        # The learning rate is set at each step; versions of PyTorch differ in the options that they have.
        for name in (group.keys() & own_group.keys()) - {"lr"}:
            _expect(group[name] == own_group[name], f"the optimiser's {name} is {group[name]!r}")
    moments = optimiser["state"]
    # A weight that has had no gradient yet has none.
    known = moments.keys() <= set(range(len(weights))) and bool(moments) == bool(n_updates)
    _expect(known, f"the optimiser knows {len(moments)} of {len(weights)} weights after {n_updates} updates")
    for index, kept in moments.items():
        _expect(kept.keys() == _MOMENTS, f"the optimiser has {', '.join(map(str, kept))} of a weight")
        _expect(float(kept["step"]) == n_updates, f"the optimiser's step is {float(kept['step'])}, not {n_updates}")
        for name in ("exp_avg", "exp_avg_sq"):
            _check_tensor(f"the optimiser, weight {index}, {name}", kept[name], weights[index])


def _check_scaler(scaler: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    _expect(scaler.keys() == own.keys(), f"the scaler has {', '.join(map(str, scaler)) or 'nothing'}")
    for name, value in scaler.items():
        _check_number(f"the scaler's {name}", value)
        changes = name in ("scale", "_growth_tracker")
        _expect(changes or value == own[name], f"the scaler's {name} is {value!r}")
    _expect(scaler.get("scale", 1) > 0, "the scaler's scale is 0")


def _check_meter(meter: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    _expect(meter.keys() == own.keys(), f"the meter has {', '.join(map(str, meter))}")
    for name in ("n_samples", "n_skipped"):
        _check_count(f"the meter's {name}", meter[name], 2**63)
    _check_number("the meter's seconds", meter["seconds"])
    sums, counts = meter["sums"], meter["counts"]
    _expect(sums.keys() == counts.keys(), "the meter's sums and counts differ")
    for name, value in sums.items():
        _expect(type(value) is float, f"the meter's sum of {name} is {value!r}")
        _expect(type(counts[name]) is int and counts[name] > 0, f"the meter's count of {name} is {counts[name]!r}")
