"""A YAML mapping, read from a file and changed by `KEY=VALUE`.

A plain word or number means the same in a file and on the command line. The rules are those of
YAML 1.2, in which `010` is ten, `1e-3` is a number, and `1:30` and `on` are text. In YAML 1.1 they
are eight, text, 90 and true. As in Python, `_` may stand between digits.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from shiftsearch.data.os_errors import is_machine


class MappingError(ValueError):
    """A file or an override cannot be used; the message is one line that names it."""


class _Loader(yaml.SafeLoader):
    """YAML with the plain scalars of `_IMPLICIT`; refuses a key that is given twice."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """The mapping as the base class composes it.

        Raises:
            yaml.composer.ComposerError: it has a key twice.
        """
        # Before merges, because a mapping may override a merged key.
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.composer.ComposerError(
                    problem=f"key {key.value!r} is given twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return node


_DIGITS = r"[0-9]+(_[0-9]+)*"
_HEX = r"0x[0-9a-fA-F]+(_[0-9a-fA-F]+)*"
_TAG = "tag:yaml.org,2002:"
_IMPLICIT = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (rf"[-+]?({_DIGITS}|{_HEX}|0b[01]+)", list("-+0123456789")),
    "float": (
        rf"[-+]?({_DIGITS}(\.({_DIGITS})?)?|\.{_DIGITS})([eE][-+]?{_DIGITS})?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    "merge": (r"<<", ["<"]),
}
"""Patterns of plain scalars, tried in this order, and the characters they may begin with."""

_Loader.yaml_implicit_resolvers = {}
for _name, (_pattern, _first) in _IMPLICIT.items():
    _Loader.add_implicit_resolver(f"{_TAG}{_name}", re.compile(rf"^({_pattern})$"), _first)


def _integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    return int(text, 0 if re.match(r"[-+]?0[xb]", text) else 10)


_Loader.add_constructor(f"{_TAG}int", _integer)


def _parse(text: str, texts: Collection[str] = (), *, is_text: bool = False) -> Any:
    """The value of a YAML document.

    Args:
        text: the document.
        texts: keys at the top level whose values are always text.
        is_text: whether the value itself is text.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value in texts:
                    _take_as_text(value)
        if is_text:
            _take_as_text(node)
        return None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()


def _take_as_text(node: yaml.Node | None) -> None:
    if node is not None and node.tag in {f"{_TAG}{kind}" for kind in ("bool", "int", "float")}:
        node.tag = f"{_TAG}str"


def read_value(text: str) -> Any:
    """A value given on the command line; an empty value, or one that is not YAML, is text."""
    try:
        return _parse(text) if text else text
    except (yaml.YAMLError, ValueError):
        return text


def read_mapping(path: Path, texts: Collection[str] = ()) -> dict[str, Any]:
    """The content of a file; a file without keys is an empty mapping.

    Args:
        path: the file.
        texts: keys whose values are always text, such as a folder with the name 2024.

    Raises:
        MappingError: the file cannot be read, or is not a YAML mapping.
        OSError: the machine cannot read it now.
    """
    try:
        raw = _parse(path.read_text(encoding="utf-8"), texts)
    except (OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and is_machine(error):
            error.filename = str(path)
            raise
        raise MappingError(f"{path}: cannot be read: {error}") from None
    except (yaml.YAMLError, ValueError) as error:
        text = " ".join(str(error).split())
        raise MappingError(f"{path}: is not valid YAML: {text}") from None
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise MappingError(f"{path}: holds {type(raw).__name__}, but must be a mapping")
    return raw


def set_value(raw: dict[str, Any], override: str, texts: Collection[str] = ()) -> None:
    """Set one key by `a.b.c=VALUE`, as in `--set`; missing mappings in between are made.

    Args:
        raw: the mapping to change.
        override: a dotted key, `=`, and a value in YAML.
        texts: keys whose values are always text.

    Raises:
        MappingError: `override` has another form, or a part of the key is not a mapping.
    """
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise MappingError(f"--set {override}: must have the form KEY=VALUE")
    try:
        value = _parse(text, is_text=key in texts)
    except (yaml.YAMLError, ValueError):
        raise MappingError(f"--set {override}: {text!r} is not a YAML value") from None
    node, parts = raw, key.split(".")
    while True:
        # A file may write nested keys as one with dots; then that one is changed.
        sizes = (n for n in range(len(parts), 1, -1) if ".".join(parts[:n]) in node)
        size = next(sizes, 1)
        name, parts = ".".join(parts[:size]), parts[size:]
        if not parts:
            node[name] = value
            return
        child = node.get(name, {})
        if not isinstance(child, dict):
            raise MappingError(f"--set {override}: {name} is not a mapping")
        # A copy, because with an anchor the same mapping may also be used elsewhere.
        copy = dict(child)
        node[name] = copy
        node = copy
