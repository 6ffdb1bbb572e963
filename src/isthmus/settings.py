"""Settings, declared once: the type of a field says which values it takes.

A field of a frozen dataclass is declared as ``rate: Annotated[float, Range(0, 1)]``. From that come the check and its
message, the page of settings, the JSON Schema of a recipe and the values that the contract tests try. What the type
lists beside the number, ``None`` or ``Literal["auto"]``, is legal too, and a plain ``bool`` needs no annotation.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import re
import types
import typing
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from isthmus.errors import RecipeError, check_choice, check_integer, check_number, explain


class Constraint(ABC):
    """What a value must be. Of several constraints of one field, the first that takes the value's type decides."""

    def takes(self, value: object) -> bool:
        """Whether the constraint is about values of this type."""
        return True

    @abstractmethod
    def checked(self, where: str, value: Any) -> Any:
        """Return the value, a list as a tuple; raise `RecipeError` for a value that is not legal."""

    @abstractmethod
    def words(self) -> str:
        """Return the legal values in words, for the page of settings."""

    @abstractmethod
    def json_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the legal values."""


@dataclass(frozen=True)
class AtLeast(Constraint):
    """An integer of at least `low`."""

    low: int = 1

    def checked(self, where: str, value: Any) -> Any:
        check_integer(where, value, self.low)
        return value

    def words(self) -> str:
        return f"an integer of at least {self.low}"

    def json_schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.low}


@dataclass(frozen=True)
class Range(Constraint):
    """A number in [low, high], or in (low, high] with `open_low`."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False

    def checked(self, where: str, value: Any) -> Any:
        check_number(where, value, self.low, self.high, open_low=self.open_low)
        return value

    def words(self) -> str:
        if self.low == -math.inf:
            return "a number"
        low = f"above {self.low:g}" if self.open_low else f"of at least {self.low:g}"
        if self.high == math.inf:
            return f"a number {low}"
        between = f"above {self.low:g}, up to" if self.open_low else f"from {self.low:g} to"
        return f"a number {between} {self.high:g}"

    def json_schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "number"}
        if self.low > -math.inf:
            schema["exclusiveMinimum" if self.open_low else "minimum"] = self.low
        if self.high < math.inf:
            schema["maximum"] = self.high
        return schema


@dataclass(frozen=True, init=False)
class OneOf(Constraint):
    """One of some names."""

    choices: tuple[Any, ...]

    def __init__(self, *choices: Any) -> None:
        object.__setattr__(self, "choices", choices)

    def takes(self, value: object) -> bool:
        return isinstance(value, str)

    def checked(self, where: str, value: Any) -> Any:
        check_choice(where, value, self.choices)
        return value

    def words(self) -> str:
        return ", ".join(f"`{_json_word(choice)}`" for choice in self.choices)

    def json_schema(self) -> dict[str, Any]:
        return {"enum": list(self.choices)}


@dataclass(frozen=True)
class ListOf(Constraint):
    """A list whose items each fulfil `item`.

    Args:
        item: the constraint of each.
        expected: the list in words, for the message.
        example: a legal list.
        least: the smallest length.
        most: the largest length; None for no limit.
    """

    item: Constraint
    expected: str
    example: str
    least: int = 1
    most: int | None = None

    def takes(self, value: object) -> bool:
        return isinstance(value, Sequence) and not isinstance(value, str)

    def checked(self, where: str, value: Any) -> Any:
        if not self.takes(value) or not self.least <= len(value) <= (self.most or len(value)):
            raise RecipeError(f"{where}: " + explain(self.expected, repr(value), self.example))
        return tuple(self.item.checked(where, item) for item in value)

    def words(self) -> str:
        return f"a list, each {self.item.words()}"

    def json_schema(self) -> dict[str, Any]:
        most = {} if self.most is None else {"maxItems": self.most}
        return {"type": "array", "items": self.item.json_schema(), "minItems": self.least, **most}


@dataclass(frozen=True)
class PairOf(Constraint):
    """A pair of numbers in rising order, between which each value is drawn."""

    number: Range

    def takes(self, value: object) -> bool:
        return isinstance(value, list | tuple)

    def checked(self, where: str, value: Any) -> Any:
        if len(value) != 2 or not all(isinstance(number, int | float) for number in value):
            raise RecipeError(f"{where}: " + explain("a number or a pair of numbers", repr(value), "(0.1, 1.0)"))
        low, high = value
        self.number.checked(f"{where}[0]", low)
        dataclasses.replace(self.number, low=low).checked(f"{where}[1]", high)
        return low, high

    def words(self) -> str:
        return "a rising pair of such numbers"

    def json_schema(self) -> dict[str, Any]:
        return {"type": "array", "items": self.number.json_schema(), "minItems": 2, "maxItems": 2}


@dataclass(frozen=True)
class Pattern(Constraint):
    """A text that a regular expression describes in full."""

    pattern: str
    expected: str
    example: str

    def checked(self, where: str, value: Any) -> Any:
        if not isinstance(value, str) or not re.fullmatch(self.pattern, value):
            raise RecipeError(f"{where}: " + explain(self.expected, repr(value), self.example))
        return value

    def words(self) -> str:
        return self.expected

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^(?:{self.pattern})$"}


CountOrAuto = Annotated[int | Literal["auto"], AtLeast(1)]
CountOrNone = Annotated[int | None, AtLeast(1)]
Share = Annotated[float, Range(0, 1)]
PositiveShare = Annotated[float, Range(0, 1, open_low=True)]
NotNegative = Annotated[float, Range(0)]
Positive = Annotated[float, Range(0, open_low=True)]
Dropout = Annotated[float, Range(0, 0.95)]


@dataclass(frozen=True)
class Setting:
    """A field of a part: its name, its constraints, the values legal beside them, its default and its meaning."""

    name: str
    constraints: tuple[Constraint, ...]
    others: tuple[Any, ...]
    default: Any
    meaning: str

    def checked(self, where: str, value: Any) -> Any:
        """Return the value, a list as a tuple; raise `RecipeError` for a value that is not legal."""
        if (value is None or isinstance(value, str)) and value in self.others:
            return value
        for constraint in self.constraints[:-1]:
            if constraint.takes(value):
                return constraint.checked(where, value)
        return self.constraints[-1].checked(where, value) if self.constraints else value

    def words(self) -> str:
        """Return the legal values in words."""
        others = [f"`{_json_word(other)}`" for other in self.others]
        return "; or ".join([*(constraint.words() for constraint in reversed(self.constraints)), *others])

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the legal values with the meaning; the default where it is a plain value."""
        forms = [constraint.json_schema() for constraint in self.constraints]
        forms += [{"enum": list(self.others)}] if self.others else []
        schema: dict[str, Any] = dict(forms[0]) if len(forms) == 1 else {"anyOf": forms} if forms else {}
        if self.meaning:
            schema["description"] = self.meaning
        if self.default is None or isinstance(self.default, bool | int | float | str | tuple):
            schema["default"] = list(self.default) if isinstance(self.default, tuple) else self.default
        return schema


def settings_of(cls: type[Any]) -> tuple[Setting, ...]:
    """Return the settings that a frozen dataclass declares, in order.

    >>> from isthmus.corruptions import Mask
    >>> [(setting.name, setting.default, setting.words()) for setting in settings_of(Mask)]
    [('rate', 0.3, 'a number from 0 to 1')]
    """
    return _settings_of(cls)  # type: ignore[arg-type]


@functools.cache
def _settings_of(cls: type[Any]) -> tuple[Setting, ...]:
    hints = typing.get_type_hints(cls, include_extras=True)
    meanings = arguments(cls)
    found = []
    for field in dataclasses.fields(cls):
        constraints, others = _declared(hints[field.name])
        found.append(Setting(field.name, constraints, others, field.default, meanings.get(field.name, "")))
    return tuple(found)


def _declared(hint: Any) -> tuple[tuple[Constraint, ...], tuple[Any, ...]]:
    """Return the constraints of a type, and the values that its union lists beside them."""
    if hint is bool:
        return (OneOf(False, True),), ()
    if typing.get_origin(hint) is not Annotated:
        return (), ()
    inner, *extras = typing.get_args(hint)
    constraints = tuple(extra for extra in extras if isinstance(extra, Constraint))
    members = typing.get_args(inner) if typing.get_origin(inner) in (typing.Union, types.UnionType) else (inner,)
    others: list[Any] = []
    for member in members:
        others += [None] if member is type(None) else []
        others += typing.get_args(member) if typing.get_origin(member) is Literal else []
    return constraints, tuple(others)


def check(part: Any, where: str) -> None:
    """Raise `RecipeError` unless every setting of a frozen dataclass is legal; lists become tuples."""
    for setting in settings_of(type(part)):
        value = getattr(part, setting.name)
        if value is setting.default:  # legal, and most values are
            continue
        legal = setting.checked(f"{where}.{setting.name}" if where else setting.name, value)
        if legal is not value:
            object.__setattr__(part, setting.name, legal)


class Settings:
    """Base of the frozen dataclasses of a recipe, which are checked when they are made.

    Attributes:
        path: where the settings are in a recipe, for messages; ``{kind}`` stands for the part's kind.
    """

    path: ClassVar[str] = ""

    def __post_init__(self) -> None:
        check(self, self.path.format(kind=getattr(self, "kind", "")))
        self.check_together()

    def check_together(self) -> None:
        """Raise `RecipeError` unless the settings, each legal alone, agree with each other."""


def arguments(thing: Any) -> dict[str, str]:
    """Return what the "Args:" of a docstring say, by name."""
    doc = inspect.getdoc(thing) or ""
    section = re.search(r"^Args:\n((?:[ ]{4}.*\n?|\n)+)", doc, re.M)
    if section is None:
        return {}
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=[ ]{4}\S)", section[1].rstrip()):
        name, _, text = entry.strip().partition(": ")
        found[name] = " ".join(text.split())
    return found


def _json_word(value: Any) -> str:
    return {None: "null", True: "true", False: "false"}.get(value, f'"{value}"')
