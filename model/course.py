"""The course of a stage: everything that determines its numbers, its key and its seeds."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from shiftsearch.data.dataset import Split
from shiftsearch.data.preprocessing import VERSION
from shiftsearch.model.architecture import REFERENCE, Architecture
from shiftsearch.model.hyperparameters import (
    PreprocessingHyperparameters,
    Schedule,
    StageHyperparameters,
)
from shiftsearch.model.store import canonical_json, content_key

PROTOCOL_VERSION = 2
"""Raised when the same course would give other numbers; part of every course key."""


@dataclass(frozen=True)
class Course:
    """Everything that determines a stage's numbers.

    Attributes:
        stage: "baseline" or "fine_tune".
        hyperparameters: this stage's hyperparameters.
        schedule: most epochs, early stopping and reduction of the learning rate.
        train, validation: digests of the splits that are trained and validated on.
        classes: number of classes.
        image_size: (H, W) in pixels.
        seed: the study's seed.
        replicate: 0 in the search; 1, 2, ... in retraining.
        parents: result keys of the stages it starts from.
        architecture: the network's architecture; the reference architecture is neutral.
        target: digest of the images whose density weights the training images; empty if none does.
    """

    stage: str
    hyperparameters: StageHyperparameters
    schedule: Schedule
    train: str
    validation: str
    classes: int
    image_size: tuple[int, int]
    seed: int
    replicate: int
    parents: tuple[str, ...] = ()
    architecture: Architecture = REFERENCE
    target: str = ""

    @property
    def key(self) -> str:
        """The course key: 32 hex digits."""
        parts = {
            "function": "stage",
            "version": PROTOCOL_VERSION,
            "stage": self.stage,
            "hyperparameters": self._hyperparameters(),
            "schedule": self.schedule.content(),
            "data": [self.train, self.validation, self.classes, *self.image_size],
            "seed": [self.seed, self.replicate],
            "parents": list(self.parents),
        }
        return content_key(parts | self._added())

    def seed_for(self, purpose: str, epoch: int) -> int:
        """The seed of the generator for a purpose and an epoch, in 0..2^63 - 1.

        `order` and `weights` depend only on (study seed, replicate, stage), so that configurations
        are compared on common random numbers. Other purposes (`dropout`, `augmentation`) also
        depend on this stage's hyperparameters and parents.
        """
        parts: list[Any] = [self.seed, self.replicate, self.stage, purpose, epoch]
        if purpose not in ("order", "weights"):
            parts += [self._hyperparameters(), list(self.parents)]
            parts += self._added().values()
        digest = hashlib.blake2b(canonical_json(parts).encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little") >> 1

    def _hyperparameters(self) -> dict[str, Any]:
        """Their content without `train_on`, because `train` says what it decides."""
        content = self.hyperparameters.content()
        return {name: value for name, value in content.items() if name != "train_on"}

    def _added(self) -> dict[str, Any]:
        """The values of fields that the first version did not have, without neutral ones."""
        added = {"architecture": self.architecture.content(), "target": self.target}
        return {name: content for name, content in added.items() if content}


def preprocessed_digest(split: Split, how: PreprocessingHyperparameters) -> str:
    """What a split and its preprocessing are called in keys; without one, the split's digest.

    It names the steps, not the preprocessed values: those may differ in their last bits between
    machines, and a stage must be found again from another one.
    """
    content = how.content()
    return content_key([split.digest(), content, VERSION]) if content else split.digest()
