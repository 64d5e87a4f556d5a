"""What is drawn where: shades, counts and names of a matrix, images of a grid."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL.Image import Image

from shiftsearch.experiments.tensorboard.pictures import Tile, confusion_matrix, grid, written

pytestmark = pytest.mark.unit


def luminance(picture: Image) -> NDArray[np.uint8]:
    return np.asarray(picture.convert("L"))


def cells(picture: Image, size: int, cell: int) -> NDArray[np.uint8]:
    """[size, size, cell, cell] of a matrix, whose cells end `8` pixels before the edges."""
    side = size * cell
    square = luminance(picture)[-8 - side : -8, -8 - side : -8]
    return square.reshape(size, cell, size, cell).swapaxes(1, 2)


def test_a_matrix_has_its_counts_in_their_cells_shaded_by_share_of_the_row() -> None:
    counts = [[90, 0, 0], [30, 30, 30], [0, 0, 0]]
    found = cells(confusion_matrix(counts, list("abc")), 3, 28)
    corner = found[:, :, 3, 3]  # beside the line and the text
    assert corner[0, 0] < corner[1, 0] == corner[1, 1] == corner[1, 2] < corner[0, 1]
    assert (corner[2] == 255).all()  # a class without an image
    # The text: where there is a count, some pixels are far from the shade.
    contrast = np.abs(found[:, :, 4:-4, 4:-4].astype(int) - corner[:, :, None, None]).max((2, 3))
    assert ((contrast > 60) == (np.array(counts) > 0)).all()


def test_a_matrix_names_its_classes_along_both_axes() -> None:
    counts = [[1, 0], [0, 1]]
    named, other = (luminance(confusion_matrix(counts, ["a", n])) for n in ("b", "8"))
    rows, columns = np.nonzero(named != other)
    left, top = (side - 8 - 2 * 28 for side in named.shape[::-1])
    is_beside, is_above = columns < left, rows < top
    assert is_beside.any()
    assert is_above.any()
    assert (is_beside ^ is_above).all()


@pytest.mark.parametrize(("size", "most"), [(2, 400), (10, 500), (30, 800), (100, 800)])
def test_a_matrix_of_any_size_fits_a_page(size: int, most: int) -> None:
    names = [f"a class with a long name {i}" for i in range(size)]
    picture = confusion_matrix((np.eye(size, dtype=int) * 1000).tolist(), names)
    assert max(picture.size) <= most
    diagonal = luminance(picture)[-12, -12]
    assert diagonal < 128  # the last cell


def test_a_grid_shows_every_image_enlarged_under_its_titles() -> None:
    dark, light = np.zeros((4, 8), np.uint8), np.ones((4, 8), np.float32)
    picture = luminance(
        grid(
            [[Tile(dark, "one\ntwo"), Tile(light)], [Tile(light)]],
            row_titles=["first", "second"],
            column_titles=["left", "right"],
            side=50,
        )
    )
    ramp = np.tile(np.arange(8, dtype=np.uint8) * 36, (4, 1))
    assert (picture == 0).sum() >= (4 * 7) * (8 * 7)  # enlarged 7 times: at least 50 pixels wide
    enlarged = luminance(grid([[Tile(ramp)]], side=50))
    inside = enlarged[8 : 8 + 28, 8 : 8 + 56]
    assert (inside == ramp.repeat(7, 0).repeat(7, 1)).all()


def test_classes_whose_letters_the_font_lacks_are_told_apart_by_number() -> None:
    names = ("cat", "漢字", "T-shirt/top 2", "ボ", "Käse")
    assert written(names) == ("cat", "class 1", "T-shirt/top 2", "class 3", "Käse")
    counts, numbers = [[1, 0], [0, 1]], ["class 0", "class 1"]
    assert confusion_matrix(counts, ["漢", "字"]) == confusion_matrix(counts, numbers)
