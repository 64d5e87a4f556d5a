"""Names of the classes of an import, which become the names of folders."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from shiftsearch.data.problems import named


def class_names(
    labels: Mapping[str, Sequence[int] | Sequence[str]], given: Sequence[str]
) -> tuple[Mapping[str, list[str]], list[str]]:
    """Name the classes of labels.

    Numbers are positions in `given`, counted from 0. Without `given`, they are their own names,
    filled with zeros to equal length, so that the order of the names is that of the numbers. Text
    is its own name; with `given`, it must be one of these names, or a number.

    Args:
        labels: by the place that messages name, such as a file; each one number or text by image.
        given: names of the classes, or empty.

    Returns:
        The name of each label, by place, and a line for each problem.
    """
    problems = _wrong_names(given, "--classes")
    numbers = [label for of in labels.values() for label in of if isinstance(label, int)]
    width = len(str(max(numbers, default=0)))
    result: dict[str, list[str]] = {}
    for place, of in labels.items():
        found = [_name(label, given, width) for label in of]
        result[place] = [name or "" for name in found]
        wrong = sorted({str(label) for label, name in zip(of, found, strict=True) if name is None})
        if wrong:
            rule = (
                f"--classes names {len(given)} classes, numbered from 0: {named(given)}"
                if given
                else "numbers must be at least 0"
            )
            problems.append(f"{place}: label {named(wrong)}, but {rule}")
        elif not given:
            problems += _wrong_names(sorted(set(result[place])), place)
    return result, problems


def _name(label: int | str, given: Sequence[str], width: int) -> str | None:
    """The name of a label, or None if it has none."""
    if isinstance(label, str):
        if not given or label in given:
            return label
        if not re.fullmatch("[0-9]{1,9}", label):
            return None
        label = int(label)
    if given:
        return given[label] if 0 <= label < len(given) else None
    return str(label).zfill(width) if label >= 0 else None


def _wrong_names(names: Sequence[str], place: str) -> list[str]:
    """A line for each name that is given twice or cannot be the name of a class folder."""
    lines = [
        f"{place}: class {name!r}: a class name must be printable text of at most 200 bytes"
        " without / or \\ and without a dot or a space at the start or a space at the end"
        for name in names
        if not name.isprintable()
        or not 0 < len(name.encode(errors="replace")) <= 200
        or re.search(r"[/\\]|^[. ]| $", name)
    ]
    twice = sorted({name for name in names if names.count(name) > 1})
    return lines + ([f"{place}: named twice: {named(twice)}"] if twice else [])
