"""The figures of `gpu_check` as one Markdown table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def print_table(report: Mapping[str, Any]) -> None:
    """Print all figures as one Markdown table."""
    print("\n| figure | value |\n| --- | --- |")
    print(f"| machine | {', '.join(f'{k} {v}' for k, v in report['machine'].items())} |")
    for row in report["tests"]:
        counts = ", ".join(f"{n} {word}" for word, n in row["counts"].items())
        print(f"| CUDA tests | {'passed' if row['passed'] else '**FAILED**'}: {counts} |")
    for row in report["speed"]:
        print(f"| one process, {row['dtype']}, batch {row['batch']} | {_figures(row, 2)} |")
    for row in report["parity"]:
        verdict = "within noise" if row["passed"] else "**BEYOND NOISE**"
        low, high = row["interval"]
        print(
            f"| {row['accuracy']}, {row['dtype']} against CPU float32, n = {row['n']} seeds | "
            f"{row['gpu_mean']:.2%} (sd {row['gpu_sd']:.2%}) against {row['cpu_mean']:.2%} "
            f"(sd {row['cpu_sd']:.2%}): {100 * row['difference']:+.2f} points "
            f"[{100 * low:+.2f}, {100 * high:+.2f}], {verdict}; a trial takes "
            f"{row['seconds_gpu']:.1f} s against {row['seconds_cpu']:.1f} s |"
        )
    for row in report["sharing"]:
        print(f"| processes on the GPU: {row['processes']} | {_figures(row, 1)} |")
    for name, error in report["errors"].items():
        print(f"| {name} | **FAILED**: {error} |")
    print(f"| seconds in all | {report['seconds']:.0f} |")


def _figures(row: Mapping[str, Any], skip: int) -> str:
    return ", ".join(
        f"{name.replace('_', ' ')} {_number(value)}" for name, value in list(row.items())[skip:]
    )


def _number(value: float | None) -> str:
    if value is None:
        return "not measured"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
