"""One image file as a network takes it: colour, depth, size and scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shiftsearch.data.dataset import DataError
from shiftsearch.data.image_file import read_image
from shiftsearch.data.scale import Scale

pytestmark = pytest.mark.unit
UNIT: Scale = "float 0..1"
WIDE: Scale = "float 0..255"


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("RGB", (20, 20), (255, 0, 0)), 76),
        (Image.new("RGBA", (20, 20), (255, 255, 255, 51)), 51),
        (Image.new("LA", (20, 20), (255, 0)), 0),
        (Image.new("1", (20, 20), 1), 255),
        (Image.new("P", (20, 20), 0), 0),
        (Image.fromarray(np.full((20, 20), 0x80FF, dtype=np.uint16)), 128),
        (Image.fromarray(np.full((20, 20), 0xFFFF, dtype=np.uint16)), 255),
    ],
)
def test_every_mode_becomes_gray(tmp_path: Path, image: Image.Image, expected: int) -> None:
    image.save(tmp_path / "x.png")
    found = read_image(tmp_path / "x.png", (16, 16))
    assert (found.shape, found.dtype) == ((16, 16), np.uint8)
    assert np.unique(found).tolist() == [expected]


def test_colour_jpegs_become_gray(tmp_path: Path) -> None:
    Image.new("CMYK", (20, 20), (0, 0, 0, 255)).save(tmp_path / "x.jpg")
    assert read_image(tmp_path / "x.jpg", (16, 16)).max() < 5
    Image.new("RGB", (20, 20), (0, 255, 0)).save(tmp_path / "y.jpg")
    assert abs(int(read_image(tmp_path / "y.jpg", (16, 16))[3, 3]) - 150) < 3


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    pixels = np.zeros((32, 32), dtype=np.uint8)
    pixels[:, :16] = 255  # bright left half; orientation 6 is shown turned clockwise
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "x.jpg", exif=exif)
    found = read_image(tmp_path / "x.jpg", (32, 32))
    assert found[:12].min() > 240
    assert found[20:].max() < 15


def test_reduction_is_antialiased_and_size_is_height_by_width(tmp_path: Path) -> None:
    stripes = np.zeros((160, 320), dtype=np.uint8)
    stripes[::2] = 255
    Image.fromarray(stripes).save(tmp_path / "x.png")
    found = read_image(tmp_path / "x.png", (16, 20))
    assert found.shape == (16, 20)
    assert np.abs(found.astype(int) - 127).max() <= 12


def test_npy_files_read_like_a_dataset_s(tmp_path: Path) -> None:
    pixels = np.arange(16 * 17, dtype=np.float32).reshape(16, 17, 1) % 256
    for name, stored in (("a", pixels.astype(np.uint8)), ("b", pixels / 255), ("c", pixels)):
        np.save(tmp_path / f"{name}.npy", stored)
    a, b, c = (read_image(tmp_path / f"{name}.npy", (16, 17)) for name in "abc")
    assert a.dtype == np.uint8
    assert np.array_equal(a, pixels[..., 0])
    assert b.dtype == c.dtype == np.float32
    assert np.array_equal(b, c)
    for name, scale in (("b", UNIT), ("c", WIDE)):
        assert np.array_equal(read_image(tmp_path / f"{name}.npy", (16, 17), scale), b)
    with pytest.raises(DataError, match=r"a.npy: size \(16, 17\), but must be \(28, 28\)"):
        read_image(tmp_path / "a.npy", (28, 28))
