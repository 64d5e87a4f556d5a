"""Which callbacks an experiment may name, and what is said about those that cannot be made."""

from __future__ import annotations

from pathlib import Path

import pytest

from shiftsearch.experiments.callbacks.named import SHIPPED, made
from shiftsearch.experiments.definition import DefinitionError, build
from shiftsearch.model.own_network import OwnNetworkError

pytestmark = pytest.mark.unit

MODULE = """
import shiftsearch

class Mine(shiftsearch.Callback):
    pass

class Greedy(shiftsearch.Callback):
    def __init__(self, server):
        pass

class Stranger:
    pass
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(MODULE)
    (tmp_path / "torn.py").write_text("import nothing_of_this_name")
    monkeypatch.chdir(tmp_path)


def test_a_class_in_the_current_folder_is_made() -> None:
    ((name, callback),) = made(["mine:Mine"])
    assert (name, type(callback).__name__) == ("mine:Mine", "Mine")
    assert made([]) == []


def test_those_that_cannot_be_made_are_one_line_each() -> None:
    with pytest.raises(DefinitionError) as refused:
        made(["mine:Mine", "mine:Greedy", "mine:Stranger"])
    greedy, stranger = refused.value.problems
    assert greedy.startswith("callbacks: mine:Greedy: cannot be made: TypeError: ")
    assert stranger == "callbacks: mine:Stranger: must be a subclass of shiftsearch.Callback"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("absent:Mine", "callbacks: absent:Mine: there is no module absent in "),
        ("mine:None_", "callbacks: mine:None_: None_ is nothing, but must be a function"),
        ("torn:Mine", "callbacks: torn:Mine: cannot be imported: ModuleNotFoundError: "),
    ],
)
def test_a_missing_module_or_class_is_one_line(name: str, problem: str) -> None:
    with pytest.raises(OwnNetworkError) as refused:
        made([name])
    (line,) = refused.value.problems
    assert line.startswith(problem)


def test_an_experiment_names_classes_or_shipped_callbacks() -> None:
    assert build({"callbacks": ["mine:Mine", *SHIPPED]}, "file").callbacks[1:] == tuple(SHIPPED)
    with pytest.raises(DefinitionError) as refused:
        build({"callbacks": ["mlflo", "mine:Mine", "mine:Mine@0123456789abcdef"]}, "file")
    assert [p.split(",")[0] for p in refused.value.problems] == [
        "file: callbacks.0: 'mlflo'",
        "file: callbacks.2: 'mine:Mine@0123456789abcdef'",
    ]


def test_callbacks_are_no_part_of_a_run_s_identity() -> None:
    plain, heard = build({}, "file"), build({"callbacks": ["mine:Mine"]}, "file")
    assert plain.identity("d") == heard.identity("d")
