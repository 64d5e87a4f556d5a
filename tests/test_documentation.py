"""README and docs/: no dead link, commands and files that the program takes, few words."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from shiftsearch.experiments.definition import load
from shiftsearch.experiments.parser import parser

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "experiments" / "FORMATS.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "experiments").glob("*/README.md")),
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(params=PAGES, ids=name_of)
def page(request: pytest.FixtureRequest) -> Path:
    found = request.param
    assert isinstance(found, Path)
    return found


@cache
def anchors(path: Path) -> frozenset[str]:
    """The anchors of a page's headings, made as GitHub makes them."""
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ +(.*?) *$", text, re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", title.lower()) for title in titles)
    return frozenset(title.replace(" ", "-") for title in plain)


def dead(page: Path, link: str) -> bool:
    """Whether a link within the repository leads nowhere."""
    if "://" in link:
        return False
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    return not target.exists() or bool(anchor and anchor not in anchors(target))


def test_no_link_is_dead(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    assert [link for link in LINK.findall(text) if dead(page, link)] == []


def test_a_dead_link_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A `code` title, twice\n```\n# no title\n```\n")
    assert not dead(page, "#a-code-title-twice")
    assert not dead(page, "page.md#a-code-title-twice")
    assert dead(page, "#no-title")
    assert dead(page, "other.md")


def commands_in(text: str) -> Iterator[str]:
    """Every command line of `shiftsearch` in code blocks and in code within text."""
    for _, block in FENCE.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|;|\||#", line):
                if found := re.match(r"\s*(?:\S*/|docker run .* )?shiftsearch (.*)", part):
                    yield found[1]
    yield from re.findall(r"`shiftsearch ([^`\n]*(?:\n[^`\n]*)?)`", FENCE.sub("", text))


def refused(command: str) -> bool:
    """Whether the real parser does not take a command; of alternatives, the first is tried.

    `N`, `K`, `S` and `X` stand for numbers, and brackets for what may be left out. The name of a
    command alone is no command line, but must exist.
    """
    plain = re.sub(r"[\[\]]", "", re.sub(r"(\w)(\|\w+)+", r"\1", command))
    words = shlex.split(re.sub(r"\b[NKSX]\b", "1", plain.replace("...", "")))
    node, rest = parser(), list(words)
    while rest and (sub := subcommands(node)) and rest[0] in sub:
        node = sub[rest.pop(0)]
    if not rest and words:
        return False
    try:
        parser().parse_args(words)
    except SystemExit as ended:
        return bool(ended.code)
    return False


def subcommands(node: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in node._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def test_every_command_is_one_that_the_parser_takes(page: Path) -> None:
    commands = list(commands_in(page.read_text(encoding="utf-8")))
    assert [command for command in commands if refused(command)] == []


def test_commands_are_found_and_wrong_ones_refused() -> None:
    assert len(list(commands_in((ROOT / "README.md").read_text()))) > 5
    text = "`shiftsearch statsu RUN`\n```\n.venv/bin/shiftsearch trials RUN --tpo 3\n```\n"
    assert [refused(command) for command in commands_in(text)] == [True, True]
    text = "`shiftsearch completion bash|zsh`, `shiftsearch data check`, `shiftsearch status RUN`"
    assert [refused(command) for command in commands_in(text)] == [False, False, False]


def test_every_yaml_block_is_part_of_an_experiment_and_every_python_block_is_python(
    page: Path, tmp_path: Path
) -> None:
    for language, block in FENCE.findall(page.read_text(encoding="utf-8")):
        if language == "yaml" and page.parent.name == "docs":
            file = tmp_path / "pasted.yaml"
            file.write_text(block)
            load(str(file))
        elif language == "python":
            compile(block, name_of(page), "exec")


def test_the_targets_of_make_exist(page: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)
    assert set(named) <= set(targets)


def test_the_readme_is_short_and_its_picture_small() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) <= 1200
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text):
        assert (ROOT / picture).stat().st_size < 200_000


def test_every_page_of_docs_is_linked_from_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    linked = {link.partition("#")[0] for link in LINK.findall(text)}
    pages = {name_of(page) for page in PAGES if page.parent.name == "docs"}
    assert pages - linked == set()


def test_the_command_of_the_container_is_one_that_the_parser_takes() -> None:
    (command,) = re.findall(r"^CMD (\[.*\])$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    parser().parse_args(json.loads(command))
