"""The report of many runs: one sortable page with a link to each."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from onfly.analysis.metrics import binomial_interval
from onfly.artifacts.atomic import atomic_write
from onfly.report import tables
from onfly.report.build import build_report
from onfly.report.data import RunData, load_run
from onfly.report.theme import TONES
from onfly.report.verdict import Verdict, judge

__all__ = ["build_campaign_report"]


def build_campaign_report(
    run_folders: Iterable[str | Path],
    out: str | Path,
    title: str | None = None,
    png: bool = False,
    refresh: int | None = None,
) -> Path:
    """Write one page over many runs, and the page of every run that changed since its last one.

    Parameters
    ----------
    run_folders
        Folders of the runs, such as `onfly.report.find_runs` returns.
    out
        The page.
    title
        Heading; the common campaign of the runs unless given.
    png
        Also write the figures of the runs as PNG.
    refresh
        Seconds after which a browser loads the page again.

    Raises
    ------
    ValueError
        If no folder is given.
    """
    from onfly.report.page import render  # imports plotly

    folders = [Path(folder).expanduser() for folder in run_folders]
    if not folders:
        raise ValueError("no runs given: a campaign report needs at least one")
    page = Path(out).expanduser()
    page.parent.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    verdicts: list[Verdict] = []
    runs: list[RunData] = []
    problems: list[str] = []
    for folder in folders:
        # one broken folder must not hide all others
        try:
            data = load_run(folder)
            verdict = judge(data.run, data.model)
            report = _report_of(folder, verdict, png)
        except (OSError, ValueError) as error:
            problems.append(f"{folder.name}: {str(error).splitlines()[0]}")
            continue
        runs.append(data)
        verdicts.append(verdict)
        rows.append(_row(data, verdict, quote(os.path.relpath(report, page.parent))))
    names = {data.run.campaign for data in runs if data.run.campaign}
    heading = title or (f"Campaign {names.pop()}" if len(names) == 1 else "Fine-tuning runs")
    html = render(
        "campaign.html.j2",
        title=heading,
        rows=sorted(rows, key=lambda row: (row["formula"], row["run_id"])),
        tiles=_tiles(runs, verdicts),
        problems=problems,
        refresh=refresh,
    )
    atomic_write(page, html.encode())
    return page


def _report_of(folder: Path, verdict: Verdict, png: bool) -> Path:
    """Return the page of a run, written anew unless the run ended before it was written."""
    page = folder / "report.html"
    if page.is_file() and verdict.state != "running":
        sources = [p for p in (folder / "run.json", folder / "model.json") if p.is_file()]
        if page.stat().st_mtime > max(p.stat().st_mtime for p in sources):
            return page
    return build_report(folder, png=png)


def _row(data: RunData, verdict: Verdict, link: str) -> dict[str, Any]:
    run = data.run
    audits = [label for label in data.judged_labels if label.reason == "audit"]
    within = sum(abs(label.error or 0.0) <= run.threshold_ev for label in audits)
    own, foundation = tables.audit_rmse(data.labels)
    total = run.n_steps_total
    number = tables.number
    return {
        "formula": run.formula_pretty or "",
        "formula_html": tables.formula_html(run.formula_pretty or run.run_id),
        "run_id": run.run_id,
        "link": link,
        "state": verdict.state,
        "tone": TONES[verdict.state],
        "why": " ".join(verdict.reasons),
        "foundation": run.foundation_model,
        "progress": f"{100 * min(data.n_steps / total, 1):.0f}" if total else tables.NONE,
        "time": number(float(data.time_ps(data.n_steps))),
        "labels": len(data.labels),
        "audits": f"{within}/{len(audits)}" if audits else tables.NONE,
        "audit_share": f"{within / len(audits):.4f}" if audits else tables.NONE,
        "proven": f"{100 * binomial_interval(within, len(audits))[0]:.0f}"
        if audits
        else tables.NONE,
        "threshold": number(run.threshold_ev, factor=1000),
        "rmse": number(own, 2, 1000),
        "foundation_rmse": number(foundation, 2, 1000),
        "cpu": number(tables.cpu_hours(data), 2),
    }


def _tiles(runs: list[RunData], verdicts: list[Verdict]) -> list[dict[str, str]]:
    ready = sum(verdict.state == "ready" for verdict in verdicts)
    busy = sum(verdict.state == "running" for verdict in verdicts)
    stopped = sum(verdict.state == "stopped" for verdict in verdicts)
    labels = sum(len(data.labels) for data in runs)
    hours = sum(tables.cpu_hours(data) for data in runs)
    more = f"{labels / len(runs):.0f} per compound" if runs else ""
    return [
        {"name": "Models ready", "value": f"{ready} of {len(runs)}", "more": ""},
        {"name": "Still running", "value": str(busy), "more": ""},
        {"name": "Stopped", "value": str(stopped), "more": ""},
        {"name": "Reference calculations", "value": str(labels), "more": more},
        {"name": "CPU time", "value": f"{hours:.1f} h", "more": "all runs"},
    ]
