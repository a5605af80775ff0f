"""A small crystal, an ensemble of the toy potential, and a driver around both."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase.build import bulk

from onfly.bayes.likelihood import LikelihoodScales
from onfly.bayes.posterior import PosteriorState, posterior_from_dict
from onfly.dynamics.criteria import Calibrations, EnergyCriterion
from onfly.dynamics.driver import MDDriver
from onfly.dynamics.predictor import Predictor
from onfly.dynamics.state import MDState, draw_momenta
from onfly.potentials import load_foundation


def perturbed(params, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    return {
        k: v + scale * torch.randn(v.shape, generator=generator, dtype=v.dtype)
        for k, v in params.items()
    }


@pytest.fixture(scope="session")
def atoms():
    crystal = bulk("Cu", cubic=True)
    crystal.rattle(0.02, seed=1)
    return crystal


@pytest.fixture(scope="session")
def make_predictor(atoms):
    potential = load_foundation("toy", elements=["Cu"])
    posterior = posterior_from_dict({"kind": "sghmc", "n_members": 2, "n_steps": 10})

    def build(spread=1e-3):
        initial = posterior.initial(potential, ("test",))
        members = tuple(perturbed(m, spread, seed=c) for c, m in enumerate(initial.members))
        state = PosteriorState(initial.kind, members)
        scales = LikelihoodScales(energy_std=1e-4)
        return Predictor(potential, posterior, state, scales, strategy="sequential")

    return build


@pytest.fixture
def initial_state(atoms, make_predictor):
    prediction = make_predictor().predict(atoms, stress=True)
    return MDState(
        numbers=atoms.numbers,
        pbc=atoms.pbc,
        positions=atoms.positions,
        momenta=draw_momenta(atoms, 300.0, ("test", "velocities")),
        cell=atoms.cell.array,
        step=0,
        energy=prediction.energy,
        forces=prediction.forces,
        stress=prediction.stress,
        source="model",
    )


@pytest.fixture
def make_driver(make_predictor):
    def build(stages, *, threshold=1e6, predictor=None, **options):
        return MDDriver(
            predictor or make_predictor(),
            stages,
            EnergyCriterion(threshold),
            Calibrations(),
            ("test",),
            time_step=options.pop("time_step", 2.0),
            **options,
        )

    return build


def run(driver, state, n_steps):
    events = []
    for _ in range(n_steps):
        state, event = driver.step(state)
        events.append(event)
    return state, events


def same(a, b):
    left, right = a.to_arrays(), b.to_arrays()
    return left.keys() == right.keys() and all(np.array_equal(left[k], right[k]) for k in left)
