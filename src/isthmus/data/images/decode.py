"""One image: its header, and its pixels in the shape and depth that a set of images has.

Formats: PNG, JPEG, WebP, TIFF, BMP, GIF, PPM and PGM, recognised by content. What a mode becomes:

| in the file | in the row |
|---|---|
| 1 bit | 0 and 255 |
| grey, 8 bit or less | uint8 |
| grey, 16 bit (12 bit TIFF as it is) | uint16 |
| palette | its colours, 8 bit; grey if all of them are |
| RGB, 8 or 16 bit for each channel | uint8 or uint16 |
| CMYK, YCbCr | RGB, 8 bit, without colour profiles |
| alpha, or a transparent colour | composited onto white |
| floats, signed, 32 bit, Lab, 16 bit CMYK | refused: what is black and white in them is not stated |
| several pages or frames | refused: which one is meant is not known; a phone's JPEG with previews is its picture |
"""

from __future__ import annotations

import io
import sys
import warnings
from typing import Any, BinaryIO

import numpy as np

# TIFF, WebP and MPO are named, since Pillow would otherwise load every plugin that it has to find them.
from PIL import Image, ImageOps, MpoImagePlugin, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin  # noqa: F401

from isthmus.data.images.layout import MAX_PIXELS, Header, Layout
from isthmus.data.images.locate import MAX_BYTES, UnreadableError
from isthmus.errors import reason_of
from isthmus.typing import Array

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM")
_GREY = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I;16N")
_COLOUR = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
_ORIENTATION, _BITS, _PHOTOMETRIC = 0x0112, 258, 262
# Rec. 601, as Pillow's own conversion of 8-bit pixels.
_LUMA = np.array([0.299, 0.587, 0.114])


def read_header(stream: BinaryIO) -> Header:
    """Return what an image says of itself, without its pixels.

    Raises:
        UnreadableError: for what is no image, is one of a kind that is refused, or is too large.
    """
    try:
        with warnings.catch_warnings():
            # What a parser mutters about a damaged note is no matter; what it says of bombs is an error.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(stream, formats=FORMATS)
            return _header(image)
    except UnreadableError:
        raise
    except Exception as error:
        raise _unreadable(error) from None


def _header(image: Any) -> Header:
    width, height = image.size
    turned = _orientation(image) in (5, 6, 7, 8)
    if image.format == "TIFF":  # newer versions of Pillow have turned its size already
        width, height = int(image.tag_v2[256]), int(image.tag_v2[257])
    if width * height > MAX_PIXELS:
        raise UnreadableError(f"it states {height}x{width} pixels, and at most {MAX_PIXELS:,} are read")
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise UnreadableError("it has several pages or frames, and one is one row; save each as a file of its own")
    mode, deep = image.mode, _is_deep(image)
    if mode not in _GREY + _COLOUR and not (mode == "I" and deep):
        raise UnreadableError(f"its pixels are {_KINDS.get(mode, mode)}; save it with 8 or 16 bits for each channel")
    raw = [_raw_mode(tile) for tile in image.tile]
    colour = mode in _COLOUR and "LA;16B" not in raw and not _has_grey_palette(image)
    if deep and mode in _COLOUR and not all(kind in _SWAPPED or kind == "LA;16B" for kind in raw):
        raise UnreadableError(f"its 16-bit {mode} pixels are laid out as {raw[:1]}; save it as a 16-bit RGB PNG")
    return Header(width if turned else height, height if turned else width, colour, deep)


_KINDS = {"F": "floating-point numbers", "I": "32-bit or signed numbers", "LAB": "Lab colours"}


def _orientation(image: Any) -> int:
    """Return how the image is to be turned, by EXIF; upright where that is not stated or not legible."""
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # asking would decode the pixels
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:
        return 1


def _is_deep(image: Any) -> bool:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return True
    if image.format == "TIFF" and image.mode != "I":
        bits = image.tag_v2.get(_BITS, (1,))
        return bool(max(bits if isinstance(bits, tuple) else (bits,)) == 16)
    return any(";16" in _raw_mode(tile) for tile in image.tile) and image.mode != "I"


def _has_grey_palette(image: Any) -> bool:
    if image.mode != "P" or image.palette is None or (image.palette.rawmode or image.palette.mode) != "RGB":
        return False
    colours = np.frombuffer(bytes(image.palette.palette), dtype=np.uint8)
    colours = colours[: len(colours) // 3 * 3].reshape(-1, 3)
    return bool((colours == colours[:, :1]).all())


def _raw_mode(tile: Any) -> str:
    args = tile[3]
    return str(args[0] if isinstance(args, tuple) and args else args)


# Pillow keeps the high byte of 16-bit colours. Told the other order of bytes, it keeps the low one.
_OTHER = "16B" if sys.byteorder == "little" else "16L"
_SWAPPED = {
    f"{mode};16{order}": f"{mode};{other}"
    for mode in ("RGB", "RGBX", "RGBA")
    for order, other in (("B", "16L"), ("L", "16B"), ("N", _OTHER))
}


def read_pixels(data: bytes, header: Header, layout: Layout) -> Array:
    """Return the rows of an image `(rows, *layout.shape)`: one, or its tiles, row by row.

    Args:
        data: the file.
        header: as it was read before.
        layout: of the rows.

    Raises:
        UnreadableError: if the pixels are damaged, or not those that the header stated.
    """
    if len(data) > MAX_BYTES:
        raise UnreadableError(f"it has more than {MAX_BYTES:,} bytes")
    try:
        pixels = _fitted(data, header, layout)
    except UnreadableError:
        raise
    except Exception as error:
        raise _unreadable(error) from None
    return _cut(_in_depth(pixels, header, layout), layout)


def _unreadable(error: Exception) -> UnreadableError:
    if isinstance(error, UnidentifiedImageError):  # its text has an address in it
        return UnreadableError("it is no image of a known format, or its header is damaged")
    if isinstance(error, Image.DecompressionBombWarning | Image.DecompressionBombError):
        return UnreadableError(f"it states more pixels than the {MAX_PIXELS:,} that are read")
    if isinstance(error, MemoryError):
        return UnreadableError("there is not enough memory for its pixels")
    return UnreadableError(f"it is damaged ({reason_of(error)})")


def _fitted(data: bytes, header: Header, layout: Layout) -> Array:
    """Return pixels `(H, W)` or `(H, W, 3)` of the file's depth, in the layout's size unless they are to be cut."""
    image: Any = Image.open(io.BytesIO(data), formats=FORMATS)
    _check_size(image.size, header)
    scaled = layout.fit in ("resize", "crop")
    size = _drafted(image, header, layout) if scaled else None
    if header.deep:
        return _fit_deep(_deep_pixels(image, data), header, layout)
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    image = _plain(image, header.colour)
    if scaled:
        height, width = layout.shape[-2:]
        if image.size != (width, height):
            source = _source_box(size or image.size, layout)
            image = image.resize((width, height), Image.Resampling.BILINEAR, box=source)
    elif image.size != (header.width, header.height):
        raise UnreadableError("its pixels are turned otherwise than its header states; save it anew")
    return np.asarray(image)


def _check_size(size: tuple[int, int], header: Header) -> None:
    if sorted(size) != sorted((header.height, header.width)):
        raise UnreadableError("its size has changed since it was opened")


def _drafted(image: Any, header: Header, layout: Layout) -> tuple[float, float] | None:
    """Let a JPEG be decoded at a half, a quarter or an eighth; return its then fractional upright size."""
    height, width = layout.shape[-2:]
    turned = image.size != (header.width, header.height) or _orientation(image) in (5, 6, 7, 8)
    # Twice the size, so that the averaging is the resize's and not the decoder's.
    wanted = (2 * height, 2 * width) if turned else (2 * width, 2 * height)
    drafted = image.draft(None, wanted)
    if drafted is None:
        return None
    across, down = drafted[1][2:]
    return (down, across) if turned else (across, down)


def _source_box(size: tuple[float, float], layout: Layout) -> tuple[float, float, float, float]:
    """Return what part of an image fills the row: all of it, or the largest centred part of the row's proportions."""
    across, down = float(size[0]), float(size[1])
    height, width = layout.shape[-2:]
    if layout.fit == "resize":
        return 0.0, 0.0, across, down
    scale = min(across / width, down / height)
    left, top = (across - scale * width) / 2, (down - scale * height) / 2
    return max(left, 0.0), max(top, 0.0), min(left + scale * width, across), min(top + scale * height, down)


def _plain(image: Any, colour: bool) -> Any:
    """Return the image as mode L or RGB, what is transparent being white."""
    mode = "RGB" if colour else "L"
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert(mode)
    return image if image.mode == mode else image.convert(mode)


# ---- 16 bits ---------------------------------------------------------------------------------------------------------


def _deep_pixels(image: Any, data: bytes) -> Array:
    """Return uint16 pixels `(H, W)` or `(H, W, 3)`, upright and without transparency."""
    raw = [_raw_mode(tile) for tile in image.tile]
    inverted = image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == 0
    see_through = image.info.get("transparency")
    if image.mode not in _COLOUR:
        values = _upright(image)
        values = values.astype(np.int64).clip(0, 65535).astype(np.uint16)
        values = 65535 - values if inverted else values
    elif "LA;16B" in raw:
        # Four bytes to a pixel: said to be RGBA, they come as they are.
        image.tile = [_with_raw_mode(tile, "RGBA") for tile in image.tile]
        high_low = _upright(image).astype(np.uint16)
        values = high_low[..., ::2] * 256 + high_low[..., 1::2]
    else:
        high = _upright(image).astype(np.uint16)
        again: Any = Image.open(io.BytesIO(data), formats=FORMATS)
        again.tile = [_with_raw_mode(tile, _SWAPPED[_raw_mode(tile)]) for tile in again.tile]
        values = high * 256 + _upright(again)
    if values.ndim == 3 and values.shape[2] in (2, 4):
        alpha = values[..., -1:] / 65535.0
        values = np.rint(values[..., :-1] * alpha + 65535.0 * (1.0 - alpha)).astype(np.uint16)
        values = values[..., 0] if values.shape[2] == 1 else values
    elif isinstance(see_through, int | tuple):
        hidden = values == see_through if values.ndim == 2 else (values == np.asarray(see_through)).all(2)
        values = np.where(hidden if values.ndim == 2 else hidden[..., None], np.uint16(65535), values)
    return values


def _upright(image: Any) -> Array:
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    return np.asarray(image)


def _with_raw_mode(tile: Any, mode: str) -> Any:
    args = (mode, *tile[3][1:]) if isinstance(tile[3], tuple) else mode
    return type(tile)(*tile[:3], args)


def _fit_deep(values: Array, header: Header, layout: Layout) -> Array:
    if layout.fit not in ("resize", "crop"):
        if values.shape[:2] != (header.height, header.width):
            raise UnreadableError("its pixels are turned otherwise than its header states; save it anew")
        return values
    height, width = layout.shape[-2:]
    if values.shape[:2] == (height, width):
        return values
    source = _source_box((values.shape[1], values.shape[0]), layout)
    channels = values[..., None] if values.ndim == 2 else values
    fitted = [
        # Floats, in which 16 bits are exact: not every version of Pillow resizes them as they are.
        Image.fromarray(channels[..., at].astype(np.float32)).resize(
            (width, height), Image.Resampling.BILINEAR, box=source
        )
        for at in range(channels.shape[2])
    ]
    whole = np.stack([np.asarray(channel) for channel in fitted], axis=2)
    whole = np.rint(whole).clip(0, 65535).astype(np.uint16)
    shaped: Array = whole[..., 0] if values.ndim == 2 else whole
    return shaped


# ---- rows ------------------------------------------------------------------------------------------------------------


def _in_depth(pixels: Array, header: Header, layout: Layout) -> Array:
    """Return pixels `(channels, H, W)` of the layout's channels and depth."""
    if header.colour and not layout.colour:
        if header.deep:
            pixels = np.rint(pixels @ _LUMA).astype(np.uint16)
        else:
            pixels = np.asarray(Image.fromarray(pixels).convert("L"))
    if layout.deep and not header.deep:
        # 255 is 65535, as white is white.
        pixels = pixels.astype(np.uint16) * np.uint16(257)
    if pixels.ndim == 2:
        return np.broadcast_to(pixels, (3 if layout.colour else 1, *pixels.shape))
    return np.moveaxis(pixels, 2, 0)


def _cut(pixels: Array, layout: Layout) -> Array:
    """Return rows `(rows, *layout.shape)` from pixels `(channels, H, W)`."""
    if layout.fit != "tile":
        return pixels.reshape(1, *layout.shape)
    height, width = layout.shape[-2:]
    down, across = pixels.shape[1] // height, pixels.shape[2] // width
    whole = pixels[:, : down * height, : across * width].reshape(len(pixels), down, height, across, width)
    return whole.transpose(1, 3, 0, 2, 4).reshape(down * across, *layout.shape)
