"""Numbers and tables of the page, as text with units."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from onfly.analysis.metrics import binomial_interval, rmse
from onfly.report import theme
from onfly.report.data import RunData, find_setting
from onfly.report.figures_ranking import ErrorBarQuality
from onfly.report.verdict import energy_text, percent
from onfly.schemas.label import LabelDoc

__all__ = [
    "NONE",
    "audit_rmse",
    "correction_rows",
    "cpu_hours",
    "facts",
    "formula_html",
    "label_rows",
]
__all__ += ["number", "quality_rows", "settings_text", "stage_rows", "tiles"]

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


def cpu_hours(data: RunData) -> float:
    """Sum of all recorded CPU times in hours."""
    return sum(data.run.cpu_seconds.values()) / 3600


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def audit_rmse(labels: Sequence[LabelDoc]) -> tuple[float | None, float | None]:
    """RMSE in eV of the model and of the foundation model at the audits; None without any."""
    audits = [label for label in labels if label.reason == "audit"]
    own = [label.error for label in audits if label.error is not None]
    foundation = [
        label.foundation_energy - label.energy
        for label in audits
        if label.foundation_energy is not None
    ]
    return rmse(own) if own else None, rmse(foundation) if foundation else None


def tiles(data: RunData) -> list[dict[str, str]]:
    """Key numbers at the top of the page."""
    run = data.run
    audits = [label for label in data.judged_labels if label.reason == "audit"]
    within = sum(abs(label.error or 0.0) <= run.threshold_ev for label in audits)
    result = []
    steps = f"{data.n_steps:,} MD steps".replace(",", " ")
    if data.has_clock:
        time = float(data.time_ps(data.n_steps))
        result.append({"name": "Simulated", "value": f"{number(time)} ps", "more": steps})
    else:
        result.append({"name": "Simulated", "value": f"{data.n_steps}", "more": "MD steps"})
    result.append(
        {
            "name": "Reference calculations",
            "value": str(len(data.labels)),
            "more": f"{len(audits)} of them audits",
        }
    )
    atoms = len(data.labels[0].structure) if data.labels else 0
    each = f", {1000 * run.threshold_ev / atoms:.2g} meV/atom" if atoms else ""
    result.append(
        {
            "name": "Threshold of the energy error",
            "value": f"{number(run.threshold_ev, factor=1000)} meV",
            "more": energy_text(run.threshold_ev).split("(")[1].rstrip(")") + each,
        }
    )
    if audits:
        low, high = binomial_interval(within, len(audits))
        result.append(
            {
                "name": "Audits within threshold",
                "value": f"{within} of {len(audits)}",
                "more": f"whole run: {percent(low)} to {percent(high)} of steps (95 % confidence)",
            }
        )
        own, foundation = audit_rmse(data.labels)
        result.append(
            {
                "name": "Energy error at audits",
                "value": f"{number(own, 2, 1000)} meV",
                "more": f"RMSE; before fine-tuning {number(foundation, 2, 1000)} meV",
            }
        )
    else:
        result.append({"name": "Audits within threshold", "value": NONE, "more": "no audit yet"})
    total = sum(run.cpu_seconds.values())
    if total:
        parts = sorted(run.cpu_seconds.items(), key=lambda item: -item[1])[:3]
        result.append(
            {
                "name": "CPU time",
                "value": _duration(total),
                "more": ", ".join(f"{name} {_duration(value)}" for name, value in parts),
            }
        )
    return result


def _time_step(data: RunData) -> str:
    """Return the time step of the log; stages may differ."""
    step, time = data.thermo.get("step", np.empty(0)), data.thermo.get("time_fs", np.empty(0))
    if np.size(step) > 1:
        each = np.diff(time) / np.diff(step)
        steps = sorted({float(f"{value:.4g}") for value in each[np.isfinite(each)] if value > 0})
        if steps:
            return f"{', '.join(f'{value:g}' for value in steps)} fs"
    wanted = find_setting(data.run.settings, "time_step")
    return f"{wanted} fs" if wanted else "default of the dynamics"


def facts(data: RunData) -> list[tuple[str, str]]:
    """The settings that everybody wants to know."""
    run, model = data.run, data.model
    atoms = len(data.labels[0].structure) if data.labels else None
    level = model.level_of_theory if model is not None and model.level_of_theory else None
    audit = find_setting(run.settings, "audit_interval")
    limit = find_setting(run.settings, "max_probability")
    sampler = run.ensemble.posterior if run.ensemble else None
    rows = [
        (
            "Compound",
            Markup(formula_html(run.formula_pretty or "")) + (f", {atoms} atoms" if atoms else ""),
        ),
        ("Foundation model", run.foundation_model),
        (
            "Reference calculations",
            " · ".join(dict.fromkeys(x for x in (run.labeller, level) if x)) or NONE,
        ),
        ("Threshold", f"{energy_text(run.threshold_ev)} on the energy of the whole cell"),
        ("Asks for help when", f"the risk to exceed it is above {100 * float(limit or 0.05):g} %"),
        (
            "Audits",
            f"at random steps, one in {audit} on average" if audit else "interval not recorded",
        ),
        ("Time step", _time_step(data)),
        ("Posterior", f"{sampler}, generation {run.ensemble.generation}" if run.ensemble else NONE),
        ("Seed", str(run.seed)),
    ]
    if run.energy_offset is not None:
        rows.append(("Energy offset", f"{run.energy_offset:.4f} eV (foundation minus reference)"))
    if model is not None:
        rows.append(("Published model", model.model_id))
    return rows


def stage_rows(data: RunData) -> list[dict[str, str]]:
    """Stages of the temperature programme, if the settings hold any."""
    stages = find_setting(data.run.settings, "stages")
    if not isinstance(stages, list | tuple):
        return []
    rows = []
    for stage in stages:
        if not isinstance(stage, Mapping):
            continue
        t, p = stage.get("temperature"), stage.get("pressure")
        if isinstance(t, list | tuple):
            temperature = " → ".join(f"{float(v):g} K" for v in t)
        else:
            temperature = NONE if t is None else f"{float(t):g} K"
        dynamics = stage.get("dynamics")
        rows.append(
            {
                "steps": str(stage.get("n_steps", NONE)),
                "temperature": temperature,
                "pressure": NONE if p is None else f"{float(p):g} kbar",
                "ensemble": str(stage.get("ensemble", "nvt")).upper()
                + (f" ({dynamics})" if dynamics else ""),
            }
        )
    return rows


def settings_text(settings: Mapping[str, Any]) -> str:
    """All settings as indented JSON."""
    return json.dumps(settings, indent=2, default=str, ensure_ascii=False)


def correction_rows(labels: Sequence[LabelDoc]) -> list[dict[str, str]]:
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


def label_rows(data: RunData) -> list[dict[str, Any]]:
    """One row for each label."""
    rows = []
    for label in data.labels:
        foundation = (
            None if label.foundation_energy is None else label.foundation_energy - label.energy
        )
        error = label.error
        rows.append(
            {
                "index": label.index,
                "step": label.md_step,
                "reason": theme.reason_name(label.reason),
                "energy": f"{label.energy:.4f}",
                "error": number(error, 3, 1000, sign=True),
                "beyond": error is not None and abs(error) > data.run.threshold_ev,
                "std": number(label.predicted_std, 3, 1000),
                "risk": number(label.probability, 2, 100),
                "foundation": number(foundation, 3, 1000, sign=True),
                "force": number(label.force_rmse, 3, 1000),
                "foundation_force": number(label.foundation_force_rmse, 3, 1000),
                "seconds": number(label.elapsed, 3),
            }
        )
    return rows
