"""The dataset in memory: three splits of images, their digest and the division of a split."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shiftsearch.data.fitting import DEFAULT_ASPECT, Aspect
from shiftsearch.data.problems import ProblemsError
from shiftsearch.data.scale import FULL_BITS, Bits, Scale
from shiftsearch.data.weights import mean_one

SPLITS = ("TRAIN", "TEST", "TEST2")
MAX_HOLDOUT = 0.9


class DataError(ProblemsError):
    """The data cannot be used as it is."""


@dataclass(frozen=True)
class Split:
    """Images and labels.

    Attributes:
        images: [N, H, W] uint8 in 0..255 or float32 in 0..1; may be memory-mapped, not changed.
        labels: [N] int64, positions in the dataset's `classes`.
        weights: [N] float64 >= 0, weights of the images in training; None if they have none.
        files: [N] bytes, names of the images' files in the dataset's folder, as the file system
            has them; None if they are not known. They are not part of the digest.
    """

    images: NDArray[np.uint8] | NDArray[np.float32]
    labels: NDArray[np.int64]
    weights: NDArray[np.float64] | None = None
    files: NDArray[np.bytes_] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> Split:
        """The images at `indices` ([n] int64), in that order, with all that is known of them."""
        weights = None if self.weights is None else self.weights[indices]
        files = None if self.files is None else self.files[indices]
        return Split(self.images[indices], self.labels[indices], weights, files)

    def digest(self) -> str:
        """Hex digest over dtype, shape, images, labels and weights; 32 characters."""
        weights = [] if self.weights is None else [self.weights]
        return content_digest(self.images, self.labels, *weights)


def joined(splits: Sequence[Split]) -> Split:
    """The images of splits, one after the other.

    If one has weights, so has the result: those of each split divided by their mean, and 1 for
    images of a split without weights.
    """
    parts = [np.ones(len(s)) if s.weights is None else mean_one(s.weights) for s in splits]
    return Split(
        np.concatenate([split.images for split in splits]),
        np.concatenate([split.labels for split in splits]),
        None if all(s.weights is None for s in splits) else np.concatenate(parts),
    )


def content_digest(*arrays: NDArray[np.generic], names: Sequence[str] = ()) -> str:
    """Hex blake2b-128 over the dtypes, shapes and bytes of `arrays`, and `names`."""
    h = hashlib.blake2b(digest_size=16)
    for name in names:
        h.update(f"{len(name)}:{name};".encode())
    for array in arrays:
        h.update(f"{array.dtype.str}{array.shape};".encode())
        h.update(np.ascontiguousarray(array).data)
    return h.hexdigest()


@dataclass(frozen=True)
class Dataset:
    """Splits over the same classes: all three, or some of them if it is only evaluated.

    Attributes:
        classes: sorted class names.
        splits: TRAIN, TEST and TEST2.
        digest: content digest over images, labels, weights and class names of all splits.
        scale: the scale of the files that the images were read from, by default that of the images
            themselves. It is not part of the digest.
        bits: significant bits of the 16-bit PNG files that the images were imported from. It is
            not part of the digest.
        aspect: what is done to images of another aspect ratio, see `data.fitting`. It is not part
            of the digest.
    """

    classes: tuple[str, ...]
    splits: Mapping[str, Split]
    digest: str = field(default="")
    scale: Scale | None = None
    bits: Bits = FULL_BITS
    aspect: Aspect = DEFAULT_ASPECT

    def __post_init__(self) -> None:
        if self.scale is None:
            is_byte = next(iter(self.splits.values())).images.dtype == np.uint8
            object.__setattr__(self, "scale", "uint8" if is_byte else "float 0..1")
        if not self.digest:
            digests = [self.splits[name].digest() for name in SPLITS if name in self.splits]
            object.__setattr__(
                self, "digest", content_digest(names=(*self.classes, "/", *digests))
            )

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        _, height, width = next(iter(self.splits.values())).images.shape
        return height, width


def identical_images(images: NDArray[np.generic]) -> NDArray[np.int64]:
    """Number the images of `images` ([N, H, W]); byte-equal images get the same number.

    Returns:
        [N] int64, counted from 0 in the order of first occurrence.
    """
    seen: dict[bytes, int] = {}
    numbers = (seen.setdefault(image.tobytes(), len(seen)) for image in images)
    return np.fromiter(numbers, dtype=np.int64, count=len(images))


def blank_images(images: NDArray[np.generic]) -> NDArray[np.int64]:
    """Positions of the images of `images` ([N, H, W]) that hold a single value; [n] int64."""
    flat = images.reshape(len(images), -1)
    return np.flatnonzero((flat == flat[:, :1]).all(axis=1))


@dataclass(frozen=True)
class Division:
    """A split divided into a part that ranks trials and a part that is scored only at the end.

    Attributes:
        selection: [n] int64, sorted positions in the split.
        held_out: [m] int64, sorted positions in the split; empty when `holdout` is 0.
    """

    selection: NDArray[np.int64]
    held_out: NDArray[np.int64]


def divide(split: Split, holdout: float, seed: int) -> Division:
    """Divide a split, class by class, keeping identical images together.

    Identical images go to one part even where their labels differ. Groups of identical images
    are assigned one by one, the largest first and equal sizes in random order, each to the part
    that keeps its classes nearest to `holdout`; ties are broken at random. With few duplicates,
    the held-out count of every class is `holdout` times its images, rounded. A class with two or
    more distinct images is in both parts, unless images shared between classes rule that out.

    Args:
        split: what to divide.
        holdout: fraction of every class to hold out, in [0, 0.9].
        seed: seeds the random choices, >= 0.

    Raises:
        DataError: `holdout` is out of range.
    """
    if not 0 <= holdout <= MAX_HOLDOUT:
        raise DataError([f"holdout is {holdout}, but must be in [0, {MAX_HOLDOUT}]"])
    if holdout == 0:
        return Division(np.arange(len(split)), np.arange(0))
    numbers = identical_images(split.images)
    by_group = np.split(np.argsort(numbers, kind="stable"), np.cumsum(np.bincount(numbers))[:-1])
    groups = [Counter(split.labels[members].tolist()) for members in by_group]

    rng = np.random.default_rng(seed)
    order = sorted(rng.permutation(len(groups)), key=lambda group: -len(by_group[group]))
    coins = rng.integers(2, size=len(groups))
    is_held = _assign(groups, order, coins, holdout)
    _fill_empty_parts(groups, order, is_held)
    mask = is_held[numbers]
    return Division(np.flatnonzero(~mask), np.flatnonzero(mask))


def _assign(
    groups: Sequence[Counter[int]],
    order: Sequence[int],
    coins: NDArray[np.int64],
    holdout: float,
) -> NDArray[np.bool_]:
    """Whether each group (images per label) is held out: [G] bool."""
    is_held = np.zeros(len(groups), dtype=np.bool_)
    seen: Counter[int] = Counter()
    held: Counter[int] = Counter()
    for group in order:
        labels = groups[group]
        seen.update(labels)
        missing = {label: holdout * seen[label] - held[label] for label in labels}
        if_held = sum(abs(missing[label] - n) for label, n in labels.items())
        if_selected = sum(map(abs, missing.values()))
        if if_held < if_selected or (if_held == if_selected and coins[group]):
            is_held[group] = True
            held.update(labels)
    return is_held


def _fill_empty_parts(
    groups: Sequence[Counter[int]], order: Sequence[int], is_held: NDArray[np.bool_]
) -> None:
    """Move the smallest possible group into each part that lacks a class, changing `is_held`."""
    of_label: dict[int, list[int]] = {}
    for group in reversed(order):
        for label in groups[group]:
            of_label.setdefault(label, []).append(group)
    for own in of_label.values():
        if len(own) < 2 or len({bool(is_held[group]) for group in own}) == 2:
            continue
        for group in own:
            is_held[group] ^= True
            if all(
                len({bool(is_held[g]) for g in of_label[label]}) == 2
                for label in groups[group]
                if len(of_label[label]) > 1
            ):
                break
            is_held[group] ^= True
