"""Killed at random moments, a run ends with the same numbers, and pays for no label twice."""

from __future__ import annotations

import random

import pytest

from tests.faults.counted import calls
from tests.faults.numbers import numbers
from tests.faults.victim import Victim, again_and_again

KINDS = {"resident": ("resident", 1), "chained": ("chained", 1), "three": ("chained", 3)}
# of 200: 60 of each of these kinds, and 20 of a campaign (below)
KILLS, KILLS_A_RUN = 60, 6


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Return numbers, CPU seconds and calculations of runs that nobody killed."""
    found = {}

    def run(kind):
        if kind not in found:
            mode, walkers = KINDS[kind]
            victim = Victim(tmp_path_factory.mktemp("kills") / kind, mode, walkers)
            seconds = victim.finish()
            found[kind] = (numbers(victim.artifacts), seconds, set(calls(victim.calls_file)))
        return found[kind]

    return run


def killed_and_compared(home, kind, draw, kills, undisturbed):
    expected, seconds, configurations = undisturbed(kind)
    mode, walkers = KINDS[kind]
    victim = Victim(home, mode, walkers)
    # short enough to come back several times to one phase, long enough to get on
    again_and_again(victim, draw, kills, mean=0.4 * seconds)
    assert numbers(victim.artifacts) == expected
    paid = calls(victim.calls_file)
    assert set(paid) == configurations
    assert victim.paid_twice == []
    # a calculation whose label was not on disk yet when the process died is all that is repeated
    assert len(paid) - len(set(paid)) <= victim.kills
    return victim, len(paid), len(set(paid))


@pytest.mark.parametrize("kind", KINDS)
def test_two_kills(kind, undisturbed, tmp_path):
    victim, *_ = killed_and_compared(tmp_path / "v", kind, random.Random(kind), 2, undisturbed)
    assert victim.kills > 0


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", KINDS)
def test_sixty_kills(kind, undisturbed, tmp_path, record_property):
    draw = random.Random(f"sixty {kind}")
    kills = paid = configurations = runs = 0
    while kills < KILLS:
        home = tmp_path / str(runs)
        wanted = min(KILLS_A_RUN, KILLS - kills)
        victim, n_paid, n_known = killed_and_compared(home, kind, draw, wanted, undisturbed)
        kills, paid, configurations = (
            kills + victim.kills,
            paid + n_paid,
            configurations + n_known,
        )
        runs += 1
    message = f"{kind}: {kills} kills in {runs} runs, {paid} calculations of {configurations}"
    record_property("kills", message)
    print(message)  # noqa: T201
