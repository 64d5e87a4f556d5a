"""The rows of `result.json`'s table as its readers want them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def table_lines(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The table's rows with before and after beside each other."""
    lines: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in result["table"]:
        key = (row["configuration"], row["split"], row["part"])
        images = row["split"] if row["part"] == "all" else f"{row['split']} {row['part']}"
        line = {"configuration": row["configuration"], "images": images, "n": row["n"]}
        lines.setdefault(key, line)[row["stage"]] = row
    return list(lines.values())


def final_row(result: Mapping[str, Any], configuration: str) -> Mapping[str, Any] | None:
    """After fine-tuning, on TEST2's held-out part, else on its selection part."""
    found = {
        row["part"]: row
        for row in result["table"]
        if (row["configuration"], row["stage"], row["split"]) == (configuration, "after", "TEST2")
    }
    return found.get("held-out", next(iter(found.values()), None))
