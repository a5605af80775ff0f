"""May I use this model? What the ledger proves, in sentences, with what to do next."""

from __future__ import annotations

import re

import numpy as np

from onfly.proof import Verdict as Proof
from onfly.report.records import Verdict
from onfly.rounds.decisions import searching
from onfly.schemas import RunState
from onfly.units import EV_PER_KCAL_MOL

__all__ = ["describe", "energy_text", "percent"]


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
    "not accurate enough": "Continue the run with longer stages, in which it can ask where the MD "
    "leads (nothing is asked in a closing block), or allow a larger tolerance.",
    "needs more audits": "Continue the run until a closing block is audited. That the model "
    "stopped asking for labels is no proof of its accuracy: a model that is too sure of itself "
    "asks for nothing either.",
}
# of a relaxation or a path, where they differ
SEARCH_ADVICE = {
    "ready": "You may use the configurations at the end and their energies: they are labelled. The "
    "model is proven there and nowhere else.",
    "not accurate enough": "Allow more `decisions`, a larger tolerance or a larger `fmax`, and "
    "resume the run: all labels are kept.",
    "needs more audits": "Continue the run until the configurations at the end are labelled and "
    "the labels agree.",
}
DOING = {
    "start": "It prepares its ensemble and the first configurations.",
    "label": "It waits for reference calculations.",
    "judge": "It judges the newest labels.",
    "learn": "It learns from the newest labels.",
    "refit": "It is ready, and fits its labels once more, those of the proof among them.",
    "publish": "Its model is being published.",
}


def describe(run: RunState, proof: Proof, n_steps: int | None = None) -> Verdict:
    """Return what is proven of a run for its page.

    Parameters
    ----------
    run
        Its state.
    proof
        What its ledger proves, or its published model says.
    n_steps
        MD steps so far, where they are ahead of the state.
    """
    going_on = run.phase not in ("done", "stopped")
    state = "running" if going_on else proof.state
    reason = run.posterior.stop_reason
    # the sentence of the proof, one point for each of its sentences
    proven = re.split(r"(?<=\.) (?=[A-Z\d])", proof.sentence)
    if going_on:
        reasons = [_progress(run, n_steps), _doing(run), *proven]
    else:
        reasons = proven
        if reason and state != "stopped":
            reasons.append(f"The run ended: {reason}.")
    if run.n_failures:
        noun = "failure" if run.n_failures == 1 else "failures"
        last = f" The last one: {run.failures[-1]}." if run.failures else ""
        reasons.append(f"{run.n_failures} {noun} (label or MD) occurred.{last}")
    return Verdict(
        state=state,
        headline=f"stopped: {reason or 'no reason was recorded'}" if state == "stopped" else state,
        reasons=tuple(filter(None, reasons)),
        advice=SEARCH_ADVICE.get(state, ADVICE[state]) if searching(run) else ADVICE[state],
        coverage=None if going_on else proof.coverage,
        confidence=proof.confidence,
        n_audits=proof.n_audits,
        n_failed=proof.n_failed,
    )


def _progress(run: RunState, n_steps: int | None) -> str:
    done = run.md_step if n_steps is None else n_steps
    if total := run.n_steps_total:
        return f"{done} of {total} MD steps are done ({100 * min(done / total, 1):.0f} %)."
    return f"{done} MD steps are done."


def _doing(run: RunState) -> str:
    if run.phase == "explore" and run.posterior.attempt is not None:
        return f"Closing block {run.posterior.attempt + 1} is under way."
    return DOING.get(run.phase, "")
