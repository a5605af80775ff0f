"""Where a closing block stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from onfly.proof.intervals import coverage_proven
from onfly.proof.ledger import Ledger
from onfly.proof.looks import Look, lower_bound
from onfly.proof.records import LedgerEntry
from onfly.proof.rule import ProofRule

__all__ = ["Block", "closing_block"]


@dataclass(frozen=True)
class Block:
    """A closing block, read from the ledger.

    Attributes
    ----------
    attempt
        Number of the block, from 0.
    generation
        Of the weights that it tests.
    looks
        As planned before it began.
    look
        The look that it is at, or at which it was decided.
    n_audits, n_failed
        Audits that were judged, up to and including that look.
    state
        ``"open"`` while audits are missing, else ``"passed"`` or ``"failed"``. A block is lost as
        soon as more audits failed than the whole block may have: the rest need not be labelled.
    due
        Audits of the present look that are still missing; 0 once the block is decided.
    coverage
        Proven by the block at its share of the error probability (`ProofRule.alpha`); None while
        it is open, or if it was lost before its first look was complete.

    Examples
    --------
    >>> rule = ProofRule(failures=0, attempts=1, spend=1)
    >>> block = Block(attempt=0, generation=4, looks=rule.looks(0), look=0, n_audits=29, n_failed=0,
    ...               state="passed", due=0, coverage=0.9019)
    >>> block.looks
    (Look(n=29, failures=0),)
    """

    attempt: int
    generation: int
    looks: tuple[Look, ...]
    look: int
    n_audits: int
    n_failed: int
    state: Literal["open", "passed", "failed"]
    due: int
    coverage: float | None


def closing_block(ledger: Ledger, rule: ProofRule, attempt: int | None = None) -> Block | None:
    """Return a closing block of the ledger, the latest if `attempt` is None; None without any.

    Parameters
    ----------
    ledger
        Of the run.
    rule
        The one that the block was drawn by.
    attempt
        Number of the block, from 0.

    Returns
    -------
    Block or None
        None without any.

    Raises
    ------
    ValueError
        The block has audits that were not planned.

    Examples
    --------
    >>> closing_block(Ledger(), ProofRule()) is None
    True
    """
    number = ledger.n_attempts - 1 if attempt is None else attempt
    entries = ledger.closing(number)
    if not entries:
        return None
    looks = rule.looks(number)
    if max(entry.look for entry in entries) >= len(looks):
        raise ValueError(
            f"closing block {number} has {len(looks)} looks, but its audits belong to look "
            f"{max(entry.look for entry in entries)}: was the proof rule changed during the block?"
        )
    generation = entries[0].generation
    seen = failed = 0
    for k, look in enumerate(looks):
        planned = look.n - (looks[k - 1].n if k else 0)
        found = [entry for entry in entries if entry.look == k]
        if len(found) > planned:
            raise ValueError(
                f"look {k} of closing block {number} has {len(found)} audits, but {planned} were "
                "planned: was the proof rule changed during the block?"
            )
        seen += len(found)
        failed += sum(not entry.within() for entry in found)
        if failed > rule.failures:
            # a first look of the planned size is a fixed sample; a part of one is not
            proven = _first_look(entries, looks, rule.alpha(number))
            return Block(number, generation, looks, k, seen, failed, "failed", 0, proven)
        if len(found) < planned:
            due = planned - len(found)
            return Block(number, generation, looks, k, seen, failed, "open", due, None)
        if failed <= look.failures:
            proven = lower_bound(looks, k, rule.alpha(number))
            return Block(number, generation, looks, k, seen, failed, "passed", 0, proven)
    raise AssertionError("the last look decides")  # it allows as many failures as the block


def _first_look(
    entries: tuple[LedgerEntry, ...], looks: tuple[Look, ...], alpha: float
) -> float | None:
    """Return what the first look proves on its own, None unless it is complete."""
    first = [entry for entry in entries if entry.look == 0]
    if len(first) < looks[0].n:
        return None
    return coverage_proven(len(first), sum(not entry.within() for entry in first), 1 - alpha)
