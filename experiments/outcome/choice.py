"""Which model is exported: a rule chooses it on TEST2's selection part.

A rule is a function that chooses by some images of the selection part, and its entry in `RULES`. A
combination of models must do better than the best single model on images that did not choose it:
the selection part is divided into two halves, and each half judges what the other chose
(cross-fitting). Then the rule chooses on the whole part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shiftsearch.data.dataset import Split, divide
from shiftsearch.experiments.export_settings import MAX_MODELS
from shiftsearch.experiments.outcome.blends import Blend, Model, Predictor
from shiftsearch.experiments.outcome.results import Scored
from shiftsearch.experiments.outcome.retrain import Candidate
from shiftsearch.experiments.outcome.trained import Trained, trained_models
from shiftsearch.model.combining import Score, greedy_ensemble, greedy_soup
from shiftsearch.search.study.records import TrialRecord

Rows = NDArray[np.int64]
MAX_SOUP = 10
"""Most candidates for a soup."""
FAMILIES = 3
"""Baselines, those of the best models, whose fine-tunes are averaged."""
INTERPOLATED = 3
"""Number of best models that are interpolated with their baselines."""
SHARES = (0.5, 0.7, 0.85)
"""Shares of the fine-tune in an interpolation."""
POOL = 20
"""Number of best models that an ensemble is drawn from."""


@dataclass(frozen=True)
class Candidates:
    """What a rule chooses from.

    Attributes:
        trained: trainings, at least one.
        predictor: makes their predictions on the selection part.
        max_members: the largest number of draws for an ensemble.
    """

    trained: Sequence[Trained]
    predictor: Predictor
    max_members: int

    def ranked(self, rows: Rows) -> list[Trained]:
        """The trainings, best first on the images at these positions."""
        scores = [self.score(Blend((t,)), rows) for t in self.trained]
        order = sorted(range(len(scores)), key=lambda i: (*(-s for s in scores[i]), i))
        return [self.trained[i] for i in order]

    def score(self, blend: Blend, rows: Rows) -> Score:
        """The score of one network on these images."""
        return self.predictor.score(self.predictor.selection(blend), rows)


Rule = Callable[[Candidates, Rows], Model | None]


def single(candidates: Candidates, rows: Rows) -> Model:
    """The best training."""
    return Model("single", (Blend((candidates.ranked(rows)[0],)),))


def families_of(ranked: Sequence[Trained]) -> list[list[Trained]]:
    """Fine-tunes of one baseline, at least two, at most `MAX_SOUP`; the best family first."""
    found: dict[str, list[Trained]] = {}
    for trained in ranked:
        found.setdefault(trained.family, []).append(trained)
    return [family[:MAX_SOUP] for family in found.values() if len(family) > 1][:FAMILIES]


def soup(candidates: Candidates, rows: Rows) -> Model | None:
    """The best greedy soup of a family, with its batch statistics or re-estimated ones.

    None if no soup has two members.
    """
    found: list[Blend] = []
    for family in families_of(candidates.ranked(rows)):

        def score(members: tuple[int, ...], family: Sequence[Trained] = family) -> Score:
            return candidates.score(Blend(tuple(family[i] for i in members)), rows)

        members = greedy_soup(range(len(family)), score)
        if len(members) > 1:
            of = tuple(family[i] for i in members)
            found += [Blend(of), Blend(of, re_estimated=True)]
    return _best("soup", found, candidates, rows)


def interpolation(candidates: Candidates, rows: Rows) -> Model | None:
    """The best interpolation of a good training and its baseline (WiSE-FT)."""
    best = candidates.ranked(rows)[:INTERPOLATED]
    found = [Blend((trained,), share) for trained in best for share in SHARES]
    return _best("interpolation", found, candidates, rows)


def ensemble(candidates: Candidates, rows: Rows) -> Model | None:
    """The greedy ensemble of the best trainings; None if one training alone is best."""
    pool = candidates.ranked(rows)[:POOL]
    predictor = candidates.predictor
    found = greedy_ensemble(
        [predictor.selection(Blend((t,)))[rows] for t in pool],
        lambda p: predictor.score_of(p, rows),
        candidates.max_members,
    )
    counts = Counter(found).most_common()  # of equal counts the first drawn first
    if len(counts) == 1:
        return None
    members = tuple(Blend((pool[i],)) for i, _ in counts)
    return Model("ensemble", members, tuple(count / len(found) for _, count in counts))


def _best(kind: str, blends: Sequence[Blend], of: Candidates, rows: Rows) -> Model | None:
    """The best of these networks, of equal ones the first; None if there is none."""
    best = max(blends, key=lambda blend: of.score(blend, rows), default=None)
    return None if best is None else Model(kind, (best,))


RULES: Mapping[str, Rule] = {
    "single": single,
    "soup": soup,
    "interpolation": interpolation,
    "ensemble": ensemble,
}


@dataclass(frozen=True)
class Choice:
    """The chosen model.

    Attributes:
        model: what is exported.
        rule: the rule that was followed, or "replicate"; `auto` is resolved.
        checked: for a rule of combinations, the objective on the halves that did not choose:
            `rule` and `single`; empty for the others.
        barrier: for a soup, see `Predictor.barrier`, of its first two members or, if the soup was
            not taken, of the two best of the best family.
        reason: why it is another kind than the rule says; empty otherwise.
    """

    model: Model
    rule: str
    checked: Mapping[str, float] = field(default_factory=dict)
    barrier: float | None = None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """What `result.json` and the bundle say about the choice and the members."""
        model = self.model
        return {
            "rule": self.rule,
            "kind": model.kind,
            "members": [
                {
                    "share": share,
                    "trained": [{"number": t.number, "replicate": t.replicate} for t in blend.of],
                    **({} if blend.share == 1 else {"of_baseline": 1 - blend.share}),
                    **({"batch_norm": "re-estimated on TEST"} if blend.re_estimated else {}),
                }
                for blend, share in zip(model.members, model.shares, strict=True)
            ],
            "forward_passes": len(model.members),
            **({"checked": dict(self.checked)} if self.checked else {}),
            **({} if self.barrier is None else {"barrier": self.barrier}),
            **({"reason": self.reason} if self.reason else {}),
        }


def chosen_model(
    rule: str,
    max_members: int,
    trials: Sequence[TrialRecord],
    retrained: Sequence[Candidate],
    winner: Scored,
    selection: int,
    predictor: Predictor,
) -> Choice:
    """The model that a run exports.

    Args:
        rule: one of `RULES`, or `replicate`.
        max_members: the largest number of draws for an ensemble.
        trials: the study's.
        retrained: the retrained configurations.
        winner: the winning configuration, scored.
        selection: index of the selection part among the scored parts.
        predictor: makes predictions.
    """
    # The best training is known from the results, without predictions.
    limit = 1 if rule == "single" else MAX_MODELS
    trained = (
        [] if rule == "replicate" else trained_models(trials, retrained, predictor.store, limit)
    )
    if not trained:  # the store no longer holds the search's, or another rule was asked for
        own, replicate = winner.candidate, winner.best_replicate(selection)
        one = Trained(
            own.number, replicate, own.configuration, own.results[replicate], own.objective
        )
        return Choice(Model("replicate", (Blend((one,)),)), rule)
    if rule == "single":
        return Choice(Model("single", (Blend((trained[0],)),)), rule)
    return choose(rule, Candidates(trained, predictor, max_members))


def choose(rule: str, candidates: Candidates) -> Choice:
    """Follow a rule of `RULES`; a combination that does not beat a single model is not taken."""
    rows = np.arange(len(candidates.predictor.labels))
    alone = single(candidates, rows)
    if rule == "single":
        return Choice(alone, rule)
    made, checked = RULES[rule](candidates, rows), cross_fitted(rule, candidates)
    barrier = _barrier(made, candidates, rows) if rule == "soup" else None
    if made is None:
        reason = f"no {rule} of two or more models is better than one of them"
        return Choice(alone, rule, checked, barrier, reason)
    if not checked or checked["rule"] <= checked["single"]:
        reason = f"the {rule} did not beat the best single model on images that did not choose it"
        return Choice(alone, rule, checked, barrier, reason)
    return Choice(made, rule, checked, barrier)


def _barrier(made: Model | None, candidates: Candidates, rows: Rows) -> float | None:
    families = families_of(candidates.ranked(rows))
    pair = made.members[0].of[:2] if made is not None else next(iter(families), [])[:2]
    return candidates.predictor.barrier(*pair) if pair else None


def cross_fitted(rule: str, candidates: Candidates) -> dict[str, float]:
    """The objective of a rule's models and of the best single ones on images that did not choose.

    Returns:
        `rule` and `single`, each the mean over both halves; a half on which the rule makes no
        model counts as the single one's. Empty if the images cannot be divided.
    """
    predictor = candidates.predictor
    images = predictor.parts[predictor.SELECTION].images[:, 0].cpu().numpy()
    halves = divide(Split(images, predictor.labels.numpy()), 0.5, 0)
    if not (len(halves.selection) and len(halves.held_out)):
        return {}
    found: dict[str, list[float]] = {"rule": [], "single": []}
    for own, other in (
        (halves.selection, halves.held_out),
        (halves.held_out, halves.selection),
    ):
        alone = single(candidates, own)
        for name, model in (("rule", RULES[rule](candidates, own) or alone), ("single", alone)):
            found[name].append(predictor.score(predictor.mean(model), other)[0])
    return {name: float(np.mean(values)) for name, values in found.items()}
