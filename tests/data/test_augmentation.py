"""Augmentation: directions and units of each change, its draws, and off at 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import pytest
import torch
from torch import Tensor

from shiftsearch.data.augmentation import Change, augment, warp

pytestmark = pytest.mark.unit


@dataclass(frozen=True)
class Strengths:
    rotation: float = 0
    scale: float = 0
    translation: float = 0
    noise: float = 0
    brightness: float = 0
    contrast: float = 0
    outside: str = "zeros"

    def changes(self) -> Sequence[tuple[Change, float]]:
        return ()


def speckle(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    draws = torch.rand(images.shape, generator=generator, device=images.device)
    return images * (draws >= share)


@dataclass(frozen=True)
class Speckled(Strengths):
    """With a change that the first version did not have."""

    def changes(self) -> Sequence[tuple[Change, float]]:
        return ((speckle, 0.5),)


ALL = Strengths(30, 0.2, 3, 0.05, 0.1, 0.2)
DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    ),
]


def seeded(seed: int = 0, device: str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


def pictures(n: int = 8, height: int = 28, width: int = 28) -> Tensor:
    return torch.rand(n, 1, height, width, generator=seeded(99))


def gap(one: Tensor, other: Tensor) -> float:
    """Largest difference; `torch.testing` would cost 0.7 s at its first call."""
    return float((one - other).abs().max())


def moved(images: Tensor, **changes: float) -> Tensor:
    amounts = {"degrees": 0.0, "scale": 1.0, "right": 0.0, "down": 0.0} | changes
    return warp(images, **{name: torch.full((len(images),), v) for name, v in amounts.items()})


@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (180, 2), (-90, 3)])
def test_rotation_is_in_degrees_counter_clockwise(degrees: float, turns: int) -> None:
    images = pictures()
    turned = moved(images, degrees=degrees)
    assert gap(turned, images.rot90(turns, dims=(2, 3))) < 1e-4


@pytest.mark.parametrize(
    ("outside", "edge"), [("zeros", [0, 0]), ("border", [0.2, 0.2]), ("reflection", [0.6, 0.2])]
)
def test_beyond_the_edge_is_what_was_chosen(outside: str, edge: list[float]) -> None:
    images = torch.tensor([0.2, 0.6, 0.4, 0.8]).expand(2, 1, 4, 4).contiguous()
    shift = torch.tensor([2.0, 2.0])
    still = {"degrees": torch.zeros(2), "scale": torch.ones(2), "down": torch.zeros(2)}
    found = warp(images, right=shift, outside=outside, **still)
    assert gap(found[..., :2], torch.tensor(edge).expand(2, 1, 4, 2)) < 1e-5
    assert gap(found[..., 2:], images[..., :2]) < 1e-5
    strengths = Strengths(translation=2, outside=outside)
    plain = augment(images, replace(strengths, outside="zeros"), seeded())
    assert torch.equal(augment(images, strengths, seeded()), plain) == (outside == "zeros")


def test_rotation_keeps_shapes_where_height_and_width_differ() -> None:
    image = torch.zeros(1, 1, 21, 41)
    image[0, 0, 10, 30] = 1  # 10 pixels right of the centre
    row, column = divmod(int(moved(image, degrees=90).argmax()), 41)
    assert (row, column) == (0, 20)  # 10 pixels above it


def test_translation_is_in_pixels() -> None:
    images = pictures(height=20, width=28)
    shifted = moved(images, right=3, down=-2)
    assert gap(shifted[..., :18, 3:], images[..., 2:, :25]) < 1e-4
    assert shifted[..., :3].max() < 1e-4
    assert shifted[..., 18:, :].max() < 1e-4


def test_translation_comes_after_rotation() -> None:
    images = torch.zeros(1, 1, 29, 29)
    images[0, 0, 14, 14] = 1
    row, column = divmod(int(moved(images, degrees=90, right=5).argmax()), 29)
    assert (row, column) == (14, 19)


def test_scale_above_one_enlarges() -> None:
    image = torch.zeros(1, 1, 28, 28)
    image[..., 9:19, 9:19] = 1
    assert float(moved(image, scale=2).sum()) == pytest.approx(400, rel=0.01)
    assert float(moved(image, scale=0.5).sum()) == pytest.approx(25, rel=0.05)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", [f.name for f in fields(Strengths) if f.name != "outside"])
def test_each_change_alone_is_seeded_per_image_and_bounded(name: str, device: str) -> None:
    strengths = replace(Strengths(), **{name: getattr(ALL, name)})
    image = pictures(1).to(device)
    batch = image.repeat(16, 1, 1, 1)
    result = augment(batch, strengths, seeded(1, device))
    assert torch.equal(result, augment(batch, strengths, seeded(1, device)))
    assert not torch.equal(result, augment(batch, strengths, seeded(2, device)))
    assert len(result.flatten(1).unique(dim=0)) == 16
    assert torch.equal(batch, image.repeat(16, 1, 1, 1))
    assert 0 <= float(result.min()) <= float(result.max()) <= 1


def test_amounts_reach_both_ends_of_their_range() -> None:
    batch = torch.full((2000, 1, 16, 16), 0.5)
    batch[:, :, :8] = 0.4
    brightness = augment(batch, Strengths(brightness=0.3), seeded()).mean(dim=(1, 2, 3)) - 0.45
    contrast = augment(batch, Strengths(contrast=0.5), seeded())
    factor = (contrast[:, 0, 15, 0] - contrast[:, 0, 0, 0]) / 0.1
    deviation = (augment(batch, Strengths(noise=0.05), seeded()) - batch).std()
    for amounts, low, high in ((brightness, -0.3, 0.3), (factor, 0.5, 1.5)):
        assert low - 1e-5 <= float(amounts.min()) < low + 0.01
        assert high - 0.01 < float(amounts.max()) <= high + 1e-5
        assert float(amounts.mean()) == pytest.approx((low + high) / 2, abs=0.02)
    assert gap(contrast.mean(dim=(1, 2, 3)), batch.mean(dim=(1, 2, 3))) < 1e-4
    assert float(deviation) == pytest.approx(0.05, rel=0.02)


def test_shifts_turns_and_scales_reach_both_ends_of_their_range() -> None:
    batch = torch.zeros(500, 1, 41, 41)
    batch[..., 18:23, 30] = 1  # a bar of 5 pixels, 10 right of the centre
    y, x = torch.meshgrid(torch.arange(41.0) - 20, torch.arange(41.0) - 20, indexing="ij")

    def centres(strengths: Strengths) -> tuple[Tensor, Tensor]:
        weights = augment(batch, strengths, seeded())[:, 0]
        total = weights.sum(dim=(1, 2))
        return (weights * x).sum(dim=(1, 2)) / total, -(weights * y).sum(dim=(1, 2)) / total

    right, up = centres(Strengths(translation=4))
    for shift in (right - 10, up):
        assert float(shift.min()) == pytest.approx(-4, abs=0.1)
        assert float(shift.max()) == pytest.approx(4, abs=0.1)
    assert abs(float(torch.corrcoef(torch.stack([right, up]))[0, 1])) < 0.15
    right, up = centres(Strengths(rotation=40))
    degrees = torch.rad2deg(torch.atan2(up, right))
    assert float(degrees.min()) == pytest.approx(-40, abs=1)
    assert float(degrees.max()) == pytest.approx(40, abs=1)
    distance = centres(Strengths(scale=0.3))[0]
    assert float(distance.min()) == pytest.approx(7, abs=0.2)
    assert float(distance.max()) == pytest.approx(13, abs=0.2)


def test_off_returns_the_input_and_draws_nothing() -> None:
    images, generator = pictures(), seeded()
    before = generator.get_state()
    assert augment(images, Strengths(), generator) is images
    assert torch.equal(generator.get_state(), before)


def test_turning_one_change_off_leaves_the_others_amounts() -> None:
    batch = torch.full((16, 1, 16, 16), 0.5)
    alone = augment(batch, Strengths(brightness=0.2), seeded())
    with_contrast = augment(batch, Strengths(brightness=0.2, contrast=0.5), seeded())
    assert gap(alone, with_contrast) < 1e-4
    noisy = augment(batch, Strengths(brightness=0.2, noise=0.001), seeded())
    assert gap(noisy, alone) < 0.01


def test_a_further_change_comes_last_and_moves_no_draw_of_the_others() -> None:
    images, generator = pictures(), seeded()
    before = augment(images, ALL, generator)
    expected = speckle(before, 0.5, generator)
    speckled = Speckled(**vars(ALL))
    assert torch.equal(augment(images, speckled, seeded()), expected)
    assert torch.equal(augment(images, Speckled(), seeded()), speckle(images, 0.5, seeded()))


def test_the_global_generator_is_untouched_and_layout_does_not_matter() -> None:
    images = pictures()
    before = torch.get_rng_state()
    plain = augment(images, ALL, seeded())
    last = augment(images.contiguous(memory_format=torch.channels_last), ALL, seeded())
    assert torch.equal(torch.get_rng_state(), before)
    assert gap(plain, last) < 1e-4


def test_autocast_does_not_blur_the_places() -> None:
    images = pictures()
    plain = augment(images, ALL, seeded())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(augment(images, ALL, seeded()), plain)
