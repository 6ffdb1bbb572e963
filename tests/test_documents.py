"""What the documents show is what happens: their Python and their commands run, and print what is printed there.

A `python` block is run; a `text` block right after it holds what it prints. A `console` block holds commands after `$`
and what they print. In a `bash` block the commands that begin with `isthmus` are run. All blocks of one document share
one namespace and one empty folder, in order.

Numbers with a decimal point may differ by a tenth, since another processor rounds otherwise; `...` stands for anything.
After a change that is meant, `python -m tests.test_documents` writes what is printed now into the documents.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import io
import itertools
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from isthmus.cli.app import app
from isthmus.codes import CODES
from isthmus.console.options import changes_of
from isthmus.corruptions import CORRUPTIONS
from isthmus.estimator.autoencoder import as_recipe
from isthmus.networks import NETWORKS
from isthmus.objectives import LIKELIHOODS, SCHEDULES, TERMS
from isthmus.presets import PRESETS
from isthmus.recipe import Recipe, Training
from tests.test_architecture import LAYERS

ROOT = Path(__file__).parent.parent
PROSE = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
REFERENCE = sorted((ROOT / "docs" / "reference").glob("*.md"))
NOTES = sorted((ROOT / "docs" / "design").glob("*.md"))
# The documents that show the layers, between two marks.
LAYERED = [ROOT / "CONTRIBUTING.md", ROOT / "docs" / "reference" / "index.md"]
# Where a path in a document may begin.
PLACES = [ROOT, ROOT / "src/isthmus", ROOT / "src/isthmus/applications/anomaly"]
LAYERS_SHOWN = re.compile(r"(?<=<!-- layers: begin -->\n\n).*?(?=\n<!-- layers: end -->)", re.S)
# Commands without data of their own, such as those of the settings page, are only read.
RUN = [path for path in PROSE if re.search(r"^```(python|console)$", path.read_text(encoding="utf-8"), re.M)]


@dataclasses.dataclass
class Block:
    """A fenced block: what kind it is, its text, and the line on which that begins."""

    kind: str
    text: str
    line: int


def blocks(document: str) -> list[Block]:
    found = []
    for match in re.finditer(r"^```([a-z]*)\n(.*?)^```$", document, re.M | re.S):
        found.append(Block(match[1], match[2], document.count("\n", 0, match.start(2)) + 1))
    return found


def agrees(shown: str, printed: str) -> bool:
    """Return whether two texts agree, but for white space, the last digits of fractions, and what `...` stands for."""
    number = r"-?\d+\.\d+(?:e[+-]\d+)?"
    pieces = re.split(rf"({number}|\.\.\.|\s+)", shown.strip())
    pattern, wanted = "", []
    for piece in pieces:
        if re.fullmatch(number, piece):
            pattern += r"(-?\d+\.\d+(?:e[+-]\d+)?)"
            wanted.append(float(piece))
        elif piece == "...":
            pattern += ".*?"
        else:
            pattern += r"\s+" if piece.isspace() else re.escape(piece)
    match = re.fullmatch(pattern, printed.strip(), re.S)
    return match is not None and all(
        abs(float(got) - want) <= max(0.1 * abs(want), 0.02) for got, want in zip(match.groups(), wanted, strict=True)
    )


def run_python(block: Block, name: str, namespace: dict[str, Any]) -> str:
    # Padded, so that a traceback names the line of the document.
    code = compile("\n" * (block.line - 1) + block.text, name, "exec", dont_inherit=True)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, namespace)
    return printed.getvalue()


def run_command(command: str) -> tuple[str, int]:
    """Run one `isthmus` command; return what it prints and its exit status."""
    arguments = shlex.split(command, comments=True)[1:]
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "isthmus", *arguments],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
    )
    return done.stdout, done.returncode


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """Yield each command of a `console` or `bash` block and what the block says it prints."""
    if block.kind == "bash":
        lines = block.text.replace("\\\n", "").splitlines()
        yield from ((line, "...") for line in lines if line.startswith("isthmus "))
        return
    # Of commands only: a line that is printed may end with a backslash too.
    text = re.sub(r"^\$ (.*\\\n)+", lambda match: match[0].replace("\\\n", ""), block.text, flags=re.M)
    for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def run_document(path: Path) -> str:
    """Run a document in the working directory; return it with what is printed now where that disagrees."""
    document = path.read_text(encoding="utf-8")
    result, namespace = document, {"__name__": "__main__"}
    pending: str | None = None
    for block in blocks(document):
        new = block.text
        if block.kind == "text" and pending is not None:
            new = block.text if agrees(block.text, pending) else pending
        pending = None
        if block.kind == "python":
            pending = run_python(block, str(path), namespace)
        elif block.kind in ("console", "bash"):
            for command, shown in commands(block):
                printed, status = run_command(command)
                if status != (2 if shown.startswith("error: ") else 0):
                    raise AssertionError(f"{path.name}, from line {block.line}: {command}\n{printed}")
                if not agrees(shown, printed):
                    new = new.replace(shown, printed) if shown else new.replace(command, f"{command}\n{printed}")
        result = result.replace(f"```{block.kind}\n{block.text}```", f"```{block.kind}\n{new}```", 1)
    return result


@pytest.mark.slow
@pytest.mark.parametrize("path", RUN, ids=lambda path: path.name)
def test_document_does_what_it_shows(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_document(path) == path.read_text(encoding="utf-8")


def test_agreement_is_about_words_and_shapes() -> None:
    assert agrees("mean 3.14\n(5, 8)", "mean 3.1\n(5,  8)")
    assert agrees("done (best: epoch ...), ... s", "done (best: epoch 59), 1.2 s")
    assert not agrees("(5, 8)", "(5, 9)")
    assert not agrees("mean 3.14", "mean 2.14")
    assert not agrees("", "something")


@pytest.mark.parametrize("path", [*PROSE, *REFERENCE, *NOTES], ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8")):
        # `make benchmark` writes this one.
        if "://" not in target and Path(target).name != "benchmarks.md":
            assert (path.parent / target).exists(), f"{path.name} -> {target}"


def test_readme_counts_the_recipes() -> None:
    assert f"{len(PRESETS)} named [recipes]" in (ROOT / "README.md").read_text(encoding="utf-8")


def layers() -> str:
    """Return the layers as a numbered list."""
    rows = [", ".join(f"`{name}`" for name in sorted(layer)) for layer in LAYERS]
    return "".join(f"{rank}. {row}\n" for rank, row in enumerate(rows, 1))


@pytest.mark.parametrize("path", LAYERED, ids=lambda path: path.name)
def test_layers_are_those_of_the_architecture_test(path: Path) -> None:
    (shown,) = LAYERS_SHOWN.findall(path.read_text(encoding="utf-8"))
    assert shown == layers(), "`python -m tests.test_documents` writes the list that tests/test_architecture.py has"


@pytest.mark.parametrize(
    "path", [ROOT / "CONTRIBUTING.md", ROOT / "docs/reference/cli.md", *NOTES], ids=lambda path: path.name
)
def test_files_that_are_named_exist(path: Path) -> None:
    """`data/open.py` is a file of `src/isthmus/` or of the root, `data/text/` a folder of one; NAME stands for any."""
    named = re.findall(r"`((?:[\w.]+/)+(?:[\w.]+\.\w+)?)`", path.read_text(encoding="utf-8"))
    assert named
    missing = [name for name in named if not re.search(r"NAME|DOMAIN", name)]
    missing = [name for name in missing if not any((place / name).exists() for place in PLACES)]
    assert not missing, f"{path.name} names {missing}"


def test_reference_names_modules_that_exist() -> None:
    named = [name for path in REFERENCE for name in re.findall(r"^::: (\S+)$", path.read_text(encoding="utf-8"), re.M)]
    assert named and len(named) == len(set(named))
    for name in named:
        assert importlib.util.find_spec(name) is not None, name


def test_every_page_is_in_the_navigation() -> None:
    listed = set(re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.M))
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md") if path not in NOTES}
    assert listed | {"benchmarks.md"} == pages | {"benchmarks.md"}


# ---- the pages that are made from the code -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_setting_is_explained(hooks: ModuleType) -> None:
    parts = [
        *(cls for table in (NETWORKS, CODES, CORRUPTIONS, LIKELIHOODS, TERMS, SCHEDULES) for cls in table.values()),
        Training,
        Recipe,
    ]
    for cls in parts:
        explained = hooks.arguments(cls)
        for field in dataclasses.fields(cls):
            assert explained.get(field.name), f"{cls.__name__}.{field.name} is not explained in its docstring"


def test_settings_page_holds_every_path(hooks: ModuleType) -> None:
    page = hooks.settings_table()
    for preset in PRESETS.values():
        for path in preset().paths():
            if not path.endswith("kind"):
                assert f"`{path}`" in page, path


def test_command_page_holds_every_command_and_option(hooks: ModuleType) -> None:
    page = hooks.command_line()
    for command in app.registered_commands:
        assert command.callback is not None
        assert f"## isthmus {command.name or command.callback.__name__}\n" in page
    for name in ("detect", "detect fit", "detect report"):
        assert f"## isthmus {name}\n" in page
    assert "`--set PATH=VALUE`" in page


def test_every_preset_names_its_paper_and_purpose(hooks: ModuleType) -> None:
    table = hooks.recipe_table()
    for name, preset in PRESETS.items():
        assert f"`{name}`" in table
        assert "Paper: " in (preset.__doc__ or "")


def test_generated_pages_are_asked_for_by_a_page(hooks: ModuleType) -> None:
    asked = set()
    for path in (ROOT / "docs").glob("*.md"):
        asked |= set(re.findall(r"<!-- generated: (\w+) -->", path.read_text(encoding="utf-8")))
    assert asked == set(hooks.GENERATED)


def test_settings_in_documents_exist() -> None:
    found = 0
    for path in PROSE:
        for block in blocks(path.read_text(encoding="utf-8")):
            for command, shown in commands(block) if block.kind in ("bash", "console") else ():
                words = shlex.split(command, comments=True)
                pairs = [value for name, value in itertools.pairwise(words) if name == "--set"]
                if pairs and not shown.startswith("error: "):
                    recipe = next((value for name, value in itertools.pairwise(words) if name == "--recipe"), None)
                    # What `auto` chooses is known when the data are; the settings of the training are the same.
                    recipe = "autoencoder" if recipe in (None, "auto") else recipe
                    as_recipe(recipe).replace(changes_of(pairs))
                    found += 1
    assert found >= 5


@pytest.mark.slow
def test_site_builds_without_warnings(tmp_path: Path) -> None:
    if importlib.util.find_spec("mkdocstrings_handlers") is None:
        pytest.skip("the documentation tools are not installed; `make docs` installs them")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    # Nothing is loaded from elsewhere: the site can be read without a network.
    for page in (tmp_path / "site").rglob("*.html"):
        loaded = re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"?(https?://[^\">]+)", page.read_text("utf-8"))
        assert not loaded, f"{page.name} loads {loaded}"


def main() -> None:
    """Write what is printed now into every document."""
    for path in LAYERED:
        text = path.read_text(encoding="utf-8")
        path.write_text(LAYERS_SHOWN.sub(lambda _: layers(), text), encoding="utf-8")
    home = Path.cwd()
    for path in RUN:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                new = run_document(path)
            finally:
                os.chdir(home)
        if new != path.read_text(encoding="utf-8"):
            path.write_text(new, encoding="utf-8")
            print(f"{path.relative_to(ROOT)} changed")


if __name__ == "__main__":
    main()
