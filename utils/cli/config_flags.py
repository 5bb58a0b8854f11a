"""Command line flags made from configuration dataclasses: a flag a field, with the help and choices of the field.

A flag that is not given is None, so that a script can tell it from one that was given its default.
"""

import argparse
import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ldeq.command_line import ArgumentParser, boolean
from ldeq.errors import InputError
from ldeq.fields import coerced, kind, setting_of

ConfigT = TypeVar("ConfigT")


def add_config_flags(parser: ArgumentParser, title: str, cls: type) -> None:
    """A group of flags for the fields of a dataclass, named as they are."""
    group = parser.group(title, (inspect.getdoc(cls) or "").splitlines()[0].replace("``", ""))
    for field in _flag_fields(cls):
        setting = setting_of(field)
        options: dict[str, Any] = {"type": _parser_of(field), "default": None}
        if kind(field) == "bool":
            options |= {"nargs": "?", "const": True, "metavar": "{true,false}"}
        elif setting.choices:
            options |= {"choices": setting.choices}
        else:
            options["metavar"] = {"int": "N", "float": "X", "str": "TEXT"}[kind(field)]
        default = str(field.default).lower() if kind(field) == "bool" else field.default
        bounds = f"; {setting.expected}" if kind(field) in ("int", "float") else ""
        shown = f" (default: {default})" if default != "" else ""
        group.add_argument(f"--{field.name}", help=(setting.help + bounds + shown).replace("%", "%%"), **options)
        if not setting.is_common:
            parser.leave_to_full_help(f"--{field.name}")


def config_from_flags(cls: type[ConfigT], flags: argparse.Namespace, base: Mapping[str, Any] | None = None) -> ConfigT:
    """The dataclass of the flags that were given, then of ``base``, then of its defaults.

    Raises:
        InputError: where a value is refused.
    """
    named = {field.name: getattr(flags, field.name) for field in _flag_fields(cls)}
    given = {name: value for name, value in named.items() if value is not None}
    return cls(**{**(base or {}), **given})


def _flag_fields(cls: type) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(cls) if setting_of(field).is_flag]


def _parser_of(field: dataclasses.Field[Any]) -> Callable[[str], Any]:
    """Reads a flag's word, and refuses what its field refuses: before PyTorch is imported, and not after."""
    read = _PARSERS[kind(field)]
    if kind(field) not in ("int", "float"):
        return read

    def number(word: str) -> Any:
        try:
            return coerced(field, read(word))
        except InputError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return number


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


_PARSERS: dict[str, Callable[[str], Any]] = {"bool": boolean, "int": _whole, "float": _finite, "str": str}
