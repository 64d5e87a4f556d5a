"""The classifier as one module: its preprocessing is that of the data, and it is plain torch."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from shiftsearch.data.preprocessing import CENTRES, INTENSITIES, POLARITIES, preprocess
from shiftsearch.data.scale import Pixels, Scale, to_unit
from shiftsearch.model import classifier
from shiftsearch.model.classifier import prepared

pytestmark = pytest.mark.unit

STEPS = list(product(POLARITIES, CENTRES, INTENSITIES))


def raw_images(size: tuple[int, int], scale: Scale) -> Pixels:
    """Figures on dark and on bright, noise, single values and images of two values."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (24, *size), np.uint8)
    images[:8] //= 8
    images[:8, 2:9, 3:11] += 180
    images[4:8] = 255 - images[4:8]
    images[8], images[9], images[10] = 0, 255, 77
    images[11] = 0
    images[11, 3, 4] = 1
    images[12, :, : size[1] // 2], images[12, :, size[1] // 2 :] = 0, 255
    if scale == "uint8":
        return images
    white = np.float32(255 if scale == "float 0..1" else 1)
    floats: Pixels = np.float32(images) / white
    return floats


@pytest.mark.parametrize("scale", ["uint8", "float 0..1", "float 0..255"])
@pytest.mark.parametrize("size", [(28, 28), (17, 45)])
def test_every_step_is_that_of_the_data(size: tuple[int, int], scale: Scale) -> None:
    images = raw_images(size, scale)
    for polarity, centre, intensity in STEPS:
        expected = preprocess(to_unit(images, scale), intensity, polarity, centre)
        if expected.dtype == np.uint8:
            expected = np.float32(expected) / np.float32(255)
        found = prepared(torch.from_numpy(images), scale, polarity, centre, intensity)
        assert found.dtype == torch.float32
        np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=2e-7)


def test_every_step_of_the_data_has_a_twin() -> None:
    for name in ("POLARITIES", "CENTRES", "INTENSITIES"):
        assert getattr(classifier, name).keys() == globals()[name].keys()
