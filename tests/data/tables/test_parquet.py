"""Rows that stay on disk: every row once, in an order that (seed, epoch) decides, and nothing silently wrong."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
import torch
from pyarrow import parquet

from isthmus.data.encoded import EncodedRows
from isthmus.data.encoding import Unscaled
from isthmus.data.files.npy import NpyRows
from isthmus.data.in_memory import ArrayRows, TableRows
from isthmus.data.open import open_source
from isthmus.data.source import Source
from isthmus.data.streaming import ShuffleBuffer, StreamingBatches, join
from isthmus.data.tables import parquet as parquet_source
from isthmus.data.tables.parquet import DatasetRows
from isthmus.errors import DataError
from isthmus.schema import Batch, Schema

ROWS = 1000


def table(rows: int = ROWS) -> pa.Table:
    """Return a table whose first column is the number of the row."""
    rng = np.random.default_rng(0)
    words = np.array(["a", "b", "c"])[rng.integers(0, 3, rows)]
    return pa.table({"row": np.arange(rows), "value": rng.standard_normal(rows), "word": words})


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_source, "_CHUNK", 64)


def written(folder: Path, form: str = "parquet", rows: int = ROWS, group: int = 130) -> Path:
    path = folder / f"table.{form}"
    if form == "parquet":
        parquet.write_table(table(rows), path, row_group_size=group)
    else:
        with pa.ipc.new_file(path, table(rows).schema) as file:
            file.write_table(table(rows), max_chunksize=group)
    return path


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("form", ["parquet", "arrow"])
@pytest.mark.parametrize("size", [1, 77, 256, 5000])
def test_blocks_are_the_rows_in_order(tmp_path: Path, form: str, size: int) -> None:
    source = DatasetRows(written(tmp_path, form, 300), form)
    blocks = list(source.blocks(size))
    assert [len(block) for block in blocks] == [size] * (300 // size) + ([300 % size] if 300 % size else [])
    assert pa.concat_tables(blocks).equals(table(300)) and len(source) == 300


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_rows_are_taken_in_the_order_that_is_asked_for(tmp_path: Path, form: str) -> None:
    source = DatasetRows(written(tmp_path, form), form)
    rows = np.random.default_rng(1).permutation(ROWS)[:200]
    assert source.take(rows).equals(table().take(pa.array(rows)))
    assert source.take(np.array([999, 0, 500]))["row"].to_pylist() == [999, 0, 500]


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_an_epoch_has_every_row_once_in_an_order_of_its_own(tmp_path: Path, form: str) -> None:
    source = DatasetRows(written(tmp_path, form), form)

    def order(seed: int, epoch: int) -> list[int]:
        numbers = []
        for rows, block in source.shuffled(seed, epoch):
            assert block["row"].to_pylist() == rows.tolist()
            numbers += rows.tolist()
        return numbers

    first = order(0, 0)
    assert sorted(first) == list(range(ROWS)) and first != list(range(ROWS)) and not source.mixed
    assert order(0, 0) == first and order(0, 1) != first and order(1, 0) != first


def test_rows_that_come_in_order_leave_the_pool_mixed() -> None:
    """A file may be sorted: batches of it are drawn from all rows that wait, and from what came long before."""
    pool = ShuffleBuffer(400, torch.Generator().manual_seed(0))
    blocks = [Batch(torch.arange(start, start + 50.0)[:, None]) for start in range(0, 2000, 50)]
    out = [batch for batch in map(pool.swap, blocks) if batch is not None]
    assert [batch.rows for batch in out] == [50] * 32
    assert all(batch.x.std() > 80 for batch in out)  # of neighbours it would be 15
    rest = list(pool.rest())
    assert sorted(torch.cat([batch.x for batch in out + rest]).flatten().tolist()) == list(range(2000))
    assert torch.cat([batch.x for batch in rest]).diff(dim=0).abs().mean() > 100
    small = ShuffleBuffer(400, torch.Generator().manual_seed(0))
    assert (
        small.swap(blocks[0]) is None
        and next(small.rest()).rows == 50
        and not list(ShuffleBuffer(1, pool.generator).rest())
    )


def test_a_pool_keeps_masks_and_conditions_with_their_rows() -> None:
    pool = ShuffleBuffer(100, torch.Generator().manual_seed(0))
    out: list[Batch] = []
    for start in range(0, 1000, 20):
        x = torch.arange(start, start + 20.0)[:, None]
        mask = (x % 3 > 0) if start % 40 else None
        batch = pool.swap(Batch(x, mask, -x))
        out += [] if batch is None else [batch]
    for batch in [*out, *pool.rest()]:
        assert batch.condition is not None and torch.equal(batch.condition, -batch.x)
        seen = torch.ones_like(batch.x, dtype=torch.bool) if batch.mask is None else batch.mask
        holed = (batch.x % 3 == 0) & (batch.x.int() // 20 % 2 == 1)
        assert torch.equal(seen, ~holed)


def test_a_folder_and_a_partitioned_one_are_one_table(tmp_path: Path) -> None:
    ds.write_dataset(table(), tmp_path / "parts", format="parquet", partitioning=["word"], partitioning_flavor="hive")
    source = open_source(tmp_path / "parts")
    assert isinstance(source, DatasetRows) and len(source) == ROWS
    whole = pa.concat_tables(source.blocks(300)).sort_by("row")
    assert whole["value"].equals(table()["value"])
    assert whole["word"].cast(pa.string()).to_pylist() == table()["word"].to_pylist()
    left = open_source(tmp_path / "parts", drop=["value"])
    assert left.schema.names == ["row", "word"]  # type: ignore[attr-defined]


def test_other_file_systems_are_read() -> None:
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory")
    with system.open("/isthmus-test/table.parquet", "wb") as file:
        parquet.write_table(table(), file)
    source = open_source("memory:///isthmus-test/table.parquet")
    assert isinstance(source, DatasetRows) and pa.concat_tables(source.blocks(99)).equals(table())


def test_small_files_are_read_whole_and_large_ones_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path)
    assert isinstance(open_source(path), TableRows)
    monkeypatch.setattr("isthmus.data.open.LARGEST_WHOLE", 1000)
    assert isinstance(open_source(path), DatasetRows)
    np.save(tmp_path / "x.npy", np.zeros((500, 3)))
    assert isinstance(open_source(tmp_path / "x.npy"), NpyRows)


def test_a_file_that_is_changed_or_cut_off_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    source = DatasetRows(path, "parquet")
    blocks = source.blocks(100)
    next(blocks)
    parquet.write_table(table(ROWS + 5), path)
    with pytest.raises(DataError, match=r"was changed while it was read: expected the \d+ bytes of before"):
        source.check_unchanged()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"table.parquet.* cannot be read"):
        DatasetRows(path, "parquet")
    path.write_bytes(b"PAR1" + b"x" * 100)
    with pytest.raises(DataError, match="cannot be read"):
        open_source(path)


def test_a_damaged_page_is_named_by_its_row(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    parquet.write_table(table(), path, row_group_size=100, compression="zstd", use_dictionary=False)
    place = parquet.ParquetFile(path).metadata.row_group(5).column(1)
    content = bytearray(path.read_bytes())
    start = place.data_page_offset + 40
    content[start : start + 200] = b"\xff" * 200
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match="from row 500 on"):
        list(DatasetRows(path, "parquet").blocks(100))


# ---- arrays ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "uint8", ">f4"])
def test_an_array_is_read_in_pieces(tmp_path: Path, dtype: str) -> None:
    x = np.random.default_rng(0).integers(0, 99, (300, 4, 5)).astype(dtype)
    np.save(tmp_path / "x.npy", x)
    source = NpyRows(tmp_path / "x.npy")
    rows = np.random.default_rng(1).integers(0, 300, 100)
    np.testing.assert_array_equal(source.take(rows), x[rows])
    np.testing.assert_array_equal(np.concatenate(list(source.blocks(64))), x)
    assert source.kind == "image" and source.take(rows).dtype.isnative
    found = np.concatenate([numbers for numbers, _ in source.shuffled(0, 0)])
    assert sorted(found.tolist()) == list(range(300))
    for numbers, block in source.shuffled(3, 1):
        np.testing.assert_array_equal(block, x[numbers])


def test_an_array_that_ends_in_the_middle_of_a_row_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((100, 10)))
    content = path.read_bytes()
    path.write_bytes(content[:-1010])
    with pytest.raises(DataError, match="end in row 87"):
        NpyRows(path)
    path.write_bytes(content)
    source = NpyRows(path)
    path.write_bytes(content + b"x")
    with pytest.raises(DataError, match="was changed while it was read"):
        source.check_unchanged()
    path.write_bytes(content[:-80])
    with pytest.raises(DataError, match="ends in row 99"):
        source.take(np.arange(100))
    np.save(path, np.asfortranarray(np.zeros((100, 10))))
    with pytest.raises(DataError, match="Fortran"):
        NpyRows(path)


# ---- batches ---------------------------------------------------------------------------------------------------------


class Slow(Source):
    """Rows that are their own numbers, in runs, as if from a disk."""

    kind = "vector"
    width = 1

    def __init__(self, rows: int = ROWS, fail: int | None = None) -> None:
        self.rows, self.fail = rows, fail

    def __len__(self) -> int:
        return self.rows

    def take(self, rows: Any) -> Any:
        if self.fail is not None and (rows == self.fail).any():
            raise DataError("row 7 is damaged")
        return rows[:, None].astype(np.float64)

    def fingerprint(self) -> str:
        return "slow"


def loader(
    source: Source, held: list[int] | None = None, batch_size: int = 64, conditions: Any = None
) -> StreamingBatches:
    schema = Schema.of(np.array([[0.0], [float(len(source))]]))
    encoded = EncodedRows(source, schema, Unscaled(np.asarray(0.0), np.asarray(1.0)), conditions)
    return StreamingBatches(encoded, np.array(held or [], int), batch_size, 0, torch.device("cpu"))


def numbers_of(batches: Iterator[Batch]) -> list[list[int]]:
    return [batch.x[:, 0].int().tolist() for batch in batches]


@pytest.mark.parametrize("batch_size", [1, 7, 64, 999, 5000])
def test_batches_are_all_rows_but_those_held_out(batch_size: int) -> None:
    held = [3, 500, 999]
    feed = loader(Slow(), held, batch_size)
    batches = numbers_of(feed.epoch(0))
    assert sorted(itertools.chain(*batches)) == [row for row in range(ROWS) if row not in held]
    assert len(batches) == feed.steps and max(map(len, batches)) - min(map(len, batches)) <= 1
    assert max(map(len, batches)) <= batch_size
    assert numbers_of(feed.epoch(0)) == batches and numbers_of(feed.epoch(1)) != batches
    one_run = loader(Slow(200), batch_size=50)  # whose rows nothing but the pool mixes
    assert numbers_of(one_run.epoch(0)) != numbers_of(one_run.epoch(1))


@pytest.mark.parametrize("start", [0, 1, 9, 15])
def test_an_epoch_goes_on_where_it_was(start: int) -> None:
    feed = loader(Slow())
    assert numbers_of(feed.epoch(4, start)) == numbers_of(feed.epoch(4))[start:]


def test_a_condition_stays_with_its_row() -> None:
    conditions = (10.0 * np.arange(ROWS, dtype=np.float32))[:, None]
    for batch in loader(Slow(), [5], conditions=conditions).epoch(0):
        assert batch.condition is not None and torch.equal(batch.condition, 10.0 * batch.x)


def test_rows_in_memory_are_drawn_from_all_over() -> None:
    x = np.arange(5000.0)[:, None]
    batches = numbers_of(loader(ArrayRows(x), batch_size=100).epoch(0))
    assert sorted(itertools.chain(*batches)) == list(range(5000))
    assert np.std([np.mean(batch) for batch in batches]) < 3.0 * 5000 / np.sqrt(12 * 100)


def test_what_the_reader_refuses_is_raised_where_it_trains() -> None:
    with pytest.raises(DataError, match="row 7 is damaged"):
        list(loader(Slow(fail=7)).epoch(0))


def test_a_reader_ends_with_its_epoch() -> None:
    before = threading.active_count()
    batches = loader(Slow(100_000)).epoch(0)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_joined_blocks_have_a_mask_if_one_has() -> None:
    plain, masked = Batch(torch.zeros(2, 1)), Batch(torch.ones(1, 1), torch.tensor([[False]]))
    joined = join([plain, masked])
    assert joined.mask is not None and joined.mask.flatten().tolist() == [True, True, False]
    assert join([plain, plain]).mask is None
