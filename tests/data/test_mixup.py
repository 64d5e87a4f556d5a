"""Mixup: images, targets and weights are blended alike."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from shiftsearch.data.mixup import mixed

pytestmark = pytest.mark.unit

N = 2000
LABELS = torch.arange(N)  # a class of its own for each image, so that targets tell the images
VALUES = torch.rand(N, generator=torch.Generator().manual_seed(1))
IMAGES = VALUES.view(-1, 1, 1, 1).expand(N, 1, 2, 2)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("alpha", [1e-4, 1e-3])
def test_hardly_any_image_is_blended_with_a_tiny_alpha(alpha: float) -> None:
    share = mixed(IMAGES, LABELS, None, N, alpha, draws())[1][LABELS, LABELS]
    middle = ((share > 0.1) & (share < 0.9)).float().mean().item()
    assert middle < 0.01  # of the beta distribution about 2.2 * alpha


@pytest.mark.parametrize("alpha", [0.01, 0.2, 1.0])
def test_images_are_blended_by_the_shares_of_their_targets(alpha: float) -> None:
    images, targets, weights = mixed(IMAGES, LABELS, None, N, alpha, draws())
    assert weights is None
    torch.testing.assert_close(targets.sum(1), torch.ones(N))
    torch.testing.assert_close(images[:, 0, 1, 0], targets @ VALUES)
    # Every image is the other one of exactly one image.
    torch.testing.assert_close((targets > 0).sum(0).max(), torch.tensor(2))
    share = targets[LABELS, LABELS]
    assert share.mean() == pytest.approx(0.5, abs=0.04)
    assert share.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


def test_weighted_losses_are_blended_too() -> None:
    n, classes = 8, 3
    labels = torch.arange(n) % classes
    given = torch.rand(n, generator=draws(2)) + 0.1
    logits = torch.randn(n, classes, generator=draws(3))
    own = IMAGES[:n]
    _, shares, _ = mixed(own, torch.arange(n), None, n, 0.5, draws())  # the same draws
    _, targets, weights = mixed(own, labels, given, classes, 0.5, draws())
    assert weights is not None
    for i in range(n):
        alone = [F.cross_entropy(logits[i], label) for label in labels]
        expected = sum(shares[i, j] * given[j] * alone[j] for j in range(n))
        found = weights[i] * F.cross_entropy(logits[i], targets[i])
        torch.testing.assert_close(found, expected)


def test_it_depends_on_the_generator_alone() -> None:
    first = mixed(IMAGES, LABELS, None, N, 0.3, draws())[0]
    torch.manual_seed(9)
    assert torch.equal(mixed(IMAGES, LABELS, None, N, 0.3, draws())[0], first)
    assert not torch.equal(mixed(IMAGES, LABELS, None, N, 0.3, draws(1))[0], first)
