"""The script that completes the command line, as the shells run it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shiftsearch.experiments.cli import main
from shiftsearch.experiments.completion import MissingPackage, script
from shiftsearch.experiments.exits import WRONG_INPUT

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def shtab() -> None:
    pytest.importorskip("shtab", reason="the extra `completion` is not installed")


def completed(line: str, folder: Path) -> list[str]:
    """What bash offers for the last word of a line, in a folder."""
    words = line.split(" ")
    asked = f"COMP_WORDS=({' '.join(map(repr, words))}); COMP_CWORD={len(words) - 1}"
    code = f'{asked}; _shtab_shiftsearch; printf "%s\\n" "${{COMPREPLY[@]}}"'
    ended = subprocess.run(
        ["bash", "-c", f"{script('bash')}\n{code}"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return ended.stdout.split()


def test_bash_completes_commands_options_folders_and_experiments(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "run.yaml").touch()
    assert completed("shiftsearch st", tmp_path) == ["status", "stop"]
    assert completed("shiftsearch data s", tmp_path) == ["synthesize"]
    assert completed("shiftsearch trials --so", tmp_path) == ["--sort"]
    assert completed("shiftsearch trials ru", tmp_path) == ["runs"]
    assert completed("shiftsearch predict runs ru", tmp_path) == ["runs", "run.yaml"]
    assert completed("shiftsearch search ref", tmp_path) == ["reference"]
    assert completed("shiftsearch search run.", tmp_path) == ["run.yaml"]
    assert completed("shiftsearch completion z", tmp_path) == ["zsh"]


def test_zsh_gets_its_own_script(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "zsh"]) == 0
    written = capsys.readouterr().out
    assert written.startswith("#compdef shiftsearch")
    assert "'names:shipped experiment:(" in written
    if zsh := shutil.which("zsh"):
        subprocess.run([zsh, "-n"], input=written, text=True, check=True)


def test_a_missing_package_is_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    with pytest.raises(MissingPackage, match="shtab"):
        script("bash")
    assert main(["completion", "bash"]) == WRONG_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install shtab" in line
