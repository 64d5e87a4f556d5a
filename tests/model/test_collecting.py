"""Weights are removed; history and scores stay; what is removed is computed again, to the bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shiftsearch.model.collecting import (
    FINAL,
    Note,
    is_large,
    noted,
    notes,
    remove_partial,
    remove_weights,
)
from shiftsearch.model.device import Device
from shiftsearch.model.hyperparameters import Hyperparameters, Protocol, Schedule
from shiftsearch.model.prepared import ProtocolData, prepare
from shiftsearch.model.protocol import ProtocolRun, run_protocol
from shiftsearch.model.report import ProtocolReport, stored_digest, stored_history
from shiftsearch.model.store import Entry, Store, open_store

pytestmark = pytest.mark.unit

SHORT = Schedule(max_epochs=3, patience=3)
Run = Callable[..., ProtocolReport]


@pytest.fixture
def run(small_dataset: Any, store: Store, device: Device) -> Run:
    def run(folds: int = 1, **more: Any) -> ProtocolReport:
        protocol = Protocol(baseline=SHORT, fine_tune=SHORT, folds=folds)
        data: ProtocolData = prepare(small_dataset, protocol, device)
        made = ProtocolRun(Hyperparameters(), data, protocol, store, device, seed=0, **more)
        return run_protocol(made, {"rung_1": 1})

    return run


def stages(report: ProtocolReport) -> list[Any]:
    return [report.baseline, report.fine_tune]


def numbers(report: ProtocolReport) -> Any:
    return [
        (s.result.key, s.test2, {k: t.numpy().tobytes() for k, t in s.result.weights.items()})
        for s in stages(report)
    ]


@pytest.mark.parametrize("folds", [1, 3])
def test_what_is_removed_is_computed_again_and_its_history_stays(
    run: Run, store: Store, folds: int
) -> None:
    courses: list[str] = []
    first = run(folds, on_course=courses.append)
    assert set(courses) == {course for course, _ in store.entries()}
    kept = [stored_digest(store, s.summary) for s in stages(first)]
    for report in stages(first):
        remove_weights(store, report.result.course, report.summary)
    for course in courses:
        remove_weights(store, course)
    assert not [name for _, name in store.entries() if is_large(name)]
    for report, digest in zip(stages(first), kept, strict=True):
        assert stored_history(store, report.summary) == list(report.result.history)
        assert stored_digest(store, report.summary) == digest is not None
    second = run(folds)
    assert numbers(second) == numbers(first)
    assert [stored_digest(store, s.summary) for s in stages(second)] == kept


def test_a_digest_tells_weights_apart(run: Run, store: Store) -> None:
    stage = run().fine_tune
    final, digest = store.load(stage.result.course, FINAL), stored_digest(store, stage.summary)
    assert final is not None
    changed = {k: t.clone() for k, t in final.tensors.items()}
    changed["head.bias"][0] += 1
    store.save(stage.result.course, FINAL, Entry(changed, final.record))
    assert stored_digest(store, stage.summary) != digest


def test_only_what_a_finished_stage_does_not_need_is_partial(run: Run, store: Store) -> None:
    course = run().baseline.result.course
    assert {"epochs-0001", "state", FINAL} >= {n for n in store.names(course) if is_large(n)}
    store.save(course, "state", Entry({}, {}))
    remove_partial(store, course)
    assert [name for name in store.names(course) if is_large(name)] == [FINAL]
    unfinished = "ab" * 16
    store.save(unfinished, "state", Entry({}, {}))
    remove_partial(store, unfinished)
    assert store.names(unfinished) == ["state"]


def test_the_history_is_written_first_if_an_earlier_version_did_not(
    run: Run, store: Store
) -> None:
    stage = run().baseline
    scores = store.load(stage.result.course, stage.entry)
    assert scores is not None
    old = {k: v for k, v in scores.record.items() if k in ("test", "test2")}
    store.save(stage.result.course, stage.entry, Entry({}, old))
    digest = stored_digest(store, stage.summary)
    remove_weights(store, stage.result.course, stage.summary)
    assert not store.exists(stage.result.course, FINAL)
    assert stored_history(store, stage.summary) == list(stage.result.history)
    assert stored_digest(store, stage.summary) == digest


def test_nothing_is_removed_if_the_history_cannot_be_kept(run: Run, store: Store) -> None:
    stage = run().baseline
    store.delete(stage.result.course, stage.entry)
    before = store.names(stage.result.course)
    remove_weights(store, stage.result.course, stage.summary)
    assert store.names(stage.result.course) == before
    remove_weights(store, stage.result.course)
    assert not store.exists(stage.result.course, FINAL)


def test_a_job_notes_its_courses_in_order_and_once(store: Store) -> None:
    assert list(noted(store, "trial-0003")) == []
    note = Note(store, "trial-0003", {"phase": "search", "number": 3})
    for course in ("b", "a", "b"):
        note.add(course)
    again = open_store(store.address)
    assert list(noted(again, "trial-0003")) == ["b", "a"]
    assert notes(again) == {"trial-0003": {"phase": "search", "number": 3, "courses": ["b", "a"]}}
