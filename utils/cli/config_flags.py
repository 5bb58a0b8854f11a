"""Command line flags made from configuration dataclasses: a flag a field, its comment the help.

A flag that is not given is None, so that a script can tell it from one that was given its default.
"""

import argparse
import dataclasses
import inspect
import math
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from ldeq.command_line import boolean
from ldeq.errors import InputError
from ldeq.fields import kind

ConfigT = TypeVar("ConfigT")


def add_config_flags(parser: argparse.ArgumentParser, cls: type, choices: Mapping[str, tuple[str, ...]]) -> None:
    """A group of flags for the fields of a dataclass, named as they are.

    Args:
        choices: the words that a field may be, by its name; of fields of any dataclass.
    """
    group = parser.add_argument_group(f"{cls.__name__}: {(inspect.getdoc(cls) or '').splitlines()[0].rstrip('.')}")
    comments = field_comments(cls)
    for field in dataclasses.fields(cls):
        options: dict[str, Any] = {"type": _PARSERS[kind(field)], "default": None}
        if kind(field) == "bool":
            options |= {"nargs": "?", "const": True, "metavar": "{true,false}"}
        elif field.name in choices:
            options |= {"type": str, "choices": choices[field.name]}
        else:
            options["metavar"] = {"int": "N", "float": "X", "str": "WORD"}[kind(field)]
        default = str(field.default).lower() if kind(field) == "bool" else field.default
        shown = f" (default: {default})" if default != "" else ""
        group.add_argument(f"--{field.name}", help=(comments[field.name] + shown).replace("%", "%%"), **options)


def config_from_flags(cls: type[ConfigT], flags: argparse.Namespace, base: Mapping[str, Any] | None = None) -> ConfigT:
    """The dataclass of the flags that were given, then of ``base``, then of its defaults.

    Raises:
        InputError: where a value is refused, or ``base`` has what the dataclass has not.
    """
    names = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(base or {}) - names)
    if unknown:
        raise InputError(f"{unknown[0]} is no setting of {cls.__name__}, expected those of a run of this version")
    return cls(**{**(base or {}), **given(cls, flags)})


def given(cls: type, flags: argparse.Namespace) -> dict[str, Any]:
    """The fields of a dataclass whose flags were given."""
    names = [field.name for field in dataclasses.fields(cls)]
    return {name: value for name in names if (value := getattr(flags, name)) is not None}


def field_comments(cls: type) -> dict[str, str]:
    """The ``#:`` comment above each field, as one line of plain words."""
    comments: dict[str, str] = {}
    lines: list[str] = []
    for line in inspect.getsource(cls).splitlines():
        text = line.strip()
        if text.startswith("#:"):
            lines.append(text.removeprefix("#:").strip())
        elif lines:
            name = text.partition(":")[0]
            comments[name] = re.sub(r"``(.*?)``", r"\1", " ".join(lines)).rstrip(".")
            lines = []
    return comments


def _whole(word: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{word!r} is not a whole number") from None


def _finite(word: str) -> float:
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"{word!r} is not a finite number")
    return number


_PARSERS = {"bool": boolean, "int": _whole, "float": _finite, "str": str}
