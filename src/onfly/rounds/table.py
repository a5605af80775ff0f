"""The loop, once: what is done in each phase. Resident runs, jobs and tests go through this table.

```
start ─► label ─► judge ─┬─► learn ─► explore ─┬─► label …
            ▲            ├─► explore           ├─► explore
            └────────────┘ (failed, tried again)└─► close ─┬─► explore (closing block)
                                                          ├─► label (end of a relaxation)
                                                          ├─► learn
                                                          └─► refit ─► publish
```
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pymatgen.core import Molecule, Structure

from onfly.bayes.parallel import ChainPool
from onfly.rounds.close import after_explore, after_judge, close
from onfly.rounds.decisions import on_path
from onfly.rounds.explore import ExploreOptions, explore
from onfly.rounds.judge import Answer, judge_round
from onfly.rounds.learn import learn, refit
from onfly.rounds.path import explore_path
from onfly.rounds.start import start_run
from onfly.schemas import RunState
from onfly.schemas.posterior import Phase
from onfly.session import Session

__all__ = ["ENDS", "PHASES", "Round", "advance"]

# phases in which the loop has nothing to do: `publish` belongs to whoever has the stores
ENDS: tuple[Phase, ...] = ("publish", "done", "stopped")


@dataclass
class Round:
    """What the phases need besides the state.

    Parameters
    ----------
    session
        Of the process.
    structures
        Where the trajectories start, for phase ``start``.
    answers
        Returns the answers to what is due, for phase ``label``.
    n_workers, pool
        Processes for phase ``learn``.
    options
        Of the MD.
    """

    session: Session
    structures: Sequence[Structure | Molecule] = ()
    answers: Callable[[RunState], Sequence[Answer]] | None = None
    n_workers: int | None = None
    pool: ChainPool | None = None
    options: ExploreOptions = field(default_factory=ExploreOptions)


def _start(state: RunState, work: Round) -> RunState:
    state = start_run(work.session, state, work.structures)
    return state.evolve(n_waits=state.posterior.n_waits + 1)


def _label(state: RunState, work: Round) -> RunState:
    if work.answers is None:
        raise ValueError(f"run {state.run_id} waits for labels, which are not at hand here")
    before = state.posterior.n_waits
    state = judge_round(work.session, state, work.answers(state))
    # labels that failed are another wait
    return state.evolve(n_waits=before + 1) if state.phase == "label" else state


def _judge(state: RunState, work: Round) -> RunState:
    return after_judge(work.session, state)


def _learn(state: RunState, work: Round) -> RunState:
    return learn(work.session, state, n_workers=work.n_workers, pool=work.pool)


def _refit(state: RunState, work: Round) -> RunState:
    return refit(work.session, state, n_workers=work.n_workers, pool=work.pool)


def _explore(state: RunState, work: Round) -> RunState:
    if on_path(state):
        return after_explore(work.session, explore_path(work.session, state))
    moved = [
        explore(work.session, state.posterior, trajectory, work.options)
        for trajectory in state.trajectories
    ]
    return after_explore(work.session, state.with_trajectories(moved))


def _close(state: RunState, work: Round) -> RunState:
    return close(work.session, state)


PHASES: dict[Phase, Callable[[RunState, Round], RunState]] = {
    "start": _start,
    "label": _label,
    "judge": _judge,
    "learn": _learn,
    "explore": _explore,
    "close": _close,
    "refit": _refit,
}


def advance(
    state: RunState,
    work: Round,
    *,
    until: Sequence[Phase] = ENDS,
    written: Callable[[RunState], Any] | None = None,
) -> RunState:
    """Do one phase after the other.

    Parameters
    ----------
    state
        Of the run.
    work
        What the phases need.
    until
        Phases before which to stop.
    written
        Called with each new state, to write it before the next phase begins.
    """
    while state.phase not in until:
        state = PHASES[state.phase](state, work)
        if written is not None:
            written(state)
    return state
