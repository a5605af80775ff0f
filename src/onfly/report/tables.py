"""Numbers and tables of the page, as text with units."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from onfly.analysis.metrics import binomial_interval, rmse
from onfly.report import theme
from onfly.report.figures_ranking import ErrorBarQuality
from onfly.report.records import Counts, LabelRow
from onfly.report.run_data import RunReportData
from onfly.report.verdict import energy_text, percent
from onfly.units import KBAR

__all__ = [
    "NONE",
    "correction_rows",
    "cpu_hours",
    "facts",
    "formula_html",
    "label_rows",
    "labels_text",
    "number",
    "quality_rows",
    "rmse_of",
    "settings_text",
    "tiles",
    "tolerance_text",
]

NONE = "–"  # the cell of a value that is not there


def formula_html(formula: str) -> str:
    """Set the numbers of a chemical formula as subscripts; anything else is escaped."""
    escaped = re.sub(r"[^A-Za-z0-9.()\[\] +-]", "", formula)
    return re.sub(r"(?<=[A-Za-z)\]])(\d+(?:\.\d+)?)", r"<sub>\1</sub>", escaped)


def number(value: float | None, digits: int = 3, factor: float = 1.0, sign: bool = False) -> str:
    """Write a number without an exponent; a dash if there is none."""
    if value is None or not np.isfinite(value):
        return NONE
    scaled = factor * value
    # no exponents: people read these
    decimals = max(0, digits - 1 - int(np.floor(np.log10(abs(scaled))))) if scaled else 0
    return f"{scaled:{'+' if sign else ''}.{min(decimals, 6)}f}"


def cpu_hours(data: RunReportData) -> float:
    """Sum of all recorded CPU times in hours."""
    return sum(data.cpu_seconds.values()) / 3600


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def rmse_of(labels: Iterable[LabelRow]) -> tuple[float | None, float | None]:
    """RMSE of the energy in eV, of the model and of the foundation model; None without any."""
    pairs = [(label.energy_error, label.foundation_error) for label in labels]
    own = [error for error, _ in pairs if error is not None]
    before = [error for _, error in pairs if error is not None]
    return rmse(own) if own else None, rmse(before) if before else None


def tolerance_text(data: RunReportData) -> str:
    """All tolerances in words."""
    parts = []
    for tolerance in data.tolerances:
        if tolerance.quantity == "energy":
            parts.append(f"{energy_text(tolerance.value)} on the energy of the whole cell")
        elif tolerance.unit == "eV/Å³":
            parts.append(f"{tolerance.value / KBAR:.3g} kbar on the {tolerance.quantity}")
        else:
            unit = tolerance.unit.replace("eV", "meV", 1)
            quantity, _, which = tolerance.quantity.rstrip("]").partition("[")
            about = f"{quantity} of atoms: {which}" if which else quantity
            parts.append(f"{1000 * tolerance.value:.3g} {unit} on the {about}")
    return "; ".join(parts) or NONE


def labels_text(counts: Counts) -> str:
    """How many labels there are of each kind, and how often they were waited for."""
    text = f"{counts.n_calls} calls, {counts.n_audits} audits"
    if counts.n_seeds:
        text += f", {counts.n_seeds} of earlier runs"
    return text if counts.n_waits is None else f"{text}, in {counts.n_waits} waits"


def tiles(data: RunReportData) -> list[dict[str, str]]:
    """Key numbers at the top of the page."""
    audits, within = len(data.audit_outcomes), data.n_within
    result = []
    steps = f"{data.n_steps:,} MD steps".replace(",", " ")
    if len(data.trajectories) > 1:
        steps += f" of {len(data.trajectories)} trajectories"
    if redone := sum(t.n_redone for t in data.trajectories):
        steps += f", {redone} of them taken twice"
    simulated = f"{number(data.simulated_fs / 1000)} ps" if data.has_clock else str(data.n_steps)
    if data.search:
        result.append({"name": "Steps", "value": str(data.n_steps), "more": "on the model"})
    else:
        more = steps if data.has_clock else "MD steps"
        result.append({"name": "Simulated", "value": simulated, "more": more})
    more = labels_text(data.counts)
    result.append(
        {"name": "Reference calculations", "value": str(data.counts.n_labels), "more": more}
    )
    atoms = data.identity.n_atoms
    each = f", {1000 * data.threshold / atoms:.2g} meV/atom" if atoms else ""
    if np.isfinite(data.threshold):
        result.append(
            {
                "name": "Tolerance of the energy error",
                "value": f"{number(data.threshold, factor=1000)} meV",
                "more": energy_text(data.threshold).split("(")[1].rstrip(")") + each,
            }
        )
    if audits:
        low, high = binomial_interval(within, audits)
        result.append(
            {
                "name": "Audits within tolerance",
                "value": f"{within} of {audits}",
                "more": f"whole run: {percent(low)} to {percent(high)} of steps (95 % confidence)",
            }
        )
    elif not data.search:
        result.append({"name": "Audits within tolerance", "value": NONE, "more": "no audit yet"})
    total = sum(data.cpu_seconds.values())
    if total:
        parts = sorted(data.cpu_seconds.items(), key=lambda item: -item[1])[:3]
        result.append(
            {
                "name": "CPU time",
                "value": _duration(total),
                "more": ", ".join(f"{name} {_duration(value)}" for name, value in parts),
            }
        )
    return result


def _time_step(data: RunReportData) -> str:
    """Return the time steps of the logs; stages may differ."""
    steps: set[float] = set()
    for trajectory in data.trajectories:
        step, time = (trajectory.thermo.get(n, np.empty(0)) for n in ("step", "time_fs"))
        each = np.diff(time) / np.diff(step) if np.size(step) > 1 else np.empty(0)
        steps |= {float(f"{value:.4g}") for value in each[np.isfinite(each)] if value > 0}
    return f"{', '.join(f'{v:g}' for v in sorted(steps))} fs" if steps else "not recorded yet"


def _calls(data: RunReportData) -> str:
    if data.search and not data.search.calls:
        return "a guard stops a step; otherwise only the end is labelled"
    return f"the risk to exceed it is above {100 * data.max_probability:g} %"


def proof_text(data: RunReportData) -> str:
    """What a model called ready promises."""
    if not data.attempts:
        return "none is wanted"
    if data.search:
        where = "the relaxed configuration" if data.search.driver == "relax" else "ends and saddle"
        return (
            f"labels of {where} keep the tolerance, with forces of at most "
            f"{data.search.fmax:g} eV/Å"
        )
    blocks = "1 closing block" if data.attempts == 1 else f"up to {data.attempts} closing blocks"
    return (
        f"at least {percent(data.required_coverage)} of the steps keep the tolerance, at "
        f"{percent(data.confidence)} confidence, by {blocks}"
    )


def facts(data: RunReportData) -> list[tuple[str, str]]:
    """The settings that everybody wants to know."""
    name = data.identity
    posterior = f"{name.posterior}, generation {name.generation}" if name.posterior else NONE
    labelled = dict.fromkeys(x for x in (data.labeller, name.level_of_theory) if x)
    every = data.audit_interval
    rows = [
        (
            "Compound",
            Markup(formula_html(name.formula))
            + (f", {name.n_atoms} atoms" if name.n_atoms else ""),
        ),
        ("Foundation model", data.foundation),
        ("Reference calculations", " · ".join(labelled) or NONE),
        ("Tolerance", tolerance_text(data)),
        ("Calls for a label when", _calls(data)),
        ("Audits", f"at random steps, one in each {every:g} at first" if every else "switched off"),
        ("Proof", proof_text(data)),
        ("Trajectories", str(len(data.trajectories) or NONE)),
        ("Time step", _time_step(data)),
        ("Posterior", posterior),
        ("Seed", str(name.seed)),
    ]
    if data.search:
        rows = [row for row in rows if row[0] not in ("Audits", "Time step")]
    if name.energy_offset is not None:
        rows.append(("Energy offset", f"{name.energy_offset:.4f} eV (foundation minus reference)"))
    if name.model_id is not None:
        rows.append(("Published model", name.model_id))
    if data.versions:
        rows.append(("Versions", ", ".join(f"{k} {v}" for k, v in data.versions.items())))
    return rows


def settings_text(settings: Mapping[str, Any]) -> str:
    """All settings as indented JSON."""
    return json.dumps(settings, indent=2, default=str, ensure_ascii=False)


def correction_rows(labels: Iterable[LabelRow]) -> list[dict[str, str]]:
    """One row for each correction of custodian."""
    rows = []
    for label in labels:
        for correction in label.corrections:
            errors = correction.get("errors") or []
            actions = correction.get("actions") or []
            rows.append(
                {
                    "index": str(label.index),
                    "errors": ", ".join(map(str, errors)) if isinstance(errors, list) else errors,
                    "handler": str(correction.get("handler") or NONE),
                    "actions": "; ".join(_action(action) for action in actions) or NONE,
                }
            )
    return rows


def _action(action: Any) -> str:
    if not isinstance(action, Mapping):
        return str(action)
    target = action.get("dict") or action.get("file") or ""
    changes = action.get("action")
    if not isinstance(changes, Mapping):
        return str(dict(action))
    words = []
    for how, what in changes.items():
        verb = {"_set": "set", "_unset": "removed"}.get(how, how.strip("_"))
        if isinstance(what, Mapping):
            words += [f"{verb} {k}" + (f" = {v}" if how == "_set" else "") for k, v in what.items()]
        else:
            words.append(f"{verb} {what}")
    return f"{target}: {', '.join(words)}" if target else ", ".join(words)


def quality_rows(groups: Sequence[ErrorBarQuality]) -> list[dict[str, str]]:
    """One row for each group of labels; an area that is not given comes with the reason."""

    def area(value: float | None, beyond: int, n: int) -> str:
        return f"{value:.2f}" if value is not None else f"{NONE} ({beyond} of {n} above)"

    def likelihood(value: float | None) -> str:
        return f"{value:.2f}" if value is not None else NONE

    return [
        {
            "name": group.name,
            "n": str(group.n),
            "rmse": number(group.rmse, 3, 1000),
            "auc": area(group.auc, group.n_beyond, group.n),
            "auc_half": area(group.auc_half, group.n_beyond_half, group.n),
            "likelihood": likelihood(group.log_likelihood),
            "constant": likelihood(group.log_likelihood_constant),
        }
        for group in groups
    ]


def label_rows(data: RunReportData) -> list[dict[str, Any]]:
    """One row for each label."""
    return [
        {
            "index": label.index,
            "trajectory": label.trajectory + 1,
            "step": label.step,
            "reason": theme.reason_name(label.reason),
            "energy": f"{label.energy:.4f}" if np.isfinite(label.energy) else NONE,
            "error": number(label.energy_error, 3, 1000, sign=True),
            "beyond": label.energy_error is not None and abs(label.energy_error) > data.threshold,
            "std": number(label.predicted_std, 3, 1000),
            "risk": number(label.probability, 2, 100),
            "foundation": number(label.foundation_error, 3, 1000, sign=True),
            "force": number(label.force_rmse, 3, 1000),
            "foundation_force": number(label.foundation_force_rmse, 3, 1000),
            "learned": NONE if label.learned_generation is None else label.learned_generation,
            "seconds": number(label.seconds, 3),
        }
        for label in data.labels
    ]
