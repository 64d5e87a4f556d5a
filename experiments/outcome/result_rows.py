"""Rows of `result.json`'s table, arranged for tables and screens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def table_lines(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One line per configuration and part, with the rows `before` and `after` fine-tuning."""
    lines: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in result["table"]:
        key = (row["configuration"], row["split"], row["part"])
        images = row["split"] if row["part"] == "all" else f"{row['split']} {row['part']}"
        line = {"configuration": row["configuration"], "images": images, "n": row["n"]}
        lines.setdefault(key, line)[row["stage"]] = row
    return list(lines.values())


def final_row(result: Mapping[str, Any], configuration: str) -> Mapping[str, Any] | None:
    """The row after fine-tuning on TEST2's held-out part, else on its selection part."""
    found = {
        row["part"]: row
        for row in result["table"]
        if (row["configuration"], row["stage"], row["split"]) == (configuration, "after", "TEST2")
    }
    return found.get("held-out", next(iter(found.values()), None))
