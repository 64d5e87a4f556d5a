"""A YAML mapping as people write it: read from a file, changed by `KEY=VALUE`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml


class MappingError(ValueError):
    """A file or an override is no mapping; one line that names it."""


class _Loader(yaml.SafeLoader):
    """YAML with two mends: `1e-3` is a number (as in YAML 1.2), a key given twice is refused."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """The mapping as the base class composes it.

        Raises:
            yaml.composer.ComposerError: when it has a key twice.
        """
        # Before merges: a merged key given again is an override.
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.composer.ComposerError(
                    problem=f"key {key.value!r} is given twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return node


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def read_mapping(path: Path) -> dict[str, Any]:
    """The file's content; nothing but comments is an empty mapping.

    Raises:
        MappingError: the file cannot be read, or is no YAML mapping.
    """
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise MappingError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        text = " ".join(str(error).split())
        raise MappingError(f"{path}: is not valid YAML: {text}") from None
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise MappingError(f"{path}: holds {type(raw).__name__}, but must be a mapping")
    return raw


def read_value(text: str) -> Any:
    """One value as it stands in a file.

    Raises:
        yaml.YAMLError: it is no YAML.
    """
    return yaml.load(text, _Loader)


def set_value(raw: dict[str, Any], override: str) -> None:
    """Set one key, `a.b.c=VALUE` in the words of `--set`; mappings on the way are made or copied.

    Args:
        raw: changed.
        override: a dotted key, and a value in YAML.

    Raises:
        MappingError: it has another form, or the key leads through what is no mapping.
    """
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise MappingError(f"--set {override}: must have the form KEY=VALUE")
    try:
        value = read_value(text)
    except yaml.YAMLError:
        raise MappingError(f"--set {override}: {text!r} is not a YAML value") from None
    *parents, leaf = key.split(".")
    node = raw
    for parent in parents:
        child = node.get(parent, {})
        if not isinstance(child, dict):
            raise MappingError(f"--set {override}: {parent} is not a mapping")
        # A copy: through an anchor, the same mapping may stand elsewhere too.
        copy = dict(child)
        node[parent] = copy
        node = copy
    node[leaf] = value
