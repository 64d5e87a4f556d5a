"""The result of a protocol, as it is kept and read."""

from __future__ import annotations

import json

import pytest

from shiftsearch.model.result import ProtocolResult, SplitResult
from tests.made_results import made_result

pytestmark = pytest.mark.unit

_KEYS = ["key", "epochs", "best_epoch", "seconds", "environment", "report", "test", "test2"]


def test_what_is_written_is_read_again_with_the_same_keys_in_the_same_order() -> None:
    result = made_result(0.75, before=0.25)
    written = result.to_json()
    assert list(written) == ["test2_accuracy", "baseline", "fine_tune"]
    assert [list(written[stage]) for stage in ("baseline", "fine_tune")] == [_KEYS, _KEYS]
    assert list(written["fine_tune"]["test2"]) == ["n", "accuracy", "loss"]
    assert written["test2_accuracy"] == result.test2_accuracy == 0.75
    assert ProtocolResult.from_json(json.loads(json.dumps(written))) == result
    assert result.stage("baseline") is result.baseline
    assert (result.fine_tune.key, result.fine_tune.course) == ("c1-0003", "c1")


def test_a_result_of_the_first_version_is_read_and_written_as_it_is() -> None:
    """It holds what has a value for each class, and names no entry of the store."""
    written = made_result(0.75).to_json()
    for stage in ("baseline", "fine_tune"):
        del written[stage]["report"]
        for split in ("test", "test2"):
            written[stage][split] |= {"per_class": [0.5, None], "confusion": [[3, 3], [0, 0]]}
    text = json.dumps(written)
    result = ProtocolResult.from_json(json.loads(text))
    assert json.dumps(result.to_json()) == text
    assert result.baseline.report is None
    assert result.baseline.test == SplitResult(60, 0.56, 0.5, [0.5, None], [[3, 3], [0, 0]])


@pytest.mark.parametrize("damage", ["lacks a stage", "lacks a number", "has more", "is a text"])
def test_what_is_no_result_is_refused(damage: str) -> None:
    raw = made_result(0.75).to_json()
    match damage:
        case "lacks a stage":
            del raw["fine_tune"]
        case "lacks a number":
            del raw["baseline"]["test"]["loss"]
        case "has more":
            raw["baseline"]["more"] = 1
        case _:
            raw["baseline"] = "c0-0004"
    with pytest.raises(ValueError, match="not a result"):
        ProtocolResult.from_json(raw)
