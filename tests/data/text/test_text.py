"""Lines of text and SMILES: reading, vocabularies, rows of tokens and their one-hot steps."""

from __future__ import annotations

import gzip
import json
import pickle
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given

from isthmus.data.text import lines as encoded
from isthmus.data.text import vocabulary as splitting
from isthmus.data.text.tokens import Lines, OneHotTokens, TextLines, Vocabulary, read_lines
from isthmus.errors import ArtifactError, DataError
from tests.helpers import SHARED

DATA = SHARED
MOLECULES = ["CCO", "C[C@@H](Cl)Br", "c1ccc2%10ccccc2c1", "[NH3+]CC(=O)[O-]", "F/C=C\\F", "[13CH4].[Na+]", "C$C~C:N#N*"]
PIECES = [
    *("[C@@H]", "[nH]", "[13CH4]", "[Na+]", "Cl", "Br", "C", "c", "N", "n", "O", "S", "P", "F", "I", "B", "b"),
    *("%10", "%99", "1", "2", "(", ")", "=", "#", "-", "+", "/", "\\", ".", ":", "~", "*", "$", "@", "@@", "?", ">"),
]
TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), min_size=1, max_size=6)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


# ---- reading ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "A.TXT", "a.smi", "a.smiles", "a.smi.gz", "a.smiles.GZ"])
def test_files_are_lines_of_their_level(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"CC\nN\n") if name.lower().endswith("gz") else b"CC\nN\n")
    lines = read_lines(path)
    assert lines == ["CC", "N"] and read_lines(str(path)) == lines
    assert lines.level == ("character" if "txt" in name.lower() else "smiles")
    assert (lines.empty, lines.numbers.tolist(), lines.file) == (0, [1, 2], str(path))


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1 << 20])
def test_newlines_of_any_system_in_pieces_of_any_size(
    tmp_path: Path, newline: str, last: bool, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoded, "_PIECE", piece)
    # What Python calls a line break and is none of a text file.
    wanted = ["a", "b\x0bc\x1cd\x85e\u2028f", "ü", "\U0001f600 g"]
    given = newline.join(["\ufeffa", "", wanted[1], "  \t", *wanted[2:]]) + (newline if last else "")
    lines = read_lines(write(tmp_path / "a.txt", given.encode()))
    assert lines == wanted
    assert lines.empty == 2 and lines.numbers.tolist() == [1, 3, 5, 6]


def test_a_molecule_is_the_first_field_of_its_line(tmp_path: Path) -> None:
    lines = read_lines(write(tmp_path / "a.smi", b"CCO ethanol 1\n\tCC\tethane\n\n \nN\n"))
    assert lines == ["CCO", "CC", "N"] and lines.numbers.tolist() == [1, 2, 5] and lines.empty == 2
    assert read_lines(write(tmp_path / "a.txt", b" CCO ethanol \n")) == [" CCO ethanol "]


def test_lines_of_a_list_are_all_kept() -> None:
    given = ["a", "", "b\nc"]
    lines = read_lines(given)
    assert lines == given and lines is not given and lines.empty == 0 and lines.level == "character"
    assert read_lines(iter(given)) == read_lines(np.array(given)) == given
    again = pickle.loads(pickle.dumps(read_lines(given)))
    assert again == given and again.numbers.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"one\ntwo\nth\xe9\n", "line 3 of .*expected text in UTF-8, got the byte 0xe9; try iconv -f LATIN1"),
        (b"\xffone", "line 1 of .*got the byte 0xff"),
        (b"one\r\ntwo\r\n\xc3", "line 3 of .*got the byte 0xc3"),
        ("a\nb".encode("utf-16"), "line 1 of .*got the byte 0xff; try iconv -f UTF-16"),
        ("a\nb".encode("utf-16-le"), "line 1 of .*got a zero byte; try iconv -f UTF-16"),
        ("é\né\0b".encode(), "line 2 of .*got a zero byte"),
        (b"", "is empty; try a file"),
        (b"\n \n\r\n", "has 3 lines and no text in them; try"),
        (b"\xef\xbb\xbf", "no text in them; try"),
        (b"a\n" + b"b" * 100_001, "line 2 of .*expected at most 100,000 characters, got more; try a newline"),
        (b"a\n\n" + b"b" * 500_000 + b"\nc", "line 3 of .*expected at most 100,000 characters"),
    ],
)
@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_contents_that_are_refused(tmp_path: Path, content: bytes, message: str, name: str) -> None:
    with pytest.raises(DataError, match=message):
        read_lines(write(tmp_path / name, content))


def test_line_numbers_count_over_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoded, "_PIECE", 64)
    with pytest.raises(DataError, match=r"line 501 of .*got the byte 0xe9"):
        read_lines(write(tmp_path / "a.txt", b"\xc3\xa9 one\n" * 500 + b"\xe9\n"))


def test_damaged_archives(tmp_path: Path) -> None:
    whole = gzip.compress(bytes(np.random.default_rng(0).integers(97, 122, 5000, dtype=np.uint8)) + b"\n")
    path = tmp_path / "a.txt.gz"
    for content in (whole[: len(whole) // 2], whole[:-4], whole[:100] + b"\0" * 50 + whole[150:], b"plain text", b"\n"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"cannot be read: .*; try `gzip -t`"):
            read_lines(path)


def test_bombs_are_left_before_they_are_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    pieces = encoded._pieces

    def counted(file: Path) -> Any:
        for piece in pieces(file):
            read.append(len(piece))
            yield piece

    monkeypatch.setattr(encoded, "_pieces", counted)
    monkeypatch.setattr(encoded, "_MOST_LINES", 1 << 21)
    monkeypatch.setattr(encoded, "_MOST_BYTES", 1 << 23)
    for unit, message in [
        (b"a", "line 1 of .*at most 100,000 char"),
        (b"\n", "at most 2,097,152 lines, got more"),
        (b"a" * 1023 + b"\n", "at most 8 MiB of text, got more"),
    ]:
        read.clear()
        with pytest.raises(DataError, match=message):
            read_lines(write(tmp_path / "a.txt.gz", unit * ((1 << 24) // len(unit))))
        assert sum(read) <= 9 << 20


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "b.txt").mkdir()
    for name, message in [
        ("a.txt", "there is no file"),
        ("b.txt", "expected a file, got the folder"),
        ("a.pdf", "kind of text file '.pdf'"),
        ("a.gz", r"'\(no suffix\)'"),
    ]:
        with pytest.raises(DataError, match=message):
            read_lines(tmp_path / name)


@pytest.mark.parametrize("given", [5, b"CC", None, ["a", 3], ["a", None], ["a" * 100_001]], ids=lambda g: str(g)[:9])
def test_lists_that_are_none(given: Any) -> None:
    with pytest.raises(DataError, match=r"expected .*; try"):
        read_lines(given)


# ---- vocabularies -------------------------------------------------------------------------------------------------


@given(TEXTS, st.sampled_from(["character", "word"]))
@example(["  two  spaces ", "don't, won’t", "\ttab\n", "", "a_b-c"], "word")
@example(["\U0001f600\0\x85", "�"], "character")
def test_texts_come_back_exactly(texts: list[str], level: str) -> None:
    vocabulary = Vocabulary.fit(texts, level, length="longest")
    ids = vocabulary.encode(texts)
    assert ids.dtype == np.int32 and ids.shape == (len(texts), vocabulary.length)
    assert vocabulary.decode(ids) == texts
    assert vocabulary.decode(OneHotTokens(vocabulary).inverse(OneHotTokens(vocabulary).forward(ids))) == texts
    assert not (ids == 1).any() and ((ids == 0).sum(1) == 1).all()
    assert (ids == 0).argmax(1).max() == vocabulary.length - 1  # no shorter rows would do


@given(st.lists(st.lists(st.sampled_from(PIECES)).map("".join), min_size=1, max_size=5))
def test_molecules_come_back_exactly(molecules: list[str]) -> None:
    vocabulary = Vocabulary.fit(molecules, "smiles", length="longest")
    assert vocabulary.decode(vocabulary.encode(molecules)) == molecules


def test_atoms_rings_and_stereo_marks_are_whole() -> None:
    vocabulary = Vocabulary.fit(MOLECULES, "smiles", length="longest")
    assert {"[C@@H]", "Cl", "Br", "%10", "[13CH4]", "[Na+]", "\\", "/"} <= set(vocabulary.tokens)
    assert vocabulary.steps(MOLECULES).tolist()[:3] == [4, 7, 16]
    assert Vocabulary.fit(["C@@C"], "smiles").tokens == ("C", "@@")


def test_words_keep_the_space_before_them() -> None:
    vocabulary = Vocabulary.fit(["Don't go, go!"], "word")
    assert set(vocabulary.tokens) == {"Don't", " go", ",", "!"}
    assert vocabulary.steps(["Don't go, go!"]).tolist() == [6]


def test_tokens_stand_by_frequency_and_then_by_code_point(rng: np.random.Generator) -> None:
    lines = ["bbb", "aac", "cad", "zé"]
    vocabulary = Vocabulary.fit(lines)
    assert vocabulary.tokens == ("a", "b", "c", "d", "z", "é") and vocabulary.symbols == 8
    for _ in range(5):
        assert Vocabulary.fit(list(rng.permutation(lines))) == vocabulary
    assert Vocabulary.fit(lines, most=2).tokens == ("a", "b")


def test_what_the_vocabulary_does_not_have_is_unknown() -> None:
    characters, words = (Vocabulary.fit(["a", "a b"], level, length=5) for level in ("character", "word"))
    # Beyond the largest code point of the vocabulary, and below it.
    for foreign in ("aca", "a\U0001f600a", "a!a"):
        ids = characters.encode([foreign])
        assert ids[0].tolist() == [2, 1, 2, 0, -1] and characters.decode(ids) == ["a�a"]
    ids = words.encode(["a c b!"])
    assert ids[0].tolist() == [2, 1, 3, 1, 0] and words.decode(ids) == ["a� b�"]
    rare = Vocabulary.fit(["CCN", "CN", "CBr"], "smiles", most=2, length=4)
    assert rare.decode(rare.encode(["CBrN"])) == ["C�N"]


def test_rows_are_padded_after_the_end() -> None:
    vocabulary = Vocabulary("character", ("a", "b"), 4)
    assert vocabulary.encode(["abb", "a", ""]).tolist() == [[2, 3, 3, 0], [2, 0, -1, -1], [0, -1, -1, -1]]
    assert vocabulary.encode([]).shape == (0, 4) and vocabulary.decode(vocabulary.encode([])) == []
    # Draws of a model need not end, nor be padded after the end.
    assert vocabulary.decode(np.array([[2, 3, 2, 2], [3, 0, 2, 0], [-1, 2, 2, 2]])) == ["abaa", "b", ""]


def test_length_holds_nearly_all_lines() -> None:
    lines = ["a" * 5] * 998 + ["a" * 9, "a" * 30]
    assert Vocabulary.fit(lines).length == 10 and Vocabulary.fit(lines, length="longest").length == 31
    assert Vocabulary.fit([*lines, "a" * 9]).length == 10 and Vocabulary.fit(["a" * 9] * 10).length == 10
    assert Vocabulary.fit(["a" * 1000] * 9).length == 256 and Vocabulary.fit(lines, length=7).length == 7


def test_lines_that_are_too_long_are_refused_cut_or_skipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(splitting, "_CHUNK", 2)
    vocabulary = Vocabulary("character", ("a", "b", "c"), 3)
    lines = ["ab", "abc", "c", "cabcb", "bb", ""]
    assert vocabulary.decode(vocabulary.encode(lines, "cut")) == ["ab", "ab", "c", "ca", "bb", ""]
    assert vocabulary.decode(vocabulary.encode(lines, "skip")) == ["ab", "c", "bb", ""]
    assert (vocabulary.steps(lines) > vocabulary.length).sum() == 2
    got = "line 2: expected lines of at most 2 tokens, got 2 longer of 6, the longest of 5; try too_long=.*length=6"
    with pytest.raises(DataError, match=got):
        vocabulary.encode(lines)
    with pytest.raises(DataError, match=r"line 3 of .*a\.txt': expected lines of at most 2 tokens"):
        vocabulary.encode(read_lines(write(tmp_path / "a.txt", b"ab\n\nabc\n")))


def test_what_is_no_molecule_is_refused_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splitting, "_CHUNK", 2)
    lines = read_lines(write(tmp_path / "a.smi", "CC\n\nCCO\nC\nCXü name\n".encode()))
    message = r"line 5 of .*a\.smi': expected SMILES, got 'Xü' in 'CXü'; try leaving out that line .*level=character"
    with pytest.raises(DataError, match=message):
        Vocabulary.fit(lines)
    with pytest.raises(DataError, match=message):
        Vocabulary("smiles", ("C", "O"), 5).encode(lines)
    for wrong in ("SMILES", "C C", "C[Ω]C", "C[CH", "[]", "C\nC", "%1%", "[[C]]", "C]"):
        with pytest.raises(DataError, match="line 2: expected SMILES"):
            Vocabulary.fit(["C", wrong], "smiles")
    assert Vocabulary.fit(lines, "character").tokens[0] == "C"


def test_half_a_surrogate_pair_is_no_text() -> None:
    for level in ("character", "word"):
        with pytest.raises(DataError, match="line 2: expected text, got half of a surrogate pair"):
            Vocabulary.fit(["a", "b\ud800"], level)
        with pytest.raises(DataError, match="line 1: expected text, got half of a surrogate pair"):
            Vocabulary(level, ("a",), 5).encode(["\udfff"])


def test_a_vocabulary_is_the_same_after_json() -> None:
    for level in ("character", "word", "smiles"):
        vocabulary = Vocabulary.fit(MOLECULES, level)
        data = vocabulary.to_dict()
        assert Vocabulary.from_dict(json.loads(json.dumps(data, ensure_ascii=False))) == vocabulary
        assert list(data) == ["level", "length", "tokens"]
        again = pickle.loads(pickle.dumps(vocabulary))
        assert again == vocabulary and hash(again) == hash(vocabulary)


@pytest.mark.parametrize(
    "change",
    [
        {"level": "letters"},
        {"level": None},
        {"length": 0},
        {"length": 10**9},
        {"length": 2.5},
        {"length": True},
        {"tokens": ["a", "a"]},
        {"tokens": ["ab"]},
        {"tokens": [""]},
        {"tokens": [1]},
        {"tokens": "abc"},
        {"tokens": None},
    ],
    ids=str,
)
def test_what_is_no_vocabulary(change: dict[str, Any]) -> None:
    data = {"level": "character", "length": 4, "tokens": ["a", "b"]}
    Vocabulary.from_dict(data)
    with pytest.raises(ArtifactError, match=r"this is no vocabulary .*; try"):
        Vocabulary.from_dict(data | change)
    for nothing in (None, [], "text", {}):
        with pytest.raises(ArtifactError, match="this is no vocabulary"):
            Vocabulary.from_dict(nothing)


@pytest.mark.parametrize(
    "settings", [{"level": "letters"}, {"most": 0}, {"most": 2.5}, {"length": 0}, {"length": "short"}], ids=str
)
def test_settings_that_are_none(settings: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=next(iter(settings))):
        Vocabulary.fit(["ab"], **settings)
    with pytest.raises(DataError, match="expected lines of text, got none"):
        Vocabulary.fit([])
    with pytest.raises(DataError, match="expected lines of text, got 'ab'"):
        Vocabulary.fit("ab")
    with pytest.raises(DataError, match="too_long"):
        Vocabulary.fit(["ab"]).encode(["ab"], "wrap")


def test_ids_that_are_none() -> None:
    vocabulary = Vocabulary("character", ("a", "b"), 3)
    for ids, message in [
        (np.array([[0, 0, 0], [2, 4, 0]]), "row 1: expected ids from -1 to 3, got 4 at step 1"),
        (np.array([[-2, 0, 0]]), "row 0: .*got -2"),
        (np.array([2, 0, 0]), r"of shape \(3,\)"),
        (np.array([[2.0, 0.0, 0.0]]), "float64"),
    ]:
        with pytest.raises(DataError, match=message):
            vocabulary.decode(ids)
        with pytest.raises(DataError, match=message):
            OneHotTokens(vocabulary).forward(ids)


# ---- rows and steps -----------------------------------------------------------------------------------------------


def test_rows_are_what_the_vocabulary_encodes(rng: np.random.Generator, tmp_path: Path) -> None:
    lines = ["".join(rng.choice(list("abcdé"), rng.integers(0, 9))) or "x" for _ in range(700)]
    source = TextLines(write(tmp_path / "a.txt", "\n".join(lines).encode()), length="longest")
    ids = source.vocabulary.encode(lines)
    assert len(source) == 700 and source.kind == "tokens" and source.in_memory and source.long == 0
    order = rng.permutation(700)[:300]
    taken = source.take(order)
    assert taken.dtype == np.int32 and (taken == ids[order]).all()
    assert (np.concatenate(list(source.blocks(64))) == ids).all()
    assert source.take(np.array([], int)).shape == (0, source.vocabulary.length)
    for numbers, block in source.shuffled(0, 1):
        assert (block == ids[numbers]).all()
    for wrong in ([700], [-1]):
        with pytest.raises(DataError, match="expected row numbers from 0 to 699"):
            source.take(np.array(wrong))


def test_a_source_of_a_models_vocabulary_and_of_lines_that_are_too_long() -> None:
    lines = ["ab", "abba", "b", "bbbbb"]
    vocabulary = Vocabulary("character", ("a", "b"), 3)
    with pytest.raises(DataError, match="line 2: expected lines of at most 2 tokens"):
        TextLines(lines, vocabulary)
    cut, skipped = TextLines(lines, vocabulary, too_long="cut"), TextLines(lines, vocabulary, too_long="skip")
    assert vocabulary.decode(cut.take(np.arange(4))) == ["ab", "ab", "b", "bb"]
    assert vocabulary.decode(skipped.take(np.arange(2))) == ["ab", "b"]
    assert (cut.long, skipped.long) == (2, 2) and len(skipped) == 2
    assert (cut.numbers.tolist(), skipped.numbers.tolist()) == ([0, 1, 2, 3], [0, 2])
    with pytest.raises(DataError, match="got none that is short enough"):
        TextLines(["abc"], vocabulary, too_long="skip")


def test_rows_lie_in_memory_by_their_characters() -> None:
    source = TextLines(["a" * 5] * 9_999 + ["b" * 5_000], length="longest")
    assert source._ids.nbytes == 9_999 * 5 + 5_000 and source._ids.dtype == np.uint8
    many = TextLines(["".join(map(chr, range(256, 756)))], length="longest")
    assert many._ids.dtype == np.uint16 and many.take(np.array([0])).max() == 501


def test_fingerprints_differ_where_the_rows_do() -> None:
    given = [["ab", "c"], ["a", "bc"], ["ab", "d"], ["c", "ab"], ["ab", "c", "c"]]
    prints = [TextLines(lines).fingerprint() for lines in given]
    assert len(set(prints)) == len(given) and prints[0] == TextLines(["ab", "c"]).fingerprint()


def test_one_hot_steps_are_missing_after_the_end() -> None:
    encoding = OneHotTokens(Vocabulary("character", ("a", "b"), 4))
    ids = encoding.vocabulary.encode(["ab", "c", ""])
    steps = encoding.forward(ids)
    assert steps.dtype == np.float32 and steps.shape == (3, *encoding.shape) == (3, 4, 4)
    assert (np.isnan(steps) == (ids == -1)[..., None]).all()
    assert steps[0, :3].tolist() == [[0, 0, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0]] and steps[1, 0].tolist() == [0, 1, 0, 0]
    back = encoding.inverse(steps)
    assert back.dtype == np.int32 and (back == ids).all() and encoding.state() == {}
    assert encoding.forward(ids[:0]).shape == (0, 4, 4) and encoding.inverse(steps[:0]).shape == (0, 4)


def test_probabilities_become_the_most_probable_symbols_up_to_the_first_end(rng: np.random.Generator) -> None:
    encoding = OneHotTokens(Vocabulary("character", ("a", "b"), 6))
    ids = np.array([[2, 3, 0, 3, 0, 2], [3, 3, 3, 3, 3, 3], [0, 1, 2, 3, 0, 0]])
    p = rng.random((3, 6, 4)) * 0.4
    np.put_along_axis(p, ids[..., None], 0.5, 2)
    expected = [[2, 3, 0, -1, -1, -1], [3] * 6, [0, -1, -1, -1, -1, -1]]
    assert encoding.inverse(p).tolist() == expected
    # A step that was hidden is no end.
    p[1, 2] = np.nan
    assert encoding.inverse(p, "int64")[1].tolist() == [3, 3, -1, 3, 3, 3]


def test_steps_that_are_none() -> None:
    encoding = OneHotTokens(Vocabulary("character", ("a", "b"), 3))
    with pytest.raises(DataError, match="expected rows of 3 steps, got 2"):
        encoding.forward(np.array([[2, 0]]))
    for shape in ((2, 3), (2, 3, 5)):
        with pytest.raises(DataError, match=r"expected \(rows, steps, 4\), got shape"):
            encoding.inverse(np.zeros(shape))


# ---- real lines ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "level", "count", "symbols"),
    [
        ("tatoeba_en.txt.gz", "character", 116_830, 93),
        ("tatoeba_en.txt.gz", "word", 116_830, None),
        ("zinc250k.smi.gz", "smiles", 249_456, None),
        ("qm9.smi.gz", "smiles", 133_885, 22),
    ],
)
def test_real_lines_come_back_exactly(name: str, level: str, count: int, symbols: int | None) -> None:
    if not (DATA / name).exists():
        pytest.skip(f"shared/data/{name} is not here")
    lines = read_lines(DATA / name)
    assert len(lines) == count and lines.empty == 0
    part = Lines(lines[::10], level=lines.level) if symbols is None else lines
    source = TextLines(part, level=level, most=10**6, length="longest")
    assert source.vocabulary.level == level and symbols in (None, source.vocabulary.symbols)
    for start in range(0, len(part), 20_000):
        rows = np.arange(start, min(start + 20_000, len(part)))
        assert source.vocabulary.decode(source.take(rows)) == part[start : start + 20_000]
