"""Read one image file as a network takes it: .npy, PNG, JPEG, BMP or TIFF."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from shiftsearch.data.dataset import DataError
from shiftsearch.data.expansion import overlarge
from shiftsearch.data.fitting import DEFAULT_ASPECT, Aspect, Size, fitted
from shiftsearch.data.npy_image import read_file
from shiftsearch.data.os_errors import fault_in
from shiftsearch.data.quiet_tiff import silence_libtiff
from shiftsearch.data.scale import FULL_BITS, Pixels, Scale, misfit, scale_of, to_unit

FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
"""Pillow's names of the formats that are decoded. No other decoder of Pillow is ever called."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
"""Suffixes of the files that are decoded, in lower case; any other file is read as .npy."""

MAX_SIDE = 1 << 16
"""Most pixels of a side: resizing takes memory for each pixel of the longer one."""

_NAMED = "PNG, JPEG, BMP or TIFF"
_DEEP = ("I;16", "I;16B", "I;16L", "I;16N")
_SHALLOW = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")


class Decoded(NamedTuple):
    """The image of one file, and what was done to it."""

    pixels: Pixels
    """[H, W] uint8 in 0..255 or float32 in 0..1."""
    shape: Size
    """Height and width in the file, turned as its EXIF data says."""
    is_transparent: bool
    """Whether a pixel was not opaque, and so laid over black."""

    @property
    def was_resized(self) -> bool:
        """Whether the file has another size."""
        return self.pixels.shape != self.shape


def read_image(
    path: Path,
    size: Size,
    scale: Scale | None = None,
    bits: int = FULL_BITS,
    aspect: Aspect = DEFAULT_ASPECT,
) -> Decoded:
    """Read a single image file as a network takes it.

    PNG, JPEG, BMP and TIFF images are rotated as their EXIF data says, laid over black where
    transparent, and made grayscale (ITU-R 601 luma; palettes and CMYK through RGB; 16-bit gray is
    scaled to 8 bits). Images of any format and of another size are resized, see `data.fitting`.

    Args:
        path: a .npy, .png, .jpg, .jpeg, .bmp, .tif or .tiff file, in any case.
        size: height and width of the result, pixels.
        scale: the scale of the training images; a .npy file must have values on it. If it is None
            (not known), a .npy file of floats is divided by 255 if it holds a value above 1.
        bits: significant bits of 16-bit gray files; 2^bits - 1 is white.
        aspect: what happens to an image of another aspect ratio.

    Raises:
        DataError: the file does not hold such an image; is animated or has several pages; or
            declares more pixels than `data.expansion` allows for its size.
        OSError: the machine is at fault, not the file.
    """
    if path.suffix.lower() in SUFFIXES:
        pixels, is_transparent = _decode(path, bits)
    else:
        pixels, is_transparent = _read_npy(path, scale), False
    height, width = pixels.shape
    if max(height, width) > MAX_SIDE:
        raise DataError([f"{path}: {width}x{height} pixels, but {MAX_SIDE} is a side's most"])
    return Decoded(fitted(pixels, size, aspect), (height, width), is_transparent)


def _read_npy(path: Path, scale: Scale | None) -> Pixels:
    image = read_file(str(path), least=1)
    if isinstance(image, str):
        raise DataError([image])
    if scale is None:
        scale = scale_of([image.highest])
    if wrong := misfit(scale, image.dtype, image.highest):
        raise DataError([f"{path}: {wrong}, as in the model's training images"])
    return to_unit(image.pixels, scale)


def _decode(path: Path, bits: int) -> tuple[Pixels, bool]:
    """8-bit grayscale of a file that Pillow reads, and whether a pixel is transparent."""
    silence_libtiff()
    try:
        with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
            _check(image, os.fstat(file.fileno()).st_size)
            gray, is_transparent = _to_gray(ImageOps.exif_transpose(image), bits)
            return np.array(gray), is_transparent
    except UnidentifiedImageError as error:
        raise DataError([f"{path}: is not an image, but must be {_NAMED}"]) from error
    except DataError as error:
        raise DataError([f"{path}: {error}"]) from None
    except Exception as error:  # Pillow also raises struct.error, zlib.error and others
        if isinstance(error, OSError):
            fault_in(path, error)
        reason = " ".join(str(error).split())[:200]
        raise DataError([f"{path}: cannot be read as {_NAMED}: {reason}"]) from error


def _check(image: Image.Image, size: int) -> None:
    """Check what a file of `size` bytes declares, before its pixels are decoded.

    Raises:
        DataError: it is too large, has several pages, or pixels of an unknown kind.
    """
    width, height = image.size
    if why := overlarge(width * height, "pixels", size):
        raise DataError([f"{width}x{height} pixels: {why}"])
    # Phones write JPEG files with a second, smaller picture (format MPO); the first one is shown.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise DataError(["is animated or has several pages, but must hold one image"])
    deep = (*_DEEP, "I") if image.format == "PNG" else _DEEP  # earlier Pillow: "I" for 16 bits
    if image.mode not in (*_SHALLOW, *deep):
        raise DataError(
            [f"pixels of kind {image.mode!r}, but must be gray, colour or CMYK of 1 to 16 bits"]
        )


def _to_gray(image: Image.Image, bits: int) -> tuple[Image.Image, bool]:
    """8-bit grayscale of an image in any mode that `_check` lets through; see `_decode`.

    Raises:
        DataError: a 16-bit image has a value of more than `bits` bits.
    """
    if image.mode.startswith("I"):
        deep, white = np.asarray(image).astype(np.uint32), 2**bits - 1
        if deep.max() > white:
            raise DataError(
                [f"largest value {deep.max()}, but the model's 16-bit images go up to {white}"]
            )
        return Image.fromarray(((deep * 255 + white // 2) // white).astype(np.uint8)), False
    is_transparent = False
    if image.has_transparency_data:
        image = image.convert("RGBA")
        lowest, _ = image.getchannel("A").getextrema()
        is_transparent = lowest != 255
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    gray = image if image.mode == "L" else image.convert("RGB").convert("L")
    return gray, is_transparent


def deepest_value(path: Path) -> tuple[int | None, bool]:
    """The largest value of a 16-bit gray file, else None; True for a file of 16-bit colours."""
    silence_libtiff()
    try:
        with path.open("rb") as file:
            header = file.read(26)
            # PNG: signature, length and name of IHDR, width, height, bits at 24, colour at 25.
            is_tiff = header[:2] in (b"II", b"MM")
            if not is_tiff and (header[12:16] != b"IHDR" or header[24] != 16):
                return None, False
            file.seek(0)
            with Image.open(file, formats=("PNG", "TIFF")) as image:
                _check(image, os.fstat(file.fileno()).st_size)
                if image.mode.startswith("I"):
                    return int(np.asarray(image).max()), False
                samples = image.tag_v2.get(258, ()) if is_tiff else (16,)  # type: ignore[attr-defined]
                return None, max(samples, default=8) > 8
    except Exception as error:  # `read_image` will say what is wrong
        if isinstance(error, OSError):
            fault_in(path, error)
        return None, False


def declared_size(path: Path) -> Size | None:
    """Height and width that a picture file declares; None if they cannot be read."""
    try:
        with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
            width, height = image.size
            is_turned = image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
            return (width, height) if is_turned else (height, width)
    except Exception as error:  # `read_image` will say what is wrong
        if isinstance(error, OSError):
            fault_in(path, error)
        return None
