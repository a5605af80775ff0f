"""What is needed to judge a model at a glance, with the names that others rely on."""

from __future__ import annotations

from typing import Any

from onfly.schemas import FineTunedModelDoc

__all__ = ["model_summary"]


def model_summary(doc: FineTunedModelDoc) -> dict[str, Any]:
    """Return the summary that ``onfly models list --json`` and ``show --json`` print.

    Parameters
    ----------
    doc
        The model.

    Returns
    -------
    dict
        Plain values only. ``coverage_proven`` is the share of steps within the tolerance that the
        verdict proves at ``confidence``; both are None where there is no verdict, as in models of
        version 0.1, whose audits decided when to stop and prove nothing. ``n_audits`` and
        ``n_audits_within`` count all audits of the run; ``created_at`` is in UTC (ISO 8601).
    """
    verdict = doc.verdict or {}
    return {
        "model_id": doc.model_id,
        "formula_pretty": doc.formula_pretty,
        "chemsys": doc.chemsys,
        "foundation_model": doc.foundation_model,
        "level_of_theory": doc.level_of_theory,
        "labeller": doc.labeller,
        "state": doc.state,
        "threshold_ev": doc.threshold_ev,
        "tolerances": doc.tolerances,
        "n_labels": doc.n_labels,
        "n_waits": doc.n_waits,
        "n_audits": doc.n_audits,
        "n_audits_within": doc.n_audits_within,
        "coverage": doc.coverage,
        "coverage_proven": verdict.get("coverage"),
        "confidence": verdict.get("confidence"),
        "verdict": verdict.get("sentence"),
        "proven_generation": doc.proven_generation,
        "walkers": doc.walkers,
        "temperature_range": None if doc.temperature_range is None else [*doc.temperature_range],
        "campaign": doc.campaign,
        "run_id": doc.run_id,
        "created_at": doc.created_at.isoformat(),
        "doc_version": doc.doc_version,
    }
