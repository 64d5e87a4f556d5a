"""Mixup: each image is blended with another one of its batch, and so are their labels."""

from __future__ import annotations

import torch
from torch import Tensor

TINY = 1e-30
"""Stands for a sum of weights that is 0 in a division."""


def mixed(
    images: Tensor,
    labels: Tensor,
    weights: Tensor | None,
    classes: int,
    alpha: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Blend a batch with a permutation of itself.

    Image i becomes share * image i + (1 - share) * image j, with a share of its own from
    Beta(alpha, alpha). Targets and weights are such that weight times cross-entropy is the same
    blend of both images' weighted losses. Source: Zhang et al. 2018, arXiv 1710.09412, equation 1.

    Args:
        images: [n, 1, H, W] float32; not changed.
        labels: [n] int64 in 0..classes - 1.
        weights: [n] float32 weights of the images, >= 0; None if all weigh the same.
        classes: number of classes.
        alpha: above 0; small values leave most images nearly as they are.
        generator: draws all random numbers; on the device of `images`.

    Returns:
        Images; targets, [n, classes] float32 probabilities; and weights in the form given.
    """
    n, device = len(labels), images.device
    other = torch.randperm(n, generator=generator, device=device)
    # Gamma draws as small as alpha makes them need float64; torch keeps them above 0.
    shape = torch.full((2, n), alpha, dtype=torch.float64, device=device)
    first, second = torch._standard_gamma(shape, generator=generator)
    # With a tiny alpha both may be the least number above 0. Then the image is kept: half of each,
    # their ratio, is what the distribution hardly ever has.
    share = torch.where(first == second, 1.0, first / (first + second)).float()
    targets = torch.eye(classes, device=device)[labels]
    whole = share.view(-1, 1, 1, 1)
    images = whole * images + (1 - whole) * images[other]
    if weights is None:
        share = share[:, None]
        return images, share * targets + (1 - share) * targets[other], None
    mine, others = share * weights, (1 - share) * weights[other]
    weights = mine + others
    whole = weights.clamp_min(TINY)  # two images that do not count have no target
    mine, others = ((part / whole)[:, None] for part in (mine, others))
    return images, mine * targets + others * targets[other], weights
