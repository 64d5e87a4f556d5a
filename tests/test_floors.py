"""The floors of the house hold: imports point down, and each floor leaves some libraries alone.

Read from the syntax tree of every module, so an import inside a function or under
`TYPE_CHECKING` counts as much as one at the top.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

REPOSITORY = Path(__file__).resolve().parents[1]
PRODUCT = "shiftsearch"
FLOORS = ("data", "model", "search", "experiments")  # from the ground up
LIBRARIES = {"data": {"ray", "optuna"}, "model": {"ray", "optuna"}}
DYNAMIC = {"import_module", "__import__"}
BY_NAME = "imports by a name that this test cannot follow"
PRIVATE = "which is private to Ray"
OF_RAY = "search/executing/ray_private.py"
"""The one module that imports Ray's private parts."""
OF_A_PERSON = "model/own_source.py"
"""The one module below `experiments` that imports by a name: a person's own network."""


def imported(node: ast.AST, package: str) -> list[str]:
    """Dotted names that an import statement brings; a.b for `from a import b`."""
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=module, names=names, level=level):
            relative = "." * level + (module or "")
            origin = resolve_name(relative, package) if level else relative
            return [f"{origin}.{alias.name}" for alias in names]
    return []


def mentioned(node: ast.AST) -> str:
    """The name that an expression ends in, or the text of a string."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.Constant(value=str(name)):
            return name
    return ""


def violations(source: str, package: str) -> Iterator[str]:
    """One line for each broken rule in a module of `package`, such as "search" or "data.x"."""
    floor = package.split(".")[0]
    below = FLOORS[: FLOORS.index(floor) + 1]
    for node in ast.walk(ast.parse(source)):
        for name in imported(node, f"{PRODUCT}.{package}"):
            first, *rest = name.split(".")
            if first == "tests" or (first == PRODUCT and (not rest or rest[0] not in below)):
                yield f"line {node.lineno}: imports {name}, which points up"
            if first in FLOORS:
                yield f"line {node.lineno}: imports {name}, which is installed below {PRODUCT}"
            if first in LIBRARIES.get(floor, ()):
                yield f"line {node.lineno}: imports {name}, which {floor} must not"
            if first == "ray" and any(part.startswith("_") for part in rest):
                yield f"line {node.lineno}: imports {name}, {PRIVATE}"
            if floor == "search" and ("nn" in rest or name == "torch.*"):
                yield f"line {node.lineno}: imports {name}, and search leaves torch.nn alone"
            if floor != "experiments" and DYNAMIC & set(rest):
                yield f"line {node.lineno}: {BY_NAME}"
        word = mentioned(node)
        if floor == "search" and (word == "nn" or word.startswith("torch.nn")):
            yield f"line {node.lineno}: reaches torch.nn by {word!r}"
        if floor != "experiments" and word in DYNAMIC:
            yield f"line {node.lineno}: {BY_NAME}"


@pytest.mark.parametrize("floor", FLOORS)
def test_floor_holds(floor: str) -> None:
    modules = sorted((REPOSITORY / floor).rglob("*.py"))
    assert modules, f"no module found in {floor}/"
    found = [
        f"{path.relative_to(REPOSITORY)} {problem}"
        for path in modules
        for problem in violations(
            path.read_text(encoding="utf-8"),
            ".".join(path.relative_to(REPOSITORY).parent.parts),
        )
        if not (path == REPOSITORY / OF_A_PERSON and BY_NAME in problem)
        if not (path == REPOSITORY / OF_RAY and PRIVATE in problem)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("data", "import ray"),
        ("data", "import optuna.samplers as s"),
        ("data", "def f():\n    from ray import tune"),
        ("model", "if TYPE_CHECKING:\n    from ray.tune import Tuner"),
        ("model", "try:\n    import json, optuna\nexcept ImportError:\n    pass"),
        ("model", "import importlib\nimportlib.import_module('ray')"),
        ("model", "from importlib import import_module as load\nload(NAME)"),
        ("data", "ray = __import__('ray')"),
        ("data", "load = builtins.__import__"),
        ("data", "import shiftsearch.model"),
        ("data", "from shiftsearch.model.stage import Stage"),
        ("model", "import shiftsearch.search.space"),
        ("model", "def f():\n    import shiftsearch.experiments.cli"),
        ("search", "from shiftsearch.experiments import run"),
        ("search", "from shiftsearch import experiments"),
        ("search", "from .. import experiments"),
        ("experiments", "import shiftsearch"),
        ("experiments", "from shiftsearch import load"),
        ("model", "from data.dataset import Split"),
        ("experiments", "import search.space"),
        ("search.deep", "from .layers import nn"),
        ("experiments", "from tests import conftest"),
        ("search", "import torch.nn"),
        ("search", "import torch.nn.functional as F"),
        ("search", "from torch import nn"),
        ("search", "from torch import optim, nn as layers"),
        ("search", "from torch.nn import Module"),
        ("search", "from torch.nn.functional import relu"),
        ("search", "from torch import *"),
        ("search", "from shiftsearch.model.network import nn"),
        ("search", "import torch as t\nt.nn.Linear(1, 1)"),
        ("search", "import torch\nt = torch\ndef f():\n    return t.nn"),
        ("search", "import torch\ngetattr(torch, 'nn')"),
        ("search", "from ray._private import worker"),
        ("experiments", "import ray._raylet"),
        ("search", "import sys\nsys.modules['torch.nn'].Linear"),
        ("search", "import importlib as i\ni.import_module('torch.nn')"),
        ("search", "__import__('torch', fromlist=['nn'])"),
        ("search", "import importlib\ngetattr(importlib, 'import_module')('torch')"),
    ],
)
def test_a_broken_floor_is_seen(package: str, source: str) -> None:
    assert list(violations(source, package))


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("data", "from shiftsearch.data.x import Y\nimport torch\nmodel.eval()\nray.cast()"),
        (
            "model",
            "from torch import nn\nfrom shiftsearch.data import x\nimport torch.nn.functional",
        ),
        ("model", "version('ray')  # import ray\n'''import optuna, search'''"),
        (
            "search",
            "import ray, optuna, torch\nfrom shiftsearch.model.a import b\nfrom . import space",
        ),
        (
            "experiments",
            "from importlib import import_module\nfrom torch import nn\nimport shiftsearch.data",
        ),
    ],
)
def test_a_floor_that_holds_is_left_alone(package: str, source: str) -> None:
    assert list(violations(source, package)) == []
