"""Fields of the configuration dataclasses: what a user is told of each, and one sentence for a wrong type or value."""

import dataclasses
import math
import numbers
from dataclasses import dataclass
from typing import Any, TypeVar

from ldeq.errors import InputError

T = TypeVar("T", bool, int, float, str)

_KEY = "setting"
_EXPECTED = {
    "bool": "true or false",
    "int": "a whole number below 2**31",
    "float": "a finite number",
    "str": "a string",
}


@dataclass(frozen=True)
class Setting:
    """Description of a configuration dataclass's field, beside its type and default."""

    #: Plain words, as ``--help`` shows them.
    help: str
    #: The words that the field may be; empty for any value of its type.
    choices: tuple[str, ...] = ()
    #: False for a field that no flag of a command sets.
    is_flag: bool = True
    #: True for a flag that the short ``--help`` lists.
    is_common: bool = False


def setting(
    default: T, help: str, *, choices: tuple[str, ...] = (), is_flag: bool = True, is_common: bool = False
) -> T:
    """A field of a configuration dataclass, described as :class:`Setting` says; read back by :func:`setting_of`."""
    about = Setting(help, choices, is_flag, is_common)
    field: T = dataclasses.field(default=default, metadata={_KEY: about})
    return field


def setting_of(field: dataclasses.Field[Any]) -> Setting:
    """The description of a field that was made by :func:`setting`."""
    about: Setting = field.metadata[_KEY]
    return about


def coerce_fields(config: Any) -> None:
    """Replaces each field of a (frozen) dataclass by its value in the field's own Python type.

    A checkpoint can hold these types, and comparisons can rely on them. To be called from ``__post_init__``.

    Raises:
        InputError: where a value is none of its field's type, or not among its choices.
    """
    for field in dataclasses.fields(config):
        value = convert(kind(field), getattr(config, field.name))
        check(config, field.name, value is not None, _EXPECTED[kind(field)])
        object.__setattr__(config, field.name, value)
        choices = setting_of(field).choices
        check(config, field.name, not choices or value in choices, "one of " + ", ".join(choices))


def check(config: object, name: str, holds: bool, expected: str) -> None:
    """Refuses the value of a field.

    Raises:
        InputError: where ``holds`` is false, with the field's name, its value and what was expected.
    """
    if not holds:
        raise InputError(f"{name} = {getattr(config, name)!r}, expected {expected}")


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
    """The type of a field: ``bool``, ``int``, ``float`` or ``str``."""
    return field.type if isinstance(field.type, str) else field.type.__name__
