"""How a run stands, as one flat record for people and for scripts.

It is read from the JSON of the run's state as it is: to validate the documents, their classes would
have to be imported, and torch and pymatgen with them, which takes seconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from onfly.artifacts.folders import run_folders
from onfly.artifacts.seal import unsealed
from onfly.rounds.progress import read_progress

__all__ = [
    "RecordError",
    "activity",
    "doing",
    "duration",
    "md_steps",
    "run_folders",
    "run_record",
]

ENDED = ("done", "stopped")


class RecordError(ValueError):
    """The state of a run cannot be read."""


def run_record(folder: Path) -> dict[str, Any]:
    """Return how a run stands, as one flat record.

    Parameters
    ----------
    folder
        Of the run.

    Raises
    ------
    RecordError
        If its state is damaged, or of another version of onfly.
    """
    try:
        return _record(unsealed((folder / "run.json").read_bytes()), folder)
    except FileNotFoundError:
        raise RecordError(f"no run in {folder}") from None
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError, OSError):
        raise RecordError(_reason(folder)) from None


def _reason(folder: Path) -> str:
    """Return what is wrong with a state, as who validates it says."""
    from onfly.artifacts.workspace import RunWorkspace

    try:
        RunWorkspace(folder.parent.parent, folder.name).read_state()
    except (ValueError, FileNotFoundError) as error:
        return str(error)
    return f"{folder / 'run.json'} cannot be read: it holds something unexpected"


def _record(run: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    p = run["posterior"]
    spec, phase = p["spec"], p["phase"]
    now = read_progress(folder)
    verdict = _verdict_of(folder, run)
    due = _due(run) if phase == "label" else []
    failures = [*p["failures"], *(f for t in run["trajectories"] for f in t["failures"])][-10:]
    audits = p["n_audits"]
    return {
        "run_id": p["run_id"],
        "formula_pretty": p["formula_pretty"],
        "campaign": p["campaign"],
        "state": "running" if verdict is None else verdict["state"],
        "verdict": "running" if verdict is None else verdict["sentence"],
        "phase": phase,
        "activity": activity(run, now),
        "foundation_model": spec["foundation"]["source"],
        "threshold_ev": p["threshold_ev"],
        "walkers": spec["trajectories"]["walkers"],
        "round": p["round"],
        "md_step": md_steps(run, now),
        "n_steps_total": sum(max(t["n_steps"], t["md_step"]) for t in run["trajectories"]),
        "n_labels": p["n_labels"],
        "n_waits": p["n_waits"],
        "n_calls": p["n_calls"],
        "n_audits": audits,
        "n_audits_within": p["n_audits_within"],
        "coverage": p["n_audits_within"] / audits if audits else None,
        "coverage_proven": None if verdict is None else verdict["coverage"],
        "confidence": spec["proof"]["confidence"],
        "closing_block": None if p["attempt"] is None else p["attempt"] + 1,
        "waits_for": [f"{r['trajectory']:03d}-{r['md_step']:08d}-{r['reason']}" for r in due],
        "waits_since": p["updated_at"] if due else None,
        "n_failures": p["n_failures"] + sum(t["n_explosions"] for t in run["trajectories"]),
        "last_failure": failures[-1] if failures else None,
        "stop_reason": p["stop_reason"],
        "model_id": p["model_id"],
        "created_at": p["created_at"],
        "updated_at": p["updated_at"],
        "folder": str(folder),
    }


def _due(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    look = run["posterior"]["look"]
    return [r for t in run["trajectories"] for r in t["requests"] if r["look"] <= look]


def _verdict_of(folder: Path, run: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the verdict on a run that has ended, as it was published; None while it goes on."""
    if run["posterior"]["phase"] not in ENDED:
        return None
    try:
        found = json.loads((folder / "model.json").read_text())
        if found["model_id"] == run["posterior"]["model_id"] and found["verdict"]["sentence"]:
            return found["verdict"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        pass  # the ledger says it as well
    from onfly.artifacts.workspace import RunWorkspace
    from onfly.rounds.verdict import verdict_of

    workspace = RunWorkspace(folder.parent.parent, folder.name)
    verdict = verdict_of(workspace, workspace.read_state())
    return None if verdict is None else verdict.model_dump(mode="json")


def md_steps(run: Mapping[str, Any], now: Mapping[str, Any]) -> int:
    """Return the MD steps of all trajectories; one may be ahead of the state that is written."""
    index = now.get("trajectory")
    ahead = 0
    exploring = run["posterior"]["phase"] == "explore"
    if now.get("phase") == "explore" and exploring and index is not None:
        written = {t["index"]: t["md_step"] for t in run["trajectories"]}.get(index, 0)
        ahead = max(int(now.get("md_step") or 0) - written, 0)
    return sum(t["md_step"] for t in run["trajectories"]) + ahead


def activity(run: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return what is being done, in words."""
    p = run["posterior"]
    phase = p["phase"]
    if phase == "start":
        return "preparing ensemble and first configurations"
    if phase == "label":
        number = now.get("label") if now.get("phase") == "label" else None
        due = _due(run)
        reasons = sorted({request["reason"] for request in due})
        what = f"{len(due)} label{'s' if len(due) != 1 else ''} ({', '.join(reasons)})"
        return f"waiting for {what}" + (f", at number {number}" if number else "")
    if phase in ("judge", "close"):
        return "judging labels"
    if phase in ("learn", "refit"):
        return f"learning from {p['n_labels']} labels"
    if phase == "explore":
        several = len(run["trajectories"]) > 1
        name = f", trajectory {now['trajectory']}" if several and "trajectory" in now else ""
        if p["attempt"] is not None:
            return f"MD of closing block {p['attempt'] + 1}{name}"
        return f"molecular dynamics{name}"
    return {"publish": "publishing", "done": "done", "stopped": "stopped"}[phase]


def doing(record: dict[str, Any]) -> str:
    """Return what a run does, what its labels wait for in the queue, and since when."""
    if record["state"] not in ("running", "waiting"):
        return ""
    text = str(record["activity"])
    queue = record.get("queue")
    if queue:
        text += f" ({', '.join(f'{n} {state}' for state, n in sorted(queue.items()))})"
    # jobs that nobody works on have waited since the run last moved
    idle = queue and not any("RUNNING" in state for state in queue)
    since = record["waits_since"] or (record["updated_at"] if idle else None)
    if since is not None:
        waited = (datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds()
        text += f", for {duration(max(waited, 0.0))}"
    return text


def duration(seconds: float | None) -> str:
    """Return a time span in words of one unit; nothing for None."""
    if seconds is None:
        return ""
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
