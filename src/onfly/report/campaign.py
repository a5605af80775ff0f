"""The report of many runs: one sortable page with a link to each."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from onfly.artifacts.atomic import atomic_write
from onfly.report import tables
from onfly.report.build import build_report
from onfly.report.data import load_run
from onfly.report.run_data import RunReportData
from onfly.report.theme import tone

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

    Returns
    -------
    Path
        The page.

    Raises
    ------
    ValueError
        If no folder is given.

    Examples
    --------
    >>> from onfly.settings import get_settings
    >>> from onfly.testing.models import toy_run, write_toy_run
    >>> _ = write_toy_run(get_settings().ARTIFACT_DIR, toy_run("r"))
    >>> build_campaign_report([get_settings().ARTIFACT_DIR / "runs" / "r"], "all.html").name
    'all.html'
    """
    from onfly.report.page import render  # imports matplotlib

    folders = [Path(folder).expanduser() for folder in run_folders]
    if not folders:
        raise ValueError("no runs given: a campaign report needs at least one")
    page = Path(out).expanduser()
    page.parent.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    runs: list[RunReportData] = []
    problems: list[str] = []
    for folder in folders:
        # one broken folder must not hide all others
        try:
            data = load_run(folder)
            report = _report_of(folder, data.verdict.state, png)
        except (OSError, ValueError) as error:
            problems.append(f"{folder.name}: {str(error).splitlines()[0]}")
            continue
        runs.append(data)
        rows.append(_row(data, quote(os.path.relpath(report, page.parent))))
    names = {data.identity.campaign for data in runs if data.identity.campaign}
    heading = title or (f"Campaign {names.pop()}" if len(names) == 1 else "Fine-tuning runs")
    html = render(
        "campaign.html.j2",
        title=heading,
        rows=sorted(rows, key=lambda row: (row["formula"], row["run_id"])),
        tiles=_tiles(runs),
        problems=problems,
        refresh=refresh,
    )
    atomic_write(page, html.encode())
    return page


def _report_of(folder: Path, state: str, png: bool) -> Path:
    """Return the page of a run, written anew unless the run ended before it was written."""
    page = folder / "report.html"
    if page.is_file() and state != "running":
        sources = [p for p in (folder / "run.json", folder / "model.json") if p.is_file()]
        if page.stat().st_mtime > max(p.stat().st_mtime for p in sources):
            return page
    return build_report(folder, png=png)


def _row(data: RunReportData, link: str) -> dict[str, Any]:
    from onfly.report.figures_errors import fair_sample  # imports matplotlib

    name, verdict, number = data.identity, data.verdict, tables.number
    n, within, total = len(data.audit_outcomes), data.n_within, data.n_steps_total
    own, foundation = tables.rmse_of(fair_sample(data)[0])
    proven = verdict.coverage
    waits = data.counts.n_waits
    return {
        "formula": name.formula,
        "formula_html": tables.formula_html(name.formula or name.run_id),
        "run_id": name.run_id,
        "link": link,
        "state": verdict.state,
        "tone": tone(verdict.state),
        "why": " ".join(verdict.reasons),
        "foundation": data.foundation,
        "progress": f"{100 * min(data.n_steps / total, 1):.0f}" if total else tables.NONE,
        "time": number(data.simulated_fs, factor=1e-3),
        "labels": data.counts.n_labels,
        "waits": tables.NONE if waits is None else waits,
        "audits": f"{within}/{n}" if n else tables.NONE,
        "audit_share": f"{within / n:.4f}" if n else tables.NONE,
        "proven": tables.NONE if proven is None else f"{100 * proven:.0f}",
        "threshold": number(data.threshold, factor=1000),
        "rmse": number(own, 2, 1000),
        "foundation_rmse": number(foundation, 2, 1000),
        "cpu": number(tables.cpu_hours(data), 2),
    }


def _tiles(runs: list[RunReportData]) -> list[dict[str, str]]:
    states = [data.verdict.state for data in runs]
    labels = sum(data.counts.n_labels for data in runs)
    hours = sum(tables.cpu_hours(data) for data in runs)
    more = f"{labels / len(runs):.0f} per compound" if runs else ""
    return [
        {"name": "Models ready", "value": f"{states.count('ready')} of {len(runs)}", "more": ""},
        {"name": "Still running", "value": str(states.count("running")), "more": ""},
        {"name": "Stopped", "value": str(states.count("stopped")), "more": ""},
        {"name": "Reference calculations", "value": str(labels), "more": more},
        {"name": "CPU time", "value": f"{hours:.1f} h", "more": "all runs"},
    ]
