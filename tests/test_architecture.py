"""Every arrow between the layers points down, there are no circles, and nothing is unpickled."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import isthmus

ROOT = Path(isthmus.__file__).parent
PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"

# From the ground up; those in one row are strangers to each other. A package stands for all that is in it.
LAYERS: list[set[str]] = [
    {"errors", "seeds", "atomic", "typing"},
    {"settings"},
    {"schema", "metrics"},
    {"data", "networks", "codes", "corruptions", "objectives"},
    {"composition", "datasets"},
    {"recipe"},
    {"presets"},
    {"training"},
    {"estimator"},
    {"advice"},
    {"report"},
    {"console"},
    {"applications"},
    {"cli"},
    {"__main__"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
SHARED_BY_APPLICATIONS = {"isthmus.applications.contract", "isthmus.applications.folder"}
FILES = sorted(ROOT.rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def imports_of(source: str, module: str) -> Iterator[tuple[str, str | None]]:
    """Yield (module, name) for every import, wherever in the file it stands; relative ones are spelt out."""
    package = module if MODULES.get(module, Path()).name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, None
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([node.module] if node.module else [])])
            for alias in node.names:
                yield base, alias.name


def targets_of(source: str, module: str) -> set[str]:
    """Return the modules of isthmus that a module imports."""
    found = set()
    for base, name in imports_of(source, module):
        if base == "isthmus" or base.startswith("isthmus."):
            found.add(f"{base}.{name}" if name and f"{base}.{name}" in MODULES else base)
    return found


def arrows() -> Iterator[tuple[str, str]]:
    for module, path in MODULES.items():
        for target in targets_of(path.read_text(encoding="utf-8"), module):
            yield module, target


def layer_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def application_of(module: str) -> str:
    """Return which application a module belongs to; nothing for what all of them share."""
    parts = module.split(".")
    return parts[2] if len(parts) > 2 and "isthmus.applications." + parts[2] not in SHARED_BY_APPLICATIONS else ""


def is_upward(source: str, target: str) -> bool:
    """Return whether an import goes up, or to a stranger."""
    a, b = layer_of(source), layer_of(target)
    if a == b or not a:  # inside a layer; the package's own names are what it is for
        return a == b == "applications" and application_of(target) not in ("", application_of(source))
    return not b or RANK[a] <= RANK[b]


def test_every_file_has_a_layer() -> None:
    """A new file stands in the table of EXAMPLES, or it has no place."""
    assert {layer_of(module) for module in MODULES} - {""} <= RANK.keys()


def test_every_arrow_points_down() -> None:
    # `from isthmus import presets` names a file; `from isthmus import Autoencoder` would hide where it goes.
    upward = [f"{source} -> {target}" for source, target in arrows() if is_upward(source, target)]
    assert not upward


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("isthmus.errors", "from isthmus.schema import Schema"),
        ("isthmus.networks.dense", "from isthmus.codes import Code"),
        ("isthmus.codes.base", "import isthmus.objectives.base"),
        ("isthmus.data.batches", "def f():\n    from isthmus.recipe import Recipe"),
        ("isthmus.composition", "from isthmus import recipe"),
        ("isthmus.training.loop", "from ..estimator.model_folder import save"),
        ("isthmus.estimator.model_folder", "from isthmus.report.page import write_report"),
        ("isthmus.presets", "if TYPE_CHECKING:\n    from isthmus.estimator.autoencoder import Autoencoder"),
        ("isthmus.estimator.autoencoder", "from isthmus.cli import app"),
        ("isthmus.advice.choose", "from isthmus.console.inputs import read_data"),
        ("isthmus.recipe", "from isthmus import Autoencoder"),
        ("isthmus.metrics.health", "from isthmus.training import History"),
        ("isthmus.metrics.generation", "from isthmus.schema import Schema"),
    ],
)
def test_an_arrow_upward_would_be_seen(module: str, source: str) -> None:
    assert any(is_upward(module, target) for target in targets_of(source, module))


def test_there_are_no_circles() -> None:
    """Among modules, not only layers. A package's __init__ runs before what is in it."""
    graph = {module: {t for t in MODULES if t in targets} for module, targets in _graph().items()}
    done: set[str] = set()

    def walk(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for target in graph[module]:
                walk(target, (*path, module))
            done.add(module)

    for module in graph:
        walk(module, ())


def _graph() -> dict[str, set[str]]:
    """Return the imports that run when a module is imported."""
    graph: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        kept = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom | ast.Try | ast.ClassDef)]
        graph[module] = targets_of(ast.unparse(ast.Module(kept, [])), module) - {module, "isthmus"}
    return graph


def test_the_composition_knows_the_parts_contracts_only() -> None:
    contracts = {"isthmus.networks.base", "isthmus.codes.base", "isthmus.objectives.base", "isthmus.corruptions"}
    defined = {
        node.name
        for module in contracts
        for node in ast.parse(MODULES[module].read_text()).body
        if isinstance(node, ast.ClassDef)
    }
    source = MODULES["isthmus.composition"].read_text()
    parts = ("networks", "codes", "corruptions", "objectives")
    used = {name for base, name in imports_of(source, "isthmus.composition") if layer_of(base) in parts}
    assert used and used <= defined
    assert not used & {"Mask", "GaussianNoise", "SaltAndPepper", "Chain"}


# Names that a wheel installs under, where they are not its own.
INSTALLED_AS = {"scikit-learn": "sklearn", "pillow": "PIL"}


def test_only_what_is_declared_is_imported() -> None:
    """The standard library and the dependencies; packages of an extra only in the leaf that has it."""
    declared = tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"]
    names = {entry.split(">")[0].split("[")[0].strip().lower() for entry in declared}
    allowed = {INSTALLED_AS.get(name, name) for name in names} | set(sys.stdlib_module_names) | {"isthmus"}
    for module, path in MODULES.items():
        if layer_of(module) in ("applications",) or layer_of(module) == "service":
            continue
        for base, _ in imports_of(path.read_text(encoding="utf-8"), module):
            assert base.split(".")[0] in allowed, f"{module} imports {base}"


def test_one_file_knows_the_machine() -> None:
    for module, path in MODULES.items():
        text = path.read_text(encoding="utf-8")
        if module != "isthmus.training.device":
            for word in ("torch.distributed", "torch.cuda", "set_num_threads", "fork_rng", "manual_seed_all"):
                assert word not in text, f"{word} in {module}"


PICKLES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "jsonpickle"}


def pickle_uses(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] in PICKLES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PICKLES:
            found.append(str(node.module))
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in ("torch.load", "torch.save", "eval", "exec", "__import__", "torch.jit.load", "torch.package"):
                found.append(name)
            for keyword in node.keywords:
                if keyword.arg == "allow_pickle" and not (
                    isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                ):
                    found.append("allow_pickle")
            if name in ("np.load", "numpy.load", "np.lib.format.read_array"):
                found += (
                    [] if "allow_pickle" in {k.arg for k in node.keywords} else [f"{name} without allow_pickle=False"]
                )
    return found


def test_nothing_is_unpickled() -> None:
    for module, path in MODULES.items():
        assert not pickle_uses(path.read_text(encoding="utf-8")), module


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n    from pickle import loads",
        "import torch\ntorch.load('x')",
        "np.load('x', allow_pickle=True)",
        "np.load('x', allow_pickle=flag)",
        "np.load('x')",
        "import joblib",
        "eval('1')",
    ],
)
def test_a_pickle_would_be_seen(source: str) -> None:
    assert pickle_uses(source)
