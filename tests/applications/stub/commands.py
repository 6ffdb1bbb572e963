"""`isthmus group`: write the number of each row's group. Nothing heavy is imported before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isthmus.console.options import Data, Drop
from isthmus.console.options import Model as Folder


def group(
    model: Folder,
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write.")],
    drop: Drop = None,
) -> None:
    """Write a page that says how many rows each group has."""
    from isthmus.console.inputs import read_alike
    from tests.applications.stub.model import Groups
    from tests.applications.stub.page import write_page

    groups = Groups.load(model)
    write_page(groups.predict(read_alike(groups.estimators_[0], str(data), drop)), out)


COMMANDS = {"group": group}
