"""The end of a search: choose the winner, evaluate, export, write the result.

The order is: count the looks, score, export the bundle, write `result.json`. Explanations of the
result come afterwards, see `experiments.adornments`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from shiftsearch.data.dataset import Dataset
from shiftsearch.experiments.definition import Experiment
from shiftsearch.experiments.outcome.appearance import appearance
from shiftsearch.experiments.outcome.blends import Predictor
from shiftsearch.experiments.outcome.choice import chosen_model
from shiftsearch.experiments.outcome.exported import export_model
from shiftsearch.experiments.outcome.fit import fit
from shiftsearch.experiments.outcome.honest import judged
from shiftsearch.experiments.outcome.judged import Judged, described, judge, model_rows
from shiftsearch.experiments.outcome.looks import count_looks, count_model_looks, looks_so_far
from shiftsearch.experiments.outcome.outlook import outlook
from shiftsearch.experiments.outcome.result_rows import read_result
from shiftsearch.experiments.outcome.results import (
    Part,
    Scored,
    compare,
    confusion_of,
    counts_of,
    parts_of,
    score,
    table_rows,
    versions,
    write_result,
)
from shiftsearch.experiments.outcome.retrain import Candidate, Retraining
from shiftsearch.experiments.outcome.tradeoff import tradeoff
from shiftsearch.experiments.outcome.whereabouts import uses_of
from shiftsearch.experiments.run_folder import Run
from shiftsearch.model.device import choose_device
from shiftsearch.model.objective import OBJECTIVES, Objective, beside_accuracy
from shiftsearch.model.prepared import division_of
from shiftsearch.model.store import content_key
from shiftsearch.search.study.records import best_trials
from shiftsearch.search.study.study import Study

_SELECTION = 1  # TEST2's selection part, as `parts_of` orders them


class Conclusion:
    """Concludes a finished search and retraining.

    Args:
        experiment: the run's experiment.
        run: the run's folder.
        dataset: the whole dataset; TEST2 is divided here.
        study: the finished study; only read.
        retraining: the finished retraining.
        circumstances: for `result.json`: the `command`, the `reasons` of automatic choices,
            `warnings` about the data, the `seconds` of this call, and the reason why the search
            `stopped` early.
    """

    def __init__(
        self,
        experiment: Experiment,
        run: Run,
        dataset: Dataset,
        study: Study,
        retraining: Retraining,
        circumstances: Mapping[str, Any],
    ) -> None:
        self.experiment, self.run, self.dataset = experiment, run, dataset
        self.study, self.retraining = study, retraining
        self.circumstances = circumstances
        self.candidates = retraining.candidates()

    def conclude(self) -> dict[str, Any] | None:
        """Write the bundle and `result.json`, and return the result; None without a winner.

        If an earlier call concluded from the same trainings, its result is used, because every
        evaluation is another look at the held-out part.
        """
        # With the states of the trials, because two calls can have the same number of trials but
        # different states if the budget was spent.
        states = [trial.written_state for trial in self.study.trials()]
        content = [self.retraining.fingerprint(), self.experiment.trials, states]
        if rule := self.experiment.export.choice:  # absent, so that earlier results are found
            content.append(rule)
        fingerprint = content_key(content)
        result = self._found(fingerprint)
        if result is not None:
            return result
        winner = self.retraining.winner()
        if winner is None:
            return None
        # `analysis` is filled in once it is made.
        result = {**self._result(winner), "fingerprint": fingerprint, "analysis": None}
        write_result(self.run.result, result)
        return result

    def _found(self, fingerprint: str) -> dict[str, Any] | None:
        """The result of an earlier call from the same trainings, or None."""
        if not (self.run.result.exists() and self.run.bundle.exists()):
            return None
        result = read_result(self.run.result)
        return result if result["fingerprint"] == fingerprint else None

    def _result(self, winner: Candidate) -> dict[str, Any]:
        titled = self._titled(winner)
        parts, scored = self._score(titled)
        best = scored.get("winner", scored.get("reference"))
        assert best is not None  # the winner has replicates, so it is scored
        comparison = None
        if "winner" in scored and "reference" in scored:
            comparison = compare(scored["winner"], scored["reference"], parts)
        model, predictor = self._judge(best, titled, parts)
        export_model(self.run.bundle, model, predictor, self.experiment)
        first = model.choice.model.first
        environment = first.result.fine_tune.environment
        return {
            **self._description(),
            "search": self._search_summary(),
            "retrain": {
                **self.experiment.retrain.model_dump(),
                "candidates": [self._candidate(c, winner) for c in self.candidates],
            },
            "places": uses_of(
                self.study.trials(), [p for c in self.candidates for p in c.places.values()]
            ),
            "outlook": outlook(self.study.trials(), self.candidates),
            **tradeoff(
                self.experiment, self.study.trials(), self.candidates, self.study.gate.machines
            ),
            "winner": self._named(winner),
            "reference": self._named(self.candidates[0]),
            "table": [
                r.to_json() for s in scored.values() for r in table_rows(s, parts, self._beside())
            ]
            + [r.to_json() for r in model_rows(model, predictor)],
            "model": described(model, predictor),
            "fit": fit(titled, self.run.store, counts_of(self.dataset), self.experiment.protocol),
            "numbers": [self._judged(title, s, parts) for title, s in scored.items()],
            "comparison": comparison,
            "confusion": {t: confusion_of(s, parts, _SELECTION) for t, s in scored.items()}
            | {"split": "TEST2", "part": "selection", "label": parts[_SELECTION].label("after")},
            "exported": {
                "number": first.number,
                "replicate": first.replicate,
                "bundle": self.run.bundle.name,
            },
            "held_out_looks": looks_so_far(self.run.looks),
            "environment": {
                **environment,
                "reasons": self.circumstances["reasons"],
                "versions": versions(),
            },
            "warnings": self.circumstances["warnings"],
            "seconds": {"this_call": self.circumstances["seconds"]},
        }

    def _judged(self, title: str, scored: Scored, parts: Sequence[Part]) -> dict[str, Any]:
        selection, *held_out = (
            scored.mean_correctness("after", i) for i in range(_SELECTION, len(parts))
        )
        count, label = len(scored.candidate.results), parts[_SELECTION].label("after")
        there = held_out[0] if held_out else None
        return judged(title, count, selection, there, label).to_json()

    def _beside(self) -> list[Objective]:
        return beside_accuracy(OBJECTIVES[self.experiment.objective], counts_of(self.dataset))

    def _titled(self, winner: Candidate) -> dict[str, Candidate]:
        """The configurations to score, by title, the reference first.

        Those without a finished replicate are left out.
        """
        reference = self.candidates[0]
        titled = {"reference": reference}
        if winner.configuration != reference.configuration:
            titled["winner"] = winner
        titled |= {
            f"reference, fine-tuned on {c.fine_tune_on}": c
            for c in self.candidates
            if not c.competes
        }
        return {title: c for title, c in titled.items() if c.results}

    def _score(self, titled: Mapping[str, Candidate]) -> tuple[list[Part], dict[str, Scored]]:
        device = choose_device()
        device.apply()
        parts = parts_of(self.dataset, self.experiment.protocol, device)
        count_looks(self.run.looks, titled, held_out=parts[-1].name == "held-out")
        return parts, {
            title: score(title, candidate, parts, self.run.store, self.dataset, device)
            for title, candidate in titled.items()
        }

    def _judge(
        self, best: Scored, titled: Mapping[str, Candidate], parts: Sequence[Part]
    ) -> tuple[Judged, Predictor]:
        """Choose the model on the selection part, then score it on all parts."""
        export, objective = self.experiment.export, best.candidate.objective
        predictor = Predictor(self.run.store, self.dataset, parts, choose_device(), objective)
        choice = chosen_model(
            self.experiment.export_rule,
            export.max_members,
            self.study.trials(),
            self.candidates,
            best,
            _SELECTION,
            predictor,
        )
        scored = {r.fine_tune.key for c in titled.values() for r in c.results.values()}
        model = choice.model
        if len(model.members) > 1 or not (
            model.members[0].is_trained and model.first.key in scored
        ):
            held_out = parts[-1].name == "held-out"
            count_model_looks(self.run.looks, model.first.replicate, held_out)
        return judge(choice, predictor), predictor

    def _description(self) -> dict[str, Any]:
        """What `result.json` says about the run itself."""
        experiment, dataset = self.experiment, self.dataset
        division = division_of(dataset, experiment.protocol)
        return {
            "schema": 1,
            "name": experiment.name,
            "status": "complete",
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": self.circumstances["command"],
            "dataset": {
                "source": experiment.data,
                "digest": dataset.digest,
                "classes": list(dataset.classes),
                "image_size": list(dataset.image_size),
                "counts": counts_of(dataset),
                "appearance": appearance(dataset, experiment.protocol),
            },
            "division": {
                "holdout": experiment.protocol.holdout,
                "seed": experiment.protocol.division_seed,
                "selection_n": len(division.selection),
                "held_out_n": len(division.held_out),
            },
            "objective": experiment.objective,
            "protocol": experiment.protocol.model_dump(),
            "space": experiment.search_space().describe(),
        }

    def _search_summary(self) -> dict[str, Any]:
        trials = self.study.trials()
        best = next(iter(best_trials(trials)), None)
        finished = [t.result for t in trials if t.result is not None]
        # By key, because a stage that several trials share was trained once.
        paid = {s.key: s.seconds for r in finished for s in (r.baseline, r.fine_tune)}
        count = {state: sum(t.state == state for t in trials) for state in ("complete", "pruned")}
        return {
            "sampler": self.experiment.sampler,
            "seed": self.experiment.seed,
            "asked": self.experiment.trials,
            **count,
            "refused": sum(t.state == "refused" for t in trials),
            "failed": sum(t.state == "failed" for t in trials),
            "trial_seconds": sum(paid.values()),
            "stopped": self.circumstances["stopped"],
            "best_number": None if best is None else best.number,
            "best_value": None if best is None else best.value,
        }

    def _candidate(self, candidate: Candidate, winner: Candidate) -> dict[str, Any]:
        role = "reference" if candidate.number == self.candidates[0].number else "candidate"
        won = candidate.competes and candidate.number == winner.number
        return {
            "role": "winner" if won else role,
            **self._named(candidate),
            "fine_tune_on": candidate.fine_tune_on,
            "search_value": candidate.search_value,
            "replicates": candidate.values,
            "places": [
                asdict(p) if (p := candidate.places.get(r)) else None
                for r in sorted(candidate.results)
            ],
            "mean": candidate.mean,
            "failed": list(candidate.failures.values()),
        }

    def _named(self, candidate: Candidate) -> dict[str, Any]:
        costs = self.study.trial(candidate.number).costs
        named = {"number": candidate.number, "configuration": dict(candidate.configuration)}
        return named | ({"costs": dict(costs)} if costs else {})
