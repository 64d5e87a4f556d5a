"""The source of a person's own module: found by name, known by its content, imported apart.

A name is `MODULE:FUNCTION`. The source is the module's file, or all `.py` files of the outermost
package if the module is in one. It is imported under a private name that holds its digest, and
nothing is added to Python's path. So it can hide no other module, whatever its name is, and it
finds none beside it: within a package, imports must be relative.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from shiftsearch.data.publishing import write_atomically
from shiftsearch.model.architecture import OWN_NAME
from shiftsearch.model.own_network import OwnNetworkError

MOST_BYTES = 2**24


@dataclass(frozen=True)
class OwnSource:
    """A module's source and the name of a function in it.

    Attributes:
        module: dotted name.
        function: the function's name.
        folder: holds the module, or its outermost package.
        files: content of each file, by its path below `folder` with `/`.
        key: the key of the experiment file that names it; begins every problem.
    """

    module: str
    function: str
    folder: Path
    files: Mapping[str, bytes]
    key: str = "network"

    @property
    def digest(self) -> str:
        """16 hex digits, of the files' paths and contents."""
        found = hashlib.blake2b(digest_size=8)
        for path, content in sorted(self.files.items()):
            found.update(f"{path}\0{len(content)}\0".encode() + content)
        return found.hexdigest()

    @property
    def name(self) -> str:
        """`MODULE:FUNCTION@DIGEST`."""
        return f"{self.module}:{self.function}@{self.digest}"

    def keep(self, folder: Path) -> None:
        """Write the files below `folder`; those that are there with this content stay."""
        for path, content in self.files.items():
            file = folder / path
            if not file.is_file() or file.read_bytes() != content:
                write_atomically(file, content)

    def load(self) -> Callable[..., Any]:
        """Import the module and return the function. This runs the module's code.

        Raises:
            OwnNetworkError: the module cannot be imported, or has no such function.
            MemoryError: memory ran out.
        """
        try:
            found = getattr(self._import(), self.function, None)
        except MemoryError:
            raise
        except (Exception, SystemExit) as error:
            said = " ".join(str(error).split())
            raise self._refused(f"cannot be imported: {type(error).__name__}: {said}") from error
        if not callable(found):
            what = "nothing" if found is None else type(found).__name__
            raise self._refused(f"{self.function} is {what}, but must be a function")
        return found  # type: ignore[no-any-return]

    def _import(self) -> Any:
        top, *inner = self.module.split(".")
        private = f"_own_{self.digest}"
        # Bytecode is known by time and size alone, and would be written beside the person's files.
        before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        try:
            if private not in sys.modules:
                self._execute(self._spec(private, top))
            importlib.invalidate_caches()
            return importlib.import_module(".".join([private, *inner]))
        finally:
            sys.dont_write_bytecode = before

    def _execute(self, spec: ModuleSpec) -> None:
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        try:
            if spec.loader is not None:
                spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[spec.name]
            raise

    def _spec(self, private: str, top: str) -> ModuleSpec:
        """Of the file, of the package, or of a package without a file of its own."""
        package = self.folder / top
        if f"{top}.py" in self.files:
            spec = importlib.util.spec_from_file_location(private, self.folder / f"{top}.py")
        elif f"{top}/__init__.py" in self.files:
            spec = importlib.util.spec_from_file_location(
                private, package / "__init__.py", submodule_search_locations=[str(package)]
            )
        else:
            spec = ModuleSpec(private, None, is_package=True)
            spec.submodule_search_locations = [str(package)]
        assert spec is not None  # a .py file always has one
        return spec

    def _refused(self, problem: str) -> OwnNetworkError:
        return OwnNetworkError([f"{self.key}: {self.module}:{self.function}: {problem}"])


def find(name: str, places: Sequence[Path], key: str = "network") -> OwnSource:
    """The source of `MODULE:FUNCTION`, or of `MODULE:FUNCTION@DIGEST`, in the first place with it.

    Nothing is imported. Problems begin with `key`.

    Raises:
        OwnNetworkError: the name has another form, no place has the module, its files are too
            large, or they have another digest.
    """
    if re.fullmatch(OWN_NAME, name) is None:
        raise OwnNetworkError([f"{key}: {name!r}, but must be MODULE:FUNCTION, as in nets:build"])
    plain, _, digest = name.partition("@")
    module, _, function = plain.partition(":")
    relative = Path(*module.split("."))
    for place in places:
        if (place / relative / "__init__.py").is_file():
            break
        if (place / relative.with_suffix(".py")).is_file():
            break
    else:
        where = f"{places[0]} or on Python's path" if len(places) > 1 else f"{places[0]}"
        raise OwnNetworkError([f"{key}: {plain}: there is no module {module} in {where}"])
    found = OwnSource(module, function, place, _files(f"{key}: {plain}", place, relative), key)
    if digest and found.digest != digest:
        raise OwnNetworkError(
            [
                f"{key}: {plain}: its source has the digest {found.digest}, but had {digest}"
                " when the run began; restore the source, or use another --run"
            ]
        )
    return found


def _files(name: str, place: Path, relative: Path) -> dict[str, bytes]:
    """The module's file, or the files of the outermost package."""
    top = place / relative.parts[0]
    if len(relative.parts) == 1 and not (top / "__init__.py").is_file():
        paths = [top.with_suffix(".py")]
    else:
        paths = sorted(path for path in top.rglob("*.py") if path.is_file())
    size = sum(path.stat().st_size for path in paths)
    if size > MOST_BYTES:
        raise OwnNetworkError(
            [f"{name}: its source has {size} bytes, but must have at most {MOST_BYTES}"]
        )
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in paths}
