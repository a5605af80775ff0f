"""The std of forces is computed at few steps, and the same calls follow as if it were at all."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk

from onfly.bayes import LastLayerPosterior, LikelihoodScales, SGHMCPosterior
from onfly.dynamics.criteria import (
    AnyOf,
    Calibrations,
    EnergyCriterion,
    ForceCriterion,
    StressCriterion,
)
from onfly.dynamics.driver import LabelRequest, MDDriver, Moved
from onfly.dynamics.predictor import Predictor, StepPrediction
from onfly.dynamics.screen import GROWTH, LONGEST, MomentScreen
from onfly.dynamics.stages import MDStage
from onfly.dynamics.state import MDState, draw_momenta
from onfly.learning import potential_target
from onfly.potentials import load_foundation
from tests.dynamics.conftest import same

SCALES = LikelihoodScales(energy_std=0.01)
CALIBRATIONS = Calibrations()
SOLID = tuple(12 * [29])
N_STEPS = 60


def crystal(seed):
    atoms = bulk("Cu", cubic=True) * (3, 1, 1)
    atoms.rattle(0.1, seed=seed)
    return atoms


class Counted(Predictor):
    """Counts how often the std is computed."""

    n_spreads = 0

    def _spread(self, *args):
        self.n_spreads += 1
        return super()._spread(*args)


@pytest.fixture(scope="module", params=["last layer", "sghmc"])
def make(request):
    student, teacher = (load_foundation(name, elements=["Cu"]) for name in ("toy", "toy-1"))
    frames = [crystal(seed) for seed in range(3)]
    labels = [
        teacher.evaluate(teacher.parameters(), teacher.collate([teacher.graph(a)]), stress=True)
        for a in frames
    ]
    factory = functools.partial(
        potential_target, "toy", frames,
        [float(label.energy) for label in labels], [label.forces.numpy() for label in labels],
        [label.stress[0].numpy() for label in labels], SCALES, elements=("Cu",),
    )  # fmt: skip
    posterior = (
        LastLayerPosterior(n_steps=40, step_size=1e-2)
        if request.param == "last layer"
        else SGHMCPosterior(n_members=3, n_steps=30, step_size=1e-2)
    )
    start = posterior.initial(student, ("screen",))
    learned = posterior.update(start, factory, seed_key=("screen",), generation=1)[0]

    def build(screened=True):
        found = Counted(student, posterior, learned, SCALES, "sequential")
        found.can_screen = screened
        return found

    return build


def start(predictor, temperature=600.0):
    atoms = crystal(7)
    prediction = predictor.predict(atoms)
    return MDState(
        numbers=atoms.numbers, pbc=atoms.pbc, positions=atoms.positions,
        momenta=draw_momenta(atoms, temperature, ("screen",)), cell=atoms.cell.array, step=0,
        energy=prediction.energy, forces=prediction.forces, stress=prediction.stress,
        source="model",
    )  # fmt: skip


def driver(predictor, criterion, n_steps=N_STEPS):
    stage = MDStage(n_steps, temperature=600.0)
    return MDDriver(predictor, [stage], criterion, CALIBRATIONS, ("screen",), time_step=2.0)


def events(found, state, n_steps):
    kinds, states = [], [state]
    for _ in range(n_steps):
        state, event = found.step(state)
        kinds.append(event)
        if not isinstance(event, Moved):
            break
        states.append(state)
    return kinds, states


def stds(predictor, states):
    return [predictor.predict(s.to_atoms(), forces_std=True) for s in states]


def tolerances(predictor):
    """Criteria that ask early, late and never, by what a run without them meets."""
    quiet = ForceCriterion(1e6, SOLID, tuple(range(12)))
    _, states = events(driver(predictor, quiet), start(predictor), N_STEPS)
    found = stds(predictor, states[1:])
    worst = np.array([np.linalg.norm(p.forces_std, axis=1).max() for p in found])
    tension = np.array([p.stress_std.max() for p in found])
    everything = tuple(range(12))
    for share in (1.01, 1.3, 2.0, 4.0):
        yield ForceCriterion(_threshold(worst.max() * share), SOLID, everything)
        yield StressCriterion(8.0 * tension.max() * share)
    median = _threshold(float(np.median(worst)))
    yield ForceCriterion(median, SOLID, everything)
    yield ForceCriterion(median, SOLID, (5,))
    energy = EnergyCriterion(3.0 * max(p.energy_std for p in found))
    yield AnyOf([energy, ForceCriterion(1e3, SOLID, everything)])


def _threshold(length):
    """Return the tolerance that a std of this length, in equal components, just keeps."""
    std = np.full((1, 3), length / np.sqrt(3.0))
    low, high = 1e-6, 1e6
    for _ in range(60):
        middle = np.sqrt(low * high)
        over = CALIBRATIONS.forces.exceedance(std, middle, [29])[0] > 0.05
        low, high = (middle, high) if over else (low, middle)
    return high


def test_the_calls_are_those_of_the_full_computation(make):
    called, computed, steps = 0, [], []
    for criterion in tolerances(make()):
        full, screened = make(screened=False), make()
        expected, path = events(driver(full, criterion), start(full), N_STEPS)
        found, other = events(driver(screened, criterion), start(screened), N_STEPS)
        assert [type(e) for e in found] == [type(e) for e in expected]
        assert len(path) == len(other)
        assert np.array_equal(path[-1].positions, other[-1].positions)
        assert full.n_spreads == len(expected)
        computed.append(screened.n_spreads / len(found))
        steps.append(len(found))
        if isinstance(found[-1], LabelRequest):
            called += 1
            assert not found[-1].prediction.bounded
            a, b = found[-1].prediction, expected[-1].prediction
            np.testing.assert_allclose(a.forces_std, b.forces_std, rtol=1e-6)
        for event in found:
            if isinstance(event, Moved) and event.prediction.bounded:
                assert event.assessment.probability <= 0.05
    assert 0 < called < len(computed)
    long = [share for share, n in zip(computed, steps, strict=True) if n == N_STEPS]
    assert min(long) <= 1.2 / (LONGEST + 1) + 2 / N_STEPS


def test_joined_segments_compute_at_the_same_steps(make):
    criterion = ForceCriterion(1e3, SOLID, (0, 1))
    predictor = make()
    _, whole = events(driver(predictor, criterion), start(predictor), 40)
    _, first = events(driver(predictor, criterion), start(predictor), 23)
    stored = MDState.from_arrays(first[-1].to_arrays())
    before = predictor.n_spreads
    _, rest = events(driver(predictor, criterion), stored, 17)
    assert same(whole[-1], rest[-1])
    assert predictor.n_spreads - before == 1  # steps 1, 18 and 35 of 40
    # what other weights said is forgotten
    screen = MomentScreen(criterion, CALIBRATIONS, "other weights")
    screen.load(stored.screen)
    assert screen.to_arrays() == {}


def quiet_screen():
    criterion = ForceCriterion(1.0, (29, 29), (0, 1))
    screen = MomentScreen(criterion, CALIBRATIONS, "w")
    plain = StepPrediction(0.0, 0.01, np.zeros((2, 3)), None, None)
    assert screen.asks(plain)
    screen.judged(replace(plain, forces_std=np.full((2, 3), 1e-3)))
    return screen, plain


def test_a_small_std_is_not_asked_for_until_it_is_old():
    screen, plain = quiet_screen()
    for age in range(1, LONGEST + 1):
        assert not screen.asks(plain)
        found = screen.judged(plain)
        assert found.bounded
        np.testing.assert_allclose(found.forces_std, 1e-3 * np.sqrt(1 + GROWTH * age))
    assert screen.asks(plain)


def test_an_energy_that_becomes_uncertain_asks():
    screen, plain = quiet_screen()
    assert not screen.asks(replace(plain, energy_std=0.01 * np.sqrt(1 + 0.9 * GROWTH)))
    assert screen.asks(replace(plain, energy_std=0.01 * np.sqrt(1 + 1.1 * GROWTH)))
    assert screen.asks(replace(plain, energy_std=np.nan))


def test_a_stress_that_was_not_computed_asks():
    screen, plain = quiet_screen()
    assert screen.asks(replace(plain, stress=np.zeros((3, 3))))


def test_after_a_label_it_starts_afresh():
    screen, plain = quiet_screen()
    assert not screen.asks(plain)
    screen.clear()
    assert screen.asks(plain)


def test_a_bound_that_would_call_asks():
    criterion = ForceCriterion(1.0, (29, 29), (0, 1))
    screen = MomentScreen(criterion, CALIBRATIONS, "w")
    plain = StepPrediction(0.0, 0.01, np.zeros((2, 3)), None, None)
    limit = 1.0 / _threshold(np.sqrt(3.0))  # std in all components that is just kept
    screen.judged(replace(plain, forces_std=np.full((2, 3), 0.99 * limit)))
    assert screen.asks(plain)
    screen.judged(replace(plain, forces_std=np.full((2, 3), 0.99 * limit / np.sqrt(1 + GROWTH))))
    assert not screen.asks(plain)
    screen.judged(plain)
    assert screen.asks(plain)
