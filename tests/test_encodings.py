"""Text files are read and written as UTF-8 whatever the locale: every call that opens one says so.

Read from the syntax tree. `json.loads` and `yaml.safe_load` of bytes need no word.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

REPOSITORY = Path(__file__).resolve().parents[1]
FLOORS = ("data", "model", "search", "experiments")
ENCODING_AT = {"read_text": 0, "write_text": 1, "open": 3}
"""Where the encoding stands among the positional arguments."""
ON_A_DESCRIPTOR = {"os", "tarfile", "zipfile", "archive", "Image"}
"""Modules and objects whose `open` is another; `archive` is a `ZipFile`."""


def without_encoding(source: str) -> Iterator[int]:
    """Lines of calls that open a text file in the locale's encoding."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        match node.func:
            case ast.Attribute(value=ast.Name(id=owner), attr="open") if owner in ON_A_DESCRIPTOR:
                continue
            case ast.Attribute(attr="open" | "read_text" | "write_text" as name):
                at, mode_at = ENCODING_AT[name] - (name == "open"), 0
            case ast.Name(id="open"):
                name, at, mode_at = "open", ENCODING_AT["open"], 1
            case _:
                continue
        words = {keyword.arg: keyword.value for keyword in node.keywords}
        mode = words.get("mode", node.args[mode_at] if len(node.args) > mode_at else None)
        if name == "open" and isinstance(mode, ast.Constant) and "b" in str(mode.value):
            continue
        if "encoding" not in words and len(node.args) <= at:
            yield node.lineno


def test_every_call_names_its_encoding() -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}:{line}"
        for floor in FLOORS
        for path in sorted((REPOSITORY / floor).rglob("*.py"))
        for line in without_encoding(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("call", "wrong"),
    [
        ("path.read_text()", True),
        ("path.read_text('utf-8')", False),
        ("path.write_text(x)", True),
        ("path.write_text(x, 'utf-8')", False),
        ("path.write_text(x, encoding='utf-8')", False),
        ("path.open()", True),
        ("path.open('a+')", True),
        ("path.open('rb')", False),
        ("path.open(mode='wb')", False),
        ("path.open('w', encoding='utf-8')", False),
        ("open(path)", True),
        ("open(path, 'w')", True),
        ("open(path, 'rb', buffering=0)", False),
        ("open(path, encoding='utf-8')", False),
        ("os.open(path, os.O_RDONLY)", False),
        ("Image.open(path)", False),
    ],
)
def test_calls_without_an_encoding_are_recognised(call: str, wrong: bool) -> None:
    assert list(without_encoding(call)) == [1] * wrong
