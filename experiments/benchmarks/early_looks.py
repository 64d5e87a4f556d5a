"""How well an early accuracy of a trial predicts its end, and what it costs, from a recording.

Spearman's rank correlation with the TEST2 accuracy of the whole trial (selection part), with
bootstrap intervals over baselines. Costs are fractions of the mean trial's seconds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from shiftsearch.search.rehearsing.recording import (
    RecordedBaseline,
    RecordedFineTune,
    read_recording,
)

RESAMPLES = 2000
Look = Callable[[RecordedBaseline, RecordedFineTune], tuple[float, float] | None]
"""A function of a baseline: the early value of its first trial, and its seconds; or None."""


def _own(epochs: int) -> Look:
    """The baseline's own accuracy after this many epochs; 0 is its end."""

    def look(baseline: RecordedBaseline, trial: RecordedFineTune) -> tuple[float, float] | None:
        if epochs not in baseline.looks:
            return None
        return baseline.looks[epochs], baseline.seconds[epochs - 1]

    return look


def _short(epochs: int) -> Look:
    """A whole fine-tune from this many baseline epochs."""

    def look(baseline: RecordedBaseline, trial: RecordedFineTune) -> tuple[float, float] | None:
        for fine_tune in baseline.fine_tunes:
            if fine_tune.start == epochs:
                return fine_tune.value, baseline.seconds[epochs - 1] + fine_tune.seconds
        return None

    return look


def _begun(epochs: int) -> Look:
    """The first epochs of fine-tuning the finished baseline."""

    def look(baseline: RecordedBaseline, trial: RecordedFineTune) -> tuple[float, float] | None:
        if len(trial.curve) < epochs:
            return None
        share = epochs / len(trial.curve)
        return trial.curve[epochs - 1], baseline.seconds[-1] + share * trial.seconds

    return look


LOOKS: dict[str, Look] = {
    "baseline's own TEST2 accuracy after 1 epoch": _own(1),
    "baseline's own TEST2 accuracy after 3 epochs": _own(3),
    "baseline's own TEST2 accuracy at its end": _own(0),
    "whole fine-tune from 1 baseline epoch": _short(1),
    "whole fine-tune from 3 baseline epochs": _short(3),
    "1 epoch of fine-tuning the finished baseline": _begun(1),
    "3 epochs of fine-tuning the finished baseline": _begun(3),
}


def table(recording: Sequence[RecordedBaseline]) -> list[str]:
    """Print a row per early value: correlation with its interval, cost, n."""
    rows = [
        "| what is looked at | correlation [95 %] | cost of the look | n |",
        "| - | - | - | - |",
    ]
    firsts = [(b, next(f for f in b.fine_tunes if not f.start)) for b in recording]
    whole = float(np.mean([b.seconds[-1] + f.seconds for b, f in firsts]))
    rng = np.random.default_rng(0)
    for name, look in LOOKS.items():
        seen = [(found, f.value) for b, f in firsts if (found := look(b, f)) is not None]
        values = np.array([(value, end) for (value, _), end in seen])
        cost = float(np.mean([seconds for (_, seconds), _ in seen])) / whole
        picks = rng.integers(0, len(values), (RESAMPLES, len(values)))
        drawn = [spearmanr(values[p, 0], values[p, 1]).statistic for p in picks]
        low, high = np.nanpercentile(drawn, [2.5, 97.5])
        own = spearmanr(values[:, 0], values[:, 1]).statistic
        rows.append(f"| {name} | {own:.2f} [{low:.2f}, {high:.2f}] | {cost:.0%} | {len(values)} |")
    again = float(np.mean([f.seconds for b in recording for f in b.fine_tunes if not f.start]))
    rows.append(f"| another fine-tune of a finished baseline | itself | {again / whole:.0%} | |")
    return rows


def spreads(recording: Sequence[RecordedBaseline]) -> str:
    """Standard deviations within and between baselines."""
    families = [[f.value for f in b.fine_tunes if not f.start] for b in recording]
    within = np.sqrt(np.mean([np.var(family, ddof=1) for family in families]))
    means = np.array([np.mean(family) for family in families])
    size = np.mean([len(family) for family in families])
    between = np.sqrt(max(0.0, means.var(ddof=1) - within**2 / size))
    return (
        f"standard deviation of TEST2 accuracy between fine-tunes of one baseline {within:.4f}, "
        f"between baselines {between:.4f}; {len(families)} baselines"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recording", type=Path, help="from record.py")
    recording = read_recording(parser.parse_args(argv).recording)
    print("\n".join(table(recording)))
    print(spreads(recording))
    held = [(f.value, f.held_out) for b in recording for f in b.fine_tunes if not f.start]
    values = np.array([pair for pair in held if pair[1] is not None], dtype=float)
    for name, column in (("selection part", 0), ("held-out part", 1)):
        quantiles = np.percentile(values[:, column], [10, 50, 90, 98, 100])
        print(f"{name}: 10, 50, 90, 98, 100 % quantiles {np.round(quantiles, 4)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
