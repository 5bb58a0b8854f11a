"""Fields of the configuration dataclasses: what a user is told of each, and one sentence for a wrong type or value."""

import dataclasses
import math
import numbers
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ldeq.errors import InputError

T = TypeVar("T", bool, int, float, str)

#: Bounds of counts, which keep a mistyped number from filling all memory or starting what never ends.
MOST_AT_A_TIME = 10_000
MOST_SAMPLES = 10_000_000

_KEY = "setting"
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 80
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
    #: The numbers that the field may be, both included unless ``excludes_low``. None where there is no such bound.
    low: float | None = None
    high: float | None = None
    excludes_low: bool = False
    #: False for a field that no flag of a command sets.
    is_flag: bool = True
    #: True for a flag that the short ``--help`` lists.
    is_common: bool = False

    def contains(self, value: Any) -> bool:
        """True if a value of the field's type is within its bounds, or among its choices."""
        if self.choices:
            return value in self.choices
        above_low = self.low is None or (value > self.low if self.excludes_low else value >= self.low)
        return above_low and (self.high is None or value <= self.high)

    @property
    def expected(self) -> str:
        """The end of a sentence, "expected …", where a value is not contained."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.low is None or self.high is None:
            return "another number"
        low, high = in_words(self.low), in_words(self.high)
        return f"more than {low} and at most {high}" if self.excludes_low else f"from {low} to {high}"


def setting(
    default: T,
    help: str,
    *,
    choices: tuple[str, ...] = (),
    low: float | None = None,
    high: float | None = None,
    excludes_low: bool = False,
    is_flag: bool = True,
    is_common: bool = False,
) -> T:
    """A field of a configuration dataclass, described as :class:`Setting` says; read back by :func:`setting_of`.

    Numbers have both bounds: what is beyond any use would take forever, or all memory, instead of being refused.
    """
    about = Setting(help, choices, low, high, excludes_low, is_flag, is_common)
    field: T = dataclasses.field(default=default, metadata={_KEY: about})
    return field


def setting_of(field: dataclasses.Field[Any]) -> Setting:
    """The description of a field that was made by :func:`setting`."""
    about: Setting = field.metadata[_KEY]
    return about


def field_named(cls: type, name: str) -> dataclasses.Field[Any]:
    """A field of a configuration dataclass."""
    return next(field for field in dataclasses.fields(cls) if field.name == name)


def coerce_fields(config: Any) -> None:
    """Replaces each field of a (frozen) dataclass by its value in the field's own Python type.

    A checkpoint can hold these types, and comparisons can rely on them. To be called from ``__post_init__``.

    Raises:
        InputError: where a value is none of its field's type, out of its bounds, or not among its choices.
    """
    for field in dataclasses.fields(config):
        object.__setattr__(config, field.name, coerced(field, getattr(config, field.name)))


def coerced(field: dataclasses.Field[Any], value: Any, name: str | None = None) -> Any:
    """``value`` in the field's own Python type.

    Args:
        name: what the value is called in a message, if not as the field.

    Raises:
        InputError: where it is none of that type, out of the field's bounds, or not among its choices.
    """
    name = name or field.name
    converted = convert(kind(field), value)
    if converted is None:
        raise InputError(f"{name} = {shown(value)}, expected {_EXPECTED[kind(field)]}")
    if not setting_of(field).contains(converted):
        raise InputError(f"{name} = {shown(converted)}, expected {setting_of(field).expected}")
    return converted


def accepts(field: dataclasses.Field[Any], value: Any) -> bool:
    """True where :func:`coerced` refuses nothing."""
    try:
        coerced(field, value)
    except InputError:
        return False
    return True


def check(config: object, name: str, holds: bool, expected: str) -> None:
    """Refuses the value of a field.

    Raises:
        InputError: where ``holds`` is false, with the field's name, its value and what was expected.
    """
    if not holds:
        raise InputError(f"{name} = {shown(getattr(config, name))}, expected {expected}")


def shown(value: Any) -> str:
    """A value for a sentence, of bounded length: a file can hold any."""
    try:
        return " ".join(_REPR.repr(value).split())
    except Exception:  # whatever an object's own __repr__ leads to, Python's limit on the digits of numbers included
        return f"a {type(value).__name__}"


def in_characters(name: object) -> str:
    """A name out of a file for a sentence: what is not printable escaped, and of bounded length."""
    return shortened(name if isinstance(name, str) and name.isprintable() else shown(name), 80)


def shortened(text: str, longest: int) -> str:
    """Text of at most ``longest`` characters; of a longer one the middle is left out."""
    if len(text) <= longest:
        return text
    n_last = (longest - 1) // 2
    return f"{text[: longest - 1 - n_last]}…{text[-n_last:]}"


def listed(names: Sequence[object]) -> str:
    """Names out of a file for a sentence: the first of them, and how many more there are."""
    return first_of(list(map(in_characters, names)), 5)


def first_of(words: Sequence[str], most: int, separator: str = ", ") -> str:
    """The first of some words, or clauses, for a sentence, and how many more there are."""
    rest = f" and {len(words) - most} more" if len(words) > most else ""
    return separator.join(words[:most]) + rest


def in_words(number: float) -> str:
    """A bound for a sentence: 100,000 rather than 1e+05."""
    return f"{int(number):,}" if float(number).is_integer() and abs(number) < 1e12 else f"{number:.9g}"


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
