"""A criterion of another package asks for labels beside the tolerances."""

from __future__ import annotations

import pytest

from onfly.jobs.resident import run_loop
from onfly.labels.presets import label_maker
from onfly.rounds.new import new_run
from onfly.session import Session

HOT = '''
"""Ask where an atom is pulled harder than a limit."""

from dataclasses import dataclass

import numpy as np

from onfly.dynamics.criteria import Assessment


@dataclass(frozen=True)
class HardPull:
    limit: float

    needs_forces_std = False

    def assess(self, prediction, calibration):
        largest = float(np.linalg.norm(prediction.forces, axis=1).max())
        exceeded = largest > self.limit
        return Assessment(exceeded, float(exceeded), exceeded, "pull")


no_criterion = dict
'''


@pytest.fixture
def plugin(install):
    install("criterion_plugin", HOT, criteria="pull = criterion_plugin:HardPull\n"
            "broken = criterion_plugin:no_criterion")  # fmt: skip


def run(spec, structure, **settings):
    state = new_run(spec(**settings), structure, run_id="r")
    return run_loop(state, [structure], label_maker("emt"))


def test_it_asks_in_a_run(plugin, spec, structure):
    state = run(spec, structure, criteria=[{"kind": "pull", "limit": 1e-6}])
    entries = Session().open(state.posterior).ledger().entries
    assert [entry.reason for entry in entries[1:]] == ["uncertain"] * 8
    # the tolerances are what is judged
    assert set(entries[1].errors) == {"energy"}


def test_it_stays_silent_where_it_has_nothing_to_say(plugin, spec, structure):
    state = run(spec, structure, criteria=[{"kind": "pull", "limit": 1e6}])
    assert state.posterior.n_calls == 0


def test_a_closing_block_only_watches(plugin, spec, structure):
    proof = {"coverage": 0.5, "attempts": 1, "steps": 6}
    state = run(spec, structure, criteria=[{"kind": "pull", "limit": 1e-6}], proof=proof)
    assert state.posterior.stop_reason.startswith("closing block 1 passed")


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ("tug", ValueError, r"unknown criterion 'tug' \(broken, pull\)"),
        ({"kind": "pull"}, ValueError, "criterion 'pull': .*limit"),
        ({"kind": "pull", "limit": 1.0, "colour": 2}, ValueError, "colour"),
        ("broken", TypeError, "needs needs_forces_std and assess"),
    ],
)
def test_what_is_impossible_is_refused_before_any_work(
    plugin, spec, structure, given, error, words
):
    with pytest.raises(error, match=words):
        new_run(spec(criteria=[given]), structure)


def test_a_name_that_is_not_installed_says_so(spec, structure):
    with pytest.raises(ValueError, match="none is installed"):
        new_run(spec(criteria=["pull"]), structure)
