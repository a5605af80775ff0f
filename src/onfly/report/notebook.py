"""A small card of a run for notebooks."""

from __future__ import annotations

from html import escape

from onfly.report.run_data import RunReportData
from onfly.report.tables import formula_html, number, rmse_of, tolerance_text
from onfly.report.theme import TONE_COLORS, tone
from onfly.report.verdict import percent

__all__ = ["html_summary"]


def html_summary(data: RunReportData) -> str:
    """Return a card for `_repr_html_`: state, compound, tolerance, labels, waits and coverage.

    It brings its own style and needs no script. Its text has the notebook's colour, so that it is
    read on a dark ground too.
    """
    name, verdict, counts = data.identity, data.verdict, data.counts
    color = TONE_COLORS[tone(verdict.state)]
    labels = f"{counts.n_labels} ({counts.n_calls} calls, {counts.n_audits} audits)"
    rows = [
        ("Foundation model", data.foundation),
        ("Tolerance", tolerance_text(data)),
        ("Labels", labels),
    ]
    if counts.n_waits is not None:
        rows.append(("Waits for labels", str(counts.n_waits)))
    if verdict.coverage is not None:
        proven = (
            f"at least {percent(verdict.coverage)} of the steps ({percent(verdict.confidence)} "
            f"confidence; {verdict.n_audits - verdict.n_failed} of {verdict.n_audits} audits good)"
        )
        rows.append(("Proven", proven))
    own, before = rmse_of(data.audits)
    if own is not None:
        rows.append(
            (
                "Energy RMSE at audits",
                f"{number(own, 3, 1000)} meV (foundation model {number(before, 3, 1000)} meV)",
            )
        )
    cells = "".join(
        f'<tr><td style="text-align:left;opacity:.7;padding:1px 14px 1px 0">{escape(k)}</td>'
        f'<td style="text-align:left;padding:1px 0">{escape(v)}</td></tr>'
        for k, v in rows
    )
    return (
        f'<div style="border:1px solid #9aa5b166;border-left:5px solid {color};border-radius:6px;'
        'padding:8px 14px;max-width:640px;font-family:system-ui,sans-serif;font-size:13px">'
        f'<div style="font-size:15px"><b>{formula_html(name.formula)}</b> '
        f'<span style="opacity:.7">{escape(name.run_id)}</span> '
        f'<b style="color:{color}">{escape(verdict.headline)}</b></div>'
        f'<table style="border-collapse:collapse;margin:4px 0 0">{cells}</table></div>'
    )
