"""What can go wrong with the bytes of a file."""

from __future__ import annotations

from typing import Any

import numpy as np

Generator = np.random.Generator

_NUMBERS = (
    0,
    1,
    -1,
    127,
    128,
    255,
    256,
    32767,
    65535,
    65536,
    2**31 - 1,
    -(2**31),
    2**31,
    2**32 - 1,
    2**40,
    2**62,
    2**63 - 1,
)
_WORDS = (
    b'"', b",", b"\n", b"\r", b"\0", b"\xe9", b";", b"\t", b"{", b"}", b"[", b"]", b'{"a":', b"1e999", b"NaN", b"-inf",
    b"null", b"true", b"\xef\xbb\xbf", b"\xff\xfe", b"'", b"\\", b"\\u0000", b"99999999999999999999", b"-",
    b"2024-02-30", b"PK\x03\x04", b"ARROW1", b"PAR1", b"\x93NUMPY", b"\xff\xff\xff\xff",
)  # fmt: skip


def damaged(content: bytes, rng: Generator) -> tuple[bytes, str]:
    """Return bytes with some damage, and what was done: "cut" is truncation and nothing else."""
    if rng.random() < 0.2:
        return content[: int(rng.integers(0, len(content) + 1))], "cut"
    data, done = bytearray(content), []
    for _ in range(int(rng.integers(1, 4))):
        name = str(rng.choice(list(_DAMAGE)))
        # What says how the rest is read stands at the start and at the end.
        near = float(rng.choice([1.0, 1.0, 0.1]))
        place = int(rng.random() * near * len(data))
        place = len(data) - place if rng.random() < 0.3 else place
        _DAMAGE[name](data, min(place, max(0, len(data) - 1)), rng)
        done.append(f"{name} at {place}")
    return bytes(data), ", ".join(done)


def _flip(data: bytearray, place: int, rng: Generator) -> None:
    if data:
        data[place] ^= 1 << int(rng.integers(0, 8))


def _replace(data: bytearray, place: int, rng: Generator) -> None:
    size = int(rng.integers(1, 9))
    data[place : place + size] = rng.bytes(size)


def _lie(data: bytearray, place: int, rng: Generator) -> None:
    size, number = int(rng.choice([1, 2, 4, 8])), int(rng.choice(np.array(_NUMBERS, object)))
    order: Any = "little" if rng.random() < 0.7 else "big"
    data[place : place + size] = (number % (1 << 8 * size)).to_bytes(size, order)


def _insert(data: bytearray, place: int, rng: Generator) -> None:
    data[place:place] = rng.bytes(int(rng.integers(1, 20)))


def _insert_word(data: bytearray, place: int, rng: Generator) -> None:
    data[place:place] = _WORDS[int(rng.integers(0, len(_WORDS)))] * int(rng.choice([1, 1, 1, 2, 5000]))


def _delete(data: bytearray, place: int, rng: Generator) -> None:
    del data[place : place + int(rng.integers(1, 30))]


def _double(data: bytearray, place: int, rng: Generator) -> None:
    size = int(rng.integers(1, len(data) + 2))
    data[place:place] = data[place : place + size]


def _swap(data: bytearray, place: int, rng: Generator) -> None:
    other, size = int(rng.integers(0, len(data) + 1)), int(rng.integers(1, 40))
    first, second = min(place, other), max(place, other)
    size = min(size, second - first)
    data[first : first + size], data[second : second + size] = data[second : second + size], data[first : first + size]


def _append(data: bytearray, place: int, rng: Generator) -> None:
    data += rng.bytes(int(rng.integers(1, 100)))


_DAMAGE = {f.__name__[1:]: f for f in (_flip, _replace, _lie, _insert, _insert_word, _delete, _double, _swap, _append)}
