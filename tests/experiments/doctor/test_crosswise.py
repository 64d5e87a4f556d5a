"""Checks of several machines against each other find what is put in."""

from __future__ import annotations

import dataclasses

import pytest

from shiftsearch.experiments.doctor import crosswise
from shiftsearch.experiments.doctor.facts import Facts, Token
from tests.experiments.doctor.test_machine import SOUND, VERSIONS

pytestmark = pytest.mark.unit


def other(**versions: str) -> Facts:
    return dataclasses.replace(SOUND, host="b", versions={**VERSIONS, **versions})


@pytest.mark.parametrize(
    ("node", "state", "named"),
    [
        (SOUND, "PASS", "1 node"),
        (other(python="3.12.1"), "FAIL", "b: python 3.12.1, here 3.11.7"),
        (other(ray="2.59.0"), "FAIL", "b: ray 2.59.0"),
        (other(shiftsearch=""), "FAIL", "b: shiftsearch missing"),
        (other(torch=""), "FAIL", "b: torch missing"),
        (other(torch="2.8.0"), "WARN", "b: torch 2.8.0, here 2.13.0"),
        (other(optuna="4.0.0"), "PASS", "1 node"),  # only the driver uses it
        (dataclasses.replace(SOUND, code="0ld"), "FAIL", "another source"),
    ],
)
def test_a_mix_of_versions(node: Facts, state: str, named: str) -> None:
    found = crosswise.same_versions(SOUND, {"b": node})
    assert found.state == state
    assert named in found.said


def having(mode: str, mark: str) -> Facts:
    source = "RAY_AUTH_TOKEN" if mark else ""
    return dataclasses.replace(SOUND, token=Token(mode, source, mark))


@pytest.mark.parametrize(
    ("driver", "nodes", "state"),
    [
        (("token", "1"), [("token", "1"), ("token", "1")], "PASS"),
        (("token", "1"), [("token", "1"), ("token", "2")], "WARN"),
        (("token", "1"), [("token", "2"), ("token", "2")], "WARN"),
        (("token", "1"), [("token", "1"), ("", "")], "WARN"),
        (("token", "1"), [("", "1"), ("", "1")], "WARN"),  # only the driver would ask
        (("token", "1"), [("token", "1"), ("", "1")], "WARN"),
        (("", "1"), [("", "1")], "WARN"),  # there is a token, but nobody asks for it
        (("", ""), [("disabled", "")], "WARN"),
    ],
)
def test_the_tokens_of_the_nodes(
    driver: tuple[str, str], nodes: list[tuple[str, str]], state: str
) -> None:
    found = crosswise.same_token(
        having(*driver), {str(n): having(*t) for n, t in enumerate(nodes)}
    )
    assert found.state == state
    assert "1a2b" not in str(found)


def test_clocks_that_differ() -> None:
    assert crosswise.clocks({"a": 0.01, "b": -0.4}).state == "PASS"
    found = crosswise.clocks({"a": 0.01, "b": -7.25})
    assert (found.state, found.said) == ("WARN", "b: -7.2 s")
    assert crosswise.clocks({"a": 3.0}).state == "WARN"


def test_data_that_a_node_cannot_read_or_that_is_other_data() -> None:
    assert crosswise.same_data("d1", {"a": ("d1", ""), "b": ("d1", "")}).state == "PASS"
    found = crosswise.same_data("d1", {"a": ("d1", ""), "b": ("d2", ""), "c": ("", "no pack")})
    assert found.state == "FAIL"
    assert found.said == "b: digest d2, here d1; c: no pack"


def test_ports_between_nodes() -> None:
    assert crosswise.reached({"a": [], "b": []}).state == "PASS"
    found = crosswise.reached({"a": ["b at 10.0.0.2:6379 (timed out)"], "b": []})
    assert found.state == "FAIL"
    assert "from a: b at 10.0.0.2:6379" in found.said


def test_gpus_that_torch_cannot_use() -> None:
    cuda = dataclasses.replace(SOUND, cuda="12.8")
    assert crosswise.gpus({"a": cuda}, {"a": 2.0}).said == "2"
    assert crosswise.gpus({"a": SOUND}, {"a": 0.0}).state == "PASS"
    found = crosswise.gpus({"a": cuda, "b": SOUND}, {"a": 1.0, "b": 1.0})
    assert (found.state, found.said) == ("FAIL", "b: torch is built without CUDA")
