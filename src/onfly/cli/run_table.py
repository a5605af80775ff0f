"""The table of runs of ``onfly status``, which fits 80 columns.

What a run does or why it failed is a sentence: it stands below the table, a line for each run, and
not in a column of a few letters.
"""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from onfly.cli.records import doing, duration

__all__ = ["print_runs"]


def print_runs(console: Console, records: list[dict[str, Any]], *, rest: bool = False) -> None:
    """Print the table, and below it what runs do, wait for, or failed for.

    Parameters
    ----------
    console
        Where to print.
    records
        Of `onfly.cli.records.run_record`, or of `onfly.cli.campaign_status.campaign_records`.
    rest
        Whether the time that is left is a column, instead of the number of waits.
    """
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("run", overflow="fold")
    for name in ("formula", "state", "MD steps", "labels"):
        table.add_column(name, overflow="fold")
    table.add_column("rest" if rest else "waits")
    table.add_column("audits good")
    for r in records:
        audits = f"{r['n_audits_within']} of {r['n_audits']}" if r["n_audits"] else ""
        table.add_row(
            r["run_id"],
            r["formula_pretty"],
            r["state"],
            f"{r['md_step']}/{r['n_steps_total']}" if r["n_steps_total"] else "",
            str(r["n_labels"]),
            duration(r["rest_seconds"]) if rest else str(r["n_waits"]),
            audits,
        )
    console.print(table)
    for r in records:
        failure = r.get("failure") or r["last_failure"]
        told = [text for text in (doing(r), failure) if text]
        if told:
            text = f"{r['run_id']}: {'; '.join(told)}"
            console.print(text, highlight=False, markup=False, soft_wrap=True)
