"""One image file as a network takes it: colour, depth, size and scale."""

from __future__ import annotations

import resource
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shiftsearch.data.dataset import DataError
from shiftsearch.data.image_file import deepest_value, read_image
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
    found = read_image(tmp_path / "x.png", (16, 16)).pixels
    assert (found.shape, found.dtype) == ((16, 16), np.uint8)
    assert np.unique(found).tolist() == [expected]


def test_colour_jpegs_become_gray(tmp_path: Path) -> None:
    Image.new("CMYK", (20, 20), (0, 0, 0, 255)).save(tmp_path / "x.jpg")
    assert read_image(tmp_path / "x.jpg", (16, 16)).pixels.max() < 5
    Image.new("RGB", (20, 20), (0, 255, 0)).save(tmp_path / "y.jpg")
    assert abs(int(read_image(tmp_path / "y.jpg", (16, 16)).pixels[3, 3]) - 150) < 3


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    pixels = np.zeros((32, 32), dtype=np.uint8)
    pixels[:, :16] = 255  # bright left half; orientation 6 is shown turned clockwise
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "x.jpg", exif=exif)
    found = read_image(tmp_path / "x.jpg", (32, 32)).pixels
    assert found[:12].min() > 240
    assert found[20:].max() < 15


def test_reduction_is_antialiased_and_size_is_height_by_width(tmp_path: Path) -> None:
    stripes = np.zeros((160, 320), dtype=np.uint8)
    stripes[::2] = 255
    Image.fromarray(stripes).save(tmp_path / "x.png")
    found = read_image(tmp_path / "x.png", (16, 20)).pixels
    assert found.shape == (16, 20)
    assert np.abs(found.astype(int) - 127).max() <= 12


def test_npy_files_read_like_a_dataset_s(tmp_path: Path) -> None:
    pixels = np.arange(16 * 17, dtype=np.float32).reshape(16, 17, 1) % 256
    for name, stored in (("a", pixels.astype(np.uint8)), ("b", pixels / 255), ("c", pixels)):
        np.save(tmp_path / f"{name}.npy", stored)
    a, b, c = (read_image(tmp_path / f"{name}.npy", (16, 17)).pixels for name in "abc")
    assert a.dtype == np.uint8
    assert np.array_equal(a, pixels[..., 0])
    assert b.dtype == c.dtype == np.float32
    assert np.array_equal(b, c)
    for name, scale in (("b", UNIT), ("c", WIDE)):
        assert np.array_equal(read_image(tmp_path / f"{name}.npy", (16, 17), scale).pixels, b)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_npy_files_are_resized_like_pictures_within_their_range(
    tmp_path: Path, dtype: type[np.generic]
) -> None:
    pixels = np.random.default_rng(0).integers(256, size=(40, 30), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", pixels if dtype is np.uint8 else (pixels / 255).astype(dtype))
    picture = read_image(tmp_path / "a.png", (16, 20))
    array = read_image(tmp_path / "a.npy", (16, 20), "uint8" if dtype is np.uint8 else UNIT)
    assert picture.was_resized
    assert array.was_resized
    assert array.pixels.dtype == (np.uint8 if dtype is np.uint8 else np.float32)
    unit = array.pixels if dtype is np.uint8 else array.pixels * 255
    assert np.abs(unit - picture.pixels.astype(float)).max() <= 1.01  # Pillow rounds twice
    assert not read_image(tmp_path / "a.npy", (40, 30)).was_resized
    tiny = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    np.save(tmp_path / "tiny.npy", tiny)
    assert read_image(tmp_path / "tiny.npy", (2, 3)).pixels.tolist() == tiny[0].tolist()


def test_tiff_and_bmp_become_gray(tmp_path: Path) -> None:
    pixels = np.arange(400, dtype=np.uint16).reshape(20, 20)
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "a.bmp")
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "b.tif")
    Image.fromarray(pixels * 160).save(tmp_path / "c.tiff", compression="tiff_lzw")
    Image.new("CMYK", (20, 20), (0, 0, 0, 255)).save(tmp_path / "d.tif")
    a, b, c, d = (
        read_image(tmp_path / name, (20, 20)).pixels
        for name in ("a.bmp", "b.tif", "c.tiff", "d.tif")
    )
    assert np.array_equal(a, pixels.astype(np.uint8))
    assert np.array_equal(b, a)
    assert np.abs(c - pixels * 160 / 257).max() <= 0.5
    assert d.max() == 0
    assert deepest_value(tmp_path / "c.tiff") == (399 * 160, False)
    assert deepest_value(tmp_path / "b.tif") == (None, False)


def test_transparency_is_told_only_where_a_pixel_shows_it(tmp_path: Path) -> None:
    for alpha in (254, 255):
        Image.new("RGBA", (20, 20), (9, 9, 9, alpha)).save(tmp_path / "x.png")
        assert read_image(tmp_path / "x.png", (16, 16)).is_transparent == (alpha < 255)
    palette = Image.new("P", (20, 20), 3)
    palette.putpalette(bytes(range(48)))
    palette.save(tmp_path / "x.png", transparency=2)
    assert not read_image(tmp_path / "x.png", (16, 16)).is_transparent
    palette.save(tmp_path / "x.png", transparency=3)
    assert read_image(tmp_path / "x.png", (16, 16)).is_transparent


def test_exif_orientation_is_applied_in_png_and_tiff(tmp_path: Path) -> None:
    pixels = np.zeros((32, 16), dtype=np.uint8)
    pixels[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 8  # shown turned anticlockwise: what is left comes to the bottom
    for name in ("x.png", "x.tif"):
        Image.fromarray(pixels).save(tmp_path / name, exif=exif)
        found = read_image(tmp_path / name, (16, 32))
        assert not found.was_resized
        assert (found.pixels[:8].max(), found.pixels[8:].min()) == (0, 255)


def test_what_is_no_single_image_of_8_or_16_bits_is_refused_by_name(tmp_path: Path) -> None:
    one = Image.new("L", (20, 20), 3)
    two = [Image.new("L", (20, 20), 4)]
    one.save(tmp_path / "moving.png", save_all=True, append_images=two)
    one.save(tmp_path / "pages.tif", save_all=True, append_images=two)
    one.convert("F").save(tmp_path / "float.tif")
    one.convert("I").save(tmp_path / "int32.tif")
    for name, rule in {
        "moving.png": "is animated or has several pages",
        "pages.tif": "is animated or has several pages",
        "float.tif": "pixels of kind 'F'",
        "int32.tif": "pixels of kind 'I'",
    }.items():
        with pytest.raises(DataError, match=f"{name}: {rule}"):
            read_image(tmp_path / name, (16, 16))
    # The photo of a phone with a second picture inside is shown as its first one.
    one.save(tmp_path / "phone.jpg", format="MPO", save_all=True, append_images=two)
    assert read_image(tmp_path / "phone.jpg", (16, 16)).pixels.max() == 3


def test_no_memory_is_taken_for_what_a_file_only_declares(tmp_path: Path) -> None:
    Image.new("1", (4097, 4096)).save(tmp_path / "bomb.png")
    with pytest.raises(DataError, match=r"4097x4096 pixels: declares 16781312 pixels in a file"):
        read_image(tmp_path / "bomb.png", (16, 16))
    raw = bytearray((tmp_path / "bomb.png").read_bytes())
    raw[16:24] = (60_000).to_bytes(4, "big") * 2
    raw[29:33] = zlib.crc32(raw[12:29]).to_bytes(4, "big")
    (tmp_path / "bomb.png").write_bytes(raw)
    header = {"descr": "|u1", "fortran_order": False, "shape": (10**9, 10**9)}
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in ("bomb.png", "a.npy"):
        with pytest.raises(DataError, match=rf"{name}: "):
            read_image(tmp_path / name, (16, 16))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "jpeg"])
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="libtiff is found by /proc")
def test_a_damaged_tiff_is_told_in_our_words_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], compression: str
) -> None:
    """libtiff prints to the descriptor of standard error."""
    path = tmp_path / "cut.tif"
    Image.new("L", (40, 40), 128).save(path, compression=compression)
    path.write_bytes(path.read_bytes()[:-30])
    for _ in range(2):
        with pytest.raises(DataError) as caught:
            read_image(path, (8, 8))
        assert caught.value.problems[0].startswith(f"{path}: ")
    assert capfd.readouterr().err == ""


def test_looking_for_the_depth_of_a_damaged_tiff_prints_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cut.tif"
    Image.fromarray(np.full((40, 40), 900, np.uint16)).save(path, compression="tiff_lzw")
    path.write_bytes(path.read_bytes()[:-30])
    assert deepest_value(path) == (None, False)
    assert capfd.readouterr().err == ""
