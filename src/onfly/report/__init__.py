"""The report of a run: what was done, what it showed, and whether to use the model."""

from __future__ import annotations

from onfly.report.build import build_report
from onfly.report.campaign import build_campaign_report
from onfly.report.find import find_runs
from onfly.report.verdict import Verdict, judge

__all__ = ["Verdict", "build_campaign_report", "build_report", "find_runs", "judge"]
