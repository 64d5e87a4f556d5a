"""The dataset in memory: three splits of grayscale images, their digest and the division of TEST2."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

SPLITS = ("TRAIN", "TEST", "TEST2")
MAX_PROBLEMS = 20


class DataError(ValueError):
    """The data cannot be used as it is.

    Attributes:
        problems: one line each, naming file or field, value and rule; at most `MAX_PROBLEMS`.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems[:MAX_PROBLEMS])
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True)
class Split:
    """Images and labels.

    Attributes:
        images: [N, H, W] uint8 in 0..255 or float32 in 0..1; may be memory-mapped, read-only.
        labels: [N] int64, positions in the dataset's `classes`.
    """

    images: NDArray[np.uint8] | NDArray[np.float32]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> Split:
        """The images and labels at `indices` ([n] int64), in that order."""
        return Split(self.images[indices], self.labels[indices])

    def digest(self) -> str:
        """Hex digest over dtype, shape, images and labels; 32 characters."""
        return content_digest(self.images, self.labels)


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
    """Three splits over the same classes.

    Attributes:
        classes: sorted class names.
        splits: TRAIN, TEST and TEST2.
        digest: content digest over images, labels and class names of all splits.
    """

    classes: tuple[str, ...]
    splits: Mapping[str, Split]
    digest: str = field(default="")

    def __post_init__(self) -> None:
        if not self.digest:
            digests = [self.splits[name].digest() for name in SPLITS]
            object.__setattr__(
                self, "digest", content_digest(names=(*self.classes, "/", *digests))
            )

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        _, height, width = self.splits["TRAIN"].images.shape
        return height, width
