"""What the labels at the end of a relaxation or a path prove: they decide by themselves.

A relaxation ends in one configuration, a path in three: two minima and the saddle between them.
These are labelled. Nothing is drawn at random and nothing is estimated, so there is no coverage:
the labels say what is true of these configurations, and nothing of others.
"""

from __future__ import annotations

from dataclasses import dataclass

from onfly.proof.ledger import Ledger
from onfly.proof.records import LedgerEntry
from onfly.proof.verdict import Verdict, VerdictState

__all__ = [
    "ENDS",
    "FMAX",
    "DecisionRule",
    "deciding",
    "judge_decisions",
    "n_decisions",
    "refuting",
    "saddle_of",
]

# names among the errors of a deciding label: its largest force over the one that is asked for, and
# the error of the present weights at ends of a path that were labelled in an earlier round
FMAX, ENDS = "fmax", "ends"


@dataclass(frozen=True)
class DecisionRule:
    """What is to be decided.

    Parameters
    ----------
    path
        Whether the run looks for a path; otherwise each trajectory is a relaxation.
    n_trajectories
        Relaxations, or images of the path with its ends.
    fmax
        Largest force that is asked for, in eV/Å.
    decisions
        Rounds of deciding labels that are allowed.

    Examples
    --------
    >>> DecisionRule(path=False, n_trajectories=1, fmax=0.02, decisions=10).fmax
    0.02
    """

    path: bool
    n_trajectories: int
    fmax: float
    decisions: int

    @property
    def n_deciding(self) -> int:
        """Configurations whose labels decide: of a path both ends and the saddle."""
        return 3 if self.path else self.n_trajectories


def n_decisions(ledger: Ledger) -> int:
    """Return how many rounds of deciding labels there were: each is followed by learning."""
    return len({entry.generation for entry in ledger.of("deciding")})


def deciding(ledger: Ledger, rule: DecisionRule) -> list[LedgerEntry]:
    """Return the labels that decide: the latest of each relaxation, or of both ends and the saddle.

    Those that are not there yet are left out.
    """
    latest: dict[int, LedgerEntry] = {e.trajectory: e for e in ledger.of("deciding")}
    if not rule.path:
        return [latest[k] for k in sorted(latest)]
    last = rule.n_trajectories - 1
    saddles = [e for e in ledger.of("deciding") if 0 < e.trajectory < last]
    found = [latest.get(0), saddles[-1] if saddles else None, latest.get(last)]
    return [entry for entry in found if entry is not None]


def refuting(ledger: Ledger, rule: DecisionRule) -> list[LedgerEntry]:
    """Return the labels that speak against the end.

    Of a path these may be other images, whose labels came with that of the saddle because the
    criterion asked for them: where the model was wrong there, its path is not to be trusted.
    """
    found = [entry for entry in deciding(ledger, rule) if not entry.within()]
    saddle = saddle_of(ledger, rule)
    if saddle is not None:
        found += [
            e
            for e in ledger.of("uncertain")
            if 0 < e.trajectory < rule.n_trajectories - 1
            and e.generation == saddle.generation
            and not e.within()
        ]
    return found


def saddle_of(ledger: Ledger, rule: DecisionRule) -> LedgerEntry | None:
    """Return the label that decides of the saddle of a path, or None."""
    if not rule.path:
        return None
    inner = [e for e in deciding(ledger, rule) if 0 < e.trajectory < rule.n_trajectories - 1]
    return inner[0] if inner else None


def judge_decisions(ledger: Ledger, rule: DecisionRule, *, stopped: str | None = None) -> Verdict:
    """Return the verdict on a run that relaxes or looks for a path.

    Parameters
    ----------
    ledger
        All labels of the run.
    rule
        What is to be decided.
    stopped
        Why the run was ended from outside; None while it goes on or if it came to its end.

    Returns
    -------
    Verdict
        With a sentence that says what the labels decided.

    Examples
    --------
    >>> from onfly.proof import LedgerEntry
    >>> rule = DecisionRule(path=False, n_trajectories=1, fmax=0.02, decisions=10)
    >>> entry = LedgerEntry(index=0, trajectory=0, step=12, reason="deciding", generation=1,
    ...                     label="5f1c", errors={"energy": 0.1, "fmax": 0.9}, error=0.002)
    >>> judge_decisions(Ledger().append(entry), rule).state
    'ready'
    """
    found = deciding(ledger, rule)
    wanted = rule.n_deciding
    against = refuting(ledger, rule)
    left = max(rule.decisions - n_decisions(ledger), 0)
    state: VerdictState
    if len(found) == wanted and not against:
        state = "ready"
    elif stopped is not None:
        state = "stopped"
    else:
        state = "needs more audits" if left or len(found) < wanted else "not accurate enough"
    return Verdict(
        state=state,
        coverage=None,
        confidence=1.0,
        n_audits=len(found),
        n_failed=len(against),
        attempts_left=left,
        generation=max((e.generation for e in found), default=None),
        sentence=_sentence(state, found, against, rule, wanted, left, stopped),
    )


def _sentence(
    state: VerdictState,
    found: list[LedgerEntry],
    against: list[LedgerEntry],
    rule: DecisionRule,
    wanted: int,
    left: int,
    stopped: str | None,
) -> str:
    if rule.path:
        what = "both ends of the path and its saddle are"
    elif wanted == 1:
        what = "the relaxed configuration is"
    else:
        what = f"all {wanted} relaxed configurations are"
    if state == "ready":
        return (
            f"Ready: {what} labelled. {_facts(found, rule)} The labels prove "
            "this of these configurations; nothing is proven of others."
        )
    if state == "stopped":
        return f"Stopped: {stopped} {_facts(found, rule)} Nothing is proven."
    if len(found) < wanted:
        return (
            f"Needs more audits: {len(found)} of {wanted} configurations that decide are labelled."
        )
    then = f"{left} more rounds are allowed." if left else "No further round is allowed."
    word = "Not accurate enough" if state == "not accurate enough" else "Needs more audits"
    return f"{word}: {_facts([*found, *against], rule)} {then}"


def _facts(entries: list[LedgerEntry], rule: DecisionRule) -> str:
    """Return the errors and forces of labels in words."""
    if not entries:
        return "No configuration that decides is labelled."
    errors = [abs(e.error) for e in entries if e.error is not None]
    names = sorted({n for e in entries for n in e.errors if n not in (FMAX, ENDS)})
    kept = all(e.errors.get(n, 2.0) <= 1 for e in entries for n in names)
    tolerances = f"{', '.join(names)} {'kept' if kept else 'not kept'}"
    energy = f"The model's energy is off by {1000 * max(errors):.3g} meV" if errors else ""
    forces = [rule.fmax * e.errors[FMAX] for e in entries if FMAX in e.errors]
    force = (
        f"; the labeller's largest force is {max(forces):.3g} eV/Å, asked for were "
        f"{rule.fmax:g} eV/Å" if forces else ""
    )  # fmt: skip
    return f"{energy} (tolerance of {tolerances}){force}."
