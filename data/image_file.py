"""Read one image file of any supported format as a network takes it: .npy, PNG or JPEG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from shiftsearch.data.dataset import DataError
from shiftsearch.data.npy_image import read_file
from shiftsearch.data.os_errors import fault_in
from shiftsearch.data.scale import FULL_BITS, Pixels, Scale, misfit, scale_of, to_unit

SUFFIXES = (".png", ".jpg", ".jpeg")
"""Suffixes of the files that are decoded, in lower case; any other file is read as .npy."""


def read_image(
    path: Path, size: tuple[int, int], scale: Scale | None = None, bits: int = FULL_BITS
) -> Pixels:
    """Read a single image file as a network takes it.

    A .npy file must have the given size, and values on the given scale. PNG and JPEG images are
    rotated as their EXIF data says, laid over black where transparent, made grayscale (ITU-R 601
    luma; 16-bit gray is scaled to 8 bits) and resized with an antialiased bilinear filter,
    without keeping the aspect ratio.

    Args:
        path: a .npy, .png, .jpg or .jpeg file, in any case.
        size: height and width of the result, pixels.
        scale: the scale of the training images. If it is None (not known), a .npy file of floats
            is divided by 255 if it holds a value above 1.
        bits: significant bits of 16-bit gray PNG files; 2^bits - 1 is white.

    Returns:
        [H, W] uint8 in 0..255 or float32 in 0..1.

    Raises:
        DataError: the file does not hold such an image.
        OSError: the machine is at fault, not the file.
    """
    if path.suffix.lower() not in SUFFIXES:
        return _read_npy(path, size, scale)
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as file:
            gray = _to_gray(ImageOps.exif_transpose(file), bits)
    except UnidentifiedImageError as error:
        raise DataError([f"{path}: is not an image, but must be PNG or JPEG"]) from error
    except DataError as error:
        raise DataError([f"{path}: {error}"]) from None
    except Exception as error:  # Pillow also raises struct.error, zlib.error and others
        if isinstance(error, OSError):
            fault_in(path, error)
        raise DataError([f"{path}: cannot be read as PNG or JPEG: {error}"]) from error
    return np.array(gray.resize((size[1], size[0]), Image.Resampling.BILINEAR))


def _read_npy(path: Path, size: tuple[int, int], scale: Scale | None) -> Pixels:
    image = read_file(str(path))
    if isinstance(image, str):
        raise DataError([image])
    if image.pixels.shape != size:
        raise DataError([f"{path}: size {image.pixels.shape}, but must be {size}"])
    if scale is None:
        scale = scale_of([image.highest])
    if wrong := misfit(scale, image.dtype, image.highest):
        raise DataError([f"{path}: {wrong}, as in the model's training images"])
    return to_unit(image.pixels, scale)


def _to_gray(image: Image.Image, bits: int) -> Image.Image:
    """8-bit grayscale of an image in any mode that PNG and JPEG have.

    Raises:
        DataError: a 16-bit image has a value of more than `bits` bits.
    """
    if image.mode.startswith("I"):
        deep, white = np.asarray(image).astype(np.uint32), 2**bits - 1
        if deep.max() > white:
            raise DataError(
                [f"largest value {deep.max()}, but the model's 16-bit images go up to {white}"]
            )
        return Image.fromarray(((deep * 255 + white // 2) // white).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    return image if image.mode == "L" else image.convert("RGB").convert("L")


def deepest_value(path: Path) -> tuple[int | None, bool]:
    """The largest value of a 16-bit gray PNG file, else None; True for a 16-bit colour PNG."""
    try:
        with path.open("rb") as file:
            header = file.read(26)
        # PNG: signature, length and name of IHDR, width, height, bits at 24, kind of colour at 25.
        if header[12:16] != b"IHDR" or header[24] != 16:
            return None, False
        with Image.open(path, formats=("PNG",)) as image:
            if not image.mode.startswith("I"):
                return None, True
            return int(np.asarray(image).max()), False
    except Exception as error:  # `read_image` will say what is wrong
        if isinstance(error, OSError):
            fault_in(path, error)
        return None, False
