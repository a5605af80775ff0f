"""What is needed to judge a model at a glance, with the names that others rely on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from onfly.library.documents import aware
from onfly.schemas import FineTunedModelDoc
from onfly.schemas.model import present_state

__all__ = ["SUMMARY_FIELDS", "model_summary", "record_summary"]

# of the document; a search that reads only these can be summarised
SUMMARY_FIELDS = (
    "model_id", "formula_pretty", "chemsys", "foundation_model", "level_of_theory", "labeller",
    "state", "threshold_ev", "tolerances", "n_labels", "n_waits", "n_audits", "n_audits_within",
    "coverage", "verdict", "proven_generation", "walkers", "temperature_range", "campaign",
    "run_id", "created_at", "doc_version",
)  # fmt: skip


def model_summary(doc: FineTunedModelDoc) -> dict[str, Any]:
    """Return the summary that ``onfly models list --json`` prints.

    Parameters
    ----------
    doc
        The model.

    Returns
    -------
    dict
        Plain values only. ``coverage_proven`` is the share of steps within the tolerance that the
        verdict proves at ``confidence``, and ``sentence`` says so in words; all three are None
        where there is no verdict, as in models of version 0.1, whose audits also decided when to
        stop and prove nothing. ``n_audits`` and ``n_audits_within`` count all audits of the run;
        ``created_at`` is in UTC (ISO 8601).

    Examples
    --------
    >>> from onfly import ModelLibrary
    >>> summary = model_summary(ModelLibrary.from_settings().latest("CuAu"))
    >>> summary["state"], summary["threshold_ev"], summary["n_labels"]
    ('needs more audits', 0.3, 3)
    """
    return record_summary(doc.model_dump(include={*SUMMARY_FIELDS}))


def record_summary(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the summary of a document of the library's collection, read with `SUMMARY_FIELDS`."""
    summary = {name: record.get(name) for name in SUMMARY_FIELDS}
    verdict = summary.pop("verdict") or {}
    interval, created = record.get("temperature_range"), record.get("created_at")
    return summary | {
        "state": present_state(summary["state"]),
        "tolerances": summary["tolerances"] or [],
        "walkers": summary["walkers"] or 1,
        "coverage_proven": verdict.get("coverage"),
        "confidence": verdict.get("confidence"),
        "sentence": verdict.get("sentence"),
        "temperature_range": None if interval is None else [*interval],
        "created_at": aware(created).isoformat() if isinstance(created, datetime | str) else None,
        "doc_version": summary["doc_version"] or "0.1",
    }
