"""A strained cell is called before its stress is wrong by more than the tolerance.

The student has learned crystals of one volume with energies, forces and stresses of a teacher, and
was calibrated on others of that volume. Then the cell is strained: point by point along an equation
of state, and by MD at constant pressure.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import pytest
from ase.build import bulk

from onfly.bayes import (
    Calibration,
    LastLayerPosterior,
    LikelihoodScales,
    PosteriorState,
    StressCalibration,
)
from onfly.dynamics.criteria import Calibrations, EnergyCriterion, StressCriterion
from onfly.dynamics.driver import LabelRequest, MDDriver, Moved
from onfly.dynamics.predictor import Predictor
from onfly.dynamics.stages import MDStage
from onfly.dynamics.state import MDState, draw_momenta
from onfly.learning import potential_target
from onfly.potentials import Potential, load_foundation
from onfly.units import KBAR

ALLOY = ["Au", "Cu"]
SCALES = LikelihoodScales(energy_std=0.005, force_std_base=0.01, stress_std=5e-4)
STRESS, ENERGY = StressCriterion(2.0 * KBAR), EnergyCriterion(0.05)


def crystal(seed, strain=0.0):
    atoms = bulk("Cu", cubic=True)
    atoms.symbols[:2] = "Au"
    atoms.rattle(0.05, seed=seed)
    atoms.set_cell(atoms.cell.array * (1.0 + strain), scale_atoms=True)
    return atoms


@dataclass
class Case:
    teacher: Potential
    student: Potential
    posterior: LastLayerPosterior
    state: PosteriorState
    calibrations: Calibrations

    @property
    def predictor(self):
        return Predictor(self.student, self.posterior, self.state, SCALES)

    def error(self, prediction, atoms):
        """Largest error of a component in units of the tolerance."""
        difference = prediction.stress - truth(self.teacher, atoms)[2]
        return float(np.abs(difference).max()) / STRESS.threshold


def truth(teacher, atoms):
    batch = teacher.collate([teacher.graph(atoms)])
    found = teacher.evaluate(teacher.parameters(), batch, stress=True)
    return float(found.energy[0]), found.forces.numpy(), found.stress[0].numpy()


@pytest.fixture(scope="module")
def case():
    teacher = load_foundation("toy-1", elements=ALLOY)
    student = load_foundation("toy", elements=ALLOY)
    frames = [crystal(seed) for seed in range(6)]
    energies, forces, stresses = zip(*(truth(teacher, atoms) for atoms in frames), strict=True)
    factory = functools.partial(
        potential_target, "toy", frames, energies, forces, stresses, SCALES, elements=tuple(ALLOY)
    )
    posterior = LastLayerPosterior(n_steps=300, step_size=1e-2)
    start = posterior.initial(student, ("strain",))
    state, _ = posterior.update(start, factory, seed_key=("strain",), generation=1)
    found = Case(teacher, student, posterior, state, Calibrations())
    energy, stress = Calibration(rate=1.5), StressCalibration(rate=1.5)
    for seed in range(20, 30):
        atoms = crystal(seed)
        prediction = found.predictor.predict(atoms, forces_std=True)
        true_energy, _, true_stress = truth(teacher, atoms)
        energy = energy.update(prediction.energy - true_energy, prediction.energy_std)
        stress = stress.update(prediction.stress - true_stress, prediction.stress_std)
    found.calibrations = Calibrations(energy=energy, stress=stress)
    return found


@pytest.mark.parametrize("seed", [50, 51, 52])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_along_an_equation_of_state(case, seed, sign):
    strains = sign * np.linspace(0.0, 0.12, 25)
    frames = [crystal(seed, strain) for strain in strains]
    found = [case.predictor.predict(atoms, forces_std=True) for atoms in frames]
    errors = [case.error(p, atoms) for p, atoms in zip(found, frames, strict=True)]
    called = [STRESS.assess(p, case.calibrations).fires for p in found]
    first = called.index(True)
    assert first > 0  # the volume that was learned is not called
    assert max(errors[:first]) < 1.0  # nor was anything missed before the call
    assert max(errors) > 1.0  # although there was something to miss
    assert all(called[first:])
    # the energy alone lets the strain grow until the stress is wrong
    blind = [ENERGY.assess(p, case.calibrations).fires for p in found]
    assert any(e > 1.0 and not b for e, b in zip(errors, blind, strict=True))


def moved(case, criterion, n_steps):
    """Return the true errors of accepted steps of MD under tension, and the last event."""
    atoms = crystal(60)
    prediction = case.predictor.predict(atoms)
    state = MDState(
        numbers=atoms.numbers, pbc=atoms.pbc, positions=atoms.positions,
        momenta=draw_momenta(atoms, 100.0, ("strain",)), cell=atoms.cell.array, step=0,
        energy=prediction.energy, forces=prediction.forces, stress=prediction.stress,
        source="model",
    )  # fmt: skip
    pressure = float(-np.trace(prediction.stress) / 3.0 / KBAR) - 100.0
    stage = MDStage(n_steps, temperature=100.0, pressure=pressure, ensemble="npt")
    driver = MDDriver(
        case.predictor, [stage], criterion, case.calibrations, ("strain",), time_step=2.0
    )
    errors = []
    for _ in range(n_steps):
        state, event = driver.step(state)
        if not isinstance(event, Moved):
            break
        errors.append(case.error(case.predictor.predict(state.to_atoms()), state.to_atoms()))
    return errors, event


def test_in_md_at_constant_pressure(case):
    errors, event = moved(case, STRESS, 400)
    assert isinstance(event, LabelRequest)
    assert (event.reason, event.assessment.quantity) == ("uncertain", "stress")
    assert event.prediction.stress_std is not None
    assert len(errors) > 0
    assert max(errors) < 1.0
    blind, _ = moved(case, ENERGY, 400)
    assert max(blind) > 1.0
