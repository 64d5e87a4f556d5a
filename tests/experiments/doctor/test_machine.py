"""Each check of one machine finds the fault that is put into what was measured."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shiftsearch.experiments.doctor import facts as module
from shiftsearch.experiments.doctor import machine
from shiftsearch.experiments.doctor.facts import Disk, Facts, Token, measure, proxied, token
from shiftsearch.experiments.doctor.finding import Finding, of_all, worst
from shiftsearch.experiments.doctor.preflight import judge, preflight, sockets
from shiftsearch.experiments.exits import Interrupted
from shiftsearch.search.executing.session_folder import SessionFolder, session_folder
from shiftsearch.search.executing.tested import RAY
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.unit

GIB = 2**30
VERSIONS = {
    "python": "3.11.7",
    "ray": RAY[1],
    "torch": "2.13.0",
    "optuna": "5.0.0",
    "shiftsearch": "0.1.0",
}
SOUND = Facts(
    host="a",
    versions=VERSIONS,
    code="c0de",
    cuda="",
    memory=16 * GIB,
    free_memory=8 * GIB,
    shm=GIB,
    disks=(Disk("/runs/x", 50 * GIB, 100 * GIB), Disk("/tmp/ray", 50 * GIB, 100 * GIB)),
    files=4096,
)


def with_version(package: str, version: str) -> dict[str, Any]:
    return {"versions": {**VERSIONS, package: version}}


@pytest.mark.parametrize("check", machine.CHECKS)
def test_a_sound_machine_passes(check: Callable[[Facts], Finding]) -> None:
    found = check(SOUND)
    assert (found.state, found.advice) == ("PASS", "")


@pytest.mark.parametrize(
    ("check", "fault", "state", "named"),
    [
        (machine.packages, with_version("torch", ""), "FAIL", "torch missing"),
        (machine.packages, with_version("ray", "2.61.0"), "WARN", "newer than tested"),
        (machine.packages, with_version("ray", "3.0.0.dev0"), "WARN", "newer than tested"),
        (machine.packages, with_version("ray", "2.9.3"), "WARN", "older than tested"),
        (machine.memory, {"free_memory": GIB // 4}, "FAIL", "0.2 GiB"),
        (machine.memory, {"free_memory": 3 * GIB // 2}, "WARN", "1.5 GiB"),
        (machine.disk, {"disks": (Disk("/r", GIB // 10, 50 * GIB),)}, "FAIL", "/r: 0.10 GiB"),
        (machine.disk, {"disks": (Disk("/r", 9 * GIB, 50 * GIB, 0),)}, "FAIL", "/r: no file"),
        (machine.disk, {"disks": (Disk("/r", GIB, 10 * GIB),)}, "WARN", "/r: 1.00 GiB"),
        (machine.disk, {"disks": (Disk("/r", 9 * GIB, 1000 * GIB),)}, "WARN", "99% full"),
        (machine.shared_memory, {"shm": 64 * 2**20}, "WARN", "64 MiB"),
        (machine.open_files, {"files": 128}, "FAIL", "128"),
        (machine.open_files, {"files": 512}, "WARN", "512"),
        (machine.proxies, {"proxies": ("https_proxy",)}, "WARN", "https_proxy"),
        (machine.loopback, {"loopback": "Permission denied"}, "FAIL", "Permission denied"),
    ],
)
def test_a_fault_is_found_named_and_answered(
    check: Callable[[Facts], Finding], fault: dict[str, Any], state: str, named: str
) -> None:
    found = check(dataclasses.replace(SOUND, **fault))
    assert found.state == state
    assert named in str(found)
    assert found.advice
    assert "\n" not in str(found)


@pytest.mark.parametrize(
    ("owned", "joins", "state", "named"),
    [
        (Token(), False, "PASS", ""),
        (Token(), True, "PASS", "nowhere"),
        (Token("token", "RAY_AUTH_TOKEN", "1a2b"), True, "PASS", "RAY_AUTH_TOKEN"),
        (Token("token"), True, "FAIL", "there is no token"),
        (Token("token"), False, "PASS", ""),
        (Token("", problem="/t: Permission denied"), False, "FAIL", "RAY_AUTH_TOKEN_PATH"),
        (Token("token", "/t", "1a2b", "", True), True, "WARN", "chmod 600 /t"),
    ],
)
def test_the_token_of_this_process(owned: Token, joins: bool, state: str, named: str) -> None:
    found = machine.token(dataclasses.replace(SOUND, token=owned), joins)
    assert found.state == state
    assert named in str(found)


@pytest.mark.parametrize(
    ("environment", "caught"),
    [
        ({}, ()),
        ({"http_proxy": "http://proxy:3128"}, ("http_proxy",)),
        ({"HTTPS_PROXY": "http://u:secret@proxy", "no_proxy": "10.0.0.1"}, ("HTTPS_PROXY",)),
        ({"https_proxy": "p", "no_proxy": "localhost"}, ("https_proxy",)),  # not 127.0.0.1
        ({"https_proxy": "p", "NO_PROXY": "localhost,127.0.0.1"}, ()),
        ({"all_proxy": "p", "no_proxy": "*"}, ()),
        ({"http_proxy": ""}, ()),
    ],
)
def test_a_proxy_that_catches_loopback(
    environment: dict[str, str], caught: tuple[str, ...]
) -> None:
    assert proxied(environment) == caught


def test_tokens_are_compared_by_a_salted_mark(tmp_path: Path) -> None:
    file = tmp_path / ".ray" / "auth_token"
    file.parent.mkdir()
    file.write_text("secret\n")
    home = token({"HOME": str(tmp_path), "RAY_AUTH_MODE": "Token"}, "salt")
    given = token({"RAY_AUTH_TOKEN": "secret"}, "salt")
    assert home.mark == given.mark != ""
    assert (home.mode, home.source) == ("token", str(file))
    assert token({"RAY_AUTH_TOKEN": "secret"}, "other").mark != given.mark
    assert token({"RAY_AUTH_TOKEN": "else"}, "salt").mark != given.mark
    assert "secret" not in repr(home) + repr(given)
    assert token({"HOME": str(tmp_path / "absent")}, "salt") == Token()
    absent = str(tmp_path / "absent")
    assert absent in token({"RAY_AUTH_TOKEN_PATH": absent}, "salt").problem


def test_a_token_that_others_can_read_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text("secret")
    monkeypatch.setattr(Path, "parents", property(lambda self: [tmp_path]))
    for folder, mode, open_to_all in (
        (0o755, 0o644, True),
        (0o700, 0o644, False),
        (0o755, 0o600, False),
    ):
        tmp_path.chmod(folder)
        file.chmod(mode)
        assert token({"RAY_AUTH_TOKEN_PATH": str(file)}, "").readable_by_others is open_to_all


def test_this_machine_is_measured_without_importing_or_changing_anything(tmp_path: Path) -> None:
    facts = measure({"run": str(tmp_path / "not" / "yet")}, "salt", {})
    assert 0 < facts.free_memory <= facts.memory
    assert facts.disks[0].free > 0
    assert facts.versions["shiftsearch"]
    assert len(facts.code) == 12
    assert facts.loopback == ""
    assert not list(tmp_path.iterdir())


def test_the_code_of_workers_has_a_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: Spec)
    source = tmp_path / "a.py"
    source.write_text("x = 1\n")
    before = module._code()
    assert before == module._code()
    source.write_text("x = 2\n")
    assert module._code() != before


def test_a_port_that_cannot_be_opened_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module.socket, "create_server", refuse)
    assert module._loopback() == "Permission denied"


def test_the_paths_of_sockets() -> None:
    assert sockets(session_folder({})).state == "PASS"
    long = {"RAY_TMPDIR": "/scratch/" + "x" * 99}
    moved = sockets(session_folder(long))
    assert moved.state == "WARN"
    assert "RAY_TMPDIR" in str(moved)
    nowhere = sockets(session_folder(long, short=["/absent"]))
    assert nowhere.state == "FAIL"
    assert "set RAY_TMPDIR" in nowhere.advice


def test_a_local_ray_needs_short_sockets_and_a_cluster_a_token() -> None:
    session = SessionFolder(None, "TMPDIR /x: is too long; set RAY_TMPDIR")
    token_wanted = dataclasses.replace(SOUND, token=Token("token"))
    assert worst(judge(token_wanted, session, None)) == "FAIL"
    assert worst(judge(token_wanted, SessionFolder(Path("/tmp/ray"), ""), None)) == "PASS"
    assert worst(judge(token_wanted, session, "auto")) == "FAIL"
    assert worst(judge(SOUND, session, "auto")) == "PASS"


def test_a_search_is_silent_warned_or_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    for fault, lines in (({}, 0), ({"shm": 2**20}, 1), ({"shm": 2**20, "files": 512}, 2)):
        facts = dataclasses.replace(SOUND, **fault)
        monkeypatch.setattr(
            "shiftsearch.experiments.doctor.preflight.measured", lambda *_, facts=facts: facts
        )
        assert len(preflight(Path("/runs/x"), "auto")) == lines
    few = dataclasses.replace(SOUND, files=64, loopback="Permission denied")
    monkeypatch.setattr("shiftsearch.experiments.doctor.preflight.measured", lambda *_: few)
    with pytest.raises(Interrupted, match=r"^open files: .*64.*; ports: .*Permission denied"):
        preflight(Path("/runs/x"), "auto")


def test_findings_of_several_machines_become_one() -> None:
    good, bad = Finding("disk", "PASS", "9 GiB"), Finding("disk", "FAIL", "0 GiB", "free some")
    assert of_all({"a": good, "b": bad}) == Finding("disk", "FAIL", "b: 0 GiB", "free some")
    assert of_all({"a": good}).said == "9 GiB"
    many = of_all({str(n): bad for n in range(9)})
    assert many.said.endswith("and 5 more")
    assert worst([]) == "PASS"


def test_the_tested_versions_of_ray_are_those_that_are_installed_and_allowed() -> None:
    constraints = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").split()
    assert f"ray=={RAY[1]}" in constraints
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    assert f'"ray[tune]>={RAY[0].removesuffix(".0")},' in project


def test_facts_are_values_for_json() -> None:
    assert json.loads(json.dumps(dataclasses.asdict(SOUND)))["host"] == "a"
    assert os.sep in SOUND.disks[0].folder
