"""Requests as files: carried out or refused by the driver, or withdrawn without a driver."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from shiftsearch.experiments.definition import DefinitionError
from shiftsearch.experiments.live.steer import _assignments
from shiftsearch.experiments.live.steering import Answer, Steering, send
from shiftsearch.experiments.outcome.retrain import Retraining
from shiftsearch.experiments.phases import Phases
from shiftsearch.model.hyperparameters import Protocol
from shiftsearch.search.judging.racing import Retrain
from shiftsearch.search.proposing.space import Space
from shiftsearch.search.study import journal
from shiftsearch.search.study.budget import Budget
from shiftsearch.search.study.records import TrialRecord
from tests.search import conditional
from tests.search.fake_study import POINT, SPACE, drive, next_job, open_study

pytestmark = pytest.mark.unit


class Driver:
    """The driver's side over a study of six trials, two of them ended and one open."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, space: Space = SPACE
    ) -> None:
        monkeypatch.setattr("shiftsearch.experiments.live.steering._EVERY", 0.0)
        self.commands = folder / "commands"
        self.study = open_study(folder / "study.journal", 6, space=space)
        drive(self.study, 2)
        self.job = next_job(self.study)
        self.said: list[str] = []

        def make(trials: list[TrialRecord], wanted: Retrain) -> Retraining:
            return Retraining(
                trials, wanted, Protocol(), None, folder / "retrain.json", lambda _: True
            )

        self.phases = Phases(self.study, make, Retrain())  # type: ignore[arg-type]

    def steering(self) -> Steering:
        return Steering(self.commands, self.phases, self.study.space, self.said.append)

    def after(self, command: str, **arguments: Any) -> Answer | None:
        """The answer that another process gets while the driver polls."""
        steering = self.steering()
        found: list[Answer | None] = []
        client = threading.Thread(
            target=lambda: found.append(send(self.commands, command, arguments, wait=5))
        )
        client.start()
        while client.is_alive():
            steering.poll()
            client.join(0.01)
        return found[0]


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Driver:
    return Driver(tmp_path, monkeypatch)


def test_enqueue(driver: Driver) -> None:
    assert driver.after("enqueue", configuration=POINT) == Answer(True, "will be trial 3")
    assert dict(driver.study.trials()[3].configuration) == POINT
    assert driver.said == ["enqueue: will be trial 3"]


def test_enqueue_is_checked_against_the_space(driver: Driver) -> None:
    wrong = {"baseline.dropout": 0.35, "baseline.inertia": 0.9, "fine_tune.frozen_layers": 9}
    answer = driver.after("enqueue", configuration=wrong)
    assert answer is not None
    assert not answer.accepted
    assert "baseline.dropout: 0.35 is outside the space" in answer.text
    assert "baseline.inertia: is not a hyperparameter" in answer.text
    assert "frozen_layers: 9: " in answer.text
    assert len(driver.study.trials()) == 3


def test_enqueue_takes_texts_and_switches_and_refuses_what_does_not_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shiftsearch.experiments.live.steering._EVERY", 0.0)
    found = Driver(tmp_path, monkeypatch, conditional.SPACE)
    wanted = _assignments(["fine_tune.unfreezing=gradual", "fine_tune.thaw_every=3"])
    assert found.after("enqueue", configuration=wanted) == Answer(True, "will be trial 3")
    assert found.study.trials()[3].configuration.items() >= wanted.items()
    wanted = _assignments(["fine_tune.thaw_every=3", "fine_tune.augmented=yes", "standardise=1"])
    answer = found.after("enqueue", configuration=wanted)
    assert answer is not None
    assert "thaw_every: 3, but it exists only when fine_tune.unfreezing is 'grad" in answer.text
    assert "standardise: 1 is not true or false" in answer.text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("baseline.dropout", "must have the form KEY=VALUE"),
        ("=0.5", "must have the form KEY=VALUE"),
        ("baseline.dropout=", "must have the form KEY=VALUE"),
    ],
)
def test_what_is_no_assignment_is_refused(text: str, problem: str) -> None:
    with pytest.raises(DefinitionError, match=re.escape(problem)):
        _assignments([text])
    with pytest.raises(DefinitionError, match="given twice"):
        _assignments(["a=1", "a=2"])
    assert _assignments(["a.b=1e-3", "c=64", "d=none", "e=true"]) == {
        "a.b": 0.001,
        "c": 64,
        "d": "none",
        "e": True,
    }


def test_extend_and_stop(driver: Driver) -> None:
    assert accepted(driver.after("extend", trials=9))
    assert driver.study.ending.wanted == 9
    answer = driver.after("extend", trials=9)
    assert answer is not None
    assert not answer.accepted
    assert "must be above 9" in answer.text
    answer = driver.after("stop", now=False)
    assert answer is not None
    assert answer.accepted
    assert driver.study.ending.reason == "stopped by request"


def test_stop_now_answers_and_then_interrupts(driver: Driver) -> None:
    interrupts: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: interrupts.append(number))
    try:
        answer = driver.after("stop", now=True)
    finally:
        signal.signal(signal.SIGINT, before)
    assert answer is not None
    assert answer.accepted
    assert interrupts == [signal.SIGINT]
    assert not driver.study.ending.reason  # the next call goes on


@pytest.mark.parametrize(
    ("command", "arguments"),
    [("enqueue", {"configuration": POINT}), ("extend", {"trials": 9}), ("stop", {"now": False})],
)
def test_while_the_best_are_retrained_only_an_interrupt_is_taken(
    driver: Driver, command: str, arguments: Mapping[str, Any]
) -> None:
    driver.phases.retrain()
    answer = driver.after(command, **arguments)
    assert answer == Answer(False, "the search is over and the best are being retrained")
    assert driver.study.ending.wanted == 6


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not a request: "),
        ("[]", "not a request: "),
        ('{"command": "extend", "arguments": {}}', "not a request: 'trials'"),
        ('{"command": "extend", "arguments": {"trials": "9"}}', "trials is '9', but must be"),
        ('{"command": "extend", "arguments": {"trials": 1000000}}', "at most 100000"),
        ('{"command": "pause", "arguments": {}}', "pause is not one of enqueue, extend, stop"),
        ('{"command": "enqueue", "arguments": {"configuration": [1]}}', "not a request: "),
    ],
)
def test_a_request_that_is_none_is_refused(driver: Driver, text: str, said: str) -> None:
    steering = driver.steering()
    driver.commands.mkdir()
    (driver.commands / "1.request.json").write_text(text)
    steering.poll()
    answer = json.loads((driver.commands / "1.answer.json").read_text())
    assert not answer["accepted"]
    assert said in answer["text"]
    assert driver.study.ending.wanted == 6


def test_a_request_is_answered_once(driver: Driver) -> None:
    driver.after("extend", trials=9)
    driver.steering().poll()
    assert len(driver.said) == 1


def test_without_a_driver_the_request_is_withdrawn(tmp_path: Path) -> None:
    assert send(tmp_path / "commands", "extend", {"trials": 9}, wait=0.2) is None
    assert list((tmp_path / "commands").iterdir()) == []


def test_what_lay_there_before_the_driver_began_is_refused(driver: Driver) -> None:
    driver.commands.mkdir()
    request = {"command": "stop", "arguments": {"now": False}}
    (driver.commands / "1.request.json").write_text(json.dumps(request))
    driver.steering().poll()
    answer = json.loads((driver.commands / "1.answer.json").read_text())
    assert answer == {"accepted": False, "text": "it was made before this driver began"}
    assert not driver.study.ending.reason


def test_a_request_that_was_taken_and_not_answered_is_told(tmp_path: Path) -> None:
    def take() -> None:
        while not (found := list(tmp_path.glob("*.request.json"))):
            pass
        found[0].rename(tmp_path / "1.taken.json")

    driver = threading.Thread(target=take)
    driver.start()
    answer = send(tmp_path, "extend", {"trials": 9}, wait=0.2)
    driver.join()
    assert answer is not None
    assert not answer.accepted
    assert "gave no answer" in answer.text


def test_a_full_disk_does_not_end_the_search(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    steering = driver.steering()
    driver.commands.mkdir()
    (driver.commands / "1.request.json").write_text(
        '{"command": "stop", "arguments": {"now": false}}'
    )
    monkeypatch.setattr("shiftsearch.experiments.live.steering.write_atomically", _full)
    steering.poll()
    assert driver.study.ending.reason == "stopped by request"
    assert driver.said


def test_a_study_that_cannot_be_written_ends_the_search(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal may end with half a line, and later writes would be lost."""
    steering = driver.steering()
    request(driver, "extend", trials=9)
    monkeypatch.setattr(journal._OwnFile, "_write", _full)
    with pytest.raises(OSError, match="No space left"):
        steering.poll()


def test_a_request_that_cannot_be_taken_is_left_alone(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another user's folder, or if a file server is away, nothing is printed every second."""
    steering = driver.steering()
    request(driver, "extend", trials=9)
    for method in ("rename", "glob"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, method, _full)
            steering.poll()
    assert driver.said == []
    steering.poll()
    assert [line.startswith("extend: ") for line in driver.said] == [True]
    assert driver.study.ending.wanted == 9


def test_extending_takes_a_stop_back(driver: Driver) -> None:
    driver.after("stop", now=False)
    assert accepted(driver.after("extend", trials=9))
    assert not driver.study.ending.reason


def test_who_extends_a_search_that_ends_is_told_so(driver: Driver) -> None:
    driver.study.ending._budget = Budget(6, seconds=0.0)
    answer = driver.after("extend", trials=9)
    assert accepted(answer)
    assert answer is not None
    assert answer.text.endswith(": the budget is spent")


def accepted(answer: Answer | None) -> bool:
    return answer is not None and answer.accepted


def request(driver: Driver, command: str, **arguments: Any) -> None:
    driver.commands.mkdir()
    text = json.dumps({"command": command, "arguments": arguments})
    (driver.commands / "1.request.json").write_text(text)


def _full(path: Path, content: object) -> None:
    raise OSError(28, "No space left on device", str(path))
