"""What a row is, in a word: `table`, `image:3x64x64,fit=crop`, `series:64,series=name,time=timestamp`, ..."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from isthmus.errors import RecipeError, explain, unknown_name

EXAMPLES = "table, image:3x64x64, series:64, tokens or ratings"
_FORM = re.compile(r"(?P<kind>[a-z]+)(?::(?P<sizes>\d+(?:x\d+)*))?(?P<options>(?:,[a-z]+=[^,]+)*)")


@dataclass(frozen=True)
class RowsSpec:
    """A kind of row, its sizes, and how it is read.

    Example:
        >>> RowsSpec.parse("series:64,stride=8,time=day")
        RowsSpec(kind='series', sizes=(64,), options={'stride': '8', 'time': 'day'})
        >>> str(RowsSpec.parse("image:3x64x64"))
        'image:3x64x64'
    """

    kind: str
    sizes: tuple[int, ...] = ()
    options: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> RowsSpec:
        """Return what a text says; raise `RecipeError` for one that says nothing."""
        found = _FORM.fullmatch(text.strip())
        if found is None:
            form = "a kind of row, with sizes and options as in KIND:AxB,option=value"
            raise RecipeError("rows: " + explain(form, repr(text), EXAMPLES))
        kind = found["kind"]
        kinds = _kinds()
        if kind not in kinds:
            raise RecipeError("rows: " + unknown_name("kind of row", kind, kinds))
        options = dict(pair.split("=", 1) for pair in found["options"].split(",") if pair)
        for name in options:
            if name not in kinds[kind].options:
                raise RecipeError(f"rows={text}: " + unknown_name(f"option of {kind} row", name, kinds[kind].options))
        sizes = tuple(int(size) for size in found["sizes"].split("x")) if found["sizes"] else ()
        if 0 in sizes or len(sizes) > 3 or (sizes and not kinds[kind].shaped):
            raise RecipeError(f"rows={text}: " + explain("sizes of 1 or more where a kind has some", text, EXAMPLES))
        return cls(kind, sizes, options)

    def __str__(self) -> str:
        sizes = ":" + "x".join(map(str, self.sizes)) if self.sizes else ""
        return self.kind + sizes + "".join(f",{name}={value}" for name, value in self.options.items())

    def whole(self, name: str) -> int | None:
        """Return an option that is a whole number of 1 or more; None if it is not stated."""
        text = self.options.get(name)
        if text is None:
            return None
        if not text.isdigit() or int(text) < 1:
            raise RecipeError(f"rows={self}: " + explain(f"a whole number for {name}", repr(text), f"{name}=8"))
        return int(text)

    def chosen(self, **names: str) -> dict[str, Any]:
        """Return the stated ones of some options, by the name that a reader has for each."""
        return {reader: self.options[option] for option, reader in names.items() if option in self.options}


def _kinds() -> Any:
    """Return the table of kinds, each of which reads such texts."""
    from isthmus.data.kinds import ROW_KINDS

    return ROW_KINDS
