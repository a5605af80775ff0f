"""How a campaign stands: each compound, what failed and why, and what is still to do."""

from __future__ import annotations

import json
import logging
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from onfly.cli.errors import fail
from onfly.cli.records import duration, run_folders, run_record
from onfly.cli.run_table import print_runs
from onfly.flows.manifest import CampaignManifest, read_manifest
from onfly.settings import OnflySettings

__all__ = ["campaign_records", "rest_seconds", "show_campaign", "summary"]

logger = logging.getLogger(__name__)

_UNKNOWN = (
    "foundation_model", "threshold_ev", "walkers", "coverage", "coverage_proven", "confidence",
    "closing_block", "waits_since", "last_failure", "stop_reason", "model_id", "created_at",
    "updated_at", "folder", "first_label_at", "failure", "rest_steps", "rest_seconds",
)  # fmt: skip
_COUNTED = (
    "round", "md_step", "n_steps_total", "n_labels", "n_waits", "n_calls", "n_audits",
    "n_audits_within", "n_failures",
)  # fmt: skip
_ORDER = (
    "damaged", "failed", "stopped", "not accurate enough", "running", "waiting",
    "needs more audits",
)  # fmt: skip


def show_campaign(campaign: str, settings: OnflySettings, *, as_json: bool = False) -> None:
    """Print how a campaign stands."""
    try:
        manifest = read_manifest(settings.ARTIFACT_DIR, campaign)
        records = campaign_records(campaign, settings, manifest)
    except ValueError as error:
        raise fail(str(error)) from None
    if not records:
        raise fail(f"no runs of a campaign {campaign} in {settings.ARTIFACT_DIR}")
    if as_json:
        typer.echo(json.dumps(records, indent=1))
        return
    console = Console()
    print_runs(console, records, rest=True)
    console.print(summary(records), highlight=False)
    rest = rest_seconds(records)
    if rest:
        console.print(f"at the pace so far, all is done in {duration(rest)}", highlight=False)


def summary(records: list[dict[str, Any]]) -> str:
    """Return in one sentence how many compounds are in which state."""
    counts = Counter(r["state"] for r in records)
    text = ", ".join(f"{counts[state]} {state}" for state in sorted(counts, key=_rank))
    return f"{len(records)} compounds: {text}"


def campaign_records(
    campaign: str, settings: OnflySettings, manifest: CampaignManifest | None
) -> list[dict[str, Any]]:
    """Return one record for each compound, those that need somebody first.

    Parameters
    ----------
    campaign
        Its name.
    settings
        Of the machine.
    manifest
        What was submitted; without it only runs that have begun are found.
    """
    root = settings.ARTIFACT_DIR
    submitted = {} if manifest is None else manifest.compounds
    if manifest is None:
        found = run_folders(root)
    else:
        runs = Path(root).expanduser() / "runs"
        found = [runs / run_id for run_id in submitted if (runs / run_id / "run.json").exists()]
    records = []
    for folder in found:
        try:
            record = _record(folder)
        except ValueError as error:  # one damaged run hides no other
            if folder.name not in submitted:
                logger.warning("%s", error)
                continue
            record = _damaged(campaign, folder.name, submitted[folder.name], error)
        if record["campaign"] == campaign:
            records.append(record)
    begun = {r["run_id"] for r in records}
    records += [
        _waiting(campaign, run_id, formula)
        for run_id, formula in submitted.items()
        if run_id not in begun
    ]
    failed, queues = _ask_manager(manifest)
    for r in records:
        r["queue"] = queues.get(r["run_id"], {})
        if r["run_id"] in failed and r["state"] in ("running", "waiting"):
            r.update(state="failed", failure=failed[r["run_id"]], rest_seconds=None)
    return sorted(records, key=lambda r: (_rank(r["state"]), r["formula_pretty"], r["run_id"]))


def rest_seconds(records: list[dict[str, Any]]) -> float | None:
    """Return the wall time until all is done, at the campaign's pace so far; None if unknown."""
    begun = [r for r in records if r["first_label_at"] is not None]
    done = sum(r["md_step"] for r in begun)
    totals = [r["n_steps_total"] for r in begun if r["n_steps_total"]]
    if not done or not totals:
        return None
    typical = sum(totals) / len(totals)  # of compounds that have not begun
    rest = sum(
        (r["n_steps_total"] or typical) - r["md_step"]
        for r in records
        if r["state"] in ("running", "waiting")
    )
    first = min(r["first_label_at"] for r in begun)
    last = max(datetime.fromisoformat(r["updated_at"]).timestamp() for r in begun)
    return max(last - first, 0.0) / done * rest


def _record(folder: Path) -> dict[str, Any]:
    record = run_record(folder)
    ledger = folder / "ledger.jsonl"
    created = datetime.fromisoformat(record["created_at"]).timestamp()
    record["first_label_at"] = created if ledger.is_file() else None
    record["failure"] = record["last_failure"]
    if record["state"] == "stopped" and record["stop_reason"]:
        record["failure"] = record["stop_reason"]
    record["rest_steps"] = record["rest_seconds"] = None
    if record["state"] == "running":
        rest = max(record["n_steps_total"] - record["md_step"], 0)
        record["rest_steps"] = rest
        if record["first_label_at"] is not None and record["md_step"]:
            updated = datetime.fromisoformat(record["updated_at"]).timestamp()
            spent = max(updated - record["first_label_at"], 0.0)
            record["rest_seconds"] = spent / record["md_step"] * rest
    return record


def _waiting(campaign: str, run_id: str, formula: str) -> dict[str, Any]:
    """Return the record of a compound of which no job has ended yet."""
    nothing = dict.fromkeys(_UNKNOWN)
    zero = dict.fromkeys(_COUNTED, 0)
    known: dict[str, Any] = {
        "run_id": run_id,
        "formula_pretty": formula,
        "campaign": campaign,
        "phase": "start",
    }
    known |= {"state": "waiting", "verdict": "waiting for its first label", "waits_for": []}
    known["activity"] = "waiting for its first job"
    return nothing | zero | known


def _damaged(campaign: str, run_id: str, formula: str, error: ValueError) -> dict[str, Any]:
    """Return the record of a compound whose files cannot be read."""
    told = {"state": "damaged", "verdict": "damaged", "activity": "", "failure": str(error)}
    return _waiting(campaign, run_id, formula) | told


def _ask_manager(
    manifest: CampaignManifest | None,
) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
    """Ask the workflow manager what holds runs up, and which of their jobs wait or run.

    Without an answer the rest is shown.
    """
    if manifest is None or manifest.target == "local":
        return {}, {}
    try:
        if manifest.target == "remote":
            from onfly.flows import remote

            where = (manifest.project, manifest.campaign)
            return remote.failures(*where), remote.queue_states(*where)
        from onfly.flows import launchpad as fireworks

        launchpad = _launchpad(manifest)
        return (
            fireworks.failures(launchpad, manifest.campaign),
            fireworks.queue_states(launchpad, manifest.campaign),
        )
    except Exception as error:  # whatever drivers of databases raise
        logger.warning("the workflow manager does not answer: %s", error)
        return {}, {}


def _launchpad(manifest: CampaignManifest) -> Any:
    from fireworks import LaunchPad

    if manifest.launchpad is None:
        return LaunchPad.auto_load()
    return LaunchPad.from_file(manifest.launchpad)


def _rank(state: str) -> int:
    return _ORDER.index(state) if state in _ORDER else len(_ORDER)
