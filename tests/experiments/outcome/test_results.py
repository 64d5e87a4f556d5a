"""What the final evaluation counts, averages, labels and compares, and the looks."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shiftsearch.data.dataset import SPLITS, Dataset, Split
from shiftsearch.experiments.benchmarks.untrained import random_weights
from shiftsearch.experiments.outcome.kept import weights_kept, weights_of
from shiftsearch.experiments.outcome.looks import count_looks, looks_so_far, note_looks
from shiftsearch.experiments.outcome.result_rows import rows_of
from shiftsearch.experiments.outcome.results import (
    Part,
    Scored,
    compare,
    confusion_of,
    parts_of,
    score,
    table_rows,
)
from shiftsearch.experiments.outcome.retrain import Candidate
from shiftsearch.experiments.outcome.statistics import wilson
from shiftsearch.model.device import Device
from shiftsearch.model.evaluation import Evaluation, evaluate
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol
from shiftsearch.model.objective import ACCURACY, BALANCED_ACCURACY
from shiftsearch.model.prepared import division_of, prepare
from shiftsearch.model.protocol import build
from shiftsearch.model.result import Stage
from shiftsearch.model.store import Entry, Store, open_store
from tests.experiments.stored_networks import always, retrained
from tests.made_results import made_result

pytestmark = pytest.mark.unit

CPU = Device("cpu", "float32", 1, "tests")
IMAGES_PER_CLASS = {"TRAIN": (1, 1, 1), "TEST": (5, 3, 2), "TEST2": (9, 5, 3)}
A, B, C = (always(label, 3, (16, 16)) for label in range(3))


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Three classes of noise of different sizes, so that every part has its own proportions."""
    rng, splits = np.random.default_rng(0), {}
    for name in SPLITS:
        labels = rng.permutation(np.repeat(np.arange(3), IMAGES_PER_CLASS[name]))
        splits[name] = Split(rng.integers(256, size=(len(labels), 16, 16), dtype=np.uint8), labels)
    return Dataset(("a", "b", "c"), splits)


@pytest.fixture(scope="module")
def parts(dataset: Dataset) -> list[Part]:
    return parts_of(dataset, Protocol(), CPU)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")


@pytest.fixture
def candidate(store: Store) -> Candidate:
    """Predicts class c for all images before fine-tuning, then a (replicate 1) or b (2)."""
    return retrained(store, {1: (C, A), 2: (C, B)})


@pytest.fixture
def scored(candidate: Candidate, store: Store, dataset: Dataset, parts: list[Part]) -> Scored:
    return score("winner", candidate, parts, store, dataset, CPU)


def shares(dataset: Dataset) -> list[list[float]]:
    """Fractions of the classes in TEST, in TEST2's selection part and in its held-out part."""
    division, labels = division_of(dataset, Protocol()), dataset.splits["TEST2"].labels
    parts = (dataset.splits["TEST"].labels, labels[division.selection], labels[division.held_out])
    return [[float(np.mean(part == label)) for label in range(3)] for part in parts]


def made_up(
    accuracies: Mapping[tuple[str, int, int], float] | None = None,
    correctness: Mapping[tuple[str, int, int], Sequence[bool]] | None = None,
) -> Scored:
    """By (stage, part, replicate)."""
    accuracies, correctness = accuracies or {}, correctness or {}
    replicates = {key[2] for key in (*accuracies, *correctness)}
    return Scored(
        "winner",
        Candidate(0, {}, None, "TEST", {r: made_result(0.5) for r in replicates}, {}),
        {key: Evaluation(10, accuracy, 1.0, (), ()) for key, accuracy in accuracies.items()},
        {key: np.array(right) for key, right in correctness.items()},
    )


@pytest.mark.parametrize(
    ("split", "part", "before", "after"),
    [
        ("TEST", "all", "selected on", "trained on"),
        ("TEST2", "selection", "selected on", "selected on"),
        ("TEST2", "held-out", "held out", "held out"),
    ],
)
def test_a_label_says_how_a_number_is_to_be_read(
    split: str, part: str, before: str, after: str
) -> None:
    of = Part(split, part, torch.empty(0), torch.empty(0))
    assert (of.label("before"), of.label("after")) == (before, after)


def test_an_out_of_fold_number_is_labelled(dataset: Dataset) -> None:
    parts = parts_of(dataset, Protocol(folds=2), CPU)
    assert [part.label("after") for part in parts] == [
        "trained on",
        "out of fold",
        "held out",
    ]
    assert [part.label("before") for part in parts] == ["selected on", "selected on", "held out"]


def test_the_selection_part_is_scored_by_the_folds_fine_tunes(
    dataset: Dataset, store: Store, candidate: Candidate
) -> None:
    protocol = Protocol(folds=2)
    parts = parts_of(dataset, protocol, CPU)
    n = len(parts[1].labels)
    perfect = torch.eye(3)[parts[1].labels]
    half = torch.cat([perfect[: n // 2], torch.eye(3)[(parts[1].labels[n // 2 :] + 1) % 3]])
    assert not weights_kept(store, candidate.results[1], protocol)
    with pytest.raises(FileNotFoundError, match="out-of-fold"):
        score("winner", candidate, parts, store, dataset, CPU)
    for replicate, probabilities in ((1, half), (2, perfect)):
        stage = candidate.results[replicate].fine_tune
        assert stage.report is not None
        store.save(stage.course, stage.report, Entry({"probabilities": probabilities}, {}))
    assert weights_kept(store, candidate.results[1], protocol)
    found = score("winner", candidate, parts, store, dataset, CPU)
    plain = score("winner", candidate, parts_of(dataset, Protocol(), CPU), store, dataset, CPU)
    assert [found.evaluations["after", 1, r].accuracy for r in (1, 2)] == [(n // 2) / n, 1.0]
    assert found.correctness["after", 1, 1].tolist() == [i < n // 2 for i in range(n)]
    assert found.best_replicate(1) == 2
    for key in found.evaluations.keys() - {("after", 1, 1), ("after", 1, 2)}:
        assert found.evaluations[key] == plain.evaluations[key]


@pytest.mark.parametrize("holdout", [0.5, 0.0])
def test_the_parts_are_test_and_the_division_of_test2(dataset: Dataset, holdout: float) -> None:
    protocol = Protocol(holdout=holdout)
    division, splits = division_of(dataset, protocol), dataset.splits
    expected = {
        ("TEST", "all"): splits["TEST"],
        ("TEST2", "selection"): splits["TEST2"].take(division.selection),
        ("TEST2", "held-out"): splits["TEST2"].take(division.held_out),
    }
    if holdout == 0:
        assert len(expected.pop(("TEST2", "held-out"))) == 0
        assert len(expected["TEST2", "selection"]) == 17
    found = parts_of(dataset, protocol, CPU)
    assert [(part.split, part.name) for part in found] == list(expected)
    for part, split in zip(found, expected.values(), strict=True):
        assert part.images.shape == (len(split), 1, 16, 16)
        assert np.array_equal(part.images[:, 0].numpy(), split.images)
        assert np.array_equal(part.labels.numpy(), split.labels)


def test_the_best_replicate_is_that_of_the_selection_part_after_fine_tuning() -> None:
    selection = {("after", 1, r): accuracy for r, accuracy in ((1, 0.7), (2, 0.8), (3, 0.8))}
    misleading = {(stage, part, 1): 1.0 for stage, part in (("before", 1), ("after", 2))}
    scored = made_up(selection | misleading)
    assert scored.best_replicate(1) == 2  # of equal ones the first


@pytest.mark.parametrize(
    ("holdout", "part", "difference"), [(0.5, "held-out", 0.5), (0.0, "selection", -1.0)]
)
def test_the_last_part_is_compared_so_the_held_out_one_if_there_is_one(
    dataset: Dataset, holdout: float, part: str, difference: float
) -> None:
    parts = parts_of(dataset, Protocol(holdout=holdout), CPU)

    def right(by_part: Sequence[Sequence[bool]]) -> Scored:
        """`by_part` and replicate; the opposite before fine-tuning."""
        keys = [(i, r) for i in range(len(parts)) for r in (1, 2)]
        after = {("after", i, r): [by_part[i][r - 1]] * len(parts[i].labels) for i, r in keys}
        before = {("before", i, r): [not x for x in after["after", i, r]] for i, r in keys}
        return made_up(correctness=after | before)

    none, one, both = (False, False), (False, True), (True, True)
    winner, reference = right([both, none, one]), right([none, both, none])
    found = compare(winner, reference, parts)
    assert (found["part"], found["n"]) == (part, len(parts[-1].labels))
    assert (found["difference"], found["interval"]) == (difference, [difference, difference])


def test_table_rows_average_replicates_on_every_part(
    scored: Scored, parts: list[Part], dataset: Dataset
) -> None:
    rows = table_rows(scored, parts)
    assert [(r.stage, r.split, r.part, r.label) for r in rows] == [
        ("before", "TEST", "all", "selected on"),
        ("before", "TEST2", "selection", "selected on"),
        ("before", "TEST2", "held-out", "held out"),
        ("after", "TEST", "all", "trained on"),
        ("after", "TEST2", "selection", "selected on"),
        ("after", "TEST2", "held-out", "held out"),
    ]
    for row, (a, b, c) in zip(rows, shares(dataset) * 2, strict=True):
        each = [c, c] if row.stage == "before" else [a, b]
        assert row.replicates == pytest.approx(each)
        assert row.accuracy == pytest.approx(sum(each) / 2)
        assert row.interval == pytest.approx(wilson(sum(each) / 2, row.n))
        losses = [-s * np.log(0.75) - (1 - s) * np.log(0.125) for s in each]
        assert row.loss == pytest.approx(np.mean(losses))
        assert row.configuration == "winner"
    assert [r.n for r in rows[:3]] == [len(part.labels) for part in parts]
    written = [row.to_json() for row in rows]
    assert json.loads(json.dumps(written, allow_nan=False)) == written
    assert rows_of({"table": written}) == rows


def test_other_scores_stand_beside_the_accuracy(scored: Scored, parts: list[Part]) -> None:
    plain = table_rows(scored, parts)
    assert all("scores" not in row.to_json() for row in plain)
    rows = table_rows(scored, parts, [BALANCED_ACCURACY])
    for row, part in zip(rows, [*parts, *parts], strict=True):
        found = row.scores["balanced_accuracy"]
        # Each network predicts one class of three, which is right in one class of three.
        assert found["replicates"] == pytest.approx([1 / 3, 1 / 3])
        assert found["value"] == pytest.approx(1 / 3)
        assert found["interval"][0] < 1 / 3 < found["interval"][1]
        assert row.n == len(part.labels)
        assert len(row.beside()) == 1
    written = [row.to_json() for row in rows]
    assert rows_of({"table": json.loads(json.dumps(written))}) == rows


def test_the_objective_is_what_is_compared_and_chooses_the_replicate(
    dataset: Dataset, store: Store, parts: list[Part]
) -> None:
    """Always a against always c: right on 9 and on 3 of 17 images, but on one class each."""
    scored = {}
    for number, weights in ((1, A), (2, C)):
        stored = retrained(store, {1: (B, weights), 2: (B, weights)}, number)
        candidate = replace(stored, objective=BALANCED_ACCURACY)
        scored[number] = score("winner", candidate, parts, store, dataset, CPU)
    found = compare(scored[1], scored[2], parts)
    assert found["score"] == "balanced_accuracy"
    assert [found["difference"], *found["interval"]] == pytest.approx([0.0, 0.0, 0.0])
    by_accuracy = [
        replace(s, candidate=replace(s.candidate, objective=ACCURACY)) for s in scored.values()
    ]
    plain = compare(by_accuracy[0], by_accuracy[1], parts)
    assert "score" not in plain
    assert plain["difference"] > 0.2
    one = Evaluation(10, 0.9, 1.0, (), ((9, 0), (1, 0)))
    two = Evaluation(10, 0.8, 1.0, (), ((7, 2), (0, 1)))
    both = {("after", 1, 1): one, ("after", 1, 2): two}
    chosen = replace(scored[1], evaluations=both)
    assert chosen.best_replicate(1) == 2
    assert replace(chosen, candidate=by_accuracy[0].candidate).best_replicate(1) == 1


def test_confusion_matrices_are_the_best_replicate_s(
    scored: Scored, parts: list[Part], dataset: Dataset
) -> None:
    """Replicate 1 says a, the most frequent class; rows are the true classes."""
    counts = np.bincount(parts[1].labels.numpy()).tolist()
    assert confusion_of(scored, parts, 1) == {
        "before": [[0, 0, n] for n in counts],
        "after": [[n, 0, 0] for n in counts],
    }


def test_looks_are_counted_by_replicate_and_stage_and_never_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "looks.json"
    assert looks_so_far(path) == []
    earlier = {"configuration": "trial 3", "replicate": 1, "stage": "after", "purpose": "evaluate"}
    note_looks(path, [earlier])
    candidate = Candidate(0, {}, None, "TEST", {2: {}, 1: {}}, {3: "it failed"})
    count_looks(path, {"reference": candidate, "winner": candidate}, held_out=True)
    assert looks_so_far(path) == [
        earlier,
        *(
            {"configuration": c, "replicate": r, "stage": s, "purpose": "final evaluation"}
            for c in ("reference", "winner")
            for r in (1, 2)
            for s in ("before", "after")
        ),
    ]
    count_looks(path, {"winner": candidate}, held_out=False)
    assert len(looks_so_far(path)) == 9


def test_looks_of_processes_that_count_at_once_are_all_kept(tmp_path: Path) -> None:
    path, processes, each = tmp_path / "looks.json", 4, 15
    fork = multiprocessing.get_context("fork")  # others would import torch anew
    together = fork.Barrier(processes)

    def count(process: int) -> None:
        together.wait()
        for number in range(each):
            note_looks(path, [{"process": process, "number": number}])

    counting = [fork.Process(target=count, args=(process,)) for process in range(processes)]
    for process in counting:
        process.start()
    for process in counting:
        process.join()
    assert [process.exitcode for process in counting] == [0] * processes
    found = sorted((look["process"], look["number"]) for look in looks_so_far(path))
    assert found == [(p, n) for p in range(processes) for n in range(each)]


def test_the_weights_of_a_stage_are_found_by_its_result(
    candidate: Candidate, store: Store
) -> None:
    result = candidate.results[2]
    stages: list[tuple[Stage, Any]] = [("baseline", C), ("fine_tune", B)]
    for stage, weights in stages:
        assert torch.equal(weights_of(store, result, stage)["head.bias"], weights["head.bias"])


@pytest.mark.parametrize("stage", ["baseline", "fine_tune"])
@pytest.mark.parametrize("damage", ["a byte", "the end", "all"])
def test_weights_that_are_damaged_are_not_kept(
    candidate: Candidate, store: Store, stage: Stage, damage: str
) -> None:
    result = candidate.results[1]
    assert weights_kept(store, result, Protocol())
    course = result.stage(stage).course
    content = bytearray(store._read(course, "final") or b"")
    content[len(content) // 2] ^= 1
    if damage == "all":
        store.delete(course, "final")
    else:
        store._write(course, "final", bytes(content if damage == "a byte" else content[:-1]))
    assert not weights_kept(store, result, Protocol())
    assert weights_kept(store, candidate.results[2], Protocol())


def test_a_configuration_is_scored_on_its_own_preprocessing(
    dataset: Dataset, store: Store, parts: list[Part]
) -> None:
    weights = tuple(random_weights(seed, 3, (16, 16)) for seed in (1, 2))
    stored = retrained(store, {1: (weights[0], weights[1])})
    flat = {**stored.configuration, "preprocessing.intensity": "stretch"}
    other = replace(stored, configuration=flat)
    plain, found = (score("winner", c, parts, store, dataset, CPU) for c in (stored, other))
    how = Hyperparameters.from_flat(flat).preprocessing
    data = prepare(dataset, Protocol(), CPU).preprocessed(how)
    for stage, state in zip(("before", "after"), weights, strict=True):
        network = build(state, 3, (16, 16), CPU)
        for place, split in ((0, data.test), (1, data.selection)):
            expected = evaluate(network, split.images, split.labels)
            assert found.evaluations[stage, place, 1] == expected
            assert plain.evaluations[stage, place, 1].loss != expected.loss
