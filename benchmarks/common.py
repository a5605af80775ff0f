"""What the benchmarks share: arguments, tables, JSON, and the machine they ran on."""

from __future__ import annotations

import argparse
import json
import platform
import resource
import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

__all__ = ["Report", "arguments", "cpu_timer", "seconds"]


def arguments(description: str, *, device: bool = False) -> argparse.ArgumentParser:
    """Return a parser with the arguments of every benchmark, and of those on any device."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--quick", action="store_true", help="under a minute on two cores")
    parser.add_argument("--seed", type=int, default=0)
    if device:
        parser.add_argument("--device", default="cpu", help="torch device, such as cuda")
    return parser


def seconds(device: str = "cpu") -> float:
    """Return a clock's time in s: of this process's CPU, or of the wall where a GPU works."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


@dataclass
class Report:
    """Rows of a benchmark, printed as a table and written as JSON."""

    name: str
    settings: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, **row: Any) -> None:
        """Add a row and show it at once."""
        self.rows.append(row)
        print("  ".join(f"{k}={_short(v)}" for k, v in row.items()), flush=True)

    def finish(self, path: Path | None) -> None:
        """Print the table, and write the JSON file."""
        columns = list(dict.fromkeys(k for row in self.rows for k in row))
        print(f"\n| {' | '.join(columns)} |\n|{'|'.join(' --- ' for _ in columns)}|")
        for row in self.rows:
            print(f"| {' | '.join(_short(row.get(c)) for c in columns)} |")
        if path is not None:
            self.write(path)

    def write(self, path: Path) -> None:
        """Write the JSON file with the rows so far."""
        content = {
            "benchmark": self.name,
            "settings": self.settings,
            "machine": {
                "processor": platform.processor() or platform.machine(),
                "python": platform.python_version(),
                "torch": torch.__version__,
                "onfly": version("onfly"),
            },
            "rows": self.rows,
        }
        path.write_text(json.dumps(content, indent=1, default=str))


def _short(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@contextmanager
def cpu_timer(record: dict[str, float], key: str):
    """Record CPU seconds, children included, of a block."""

    def now() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + children.ru_utime + children.ru_stime

    start = now()
    try:
        yield
    finally:
        record[key] = record.get(key, 0.0) + now() - start


def median(values: Sequence[float]) -> float:
    """Return the median."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else 0.5 * (ordered[middle - 1] + ordered[middle])
