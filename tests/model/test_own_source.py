"""The source of an own network: found, named by its content, and imported apart from all else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from shiftsearch.model.own_network import OwnNetworkError
from shiftsearch.model.own_source import find

pytestmark = pytest.mark.unit


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / f"{name.replace('__in__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def problem(name: str, *places: Path, load: bool = False) -> str:
    def asked() -> None:
        found = find(name, places)
        if load:
            found.load()

    with pytest.raises(OwnNetworkError) as caught:
        asked()
    (line,) = caught.value.problems
    assert "\n" not in line
    return line


def test_a_file_is_found_in_the_first_place_and_known_by_its_content(tmp_path: Path) -> None:
    one = write(tmp_path / "one", nets="def build(): return 1\n", other="")
    two = write(tmp_path / "two", nets="def build(): return 2\n")
    first, second = find("nets:build", [tmp_path, one, two]), find("nets:build", [two, one])
    assert (first.load()(), second.load()()) == (1, 2)
    assert first.name != second.name
    assert first.files.keys() == {"nets.py"}
    assert find(first.name, [one]).name == first.name
    write(one, other="# changed\n")
    assert find("nets:build", [one]).name == first.name
    write(one, nets="def build(): return 3\n")
    assert "restore the source" in problem(first.name, one)
    assert find("nets:build", [one]).load()() == 3


def test_a_package_is_all_its_files_and_imports_them_relatively(tmp_path: Path) -> None:
    for name, init in (("whole", True), ("bare", False)):
        place = write(
            tmp_path / name,
            pkg__in__deep__in__nets="from ..part import VALUE\ndef build(): return VALUE\n",
            pkg__in__part="VALUE = 7\n",
        )
        if init:
            write(place, pkg__in____init__="", pkg__in__deep__in____init__="")
        found = find("pkg.deep.nets:build", [place])
        assert found.load()() == 7
        write(place, pkg__in__part="VALUE = 8\n")
        assert find("pkg.deep.nets:build", [place]).digest != found.digest
        assert find("pkg.deep.nets:build", [place]).load()() == 8


def test_what_is_kept_is_the_same_source(tmp_path: Path) -> None:
    place = write(tmp_path / "at", pkg__in__nets="from . import part\n\nbuild = part.build\n",
                  pkg__in__part="def build(): return 5\n")  # fmt: skip
    found = find("pkg.nets:build", [place])
    found.keep(tmp_path / "kept")
    found.keep(tmp_path / "kept")
    kept = find(found.name, [tmp_path / "kept"])
    assert (kept.name, kept.load()()) == (found.name, 5)
    assert not list(tmp_path.rglob("__pycache__"))
    write(tmp_path / "kept", pkg__in__part="def build(): return 6\n")
    assert "digest" in problem(found.name, tmp_path / "kept")


def test_a_hostile_name_hides_no_module(tmp_path: Path) -> None:
    """It is imported under a name of its own, and no folder comes into Python's path."""
    import torch

    names = ("torch", "numpy", "shiftsearch", "json", "search")
    files = {
        name: f"import torch\ndef build(): return {name!r}, torch.ones(1)\n" for name in names
    }
    place, before, modules = write(tmp_path / "at", **files), list(sys.path), dict(sys.modules)
    for name in names:
        made, ones = find(f"{name}:build", [place]).load()()
        assert (made, type(ones)) == (name, torch.Tensor)
        assert sys.modules.get(name) is modules.get(name)
    assert sys.path == before
    assert all(name.startswith("_own_") for name in sys.modules.keys() - modules.keys())


@pytest.mark.parametrize(
    "name",
    ["", "nets", "nets:", ":build", "a b:build", "nets.py:build:x", "../nets:build", "nets:b.c",
     "9nets:build", "nets:build@xyz", "nets:build\n", "/tmp/nets:build", "nets..a:build"],
)  # fmt: skip
def test_a_name_of_another_form_is_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path, nets="def build(): pass\n")
    assert "must be MODULE:FUNCTION" in problem(name, tmp_path)


def test_each_other_problem_is_one_line(tmp_path: Path) -> None:
    write(
        tmp_path,
        nets="VALUE = 5\n",
        broken="def build(:\n",
        raises="raise RuntimeError('no\\ngood')\n",
        leaves="raise SystemExit(3)\n",
        needs="import helper_that_lies_beside\n",
        helper_that_lies_beside="",
        large="#" * (2**24 + 1),
    )
    assert "there is no module absent in" in problem("absent:build", tmp_path)
    assert "there is no module nets.absent in" in problem("nets.absent:build", tmp_path)
    assert "16777217 bytes" in problem("large:build", tmp_path)
    assert "build is nothing, but must be a function" in problem("nets:build", tmp_path, load=True)
    assert "VALUE is int, but must be a fun" in problem("nets:VALUE", tmp_path, load=True)
    assert "imported: SyntaxError" in problem("broken:build", tmp_path, load=True)
    assert "imported: RuntimeError: no good" in problem("raises:build", tmp_path, load=True)
    assert "imported: SystemExit: 3" in problem("leaves:build", tmp_path, load=True)
    assert "imported: ModuleNotFoundError" in problem("needs:build", tmp_path, load=True)
