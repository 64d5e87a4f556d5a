"""Optuna's samplers by name, seeded per question."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable

import optuna
from optuna.samplers import BaseSampler, GPSampler, QMCSampler, RandomSampler, TPESampler


def question_seed(study_seed: int, number: int) -> int:
    """Of the sampler that answers question `number`; 32 bits.

    A sampler seeded once per process would repeat its start-up suggestions after a restart. With
    this, a search at concurrency 1 that is killed and continued equals the undisturbed one.
    """
    digest = hashlib.blake2b(f"{study_seed}:{number}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little")


def _tpe(study_seed: int, number: int) -> BaseSampler:
    # Multivariate and constant liar are Optuna 5's defaults; said here because we rely on them.
    return TPESampler(
        multivariate=True, constant_liar=True, seed=question_seed(study_seed, number)
    )


def _gp(study_seed: int, number: int) -> BaseSampler:
    return GPSampler(seed=question_seed(study_seed, number), deterministic_objective=False)


def _qmc(study_seed: int, number: int) -> BaseSampler:
    # One sequence for the whole study: its position is kept in the study, its scrambling is not.
    # Until a trial is done there is none, and draws are independent.
    return QMCSampler(
        scramble=True,
        seed=question_seed(study_seed, 0),
        independent_sampler=_random(study_seed, number),
    )


def _random(study_seed: int, number: int) -> BaseSampler:
    return RandomSampler(seed=question_seed(study_seed, number))


SAMPLERS: dict[str, Callable[[int, int], BaseSampler]] = {
    "tpe": _tpe,
    "gp": _gp,
    "qmc": _qmc,
    "random": _random,
}


def make_sampler(name: str, study_seed: int, number: int) -> BaseSampler:
    """The sampler called `name` for question `number` of a study.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in SAMPLERS:
        raise ValueError(f"sampler is {name!r}, but must be one of {', '.join(SAMPLERS)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return SAMPLERS[name](study_seed, number)
