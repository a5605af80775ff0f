"""Draw what truth runs need and what they keep, from the JSON files of benchmarks/truth.py.

python benchmarks/truth_plot.py truth.json molecules.json --figure truth.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np


def draw(rows: list[dict], path: Path) -> None:
    """Write the figure: labels of each run, and its true coverage before and in the block."""
    names = list(dict.fromkeys(row["case"] for row in rows))
    rows = sorted(rows, key=lambda row: (names.index(row["case"]), row["seed"]))
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(10, 0.26 * len(rows) + 1.2), sharey=True, layout="constrained"
    )
    y = np.arange(len(rows))
    before = np.array([row.get("labels_before", row["labels"]) for row in rows])
    total = np.array([row["labels"] for row in rows])
    left.barh(y, before, color="#1f77b4", label="before the proof")
    left.barh(y, total - before, left=before, color="#c6dbef", label="of the proof")
    for at, row in enumerate(rows):
        left.text(total[at] + 3, at, f"{row['waits']} waits", va="center", fontsize=7)
    left.set(xlabel="labels", xlim=(0, 1.18 * total.max()))
    left.set_yticks(y, [f"{row['case']}, {row['seed']}" for row in rows], fontsize=8)
    left.invert_yaxis()
    left.legend(fontsize=8, loc="lower right")
    run = [100 * row["true_run"] for row in rows]
    right.plot(run, y, "o", color="#1f77b4", label="before the proof")
    for state, marker in (("ready", "s"), ("other", "x")):
        at = [k for k, row in enumerate(rows) if (row["verdict"] == "ready") == (state == "ready")]
        block = [100 * (rows[k]["true_block"] or np.nan) for k in at]
        label = "in the block, ready" if state == "ready" else "in the block, not ready"
        right.plot(block, at, marker, mfc="none", color="#d62728", label=label)
    right.axvline(90, color="0.6", ls="--", lw=1)
    right.set(xlabel="true coverage (%); dashed: promised of a block")
    right.legend(fontsize=8, loc="lower left")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--figure", type=Path, required=True)
    args = parser.parse_args()
    draw([row for file in args.files for row in json.loads(file.read_text())["rows"]], args.figure)


if __name__ == "__main__":
    main()
