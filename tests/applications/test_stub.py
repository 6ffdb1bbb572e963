"""A new application is one folder (`tests/applications/stub`) and one line of the table."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import isthmus as library
from isthmus.applications import APPLICATIONS
from isthmus.applications.contract import Entry
from isthmus.cli import app
from isthmus.errors import ArtifactError
from tests.applications.stub.model import Groups
from tests.conftest import Command

STUB = "tests.applications.stub"
LINE = Entry(f"{STUB}.model:Groups", f"{STUB}.commands:COMMANDS", f"{STUB}.page:write_page")
RECIPE = library.presets.autoencoder(latent_dim=2, hidden_dims=(8,), epochs=3)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add the line to the table, and its command to the command line, which mounts commands when it is imported."""
    monkeypatch.setitem(APPLICATIONS, "groups", LINE)
    monkeypatch.setattr(app.app, "registered_commands", list(app.app.registered_commands))
    app.mount(app.app, "group", app.application_commands()["group"])


@pytest.fixture
def saved(registered: None, tmp_path: Path) -> Path:
    rows = np.random.default_rng(0).normal(size=(60, 4)) + 6.0 * (np.arange(60) % 3)[:, None]
    np.save(tmp_path / "rows.npy", rows)
    return Groups(3, recipe=RECIPE).fit(rows).save(tmp_path / "groups")


def test_it_is_loaded_through_the_table(saved: Path) -> None:
    rows = np.load(saved.parent / "rows.npy")
    loaded = library.load(saved)
    assert isinstance(loaded, Groups) and loaded.n_clusters == 3
    np.testing.assert_array_equal(loaded.predict(rows), Groups(3, recipe=RECIPE).fit(rows).predict(rows))
    with pytest.raises(ArtifactError, match=r"holds the application groups; try isthmus\.load"):
        library.AnomalyDetector.load(saved)


def test_inspect_and_help_know_it(saved: Path, isthmus: Command) -> None:
    result = isthmus("inspect", saved)
    assert result.status == 0 and result.out.startswith("groups of rows\n  3 groups of ")
    assert json.loads(isthmus("inspect", saved, "--json").out)["n_clusters"] == 3
    assert re.search(r"\n\W*group ", isthmus("--help").out)


def test_its_command_runs_and_others_refuse_its_folder(saved: Path, isthmus: Command) -> None:
    page = saved.parent / "page.html"
    result = isthmus("group", saved, saved.parent / "rows.npy", "--out", page)
    assert result.status == 0, result.err
    counts = [int(count) for count in re.findall(r"(\d+) rows", page.read_text())]
    assert len(counts) == 3 and sum(counts) == 60
    refused = isthmus("detect", saved, saved.parent / "rows.npy")
    assert refused.status == 2 and "got one of the application 'groups'" in refused.err
