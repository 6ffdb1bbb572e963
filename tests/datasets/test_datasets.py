"""Named data sets: local copies in each layout, what is refused, and downloads from a server of our own."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import http.server
import io
import struct
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from isthmus import datasets
from isthmus.datasets import DatasetInfo, RemoteFile, layouts, registry
from isthmus.datasets.entries import ENTRIES
from isthmus.datasets.layouts import Content, Layout, digest
from isthmus.errors import DataError
from tests.helpers import SHARED

SPLITS = [(name, split) for name, entry in ENTRIES.items() for split in entry.rows]


@pytest.fixture(autouse=True)
def nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No copies of this machine's, no proxy, and no network but the loopback."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("ISTHMUS_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "*")


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path.name} is not here")
    return path


def npz(path: Path, **arrays: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
    return path


X = np.arange(24, dtype="u1").reshape(3, 2, 4)
Y = np.array([1, 0, 1], "u1")
# Two layouts of the same three rows: one file with both arrays, or an idx pair.
TOY = DatasetInfo(
    "toy",
    holds="three rows",
    kind="image",
    rows={"train": 3},
    licence="CC0",
    homepage="https://example.org/toy",
    citation="none",
    digests={"train": digest(Content(X, Y))},
    layouts=(
        Layout({"train": ("images-idx3-ubyte", "labels-idx1-ubyte")}, layouts.idx),
        Layout({"train": ("toy.npz",)}, layouts.npz("x_{split}", "y_{split}")),
    ),
)


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Callable[..., DatasetInfo]:
    def put(**changes: Any) -> DatasetInfo:
        entry = dataclasses.replace(TOY, **changes)
        monkeypatch.setattr(registry, "_all", lambda: {"toy": entry})
        return entry

    put()
    return put


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


# The registry.


def test_the_registry_says_whose_each_set_is_and_what_it_should_hold() -> None:
    assert {"mnist", "fashion-mnist", "nsl-kdd", "ecg5000"} <= set(datasets.names())
    for name in datasets.names():
        about = datasets.info(name)
        assert about.name == name == name.lower() and about.rows and about.holds and about.licence and about.citation
        assert about.homepage.startswith("http")
        assert set(about.digests) == set(about.rows) and all(len(value) == 64 for value in about.digests.values())
        for split in about.rows:
            assert any(split in layout.files for layout in about.layouts)
        for file in about.files:
            assert file.url.startswith(("http://", "https://")) and file.size > 0 and ".." not in file.name
            assert file.sha256 is None or len(bytes.fromhex(file.sha256)) == 32
            known = {part for layout in about.layouts for names in layout.files.values() for part in names}
            assert file.name in known or file.name.removesuffix(".gz") in known


def test_names_are_forgiving_and_the_unknown_one_is_refused() -> None:
    assert datasets.info("Fashion_MNIST").name == "fashion-mnist"
    with pytest.raises(DataError, match="did you mean 'mnist'"):
        datasets.info("mnits")
    with pytest.raises(DataError, match="there is no split 'valid'"):
        datasets.load("mnist", split="valid")


# Local copies.


@pytest.mark.parametrize(("name", "split"), SPLITS)
def test_every_set_is_read_from_its_compact_copy(name: str, split: str) -> None:
    if not SHARED.exists():
        pytest.skip("the shared data are not here")
    if name in ("mnist", "fashion-mnist") and split == "train":
        pytest.skip("as the test half, and six times its size")
    data = datasets.load(name, split=split, folder=SHARED)
    assert len(data) == datasets.info(name).rows[split] and data.split == split
    assert data.labels is None or data.labels.shape == (len(data),)
    assert data.path.parent in (SHARED, SHARED / "adbench") and data.info is datasets.info(name)


def test_mnist_is_read_from_original_files_and_another_set_is_told_apart(tmp_path: Path) -> None:
    with np.load(shared("mnist.npz")) as archive:
        images, labels = archive["x_test"], archive["y_test"]
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images), 1))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(labels))
    found = datasets.load("mnist", split="test", folder=tmp_path)
    np.testing.assert_array_equal(found.rows, images)
    np.testing.assert_array_equal(found.labels, labels)
    with pytest.raises(DataError, match="something else than fashion-mnist"):
        datasets.load("fashion-mnist", split="test", folder=tmp_path)


def test_nsl_kdd_is_read_from_the_original_text(tmp_path: Path) -> None:
    from pyarrow import parquet

    table = parquet.read_table(shared("nslkdd_test.parquet"))
    columns = [
        [f"{value:.2f}" if pa.types.is_floating(column.type) else str(value) for value in column.to_pylist()]
        for column in table.columns
    ]
    text = "".join(",".join(row) + "\n" for row in zip(*columns, strict=True)).encode()
    original = next(file for file in datasets.info("nsl-kdd").files if file.name == "KDDTest+.txt")
    assert (len(text), hashlib.sha256(text).hexdigest()) == (original.size, original.sha256)
    (tmp_path / "nsl-kdd").mkdir()
    (tmp_path / "nsl-kdd" / "KDDTest+.txt").write_bytes(text)
    found = datasets.load("nsl-kdd", split="test", folder=tmp_path)
    assert found.rows.equals(datasets.load("nsl-kdd", split="test", folder=SHARED).rows)
    assert found.rows.num_columns == 41 and (found.labels == "normal").sum() == 9711
    (tmp_path / "nsl-kdd" / "KDDTest+.txt").write_bytes(text.replace(b",tcp,", b",udp,", 1))
    with pytest.raises(DataError, match="something else than nsl-kdd"):
        datasets.load("nsl-kdd", split="test", folder=tmp_path)


@pytest.mark.parametrize("kind", ["txt", "tsv", "ts", "zip"])
def test_ecg5000_is_read_from_the_archives_formats(tmp_path: Path, kind: str) -> None:
    shared("ecg5000.npz")
    compact = datasets.load("ecg5000", folder=SHARED)
    assert compact.labels is not None
    classes = np.where(compact.labels == 0, 1, 2)
    if kind == "ts":
        rows = [f"{','.join(f'{v:.7g}' for v in row)}:{c}\n" for row, c in zip(compact.rows, classes, strict=True)]
        text = "#comment\n@problemName ECG5000\n@classLabel true 1 2\n@data\n" + "".join(rows)
    else:
        stream = io.StringIO()
        table = np.column_stack([classes, compact.rows.astype("f8")])
        np.savetxt(stream, table, "%.7e", delimiter="\t" if kind == "tsv" else "  ")
        text = stream.getvalue()
    if kind == "zip":
        with zipfile.ZipFile(tmp_path / "ECG5000.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("ECG5000_TRAIN.txt", text)
    else:
        (tmp_path / f"ECG5000_TRAIN.{kind}").write_text(text)
    found = datasets.load("ecg5000", folder=tmp_path)
    np.testing.assert_allclose(found.rows, compact.rows, rtol=1e-6)
    np.testing.assert_array_equal(found.labels, compact.labels)
    assert found.rows.dtype == np.float32
    if kind == "txt":
        (tmp_path / "ECG5000_TRAIN.txt").write_text(text.replace("e-01", "e+00"))
        with pytest.raises(DataError, match="something else than ecg5000"):
            datasets.load("ecg5000", folder=tmp_path)


def test_ecg5000_has_the_archives_counts() -> None:
    shared("ecg5000.npz")
    train, test = (datasets.load("ecg5000", split=split, folder=SHARED) for split in ("train", "test"))
    assert train.labels is not None and test.labels is not None
    assert (int(train.labels.sum()), int(test.labels.sum())) == (500 - 292, 2081 - 208)
    assert train.rows[0, 0] == np.float32(-0.11252183)  # the first number of the official file


def test_a_rows_order_counts_where_it_is_official(rng: np.random.Generator) -> None:
    order = np.array([2, 0, 1])
    there, moved = Content(X, Y), Content(X[order], Y[order])
    assert digest(there) != digest(moved)
    assert digest(there, ordered=False) == digest(moved, ordered=False)
    assert digest(there, ordered=False) != digest(Content(X[order], Y), ordered=False)
    found = {digest(Content(part)) for part in (X, X.astype("i1"), X.reshape(3, 8), ["a", "b"], ["ab"], [X, X], [X])}
    assert len(found) == 7
    assert digest(Content(X.astype(">u2"))) == digest(Content(X.astype("<u2")))
    tables = [pa.table({"a": ["x", "y"]}), pa.table({"b": ["x", "y"]}), pa.table({"a": [1, 2]})]
    assert len({digest(Content(table)) for table in tables}) == 3


def test_places_are_looked_in_one_after_the_other(
    tmp_path: Path, register: Callable[..., DatasetInfo], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = npz(tmp_path / "cache" / "isthmus" / "toy" / "toy.npz", x_train=X, y_train=Y)
    assert datasets.load("toy").path == cache
    monkeypatch.setenv("ISTHMUS_DATA", str(tmp_path / "data"))
    assert datasets.load("toy").path == cache
    data = npz(tmp_path / "data" / "toy.npz", x_train=X, y_train=Y)
    assert datasets.load("toy").path == data
    mine = npz(tmp_path / "mine" / "toy.npz", x_train=X, y_train=Y)
    assert datasets.load("toy", folder=tmp_path / "mine").path == mine
    own = npz(tmp_path / "mine" / "toy" / "toy.npz", x_train=X, y_train=Y)
    assert datasets.load("toy", folder=str(tmp_path / "mine")).path == own
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert datasets.load.__globals__["cache_folder"]() == Path.home() / ".cache" / "isthmus"


def test_without_a_copy_it_says_what_to_do(tmp_path: Path, register: Callable[..., DatasetInfo]) -> None:
    with pytest.raises(DataError, match=r"try its home, https://example.org/toy .licence: CC0., and put .*toy.npz"):
        datasets.load("toy", folder=tmp_path)
    register(files=(RemoteFile("toy.npz", "https://data.example.org/toy.npz", 1_500_000),))
    message = r"datasets.fetch\('toy'\), which downloads 1.5 MB from data.example.org .licence: CC0., or put .*toy.npz"
    with pytest.raises(DataError, match=message):
        datasets.load("toy", folder=tmp_path)


def object_array() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([{}], object), allow_pickle=True)
    return stream.getvalue()


def lying() -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": (1 << 44,)})
    return stream.getvalue() + b"\0" * 10


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no zip", "cannot be read as toy"),
        ({"x_train": X}, "cannot be read as toy"),
        ({"x_train": X[:2], "y_train": Y[:2]}, "expected 3 rows, got 2"),
        ({"x_train": X + 1, "y_train": Y}, "something else than toy"),
        ({"x_train": X, "y_train": 1 - Y}, "something else than toy"),
        (object_array, "Python objects, which are never read"),
        (lying, "cannot be read as toy"),
    ],
)
def test_a_damaged_copy_is_refused(
    tmp_path: Path, register: Callable[..., DatasetInfo], content: Any, message: str
) -> None:
    path = tmp_path / "toy.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        npz(path, **content)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x_train.npy", content())
            archive.writestr("y_train.npy", content())
    with pytest.raises(DataError, match=message):
        datasets.load("toy", folder=tmp_path)


def test_what_unpacks_to_too_much_is_refused(
    tmp_path: Path, register: Callable[..., DatasetInfo], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layouts, "LARGEST", 1 << 20)
    bomb = npz(tmp_path / "toy.npz", x_train=np.zeros((3, 1 << 20), "u1"), y_train=Y)
    assert bomb.stat().st_size < 1 << 16
    with pytest.raises(DataError, match="holds more than 1 MB"):
        datasets.load("toy", folder=tmp_path)
    (tmp_path / "images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(2 << 20)))
    (tmp_path / "labels-idx1-ubyte").write_bytes(idx(Y))
    with pytest.raises(DataError, match="holds more than 1 MB"):
        datasets.load("toy", folder=tmp_path)


def test_an_idx_file_of_something_else_is_refused(tmp_path: Path, register: Callable[..., DatasetInfo]) -> None:
    (tmp_path / "labels-idx1-ubyte").write_bytes(idx(Y))
    signed = b"\0\0\x09" + idx(X)[3:]
    for content in (b"", signed, idx(X)[:-1], idx(X) + b"\0"):
        (tmp_path / "images-idx3-ubyte").write_bytes(content)
        with pytest.raises(DataError, match="idx"):
            datasets.load("toy", folder=tmp_path)


# Downloads, from a server on the loopback.


class Server:
    """Answers each path with what was put there: bytes, a status, or a function that writes to the connection."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                answer = outer.answers.get(self.path, 404)
                if isinstance(answer, int):
                    self.send_error(answer)
                elif callable(answer):
                    answer(self)
                else:
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.block_on_close = False
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def toy_bytes(x: np.ndarray = X) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, x_train=x, y_train=Y)
    return stream.getvalue()


TOY_SUM = hashlib.sha256(GOOD := toy_bytes()).hexdigest()


def test_a_good_file_is_fetched_once_and_then_loaded(
    tmp_path: Path, register: Callable[..., DatasetInfo], server: Server
) -> None:
    server.answers["/toy.npz"] = GOOD
    register(files=(RemoteFile("toy.npz", f"{server.url}/toy.npz", len(GOOD), TOY_SUM),))
    seen: list[tuple[str, int, int]] = []
    place = datasets.fetch("toy", progress=lambda *step: seen.append(step))
    assert place == tmp_path / "cache" / "isthmus" / "toy"
    assert [path.name for path in place.iterdir()] == ["toy.npz"]
    assert seen[-1] == ("toy.npz", len(GOOD), len(GOOD))
    np.testing.assert_array_equal(datasets.load("toy").rows, X)
    assert datasets.fetch("toy") == place and server.asked == ["/toy.npz"]
    other = datasets.fetch("toy", folder=tmp_path / "other")
    assert other == tmp_path / "other" / "toy" and len(server.asked) == 2
    (place / "toy.npz").write_bytes(b"damaged")
    datasets.fetch("toy")
    np.testing.assert_array_equal(datasets.load("toy").rows, X)


def test_without_a_known_sum_the_content_decides(
    tmp_path: Path, register: Callable[..., DatasetInfo], server: Server
) -> None:
    """Another container of the same rows is good, and the same container of other rows is not."""
    stream = io.BytesIO()
    np.savez_compressed(stream, x_train=X, y_train=Y)
    server.answers["/toy.npz"] = stream.getvalue()
    register(files=(RemoteFile("toy.npz", f"{server.url}/toy.npz", 1000),))
    datasets.fetch("toy")
    server.answers["/toy.npz"] = toy_bytes(X + 1)
    with pytest.raises(DataError, match="something else than toy"):
        datasets.fetch("toy", folder=tmp_path / "other")
    assert not list((tmp_path / "other" / "toy").iterdir())


def dribble(handler: Any) -> None:
    handler.send_response(200)
    handler.end_headers()
    try:
        for _ in range(100):
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(0.05)
    except OSError:
        pass


def cut(handler: Any) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(GOOD)))
    handler.end_headers()
    handler.wfile.write(GOOD[:-10])


def silent(handler: Any) -> None:
    time.sleep(1.0)


def garbage(handler: Any) -> None:
    handler.wfile.write(b"this is no HTTP\r\n\r\n")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (toy_bytes(X + 1), "expected a file with SHA-256"),
        (GOOD + b"!", "it is longer than"),
        (GOOD[:-1], "expected a file with SHA-256"),
        (cut, "cut off after|IncompleteRead"),
        (404, "404"),
        (500, "500"),
        (silent, "timed out"),
        (dribble, "too slowly"),
        (garbage, "did not come"),
    ],
)
def test_a_bad_answer_is_refused_and_leaves_nothing(
    tmp_path: Path, register: Callable[..., DatasetInfo], server: Server, answer: Any, message: str
) -> None:
    server.answers["/toy.npz"] = answer
    entry = register(files=(RemoteFile("toy.npz", f"{server.url}/toy.npz", len(GOOD), TOY_SUM),))
    start = time.monotonic()
    with pytest.raises(DataError, match=message) as caught:
        datasets.fetch("toy", timeout=0.4)
    assert time.monotonic() - start < 3
    assert str(tmp_path) in str(caught.value) and entry.files[0].url in str(caught.value)
    assert not list((tmp_path / "cache" / "isthmus" / "toy").iterdir())


def test_if_one_of_two_files_fails_neither_stays(
    tmp_path: Path, register: Callable[..., DatasetInfo], server: Server
) -> None:
    server.answers["/images"] = gzip.compress(idx(X))
    files = [RemoteFile(f"{n}-ubyte.gz", f"{server.url}/{n[:6]}", 500) for n in ("images-idx3", "labels-idx1")]
    register(files=tuple(files))
    with pytest.raises(DataError, match="404"):
        datasets.fetch("toy")
    assert not list((tmp_path / "cache" / "isthmus" / "toy").iterdir())
    server.answers["/labels"] = gzip.compress(idx(Y))
    datasets.fetch("toy")
    np.testing.assert_array_equal(datasets.load("toy").labels, Y)


def test_without_a_network_it_says_what_to_do_by_hand(tmp_path: Path, register: Callable[..., DatasetInfo]) -> None:
    register(files=(RemoteFile("toy.npz", "http://127.0.0.1:9/toy.npz", len(GOOD), TOY_SUM),))
    by_hand = r"http://127.0.0.1:9/toy.npz did not come: .*refused.*or download it by hand to '.*toy.npz'"
    with pytest.raises(DataError, match=by_hand):
        datasets.fetch("toy", timeout=0.5)
    register(files=(RemoteFile("toy.npz", (tmp_path / "toy.npz").as_uri(), len(GOOD), TOY_SUM),))
    (tmp_path / "toy.npz").write_bytes(GOOD)
    with pytest.raises(DataError, match="is no web address"):
        datasets.fetch("toy")


def test_a_set_without_an_address_and_a_folder_that_is_none_are_refused(
    tmp_path: Path, register: Callable[..., DatasetInfo]
) -> None:
    with pytest.raises(DataError, match="no address to download from: try its home, https"):
        datasets.fetch("toy")
    register(files=(RemoteFile("toy.npz", "http://127.0.0.1:9/toy.npz", len(GOOD)),))
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        datasets.fetch("toy", folder=tmp_path / "file")


def test_import_and_load_open_no_socket(tmp_path: Path) -> None:
    """In a process of its own: what is imported already cannot show it."""
    code = """
import socket, sys
class Refuse(socket.socket):
    def __init__(self, *args, **kwargs):
        raise AssertionError("a socket was opened")
socket.socket = socket.create_connection = socket.getaddrinfo = Refuse
import isthmus
assert not any(name.startswith("isthmus.datasets") for name in sys.modules)
from isthmus.errors import DataError
from tests.helpers import SHARED
from tests.helpers import SHARED
assert isthmus.datasets.info("mnist").rows
for name in isthmus.datasets.names():
    try:
        isthmus.datasets.load(name)
    except DataError as error:
        assert "there is no copy" in str(error), error
    else:
        raise AssertionError(name)
"""
    env = {"XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path), "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
