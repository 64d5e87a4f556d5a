"""Recordings, the surrogate that is fitted to them, and searches on a simulated clock."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shiftsearch.model.hyperparameters import Value
from shiftsearch.model.objective import BALANCED_ACCURACY
from shiftsearch.search.proposing.policy import Policy
from shiftsearch.search.proposing.space import REFERENCE, Space
from shiftsearch.search.rehearsing.recording import (
    RecordedBaseline,
    RecordedFineTune,
    read_recording,
    recorded,
    write_recording,
)
from shiftsearch.search.rehearsing.replay import Replayed, Workers, replay, time_to_value
from shiftsearch.search.rehearsing.surrogate import Surrogate
from shiftsearch.search.study.budget import Budget
from shiftsearch.search.study.records import stage_values
from shiftsearch.search.study.settings import Settings
from tests.made_results import made_result
from tests.search.fake_study import open_study

pytestmark = pytest.mark.unit

SPACE = Space.parse(
    {
        "baseline": {
            "dropout": {"low": 0.0, "high": 0.8},
            "batch_size": {"choices": [32, 64]},
        },
        "fine_tune": {"label_smoothing": {"low": 0.0, "high": 0.2}},
    }
)
ALONE = Policy(branches=1, rungs=())
EPOCHS, EPOCH_SECONDS, FINE_TUNE_SECONDS = 4, 10.0, 5.0
WHOLE = EPOCHS * EPOCH_SECONDS + FINE_TUNE_SECONDS


def accuracy(dropout: float, smoothing: float) -> float:
    return 0.9 - (dropout - 0.3) ** 2 - smoothing


def configuration(dropout: float, size: int, smoothing: float) -> dict[str, Value]:
    return SPACE.complete(
        {
            "baseline.dropout": dropout,
            "baseline.batch_size": size,
            "fine_tune.label_smoothing": smoothing,
        }
    )


def made_up(baselines: int = 12, seed: int = 0, rung: int = 0) -> list[RecordedBaseline]:
    """Baselines with two fine-tunes each; at `rung` a fine-tune is worse by a tenth."""
    rng, recording = np.random.default_rng(seed), []
    for n in range(baselines):
        dropout, size = float(rng.uniform(0, 0.8)), (32, 64)[n % 2]
        fine_tunes = []
        for _ in range(2):
            smoothing = float(rng.uniform(0, 0.2))
            values = stage_values(configuration(dropout, size, smoothing), "fine_tune")
            value = accuracy(dropout, smoothing)
            fine_tunes.append(
                RecordedFineTune(values, 0, value, value - 0.05, FINE_TUNE_SECONDS, (0.1, value))
            )
            if rung:
                fine_tunes.append(
                    RecordedFineTune(values, rung, value - 0.1, None, FINE_TUNE_SECONDS)
                )
        recording.append(
            RecordedBaseline(
                stage_values(configuration(dropout, size, 0.1), "baseline"),
                [EPOCH_SECONDS * (e + 1) for e in range(EPOCHS)],
                {1: 0.3, 0: 0.5},
                tuple(fine_tunes),
            )
        )
    return recording


@pytest.fixture(scope="module")
def surrogate() -> Surrogate:
    return Surrogate(made_up(), SPACE)


@pytest.fixture(scope="module")
def with_rungs() -> Surrogate:
    return Surrogate(made_up(rung=1), SPACE)


def settings(trials: int = 8, policy: Policy = ALONE, sampler: str = "random") -> Settings:
    return Settings("replay", sampler, 0, Budget(trials), policy=policy, start_up=4)


# ---- recordings


def test_a_recording_is_read_as_it_was_written(tmp_path: Path) -> None:
    """To the last bit, and written again it is the same file."""
    path, again = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    write_recording(path, made_up(rung=1))
    read = read_recording(path)
    assert '"rung":1' in path.read_text()  # the name in files, which past recordings have
    write_recording(again, read)
    assert path.read_bytes() == again.read_bytes()
    assert len(path.read_text().splitlines()) == len(read) == 12
    first, made = read[0], made_up(rung=1)[0]
    assert (first.values, first.looks, first.seconds) == (made.values, made.looks, made.seconds)
    assert [f.value for f in first.fine_tunes] == [f.value for f in made.fine_tunes]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "JSONDecodeError"),
        ("[]", "TypeError"),
        ("5", "TypeError"),
        ("{}", "KeyError: 'looks'"),
        ('{"values": {}, "seconds": [], "looks": {}, "fine_tunes": []}x', "JSONDecodeError"),
        ('{"values": {}, "looks": {}, "fine_tunes": []}', "seconds"),
        ('{"values": {}, "seconds": [], "looks": {"one": 1}, "fine_tunes": []}', "'one'"),
        ('{"values": {}, "seconds": [], "looks": {}, "fine_tunes": [{"rung": 0}]}', "values"),
        ('{"values": {}, "seconds": [], "looks": {"0": NaN}, "fine_tunes": []}', "NaN"),
        ('{"values": {}, "seconds": [Infinity], "looks": {}, "fine_tunes": []}', "Infinity"),
        ("", "JSONDecodeError"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "bad.jsonl"
    write_recording(path, made_up(2))
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ValueError, match="is not a recorded baseline") as caught:
        read_recording(path)
    assert str(caught.value).startswith(f"{path}:3: ")
    assert reason in str(caught.value)


def test_nothing_non_finite_is_recorded(tmp_path: Path) -> None:
    (one, *_) = made_up(1)
    bad = replace(one, looks={0: float("nan")})
    with pytest.raises(ValueError, match="Out of range float values"):
        write_recording(tmp_path / "bad.jsonl", [bad])


def test_a_run_s_trials_are_a_recording(tmp_path: Path) -> None:
    """Trials of a family share a baseline; failed, stopped and open trials are not recorded."""
    policy = Policy(branches=2, first_baselines=2, rungs=(1,), keep=0.5, min_population=2)
    study = open_study(tmp_path / "study.journal", 6, policy=policy)

    def end(value: float) -> None:
        job = study.ask()
        assert job is not None
        if job.report_at.values() and study.report(job, 1, value - 0.2):
            return
        study.share(job)
        study.finish(job, made_result(value, before=0.4))

    for value in (0.6, 0.9, 0.1, 0.8):  # 2 is a branch of 1, 3 one of 0, now the better mean
        end(value)
    stopped = study.ask()
    assert stopped is not None
    assert study.report(stopped, 1, 0.0)
    trials = study.trials()
    assert [t.branch_of for t in trials[:4]] == [None, None, 1, 0]
    found = recorded(trials)
    assert [len(b.fine_tunes) for b in found] == [3, 3]
    assert [(f.start, round(f.value, 9)) for f in found[1].fine_tunes] == [
        (1, 0.7),
        (0, 0.9),
        (0, 0.1),
    ]
    assert found[1].values == stage_values(trials[1].configuration, "baseline")
    assert found[1].fine_tunes[2].values == stage_values(trials[2].configuration, "fine_tune")
    assert list(found[0].seconds) == [0.5, 1.0, 1.5, 2.0]
    assert found[0].looks == {0: 0.4}
    assert {f.held_out for b in found for f in b.fine_tunes} == {None}
    assert {f.seconds for b in found for f in b.fine_tunes} == {1.0}


# ---- surrogate


def test_a_recorded_configuration_has_its_recorded_values(with_rungs: Surrogate) -> None:
    for seed in (0, 1):
        drawn = with_rungs.drawn(seed)
        for baseline in made_up(rung=1):
            for one in baseline.fine_tunes[::2]:
                expected = drawn({**baseline.values, **one.values})
                assert expected.value == one.value
                assert expected.held_out == one.held_out
                assert expected.baseline_seconds == baseline.seconds
                assert expected.intermediate == pytest.approx({1: one.value - 0.1})


def test_elsewhere_it_is_near_the_truth_and_an_accuracy(surrogate: Surrogate) -> None:
    """Whatever the seed: a draw differs from the truth by about the fitted noise."""
    rng = np.random.default_rng(9)
    errors = []
    for seed in range(5):
        drawn = surrogate.drawn(seed)
        for _ in range(20):
            dropout, smoothing = rng.uniform(0, 0.6), rng.uniform(0, 0.2)
            expected = drawn(configuration(float(dropout), 32, float(smoothing)))
            assert 0 <= expected.value <= 1
            assert expected.held_out is not None
            assert 0 <= expected.held_out <= 1
            errors.append(expected.value - accuracy(dropout, smoothing))
    assert np.sqrt(np.square(errors).mean()) < 0.05
    assert abs(np.mean(errors)) < 0.02


def test_a_seed_s_truth_is_one_function(surrogate: Surrogate) -> None:
    """Values depend only on seed and configuration, not on the order of the calls."""
    places = [configuration(d / 10, 64, 0.05) for d in range(7)]
    one, again, other = (surrogate.drawn(seed) for seed in (3, 3, 4))
    values = [one(p).value for p in places]
    assert [again(p).value for p in reversed(places)] == values[::-1]
    assert [one(p).value for p in places] == values
    assert all(a != b for a, b in zip(values, [other(p).value for p in places], strict=True))


def test_the_reference_outside_the_space_has_a_value() -> None:
    """A search begins with the reference, which may be outside the space and unrecorded."""
    space = Space.parse(
        {
            "baseline": {
                "dropout": {"low": 0.6, "high": 0.8},
                "batch_size": {"choices": [8, 16]},
                "learning_rate": {"low": 0.5, "high": 1.0, "log": True},
            }
        }
    )
    assert not space.contains("baseline.batch_size", REFERENCE["baseline.batch_size"])
    recording = [
        RecordedBaseline(
            stage_values(
                space.complete({"baseline.dropout": 0.6 + n / 40, "baseline.batch_size": 8}),
                "baseline",
            )
            | {"baseline.learning_rate": 0.5 + n / 20},
            [1.0],
            {},
            (RecordedFineTune(stage_values(REFERENCE, "fine_tune"), 0, 0.5 + n / 20, None, 1.0),),
        )
        for n in range(6)
    ]
    expected = Surrogate(recording, space).drawn(0)(REFERENCE)
    assert 0 <= expected.value <= 1
    assert expected.held_out is None


def test_alike_recordings_are_no_trouble() -> None:
    """If all values are equal, there is no correlation."""
    alike = [
        replace(b, fine_tunes=[replace(f, value=0.5, held_out=0.5) for f in b.fine_tunes])
        for b in made_up(4)
    ]
    expected = Surrogate(alike, SPACE).drawn(0)(configuration(0.5, 32, 0.0))
    assert expected.value == pytest.approx(0.5, abs=0.01)


def test_too_few_recorded_trials_are_refused() -> None:
    with pytest.raises(ValueError, match="4 recorded trials, but replay needs at least 5"):
        Surrogate(made_up(2), SPACE)


def test_errors_out_of_sample_tell_signal_from_noise() -> None:
    """A smooth function is predicted, mere noise is not, and neither is called exact."""
    smooth = Surrogate(made_up(30), SPACE).errors()
    assert smooth["rmse"] < 0.5 * smooth["recorded_sd"]
    assert smooth["rank_correlation"] > 0.8
    rng = np.random.default_rng(1)
    noise = [
        replace(
            b, fine_tunes=[replace(f, value=float(rng.uniform(0.4, 0.6))) for f in b.fine_tunes]
        )
        for b in made_up(30)
    ]
    blind = Surrogate(noise, SPACE).errors()
    assert blind["rmse"] > 0.8 * blind["recorded_sd"]
    assert abs(blind["rank_correlation"]) < 0.5
    assert blind["noise_sd"] > 0.03 > smooth["noise_sd"]


def test_errors_leave_whole_baselines_out() -> None:
    """Values depend only on the baseline, so its other fine-tunes must not predict them."""
    rng = np.random.default_rng(2)
    recording = []
    for n in range(8):
        place = stage_values(configuration(n / 10, 32, 0.0), "baseline")
        value = float(rng.uniform(0.3, 0.7))
        fine_tunes = [replace(f, value=value) for b in made_up(4, n) for f in b.fine_tunes]
        recording.append(RecordedBaseline(place, [1.0], {}, fine_tunes))
    errors = Surrogate(recording, SPACE).errors()
    assert errors["rmse"] > 0.8 * errors["recorded_sd"]


# ---- replay


def test_a_replayed_search_depends_on_its_seed_alone(surrogate: Surrogate) -> None:
    one, again = (replay(surrogate, SPACE, settings(), Workers()) for _ in range(2))
    other = replay(surrogate, SPACE, replace(settings(), seed=1), Workers())
    assert one == again
    assert len(one) == len(other) == 8
    assert [t.value for t in one] != [t.value for t in other]


def test_two_workers_overlap_in_time(surrogate: Surrogate) -> None:
    """Pairs of trials end together; one worker takes twice as long."""
    pair = replay(surrogate, SPACE, settings(), Workers(count=2))
    assert [t.seconds for t in pair] == [WHOLE * (n // 2 + 1) for n in range(8)]
    alone = replay(surrogate, SPACE, settings(), Workers(count=1))
    assert [t.seconds for t in alone] == [WHOLE * (n + 1) for n in range(8)]


def test_what_workers_cost(surrogate: Surrogate) -> None:
    slow = Workers(count=1, start=7.0, per_trial=1.0, slowness=2.0)
    ends = [t.seconds for t in replay(surrogate, SPACE, settings(3), slow)]
    assert ends == [7 + (1 + 2 * WHOLE) * n for n in (1, 2, 3)]


def test_a_branch_costs_its_fine_tune_alone(surrogate: Surrogate) -> None:
    policy = Policy(branches=3, first_baselines=1)
    ends = [t.seconds for t in replay(surrogate, SPACE, settings(4, policy), Workers(count=1))]
    steps = [WHOLE, FINE_TUNE_SECONDS, FINE_TUNE_SECONDS, WHOLE]
    assert ends == list(np.cumsum(steps))


def test_a_trial_that_waits_for_a_baseline_starts_when_it_is_trained() -> None:
    """Two workers, one baseline: the second one's first fine-tune begins with the first one's."""
    space = Space.parse({"fine_tune": {"label_smoothing": {"low": 0.0, "high": 0.2}}})
    recording = [replace(b, values=stage_values(REFERENCE, "baseline")) for b in made_up()]
    found = replay(Surrogate(recording, space), space, settings(4), Workers(count=2))
    assert [t.seconds for t in found] == [WHOLE, WHOLE, *[WHOLE + FINE_TUNE_SECONDS] * 2]


def test_a_stopped_trial_frees_its_worker(with_rungs: Surrogate) -> None:
    """A stopped trial took one epoch and one fine-tune; the others take one fine-tune more."""
    policy = Policy(branches=1, rungs=(1,), keep=0.5, min_population=1)
    found = replay(with_rungs, SPACE, settings(12, policy), Workers(count=1))
    complete = {t.number for t in found}
    assert 0 in complete
    assert 1 <= 12 - len(complete) <= 10
    clock = 0.0
    ends = {}
    for number in range(12):
        clock += EPOCH_SECONDS + FINE_TUNE_SECONDS
        if number in complete:
            clock += WHOLE - EPOCH_SECONDS
            ends[number] = clock
    assert {t.number: t.seconds for t in found} == pytest.approx(ends)


def test_budgets_are_kept_on_the_simulated_clock(surrogate: Surrogate) -> None:
    """Asking stops; what runs then ends."""
    timed = replace(settings(), budget=Budget(100, seconds=WHOLE * 1.5))
    found = replay(surrogate, SPACE, timed, Workers(count=2))
    assert [t.seconds for t in found] == [WHOLE, WHOLE, 2 * WHOLE, 2 * WHOLE]
    counted = replace(settings(), budget=Budget(100, trainings=3.0))
    assert len(replay(surrogate, SPACE, counted, Workers(count=1))) == 3


def test_a_search_that_has_enough_ends_there(surrogate: Surrogate) -> None:
    found = replay(surrogate, SPACE, settings(), Workers(count=1), lambda ended: len(ended) == 3)
    assert len(found) == 3
    assert found == replay(surrogate, SPACE, settings(), Workers(count=1))[:3]


def ended(*trials: tuple[float, float, float | None]) -> list[Replayed]:
    return [Replayed(n, *trial) for n, trial in enumerate(trials)]


@pytest.mark.parametrize(
    ("target", "held_out", "seconds"),
    [
        (0.5, False, 10.0),
        (0.7, False, 30.0),
        (0.8, False, 40.0),  # reached is enough
        (0.9, False, None),
        (0.5, True, 10.0),
        (0.6, True, 40.0),  # 20 has 0.9 there, but is not the best by selection
        (0.75, True, None),
    ],
)
def test_time_to_a_value_is_the_incumbent_s(
    target: float, held_out: bool, seconds: float | None
) -> None:
    """At each time only the best trial by selection counts."""
    trials = ended((10, 0.6, 0.5), (20, 0.6, 0.9), (30, 0.7, 0.4), (40, 0.8, 0.7))
    assert time_to_value(trials, target, held_out=held_out) == seconds


def test_time_to_a_value_that_nobody_looked_at_is_unknown() -> None:
    assert time_to_value(ended((10, 0.9, None)), 0.5, held_out=True) is None
    assert time_to_value([], 0.5, held_out=False) is None


def test_recorded_lines_are_plain_json(tmp_path: Path) -> None:
    """One object a line, epochs as keys: readable by anything."""
    path = tmp_path / "a.jsonl"
    write_recording(path, made_up(1, rung=1))
    (line,) = path.read_text().splitlines()
    raw: Mapping[str, object] = json.loads(line)
    assert raw["looks"] == {"1": 0.3, "0": 0.5}


def test_a_run_of_another_objective_is_replayed_by_its_recorded_values(
    surrogate: Surrogate,
) -> None:
    plain = replay(surrogate, SPACE, settings(), Workers())
    other = replace(settings(), objective=BALANCED_ACCURACY)
    assert replay(surrogate, SPACE, other, Workers()) == plain
    assert plain
