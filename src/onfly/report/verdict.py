"""May I use this model? The answer in plain words, for the report and the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from onfly.analysis.metrics import binomial_interval
from onfly.report.data import find_setting
from onfly.schemas.model import FineTunedModelDoc
from onfly.schemas.run import RunDoc
from onfly.units import EV_PER_KCAL_MOL

__all__ = ["Verdict", "energy_text", "judge", "percent"]

MIN_AUDITS = 10
MIN_COVERAGE = 0.95

VerdictState = Literal["ready", "needs more audits", "not accurate enough", "running", "stopped"]


@dataclass(frozen=True)
class Verdict:
    """Whether a model may be used, and why.

    Attributes
    ----------
    state
        One of the words that scripts may test for.
    headline
        The verdict as shown: the state, and for a stopped run its reason.
    reasons
        Full sentences.
    advice
        What to do next.
    """

    state: VerdictState
    headline: str
    reasons: list[str] = field(default_factory=list)
    advice: str = ""


def energy_text(ev: float) -> str:
    """Write an energy in meV and kcal/mol, such as ``21.7 meV (0.50 kcal/mol)``."""
    return f"{1000 * ev:.3g} meV ({ev / EV_PER_KCAL_MOL:.2g} kcal/mol)"


def percent(share: float) -> str:
    """Write a share in percent; what is not quite all or nothing is not rounded to it."""
    if 0.995 <= share < 1:
        return f"{np.floor(1000 * share) / 10:.1f} %"
    if 0 < share < 0.005:
        return f"{np.ceil(1000 * share) / 10:.1f} %"
    return f"{100 * share:.0f} %"


def judge(
    run: RunDoc,
    model: FineTunedModelDoc | None = None,
    min_audits: int | None = None,
    min_coverage: float | None = None,
) -> Verdict:
    """Judge a run by its audits; a published model's own state is kept.

    Parameters
    ----------
    run
        State of the run.
    model
        The model it published, if any.
    min_audits, min_coverage
        Audits needed, and the fraction of them that must lie within the threshold. Taken from
        the run's settings unless given.
    """
    if min_audits is None:
        min_audits = int(find_setting(run.settings, "min_audits") or MIN_AUDITS)
    if min_coverage is None:
        min_coverage = float(find_setting(run.settings, "min_coverage") or MIN_COVERAGE)
    # what was audited before the weights last changed was another model
    n, within = run.audits_since_update, run.audits_within_since_update
    enough, good = n >= min_audits, n > 0 and within >= min_coverage * n
    reasons = _audit_reasons(run, n, within, min_audits, min_coverage)

    ended = run.phase in ("done", "publish") or model is not None
    if run.phase == "stopped" or (model is not None and model.state == "stopped"):
        why = run.stop_reason or (model.stop_reason if model else "") or "no reason was recorded"
        return Verdict(
            "stopped",
            f"stopped: {why}",
            [f"The run ended before its time: {why}.", *_failures(run), *reasons],
            "Do not use this model for production. Remove the cause and resume the run: "
            "all labels are kept.",
        )
    if not ended:
        return Verdict("running", "running", [_progress(run), *_waiting(run), *reasons], _KEEP)
    ready = model.state == "ready" if model is not None else enough and good
    if ready:
        return Verdict(
            "ready",
            "ready",
            [*reasons, *_end(run, model)],
            "You may use the model for this compound, level of theory and temperature range. "
            "Keep its uncertainty in view: it is not proven for anything else.",
        )
    if n > 0 and not good and enough:
        return Verdict(
            "not accurate enough",
            "not accurate enough",
            [*reasons, *_end(run, model)],
            "Continue the run so that it learns from more labels, or allow a larger threshold.",
        )
    return Verdict(
        "needs more audits",
        "needs more audits",
        [
            *reasons,
            *_end(run, model),
            "That the model stopped asking for labels is no proof of its accuracy: "
            "a model that is too sure of itself asks for nothing either.",
        ],
        "Continue the run (more steps, or a shorter audit interval) until enough audits are done.",
    )


_KEEP = "Wait: the model still learns, and the figures below change."


def _plural(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"


def _audit_reasons(
    run: RunDoc, n: int, within: int, min_audits: int, min_coverage: float
) -> list[str]:
    threshold = energy_text(run.threshold_ev)
    if n == 0:
        return [
            "The model in its present state was not audited yet. An audit is a reference "
            f"calculation at a random step; {min_audits} are needed.",
            *_earlier(run, n),
        ]
    low, high = binomial_interval(within, n)
    verb = "was" if within == 1 else "were"
    sentences = [
        f"{within} of {_plural(n, 'audit')} (reference calculations at random steps) {verb} within "
        f"the threshold: the energy of the whole cell was wrong by no more than {threshold}.",
        f"This means that the model keeps the threshold in {percent(low)} to {percent(high)} "
        "of the steps under the conditions of this run (95 % confidence).",
    ]
    if within < min_coverage * n:
        sentences[0] += (
            f" That is {100 * within / n:.0f} %; at least {100 * min_coverage:.0f} % are required."
        )
    if n < min_audits:
        sentences.append(f"{min_audits - n} of the {min_audits} required audits are missing.")
    sentences += _earlier(run, n)
    return sentences


def _earlier(run: RunDoc, n: int) -> list[str]:
    """Audits of the weights before the last update: another model, but not without interest."""
    if run.n_audits <= n:
        return []
    return [
        f"Over the whole run, while the model was still learning, {run.n_audits_within} of "
        f"{_plural(run.n_audits, 'audit')} were within the threshold."
    ]


def _end(run: RunDoc, model: FineTunedModelDoc | None) -> list[str]:
    why = run.stop_reason or (model.stop_reason if model else None)
    return [f"The run ended because {why}."] if why else []


def _failures(run: RunDoc) -> list[str]:
    if not run.n_failures:
        return []
    last = getattr(run, "failures", None)
    detail = f" The last one: {last[-1]}." if last else ""
    return [f"{_plural(run.n_failures, 'failure')} (label or MD) occurred.{detail}"]


def _progress(run: RunDoc) -> str:
    if run.n_steps_total:
        share = 100 * run.md_step / run.n_steps_total
        return f"{run.md_step} of {run.n_steps_total} MD steps are done ({share:.0f} %)."
    return f"{run.md_step} MD steps are done."


_DOING = {
    "initial": "The first reference calculation is under way.",
    "label": "It waits for a reference calculation.",
    "calibrate": "It adjusts its error bars to the newest label.",
    "update": "It learns from the newest label.",
}


def _waiting(run: RunDoc) -> list[str]:
    return [_DOING[run.phase]] if run.phase in _DOING else []
