"""Images as rows: what was written is read back upright, in its depth and channels, and no bytes do harm."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from isthmus.data.images import locate
from isthmus.data.images import source as image_source
from isthmus.data.images.layout import MAX_PIXELS
from isthmus.data.images.locate import natural
from isthmus.data.images.source import ImageFiles, open_images
from isthmus.errors import DataError
from tests.helpers import SHARED

CELLS = SHARED / "bccd_blood_cells.zip"
Array = np.ndarray[Any, np.dtype[Any]]


def pixels(*shape: int, dtype: str = "u1", seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def smooth(height: int, width: int) -> Array:
    """Colours that a lossy format changes little, and no two corners alike."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    return np.stack([255 * x, 255 * y, 255 * (1 - x)], axis=2).astype("u1")


def save(folder: Path, name: str, values: Array, **options: Any) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, **options)
    return path


def every(source: ImageFiles) -> Array:
    return np.asarray(source.take(np.arange(len(source))))


def png(values: Array, *, alpha: bool = False, size: tuple[int, int] | None = None) -> bytes:
    """Return a 16-bit PNG, which Pillow writes only for grey; every second line is filtered by the one above."""
    high, wide = values.shape[:2]
    channels = values.shape[2] if values.ndim == 3 else 1
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    lines = values.astype(">u2").reshape(high, -1).view("u1")
    packed = b"".join(
        bytes([2]) + (line - lines[at - 1]).tobytes() if at % 2 else bytes([0]) + line.tobytes()
        for at, line in enumerate(lines)
    )
    stated = size or (wide, high)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in (
            (b"IHDR", struct.pack(">IIBBBBB", *stated, 16, kind, 0, 0, 0)),
            (b"IDAT", zlib.compress(packed)),
            (b"IEND", b""),
        )
    )


def tiff(values: Array, order: str = "<", packed: bool = False, photometric: int | None = None, **tags: int) -> bytes:
    """Return a TIFF of one strip, with 16 bits to a channel."""
    high, wide = values.shape[:2]
    channels = values.shape[2] if values.ndim == 3 else 1
    data = values.astype(order + "u2").tobytes()
    data = zlib.compress(data) if packed else data
    photometric = (2 if channels > 1 else 1) if photometric is None else photometric
    entries = {256: wide, 257: high, 259: 8 if packed else 1, 262: photometric, 273: 8, 277: channels, 278: high}
    entries |= {279: len(data), 284: 1} | {int(tag[1:]): value for tag, value in tags.items()}
    bits_at = 8 + len(data) + len(data) % 2
    body = data + b"\0" * (len(data) % 2) + struct.pack(f"{order}{channels}H", *[16] * channels)
    start = 8 + len(body)
    rows = {tag: struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in entries.items()}
    rows[258] = struct.pack(order + "HHI", 258, 3, channels) + (
        struct.pack(order + "HH", 16, 0) if channels == 1 else struct.pack(order + "I", bits_at)
    )
    directory = struct.pack(order + "H", len(rows)) + b"".join(rows[tag] for tag in sorted(rows)) + b"\0" * 4
    return (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, start) + body + directory


# ---- formats, modes and depths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "webp", "ppm", "gif"])
@pytest.mark.parametrize("grey", [True, False])
def test_what_a_lossless_format_holds_is_read_back(tmp_path: Path, suffix: str, grey: bool) -> None:
    if suffix == "gif":
        values = np.repeat(pixels(5, 7)[..., None] // 32 * 32, 3, 2)
        values[0, 0] = (255, 0, 0)
    else:
        values = pixels(5, 7, 3)
    shown = values[..., 0] if grey else values
    options: dict[str, Any] = {"lossless": True, "exact": True} if suffix == "webp" else {}
    save(tmp_path, f"a.{suffix}", shown, **options)
    rows = every(open_images(tmp_path))
    assert rows.dtype == np.uint8
    # WebP has no grey: its rows have three equal channels.
    expected = (
        np.repeat(shown[None], 3, 0) if grey and suffix == "webp" else shown if grey else shown.transpose(2, 0, 1)
    )
    np.testing.assert_array_equal(rows, expected[None])


@pytest.mark.parametrize("grey", [True, False])
def test_a_jpeg_is_read_within_its_loss(tmp_path: Path, grey: bool) -> None:
    values = smooth(16, 24)[..., 1] if grey else smooth(16, 24)
    save(tmp_path, "a.jpg", values, quality=95)
    rows = every(open_images(tmp_path))
    assert rows.shape == ((1, 16, 24) if grey else (1, 3, 16, 24)) and rows.dtype == np.uint8
    assert np.abs(rows[0].astype(int) - (values if grey else values.transpose(2, 0, 1))).max() <= 12


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_grey_of_16_bits_stays(tmp_path: Path, suffix: str) -> None:
    values = pixels(5, 7, dtype="u2")
    save(tmp_path, f"a.{suffix}", values)
    rows = every(open_images(tmp_path))
    assert rows.dtype == np.uint16 and rows.dtype.isnative
    np.testing.assert_array_equal(rows, values[None])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_tiff_of_16_bits_is_read_to_the_last_bit(tmp_path: Path, order: str, packed: bool, channels: int) -> None:
    values = pixels(5, 7, 3, dtype="u2") if channels == 3 else pixels(5, 7, dtype="u2")
    (tmp_path / "a.tif").write_bytes(tiff(values, order, packed))
    expected = values.transpose(2, 0, 1) if channels == 3 else values
    np.testing.assert_array_equal(every(open_images(tmp_path)), expected[None])


def test_a_tiff_of_16_bits_whose_white_is_0_is_turned_over(tmp_path: Path) -> None:
    values = pixels(5, 7, dtype="u2")
    (tmp_path / "a.tif").write_bytes(tiff(values, photometric=0))
    np.testing.assert_array_equal(every(open_images(tmp_path)), 65535 - values[None])


def test_colours_of_16_bits_are_read_to_the_last_bit(tmp_path: Path) -> None:
    values = pixels(6, 7, 3, dtype="u2")
    (tmp_path / "a.png").write_bytes(png(values))
    rows = every(open_images(tmp_path))
    assert rows.dtype == np.uint16
    np.testing.assert_array_equal(rows, values.transpose(2, 0, 1)[None])


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_of_16_bits_lies_on_white(tmp_path: Path, channels: int) -> None:
    values = pixels(6, 7, channels, dtype="u2")
    values[0, :, -1], values[1, :, -1] = 0, 65535
    (tmp_path / "a.png").write_bytes(png(values))
    rows = every(open_images(tmp_path))[0].astype(float)
    alpha = values[..., -1] / 65535
    for channel in range(channels - 1):
        expected = values[..., channel] * alpha + 65535 * (1 - alpha)
        np.testing.assert_allclose(rows if channels == 2 else rows[channel], expected, atol=0.51)


def test_alpha_lies_on_white(tmp_path: Path) -> None:
    colour = np.zeros((1, 3, 4), dtype="u1")
    colour[0, :, 0], colour[0, :, 3] = 200, (0, 128, 255)
    save(tmp_path, "a.png", colour)
    np.testing.assert_array_equal(
        every(open_images(tmp_path))[0, :, 0], [[255, 227, 200], [255, 127, 0], [255, 127, 0]]
    )
    grey = np.zeros((1, 3, 2), dtype="u1")
    grey[0, :, 1] = (0, 128, 255)
    save(tmp_path / "grey", "a.png", grey)
    np.testing.assert_array_equal(every(open_images(tmp_path / "grey")), [[[255, 127, 0]]])


@pytest.mark.parametrize(("mode", "hidden"), [("L", 7), ("RGB", (7, 7, 7)), ("P", 7)])
def test_a_transparent_colour_is_white(tmp_path: Path, mode: str, hidden: Any) -> None:
    image = Image.new("L", (2, 1), 7).convert(mode)
    if mode == "P":
        image.putpalette([value for grey in range(256) for value in (grey, grey, grey)])
    image.putpixel((1, 0), 9 if mode != "RGB" else (9, 9, 9))
    image.save(tmp_path / "a.png", transparency=hidden)
    rows = every(open_images(tmp_path, shape=(1, 2)))
    np.testing.assert_array_equal(rows, [[[255, 9]]])


def test_a_transparent_grey_of_16_bits_is_white(tmp_path: Path) -> None:
    Image.fromarray(np.array([[7, 1000]], dtype="u2")).save(tmp_path / "a.png", transparency=1000)
    np.testing.assert_array_equal(every(open_images(tmp_path)), [[[7, 65535]]])


def test_a_palette_becomes_its_colours(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(every(open_images(tmp_path))[0, :, 0], [[10, 40], [20, 50], [30, 60]])


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "pbm"])
def test_bits_become_0_and_255(tmp_path: Path, suffix: str) -> None:
    bits = pixels(5, 7) > 127
    Image.fromarray(bits).save(tmp_path / f"a.{suffix}")
    rows = every(open_images(tmp_path))
    np.testing.assert_array_equal(rows, bits[None] * 255)


def test_a_cmyk_jpeg_becomes_rgb(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), (250, 20, 20)).convert("CMYK").save(tmp_path / "a.jpg")
    red, green, blue = every(open_images(tmp_path))[0, :, 4, 4]
    assert red > 200 and green < 60 and blue < 60


def test_the_content_says_what_it_is_and_not_the_suffix(tmp_path: Path) -> None:
    save(tmp_path, "a.jpg", pixels(3, 4), format="PNG")
    np.testing.assert_array_equal(every(open_images(tmp_path)), pixels(3, 4)[None])


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("shape", [None, (3, 40, 32)])
def test_orientation_is_applied(tmp_path: Path, suffix: str, orientation: int, shape: Any) -> None:
    turns = {1: (), 2: (0,), 3: (3,), 4: (1,), 5: (5,), 6: (2,), 7: (6,), 8: (4,)}[orientation]
    upright = Image.fromarray(smooth(128, 96))
    stored = upright
    for turn in turns:  # the inverse of what a viewer does: rotations change places
        stored = stored.transpose(Image.Transpose(turn))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"jpg": {"quality": 95}, "webp": {"quality": 95}}.get(suffix, {})
    stored.save(tmp_path / f"a.{suffix}", exif=exif, **options)
    rows = every(open_images(tmp_path, shape=shape))[0].astype(int)
    wanted = upright if shape is None else upright.resize((32, 40), Image.Resampling.BILINEAR)
    assert rows.shape == (3, wanted.height, wanted.width)
    assert np.abs(rows - np.asarray(wanted, dtype=int).transpose(2, 0, 1)).max() <= 14


@pytest.mark.parametrize("orientation", [3, 6])
def test_orientation_is_applied_to_16_bits(tmp_path: Path, orientation: int) -> None:
    values = pixels(4, 6, 3, dtype="u2")
    (tmp_path / "a.tif").write_bytes(tiff(values, t274=orientation))
    turned = np.rot90(values, 2 if orientation == 3 else -1)
    np.testing.assert_array_equal(every(open_images(tmp_path)), turned.transpose(2, 0, 1)[None])


@pytest.mark.parametrize("kind", ["float", "signed", "pages", "frames", "lab"])
def test_what_has_no_stated_meaning_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    first, second = Image.fromarray(pixels(4, 4)), Image.fromarray(pixels(4, 4, seed=1))
    if kind == "float":
        Image.fromarray(np.ones((4, 4), dtype="f4")).save(tmp_path / "odd.tif")
    elif kind == "signed":
        Image.fromarray(np.ones((4, 4), dtype="i4")).save(tmp_path / "odd.tif")
    elif kind == "pages":
        first.save(tmp_path / "odd.tif", save_all=True, append_images=[second])
    elif kind == "frames":
        first.save(tmp_path / "odd.gif", save_all=True, append_images=[second])
    else:
        Image.new("LAB", (4, 4)).save(tmp_path / "odd.tif")
    reason = {"float": "floating-point", "signed": "32-bit or signed", "lab": "Lab"}.get(
        kind, "several pages or frames"
    )
    with pytest.raises(DataError, match=rf"odd\.(tif|gif).*{reason}"):
        open_images(tmp_path)


def test_a_phone_s_jpeg_with_a_preview_is_its_picture(tmp_path: Path) -> None:
    picture, preview = Image.fromarray(smooth(16, 24)), Image.new("RGB", (16, 24))
    picture.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[preview], quality=95)
    with Image.open(tmp_path / "a.jpg") as written:
        assert written.format == "MPO"
    rows = every(open_images(tmp_path))[0].astype(int)
    assert np.abs(rows - smooth(16, 24).transpose(2, 0, 1)).max() <= 12


# ---- sets ------------------------------------------------------------------------------------------------------------


def test_grey_among_colours_has_three_channels_and_8_bits_among_16_reach_white(tmp_path: Path) -> None:
    save(tmp_path, "a.png", np.array([[0, 128, 255]], dtype="u1"))
    save(tmp_path, "b.png", np.array([[[1, 2, 3]] * 3], dtype="u1"))
    assert open_images(tmp_path).dtype == np.uint8
    np.testing.assert_array_equal(every(open_images(tmp_path))[0], [[[0, 128, 255]]] * 3)
    save(tmp_path, "c.png", np.array([[0, 1, 65535]], dtype="u2"))
    rows = every(open_images(tmp_path))
    assert rows.dtype == np.uint16 and rows.shape == (3, 3, 1, 3)
    np.testing.assert_array_equal(rows[0], [[[0, 128 * 257, 65535]]] * 3)
    np.testing.assert_array_equal(rows[1], [[[257] * 3], [[514] * 3], [[771] * 3]])
    np.testing.assert_array_equal(rows[2], [[[0, 1, 65535]]] * 3)


@pytest.mark.parametrize("deep", [True, False])
def test_colours_become_grey_by_their_brightness(tmp_path: Path, deep: bool) -> None:
    values = pixels(6, 7, 3, dtype="u2" if deep else "u1")
    (tmp_path / "a.png").write_bytes(png(values)) if deep else save(tmp_path, "a.png", values)
    brightness = values @ np.array([0.299, 0.587, 0.114])
    for shape in ((6, 7), (1, 6, 7)):
        rows = every(open_images(tmp_path, shape=shape))
        assert rows.shape == (1, *shape)
        assert np.abs(rows.reshape(6, 7) - brightness).max() <= 1


def test_unequal_sizes_are_refused_with_what_there_is(tmp_path: Path) -> None:
    save(tmp_path, "a.png", pixels(4, 5, 3))
    save(tmp_path, "b.png", pixels(4, 5))
    save(tmp_path, "c.png", pixels(6, 5))
    with pytest.raises(DataError, match=r"2 of 4x5 \(such as 'a.png'\), 1 of 6x5 .*try --rows image:3x64x64"):
        open_images(tmp_path)
    assert every(open_images(tmp_path, shape=(3, 4, 4))).shape == (3, 3, 4, 4)


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_resize_averages_where_it_shrinks(tmp_path: Path, dtype: str) -> None:
    board = np.indices((64, 64)).sum(0) % 2 * np.iinfo(dtype).max
    save(tmp_path, "a.png", board.astype(dtype))
    rows = every(open_images(tmp_path, shape=(8, 8))).astype(float)
    assert np.abs(rows / np.iinfo(dtype).max - 0.5).max() < 0.02


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_crop_cuts_out_the_centre(tmp_path: Path, dtype: str) -> None:
    values = pixels(4, 10, dtype=dtype)
    save(tmp_path, "wide.png", values)
    save(tmp_path, "high.png", values.T)
    rows = every(open_images(tmp_path, shape=(4, 4), fit="crop"))
    np.testing.assert_array_equal(rows, [values[:, 3:7].T, values[:, 3:7]])
    # Scaled by an eighth, from the centre.
    blocks = np.kron(pixels(2, 5, dtype=dtype), np.ones((16, 16), dtype=dtype))
    save(tmp_path / "blocks", "a.png", blocks)
    rows = every(open_images(tmp_path / "blocks", shape=(4, 4), fit="crop"))
    expected = np.asarray(Image.fromarray(blocks.astype("f4")).resize((10, 4), Image.Resampling.BILINEAR))[:, 3:7]
    assert np.abs(rows[0].astype(float) - expected).max() <= (0.51 if dtype == "u2" else 1)


@pytest.mark.parametrize("fit", ["resize", "crop"])
def test_a_jpeg_that_is_decoded_smaller_keeps_its_geometry(tmp_path: Path, fit: str) -> None:
    # 483 is no multiple of the eight by which its decoder shrinks.
    values = smooth(331, 483)
    save(tmp_path, "a.jpg", values, quality=95)
    rows = every(open_images(tmp_path, shape=(3, 20, 20), fit=fit))[0].astype(int)
    part = (0, 0, 483, 331) if fit == "resize" else (76, 0, 407, 331)
    exact = np.asarray(Image.fromarray(values).resize((20, 20), Image.Resampling.BILINEAR, box=part), dtype=int)
    assert np.abs(rows - exact.transpose(2, 0, 1)).max() <= 1


@pytest.mark.parametrize("colour", [True, False])
@pytest.mark.parametrize("cache", [0, 1 << 20])
def test_tiles_are_put_together_again(tmp_path: Path, colour: bool, cache: int) -> None:
    large, small = (pixels(9, 14, 3), pixels(4, 8, 3)) if colour else (pixels(9, 14), pixels(4, 8))
    save(tmp_path, "a.png", large)
    save(tmp_path, "b.png", small)
    shape = (3, 4, 4) if colour else (4, 4)
    tiles = open_images(tmp_path, shape=shape, fit="tile", cache_bytes=cache)
    assert tiles.names == ("a.png",) * 6 + ("b.png",) * 2
    np.testing.assert_array_equal(tiles.places[[0, 4, 7]], [[0, 0, 0], [0, 1, 1], [1, 0, 1]])
    first = large.transpose(2, 0, 1) if colour else large
    np.testing.assert_array_equal(tiles.take(np.array([4]))[0], first[..., 4:8, 4:8])
    whole = tiles.untile(every(tiles))
    np.testing.assert_array_equal(whole[0], first[..., :8, :12])
    np.testing.assert_array_equal(whole[1], small.transpose(2, 0, 1) if colour else small)
    np.testing.assert_array_equal(tiles.untile(np.arange(8))[0], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(np.concatenate(list(tiles.blocks(3))), every(tiles))
    with pytest.raises(DataError, match="one for each tile"):
        tiles.untile(np.zeros((7, 4, 4)))


def test_an_image_smaller_than_a_tile_is_refused(tmp_path: Path) -> None:
    save(tmp_path, "a.png", pixels(9, 14))
    save(tmp_path, "b.png", pixels(9, 3))
    with pytest.raises(DataError, match=r"'b.png'.*9x3, smaller than a tile of 4x4"):
        open_images(tmp_path, shape=(4, 4), fit="tile")
    assert open_images(tmp_path, shape=(4, 4), fit="tile", on_error="skip").skipped[0][0] == "b.png"
    with pytest.raises(DataError, match="shape of a tile"):
        open_images(tmp_path, fit="tile")


@pytest.mark.parametrize(
    "options",
    [
        {"shape": (64, 64, 3)},
        {"shape": (2, 64, 64)},
        {"shape": (64,)},
        {"shape": (0, 4)},
        {"shape": (4.0, 4)},
        {"shape": (100_000, 100_000)},
        {"fit": "stretch"},
        {"on_error": "ignore"},
        {"workers": 0},
        {"cache_bytes": -1},
    ],
)
def test_options_that_mean_nothing_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    save(tmp_path, "a.png", pixels(4, 4))
    with pytest.raises(DataError, match=next(iter(options))):
        open_images(tmp_path, **options)


# ---- places ----------------------------------------------------------------------------------------------------------


def zipped(folder: Path, file: Path, inside: str = "", packing: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(file, "w", packing) as archive:
        for path in sorted(folder.rglob("*"), reverse=True):
            archive.write(path, inside + path.relative_to(folder).as_posix())
    return file


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    folder = tmp_path / "animals"
    for at, name in enumerate(["dog/b10.png", "dog/b9.png", "cat/a.png", "cat/c.png"]):
        save(folder, name, pixels(4, 5, 3, seed=at))
    return folder


def test_folder_zip_glob_and_list_are_the_same(animals: Path, tmp_path: Path) -> None:
    wanted = ("cat/a.png", "cat/c.png", "dog/b9.png", "dog/b10.png")
    given = [animals, str(animals), zipped(animals, tmp_path / "a.zip"), animals / "*" / "*.png", animals / "**/*.png"]
    given += [zipped(animals, tmp_path / "b.zip", packing=zipfile.ZIP_STORED), [animals / name for name in wanted]]
    for place in given:
        source = open_images(place)
        assert source.kind == "image" and source.names == wanted and len(source) == 4
        assert source.labels == ("cat", "cat", "dog", "dog")
        np.testing.assert_array_equal(every(source), every(open_images(animals)))
    np.testing.assert_array_equal(every(open_images(animals))[3], pixels(4, 5, 3, seed=0).transpose(2, 0, 1))
    assert open_images(animals / "dog" / "b9.png").names == ("b9.png",)


def test_a_list_keeps_its_order_and_repeats(animals: Path) -> None:
    listed = [str(animals / "dog/b10.png"), animals / "cat/a.png", animals / "dog/b10.png"]
    source = open_images(listed)
    assert source.names == ("dog/b10.png", "cat/a.png", "dog/b10.png")
    rows = every(source)
    np.testing.assert_array_equal(rows[0], rows[2])


def test_labels_are_folders_side_by_side_and_nothing_else(animals: Path, tmp_path: Path) -> None:
    assert open_images(zipped(animals, tmp_path / "a.zip", "outer/animals/")).labels == ("cat", "cat", "dog", "dog")
    assert open_images(animals / "cat").labels is None
    only = tmp_path / "only"
    save(only, "cat/a.png", pixels(4, 5))
    assert open_images(only).labels is None
    save(only, "cat/deep/a.png", pixels(4, 5))
    assert open_images(only).labels is None
    save(animals, "e.png", pixels(4, 5))
    assert open_images(animals).labels is None


def test_names_are_sorted_as_people_do() -> None:
    names = ["img10.png", "img9.png", "IMG2.png", "a/1.png", "a/01.png", "b.png", "9" * 5000 + ".png", "²³.png", "10"]
    ordered = sorted(names, key=natural)
    assert ordered == [
        "10",
        "9" * 5000 + ".png",
        "a/01.png",
        "a/1.png",
        "b.png",
        "IMG2.png",
        "img9.png",
        "img10.png",
        "²³.png",
    ]
    names.reverse()
    assert sorted(names, key=natural) == ordered


def test_what_is_no_image_is_ignored_and_counted(animals: Path, tmp_path: Path) -> None:
    for name in ("labels.csv", "Thumbs.db", "cat/.DS_Store", "cat/._a.png", ".git/a.png", ".git/b.png"):
        (animals / name).parent.mkdir(exist_ok=True)
        (animals / name).write_bytes(b"none")
    (animals / "__MACOSX").mkdir()
    (animals / "__MACOSX" / "a.png").write_bytes(b"none")
    archive = zipped(animals, tmp_path / "a.zip")
    for place in (animals, archive):
        source = open_images(place)
        assert len(source) == 4 and source.ignored == 6 and source.labels is not None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_links_to_files_are_followed_and_links_to_folders_and_pipes_are_not(animals: Path, tmp_path: Path) -> None:
    save(tmp_path / "other", "x.png", pixels(4, 5))
    (animals / "cat" / "linked.png").symlink_to(tmp_path / "other" / "x.png")
    (animals / "cat" / "loop").symlink_to(animals)
    (animals / "cat" / "elsewhere").symlink_to(tmp_path / "other")
    os.mkfifo(animals / "cat" / "pipe.png")
    for place in (animals, animals / "**" / "*.png"):
        source = open_images(place)
        assert len(source) == 5 and "cat/linked.png" in source.names
    assert open_images(animals).ignored == 3
    with pytest.raises(DataError, match=r"pipe\.png.*no regular file"):
        open_images([animals / "cat" / "pipe.png"])
    (animals / "cat" / "broken.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(DataError, match=r"broken\.png.*broken link"):
        open_images(animals)


def test_a_place_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1")
    zipped(tmp_path, tmp_path / "a.zip")
    for place in (tmp_path, tmp_path / "a.zip", tmp_path / "*"):
        with pytest.raises(DataError, match=r"expected images .*got none \(\d other file\(s\), such as 'a"):
            open_images(place)
    for place in (
        tmp_path / "missing",
        [],
        b"a.png",
        {"a.png": 1},
        3,
        [3],
        [tmp_path],
        [tmp_path / "no.png"],
        "a\0.png",
    ):
        with pytest.raises(DataError):
            open_images(place)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"\*\*/\*\.png"):
        open_images(tmp_path / "missing")


# ---- damage ----------------------------------------------------------------------------------------------------------


def damaged(folder: Path) -> set[str]:
    """Add damaged images of four kinds to a folder, and return their names."""
    whole = save(folder, "whole.png", pixels(40, 50, 3)).read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_text("this is no image")
    (folder / "empty.png").write_bytes(b"")
    jpeg = save(folder, "cut.jpg", smooth(40, 50)).read_bytes()
    (folder / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2 + 200])
    return {"cut.png", "text.png", "empty.png", "cut.jpg"}


@pytest.mark.parametrize("in_zip", [True, False])
@pytest.mark.parametrize("cache", [0, 1 << 20])
def test_damage_is_skipped_on_request_and_counted(tmp_path: Path, in_zip: bool, cache: int) -> None:
    folder = tmp_path / "images"
    bad = damaged(folder)
    place = zipped(folder, tmp_path / "a.zip") if in_zip else folder
    source = open_images(place, on_error="skip", cache_bytes=cache)
    assert len(source) == 1 and source.names == ("whole.png",)
    assert {name for name, _ in source.skipped} == bad and len(source.skipped) == 4
    assert dict(source.skipped)["empty.png"] == "it is empty" and "no image" in dict(source.skipped)["text.png"]
    np.testing.assert_array_equal(every(source), pixels(40, 50, 3).transpose(2, 0, 1)[None])


@pytest.mark.parametrize("name", ["cut.png", "text.png", "empty.png", "cut.jpg"])
@pytest.mark.parametrize("in_zip", [True, False])
def test_damage_is_refused_by_name(tmp_path: Path, name: str, in_zip: bool) -> None:
    folder = tmp_path / "images"
    for other in damaged(folder) - {name}:
        (folder / other).unlink()
    place = zipped(folder, tmp_path / "a.zip") if in_zip else folder
    with pytest.raises(DataError, match=rf"'{name}'.*on_error='skip'"):
        # Cut pixels show when they are decoded.
        every(open_images(place))
    with pytest.raises(DataError, match=rf"'{name}'"):
        list(open_images(place, cache_bytes=0, workers=2).shuffled(0, 0))


def test_several_damaged_images_are_counted_when_refused(tmp_path: Path) -> None:
    damaged(tmp_path)
    with pytest.raises(DataError, match=r"'empty.png'.*\(and 1 more\)"):
        open_images(tmp_path)


def test_a_damaged_image_alone_does_not_decide_size_or_depth(tmp_path: Path) -> None:
    save(tmp_path, "a.png", pixels(4, 5))
    deep = png(pixels(60, 70, 3, dtype="u2"))
    (tmp_path / "b.png").write_bytes(deep[: len(deep) // 2])
    source = open_images(tmp_path, on_error="skip")
    assert source.shape == (4, 5) and source.dtype == np.uint8 and source.names == ("a.png",)
    save(tmp_path, "c.png", pixels(6, 5))
    with pytest.raises(DataError, match="1 of 4x5"):
        open_images(tmp_path, on_error="skip")


def test_nothing_left_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    cut = png(pixels(60, 70, 3, dtype="u2"))
    (tmp_path / "b.png").write_bytes(cut[: len(cut) // 2])
    with pytest.raises(DataError, match=r"none of its 2 image\(s\) can be read, such as 'a.png' \(it is empty\)"):
        open_images(tmp_path, on_error="skip")


def test_a_damaged_archive_is_refused(animals: Path, tmp_path: Path) -> None:
    whole = zipped(animals, tmp_path / "whole.zip").read_bytes()
    for name, content in (("cut", whole[: len(whole) // 2]), ("empty", b""), ("text", b"no archive")):
        (tmp_path / f"{name}.zip").write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}\.zip"):
            open_images(tmp_path / f"{name}.zip")


def test_a_damaged_member_is_named(animals: Path, tmp_path: Path) -> None:
    archive = zipped(animals, tmp_path / "a.zip", packing=zipfile.ZIP_STORED)
    content = bytearray(archive.read_bytes())
    content[content.find(b"IDAT", content.find(b"cat/c.png")) + 20] ^= 0xFF
    archive.write_bytes(content)
    with pytest.raises(DataError, match=r"'cat/c.png'.*a\.zip.*damaged"):
        every(open_images(archive))
    assert [name for name, _ in open_images(archive, on_error="skip").skipped] == ["cat/c.png"]


def test_an_encrypted_archive_is_refused(animals: Path, tmp_path: Path) -> None:
    content = bytearray(zipped(animals, tmp_path / "a.zip").read_bytes())
    start = content.find(b"PK\x01\x02")
    while start >= 0:
        content[start + 8] |= 1
        start = content.find(b"PK\x01\x02", start + 1)
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.zip' is encrypted \('cat/a"):
        open_images(tmp_path / "a.zip")


def test_names_in_an_archive_stay_inside(tmp_path: Path) -> None:
    image = io.BytesIO()
    Image.fromarray(pixels(4, 5)).save(image, "PNG")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("../up.png", "/etc/absolute.png", "a/../../up.png", "c\\back.png", "inside.png"):
            archive.writestr(name, image.getvalue())
    assert open_images(tmp_path / "a.zip").names == ("c/back.png", "etc/absolute.png", "inside.png")


@pytest.mark.parametrize("in_zip", [True, False])
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, in_zip: bool) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    side = int(MAX_PIXELS**0.5) + 1
    for stated in (side, 200_000):
        (folder / "bomb.png").write_bytes(png(pixels(2, 2, 3, dtype="u2"), size=(side, stated)))
        place = zipped(folder, tmp_path / "a.zip") if in_zip else folder
        with pytest.raises(DataError, match=r"bomb\.png.*89,478,485"):
            open_images(place)


def test_a_file_that_is_too_long_is_refused(animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locate, "MAX_BYTES", 50)
    for place in (animals, zipped(animals, tmp_path / "a.zip")):
        with pytest.raises(DataError, match=r"cat/a\.png.*at most 50 are read"):
            open_images(place)


def test_a_long_header_in_an_archive_is_read(tmp_path: Path) -> None:
    long = io.BytesIO()
    Image.fromarray(smooth(16, 24)).save(long, "JPEG", quality=95, icc_profile=os.urandom(100_000))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.jpg", long.getvalue())
    assert open_images(tmp_path / "a.zip").shape == (3, 16, 24)


# ---- reading, caching and shuffling ----------------------------------------------------------------------------------


@pytest.fixture
def many(tmp_path: Path) -> Path:
    for at in range(70):
        save(tmp_path / "many", f"{at}.png", pixels(4, 5, seed=at))
    return tmp_path / "many"


def test_the_cache_changes_nothing_but_the_time(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    original: Callable[..., Array] = image_source.read_pixels

    def counted(*arguments: Any) -> Array:
        decoded.append(1)
        return original(*arguments)

    monkeypatch.setattr(image_source, "read_pixels", counted)
    cached, bare = open_images(many), open_images(many, cache_bytes=70 * 20 - 1, workers=2)
    assert not decoded and not cached.in_memory
    rows = np.array([5, 3, 5, 69])
    expected = np.stack([pixels(4, 5, seed=at) for at in rows])
    np.testing.assert_array_equal(cached.take(rows), expected)
    assert len(decoded) == 3 and not cached.in_memory  # no more than was asked for
    assert len(list(cached.blocks(16))) == 5 and len(decoded) == 70 and cached.in_memory
    np.testing.assert_array_equal(cached.take(rows), expected)
    assert len(decoded) == 70
    np.testing.assert_array_equal(bare.take(rows), expected)
    np.testing.assert_array_equal(every(bare), every(cached))
    assert len(decoded) == 70 + 3 + 70 and not bare.in_memory
    just = open_images(many, cache_bytes=70 * 20)
    assert every(just).shape == (70, 4, 5) and just.in_memory
    assert cached.take(np.array([], dtype=np.int64)).shape == (0, 4, 5)


def test_what_is_received_is_not_what_is_kept(many: Path) -> None:
    source = open_images(many)
    for _ in range(2):  # as it is decoded, and from the cache
        every(source)[:] = 0
    source.take(np.array([2]))[:] = 0
    np.testing.assert_array_equal(source.take(np.array([2]))[0], pixels(4, 5, seed=2))


@pytest.mark.parametrize("tile", [True, False])
def test_shuffled_yields_each_row_once_whatever_is_cached(
    many: Path, monkeypatch: pytest.MonkeyPatch, tile: bool
) -> None:
    monkeypatch.setattr(image_source, "_BLOCK_BYTES", 200)
    monkeypatch.setattr(image_source, "_BLOCK_ROWS", 100)
    options: dict[str, Any] = {"shape": (2, 2), "fit": "tile"} if tile else {}
    runs = []
    for more in ({"cache_bytes": 0}, {"cache_bytes": 0, "workers": 2}, {}, {"on_error": "skip"}):
        source = open_images(many, **options, **more)
        for _ in range(2):
            parts = list(source.shuffled(7, 3))
            assert len(parts) > 5
            for rows, block in parts:
                np.testing.assert_array_equal(block, source.take(rows))
            runs.append(np.concatenate([rows for rows, _ in parts]))
    assert all((run == runs[0]).all() for run in runs)
    np.testing.assert_array_equal(np.sort(runs[0]), np.arange(len(source)))
    assert (runs[0] != np.arange(len(source))).any()
    for rows, _ in parts[:3]:
        files = source.places[rows, 0]
        assert np.ptp(files) > 15  # from all over the folder
        assert not tile or (np.diff(files) != 0).sum() > len(set(files))  # and tiles are mixed
    other = np.concatenate([rows for rows, _ in source.shuffled(7, 4)])
    assert (other != runs[0]).any()


def test_shuffled_may_be_left_early(many: Path) -> None:
    source = open_images(many, cache_bytes=0, workers=2)
    rows, block = next(source.shuffled(0, 0))
    np.testing.assert_array_equal(block, source.take(rows))


def test_rows_that_are_not_there_are_refused(many: Path) -> None:
    for row in (-1, 70):
        with pytest.raises(DataError, match="from 0 to 69"):
            open_images(many).take(np.array([row]))


@pytest.mark.parametrize("in_zip", [True, False])
def test_changes_are_seen(animals: Path, tmp_path: Path, in_zip: bool) -> None:
    def place() -> Path:
        return zipped(animals, tmp_path / "a.zip") if in_zip else animals

    source = open_images(place())
    before = source.fingerprint()
    source.check_unchanged()
    assert open_images(place()).fingerprint() == before
    assert open_images(place(), shape=(3, 2, 2)).fingerprint() != before
    changes: list[tuple[str, Callable[[], object]]] = [
        ("'cat/c.png' changed", lambda: save(animals, "cat/c.png", pixels(5, 5, 3))),
        ("'cat/b.png' came", lambda: save(animals, "cat/b.png", pixels(4, 5, 3))),
        ("'dog/b9.png' vanished", lambda: (animals / "dog/b9.png").unlink()),
    ]
    for message, change in changes:
        change()
        now = open_images(place(), shape=(3, 4, 4))
        with pytest.raises(DataError, match=message):
            source.check_unchanged()
        assert now.fingerprint() != open_images(animals / "cat", shape=(3, 4, 4)).fingerprint()
        source = now
        source.check_unchanged()


def test_a_file_that_shrinks_after_opening_is_named(animals: Path) -> None:
    source = open_images(animals)
    save(animals, "cat/c.png", pixels(3, 3, 3))
    (animals / "cat/a.png").unlink()
    with pytest.raises(DataError, match=r"cat/c\.png.*size has changed"):
        source.take(np.array([1]))
    with pytest.raises(DataError, match=r"cat/a\.png"):
        source.take(np.array([0]))


@pytest.mark.skipif(not CELLS.exists(), reason=f"{CELLS.name} is not here")
def test_real_photographs_are_read(tmp_path: Path) -> None:
    cells = open_images(CELLS, shape=(3, 64, 64))
    assert len(cells) == 364 and cells.ignored > 0 and cells.labels is None
    rows = cells.take(np.arange(8)).astype(float)
    with zipfile.ZipFile(CELLS) as archive:
        whole = Image.open(io.BytesIO(archive.read(cells.names[3])))
        exact = np.asarray(whole.resize((64, 64), Image.Resampling.BILINEAR), dtype=float)
    assert np.abs(rows[3] - exact.transpose(2, 0, 1)).mean() < 1.5


# ---- bytes from strangers --------------------------------------------------------------------------------------------


def samples() -> dict[str, bytes]:
    found = {}
    for suffix in ("png", "jpg", "webp", "tif", "gif", "bmp", "ppm"):
        stream = io.BytesIO()
        image = Image.fromarray(smooth(12, 16))
        image.save(stream, {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper()))
        found[suffix] = stream.getvalue()
    deep = pixels(6, 8, 3, dtype="u2")
    return found | {"deep.png": png(deep), "deep.tif": tiff(deep), "packed.tif": tiff(deep, packed=True)}


SAMPLES = samples()


def try_to_read(place: Path) -> None:
    for options in ({}, {"shape": (3, 8, 8), "cache_bytes": 0}, {"on_error": "skip"}):
        with contextlib.suppress(DataError):
            every(open_images(place, **options))  # type: ignore[arg-type]


@settings(max_examples=40)
@given(content=st.binary(max_size=300), suffix=st.sampled_from(sorted(SAMPLES)), start=st.integers(0, 60))
def test_no_bytes_raise_anything_but_data_errors(tmp_path: Path, content: bytes, suffix: str, start: int) -> None:
    (tmp_path / f"a.{suffix}").write_bytes(SAMPLES[suffix][:start] + content)
    try_to_read(tmp_path)
    (tmp_path / f"a.{suffix}").unlink()


@settings(max_examples=150)
@given(data=st.data(), kind=st.sampled_from(sorted(SAMPLES)))
def test_no_flipped_bits_raise_anything_but_data_errors(tmp_path: Path, data: Any, kind: str) -> None:
    content = bytearray(SAMPLES[kind])
    flips = st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 7)), min_size=1, max_size=6)
    for place, bit in data.draw(flips):
        content[place] ^= 1 << bit
    path = tmp_path / f"a.{kind}"
    path.write_bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])
    try_to_read(tmp_path)
    path.unlink()


@settings(max_examples=60)
@given(data=st.data())
def test_no_archive_raises_anything_but_data_errors(tmp_path: Path, data: Any) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", SAMPLES["png"])
        archive.writestr("b.tif", SAMPLES["packed.tif"])
    content = bytearray(stream.getvalue())
    for place, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=6)
    ):
        content[place] = value
    (tmp_path / "a.zip").write_bytes(content)
    try_to_read(tmp_path / "a.zip")
