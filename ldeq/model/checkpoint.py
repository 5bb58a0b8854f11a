"""The published checkpoint format: a ``torch.save``d dict of ``args`` (a Namespace) and ``state_dict``."""

import argparse
import pickle
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ldeq.config import ModelConfig, SolverConfig, to_namespace
from ldeq.errors import InputError, reason_of
from ldeq.files import written_whole
from ldeq.model.network import LDEQ

#: PyTorch's list of classes that may be loaded is the process's.
_ALLOWING = threading.Lock()


def load_checkpoint(path: str | Path, device: str | torch.device = "cpu", trust_pickle: bool = False) -> LDEQ:
    """Reads a network with its weights and solver settings, in evaluation mode.

    A checkpoint is a pickle, and a pickle can run code: only tensors, plain containers and
    :class:`argparse.Namespace` are let in, unless ``trust_pickle`` says that the file's source is trusted.

    Some GPUs by default multiply float32 with 19 bits in convolutions, too few for the published figures:
    :func:`ldeq.device.prepare` switches that off.

    Raises:
        InputError: where the file is missing, not a checkpoint, holds another class (which it names), or its weights
            do not fit its ``args`` key by key (it names the keys).
    """
    path = Path(path)
    content = _read(path, trust_pickle)
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: holds a {type(content).__name__}, expected a dict with 'args' and 'state_dict'")
    for key, kinds in (("args", (argparse.Namespace, Mapping)), ("state_dict", (Mapping,))):
        if not isinstance(content.get(key), kinds):
            found = f"{key!r} is a {type(content[key]).__name__}" if key in content else f"there is no {key!r}"
            raise InputError(f"{path}: {found}, expected a dict with 'args' (a Namespace) and 'state_dict'")
    try:
        model = LDEQ(ModelConfig.from_namespace(content["args"]), SolverConfig.from_namespace(content["args"]))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    _load_weights(model, content["state_dict"], path)
    return model.to(device).eval()


def save_checkpoint(path: str | Path, model: LDEQ, **extra: Any) -> None:
    """Writes ``model`` in the published format, whole or not at all.

    Args:
        extra: further entries beside ``args`` and ``state_dict`` (``epoch``, an optimiser's state, …), which
            :func:`load_checkpoint` ignores.
    """
    content = {
        **extra,
        "args": to_namespace(model.config, model.solver_config),
        "state_dict": {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()},
    }
    # Through an open file, since PyTorch puts a file's name into its content.
    with written_whole(path) as temporary, temporary.open("wb") as file:
        torch.save(content, file)


def _read(path: Path, trust_pickle: bool) -> Any:
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected a checkpoint")
    try:
        with _namespace_allowed():
            return torch.load(path, map_location="cpu", weights_only=not trust_pickle)
    except pickle.UnpicklingError as error:
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if refused:
            raise InputError(
                f"{path}: holds {refused[1]}, which is not loaded since unpickling it could run code; "
                "if you trust where the file comes from, say so with --trust_pickle (trust_pickle=True)"
            ) from None
        # PyTorch's own sentence advises to switch the check off, which is no cure for a file that is damaged.
        raise InputError(f"{path}: cannot be read, expected a checkpoint of tensors and a Namespace") from None
    except Exception as error:  # torch.load raises whatever the damage in the file leads to
        raise InputError(f"{path}: cannot be read ({reason_of(error)}), expected a checkpoint") from None


@contextmanager
def _namespace_allowed() -> Iterator[None]:
    """Lets :class:`argparse.Namespace` through PyTorch's safe loading, and leaves its list as it was."""
    with _ALLOWING:
        known = argparse.Namespace in torch.serialization.get_safe_globals()
        with torch.serialization.safe_globals([] if known else [argparse.Namespace]):
            yield


def _load_weights(model: LDEQ, weights: Mapping[str, Any], path: Path) -> None:
    """Strictly: a network with a missing weight would run, and give figures that mean nothing."""
    expected = model.state_dict()
    missing = [key for key in expected if key not in weights]
    unexpected = [key for key in weights if key not in expected]
    if missing or unexpected:
        parts = [
            f"{word} {_listed(keys)}" for word, keys in (("lacks", missing), ("has unexpected", unexpected)) if keys
        ]
        raise InputError(f"{path}: the state_dict {' and '.join(parts)}, expected the keys that its args describe")
    for key, tensor in expected.items():
        found = weights[key]
        if not isinstance(found, Tensor) or found.shape != tensor.shape:
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise InputError(f"{path}: {key} in the state_dict is {shape}, expected {tuple(tensor.shape)} by its args")
        if not torch.isfinite(found).all():
            raise InputError(f"{path}: {key} in the state_dict is not finite, expected trained weights")
    model.load_state_dict(weights)


def _listed(keys: list[Any], most: int = 5) -> str:
    rest = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(map(str, keys[:most])) + rest
