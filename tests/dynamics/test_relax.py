"""The relaxation driver: any optimizer, joined segments, calls, guards, corrected forces."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from onfly.dynamics.calculator import SuppliedLabel
from onfly.dynamics.correction import anchored
from onfly.dynamics.criteria import Calibrations, EnergyCriterion
from onfly.dynamics.driver import Exploded, Finished, LabelRequest, Moved
from onfly.dynamics.guards import Guards
from onfly.dynamics.relax import RelaxDriver, state_force
from onfly.dynamics.relax_optimizers import largest_force
from onfly.dynamics.stages import MDStage
from onfly.dynamics.state import MDState
from tests.dynamics.conftest import run, same

CASES = [("bfgs", False), ("bfgs", True), ("lbfgs", True), ("fire", False), ("fire", True)]


@pytest.fixture
def relax(make_predictor, initial_state):
    def build(threshold=1e6, predictor=None, supplied=None, guards=None, **stage):
        stage = {"n_steps": 200, "driver": "relax", "fmax": 0.01} | stage
        return RelaxDriver(
            predictor or make_predictor(),
            [MDStage(**stage)],
            EnergyCriterion(threshold),
            Calibrations(),
            supplied=supplied,
            guards=guards,
            initial_volume=initial_state.volume,
        )

    return build


def finish(driver, state):
    for _ in range(300):
        state, event = driver.step(state)
        if not isinstance(event, Moved):
            return state, event
    raise AssertionError("never at its end")


@pytest.mark.parametrize(("optimizer", "cell"), CASES)
def test_it_ends_where_the_forces_are_small(relax, initial_state, make_predictor, optimizer, cell):
    driver = relax(optimizer=optimizer, cell=cell)
    state, event = finish(driver, initial_state)
    assert isinstance(event, Finished)
    assert 0 < state.step < 200
    found = make_predictor().predict(state.to_atoms(), stress=True)
    assert np.linalg.norm(found.forces, axis=1).max() <= 0.01
    assert found.energy < initial_state.energy
    moved = np.abs(state.cell - initial_state.cell).max()
    assert (moved > 1e-3) == cell
    if cell:
        assert np.abs(found.stress * state.volume / 4).max() <= 0.01
        assert state_force(state, driver.stage) <= 0.01
    assert not state.momenta.any()


@pytest.mark.parametrize(("optimizer", "cell"), CASES)
def test_joined_segments_are_one_relaxation(relax, initial_state, optimizer, cell):
    whole, _ = run(relax(optimizer=optimizer, cell=cell), initial_state, 8)
    state = initial_state
    for n in (1, 3, 4):
        state, _ = run(relax(optimizer=optimizer, cell=cell), state, n)
        state = MDState.from_arrays(state.to_arrays())
    assert same(state, whole)


def test_pressure_makes_the_cell_smaller(relax, initial_state):
    free, _ = finish(relax(cell=True), initial_state)
    pressed, _ = finish(relax(cell=True, pressure=50.0), initial_state)
    assert pressed.volume < free.volume


def test_a_call_leaves_the_state_and_its_label_is_taken(relax, initial_state):
    state, event = relax(threshold=1e-9).step(initial_state)
    assert isinstance(event, LabelRequest)
    assert same(state, initial_state)
    forces = np.zeros((4, 3))
    forces[0, 0] = 0.5
    label = SuppliedLabel(event.atoms.positions, event.atoms.cell.array, -1.0, forces, None)
    driver = relax(supplied=label)
    state, event = driver.step(initial_state)
    assert isinstance(event, Moved)
    assert (state.source, state.step, state.energy) == ("label", 1, -1.0)
    # the next step follows the label's force
    after, _ = driver.step(state)
    assert after.positions[0, 0] > state.positions[0, 0]
    assert np.abs(after.positions - state.positions).max() < 0.2


def test_a_label_with_small_forces_ends_it(relax, initial_state):
    state = initial_state.with_results(-1.0, np.full((4, 3), 1e-3), None)
    assert isinstance(relax().step(state)[1], Finished)


def test_stale_forces_of_other_weights_are_computed_again(relax, initial_state, make_predictor):
    state, _ = run(relax(), initial_state, 2)
    wrong = replace(state, forces=np.zeros((4, 3)))
    # the same weights believe their own forces, others do not
    assert isinstance(relax().step(wrong)[1], Finished)
    assert isinstance(relax(predictor=make_predictor(spread=2e-3)).step(wrong)[1], Moved)


def test_forces_are_those_of_the_label_that_decided(relax, initial_state):
    """A model whose forces are off by a constant still ends at the labeller's minimum."""
    pushed = initial_state.forces + np.array([[0.3, 0, 0], [-0.3, 0, 0], [0, 0, 0], [0, 0, 0]])
    state = anchored(initial_state.with_results(0.0, pushed, initial_state.stress))
    driver = relax()
    end, event = finish(driver, state)
    assert isinstance(event, Finished)
    plain = driver.predictor.predict(end.to_atoms(), stress=False).forces
    np.testing.assert_allclose(end.forces - plain, pushed - initial_state.forces, atol=1e-9)


def test_guards_ask_for_a_label_and_then_give_up(relax, initial_state):
    guards = Guards(min_distance=0.99)
    state, event = relax(guards=guards).step(initial_state)
    assert isinstance(event, LabelRequest)
    assert event.reason == "guard"
    assert event.md_step == state.step == 0
    labelled = initial_state.with_results(0.0, initial_state.forces, None)
    assert isinstance(relax(guards=guards).step(labelled)[1], Exploded)


def test_steps_become_shorter_after_going_back(relax, initial_state):
    far = initial_state.with_results(0.0, 100.0 * initial_state.forces, None)

    def moved(state):
        return np.linalg.norm(relax().step(state)[0].positions - state.positions, axis=1).max()

    assert moved(far) == pytest.approx(0.2)
    assert moved(far.rewound(0.0, ("r",))) == pytest.approx(0.1)


def test_the_force_on_a_cell():
    forces, stress = np.zeros((2, 3)), 0.01 * np.eye(3)
    assert largest_force(forces, stress, 20.0) == pytest.approx(0.1)
    assert largest_force(forces) == 0.0
    with pytest.raises(ValueError, match="volume"):
        largest_force(forces, stress)
