"""What may be said about a model: four states, in plain words, read from the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from onfly.proof.block import Block, closing_block
from onfly.proof.ledger import Ledger
from onfly.proof.rule import ProofRule

__all__ = ["Verdict", "VerdictState", "judge"]

VerdictState = Literal["ready", "not accurate enough", "needs more audits", "stopped"]


class Verdict(BaseModel):
    """What the ledger proves.

    Examples
    --------
    >>> verdict = judge(Ledger(), ProofRule())
    >>> verdict.state, verdict.n_audits
    ('needs more audits', 0)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: VerdictState = Field(
        description="whether the model is ready, and if not, what is missing"
    )
    coverage: float | None = Field(
        None, description="share of the steps on which the tolerances hold, at least: proven"
    )
    confidence: float = Field(description="with which that is proven, for the whole run")
    n_audits: int = Field(0, description="judged in the latest closing block")
    n_failed: int = Field(0, description="of these")
    attempt: int | None = Field(None, description="number of that block, from 0; None without any")
    attempts_left: int = Field(0, description="closing blocks that may still begin")
    generation: int | None = Field(None, description="of the weights that the block tests")
    sentence: str = Field(description="the same in words, with the assumptions")


def judge(
    ledger: Ledger,
    rule: ProofRule,
    *,
    stopped: str | None = None,
    tolerances: Sequence[str] = (),
) -> Verdict:
    """Return the verdict.

    Parameters
    ----------
    ledger
        All labels of the run.
    rule
        What is to be proven. It must be the one with which the closing blocks were drawn.
    stopped
        Why the run was ended from outside; None while it goes on or if it came to its end. It does
        not undo a proof.
    tolerances
        Names of the tolerances that every closing audit must have been judged by; empty to take
        what the ledger holds.

    Returns
    -------
    Verdict
        With a sentence that says what is proven.

    Raises
    ------
    ValueError
        A closing audit was judged, but not by all of these tolerances, or does not fit the rule.

    Examples
    --------
    >>> judge(Ledger(), ProofRule(), stopped="3 failures").state
    'stopped'
    """
    _check_names(ledger, tolerances)
    block = closing_block(ledger, rule)
    begun = ledger.n_attempts
    left = max(rule.attempts - begun, 0)
    state = _state(ledger, block, left, stopped)
    proven = block.coverage if block is not None and state != "stopped" else None
    if state == "needs more audits":
        proven = None
    return Verdict(
        state=state,
        coverage=proven,
        confidence=rule.confidence,
        n_audits=block.n_audits if block else 0,
        n_failed=block.n_failed if block else 0,
        attempt=block.attempt if block else None,
        attempts_left=left,
        generation=block.generation if block else None,
        sentence=_sentence(ledger, rule, block, state, left, stopped, _names(ledger, tolerances)),
    )


def _state(ledger: Ledger, block: Block | None, left: int, stopped: str | None) -> VerdictState:
    if block is not None and block.state == "passed":
        return "ready"
    if stopped is not None:
        return "stopped"
    if block is None or block.state == "open":
        return "needs more audits"
    # The failed weights have been replaced and may be tested again: nothing is known of the new.
    if ledger.generation > block.generation and left:
        return "needs more audits"
    return "not accurate enough"


def _check_names(ledger: Ledger, tolerances: Sequence[str]) -> None:
    for entry in ledger.closing():
        missing = [name for name in tolerances if name not in entry.errors]
        if entry.errors and missing:
            raise ValueError(
                f"closing audit {entry.index} was not judged by the tolerance "
                f"{', '.join(map(repr, missing))}: all tolerances must be judged at every audit"
            )


def _names(ledger: Ledger, tolerances: Sequence[str]) -> tuple[str, ...]:
    found = dict.fromkeys(name for entry in ledger.closing() for name in entry.errors)
    return tuple(tolerances) or tuple(found)


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"


def _sentence(
    ledger: Ledger,
    rule: ProofRule,
    block: Block | None,
    state: VerdictState,
    left: int,
    stopped: str | None,
    names: tuple[str, ...],
) -> str:
    kept = "the tolerance" if len(names) < 2 else "all tolerances"
    kept += f" ({', '.join(names)})" if names else ""
    wanted = f"{_percent(rule.coverage)} of the steps, at a confidence of "
    wanted += _percent(rule.confidence)
    if block is None:
        counted = "No closing block has been audited."
    else:
        good = block.n_audits - block.n_failed
        counted = (
            f"{good} of {block.n_audits} audits of closing block {block.attempt + 1} kept {kept}."
        )
    if state == "ready":
        assert block is not None
        return _ready(ledger, rule, block, counted, len(names) > 1)
    if state == "stopped":
        return f"Stopped: {stopped} {counted} Nothing is proven."
    if state == "not accurate enough":
        assert block is not None
        allowed = f"{rule.failures} may fail" if rule.failures else "none may fail"
        then = (
            f"The run may learn and try again: {left} more closing blocks are allowed."
            if left
            else "No further closing block is allowed."
        )
        return (
            f"Not accurate enough: {counted} To prove {wanted}, {allowed}. A label that could not "
            f"be computed counts as a failure. {then}"
        )
    if block is None or block.state == "failed":
        number = ledger.n_attempts
        size = rule.looks(number)[0].n
        new = "" if block is None else " The weights have changed since and are not tested yet."
        return (
            f"Needs more audits: {counted}{new} To prove {wanted}, closing block {number + 1} "
            f"begins with {size} audits."
        )
    return f"Needs more audits: {counted} {block.due} more are due at this look, to prove {wanted}."


def _ready(ledger: Ledger, rule: ProofRule, block: Block, counted: str, several: bool) -> str:
    kept = "them" if several else "it"
    newer = (
        f" This holds for the weights of generation {block.generation}, not for those that were "
        f"learned later (generation {ledger.generation})."
        if ledger.generation > block.generation
        else ""
    )
    return (
        f"Ready: {counted} This proves, at a confidence of {_percent(rule.confidence)}, that the "
        f"model keeps {kept} in at least {_percent(rule.coverage)} of the steps of that block."
        f"{newer} "
        "The audited steps were drawn at random from the whole block, their number was fixed "
        "before, and nothing was learned in the block; errors may be correlated from step to step. "
        "The confidence is that of the whole run with all its closing blocks. For other MD this "
        "holds as far as it visits the same states as often as the block did: same composition, "
        "phase, temperature and pressure."
    )
