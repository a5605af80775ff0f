from __future__ import annotations

import functools

import numpy as np
import pytest
from ase.build import bulk

from onfly.bayes import LastLayerPosterior, LikelihoodScales, SGHMCPosterior
from onfly.dynamics.member import MemberPredictor
from onfly.dynamics.predictor import Predictor
from onfly.learning import potential_target
from onfly.potentials import load_foundation

SCALES = LikelihoodScales(energy_std=0.01)
ALLOY = ["Au", "Cu"]


def crystal(seed, scale=0.1):
    atoms = bulk("Cu", cubic=True)
    atoms.symbols[:2] = "Au"
    atoms.rattle(scale, seed=seed)
    return atoms


@pytest.fixture(scope="module")
def potential():
    return load_foundation("toy", elements=ALLOY)


def learned(posterior, potential):
    """A posterior that has learned what another toy potential says of three crystals."""
    frames = [crystal(seed) for seed in range(3)]
    teacher = load_foundation("toy-1", elements=ALLOY)
    labels = [
        teacher.evaluate(teacher.parameters(), teacher.collate([teacher.graph(a)]), stress=True)
        for a in frames
    ]
    factory = functools.partial(
        potential_target, "toy", frames,
        [float(label.energy) for label in labels], [label.forces.numpy() for label in labels],
        [label.stress[0].numpy() for label in labels], SCALES, elements=tuple(ALLOY),
    )  # fmt: skip
    state = posterior.initial(potential, ("predictor",))
    return posterior.update(state, factory, seed_key=("predictor",), generation=1)[0]


LAST_LAYER = LastLayerPosterior(n_steps=40, step_size=1e-2)
SGHMC = SGHMCPosterior(n_members=3, n_steps=30, step_size=1e-2)


@pytest.fixture(scope="module", params=[LAST_LAYER, SGHMC], ids=["last layer", "sghmc"])
def predictor(request, potential):
    return Predictor(potential, request.param, learned(request.param, potential), SCALES)


def test_every_component_has_a_std_of_its_own(predictor):
    found = predictor.predict(crystal(9), forces_std=True)
    assert found.forces_std.shape == (4, 3)
    assert found.stress_std.shape == (3, 3)
    assert len(np.unique(found.forces_std)) == 12
    assert (found.forces_std > 0).all()
    assert (found.stress_std >= SCALES.stress_std).all()
    np.testing.assert_allclose(found.stress_std, found.stress_std.T, rtol=1e-6)


def test_asking_for_the_std_changes_nothing_else(predictor):
    plain = predictor.predict(crystal(9))
    asked = predictor.predict(crystal(9), forces_std=True)
    assert plain.forces_std is None
    assert plain.stress_std is None
    assert plain.energy_std == asked.energy_std
    np.testing.assert_allclose(plain.forces, asked.forces, atol=1e-12)
    assert predictor.predict(crystal(9), forces_std=True, stress=False).stress_std is None


def test_an_atom_out_of_place_is_less_certain(predictor):
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.symbols[:] = ["Au", "Au", "Cu", "Cu"] * 2
    before = predictor.predict(atoms, forces_std=True).forces_std
    atoms.positions[0] += [0.5, 0.3, 0.1]
    after = predictor.predict(atoms, forces_std=True).forces_std
    growth = np.linalg.norm(after, axis=1) - np.linalg.norm(before, axis=1)
    assert growth[0] > 0.0


def test_a_member_is_less_certain_than_the_mean(potential):
    state = learned(SGHMC, potential)
    mean = Predictor(potential, SGHMC, state, SCALES).predict(crystal(9), forces_std=True)
    member = MemberPredictor(potential, SGHMC, state, SCALES, member=1, interval=5)
    found = member.predict(crystal(9), forces_std=True, step=10)
    distance = found.forces - mean.forces
    np.testing.assert_allclose(found.forces_std, np.hypot(mean.forces_std, distance), rtol=1e-6)
    tension = found.stress - mean.stress
    np.testing.assert_allclose(found.stress_std, np.hypot(mean.stress_std, tension), rtol=1e-6)
    unwatched = member.predict(crystal(9), forces_std=True, step=11)
    assert unwatched.forces_std is None
    assert not unwatched.watched


def test_before_the_first_update_forces_have_no_spread(potential):
    state = LAST_LAYER.initial(potential, ("predictor",))
    found = Predictor(potential, LAST_LAYER, state, SCALES).predict(crystal(0), forces_std=True)
    assert np.array_equal(found.forces_std, np.zeros((4, 3)))
    np.testing.assert_allclose(found.stress_std, SCALES.stress_std)
