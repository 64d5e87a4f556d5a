"""CONTRIBUTING's recipes for a new option work as written, on a copy of the repository."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.unit,
    pytest.mark.slow(reason="a process that imports the product and trains a tiny protocol"),
]

REPOSITORY = Path(__file__).resolve().parents[1]
FLOORS = ("data", "model", "search", "experiments")
BLOCK = re.compile(r"`([\w/]+\.[\w.]+)`:\n\n```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
CHECKS = (
    "an augmentation",
    "a block",
    "a policy of unfreezing",
    "a sampler",
    "a section of the report",
    "keys of today",
)


def recipes() -> list[tuple[str, str, str]]:
    """File, language and text of each block that stands below the file's name."""
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    found = BLOCK.findall(text)
    assert len(found) == text.count("```python") + text.count("```diff") + text.count("```jinja")
    return found


def follow(root: Path, file: str, language: str, text: str) -> None:
    """Write a new file, or change one where the diff's unchanged and old lines stand in it."""
    path = root / file
    if language != "diff":
        assert not path.exists(), f"{file} is there already"
        path.write_text(text, encoding="utf-8")
        return
    content = path.read_text(encoding="utf-8")
    for part in text.split("@@\n"):
        lines = part.splitlines(keepends=True)
        old = "".join(line[1:] or "\n" for line in lines if line[0] != "+")
        new = "".join(line[1:] or "\n" for line in lines if line[0] != "-")
        assert content.count(old) == 1, f"{file} has not once:\n{old}"
        content = content.replace(old, new)
    path.write_text(content, encoding="utf-8")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of each check in the copy what is wrong, or an empty text."""
    root = tmp_path_factory.mktemp("copy")
    for floor in FLOORS:
        shutil.copytree(REPOSITORY / floor, root / floor)
    for file, language, text in recipes():
        follow(root, file, language, text)
    links = root / "links"
    (links / "shiftsearch").mkdir(parents=True)
    for path in (*(root / floor for floor in FLOORS), *(REPOSITORY / "shiftsearch").glob("*.py")):
        (links / "shiftsearch" / path.name).symlink_to(path)
    found = subprocess.run(
        [sys.executable, "-P", "-m", "tests.added_options", str(root)],
        env={**os.environ, "PYTHONPATH": f"{links}{os.pathsep}{REPOSITORY}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    outcomes: dict[str, str] = json.loads(found.stdout)
    assert set(outcomes) == set(CHECKS)
    return outcomes


@pytest.mark.parametrize("what", CHECKS)
def test_what_is_added_by_its_recipe_works(outcomes: dict[str, str], what: str) -> None:
    assert outcomes[what] == ""
