"""Seeds of questions, and the points that a study tries before a model is asked."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution

from shiftsearch.model.hyperparameters import Hyperparameters
from shiftsearch.search.proposing.domains import from_unit

_BY_DESIGN = "preprocessing."
"""Prefix of the choices that the first baselines cover by design."""


def question_seed(study_seed: int, number: int) -> int:
    """The seed (32 bits) of the sampler that answers question `number`.

    A sampler seeded once per process would repeat its first suggestions after a restart. With a
    seed per question, a search at concurrency 1 that is killed and continued gives the same
    trials.
    """
    digest = hashlib.blake2b(f"{study_seed}:{number}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little")


def sobol_point(space: Mapping[str, BaseDistribution], seed: int, number: int) -> dict[str, Any]:
    """Point `number` of the study's scrambled Sobol sequence over the space.

    Trial 0 is the reference configuration, which takes the place of point 0. So the choices of
    preprocessing are rotated until point 0 has the reference's: of four choices, trials 0 to 3 try
    each once.

    Args:
        space: what is searched; no domain has a single value.
        seed: the study's seed.
        number: the trial's number, at least 0.

    Source: Sobol 1967, scrambled after Owen and Matousek (scipy.stats.qmc.Sobol), rotated after
    Cranley and Patterson 1976. Not Optuna's QMCSampler, which keeps its place in the sequence in
    the study.
    """
    from scipy.stats import qmc  # late: a second of processor time

    engine = qmc.Sobol(len(space), scramble=True, rng=question_seed(seed, -1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the count is not a power of two
        (first,) = engine.random(1)
        if number > 1:
            engine.fast_forward(number - 1)
        (unit,) = engine.random(1) if number else (first,)
    point = {k: from_unit(d, float(u)) for (k, d), u in zip(space.items(), unit, strict=True)}
    reference = Hyperparameters.defaults()
    for (name, domain), start in zip(space.items(), first, strict=True):
        if name.startswith(_BY_DESIGN) and isinstance(domain, CategoricalDistribution):
            choices = list(domain.choices)
            if reference[name] in choices:
                turn = choices.index(reference[name]) - choices.index(from_unit(domain, start))
                point[name] = choices[(choices.index(point[name]) + turn) % len(choices)]
    return point
