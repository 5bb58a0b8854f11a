"""Fields of the configuration dataclasses: their types and values checked, with one sentence for what is wrong."""

import dataclasses
import math
import numbers
from typing import Any

from ldeq.errors import InputError


def check(config: object, name: str, holds: bool, expected: str) -> None:
    if not holds:
        raise InputError(f"{name} = {getattr(config, name)!r}, expected {expected}")


def check_choice(config: object, name: str, choices: tuple[str, ...]) -> None:
    check(config, name, getattr(config, name) in choices, "one of " + ", ".join(choices))


def check_types(config: Any) -> None:
    """Brings the fields to Python's own types, which a checkpoint can hold and a comparison can rely on."""
    words = {
        "bool": "true or false",
        "int": "a whole number below 2**31",
        "float": "a finite number",
        "str": "a string",
    }
    for field in dataclasses.fields(config):
        value = convert(kind(field), getattr(config, field.name))
        check(config, field.name, value is not None, words[kind(field)])
        object.__setattr__(config, field.name, value)


def convert(kind: str, value: Any) -> Any:
    """``value`` as Python's ``kind``, NumPy's scalars and whole floats included, or None where it is none.

    Whole numbers from 2³¹ on are none either: they are no size, count or seed of ours.
    """
    if kind == "str":
        return value if isinstance(value, str) else None
    if type(value).__name__ in ("bool", "bool_"):
        return bool(value) if kind == "bool" else None
    if not isinstance(value, numbers.Real):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    if not math.isfinite(number):
        return None
    if kind == "float":
        return number
    if not number.is_integer() or abs(number) >= 2**31:
        return None
    return int(number) if kind == "int" else {0: False, 1: True}.get(int(number))


def kind(field: dataclasses.Field[Any]) -> str:
    """``bool``, ``int``, ``float`` or ``str``."""
    return field.type if isinstance(field.type, str) else field.type.__name__
