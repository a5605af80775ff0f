"""What two runs must have in common, whatever was done to one of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from onfly.artifacts.workspace import RunWorkspace
from onfly.labels.store import LabelStore

__all__ = ["numbers"]

_SHOWN = ("state", "n_labels", "n_waits", "n_audits", "n_audits_within", "calibration")


def numbers(artifacts: Path, run_id: str = "r") -> dict[str, Any]:
    """Return ledger, labels, weights, MD and verdict of a run; without times and names."""
    workspace, store = RunWorkspace(artifacts, run_id), LabelStore(artifacts / "labels")
    state = workspace.read_state()
    ledger = workspace.read_ledger(state.posterior.n_records)
    model = json.loads((workspace.folder / "model.json").read_text())
    thermo: dict[tuple[int, str], str] = {}
    for folder in workspace.trajectory_folders():
        for path in folder.thermo_files():
            for row in path.read_text().splitlines()[1:]:
                key = (folder.index, row.split(",")[0])
                assert key not in thermo, f"step {key} is recorded twice"
                thermo[key] = row
    return {
        "ledger": [{**e.model_dump(), "label": None} for e in ledger.entries],
        # without a label is a step that could not be judged
        "labels": [
            (store.get(e.label).energy, store.get(e.label).forces) if e.label else None
            for e in ledger.entries
        ],
        "weights": [m["sha256"] for m in model["ensemble"]["members"]],
        "model": {key: model[key] for key in _SHOWN},
        "steps": [t.md_step for t in state.trajectories],
        "thermo": thermo,
        "failures": state.n_failures,
    }
