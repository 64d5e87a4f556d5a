"""`shiftsearch replay`: simulate searches with other settings on the trials of past runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from shiftsearch.experiments.definition import DefinitionError, Experiment, build, load
from shiftsearch.experiments.live.status import trials_of
from shiftsearch.experiments.mapping import read_value
from shiftsearch.experiments.run_folder import NotARun, Run
from shiftsearch.search.proposing.policy import NOTHING_SHARED
from shiftsearch.search.rehearsing.recording import RecordedBaseline, recorded
from shiftsearch.search.rehearsing.replay import Replayed, Workers, replay, time_to_value
from shiftsearch.search.rehearsing.surrogate import Surrogate
from shiftsearch.search.study.records import TrialRecord, stored_identity

AS_IT_STANDS = "as in experiment.yaml"
RANDOM = "random, nothing shared"

_FREE = ("name", "seed", "dtype")  # runs that are replayed together may differ in these
_LEAST = 5
"""Least number of recorded trials that reach the target; a single one may be luck."""


@dataclass(frozen=True)
class Rehearsed:
    """The simulated searches of one policy, summarised over the seeds.

    Attributes:
        name: the policy's name, as given.
        quartiles: quartiles of the seconds until a trial reached the target; infinite if none did.
        reached: fraction of the searches that reached the target.
        best: mean over the searches of their best value.
    """

    name: str
    quartiles: tuple[float, float, float]
    reached: float
    best: float


def past(folders: Sequence[Path]) -> tuple[Experiment, list[RecordedBaseline]]:
    """The experiment of runs with the same data, space and protocol, and what they recorded.

    Nothing is written, and a driver may work on a run meanwhile.

    Raises:
        DefinitionError: the experiment of the first run does not load.
        experiments.run_folder.NotARun: a folder is not a run, or the runs differ in a field.
    """
    recording: list[RecordedBaseline] = []
    first: Mapping[str, str] = {}
    for folder in folders:
        trials, identity = _read(Run(folder))
        shared = {k: v for k, v in identity.items() if k not in _FREE}
        first = first or shared
        for field in {**first, **shared}:
            here, there = (of.get(field, "nothing") for of in (shared, first))
            if here != there:
                raise NotARun(
                    f"{folder}: {field} is {here}, but {there} in {folders[0]}; runs that are "
                    "replayed together must agree in it"
                )
        recording += recorded(trials)
    return load(str(Run(folders[0]).definition)), recording


def _read(run: Run) -> tuple[list[TrialRecord], dict[str, str]]:
    """Trials and identity of a run's study."""
    for path in (run.definition, run.journal):
        if not path.is_file():
            raise NotARun(f"{run.folder}: is not a run; it has no {path.name}")
    trials = trials_of(run)
    if not trials:  # its driver has just begun, or died early
        raise NotARun(f"{run.journal}: holds no study (no trials)")
    return trials, stored_identity(run.journal)


def policies_of(
    experiment: Experiment, texts: Sequence[str], trials: int | None = None
) -> dict[str, Experiment]:
    """The settings to simulate, by name: the experiment's own, random search, and one per text.

    Args:
        experiment: the runs' experiment.
        texts: `KEY=VALUE,...` with keys of the policy, sampler or start_up.
        trials: number of trials of each search; None: the experiment's.

    Raises:
        DefinitionError: a text is wrong; the message names it.
    """
    if trials is not None:
        experiment = build(experiment.model_dump() | {"trials": trials}, "--trials")
    whole = experiment.model_dump()
    plain = {"sampler": "random", "policy": whole["policy"] | NOTHING_SHARED}
    random = build(whole | plain, RANDOM)
    given = {text: policy_of(experiment, text) for text in texts}
    return {AS_IT_STANDS: experiment, RANDOM: random, **given}


def policy_of(experiment: Experiment, text: str) -> Experiment:
    """The experiment with `KEY=VALUE,...` changed in its policy, sampler and start_up.

    Raises:
        DefinitionError: the text is wrong; the message names it.
    """
    changes: dict[str, Any] = {}
    policy = experiment.policy.model_dump()
    for part in text.split(","):
        key, equals, raw = part.partition("=")
        if not equals or key not in {*policy, "sampler", "start_up"}:
            names = ", ".join([*policy, "sampler", "start_up"])
            raise DefinitionError(
                [f"--policy {text}: {part!r} is not KEY=VALUE with one of {names}"]
            )
        if isinstance(policy.get(key), tuple):
            policy[key] = tuple(read_value(epochs) for epochs in raw.split("+") if epochs)
        elif key in policy:
            policy[key] = read_value(raw)
        else:
            changes[key] = read_value(raw) if key == "start_up" else raw
    whole = experiment.model_dump() | changes | {"policy": policy}
    return build(whole, f"--policy {text}")


def not_recorded(
    policies: Mapping[str, Experiment], recording: Sequence[RecordedBaseline]
) -> list[str]:
    """One line for each rung of a policy that no run recorded; it would change nothing."""
    known = {f.start for baseline in recording for f in baseline.fine_tunes}
    # The runs' own rungs are allowed even if no baseline was trained that far.
    known |= set(policies[AS_IT_STANDS].policy.report_at.values())
    return [
        f"--policy {name}: {problem}"
        for name, experiment in policies.items()
        for problem in experiment.policy.unrecorded(known)
    ]


def rehearse(
    experiment: Experiment,
    surrogate: Surrogate,
    policies: Mapping[str, Experiment],
    seeds: int,
    workers: Workers,
    target: float,
) -> list[Rehearsed]:
    """Simulate each policy with the same study seeds; the target is on the selection part."""
    space, found = experiment.search_space(), []
    for name, changed in policies.items():
        searches = [
            replay(surrogate, space, replace(changed.settings(), seed=seed), workers)
            for seed in range(seeds)
        ]
        times = [time_to_value(s, target, held_out=False) for s in searches]
        finite = np.array([np.inf if t is None else t for t in times])
        quartiles = np.percentile(finite, [25, 50, 75], method="nearest")
        best = float(np.mean([_best(search) for search in searches]))
        reached = float(np.isfinite(finite).mean())
        low, middle, high = (float(q) for q in quartiles)
        found.append(Rehearsed(name, (low, middle, high), reached, best))
    return found


def _best(search: Sequence[Replayed]) -> float:
    return max((trial.value for trial in search), default=0.0)


def reachable(recording: Sequence[RecordedBaseline]) -> float:
    """The highest value that at least `_LEAST` recorded trials reach."""
    values = sorted(
        (f.value for b in recording for f in b.fine_tunes if not f.start), reverse=True
    )
    return values[min(_LEAST, len(values)) - 1]
