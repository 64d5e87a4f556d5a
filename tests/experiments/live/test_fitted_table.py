"""Tables that fit into a terminal: what is left out, and what continues below."""

from __future__ import annotations

import pytest

from shiftsearch.experiments.live.fitted_table import Column, fitted

pytestmark = pytest.mark.unit

TRIAL = Column("trial", ["0", "10"], order=0)
STATE = Column("state", ["complete", "pruned"])
ROLE = Column("role", ["reference", ""], order=3)
TIME = Column("time", ["1 s", "10 min"], order=5)
RATE = Column("baseline.learning_rate", ["0.001", "0.0003162"])
ALL = [TRIAL, STATE, ROLE, TIME, RATE]


def names(width: int, columns: list[Column] = ALL) -> list[list[str]]:
    return [[column.name for column in table] for table in fitted(columns, width)]


def test_a_header_is_broken_at_dots_and_where_it_is_long() -> None:
    assert RATE.header == "baseline\nlearning_\nrate"
    assert Column("batch_size", []).header == "batch_size"
    assert (TRIAL.width, STATE.width, ROLE.width, TIME.width, RATE.width) == (7, 10, 11, 8, 11)


def test_the_highest_order_is_left_out_first_and_order_1_continues_below() -> None:
    everything = sum(column.width for column in ALL) - 2
    assert names(everything) == [[c.name for c in ALL]]
    assert names(everything - 1) == [["trial", "state", "role", RATE.name]]
    assert names(26) == [["trial", "state", RATE.name]]
    assert names(25) == [["trial", "state"], ["trial", RATE.name]]
    assert names(1) == [["trial", "state"], ["trial", RATE.name]]


def test_a_table_of_what_is_always_shown_is_one_table() -> None:
    assert names(80, [TRIAL]) == [["trial"]]
    assert names(1, [TRIAL, TIME]) == [["trial"]]
