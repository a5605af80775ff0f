"""May I use this model? The answer in plain words, for the report and the command line."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onfly.analysis.metrics import binomial_interval
from onfly.report.records import Verdict
from onfly.units import EV_PER_KCAL_MOL

__all__ = ["MIN_AUDITS", "MIN_COVERAGE", "Standing", "energy_text", "percent", "put_in_words"]

MIN_AUDITS = 10
MIN_COVERAGE = 0.95


@dataclass(frozen=True)
class Standing:
    """What a verdict is made of.

    Attributes
    ----------
    phase
        What the run does; "done", "publish" and "stopped" end it.
    threshold
        Tolerance of the energy of the whole cell in eV.
    n_audits, n_within
        Of the weights in their present state.
    n_audits_run, n_within_run
        Of the whole run.
    min_audits, min_coverage
        Audits needed, and the fraction of them that must be within the tolerance.
    published
        State of the published model (ready, unproven, stopped), which is kept; None without one.
    """

    phase: str
    threshold: float
    n_audits: int = 0
    n_within: int = 0
    n_audits_run: int = 0
    n_within_run: int = 0
    min_audits: int = MIN_AUDITS
    min_coverage: float = MIN_COVERAGE
    published: str | None = None
    stop_reason: str | None = None
    n_steps: int = 0
    n_steps_total: int = 0
    n_failures: int = 0
    last_failure: str | None = None

    @property
    def is_good(self) -> bool:
        """Whether the share of good audits is the required one."""
        return self.n_audits > 0 and self.n_within >= self.min_coverage * self.n_audits

    @property
    def state(self) -> str:
        """State of the verdict."""
        if self.phase == "stopped" or self.published == "stopped":
            return "stopped"
        if self.phase not in ("done", "publish") and self.published is None:
            return "running"
        enough = self.n_audits >= self.min_audits
        if self.published == "ready" or (self.published is None and enough and self.is_good):
            return "ready"
        return "not accurate enough" if enough and not self.is_good else "needs more audits"


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


ADVICE = {
    "stopped": "Do not use this model for production. Remove the cause and resume the run: "
    "all labels are kept.",
    "running": "Wait: the model still learns, and the figures below change.",
    "ready": "You may use the model for this compound, level of theory and temperature range. "
    "Keep its uncertainty in view: it is not proven for anything else.",
    "not accurate enough": "Continue the run so that it learns from more labels, or allow a larger "
    "threshold.",
    "needs more audits": "Continue the run (more steps, or a shorter audit interval) until enough "
    "audits are done.",
}
DOING = {
    "initial": "The first reference calculation is under way.",
    "label": "It waits for a reference calculation.",
    "calibrate": "It adjusts its error bars to the newest label.",
    "update": "It learns from the newest label.",
}


def put_in_words(standing: Standing) -> Verdict:
    """Return the verdict with its reasons in full sentences and an advice."""
    s, state = standing, standing.state
    why = s.stop_reason or "no reason was recorded"
    ended = [f"The run ended because {s.stop_reason}."] if s.stop_reason else []
    if state == "stopped":
        reasons = [f"The run ended before its time: {why}.", *_failures(s), *_audits(s)]
    elif state == "running":
        reasons = [_progress(s), *([DOING[s.phase]] if s.phase in DOING else []), *_audits(s)]
    else:
        reasons = [*_audits(s), *ended]
    if state == "needs more audits":
        reasons.append(
            "That the model stopped asking for labels is no proof of its accuracy: "
            "a model that is too sure of itself asks for nothing either."
        )
    return Verdict(
        state=state,
        headline=f"stopped: {why}" if state == "stopped" else state,
        reasons=tuple(reasons),
        advice=ADVICE[state],
        coverage=binomial_interval(s.n_within, s.n_audits)[0] if s.n_audits else None,
        confidence=0.95,
        n_audits=s.n_audits,
        n_failed=s.n_audits - s.n_within,
    )


def _plural(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"


def _audits(s: Standing) -> list[str]:
    if s.n_audits == 0:
        return [
            "The model in its present state was not audited yet. An audit is a reference "
            f"calculation at a random step; {s.min_audits} are needed.",
            *_earlier(s),
        ]
    low, high = binomial_interval(s.n_within, s.n_audits)
    verb = "was" if s.n_within == 1 else "were"
    sentences = [
        f"{s.n_within} of {_plural(s.n_audits, 'audit')} (reference calculations at random steps) "
        f"{verb} within the threshold: the energy of the whole cell was wrong by no more than "
        f"{energy_text(s.threshold)}.",
        f"This means that the model keeps the threshold in {percent(low)} to {percent(high)} "
        "of the steps under the conditions of this run (95 % confidence).",
    ]
    if not s.is_good:
        sentences[0] += (
            f" That is {100 * s.n_within / s.n_audits:.0f} %; at least "
            f"{100 * s.min_coverage:.0f} % are required."
        )
    if s.n_audits < s.min_audits:
        sentences.append(
            f"{s.min_audits - s.n_audits} of the {s.min_audits} required audits are missing."
        )
    return sentences + _earlier(s)


def _earlier(s: Standing) -> list[str]:
    """Audits of the weights before the last update: another model, but not without interest."""
    if s.n_audits_run <= s.n_audits:
        return []
    return [
        f"Over the whole run, while the model was still learning, {s.n_within_run} of "
        f"{_plural(s.n_audits_run, 'audit')} were within the threshold."
    ]


def _failures(s: Standing) -> list[str]:
    if not s.n_failures:
        return []
    last = f" The last one: {s.last_failure}." if s.last_failure else ""
    return [f"{_plural(s.n_failures, 'failure')} (label or MD) occurred.{last}"]


def _progress(s: Standing) -> str:
    if s.n_steps_total:
        share = 100 * s.n_steps / s.n_steps_total
        return f"{s.n_steps} of {s.n_steps_total} MD steps are done ({share:.0f} %)."
    return f"{s.n_steps} MD steps are done."
