"""What SECURITY.md says of the code: nothing is unpickled, and YAML and commands are safe.

Read from the syntax tree of every module, as the floors are.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.unit

FLOORS = ("data", "model", "search", "experiments", "shiftsearch")
NOT_INSTALLED = ("experiments/benchmarks", "experiments/cluster", "experiments/examples")
PICKLES = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}
UNPICKLING = {"torch.load", "torch.hub.load", "pandas.read_pickle", "pd.read_pickle"}
UNSAFE_YAML = {f"yaml.{name}" for name in ("load", "load_all", "full_load", "unsafe_load")}
COMMANDS = {"os.system", "os.popen", "eval", "exec"}
RAY_S_OWN = "search/executing/tune.py"
"""The one module that unpickles: errors of Ray's workers in the present session."""


def dotted(node: ast.AST) -> str:
    """`a.b.c` of a name or an attribute; empty for others."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=name):
            before = dotted(value)
            return f"{before}.{name}" if before else ""
    return ""


def violations(source: str) -> Iterator[str]:
    """One line for each call or import that could run what a file holds."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                modules = {alias.name.split(".")[0] for alias in names}
            case ast.ImportFrom(module=module, names=names):
                modules = {(module or "").split(".")[0], *(alias.name for alias in names)}
            case _:
                modules = set()
        if found := modules & PICKLES:
            yield f"line {getattr(node, 'lineno', 0)}: imports {', '.join(found)}"
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            given = {k.arg: k.value for k in node.keywords}
            if name in UNPICKLING | UNSAFE_YAML | COMMANDS:
                yield f"line {node.lineno}: calls {name}"
            for argument in ("allow_pickle", "shell"):
                value = given.get(argument)
                if isinstance(value, ast.Constant) and value.value is True:
                    yield f"line {node.lineno}: {argument}=True"
        if isinstance(node, ast.ClassDef):
            for base in map(dotted, node.bases):
                if base.startswith("yaml.") and "Safe" not in base and base.endswith("Loader"):
                    yield f"line {node.lineno}: a loader that is not safe, {base}"


def test_no_module_runs_what_a_file_holds() -> None:
    paths = [path for floor in FLOORS for path in sorted((REPOSITORY / floor).rglob("*.py"))]
    names = {path.relative_to(REPOSITORY).as_posix(): path for path in paths}
    installed = {n: p for n, p in names.items() if not n.startswith(NOT_INSTALLED)}
    found = {
        name: list(violations(path.read_text(encoding="utf-8")))
        for name, path in installed.items()
    }
    assert len(found) > 100
    assert {name: lines for name, lines in found.items() if lines} == {RAY_S_OWN: found[RAY_S_OWN]}
    (line,) = found[RAY_S_OWN]
    assert "imports pickle" in line


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from ray import cloudpickle",
        "from joblib import load",
        "torch.load(path)",
        "pd.read_pickle(path)",
        "yaml.load(text, Loader=yaml.FullLoader)",
        "yaml.unsafe_load(text)",
        "class L(yaml.FullLoader): pass",
        "class L(yaml.Loader): pass",
        "np.load(path, allow_pickle=True)",
        "subprocess.run(command, shell=True)",
        "eval(text)",
        "os.system(command)",
    ],
)
def test_what_is_unsafe_is_seen(source: str) -> None:
    assert list(violations(source))


@pytest.mark.parametrize(
    "source",
    [
        "safetensors.torch.load(content)",
        "yaml.safe_load(text)",
        "class L(yaml.SafeLoader): pass",
        "np.load(path, allow_pickle=False)",
        "network.eval()",
        "loader.exec_module(module)",
    ],
)
def test_what_is_safe_is_left_alone(source: str) -> None:
    assert not list(violations(source))
