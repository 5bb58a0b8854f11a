"""The published checkpoint format: a ``torch.save``d dict of ``args`` (a Namespace) and ``state_dict``."""

import argparse
import pickle
import re
import sys
import threading
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ldeq.config import ModelConfig, SolverConfig, to_namespace
from ldeq.errors import InputError, reason_of
from ldeq.fields import in_characters, listed
from ldeq.files import refuse_address, written_whole
from ldeq.model.network import LDEQ

#: Types of weights. Integers are no trained weights, and numbers of 8 bits are for other hardware than the network's.
_WEIGHT_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_COUNT_TYPES = (torch.int64, torch.int32)
#: What wrappers put before every key: DataParallel, and torch.compile.
_PREFIXES = ("module.", "_orig_mod.")
#: No more wrappers than this are in one another.
_MOST_PREFIXES = 8
#: Bytes that weights may have beyond those of their file. A tensor can repeat what is there, and so be of any size.
_MOST_REPEATED = 2**24
#: The first bytes of a zip archive, which is what torch.save writes since PyTorch 1.6.
_ZIP = b"PK\x03\x04"
#: Bytes that are read at a time.
_CHUNK = 2**20

#: PyTorch's list of classes that may be loaded is the process's.
_ALLOWING = threading.Lock()


def load_checkpoint(path: str | Path, device: str | torch.device = "cpu", trust_pickle: bool = False) -> LDEQ:
    """Reads a network with its weights and solver settings, in evaluation mode.

    A checkpoint is a pickle, and a pickle can run code: only tensors, plain containers and
    :class:`argparse.Namespace` are let in, unless ``trust_pickle`` says that the file's source is trusted.

    Some GPUs by default multiply float32 with 19 bits in convolutions, too few for the published figures:
    :func:`ldeq.device.prepare` switches that off.

    Nothing is allocated that the file does not hold: what its ``args`` describe is compared with its tensors first.

    Keys of the state dict may all have DataParallel's ``module.`` or torch.compile's ``_orig_mod.`` before them. Those
    that the network has no place for are left out, and a line on stderr names them, as it does fields of ``args`` that
    are of another type than theirs.

    Raises:
        InputError: where the file is missing, damaged, not a checkpoint, holds another class (which it names), or its
            weights do not fit its ``args`` key by key (it names the keys).
    """
    refuse_address(path)
    path = Path(path)
    content = _read(path, trust_pickle)
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: holds a {type(content).__name__}, expected a dict with 'args' and 'state_dict'")
    for key, kinds in (("args", (argparse.Namespace, Mapping)), ("state_dict", (Mapping,))):
        if not isinstance(content.get(key), kinds):
            found = f"{key!r} is a {type(content[key]).__name__}" if key in content else f"there is no {key!r}"
            raise InputError(f"{path}: {found}, expected a dict with 'args' (a Namespace) and 'state_dict'")
    notes: list[str] = []
    try:
        config = ModelConfig.from_namespace(content["args"], notes)
        solver_config = SolverConfig.from_namespace(content["args"], notes)
        with torch.device("meta"):
            model = LDEQ(config, solver_config)
        weights = _fitting_weights(model.state_dict(), content["state_dict"], path.stat().st_size, notes)
        _fill(model, weights)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    for note in notes:
        print(f"{path}: {note}", file=sys.stderr)
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
        is_zip = _check_archive(path)
        with _namespace_allowed(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # those of PyTorch on its own formats
            # Mapped, storages are parts of the file, of no more bytes than it has, whatever its pickle says.
            return torch.load(str(path), map_location="cpu", weights_only=not trust_pickle, mmap=is_zip)
    except InputError:
        raise
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


def _check_archive(path: Path) -> bool:
    """True if the file is a zip archive, all of whose records are as long as they say, and as they were written.

    Raises:
        InputError: where a record's checksum is wrong, or it is packed, as torch.save never does.
    """
    with path.open("rb") as file:
        if file.read(len(_ZIP)) != _ZIP:
            return False
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        for record in records:
            if record.compress_type != zipfile.ZIP_STORED:
                name = in_characters(record.filename)
                raise InputError(f"{path}: {name} in it is compressed, expected the file as torch.save writes it")
        if sum(record.file_size for record in records) > path.stat().st_size:
            raise InputError(f"{path}: its records are longer than the file, expected the file as torch.save writes it")
        for record in records:
            if record.CRC:  # PyTorch can be told to leave checksums out
                _check_record(archive, record, path)
    return True


def _check_record(archive: zipfile.ZipFile, record: zipfile.ZipInfo, path: Path) -> None:
    try:
        with archive.open(record) as content:
            while content.read(_CHUNK):
                pass
    except zipfile.BadZipFile:
        name = in_characters(record.filename)
        raise InputError(f"{path}: is damaged, the checksum of {name} in it is wrong") from None


def _fitting_weights(
    expected: Mapping[str, Tensor], found: Mapping[Any, Any], size: int, notes: list[str]
) -> dict[str, Tensor]:
    """The tensors of a state dict under the network's keys, none copied.

    A network with a missing weight would run, and give figures that mean nothing. What inference does not use, the
    number of batches that BatchNorm has seen, may be missing.

    Args:
        expected: the network's state dict, on the meta device.
        size: of the file in bytes.
        notes: gets a sentence on the keys that are left out.

    Raises:
        InputError: where a key is missing, or is no tensor of weights of the shape that the network's has.
    """
    found = _without_prefixes(expected, found)
    unused = {key for key in expected if key.endswith(".num_batches_tracked")}
    missing = [key for key in expected if key not in found and key not in unused]
    left_out = [key for key in found if key not in expected]
    if missing:
        instead = f" and has unexpected {listed(left_out)}" if left_out else ""
        raise InputError(f"the state_dict lacks {listed(missing)}{instead}, expected the keys that its args describe")
    weights = {}
    for key, wanted in expected.items():
        tensor = found[key] if key in found else torch.zeros((), dtype=wanted.dtype)
        fault = _fault_of(tensor, wanted, is_count=key in unused)
        if fault is not None:
            raise InputError(f"{key} in the state_dict {fault}")
        weights[key] = tensor.detach().reshape(()) if key in unused else tensor.detach()
    n_bytes = sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
    if n_bytes > size + _MOST_REPEATED:
        raise InputError(f"its weights are of {n_bytes:,} bytes, expected no more than the file's {size:,}")
    if left_out:
        notes.append(f"the network has no place for {listed(left_out)} in the state_dict, left out")
    return weights


def _without_prefixes(expected: Mapping[str, Tensor], found: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """The state dict as the network has it, where a wrapper has put a prefix before the network's keys."""
    for _ in range(_MOST_PREFIXES):
        if any(key in expected for key in found):
            break
        prefix = next((p for p in _PREFIXES if any(isinstance(key, str) and key.startswith(p) for key in found)), None)
        if prefix is None:
            break
        found = {key.removeprefix(prefix) if isinstance(key, str) else key: value for key, value in found.items()}
    return found


def _fault_of(tensor: Any, wanted: Tensor, is_count: bool) -> str | None:
    """What keeps a value from being the network's tensor ``wanted``, the end of a sentence; None if nothing does.

    Args:
        is_count: it is a number of batches, and may be a whole number.
    """
    expected = f"expected {tuple(wanted.shape)} by its args"
    if not isinstance(tensor, Tensor):
        return f"is a {type(tensor).__name__}, {expected}"
    # Before its shape, which not all of these have.
    for is_other, word in (
        (tensor.is_quantized, "quantised"),
        (tensor.is_nested, "nested"),
        (tensor.layout != torch.strided, "sparse"),
        (tensor.device.type != "cpu", "without numbers"),
    ):
        if is_other:
            return f"is {word}, expected plain weights"
    if tensor.shape != wanted.shape and not (is_count and tensor.shape == (1,)):
        return f"is {tuple(tensor.shape)}, {expected}"
    types = (*_WEIGHT_TYPES, *_COUNT_TYPES) if is_count else _WEIGHT_TYPES
    if tensor.dtype not in types:
        names = ", ".join(map(_name_of, types))
        return f"is of type {_name_of(tensor.dtype)}, expected one of {names}"
    return None


def _fill(model: LDEQ, weights: Mapping[str, Tensor]) -> None:
    """Gives a network on the meta device its weights, on the CPU.

    Raises:
        InputError: where a weight is not finite.
    """
    copies = {}
    for key, wanted in model.state_dict().items():
        copies[key] = weights[key].to(wanted.dtype, copy=True, memory_format=torch.contiguous_format)
        if not torch.isfinite(copies[key]).all():
            raise InputError(f"{key} in the state_dict is not finite, expected trained weights")
    model.load_state_dict(copies, assign=True)


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
