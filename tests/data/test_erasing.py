"""Random erasing: one rectangle of the right size, with noise in it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from shiftsearch.data.erasing import AREA, erased

pytestmark = pytest.mark.unit

IMAGES = torch.full((400, 1, 28, 20), 2.0)  # out of range, so that noise is told from them


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_rectangle_becomes_noise_and_the_rest_stays() -> None:
    found = erased(IMAGES, 1.0, draws())
    fractions = []
    for image in found[:, 0]:
        changed = image != 2
        rows, columns = changed.any(1), changed.any(0)
        assert torch.equal(changed, rows[:, None] & columns[None, :])
        for side in (rows, columns):  # without a gap
            places = side.nonzero()
            assert places[-1] - places[0] + 1 == len(places)
        fractions.append(float(changed.float().mean()))
    noise = found[found != 2]
    assert 0 <= noise.min() < 0.01 < 0.99 < noise.max() < 1
    assert noise.mean() == pytest.approx(0.5, abs=0.01)
    # A side is rounded to whole pixels and cut at the image's.
    assert AREA[0] / 2 < min(fractions) < 0.05
    assert 0.33 < max(fractions) < AREA[1] + 0.03
    assert sum(fractions) / len(fractions) == pytest.approx(0.205, abs=0.02)


def test_as_many_images_as_the_probability_says() -> None:
    found = erased(IMAGES, 0.3, draws())
    fraction = (found != 2).flatten(1).any(1).float().mean()
    assert fraction == pytest.approx(0.3, abs=0.07)


def test_it_depends_on_the_generator_alone() -> None:
    first = erased(IMAGES, 0.5, draws())
    torch.manual_seed(9)
    assert torch.equal(erased(IMAGES, 0.5, draws()), first)
    assert not torch.equal(erased(IMAGES, 0.5, draws(1)), first)


@pytest.mark.slow(reason="a process of its own")
def test_hyperparameters_still_do_not_import_torch() -> None:
    code = "import sys, shiftsearch.model.hyperparameters; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0
