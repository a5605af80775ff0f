"""The report of a run: what was done, what it showed, and whether to use the model."""

from __future__ import annotations

from onfly.report.build import build_report
from onfly.report.campaign import build_campaign_report
from onfly.report.data import judge, load_run
from onfly.report.find import find_runs
from onfly.report.records import Verdict
from onfly.report.run_data import RunReportData

__all__ = [
    "RunReportData",
    "Verdict",
    "build_campaign_report",
    "build_report",
    "find_runs",
    "judge",
    "load_run",
]
