"""A posterior and a potential of another package carry a whole run."""

from __future__ import annotations

from onfly.jobs.resident import run_loop
from onfly.labels.presets import label_maker
from onfly.rounds.new import new_run
from onfly.session import Session

POSTERIOR = '''
"""The pretrained weights with an error bar of one width, whatever the labels say."""

from dataclasses import dataclass
from typing import ClassVar

from onfly.bayes.posterior import Posterior, PosteriorState, UpdateInfo


@dataclass(frozen=True)
class OneWidth(Posterior):
    kind: ClassVar[str] = "one_width"
    width: float = 0.02

    def initial(self, potential, seed_key):
        return PosteriorState(self.kind, (dict(potential.parameters()),))

    def update(self, state, target_factory, **options):
        return state, UpdateInfo((), 0.0)

    def energy_moments(self, state, energies, features):
        mean = energies.double().mean(0)
        return mean, mean * 0 + self.width**2
'''

POTENTIAL = '''
"""The toy potential under another name, and with another start."""

from onfly.potentials import toy


def matches(name):
    return name == "my-copper"


def load(name, elements=None, device="cpu", dtype=None):
    return toy.load("toy-3", elements=elements, device=device, dtype=dtype)
'''


def finished(spec, structure):
    state = new_run(spec, structure, run_id="outside")
    return run_loop(state, [structure], label_maker("emt"))


def test_a_posterior_by_entry_point(install, spec, structure):
    install("posterior_plugin", POSTERIOR, posteriors="one_width = posterior_plugin:OneWidth")
    kind = {"kind": "one_width", "width": 0.03}
    state = finished(spec(posterior=kind, audit_interval=2), structure)
    assert state.phase == "publish"
    ensemble = state.posterior.ensemble
    assert (ensemble.posterior, ensemble.settings["width"]) == ("one_width", 0.03)
    audits = Session().open(state.posterior).ledger().audits
    scale = state.posterior.energy_std
    assert audits
    assert all(abs(e.std - (0.03**2 + scale**2) ** 0.5) < 1e-9 for e in audits)


def test_a_potential_by_entry_point(install, spec, structure):
    install("potential_plugin", POTENTIAL, potentials="my-copper = potential_plugin")
    state = finished(spec(foundation_model="my-copper"), structure)
    assert state.phase == "publish"
    run = Session().open(state.posterior)
    assert run.potential.name == "my-copper"
    assert run.ledger().entries[0].foundation_error is not None
